"""Airline sentiment with a gated recurrent unit.

    python recipes/sentiment_gru.py

The model has 410,018 parameters, 8,880 of them in the GRU, which has two gates and no
cell state. The chapter has no such model.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from recipes import script
from recipes.data.tweets import SentimentConfig
from recipes.run import classifier

NAME = "sentiment_gru"


@dataclass(frozen=True)
class Config(SentimentConfig):
    """Set the number of epochs; `SentimentConfig` has the other settings."""

    epochs: int = 10


def build_model(config: Config, vocabulary_size: int, length: int) -> Any:
    """Return the compiled model: ids (batch, length) in, (batch, 2) out."""
    from keras import layers

    model = classifier.embedding(NAME, config, vocabulary_size, length)
    model.add(layers.GRU(config.units, name="gru"))
    return classifier.with_softmax(model)


run = partial(classifier.run, NAME, build_model)

if __name__ == "__main__":
    script(__file__)
