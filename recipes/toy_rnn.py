"""A SimpleRNN of one unit learns "this is -> an", "is an -> example".

    rnn-recipe run toy_rnn
    python recipes/toy_rnn.py

It ends with the forward pass done by hand for "this is": the hidden value at both
steps, logits and softmax, with Keras's prediction beneath them. The model has 3 + 10
parameters. With ``--units 8`` it has room for both phrases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from recipes import script
from recipes.data.toy import TIME_STEPS, ToyConfig, samples
from recipes.run import by_hand as shared
from verify import ModelSpec

NAME = "toy_rnn"
__all__ = ["NAME", "Config", "build_model", "by_hand", "run", "samples"]


@dataclass(frozen=True)
class Config(ToyConfig):
    """List the settings; the chapter uses the defaults."""


def build_model(config: Config) -> Any:
    """Return the compiled model: (batch, 2, 1) in, (batch, 5) out."""
    from keras import Input, Sequential, layers

    model = Sequential(
        [
            Input((TIME_STEPS, 1)),
            layers.SimpleRNN(
                config.units,
                activation="tanh",
                recurrent_initializer="zeros",
                unroll=True,
                name="rnn",
            ),
            layers.Dense(5, activation="softmax", name="dense"),
        ],
        name=NAME,
    )
    model.compile(
        optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def by_hand(spec: ModelSpec, inputs: Sequence[float]) -> list[shared.Quantity]:
    """Compute every quantity of the forward pass, with this model's numbers."""
    w, u, b = spec["rnn"].weights.values()
    quantities: list[shared.Quantity] = []
    h = np.zeros(len(b))
    for step, x in enumerate(inputs, start=1):
        formula, total = shared.weighed(x, w[0], h, u, b)
        h = np.tanh(total)
        quantities.append((f"step {step}: hidden value", f"tanh({formula})", h))
    return quantities + shared.head(spec, h)


run = partial(shared.run, NAME, build_model, by_hand)

if __name__ == "__main__":
    script(__file__)
