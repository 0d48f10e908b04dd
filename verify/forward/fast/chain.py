"""Evaluate a model whose layers follow one another, without what other models need.

`verify.forward.evaluate` finds for every call of a layer which tensors and masks it
gets, and casts them. For a single row that takes longer than the arithmetic. In a chain
of layers of a few known classes, all of which compute in one dtype, it is the same for
every input, so it is found out once. Each layer is still computed by its own ``call``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from verify.forward.evaluate import NUMPY_ERRORS, Evaluation, FastPath
from verify.forward.fast.loops import FastLoop
from verify.forward.fast.one_row import has_row_loop
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import LayerType, Tensor
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, dtype_of
from verify.model.graph import Node, TensorRef, flatten
from verify.model.spec import LayerSpec

PASS_THROUGH = ("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout")
"""Layers that return their input unchanged, so that ids may pass through them."""


class _Call(NamedTuple):
    """Describe the call of a layer in a chain."""

    kind: LayerType
    layer: LayerSpec
    takes_mask: bool
    makes_mask: bool
    passes_mask: bool


class Chain:
    """Evaluate a block of rows, layer by layer.

    Parameters
    ----------
    calls : iterable of _Call
        From `calls_in_chain`.
    path : FastPath
        The fast loops of the layers.
    """

    def __init__(self, calls: Iterable[_Call], path: FastPath) -> None:
        self._calls, self._run = tuple(calls), _Run(fast=path)
        masks = any(call.makes_mask for call in self._calls)
        self._row_calls = None if masks else self._calls_on_row(path)

    def _calls_on_row(self, path: FastPath) -> list[Callable[[Array], Array]]:
        """Return the calls for a single row, without those that `row` makes needless.

        A `FastLoop` that looks ids up refuses wrong ids itself if there is one row.
        """
        found: list[Callable[[Array], Array]] = []
        for call, after in zip_longest(self._calls, self._calls[1:]):
            loop = path.loops.get(call.layer)
            if isinstance(loop, FastLoop) and has_row_loop(call.layer):
                found.append(loop.row)
            elif not (call.layer in path.id_embeddings and has_row_loop(after.layer)):
                found.append(partial(call.kind.call, self._run, call.layer))
        return found

    def __call__(self, x: Array) -> Array | None:
        """Return the output of the model, (rows, ...).

        Parameters
        ----------
        x : (rows, ...)
            From `verify.forward.network.Network.prepare`.

        Returns
        -------
        (rows, ...), or None
            None if a layer cannot compute this. `Evaluation` then says why.
        """
        run, mask = self._run, None
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                if len(x) == 1 and self._row_calls is not None:
                    for call in self._row_calls:
                        x = call(x)
                    return x
                for kind, layer, takes_mask, makes_mask, passes_mask in self._calls:
                    if takes_mask:
                        y = kind.call(run, layer, x, None, mask)
                    else:
                        y = kind.call(run, layer, x)
                    if makes_mask or mask is not None:
                        mask = (
                            kind.compute_mask(layer, x, mask) if passes_mask else None
                        )
                    x = y
        except NUMPY_ERRORS:  # a DataError is a ValueError
            return None
        return x


class _Run(Evaluation):
    """Call the two layers in a Bidirectional; nothing is recorded or kept."""

    def __call__(self, layer: LayerSpec, *args: Any, at: str, **kwargs: Any) -> Any:
        """Return the output of a layer inside another."""
        return Tensor(REGISTRY[layer.class_name].call(self, layer, *args, **kwargs))


def calls_in_chain(root: LayerSpec, fast: Set[LayerSpec]) -> list[_Call] | None:
    """Return the calls of a model, if it is a chain that `Chain` can evaluate.

    Parameters
    ----------
    root : LayerSpec
        A model from `verify.forward.evaluate.cast_to`.
    fast : set of LayerSpec
        The layers that have a fast loop.
    """
    graph = root.graph
    if graph is None or root.overrides or root.unread:
        return None
    inputs, outputs = flatten(graph.inputs), flatten(graph.outputs)
    if len(inputs) != 1 or len(outputs) != 1:
        return None
    entry = root.sublayers[inputs[0].layer]
    before, found = inputs[0], []
    for node in graph.nodes:
        layer = root.sublayers[node.layer]
        if not _calls_alone(node, before):
            return None
        before = TensorRef(node.layer, node.index, 0)
        kind = REGISTRY[layer.class_name]
        passes = kind.passes_masks(layer)
        if layer.class_name in PASS_THROUGH and passes and not layer.overrides:
            continue
        if not _is_known(layer, fast):
            return None
        takes = "mask" in kind.arguments
        makes = layer.options.get("mask_zero", layer.class_name == "Masking")
        found.append(_Call(kind, layer, takes, makes, passes))
    if outputs[0] != before or not found or not _suits(entry, found):
        return None
    return found


def _calls_alone(node: Node, before: TensorRef) -> bool:
    """Return whether a call takes the output of the call before it and nothing else."""
    # a constant among the arguments is an array, which `==` compares by element
    if len(node.args) != 1 or not isinstance(node.args[0], TensorRef):
        return False
    return node.args[0] == before and all(
        value is None or (key == "training" and value is False)
        for key, value in node.kwargs.items()
    )


def _is_known(layer: LayerSpec, fast: Set[LayerSpec]) -> bool:
    """Return whether `Chain` computes for a layer what `Evaluation` does."""
    if layer.overrides or layer.unread:
        return False
    options = layer.options
    if layer.class_name == "Bidirectional":
        inner = layer.sublayers.values()
        return options["merge_mode"] is not None and all(
            _is_known(x, fast) and x in fast and x.policy == layer.policy for x in inner
        )
    if layer in fast:
        return not options["stateful"] and not options["return_state"]
    if layer.class_name in ("Embedding", "Dense"):
        return not options["quantization_mode"]
    return layer.class_name == "Masking"


def _suits(entry: LayerSpec, calls: Iterable[_Call]) -> bool:
    """Return whether no call needs a cast: ids for an Embedding, or one float type."""
    first, *others = calls
    (compute, *more) = {POLICIES[call.layer.policy].compute for call in calls}
    if more or compute not in ("float32", "float64"):
        return False
    if any(call.layer.class_name == "Embedding" for call in others):
        return False
    given = dtype_of(entry.options["dtype"])
    if first.layer.class_name == "Embedding":
        return given.kind in "iu"
    return given == dtype_of(compute)
