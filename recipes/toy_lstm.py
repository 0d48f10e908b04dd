"""An LSTM of one unit learns "this is -> an", "is an -> example".

    rnn-recipe run toy_lstm
    python recipes/toy_lstm.py

It ends with the forward pass done by hand for "this is": forget gate, input gate,
candidate, cell state, output gate and hidden value at both steps, then logits and
softmax, with Keras's prediction beneath them. The model has 12 + 10 parameters.
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
from verify.model.arrays import Array

NAME = "toy_lstm"
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
            layers.LSTM(
                config.units,
                activation="tanh",
                recurrent_activation="sigmoid",
                recurrent_initializer="zeros",
                unroll=True,
                name="lstm",
            ),
            layers.Dense(5, activation="softmax", name="dense"),
        ],
        name=NAME,
    )
    # the chapter's loss, though softmax asks for categorical_crossentropy: notebook 7
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def sigmoid(z: Array) -> Array:
    """Compute ``1 / (1 + exp(-z))``."""
    return 1 / (1 + np.exp(-z))


def by_hand(spec: ModelSpec, inputs: Sequence[float]) -> list[shared.Quantity]:
    """Compute every quantity of the forward pass, with this model's numbers."""
    lstm = spec["lstm"]
    w, u, b = (
        dict(zip(lstm.gates, np.split(weight, 4, axis=-1), strict=True))
        for weight in lstm.weights.values()
    )
    quantities: list[shared.Quantity] = []
    h = c = np.zeros(len(b["c"]))
    for step, x in enumerate(inputs, start=1):
        filled, sums = {}, {}
        for gate in lstm.gates:
            filled[gate], sums[gate] = shared.weighed(
                x, w[gate][0], h, u[gate], b[gate]
            )
        f, i, o = sigmoid(sums["f"]), sigmoid(sums["i"]), sigmoid(sums["o"])
        c_hat = np.tanh(sums["c"])
        cell = shared.formula("{f} * {c} + {i} * {c_hat}", f=f, c=c, i=i, c_hat=c_hat)
        c = f * c + i * c_hat
        shown = shared.formula("{o} * tanh({c})", o=o, c=c)
        h = o * np.tanh(c)
        quantities += [
            (f"step {step}: forget gate", f"sigmoid({filled['f']})", f),
            (f"step {step}: input gate", f"sigmoid({filled['i']})", i),
            (f"step {step}: candidate", f"tanh({filled['c']})", c_hat),
            (f"step {step}: cell state", cell, c),
            (f"step {step}: output gate", f"sigmoid({filled['o']})", o),
            (f"step {step}: hidden value", shown, h),
        ]
    return quantities + shared.head(spec, h)


run = partial(shared.run, NAME, build_model, by_hand)

if __name__ == "__main__":
    script(__file__)
