"""Hold numbers that 16 bits bring to another side of a limit to be no mistake."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from support.nets import INPUTS, TIME, UNITS, features, random_weights

import verify
from verify import Verdict
from verify.checks import _keras_comparison

pytestmark = pytest.mark.keras


IN_16_BITS = pytest.mark.parametrize(
    "policy", ["mixed_float16", "mixed_bfloat16"], indirect=True
)


def counted(x: np.ndarray) -> Any:
    """Return a GRU whose outputs are put into two bins, one of them the wrong one.

    The limit between the bins lies between what 16 bits make of an output and what it
    is in float64, next to the former: errors of that size alone do not reach it.
    """
    import keras
    from keras import layers

    steps = keras.Input((TIME, INPUTS))
    states = layers.GRU(UNITS)(steps)
    model = keras.Model(steps, states)
    weights = random_weights([w.shape for w in model.get_weights()], 8)
    model.set_weights([0.7 * w for w in weights])
    narrow = np.asarray(model.predict(x, verbose=0), dtype=np.float64)
    net = verify.load(model)
    exact = net.flat(net.prepare(x), dtype="float64")[0]
    most = np.unravel_index(np.abs(narrow - exact).argmax(), exact.shape)
    limit = float(0.97 * narrow[most] + 0.03 * exact[most])
    bins = layers.Discretization(bin_boundaries=[limit], dtype="float32")
    return keras.Model(steps, bins(states))


def undecided() -> tuple[Any, np.ndarray, verify.Report]:
    """Return a model, inputs and the report of a check that a jump leaves undecided.

    On other inputs the noise floor may be measured beyond the limit: it is then as
    great as the jump, and the layers are compared one by one.
    """
    for seed in range(8):
        x = features(seed)
        model = counted(x)
        report = verify.check(model, x)
        assert report.verdict is not Verdict.FAIL, report
        if report.verdict is Verdict.INCONCLUSIVE:
            return model, x, report
    raise AssertionError("no check was left undecided")


@IN_16_BITS
@pytest.mark.usefixtures("policy")
def test_a_number_that_jumps_in_16_bits_decides_nothing():
    _, _, report = undecided()
    assert "every layer by itself, but Layer 'discretization" in report.reason
    assert "numbers jump that are near a limit" in report.reason


@IN_16_BITS
@pytest.mark.usefixtures("policy", "undiagnosed")
def test_nor_does_it_hide_a_mistake():
    model, x, _ = undecided()
    with patch.object(_keras_comparison, "jumping", lambda spec, layers: ""):
        assert verify.check(model, x).verdict is Verdict.FAIL
    net = verify.load(model)
    gru = next(layer for layer in net.spec if layer.class_name == "GRU")
    wrong = gru.with_weights(bias=gru.weights["bias"] + np.float32(0.5))
    mistaken = verify.Network(net.spec.with_layer(wrong))
    assert verify.check(model, x, network=mistaken).verdict is Verdict.FAIL


@pytest.mark.usefixtures("undiagnosed")
def test_in_float32_a_number_that_jumps_is_a_mistake(monkeypatch):
    """Float32 is not expected to come to another side of a limit of this size."""
    import keras
    from keras import layers

    steps = keras.Input((TIME, INPUTS))
    model = keras.Model(steps, layers.Discretization(bin_boundaries=[0.0])(steps))
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda *a, **k: 1 - predict(*a, **k))
    assert verify.check(model, features(1)).verdict is Verdict.FAIL


def decided_by_a_last_bit():
    """Return a model that masks steps where a difference is exactly 0, and inputs.

    The difference is that of 1 and of a vector's product with itself, each of length 1.
    """
    import keras
    from keras import layers
    from layer_cases.check import randomise

    x = keras.Input((20,), name="x")
    product = layers.Dot(axes=1, normalize=True, name="product")([x, x])
    y = layers.Masking(name="masking")(layers.RepeatVector(3)(1.0 - product))
    z = layers.Dense(2, name="dense")(x)
    model = keras.Model(x, layers.Subtract(name="both")([layers.LSTM(2)(y), z]))
    randomise(model)
    return model, np.random.default_rng(3).normal(size=(64, 20)).astype("float32")


def test_a_mask_that_the_last_bit_of_float64_decides_is_no_mistake():
    model, x = decided_by_a_last_bit()
    report = verify.check(model, x)
    assert report.verdict is verify.Verdict.PASS, report.to_text()
    assert "compared in chunks" in report.reason


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("planted", ["weight", "wiring"])
def test_a_mistake_beside_such_a_mask_fails(planted):
    model, x = decided_by_a_last_bit()
    net = verify.load(model)
    if planted == "weight":
        dense = net.spec["dense"]
        wrong = dense.with_weights(bias=dense.weights["bias"] + 0.1)
        spec = net.spec.with_layer(wrong)
    else:
        graph = net.spec.root.graph
        nodes = [
            replace(node, args=([*reversed(node.args[0])],))
            if node.layer == "both"
            else node
            for node in graph.nodes
        ]
        root = replace(net.spec.root, graph=replace(graph, nodes=tuple(nodes)))
        spec = replace(net.spec, root=root)
    loaded = verify.Network(spec)
    assert verify.check(model, x, loaded=loaded).verdict is verify.Verdict.FAIL


@pytest.mark.usefixtures("undiagnosed")
def test_without_a_layer_that_jumps_it_would_be_one():
    model, x = decided_by_a_last_bit()
    with patch.object(_keras_comparison, "may_jump", lambda *_: False):
        assert verify.check(model, x).verdict is verify.Verdict.FAIL
