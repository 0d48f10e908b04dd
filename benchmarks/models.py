"""Build the models that are measured, and inputs for them.

They are the models of the sentiment recipes, and a few that the recipes do not have:
with masks, and with layers in both directions. The weights are like those of a trained
model: Keras's initial weights, changed at random by about as much as ten epochs on the
tweets change them, biases included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recipes.run import classifier
from recipes.run.plan import module
from verify.keras_bridge import import_keras
from verify.model.arrays import Array

VOCABULARY_SIZE = 12_533
"""Ids of the chapter's tweets, 0 included."""

OTHER_MODELS: Mapping[str, str] = {
    "masked_lstm": "sentiment_lstm",
    "bidirectional_lstm": "sentiment_lstm",
    "masked_bidirectional_grus": "sentiment_gru",
}
"""Models that no recipe has -> the recipe whose settings they have."""

TEXT_SHARE = 0.8
"""Greatest length of a text as a share of the steps: words then fill two fifths of the
input, as in the tweets."""


def build(name: str, units: int, length: int, path: Path, seed: int = 1) -> None:
    """Write a recipe's model, with random weights, as a .keras file."""
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    recipe = module(OTHER_MODELS.get(name, name))
    config = replace(recipe.Config(), units=units, mask_zero="masked" in name)
    if "bidirectional" in name:
        model = _bidirectional(config, length, twice="masked" in name)
    else:
        model = recipe.build_model(config, VOCABULARY_SIZE, length)
    rng = np.random.default_rng(seed)
    moved = 0.15 / np.sqrt(units)
    model.set_weights([w + rng.normal(0, moved, w.shape) for w in model.get_weights()])
    model.save(path)


def _bidirectional(config: Any, length: int, *, twice: bool) -> Any:
    """Return a model with one LSTM, or two GRUs, in both directions."""
    from keras import layers

    model = classifier.embedding("bidirectional", config, VOCABULARY_SIZE, length)
    if twice:
        first = layers.GRU(config.units, return_sequences=True)
        model.add(layers.Bidirectional(first))
    last = layers.GRU if twice else layers.LSTM
    model.add(layers.Bidirectional(last(config.units)))
    return classifier.with_softmax(model)


def inputs(rows: int, length: int, seed: int = 2) -> Array:
    """Return ids (rows, length) of int32, with zeros behind the words of each row."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, VOCABULARY_SIZE, size=(rows, length), dtype=np.int32)
    words = rng.integers(1, max(int(TEXT_SHARE * length), 1) + 1, size=(rows, 1))
    x[np.arange(length) >= words] = 0
    return x
