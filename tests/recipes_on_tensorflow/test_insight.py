"""Gradients of an insight are those of TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import INPUTS, OUTPUTS, TIME, UNITS, features, keras_sequential

import verify
from recipes.explore.insight import gradient_norms

pytestmark = pytest.mark.keras


def test_gradients_are_those_of_keras():
    import tensorflow as tf
    from keras import Input, layers

    model = keras_sequential(
        [
            Input((TIME, INPUTS), dtype="float64"),
            layers.GRU(UNITS, dtype="float64"),
            layers.Dense(OUTPUTS, activation="softmax", dtype="float64"),
        ]
    )
    x = tf.constant(features(), "float64")
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = model(x)[:, 1]
    expected = np.linalg.norm(tape.gradient(output, x).numpy(), axis=-1)
    found = gradient_norms(verify.load(model), features(), 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert np.ptp(found) > 1e-3
