"""Writes the files of this folder, with Keras 2 itself: ``python make.py``.

Each model is saved with random weights, together with inputs and with what Keras 2
itself predicts for them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tf_keras as keras
from tf_keras import layers

HERE = Path(__file__).parent
ROWS, TIME, FEATURES = 5, 6, 3


def ids():
    """Token ids with padding on the right, on the left, in holes, and altogether."""
    x = np.random.default_rng(0).integers(1, 9, size=(ROWS, TIME))
    x[0, 3:] = 0
    x[1, :3] = 0
    x[2, 2] = 0
    x[3] = 0
    return x


def floats(*shape):
    """Numbers; some steps of zeros where there is time."""
    x = np.random.default_rng(1).normal(size=(ROWS, *shape)).astype("float32")
    if len(shape) > 1:
        x[0, 3:] = 0
        x[1, :2] = 0
    return x


def stacked():
    """Embedding with a mask, then each recurrent layer, old hard_sigmoid among them."""
    return keras.Sequential(
        [
            layers.Embedding(9, 3, mask_zero=True, input_length=TIME),
            layers.LSTM(4, return_sequences=True, recurrent_activation="hard_sigmoid"),
            layers.GRU(3, return_sequences=True, reset_after=False),
            layers.GRU(3, return_sequences=True, dropout=0.2),
            layers.SimpleRNN(4),
            layers.Dense(2, activation="softmax"),
        ]
    ), [ids()]


def without_input():
    """The shape of the input stands in the first layer."""
    return keras.Sequential(
        [
            layers.LSTM(4, input_shape=(TIME, FEATURES), activation="hard_sigmoid"),
            layers.LeakyReLU(alpha=0.2),
            layers.Dense(2),
        ]
    ), [floats(TIME, FEATURES)]


def bidirectional():
    """Every merge mode, a mask, and a stack behind."""
    x = inputs = keras.Input((TIME, FEATURES))
    x = layers.Masking()(x)
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(x)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum")(x)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="mul")(x)
    y = layers.Bidirectional(layers.SimpleRNN(2), merge_mode="ave")(x)
    return keras.Model(inputs, [y, x]), [floats(TIME, FEATURES)]


def seq2seq():
    """Decoder states from the encoder: Keras 2 applies the decoder's mask."""
    first, second = keras.Input((TIME,)), keras.Input((TIME,))
    embedding = layers.Embedding(9, 3, mask_zero=True)
    _, h, c = layers.LSTM(4, return_state=True)(embedding(first))
    y = layers.LSTM(4, return_sequences=True)(embedding(second), initial_state=[h, c])
    y = layers.TimeDistributed(layers.Dense(2, activation="softmax"))(y)
    return keras.Model([first, second], y), [ids()[::-1].copy(), ids()]


def around():
    """Convolution, normalisation, pooling, merging, attention, a model in the model."""
    inputs = keras.Input((TIME, FEATURES))
    inner = keras.Sequential(
        [
            keras.Input((TIME, 4)),
            layers.Dense(3, activation="tanh"),
            layers.BatchNormalization(),
            layers.Dense(4),
        ],
        name="inner",
    )
    x = layers.Conv1D(4, 3, padding="causal", activation="relu")(inputs)
    frozen = layers.BatchNormalization(trainable=False)(x)
    y = inner(frozen)
    z = inner(x)
    a = layers.MultiHeadAttention(2, 3)(y, z)
    s = layers.SeparableConv1D(4, 2, padding="same")(layers.Add()([y, a]))
    s = layers.LayerNormalization()(s)
    s = layers.Concatenate()([s, layers.ELU(alpha=0.5)(layers.Subtract()([y, z]))])
    pooled = layers.GlobalAveragePooling1D()(layers.AveragePooling1D(2)(s))
    return keras.Model(inputs, layers.Dense(2)(pooled)), [floats(TIME, FEATURES)]


def cells():
    """RNN over cells, states out, running backwards."""
    inputs = keras.Input((TIME, FEATURES))
    x = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True)(
        layers.Masking()(inputs)
    )
    y, h, c = layers.LSTM(3, return_state=True, go_backwards=True)(x)
    return keras.Model(inputs, [y, h, c]), [floats(TIME, FEATURES)]


def convolutional():
    """ConvLSTM2D, whose gates Keras 2 passes through hard_sigmoid."""
    inputs = keras.Input((3, 4, 4, 2))
    x = layers.ConvLSTM2D(2, 3, padding="same")(inputs)
    return keras.Model(inputs, layers.Flatten()(x)), [floats(3, 4, 4, 2)]


def operators():
    """Raw operators: Keras 2 writes classes that nothing else can read."""
    inputs = keras.Input((TIME, FEATURES))
    return keras.Model(inputs, layers.LSTM(2)(inputs * 2.0)), [floats(TIME, FEATURES)]


def main() -> None:
    """Write every file."""
    makers = [stacked, without_input, bidirectional, seq2seq, around, cells]
    makers += [convolutional, operators]
    for make in makers:
        keras.utils.set_random_seed(3)
        model, inputs = make()
        if not model.built:
            model.build(inputs[0].shape)
        rng = np.random.default_rng(2)
        weights = []
        for weight in model.weights:
            value = rng.uniform(0.2, 0.9, size=weight.shape)
            if "variance" not in weight.name:
                value = value * rng.choice([-1, 1], size=weight.shape)
            weights.append(value)
        model.set_weights(weights)
        outputs = model.predict(inputs, verbose=0)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        model.save(HERE / f"{make.__name__}.h5", include_optimizer=False)
        model.save(HERE / f"{make.__name__}.keras")
        arrays = {f"x{k}": x for k, x in enumerate(inputs)}
        arrays |= {f"y{k}": y for k, y in enumerate(outputs)}
        np.savez_compressed(HERE / f"{make.__name__}.npz", **arrays)
        print(make.__name__, [y.shape for y in outputs], keras.__version__)


if __name__ == "__main__":
    main()
