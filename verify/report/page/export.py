"""Export a model for the page's own engine, or say why the engine cannot compute it.

The engine (`engine.js`) computes chains of layers around SimpleRNN, LSTM and GRU. Any
other model is refused here with the reason, and the page shows what NumPy recorded.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from verify.forward.activations import ACTIVATIONS, HISTORICAL, constant
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import exact_constants
from verify.forward.layers.regularization import KINDS as TRAINING_ONLY
from verify.forward.network import Network
from verify.forward.recurrence import MaskRule
from verify.forward.trace import Trace
from verify.model.arrays import Array
from verify.model.graph import TensorRef, flatten
from verify.model.spec import LayerSpec
from verify.model.versions import VersionRule
from verify.report.page.packing import pack_array

MAX_WEIGHT_BYTES = 8_000_000
"""Greatest size of the weights in a page, in bytes."""

MAX_PRODUCTS = 1.5e9
"""Greatest number of multiplications for one row: a browser takes a few seconds."""

VECTOR_ACTIVATIONS = frozenset({"softmax", "log_softmax", "sparsemax", "glu"})
"""Activations along an axis; the page computes them along the last one only."""


SPARSEMAX = VersionRule.SPARSEMAX_OF_THE_PAPER


class Refused(Exception):
    """Say why the page cannot compute a model."""


def exported(net: Network, trace: Trace) -> dict[str, Any]:
    """Return the layers of a model for the page, in the order in which they are called.

    Parameters
    ----------
    net : Network
    trace : Trace
        A trace of any inputs, for the shapes.

    Returns
    -------
    dict
        ``{"layers": [...]}``, with weights that are not rounded.

    Raises
    ------
    Refused
        The page cannot compute the model.
    """
    names = chain(net)
    size = sum(w.nbytes for _, layer in net.spec.walk() for w in layer.weights.values())
    if size > MAX_WEIGHT_BYTES:
        raise Refused(
            f"the weights take {size / 1e6:,.0f} MB, and more than "
            f"{MAX_WEIGHT_BYTES / 1e6:.0f} MB are not put into a page"
        )
    if product_count(net, trace) > MAX_PRODUCTS:
        raise Refused("it is too large to be computed again at every look")
    layers = []
    for name in names:
        layer, traced = net.spec[name], trace[name]
        written = _exported(layer, inside=False)
        for array in (traced.input, traced.output):
            if not isinstance(array, np.ndarray) or array.ndim not in (2, 3):
                raise Refused(
                    f"{layer}: its numbers have other axes than time and unit"
                )
        kind = REGISTRY[layer.class_name]
        if kind.masks_may_end and not kind.passes_masks(layer):
            written["ends_mask"] = True
        layers.append({"name": name, **written})
    return {"layers": layers}


def product_count(net: Network, trace: Trace) -> float:
    """Return roughly how many multiplications one evaluation of one row takes."""
    steps = max(
        (t.input.shape[1] for t in trace.values() if _timed(t.input)), default=1
    )
    sizes = (
        weight.size
        for _, layer in net.spec.walk()
        if layer.class_name != "Embedding"
        for weight in layer.weights.values()
    )
    return float(steps * sum(sizes))


def _timed(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.ndim > 2


def chain(net: Network) -> list[str]:
    """Return the names of the layers of a chain, in the order of the calls.

    Raises
    ------
    Refused
        A layer is not called exactly once, on the output of the layer before it.
    """
    graph = net.spec.root.graph
    if graph is None or len(net.spec.inputs) != 1 or len(net.output_names) != 1:
        raise Refused("it has several inputs or outputs")
    here, names = flatten(graph.inputs)[0], []
    for node in graph.nodes:
        given = flatten([node.args, dict(node.kwargs)])
        if node.index or given != [here]:
            raise Refused(
                f"{net.spec[node.layer]} is not called once on the output of the layer "
                "before it"
            )
        names.append(node.layer)
        here = TensorRef(node.layer, 0, 0)
    if flatten(graph.outputs) != [here]:
        raise Refused("its output is not that of its last layer")
    return names


def _exported(layer: LayerSpec, *, inside: bool) -> dict[str, Any]:
    if layer.overrides:
        raise Refused(f"{layer} has been given other equations")
    if layer.options.get("quantization_mode"):
        raise Refused(f"{layer} computes with 8-bit numbers")
    write = WRITERS.get(layer.class_name)
    if write is None or (inside and layer.class_name not in PER_STEP_LAYERS):
        raise Refused(f"{layer} is not among the layers that a page computes")
    return {"kind": layer.class_name, **write(layer)}


def _same(layer: LayerSpec) -> dict[str, Any]:
    return {"kind": "Same"}


def _embedding(layer: LayerSpec) -> dict[str, Any]:
    return {
        "mask_zero": layer.options["mask_zero"],
        "embeddings": pack_array(layer.weights["embeddings"]),
    }


def _masking(layer: LayerSpec) -> dict[str, Any]:
    value = layer.options["mask_value"]
    if not exact_mask(layer):
        raise Refused(f"{layer}: mask_value {value} is another number in float64")
    return {"mask_value": value}


def exact_mask(layer: LayerSpec) -> bool:
    """Return whether a Masking layer masks the same steps in float32 and float64."""
    value = layer.options["mask_value"]
    return float(np.float32(value)) == value


def _dense(layer: LayerSpec) -> dict[str, Any]:
    return {
        "kernel": pack_array(layer.weights["kernel"]),
        "bias": _optional(layer.weights.get("bias")),
        "activation": activation(layer, layer.options["activation"]),
    }


def _activation(layer: LayerSpec) -> dict[str, Any]:
    return {
        "kind": "Activation",
        "activation": activation(layer, layer.options["activation"]),
    }


def _activation_layer(name: str) -> Callable[[LayerSpec], dict[str, Any]]:
    def write(layer: LayerSpec) -> dict[str, Any]:
        return {"kind": "Activation", "activation": _named(layer, name, layer.options)}

    return write


def _optional(weight: Array | None) -> Any:
    return None if weight is None else pack_array(weight)


def _recurrent(layer: LayerSpec) -> dict[str, Any]:
    cell = layer.sublayers.get("cell", layer)
    kind = cell.class_name.removesuffix("Cell")
    if kind not in ("SimpleRNN", "LSTM", "GRU"):
        raise Refused(f"{layer} runs {cell}, which a page does not compute")
    options = layer.options
    if options["return_state"]:
        raise Refused(f"{layer} returns its states too")
    rule = MaskRule.of(layer)
    if rule.misaligned:
        raise Refused(f"{layer} is unrolled, backwards and zeroes its outputs")
    gated = kind != "SimpleRNN"
    return {
        "kind": kind,
        "units": cell.options["units"],
        "kernel": pack_array(cell.weights["kernel"]),
        "recurrent_kernel": pack_array(cell.weights["recurrent_kernel"]),
        "bias": _optional(cell.weights.get("bias")),
        "activation": activation(cell, cell.options["activation"]),
        "recurrent_activation": activation(cell, cell.options["recurrent_activation"])
        if gated
        else None,
        "reset_after": cell.options.get("reset_after", False),
        "return_sequences": options["return_sequences"],
        "go_backwards": options["go_backwards"],
        "zeroes": rule.zeroes,
        "shows_state": rule.shows_state,
    }


def _bidirectional(layer: LayerSpec) -> dict[str, Any]:
    merge = layer.options["merge_mode"]
    if merge is None:
        raise Refused(f"{layer} returns both directions by themselves")
    return {
        "merge_mode": merge,
        **{key: _recurrent(inner) for key, inner in layer.sublayers.items()},
    }


def _time_distributed(layer: LayerSpec) -> dict[str, Any]:
    return _exported(layer.sublayers["layer"], inside=True)


def _flatten(layer: LayerSpec) -> dict[str, Any]:
    return _last_axis_only(layer)


def _pooling(layer: LayerSpec) -> dict[str, Any]:
    return {**_last_axis_only(layer), "keepdims": layer.options["keepdims"]}


def _last_axis_only(layer: LayerSpec) -> dict[str, Any]:
    if layer.options["data_format"] != "channels_last":
        raise Refused(f"{layer}: data_format={layer.options['data_format']}")
    return {}


def _softmax(layer: LayerSpec) -> dict[str, Any]:
    return {
        "kind": "Activation",
        "activation": _named(layer, "softmax", layer.options),
    }


WRITERS: Mapping[str, Callable[[LayerSpec], dict[str, Any]]] = {
    **{kind.class_name: _same for kind in TRAINING_ONLY},
    "Identity": _same,
    "Embedding": _embedding,
    "Masking": _masking,
    "Dense": _dense,
    "Activation": _activation,
    "ReLU": _activation_layer("relu"),
    "LeakyReLU": _activation_layer("leaky_relu"),
    "ELU": _activation_layer("elu"),
    "Softmax": _softmax,
    **dict.fromkeys(("SimpleRNN", "LSTM", "GRU", "RNN"), _recurrent),
    "Bidirectional": _bidirectional,
    "TimeDistributed": _time_distributed,
    "Flatten": _flatten,
    "RepeatVector": lambda layer: {"n": layer.options["n"]},
    "GlobalMaxPooling1D": _pooling,
    "GlobalAveragePooling1D": _pooling,
}
"""Class of a layer that the page computes -> function that exports it."""

PER_STEP_LAYERS = frozenset(
    {kind.class_name for kind in TRAINING_ONLY}
    | {"Identity", "Dense", "Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"}
)
"""Classes of layers that treat every step alike, so that they compute the same inside a
TimeDistributed as without it."""


def activation(layer: LayerSpec, text: str) -> dict[str, Any]:
    """Parse an activation as `verify.forward.activations.resolve` names it.

    Raises
    ------
    Refused
        It works along another axis than the last one.
    """
    name, _, inside = text.partition("(")
    items = (item.split("=") for item in inside[:-1].split("; ")) if inside else ()
    return _named(layer, name, {key: json.loads(value) for key, value in items})


def _named(layer: LayerSpec, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return an activation with all arguments, its constants rounded as in NumPy."""
    exact = exact_constants(layer)
    function = {**ACTIVATIONS, **HISTORICAL}[name]
    arguments = {
        key: given.get(key, parameter.default)
        for key, parameter in inspect.signature(function).parameters.items()
        if key not in ("x", "exact")
    }
    axis = arguments.pop("axis", -1)
    if name in VECTOR_ACTIVATIONS and tuple(np.atleast_1d(axis)) != (-1,):
        raise Refused(f"{layer}: {name} along axis {axis}")
    if name == "sparsemax" and SPARSEMAX in layer.version_rules:
        raise Refused(f"{layer}: sparsemax of Keras 3.16")
    if (
        name == "relu"
        and arguments["negative_slope"]
        and (arguments["max_value"] is None and not arguments["threshold"])
    ):
        name, arguments = "leaky_relu", {"negative_slope": arguments["negative_slope"]}
    if name == "leaky_relu":
        arguments["negative_slope"] = constant(arguments["negative_slope"], exact)
    if name == "relu" and arguments["max_value"] is not None:
        arguments["max_value"] = constant(arguments["max_value"], exact)
    if name == "gelu":
        arguments["cube"] = constant(0.044715, exact)
        arguments["root"] = constant(1 / np.sqrt(2), exact)
    return {"name": name, **arguments}
