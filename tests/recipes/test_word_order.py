"""Sentences whose words are the same and whose answers are not."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest
from quickly import few

import verify
from recipes.__main__ import main
from recipes.data.grammar import ANIMALS, COMPARATIVES, comparisons
from recipes.word_order import bag_of_words


def test_every_bag_of_words_has_two_answers():
    sentences = comparisons(seed=3)
    assert len(sentences.texts) == len(set(sentences.texts)) == 12 * 11 * 8
    answers = defaultdict(set)
    for text, answer in zip(sentences.texts, sentences.answers, strict=True):
        assert answer in text.split()
        answers[tuple(sorted(text.split()))].add(answer)
    assert all(len(found) == 2 for found in answers.values())


def test_the_answers_are_right():
    found = dict(zip(comparisons(0).texts, comparisons(0).answers, strict=True))
    assert found["the cat is faster than the dog"] == "cat"
    assert found["the dog is faster than the cat"] == "dog"
    assert found["the cat is slower than the dog"] == "dog"
    assert found["the lion is weaker than the ant"] == "ant"
    for text, answer in found.items():
        _, first, _, comparative, _, _, second = text.split()
        assert answer == (first if COMPARATIVES[comparative] else second)


def test_no_pair_of_the_test_is_among_those_that_are_learnt():
    sentences = comparisons(seed=3)
    pairs: dict[bool, set] = {True: set(), False: set()}
    for text, test in zip(sentences.texts, sentences.test, strict=True):
        pairs[test].add(frozenset(word for word in text.split() if word in ANIMALS))
    assert not pairs[True] & pairs[False]
    assert len(pairs[True]) == 20
    learnt = {animal for pair in pairs[False] for animal in pair}
    assert learnt == set(ANIMALS)  # each alone is known
    assert comparisons(3) == sentences
    assert comparisons(4).sha256 != sentences.sha256


def test_a_bag_of_words_is_right_half_of_the_time_at_most():
    learnt, test = bag_of_words(comparisons(seed=3))
    assert learnt <= 0.5
    assert test <= 0.5


@pytest.mark.keras
def test_a_simple_rnn_learns_what_a_bag_of_words_cannot(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(verify, "check", few(verify.check))
    folder = tmp_path / "run"
    assert main(["run", "word_order", "--epochs", "15", "--out", str(folder)]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["accuracy"] > 0.95
    assert metrics["baselines"]["bag_of_words"] == 0.5
    assert metrics["verdict"] == "PASS"
    assert "the cat is faster than the dog -> cat" in printed
    assert "the dog is faster than the cat -> dog" in printed
    assert main(["predict", str(folder), "the lion is smaller than the ant"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("ant")
    assert main(["run", "word_order", "--padding", "pre"]) == 2
    assert "no option --padding" in capsys.readouterr().err
