"""Find recurrent layers that padding was to be masked for, and that see no mask of it.

Keras loses a mask without a word. A layer that does not support masks hands none on;
a Concatenate with one input that has no mask makes one that is true everywhere. The
recurrent layer behind it then computes padding like any other step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.errors import DataError
from verify.forward.evaluate import LayerTrace
from verify.forward.layers.attention import KINDS as ATTENTION
from verify.forward.network import Inputs, Network
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import Graph, TensorRef, flatten
from verify.model.spec import LayerSpec, ModelSpec

ATTENTION_CLASSES = frozenset(kind.class_name for kind in ATTENTION)
"""Layers whose output has the steps of their first input, and its mask if any."""

OPEN_SIZES = (4, 60, 1)
"""Sizes that are tried for the axes a model leaves open."""

Call = tuple[str, int]
"""Name of a layer in a model, and the number of the call."""


@dataclass(frozen=True)
class LostMask:
    """Describe a recurrent layer whose mask is never false although there is padding.

    Attributes
    ----------
    path : str
        Path of the recurrent layer.
    layer : LayerSpec
        That layer.
    culprit : LayerSpec
        The nearest layer before it that received a mask that is false somewhere.
    culprit_path : str
        Path of that layer.
    how : str
        What it does with the mask: ``hands none on``, for example.
    arrives : bool
        Whether a mask reaches the recurrent layer, one that is true everywhere.
    """

    path: str
    layer: LayerSpec
    culprit: LayerSpec
    culprit_path: str
    how: str
    arrives: bool

    @property
    def reason(self) -> str:
        """Return how the mask is lost, as part of a sentence."""
        state = "its mask is never false" if self.arrives else "no mask reaches it"
        return f"{state}, because {self.culprit} {self.how}"


def lost_masks(
    model: LayerSpec, trace: Mapping[str, LayerTrace], path: str = ""
) -> Iterator[LostMask]:
    """Yield every recurrent layer of a model that lost a mask on the way to it.

    Parameters
    ----------
    model : LayerSpec
        With a graph; the models inside it are searched too.
    trace : mapping
        From `Network.trace`, on inputs that have padding.
    path : str
        Path of the model; empty for the whole one.
    """
    if model.graph is None:
        return
    calls = _traces(model, trace, path)
    parents = _parents(model.graph)
    for call, values in calls.items():
        layer = model.sublayers[call[0]]
        here = f"{path}/{call[0]}" if path else call[0]
        if layer.graph is not None:
            yield from lost_masks(layer, trace, here)
        if not _is_recurrent(layer) or any(_false(m) for m in _masks(values.mask)):
            continue
        origin = _origin(call, calls, parents)
        if origin is not None:
            name, arrives = origin[0], bool(_masks(values.mask))
            yield LostMask(
                here,
                layer,
                model.sublayers[name],
                f"{path}/{name}" if path else name,
                _what_it_does(calls[origin].mask, arrives),
                arrives,
            )


def _what_it_does(received: Any, arrives: bool) -> str:
    """Say how a layer loses the mask that it received."""
    if not arrives:
        return "hands none on"
    if any(mask is None for mask in flatten(received)):
        return "combines the mask with an input that has none"
    return "counts every step that any of its inputs counts"


def padding_alone(spec: ModelSpec) -> Inputs | None:
    """Return inputs in which every step is padding; None if the model refuses them.

    They are zeros, or numbers that a Masking layer masks. The sizes that a model leaves
    open are such that a Reshape can split them.
    """
    net = Network(spec)
    values = [layer.options.get("mask_value") for _, layer in spec.walk()]
    fill = next((value for value in values if value is not None), 0.0)
    for steps in OPEN_SIZES:
        arrays = []
        for layer in spec.inputs:
            rows, *sizes = layer.options["batch_shape"]
            shape = (rows or 1, *(size or steps for size in sizes))
            whole = not is_float(np.zeros(0, layer.options["dtype"]))
            arrays.append(np.full(shape, 0 if whole else fill))
        try:
            x = net.prepare(arrays if len(arrays) > 1 else arrays[0])
            net.flat(x)
        except DataError:
            continue
        return x
    return None


def _is_recurrent(layer: LayerSpec) -> bool:
    inner = layer.sublayers.get("forward_layer", layer)
    return "go_backwards" in inner.options


def _traces(
    model: LayerSpec, trace: Mapping[str, LayerTrace], path: str
) -> dict[Call, LayerTrace]:
    """Return the trace of every call in a graph, in the order of evaluation."""
    found: dict[Call, LayerTrace] = {}
    seen: Counter[str] = Counter()
    for node in model.graph.nodes if model.graph is not None else ():
        seen[node.layer] += 1
        key = f"{path}/{node.layer}" if path else node.layer
        key += f":{seen[node.layer]}" if seen[node.layer] > 1 else ""
        if key in trace:
            found[node.layer, node.index] = trace[key]
    return found


def _parents(graph: Graph) -> dict[Call, list[Call]]:
    """Return the calls whose outputs each call takes as its first argument."""
    found: dict[Call, list[Call]] = {}
    for node in graph.nodes:
        first: Any = node.args[0] if node.args else next(iter(node.kwargs.values()), [])
        refs = [leaf for leaf in flatten(first) if isinstance(leaf, TensorRef)]
        found[node.layer, node.index] = [(ref.layer, ref.node) for ref in refs]
    return found


def _origin(
    call: Call,
    calls: Mapping[Call, LayerTrace],
    parents: Mapping[Call, list[Call]],
) -> Call | None:
    """Return the nearest call before this one that received padding; None without.

    The search goes back along the sequence only: it ends at calls that take another
    axis of time, or none, because the steps of their output are no longer padding.
    """
    waiting, seen = list(parents.get(call, ())), {call}
    while waiting:
        here = waiting.pop(0)
        if here in seen or here not in calls:
            continue
        seen.add(here)
        values = calls[here]
        # of several inputs of attention the first, the query, decides
        count = 1 if values.layer.class_name in ATTENTION_CLASSES else None
        masks = _masks(flatten(values.mask)[:count])
        steps = _steps(values.output)
        if any(_false(m) for m in masks):
            if {m.shape[1] for m in masks} == {steps}:
                return here
        elif steps == _steps(values.input):
            waiting += parents.get(here, [])[:count]
    return None


def _masks(structure: Any) -> list[Array]:
    return [
        mask
        for mask in flatten(structure)
        if isinstance(mask, np.ndarray) and mask.ndim == 2
    ]


def _false(mask: Array) -> bool:
    return not mask.astype(bool).all()


def _steps(structure: Any) -> int | None:
    """Return the number of steps of a sequence, (batch, time, ...); None without."""
    first = flatten(structure)[0]
    return first.shape[1] if isinstance(first, np.ndarray) and first.ndim > 2 else None
