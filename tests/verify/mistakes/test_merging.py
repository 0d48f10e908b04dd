"""Branches merged otherwise, layers mixed up, dropout: each planted by NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.graphs import computed, given, made, named, net, rnn

from verify.mistakes.catalogue import catalogue

BATCH, WIDTH, TIME = 8, 4, 3
RNG = np.random.default_rng(1)
ONE, TWO = X = [RNG.integers(-9, 9, (BATCH, WIDTH)) / 8 for _ in range(2)]


def merged(class_name, *arguments, names=("one", "two"), **options):
    """Two inputs merged."""
    layers = [given(name, WIDTH) for name in names]
    layers.append(made(class_name, "merge", **options))
    return net(layers, {"merge": arguments or (list(names),)}, "merge")


CASES = [
    ("Concatenate", np.hstack([ONE, TWO]), np.hstack([TWO, ONE]),
     {"inputs concatenated in the order 1, 0"}),
    ("Subtract", ONE - TWO, TWO - ONE, {"subtracted the other way round"}),
    ("Average", (ONE + TWO) / 2, ONE + TWO, {"sum instead of mean"}),
    ("Add", ONE + TWO, (ONE + TWO) / 2, {"mean instead of sum"}),
    ("Add", ONE + TWO, ONE * TWO, {"product instead of sum"}),
    ("Add", ONE + TWO, ONE, {"second input left out"}),
    ("Multiply", ONE * TWO, TWO, {"first input left out"}),
    ("Multiply", ONE * TWO, ONE + TWO, {"sum instead of product"}),
]  # fmt: skip


@pytest.mark.parametrize(("class_name", "right", "wrong", "names"), CASES)
def test_a_merge_computed_otherwise_is_named(class_name, right, wrong, names):
    spec = merged(class_name)
    assert np.abs(computed(spec, X) - right).max() < 1e-12
    assert named(spec, X, wrong) == names


def test_a_dot_with_and_without_lengths():
    spec = merged("Dot", axes=1, normalize=True)
    product = (ONE * TWO).sum(axis=1, keepdims=True)
    assert named(spec, X, product) == {"normalize False"}


@pytest.mark.parametrize(
    ("operation", "arguments", "right", "wrong", "names"),
    [
        ("Subtract", ("one", "two"), ONE - TWO, TWO - ONE,
         {"subtracted the other way round"}),
        ("Subtract", (1.0, "one"), 1 - ONE, ONE - 1,
         {"subtracted the other way round"}),
        ("Multiply", ("one", 0.25), 0.25 * ONE, ONE, {"factor 0.25 left out"}),
        ("Divide", ("one", 4.0), ONE / 4, ONE, {"divisor 4.0 left out"}),
        ("Add", ("one", 2.0), ONE + 2, ONE, {"summand 2.0 left out"}),
        ("Add", ("one", "two"), ONE + TWO, TWO, {"first summand left out"}),
        ("Subtract", ("one", 2.0), ONE - 2, ONE,
         {"number that is subtracted 2.0 left out"}),
    ],
)  # fmt: skip
def test_operations_turned_round_or_without_a_number(
    operation, arguments, right, wrong, names
):
    used = [a for a in arguments if isinstance(a, str)]
    spec = merged(f"ops.{operation}", *arguments, names=used)
    x = X[: len(used)]
    assert np.abs(computed(spec, x) - right).max() < 1e-12
    assert named(spec, x, wrong) == names


# -- layers ----------------------------------------------------------------------------


def dense(name, seed, units=WIDTH):
    return made("Dense", name, (WIDTH, units), (units,), seed=seed, units=units)


def stack(*layers):
    """Layers one after the other, from input `one`."""
    names = ["one", *(layer.name for layer in layers)]
    calls = dict(zip(names[1:], names, strict=False))
    return net([given("one", WIDTH), *layers], calls, names[-1])


def through(*layers):
    y = ONE
    for layer in layers:
        kernel, bias = (w.astype(np.float64) for w in layer.weights.values())
        y = y @ kernel + bias
    return y


A, B, C = dense("a", 1), dense("b", 2), dense("c", 3)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ((B, A, C), "weights exchanged with 'b'"),
        ((C, B, A), "weights exchanged with 'c'"),
        ((A, A, C), "weights of 'a'"),
        ((A, C), "layer left out"),
        ((A, B, B, C), "layer applied twice"),
    ],
)
def test_layers_with_other_weights_left_out_or_twice_are_named(wrong, name):
    spec = stack(A, B, C)
    assert np.abs(computed(spec, ONE) - through(A, B, C)).max() < 1e-9
    found = named(spec, ONE, through(*wrong))
    assert name in found
    assert found <= {name, "weights dealt out in reverse order"}


def test_weights_are_exchanged_between_a_layer_and_one_in_a_nested_model():
    inner = replace(net([given("x", WIDTH), B], {"b": "x"}, "b").root, name="inner")
    spec = net([given("one", WIDTH), A, inner], {"a": "one", "inner": "a"}, "inner")
    assert np.abs(computed(spec, ONE) - through(A, B)).max() < 1e-9
    assert named(spec, ONE, through(B, A)) == {"weights exchanged with 'inner/b'"}


def test_many_layers_of_one_form_are_exchanged_with_their_neighbours_alone():
    spec = stack(*(dense(f"d{k}", k) for k in range(8)))
    exchanged = [m for m in catalogue(spec) if m.name.startswith("weights exchanged")]
    assert len(exchanged) == 7


# -- dropout ---------------------------------------------------------------------------


def test_the_scale_of_dropout_is_named_from_its_rate_in_the_config():
    spec = stack(A, made("Dropout", "drop"), B)
    entry = {"class_name": "Dropout", "config": {"name": "drop", "rate": 0.25}}
    spec = replace(spec, config={"config": {"layers": [entry]}})
    first = through(A)
    kernel, bias = B.weights.values()
    outputs = 0.75 * first @ kernel + bias
    assert named(spec, ONE, outputs) == {"dropout inputs multiplied by 1 - rate = 0.75"}
    outputs = first / 0.75 @ kernel + bias
    assert named(spec, ONE, outputs) == {"dropout inputs divided by 1 - rate = 0.75"}


def test_sequences_that_are_zeroed_where_they_are_masked_are_named():
    ids = RNG.integers(1, 7, (BATCH, TIME))
    ids[::2, 2] = ids[1::4, 1] = 0
    layers = [
        given("ids", TIME, dtype="int32"),
        made("Embedding", "words", (7, 2), input_dim=7, output_dim=2, mask_zero=True),
        rnn("LSTM", "rnn", 2, WIDTH, seed=4, return_sequences=True),
        dense("each", 5),
    ]
    calls = {"words": "ids", "rnn": "words", "each": "rnn"}
    spec = net(layers, calls, "each")
    right = computed(spec, ids)
    found = named(spec, ids, right * (ids != 0)[..., None])
    assert found == {"outputs zeroed where masked"}
    # zeros that enter the Dense come out as its bias
    entered = np.where((ids != 0)[..., None], right, layers[3].weights["bias"])
    assert named(spec, ids, entered) == {"zero_output_for_mask True"}


OPERATIONS = [
    ("Absolute", np.abs(ONE), ONE**2, "square instead of absolute value"),
    ("Square", ONE**2, np.abs(ONE), "absolute value instead of square"),
    ("Mean", ONE.mean(1), ONE.sum(1), "sum instead of mean"),
    ("Mean", ONE.mean(1), ONE.max(1), "maximum instead of mean"),
    ("Sum", ONE.sum(1), ONE.mean(1), "mean instead of sum"),
    ("Max", ONE.max(1), ONE.mean(1), "mean instead of maximum"),
    ("Var", ONE.var(1), ONE.std(1), "standard deviation instead of variance"),
    ("Std", ONE.std(1), ONE.var(1), "variance instead of standard deviation"),
]


@pytest.mark.parametrize(("operation", "right", "wrong", "name"), OPERATIONS)
def test_an_operation_in_the_place_of_another_is_named(operation, right, wrong, name):
    reduces = {"axis": 1} if right.ndim == 1 else {}
    layers = [given("one", WIDTH), made(f"ops.{operation}", "op", **reduces)]
    spec = net(layers, {"op": "one"}, "op")
    assert np.abs(computed(spec, [ONE]) - right).max() < 1e-6
    assert named(spec, [ONE], wrong, 1e-6) == {name}


@pytest.mark.parametrize(
    ("one", "other"), [("Maximum", "Minimum"), ("Minimum", "Maximum")]
)
def test_the_other_of_two_numbers_is_named(one, other):
    layers = [given("one", WIDTH), given("two", WIDTH), made(f"ops.{one}", "op")]
    spec = net(layers, {"op": ("one", "two")}, "op")
    words = {"Maximum": "greater", "Minimum": "lesser"}
    name = f"{words[other]} of two numbers instead of {words[one]} of two numbers"
    assert named(spec, X, getattr(np, other.lower())(ONE, TWO)) == {name}
