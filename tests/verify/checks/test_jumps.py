"""Hold numbers that 16 bits bring to another side of a limit to be no mistake."""

from __future__ import annotations

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
