"""A run ends verified and scored, with one line in the closing table."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support.runs import read, train

import verify
from recipes.__main__ import main
from recipes.run import finish
from recipes.run.folder import RunFolder
from verify.checks.inputs import usable_inputs

pytestmark = pytest.mark.keras


def test_what_is_scored_is_what_was_verified(
    report, tweets_csv, tmp_path, monkeypatch, capsys
):
    def given(folder, net, x):
        return report, np.tile([[0.0, 1.0]], (len(x), 1))  # all of them positive

    monkeypatch.setattr(finish, "verify_run", given)
    assert train(tmp_path / "run", tweets_csv, "--epochs", "1") == 0
    metrics = read(tmp_path / "run", "metrics.json")
    (a, b), (c, d) = metrics["confusion_matrix"]
    assert (a, c) == (0, 0)
    assert b
    assert metrics["accuracy"] == d / (b + d)
    assert f"{metrics['accuracy']:.4f}" in capsys.readouterr().out


def test_a_verification_hands_on_what_predict_returned(trained, tmp_path):
    shutil.copy(f"{trained}/model.keras", tmp_path)
    net = verify.load(tmp_path / "model.keras")
    x = usable_inputs(net, rows=300)[0]
    report, outputs = finish.verify_run(RunFolder(str(tmp_path)), net, x)
    assert report.partial_result.rows == len(outputs) == 300
    difference = np.abs(outputs - net.predict(x)).max()
    assert 0 < difference < 1e-5  # Keras's, not ours
    assert read(tmp_path, "verification.json")["rows_compared"] == 300


def test_a_model_that_fails_its_verification_ends_with_1(tmp_path, capsys, monkeypatch):
    from support.nets import mutated

    load = verify.load

    def wrong(model, **_):
        return mutated(load(model).spec, "bias missing")

    monkeypatch.setattr(verify, "load", wrong)
    arguments = ["run", "toy_rnn", "--epochs", "30", "--out", str(tmp_path / "run")]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "the NumPy forward pass does not match Keras" in out
    assert out.splitlines()[-2].rstrip().endswith("FAIL")
