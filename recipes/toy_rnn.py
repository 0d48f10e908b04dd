"""A SimpleRNN of one unit learns "this is -> an", "is an -> example".

    rnn-recipe run toy_rnn
    python recipes/toy_rnn.py

It ends with the forward pass done by hand for "this is": hidden value at both steps,
logits, softmax, and beneath them what Keras predicts. 3 + 10 parameters.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import tanh
from typing import Any

from recipes.data.toy import STEPS, ToyConfig, samples
from recipes.run import by_hand as shared
from recipes.run.finish import RunResult
from recipes.run.options import RunOptions
from verify import ModelSpec

NAME = "toy_rnn"
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
            layers.SimpleRNN(
                1,
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
    """Every quantity of the forward pass, with this model's numbers."""
    weights = spec["rnn"].weights
    w, u, b = (
        float(weights[name].item()) for name in ("kernel", "recurrent_kernel", "bias")
    )
    quantities: list[shared.Quantity] = []
    h = 0.0
    for step, x in enumerate(inputs, start=1):
        formula = f"tanh({x:g} * {w:.8g} + {b:.8g} + {h:.8g} * {u:.8g})"
        h = tanh(x * w + b + h * u)
        quantities.append((f"step {step}: hidden value", formula, h))
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
