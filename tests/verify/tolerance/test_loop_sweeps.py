"""The way back through a whole loop over time: the bounds that step by step has too."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.any_layer import chain
from support.nets import INPUTS, TIME, UNITS, features, input_layer, layer, spec

from verify import Network
from verify.backward.cells import input_gradient
from verify.forward.evaluable import LayerCall
from verify.forward.layers.base import Tensor
from verify.tolerance.activation_errors import worst_known_errors
from verify.tolerance.error_bound import (
    call_bounds,
    conv_cells,
    loop_cells,
    loop_sweeps,
    output_bounds,
    sweeps,
)
from verify.tolerance.error_bound.loop_sweeps import ROUNDED_UP, SweptLoop
from verify.tolerance.error_bound.visitor import BoundVisitor

ERRORS = worst_known_errors()

CLOSE = 2 * (ROUNDED_UP - 1)
"""Relative difference of bounds whose adjoints are in float32."""


def bounds(net: Network, x: Any) -> np.ndarray:
    """The bounds of all outputs, joined."""
    given = net.prepare(x)
    apart = [np.ones(y.shape) for y in net.flat(given, dtype="float64")]
    found = output_bounds(net, given, apart, ERRORS)
    return np.concatenate([y.reshape(len(y), -1) for y in found], axis=1)


def step_by_step(net: Network, x: Any) -> np.ndarray:
    """The same by `verify.backward.scan`, which has every value of every step."""
    with patch.object(BoundVisitor, "sweeps_loops", False):
        return bounds(net, x)


KINDS = [
    ("SimpleRNN", {}),
    ("SimpleRNN", {"activation": "relu"}),
    ("LSTM", {}),
    ("LSTM", {"recurrent_activation": "hard_sigmoid", "activation": "softsign"}),
    ("GRU", {"reset_after": True}),
    ("GRU", {"reset_after": False, "activation": "elu"}),
]


@st.composite
def models(draw: st.DrawFn) -> tuple[Network, np.ndarray]:
    """Two loops with all options that change the way back, and inputs."""
    seed = draw(st.integers(0, 10**6))
    loops = []
    sequences = [draw(st.booleans())]
    sequences = [True, *sequences] if draw(st.booleans()) else sequences
    for k, returns in enumerate(sequences):
        kind, options = draw(st.sampled_from(KINDS))
        loop = layer(
            kind,
            f"loop_{k}",
            units=UNITS + k,
            return_sequences=returns,
            go_backwards=draw(st.booleans()),
            use_bias=draw(st.booleans()),
            unroll=draw(st.booleans()),
            zero_output_for_mask=draw(st.booleans()),
            **options,
        )
        loops.append(loop)
    net = Network(
        spec(
            input_layer(None, TIME, INPUTS),
            layer("Masking", "masking", mask_value=0.5),
            *loops,
            layer("Dense", "dense", units=2, activation=draw(st.sampled_from(HEADS))),
            seed=seed,
        )
    )
    x = features(seed)
    x[np.random.default_rng(seed).random(x.shape[:2]) < draw(SHARES)] = 0.5
    return net.on(draw(st.sampled_from(["tensorflow", "jax"]))), x


HEADS, SHARES = ["softmax", "sigmoid"], st.sampled_from([0.0, 0.3, 0.9])


@given(models())
@settings(max_examples=25)
def test_the_bounds_are_those_of_the_way_back_step_by_step(model):
    net, x = model
    found, expected = bounds(net, x), step_by_step(net, x)
    np.testing.assert_allclose(found, expected, rtol=CLOSE)
    assert np.isfinite(found).any()


def test_halves_have_the_bounds_of_the_way_back_step_by_step():
    inner = layer("GRU", "inner", units=2, return_sequences=True, return_state=True)
    both = layer("Bidirectional", "both", layer=inner)
    net = Network(chain([(None, TIME, INPUTS)], both, outputs=3))
    x = features()
    found, expected = bounds(net, x), step_by_step(net, x)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=CLOSE)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_layer_alone_may_have_states_before_it(kind, options):
    rnn = layer(kind, "rnn", units=UNITS, return_state=True, **options)
    net = Network(spec(input_layer(None, TIME, INPUTS), rnn))
    x = features()
    held = [np.full((len(x), UNITS), 0.3 + k, np.float32) for k in range(2)]
    states = [Tensor(one) for one in held[: 2 if kind == "LSTM" else 1]]
    call = LayerCall("rnn", [Tensor(x)], {"initial_state": states})
    apart = [np.ones(y.shape) for y in call.evaluate(net, "float64")]
    found = call_bounds(net, call, apart, ERRORS)
    with patch.object(BoundVisitor, "sweeps_loops", False):
        expected = call_bounds(net, call, apart, ERRORS)
    assert len(found) == 1 + len(states)
    for one, right in zip(found, expected, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, right, rtol=CLOSE)


def test_steps_after_the_last_that_an_output_depends_on_are_left_out():
    rnn = layer("GRU", "rnn", units=UNITS, return_sequences=True)
    net = Network(spec(input_layer(None, TIME, INPUTS), rnn))
    stepped = []
    backwards = loop_cells.CELLS["GRU"].backwards

    def seen(self: Any, v: Any, by_step: Any) -> Any:
        run = backwards(self, v, by_step)
        return lambda t, after: stepped.append(t) or run(t, after)

    x = features()
    whole = bounds(net, x)
    with (
        patch.object(loop_cells.CELLS["GRU"], "backwards", seen),
        patch.object(sweeps, "MAX_BLOCK_ADJOINTS", 1),  # an element at a time
    ):
        np.testing.assert_allclose(bounds(net, x), whole, rtol=CLOSE)
    steps = UNITS  # of all rows at once
    assert [stepped.count(t) for t in range(TIME)] == [
        steps * (TIME - t) for t in range(TIME)
    ]


def test_adjoints_that_overflow_in_float32_are_computed_in_float64():
    """Past a state of zeros, whose errors count for nothing."""
    rnn = layer("SimpleRNN", "rnn", units=UNITS, activation="linear", use_bias=False)
    model = spec(input_layer(None, None, INPUTS), rnn)
    strong = 1e3 * np.eye(UNITS, dtype=np.float32)
    net = Network(model.with_layer(model["rnn"].with_weights(recurrent_kernel=strong)))
    x = features(time=20)
    x[:, :-1] = 0
    found, expected = bounds(net, x), step_by_step(net, x)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=CLOSE)


WRONG = {
    "an LSTM forgets what h says of c": (
        *("LSTM", loop_cells.LSTMLoopCell, "onto_h"),
        lambda self, v: np.zeros_like(v["c"]),
    ),
    "the recurrent kernel is not transposed back": (
        *("SimpleRNN", loop_cells, "input_gradient"),
        lambda d, kernel: 0.5 * input_gradient(d, kernel),
    ),
    "masked rows lose the adjoints of their states": (
        *("GRU", SweptLoop, "_parted"),
        lambda self, d, shown, keep: (list(d), [0.0 * one for one in d], None),
    ),
    "sites are not added up": (
        *("GRU", SweptLoop, "_add"),
        lambda self, found, part, t, back: None,
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_on_the_way_back_changes_the_bounds(mistake):
    kind, owner, name, wrong = WRONG[mistake]
    net = Network(
        spec(
            input_layer(None, TIME, INPUTS),
            layer("Masking", "masking", mask_value=0.5),
            layer(kind, "rnn", units=UNITS),
        )
    )
    x = features()
    x[:, 3] = 0.5
    expected = step_by_step(net, x)
    np.testing.assert_allclose(bounds(net, x), expected, rtol=CLOSE)
    with patch.object(owner, name, wrong):
        found = bounds(net, x)
    assert not (np.abs(found / expected - 1) < 10 * CLOSE).all(axis=1).any()


CONVOLVED = {
    "1D": ("ConvLSTM1D", (5, 7, 2), {"kernel_size": 3}),
    "1D backwards, strided": (
        *("ConvLSTM1D", (5, 7, 2)),
        {"kernel_size": 3, "padding": "same", "strides": 2, "go_backwards": True,
         "return_sequences": True},
    ),
    "2D dilated": (
        *("ConvLSTM2D", (4, 6, 5, 2)),
        {"kernel_size": (3, 2), "dilation_rate": (2, 1)},
    ),
    "2D channels first": (
        *("ConvLSTM2D", (4, 2, 6, 5)),
        {"kernel_size": (3, 2), "padding": "same", "data_format": "channels_first"},
    ),
    "2D with kinks": (
        *("ConvLSTM2D", (4, 6, 5, 2)),
        {"kernel_size": (3, 2), "recurrent_activation": "hard_sigmoid",
         "activation": "relu"},
    ),
    "3D": ("ConvLSTM3D", (3, 4, 3, 3, 2), {"kernel_size": 2, "use_bias": False}),
}  # fmt: skip

RECORDED = 0.9, 1.3
"""Bounds over those of what is recorded, where sums are rounded one by one."""


def convolved(which: str) -> tuple[Network, np.ndarray]:
    """A ConvLSTM, a Dense behind it, and inputs."""
    kind, shape, options = CONVOLVED[which]
    net = Network(
        chain(
            [(None, *shape)],
            layer(kind, "conv", filters=3, **options),
            layer("Flatten", "flat"),
            layer("Dense", "dense", units=4),
        )
    )
    return net, np.random.default_rng(3).normal(size=(2, *shape)).astype(np.float32)


@pytest.mark.parametrize("which", CONVOLVED)
def test_a_convlstm_has_the_bounds_of_what_is_recorded_of_it(which):
    net, x = convolved(which)
    found, expected = bounds(net, x), step_by_step(net, x)
    assert np.isfinite(found).all()
    assert ((found > RECORDED[0] * expected) & (found < RECORDED[1] * expected)).all()
    given = net.prepare(x)
    single, double = (net.flat(given, dtype=f"float{n}")[0] for n in (32, 64))
    assert (np.abs(single - double) < found).all()
    with patch.object(loop_sweeps, "PREPARED_NUMBERS", 1):  # a step at a time
        np.testing.assert_allclose(bounds(net, x), found, rtol=CLOSE)


def test_a_convlstm_of_one_place_has_the_bounds_of_an_lstm():
    alone = Network(
        spec(input_layer(None, TIME, INPUTS), layer("LSTM", "rnn", units=4))
    )
    weights = alone.spec["rnn"].weights
    conv = layer("ConvLSTM1D", "rnn", filters=4, kernel_size=1, padding="same")
    model = chain([(None, TIME, 1, INPUTS)], conv)
    wide = {name: w if w.ndim == 1 else w[None] for name, w in weights.items()}
    net = Network(model.with_layer(model["rnn"].with_weights(**wide)))
    x = features()
    expected = bounds(alone, x)
    np.testing.assert_allclose(bounds(net, x[:, :, None]), expected, rtol=CLOSE)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_convlstm_may_begin_with_the_states_of_another(data_format):
    def conv(name: str, **options: Any) -> dict[str, Any]:
        kind, options = "ConvLSTM1D", {"data_format": data_format, **options}
        return layer(kind, name, filters=3, kernel_size=2, padding="same", **options)

    first = Network(
        chain([(None, 3, 4, 4)], conv("first", return_state=True), outputs=3)
    )
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    states = [Tensor(y) for y in first.flat(first.prepare(x), dtype="float32")[1:]]
    net = Network(chain([(None, 3, 4, 4)], conv("rnn", return_state=True), outputs=3))
    call = LayerCall("rnn", [Tensor(x)], {"initial_state": states})
    apart = [np.ones(y.shape) for y in call.evaluate(net, "float64")]
    found = call_bounds(net, call, apart, ERRORS)
    with patch.object(BoundVisitor, "sweeps_loops", False):
        recorded = call_bounds(net, call, apart, ERRORS)
    for one, right in zip(found, recorded, strict=True):
        assert ((one > 0.8 * right) & (one < RECORDED[1] * right)).all()


WRONG_CONVOLUTIONS = {
    "the recurrent convolution does not go back": (
        *(conv_cells._ConvLSTM, "towards_h"),
        lambda self, d: np.zeros((*d.shape[:-1], self.units), d.dtype),
    ),
    "products count by their signs": (
        *(conv_cells._ConvLSTMBack, "products"),
        lambda self, x, h, sizes=False: PRODUCTS(self, x, h),
    ),
    "errors of half of the places are lost": (
        *(SweptLoop, "_in_a_column"),
        lambda self, values: (
            values.reshape(*values.shape[:2], -1, 1)
            * (np.arange(values[0, 0].size) % 2)[:, None]
        ),
    ),
}
PRODUCTS = conv_cells._ConvLSTMBack.products


@pytest.mark.parametrize("mistake", WRONG_CONVOLUTIONS)
def test_a_mistake_on_the_way_back_through_a_convlstm_is_seen(mistake):
    net, x = convolved("2D dilated")
    expected = step_by_step(net, x)
    with patch.object(*WRONG_CONVOLUTIONS[mistake]):
        found = bounds(net, x)
    assert not (found > RECORDED[0] * expected).any()


def test_the_adjoints_of_an_output_that_is_nearly_0_do_not_overflow():
    """Softmax rules a class out: its derivative is below the least normal number."""
    head = layer("Dense", "d", units=3, activation="softmax")
    net = Network(chain([(None, TIME, INPUTS)], layer("LSTM", "a", units=2), head))
    bias = np.array([720, 0, 719.5], np.float32)
    net = Network(net.spec.with_layer(net.spec["d"].with_weights(bias=bias)))
    y = net.predict(features(time=TIME), dtype="float64")
    assert (y[:, 1] < np.finfo(float).tiny).all()
    assert (y[:, 1] > 0).all()
    assert np.isfinite(bounds(net, features(time=TIME))).all()
    with patch.object(loop_sweeps, "MOST_EXPONENT", 2000):
        assert not np.isfinite(bounds(net, features(time=TIME))).all()
