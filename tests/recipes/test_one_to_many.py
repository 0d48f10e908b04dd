"""A class goes in, a phrase comes out: the state counts the steps."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest

import verify
from recipes.__main__ import main
from recipes.data.grammar import REPLIES
from recipes.explore.answer import phrase
from recipes.one_to_many import OUTPUT_WORDS, PHRASE_LENGTH, by_position, score, targets
from recipes.run.folder import END_OF_PHRASE


def test_neither_the_position_nor_the_word_before_decides_the_next_word():
    at, after = defaultdict(set), defaultdict(set)
    for reply in REPLIES.values():
        words = [*reply.split(), END_OF_PHRASE]
        assert 4 <= len(words) - 1 <= PHRASE_LENGTH
        for k, word in enumerate(words):
            at[k].add(word)
            if k:
                after[words[k - 1]].add(word)
    assert all(len(at[k]) > 1 for k in range(PHRASE_LENGTH))
    assert len([word for word in after if len(after[word]) > 1]) >= 6
    assert len(set(REPLIES.values())) == len(REPLIES)


def test_the_targets_are_the_phrases_and_their_ends():
    labels = targets()
    assert labels.shape == (len(REPLIES), PHRASE_LENGTH)
    assert [phrase(OUTPUT_WORDS[k] for k in row) for row in labels] == list(
        REPLIES.values()
    )
    assert OUTPUT_WORDS[0] == END_OF_PHRASE


def test_the_end_does_not_count_as_a_word_but_belongs_to_the_phrase():
    labels = targets()
    assert score(labels, labels) == (1.0, 1.0)
    chatter = np.where(labels == 0, 1, labels)  # goes on behind the last word
    words, phrases = score(chatter, labels)
    assert words == 1.0
    assert phrases == np.mean((labels > 0).all(axis=1)) < 0.5
    words, phrases = score(np.roll(labels, 1, axis=1), labels)
    assert words < 0.1
    assert phrases == 0.0
    silent = np.zeros_like(labels)
    assert score(silent, labels) == (0.0, 0.0)


def test_guessing_by_position_is_right_on_few_words():
    words, phrases = score(by_position(targets()), targets())
    assert words < 0.3
    assert phrases == 0.0


@pytest.mark.keras
def test_an_lstm_says_every_phrase(tmp_path, capsys):
    whole = tmp_path / "run"
    assert main(["run", "one_to_many", "--epochs", "220", "--out", str(whole)]) == 0
    printed = capsys.readouterr().out
    for name, reply in REPLIES.items():
        assert f"{name:<8}  {reply}\n" in printed
    assert "wrong" not in printed
    metrics = json.loads((whole / "metrics.json").read_text())
    assert (metrics["training_accuracy"], metrics["phrases_right"]) == (1.0, 1.0)
    assert metrics["verdict"] == "PASS"

    assert main(["predict", str(whole), "Delay!"]) == 0
    used, said = capsys.readouterr().out.splitlines()
    assert used == "used: delay"
    assert said.split(maxsplit=1)[1] == REPLIES["delay"]
    assert 0.2 < float(said.split()[0]) <= 1
    assert main(["predict", str(whole), "lateness"]) == 2
    error = capsys.readouterr().err
    assert "expected one of greeting, thanks, delay" in error
    assert "Received: lateness" in error


@pytest.mark.keras
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = ["run", "one_to_many", "--epochs"]
    assert main([*command, "8", "--out", str(whole)]) == 0
    assert "(should be: " in capsys.readouterr().out
    assert main([*command, "3", "--out", str(parts)]) == 0
    assert main([*command, "8", "--out", str(parts), "--resume"]) == 0
    assert "resuming after epoch 3" in capsys.readouterr().err
    a, b = (verify.load(folder / "model.keras").spec for folder in (whole, parts))
    for x, y in zip(a, b, strict=True):
        for name, weights in x.weights.items():
            assert np.array_equal(weights, y.weights[name]), name


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--batch-size", "3"], "one_to_many has no option --batch-size"),
        (["--units", "none"], "--units: expected a whole number"),
    ],
)
def test_bad_options_are_one_line(more, message, tmp_path, capsys):
    assert main(["run", "one_to_many", "--out", str(tmp_path / "run"), *more]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert message in line
