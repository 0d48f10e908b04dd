"""Structures: how the layers of a model call each other, and nested arguments.

Keras writes a graph as a list of layers, each with its calls, and names a tensor by
the layer, the call and the output that it is. Arguments and outputs may be nested
lists, tuples and dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any


@dataclass(frozen=True)
class TensorRef:
    """Name an output: which layer, which of its calls, which of its outputs."""

    layer: str
    node: int
    tensor: int

    @cached_property
    def place(self) -> tuple[str, int, int]:
        """Return the same in a form that is quicker to look up."""
        return self.layer, self.node, self.tensor


@dataclass(frozen=True)
class MaskOf:
    """Name the mask that travels with a tensor, as an argument of a call."""

    tensor: TensorRef


@dataclass(frozen=True)
class Node:
    """Describe one call of a layer in a graph.

    ``args`` and ``kwargs`` are those of the call; wherever a tensor stands in them,
    however deep, there is a `TensorRef`.
    """

    layer: str
    index: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """Describe how layers call each other; ``nodes`` in order of evaluation."""

    inputs: Any
    outputs: Any
    nodes: tuple[Node, ...]


def flatten(structure: Any) -> list[Any]:
    """Return the leaves of nested lists, tuples and dicts, in order."""
    nesting = _nesting(type(structure))
    if nesting is None:
        return [structure]
    values = structure.values() if nesting is dict else structure
    return [leaf for value in values for leaf in flatten(value)]


def map_structure(change: Callable[[Any], Any], structure: Any) -> Any:
    """Return the same nesting of lists, tuples and dicts with every leaf changed."""
    nesting = _nesting(type(structure))
    if nesting is None:
        return change(structure)
    if nesting is dict:
        return {key: map_structure(change, value) for key, value in structure.items()}
    return type(structure)([map_structure(change, value) for value in structure])


def _find_nesting(kind: type) -> type | None:
    """Return how values of a type are nested: list, dict or, for a leaf, None."""
    if issubclass(kind, (list, tuple)):
        return list
    return dict if issubclass(kind, Mapping) else None


# asking an abstract class takes as long as a small array's arithmetic
_nesting: Callable[[type], type | None] = cache(_find_nesting)
