"""Differentiate the NumPy forward pass: from gradients of outputs back to weights.

This is reverse-mode differentiation in float64, for recurrent models; `DIFFERENTIATED`
lists the layers. The forward values are those of `Network.trace`, and
`verify.backward.layers` goes back through each layer. Nothing here comes from Keras, so
that the gradients of Keras can be compared with these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.backward.derivatives import DIFFERENTIABLE, bare
from verify.backward.graphs import (
    back_through,
    back_through_graph,
    back_within,
    calls_of,
    constant_layers,
    exact_values,
)
from verify.backward.layers import Backward, BackwardCall, Visitor
from verify.errors import DataError, UnsupportedError, join_and
from verify.forward.evaluate import cast_to
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import Tensor
from verify.forward.layers.lookups import pads_to_batch
from verify.forward.network import Network
from verify.forward.trace import Trace
from verify.model.arguments import typed
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import TensorRef, flatten, map_structure
from verify.model.spec import LayerSpec

DIFFERENTIATED = tuple(REGISTRY)
"""Classes of the layers that `backprop` can differentiate: by equations of their own in
`BACKWARD_LAYERS`, or by recording what they compute."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """Hold the gradients that `backprop` computes.

    The axes ``...`` in front of each array are those of ``output_gradients``.

    Attributes
    ----------
    inputs : tuple of ``(..., batch, *row_shape)``, or None
        The gradient with respect to each input of the model; None for an input of whole
        numbers.
    embedded : mapping of str to (..., batch, time, size)
        Key of a call of an Embedding in a trace, such as ``embedding:2`` for the second
        -> the gradient with respect to the vectors that it returned.
    weights : mapping of str to mapping of str to ``(..., *weight_shape)``
        Path of a layer, as in `ModelSpec.walk` -> the gradients of its weights by name,
        summed over the batch. Empty unless asked for.
    """

    inputs: tuple[Array | None, ...]
    embedded: Mapping[str, Array]
    weights: Mapping[str, Mapping[str, Array]]


RECORDED_IN_PARTS = frozenset({"sparsemax"})
"""Activations without a derivative of their own, which are recorded as what they are
made of where bounds are wanted."""


def supports(net: Network, *, bounding: bool = False) -> str:
    """Return why `backprop` cannot differentiate a model; an empty text if it can.

    Parameters
    ----------
    net : Network
    bounding : bool
        As for `refused`.
    """
    graph = net.spec.root.graph
    calls = Counter(node.layer for node in graph.nodes) if graph is not None else {}
    constant = constant_layers(net.spec.root, bounding=bounding)
    for path, layer in net.spec.walk():
        if path not in constant and (reason := refused(layer, bounding=bounding)):
            return reason
        if layer.options.get("stateful") and calls.get(path.split("/")[0], 0) > 1:
            return (
                f"{layer}: gradients through a stateful layer that is called more than "
                "once are not supported. Supported: one call"
            )
    return ""


def refused(layer: LayerSpec, *, bounding: bool = False) -> str:
    """Return why a layer cannot be differentiated; an empty text if it can.

    Parameters
    ----------
    layer : LayerSpec
    bounding : bool
        Whether bounds are wanted, and not gradients of weights. Then 8-bit weights are
        allowed, whose layers round inputs to whole numbers, where the derivative is 0
        (Keras trains as if they did not), and so are weights of tf_idf and the
        activations of `RECORDED_IN_PARTS`.
    """
    if layer.class_name not in DIFFERENTIATED:
        return (
            f"{layer}: gradients through it are not supported. "
            f"Supported: {join_and(DIFFERENTIATED)}"
        )
    for option in ("activation", "recurrent_activation"):
        name = layer.options.get(option, "linear")
        in_parts = bounding and name in RECORDED_IN_PARTS
        if bare(name) not in DIFFERENTIABLE and not in_parts:
            return (
                f"{layer}: gradients through {option}={name} are not "
                f"supported. Supported: {join_and(DIFFERENTIABLE)}"
            )
    if pads_to_batch(layer):
        return (
            f"{layer}: gradients are not supported where rows are filled up to the "
            "longest of their batch. Supported: an output_sequence_length"
        )
    if layer.options.get("output_mode") == "tf_idf" and not bounding:
        return f"{layer}: gradients through output_mode=tf_idf are not supported"
    if any(x.overrides for x in (layer, *layer.sublayers.values())):
        return (
            f"{layer}: gradients through functions of its own are not supported. "
            "Supported: the equations of Keras"
        )
    if layer.options.get("quantization_mode") and not bounding:
        return (
            f"{layer}: gradients through 8-bit weights are not supported. "
            "Supported: weights that are floats"
        )
    return ""


@typed
def backprop(
    net: Network,
    x: Any,
    output_gradients: Sequence[Array],
    *,
    visit: Visitor | None = None,
    weights: bool = True,
    trace: Trace | None = None,
    single: Trace | None = None,
) -> Gradients:
    """Return the gradients of a number ``L`` with respect to inputs and weights.

    ``L`` is any number whose gradients with respect to the outputs of the model are
    `output_gradients`. Axes in front of the batch are *sweeps*: each belongs to an
    ``L`` of its own, and all are computed at once. A stateful model starts with states
    of zeros. The rounding of an input to the dtype of its Input is not differentiated.

    Parameters
    ----------
    net : Network
        A network for which `supports` returns an empty text.
    x : (batch, ...)
        As for `Network.predict`.
    output_gradients : sequence of ``(..., batch, *row_shape)``
        One for each output of the model, in the order of `Network.output_names`.
    visit : callable, optional
        See `Visitor`. Layers are visited from the outputs to the inputs, and time steps
        from the last processed one to the first.
    weights : bool
        Whether to compute the gradients of the weights, which take the most memory.
    trace : Trace, optional
        The trace of `x` in float64, if the caller has it already.
    single : Trace, optional
        The trace of `x` in float32, for a visitor that asks what operations round. If
        there is one, and no gradients of weights are wanted, then those of the inputs,
        and of what is only chosen of them, are not wanted either; they may be zeros.

    Returns
    -------
    Gradients

    Raises
    ------
    UnsupportedError
        The model has a layer or an option that is not supported; the message names it.
    DataError
        The inputs or the gradients do not fit the model.
    """
    reason = supports(net, bounding=visit is not None and not weights)
    graph = net.spec.root.graph
    if reason or graph is None:
        raise UnsupportedError(reason or f"{net.spec.root}: it has no layers")
    given = net.prepare(x)
    trace = net.trace(given, dtype="float64") if trace is None else trace
    fitting, sweeps = _fitting(output_gradients, trace.output)
    refs: list[TensorRef] = flatten(graph.inputs)
    calls = calls_of(graph)
    root = cast_to(net.spec.root, "float64")
    exact = set(refs) if single is not None and not weights else set()
    back = Backward(trace, {}, sweeps, visit, weights, single=single)
    back = back_within(
        back, root, calls, dict(zip(refs, map(exact_values, given), strict=True)), exact
    )
    adjoints = back_through_graph(back, root, calls, fitting)
    return Gradients(
        inputs=tuple(
            adjoints[ref] if is_float(array) else None
            for ref, array in zip(refs, given, strict=True)
        ),
        embedded={
            key: adjoints[TensorRef(node.layer, node.index, 0)]
            for node, _, key in calls
            if root.sublayers[node.layer].class_name == "Embedding"
        },
        weights=_every_weight(root, back) if weights else {},
    )


def backprop_call(
    net: Network,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    output_gradients: Sequence[Array],
    *,
    visit: Visitor,
    trace: Trace | None = None,
    single: Trace | None = None,
) -> None:
    """Go back through one layer alone, and show each computation to a visitor.

    A stateful layer starts with states of zeros.

    Parameters
    ----------
    net : Network
    name, args, kwargs
        The call, as for `Network.call_layer`; of a layer for which `refused` returns an
        empty text.
    output_gradients, visit, trace, single : as for `backprop`
    """
    layer = net.cast_to("float64").at(name)
    if trace is None:
        trace = net.trace_layer(name, args, kwargs, dtype="float64")
    fitting, sweeps = _fitting(output_gradients, trace.output)
    forward: dict[TensorRef, Array] = {}

    def named(leaf: Any) -> Any:
        if not isinstance(leaf, (Tensor, np.ndarray)):
            return leaf
        ref = TensorRef(f"{name}'s arguments", len(forward), 0)
        value = leaf.value if isinstance(leaf, Tensor) else leaf
        forward[ref] = exact_values(value)
        return ref

    given = REGISTRY[layer.class_name].by_name(
        map_structure(named, list(args)), map_structure(named, dict(kwargs))
    )
    back = Backward(
        trace, forward, sweeps, visit, wants_weights=False, single=single,
        unneeded=frozenset(forward) if single is not None else frozenset(),
    )  # fmt: skip
    back_through(back, BackwardCall(name, name, layer, trace[name], given, fitting))


def _every_weight(root: LayerSpec, back: Backward) -> dict[str, dict[str, Array]]:
    """Return the gradient of every weight; zeros if no output depends on it."""
    return {
        path: {
            name: back.weights[path][name]
            if name in back.weights.get(path, {})
            else np.zeros((*back.sweeps, *value.shape))
            for name, value in layer.weights.items()
        }
        for path, layer in root.walk()
        if layer.weights
    }


def _fitting(
    gradients: Sequence[Array], outputs: Any
) -> tuple[list[Array], tuple[int, ...]]:
    """Broadcast gradients to the same sweeps, and return them and the sweeps."""
    shapes = [np.shape(value) for value in flatten(outputs)]
    if len(gradients) != len(shapes):
        raise DataError(
            f"expected a gradient for each of {len(shapes)} output(s). "
            f"Received: {len(gradients)}"
        )
    given = [np.asarray(gradient, dtype=np.float64) for gradient in gradients]
    for gradient, shape in zip(given, shapes, strict=True):
        if gradient.shape[-len(shape) :] != shape:
            raise DataError(
                f"expected a gradient of shape (..., {str(shape)[1:]}. "
                f"Received: shape={gradient.shape}"
            )
    # axes in front of the batch, for each output
    fronts = [d.shape[: -len(shape)] for d, shape in zip(given, shapes, strict=True)]
    try:
        sweeps = np.broadcast_shapes(*fronts)
    except ValueError:
        raise DataError(
            "expected gradients with the same axes in front of the batch. "
            f"Received: {join_and(map(str, fronts))}"
        ) from None
    fitting = [
        np.broadcast_to(d, (*sweeps, *shape))  # (..., batch, *shape of a row)
        for d, shape in zip(given, shapes, strict=True)
    ]
    return fitting, sweeps
