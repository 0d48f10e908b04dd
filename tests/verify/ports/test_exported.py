"""Real exported files, right and wrong, by the function and by the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import verify
from verify import DataError, Verdict
from verify.__main__ import main
from verify.ports.export_report import ProbeVerdict

pytestmark = pytest.mark.slow  # each starts a process with a runtime

FILES = Path(__file__).parents[2] / "data" / "exported"
RIGHT = [
    *("masked.onnx", "masked.tflite", "masked.xml"),
    *("sequence.onnx", "sequence.tflite", "sequence.xml"),
    *("gru.onnx", "gru.tflite", "gru.xml"),
    *("states.onnx", "states.tflite", "states.xml"),
    "stateful.tflite",
]


def keras_file(name: str) -> str:
    return str(FILES / f"{name.partition('.')[0]}.keras")


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_export_passes_with_its_weights_found(name):
    report = verify.compare_exported(keras_file(name), FILES / name)
    assert report.verdict is Verdict.PASS, report
    assert not report.wrong
    found, total = report.weights_found
    assert found == total > 0
    assert any(p.verdict is ProbeVerdict.RIGHT for p in report.probes)
    assert report.to_text().startswith("PASS  ")


def test_a_stateful_onnx_export_forgets():
    report = verify.compare_exported(keras_file("stateful"), FILES / "stateful.onnx")
    assert report.verdict is Verdict.FAIL
    (said,) = report.findings
    assert (
        said
        == "forgets its states: every call begins with zeros, in lstm (second call)"
    )
    assert "second call" in report.to_text()


def planted(tmp_path: Path, name: str, weight: str, change) -> Path:
    """A copy of an ONNX file with one initializer changed."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(FILES / name)
    (tensor,) = [t for t in model.graph.initializer if weight in t.name]
    array = onnx.numpy_helper.to_array(tensor).copy()
    tensor.CopyFrom(onnx.numpy_helper.from_array(change(array), tensor.name))
    path = tmp_path / name
    onnx.save(model, path)
    return path


def swap_first_gates(w: np.ndarray) -> np.ndarray:
    i, o, *rest = np.split(w, 4, axis=1)
    return np.concatenate([o, i, *rest], axis=1)


def test_a_planted_mistake_fails_is_located_and_named(tmp_path):
    path = planted(tmp_path, "sequence.onnx", "W0", swap_first_gates)
    report = verify.compare_exported(keras_file("sequence"), path)
    assert report.verdict is Verdict.FAIL
    assert len(report.wrong) == len(report.probes)
    where = report.location
    assert where is not None
    assert (where.layer, where.step) == ("lstm", 0)
    assert report.diagnosis is not None
    text = report.to_text()
    for part in ("FAIL", "where", "likely cause", "kernel"):
        assert part in text


def test_the_command_prints_writes_and_returns(tmp_path, capsys):
    path = planted(tmp_path, "gru.onnx", "dense_1/BiasAdd", lambda b: b + 0.01)
    out = tmp_path / "report.json"
    code = main(
        ["compare", keras_file("gru"), str(path), "--report", str(out), "--json",
         "--diagnosis-seconds", "3"]
    )  # fmt: skip
    assert code == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text())
    assert printed["verdict"] == "FAIL"
    assert printed["kind"] == "onnx"
    assert {p["verdict"] for p in printed["probes"]} == {"WRONG"}
    assert printed["location"]["layer"] == "dense"


def test_the_user_s_rows_are_compared_too(tmp_path, capsys):
    data = tmp_path / "x.npy"
    rng = np.random.default_rng(1)
    np.save(data, rng.normal(size=(300, 5, 3)).astype(np.float32))
    code = main(
        ["compare", keras_file("gru"), str(FILES / "gru.onnx"), "--data", str(data)]
    )
    printed = capsys.readouterr().out
    assert code == 0
    assert "Your inputs:" in printed
    assert "300 row(s)" in printed


def test_another_network_is_refused_with_the_weights_that_were_found(tmp_path):
    path = planted(tmp_path, "sequence.onnx", "W0", lambda w: w[:, ::-1] * 1.3)
    onnx = pytest.importorskip("onnx")
    model = onnx.load(path)
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            other = rng.normal(size=array.shape).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(other, tensor.name))
    onnx.save(model, path)
    with pytest.raises(DataError, match=r"another network: none of the model's 3 weig"):
        verify.compare_exported(keras_file("sequence"), path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gru.onnx", "--outputs", "y.npy", "--data", "x.npy"], "Received: both"),
        ([], "Received: neither"),
        (["gru.onnx", "--resume", "--report", "r.json"], "--resume: expected --out"),
        (["gru.onnx", "--dask", "local"], "--dask: expected --outputs"),
        (["gru.onnx", "--input", "x"], "--input x: expected NAME=NAME"),
        (["gru.onnx", "--input", "z=x"], "expected an input of the model: x (batch"),
        (["gru.onnx", "--layer", "gru=a"], "--layer: expected a file of weights"),
        (["gru.onnx", "--as", "torch"], "expected weights as .safetensors, .npz"),
        (["--as", "torch"], "Received: neither"),
        (["masked.onnx"], "no input that can be 'x' of the model. Expected: x (batch"),
        (["gru.keras"], "a Keras model (.keras); to compare two, write the outputs"),
        (["absent.onnx"], "absent.onnx"),
        (["gru.onnx", "--column", "text"], "--column text: expected --data too"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    for file in ("gru.onnx", "gru.keras", "masked.onnx"):
        shutil.copy(FILES / file, tmp_path)
    code = main(["compare", "gru.keras", *arguments])
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert message in lines[-1]
    assert not (tmp_path / "r.json").exists()


def test_weights_of_another_framework_are_compared(tmp_path, capsys):
    net = verify.load(keras_file("gru"))
    gru, dense = net.spec["gru"], net.spec["dense"]
    arrays = {f"rnn.{k}": v for k, v in verify.to_framework(gru, "torch").items()}
    arrays["fc.weight"] = dense.weights["kernel"].T
    arrays["fc.bias"] = dense.weights["bias"]
    file = tmp_path / "weights.npz"
    np.savez(file, **arrays)
    assert main(["compare", keras_file("gru"), str(file), "--as", "torch"]) == 0
    assert "5 of 5 weights are equal to the model's" in capsys.readouterr().out
    arrays["rnn.weight_hh_l0"] = np.roll(arrays["rnn.weight_hh_l0"], 4, axis=0)
    np.savez(file, **arrays)
    assert main(["compare", keras_file("gru"), str(file), "--as", "torch"]) == 1
    assert "recurrent_kernel" in capsys.readouterr().out.replace(" ", "_")


def test_a_stateful_model_that_is_converted_goes_on_by_the_states_it_returns(tmp_path):
    file = tmp_path / "stateful.onnx"
    verify.convert(keras_file("stateful"), "onnx", file)
    report = verify.compare_exported(keras_file("stateful"), file)
    assert report.verdict is Verdict.PASS, report
    assert any("keeps no states itself" in text for text in report.warnings)


def test_whole_numbers_that_stand_for_floats_are_converted_as_the_file_declares(
    tmp_path,
):
    plain = verify.compare_exported(
        keras_file("quantised"), FILES / "quantised.tflite", diagnosis_seconds=0
    )
    assert plain.verdict is Verdict.FAIL  # 8 bits are more than rounding of float32
    assert all(p.comparison.max_diff < 0.2 for p in plain.wrong)
    said = " ".join(plain.warnings)
    assert "is int8 in the file, for numbers by the scale" in said
    assert "--precision int8 allows what that may do" in said
    assert plain.findings == ()
    allowed = verify.compare_exported(
        keras_file("quantised"), FILES / "quantised.tflite", tolerance="10%"
    )
    assert allowed.verdict is Verdict.PASS, allowed
