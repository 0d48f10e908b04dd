"""Airline sentiment with a long short-term memory layer.

    rnn-recipe run sentiment_lstm
    python recipes/sentiment_lstm.py --epochs 10

It learns the same as sentiment_rnn with gates that decide what to keep; 412,818
parameters, of which 11,680 recur. Fifty epochs are the chapter's; the best is one of
the first three.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from recipes import script
from recipes.data.tweets import SentimentConfig
from recipes.run import classifier

NAME = "sentiment_lstm"


@dataclass(frozen=True)
class Config(SentimentConfig):
    """Hold the chapter's settings."""

    epochs: int = 50


def build_model(config: Config, vocabulary_size: int, length: int) -> Any:
    """Return the compiled model; ids (batch, length) in, two probabilities out."""
    from keras import layers

    model = classifier.embedding(NAME, config, vocabulary_size, length)
    model.add(layers.LSTM(config.units, name="lstm"))
    return classifier.with_softmax(model)


run = partial(classifier.run, NAME, build_model)

if __name__ == "__main__":
    script(__file__)
