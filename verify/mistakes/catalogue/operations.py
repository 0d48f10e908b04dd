"""An operation taken for another one that is like it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from verify.forward.layers import REGISTRY
from verify.mistakes.catalogue.mistake import Mistake, MutationOperator
from verify.model.spec import LayerSpec

WORDS = {
    "ops.Abs": "absolute value",
    "ops.Absolute": "absolute value",
    "ops.Square": "square",
    "ops.Maximum": "greater of two numbers",
    "ops.Minimum": "lesser of two numbers",
    "ops.Mean": "mean",
    "ops.Sum": "sum",
    "ops.Max": "maximum",
    "ops.Std": "standard deviation",
    "ops.Var": "variance",
}
"""What an operation computes."""

TAKEN_FOR = {
    "ops.Abs": ("ops.Square",),
    "ops.Absolute": ("ops.Square",),
    "ops.Square": ("ops.Absolute",),
    "ops.Maximum": ("ops.Minimum",),
    "ops.Minimum": ("ops.Maximum",),
    "ops.Mean": ("ops.Sum", "ops.Max"),
    "ops.Sum": ("ops.Mean", "ops.Max"),
    "ops.Max": ("ops.Mean", "ops.Sum"),
    "ops.Std": ("ops.Var",),
    "ops.Var": ("ops.Std",),
}
"""What is computed in its place, such as the distance of a siamese network by squares
instead of absolute values."""


def wrong_operations(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield an operation in the place of another that takes the same arguments."""
    for other in TAKEN_FOR.get(layer.class_name, ()):
        own, done = WORDS[layer.class_name], WORDS[other]
        yield Mistake(
            f"{done} instead of {own}",
            f"the {done} is computed; the model has the {own}",
            f"compute the {own}",
            partial(_as_class, class_name=other),
            common=True,
        )


def _as_class(layer: LayerSpec, class_name: str) -> LayerSpec:
    kind = REGISTRY[class_name]
    taken = {key: layer.options[key] for key in kind.options if key in layer.options}
    options = kind.read_options(layer.name, taken)
    return replace(layer, class_name=class_name, options=options)


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (wrong_operations,)
