"""A mistake that cannot be tried ends neither a search nor a selftest, and is said."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.nets import ids, rnn, word_net

from verify import Network, compare_outputs, selftest
from verify.errors import DataError
from verify.mistakes import catalogue as package
from verify.mistakes.catalogue import Attempts, catalogue
from verify.mistakes.catalogue.attempts import SHOWN_MISTAKES, Untried, untried_sentence
from verify.mistakes.catalogue.mistake import Mistake, Mutant

MODEL = word_net(rnn("GRU"))


def _raise(error):
    def raising(*_):
        raise error

    return raising


def of_unequal_sizes(layer):
    """Fail at once, as an operator does that takes every layer for a square one."""
    if layer.class_name == "GRU":
        np.concatenate([np.ones((2, 3)), np.ones((3, 2))], axis=1)
    yield from ()


def half_wrong(layer):
    """Yield a mistake that is one, and one that cannot be made."""
    if layer.class_name == "GRU":
        yield Mistake(
            "bias is 7", "it is 7", "take the bias",
            lambda x: x.with_weights(bias=np.full_like(x.weights["bias"], 7)),
        )  # fmt: skip
        yield Mistake("too narrow", "", "", _raise(DataError("another shape")))


def without_outputs(spec):
    """Yield a whole model that cannot be evaluated."""
    yield Mutant("no outputs", "", "", "", spec, inputs=_raise(IndexError("out")))


PLANTED = {
    ("of unequal sizes", "rnn"): "ValueError: all the input array dimensions",
    ("too narrow", "rnn"): "DataError: another shape",
    ("no outputs", ""): "IndexError: out",
}


@pytest.fixture
def defects(monkeypatch):
    """Plant operators that fail among those of the catalogue, in front."""
    operators = (of_unequal_sizes, half_wrong, *package.MUTATION_OPERATORS)
    monkeypatch.setattr(package, "MUTATION_OPERATORS", operators)
    models = (without_outputs, *package.MODEL_OPERATORS)
    monkeypatch.setattr(package, "MODEL_OPERATORS", models)


def test_the_catalogue_goes_on_behind_a_defect(monkeypatch):
    whole = [(m.name, m.layer) for m in catalogue(MODEL)]
    operators = (of_unequal_sizes, half_wrong, *package.MUTATION_OPERATORS)
    monkeypatch.setattr(package, "MUTATION_OPERATORS", operators)
    attempts = Attempts()
    found = [(m.name, m.layer) for m in catalogue(MODEL, attempts=attempts)]
    assert sorted(found) == sorted([*whole, ("bias is 7", "rnn")])
    assert [x.mistake for x in attempts.untried.values()] == [
        "of unequal sizes",
        "too narrow",
    ]


def said(untried, wanted):
    assert {(x.mistake, x.layer) for x in untried} == set(wanted)
    for x in untried:
        assert x.error.startswith(wanted[x.mistake, x.layer])


@pytest.mark.usefixtures("defects")
def test_the_selftest_counts_and_names_what_it_could_not_plant():
    x = ids(batch=40)
    found = selftest(Network(MODEL), x)
    said(found.untried, PLANTED)
    assert not {"too narrow", "no outputs"} & {r.mistake for r in found.results}
    sentence = "3 mistakes could not be tried on this model: "
    assert sentence in str(found)
    assert [x["mistake"] for x in json.loads(found.to_json())["untried"]] == [
        x.mistake for x in found.untried
    ]


@pytest.mark.usefixtures("defects")
def test_the_search_for_a_mistake_goes_on_and_says_so():
    x = ids(batch=40)
    wrong = next(m for m in catalogue(MODEL) if m.name == "bias is 7")
    report = compare_outputs(Network(MODEL), x, wrong.evaluate(x, None)[0])
    assert report.diagnosis.explanations[0].mistake == "bias is 7"
    names = {x.mistake for x in report.diagnosis.untried}
    assert names <= {mistake for mistake, _ in PLANTED}
    assert {"of unequal sizes", "too narrow"} <= names
    assert "could not be tried on this model: of unequal sizes" in str(report)


def test_a_model_that_every_mistake_can_be_tried_on_says_nothing():
    assert selftest(Network(MODEL), ids(batch=40)).untried == ()
    assert Attempts().sentence == ""


def test_a_defect_that_has_nothing_to_do_with_a_mistake_is_not_hidden():
    attempts = Attempts()
    with pytest.raises(AssertionError):
        list(attempts.each(_raise(AssertionError()), MODEL))
    with pytest.raises(KeyboardInterrupt):
        attempts.result("", "", _raise(KeyboardInterrupt()))
    assert not attempts.untried


def test_many_are_counted_and_some_are_named():
    one = Untried("first", "a", "")
    assert untried_sentence([one]) == (
        "1 mistake could not be tried on this model: first"
    )
    many = [replace(one, mistake=f"m{k}") for k in range(SHOWN_MISTAKES + 2)]
    assert untried_sentence([*many, replace(many[0], layer="b")]) == (
        "8 mistakes could not be tried on this model: m0, m1, m2, m3, m4 and 2 more"
    )
