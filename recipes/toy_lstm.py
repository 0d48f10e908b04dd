"""An LSTM of one unit learns "this is -> an", "is an -> example".

    rnn-recipe run toy_lstm
    python recipes/toy_lstm.py

It ends with the forward pass done by hand for "this is": forget gate, input gate,
candidate, cell state, output gate and hidden value at both steps, then logits, softmax,
and beneath them what Keras predicts. 12 + 10 parameters.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, tanh
from typing import Any

from recipes.data.toy import STEPS, ToyConfig, samples
from recipes.run import by_hand as shared
from recipes.run.finish import RunResult
from recipes.run.options import RunOptions
from verify import ModelSpec

NAME = "toy_lstm"
__all__ = ["NAME", "Config", "build_model", "by_hand", "run", "samples"]


@dataclass(frozen=True)
class Config(ToyConfig):
    """The chapter's settings."""


def build_model(config: Config) -> Any:
    """The compiled model; (batch, 2, 1) in, five probabilities out."""
    from keras import Input, Sequential, layers

    model = Sequential(
        [
            Input((STEPS, 1)),
            layers.LSTM(
                1,
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
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def sigmoid(z: float) -> float:
    """``1 / (1 + exp(-z))``"""
    return 1 / (1 + exp(-z))


def by_hand(spec: ModelSpec, inputs: Sequence[float]) -> list[shared.Quantity]:
    """Every quantity of the forward pass, with this model's numbers."""
    lstm = spec["lstm"]
    w, u, b = (
        dict(zip(lstm.gates, lstm.weights[name].ravel().tolist(), strict=True))
        for name in ("kernel", "recurrent_kernel", "bias")
    )
    quantities: list[shared.Quantity] = []
    h = c = 0.0
    for step, x in enumerate(inputs, start=1):
        sums = {gate: x * w[gate] + h * u[gate] + b[gate] for gate in lstm.gates}
        filled = {
            gate: f"{x:g} * {w[gate]:.8g} + {h:.8g} * {u[gate]:.8g} + {b[gate]:.8g}"
            for gate in lstm.gates
        }
        f, i, o = sigmoid(sums["f"]), sigmoid(sums["i"]), sigmoid(sums["o"])
        c_hat = tanh(sums["c"])
        cell = f"{f:.8f} * {c:.8f} + {i:.8f} * {c_hat:.8f}"
        c = f * c + i * c_hat
        h = o * tanh(c)
        quantities += [
            (f"step {step}: forget gate", f"sigmoid({filled['f']})", f),
            (f"step {step}: input gate", f"sigmoid({filled['i']})", i),
            (f"step {step}: candidate", f"tanh({filled['c']})", c_hat),
            (f"step {step}: cell state", cell, c),
            (f"step {step}: output gate", f"sigmoid({filled['o']})", o),
            (f"step {step}: hidden value", f"{o:.8f} * tanh({c:.8f})", h),
        ]
    return quantities + shared.head(spec, h)


def run(config: Config, options: RunOptions) -> RunResult:
    """Train, print the pass by hand, verify."""
    return shared.run(NAME, config, build_model, by_hand, options)


def main(argv: list[str] | None = None) -> int:
    """Run this recipe with command-line options; returns the exit code."""
    from recipes.__main__ import run_recipe

    return run_recipe(NAME, argv)


if __name__ == "__main__":
    sys.exit(main())
