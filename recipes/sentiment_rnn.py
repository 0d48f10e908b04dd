"""Airline sentiment with a simple recurrent layer.

    rnn-recipe run sentiment_rnn
    python recipes/sentiment_rnn.py --epochs 10

It learns to tell praise from complaint, word by word in order; 404,058 parameters, of
which 2,920 recur. Ten epochs are the chapter's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from recipes import script
from recipes.data.tweets import SentimentConfig
from recipes.run import classifier

NAME = "sentiment_rnn"


@dataclass(frozen=True)
class Config(SentimentConfig):
    """Hold the chapter's settings."""

    epochs: int = 10


def build_model(config: Config, vocabulary_size: int, length: int) -> Any:
    """Return the compiled model; ids (batch, length) in, two probabilities out."""
    from keras import layers

    model = classifier.embedding(NAME, config, vocabulary_size, length)
    model.add(layers.SimpleRNN(config.units, name="rnn"))
    return classifier.with_softmax(model)


run = partial(classifier.run, NAME, build_model)

if __name__ == "__main__":
    script(__file__)
