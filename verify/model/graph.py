"""Represent how the layers of a model call each other, and map nested arguments.

Keras writes a graph as a list of layers, each with its calls. It names a tensor by
three things: the layer that returned it, the call and the output. Arguments and outputs
may be nested lists, tuples and dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any


@dataclass(frozen=True)
class TensorRef:
    """Identify a tensor by the layer, the call and the output that it comes from.

    Attributes
    ----------
    layer : str
        Name of the layer.
    node : int
        Number of the call of that layer, from 0.
    tensor : int
        Number of the output of that call, from 0.
    """

    layer: str
    node: int
    tensor: int

    @cached_property
    def place(self) -> tuple[str, int, int]:
        """Return the three fields as a tuple, which a dict looks up faster."""
        return self.layer, self.node, self.tensor


@dataclass(frozen=True)
class MaskOf:
    """Stand for the mask of a tensor where it is an argument of a call."""

    tensor: TensorRef


@dataclass(frozen=True)
class Node:
    """Describe one call of a layer in a graph.

    Attributes
    ----------
    layer : str
        Name of the layer that is called.
    index : int
        Number of this call among the calls of the layer, from 0.
    args : tuple
        Positional arguments, with a `TensorRef` in place of each tensor.
    kwargs : mapping
        Keyword arguments, likewise.
    """

    layer: str
    index: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """Describe how the layers of a model call each other.

    Attributes
    ----------
    inputs, outputs : nested TensorRef
        The tensors that the model takes and returns.
    nodes : tuple of Node
        All calls, in the order of evaluation.
    """

    inputs: Any
    outputs: Any
    nodes: tuple[Node, ...]


def tensor_refs(structure: Any) -> list[TensorRef]:
    """Return the tensors among nested arguments, and those of masks there, in order."""
    found = (x.tensor if isinstance(x, MaskOf) else x for x in flatten(structure))
    return [leaf for leaf in found if isinstance(leaf, TensorRef)]


def refs_of(node: Node) -> list[TensorRef]:
    """Return the tensors that a call takes, and those whose masks it takes."""
    return tensor_refs([list(node.args), dict(node.kwargs)])


def part_for(graph: Graph, output: TensorRef | MaskOf) -> Graph:
    """Return the part of a graph that one of its outputs needs, with all inputs."""
    wanted, nodes = {ref.place[:2] for ref in tensor_refs(output)}, []
    for node in reversed(graph.nodes):
        if (node.layer, node.index) in wanted:
            nodes.append(node)
            wanted |= {ref.place[:2] for ref in refs_of(node)}
    return Graph(graph.inputs, [output], tuple(reversed(nodes)))


def call_names(graph: Graph) -> dict[tuple[str, int], str]:
    """Return the name of each call as in a trace, by its layer and its number there.

    A trace numbers the calls of a layer as they are evaluated: ``lstm``, ``lstm:2``.
    """
    found: dict[tuple[str, int], str] = {}
    counts: dict[str, int] = {}
    for node in graph.nodes:
        count = counts[node.layer] = counts.get(node.layer, 0) + 1
        name = node.layer if count == 1 else f"{node.layer}:{count}"
        found[node.layer, node.index] = name
    return found


def flatten(structure: Any) -> list[Any]:
    """Return the leaves of nested lists, tuples and dicts, in order."""
    nesting = _nesting(type(structure))
    if nesting is None:
        return [structure]
    values = structure.values() if nesting is dict else structure
    return [leaf for value in values for leaf in flatten(value)]


def map_structure(change: Callable[[Any], Any], structure: Any) -> Any:
    """Apply a function to every leaf, and keep the nesting of lists, tuples, dicts."""
    nesting = _nesting(type(structure))
    if nesting is None:
        return change(structure)
    if nesting is dict:
        return {key: map_structure(change, value) for key, value in structure.items()}
    return type(structure)([map_structure(change, value) for value in structure])


def matched(structure: Any, given: Any) -> list[tuple[TensorRef, Any]] | None:
    """Return the inputs of a graph with what is given for each.

    Parameters
    ----------
    structure
        The inputs, in lists and dicts with a `TensorRef` for each.
    given
        The same structure, with anything but a dict for each input.

    Returns
    -------
    list of (TensorRef, value) or None
        In the order of the inputs; None if it is another structure.
    """
    if isinstance(structure, TensorRef):
        return None if isinstance(given, Mapping) else [(structure, given)]
    if isinstance(structure, Mapping):
        fits = isinstance(given, Mapping) and given.keys() == structure.keys()
        pairs = [(structure[key], given[key]) for key in structure] if fits else []
    else:
        fits = isinstance(given, (list, tuple)) and len(given) == len(structure)
        pairs = list(zip(structure, given, strict=True)) if fits else []
    found: list[tuple[TensorRef, Any]] = []
    for inner, value in pairs:
        inside = matched(inner, value)
        if inside is None:
            return None
        found += inside
    return found if fits else None


def in_order(structure: Any, given: Any) -> list[Any]:
    """Return what a model is given as a flat list, in the order of its inputs.

    In another structure than that of the inputs it is a flat list already, or a dict by
    their names. Source: keras/src/models/functional.py, ``_standardize_inputs``.
    """
    pairs = matched(structure, given)
    if pairs is not None:
        return [leaf for _, value in pairs for leaf in flatten(value)]
    if isinstance(given, Mapping):
        return [given[ref.layer] for ref in flatten(structure)]
    return flatten(given)


def _find_nesting(kind: type) -> type | None:
    """Return whether values of a type nest like a list, like a dict, or not (None)."""
    if issubclass(kind, (list, tuple)):
        return list
    return dict if issubclass(kind, Mapping) else None


# cached, because isinstance with an abstract class costs as much as arithmetic on a
# small array
_nesting: Callable[[type], type | None] = cache(_find_nesting)
