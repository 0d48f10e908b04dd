"""Long windows are run by Keras's own formulas, and give its own numbers."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import BATCH, keras_sequential

from verify.forward.evaluable import Inputs
from verify.keras_bridge import KerasModel, long_windows
from verify.model.graph import flatten

pytestmark = pytest.mark.keras
TIME = 7


@pytest.fixture
def long(monkeypatch):
    """Have windows of seven steps count as long."""
    monkeypatch.setattr(long_windows, "MANY_STEPS", TIME)
    monkeypatch.setattr(long_windows, "COMPILED_STEPS", TIME)


def model(masked: bool):
    """Masking, a GRU both ways, a TimeDistributed GRU and an LSTM behind it."""
    import keras

    layers = keras.layers
    inner = keras.Sequential([layers.Dense(4, "tanh"), layers.Reshape((2, 2)),
                              layers.GRU(3)])  # fmt: skip
    return keras_sequential(
        [
            keras.Input((TIME, 3)),
            *([layers.Masking()] if masked else []),
            layers.Bidirectional(layers.GRU(2, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(5, "relu")),
            *([] if masked else [layers.TimeDistributed(inner)]),
            layers.LSTM(2, return_sequences=True),
        ]
    )


def inputs() -> Inputs:
    """Rows whose masks differ."""
    x = np.random.default_rng(0).normal(size=(BATCH, TIME, 3)).astype("float32")
    x[1, 4:] = 0
    x[2, ::2] = 0
    return Inputs([x])


@pytest.mark.parametrize("masked", [True, False])
def test_predict_and_every_call_are_what_keras_computes_step_by_step(masked, long):
    kept = model(masked)
    expected = kept.predict(inputs()[0], verbose=0)
    keras = KerasModel(kept, 32).twin()  # with a function that is not compiled yet
    (found,) = keras.predict(inputs())
    assert keras.at_once
    np.testing.assert_allclose(found, expected, atol=1e-6)
    calls = keras.calls(inputs())
    np.testing.assert_allclose(calls[-1].outputs[0], expected, atol=1e-6)


def test_masks_go_in_and_out_of_a_compiled_call(long, monkeypatch):
    keras = KerasModel(model(masked=True), 32)
    found = keras.calls(inputs())
    monkeypatch.setattr(long_windows, "COMPILED_STEPS", TIME + 1)
    one_by_one = keras.calls(inputs())
    assert len(found) == len(one_by_one) > 3
    for a, b in zip(found, one_by_one, strict=True):
        assert a.key == b.key
        np.testing.assert_allclose(a.outputs[0], b.outputs[0], atol=1e-6)
        assert (a.masks[0] is None) == (b.masks[0] is None)
        if a.masks[0] is not None:
            np.testing.assert_array_equal(a.masks[0], b.masks[0])
    assert any(call.masks[0] is not None for call in found[1:])
    masks = [leaf.mask for leaf in flatten(list(found[-1].args))]
    assert masks[0] is not None


def test_other_numbers_would_be_noticed(long, monkeypatch):
    kept = model(masked=False)
    expected = kept.predict(inputs()[0], verbose=0)
    right = long_windows._mapped
    monkeypatch.setattr(
        long_windows, "_mapped", lambda layer, x, *more: right(layer, x * 0.9, *more)
    )
    (found,) = KerasModel(kept, 32).twin().predict(inputs())
    assert np.abs(found - expected).max() > 1e-3


def test_short_windows_are_left_alone():
    keras = KerasModel(model(masked=False), 32)
    keras.predict(inputs())
    assert not keras.at_once
