"""Training: repeated, interrupted, resumed, and what it leaves on disk."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.runs import assert_same_run, read, train, weights

import verify
from recipes import plots
from recipes.__main__ import main
from recipes.run import classifier, training
from recipes.run.folder import RunFolder

pytestmark = pytest.mark.keras


@pytest.mark.usefixtures("unverified")
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    whole, tweets_csv, tmp_path
):
    same, other = tmp_path / "same", tmp_path / "other"
    for out, seed in ((same, "42"), (other, "8")):
        assert train(out, tweets_csv, "--epochs", "3", "--seed", seed) == 0
    assert_same_run(whole(3), same)
    assert not np.array_equal(weights(same)[1], weights(other)[1])


@pytest.mark.usefixtures("unverified")
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    whole, tweets_csv, tmp_path, capsys
):
    parts = tmp_path / "parts"
    assert train(parts, tweets_csv, "--epochs", "1") == 0
    assert train(parts, tweets_csv, "--epochs", "2", "--resume") == 0
    assert "resuming after epoch 1" in capsys.readouterr().err
    assert train(parts, tweets_csv, "--epochs", "3", "--resume") == 0
    assert_same_run(whole(3), parts)
    assert read(parts, "metrics.json")["epochs"] == 3
    # nothing left to train: the run is concluded again and stays what it is
    assert train(parts, tweets_csv, "--epochs", "3", "--resume") == 0
    assert_same_run(whole(3), parts)


@pytest.mark.usefixtures("unverified")
def test_ctrl_c_in_the_middle_of_an_epoch_loses_that_epoch_only(
    whole, tweets_csv, tmp_path, capsys
):
    parts = tmp_path / "parts"
    one_epoch = training._one_epoch
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        logs = one_epoch(*arguments)  # the weights have moved when Ctrl-C comes
        if len(calls) == 2:
            raise KeyboardInterrupt
        return logs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_one_epoch", interrupted)
        assert train(parts, tweets_csv, "--epochs", "3") == 130
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "rnn-recipe: sentiment_rnn interrupted after epoch 1 of 3. Go on with: "
    )
    assert "--resume" in error
    assert not (parts / "model.keras").exists()
    assert main(error.partition("Go on with: rnn-recipe ")[2].split()) == 0
    assert_same_run(whole(3), parts)


def test_short_epochs_are_written_with_lines_of_progress_and_on_ctrl_c(
    tmp_path, monkeypatch, capsys
):
    """Writing takes longer than such an epoch; nothing is lost for it."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    written, write, one_epoch = [], training.write_atomically, training._one_epoch
    monkeypatch.setattr(training, "SECONDS_UNWRITTEN", 1e9)
    monkeypatch.setattr(
        training, "write_atomically", lambda *a: (written.append(a[0]), write(*a))
    )
    assert main(["run", "toy_rnn", "--epochs", "120", "--out", str(whole)]) == 0
    assert [path.name for path in written] == ["checkpoint.npz"] * 2  # 100 and 120
    epochs = []

    def interrupted(*arguments):
        epochs.append(1)
        logs = one_epoch(*arguments)  # the weights have moved when Ctrl-C comes
        if len(epochs) == 8:
            raise KeyboardInterrupt
        return logs

    command = ["run", "toy_rnn", "--epochs", "120", "--out", str(parts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_one_epoch", interrupted)
        assert main(command) == 130
    assert "interrupted after epoch 7 of 120" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert "resuming after epoch 7" in capsys.readouterr().err
    assert_same_run(whole, parts)


def test_the_seconds_of_a_run_are_those_that_one_waits_for(
    tweets_csv, tmp_path, monkeypatch
):
    write = training.write_atomically

    def slow(*arguments):
        time.sleep(0.3)
        write(*arguments)

    monkeypatch.setattr(training, "write_atomically", slow)
    assert train(tmp_path / "run", tweets_csv, "--epochs", "3") == 0
    # the last checkpoint holds this number, so it does not count itself
    assert read(tmp_path / "run", "metrics.json")["seconds"] > 0.6


def test_a_resumed_run_forgets_what_was_said_of_the_model_it_replaces(
    tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"
    command = ["run", "toy_rnn", "--out", str(out)]
    assert main([*command, "--epochs", "2"]) == 0
    before = (out / "model.keras").read_bytes()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "check", interrupted)
    assert main([*command, "--epochs", "4", "--resume"]) == 130
    assert (out / "model.keras").read_bytes() != before
    assert not (out / "verification.json").exists()
    assert not (out / "metrics.json").exists()
    assert main(["explore", str(out)]) == 2
    monkeypatch.undo()
    assert main([*command, "--epochs", "4", "--resume"]) == 0
    assert main(["explore", str(out)]) == 0
    capsys.readouterr()


@pytest.mark.usefixtures("unverified", "hears")
@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGINT, marks=pytest.mark.thorough), signal.SIGKILL]
)
def test_a_killed_process_can_be_resumed(how, whole, tweets_csv, tmp_path):
    """It has days of work before it, so it cannot end before it is killed."""
    parts = tmp_path / "parts"
    command = [
        sys.executable, "-m", "recipes", "run", "sentiment_rnn", "--csv", tweets_csv,
        "--units", "5", "--epochs", "1000000", "--out", str(parts),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = next(line for line in process.stderr if "epoch       2/" in line)
        process.send_signal(how)  # while the next epoch begins
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert not (parts / "model.keras").exists()
    done = len((parts / "history.csv").read_text().splitlines()) - 1
    assert done >= 2
    if how == signal.SIGINT:
        assert f"interrupted after epoch {done} of 1000000. Go on with" in said
    assert train(parts, tweets_csv, "--epochs", str(done + 1), "--resume") == 0
    assert_same_run(whole(done + 1), parts)


def test_a_run_that_cannot_begin_leaves_the_earlier_one(
    trained, tweets_csv, monkeypatch
):
    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(classifier, "embedding", fails)
    before = {p.name: p.read_bytes() for p in Path(trained).iterdir()}
    assert train(trained, tweets_csv, "--epochs", "1") == 2
    assert {p.name: p.read_bytes() for p in Path(trained).iterdir()} == before


@pytest.mark.usefixtures("unverified")
def test_a_run_starts_afresh_without_resume(tweets_csv, tmp_path, capsys):
    out = tmp_path / "run"
    assert train(out, tweets_csv, "--epochs", "2") == 0
    capsys.readouterr()
    assert train(out, tweets_csv, "--epochs", "1") == 0
    assert "resuming" not in capsys.readouterr().err
    assert len((out / "history.csv").read_text().splitlines()) == 2


def test_a_damaged_checkpoint_is_said_and_nothing_is_lost(trained, tweets_csv, capsys):
    path = RunFolder(trained) / "checkpoint.npz"
    whole = path.read_bytes()
    more = ["--units", "5", "--csv", tweets_csv, "--epochs", "2", "--resume"]
    for broken in (whole[:1000], b"", b"nothing"):
        path.write_bytes(broken)
        capsys.readouterr()
        assert main(["run", "sentiment_rnn", "--out", trained, *more]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert "checkpoint.npz: expected a checkpoint of this run" in error
    path.write_bytes(whole)
    assert (RunFolder(trained) / "model.keras").exists()


@pytest.mark.usefixtures("unverified")
def test_the_curves_are_those_of_the_history(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "plots", plots)  # which other tests do without
    out = tmp_path / "run"
    assert main(["run", "toy_rnn", "--epochs", "3", "--out", str(out)]) == 0
    names, *epochs = csv.reader((out / "history.csv").read_text().splitlines())
    columns = zip(*epochs, strict=True)
    history = {k: [*map(float, v)] for k, v in zip(names, columns, strict=True)}
    del history["epoch"]
    title = "toy_rnn: loss and accuracy by epoch"
    wanted = plots.png(plots.curves(history, title))
    assert (out / "curves.png").read_bytes() == wanted
    history["loss"].reverse()
    assert plots.png(plots.curves(history, title)) != wanted


def test_one_hot_labels():
    assert training.one_hot([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]
