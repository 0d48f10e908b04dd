"""Reports as conditions, and the functions that a test-suite calls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.graphs import given, net, rnn
from support.nets import INPUTS, features, ids, lstm_spec

import verify
from verify import DataError, Network, UnsupportedError, Verdict
from verify.ports.export_report import ExportReport
from verify.tolerance.compare import Comparison


@pytest.fixture(scope="module")
def two() -> Network:
    """A model of two outputs."""
    layers = [given("x", None, INPUTS), rnn("LSTM", "a", INPUTS, 4)]
    layers.append(rnn("GRU", "b", INPUTS, 2, seed=5))
    return Network(net(layers, {"a": "x", "b": "x"}, ["a", "b"]))


def report(verdict: Verdict) -> verify.Report:
    same = Comparison(matches=True, allowed=1e-7, max_diff=0.0)
    return verify.Report(verdict, "why", "keras", "numpy", None, same, 0.0, 1.0)


def exported(verdict: Verdict) -> ExportReport:
    return ExportReport(verdict, "why", "m.keras", "m.onnx", "onnx", "ort", (), ())


@pytest.mark.parametrize("made", [report, exported])
def test_a_report_is_true_for_a_pass_alone(made):
    found = {verdict: bool(made(verdict)) for verdict in Verdict}
    assert found == {
        Verdict.PASS: True,
        Verdict.FAIL: False,
        Verdict.INCONCLUSIVE: False,
        Verdict.PARTIAL: False,
    }
    for verdict in Verdict:
        shown = repr(made(verdict))
        assert f"{verdict}: " in shown
        assert "why>" in shown
        assert len(shown) < 240  # pytest cuts what is longer


def test_the_representation_of_a_report_is_one_line_whatever_is_in_it():
    long = replace(
        report(Verdict.FAIL), reason="a\n" * 300, facts={"model": "\x1b[31m" * 90}
    )
    assert repr(long).isprintable()
    assert len(repr(long)) < 240
    wide = replace(exported(Verdict.FAIL), model="\n" * 300, exported="b" * 300)
    assert repr(wide).isprintable()
    assert len(repr(wide)) < 240


@pytest.mark.slow
def test_a_selftest_is_true_if_every_mistake_would_show():
    found = verify.selftest(Network(lstm_spec()), ids())
    assert bool(found) is (found.exit_code == 0)
    seen = replace(found, results=tuple(x for x in found.results if x.caught))
    assert seen
    hidden = replace(found.results[0], caught=False)
    assert not replace(seen, results=(*seen.results, hidden))
    assert f"{len(seen.results)} of {len(seen.results)} mistakes" in repr(seen)


@pytest.mark.slow
def test_a_selftest_takes_a_file_of_inputs(tmp_path):
    model, x = Network(lstm_spec()), ids()
    np.save(tmp_path / "x.npy", x)
    of_file, of_array = (verify.selftest(model, y) for y in (tmp_path / "x.npy", x))
    assert of_file.results == of_array.results


def test_inputs_and_outputs_may_be_named_by_files_wherever_rows_are_compared(tmp_path):
    model, x = Network(lstm_spec()), ids()
    y = model.predict(x)
    files = tmp_path / "x.npy", tmp_path / "y.npy", tmp_path / "wrong.npy"
    for file, array in zip(files, (x, y, y + 0.01), strict=True):
        np.save(file, array)
    assert verify.compare_outputs(model, f"{files[0]}", files[1])
    found = verify.compare_outputs(model, files[0], files[2], diagnosis_seconds=0)
    assert found.verdict is Verdict.FAIL
    said = (
        r"holding.*Received: the name of a file, .*x\.npy; give what np\.load returns"
    )
    for name in (files[0], f"{files[0]}"):
        with pytest.raises(DataError, match=said):
            model.predict(name)
    with pytest.raises(DataError, match=r"none\.npy: expected a file of numbers"):
        verify.compare_outputs(model, tmp_path / "none.npy", y)


@pytest.mark.parametrize("form", ["list", "mapping", ".npz"])
def test_outputs_match_in_every_form(two, form, tmp_path):
    x = features()
    named = dict(zip(two.output_names, two.predict(x), strict=True))
    wrong = {**named, "b": named["b"] + 0.01}

    def shaped(arrays):
        if form == "list":
            return list(arrays.values())
        if form == "mapping":
            return dict(reversed(arrays.items()))
        np.savez(tmp_path / "y.npz", **arrays)
        return tmp_path / "y.npz"

    assert verify.assert_outputs_match(two, x, shaped(named)).verdict is Verdict.PASS
    with pytest.raises(AssertionError, match=r"^FAIL  (.|\n)*output         : b\n"):
        verify.assert_outputs_match(two, x, shaped(wrong), diagnosis_seconds=0)


def test_inputs_and_outputs_may_be_files_and_options_are_those_of_compare(tmp_path):
    model, x = Network(lstm_spec()), ids()
    y = model.predict(x)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y + 1e-4)
    files = str(tmp_path / "x.npy"), tmp_path / "y.npy"
    assert verify.assert_outputs_match(model, *files, tolerance=1e-3)
    with pytest.raises(AssertionError, match=r"^FAIL"):
        verify.assert_outputs_match(model, *files, diagnosis_seconds=0)
    half = np.float16(y)
    assert verify.assert_outputs_match(model, x, half, precision="float16")
    with pytest.raises(AssertionError, match=r"^FAIL"):
        verify.assert_outputs_match(model, x, half, diagnosis_seconds=0)
    with pytest.raises(DataError, match="one of the two"):
        verify.assert_outputs_match(model, x, y, tolerance=1, precision="float16")
    with pytest.raises(DataError, match=r"z.npy: expected a file of numbers"):
        verify.assert_outputs_match(model, x, tmp_path / "z.npy")
    with pytest.raises(UnsupportedError, match="tensorflow, jax, torch, numpy"):
        verify.assert_outputs_match(model, x, y, backend="theano")
