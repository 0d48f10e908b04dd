"""Mistakes that public reports tell of, each computed by hand and by its mutant."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import TIME, input_layer, layer, rnn, spec

from verify import Network
from verify.mistakes.catalogue import catalogue

FEATURES = 5
X = np.random.default_rng(4).normal(size=(7, TIME, FEATURES)).astype(np.float32)


def alone(class_name, **options):
    """A model of one layer, with random weights; variances are above zero."""
    model = spec(input_layer(None, TIME, FEATURES), layer(class_name, "it", **options))
    weights = model["it"].weights
    above = {k: np.abs(w) for k, w in weights.items() if k.startswith("moving")}
    return model.with_layer(model["it"].with_weights(**above), "it")


BATCH_NORM = {"axis": -1, "epsilon": 1e-2, "center": True, "scale": True}


def batch_norm(divisor, exchanged=False):
    def port(x, gamma, beta, moving_mean, moving_variance):
        mean, variance = moving_mean, moving_variance
        if exchanged:
            mean, variance = variance, mean
        return (x - mean) / divisor(variance) * gamma + beta

    return port


def layer_norm(ddof):
    def port(x, gamma, beta):
        deviation = x.std(axis=-1, keepdims=True, ddof=ddof)
        return (x - x.mean(axis=-1, keepdims=True)) / (deviation + 1e-2) * gamma + beta

    return port


def softmax_of_rows(x):
    e = np.exp(x.reshape(len(x), -1))
    return (e / e.sum(axis=1, keepdims=True)).reshape(x.shape)


REPORTS = [
    # keras#10427
    (
        "epsilon outside the root",
        alone("BatchNormalization", **BATCH_NORM),
        batch_norm(lambda variance: np.sqrt(variance) + 1e-2),
    ),
    # gmalivenko/pytorch2keras#120
    (
        "moving_mean and moving_variance exchanged",
        alone("BatchNormalization", **BATCH_NORM),
        batch_norm(lambda variance: np.sqrt(variance + 1e-2), exchanged=True),
    ),
    # pytorch#1959, codertimo/BERT-pytorch#30
    (
        "epsilon outside the root divided by n - 1",
        alone("LayerNormalization", axis=-1, epsilon=1e-2),
        layer_norm(ddof=1),
    ),
    (
        "epsilon outside the root",
        alone("LayerNormalization", axis=-1, epsilon=1e-2),
        layer_norm(ddof=0),
    ),
    # keras-onnx#529
    ("softmax over all of a row", alone("Softmax", axis=1), softmax_of_rows),
    # DW2TF#2
    (
        "slope 0.1 instead of 0.3",
        alone("LeakyReLU", negative_slope=0.3),
        lambda x: np.where(x > 0, x, np.float32(0.1) * x),
    ),
]


@pytest.mark.parametrize(
    ("name", "model", "port"), REPORTS, ids=[name for name, *_ in REPORTS]
)
def test_a_mistake_is_what_a_report_tells_of(name, model, port):
    (mutant,) = (m for m in catalogue(model) if m.name == name)
    weights = {k: w.astype(np.float64) for k, w in model["it"].weights.items()}
    inputs = Network(model).prepare(X)
    (outputs,) = mutant.evaluate(inputs)
    np.testing.assert_allclose(outputs, port(X.astype(np.float64), **weights), 1e-12)
    (right,) = Network(model).flat(inputs, dtype="float64")
    assert np.abs(outputs - right).max() > 1e-6


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        # barracuda-release#310
        (
            "inputs read features first",
            lambda x: x.reshape(len(x), FEATURES, TIME).transpose(0, 2, 1),
        ),
        (
            "inputs laid out features first",
            lambda x: x.transpose(0, 2, 1).reshape(x.shape),
        ),
    ],
)
def test_inputs_are_read_by_another_layout(name, by_hand):
    model = spec(input_layer(None, TIME, FEATURES), rnn("GRU"))
    (mutant,) = (m for m in catalogue(model) if m.name == name)
    inputs = Network(model).prepare(X)
    (given,) = mutant.inputs(inputs)
    np.testing.assert_array_equal(given, by_hand(X))


def test_moments_with_a_negative_mean_are_not_exchanged():
    model = alone("BatchNormalization", **BATCH_NORM)
    mean = -model["it"].weights["moving_mean"]
    model = model.with_layer(model["it"].with_weights(moving_mean=mean), "it")
    names = {m.name for m in catalogue(model)}
    assert "moving_mean and moving_variance exchanged" not in names
