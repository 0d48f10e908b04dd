"""A network of the user's own in place of the one that is read from the model."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import random_weights

import verify
from verify import Verdict

pytestmark = pytest.mark.keras


def encoder_and_decoder(*, swap):
    import keras
    from keras import Input, layers

    source, target = Input((6, 5), name="a"), Input((5, 3), name="b")
    _, h, c = layers.LSTM(4, return_state=True, name="enc")(source)
    begin = [c, h] if swap else [h, c]
    y = layers.LSTM(4, name="dec")(target, initial_state=begin)
    model = keras.Model([source, target], layers.Dense(3, name="out")(y))
    model.set_weights(random_weights([w.shape for w in model.get_weights()], 1))
    return model


def test_layers_that_agree_but_are_wired_otherwise_are_named():
    model, other = (encoder_and_decoder(swap=swap) for swap in (False, True))
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(8, *shape)).astype("float32") for shape in ((6, 5), (5, 3))]
    report = verify.check(model, x, network=verify.load(other))
    assert report.verdict is Verdict.FAIL
    assert all(layer.matches for layer in report.layers)
    first = report.diagnosis.explanations[0]
    assert (first.layer, first.max_diff < 1e-12) == ("dec", True)
    assert "h and c are exchanged" in first.explanation
    right = verify.check(model, x, network=verify.load(model))
    assert (right.verdict, right.diagnosis) == (Verdict.PASS, None)


def test_one_mistake_in_both_halves_is_said_once():
    import keras
    from keras import Input, layers

    def made():
        both = layers.Bidirectional(layers.GRU(5), name="both")
        return keras.Sequential([Input((6, 4)), both])

    model, other = made(), made()
    model.set_weights(random_weights([w.shape for w in model.get_weights()], 1))
    thirds = [np.split(w, 3, axis=-1) for w in model.get_weights()]
    other.set_weights([np.concatenate([r, z, h], -1) for z, r, h in thirds])
    x = np.random.default_rng(0).normal(size=(8, 6, 4)).astype("float32")
    report = verify.check(model, x, network=verify.load(other))
    first = report.diagnosis.explanations[0]
    assert "gates read in the order r,z,h" in first.explanation
    assert "in all 2 GRU layers" in str(report)
    # a change that is no mistake of the catalogue is listed as before
    spec = verify.load(model).spec
    path = "both/forward_layer"
    kernel = spec[path].weights["kernel"].copy()
    kernel[1, 2] += 0.5
    kernel[0, 4] -= 0.25
    changed = spec.with_layer(spec[path].with_weights(kernel=kernel), path)
    report = verify.check(model, x, network=verify.Network(changed))
    assert "2 other numbers in kernel" in str(report)
