"""Build the whole models that a diagnosis is tried on, and inputs for them.

They are small, but made like those in use: several recurrent layers of one class,
halves, an encoder that hands its states to a decoder, branches, states that are kept
from batch to batch. They are not trained: their weights are as Keras starts them, with
random biases and embeddings as large as training makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.keras_bridge import import_keras
from verify.model.arrays import Array

WORDS, STEPS, SIZE, CLASSES = 60, 14, 12, 3
TARGET_WORDS, TARGET_STEPS = 30, 9
FEATURES, BATCH_ROWS = 5, 8
FRAMES, HEIGHT, WIDTH, CHANNELS = 5, 6, 4, 2
BIAS_SCALE, EMBEDDING_SCALE = 0.3, 0.5
"""Standard deviations."""


@dataclass(frozen=True)
class WholeModel:
    """Hold a model by name.

    Attributes
    ----------
    name : str
        As the table has it.
    layers : callable
        Returns the Keras model, with the weights that Keras starts from.
    inputs : callable
        A generator of random numbers and a number of rows -> the inputs of the model.
    """

    name: str
    layers: Callable[[], Any]
    inputs: Callable[[np.random.Generator, int], list[Array]]

    def build(self) -> Any:
        """Return the Keras model, with weights of the size that training gives them."""
        keras = import_keras()
        keras.utils.set_random_seed(1)
        model = self.layers()
        rng = np.random.default_rng(1)
        for weight in model.weights:
            leaf = weight.path.rpartition("/")[2]
            if leaf == "bias":
                moved = rng.normal(0, BIAS_SCALE, weight.shape)
                weight.assign(weight.numpy() + moved)
            elif leaf == "embeddings":
                weight.assign(rng.normal(0, EMBEDDING_SCALE, weight.shape))
        return model

    def rows(self, count: int, seed: int) -> list[Array]:
        """Return inputs, (count, ...) each."""
        return self.inputs(np.random.default_rng(seed), count)


def stacked_lstm() -> Any:
    """Return three LSTM layers, one behind the other."""
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32"),
            layers.Embedding(WORDS, SIZE, mask_zero=True, name="words"),
            layers.LSTM(10, return_sequences=True, name="first"),
            layers.LSTM(10, return_sequences=True, name="second"),
            layers.LSTM(8, name="third"),
            layers.Dense(CLASSES, activation="softmax", name="class"),
        ]
    )


def stacked_gru() -> Any:
    """Return four GRU layers, one behind the other, on masked features."""
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((STEPS, FEATURES)),
            layers.Masking(name="masking"),
            layers.GRU(9, return_sequences=True, name="first"),
            layers.GRU(9, return_sequences=True, name="second"),
            layers.GRU(8, return_sequences=True, name="third"),
            layers.GRU(7, name="fourth"),
            layers.Dense(2, name="values"),
        ]
    )


def two_bidirectional() -> Any:
    """Return two Bidirectional layers of LSTM, one behind the other."""
    keras = import_keras()
    layers = keras.layers
    first = layers.LSTM(8, return_sequences=True)
    return keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32"),
            layers.Embedding(WORDS, SIZE, mask_zero=True, name="words"),
            layers.Bidirectional(first, name="first"),
            layers.Bidirectional(layers.LSTM(7), name="second"),
            layers.Dense(CLASSES, activation="softmax", name="class"),
        ]
    )


def encoder_decoder() -> Any:
    """Return an encoder whose states start a decoder, both masked."""
    keras = import_keras()
    layers = keras.layers
    source = keras.Input((STEPS,), dtype="int32", name="source")
    target = keras.Input((TARGET_STEPS,), dtype="int32", name="target")
    words = layers.Embedding(WORDS, SIZE, mask_zero=True, name="source_words")(source)
    _, h, c = layers.LSTM(10, return_state=True, name="encoder")(words)
    words = layers.Embedding(TARGET_WORDS, 9, mask_zero=True, name="words")(target)
    decoder = layers.LSTM(10, return_sequences=True, return_state=True, name="decoder")
    steps, _, _ = decoder(words, initial_state=[h, c])
    dense = layers.Dense(TARGET_WORDS, activation="softmax", name="dense")
    return keras.Model([source, target], layers.TimeDistributed(dense)(steps))


def two_branches() -> Any:
    """Return two masked branches of the same kind, as questions are compared."""
    keras = import_keras()
    layers = keras.layers
    ends, given = [], []
    for side in ("left", "right"):
        ids = keras.Input((STEPS,), dtype="int32", name=side)
        embedding = layers.Embedding(WORDS, SIZE, mask_zero=True, name=f"{side}_words")
        ends.append(layers.LSTM(9, name=f"{side}_lstm")(embedding(ids)))
        given.append(ids)
    both = layers.Concatenate(name="both")(ends)
    hidden = layers.Dense(7, activation="relu", name="hidden")(both)
    return keras.Model(given, layers.Dense(1, activation="sigmoid")(hidden))


def stateful_beside_frames() -> Any:
    """Return a stateful GRU of measurements beside a ConvLSTM of frames."""
    keras = import_keras()
    layers = keras.layers
    series = keras.Input(batch_shape=(BATCH_ROWS, STEPS, FEATURES), name="series")
    frames = keras.Input(
        batch_shape=(BATCH_ROWS, FRAMES, HEIGHT, WIDTH, CHANNELS), name="frames"
    )
    left = layers.GRU(9, stateful=True, name="gru")(series)
    conv = layers.ConvLSTM2D(3, (3, 2), padding="same", name="conv_lstm")(frames)
    right = layers.Flatten(name="flat")(conv)
    both = layers.Concatenate(name="both")([left, right])
    return keras.Model([series, frames], layers.Dense(2, name="values")(both))


def some_ids(words: int, steps: int, rng: np.random.Generator, rows: int) -> Array:
    """Return ids, (rows, steps) of int32, padded with 0."""
    ids = rng.integers(1, words, size=(rows, steps)).astype(np.int32)
    ids[padding(rows, steps, rng)] = 0
    return ids


def some_features(rng: np.random.Generator, rows: int) -> Array:
    """Return features, (rows, STEPS, FEATURES), padded with steps of zeros."""
    x = rng.normal(size=(rows, STEPS, FEATURES)).astype(np.float32)
    x[padding(rows, STEPS, rng)] = 0
    return x


def padding(rows: int, steps: int, rng: np.random.Generator) -> Array:
    """Return where padding is, (rows, steps) of bool.

    It stands behind, in front, in holes, and every fourth row has none. Some step of
    each row is no padding.
    """
    at = np.arange(steps)
    length = rng.integers(2, steps, size=(rows, 1))
    kind = rng.permutation(rows)[:, None] % 4
    holes = rng.random((rows, steps)) < 0.3
    holes[:, steps // 2] = False
    return np.select(
        [kind == 0, kind == 1, kind == 2],
        [at >= length, at < steps - length, holes],
        False,
    )


def _of_ids(*sizes: tuple[int, int]) -> Callable[..., list[Array]]:
    """Return the inputs of a model that takes ids; words and steps of each input."""
    return lambda rng, rows: [some_ids(*size, rng, rows) for size in sizes]


def _series_and_frames(rng: np.random.Generator, rows: int) -> list[Array]:
    frames = rng.normal(size=(rows, FRAMES, HEIGHT, WIDTH, CHANNELS))
    series = rng.normal(size=(rows, STEPS, FEATURES))
    return [series.astype(np.float32), frames.astype(np.float32)]


SIX_MODELS = (
    WholeModel("3 LSTM", stacked_lstm, _of_ids((WORDS, STEPS))),
    WholeModel("4 GRU", stacked_gru, lambda rng, n: [some_features(rng, n)]),
    WholeModel("2 Bidirectional LSTM", two_bidirectional, _of_ids((WORDS, STEPS))),
    WholeModel(
        "encoder and decoder",
        encoder_decoder,
        _of_ids((WORDS, STEPS), (TARGET_WORDS, TARGET_STEPS)),
    ),
    WholeModel("two branches", two_branches, _of_ids((WORDS, STEPS), (WORDS, STEPS))),
    WholeModel("stateful GRU, ConvLSTM", stateful_beside_frames, _series_and_frames),
)
