"""Networks of words in sentences, whose recurrent layers get masks of three axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from support.nets import random_weights

from verify.model.arrays import Array

SENTENCES, WORDS = 5, 6


def words() -> Array:
    """Return ids of 8 texts of sentences that are padded, some of them whole."""
    ids = np.random.default_rng(0).integers(1, 20, (8, SENTENCES, WORDS))
    ids[:, :, 4:] = 0
    ids[1, 3:] = 0
    ids[2, 1, :2] = 0
    return ids


def hierarchical(
    units: int, *, kind: str = "GRU", both: bool = False, whole_steps: bool = False
) -> Any:
    """Return a network of words in sentences, with random weights."""
    import keras
    from keras import Input, layers

    given = Input((SENTENCES, WORDS), dtype="int32")
    x = layers.Embedding(20, 4, mask_zero=True)(given)
    x = layers.TimeDistributed(layers.LSTM(3))(x)
    loop = getattr(layers, kind)(units)
    loop = layers.Bidirectional(loop, name="both") if both else loop
    mask = keras.ops.any(keras.ops.not_equal(given, 0), axis=-1)
    x = loop(x, mask=mask) if whole_steps else loop(x)
    model = keras.Model(given, layers.Dense(2)(x))
    model.set_weights(random_weights([w.shape for w in model.get_weights()], 3))
    return model
