"""Names and options become runs, or are refused before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.runs import assert_same_run, refused, train

from recipes.__main__ import main
from recipes.run.folder import RunFolder

pytestmark = pytest.mark.keras


@pytest.mark.usefixtures("unverified")
def test_a_run_is_resumed_with_the_options_it_was_begun_with(
    tweets_csv, tmp_path, capsys
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    begun = ["--seed", "9", "--padding", "pre", "--mask-zero"]
    assert train(whole, tweets_csv, "--epochs", "2", *begun) == 0
    assert train(parts, tweets_csv, "--epochs", "1", *begun) == 0
    resume = ["run", "sentiment_rnn", "--out", str(parts), "--resume"]
    assert main([*resume, "--epochs", "2"]) == 0
    assert_same_run(whole, parts)
    assert main(resume) == 0  # to the epochs it was last given: nothing left to do
    assert_same_run(whole, parts)
    capsys.readouterr()
    assert main([*resume, "--epochs", "1"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "has been trained for 2 epochs. Received: --epochs 1" in error


def test_a_manifest_edited_by_hand_is_refused(trained, capsys):
    path = Path(trained) / "manifest.json"
    before = path.read_text()
    for key, value in (("units", -3), ("seed", -1), ("padding", "middle")):
        manifest = json.loads(before)
        manifest["config"][key] = value
        path.write_text(json.dumps(manifest))
        arguments = ["run", "sentiment_rnn", "--out", trained, "--resume"]
        assert f"Received: {key}={value}" in refused(capsys, *arguments)
    path.write_text(before)


def test_a_value_that_is_refused_is_a_sentence_and_then_where_to_look(capsys):
    line = refused(capsys, "run", "toy_rnn", "--epochs", "0")
    assert line.endswith(
        "--epochs: expected a whole number from 1 to 1000000. Received: 0. "
        "See rnn-recipe run --help"
    )


def test_what_a_resumed_run_must_share_with_its_beginning(
    trained, tweets_csv, tmp_path, capsys
):
    base = ["run", "sentiment_rnn", "--units", "5", "--out", trained, "--resume"]
    csv = ["--csv", tweets_csv]
    line = refused(capsys, *base, *csv, "--seed", "9", "--epochs", "2")
    assert "expected to resume with seed=42. Received: seed=9" in line
    other = tmp_path / "other.csv"
    other.write_text(Path(tweets_csv).read_text() + "another flight,negative\n")
    line = refused(capsys, *base, "--epochs", "2", "--csv", str(other))
    assert "data with another checksum" in line
    line = refused(capsys, *base[:-2], str(tmp_path / "none"), "--resume", *csv)
    assert "nothing to resume" in line
    line = refused(capsys, "run", "sentiment_lstm", "--out", trained, *csv)
    assert "expected an empty folder or a run of sentiment_lstm. " in line
    assert "Received: a run of sentiment_rnn" in line
    assert (RunFolder(trained) / "model.keras").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nope"], "expected a recipe: toy_rnn, toy_lstm, sentiment_rnn"),
        (["run", "toy_rnn", "--epochs", "0"], "--epochs: expected a whole number"),
        (["run", "toy_rnn", "--out", ""], "--out: expected a folder"),
        (["run", "toy_rnn", "--out", "{folder}/" + "a" * 300], "cannot be written"),
        (
            ["run", "sentiment_rnn", "--units", "1000000"],
            "--units: expected a whole number",
        ),
        (
            ["run", "sentiment_rnn", "--epochs", "two"],
            "--epochs: expected a whole number",
        ),
        (["run", "sentiment_rnn", "--units", "-1"], "--units: expected a whole number"),
        (
            ["run", "sentiment_rnn", "--batch-size", "0"],
            "--batch-size: expected a whole number",
        ),
        (["run", "sentiment_rnn", "--seed", "-1"], "--seed: expected a whole number"),
        (
            ["run", "sentiment_rnn", "--padding", "both"],
            "--padding: expected pre or post. Received: both",
        ),
        (["run", "toy_rnn", "--csv", "x.csv"], "toy_rnn has no option --csv"),
        (["run", "toy-lstm", "--mask-zero"], "toy_lstm has no option --mask-zero"),
        (["run", "chapter", "--csv", "{folder}/none.csv"], "No such file"),
        (["run", "toy_rnn", "--out", "{folder}/file"], "Received: a file"),
        (["run", "toy_rnn", "--out", "{folder}/file/run"], "file is a file"),
        (["run", "toy_rnn", "--out", "{folder}"], "holds file and no manifest.json"),
        (["run"], "Missing argument 'NAME...'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    filled = [argument.format(folder=tmp_path) for argument in arguments]
    assert message in refused(capsys, *filled)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("unverified")
def test_several_recipes_share_a_folder_and_close_with_one_table(tmp_path, capsys):
    arguments = ["run", "toy_lstm", "toy-rnn", "--epochs", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    table = capsys.readouterr().out.splitlines()[-5:]
    assert [line.split()[0] for line in table if "PASS" in line] == [
        "toy_lstm", "toy_rnn",
    ]  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy_lstm", "toy_rnn"]


@pytest.mark.usefixtures("unverified")
def test_resuming_several_recipes_begins_those_not_begun(tmp_path, capsys):
    first = ["--epochs", "1", "--out", str(tmp_path / "toy_rnn")]
    assert main(["run", "toy_rnn", *first]) == 0
    capsys.readouterr()
    both = ["run", "toy_rnn", "toy_lstm", "--epochs", "2", "--out", str(tmp_path)]
    assert main([*both, "--resume"]) == 0
    errors = capsys.readouterr().err
    assert errors.count("resuming after epoch 1") == 1
    assert errors.count("epoch 2/2") == 2
    for name in ("toy_rnn", "toy_lstm"):
        history = (tmp_path / name / "history.csv").read_text().splitlines()
        assert len(history) == 1 + 2, name
