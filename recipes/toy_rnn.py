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

from recipes.data import toy
from recipes.run.outcome import Outcome, RunOptions
from verify import ModelSpec

NAME = "toy_rnn"
samples = toy.samples


@dataclass(frozen=True)
class Config(toy.ToyConfig):
    """The chapter's settings."""


def build_model(config: Config) -> Any:
    """The compiled model; (batch, 2, 1) in, five probabilities out."""
    from keras import Input, Sequential, layers

    model = Sequential(
        [
            Input((toy.STEPS, 1)),
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


def by_hand(spec: ModelSpec, inputs: Sequence[float]) -> list[toy.Quantity]:
    """Every quantity of the forward pass, with this model's numbers."""
    weights = spec["rnn"].weights
    w, u, b = (
        float(weights[name].item()) for name in ("kernel", "recurrent_kernel", "bias")
    )
    quantities: list[toy.Quantity] = []
    h = 0.0
    for step, x in enumerate(inputs, start=1):
        formula = f"tanh({x:g} * {w:.8g} + {b:.8g} + {h:.8g} * {u:.8g})"
        h = tanh(x * w + b + h * u)
        quantities.append((f"step {step}: hidden value", formula, h))
    return quantities + toy.head(spec, h)


def run(config: Config, options: RunOptions) -> Outcome:
    """Train, print the pass by hand, verify."""
    return toy.run(NAME, config, build_model, by_hand, options)


def main(argv: list[str] | None = None) -> int:
    """Run this recipe with command-line options; returns the exit code."""
    from recipes.__main__ import run_recipe

    return run_recipe(NAME, argv)


if __name__ == "__main__":
    sys.exit(main())
