"""What a mistake is: a name, what was done instead, how to mend it, and the change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from verify.model.arrays import Array
from verify.model.spec import LayerSpec

Change = Callable[[LayerSpec], LayerSpec]


@dataclass(frozen=True)
class Mistake:
    """One thing misread in one layer.

    Attributes
    ----------
    name : str
        Short and stable, for example ``"gate order i,o,f,c"``.
    explanation, remedy : str
        What was done instead of what Keras does, and how to mend it.
    change : callable
        The layer, which may have another mistake already -> the layer with this one.
    common : bool
        Whether it is worth trying together with a second one.
    gate : str
        The gate that it is made in, where it is one alone.
    """

    name: str
    explanation: str
    remedy: str
    change: Change
    common: bool = False
    gate: str = ""


MutationOperator = Callable[[LayerSpec], Iterator[Mistake]]
"""The mistakes of one kind that a layer allows."""


def blocks(layer: LayerSpec, weight: Array) -> list[Array]:
    """The gate blocks of a weight: slices of its last axis."""
    return np.split(weight, len(layer.gates), axis=-1)


def joined(parts: list[Array]) -> Array:
    """The other way round."""
    return np.concatenate(parts, axis=-1)


def on_weights(*keys: str, change: Callable[[LayerSpec, Array], Array]) -> Change:
    """The same change made to some weights of a layer, to all if none is named."""

    def changed(layer: LayerSpec) -> LayerSpec:
        chosen = keys or tuple(layer.weights)
        return layer.with_weights(
            **{
                key: change(layer, layer.weights[key]).astype(layer.weights[key].dtype)
                for key in chosen
            }
        )

    return changed
