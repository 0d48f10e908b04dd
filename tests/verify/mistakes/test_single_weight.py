"""One wrong number among the weights: found by its place, from outputs alone."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import (
    INPUTS,
    TIME,
    UNITS,
    features,
    ids,
    input_layer,
    layer,
    lstm_spec,
    rnn,
    spec,
    word_net,
)
from support.thoroughness import many

import verify
from verify import Network, Verdict
from verify.mistakes import single_weight as fitting
from verify.mistakes.single_weight import find_single_weight
from verify.model.spec import ModelSpec

CHANGES = {
    "0.3 more": lambda w: w + 0.3,
    "the other sign": lambda w: -w,
    "zero": lambda w: 0 * w,
    "1 % more": lambda w: 1.01 * w,
}


def changed(
    model: ModelSpec, path: str, weight: str, place: tuple[int, ...], change: str
) -> Network:
    value = model[path].weights[weight].copy()
    value[place] = CHANGES[change](value[place])
    return Network(model.with_layer(model[path].with_weights(**{weight: value}), path))


def places(model: ModelSpec, count: int, seed: int):
    """Random numbers among the weights; no id 0, which the mask hides."""
    rng = np.random.default_rng(seed)
    layers = [(path, x) for path, x in model.walk() if x.weights]
    for _ in range(count):
        path, x = layers[rng.integers(len(layers))]
        weight = list(x.weights)[rng.integers(len(x.weights))]
        place = tuple(int(rng.integers(size)) for size in x.weights[weight].shape)
        if weight == "embeddings":
            place = (max(1, place[0]), place[1])
        yield path, weight, place, list(CHANGES)[rng.integers(len(CHANGES))]


MODELS = {
    "SimpleRNN": (word_net(rnn("SimpleRNN")), ids(batch=64)),
    "LSTM": (word_net(rnn("LSTM")), ids(batch=64)),
    "GRU": (word_net(rnn("GRU")), ids(batch=64)),
    "two layers, sequences": (
        spec(
            input_layer(None, TIME, INPUTS),
            layer("LSTM", "first", units=UNITS, return_sequences=True),
            layer("GRU", "second", units=5, return_sequences=True),
        ),
        features(batch=64),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",  # the last has a GRU too
    [
        pytest.param(name, marks=pytest.mark.thorough) if name == "GRU" else name
        for name in MODELS
    ],
)
def test_the_place_of_a_wrong_number_is_found(name):
    model, x = MODELS[name]
    net = Network(model)
    found = shown = 0
    count = many(16, 4)
    for path, weight, place, change in places(model, count, seed=5):
        outputs = changed(model, path, weight, place, change).predict(x)
        report = verify.compare_outputs(net, x, outputs)
        if report.verdict is Verdict.PASS:
            continue  # too small to show in float32
        shown += 1
        mistake = f"{weight}[{', '.join(map(str, place))}] another number"
        explanations = report.diagnosis.explanations
        found += (mistake, path) in [(e.mistake, e.layer) for e in explanations]
    assert shown >= 0.75 * count
    assert found >= 0.9 * shown


def test_it_says_what_the_number_is_in_which_gate_of_which_unit():
    model = lstm_spec()
    column = 2 * UNITS + 1  # gate c of unit 1
    wrong = changed(model, "lstm", "recurrent_kernel", (3, column), "0.3 more")
    report = verify.compare_outputs(
        Network(model), ids(batch=64), wrong.predict(ids(batch=64))
    )
    (found,) = report.diagnosis.explanations
    right = float(model["lstm"].weights["recurrent_kernel"][3, column])
    assert found.layer == "lstm"
    assert found.gate == "c"
    assert f"recurrent_kernel[3, {column}] (gate c of unit 1)" in found.explanation
    assert f"it is {right:.6g}" in found.explanation
    value = float(found.explanation.split("seems to be ")[1].split(";")[0])
    assert value == pytest.approx(right + 0.3, abs=1e-4)
    assert found.digits >= 5
    assert "copy the weights again" in report.to_text()


def test_numbers_that_no_output_can_tell_apart_are_all_named():
    """More of one bias of a softmax over two classes is less of the other."""
    model = lstm_spec()
    wrong = changed(model, "dense", "bias", (0,), "0.3 more")
    x = ids(batch=64)
    report = verify.compare_outputs(Network(model), x, wrong.predict(x))
    places = [e.mistake.partition(" ")[0] for e in report.diagnosis.explanations]
    assert {"bias[0]", "bias[1]"} <= set(places)


@pytest.mark.slow
def test_outputs_that_no_number_explains_are_not_explained():
    net, x = Network(lstm_spec()), ids(batch=64)
    inputs = net.prepare(x)
    outputs = net.predict(x) + np.linspace(0, 1e-2, 128).reshape(64, 2)
    assert not find_single_weight(net.spec, inputs, [outputs], allowed=[1e-6])
    assert not find_single_weight(net.spec, inputs, [outputs * np.nan], allowed=[1e-6])


@pytest.mark.slow
def test_two_wrong_numbers_are_not_taken_for_one():
    model, x = lstm_spec(), ids(batch=64)
    once = changed(model, "lstm", "bias", (1,), "0.3 more").spec
    twice = changed(once, "lstm", "kernel", (0, 7), "0.3 more")
    inputs = Network(model).prepare(x)
    outputs = [twice.predict(x, dtype="float64")]
    assert not find_single_weight(model, inputs, outputs, allowed=[1e-7])


def test_it_is_left_alone_where_it_would_take_too_long(monkeypatch):
    model, x = lstm_spec(), ids(batch=64)
    outputs = changed(model, "lstm", "bias", (1,), "0.3 more").predict(x)
    inputs = Network(model).prepare(x)
    assert find_single_weight(model, inputs, [outputs], allowed=[1e-5])
    monkeypatch.setattr(fitting, "MAX_PARAMETERS", 10)
    assert not find_single_weight(model, inputs, [outputs], allowed=[1e-5])
