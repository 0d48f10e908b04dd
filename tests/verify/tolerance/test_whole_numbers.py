"""Floats that a model makes of whole numbers are rounded, and their bound counts it."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from support.any_layer import chain
from support.nets import layer

import verify
from verify import Network
from verify.backward import any_layer, forwards
from verify.backward.recording import Tape
from verify.forward.evaluable import Inputs
from verify.model.arrays import Array
from verify.tolerance.activation_errors import worst_known_errors
from verify.tolerance.error_bound import output_bounds
from verify.tolerance.error_bound.deviations import MAX_LINEAR_DEVIATION
from verify.tolerance.error_bound.sketch import sketched_bounds
from verify.tolerance.error_bound.sums import STANDARD_DEVIATIONS

IMAGES = np.random.default_rng(0).integers(1, 90, (4, 5, 3))
GROWING = layer("Activation", "grown", activation="exponential")
CHAINS = {
    "scaled": [layer("Rescaling", "r", scale=1 / 255, offset=-0.3)],
    "scaled and grown": [layer("Rescaling", "r", scale=0.03), GROWING],
    "normal": [layer("Normalization", "n", mean=3.3, variance=2.2, axis=None)],
    "convolved": [
        layer("Rescaling", "r", scale=1 / 255),
        layer("Conv1D", "c", filters=2, kernel_size=2, activation="tanh"),
    ],
    "steps": [layer("TimeDistributed", "t", layer=layer("Rescaling", "r", scale=0.3))],
}


def by_sweeps(net: Network, x: Inputs) -> Array:
    """The bounds of one backpropagation for each output."""
    (y,) = net.flat(x, dtype="float64")
    return output_bounds(net, x, [np.ones(y.shape)], worst_known_errors())[0]


def by_sketch(net: Network, x: Inputs) -> Array:
    """The bounds of all outputs at once."""
    found, unsound = sketched_bounds(
        net, x, worst_known_errors(),
        standard_deviations=STANDARD_DEVIATIONS, max_deviation=MAX_LINEAR_DEVIATION,
    )  # fmt: skip
    assert not unsound.any()
    return found[0]


def nothing_more(tape, evaluate, arguments):
    """A mistake: floats that are made of whole numbers count as exact."""
    return evaluate(arguments)


@pytest.mark.parametrize("bounds", [by_sweeps, by_sketch])
@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("dtype", ["int32", "uint8"])
def test_their_bound_is_that_of_the_same_floats(name, bounds, dtype):
    whole, floats = (
        Network(chain([(None, 5, 3)], *CHAINS[name], dtypes=[kind]))
        for kind in (dtype, "float32")
    )
    x, like = (net.prepare(IMAGES) for net in (whole, floats))
    right, single = (whole.flat(x, dtype=d)[0] for d in ("float64", "float32"))
    found = bounds(whole, x)
    assert (np.abs(single - right) <= found).all()
    np.testing.assert_allclose(found, bounds(floats, like), rtol=1e-5)
    with (
        patch.object(any_layer, "floats_recorded", nothing_more),
        patch.object(forwards, "floats_recorded", nothing_more),
    ):
        less = bounds(whole, x)
    assert not (less >= found).all()  # NaN, or a bound that leaves roundings out


def test_counts_are_exact_and_what_is_made_of_them_is_not():
    counted = layer("CategoryEncoding", "c", num_tokens=90, output_mode="count")
    scaled = layer("Rescaling", "r", scale=0.3)
    for layers, least in (([counted], 0.0), ([counted, scaled], 2.0**-26)):
        net = Network(chain([(None, 5)], *layers, dtypes=["int32"]))
        x = net.prepare(IMAGES[:, :, 0])
        right = net.flat(x, dtype="float64")[0]
        for bounds in (by_sweeps, by_sketch):
            found = bounds(net, x)
            assert (found[right == 0] < 1e-30).all()
            assert (found[right > 0] >= least * right[right > 0]).all()
            assert (found < 1e-30).all() == (least == 0)


def test_a_sum_of_weights_is_rounded_by_its_terms_and_not_by_what_is_left_of_it():
    tape = Tape(single=True)
    a, b = tape.constant(np.array([[1e4, -1e4]])), tape.constant(np.array([[1.0], [1]]))
    for total, most in ((a @ b, 2e4), (a.sum(axis=1), 2e4), (a.mean(axis=1), 1e4)):
        assert not total.value.any()
        assert (total.error >= most * 2.0**-24).all()


def made_of(ops):
    """Floats that Keras's operations make of whole numbers and truths, by name."""
    return {
        "product": lambda ids, x: ids * 0.3,
        "logarithm": lambda ids, x: ops.log1p(ids),
        "cast": lambda ids, x: ops.exp(ops.cast(ids, "float32") / 255),
        "compared": lambda ids, x: ops.cast(ids > 40, "float32") * 0.3,
        "one-hot": lambda ids, x: ops.one_hot(ids, 90) * 0.7,
        "spread": lambda ids, x: ops.std(ids, axis=1),
        "rounded": lambda ids, x: ops.cast(ops.cast(x * 3.3, "int32"), "float32") / 7,
        "infinite": lambda ids, x: ops.where(ops.isposinf(x), 0.5, x * 0.3),
        "nothing": lambda ids, x: x - x,
    }


NAMES = ("product", "logarithm", "cast", "compared", "one-hot", "spread")


@pytest.mark.keras
@pytest.mark.parametrize("name", [*NAMES, "rounded", "infinite", "nothing"])
def test_operations_of_keras_have_bounds_in_every_batch_of_a_stateful_model(name):
    import keras

    entries = [
        keras.Input(batch_shape=(3, 5), dtype="int32"),
        keras.Input(batch_shape=(3, 4, 2)),
    ]
    y = made_of(keras.ops)[name](*entries)
    state = keras.layers.LSTM(2, stateful=True)(entries[1])
    model = keras.Model(entries, [y, state])
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if weight.trainable:
            weight.assign(rng.normal(size=weight.shape))
    x = [rng.integers(1, 90, (6, 5)), rng.normal(size=(6, 4, 2))]
    report = verify.check(model, x, batch_size=3)
    assert report.verdict is verify.Verdict.PASS, str(report)
    assert report.derived == 1.0
    outputs = [np.array(y) for y in model.predict(x, batch_size=3, verbose=0)]
    outputs[0].reshape(6, -1)[4, 0] += np.float32(1e-4) + 1e-4 * outputs[0].max()
    wrong = verify.compare_outputs(verify.load(model), x, outputs, diagnosis_seconds=0)
    assert wrong.verdict is verify.Verdict.FAIL
