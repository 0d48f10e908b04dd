"""Build the models that are exported: each option of each recurrent layer once.

Every weight is random and not zero, biases included, and sizes are pairwise different:
a model with a zero bias passes exporters that drop it. Importing this module does not
import Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

STEPS, FEATURES, UNITS, MORE_UNITS, OUTPUTS = 6, 3, 5, 4, 2
VOCABULARY, STATEFUL_ROWS = 11, 2
SEED = 17

Keras = Any


@dataclass(frozen=True)
class Subject:
    """Describe a model of the table.

    Attributes
    ----------
    title : str
        Its row in the table.
    build : callable
        Makes it, given the module ``keras``.
    policy : str
        Its dtype policy.
    quantised : bool
        Whether it is quantised to int8 after it is built.
    """

    title: str
    build: Callable[[Keras], Any]
    policy: str = "float32"
    quantised: bool = False


def _over_time(keras: Keras, *layers: Any, steps: int | None = STEPS) -> Any:
    """Return a functional model of these layers, over sequences of numbers."""
    x = inputs = keras.Input((steps, FEATURES), name="x")
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def _over_ids(
    keras: Keras, *layers: Any, mask: bool = True, steps: int | None = STEPS
) -> Any:
    """Return a functional model of these layers, behind an Embedding of ids."""
    x = inputs = keras.Input((steps,), dtype="int32", name="ids")
    x = keras.layers.Embedding(VOCABULARY, FEATURES, mask_zero=mask, name="embedding")(
        x
    )
    for layer in layers:
        x = layer(x)
    return keras.Model(inputs, x)


def _plain(keras: Keras, kind: str, **options: Any) -> Any:
    """Return one recurrent layer, with a Dense layer behind it where it has one row."""
    layer = getattr(keras.layers, kind)(UNITS, name="recurrent", **options)
    if options.get("return_sequences"):
        return _over_time(keras, layer)
    return _over_time(keras, layer, keras.layers.Dense(OUTPUTS, name="dense"))


def _masked(keras: Keras, kind: str, **options: Any) -> Any:
    layer = getattr(keras.layers, kind)(UNITS, name="recurrent", **options)
    return _over_ids(keras, layer)


def _sequential(keras: Keras) -> Any:
    return keras.Sequential(
        [
            keras.Input((STEPS, FEATURES), name="x"),
            keras.layers.LSTM(UNITS, name="recurrent"),
            keras.layers.Dense(OUTPUTS, name="dense"),
        ]
    )


def _embedding(keras: Keras) -> Any:
    return _over_ids(keras, keras.layers.LSTM(UNITS, name="recurrent"), mask=False)


def _masking(keras: Keras) -> Any:
    return _over_time(
        keras,
        keras.layers.Masking(name="masking"),
        keras.layers.LSTM(UNITS, name="recurrent"),
    )


def _zero_output(keras: Keras) -> Any:
    layer = keras.layers.LSTM(
        UNITS, return_sequences=True, zero_output_for_mask=True, name="recurrent"
    )
    return _over_ids(keras, layer)


def _stacked(keras: Keras, over: Callable[..., Any]) -> Any:
    first = keras.layers.LSTM(UNITS, return_sequences=True, name="first")
    return over(keras, first, keras.layers.GRU(MORE_UNITS, name="second"))


def _time_none(keras: Keras, kind: str, **options: Any) -> Any:
    layer = getattr(keras.layers, kind)(UNITS, name="recurrent", **options)
    return _over_time(keras, layer, steps=None)


def _masked_time_none(keras: Keras) -> Any:
    return _over_ids(keras, keras.layers.LSTM(UNITS, name="recurrent"), steps=None)


def _bidirectional(
    keras: Keras, kind: str, merge: str | None, steps: int | None = STEPS, **more: Any
) -> Any:
    inner = getattr(keras.layers, kind)(UNITS, name="inner", **more)
    layer = keras.layers.Bidirectional(inner, merge_mode=merge, name="both")
    return _over_time(keras, layer, steps=steps)


def _masked_bidirectional(keras: Keras) -> Any:
    inner = keras.layers.LSTM(UNITS, return_sequences=True, name="inner")
    return _over_ids(keras, keras.layers.Bidirectional(inner, name="both"))


def _stateful(keras: Keras, kind: str) -> Any:
    inputs = keras.Input(batch_shape=(STATEFUL_ROWS, STEPS, FEATURES), name="x")
    layer = getattr(keras.layers, kind)(UNITS, stateful=True, name="recurrent")
    return keras.Model(inputs, layer(inputs))


def _states(keras: Keras) -> Any:
    inputs = keras.Input((STEPS, FEATURES), name="x")
    layer = keras.layers.LSTM(
        UNITS, return_sequences=True, return_state=True, name="recurrent"
    )
    return keras.Model(inputs, list(layer(inputs)))


def _encoder_decoder(keras: Keras, mask: bool) -> Any:
    """Return a model of two inputs and three outputs, states in and states out."""
    if mask:
        a = keras.Input((STEPS,), dtype="int32", name="a")
        embedding = keras.layers.Embedding(
            VOCABULARY, FEATURES, mask_zero=True, name="embedding"
        )
        source = embedding(a)
    else:
        a = source = keras.Input((STEPS, FEATURES), name="a")
    b = keras.Input((STEPS, FEATURES), name="b")
    _, h, c = keras.layers.LSTM(UNITS, return_state=True, name="encoder")(source)
    decoder = keras.layers.LSTM(
        UNITS, return_sequences=True, return_state=True, name="decoder"
    )
    y, h, c = decoder(b, initial_state=[h, c])
    return keras.Model([a, b], [y, h, c])


def _given_state(keras: Keras) -> Any:
    """Return a GRU whose initial state is an input of the model."""
    x = keras.Input((STEPS, FEATURES), name="x")
    state = keras.Input((UNITS,), name="state")
    layer = keras.layers.GRU(UNITS, return_sequences=True, name="recurrent")
    return keras.Model([x, state], layer(x, initial_state=state))


def _masked_given_state(keras: Keras) -> Any:
    """Return the same over masked ids: a row of length zero returns its state."""
    ids = keras.Input((STEPS,), dtype="int32", name="ids")
    state = keras.Input((UNITS,), name="state")
    x = keras.layers.Embedding(VOCABULARY, FEATURES, mask_zero=True, name="embedding")(
        ids
    )
    layer = keras.layers.GRU(UNITS, name="recurrent")
    return keras.Model([ids, state], layer(x, initial_state=state))


def _distributed_dense(keras: Keras) -> Any:
    recurrent = keras.layers.LSTM(UNITS, return_sequences=True, name="recurrent")
    dense = keras.layers.Dense(OUTPUTS, name="inner")
    return _over_time(
        keras, recurrent, keras.layers.TimeDistributed(dense, name="distributed")
    )


def _distributed_lstm(keras: Keras) -> Any:
    inputs = keras.Input((4, STEPS, FEATURES), name="x")
    inner = keras.layers.LSTM(UNITS, name="inner")
    layer = keras.layers.TimeDistributed(inner, name="distributed")
    return keras.Model(inputs, layer(inputs))


def _cells(keras: Keras) -> Any:
    cells = [
        keras.layers.LSTMCell(UNITS, name="lstm_cell"),
        keras.layers.GRUCell(MORE_UNITS, name="gru_cell"),
    ]
    return _over_time(keras, keras.layers.RNN(cells, name="recurrent"))


def _conv_lstm(keras: Keras, rank: int) -> Any:
    inputs = keras.Input((STEPS, *(8, 7)[:rank], FEATURES), name="x")
    kind = getattr(keras.layers, f"ConvLSTM{rank}D")
    layer = kind(MORE_UNITS, (3, 2)[:rank] if rank > 1 else 3, name="recurrent")
    return keras.Model(inputs, layer(inputs))


def _back(keras: Keras, kind: str) -> Any:
    return _plain(keras, kind, go_backwards=True, return_sequences=True)


MODELS: Mapping[str, Subject] = {
    "simple_rnn": Subject("SimpleRNN", partial(_plain, kind="SimpleRNN")),
    "simple_rnn_relu": Subject(
        "SimpleRNN, activation relu",
        partial(_plain, kind="SimpleRNN", activation="relu"),
    ),
    "simple_rnn_back": Subject(
        "SimpleRNN, go_backwards", partial(_back, kind="SimpleRNN")
    ),
    "simple_rnn_masked": Subject(
        "SimpleRNN, masked", partial(_masked, kind="SimpleRNN")
    ),
    "lstm": Subject("LSTM", partial(_plain, kind="LSTM")),
    "lstm_sequential": Subject("LSTM in a Sequential model", _sequential),
    "lstm_sequences": Subject(
        "LSTM, return_sequences", partial(_plain, kind="LSTM", return_sequences=True)
    ),
    "lstm_states": Subject("LSTM, return_state", _states),
    "lstm_no_bias": Subject(
        "LSTM, use_bias=False", partial(_plain, kind="LSTM", use_bias=False)
    ),
    "lstm_relu": Subject(
        "LSTM, activation relu", partial(_plain, kind="LSTM", activation="relu")
    ),
    "lstm_hard_sigmoid": Subject(
        "LSTM, recurrent_activation hard_sigmoid",
        partial(_plain, kind="LSTM", recurrent_activation="hard_sigmoid"),
    ),
    "lstm_back": Subject("LSTM, go_backwards", partial(_back, kind="LSTM")),
    "lstm_unroll": Subject("LSTM, unroll", partial(_plain, kind="LSTM", unroll=True)),
    "lstm_dropout": Subject(
        "LSTM, recurrent_dropout",
        partial(_plain, kind="LSTM", recurrent_dropout=0.3),
    ),
    "lstm_stateful": Subject("LSTM, stateful", partial(_stateful, kind="LSTM")),
    "lstm_time_none": Subject(
        "LSTM, time None", partial(_time_none, kind="LSTM", return_sequences=True)
    ),
    "lstm_embedding": Subject("Embedding, LSTM", _embedding),
    "lstm_masked": Subject(
        "Embedding with mask_zero, LSTM", partial(_masked, kind="LSTM")
    ),
    "lstm_masking": Subject("Masking, LSTM", _masking),
    "lstm_masked_sequences": Subject(
        "LSTM, masked, return_sequences",
        partial(_masked, kind="LSTM", return_sequences=True),
    ),
    "lstm_masked_back": Subject(
        "LSTM, masked, go_backwards", partial(_masked, kind="LSTM", go_backwards=True)
    ),
    "lstm_zero_output": Subject("LSTM, zero_output_for_mask", _zero_output),
    "lstm_masked_time_none": Subject("LSTM, masked, time None", _masked_time_none),
    "gru": Subject("GRU, reset_after", partial(_plain, kind="GRU")),
    "gru_before": Subject(
        "GRU, reset_after=False", partial(_plain, kind="GRU", reset_after=False)
    ),
    "gru_no_bias": Subject(
        "GRU, use_bias=False", partial(_plain, kind="GRU", use_bias=False)
    ),
    "gru_gelu": Subject(
        "GRU, activation gelu", partial(_plain, kind="GRU", activation="gelu")
    ),
    "gru_back": Subject("GRU, go_backwards", partial(_back, kind="GRU")),
    "gru_stateful": Subject("GRU, stateful", partial(_stateful, kind="GRU")),
    "gru_time_none": Subject("GRU, time None", partial(_time_none, kind="GRU")),
    "gru_masked": Subject("GRU, masked", partial(_masked, kind="GRU")),
    "gru_before_masked": Subject(
        "GRU, masked, reset_after=False",
        partial(_masked, kind="GRU", reset_after=False),
    ),
    "gru_masked_unroll": Subject(
        "GRU, masked, unroll", partial(_masked, kind="GRU", unroll=True)
    ),
    "gru_given_state": Subject("GRU, initial_state an input", _given_state),
    "gru_masked_given_state": Subject(
        "GRU, masked, initial_state an input", _masked_given_state
    ),
    "both_concat": Subject(
        "Bidirectional LSTM, concat",
        partial(_bidirectional, kind="LSTM", merge="concat", return_sequences=True),
    ),
    "both_ave": Subject(
        "Bidirectional LSTM, ave", partial(_bidirectional, kind="LSTM", merge="ave")
    ),
    "both_mul": Subject(
        "Bidirectional SimpleRNN, mul",
        partial(_bidirectional, kind="SimpleRNN", merge="mul"),
    ),
    "both_sum": Subject(
        "Bidirectional GRU, sum",
        partial(_bidirectional, kind="GRU", merge="sum", return_sequences=True),
    ),
    "both_masked": Subject("Bidirectional LSTM, masked", _masked_bidirectional),
    "both_time_none": Subject(
        "Bidirectional GRU, time None",
        partial(_bidirectional, kind="GRU", merge="concat", steps=None),
    ),
    "stacked": Subject("LSTM on which a GRU", partial(_stacked, over=_over_time)),
    "stacked_masked": Subject("The same, masked", partial(_stacked, over=_over_ids)),
    "encoder_decoder": Subject(
        "Encoder and decoder, states handed on", partial(_encoder_decoder, mask=False)
    ),
    "encoder_decoder_masked": Subject(
        "The same, encoder masked", partial(_encoder_decoder, mask=True)
    ),
    "distributed_dense": Subject("TimeDistributed(Dense)", _distributed_dense),
    "distributed_lstm": Subject("TimeDistributed(LSTM)", _distributed_lstm),
    "cells": Subject("RNN([LSTMCell, GRUCell])", _cells),
    "conv_lstm_1d": Subject("ConvLSTM1D", partial(_conv_lstm, rank=1)),
    "conv_lstm_2d": Subject("ConvLSTM2D", partial(_conv_lstm, rank=2)),
    "lstm_float16": Subject(
        "LSTM, policy float16", partial(_plain, kind="LSTM"), policy="float16"
    ),
    "gru_mixed": Subject(
        "GRU, policy mixed_float16",
        partial(_plain, kind="GRU"),
        policy="mixed_float16",
    ),
    "lstm_int8": Subject(
        "Embedding, LSTM, Dense, quantised to int8",
        lambda keras: _over_ids(
            keras,
            keras.layers.LSTM(UNITS, name="recurrent"),
            keras.layers.Dense(OUTPUTS, name="dense"),
            mask=False,
        ),
        quantised=True,
    ),
}


def build(name: str) -> Any:
    """Return a model with its random weights, as a Keras model."""
    import keras

    subject = MODELS[name]
    keras.backend.clear_session()
    keras.utils.set_random_seed(SEED)
    keras.config.set_dtype_policy(subject.policy)
    try:
        model = subject.build(keras)
    finally:
        keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng([SEED, list(MODELS).index(name)])
    for variable in model.weights:
        if "seed" not in variable.path:
            size = rng.uniform(0.1, 0.7, variable.shape)
            variable.assign(size * rng.choice([-1.0, 1.0], variable.shape))
    if subject.quantised:
        model.quantize("int8")
    return model
