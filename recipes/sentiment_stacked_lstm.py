"""Airline sentiment with two LSTM layers, the first handing every step on.

    python recipes/sentiment_stacked_lstm.py --epochs 10

The first layer returns its output at every step, (batch, 26, 40), for the second to
read. The model has 425,778 parameters, 11,680 and 12,960 of them in the LSTMs.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from recipes import script
from recipes.data.tweets import SentimentConfig
from recipes.run import classifier

NAME = "sentiment_stacked_lstm"


@dataclass(frozen=True)
class Config(SentimentConfig):
    """Set the chapter's number of epochs; `SentimentConfig` has the other settings."""

    epochs: int = 50


def build_model(config: Config, vocabulary_size: int, length: int) -> Any:
    """Return the compiled model: ids (batch, length) in, (batch, 2) out."""
    from keras import layers

    model = classifier.embedding(NAME, config, vocabulary_size, length)
    model.add(layers.LSTM(config.units, return_sequences=True, name="lstm_1"))
    model.add(layers.LSTM(config.units, name="lstm_2"))
    return classifier.with_softmax(model)


run = partial(classifier.run, NAME, build_model)

if __name__ == "__main__":
    script(__file__)
