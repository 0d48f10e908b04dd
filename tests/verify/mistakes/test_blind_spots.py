"""Blind spots are found, and each mistake is tied to those that hide it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.any_layer import chain
from support.nets import (
    INPUTS,
    TIME,
    UNITS,
    features,
    ids,
    input_layer,
    layer,
    spec,
    word_net,
)

from verify import Network, selftest
from verify.mistakes import catalogue as mistakes
from verify.mistakes.blind_spots import blind_spots
from verify.mistakes.catalogue import catalogue, time, weights
from verify.mistakes.catalogue.mistake import Need

KINDS = ("SimpleRNN", "LSTM", "GRU")


def words(kind="LSTM", units=UNITS, mask_zero=True, zero_bias=False, scale=1.0):
    model = word_net(
        layer(kind, "rnn", units=units, return_sequences=True),
        layer(kind, "last", units=units),
        time=None,
        mask_zero=mask_zero,
    )
    rnn = model["rnn"]
    weights = {key: value * np.float32(scale) for key, value in rnn.weights.items()}
    if zero_bias:
        weights["bias"] = np.zeros_like(weights["bias"])
    return model.with_layer(rnn.with_weights(**weights))


def padded(rows=40):
    """Ids of words with padding on the left of some rows, and holes in others."""
    x = ids(batch=rows)
    x[x == 0] = 1
    x[::2, :2] = x[1::3, 3] = 0
    return x


def right_padded():
    x = padded()
    x[x == 0] = 1
    x[::2, 4:] = 0
    return x


def unpadded():
    return np.maximum(padded(), 1)


BINS = chain([(None, 1)], layer("Discretization", "bins", bin_boundaries=[0.5, 2.0]))
TOKENS = chain(
    [(None, 1)],
    layer("IntegerLookup", "tokens", vocabulary=[7, 3], mask_token=0),
    dtypes=["int64"],
)

CASES = [
    (words(), padded(), set()),
    (words(), padded(1), {Need.SEVERAL_ROWS, Need.SEVERAL_BATCHES}),
    (words(), padded(20), {Need.SEVERAL_BATCHES}),
    (words(), padded()[:, 3:4], {Need.SEVERAL_STEPS}),
    (words(units=1), padded(), {Need.SEVERAL_UNITS}),
    (words("GRU", scale=1e4), padded(), {Need.OPEN_GATES, Need.OPEN_OWN_GATE}),
    (words(), unpadded(), {Need.MASKED_STEPS, Need.ID_ZERO}),
    (words(), right_padded(), {Need.MASKED_STEPS_BEFORE_OTHERS}),
    (words(mask_zero=False), unpadded(), {Need.ID_ZERO}),
    (words(zero_bias=True), padded(), {Need.BIAS}),
    (BINS, np.full((40, 1), 0.7), {Need.NUMBERS_AT_BOUNDARIES}),
    (TOKENS, np.full((40, 1), 7), {Need.UNKNOWN_TOKENS}),
]


def lacked(model, x):
    net = Network(model)
    given = net.prepare(x)
    return {n for spot in blind_spots(net, given, given.rows) for n in spot.lacks}


def used():
    """The needs of all mistakes in models of every kind, with masks and without."""
    models = [words(kind, mask_zero=mask) for kind in KINDS for mask in (True, False)]
    models += [BINS, TOKENS]
    return {n for model in models for m in catalogue(model) for n in m.needs}


@pytest.mark.parametrize(("model", "x", "needs"), CASES)
def test_what_is_lacking_is_found(model, x, needs):
    found = lacked(model, x)
    if x.shape[1] == 1:  # a single step has no masked step before another
        found -= {Need.MASKED_STEPS, Need.MASKED_STEPS_BEFORE_OTHERS}
    assert found == needs


def test_every_need_is_that_of_some_mistake_and_may_be_lacking():
    assert used() == set(Need)
    assert {n for *_, needs in CASES for n in needs} == set(Need)


def test_a_need_that_no_mistake_has_any_more_would_be_found(monkeypatch):
    kept = [o for o in mistakes.MUTATION_OPERATORS if o is not weights.wrong_bias]
    monkeypatch.setattr(mistakes, "MUTATION_OPERATORS", tuple(kept))
    assert set(Need) - used() == {Need.OPEN_OWN_GATE}


@pytest.mark.slow
def test_a_mistake_without_its_need_loses_its_reason(monkeypatch):
    net, x, name = Network(words()), right_padded(), "length counted from the mask"

    def reason():
        survivors = selftest(net, x).survivors
        return next(result.reason for result in survivors if result.mistake == name)

    assert "false on the right alone" in reason()
    needless = [replace(m, needs=frozenset()) for m in time.MASK_MISTAKES]
    monkeypatch.setattr(time, "MASK_MISTAKES", tuple(needless))
    assert reason() == "the outputs are the same either way"


def test_the_name_of_a_mistake_decides_nothing():
    net = Network(words("GRU", zero_bias=True))
    x = net.prepare(unpadded()[:1, :1])
    spots = blind_spots(net, x, x.rows)
    hidden = [(s, m) for s in spots for m in catalogue(net.spec) if s.hides(m)]
    assert len(hidden) > 50
    assert all(s.hides(replace(m, name="renamed")) for s, m in hidden)


def test_a_blind_spot_of_one_layer_hides_mistakes_in_that_layer_alone():
    net = Network(words(zero_bias=True))
    x = net.prepare(padded())
    (spot,) = blind_spots(net, x, x.rows)
    missing = [m for m in catalogue(net.spec, unchanged=True) if Need.BIAS in m.needs]
    assert {m.layer for m in missing} == {"rnn", "last", "dense"}
    assert {m.layer for m in missing if spot.hides(m)} == {"rnn"}


def test_a_saturated_gate_hides_a_missing_bias_of_that_gate_alone():
    net = Network(words("GRU", scale=1e4))
    x = net.prepare(padded())
    spots = [s for s in blind_spots(net, x, x.rows) if s.gate == "z"]
    missing = [m for m in catalogue(net.spec) if Need.OPEN_OWN_GATE in m.needs]
    hidden = {(m.gate, m.layer) for m in missing for spot in spots if spot.hides(m)}
    assert hidden == {("z", "rnn")}


def test_a_convolutional_lstm_has_mistakes_too():
    model = spec(
        input_layer(None, TIME, 5, INPUTS),
        layer("ConvLSTM1D", "conv", filters=UNITS, kernel_size=[2]),
    )
    x = np.stack([features(k, time=TIME, batch=8) for k in range(5)], axis=2)
    result = selftest(Network(model), x)
    caught = {r.mistake for r in result.results if r.caught}
    assert "kernel and recurrent kernel exchanged" in caught


def test_a_mask_that_is_false_everywhere_is_said():
    net, said = Network(words()), "its mask is false at every step of every row"
    found = blind_spots(net, net.prepare(np.zeros((6, TIME), np.int32)), 6)
    spots = [x for x in found if said in x.sentence]
    assert [x.layer for x in spots] == ["rnn", "last"]
    assert all(x.warns and x.lacks == frozenset(Need) for x in spots)
    found = blind_spots(net, net.prepare(padded()), len(padded()))
    assert not [x for x in found if said in x.sentence]
