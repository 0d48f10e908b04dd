"""Files of weights are right for those who read them: frameworks, and compare."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from support.nets import rnn, word_net

import verify
from benchmarks.conventions.measure import LIMIT, MODULES, cases, in_this_process
from benchmarks.conversions import ConvertedCase
from verify import Network
from verify.model.conventions import find_form, frameworks
from verify.ports.weight_files.comparison import weight_file_comparison
from verify.tolerance.compare import Verdict


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["onnxruntime", "litert", "openvino"])
def test_a_framework_computes_from_the_file(framework: str) -> None:
    name, _ = MODULES[framework]
    run = in_this_process(import_module(f"benchmarks.conventions.runners.{name}"))
    for one in cases(framework, both=False):
        assert find_form(one.layer, framework) is one.convention
        case = ConvertedCase(one.convention, one.layer, one.x, one.outputs)
        assert case.difference(run(case)) < LIMIT
        other = ConvertedCase(one.convention, one.layer, -one.x, one.outputs)
        assert other.difference(run(other)) > 1e-2


def read(network: Network, path: Path, framework: str) -> Verdict:
    """What `compare --as FRAMEWORK` says of a file."""
    found = weight_file_comparison(network, path, framework, diagnosis_seconds=0)
    return found.report.verdict


@pytest.mark.parametrize("framework", ["torch", "flax.linen", "mxnet"])
def test_compare_reads_what_convert_writes(framework: str, tmp_path: Path) -> None:
    network = Network(word_net(rnn("LSTM"), time=None))
    path = tmp_path / "m.npz"
    verify.convert(network, framework, path)
    assert read(network, path, framework) is Verdict.PASS
    with np.load(path) as file:
        arrays = dict(file)
    name = next(name for name in arrays if "rnn" in name)
    arrays[name] = arrays[name] * 1.5
    np.savez(path, **arrays)
    assert read(network, path, framework) is Verdict.FAIL


def test_the_frameworks_of_the_table_are_all_there_are() -> None:
    import json

    from benchmarks.output import RESULTS_FOLDER

    results = json.loads((RESULTS_FOLDER / "conversions.json").read_text())
    assert list(results["frameworks"]) == [*frameworks(), "c"]
    assert results["run"].keys() <= MODULES.keys()
    assert all(
        difference < LIMIT
        for ran in results["run"].values()
        for difference in ran["layers"].values()
    )
