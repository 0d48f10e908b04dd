"""Cut the layers that cannot be read out of a model, and leave the rest complete.

In the place of every tensor that comes from such a layer stands an input. What remains
is a model like any other: its shapes are found, Keras can build it, and `check` can
compare it. The shape of such an input stands in a config of Keras 3; otherwise the
weights of the layer behind it tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify.errors import UnsupportedError, printable
from verify.forward.layers import LOOPS, REGISTRY
from verify.forward.layers.base import Elementwise
from verify.model.dtypes import is_float
from verify.model.graph import MaskOf, Node, TensorRef, flatten
from verify.model.spec import LayerSpec

Place = tuple[str, int, int]
Shape = tuple[int | None, ...]

INSIDE = "a layer inside it cannot be read"
BEHIND = "the shape of what it is given by {} is not known"
UNCALLED = "the model does not call it on the way to its outputs"


@dataclass(frozen=True)
class Cut:
    """Hold what remains of a model.

    Attributes
    ----------
    config
        Its config in Keras 3's form.
    layers : mapping of str to LayerSpec
        Its layers, with their weights.
    stand_ins : mapping of str to TensorRef
        Name of an input that was added -> the tensor that it stands for.
    left_out : mapping of str to str
        Name of a layer that can be read, but is not in it -> why.
    """

    config: Any
    layers: Mapping[str, LayerSpec]
    stand_ins: Mapping[str, TensorRef]
    left_out: Mapping[str, str]


def is_whole(layer: LayerSpec) -> bool:
    """Return whether a layer and all inside it can be read."""
    return not layer.unread and not any(x.unread for _, x in layer.walk())


def cut(root: LayerSpec, config: Any, *, certain: bool = False) -> Cut:
    """Cut out the layers of a model that cannot be read.

    Parameters
    ----------
    root : LayerSpec
        The model, read with ``partial=True``.
    config
        Its config in Keras 3's form.
    certain : bool
        Whether to do without shapes that the weights behind leave open, such as how
        many axes the input of a Dense layer has.

    Raises
    ------
    UnsupportedError
        Nothing remains.
    """
    graph = root.graph
    if graph is None:
        raise UnsupportedError(f"{root}: it has no layers")
    cutter = _Cutter(root, config, certain)
    for node in graph.nodes:
        if is_whole(root.sublayers[node.layer]):
            cutter.keep(node)
    if not cutter.kept:
        reasons = (x for _, x in root.walk() if x.unread)
        first = next(reasons)
        raise UnsupportedError(
            f"{first}: {first.unread}. No other layer can be computed without it"
        )
    return cutter.result()


@dataclass
class _Cutter:
    root: LayerSpec
    config: Any
    certain: bool
    kept: list[Node] = field(default_factory=list)
    stand_ins: dict[Place, LayerSpec] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    _numbers: dict[tuple[str, int], int] = field(default_factory=dict)

    def keep(self, node: Node) -> None:
        """Keep a call if what it is given is known, and make the inputs it needs."""
        wanted = {}
        for ref in _refs(node):
            if self._is_known(ref) or ref.place in wanted:
                continue
            stand_in = self._stand_in(ref)
            if stand_in is None:
                shown = f"'{printable(ref.layer, 60)}'"
                self.left_out[node.layer] = BEHIND.format(shown)
                return
            wanted[ref.place] = stand_in
        self.stand_ins |= wanted
        calls = sum(kept.layer == node.layer for kept in self.kept)
        self._numbers[node.layer, node.index] = calls
        self.kept.append(node)

    def _is_known(self, ref: TensorRef) -> bool:
        layer = self.root.sublayers[ref.layer]
        return (
            layer.class_name == "InputLayer"
            or ref.place in self.stand_ins
            or (ref.layer, ref.node) in self._numbers
        )

    def _stand_in(self, ref: TensorRef) -> LayerSpec | None:
        """Return an input in the place of a tensor, or None without a known shape."""
        shape, dtype = self._declared(ref)
        shape = shape or self._guessed(ref)
        if shape is None:
            return None
        name = f"{ref.layer}_output" + (f"_{ref.tensor}" if ref.tensor else "")
        taken = {*self.root.sublayers, *(x.name for x in self.stand_ins.values())}
        while name in taken:
            name += "_"
        kind = REGISTRY["InputLayer"]
        try:
            options = kind.read_options(name, {"batch_shape": shape, "dtype": dtype})
        except UnsupportedError:
            return None
        return LayerSpec(name, "InputLayer", options)

    def _declared(self, ref: TensorRef) -> tuple[Shape | None, str]:
        """Return the shape and the dtype of a tensor that a config states."""
        for entry in self._entries().values():
            for tensor in _tensors_in(entry.get("inbound_nodes")):
                if tensor.get("keras_history") == list(ref.place):
                    shape, dtype = tensor.get("shape"), tensor.get("dtype")
                    dtype = dtype if isinstance(dtype, str) else "float32"
                    if isinstance(shape, list) and shape:
                        return tuple(shape), dtype
        nodes = self.root.graph.nodes if self.root.graph is not None else ()
        if self.root.class_name == "Sequential":
            after = [n.layer for n in nodes if ref in _refs(n)]
            entry = self._entries().get(after[0], {}) if after else {}
            built = entry.get("build_config")
            shape = built.get("input_shape") if isinstance(built, Mapping) else None
            if isinstance(shape, list) and shape:
                return tuple(shape), "float32"
        return None, "float32"

    def _guessed(self, ref: TensorRef, depth: int = 0) -> Shape | None:
        """Return the shape of a tensor as the layers that it is given to tell it."""
        graph = self.root.graph
        for node in graph.nodes if graph is not None and depth < 9 else ():
            if ref not in _refs(node):
                continue
            layer = self.root.sublayers[node.layer]
            shape = expected_input(layer, self.certain)
            kind = REGISTRY[layer.class_name]
            if shape is None and isinstance(kind, Elementwise):
                shape = self._guessed(TensorRef(node.layer, node.index, 0), depth + 1)
            if shape is not None:
                return (self._batch(), *shape[1:])
        return None

    def _batch(self) -> int | None:
        inside = self.root.sublayers.values()
        found = (x for x in inside if x.class_name == "InputLayer")
        return next((x.options["batch_shape"][0] for x in found), None)

    def _entries(self) -> dict[str, Mapping[str, Any]]:
        layers = self.config["config"]["layers"]
        return {e.get("name", e["config"].get("name")): e for e in layers}

    def result(self) -> Cut:
        """Return what was kept."""
        used = {ref.place for node in self.kept for ref in _refs(node)}
        inputs = [
            layer
            for name, layer in self.root.sublayers.items()
            if layer.class_name == "InputLayer" and (name, 0, 0) in used
        ]
        stand_ins = {p: x for p, x in self.stand_ins.items() if p in used}
        entries = self._entries()
        names = list(dict.fromkeys(node.layer for node in self.kept))
        layers = [_input_entry(x) for x in (*inputs, *stand_ins.values())]
        for name in names:
            rest = {k: v for k, v in entries[name].items() if k != "inbound_nodes"}
            calls = [self._call(node) for node in self.kept if node.layer == name]
            layers.append({**rest, "name": name, "inbound_nodes": calls})
        config = {
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "registered_name": None,
            "config": {
                "name": self.root.name,
                "trainable": True,
                "layers": layers,
                "input_layers": [
                    [x.name, 0, 0] for x in (*inputs, *stand_ins.values())
                ],
                "output_layers": list(self._outputs(used)),
            },
        }
        return Cut(
            config=config,
            layers={name: self.root.sublayers[name] for name in names},
            stand_ins={x.name: TensorRef(*place) for place, x in stand_ins.items()},
            left_out=self._all_left_out(set(names)),
        )

    def _all_left_out(self, names: set[str]) -> dict[str, str]:
        found = {}
        for name, layer in self.root.sublayers.items():
            if name in names or layer.unread or layer.class_name == "InputLayer":
                continue
            reason = self.left_out.get(name, UNCALLED)
            found[name] = reason if is_whole(layer) else INSIDE
        return found

    def _outputs(self, used: set[Place]) -> Iterator[list[Any]]:
        """Yield the outputs: what no call that was kept takes, and those of before."""
        graph = self.root.graph
        ends = {r.place for r in flatten(graph.outputs)} if graph is not None else set()
        for node in self.kept:
            taken = [p for p in (*used, *ends) if p[:2] == (node.layer, node.index)]
            places = {p for p in taken if p in ends} or (
                set() if taken else {(node.layer, node.index, 0)}
            )
            nested = self.root.sublayers[node.layer].class_name == "Functional"
            for _, _, k in sorted(places):
                number = self._numbers[node.layer, node.index] + nested
                yield [node.layer, number, k]  # see `functional._read_endpoints`

    def _call(self, node: Node) -> dict[str, Any]:
        kwargs = {key: self._serialised(value) for key, value in node.kwargs.items()}
        return {"args": list(map(self._serialised, node.args)), "kwargs": kwargs}

    def _serialised(self, leaf: Any) -> Any:
        """Return an argument as a config has it."""
        if isinstance(leaf, list):
            return list(map(self._serialised, leaf))
        if isinstance(leaf, tuple):
            return {"class_name": "__tuple__", "items": self._serialised(list(leaf))}
        if isinstance(leaf, Mapping):
            return {key: self._serialised(value) for key, value in leaf.items()}
        if isinstance(leaf, MaskOf):
            inner = self._serialised(leaf.tensor)
            return {**inner, "class_name": "__keras_mask__"}
        if isinstance(leaf, TensorRef):
            place: Place = leaf.place
            if place in self.stand_ins:
                place = (self.stand_ins[place].name, 0, 0)
            elif (leaf.layer, leaf.node) in self._numbers:
                place = (leaf.layer, self._numbers[leaf.layer, leaf.node], leaf.tensor)
            history = {"keras_history": list(place)}
            return {"class_name": "__keras_tensor__", "config": history}
        if isinstance(leaf, slice):
            ends = {"start": leaf.start, "stop": leaf.stop, "step": leaf.step}
            return {"class_name": "__slice__", "config": ends}
        if leaf is Ellipsis:
            return {"class_name": "__ellipsis__", "config": {}}
        if isinstance(leaf, np.ndarray):
            value = {"value": leaf.tolist(), "dtype": leaf.dtype.name}
            return {"class_name": "__numpy__", "config": value}
        return leaf


def expected_input(layer: LayerSpec, certain: bool = False) -> Shape | None:
    """Return the shape of a layer's input as far as its weights tell it, or None.

    With `certain`, layers that take any number of axes tell nothing.
    """
    if layer.class_name in LOOPS and layer.options.get("units"):
        kernel = layer.weights.get("kernel")
        return None if kernel is None else (None, None, kernel.shape[0])
    if layer.class_name == "Bidirectional":
        return expected_input(layer.sublayers["forward_layer"], certain)
    if layer.class_name == "TimeDistributed":
        inner = expected_input(layer.sublayers["layer"], certain)
        return None if inner is None else (None, None, *inner[1:])
    if certain:
        return None
    if layer.class_name == "Dense" and "kernel" in layer.weights:
        return (None, layer.weights["kernel"].shape[0])
    if layer.class_name in ("BatchNormalization", "LayerNormalization"):
        sizes = {w.shape for w in layer.weights.values() if is_float(w)}
        if layer.options.get("axis") in (-1, [-1], (-1,)) and len(sizes) == 1:
            return (None, *sizes.pop())
    return None


def _refs(node: Node) -> Sequence[TensorRef]:
    leaves = flatten([list(node.args), dict(node.kwargs)])
    found = [leaf.tensor if isinstance(leaf, MaskOf) else leaf for leaf in leaves]
    return [leaf for leaf in found if isinstance(leaf, TensorRef)]


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


def _input_entry(layer: LayerSpec) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "name": layer.name,
        "config": {
            "name": layer.name,
            "batch_shape": list(layer.options["batch_shape"]),
            "dtype": layer.options["dtype"],
        },
        "registered_name": None,
        "inbound_nodes": [],
    }
