"""Airline sentiment with a simple recurrent layer.

    python recipes/sentiment_rnn.py

The model has 404,058 parameters, 2,920 of them in the SimpleRNN.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from recipes import script
from recipes.data.tweets import SentimentConfig
from recipes.run import classifier

NAME = "sentiment_rnn"


@dataclass(frozen=True)
class Config(SentimentConfig):
    """Set the chapter's number of epochs; `SentimentConfig` has the other settings."""

    epochs: int = 10


def build_model(config: Config, vocabulary_size: int, length: int) -> Any:
    """Return the compiled model: ids (batch, length) in, (batch, 2) out."""
    from keras import layers

    model = classifier.embedding(NAME, config, vocabulary_size, length)
    model.add(layers.SimpleRNN(config.units, name="rnn"))
    return classifier.with_softmax(model)


run = partial(classifier.run, NAME, build_model)

if __name__ == "__main__":
    script(__file__)
