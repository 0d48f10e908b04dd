"""The study of padding: its arrays are those of its runs, which are ordinary runs."""

from __future__ import annotations

import json

import numpy as np
import pytest

import verify
from recipes import padding_study
from recipes.__main__ import main
from recipes.data.tweets import load_split
from recipes.run.folder import RunFolder
from verify.data.text import pad
from verify.errors import DataError

CONFIG = padding_study.Config(
    seeds=2,
    lengths=(26, 30),
    units=4,
    batch_size=128,
    recipes=("sentiment_rnn",),
    kinds=("masked",),
)


def test_every_model_of_the_default_study_is_what_its_name_says():
    parts = padding_study.parts(padding_study.Config())
    assert len({part.name for part in parts}) == 2 * 3 * 3 * 3
    for part in parts:
        recipe, kind, length, seed = part.name.rsplit("-", 3)
        config = part.config
        assert part.recipe == recipe
        assert (config.length, config.seed) == (int(length), int(seed))
        assert config.padding == ("pre" if kind == "pre" else "post")
        assert config.mask_zero == (kind == "masked")
        assert (config.epochs, config.batch_size, config.units) == (1, 64, 40)
    assert {part.config.seed for part in parts[:18]} == {42}  # one seed after another


@pytest.fixture(scope="module")
def finished(tweets_csv, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "padding_study"
    return folder, padding_study.study(CONFIG, folder, csv=tweets_csv)


@pytest.mark.keras
def test_the_arrays_are_those_of_the_models(finished, tweets_csv):
    folder, results = finished
    split = load_split(tweets_csv, "post")
    words = [[int(word) for word in row if word] for row in split.x_test]
    assert set(results.accuracy) == {f"SimpleRNN, {kind}" for kind in CONFIG.kinds}
    for kind in CONFIG.kinds:
        options = padding_study.KINDS[kind]
        accuracy = results.accuracy[f"SimpleRNN, {kind}"]
        assert accuracy.shape == (2, 2)  # seeds, lengths
        for (s, seed), (k, length) in (((1, 43), (0, 26)), ((0, 42), (1, 30))):
            run = folder / f"sentiment_rnn-{kind}-{length}-{seed}"
            net = verify.load(run / "model.keras")
            assert net.spec["embedding"].options["mask_zero"] == options["mask_zero"]
            x = pad(words, length, options["padding"])
            said = net.predict(x).argmax(axis=1)
            assert accuracy[s, k] == pytest.approx(np.mean(said == split.y_test))
            assert RunFolder(run).read_pipeline().length == length


@pytest.mark.keras
def test_a_mask_makes_the_length_indifferent(finished):
    folder, results = finished
    values = results.accuracy["SimpleRNN, masked"]
    assert np.array_equal(values[:, 0], values[:, 1])
    short, long = (
        (folder / f"sentiment_rnn-masked-{length}-42" / "history.csv").read_bytes()
        for length in CONFIG.lengths
    )
    assert short == long


@pytest.mark.keras
def test_the_table_has_mean_and_range(finished):
    folder, results = finished
    values = results.accuracy["SimpleRNN, masked"]
    text = padding_study.table(results)
    for column in values.T:
        cell = f"{column.mean():.4f} ({column.min():.4f}..{column.max():.4f})"
        assert cell in text
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["accuracy"]["SimpleRNN, masked"] == values.tolist()
    assert metrics["verdict"] == "PASS"
    assert metrics["models"] == 4
    assert len((folder / "padding.csv").read_text().splitlines()) == 5
    assert (folder / "padding.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.keras
def test_a_part_is_the_run_that_its_own_command_makes(finished, tmp_path, capsys):
    part = finished[0] / "sentiment_rnn-masked-30-43"
    command = json.loads((part / "manifest.json").read_text())["command"]
    arguments = command.split()[1:]
    assert arguments[:2] == ["run", "sentiment_rnn"]
    out = tmp_path / "alone"
    assert main([*arguments[:-1], str(out)]) == 0
    same = [folder / "history.csv" for folder in (part, out)]
    assert same[0].read_bytes() == same[1].read_bytes()
    capsys.readouterr()
    assert main(["predict", str(part), "the flight was delayed"]) == 0
    assert "used: flight, delayed" in capsys.readouterr().out


@pytest.mark.keras
def test_a_finished_study_resumes_with_the_options_it_was_begun_with(
    finished, capsys, monkeypatch
):
    from recipes.run import study

    def trained_again(*_):
        raise AssertionError

    monkeypatch.setattr(study, "train_one", trained_again)
    folder, results = finished
    assert main(["run", "padding_study", "--out", str(folder), "--resume"]) == 0
    captured = capsys.readouterr()
    assert "4 models, 4 finished before" in captured.err
    assert padding_study.table(results) in captured.out
    assert "PASS: NumPy reproduces predict for 4 of 4 models" in captured.out


@pytest.mark.keras
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "26,x"], "expected whole numbers with commas"),
        (["--lengths", "26,26"], "lengths: expected different whole numbers"),
        (["--lengths", "0"], "from 1 to 1,000. Received: 0"),
        (["--lengths", ""], "expected whole numbers with commas"),
        (["--padding", "pre"], "padding_study has no option --padding"),
        (["--length", "26"], "padding_study has no option --length. "),
        (["--out", "{study}", "--resume", "--lengths", "26"], "lengths=[26, 30]"),
        (
            ["--out", "{study}/sentiment_rnn-masked-26-42"],
            "Received: a run of sentiment",
        ),
    ],
)
def test_bad_input_is_one_line(arguments, message, finished, tmp_path, capsys):
    capsys.readouterr()
    filled = [argument.format(study=finished[0]) for argument in arguments]
    assert main(["run", "padding_study", *filled]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert message in line
    assert captured.out == ""


def test_a_config_of_no_lengths_is_refused():
    with pytest.raises(DataError, match="lengths: expected different whole numbers"):
        padding_study.Config(lengths=())
    with pytest.raises(DataError, match="kinds: expected some of pre, post, masked"):
        padding_study.Config(kinds=("middle",))
    with pytest.raises(DataError, match=r"Received: 26\.0"):
        padding_study.Config(lengths=(26.0,))  # type: ignore[arg-type]
