"""rnn-recipe explore: the page of a run, from its folder alone."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import commands
from support.nets import (
    OUTPUTS,
    TIME,
    input_layer,
    layer,
    random_layers,
    sequential,
    write_keras_file,
)

import verify
from recipes import PAGE_FILE
from recipes.__main__ import main
from recipes.data import airline
from recipes.data.tweets import load_split
from recipes.explore.page import candidates, chosen_among, rise_of, turning
from recipes.run.folder import RunFolder
from verify.data.text import TextPipeline, Vocabulary

WORDS = ("good", "bad", "flight", "late", "again", "crew")
CLASSES = ("negative", "positive")


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """A finished run over six words, made by hand."""
    config = sequential(
        input_layer(None, TIME, dtype="int32"),
        layer(
            "Embedding", "embedding", input_dim=len(WORDS) + 1, output_dim=3,
            mask_zero=True,
        ),
        layer("LSTM", "lstm", units=4),
        layer("Dense", "dense", units=OUTPUTS, activation="softmax"),
    )  # fmt: skip
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    weights = random_layers(config, 0, np.float32)
    write_keras_file(run / "model.keras", config, list(weights.values()))
    net = verify.load(run / "model.keras")
    pipeline = TextPipeline(Vocabulary(WORDS), TIME, "post", False, False, CLASSES)
    x = pipeline.encode(["good flight", "late again bad crew"])
    run.write_pipeline(pipeline)
    report = verify.compare_outputs(net, x, net.predict(x))
    run.write_json("verification.json", report.to_dict())
    run.write_json("metrics.json", {"recipe": "mine", "accuracy": 0.75, "epochs": 2})
    run.write_json("manifest.json", {"recipe": "mine", "config": {}})
    return run


def data(page: Path) -> dict:
    text = page.read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))


def numbers(packed: dict) -> np.ndarray:
    kinds = {"f4": "<f4", "f8": "<f8", "i4": "<i4", "u1": "u1"}
    raw = base64.b64decode(packed["data"])
    return np.frombuffer(raw, kinds[packed["dtype"]]).reshape(packed["shape"])


def refused(capsys, *arguments: str) -> str:
    return commands.refused(main, capsys, "explore", *arguments)


def test_the_page_lies_in_the_folder_and_its_path_is_printed(folder, capsys):
    assert main(["explore", str(folder.path), "--text", "a good crew"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{folder / PAGE_FILE}\n"
    assert captured.err == ""
    page = folder / PAGE_FILE
    assert ">PASS</span> mine" in page.read_text()
    assert "0.7500" in page.read_text()
    content = data(page)
    assert content["samples"][0]["text"] == "a good crew"
    assert content["text"]["words"] == list(WORDS)
    assert "the" in content["text"]["stop_words"]
    assert content["classes"] == list(CLASSES)
    assert numbers(content["input"]["values"])[0].tolist() == [1, 6, 0, 0, 0, 0]
    net = verify.load(folder / "model.keras")
    x = folder.read_pipeline().encode(["a good crew"])
    assert np.abs(numbers(content["output"]) - net.predict(x)).max() < 1e-6


def test_the_page_may_be_written_elsewhere(folder, tmp_path, capsys):
    out = tmp_path / "there.html"
    assert main(["explore", str(folder.path), "--out", str(out)]) == 0
    assert out.exists()
    assert not (folder / PAGE_FILE).exists()
    capsys.readouterr()
    line = refused(capsys, str(folder.path), "--out", str(tmp_path / "page.txt"))
    assert "ending in .html" in line


def test_a_run_that_begins_anew_takes_the_page_away(folder):
    assert main(["explore", str(folder.path)]) == 0
    folder.clear()
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["verification.json", "vocabulary.json", "metrics.json", "manifest.json"],
)
@pytest.mark.parametrize("damage", ["missing", "not JSON", "a list", "empty"])
def test_a_missing_or_damaged_file_is_one_line(name, damage, folder, capsys):
    if damage == "missing":
        (folder / name).unlink()
    else:
        content = {"not JSON": "{", "a list": "[]", "empty": "{}"}[damage]
        (folder / name).write_text(content)
        if damage == "empty" and name in ("metrics.json", "manifest.json"):
            assert main(["explore", str(folder.path)]) == 0
            return
    line = refused(capsys, str(folder.path))
    assert name in line
    assert re.search("damaged|expected the folder of a finished run", line)


def test_a_model_of_other_classes_or_words_is_refused(folder, capsys):
    fields = json.loads((folder / "vocabulary.json").read_text())
    folder.write_json("vocabulary.json", fields | {"classes": ["one"]})
    assert "expected a model of 1 classes. Received: 2" in refused(
        capsys, str(folder.path)
    )
    folder.write_json("vocabulary.json", fields | {"vocabulary": list("abcdefghij")})
    assert "expected a model of 11 ids. Received: 7" in refused(
        capsys, str(folder.path)
    )
    folder.write_json("vocabulary.json", fields | {"length": 9})
    assert f"(batch, {TIME})" in refused(capsys, str(folder.path))


def test_no_keras_is_imported(folder):
    code = (
        "import sys; from recipes.__main__ import main; "
        f"assert main(['explore', {str(folder.path)!r}]) == 0; "
        "sys.exit(any(m in sys.modules for m in ('keras', 'tensorflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- which texts are shown


def test_tweets_of_the_test_set_come_with_what_they_are():
    split = load_split(None, "post")
    texts, sha256 = split.written_test, airline.PACKAGE_SHA256
    assert np.array_equal(split.pipeline.encode(texts), split.x_test)
    manifest = {"recipe": "sentiment_lstm", "csv": None, "data_sha256": sha256}
    offered = candidates(manifest, split.pipeline)
    assert len(offered) == len(texts)
    assert set(offered) <= {
        (text, CLASSES[label]) for text, label in zip(texts, split.y_test, strict=True)
    }


def test_without_the_data_of_the_run_there_are_no_tweets(tmp_path, capsys):
    pipeline = load_split(None, "post").pipeline
    manifest = {"recipe": "sentiment_lstm", "csv": None, "data_sha256": "other"}
    assert candidates(manifest, pipeline) == ()
    assert "another checksum" in capsys.readouterr().err
    manifest["csv"] = str(tmp_path / "gone.csv")
    assert candidates(manifest, pipeline) == ()
    assert "No such file" in capsys.readouterr().err


class Certain:
    """A model that says what it is told to."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = np.array([[1 - s, s] for s in scores])

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.scores


def test_some_are_right_some_confidently_wrong_some_undecided():
    pipeline = TextPipeline(Vocabulary(WORDS), TIME, "post", False, False, CLASSES)
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=200).tolist()
    truth = rng.integers(0, 2, size=200)
    offered = [(f"text {k}", CLASSES[t]) for k, t in enumerate(truth)]
    chosen = chosen_among(Certain(scores), pipeline, offered)
    rows = [int(text.split()[1]) for text, _ in chosen]
    assert len(set(rows)) == len(rows) == 11
    right = [(scores[k] > 0.5) == truth[k] for k in rows]
    sure = [abs(scores[k] - 0.5) for k in rows]
    assert right[:9] == [True] * 5 + [False] * 4
    assert min(sure[:9]) > 0.4
    assert max(sure[9:]) < 0.05
    assert {truth[k] for k in rows[:5]} == {truth[k] for k in rows[5:9]} == {0, 1}


@pytest.mark.parametrize(
    ("positive", "truth", "rise"),
    [
        ([0.1, 0.2, 0.9, 0.8], 1, 0.7),
        ([0.1, 0.6, 0.3, 0.9], 1, 0.6),  # it is the last turn that counts
        ([0.9, 0.8, 0.1], 0, 0.7),
        ([0.6, 0.8, 0.9], 1, 0.0),  # right from the first word on
        ([0.9, 0.8, 0.1], 1, 0.0),  # wrong in the end
        ([0.7], 1, 0.0),
    ],
)
def test_the_word_that_turns_an_answer(positive, truth, rise):
    answers = np.array([[1 - p, p] for p in positive])
    assert rise_of(answers, truth) == pytest.approx(rise)


def test_a_page_begins_with_a_text_that_a_word_turns(tmp_path):
    """Whatever the model is: one of its right answers must have turned."""
    config = sequential(
        input_layer(None, TIME, dtype="int32"),
        layer(
            "Embedding", "embedding", input_dim=len(WORDS) + 1, output_dim=3,
            mask_zero=True,
        ),
        layer("SimpleRNN", "rnn", units=4),
        layer("Dense", "dense", units=OUTPUTS, activation="softmax"),
    )  # fmt: skip
    weights = random_layers(config, 0, np.float32)
    large = [[3 * weight for weight in some] for some in weights.values()]
    write_keras_file(tmp_path / "model.keras", config, large)
    net = verify.load(tmp_path / "model.keras")
    pipeline = TextPipeline(Vocabulary(WORDS), TIME, "post", False, False, CLASSES)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=4)) for _ in range(60)]
    says = net.predict(pipeline.encode(texts)).argmax(axis=1)
    offered = [(text, CLASSES[k]) for text, k in zip(texts, says, strict=True)]
    ((text, answer),) = turning(net, pipeline, offered)
    read, truth = text.split(), CLASSES.index(answer)
    parts = [" ".join(read[: k + 1]) for k in range(len(read))]
    on_the_way = net.predict(pipeline.encode(parts)).argmax(axis=1)
    assert on_the_way[-1] == truth
    assert (on_the_way != truth).any()
    assert turning(net, pipeline, [(text, "other") for text, _ in offered]) == []
    assert turning(net, pipeline, [("good", CLASSES[k]) for k in (0, 1)]) == []


@pytest.mark.parametrize(
    ("recipe", "text", "answer"),
    [
        ("toy_lstm", "this is", "an"),
        ("toy_rnn", "is an", "example"),
        ("word_order", "the dog is faster than the cat", "dog"),
    ],
)
def test_recipes_offer_texts_with_answers(recipe, text, answer):
    pipeline = TextPipeline(Vocabulary(WORDS), TIME, "post", True, False, CLASSES)
    assert (text, answer) in candidates({"recipe": recipe}, pipeline)


def test_an_unknown_recipe_offers_none(folder):
    assert candidates({"recipe": "mine"}, folder.read_pipeline()) == ()
    assert candidates({}, folder.read_pipeline()) == ()
    assert main(["explore", str(folder.path)]) == 0
    assert len(data(folder / PAGE_FILE)["samples"]) == 1


# ---- files that were edited or damaged by hand


@pytest.mark.parametrize("command", ["explore", "predict"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("length", -1), ("length", 0), ("length", 10**12), ("length", float("inf")),
        ("length", True), ("length", "6"), ("vocabulary", "abcdef"),
        ("vocabulary", [1, None]), ("vocabulary", {"good": 1}), ("classes", "ab"),
        ("padding", "left"), ("padding", ["pre"]), ("keep_stop_words", "no"),
        ("feature_axis", None), ("outputs", ["class"]),
    ],
)  # fmt: skip
def test_a_vocabulary_that_no_run_writes_is_one_line(
    command, key, value, folder, capsys
):
    fields = json.loads((folder / "vocabulary.json").read_text())
    (folder / "vocabulary.json").write_text(json.dumps(fields | {key: value}))
    text = () if command == "explore" else ("good",)
    assert main([command, str(folder.path), *text]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert "vocabulary.json: expected the vocabulary of a run" in line
    assert f"({key}=" in line


def test_json_nested_without_end_is_one_line(folder, capsys):
    for name in ("vocabulary.json", "manifest.json"):
        whole = (folder / name).read_bytes()
        (folder / name).write_text("[" * 100_000)
        assert "The file is damaged" in refused(capsys, str(folder.path))
        (folder / name).write_bytes(whole)


def test_predict_says_nothing_before_it_knows_that_model_and_words_fit(folder, capsys):
    fields = json.loads((folder / "vocabulary.json").read_text())
    for changed in ({"length": 3}, {"classes": ["one"]}):
        folder.write_json("vocabulary.json", fields | changed)
        assert main(["predict", str(folder.path), "good"]) == 2
        assert capsys.readouterr().out == ""


def test_a_vocabulary_smaller_than_the_model_is_refused(folder, capsys):
    fields = json.loads((folder / "vocabulary.json").read_text())
    folder.write_json("vocabulary.json", fields | {"vocabulary": ["good", "bad"]})
    line = refused(capsys, str(folder.path))
    assert "expected a model of 3 ids. Received: 7" in line


def test_the_report_of_another_model_is_refused(folder, capsys):
    report = json.loads((folder / "verification.json").read_text())
    result = layer_result(report)
    folder.write_json("verification.json", report | {"layers": [result]})
    assert main(["explore", str(folder.path)]) == 0
    capsys.readouterr()
    for changed in ({"name": "gru"}, {"class_name": "GRU"}):
        layers = [result, result | changed]
        folder.write_json("verification.json", report | {"layers": layers})
        line = refused(capsys, str(folder.path))
        assert "expected the report of the model beside it" in line
        assert "'gru'" in line or "(GRU)" in line


def layer_result(report: dict) -> dict:
    """Return the report of a check of the LSTM, as JSON."""
    from verify.report.report import LayerResult

    values = {f.name: None for f in dataclasses.fields(LayerResult)}
    comparisons = {"proof": report["numerics"], "numerics": report["numerics"]}
    kept = {"name": "lstm", "class_name": "LSTM", "units": 4, "chunks": 0}
    kept |= {"decided": True, "derived": 0, "amplified": 0, "began": 0}
    kept |= {"in_single": False}
    return values | comparisons | kept


def test_a_name_too_long_for_the_page_is_one_line(folder, capsys):
    line = refused(capsys, str(folder.path), "--out", f"{'n' * 300}.html")
    assert "cannot be written" in line
    assert "expected the folder" in refused(capsys, "n" * 200)
    assert "cannot be" in refused(capsys, "n" * 5000)


@pytest.mark.parametrize("seed", [-1, None, "1", True, 10**30])
def test_a_manifest_with_any_seed_offers_sentences(seed):
    pipeline = TextPipeline(Vocabulary(WORDS), TIME, "post", True, False, CLASSES)
    manifest = {"recipe": "word_order", "config": {"seed": seed}}
    assert candidates(manifest, pipeline)
