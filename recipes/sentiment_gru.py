"""Airline sentiment with a gated recurrent unit.

    rnn-recipe run sentiment_gru
    python recipes/sentiment_gru.py --epochs 10

Two gates where the LSTM has three, and no cell state; 410,018 parameters, of which
8,880 recur. Not in the chapter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from recipes import script
from recipes.data.tweets import SentimentConfig
from recipes.run import classifier

NAME = "sentiment_gru"


@dataclass(frozen=True)
class Config(SentimentConfig):
    """Hold the chapter's settings."""

    epochs: int = 10


def build_model(config: Config, vocabulary_size: int, length: int) -> Any:
    """Return the compiled model; ids (batch, length) in, two probabilities out."""
    from keras import layers

    model = classifier.embedding(NAME, config, vocabulary_size, length)
    model.add(layers.GRU(config.units, name="gru"))
    return classifier.with_softmax(model)


run = partial(classifier.run, NAME, build_model)

if __name__ == "__main__":
    script(__file__)
