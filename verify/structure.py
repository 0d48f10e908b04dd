"""Structures: how the layers of a model call each other, and nested arguments.

Keras writes a graph as a list of layers, each with its calls, and names a tensor by
the layer, the call and the output that it is. Arguments and outputs may be nested
lists, tuples and dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TensorRef:
    """An output of a layer: which layer, which of its calls, which of its outputs."""

    layer: str
    node: int
    tensor: int

    def __hash__(self) -> int:
        return hash(self.layer)  # most have one call and one output


@dataclass(frozen=True)
class MaskOf:
    """The mask that travels with a tensor, as an argument of a call."""

    tensor: TensorRef


@dataclass(frozen=True)
class Node:
    """One call of a layer in a graph.

    ``args`` and ``kwargs`` are those of the call; wherever a tensor stands in them,
    however deep, there is a `TensorRef`.
    """

    layer: str
    index: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """How the layers of a model call each other; ``nodes`` in order of evaluation."""

    inputs: Any
    outputs: Any
    nodes: tuple[Node, ...]


def flatten(structure: Any) -> list[Any]:
    """The leaves of nested lists, tuples and dicts, in order."""
    if isinstance(structure, (list, tuple)):
        return [leaf for value in structure for leaf in flatten(value)]
    if _is_mapping(structure):
        return [leaf for value in structure.values() for leaf in flatten(value)]
    return [structure]


def map_structure(change: Callable[[Any], Any], structure: Any) -> Any:
    """The same nesting of lists, tuples and dicts with every leaf changed."""
    if isinstance(structure, (list, tuple)):
        return type(structure)([map_structure(change, value) for value in structure])
    if _is_mapping(structure):
        return {key: map_structure(change, value) for key, value in structure.items()}
    return change(structure)


def _is_mapping(structure: Any) -> bool:
    # asking an abstract class takes as long as a small array's arithmetic
    return hasattr(structure, "keys") and isinstance(structure, Mapping)
