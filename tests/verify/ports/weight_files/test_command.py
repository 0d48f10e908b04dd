"""``rnn-verify compare MODEL WEIGHTS --as FRAMEWORK``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.nets import ids, lstm_file, lstm_spec

from verify.__main__ import main
from verify.model.conventions import to_framework


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    """A model, and its weights as torch has them."""
    model = lstm_spec()
    arrays = {f"enc.{k}": v for k, v in to_framework(model["lstm"], "torch").items()}
    arrays["emb.weight"] = model["embedding"].weights["embeddings"]
    arrays["fc.weight"] = model["dense"].weights["kernel"].T
    arrays["fc.bias"] = model["dense"].weights["bias"]
    np.savez(tmp_path / "right.npz", **arrays)
    arrays["enc.bias_hh_l0"] = arrays["enc.bias_ih_l0"]
    np.savez(tmp_path / "wrong.npz", **arrays)
    np.save(tmp_path / "x.npy", ids())
    lstm_file(tmp_path / "model.keras")
    return tmp_path


def compare(files, weights: str, *options: str) -> int:
    model = str(files / "model.keras")
    return main(["compare", model, str(files / weights), *options])


def test_the_right_weights_pass(files, capsys):
    assert compare(files, "right.npz", "--as", "torch") == 0
    text = capsys.readouterr().out
    assert text.startswith("PASS")
    assert "6 of 6 weights are equal to the model's" in text
    assert "probe inputs made from the model" in text


def test_a_mistake_is_named_by_the_weights_and_by_the_outputs(files, capsys):
    data = ["--data", str(files / "x.npy"), "--json"]
    assert compare(files, "wrong.npz", "--as", "PyTorch", *data) == 1
    found = json.loads(capsys.readouterr().out)
    assert any(
        "bias of 'enc:0': the bias is added twice" in x for x in found["warnings"]
    )
    assert "the bias is added twice" in json.dumps(found["diagnosis"])
    assert (found["facts"]["framework"], found["facts"]["inputs"]) == ("torch", "given")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--as", "torhc"], "Did you mean torch?"),
        (["--as", "torch", "--layer", "lstm=dec"], "no arrays that fit stand under"),
        (["--as", "torch", "--layer", "lstm"], "--layer"),
        (["--as", "haiku"], "expected the arrays of hk.Embed of Haiku"),
        ([], "its weights can be compared with --as FRAMEWORK"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line(files, capsys, options, words):
    assert compare(files, "right.npz", *options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err.splitlines()[-1]
