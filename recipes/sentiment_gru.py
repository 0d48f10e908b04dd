"""Airline sentiment with a gated recurrent unit.

    rnn-recipe run sentiment_gru
    python recipes/sentiment_gru.py --epochs 10

Two gates where the LSTM has three, and no cell state; 410,018 parameters, of which
8,880 recur. Not in the chapter.

It ends with the test accuracy of the last and of the best epoch beside two baselines,
the verdict of the verifier, and a table of one line.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from recipes.data.tweets import SentimentConfig
from recipes.run import classifier as sentiment
from recipes.run.finish import RunResult
from recipes.run.options import RunOptions

NAME = "sentiment_gru"


@dataclass(frozen=True)
class Config(SentimentConfig):
    """The chapter's settings."""

    epochs: int = 10


def build_model(config: Config, vocabulary_size: int, length: int) -> Any:
    """The compiled model; ids (batch, length) in, two probabilities out."""
    from keras import Input, Sequential, layers, metrics

    model = Sequential(
        [
            Input((length,), dtype="int32"),
            layers.Embedding(
                vocabulary_size,
                config.embedding,
                mask_zero=config.mask_zero,
                name="embedding",
            ),
            layers.GRU(config.units, name="gru"),
            layers.Dense(2, activation="softmax", name="dense"),
        ],
        name=NAME,
    )
    model.compile(
        optimizer="adam",
        loss="categorical_crossentropy",
        metrics=["accuracy", metrics.F1Score("macro", name="macro_f1")],
    )
    return model


def run(config: Config, options: RunOptions) -> RunResult:
    """Train, evaluate and verify."""
    return sentiment.run(NAME, config, build_model, options)


def main(argv: list[str] | None = None) -> int:
    """Run this recipe with command-line options; returns the exit code."""
    from recipes.__main__ import run_recipe

    return run_recipe(NAME, argv)


if __name__ == "__main__":
    sys.exit(main())
