"""A conversion is proved before it is written, and refused by name where it cannot."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support import commands
from support.nets import INPUTS, ids, input_layer, layer, rnn, spec, word_net

import verify
from verify import Network
from verify.__main__ import main
from verify.errors import DataError, UnsupportedError
from verify.model.conventions import frameworks
from verify.ports.artefacts.session import open_session
from verify.ports.convert import arrays, conversion
from verify.ports.convert.proof import NotProven
from verify.ports.convert.to_onnx import fused
from verify.tolerance.compare import Verdict

refused = functools.partial(commands.refused, main)


def words(kind: str = "LSTM", **options: object) -> Network:
    """Embedding with a mask, a recurrent layer, Dense; time left open."""
    return Network(word_net(rnn(kind, **options), time=None))


@pytest.mark.slow
def test_a_model_becomes_onnx_that_has_been_run(tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    done = verify.convert(words(return_sequences=True), "onnx", out)
    assert done.paths == (out,)
    assert done.proof.how.startswith("run by onnxruntime")
    assert set(done.proof.verdicts.values()) == {Verdict.PASS}
    assert {"batch 1", "padding in holes", "all padding"} <= done.proof.verdicts.keys()
    assert done.proof.difference < 1e-6
    text = str(done)
    assert "ONNX, the whole model, opset 18" in text
    assert "rnn: LSTM (sequence_lens" in text
    assert "greatest difference" in text
    network, x = words(return_sequences=True), ids(3, 4, 8)
    with open_session(out) as session:
        y = session.run({"input": x})["dense"]
    assert np.abs(y - network.predict(x)).max() < 1e-6


@pytest.mark.slow
def test_nothing_is_written_that_is_not_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = {**fused.ORDER, "LSTM": ("i", "f", "o", "c")}
    monkeypatch.setattr(fused, "ORDER", order)
    (tmp_path / "m.onnx").write_text("what was there before")
    said = r"differs from the model for 'batch 1' .* \(allowed \d[\d.e-]*\)\. Nothing"
    with pytest.raises(NotProven, match=said):
        verify.convert(words(), "onnx", tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_text() == "what was there before"


@pytest.mark.slow
def test_a_mask_that_was_dropped_is_caught_by_a_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused.Packed, "unpacked", lambda self, y, *_: y)
    with pytest.raises(NotProven, match="'padding "):
        verify.convert(words(return_sequences=True), "onnx", tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_states_of_a_stateful_model_are_proved_call_by_call(tmp_path: Path) -> None:
    network = Network(
        spec(
            layer("InputLayer", "input", batch_shape=[2, None, INPUTS]),
            rnn("GRU", stateful=True),
        )
    )
    done = verify.convert(network, "onnx", tmp_path / "m.onnx")
    assert "rnn/h -> rnn/h_next" in str(done)
    assert done.proof.verdicts["second call"] is Verdict.PASS


@pytest.mark.slow
def test_openvino_gets_a_form_that_needs_no_lengths(tmp_path: Path) -> None:
    done = verify.convert(words("GRU"), "openvino", tmp_path / "m.xml")
    assert [path.name for path in done.paths] == ["m.xml", "m.bin"]
    assert "without sequence_lens" in str(done)
    assert done.proof.how.startswith("run by OpenVINO")
    assert done.proof.verdicts["padding in holes"] is Verdict.PASS


@pytest.mark.slow
def test_openvino_with_lengths_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO ignores them where the number of rows is open."""
    from verify.ports.convert.to_onnx.run import ONNX_RUNTIME

    monkeypatch.setattr(conversion, "OPENVINO", ONNX_RUNTIME)
    with pytest.raises(NotProven, match="'padding behind'"):
        verify.convert(words("GRU"), "openvino", tmp_path / "m.xml")
    assert not list(tmp_path.iterdir())


def test_weights_have_the_names_of_torch(tmp_path: Path) -> None:
    network = words()
    out = tmp_path / "m.safetensors"
    done = verify.convert(network, "torch", out)
    found = load_file(out)
    layer = network.spec["rnn"]
    assert sorted(found) == [
        "dense.bias",
        "dense.weight",
        "rnn.bias_hh_l0",
        "rnn.bias_ih_l0",
        "rnn.weight_hh_l0",
        "rnn.weight_ih_l0",
        "words.weight",
    ]
    assert np.array_equal(found["rnn.weight_ih_l0"], layer.weights["kernel"].T)
    assert np.array_equal(
        found["dense.weight"], network.spec["dense"].weights["kernel"].T
    )
    assert "nn.LSTM of PyTorch" in str(done)
    assert done.proof.how == "read back from the names and shapes of PyTorch"


@pytest.mark.parametrize("name", sorted(frameworks()))
def test_every_framework_is_written_and_read_back_or_refused_by_name(
    name: str,
) -> None:
    """Each with the layers that it has a form for."""
    written = 0
    for kind, options in (
        ("SimpleRNN", {}),
        ("LSTM", {}),
        ("GRU", {}),
        ("GRU", {"reset_after": False}),
    ):
        network = words(kind, **options)
        try:
            found = arrays.name_weights(network.spec, name)
        except UnsupportedError as error:
            assert "'rnn'" in str(error)
            assert "Instead" in str(error) or "it has a form of" in str(error)
            continue
        back = arrays.restored(network.spec, name, found.arrays)
        x = network.prepare(ids())
        apart = np.abs(Network(back).flat(x)[0] - network.flat(x)[0]).max()
        assert apart < 1e-6
        written += 1
        wrong = {k: v[..., ::-1] for k, v in found.arrays.items()}
        back = arrays.restored(network.spec, name, wrong)
        assert np.abs(Network(back).flat(x)[0] - network.flat(x)[0]).max() > 1e-3
    alone = {"hls4ml", "caffe2", "burn"}  # they read the Keras model themselves
    assert written > 0 or name in alone


def test_layers_without_a_form_of_their_own_keep_keras_names() -> None:
    made = spec(
        input_layer(None, None, INPUTS),
        rnn("LSTM", return_sequences=True),
        layer("Dense", "dense", units=2),
    )
    found = arrays.name_weights(made, "oneDNN")
    assert "dense.kernel" in found.arrays
    assert "with Keras's names and shapes: dense (Dense)" in found.notes


def test_a_missing_array_is_named() -> None:
    network = words()
    found = dict(arrays.name_weights(network.spec, "torch").arrays)
    del found["dense.weight"]
    with pytest.raises(DataError, match=r"expected an array dense\.weight"):
        arrays.restored(network.spec, "torch", found)
    found["dense.weight"] = np.zeros((1, 1))
    with pytest.raises(DataError, match=r"Received: \(1, 1\)"):
        arrays.restored(network.spec, "torch", found)


@pytest.mark.slow
def test_float64_is_refused_where_the_runtime_has_no_operator(tmp_path: Path) -> None:
    made = spec(
        {**input_layer(None, 6, INPUTS, dtype="float64")},
        {
            **layer("AveragePooling1D", "pool", pool_size=2),
            "config": {"name": "pool", "dtype": "float64", "pool_size": 2},
        },
        dtype=np.float64,
    )
    network = Network(made, "float64")
    with pytest.raises(UnsupportedError, match="give --dtype float32"):
        verify.convert(network, "onnx", tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
    done = verify.convert(network, "onnx", tmp_path / "m.onnx", dtype="float32")
    assert done.proof.difference < 1e-6


@pytest.mark.keras
def test_tensorflows_converter_makes_a_file_that_is_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, out = words("GRU", reset_after=False), tmp_path / "m.tflite"
    done = verify.convert(network, "tflite", out)
    assert done.proof.how.startswith("run by ai-edge-litert")
    assert {"batch 5", "padding in holes", "11 step(s)"} <= done.proof.verdicts.keys()
    assert "it takes 1 row(s) in a call" in str(done)
    other = Network(word_net(rnn("GRU", reset_after=False), time=None, seed=4))
    content = out.read_bytes()
    monkeypatch.setattr("verify.keras_bridge.litert_file", lambda *_: content)
    with pytest.raises(NotProven, match="'batch 1'"):
        verify.convert(other, "tflite", tmp_path / "other.tflite")
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]


def test_a_network_without_a_config_is_refused_as_tflite() -> None:
    from verify.keras_bridge.litert import litert_file

    made = replace(words().spec, config=None)
    with pytest.raises(UnsupportedError, match="network without a config"):
        litert_file(made, ["input"], ["dense"], 1)


# The command


def test_the_command_says_what_it_wrote_and_how_it_was_proved(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.npz"
    assert main(["convert", model, "--to", "torch", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert f"Wrote {out}" in captured.err
    assert "the weights as PyTorch names them" in captured.out
    assert "Proved: read back" in captured.out
    args = ["convert", model, "--to", "c", "--out", str(tmp_path / "m.h"), "--json"]
    assert main(args) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["framework"] == "c"
    assert set(found["proof"]["probes"].values()) == {"PASS"}


def test_the_command_fails_with_one_line_and_no_file(
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        arrays, "restored", lambda spec, *_: word_net(rnn("LSTM", "lstm"), seed=5)
    )
    out = tmp_path / "m.npz"
    assert main(["convert", model, "--to", "torch", "--out", str(out)]) == 1
    assert "differs from the model" in capsys.readouterr().err
    assert not out.exists()


BAD = [
    (["--to", "pytroch", "--out", "{}/m.npz"], "Did you mean pytorch?"),
    (["--to", "onnx", "--out", "{}/m.txt"], "ending in .onnx or .npz or .safetensors"),
    (["--to", "torch", "--out", "{}/m.onnx"], "ending in .npz or .safetensors"),
    (["--to", "c", "--out", "{}/m.npz"], "ending in .h"),
    (["--to", "torch", "--out", "{}/none/m.npz"], "no folder"),
    (["--to", "haiku", "--out", "{}/m.npz", "--dtype", "int8"], "dtype: expected"),
]


@pytest.mark.parametrize(("options", "said"), BAD, ids=str)
def test_bad_usage_is_one_line(
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    args = [option.format(tmp_path) for option in options]
    assert said in refused(capsys, "convert", model, *args)
    assert not list(tmp_path.iterdir())


def test_the_model_is_not_written_over(
    model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = tmp_path / "m.npz"
    copy.write_bytes(Path(model).read_bytes())
    line = refused(capsys, "convert", str(copy), "--to", "torch", "--out", str(copy))
    assert "is the file given as MODEL" in line


@pytest.mark.parametrize(
    ("package", "to", "suffix"),
    [("onnx", "onnx", ".onnx"), ("safetensors", "torch", ".safetensors")],
)
def test_a_missing_package_is_named(
    package: str,
    to: str,
    suffix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for name in [m for m in sys.modules if m.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnsupportedError, match=rf"keras-rnn-verify\[{package}\]"):
        verify.convert(words(), to, tmp_path / f"m{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_layer_without_a_form_is_refused_with_what_can_be_done() -> None:
    with pytest.raises(UnsupportedError, match=r"'rnn' \(GRU\).*Instead"):
        arrays.name_weights(words("GRU").spec, "haiku")


def test_importing_the_command_imports_no_runtime() -> None:
    program = (
        "import sys, verify; verify.convert; "
        "print([m for m in ('onnx', 'onnxruntime', 'openvino', 'safetensors')"
        " if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
