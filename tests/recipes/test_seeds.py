"""The study of seeds: its numbers are its runs'; interrupted, resumed, refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import verify
from recipes import seeds
from recipes.__main__ import main
from recipes.data.tweets import load_split
from recipes.run import study, summary
from recipes.run.folder import RunFolder
from recipes.run.options import RunOptions
from verify.errors import DataError

SHORT = ["--epochs", "1", "--seeds", "2", "--units", "4", "--seed", "5"]


@pytest.fixture(scope="module")
def two() -> seeds.Config:
    """Two recipes, two seeds."""
    return seeds.Config(
        epochs=1, seeds=2, units=4, seed=5, recipes=("sentiment_rnn", "sentiment_gru")
    )


@pytest.fixture(scope="module")
def finished(two, tweets_csv, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "seeds"
    return folder, seeds.study(two, folder, csv=tweets_csv)


def read(path) -> dict:
    return json.loads(path.read_text())


def numbers(folder) -> list[list[str]]:
    """The study's rows without the seconds, which differ."""
    with (folder / "seeds.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [[v for k, v in row.items() if k != "seconds"] for row in rows]


def test_mean_range_and_deviation_are_those_of_the_numbers():
    found = summary.Spread.of([0.5, 0.7, 0.9])
    assert found.mean == pytest.approx(0.7)
    assert (found.low, found.high) == (0.5, 0.9)
    assert found.deviation == pytest.approx(0.2)  # two below the line, not three
    assert summary.Spread.of([0.5]).deviation is None


def test_the_sampling_error_is_that_of_a_share():
    assert summary.sampling_error(0.9, 3463) == pytest.approx(0.0099919, abs=1e-6)
    rng = np.random.default_rng(0)
    drawn = rng.binomial(500, 0.8, size=20_000) / 500
    within = np.abs(drawn - 0.8) <= summary.sampling_error(0.8, 500)
    assert np.mean(within) == pytest.approx(0.95, abs=0.01)


def results(rows: int, **values: list[float]) -> seeds.Results:
    arrays = {name: np.array(x) for name, x in values.items()}
    return seeds.Results({"accuracy": arrays}, {seeds.LINEAR: (0.92, 0.9)}, (), rows)


def test_a_difference_counts_if_the_ranges_part_and_it_is_beyond_sampling():
    ranges = {"a": [0.80, 0.82], "b": [0.81, 0.90], "c": [0.88, 0.89]}
    found = {
        (d.first, d.second): d for d in seeds.differences(results(10_000, **ranges))
    }
    assert found["b", "a"].words == "no (seeds)"
    assert found["b", "a"].value == pytest.approx(0.045)
    assert found["c", "a"].words == "yes"
    assert found["c", "TF-IDF"].words == "yes"
    few = {(d.first, d.second): d for d in seeds.differences(results(60, **ranges))}
    assert few["c", "a"].words == "no (sampling)"
    assert few["b", "a"].words == "no (seeds, sampling)"
    single = seeds.differences(results(10_000, a=[0.5], b=[0.9]))
    assert {d.words for d in single} == {"unknown: one seed"}


@pytest.mark.keras
def test_the_tables_numbers_are_those_of_the_runs(finished, two, tweets_csv):
    folder, found = finished
    split = load_split(tweets_csv, "post")
    for k, seed in enumerate((5, 6)):
        for recipe in two.recipes:
            net = verify.load(folder / f"{recipe}-{seed}" / "model.keras")
            said = net.predict(split.x_test).argmax(axis=1)
            own = np.mean(said == split.y_test)
            assert found.scores["accuracy"][recipe][k] == pytest.approx(own)
            metrics = read(folder / f"{recipe}-{seed}" / "metrics.json")
            assert found.scores["macro_f1"][recipe][k] == metrics["macro_f1"]
            # after one epoch the last is the best, and Keras counts as scikit-learn
            assert metrics["best_macro_f1"] == pytest.approx(
                metrics["macro_f1"], abs=1e-5
            )
    summary = read(folder / "metrics.json")["summary"]["accuracy"]["sentiment_gru"]
    values = found.scores["accuracy"]["sentiment_gru"]
    assert summary["mean"] == pytest.approx(values.mean())
    assert f"{values.mean():.4f}" in seeds.table(found, "accuracy")
    assert len(numbers(folder)) == 4
    assert (folder / "spread.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.keras
def test_an_interrupted_study_ends_like_one_that_was_not(
    finished, two, tweets_csv, tmp_path, monkeypatch, capsys
):
    from recipes.run import training

    one_epoch, calls = training._one_epoch, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return one_epoch(*arguments)

    folder = tmp_path / "seeds"
    one = dataclasses.replace(two, recipes=("sentiment_gru",))
    monkeypatch.setattr(training, "_one_epoch", interrupted)
    with pytest.raises(study.StudyInterrupted, match="after 1 of 2 models"):
        seeds.study(one, folder, csv=tweets_csv)
    monkeypatch.setattr(training, "_one_epoch", one_epoch)
    before = (folder / "sentiment_gru-5" / "model.keras").stat().st_mtime_ns
    seeds.study(one, folder, csv=tweets_csv, resume=True)
    assert "1 finished before" in capsys.readouterr().err
    assert (folder / "sentiment_gru-5" / "model.keras").stat().st_mtime_ns == before
    whole = [row for row in numbers(finished[0]) if "sentiment_gru" in row]
    assert len(whole) == 2
    assert numbers(folder) == whole


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", float("nan")), ("epochs", 1.5), ("accuracy", float("nan")),
        ("best_epoch", float("inf")), ("seconds", float("inf")), ("macro_f1", "x"),
    ],
)  # fmt: skip
@pytest.mark.keras
def test_figures_that_no_run_writes_make_it_a_damaged_one(
    key, value, finished, two, tweets_csv, tmp_path
):
    folder = Path(shutil.copytree(finished[0], tmp_path / "seeds"))
    path = folder / "sentiment_rnn-6" / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(DataError, match="sentiment_rnn-6: a file is damaged"):
        seeds.study(two, folder, csv=tweets_csv, resume=True)


@pytest.mark.keras
def test_a_damaged_run_is_named_and_nothing_else_is_lost(
    finished, two, tweets_csv, tmp_path
):
    folder = Path(shutil.copytree(finished[0], tmp_path / "seeds"))
    for name in ("model.keras", "metrics.json", "verification.json"):
        path = folder / "sentiment_rnn-6" / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=r"sentiment_rnn-6") as caught:
            seeds.study(two, folder, csv=tweets_csv, resume=True)
        assert "\n" not in str(caught.value)
        assert "and --resume to train it again" in str(caught.value)
        path.write_bytes(whole)
    assert numbers(folder) == numbers(finished[0])


@pytest.mark.keras
def test_what_is_not_of_the_study_is_never_deleted(finished, two, tweets_csv, tmp_path):
    folder = Path(shutil.copytree(finished[0], tmp_path / "seeds"))
    (folder / "mine").mkdir()
    (folder / "mine" / "metrics.json").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    note = folder / "sentiment_rnn-5" / "notes.txt"
    note.write_text("mine")
    with pytest.raises(DataError, match=r"sentiment_rnn-5: .* Received: notes\.txt"):
        seeds.study(two, folder, csv=tweets_csv)
    assert (folder / "sentiment_rnn-5" / "model.keras").exists()
    note.unlink()
    options = RunOptions(RunFolder(folder), csv=tweets_csv)
    # begun anew, of no part: what the earlier study made goes, and only that
    assert study.Study("seeds", two, [], options, seeds.STUDY_FILES).train() == []
    assert sorted(p.name for p in folder.iterdir()) == [
        "manifest.json", "mine", "notes.txt",
    ]  # fmt: skip
    assert (folder / "mine" / "metrics.json").read_text() == "mine"


@pytest.mark.keras
def test_a_manifest_edited_by_hand_does_not_reach_other_folders(
    finished, two, tweets_csv, tmp_path
):
    folder = Path(shutil.copytree(finished[0], tmp_path / "seeds"))
    victim = Path(
        shutil.copytree(folder / "sentiment_rnn-5", tmp_path / "sentiment_rnn-5")
    )
    manifest = read(folder / "manifest.json")
    manifest["parts"] = {
        "../sentiment_rnn-5": "sentiment_rnn", "sentiment_rnn/../../sentiment_rnn-5":
        "sentiment_rnn", "x": ["sentiment_rnn"],
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    options = RunOptions(RunFolder(folder), csv=tweets_csv)
    assert study.Study("seeds", two, [], options, seeds.STUDY_FILES).earlier() == {}
    assert (victim / "model.keras").exists()


@pytest.mark.keras
def test_more_seeds_go_on_from_those_that_are_finished(
    finished, tweets_csv, tmp_path, capsys
):
    folder = shutil.copytree(finished[0], tmp_path / "seeds")
    arguments = ["run", "seeds", "--out", str(folder), "--resume", "--seeds", "1"]
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert "2 models, 2 finished before" in captured.err
    assert "unknown: one seed" in captured.out
    assert "seeds, 2 models" in captured.out.splitlines()[-2]
    assert captured.out.splitlines()[-2].rstrip().endswith("PASS")


@pytest.mark.keras
def test_a_wrong_model_makes_the_study_end_with_1(
    finished, two, tweets_csv, tmp_path, monkeypatch, capsys
):
    from support.nets import mutated

    folder = shutil.copytree(finished[0], tmp_path / "seeds")
    (folder / "sentiment_rnn-6" / "metrics.json").unlink()  # trained, not concluded
    load = verify.load

    def wrong(model, **_):
        return mutated(load(model).spec, "bias missing")

    monkeypatch.setattr(verify, "load", wrong)
    arguments = ["run", "seeds", "--out", str(folder), "--resume"]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "does not match Keras" in out
    assert "FAIL: sentiment_rnn-6" in out


@pytest.mark.keras
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "seeds", "--seeds", "0"], "--seeds: expected a whole number"),
        (["run", "seeds", "--seed", "4294967295"], "expected all seeds below 2**32"),
        (["run", "seeds", "--lengths", "26"], "seeds has no option --lengths"),
        (["run", "toy_rnn", "--seeds", "2"], "have it: seeds and padding_study"),
        (["run", "chapter", "--seeds", "2"], "recipes of chapter have no option"),
        (["run", "seeds", "--csv", "{folder}/none.csv"], "No such file"),
        (["run", "seeds", "--out", "{study}/sentiment_rnn-5"], "a run of sentiment_r"),
        (["run", "sentiment_rnn", "--out", "{study}"], "Received: a run of seeds"),
        (["run", "seeds", "--out", "{study}", "--resume", "--units", "9"], "units=4"),
    ],
)
def test_bad_input_is_one_line(arguments, message, finished, tmp_path, capsys):
    filled = [a.format(folder=tmp_path, study=finished[0]) for a in arguments]
    capsys.readouterr()
    assert main(filled) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert message in line
    assert captured.out == ""


def test_a_config_names_recipes_that_there_are():
    for recipes in ((), ("toy_rnn",), ("sentiment_rnn", "sentiment_rnn")):
        with pytest.raises(DataError, match="recipes: expected some of"):
            seeds.Config(recipes=recipes)
