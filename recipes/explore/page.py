"""Write the page of a run, which shows the model at work on any text, word by word.

``rnn-recipe explore`` writes one file that needs nothing else. It holds the trained
weights, the vocabulary, some test texts with the values that NumPy computed for them,
and a script that evaluates the model for any text that is typed. Keras is not needed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import verify
from recipes import RECIPES
from recipes.data.tweets import SentimentConfig, load_words
from recipes.explore.insight import running_predictions, words_read
from recipes.run.folder import RunFolder
from recipes.run.plan import module
from verify.data.files import write_atomically
from verify.data.text import TextPipeline, clean, stop_words
from verify.errors import DataError, error_prefix, printable
from verify.model.arrays import Array
from verify.report.page import Sample, TextRules, explore, render
from verify.report.report import Report, read_report

RIGHT_TEXTS, WRONG_TEXTS, UNSURE_TEXTS = 5, 4, 2
"""Numbers of texts that the model gets right, that it gets wrong with the greatest
confidence, and that it is least sure of."""

TURNING_TEXTS = 500
"""Number of short texts, of those that the model gets right with the greatest
confidence, among which one is sought whose answer turns at a word."""

SHORT = range(3, 9)
"""Numbers of words of a text that is short."""

MAX_LABEL_LENGTH = 60
"""Characters of a text in the list of texts."""

Answer = str | Sequence[str] | None
Candidate = tuple[str, Answer]
"""A text, and its answer if that is known: a class, or one for every word."""


def write_page(folder: RunFolder, path: Path, texts: Sequence[str] = ()) -> None:
    """Write the page of a finished run.

    Parameters
    ----------
    folder : RunFolder
    path : Path
        The HTML file.
    texts : sequence of str
        Texts to show before those that the recipe offers.

    Raises
    ------
    DataError
        A file of the run is missing or damaged.
    """
    report = _report(folder)
    pipeline = folder.read_pipeline()
    manifest, metrics = (folder.read_json(f"{k}.json") for k in ("manifest", "metrics"))
    net = verify.load(folder / "model.keras")
    _require_fit(folder, net, pipeline)
    _require_its_report(folder, net, report)
    samples, encoded = _samples(net, pipeline, manifest, texts)
    exploration = explore(
        net,
        encoded,
        samples=samples,
        classes=pipeline.classes,
        text=text_rules(pipeline),
        rows=len(samples),
        notes=report.cautions(),
    )
    summary = report.summary(
        title=printable(manifest.get("recipe", folder.path.name)), facts=_facts(metrics)
    )
    page = render(summary, exploration, explorer_first=True)
    write_atomically(path, lambda file: file.write(page.encode()))


def _report(folder: RunFolder) -> Report:
    content = folder.read_json("verification.json")
    with error_prefix(folder / "verification.json"):
        return read_report(content)


def text_rules(pipeline: TextPipeline) -> TextRules:
    """Return the rules by which the page reads texts as the pipeline does."""
    return TextRules(
        words=pipeline.vocabulary.words,
        stop_words=() if pipeline.keep_stop_words else sorted(stop_words()),
        length=pipeline.length,
        padding=pipeline.padding,
        feature_axis=pipeline.feature_axis,
    )


def _facts(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return the metrics that are single numbers, as texts for the head of the page."""
    shown = ("accuracy", "training_accuracy", "macro_f1", "epochs", "parameters")
    return {
        key.replace("_", " "): f"{value:,}"
        if isinstance(value, int)
        else f"{value:.4f}"
        for key in shown
        if isinstance(value := metrics.get(key), (int, float))
    }


def _require_fit(
    folder: RunFolder, net: verify.Network, pipeline: TextPipeline
) -> None:
    """Require a vocabulary and a model that belong together.

    Raises
    ------
    DataError
    """
    outputs = net.predict(pipeline.encode([""])).shape[-1]
    if outputs != len(pipeline.classes):
        raise DataError(
            f"{folder.path}: expected a model of {len(pipeline.classes)} "
            f"classes. Received: {outputs}"
        )
    for layer in net.spec:
        size = int(layer.options.get("input_dim") or 0)
        if layer.class_name == "Embedding" and size != pipeline.vocabulary.size:
            raise DataError(
                f"{folder.path}: expected a model of "
                f"{pipeline.vocabulary.size:,} ids. Received: {size:,}"
            )


def _require_its_report(folder: RunFolder, net: verify.Network, report: Report) -> None:
    """Require a report about this model, since its verdict heads the page.

    Raises
    ------
    DataError
    """
    known = {path: layer.class_name for path, layer in net.spec.walk()}
    for layer in report.layers:
        path, _, _ = layer.name.partition(
            ":"
        )  # the name of a layer that is called again
        if known.get(path) != layer.class_name:
            raise DataError(
                f"{folder / 'verification.json'}: expected the report of the model "
                f"beside it. Received: a report on layer '{printable(layer.name)}' "
                f"({printable(layer.class_name)})"
            )


def _samples(
    net: verify.Network,
    pipeline: TextPipeline,
    manifest: Mapping[str, Any],
    texts: Sequence[str],
) -> tuple[list[Sample], Array]:
    """Return the texts of the page, and the inputs of the model for them."""
    offered = candidates(manifest, pipeline)
    chosen: list[Candidate] = [(text, None) for text in texts]
    first = turning(net, pipeline, offered)
    among = chosen_among(net, pipeline, offered)
    chosen += first + [pair for pair in among if pair not in first]
    if not chosen:
        chosen = [(" ".join(pipeline.vocabulary.words[: pipeline.length]), None)]
    encoded = pipeline.encode([text for text, _ in chosen])
    samples = [_sample(text, answer) for text, answer in chosen]
    return samples, encoded


def _sample(text: str, answer: Answer) -> Sample:
    said = answer if isinstance(answer, str) else " ".join(answer or ())
    return Sample(printable(text, MAX_LABEL_LENGTH), said, text)


def candidates(
    manifest: Mapping[str, Any], pipeline: TextPipeline
) -> Sequence[Candidate]:
    """Return texts that the recipe of a run offers, with their answers.

    They come from the recipe's function ``samples(manifest)`` if it has one, from the
    test tweets for a sentiment recipe, else from its ``SHOWN_TEXTS``.
    """
    recipe = manifest.get("recipe")
    if recipe not in RECIPES:
        return ()
    own = module(recipe)
    if hasattr(own, "samples"):
        return list(own.samples(manifest))
    if issubclass(own.Config, SentimentConfig):
        try:
            return _tweets(manifest, pipeline)
        except DataError as error:
            print(f"without tweets of the test set: {error}", file=sys.stderr)
            return ()
    shown = getattr(own, "SHOWN_TEXTS", ())
    return [(text, None) for text in ((shown,) if isinstance(shown, str) else shown)]


def _tweets(manifest: Mapping[str, Any], pipeline: TextPipeline) -> list[Candidate]:
    csv = manifest.get("csv")
    split = load_words(csv if isinstance(csv, str) else None)
    if split.tweets.sha256 != manifest.get("data_sha256"):
        raise DataError(
            "expected the data that the run was trained on. Received: data with "
            "another checksum"
        )
    return [
        (text, pipeline.classes[label])
        for text, label in zip(split.written_test, split.y_test, strict=True)
        if clean(text).strip()
    ]


def turning(
    net: verify.Network, pipeline: TextPipeline, offered: Sequence[Candidate]
) -> list[Candidate]:
    """Return the text whose answer a single word turns most, if there is one.

    Such a text shows best what the page shows. If it ended on the way, the answer would
    be wrong up to a word, and right from that word to the end.
    """
    known = [
        (text, str(answer))
        for text, answer in offered
        if answer in pipeline.classes and len(words_read(pipeline, text)) in SHORT
    ]
    if not known or pipeline.outputs != "class":
        return []
    scores = net.predict(pipeline.encode([text for text, _ in known]))
    if scores.ndim != 2:
        return []
    truth = np.array([pipeline.classes.index(answer) for _, answer in known])
    right = [
        k
        for k in np.argsort(-scores.max(axis=1), kind="stable")
        if scores[k].argmax() == truth[k]
    ]
    surest = right[:TURNING_TEXTS]
    if not surest:
        return []
    x = pipeline.encode([known[k][0] for k in surest])
    running = running_predictions(net, x, pipeline.padding)  # (texts, time, classes)
    read = x.reshape(len(x), -1) != 0
    rises = [
        rise_of(answers[words], truth[k])
        for k, answers, words in zip(surest, running, read, strict=True)
    ]
    best = int(np.argmax(rises))
    return [known[surest[best]]] if rises[best] > 0 else []


def rise_of(answers: Array, truth: int) -> float:
    """Return by how much the true class rises at the word that turns the answer.

    Parameters
    ----------
    answers : (words, classes)
        The answer of the model after each word.
    truth : int
        The true class.

    Returns
    -------
    float
        0 if the answer is right from the first word on, or wrong at the last.
    """
    wrong = np.flatnonzero(answers.argmax(axis=1) != truth)
    if not wrong.size or wrong[-1] == len(answers) - 1:
        return 0.0
    turn = wrong[-1] + 1
    return float(answers[turn, truth] - answers[turn - 1, truth])


def chosen_among(
    net: verify.Network, pipeline: TextPipeline, offered: Sequence[Candidate]
) -> list[Candidate]:
    """Choose some texts that the model gets right, gets wrong, and is unsure of.

    Right and wrong ones are taken from the classes in turn, the surest answers first.
    """
    few = RIGHT_TEXTS + WRONG_TEXTS + UNSURE_TEXTS
    known = [pair for pair in offered if pair[1] in pipeline.classes]
    if len(offered) <= few or not known:
        return list(offered[:few])
    scores = net.predict(pipeline.encode([text for text, _ in known]))
    if scores.ndim != 2:
        return list(offered[:few])
    truth = np.array([pipeline.classes.index(str(answer)) for _, answer in known])
    answers, sure = scores.argmax(axis=1), scores.max(axis=1)
    by_confidence = np.argsort(-sure, kind="stable")
    right = [k for k in by_confidence if answers[k] == truth[k]]
    wrong = [k for k in by_confidence if answers[k] != truth[k]]
    picked = _in_turn(right, truth, RIGHT_TEXTS) + _in_turn(wrong, truth, WRONG_TEXTS)
    picked += [k for k in by_confidence[::-1] if k not in picked][:UNSURE_TEXTS]
    return [known[k] for k in picked]


def _in_turn(rows: Sequence[int], groups: Array, count: int) -> list[int]:
    """Return the first rows, one of each group in turn."""
    queues = [
        [k for k in rows if groups[k] == group]
        for group in dict.fromkeys(groups[k] for k in rows)
    ]
    turns = [
        queue[turn] for turn in range(count) for queue in queues if turn < len(queue)
    ]
    return turns[:count]
