"""Cases for `verify.forward.layers.conv_lstm`, and for Bidirectional around them."""

from __future__ import annotations

from layer_cases.case import BATCH, Case

FIRST = {"data_format": "channels_first"}
SEQUENCES = {"return_sequences": True}
SPATIAL = {1: (5,), 2: (5, 4), 3: (4, 3, 3)}


def _masked_steps(rng, shape):
    """A sequence, and a mask (batch, time) to the right, to the left, with holes."""
    mask = rng.random(size=(BATCH, shape[0])) < 0.6
    mask[0] = True
    mask[1, shape[0] // 2 :] = False
    mask[2, : shape[0] // 2] = False
    mask[3] = False
    return [rng.normal(size=(BATCH, *shape)), mask]


def _with_mask(layer, x):
    return layer(x[0], mask=x[1])


def _seen_by_gru(layer, x):
    """Return the mask that a GRU behind the layer finds when the model runs."""
    import keras

    pool = keras.layers.GlobalMaxPooling1D()
    y = keras.layers.TimeDistributed(pool)(layer(x[0], mask=x[1]), training=False)
    return keras.layers.GRU(2, return_sequences=True)(y, training=False)


def _explicit(name, options, shape, **rest):
    rest.setdefault("call", _with_mask)
    return Case(name, options, shape=[shape, shape[:1]], dtypes=["float64", "bool"],
                inputs=lambda rng: _masked_steps(rng, shape),
                **rest)  # fmt: skip


def _rank(rank):
    name, inputs = f"ConvLSTM{rank}D", (4, *SPATIAL[rank], 2)
    first = (4, 2, *SPATIAL[rank])
    one = {"filters": 3, "kernel_size": 2}
    ones, twos = (1,) * rank, (2,) * rank
    return [
        Case(name, {**one, **SEQUENCES}, shape=inputs,
             wrong=[{"return_sequences": False}, {"go_backwards": True},
                    {"activation": "relu"}, {"recurrent_activation": "hard_sigmoid"},
                    {"padding": "same"}]),
        Case(name, {**one, "strides": 2, "activation": "relu"}, shape=inputs,
             wrong=[{"strides": ones}]),
        Case(name, {**one, "dilation_rate": 2, "use_bias": False}, shape=inputs,
             wrong=[{"dilation_rate": ones}]),
        Case(name, {**one, "padding": "same", "strides": tuple(range(1, rank + 1)),
                    "recurrent_activation": "softmax", "activation": "softmax"},
             shape=(None, *inputs[1:]), wrong=[{"padding": "valid"}]),
        Case(name, {**one, "kernel_size": tuple(range(2, rank + 2)), "padding": "same",
                    "dilation_rate": 2, "go_backwards": True, "return_state": True},
             shape=inputs,
             wrong=[{"go_backwards": False}, {"dilation_rate": ones}]),
        Case(name, {**one, **FIRST, "activation": "softmax", "return_state": True},
             shape=first, compiled=True, wrong=[{"data_format": "channels_last"}]),
        Case(name, {**one, **FIRST, **SEQUENCES, "padding": "same", "strides": 2},
             shape=first, compiled=True, wrong=[{"strides": ones}]),
        Case(name, {**one, "padding": "same", **SEQUENCES}, shape=inputs, masked=True,
             wrong=[{"zero_output_for_mask": True}]),
        _explicit(name, {**one, **SEQUENCES, "go_backwards": True, "strides": 2,
                         "zero_output_for_mask": True, "unroll": True}, inputs,
                  wrong=[{"unroll": False}, {"zero_output_for_mask": False},
                         {"strides": (*twos[1:], 1)}]),
        _explicit(name, {**one, "return_state": True}, inputs,
                  wrong=[{"return_state": False}]),
        Case(name, {**one, "stateful": True}, shape=inputs, batch_size=2,
             inputs=lambda rng: [rng.normal(size=(6, *inputs))],
             wrong=[{"stateful": False}]),
        Case(name, one, shape=[inputs, *_states(rank)],
             call=lambda layer, x: layer(x[0], initial_state=x[1:])),
    ]  # fmt: skip


def _states(rank):
    return [(*(n - 1 for n in SPATIAL[rank]), 3)] * 2


def _both_ways(options, **bidirectional):
    import keras

    return keras.layers.Bidirectional(
        keras.layers.ConvLSTM1D(3, 2, **options), **bidirectional, name="tested"
    )


BOTH_WAYS = [
    Case("Bidirectional", make=lambda: _both_ways(SEQUENCES), shape=(4, 5, 2),
         wrong=[{"merge_mode": "ave"}]),
    Case("Bidirectional", make=lambda: _both_ways(FIRST), shape=(4, 2, 5),
         compiled=True, wrong=[{"merge_mode": "sum"}]),
    Case("Bidirectional", make=lambda: _both_ways({**FIRST, **SEQUENCES}),
         shape=(4, 2, 5), compiled=True, wrong=[{"merge_mode": "sum"}]),
    Case("Bidirectional", shape=(None, 5, 2),
         make=lambda: _both_ways({"return_state": True}, merge_mode="mul"),
         wrong=[{"merge_mode": "ave"}]),
    Case("Bidirectional", make=lambda: _both_ways({**SEQUENCES, "padding": "same"}),
         shape=(4, 5, 2), masked=True),
    Case("Bidirectional", make=lambda: _both_ways(SEQUENCES), call=_with_mask,
         shape=[(4, 5, 2), (4,)], dtypes=["float64", "bool"],
         inputs=lambda rng: _masked_steps(rng, (4, 5, 2))),
]  # fmt: skip

CASES = [
    *_rank(1),
    *_rank(2),
    *_rank(3),
    _explicit("ConvLSTM1D", {"filters": 3, "kernel_size": 2, **SEQUENCES}, (4, 5, 2),
              call=_seen_by_gru),
    *BOTH_WAYS,
]  # fmt: skip
