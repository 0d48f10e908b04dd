"""Airline sentiment with a long short-term memory layer.

    python recipes/sentiment_lstm.py --epochs 10

The model has 412,818 parameters, 11,680 of them in the LSTM, whose gates decide what
the state keeps. The chapter trains for 50 epochs; the best is among the first three.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from recipes import script
from recipes.data.tweets import SentimentConfig
from recipes.run import classifier

NAME = "sentiment_lstm"


@dataclass(frozen=True)
class Config(SentimentConfig):
    """Set the chapter's number of epochs; `SentimentConfig` has the other settings."""

    epochs: int = 50


def build_model(config: Config, vocabulary_size: int, length: int) -> Any:
    """Return the compiled model: ids (batch, length) in, (batch, 2) out."""
    from keras import layers

    model = classifier.embedding(NAME, config, vocabulary_size, length)
    model.add(layers.LSTM(config.units, name="lstm"))
    return classifier.with_softmax(model)


run = partial(classifier.run, NAME, build_model)

if __name__ == "__main__":
    script(__file__)
