"""The models that are measured, and inputs for them.

The recipes' own models, with weights as training leaves them: what Keras initialises,
moved by about as much as ten epochs on the tweets move it, biases too.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from verify.keras_bridge import import_keras
from verify.model.arrays import Array

MODELS = (
    "sentiment_rnn", "sentiment_lstm", "sentiment_stacked_lstm", "sentiment_gru",
)  # fmt: skip
VOCABULARY_SIZE = 12_533
"""Ids, 0 among them, of the chapter's tweets."""

TEXT_SHARE = 0.8
"""The longest text as a share of the steps: as in the tweets, of which words fill
two fifths."""


def build(name: str, units: int, length: int, path: Path, seed: int = 1) -> None:
    """Write a recipe's model, with random weights, as a .keras file."""
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    recipe = importlib.import_module(f"recipes.{name}")
    config = replace(recipe.Config(), units=units)
    model = recipe.build_model(config, VOCABULARY_SIZE, length)
    rng = np.random.default_rng(seed)
    moved = 0.15 / np.sqrt(units)
    model.set_weights([w + rng.normal(0, moved, w.shape) for w in model.get_weights()])
    model.save(path)


def inputs(rows: int, length: int, seed: int = 2) -> Array:
    """Ids (rows, length) of int32, each row filled up with zeros behind its words."""
    rng = np.random.default_rng(seed)
    x = rng.integers(1, VOCABULARY_SIZE, size=(rows, length), dtype=np.int32)
    words = rng.integers(1, max(int(TEXT_SHARE * length), 1) + 1, size=(rows, 1))
    x[np.arange(length) >= words] = 0
    return x
