"""Say what was changed by hand in a network that is given, with its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from support.nets import ids, lstm_spec

from verify import Network
from verify.mistakes.changed import changed_layer
from verify.model.spec import LayerSpec, ModelSpec

OWN = lstm_spec()
(LSTM,) = (path for path, x in OWN.walk() if x.class_name == "LSTM")


def with_change(change: Callable[[LayerSpec], LayerSpec], path=LSTM) -> ModelSpec:
    return OWN.with_layer(change(OWN[path]), path)


def number(layer: LayerSpec, weight: str, *places, by: float = 0.5) -> LayerSpec:
    value = layer.weights[weight].copy()
    for place in places:
        value[place] += by
    return layer.with_weights(**{weight: value})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: number(x, "kernel", (2, 9)), "in kernel[2, 9] (gate c of unit 1)"),
        (
            lambda x: number(x, "bias", 0, 5),
            "has 2 other numbers in bias, first",
        ),
        (
            lambda x: x.with_options(activation="relu", go_backwards=True),
            "has activation='relu' in place of 'tanh' and "
            "go_backwards=True in place of False",
        ),
        (lambda x: x.with_overrides(step=lambda *_: None), "functions of its own"),
    ],
)
def test_each_change_is_said(change, says):
    found = changed_layer(OWN, with_change(change), LSTM)
    assert found is not None
    assert found.layer == LSTM
    assert says in found.explanation


def test_the_mutant_computes_what_the_network_does():
    other = with_change(lambda x: number(x, "recurrent_kernel", (1, 3)))
    found = changed_layer(OWN, other, LSTM)
    x = ids()
    theirs = Network(other).predict(x)
    assert np.array_equal(Network(found.model).predict(x), theirs)
    assert not np.array_equal(Network(OWN).predict(x), theirs)


def test_a_layer_inside_another_is_named_by_its_path():
    inner = OWN[LSTM]
    outer = replace(OWN["dense"], sublayers={"one": inner, "two": inner})
    own = OWN.with_layer(outer)
    other = own.with_layer(number(inner, "kernel", (0, 1)), "dense/two")
    assert changed_layer(own, other, "dense").layer == "dense/two"
    other = other.with_layer(number(inner, "bias", 0), "dense/one")
    found = changed_layer(own, other, "dense")
    assert found.layer == "dense"
    assert "of 'dense/one' and" in found.explanation


def test_of_many_changes_the_first_are_said():
    options = {"activation": "relu", "use_bias": True, "units": 4}
    options |= {"unroll": True, "go_backwards": True, "recurrent_activation": "tanh"}
    found = changed_layer(OWN, with_change(lambda x: x.with_options(**options)), LSTM)
    assert found.explanation.endswith(" more")
    assert found.explanation.count("in place of") == 3


def test_the_same_layer_and_one_that_is_not_there_are_no_change():
    assert changed_layer(OWN, OWN, LSTM) is None
    assert changed_layer(OWN, OWN, "nowhere") is None
