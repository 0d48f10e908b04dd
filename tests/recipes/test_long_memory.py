"""A country at the start, its language at the end, and between them nothing of use."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from support.runs import weights

from recipes import long_memory
from recipes.__main__ import main
from recipes.data.grammar import FILLER_WORDS, LANGUAGES, memories
from recipes.long_memory import (
    CHANCE,
    NAME,
    STUDY_FILES,
    Config,
    MemoryStudy,
    PartConfig,
    build_model,
    parts,
)
from recipes.run import training
from recipes.run.folder import RUN_FILES, RunFolder
from recipes.run.options import RunOptions
from verify import DataError


def test_the_country_stands_at_the_start_and_decides_the_answer():
    sentences, gaps = memories(seed=3, gap=20)
    for text, answer, gap, test in zip(
        sentences.texts, sentences.answers, gaps, sentences.test, strict=True
    ):
        _, _, _, country, *filler, i, speak = text.split()
        assert text.startswith("i live in ")
        assert (i, speak) == ("i", "speak")
        assert LANGUAGES[country] == answer
        assert set(filler) <= set(FILLER_WORDS)
        assert len(filler) == gap
        assert gap == 20 if test else 0 <= gap <= 20
    assert not {*LANGUAGES, *LANGUAGES.values()} & set(FILLER_WORDS)
    counts = Counter(zip(sentences.answers, sentences.test, strict=True))
    assert {n for (_, test), n in counts.items() if test} == {100}
    assert all(780 <= n <= 820 for (_, test), n in counts.items() if not test)


@pytest.mark.parametrize("gap", [5, 40])
def test_no_sentence_of_the_test_is_learnt(gap):
    sentences, _ = memories(3, gap)
    rows = list(zip(sentences.texts, sentences.test, strict=True))
    tests = {text for text, test in rows if test}
    assert len(tests) == 400
    assert not tests & {text for text, test in rows if not test}
    assert memories(3, gap)[0] == sentences
    assert memories(4, gap)[0].sha256 != sentences.sha256


def test_filler_words_tell_nothing():
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    sentences, _ = memories(3, 20, train=1200)
    test, answers = np.array(sentences.test), np.array(sentences.answers)
    accuracies = []
    for vocabulary in (FILLER_WORDS, (*FILLER_WORDS, *LANGUAGES)):
        counts = CountVectorizer(vocabulary=vocabulary).transform(sentences.texts)
        model = LogisticRegression(max_iter=1000).fit(counts[~test], answers[~test])
        accuracies.append(model.score(counts[test], answers[test]))
    assert abs(accuracies[0] - CHANCE) < 0.08  # 400 sentences: 95 % within 0.042
    assert accuracies[1] == 1.0  # the same classifier, if it may see the country


def test_all_layers_are_trained_alike_and_by_keras_defaults():
    def settings(part):
        return {k: v for k, v in vars(part).items() if k != "layer"}

    made = [part.config for part in parts(Config(gaps=(5, 100, 20)))]
    assert [part.gap for part in made] == [100] * 3 + [20] * 3 + [5] * 3
    assert (made[0].layer, made[0].gap) == ("LSTM", 100)
    for k in range(0, 9, 3):
        assert {part.layer for part in made[k : k + 3]} == set(long_memory.LAYERS)
        assert settings(made[k]) == settings(made[k + 1]) == settings(made[k + 2])


@pytest.mark.keras
@pytest.mark.parametrize("layer", long_memory.LAYERS)
def test_nothing_but_the_layer_differs(layer):
    import keras

    model = build_model(PartConfig(layer=layer))
    embedding, recurrent, dense = model.layers
    default = getattr(keras.layers, layer)(32, name=recurrent.name).get_config()
    assert recurrent.get_config() == default
    assert embedding.mask_zero
    assert dense.units == len(LANGUAGES)
    optimizer = model.optimizer.get_config()
    assert optimizer["name"].startswith("adam")
    assert optimizer["clipnorm"] is optimizer["clipvalue"] is None
    assert optimizer["learning_rate"] == pytest.approx(0.002)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small run, from the command line."""
    folder = tmp_path_factory.mktemp("memory") / "run"
    arguments = ["--epochs", "2", "--units", "4", "--batch-size", "400"]
    command = ["run", "long_memory", *arguments, "--gaps", "6"]
    assert main([*command, "--out", str(folder)]) == 0
    return folder


@pytest.mark.keras
def test_a_run_leaves_a_verified_model_for_every_layer_and_gap(whole, capsys):
    subs = {"simple_rnn-6", "gru-6"}  # the LSTM has the folder itself
    assert {p.name for p in whole.iterdir()} == {*RUN_FILES, *STUDY_FILES, *subs}
    for folder in (whole, *(whole / name for name in subs)):
        assert {p.name for p in folder.iterdir()} >= set(RUN_FILES)
        report = json.loads((folder / "verification.json").read_text())
        assert report["verdict"] == "PASS"
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["gaps"] == [6]
    lines = (whole / "memory.csv").read_text().splitlines()
    assert len(lines) == 4
    for line in lines[1:]:
        layer, gap, epochs, accuracy, _, verdict = line.split(",")
        assert (epochs, verdict) == ("2", "PASS")
        own = metrics["accuracies"][layer][metrics["gaps"].index(int(gap))]
        assert float(accuracy) == own
    assert (whole / "memory.png").read_bytes().startswith(b"\x89PNG")
    assert main(["predict", str(whole / "gru-6"), "i live in japan and i speak"]) == 0
    printed = capsys.readouterr().out
    assert {line.split()[1] for line in printed.splitlines()[1:]} == set(
        LANGUAGES.values()
    )


@pytest.mark.keras
def test_an_interrupted_run_goes_on_with_the_model_it_was_at(
    whole, tmp_path, capsys, monkeypatch
):
    one_epoch, calls = training._one_epoch, []

    def interrupted(*arguments):
        calls.append(1)
        logs = one_epoch(*arguments)
        if len(calls) == 4:  # the second epoch of the second model
            raise KeyboardInterrupt
        return logs

    parts_folder = tmp_path / "run"
    command = ["run", "long_memory", "--epochs", "2", "--units", "4"]
    command += ["--batch-size", "400", "--gaps", "6"]
    monkeypatch.setattr(training, "_one_epoch", interrupted)
    assert main([*command, "--out", str(parts_folder)]) == 130
    error = capsys.readouterr().err.splitlines()[-1]
    assert "interrupted after 1 of 3 models. Go on with: " in error
    assert len((parts_folder / "gru-6" / "history.csv").read_text().split()) == 2
    monkeypatch.setattr(training, "_one_epoch", counted := Counted(one_epoch))
    assert main(error.partition("Go on with: rnn-recipe ")[2].split()) == 0
    assert counted.calls == 2 * 3 - 3  # three epochs were finished before
    for name in (".", "gru-6", "simple_rnn-6"):
        a, b = whole / name, parts_folder / name
        assert (a / "history.csv").read_bytes() == (b / "history.csv").read_bytes()
        for x, y in zip(weights(a), weights(b), strict=True):
            assert np.array_equal(x, y)


class Counted:
    """A function, and how often it was called."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.function(*arguments)


@pytest.mark.keras
def test_training_ends_once_it_is_solved_and_an_lstm_keeps_five_words(tmp_path):
    folder = RunFolder(tmp_path / "run")
    config = Config(epochs=30, batch_size=32, gaps=(5,))
    with pytest.MonkeyPatch.context() as only:
        only.setattr(long_memory, "parts", lambda config: parts(config)[:1])
        only.setattr(long_memory, "_report", lambda _, trained, __: trained)
        (one,) = long_memory.run(config, RunOptions(folder))
    assert one.scores["accuracy"] == 1.0
    assert one.epochs < 10
    study = MemoryStudy(NAME, config, parts(config)[:1], RunOptions(folder), ())
    assert study.ended(study.parts[0], one.epochs)  # less than all, but solved


@pytest.mark.keras
def test_one_failed_verification_is_the_verdict_of_all(whole, tmp_path, monkeypatch):
    import shutil

    folder = shutil.copytree(whole, tmp_path / "run")
    path = folder / "gru-6" / "verification.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"verdict": "FAIL"}))
    assert main(["run", "long_memory", "--out", str(folder), "--resume"]) == 1
    assert json.loads((folder / "metrics.json").read_text())["verdict"] == "FAIL"


@pytest.mark.keras
def test_finished_models_are_not_trained_again(whole, tmp_path, monkeypatch, capsys):
    import shutil

    folder = shutil.copytree(whole, tmp_path / "run")
    before = (folder / "gru-6" / "model.keras").stat().st_mtime_ns
    monkeypatch.setattr(training, "_one_epoch", None)  # not to be called
    assert main(["run", "long_memory", "--out", str(folder), "--resume"]) == 0
    assert "3 models, 2 finished before" in capsys.readouterr().err
    assert (folder / "gru-6" / "model.keras").stat().st_mtime_ns == before
    assert (folder / "memory.csv").read_text() == (whole / "memory.csv").read_text()


def resume_is_refused(folder, capsys) -> str:
    """The line on stderr that ends a resumed study, after its lines of progress."""
    capsys.readouterr()
    assert main(["run", "long_memory", "--out", str(folder), "--resume"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    line = captured.err.splitlines()[-1]
    assert line.startswith("rnn-recipe: ")
    return line


@pytest.mark.keras
def test_a_damaged_model_is_named_with_what_to_remove(whole, tmp_path, capsys):
    import shutil

    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / "gru-6" / "history.csv").unlink()
    line = resume_is_refused(folder, capsys)
    assert f"gru-6: a file is damaged. Remove {folder}/gru-6 and --resume" in line
    shutil.rmtree(folder / "gru-6")
    (folder / "checkpoint.npz").write_bytes(b"")
    line = resume_is_refused(folder, capsys)
    # the study's own folder is not to be removed: the other models are in it
    assert f"Remove {folder}/checkpoint.npz and --resume to train it again" in line
    (folder / "checkpoint.npz").unlink()
    assert main(["run", "long_memory", "--out", str(folder), "--resume"]) == 0
    for name in (".", "gru-6"):
        for x, y in zip(weights(whole / name), weights(folder / name), strict=True):
            assert np.array_equal(x, y)


@pytest.mark.keras
def test_a_model_that_was_begun_with_another_seed_is_not_gone_on_with(
    whole, tmp_path, capsys
):
    import shutil

    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / "gru-6" / "metrics.json").unlink()  # begun, not finished
    path = folder / "gru-6" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["seed"] = 7
    path.write_text(json.dumps(manifest))
    line = resume_is_refused(folder, capsys)
    assert "gru-6: expected to resume with seed=7. Received: seed=42" in line


def test_a_new_run_removes_what_an_earlier_one_left(tmp_path):
    study = MemoryStudy(
        NAME, Config(gaps=(5,)), [], RunOptions(RunFolder(tmp_path)), STUDY_FILES
    )

    def begun(*folders):
        for folder in folders:
            RunFolder(folder).path.mkdir(exist_ok=True)
            RunFolder(folder).write_json("manifest.json", {"recipe": NAME})

    begun(tmp_path, tmp_path / "gru-7", tmp_path / "lstm-50")
    (tmp_path / "memory.csv").touch()
    (tmp_path / "mine-7").mkdir()
    study.open()
    assert [p.name for p in tmp_path.iterdir()] == ["mine-7"]
    begun(tmp_path)
    (tmp_path / "gru-7").mkdir()
    (tmp_path / "gru-7" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"holds notes\.txt"):
        study.open()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--gaps", "5,many"], "--gaps: expected whole numbers with commas"),
        (["--gaps", "4"], "gaps: expected different whole numbers from 5 to 1,000"),
        (["--gaps", "5,5"], "gaps: expected different whole numbers"),
        (["--mask-zero"], "long_memory has no option --mask-zero"),
    ],
)
def test_bad_options_are_one_line(more, message, tmp_path, capsys):
    assert main(["run", "long_memory", "--out", str(tmp_path / "run"), *more]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert message in line
