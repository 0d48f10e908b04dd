"""Conventions of other frameworks: weights there and back, refusals, the data."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.nets import random_weights

from verify import DataError, LayerSpec, UnsupportedError
from verify.forward.cells import gru_step
from verify.model.conventions import (
    conventions,
    find_framework,
    frameworks,
    from_framework,
    to_framework,
)
from verify.model.conventions.expressions import Evaluator, array_names
from verify.model.spec import GATES

FORMS = [c for c in conventions() if c.arrays is not None]


def recurrent_layer(
    kind: str,
    reset_after: bool | None = None,
    *,
    units: int = 4,
    inputs: int = 3,
    use_bias: bool = True,
    seed: int = 0,
    name: str = "rnn",
    activation: str = "tanh",
) -> LayerSpec:
    """A layer with random weights, without a zero, of any size."""
    width = len(GATES[kind]) * units
    shapes = {"kernel": (inputs, width), "recurrent_kernel": (units, width)}
    if use_bias:
        shapes["bias"] = (2, width) if reset_after else (width,)
    options = {"units": units, "activation": activation, "use_bias": use_bias}
    if kind != "SimpleRNN":
        options["recurrent_activation"] = "sigmoid"
    if kind == "GRU":
        options["reset_after"] = reset_after
    weights = random_weights(list(shapes.values()), seed)
    return LayerSpec(name, kind, options, dict(zip(shapes, weights, strict=True)))


def layer_for(form, **sizes) -> LayerSpec:
    activation = (
        "relu" if (form.activations or {}).get("activation") == ("relu",) else ""
    )
    layer = recurrent_layer(
        form.keras_layer, form.reset_after, activation=activation or "tanh", **sizes
    )
    if form.needs is not None and "bias" in layer.weights:
        bias = layer.weights["bias"].copy()
        bias[1, -layer.options["units"] :] = 0
        layer = layer.with_weights(bias=bias)
    return layer


def bidirectional(form, **sizes) -> LayerSpec:
    inner = {
        key: layer_for(form, seed=seed, name=key, **sizes)
        for seed, key in enumerate(("forward_layer", "backward_layer"))
    }
    return LayerSpec("both", "Bidirectional", {"merge_mode": "concat"}, {}, inner)


def merged(layer: LayerSpec) -> LayerSpec:
    """A GRU whose z and r have their whole bias in the first row."""
    if "bias" not in layer.weights or layer.weights["bias"].ndim == 1:
        return layer
    bias, gates = layer.weights["bias"].copy(), 2 * layer.options["units"]
    bias[0, :gates] += bias[1, :gates]
    bias[1, :gates] = 0
    return layer.with_weights(bias=bias)


def assert_same(ours: LayerSpec, theirs: LayerSpec) -> None:
    """Equal weights; of biases that a framework adds, equal sums."""
    assert list(ours.weights) == list(theirs.weights)
    exact = [merged(ours), ours]
    for key in ours.weights:
        found = theirs.weights[key]
        assert any(np.abs(one.weights[key] - found).max() < 1e-12 for one in exact), key
    for key in ours.sublayers:
        assert_same(ours.sublayers[key], theirs.sublayers[key])


def emptied(layer: LayerSpec) -> LayerSpec:
    """The layer with weights of other values."""
    inside = {key: emptied(one) for key, one in layer.sublayers.items()}
    weights = {key: np.full_like(w, 7.0) for key, w in layer.weights.items()}
    return LayerSpec(layer.name, layer.class_name, layer.options, weights, inside)


def no_bias_left(layer: LayerSpec) -> LayerSpec:
    weights = {k: w for k, w in layer.weights.items() if k != "bias"}
    return LayerSpec(layer.name, layer.class_name, layer.options, weights)


@pytest.mark.parametrize("form", FORMS, ids=lambda c: f"{c.framework} {c.cell}")
@settings(max_examples=8, deadline=None)
@given(
    units=st.integers(1, 6),
    inputs=st.integers(1, 5),
    use_bias=st.booleans(),
    both=st.booleans(),
    seed=st.integers(0, 999),
)
def test_weights_go_there_and_back_unchanged(form, units, inputs, use_bias, both, seed):
    sizes = {"units": units, "inputs": inputs, "use_bias": use_bias}
    layer = (
        bidirectional(form, **sizes) if both else layer_for(form, seed=seed, **sizes)
    )
    arrays = to_framework(layer, form.framework, cell=form.cell)
    back = from_framework(arrays, form.framework, emptied(layer), cell=form.cell)
    assert_same(layer, back)
    again = to_framework(back, form.framework, cell=form.cell)
    assert list(again) == list(arrays)
    assert all(np.abs(again[k] - arrays[k]).max() < 1e-12 for k in arrays)


@pytest.mark.parametrize("form", FORMS, ids=lambda c: f"{c.framework} {c.cell}")
def test_a_framework_has_every_gate_once(form):
    assert sorted(form.gate_order) == sorted(form.gates)
    names = {
        name for expression in form.keras.values() for name in array_names(expression)
    }
    assert names == set(form.arrays)


def test_planted_orders_of_gates_are_seen_in_the_weights():
    layer = recurrent_layer("LSTM")
    right = to_framework(layer, "torch")
    for order in permutations(range(4)):
        parts = np.split(right["weight_ih_l0"], 4)
        wrong = {**right, "weight_ih_l0": np.concatenate([parts[k] for k in order])}
        back = from_framework(wrong, "torch", layer)
        same = np.array_equal(back.weights["kernel"], layer.weights["kernel"])
        assert same == (order == (0, 1, 2, 3))


def test_torch_numbers_layers_and_marks_directions():
    form = conventions("torch")[0]
    names = list(to_framework(bidirectional(form), "torch", index=2))
    assert names == [
        f"{kind}_l2{mark}"
        for mark in ("", "_reverse")
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]


def test_a_stack_of_cells_is_numbered_where_the_framework_numbers_them():
    cells = {
        f"cell_{k}": LayerSpec(
            f"cell_{k}",
            "LSTMCell",
            (one := recurrent_layer("LSTM", seed=k, inputs=n, units=4)).options,
            one.weights,
        )
        for k, n in enumerate((3, 4))
    }
    stack = LayerSpec("stack", "StackedRNNCells", {}, {}, cells)
    layer = LayerSpec("rnn", "RNN", {}, {}, {"cell": stack})
    arrays = to_framework(layer, "torch")
    assert arrays["weight_ih_l0"].shape == (16, 3)
    assert arrays["weight_ih_l1"].shape == (16, 4)
    assert_same(layer, from_framework(arrays, "torch", emptied(layer)))
    with pytest.raises(UnsupportedError, match="each cell of the stack by itself"):
        to_framework(layer, "equinox")


def test_onnx_has_both_directions_on_the_first_axis():
    form = conventions("onnx")[0]
    layer = bidirectional(form)
    arrays = to_framework(layer, "onnx")
    assert {k: v.shape for k, v in arrays.items()} == {
        "W": (2, 16, 3), "R": (2, 16, 4), "B": (2, 32)
    }  # fmt: skip
    i, o, f, c = np.split(arrays["W"][1], 4)
    kernel = layer.sublayers["backward_layer"].weights["kernel"]
    assert np.array_equal(np.concatenate([i, f, c, o]).T, kernel)


def test_haiku_adds_the_one_of_the_forget_gate_itself():
    layer = recurrent_layer("LSTM", units=4)
    bias = to_framework(layer, "haiku")["linear/b"]
    assert np.allclose(bias[8:12], layer.weights["bias"][4:8] - 1, atol=1e-15)
    assert np.array_equal(bias[:4], layer.weights["bias"][:4])


@pytest.mark.parametrize(
    ("framework", "kind", "reset_after", "words"),
    [
        (
            "torch",
            "GRU",
            False,
            r"no form for GRU\(reset_after=False\): nn.GRU resets after",
        ),
        ("haiku", "GRU", True, "Instead: train with reset_after=False"),
        ("tinygrad", "GRU", True, "it has a form of LSTM only"),
        ("equinox", "SimpleRNN", None, "no form for SimpleRNN"),
        ("burn", "GRU", True, "names of the arrays .* are not known"),
        (
            "flax.nnx",
            "GRU",
            True,
            r"no recurrent bias, .* up to 0\.\d+\. Instead: one unit",
        ),
        ("haiku", "SimpleRNN", None, "has activation relu only. Received: tanh"),
    ],
)
def test_what_has_no_form_is_refused_with_what_can_be_done(
    framework, kind, reset_after, words
):
    with pytest.raises(UnsupportedError, match=words):
        to_framework(recurrent_layer(kind, reset_after), framework)


def test_a_layer_of_another_kind_is_refused():
    dense = LayerSpec("dense", "Dense", {"units": 2}, {})
    with pytest.raises(
        UnsupportedError, match=r"'dense' \(Dense\): expected a SimpleRNN"
    ):
        to_framework(dense, "torch")


def test_a_constant_unit_carries_the_bias_that_has_no_place():
    layer = recurrent_layer("GRU", True, units=4, inputs=3)
    arrays = to_framework(layer, "flax.nnx", constant_unit=True)
    assert arrays["dense_h.kernel"].shape == (5, 15)
    r, z, h = np.split(arrays["dense_h.kernel"], 3, axis=1)
    assert np.array_equal(h[4, :4], layer.weights["bias"][1, 8:])
    assert not r[4].any()
    assert not z[4].any()
    assert arrays["dense_i.bias"][9] == 100


def test_with_the_constant_unit_nothing_else_changes():
    layer = recurrent_layer("GRU", True, units=4, inputs=3)
    arrays = to_framework(layer, "flax.nnx", constant_unit=True)
    wider = from_framework(
        arrays, "flax.nnx", recurrent_layer("GRU", True, units=5, inputs=3)
    )
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    functions = {"activation": np.tanh, "recurrent_activation": sigmoid}
    h, wide = np.zeros((2, 4)), np.eye(5)[[4, 4]]  # the last unit begins with 1
    for x in np.random.default_rng(0).normal(size=(6, 2, 3)):
        h = gru_step(x, h, **layer.weights, **functions, reset_after=True).h
        wide = gru_step(x, wide, **wider.weights, **functions, reset_after=True).h
    assert np.abs(wide[:, :4] - h).max() < 1e-14
    assert np.array_equal(wide[:, 4], [1, 1])


def test_missing_and_misshapen_arrays_are_named():
    layer = recurrent_layer("LSTM")
    arrays = to_framework(layer, "torch")
    without = {k: v for k, v in arrays.items() if k != "weight_hh_l0"}
    with pytest.raises(DataError, match=r"weight_ih_l0 \(16, 3\).*no weight_hh_l0"):
        from_framework(without, "torch", layer)
    half = {k: v for k, v in arrays.items() if k != "bias_hh_l0"}
    with pytest.raises(DataError, match="no bias_hh_l0"):
        from_framework(half, "torch", layer)
    wrong = {**arrays, "weight_ih_l0": arrays["weight_ih_l0"].T}
    with pytest.raises(DataError, match=r"weight_ih_l0 \(16, 3\).*Received: \(3, 16\)"):
        from_framework(wrong, "torch", layer)


def test_biases_may_be_absent_altogether_and_must_not_be_there_for_no_bias():
    layer = recurrent_layer("GRU", True)
    arrays = to_framework(layer, "torch")
    kernels = {k: v for k, v in arrays.items() if k.startswith("weight")}
    assert not from_framework(kernels, "torch", layer).weights["bias"].any()
    with pytest.raises(DataError, match="expected no bias, as use_bias=False says"):
        from_framework(arrays, "torch", recurrent_layer("GRU", True, use_bias=False))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("PyTorch", "torch"),
        ("onnx", "onnxruntime"),
        ("TFLite", "litert"),
        ("nnx", "flax.nnx"),
    ],
)
def test_frameworks_have_other_names(name, found):
    assert find_framework(name).name == found


def test_a_wrong_name_gets_the_nearest_one():
    with pytest.raises(UnsupportedError, match=r"Did you mean torch\? Received: troch"):
        conventions("troch")
    with pytest.raises(
        UnsupportedError, match="Received: matlab; known are keras, torch"
    ):
        conventions("matlab")


def test_names_of_frameworks_are_unique():
    names = [
        name
        for one in frameworks().values()
        for name in {x.lower() for x in (one.name, one.title, *one.aliases)}
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "K.__class__", "K.T()", "(lambda: K)()", "K if b else R",
     "[K]", "open('x')", "P(M=K)", "K @ R", "f'{K}'", "K +", "z"],
)  # fmt: skip
def test_nothing_but_the_language_is_evaluated(expression):
    evaluate = Evaluator(
        ("h",), ("h",), False, 2, 3, {"K": np.ones((3, 2)), "b": np.ones(2)}
    )
    with pytest.raises((ValueError, KeyError)):
        evaluate(expression)
