"""The bound that is derived for every output: never below what correct float32 programs
do, near it, and below what mistakes do."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.any_layer import chain
from support.nets import (
    BATCH,
    INPUTS,
    TIME,
    UNITS,
    VOCABULARY,
    FunctionalNet,
    features,
    ids,
    input_layer,
    keras_sequential,
    layer,
    lstm_spec,
    mutated,
    random_weights,
    spec,
)

import verify
from verify import LayerSpec, Network, Verdict
from verify.backward import forwards
from verify.forward.activations import resolve
from verify.forward.evaluable import LayerCall
from verify.forward.layers.base import Tensor
from verify.model.dtypes import SINGLE
from verify.model.spec import ModelSpec
from verify.tolerance.activation_errors import (
    EXACT_ACTIVATIONS,
    KINKS,
    KNOWN_PLATFORMS,
    KNOWN_RUNTIMES,
    MEASURED_ACTIVATIONS,
    RELATIVE_TO_INPUT,
    RELATIVE_TO_ONE,
    RELATIVE_TO_OUTPUT,
    ActivationErrors,
    measured_arguments,
    worst_known_errors,
)
from verify.tolerance.compare import compare
from verify.tolerance.error_bound import (
    bounded_call,
    bounded_outputs,
    call_bounds,
    computations,
    output_bounds,
    sites,
    sums,
    sweeps,
    unbounded,
    visitor,
)
from verify.tolerance.error_bound import bounds as module
from verify.tolerance.error_bound.costs import FEW_ELEMENTS
from verify.tolerance.noise_floor import FLUSH_ERROR, Rounding, Tolerance, noise_floor


def bounds_for(
    net: Network, x: Any, activation_errors: ActivationErrors | None = None
) -> np.ndarray:
    """The bound of a model with one output, for every element.

    As derived: also where NumPy in float32 shows that it does not hold.
    """
    given = net.prepare(x)
    apart = [np.zeros(y.shape) for y in net.flat(given, dtype="float64")]

    def unseen(single: Any, double: Any) -> np.ndarray:
        return np.zeros((len(double), double[0].size))

    with patch.object(sweeps, "abs_errors", unseen):
        (found,) = output_bounds(
            net, given, apart, activation_errors or worst_known_errors()
        )
    return found


def errors(net: Network, x: Any) -> np.ndarray:
    """Return by how much the equations in float32 are wrong."""
    x = net.prepare(x)
    single, double = (net.flat(x, dtype=dtype)[0] for dtype in ("float32", "float64"))
    return np.abs(single - double)


def scaled(model: ModelSpec, factor: float) -> Network:
    """A network whose weights are multiplied by a factor."""

    def change(x: LayerSpec) -> LayerSpec:
        weights = {k: (w * np.float32(factor)) for k, w in x.weights.items()}
        return replace(x, weights=weights)

    return Network(replace(model, root=model.root.mapped(change)))


def dense(units: int, activation: str = "linear", **options: Any) -> Network:
    """Features and a Dense layer."""
    return Network(
        spec(
            input_layer(None, INPUTS),
            layer("Dense", "dense", units=units, activation=activation, **options),
        )
    )


def with_kernel(kernel: np.ndarray) -> Network:
    """Features and a Dense layer with that kernel, and no bias."""
    inputs, units = kernel.shape
    model = spec(
        input_layer(None, inputs), layer("Dense", "d", units=units, use_bias=False)
    )

    def change(x: LayerSpec) -> LayerSpec:
        return replace(x, weights={"kernel": kernel}) if x.name == "d" else x

    return Network(replace(model, root=model.root.mapped(change)))


# Kernels


def test_every_activation_is_of_one_form_and_every_platform_knows_all():
    groups = (EXACT_ACTIVATIONS, RELATIVE_TO_OUTPUT, RELATIVE_TO_INPUT, RELATIVE_TO_ONE)
    names = [name for group in groups for name in group]
    assert len(names) == len(set(names))
    assert set(KINKS) <= set(names)
    assert KNOWN_PLATFORMS
    for platform, found in KNOWN_PLATFORMS.items():
        assert found.platform == platform
        assert sorted(found.constants) == sorted(MEASURED_ACTIVATIONS)
    worst = worst_known_errors()
    assert sorted(worst.constants) == sorted(MEASURED_ACTIVATIONS)
    for found in (*KNOWN_PLATFORMS.values(), *KNOWN_RUNTIMES.values()):
        assert all(worst.constants[k] >= c for k, c in found.constants.items())
        assert all(worst.absolute[k] >= c for k, c in found.absolute.items())
        assert worst.relative_to_one >= found.relative_to_one
    for platform, found in KNOWN_RUNTIMES.items():
        assert found.platform == platform
        names = [*found.constants, *found.absolute]
        assert len(names) == len(set(names))
        assert set(names) <= set(MEASURED_ACTIVATIONS)


def test_a_small_result_of_a_runtime_may_have_no_right_digit():
    """Allow for ONNX Runtime's sigmoid, and for softplus made of a logarithm."""
    found = ActivationErrors(
        "here", {"sigmoid": 2.0, "softplus": 3.0}, absolute={"sigmoid": 5.0}
    )
    x, y = np.array([-16.0, 9.0]), np.array([1e-7, 10.0])
    np.testing.assert_allclose(found.error("sigmoid", x, y), SINGLE * np.array([5, 20]))
    grown = replace(found, absolute={"softplus": 5.0})
    np.testing.assert_allclose(
        grown.error("softplus", x, y), SINGLE * np.array([5 * 17, 5 * 10])
    )


def test_a_kernels_error_follows_its_form():
    found = ActivationErrors("here", {"tanh": 2.0, "gelu": 3.0, "elu": 5.0})
    x, y = np.array([-2.0, 0.5]), np.array([-0.5, 0.25])
    assert not found.error("relu", x, y).any()
    np.testing.assert_array_equal(found.error("tanh", x, y), 2 * SINGLE * np.abs(y))
    np.testing.assert_array_equal(
        found.error("gelu", x, y), 3 * SINGLE * (np.abs(x) + np.abs(y))
    )
    np.testing.assert_array_equal(
        found.error("elu", x, y), 5 * SINGLE * (1 + np.abs(y))
    )


def test_an_activation_that_cancels_on_a_platform_has_an_error_relative_to_one():
    """As x / 6 + 0.5 does near -3, in Keras on NumPy."""
    y = np.array([0.0, 0.25])
    exact = ActivationErrors("here", {"hard_sigmoid": 2.0})
    cancels = replace(exact, relative_to_one=frozenset({"hard_sigmoid"}))
    assert exact.error("hard_sigmoid", y, y)[0] == 0
    np.testing.assert_array_equal(
        cancels.error("hard_sigmoid", y, y), 2 * SINGLE * (1 + y)
    )
    x = np.linspace(-3.001, -2.99, 10_001).astype(np.float32)
    summed = np.clip(x / np.float32(6) + np.float32(0.5), 0, 1)
    right = resolve("hard_sigmoid")(x.astype(np.float64))
    worst = worst_known_errors()
    assert np.all(np.abs(summed - right) <= worst.error("hard_sigmoid", x, right))
    narrow = replace(worst, relative_to_one=frozenset(), absolute={})
    assert np.any(np.abs(summed - right) > narrow.error("hard_sigmoid", x, right))


@pytest.mark.keras
def test_kernels_are_measured_through_keras_and_no_worse_than_what_is_kept():
    from verify.keras_bridge import (
        current_activation_errors,
        current_platform,
        measured_activation_errors,
    )

    found = measured_activation_errors()
    assert found.platform == current_platform()
    assert sorted(found.constants) == sorted(MEASURED_ACTIVATIONS)
    assert all(0.4 < c < 32 for c in found.constants.values()), found
    kept = KNOWN_PLATFORMS.get(current_platform())
    if kept is None:
        # An unknown platform is measured on the spot.
        assert current_activation_errors() == found
    else:
        assert current_activation_errors() == kept
        worse = [k for k, c in found.constants.items() if c > kept.constants[k]]
        assert not worse


@pytest.mark.keras
def test_a_coarser_kernel_would_be_measured_as_such(monkeypatch):
    import keras

    module = importlib.import_module("verify.keras_bridge.activation_errors")
    assert len(measured_arguments("tanh")) > 10**6
    kernel = keras.activations.tanh
    fine, *_ = module._greatest_errors("tanh", module._implementations("tanh")[0])
    monkeypatch.setattr(keras.activations, "tanh", lambda x: kernel(x) * (1 + 3e-6))
    monkeypatch.setattr(
        keras.activations, "get", lambda name: getattr(keras.activations, name)
    )
    coarse, *_ = module._greatest_errors("tanh", module._implementations("tanh")[0])
    assert coarse > fine + 0.9 * 3e-6 / SINGLE


# What the bound is made of


def test_the_bound_of_a_dense_layer_is_that_of_its_dot_product():
    net, x = dense(UNITS), features()[:, 0]
    kernel, bias = (w.astype(np.float64) for w in net.spec["dense"].weights.values())
    size = np.abs(x) @ np.abs(kernel) + np.abs(bias)
    deviation = SINGLE * np.sqrt((size / 2) ** 2 + INPUTS / 9 * (x @ kernel) ** 2)
    last = np.abs(x @ kernel + bias)
    expected = SINGLE * (last + size / 2) + visitor.STANDARD_DEVIATIONS * deviation
    np.testing.assert_allclose(bounds_for(net, x), expected, rtol=1e-9)


def test_a_layer_behind_it_multiplies_the_bound_by_its_kernel():
    net = Network(
        spec(
            input_layer(None, INPUTS),
            layer("Dense", "first", units=UNITS),
            layer("Dense", "second", units=1, use_bias=False),
        )
    )
    x = features()[:, 0]
    w1, b1 = (w.astype(np.float64) for w in net.spec["first"].weights.values())
    w2 = net.spec["second"].weights["kernel"].astype(np.float64)
    y = x @ w1 + b1
    sizes = np.abs(x) @ np.abs(w1) + np.abs(b1), np.abs(y) @ np.abs(w2)
    squares = (
        (sizes[0] / 2) ** 2 + INPUTS / 9 * (x @ w1) ** 2,
        (sizes[1] / 2) ** 2 + UNITS / 9 * (y @ w2) ** 2,
    )
    coherent = (np.abs(y) + sizes[0] / 2) @ np.abs(w2) + np.abs(y @ w2) + sizes[1] / 2
    deviation = np.sqrt(squares[0] @ w2**2 + squares[1])
    expected = SINGLE * (coherent + visitor.STANDARD_DEVIATIONS * deviation)
    np.testing.assert_allclose(bounds_for(net, x), expected, rtol=1e-9)


def sequential_sums(terms: np.ndarray) -> np.ndarray:
    """Sums over axis 1 as a simple loop in float32 makes them, one term at a time."""
    return np.cumsum(terms, axis=1, dtype=np.float32)[:, -1]


@pytest.mark.parametrize("kind", ["GlobalAveragePooling1D", "Dot"])
@pytest.mark.parametrize("settled", [0.0, 0.3])
def test_sums_over_steps_may_be_rounded_in_one_direction(kind, settled, monkeypatch):
    """Sum settled steps, as attention does where the states no longer change."""
    steps, units, rng = 500, 400, np.random.default_rng(7)
    first, last = rng.normal(scale=0.3, size=(2, 1, 1, units))
    fading = np.exp(-np.arange(steps) / rng.uniform(1, 100, size=(units, 1))).T
    states = np.tanh(settled + last + first * fading).astype(np.float32)
    theirs = sequential_sums(states * np.float32(1 / steps))
    if kind == "Dot":
        graph = FunctionalNet()
        shares = graph.input("shares", None, 1, steps)
        dot, *_ = graph.call(
            layer("Dot", "dot", axes=[2, 1]),
            [shares, graph.input("states", None, steps, units)],
        )
        net = Network(graph.spec(dot))
        given: Any = [np.full((1, 1, steps), np.float32(1 / steps)), states]
    else:
        net = Network(spec(input_layer(None, steps, units), layer(kind, "mean")))
        given = states
    (double,) = net.flat(net.prepare(given), dtype="float64")
    apart = np.abs(theirs - double.reshape(1, units))
    bound = bounds_for(net, given).reshape(1, units)
    assert (apart <= bound).all()
    assert (bound <= SINGLE * steps * np.abs(states).mean(axis=1)).all()
    monkeypatch.setattr(sums, "SHORT_SUM", np.inf)
    assert (apart > bounds_for(net, given).reshape(1, units)).any()


def test_softmax_has_the_errors_of_exp_of_the_sum_and_of_the_division():
    net = Network(spec(input_layer(None, 3), layer("Softmax", "softmax")))
    x = (3 * features()[:, 0]).astype(np.float32).astype(np.float64)
    p = net.predict(x, dtype="float64")
    share = worst_known_errors().constants["exponential"] + np.abs(
        x - x.max(1, keepdims=True)
    )
    jacobian = p[:, :, None] * (np.eye(3) - p[:, None, :])  # dp_k / dx_j
    local = np.einsum("bkj,bj->bk", np.abs(jacobian), share)
    expected = SINGLE * (local + (3 + 1) * p) + FLUSH_ERROR
    np.testing.assert_allclose(bounds_for(net, x), expected, rtol=1e-9)


def test_an_embedding_is_exact():
    net = Network(
        spec(
            input_layer(None, TIME, dtype="int32"),
            layer("Embedding", "embedding", input_dim=VOCABULARY, output_dim=INPUTS),
        )
    )
    assert (bounds_for(net, ids()) <= 2 * FLUSH_ERROR).all()


def test_where_nothing_rounds_no_sweep_is_made(monkeypatch):
    net = Network(
        spec(
            input_layer(None, TIME, dtype="int32"),
            layer("Embedding", "embedding", input_dim=VOCABULARY, output_dim=INPUTS),
        )
    )
    swept = []
    backprop = computations.backprop

    def seen(net, x, *args, **kwargs):
        swept.append(x.rows)
        return backprop(net, x, *args, **kwargs)

    monkeypatch.setattr(computations, "backprop", seen)
    assert (bounds_for(net, ids()) <= 2 * FLUSH_ERROR).all()
    assert swept == []
    bounds_for(dense(UNITS), features()[:, 0])
    assert swept == [BATCH]


def test_bounds_are_the_same_in_blocks_of_any_size(monkeypatch):
    net, x = Network(lstm_spec()), ids(batch=40)
    whole = bounds_for(net, x)
    monkeypatch.setattr(sweeps, "MAX_BLOCK_ROWS", 7)
    np.testing.assert_allclose(bounds_for(net, x), whole, rtol=1e-4)
    # One element of one row at a time.
    monkeypatch.setattr(sweeps, "MAX_BLOCK_ADJOINTS", 1)
    np.testing.assert_allclose(bounds_for(net, x), whole, rtol=1e-4)


def test_a_block_has_few_rows_where_what_is_recorded_of_them_is_large(monkeypatch):
    flat = layer("GlobalAveragePooling1D", "g")
    conv = layer("Conv1D", "c", filters=2, kernel_size=2)
    net = Network(
        chain([(None, TIME, INPUTS)], conv, flat, layer("Dense", "d", units=1))
    )
    traced, traces_of = [], computations.traces_of

    def seen(net, x):
        traced.append(x.rows)
        return traces_of(net, x)

    monkeypatch.setattr(computations, "traces_of", seen)
    whole = bounds_for(net, features())
    assert max(traced) == BATCH
    traced.clear()
    monkeypatch.setattr(sweeps, "MAX_TRACED_NUMBERS", 1)
    np.testing.assert_allclose(bounds_for(net, features()), whole)
    assert max(traced) == 1


RECURRENT = [
    ("SimpleRNN", {}),
    ("SimpleRNN", {"activation": "softsign", "use_bias": False}),
    ("LSTM", {}),
    ("LSTM", {"recurrent_activation": "hard_sigmoid", "go_backwards": True}),
    ("GRU", {"reset_after": True}),
    ("GRU", {"reset_after": False, "activation": "elu"}),
]


@pytest.mark.parametrize(("kind", "options"), RECURRENT)
@given(
    factor=st.sampled_from([0.3, 1.0, 3.0]),
    seed=st.integers(0, 10**6),
    sequences=st.booleans(),
    time=st.sampled_from([1, 4, 12, 40]),
)
@settings(max_examples=25)
def test_float32_stays_within_the_bound(kind, options, factor, seed, sequences, time):
    model = spec(
        input_layer(None, None, INPUTS),
        layer("Masking", "masking", mask_value=0.5),
        layer(kind, "rnn", units=UNITS, return_sequences=sequences, **options),
        layer("Dense", "dense", units=2, activation="softmax"),
        seed=seed,
    )
    net = scaled(model, factor)
    assert not unbounded(net)
    x = features(seed, time=time)
    x[np.random.default_rng(seed).random(x.shape[:2]) < 0.2] = 0.5
    limit = bounds_for(net, x)
    inside = ~np.isnan(limit)
    assert inside.mean() > 0.5
    assert (errors(net, x) <= limit)[inside].all()


@pytest.mark.parametrize(("kind", "options"), RECURRENT)
def test_with_local_errors_left_out_float32_would_exceed_it(kind, options, monkeypatch):
    """So the test above can fail: the bound is near enough to what float32 does."""
    model = spec(
        input_layer(None, None, INPUTS),
        layer(kind, "rnn", units=UNITS, **options),
    )
    net, x = Network(model), features(time=12, batch=64)
    assert (errors(net, x) <= bounds_for(net, x)).all()
    monkeypatch.setattr(visitor, "STANDARD_DEVIATIONS", 0.01)
    tiny = ActivationErrors("nowhere", dict.fromkeys(MEASURED_ACTIVATIONS, 0.01))
    rules = dict(sites.ROUNDING_SITES)

    def without_the_rest(r: Any, v: Any) -> Any:
        found, near = rules[kind](r, v)
        return [s._replace(max_error=0.01 * s.max_error) for s in found], near

    monkeypatch.setattr(sites, "ROUNDING_SITES", {**rules, kind: without_the_rest})
    assert (errors(net, x) > bounds_for(net, x, tiny)).any()


# Where it does not hold


@pytest.mark.parametrize(
    ("activation", "at"),
    [("relu", 0.0), ("relu6", 6.0), ("hard_tanh", -1.0)],
)
def test_near_a_kink_the_bound_holds_on_both_sides(activation, at, monkeypatch):
    rng = np.random.default_rng(1)
    net = dense(UNITS, activation)
    kernel, bias = (w.astype(float) for w in net.spec["dense"].weights.values())
    x = rng.normal(size=(400, INPUTS)).astype(np.float32)
    away = (x @ kernel + bias - at) / kernel[0]  # of the first input, from each kink
    x[:, 0] -= away[:, 0].astype(np.float32)  # the first unit is at its kink now
    limit, wrong = bounds_for(net, x), errors(net, x)
    assert np.isfinite(limit).all()
    assert (wrong <= limit).all()
    assert wrong.any()
    monkeypatch.setattr(sites, "slope_jump", lambda activation, kink: 0.0)
    assert (wrong > bounds_for(net, x)).any()


def test_the_slope_of_every_function_with_kinks_jumps_there():
    found = {k: [sites.slope_jump(k, at) for at in kinks] for k, kinks in KINKS.items()}
    assert found["keras2_hard_sigmoid"] == pytest.approx([0.2, 0.2])
    assert found["hard_silu"] == pytest.approx([0.5, 0.5], abs=1e-5)
    assert found["leaky_relu"] == pytest.approx([0.8])
    assert all(jump > 0.1 for jumps in found.values() for jump in jumps)


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_a_recurrent_layer_of_piecewise_linear_functions_has_bounds(kind):
    gates = {} if kind == "SimpleRNN" else {"recurrent_activation": "hard_sigmoid"}
    net = scaled(
        spec(
            input_layer(None, TIME, INPUTS),
            layer(kind, "rnn", units=UNITS, activation="hard_tanh", **gates),
        ),
        3.0,
    )
    x = 3 * features(batch=500)
    limit = bounds_for(net, x)
    assert np.isfinite(limit).all()
    assert (errors(net, x) <= limit).all()


def test_a_bound_that_float32_exceeds_before_our_eyes_is_given_up(monkeypatch):
    net, x = Network(lstm_spec()), ids(batch=64)
    given = net.prepare(x)
    right = net.predict(x, dtype="float64")
    (whole,) = output_bounds(net, given, [np.zeros_like(right)], worst_known_errors())
    assert np.isfinite(whole).all()
    monkeypatch.setattr(sites, "SINGLE", SINGLE / 100)
    tiny = ActivationErrors("nowhere", dict.fromkeys(MEASURED_ACTIVATIONS, 0.01))
    (found,) = output_bounds(net, given, [np.zeros_like(right)], tiny)
    exceeded = (errors(net, x) > bounds_for(net, x, tiny)).any(axis=1)
    assert exceeded.any()
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), exceeded)


COUNTERS = {
    "half a unit in the last place": (1.0, 0.49 * 2**-23, 1.0, 400),
    "a ten-thousandth": (1.0, 1e-4, 1.0, 2000),
    "leaky": (1.0, 1e-3, 0.999, 1000),
}


@pytest.mark.parametrize("name", COUNTERS)
def test_the_same_rounding_at_every_step_stays_within_the_bound(name):
    """A counter: a linear SimpleRNN that adds a constant to its state."""
    start, step, kept, time = COUNTERS[name]
    model = spec(
        input_layer(None, None, 1),
        layer("SimpleRNN", "rnn", units=1, activation="linear", use_bias=False),
    )
    rnn = model["rnn"].with_weights(
        kernel=np.ones((1, 1), np.float32),
        recurrent_kernel=np.full((1, 1), kept, np.float32),
    )
    net = Network(model.with_layer(rnn))
    x = np.full((1, time, 1), step, np.float32)
    x[:, 0] = start
    off, limit = errors(net, x), bounds_for(net, x)
    assert 0.01 * limit < off <= limit


def test_the_same_dot_product_at_every_step_stays_within_the_bound(monkeypatch):
    """An integrator of 300 positive terms that the bias takes away again."""
    size, time, rng = 300, 400, np.random.default_rng(0)
    model = spec(
        input_layer(None, None, size),
        layer("SimpleRNN", "rnn", units=UNITS, activation="linear"),
    )
    kernel = rng.uniform(0.5, 1, size=(size, UNITS)).astype(np.float32)
    x = np.broadcast_to(rng.uniform(0.5, 1, size=size), (1, time, size))
    x = x.astype(np.float32)
    rnn = model["rnn"].with_weights(
        kernel=kernel,
        recurrent_kernel=np.eye(UNITS, dtype=np.float32),
        bias=-(x[0, 0] @ kernel),
    )
    net = Network(model.with_layer(rnn))
    # Sums near zero deviate by a lot.
    monkeypatch.setattr(sweeps, "MAX_LINEAR_DEVIATION", 1.0)
    off, limit = errors(net, x), bounds_for(net, x)
    assert (off <= limit).all()
    assert (off > 0.02 * limit).any()


def test_numbers_too_small_for_float32_are_lost_within_the_bound():
    net = Network(
        spec(
            input_layer(None, INPUTS),
            *(layer("Dense", f"d{k}", units=3, use_bias=False) for k in range(4)),
        )
    )
    root = net.spec
    for k, power in enumerate((-20, -20, 20, 20)):
        w = root[f"d{k}"].weights["kernel"] * np.float32(10.0**power)
        root = root.with_layer(root[f"d{k}"].with_weights(kernel=w))
    net, x = Network(root), features()[:, 0]
    right = net.predict(x, dtype="float64")
    assert (np.abs(right) <= bounds_for(net, x)).all()  # all of it may be lost


def test_sums_may_be_taken_in_any_order_across_layers_too():
    import itertools

    from support.nets import GivenWeights

    from verify.model_files.config import read_model

    names = ["a", "b", "c", "d"]
    inputs = [
        {
            **layer("InputLayer", n, batch_shape=[None, 3], dtype="float32"),
            "name": n,
            "inbound_nodes": [],
        }
        for n in names
    ]

    def tensor(name: str) -> dict[str, Any]:
        return {
            "class_name": "__keras_tensor__",
            "config": {
                "shape": [None, 3],
                "dtype": "float32",
                "keras_history": [name, 0, 0],
            },
        }

    def add(name: str, *terms: str) -> dict[str, Any]:
        node = {"args": [[tensor(t) for t in terms]], "kwargs": {}}
        return {**layer("Add", name), "name": name, "inbound_nodes": [node]}

    config = {
        "module": "keras",
        "class_name": "Functional",
        "registered_name": "Functional",
        "config": {
            "name": "sums",
            "layers": [*inputs, add("one", "a", "b"), add("two", "one", "c", "d")],
            "input_layers": [[n, 0, 0] for n in names],
            "output_layers": [["two", 0, 0]],
        },
    }
    model = read_model(config, GivenWeights({}), source="a test", keras_version="3.15")
    net, rng = Network(model), np.random.default_rng(0)
    x = [rng.normal(size=(64, 3)).astype(np.float32) for _ in range(4)]
    x[1] = (x[1] - x[0] * 1000).astype(np.float32)
    x[0] = (x[0] * 1000).astype(np.float32)
    right, limit = net.predict(x, dtype="float64"), bounds_for(net, x)
    for order in itertools.permutations(range(4)):
        total = np.zeros((64, 3), np.float32)
        for k in order:
            total = total + x[k]
        assert (np.abs(total - right) <= limit).all(), order


def chaotic() -> tuple[Network, np.ndarray]:
    """A GRU that amplifies rounding until its outputs mean nothing, all but row 0."""
    model = spec(
        input_layer(None, None, INPUTS),
        layer("Masking", "masking"),
        layer("GRU", "rnn", units=16),
    )
    x = features(time=300)
    x[0, 3:] = 0
    return scaled(model, 8), x


def test_a_class_that_softmax_rules_out_leaves_the_others_their_bounds():
    y = np.array([[1.0, 1e-6], [0.9, 1e-6]])
    floor = noise_floor(y, y)
    found = np.array([[1e-5, 1e-4], [1e-5, 0.5]])  # the last is much for any class
    (tolerance,) = module.bounded([floor], [y], [y], lambda differences: [found])
    assert tolerance.atol[0].tolist() == [1e-5, floor.atol[1]]
    np.testing.assert_array_equal(tolerance.atol[1], floor.atol)


def test_a_row_of_nan_on_both_sides_leaves_the_others_their_tolerance():
    """Such as the average over a row of padding; NaN on one side leaves none."""
    y = np.array([[1.0, 2.0], [np.nan, np.nan]])
    floor = noise_floor(y, y + 1e-6)
    assert floor.scale.tolist() == [1, 2]
    np.testing.assert_array_equal(floor.atol, noise_floor(y[:1], y[:1] + 1e-6).atol)
    found = floor.bounded(np.array([[1e-5, 1e-5], [np.nan, np.nan]]))
    assert found.derived == 0.5
    assert not compare(y, y, allowed=found.atol).matches
    one_sided = noise_floor(np.ones((2, 2)), y)
    assert not one_sided.decides


def test_a_row_that_amplifies_has_no_bound_even_where_an_element_is_saturated():
    net, x = chaotic()
    right, single = net.predict(x, dtype="float64"), net.predict(x, dtype="float32")
    assert np.abs(single - right)[1:].max() > 1
    (allowed,) = bounded_outputs(
        net,
        net.prepare(x),
        [noise_floor(right, single)],
        [right],
        [single],
        worst_known_errors(),
    )
    assert not allowed.decides
    assert allowed.atol.shape == right.shape
    assert (allowed.atol[0] < 1e-2).all()  # the short row keeps its bound
    assert (allowed.atol[1:] == np.broadcast_to(allowed.atol[1], (4, 16))).all()
    assert 0 < allowed.derived < 1


@pytest.mark.keras
def test_an_output_has_its_bound_beside_one_that_has_none():
    """Bound a Dense beside an inverse, of which no derivative is known here."""
    import keras

    x, square = keras.Input((4,)), keras.Input((3, 3))
    dense = keras.layers.Dense(2)(keras.layers.Dense(5, activation="tanh")(x))
    model = keras.Model([x, square], [dense, keras.ops.inv(square)])
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    given = [
        rng.normal(size=(6, 4)).astype(np.float32),
        (rng.normal(size=(6, 3, 3)) + 4 * np.eye(3)).astype(np.float32),
    ]

    def bounds(model: Any, given: Any) -> list[Any]:
        net = verify.load(model)
        x = net.prepare(given)
        differences = [np.abs(y) for y in net.flat(x)]
        return module.output_bounds(net, x, differences, worst_known_errors())

    found, none = bounds(model, given)
    assert np.isnan(none).all()
    (alone,) = bounds(keras.Model(x, dense), given[0])
    np.testing.assert_array_equal(found, alone)
    assert (found < 1e-5).all()
    right = model.predict(given, verbose=0)
    port = [right[0] + np.float32(3e-5), right[1]]
    net = verify.load(model)
    assert verify.compare_outputs(net, given, right).verdict is Verdict.PASS
    report = verify.compare_outputs(net, given, port)
    assert report.verdict is Verdict.FAIL, str(report)


REFUSED = [
    (layer("GRU", "rnn", units=2, recurrent_activation="glu"), "activation=glu"),
    (layer("Dense", "dense", units=2, dtype="float16"), "float16"),
]


@pytest.mark.parametrize(("config", "said"), REFUSED)
def test_what_has_no_bound_is_named(config, said):
    net = Network(spec(input_layer(None, TIME, INPUTS), config))
    assert said in unbounded(net)
    assert said in unbounded(net, config["config"]["name"])
    assert ". " not in unbounded(net)


def test_other_precisions_have_no_bound():
    for policy in ("float64", "float16", "mixed_bfloat16"):
        net = dense(UNITS, dtype=policy)
        assert policy in unbounded(net)
    assert not unbounded(dense(UNITS))


@pytest.mark.parametrize(("units", "few"), [(FEW_ELEMENTS, True), (12, False)])
def test_few_outputs_of_a_single_row_all_have_a_bound(units, few, monkeypatch):
    """Prepare a dear row once for all of its outputs, where they are few."""
    net = Network(
        spec(input_layer(None, TIME, INPUTS), layer("LSTM", "rnn", units=units))
    )
    x = net.prepare(features(batch=1))
    apart = np.arange(1.0, units + 1)[None]
    (every,) = output_bounds(net, x, [apart], worst_known_errors())
    monkeypatch.setattr(sweeps, "SKETCH_SHARE", 0.0)
    (found,) = output_bounds(net, x, [apart], worst_known_errors(), work=40.0)
    known = np.isfinite(found)
    assert known.all() == few
    assert known[0, -1]
    np.testing.assert_allclose(found[known], every[known], rtol=1e-4)


def test_beyond_the_work_that_is_allowed_the_most_different_are_bounded(monkeypatch):
    monkeypatch.setattr(sweeps, "SKETCH_SHARE", 0.0)  # which bounds all at once
    net = Network(
        spec(
            input_layer(None, TIME, INPUTS),
            layer("LSTM", "rnn", units=UNITS, return_sequences=True),
        )
    )
    x = net.prepare(features(batch=64))
    (right,) = net.flat(x, dtype="float64")
    apart = np.random.default_rng(0).random(right.shape)
    apart[17, 3, 2] = 9
    (every,) = output_bounds(net, x, [apart], worst_known_errors())
    assert np.isfinite(every).all()
    (some,) = output_bounds(net, x, [apart], worst_known_errors(), work=20_000)
    known = np.isfinite(some)
    assert 0 < known.mean() < 0.1
    assert known[17, 3, 2]
    np.testing.assert_allclose(some[known], every[known], rtol=1e-4)
    floor = noise_floor(right, right)
    derived = floor.bounded(some)
    np.testing.assert_array_equal(derived.atol[known], some[known])
    np.testing.assert_array_equal(
        derived.atol[~known], np.broadcast_to(floor.atol, right.shape)[~known]
    )


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_the_batches_of_a_stateful_model_hand_on_their_errors(kind):
    def made(batch: int, time: int, **stateful: bool) -> Network:
        rnn = layer(kind, "rnn", units=UNITS, return_sequences=True, **stateful)
        return Network(spec(input_layer(batch, time, INPUTS), rnn))

    net, x = made(2, TIME, stateful=True), features(batch=6)
    limit = bounds_for(net, x)
    assert np.isfinite(limit).all()
    assert (errors(net, x) <= limit).all()
    # one call over all steps, in which nothing is handed on from call to call
    whole = np.concatenate([x[:2], x[2:4], x[4:]], axis=1)
    (long,) = np.split(bounds_for(made(2, 3 * TIME), whole), 1)
    batches = np.concatenate(np.split(long, 3, axis=1))
    assert (limit >= batches * (1 - 1e-12)).all()
    assert np.median(limit[2:] / batches[2:]) < 12


def test_errors_of_earlier_batches_that_are_lost_make_a_bound_too_small():
    """A counter over 40 batches: each adds its error to those before."""
    rnn = layer("SimpleRNN", "rnn", units=UNITS, activation="linear", stateful=True)
    net = Network(spec(input_layer(1, 1, INPUTS), rnn))
    weights = {**net.spec["rnn"].weights, "recurrent_kernel": np.eye(UNITS)}
    net = Network(net.spec.with_layer(replace(net.spec["rnn"], weights=weights), "rnn"))
    x = 1 + features(batch=40, time=1) / 10
    right = bounds_for(net, x)
    carried = forwards.ChangingModel.outputs
    with patch.object(
        forwards.ChangingModel,
        "outputs",
        lambda self, x, states: carried(self, x, {}),
    ):
        wrong = bounds_for(net, x)
    assert (right[-1] > 3 * wrong[-1]).all()
    assert (errors(net, x) <= right).all()


# One layer alone


def test_the_bound_of_a_call_is_that_of_a_model_of_this_layer():
    model = spec(
        input_layer(None, TIME, INPUTS),
        layer("Masking", "masking"),
        layer("GRU", "rnn", units=UNITS, return_sequences=True),
    )
    net, x = Network(model), features()
    x[1, 2:] = 0
    mask = (x != 0).any(axis=2)
    apart = [np.zeros((BATCH, TIME, UNITS))]

    def bounds_of_call(given: Tensor, **kwargs) -> np.ndarray:
        call = LayerCall("rnn", [given], kwargs)
        (bounds,) = call_bounds(net, call, apart, worst_known_errors())
        return bounds

    alone = bounds_of_call(Tensor(x, mask))
    np.testing.assert_allclose(alone, bounds_for(net, x), rtol=1e-4)
    unmasked = bounds_of_call(Tensor(x))
    assert not np.allclose(unmasked[1], alone[1])
    states = [Tensor(np.ones((BATCH, UNITS), np.float32))]
    begun = bounds_of_call(Tensor(x), initial_state=states)
    assert not np.allclose(begun, unmasked)


def test_what_exceeds_the_noise_floor_of_a_layer_gets_a_bound_of_its_own(monkeypatch):
    """Bound those beyond the measured floor, which others by the least floor hid."""
    rows, inputs, rng = 40, 16, np.random.default_rng(3)
    x = rng.uniform(0.5, 1, size=(rows, inputs)).astype(np.float32)
    kernel = rng.uniform(0.5, 1, size=(inputs, 2)).astype(np.float32)
    kernel[::2, 0] *= -1  # terms that cancel: a wide bound
    net = with_kernel(kernel)
    call, rounding = LayerCall("d", [Tensor(x)], {}), Rounding(net)
    ours = call.evaluate(net, "float64")
    (bounds,) = call_bounds(net, call, [np.zeros(ours[0].shape)], worst_known_errors())
    (least,) = rounding.least_floors(ours)
    monkeypatch.setattr(module, "MAX_LAYER_ADJOINTS", 8.0 * (inputs + 4))
    monkeypatch.setattr(rounding, "noise_floors", lambda *_, **__: [least])

    def agrees(share: float) -> bool:
        theirs = ours[0].copy()
        theirs[:4, 0] += 0.9 * bounds[:4, 0]
        theirs[9, 1] += share * bounds[9, 1]
        assert abs(theirs - ours[0])[9, 1] > 1.5 * least.atol[1]
        (found,) = bounded_call(rounding, call, ours, [theirs], worst_known_errors())
        assert found.derived < 0.5
        return compare(theirs, ours[0], allowed=found.atol).matches

    assert agrees(0.9)
    assert not agrees(1.1)
    monkeypatch.setattr(module, "_beyond_noise", lambda *_: False)
    assert not agrees(0.9)


def test_the_noise_floor_of_a_layer_is_measured_where_its_least_does_not_suffice(
    monkeypatch,
):
    x, rng = features(), np.random.default_rng(8)
    kernel = rng.normal(size=(INPUTS, 2)).astype(np.float32)
    net = with_kernel(kernel)
    call, rounding = LayerCall("d", [Tensor(x[:, 0])], {}), Rounding(net)
    ours = call.evaluate(net, "float64")
    (least,) = rounding.least_floors(ours)
    monkeypatch.setattr(module, "MAX_LAYER_ADJOINTS", 1.0)  # no element has a bound
    measured, measure = [], rounding.noise_floors

    def noise_floors(*args, **kwargs):
        measured.append(args)
        return measure(*args, **kwargs)

    monkeypatch.setattr(rounding, "noise_floors", noise_floors)

    def found_for(share: float) -> Tolerance:
        theirs = ours[0] + share * least.atol
        (found,) = bounded_call(rounding, call, ours, [theirs], worst_known_errors())
        return found

    assert (found_for(0.9).atol == least.atol).all()
    assert not measured
    assert (found_for(1.1).atol > least.atol).all()
    assert len(measured) == 1


def test_some_rows_of_a_call_leave_constants_whole():
    x = features()
    causal = np.tri(TIME, dtype=bool)
    given = Tensor(x, (x != 0).any(axis=2))
    call = LayerCall("attention", [given, given], {"attention_mask": causal})
    some = call.take(np.array([BATCH - 1]))
    np.testing.assert_array_equal(some.kwargs["attention_mask"], causal)
    np.testing.assert_array_equal(some.args[0].value, x[-1:])
    np.testing.assert_array_equal(some.args[1].mask, given.mask[-1:])


# In reports


@pytest.fixture(scope="module")
def model() -> Any:
    import keras

    return keras_sequential(
        [
            keras.Input((TIME,), dtype="int32"),
            keras.layers.Embedding(VOCABULARY, INPUTS, mask_zero=True),
            keras.layers.Bidirectional(keras.layers.LSTM(UNITS, return_sequences=True)),
            keras.layers.GRU(UNITS),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )


@pytest.mark.keras
def test_a_check_reports_error_over_allowed_for_each_layer_and_output(model):
    from verify.keras_bridge import current_platform

    report = verify.check(model, ids(batch=32))
    assert report.verdict is Verdict.PASS
    assert report.allowance == f"derived bound (kernels of {current_platform()})"
    assert all(x.derived == 1 for x in report.layers)
    assert all(0 <= x.numerics.error_ratio < 1 for x in report.layers)
    assert 0.001 < report.numerics.error_ratio < 1
    text = report.to_text()
    assert f"allowed  : {report.allowance}, error / allowed 0." in text
    assert text.count(" bound ") >= len(report.layers)
    content = report.to_dict()
    assert content["allowance"] == report.allowance
    assert content["layers"][0]["derived"] == 1
    assert content["numerics"]["share"] == report.numerics.error_ratio


@pytest.mark.keras
def test_a_check_says_why_a_model_is_held_to_the_noise_floor():
    import keras

    model = keras_sequential(
        [
            keras.Input((TIME, INPUTS)),
            keras.layers.Dense(4, dtype="float64", name="exact"),
            keras.layers.LSTM(UNITS),
        ]
    )
    report = verify.check(model, features())
    assert report.verdict is Verdict.PASS
    assert report.allowance.startswith("noise floor (Layer 'exact' (Dense): ")
    assert [x.derived for x in report.layers] == [0, 1]  # but the LSTM alone has one
    assert " noise " in report.to_text()


@pytest.mark.keras
def test_predict_in_less_than_float32_exceeds_the_bound(model, monkeypatch):
    from verify.keras_bridge import KerasModel

    x = ids(batch=32)
    right = KerasModel.predict

    def coarse(self: Any, x: Any) -> Any:
        outputs = right(self, x)
        return outputs if self.floatx else [y * (1 + 2**-11) for y in outputs]

    monkeypatch.setattr(KerasModel, "predict", coarse)  # as TF32 would have it
    report = verify.check(model, x)
    assert report.verdict is Verdict.FAIL
    assert report.numerics.error_ratio > 1
    assert "predict differs by more than rounding" in report.reason


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_every_mistake_of_the_catalogue_exceeds_the_bound(kind):
    from verify.mistakes.catalogue import catalogue

    model = spec(
        input_layer(None, TIME, dtype="int32"),
        layer(
            "Embedding", "embedding", input_dim=VOCABULARY, output_dim=INPUTS,
            mask_zero=True,
        ),
        layer(kind, "rnn", units=UNITS),
        layer("Dense", "dense", units=2, activation="softmax"),
    )  # fmt: skip
    net, x = Network(model), ids(batch=64)
    limit, right = bounds_for(net, x), net.predict(x, dtype="float64")
    unseen = [
        mutant.name
        for mutant in catalogue(model)
        if compare(right, mutant.evaluate(x)[0], allowed=limit).matches
    ]
    assert not unseen


def test_a_port_is_held_to_the_bound():
    net = Network(lstm_spec())
    x = ids(batch=64)
    good = verify.compare_outputs(net, x, net.predict(x, dtype="float32"))
    assert good.verdict is Verdict.PASS
    assert good.allowance == "derived bound (kernels of any known platform)"
    bad = mutated(net.spec, "weights rounded to TF32").predict(x, dtype="float32")
    report = verify.compare_outputs(net, x, bad)
    assert report.verdict is Verdict.FAIL
    assert report.diagnosis


def test_outputs_beyond_the_noise_but_within_the_bound_pass_with_a_warning():
    net = scaled(lstm_spec(), 2)
    x = ids(batch=64)
    right = net.predict(x, dtype="float64")
    limit = bounds_for(net, x)
    floor = noise_floor(right, net.predict(x, dtype="float32"))
    between = np.clip(3 * floor.atol, None, 0.9 * limit)
    assert (between > 1.5 * floor.atol).any()
    report = verify.compare_outputs(net, x, right + between)
    assert report.verdict is Verdict.PASS
    assert any("within the derived bound" in w for w in report.warnings)
    good = verify.compare_outputs(net, x, net.predict(x, dtype="float32"))
    assert not any("within the derived bound" in w for w in good.warnings)


@pytest.mark.keras
def test_a_model_inside_has_the_bounds_of_its_layers():
    """Give two sides of a Siamese network the bounds that they have without a model."""
    import keras
    from keras import layers

    table = layers.Embedding(VOCABULARY, INPUTS, mask_zero=True)
    both = layers.Bidirectional(layers.LSTM(UNITS))
    dense = layers.Dense(UNITS, activation="relu")
    encoder = keras.Sequential([table, both, dense])
    words = [keras.Input((TIME,), dtype="int32") for _ in range(2)]
    near = layers.Dot(axes=1, normalize=True)
    nested = keras.Model(words, near([encoder(word) for word in words]))
    flat = keras.Model(words, near([dense(both(table(word))) for word in words]))
    weights = random_weights([w.shape for w in nested.get_weights()], 3)
    nested.set_weights([0.7 * w for w in weights])
    x = [ids(1), ids(2)]
    found, expected = (bounds_for(verify.load(model), x) for model in (nested, flat))
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    encoder.set_weights([1.1 * w for w in encoder.get_weights()])
    assert not np.allclose(bounds_for(verify.load(nested), x), expected, rtol=1e-9)


@pytest.mark.keras
def test_vectors_that_are_looked_up_inside_have_the_bounds_of_vectors_given():
    """Read sentences of words, with the table of words inside TimeDistributed."""
    import keras
    from keras import layers

    table = layers.Embedding(VOCABULARY, INPUTS)
    lstm = layers.LSTM(UNITS)
    last = layers.GRU(2)
    words = keras.Input((3, TIME), dtype="int32")
    reader = keras.Sequential([keras.Input((TIME,), dtype="int32"), table, lstm])
    inside = keras.Model(words, last(layers.TimeDistributed(reader)(words)))
    alone = keras.Sequential([keras.Input((TIME, INPUTS)), lstm])
    outside = keras.Model(words, last(layers.TimeDistributed(alone)(table(words))))
    weights = random_weights([w.shape for w in inside.get_weights()], 4)
    inside.set_weights([0.7 * w for w in weights])
    x = np.stack([ids(k) for k in range(3)], axis=1)
    found, expected = (bounds_for(verify.load(model), x) for model in (inside, outside))
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    table.set_weights([1.1 * w for w in table.get_weights()])
    assert not np.allclose(bounds_for(verify.load(inside), x), expected, rtol=1e-6)
