"""Writes the files of this folder, with Keras 2 itself: ``python make.py``.

Each model is saved with random weights, together with inputs and with what Keras 2
itself predicts for them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
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


def video():
    """A CNN over the frames, an LSTM behind it; beside it a volume of all frames."""
    inputs = keras.Input((4, 6, 8, 2))
    x = layers.TimeDistributed(layers.Conv2D(4, (3, 2), padding="same", strides=2))(
        inputs
    )
    x = layers.TimeDistributed(
        layers.DepthwiseConv2D((2, 3), padding="same", depth_multiplier=2)
    )(x)
    x = layers.TimeDistributed(layers.SeparableConv2D(3, 2, activation="relu"))(x)
    x = layers.TimeDistributed(
        layers.Conv2DTranspose(2, (3, 2), strides=2, padding="same")
    )(x)
    x = layers.TimeDistributed(layers.MaxPooling2D((2, 1)))(x)
    x = layers.LSTM(3)(layers.TimeDistributed(layers.Flatten())(x))
    tanh = {"activation": "tanh"}
    y = layers.Conv3D(4, (2, 3, 2), strides=(1, 2, 2), groups=2, **tanh)(inputs)
    y = layers.Conv3DTranspose(2, (2, 1, 3), **tanh)(y)
    y = layers.DepthwiseConv1D(2, **tanh)(layers.Reshape((12, -1))(y))
    y = layers.Conv1DTranspose(2, 3, strides=2, **tanh)(y)
    return keras.Model(inputs, [x, y]), [floats(4, 6, 8, 2)]


def operators():
    """Raw operators: Keras 2 writes classes that nothing else can read."""
    inputs = keras.Input((TIME, FEATURES))
    return keras.Model(inputs, layers.LSTM(2)(inputs * 2.0)), [floats(TIME, FEATURES)]


def functions():
    """Functions of TensorFlow between layers, one output for some of them."""
    x, i = keras.Input((TIME, FEATURES)), keras.Input((TIME,), dtype="int32")
    e = layers.Embedding(9, FEATURES, mask_zero=True)(i)
    table = np.arange(12, dtype="float32").reshape(3, 4) / 7
    rows = tf.shape(x)[0]
    a = layers.GRU(4, return_sequences=True)(x)
    weights = tf.nn.softmax(tf.squeeze(layers.Dense(1)(tf.tanh(a)), axis=-1), axis=1)
    outputs = [
        x[:, -1], x[:, 1:-1:2, tf.newaxis], x[..., 0], x[:, ::-1, 1:], x[:],
        1.5 - x, 2 / (x * x + 1), x @ tf.constant(table), x % 0.7, x // 0.3, -x**2.0,
        tf.where((x > 0) & ~(x > 1), x, 0.25), i / 7, tf.cast(i, tf.float32) * 0.1,
        tf.add_n([x, e, x]), tf.concat([x, e], axis=-1), x * [0.1, 0.2, 0.3],
        tf.stack([x[:, 0], e[:, 1]], axis=1), tf.split(x, [2, -1], axis=1)[1],
        tf.concat(tf.split(x, 3, axis=-1)[::-1], 1), tf.unstack(x, axis=1)[2],
        tf.reduce_mean(x, [1, 2], keepdims=True), tf.reduce_max(x, axis=1),
        tf.reduce_sum(a * tf.expand_dims(weights, -1), axis=1), tf.nn.moments(x, 1)[1],
        tf.norm(x, axis=-1), tf.nn.l2_normalize(x, axis=-1, epsilon=0.5),
        tf.reshape(x, (rows, -1)), tf.reshape(x, (rows, tf.shape(x)[1], 3, 1)),
        tf.transpose(x, [0, 2, 1]), tf.tile(x, [1, 2, 1]), tf.repeat(x, 2, axis=1),
        tf.gather(x, [2, 0], axis=1), tf.gather(tf.constant(table), i % 3),
        tf.reverse(x, [1]), tf.roll(x, [2, -1], [1, 2]),
        tf.pad(x, [[0, 0], [1, 2], [0, 0]]),
        tf.slice(x, [0, 1, 0], [-1, 2, -1]), tf.one_hot(i, 5, 2.0, -1.0),
        tf.matmul(x, e, transpose_b=True), tf.linalg.matvec(x, e[:, 0]),
        tf.cumsum(x, axis=1, reverse=True), tf.broadcast_to(x[:, :1], tf.shape(e)),
        tf.nn.leaky_relu(x), tf.nn.gelu(x), tf.nn.silu(x, beta=1.7), tf.nn.crelu(x),
        tf.clip_by_value(x, -0.1, 0.5), tf.nn.relu6(9 * x),
        keras.backend.hard_sigmoid(x),
        keras.backend.batch_dot(x, e, axes=2), keras.backend.mean(x, axis=1),
        keras.backend.batch_flatten(x), keras.backend.repeat_elements(x, 2, axis=1),
        layers.LSTM(3)(e), layers.LSTM(3)(e * 2.0),
        layers.LSTM(3)(tf.cast(e, "float32")),
        layers.LSTM(3)(x, mask=tf.not_equal(i, 0)),
        layers.GRU(2)(x, initial_state=tf.zeros((rows, 2)) + 0.5),
    ]  # fmt: skip
    return keras.Model([x, i], outputs), [floats(TIME, FEATURES), ids()]


def merged():
    """Merging layers, whose masks Keras 2 joins in its own way."""
    first, second = keras.Input((TIME,)), keras.Input((TIME,))
    plain = keras.Input((TIME, 3))
    embedding = layers.Embedding(9, 3, mask_zero=True)
    a, b, lstm = embedding(first), embedding(second), layers.LSTM(4)
    kinds = [layers.Add, layers.Subtract, layers.Multiply, layers.Average]
    kinds += [layers.Maximum, layers.Minimum]
    merges = [kind()(pair) for kind in kinds for pair in ([a, b], [a, plain])]
    merges.append(layers.Concatenate(axis=1)([a, b]))
    wide = [layers.Concatenate()(pair) for pair in ([a, b], [plain, a])]
    outputs = [lstm(x) for x in merges] + [layers.GRU(2)(x) for x in wide]
    inputs = [ids(), ids()[::-1].copy(), floats(TIME, 3)]
    return keras.Model([first, second, plain], outputs), inputs


def main() -> None:
    """Write every file, or those that are named on the command line."""
    makers = [stacked, without_input, bidirectional, seq2seq, around, cells]
    makers += [convolutional, video, operators, functions, merged]
    wanted = sys.argv[1:]
    for make in makers:
        if wanted and make.__name__ not in wanted:
            continue
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
        if make is not functions:  # Keras 2 cannot write x[..., 0] into a .keras file
            model.save(HERE / f"{make.__name__}.keras")
        arrays = {f"x{k}": x for k, x in enumerate(inputs)}
        arrays |= {f"y{k}": y for k, y in enumerate(outputs)}
        np.savez_compressed(HERE / f"{make.__name__}.npz", **arrays)
        print(make.__name__, [y.shape for y in outputs], keras.__version__)


if __name__ == "__main__":
    main()
