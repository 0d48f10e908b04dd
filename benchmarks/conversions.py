"""Convert every layer case to ONNX, and one model to every framework.

    PYTHONPATH=tests python -m benchmarks.conversions
    PYTHONPATH=tests python -m benchmarks.conversions --run torch

The cases are those of tests/layer_cases: every layer with every option, in a small
Keras model. Each is written as ONNX as it computes in float32, run by ONNX Runtime on
the inputs of the case, masked rows among them, and compared with NumPy; then once more
in float64, where the runtime lacks operators.

The models that go to every framework by `verify.convert`, proved as users get it, are
an Embedding with a mask, one recurrent layer and a Dense, for SimpleRNN, LSTM and both
GRUs.

With ``--run`` it only runs frameworks: a single recurrent layer, and both directions
where a framework has them, goes through `verify.convert` into an .npz file, and the
framework computes from the arrays of that file, by the runners of
`benchmarks.conventions`. Frameworks that are not here keep their figures; ``--python``
names an interpreter that has others.

It writes benchmarks/results/conversions.json, which the tables in docs/converting.md
are tested against.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import verify
from benchmarks.conventions.measure import (
    LIMIT,
    MODULES,
    RUNNERS,
    Case,
    elsewhere,
    has_both,
    is_here,
)
from benchmarks.conventions.measure import cases as conventions_cases
from benchmarks.machine import Machine
from benchmarks.output import RESULTS_FOLDER, in_json, put
from verify.console.tables import markdown_row, markdown_table
from verify.errors import UnsupportedError, VerifyError
from verify.forward.evaluate import cast_to
from verify.forward.layers import REGISTRY
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.conventions import find_form, find_framework, frameworks
from verify.model.graph import Graph, Node, TensorRef
from verify.model.spec import LayerSpec, ModelSpec
from verify.model_files.shapes import with_shapes
from verify.ports.convert.arrays import SEPARATORS
from verify.ports.convert.conversion import WHOLE
from verify.ports.convert.to_onnx.model import onnx_model

RIGHT = {"float32": 2e-6, "float64": 1e-9}
"""Greatest difference, of the greatest output, up to which a conversion is right."""

LAYERS = {
    "SimpleRNN": ("SimpleRNN", {}),
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {}),
    "GRU(reset_after=False)": ("GRU", {"reset_after": False}),
}


class ConversionError(Exception):
    """Report a case that is written and is not the model."""


@dataclass
class Counts:
    """Count the cases of one module of tests/layer_cases.

    Attributes
    ----------
    cases, right : int
    fused, scans : int
        Recurrent layers that became a fused operator, and a Scan.
    difference : float
        The greatest of those that are right, relative to the greatest output.
    refused : list of str
        What was said of the others.
    """

    cases: int = 0
    right: int = 0
    fused: int = 0
    scans: int = 0
    difference: float = 0.0
    refused: list[str] = field(default_factory=list)


def convert_case(
    spec: ModelSpec, x: list[Array], dtype: str = "float32"
) -> tuple[float, Counter[str]]:
    """Write a model as ONNX, run it, and compare it with NumPy.

    Parameters
    ----------
    spec : ModelSpec
    x : list of arrays
        The inputs of all batches.
    dtype : "float32" or "float64"
        Of every layer.

    Returns
    -------
    difference : float
        Relative to the greatest output.
    forms : Counter
        How many recurrent layers were written as which operator.

    Raises
    ------
    ConversionError
        The outputs are others, in shape, dtype or value.
    UnsupportedError
        A layer is refused, or ONNX Runtime lacks an operator, by its name.
    """
    net = Network(replace(spec, root=cast_to(spec.root, dtype)), dtype)
    inputs = net.prepare(x if len(x) > 1 else x[0])
    made = onnx_model(net)
    session = _session(made.content)
    names = [one.name for one in session.get_outputs()]
    declared = {one.name: one for one in session.get_inputs()}
    batch = spec.batch_size if spec.stateful else inputs.rows
    assert batch is not None
    held: dict[str, Array] = {}
    parts = []
    for start in range(0, inputs.rows, batch):
        some = inputs.take(slice(start, start + batch))
        feeds = dict(zip(made.inputs, some, strict=True))
        for name in made.states:
            shape = [
                size if isinstance(size, int) else batch
                for size in declared[name].shape
            ]
            feeds[name] = held.get(name, np.zeros(shape, dtype))
        found = dict(zip(names, session.run(None, feeds), strict=True))
        held = {name: found[after] for name, after in made.states.items()}
        parts.append([found[name] for name in made.outputs])
    outputs = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    worst = 0.0
    for ours, theirs in zip(net.flat(inputs), outputs, strict=True):
        if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            raise ConversionError(
                f"{ours.dtype} {ours.shape} expected, {theirs.dtype} {theirs.shape}"
            )
        worst = max(worst, _difference(ours, theirs))
    if not worst <= RIGHT[dtype]:
        raise ConversionError(f"the outputs differ by {worst:.3g}")
    return worst, Counter(one.form for one in made.how)


def _session(content: bytes) -> Any:
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    try:
        return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:
        lacking = re.search(r"implementation for (\w+)", str(error))
        if lacking is None:
            raise
        raise UnsupportedError(f"ONNX Runtime has no {lacking[1]}") from None


def _difference(ours: Array, theirs: Array) -> float:
    """Return the greatest difference relative to the greatest output; inf for NaN."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    known = np.isfinite(a)
    scale = np.abs(a, where=known, out=np.zeros_like(a)).max(initial=1.0)
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | np.isnan(a), 0.0, np.abs(a - b))
    return float(apart.max(initial=0.0) / scale)


def cases() -> Iterator[tuple[str, ModelSpec, list[Array]]]:
    """Yield the module, the model and the inputs of every case."""
    import keras

    made = importlib.import_module("layer_cases.__main__").modules()
    check = importlib.import_module("layer_cases.check")
    for name, module in made.items():
        for case in getattr(module, "CASES", []):
            keras.utils.set_random_seed(0)
            with check.float64():
                model = check.randomise(case.model())
                spec, x = verify.load(model).spec, case.arrays()
            yield name, spec, x


def measure_cases() -> dict[str, dict[str, Counts]]:
    """Convert every case in both dtypes, and count by dtype and module."""
    found: dict[str, dict[str, Counts]] = {dtype: {} for dtype in RIGHT}
    for name, spec, x in cases():
        for dtype, counts in found.items():
            entry = counts.setdefault(name, Counts())
            entry.cases += 1
            try:
                difference, forms = convert_case(spec, x, dtype)
            except (VerifyError, ConversionError) as error:
                entry.refused.append(str(error))
                continue
            entry.right += 1
            entry.scans += forms.pop("Scan", 0)
            entry.fused += forms.total()
            entry.difference = max(entry.difference, difference)
    return found


def measure_frameworks() -> dict[str, dict[str, dict[str, Any]]]:
    """Convert a model of each recurrent layer to every framework.

    Returns
    -------
    dict
        Framework -> layer -> how it was proved and the greatest difference, or why it
        is refused.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in [*frameworks(), "c"]:
            suffix = ".h" if name == "c" else WHOLE.get(name, ".safetensors")
            found[name] = {}
            for title, (kind, options) in LAYERS.items():
                net = word_model(kind, **options)
                try:
                    done = verify.convert(net, name, Path(folder) / f"m{suffix}")
                except VerifyError as error:
                    found[name][title] = {"refused": str(error)}
                    continue
                found[name][title] = {
                    "form": suffix,
                    "how": done.proof.how,
                    "probes": len(done.proof.verdicts),
                    "difference": done.proof.difference,
                }
    return found


def word_model(kind: str, **options: Any) -> Network:
    """Return a model of words whose mask reaches a recurrent layer."""
    nets = importlib.import_module("support.nets")
    return Network(nets.word_net(nets.rnn(kind, **options), time=None))


class ConvertedCase(Case):
    """Hold a case of `benchmarks.conventions` whose arrays come from a file."""

    def arrays(self) -> dict[str, Array]:
        """Return what `verify.convert` writes for the layer, without its name."""
        net = Network(_single_layer(self.layer, self.x.shape[-1]))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.npz"
            verify.convert(net, self.convention.framework, path)
            with np.load(path, allow_pickle=False) as file:
                whole = dict(file)
        separator = SEPARATORS.get(self.convention.framework, ".")
        prefix = f"{self.layer.name}{separator}"
        return {name.removeprefix(prefix): value for name, value in whole.items()}


def _single_layer(layer: LayerSpec, inputs: int) -> ModelSpec:
    """Return a model of one recurrent layer that returns sequences."""
    entry = LayerSpec(
        "x", "InputLayer", {"batch_shape": (None, None, inputs), "dtype": "float32"}
    )
    layer = _completed(layer)
    ref = TensorRef("x", 0, 0)
    graph = Graph(
        [ref], [TensorRef(layer.name, 0, 0)], (Node(layer.name, 0, (ref,), {}),)
    )
    inside = {"x": entry, layer.name: layer}
    root = LayerSpec("model", "Functional", {}, sublayers=inside, graph=graph)
    return ModelSpec(with_shapes(root))


def _completed(layer: LayerSpec) -> LayerSpec:
    """Return a layer with all of its options."""
    inside = {
        key: _completed(one).with_options(go_backwards=key == "backward_layer")
        for key, one in layer.sublayers.items()
    }
    usual = {
        key: option.default
        for key, option in REGISTRY[layer.class_name].options.items()
    }
    if not inside:
        usual["return_sequences"] = True
    return replace(layer, options={**usual, **layer.options}, sublayers=inside)


def run_framework(framework: str, python: str) -> dict[str, Any]:
    """Have a framework compute from files that `verify.convert` has written.

    Returns
    -------
    dict
        The version that ran, and the greatest difference of each layer.

    Raises
    ------
    ConversionError
        One differs by more than rounding.
    """
    name, _ = MODULES[framework]
    both = has_both(RUNNERS / f"{name}.py")
    chosen = [
        ConvertedCase(one.convention, one.layer, one.x, one.outputs)
        for one in conventions_cases(framework, both=both)
        if find_form(one.first_layer, framework) is one.convention
    ]
    version, outputs = elsewhere(python, name, chosen)
    found: dict[str, float] = {}
    for case, arrays in zip(chosen, outputs, strict=True):
        difference = case.difference(arrays)
        if not difference < LIMIT:
            raise ConversionError(f"{framework}: {case.convention.cell}: {difference}")
        layer = case.convention.keras_text
        worst = max(found.get(layer, 0.0), difference)
        found[layer] = float(f"{worst:.1e}")
    return {"version": version, "layers": found}


def cases_table(results: dict[str, Any]) -> str:
    """Return the table of cases by module, for docs/converting.md."""
    rows = []
    for name, entry in results["cases"]["float32"].items():
        wide = results["cases"]["float64"][name]
        rows.append(
            markdown_row(
                name.replace("_", " "),
                f"{entry['cases']}",
                f"{entry['right']}",
                f"{entry['fused']}" if entry["fused"] else "",
                f"{entry['scans']}" if entry["scans"] else "",
                f"{entry['difference']:.1e}",
                f"{wide['right']}",
            )
        )
    heads = ("layers", "cases", "right", "fused", "Scan", "difference", "in float64")
    return markdown_table(heads, rows)


def frameworks_table(results: dict[str, Any]) -> str:
    """Return the table of frameworks, for docs/converting.md."""
    rows = []
    for name, layers in results["frameworks"].items():
        proved = {k: v for k, v in layers.items() if "refused" not in v}
        if not proved:
            rows.append(markdown_row(name, "none", "", ", ".join(layers)))
            continue
        first = next(iter(proved.values()))
        how = first["how"] if first["how"].startswith("run") else "read back"
        worst = max(entry["difference"] for entry in proved.values())
        ran = results["run"].get(name)
        if ran is not None and how == "read back":
            how = f"read back, and run by {find_framework(name).title} {ran['version']}"
            worst = max(ran["layers"].values())
        refused = ", ".join(k for k in layers if k not in proved)
        rows.append(markdown_row(name, how, f"{worst:.1e}", refused))
    heads = ("framework", "proved", "greatest difference", "refused")
    return markdown_table(heads, rows)


def main(argv: list[str] | None = None) -> None:
    """Convert everything; print the tables, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, default=RESULTS_FOLDER, help="folder to write to"
    )
    parser.add_argument(
        "--run", nargs="*", help="only run these frameworks; by default those here"
    )
    parser.add_argument(
        "--python", default=sys.executable, help="interpreter that has them"
    )
    arguments = parser.parse_args(argv)
    path = arguments.out / "conversions.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    if arguments.run is not None:
        for name in arguments.run or [name for name in MODULES if is_here(name)]:
            ran = kept["run"][name] = run_framework(name, arguments.python)
            print(name, ran["version"], ran["layers"], flush=True)
        put(in_json(kept).encode(), path)
        return
    found = measure_cases()
    document = {
        "machine": asdict(Machine.here()),
        "cases": {
            dtype: {name: asdict(entry) for name, entry in counts.items()}
            for dtype, counts in found.items()
        },
        "frameworks": measure_frameworks(),
        "run": kept.get("run", {}),
    }
    put(in_json(document).encode(), path)
    print(cases_table(document))
    print(frameworks_table(document))
    for dtype, counts in found.items():
        reasons = Counter(text for entry in counts.values() for text in entry.refused)
        for text, count in reasons.most_common():
            print(f"{dtype}: {count} x {text}")


if __name__ == "__main__":
    main()
