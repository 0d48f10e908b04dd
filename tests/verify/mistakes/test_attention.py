"""Mistakes in attention, each planted by a few lines of NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from support.graphs import computed, given, made, named, net

BATCH, QUERIES, KEYS, WIDTH, HEADS, SIZE = 9, 5, 5, 6, 3, 2
RNG = np.random.default_rng(5)
IDS = RNG.integers(1, 11, (BATCH, KEYS))
IDS[::2, 3:] = IDS[1::4, 0] = 0
KEEP = IDS != 0
SHAPES = [
    *([(WIDTH, HEADS, SIZE), (HEADS, SIZE)] * 3),
    *[(HEADS, SIZE, WIDTH), (WIDTH,)],
]


def heads(**call):
    """Self-attention of several heads over embedded ids, and their mean."""
    layers = [
        given("ids", KEYS, dtype="int32"),
        made("Embedding", "words", (11, WIDTH), input_dim=11, output_dim=WIDTH,
             mask_zero=True),
        made("MultiHeadAttention", "attention", *SHAPES, seed=3, num_heads=HEADS,
             key_dim=SIZE),
        made("GlobalAveragePooling1D", "mean"),
    ]  # fmt: skip
    calls = {
        "words": "ids",
        "attention": ("words", "words", call),
        "mean": "attention",
    }
    return net(layers, calls, "mean")


def softmax(scores, axis=-1):
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def by_hand(spec, scale=SIZE**-0.5, weigh=None, causal=False, weights=None):
    """The same with einsum, one letter an axis: t queries, s keys, n heads, h size."""
    w = {k: v.astype(np.float64) for k, v in spec["attention"].weights.items()}
    w |= weights(w) if weights else {}
    x = spec["words"].weights["embeddings"].astype(np.float64)[IDS]
    q, k, v = (
        np.einsum("btf,fnh->btnh", x, w[f"{key}_kernel"]) + w[f"{key}_bias"]
        for key in ("query", "key", "value")
    )
    scores = scale * np.einsum("btnh,bsnh->bnts", q, k)
    allowed = KEEP[:, None, None, :] & KEEP[:, None, :, None]
    if causal:
        allowed = allowed & np.tri(KEYS, dtype=bool)
    allowed = np.broadcast_to(allowed, scores.shape)
    a = (weigh or masked)(scores, allowed)
    y = np.einsum("bnts,bsnh->btnh", a, v)
    y = np.einsum("btnh,nhf->btf", y, w["output_kernel"]) + w["output_bias"]
    return (y * KEEP[..., None]).sum(axis=1) / KEEP.sum(axis=1, keepdims=True)


def masked(scores, allowed):
    return softmax(np.where(allowed, scores, -1e30))


def swapped(one, other):
    return lambda w: {
        **{f"{one}_{k}": w[f"{other}_{k}"] for k in ("kernel", "bias")},
        **{f"{other}_{k}": w[f"{one}_{k}"] for k in ("kernel", "bias")},
    }


def dealt(w):
    """Column h * heads + n belongs to head n."""
    found = {}
    for key in ("query", "key", "value"):
        for name in (f"{key}_kernel", f"{key}_bias"):
            flat = w[name].reshape(*w[name].shape[:-2], HEADS * SIZE)
            found[name] = np.stack([flat[..., n::HEADS] for n in range(HEADS)], axis=-2)
    return found


MISTAKES = {
    "mask after the softmax": {"weigh": lambda s, ok: softmax(s) * ok},
    "masked scores set to 0": {"weigh": lambda s, ok: softmax(np.where(ok, s, 0))},
    "attention mask inverted": {"weigh": lambda s, ok: masked(s, ~ok)},
    "attention softmax over the queries": {
        "weigh": lambda s, ok: softmax(np.where(ok, s, -1e30), axis=-2)
    },
    "scores not scaled": {"scale": 1.0},
    "scores scaled by the width of all heads": {"scale": (HEADS * SIZE) ** -0.5},
    "weights of query and key exchanged": {"weights": swapped("query", "key")},
    "weights of key and value exchanged": {"weights": swapped("key", "value")},
    "weights of query and value exchanged": {"weights": swapped("query", "value")},
    "heads interleaved": {"weights": dealt},
    "bias of the output missing": {"weights": lambda w: {"output_bias": 0}},
    "biases of query, key and value missing": {
        "weights": lambda w: {f"{k}_bias": 0 for k in ("query", "key", "value")}
    },
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_several_heads_has_the_outputs_of_its_entry_alone(name):
    spec = heads()
    outputs = by_hand(spec, **MISTAKES[name])
    assert named(spec, IDS, outputs, 1e-7) == {name}
    assert np.abs(computed(spec, IDS) - outputs).max() > 1e-4


def test_several_heads_by_hand_are_right_and_a_causal_mask_may_be_missing():
    for causal in (False, True):
        spec = heads(use_causal_mask=causal)
        right = by_hand(spec, causal=causal)
        assert np.abs(computed(spec, IDS) - right).max() < 1e-7
    assert named(spec, IDS, by_hand(spec), 1e-7) == {"causal mask missing"}


# -- Attention and AdditiveAttention -------------------------------------------------


def two_inputs(attention, *calls):
    """Attention of one sequence to another, without masks."""
    layers = [given(name, QUERIES, WIDTH) for name in ("one", "two", "three")]
    return net([*layers, attention], {attention.name: calls}, attention.name)


X = [RNG.integers(-9, 9, (BATCH, QUERIES, WIDTH)) / 8 for _ in range(3)]


def test_value_and_key_in_the_order_of_other_libraries_are_named():
    layer = made("Attention", "attention", (), seed=1, use_scale=True)
    spec = two_inputs(layer, ["one", "two", "three"])
    scale = float(layer.weights["scale"])
    q, v, k = X

    def attend(q, k, v, scale=scale):
        return softmax(scale * q @ k.swapaxes(1, 2)) @ v

    assert np.abs(computed(spec, X) - attend(q, k, v)).max() < 1e-7
    exchanged = attend(q, v, k)
    assert named(spec, X, exchanged, 1e-7) == {"value and key exchanged"}
    assert named(spec, X, attend(q, k, v, 1.0), 1e-7) == {"scale missing"}
    divided = attend(q, k, v, scale / np.sqrt(WIDTH))
    assert named(spec, X, divided, 1e-7) == {"scores divided by the root of the width"}


def test_additive_attention_without_its_scale_or_over_the_other_axis_is_named():
    layer = made("AdditiveAttention", "attention", (WIDTH,), seed=1)
    spec = two_inputs(layer, ["one", "two"])
    q, v, _ = X
    sums = np.tanh(q[:, :, None] + v[:, None])

    def attend(scale, axis=-1):
        return softmax((scale * sums).sum(axis=-1), axis) @ v

    scale = layer.weights["scale"]
    assert np.abs(computed(spec, X) - attend(scale)).max() < 1e-6
    assert named(spec, X, attend(1.0), 1e-6) == {"scale missing"}
    over = {"attention softmax over the queries"}
    assert named(spec, X, attend(scale, axis=1), 1e-6) == over


def test_attention_written_with_operations_has_its_mistakes_too():
    layers = [
        given("one", QUERIES, WIDTH),
        given("two", QUERIES, WIDTH),
        made("ops.Transpose", "turned", axes=[0, 2, 1]),
        made("ops.Matmul", "scores"),
        made("ops.Divide", "scaled"),
        made("ops.Softmax", "weights", axis=-1),
        made("ops.Matmul", "attended"),
    ]
    calls = {
        "turned": "two",
        "scores": ("one", "turned"),
        "scaled": ("scores", 2.5),
        "weights": "scaled",
        "attended": ("weights", "two"),
    }
    spec = net(layers, calls, "attended")
    q, v = x = X[:2]
    scores = q @ v.swapaxes(1, 2)
    assert np.abs(computed(spec, x) - softmax(scores / 2.5) @ v).max() < 1e-6
    wanted = {"softmax over axis 1"}
    assert named(spec, x, softmax(scores / 2.5, axis=1) @ v, 1e-6) == wanted
    assert named(spec, x, softmax(scores) @ v, 1e-6) == {"divisor 2.5 left out"}


def test_heads_that_are_grouped_in_turn_are_recognised():
    from support.any_layer import chain, inputs_for
    from support.nets import layer

    from verify import Network
    from verify.mistakes.catalogue import catalogue

    attention = layer("GroupQueryAttention", "attention", head_dim=2,
                      num_query_heads=6, num_key_value_heads=3)  # fmt: skip
    spec = chain([(None, 5, 4), (None, 5, 4)], attention, call={"value": 1})
    x = inputs_for(spec, 3)
    planted = [m for m in catalogue(spec) if "heads grouped in turn" in m.name]
    assert len(planted) == 1
    weights = {k: w.copy() for k, w in spec["attention"].weights.items()}
    # query heads that meet a shared one in turn, put beside each other
    order = np.argsort(np.tile(range(3), 2), kind="stable")
    for key, axis in (("query_kernel", -2), ("query_bias", -2), ("output_kernel", 0)):
        weights[key] = np.take(weights[key], order, axis=axis)
    other = spec.with_layer(spec["attention"].with_weights(**weights))
    wrong = planted[0].evaluate(Network(spec).prepare(x))[0]
    by_hand = Network(other).predict(x, dtype="float64")
    np.testing.assert_allclose(wrong, by_hand, rtol=1e-12)
    assert np.abs(wrong - Network(spec).predict(x, dtype="float64")).max() > 1e-3


@pytest.mark.parametrize("class_name", ["Dot", "ops.Matmul"])
def test_scores_of_a_product_that_are_divided_are_recognised(class_name):
    layers = [given("one", QUERIES, WIDTH), given("two", QUERIES, WIDTH)]
    attended = made("ops.Matmul", "attended")
    if class_name == "Dot":
        layers += [made("Dot", "scores", axes=[2, 2]), made("Softmax", "weights")]
        calls = {"scores": (["one", "two"],), "weights": "scores"}
    else:
        layers += [
            made("ops.Transpose", "turned", axes=[0, 2, 1]),
            made("ops.Matmul", "scores"),
            made("ops.Softmax", "weights", axis=-1),
        ]
        calls = {"turned": "two", "scores": ("one", "turned"), "weights": "scores"}
    spec = net(
        [*layers, attended], {**calls, "attended": ("weights", "two")}, "attended"
    )
    q, v = x = X[:2]
    scores = q @ v.swapaxes(1, 2)
    assert np.abs(computed(spec, x) - softmax(scores) @ v).max() < 1e-6
    wanted = {"scores divided by the root of the width"}
    assert named(spec, x, softmax(scores / np.sqrt(WIDTH)) @ v, 1e-6) == wanted
