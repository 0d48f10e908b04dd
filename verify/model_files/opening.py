"""Open the models inside a model of which not all layers can be read.

A model inside another is one layer of it. If a layer inside cannot be read, neither can
that model be computed; the others of its layers can. So its layers are put in its
place, as if they had been called one by one: ``encoder/lstm``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from verify.model.dtypes import COMPLEX_DTYPES
from verify.model.graph import (
    MaskOf,
    Node,
    TensorRef,
    flatten,
    map_structure,
    refs_of,
)
from verify.model.spec import LayerSpec

Place = tuple[str, int, int]
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Opened:
    """Hold a model as one graph of layers.

    Attributes
    ----------
    layers : mapping of str to LayerSpec
        The layers, by the names that they have in this graph.
    paths : mapping of str to str
        Name of a layer -> its path in the model.
    entries : mapping of str to mapping
        Name of a layer -> its config.
    nodes : tuple of Node
        All calls, in the order of evaluation.
    inputs, outputs : nested TensorRef
        The tensors that the model takes and returns.
    declared : mapping
        Place of a tensor -> its shape and dtype, where the config states them.
    """

    layers: Mapping[str, LayerSpec]
    paths: Mapping[str, str]
    entries: Mapping[str, Mapping[str, Any]]
    nodes: tuple[Node, ...]
    inputs: Any
    outputs: Any
    declared: Mapping[Place, tuple[Shape, str]]

    @property
    def batch_size(self) -> int | None:
        """Return the number of rows that the model fixes, if it does."""
        names = [ref.layer for ref in flatten(self.inputs)]
        sizes = (self.layers[name].options["batch_shape"][0] for name in names)
        return next((size for size in sizes if size is not None), None)

    def takers(self, ref: TensorRef) -> list[Node]:
        """Return the calls that take a tensor."""
        return [node for node in self.nodes if ref in refs_of(node)]


def is_whole(layer: LayerSpec) -> bool:
    """Return whether a layer and all inside it can be read."""
    return not layer.unread and not any(x.unread for _, x in layer.walk())


def opened(
    model: LayerSpec,
    config: Any,
    wanted: Callable[[LayerSpec], bool] = lambda layer: not is_whole(layer),
) -> Opened:
    """Return a model as one graph, with some of the models inside it in pieces.

    Parameters
    ----------
    model : LayerSpec
        With a graph.
    config
        Its config in Keras 3's form.
    wanted : callable
        Whether to open a model, by default one that is not whole.
    """
    graph = model.graph
    assert graph is not None
    entries = {
        entry.get("name", entry["config"].get("name")): entry
        for entry in config["config"]["layers"]
    }
    inside = {
        name: opened(layer, entries[name], wanted)
        for name, layer in model.sublayers.items()
        if wanted(layer)
        and layer.graph is not None
        and all(_may_open(layer, node) for node in graph.nodes if node.layer == name)
    }
    return _Opener(model, entries, inside).result()


def _may_open(layer: LayerSpec, node: Node) -> bool:
    """Return whether a call of a model says no more than which tensors it takes."""
    graph = layer.graph
    taken = flatten(list(node.args))
    stated = {k: v for k, v in node.kwargs.items() if k not in ("training", "mask")}
    return (
        graph is not None
        and not stated
        and all(isinstance(leaf, TensorRef) for leaf in taken)
        and all(leaf is None for leaf in flatten([node.kwargs.get("mask")]))
        and len(taken) == len(flatten(graph.inputs))
    )


class _Opener:
    """Put models that have been opened into the graph of the model around them."""

    def __init__(
        self,
        model: LayerSpec,
        entries: Mapping[str, Mapping[str, Any]],
        inside: Mapping[str, Opened],
    ) -> None:
        assert model.graph is not None
        self.model = model
        self.graph = model.graph
        self.inside = inside
        self.layers = {k: v for k, v in model.sublayers.items() if k not in inside}
        self.paths = {name: name for name in self.layers}
        self.entries = {k: v for k, v in entries.items() if k not in inside}
        self.declared = dict(_declared(model, entries))
        self._moved: dict[Place, TensorRef] = {}

    def result(self) -> Opened:
        names = {outer: self._named(outer) for outer in self.inside}
        nodes: list[Node] = []
        for node in self.graph.nodes:
            if node.layer in self.inside:
                nodes += self._pieces(node, names[node.layer])
            else:
                nodes.append(self._with_moved(node))
        return Opened(
            layers=self.layers,
            paths=self.paths,
            entries=self.entries,
            nodes=tuple(nodes),
            inputs=self.graph.inputs,
            outputs=map_structure(self._resolved, self.graph.outputs),
            declared=self.declared,
        )

    def _named(self, outer: str) -> dict[str, str]:
        """Add the layers of a model; return their names here by their own names."""
        piece = self.inside[outer]
        entrances = {ref.layer for ref in flatten(piece.inputs)}
        names: dict[str, str] = {}
        for name, layer in piece.layers.items():
            if name in entrances:
                continue
            here = f"{outer}/{name}"
            while here in self.layers or here in self.model.sublayers:
                here += "_"
            names[name] = here
            self.layers[here] = replace(layer, name=here)
            self.paths[here] = f"{outer}/{piece.paths[name]}"
            entry = piece.entries[name]
            config = {**entry["config"], "name": here}
            self.entries[here] = {**entry, "name": here, "config": config}
        return names

    def _pieces(self, node: Node, names: Mapping[str, str]) -> Iterator[Node]:
        """Yield the calls that stand in the place of a call of a model."""
        piece = self.inside[node.layer]
        taken = _in_order(piece.inputs, self._with_moved(node))
        given = dict(zip((r.place for r in flatten(piece.inputs)), taken, strict=True))
        calls: dict[str, int] = {}
        for inner in piece.nodes:
            calls[inner.layer] = max(calls.get(inner.layer, 0), inner.index + 1)

        def moved(leaf: Any) -> Any:
            if isinstance(leaf, MaskOf):
                return MaskOf(moved(leaf.tensor))
            if not isinstance(leaf, TensorRef) or leaf.place in given:
                return given[leaf.place] if isinstance(leaf, TensorRef) else leaf
            number = node.index * calls[leaf.layer] + leaf.node
            return TensorRef(names[leaf.layer], number, leaf.tensor)

        for inner in piece.nodes:
            yield Node(
                names[inner.layer],
                node.index * calls[inner.layer] + inner.index,
                map_structure(moved, inner.args),
                map_structure(moved, dict(inner.kwargs)),
            )
        for place, stated in piece.declared.items():
            if place[0] in calls:
                self.declared.setdefault(moved(TensorRef(*place)).place, stated)
        for k, ref in enumerate(flatten(piece.outputs)):
            self._moved[node.layer, node.index, k] = moved(ref)

    def _with_moved(self, node: Node) -> Node:
        return replace(
            node,
            args=map_structure(self._resolved, node.args),
            kwargs=map_structure(self._resolved, dict(node.kwargs)),
        )

    def _resolved(self, leaf: Any) -> Any:
        if isinstance(leaf, MaskOf):
            return MaskOf(self._moved.get(leaf.tensor.place, leaf.tensor))
        if isinstance(leaf, TensorRef):
            return self._moved.get(leaf.place, leaf)
        return leaf


def _in_order(inputs: Any, node: Node) -> list[Any]:
    """Return what a model is given, in the order of its inputs."""
    first = node.args[0] if len(node.args) == 1 else list(node.args)
    if not isinstance(first, Mapping):
        return flatten(first)
    if isinstance(inputs, Mapping):
        return [first[key] for key in inputs]
    return [first[ref.layer] for ref in flatten(inputs)]


def _declared(
    model: LayerSpec, entries: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[Place, tuple[Shape, str]]]:
    """Yield the places of tensors whose shape a config states, with their dtypes.

    Keras states that of a complex number for its real part too.
    """
    for entry in entries.values():
        for tensor in _tensors_in(entry.get("inbound_nodes")):
            shape, dtype = tensor.get("shape"), tensor.get("dtype")
            history = tensor.get("keras_history")
            if isinstance(shape, list) and shape and isinstance(history, list):
                if not isinstance(dtype, str) or dtype in COMPLEX_DTYPES:
                    dtype = "float32"
                yield tuple(history), (tuple(shape), dtype)
    if model.class_name != "Sequential" or model.graph is None:
        return
    for node in model.graph.nodes:
        built = entries.get(node.layer, {}).get("build_config")
        shape = built.get("input_shape") if isinstance(built, Mapping) else None
        if isinstance(shape, list) and shape:
            yield refs_of(node)[0].place, (tuple(shape), "float32")


def _tensors_in(item: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the configs of the tensors among serialised arguments."""
    if isinstance(item, Mapping):
        inner = item.get("config")
        if item.get("class_name") == "__keras_tensor__" and isinstance(inner, Mapping):
            yield inner
        else:
            for value in item.values():
                yield from _tensors_in(value)
    elif isinstance(item, list):
        for value in item:
            yield from _tensors_in(value)
