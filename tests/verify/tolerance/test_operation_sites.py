"""Bounds of recorded layers against float32, and sites left out that are noticed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from support.any_layer import chain
from support.nets import (
    INPUTS,
    TIME,
    UNITS,
    features,
    input_layer,
    layer,
    spec,
)

from verify import LayerSpec, Network
from verify.backward import any_layer, backprop
from verify.backward.recording import NotRecorded, Operation, Recorded, Tape
from verify.forward.layers import REGISTRY
from verify.tolerance.activation_errors import worst_known_errors
from verify.tolerance.error_bound import output_bounds, sweeps, unbounded, visitor
from verify.tolerance.error_bound import sites as rounding_sites
from verify.tolerance.error_bound.operation_sites import operation_rounding


def made(class_name: str, features: int, inside=None, **config) -> LayerSpec:
    """A layer with random weights; `features` is the size that its input decides."""
    kind, rng = REGISTRY[class_name], np.random.default_rng(len(class_name))
    options = kind.read_options(class_name, config)
    weights = {}
    for name, shape in kind.weight_shapes(options).items():
        sizes = [features if size is None else size for size in shape]
        weights[name] = rng.uniform(0.2, 0.9, size=sizes).astype(np.float32)
        if "variance" not in name:
            weights[name] *= rng.choice([-1, 1], size=sizes)
    return LayerSpec(class_name, class_name, options, weights, inside or {})


CELLS = {
    "0": made("LSTMCell", INPUTS, units=2),
    "1": made("GRUCell", 2, units=UNITS),
}
STACKS = {
    "conv": [
        made("Conv1D", INPUTS, filters=4, kernel_size=3, activation="relu"),
        made("MaxPooling1D", 4, pool_size=2),
        made("GRU", 4, units=3),
    ],
    "transposed": [
        made("Conv1DTranspose", INPUTS, filters=2, kernel_size=3, strides=2),
        made("AveragePooling1D", 2, pool_size=2, strides=1),
    ],
    "normalised": [
        made("BatchNormalization", INPUTS),
        made("LayerNormalization", INPUTS),
        made("Flatten", INPUTS),
        made("Dense", TIME * INPUTS, units=2, activation="softmax"),
    ],
    "steps": [
        made("TimeDistributed", INPUTS, {"layer": made("Dense", INPUTS, units=UNITS)}),
        made("GlobalAveragePooling1D", UNITS),
        made("RepeatVector", UNITS, n=3),
    ],
    "cells": [
        made("RNN", INPUTS, {"cell": made("StackedRNNCells", INPUTS, CELLS)}),
    ],
    "spectrogram": [
        made("STFTSpectrogram", INPUTS, frame_length=4, frame_step=2, mode="psd"),
    ],
    "slope": [
        made("Dense", INPUTS, units=UNITS, activation="tanh_shrink"),
        made("ELU", UNITS, alpha=0.5),
        made("UnitNormalization", UNITS),
    ],
}


def stack(name: str) -> Network:
    """A model of those layers."""
    layers = STACKS[name]
    places = [layer("Identity", f"at{k}") for k, _ in enumerate(layers)]
    model = spec(input_layer(None, TIME, INPUTS), *places)
    for k, one in enumerate(layers):
        model = model.with_layer(replace(one, name=f"at{k}"), f"at{k}")
    return Network(model)


def bound_of(net: Network, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bound of every output, and how far NumPy in float32 is off."""
    inputs = net.prepare(x)
    (right,) = net.flat(inputs, dtype="float64")
    (single,) = net.flat(inputs, dtype="float32")
    (found,) = output_bounds(net, inputs, [np.ones(right.shape)], worst_known_errors())
    return found, np.abs(single - right)


@pytest.mark.parametrize("name", STACKS)
def test_float32_stays_within_the_bound_of_recorded_layers(name):
    for seed in range(3):
        net = stack(name)
        assert not unbounded(net)
        bound, error = bound_of(net, features(seed=seed))
        assert np.isfinite(bound).mean() > 0.7
        assert not (error > bound).any()
        size = np.abs(net.predict(features(seed=seed))).max()
        assert np.nanmax(bound) < 2e-4 * size  # else a mistake could hide in it


INSIDE = {
    "conv": layer("Conv1D", "c", filters=3, kernel_size=2, activation="relu"),
    "pool": layer("MaxPooling1D", "p", pool_size=2),
    "dense": layer("Dense", "d", units=2, activation="softsign"),
    "loop": layer("LSTM", "l", units=2, activation="relu"),
    "nested": layer(
        "TimeDistributed", "t", layer=layer("Dense", "d", units=2, activation="relu")
    ),
}


@pytest.mark.parametrize("name", INSIDE)
def test_all_steps_at_once_have_the_bound_of_each_step(name, monkeypatch):
    steps = layer("TimeDistributed", "steps", layer=INSIDE[name])
    net = Network(chain([(None, 5, 4, 3)], steps, layer("Flatten", "flat")))
    x = np.random.default_rng(2).normal(size=(6, 5, 4, 3)).astype(np.float32)
    x[1] = 0  # near a kink without a bias, whatever the step
    at_once, error = bound_of(net, x)
    assert np.isfinite(at_once).any()
    assert not (error > at_once).any()
    counts = []
    record = Tape.record

    def counted(*args, **kwargs):
        counts.append(1)
        return record(*args, **kwargs)

    monkeypatch.setattr(Tape, "record", counted)
    bound_of(net, x)
    once = len(counts)
    monkeypatch.setattr(any_layer, "merges_steps", lambda inner: False)
    each, _ = bound_of(net, x)
    assert len(counts) - once > 3 * once
    np.testing.assert_allclose(at_once, each, rtol=1e-9)
    # errors in one step of each row, the others forgotten, are seen by this comparison
    monkeypatch.setattr(any_layer, "merges_steps", lambda inner: True)
    monkeypatch.setattr(
        visitor, "sum_of_products", lambda d, e: total(d, e) if d.ndim < 4 else 0.0
    )
    wrong, _ = bound_of(net, x)
    assert not np.allclose(wrong, each, rtol=1e-9, atol=0, equal_nan=True)


def total(adjoint, errors):
    """Their products, summed over all axes but sweeps and rows."""
    each = np.abs(adjoint) * np.broadcast_to(errors, adjoint.shape[1:])
    return each.reshape(*each.shape[:2], -1).sum(axis=-1)


def test_a_dear_sweep_is_not_made(monkeypatch):
    net, x = stack("conv"), features()
    inputs = net.prepare(x)
    (right,) = net.flat(inputs, dtype="float64")
    apart = np.random.default_rng(0).random(right.shape)
    apart[2] += 1

    def of(work):
        (found,) = output_bounds(net, inputs, [apart], worst_known_errors(), work=work)
        return np.isfinite(found)

    monkeypatch.setattr(sweeps, "DEAR_FACTOR", 1)
    every, some, none = of(1e8), of(400), of(10)
    assert some[2].any()  # the row that differs most
    assert some.sum() < every.sum() / 2
    assert not none.any()
    monkeypatch.setattr(sweeps, "DEAR_FACTOR", 1e3)  # a few rows may take longer
    np.testing.assert_array_equal(of(400), every)
    monkeypatch.setattr(sweeps, "DEAR_ROWS", 1)
    assert of(400).any(axis=1).sum() < every.any(axis=1).sum()


@pytest.mark.parametrize("name", STACKS)
def test_a_site_that_is_too_small_is_given_up(name, monkeypatch):
    """A bound that NumPy's own float32 exceeds does not count."""

    def smaller(operation, errors):
        found = operation_rounding(operation, errors)
        deviation = found.standard_deviation
        return found._replace(
            max_error=1e-4 * found.max_error,
            standard_deviation=None if deviation is None else 1e-4 * deviation,
        )

    monkeypatch.setattr(visitor, "operation_rounding", smaller)
    monkeypatch.setattr(visitor, "FLUSH_ERROR", 0.0)
    rules = {
        k: partial(tiny_sites, rule)
        for k, rule in rounding_sites.ROUNDING_SITES.items()
    }
    monkeypatch.setattr(rounding_sites, "ROUNDING_SITES", rules)
    bound, _ = bound_of(stack(name), features())
    assert np.isnan(bound).all()


def tiny_sites(rule, rounding, values):
    """Claim that a layer hardly rounds."""
    sites, near = rule(rounding, values)
    made = [
        site._replace(
            max_error=1e-9 * site.max_error,
            standard_deviation=None
            if site.standard_deviation is None
            else 1e-9 * site.standard_deviation,
        )
        for site in sites
    ]
    return made, near


@pytest.mark.parametrize("name", STACKS)
def test_gradients_of_recorded_layers_follow_differences(name):
    net, x, eps = stack(name), features(), 1e-6
    rng = np.random.default_rng(4)
    (y,) = net.flat(net.prepare(x), dtype="float64")
    d = rng.normal(size=y.shape)
    found = backprop(net, x, [d])

    def loss(net: Network, x: np.ndarray) -> float:
        inputs = type(net.prepare(features()))([x])
        return float((d * net.flat(inputs, dtype="float64")[0]).sum())

    x64 = net.prepare(x)[0].astype(np.float64)
    way = rng.normal(size=x64.shape)
    slope = (loss(net, x64 + eps * way) - loss(net, x64 - eps * way)) / (2 * eps)
    assert found.inputs[0] is not None
    assert abs((found.inputs[0] * way).sum() - slope) < 1e-6 * (1 + abs(slope))
    for path, part in net.spec.walk():
        for key, value in part.weights.items():
            way = rng.normal(size=value.shape)

            def moved(by, part=part, path=path, key=key, value=value, way=way):
                new = part.with_weights(**{key: value + by * way})
                return Network(net.spec.with_layer(new, path))

            slope = (loss(moved(eps), x64) - loss(moved(-eps), x64)) / (2 * eps)
            ours = (found.weights[path][key] * way).sum()
            assert abs(ours - slope) < 1e-6 * (1 + abs(slope)), (path, key)


def recorded(values, single=None) -> Recorded:
    value = np.asarray(values, dtype=np.float64)
    return Tape(single=single is not None).leaf(value, single)


def test_a_recorded_value_is_never_lost_in_a_plain_array():
    x = recorded([[1.0, 2.0]])
    with pytest.raises(NotRecorded, match="plain array"):
        np.asarray(x)
    with pytest.raises(NotRecorded, match="plain array"):
        np.zeros((1, 2))[:] = x
    with pytest.raises(NotRecorded, match="partition"):
        np.partition(x, 0)
    y = np.zeros((1, 2))
    y += x  # a new value, as Python takes what is returned
    assert isinstance(y, Recorded)


def test_a_maximum_near_a_tie_may_be_either_and_a_comparison_near_one_has_no_bound():
    x = np.array([[1.0, 1.0 + 1e-7, -3.0], [1.0, 2.0, 3.0]])
    single = (x + np.array([[2e-7, 0, 0], [0, 0, 2e-7]])).astype(np.float32)
    shown: list[Operation] = []
    value = recorded(x, single)
    top = np.max(value, axis=1)
    value.tape.back({top.place: np.ones((1, 2))}, lambda op, d: shown.append(op))
    found = operation_rounding(shown[0], worst_known_errors())
    assert found.max_error[0] == pytest.approx(1e-7)
    assert found.max_error[1] == 0
    assert (value > 1 + 5e-8).tolist() == [[False, True, False], [False, True, True]]
    (decision,) = value.tape.decisions
    near = operation_rounding(decision, worst_known_errors()).near
    assert near.tolist() == [True, True]


def test_a_sorted_number_near_another_may_be_either():
    x = np.array([[3.0, 1 + 2e-7, 1.0], [5.0, 1.0, 3.0]])
    single = x + np.array([[0, -3e-7, 0], [3e-7, 0, 0]])
    value = recorded(x, single)
    y = np.sort(value, axis=1)
    shown: list[Operation] = []
    d = np.arange(1.0, 7).reshape(1, 2, 3)
    back = value.tape.back({y.place: d}, lambda op, _: shown.append(op))
    assert back[value.place].tolist() == [[[3, 2, 1], [6, 4, 5]]]
    error = operation_rounding(shown[0], worst_known_errors()).max_error
    assert (error[0, :2] >= 2 * 3e-7).all()
    assert error[0, 2] == 0
    assert not error[1].any()


@pytest.mark.parametrize(
    "layers",
    [
        [layer("Dense", "d", units=5, activation="sparsemax")],
        [layer("LSTM", "r", units=4, activation="sparsemax")],
        [layer("LSTM", "r", units=4, return_sequences=True),
         layer("Dense", "d", units=5, activation="sparsemax"),
         layer("Flatten", "f"), layer("Dense", "e", units=3)],
    ],
    ids=["Dense", "LSTM", "between layers"],
)  # fmt: skip
def test_float32_stays_within_the_bound_of_sparsemax(layers):
    net = Network(chain([(None, TIME, INPUTS)], *layers))
    assert not unbounded(net)
    for seed in range(3):
        bound, error = bound_of(net, features(seed=seed))
        assert np.isfinite(bound).mean() > 0.9
        assert not (error > bound).any()


def operations(*kinds: str, **options) -> Network:
    """A Dense layer, and operations on what it returns."""
    net = chain(
        [(None, TIME, INPUTS)],
        layer("Dense", "d", units=UNITS),
        *[layer("Identity", f"at{k}") for k, _ in enumerate(kinds)],
    )
    for k, kind in enumerate(kinds):
        net = net.with_layer(LayerSpec(f"at{k}", f"ops.{kind}", options), f"at{k}")
    return Network(net)


def test_a_running_product_has_a_bound_and_the_derivative_of_a_product():
    net = operations("Cumprod", axis=1, dtype=None)
    for seed in range(3):
        bound, error = bound_of(net, features(seed=seed))
        assert np.isfinite(bound).all()
        assert not (error > bound).any()
    x, d = features()[:2], np.zeros((2, TIME, UNITS))
    d[1, -1, 2] = 1.0
    (found,) = backprop(net, x, [d]).inputs
    moved = x.astype(float)
    moved[1, 3, 1] += 1e-3
    kernel, bias = (w.astype(float) for w in net.spec["d"].weights.values())
    apart = [np.cumprod(v @ kernel + bias, axis=1)[1, -1, 2] for v in (moved, x)]
    assert found[1, 3, 1] == pytest.approx((apart[0] - apart[1]) / 1e-3, rel=1e-2)


@pytest.mark.parametrize(
    ("kind", "zeros"), [("Prod", 1), ("Prod", 2), ("Cumprod", 1), ("Cumprod", 2)]
)
def test_a_product_may_have_factors_of_zero(kind, zeros):
    """The derivative with respect to a factor is the product of all others."""
    rng = np.random.default_rng(zeros)
    value, tape = rng.normal(size=(2, 4, 3)), Tape()
    value[0, :zeros, 1] = 0
    x = tape.leaf(value)
    y = np.prod(x, axis=1) if kind == "Prod" else np.cumprod(x, axis=1)
    d = rng.normal(size=(1, *y.shape))
    found = tape.back({y.place: d})[x.place][0]
    function = np.prod if kind == "Prod" else np.cumprod
    expected = np.zeros(value.shape)
    for at in np.ndindex(*value.shape):
        moved = [value.copy(), value.copy()]  # linear in every factor
        moved[0][at] += 1
        apart = function(moved[0], axis=1) - function(moved[1], axis=1)
        expected[at] = (apart * d[0]).sum()
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.abs(found[0, :, 1]).sum() > 0 if zeros == 1 or kind == "Cumprod" else True


def test_a_row_with_a_factor_of_zero_has_a_bound():
    net = operations("Prod", axis=[-1], keepdims=True, dtype=None)
    weights = net.spec["d"].weights
    still = {k: np.where(np.arange(UNITS) == 1, 0, w) for k, w in weights.items()}
    model = net.spec.with_layer(net.spec["d"].with_weights(**still))
    for one in (net, Network(model)):
        bound, error = bound_of(one, features())
        assert np.isfinite(bound).all()
        assert not (error > bound).any()


def test_a_number_that_is_rounded_has_a_bound_unless_it_is_near_a_half():
    net = operations("Round", decimals=0)
    kernel, bias = (w.astype(float) for w in net.spec["d"].weights.values())
    x = features()
    x[2, 1] = np.linalg.lstsq(kernel[:, :1].T, 0.5 - bias[:1], rcond=None)[0]
    bound, error = bound_of(net, x)
    assert np.isnan(bound[2]).all()
    assert (np.delete(bound, 2, axis=0) < 1e-30).all()
    assert not np.delete(error, 2, axis=0).any()


def test_a_bin_has_no_error_unless_a_number_is_near_an_edge():
    edge = 0.5
    net = operations("Identity", "Identity")
    bins = made("Discretization", UNITS, bin_boundaries=[edge], output_mode="int")
    table = made("Embedding", UNITS, input_dim=2, output_dim=2)
    net = net.spec.with_layer(replace(bins, name="at0"), "at0")
    net = Network(net.with_layer(replace(table, name="at1"), "at1"))
    kernel, bias = (w.astype(float) for w in net.spec["d"].weights.values())
    x = features()
    x[2, 1] = np.linalg.lstsq(kernel[:, :1].T, edge - bias[:1], rcond=None)[0]
    bound, error = bound_of(net, x)
    assert np.isnan(bound[2]).all()  # a lookup of ids shows what decided them
    assert (np.delete(bound, 2, axis=0) < 1e-30).all()
    assert not np.delete(error, 2, axis=0).any()


def test_a_row_of_zeros_divided_by_its_norm_has_a_bound():
    net = chain([(None, TIME, INPUTS)], layer("Masking", "m", mask_value=0.0),
                layer("UnitNormalization", "u", axis=[-1]))  # fmt: skip
    x = features()
    x[1, 2] = 0.0
    bound, error = bound_of(Network(net), x)
    assert np.isfinite(bound).all()
    assert not (error > bound).any()
    assert error.max() > 0


def test_a_constant_that_float32_does_not_have_counts_where_it_is_chosen():
    x = np.array([[-1.0, 2.0]])
    value = recorded(x, x.astype(np.float32))
    shown: list[Operation] = []
    for y in (np.where(x > 0, value, 0.31), np.maximum(value, 0.31)):
        value.tape.back({y.place: np.ones((1, 1, 2))}, lambda op, d: shown.append(op))
        found = operation_rounding(shown.pop(), worst_known_errors())
        off = abs(float(np.float32(0.31)) - 0.31)
        assert np.all(found.max_error == 0)
        assert np.abs(found.alike) == pytest.approx(np.array([[off, 0.0]]))


def test_what_a_mask_writes_has_one_error_wherever_it_stands():
    """A softmax of constants alone is exact, whatever float32 makes of the constant."""
    x = np.array([[-1.0, 2.0, 3.0]])
    value = recorded(x, x.astype(np.float32))
    y = np.where(np.zeros((1, 3), dtype=bool), value, -1e30)
    visitor_of = visitor.BoundVisitor(None, worst_known_errors(), {})
    visitor_of.begin(2, 1)
    d = np.array([[[1.0, -0.3, -0.7]], [[1.0, 1.0, -0.3]]])
    value.tape.back(
        {y.place: d}, lambda op, d: visitor_of("w", None, {"output": d}, op)
    )
    off = abs(float(np.float32(-1e30)) + 1e30)
    assert visitor_of.coherent[0, 0] < 1e-36
    assert visitor_of.coherent[1, 0] == pytest.approx(1.7 * off)


def test_the_zeros_after_a_relu_are_no_tie_that_float32_may_decide():
    """Of equal numbers both count, and no jump of the slope between them."""
    a, b = (np.array([[x, 1.0, 2.0]]) for x in (0.0, 0.0))
    b[0, 1] += 1e-7
    first = recorded(a, a.astype(np.float32) + np.float32([[0, 1e-7, 0]]))
    second = first.tape.leaf(b, b.astype(np.float32))
    shown: list[Operation] = []
    y = np.maximum(first, second)
    found = first.tape.back(
        {y.place: np.ones((1, 1, 3))}, lambda op, d: shown.append(op)
    )
    errors = operation_rounding(shown.pop(), worst_known_errors()).max_error
    assert [found[k][0, 0].tolist() for k in (0, 1)] == [[1, 0, 1], [1, 1, 1]]
    assert errors[0, 0] == errors[0, 2] == 0
    assert errors[0, 1] > 3e-7


def test_weights_of_8_bits_have_a_bound_unless_an_input_is_near_a_half():
    dense = made("Dense", INPUTS, units=UNITS, quantization_mode="int8")
    rng = np.random.default_rng(5)
    whole = rng.integers(-127, 128, (INPUTS, UNITS)).astype(np.int8)
    weights = {**dense.weights, "kernel": whole}
    weights["kernel_scale"] = rng.uniform(90, 200, UNITS).astype(np.float32)
    net = operations("Negative").spec
    net = net.with_layer(replace(dense, name="d", weights=weights), "d")
    x = features()
    x[1, 2], x[1, 2, 0] = 0.5 * (1.0 + 1e-7) / 127, 1.0
    bound, error = bound_of(Network(net), x)
    assert np.isnan(bound[1]).all()
    others = np.delete(bound, 1, axis=0)
    assert np.isfinite(others).all()
    assert not (np.delete(error, 1, axis=0) > others).any()
    assert others.max() < 1e-4
    wrong = {**weights, "kernel_scale": weights["kernel_scale"] * np.float32(1.0001)}
    planted = Network(net.with_layer(replace(net["d"], weights=wrong), "d"))
    apart = np.abs(planted.predict(x) - Network(net).predict(x))
    assert (apart > bound).any()
