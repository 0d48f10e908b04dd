"""What Keras computes in float32 in a model of float64, too, does not fail a check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import verify
from verify.forward.network import Network


@pytest.fixture(scope="module")
def counted():
    """Return a model whose LSTM reads means of whole numbers, and inputs for it."""
    import keras

    keras.utils.set_random_seed(5)
    x = keras.Input((9, 4, 3), dtype="int32")
    means = keras.ops.mean(x, axis=2) * 1.3
    y = keras.layers.LSTM(4, name="lstm")(means)
    model = keras.Model(x, keras.layers.Dense(2, name="dense")(y))
    rng = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.4)
    return model, rng.integers(-50, 50, size=(40, 9, 4, 3))


@pytest.mark.keras
def test_outputs_behind_a_mean_of_whole_numbers_match(counted):
    report = verify.check(*counted)
    assert report.verdict is verify.Verdict.PASS, str(report)
    assert report.proof.matches


@pytest.mark.keras
@pytest.mark.parametrize(("layer", "weight"), [("lstm", "bias"), ("dense", "kernel")])
def test_a_mistake_behind_it_is_found(counted, layer, weight):
    model, x = counted
    spec = verify.load(model).spec

    def moved(one):
        if one.name != layer:
            return one
        weights = {**one.weights, weight: one.weights[weight] + 1e-3}
        return replace(one, weights=weights)

    wrong = Network(replace(spec, root=spec.root.mapped(moved)))
    report = verify.check(model, x, network=wrong)
    assert report.verdict is verify.Verdict.FAIL
    assert report.first_mismatch is not None
    assert report.first_mismatch.name == layer
