"""Open the models inside a model of which not all layers can be read.

A model inside another is one layer of it. If a layer inside cannot be read, neither can
that model be computed; the others of its layers can. So its layers are put in its
place, as if they had been called one by one: ``encoder/lstm``.

A model inside TimeDistributed gets every step as a row of its own. So TimeDistributed
stays, and the layers inside it stand beside it, behind inputs that no call returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from verify.model.dtypes import COMPLEX_DTYPES
from verify.model.graph import (
    MaskOf,
    Node,
    TensorRef,
    flatten,
    in_order,
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
    steps : mapping
        Place of an input of a model inside TimeDistributed -> the tensor whose steps it
        takes as rows.
    """

    layers: Mapping[str, LayerSpec]
    paths: Mapping[str, str]
    entries: Mapping[str, Mapping[str, Any]]
    nodes: tuple[Node, ...]
    inputs: Any
    outputs: Any
    declared: Mapping[Place, tuple[Shape, str]]
    steps: Mapping[Place, TensorRef]

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
    inside = {}
    for name, layer in model.sublayers.items():
        at, inner, entry = _model_in(layer, name, entries.get(name))
        calls = [node for node in graph.nodes if node.layer == name]
        opens = inner is not layer or all(_may_open(layer, node) for node in calls)
        if wanted(layer) and inner.graph is not None and opens:
            inside[name] = at, opened(inner, entry, wanted)
    return _Opener(model, entries, inside).result()


def _model_in(layer: LayerSpec, at: str, entry: Any) -> tuple[str, LayerSpec, Any]:
    """Return the path, layer and config of what TimeDistributed is around, if it is."""
    while layer.class_name == "TimeDistributed":
        at, layer = f"{at}/layer", layer.sublayers["layer"]
        entry = entry["config"]["layer"]
    return at, layer, entry


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
        inside: Mapping[str, tuple[str, Opened]],
    ) -> None:
        assert model.graph is not None
        self.model = model
        self.graph = model.graph
        self.inside = inside
        gone = {k for k in inside if model.sublayers[k].graph is not None}
        self.layers = {k: v for k, v in model.sublayers.items() if k not in gone}
        self.paths = {name: name for name in self.layers}
        self.entries = {k: v for k, v in entries.items() if k not in gone}
        self.declared = dict(_declared(model, entries))
        self.steps: dict[Place, TensorRef] = {}
        self._moved: dict[Place, TensorRef] = {}

    def result(self) -> Opened:
        names = {outer: self._named(outer) for outer in self.inside}
        nodes: list[Node] = []
        for node in self.graph.nodes:
            if node.layer in self.layers:
                nodes.append(self._with_moved(node))
            if node.layer in self.inside:
                nodes += self._pieces(node, names[node.layer])
        return Opened(
            layers=self.layers,
            paths=self.paths,
            entries=self.entries,
            nodes=tuple(nodes),
            inputs=self.graph.inputs,
            outputs=map_structure(self._resolved, self.graph.outputs),
            declared=self.declared,
            steps=self.steps,
        )

    def _named(self, outer: str) -> dict[str, str]:
        """Add the layers of a model; return their names here by their own names."""
        at, piece = self.inside[outer]
        entrances = {ref.layer for ref in flatten(piece.inputs)}
        names: dict[str, str] = {}
        for name, layer in piece.layers.items():
            if name in entrances and outer not in self.layers:
                continue
            here = f"{at}/{name}"
            while here in self.layers or here in self.model.sublayers:
                here += "_"
            names[name] = here
            self.layers[here] = replace(layer, name=here)
            self.paths[here] = f"{at}/{piece.paths[name]}"
            entry = piece.entries[name]
            config = {**entry["config"], "name": here}
            self.entries[here] = {**entry, "name": here, "config": config}
        return names

    def _pieces(self, node: Node, names: Mapping[str, str]) -> Iterator[Node]:
        """Yield the calls that stand in the place of a call of a model."""
        _, piece = self.inside[node.layer]
        entrances = [ref.place for ref in flatten(piece.inputs)]
        by_steps = node.layer in self.layers
        if by_steps:
            taken = [TensorRef(names[name], node.index, 0) for name, _, _ in entrances]
            self._add_steps(node, piece, taken)
        else:
            args = self._with_moved(node).args
            taken = in_order(piece.inputs, args[0] if len(args) == 1 else args)
        given = dict(zip(entrances, taken, strict=True))
        calls: dict[str, int] = {}
        for inner in piece.nodes:
            taken_from = (ref.place[:2] for ref in refs_of(inner))
            for name, index in ((inner.layer, inner.index), *taken_from):
                calls[name] = max(calls.get(name, 0), index + 1)

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
        for place, source in piece.steps.items():
            self.steps[moved(TensorRef(*place)).place] = moved(source)
        for k, ref in enumerate(flatten(piece.outputs) if not by_steps else ()):
            self._moved[node.layer, node.index, k] = moved(ref)

    def _add_steps(self, node: Node, piece: Opened, taken: Sequence[TensorRef]) -> None:
        """Say what the inputs of a model inside TimeDistributed are in one call."""
        (source,) = refs_of(self._with_moved(node))[:1]
        for ref, inner in zip(taken, flatten(piece.inputs), strict=True):
            options = piece.layers[inner.layer].options
            self.declared[ref.place] = options["batch_shape"], options["dtype"]
            self.steps[ref.place] = source

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
