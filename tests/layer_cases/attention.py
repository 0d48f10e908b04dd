"""Cases for `verify.forward.layers.attention`."""

from __future__ import annotations

from layer_cases.case import Case


def _scores(**kwargs):
    """A call that returns the scores too."""
    return lambda layer, x: layer(x, return_attention_scores=True, **kwargs)


def _with_scores(layer, x):
    return layer(*x, return_attention_scores=True)


def _causal(layer, x):
    return layer(x, use_causal_mask=True)


def _queries_alone_masked(layer, x):
    """Where the mask is given, none is looked for; a whole row of keys is masked."""
    import keras

    kept = keras.ops.any(x[0] > 0.5, axis=-1)
    return layer([x[0], x[1]], mask=[kept, keras.ops.any(x[1] > 1.5, axis=-1)])


def _values_alone_masked(layer, x):
    import keras

    return layer([x[0], x[1]], mask=[None, keras.ops.any(x[1] > 0.5, axis=-1)])


def _residual(layer, x):
    """After attention the query has no mask, so that Add hands none on."""
    import keras

    return keras.layers.Multiply()([x[0], layer(x[0], x[0])])


def _unused_query_mask(layer, x):
    """Keras looks for this mask on the tensor alone, and finds none there."""
    import keras

    return layer(x[0], x[1], query_mask=keras.ops.any(x[0] > 0.5, axis=-1))


def _all_masks(layer, x):
    import keras

    some = keras.ops.einsum("bti,bsi->bts", x[0], x[1]) > 0.0
    kept = keras.ops.any(x[2] > 0.5, axis=-1)
    return layer(*x, attention_mask=some, key_mask=kept, use_causal_mask=True)


def _grid_mask(layer, x):
    """(batch, queries of 2 axes, keys of 2 axes)."""
    import keras

    some = keras.ops.einsum("btui,bsvi->btusv", x[0], x[1]) > 0.0
    return layer(*x, attention_mask=some)


def _steps_mask(layer, x):
    import keras

    some = keras.ops.einsum("btui,bsui->bts", x[0], x[1]) > 0.0
    return layer(*x, attention_mask=some)


PAIR = [(6, 4), (5, 4)]
TRIPLE = [(6, 4), (5, 4), (5, 4)]
HEADS = {"num_heads": 2, "key_dim": 3}
GROUPS = {"head_dim": 3, "num_query_heads": 6, "num_key_value_heads": 2}
NARROW = {"sliding_window": 2}

CASES = [
    Case("Attention", shape=PAIR, after=True, wrong=[{"score_mode": "concat"}]),
    Case("Attention", {"use_scale": True}, shape=PAIR, masked=True, after=True),
    Case("Attention", {"use_scale": True, "score_mode": "concat"}, shape=TRIPLE,
         masked=True, after=True, wrong=[{"score_mode": "dot"}]),
    Case("Attention", {"score_mode": "concat", "dropout": 0.3}, shape=PAIR,
         call=_scores(), masked=True),
    Case("Attention", shape=TRIPLE, call=_scores(use_causal_mask=True), masked=True),
    Case("Attention", shape=PAIR, call=_causal, after=True),
    Case("Attention", shape=PAIR, call=_queries_alone_masked, after=True),
    Case("Attention", shape=PAIR, call=_values_alone_masked, after=True),
    Case("Attention", shape=[(2, 6, 4), (2, 5, 4)]),
    Case("AdditiveAttention", shape=PAIR, masked=True, after=True),
    Case("AdditiveAttention", {"use_scale": False}, shape=TRIPLE, call=_causal),
    Case("AdditiveAttention", shape=PAIR, call=_scores(use_causal_mask=True),
         masked=True),
    Case("MultiHeadAttention", HEADS, shape=PAIR, after=True, weights=False,
         call=lambda layer, x: layer(*x), wrong=[{"key_dim": 4}, NARROW]),
    Case("MultiHeadAttention", HEADS, shape=PAIR, masked=True, after=True,
         call=lambda layer, x: layer(*x), weights=False),
    Case("MultiHeadAttention", HEADS, shape=PAIR, masked=True, weights=False,
         call=lambda layer, x: layer(*x), wrong=[{"dropout": 0.5}]),
    Case("MultiHeadAttention", {**HEADS, "dropout": 0.5}, shape=PAIR, masked=True,
         call=lambda layer, x: layer(*x), weights=False, wrong=[{"dropout": 0.0}]),
    Case("MultiHeadAttention", {**HEADS, "value_dim": 4, "use_gate": True},
         shape=TRIPLE, masked=True, after=True, call=lambda layer, x: layer(*x),
         weights=False),
    Case("MultiHeadAttention", {**HEADS, "value_dim": 4, "use_gate": True,
         "use_bias": False}, shape=PAIR, call=lambda layer, x: layer(*x)),
    Case("MultiHeadAttention", {**HEADS, "dropout": 0.5}, shape=TRIPLE, masked=True,
         after=True, call=lambda layer, x: layer(*x), weights=False),
    Case("MultiHeadAttention", {**HEADS, "output_shape": 7}, shape=TRIPLE, masked=True,
         call=_with_scores, weights=False),
    Case("MultiHeadAttention", {**HEADS, "output_shape": (2, 3)}, shape=PAIR,
         call=lambda layer, x: layer(*x, use_causal_mask=True), weights=False),
    Case("MultiHeadAttention", {**HEADS, **NARROW}, shape=[(6, 4)], masked=True,
         after=True, call=lambda layer, x: layer(x[0], x[0], use_causal_mask=True),
         weights=False, wrong=[{"sliding_window": None}]),
    Case("MultiHeadAttention", {**HEADS, "dropout": 0.1}, shape=PAIR, weights=False,
         call=lambda layer, x: layer(*x, use_causal_mask=True)),
    Case("MultiHeadAttention", HEADS, shape=[(6, 4)], masked=True, after=True,
         call=_residual, weights=False),
    Case("MultiHeadAttention", HEADS, shape=PAIR, after=True, weights=False,
         call=_unused_query_mask),
    Case("MultiHeadAttention", HEADS, shape=TRIPLE, masked=True, after=True,
         call=_all_masks, weights=False),
    Case("MultiHeadAttention", HEADS, shape=[(3, 2, 4), (3, 2, 4)], weights=False,
         call=lambda layer, x: layer(*x), wrong=[{"attention_axes": [2]}]),
    Case("MultiHeadAttention", HEADS, shape=[(3, 2, 4), (5, 2, 4)], weights=False,
         call=_grid_mask),
    Case("MultiHeadAttention", {**HEADS, "attention_axes": -3}, weights=False,
         shape=[(3, 2, 4), (5, 2, 4)], call=_steps_mask,
         wrong=[{"attention_axes": None}]),
    Case("MultiHeadAttention", {**HEADS, "attention_axes": (2,)}, weights=False,
         shape=[(3, 2, 4), (3, 6, 4)], call=_with_scores),
    Case("GroupQueryAttention", GROUPS, shape=PAIR, after=True,
         call=lambda layer, x: layer(*x), weights=False,
         wrong=[{"head_dim": 4}, NARROW, {"num_key_value_heads": 3}]),
    Case("GroupQueryAttention", GROUPS, shape=PAIR, masked=True,
         call=lambda layer, x: layer(*x), weights=False, wrong=[{"dropout": 0.5}]),
    Case("GroupQueryAttention", {**GROUPS, "dropout": 0.5},
         shape=TRIPLE, masked=True, call=lambda layer, x: layer(*x),
         weights=False, wrong=[{"dropout": 0.0}]),
    Case("GroupQueryAttention", {**GROUPS, "use_gate": True},
         shape=TRIPLE, masked=True, call=_with_scores, weights=False),
    Case("GroupQueryAttention", {**GROUPS, "use_bias": False, "use_gate": True},
         shape=PAIR,
         call=lambda layer, x: layer(*x, use_causal_mask=True)),
    Case("GroupQueryAttention", {**GROUPS, **NARROW}, shape=[(6, 4)],
         masked=True, after=True, weights=False, wrong=[{"sliding_window": None}],
         call=lambda layer, x: layer(x[0], x[0], use_causal_mask=True)),
    Case("GroupQueryAttention", {**GROUPS, "dropout": 0.1},
         shape=PAIR, weights=False,
         call=lambda layer, x: layer(*x, use_causal_mask=True)),
    Case("GroupQueryAttention", GROUPS, shape=[(6, 4)], masked=True,
         after=True, call=_residual, weights=False),
    Case("GroupQueryAttention", GROUPS, shape=TRIPLE, masked=True,
         after=True, call=_all_masks, weights=False),
]  # fmt: skip
