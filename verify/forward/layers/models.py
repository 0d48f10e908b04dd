"""Evaluate InputLayer, Sequential and Functional: a model is a layer, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.errors import UnsupportedError, join_and, printable
from verify.forward.layers.base import LayerType, Option, Run, Tensor, Unexpected, only
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, dtype_of, is_float
from verify.model.graph import (
    Graph,
    MaskOf,
    TensorRef,
    flatten,
    in_order,
    map_structure,
    refs_of,
    tensor_refs,
)
from verify.model.spec import LayerSpec

INPUT_DTYPES = (
    *(name for name in POLICIES if not name.startswith("mixed")),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "bool", "string"),
)


def _shape(value: Any) -> tuple[int | None, ...]:
    valid = isinstance(value, (list, tuple)) and value and all(
        size is None or (type(size) is int and size >= 1) for size in value
    )  # fmt: skip
    if not valid:
        raise Unexpected("an input shape such as [null, 26]")
    return tuple(value)


def _dtype(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        value = value["config"].get("name")
    if value not in INPUT_DTYPES:
        raise Unexpected(join_and(INPUT_DTYPES))
    return str(value)


class InputLayer(LayerType):
    """Cast an input to the dtype of the layer, also to a dtype of whole numbers.

    Source: keras/src/layers/core/input_layer.py, keras/src/models/functional.py.
    """

    class_name = "InputLayer"
    options: ClassVar[Mapping[str, Option]] = {
        "batch_shape": Option(_shape),
        "dtype": Option(_dtype, "float32"),
        "sparse": only(False),
        "ragged": only(False),
        "optional": only(False),
    }
    inert = frozenset({"input_tensor"})
    autocast = False
    casts_outputs = False

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        dtype = dtype_of(layer.options["dtype"])
        with np.errstate(over="ignore", invalid="ignore"):
            if dtype.kind == "b":
                return inputs != 0
            if is_float(inputs) and dtype.kind in "iu":
                inputs = np.trunc(inputs)
            return _matching_rank(layer, inputs.astype(dtype, copy=False))


def _matching_rank(layer: LayerSpec, x: Array) -> Array:
    """Drop or add a last axis of size 1 if the number of axes is then that expected."""
    shape = layer.options["batch_shape"]
    if x.ndim == len(shape) + 1 and x.shape[-1] == 1:
        return x[..., 0]
    if x.ndim == len(shape) - 1 and shape[-1] == 1:
        return x[..., None]
    return x


class Functional(LayerType):
    """Evaluate a graph, in which each node calls one layer on outputs of others.

    Source: keras/src/models/functional.py.
    """

    class_name = "Functional"
    arguments = ("inputs", "mask")
    autocast = False
    casts_outputs = False
    container = "layers"

    def check(self, where: str, layer: LayerSpec) -> None:
        if layer.graph is None or not layer.graph.nodes:
            raise UnsupportedError(f"{where}: it has no layers")

    def formula(self, layer: LayerSpec) -> str:
        return " + ".join(
            f"{printable(x.name, 40)} {x.parameters:,}"
            for x in layer.sublayers.values()
            if x.parameters
        )

    def call(self, run: Run, layer: LayerSpec, inputs: Any, mask: Any = None) -> Any:
        graph = layer.graph
        assert graph is not None
        refs = flatten(graph.inputs)
        given = in_order(graph.inputs, inputs)
        masks = [None] * len(refs) if mask is None else in_order(graph.inputs, mask)
        if len(given) != len(refs):
            raise ValueError(f"{len(refs)} inputs expected, {len(given)} received")
        values: dict[tuple[str, int, int], Tensor] = {}
        for ref, value, its_mask in zip(refs, given, masks, strict=True):
            entry = layer.sublayers[ref.layer]
            value = run.within(entry, value, at=ref.layer)
            values[ref.place] = Tensor(value, its_mask)

        def resolved(leaf: Any) -> Any:
            if isinstance(leaf, MaskOf):
                return values[leaf.tensor.place].mask
            return values[leaf.place] if isinstance(leaf, TensorRef) else leaf

        last = _last_reads(graph) if run.frees else {}
        for number, node in enumerate(graph.nodes):
            outputs = run(
                layer.sublayers[node.layer],
                *map_structure(resolved, node.args),
                at=node.layer,
                **map_structure(resolved, node.kwargs),
            )
            for place in last.get(number, ()):
                del values[place]
            for k, output in enumerate(flatten(outputs)):
                values[node.layer, node.index, k] = output
        return map_structure(resolved, graph.outputs)


class Sequential(Functional):
    """Evaluate layers one after the other; source: keras/src/models/sequential.py."""

    class_name = "Sequential"


def _last_reads(graph: Graph) -> dict[int, list[tuple[str, int, int]]]:
    """Return which tensors nobody reads after a node, by the number of the node."""
    last: dict[tuple[str, int, int], int] = {}
    for number, node in enumerate(graph.nodes):
        for ref in refs_of(node):
            last[ref.place] = number
    for ref in tensor_refs(graph.outputs):
        last.pop(ref.place, None)
    found: dict[int, list[tuple[str, int, int]]] = {}
    for place, number in last.items():
        found.setdefault(number, []).append(place)
    return found


KINDS: tuple[type[LayerType], ...] = (InputLayer, Sequential, Functional)
"""The layer types of this module, for the registry."""
