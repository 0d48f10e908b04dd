"""Write the activations of Keras as ONNX nodes, or as attributes of a fused operator.

ONNX has single operators for some of them; ONNX Runtime computes most of those in
float32 only, so that float64 is put together from sums, products and exponentials. The
formulas are those of `verify.forward.activations`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.activations import SELU_ALPHA, SELU_SCALE, constant
from verify.forward.layers.base import exact_constants
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx.values import Value


def parsed(name: str) -> tuple[str, dict[str, Any]]:
    """Split ``leaky_relu(negative_slope=0.1)`` into a name and its arguments."""
    bare, _, inside = name.partition("(")
    items = (item.split("=") for item in inside[:-1].split("; ")) if inside else ()
    return bare, {key: json.loads(value) for key, value in items}


def activated(layer: LayerSpec, x: Value, option: str = "activation") -> Value:
    """Return the activation of `x` that an option of a layer names.

    Raises
    ------
    UnsupportedError
        It has no form in ONNX.
    """
    name, arguments = parsed(layer.options[option])
    return apply(layer, name, x, arguments)


def apply(layer: LayerSpec, name: str, x: Value, arguments: Mapping[str, Any]) -> Value:
    """Return an activation of `x` by its name and arguments."""
    if name not in ACTIVATIONS:
        raise UnsupportedError(f"{layer}: activation '{name}' has no form in ONNX")
    given = dict(arguments)
    if name in ROUNDED:
        given["exact"] = exact_constants(layer)
    return ACTIVATIONS[name](x, **given)


def _single(x: Value) -> bool:
    return x.dtype == np.float32


def relu(
    x: Value,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
    *,
    exact: bool = False,
) -> Value:
    """Write ``max(x, 0)``, with arguments as in `verify.forward.activations.relu`."""
    if negative_slope and max_value is None and not threshold:
        return leaky_relu(x, negative_slope, exact=exact)
    if threshold:
        y = x.graph.where(x > threshold, x, x * 0)
    else:
        # ONNX Runtime 1.32 cannot load a Relu before a Clip in float64
        y = x.unary("Relu") if _single(x) else x.maximum(0)
    if max_value is not None:
        y = y.clip(0, constant(max_value, exact))
    if negative_slope:
        y = y - (threshold - x).maximum(0) * negative_slope
    return y


def leaky_relu(x: Value, negative_slope: float = 0.2, *, exact: bool = False) -> Value:
    """Write ``x if x > 0 else negative_slope * x``."""
    slope = constant(negative_slope, exact)
    if _single(x):
        return x.unary("LeakyRelu", alpha=slope)
    return x.graph.where(x > 0, x, x * slope)


def _expm1_below_zero(x: Value) -> Value:
    return x.minimum(0).unary("Exp") - 1


def elu(x: Value, alpha: float = 1.0) -> Value:
    """Write ``x if x > 0 else alpha * (exp(x) - 1)``."""
    if _single(x):
        return x.unary("Elu", alpha=alpha)
    return x.graph.where(x > 0, x, _expm1_below_zero(x) * alpha)


def celu(x: Value, alpha: float = 1.0) -> Value:
    """Write ``max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)``."""
    below = ((x.minimum(0) / alpha).unary("Exp") - 1) * alpha
    return x.unary("Relu") + below


def selu(x: Value) -> Value:
    """Write ``scale * (x if x > 0 else alpha * (exp(x) - 1))``."""
    if _single(x):
        return x.unary("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE)
    return x.graph.where(x > 0, x, _expm1_below_zero(x) * SELU_ALPHA) * SELU_SCALE


def hard_sigmoid(x: Value) -> Value:
    """Write ``clip(x / 6 + 0.5, 0, 1)``; the operator's own default slope is 0.2."""
    if _single(x):
        return x.unary("HardSigmoid", alpha=1 / 6, beta=0.5)
    return (x + 3).clip(0, 6) / 6


def keras2_hard_sigmoid(x: Value) -> Value:
    """Write ``clip(0.2 * x + 0.5, 0, 1)``."""
    return (x * 0.2 + 0.5).clip(0, 1)


def softplus(x: Value) -> Value:
    """Write ``log(1 + exp(x))`` without overflow."""
    return x.unary("Relu") + ((-x.unary("Abs")).unary("Exp") + 1).unary("Log")


def gelu(x: Value, approximate: bool = False, *, exact: bool = False) -> Value:
    """Write ``x / 2 * (1 + erf(x / sqrt(2)))``, or its approximation by tanh."""
    if approximate:
        cube = constant(0.044715, exact)
        inner = (x + x * x * x * cube) * math.sqrt(2 / math.pi)
        return x * 0.5 * (inner.unary("Tanh") + 1)
    return x * 0.5 * ((x * constant(1 / math.sqrt(2), exact)).unary("Erf") + 1)


def softmax(x: Value, axis: int | Sequence[int] = -1) -> Value:
    """Write ``exp(x) / sum(exp(x))`` over one axis or several."""
    axes = [axis] if isinstance(axis, int) else list(axis)
    if len(axes) == 1:
        return x.softmax(axes[0])
    e = (x - x.reduce("ReduceMax", axes, keepdims=True)).unary("Exp")
    return e / e.reduce("ReduceSum", axes, keepdims=True)


def log_softmax(x: Value, axis: int | Sequence[int] = -1) -> Value:
    """Write ``x - log(sum(exp(x)))`` over one axis or several."""
    axes = [axis] if isinstance(axis, int) else list(axis)
    shifted = x - x.reduce("ReduceMax", axes, keepdims=True)
    total = shifted.unary("Exp").reduce("ReduceSum", axes, keepdims=True)
    return shifted - total.unary("Log")


def glu(x: Value, axis: int = -1) -> Value:
    """Write ``a * sigmoid(b)`` of the halves of `x` along an axis."""
    size = x.shape[axis]
    if size is None:
        raise UnsupportedError("glu along an axis of open size has no form in ONNX")
    a, b = x.graph.split(x, [size // 2] * 2, axis)
    return a * b.unary("Sigmoid")


def sparse_plus(x: Value) -> Value:
    """Write 0 for x up to -1, ``(x + 1)**2 / 4`` for x up to 1, and x above."""
    middle = (x + 1) * (x + 1) / 4
    return x.graph.where(x <= -1, x * 0, x.graph.where(x < 1, middle, x))


def soft_shrink(x: Value, threshold: float = 0.5) -> Value:
    """Write `x` moved towards 0 by `threshold`, where it stops."""
    low = x.graph.where(x < -threshold, x + threshold, x * 0)
    return x.graph.where(x > threshold, x - threshold, low)


def hard_shrink(x: Value, threshold: float = 0.5) -> Value:
    """Write ``x if abs(x) > threshold else 0``."""
    return x.graph.where(x.unary("Abs") > threshold, x, x * 0)


def sparsemax(x: Value, axis: int = -1) -> Value:
    """Write what Keras calls sparsemax; see `verify.forward.activations.sparsemax`."""
    graph, axis = x.graph, axis % x.ndim
    size = x.sizes(axis, axis + 1)
    made = [(x.dtype, x.shape), (np.int64, x.shape)]
    z = graph.ops("TopK", [x, size], made, axis=axis)[0]
    assert z is not None
    tail = x.ndim - 1 - axis
    k = (graph.steps(x, axis) + 1).cast(x.dtype)
    if tail:
        k = k.expand(*range(1, tail + 1))
    c = z.cumsum(axis)
    support = (z - (c - 1) / k) > 0
    total = graph.where(support, c, 0).reduce("ReduceSum", [axis], keepdims=True)
    count = support.cast(x.dtype).reduce("ReduceSum", [axis], keepdims=True)
    return (x - (total - 1) / count).maximum(0)


ACTIVATIONS: Mapping[str, Callable[..., Value]] = {
    "linear": lambda x: x,
    "relu": relu,
    "relu6": lambda x: x.clip(0, 6),
    "leaky_relu": leaky_relu,
    "elu": elu,
    "celu": celu,
    "selu": selu,
    "sigmoid": lambda x: x.unary("Sigmoid"),
    "hard_sigmoid": hard_sigmoid,
    "silu": lambda x: x * x.unary("Sigmoid"),
    "hard_silu": lambda x: x * hard_sigmoid(x),
    "tanh": lambda x: x.unary("Tanh"),
    "hard_tanh": lambda x: x.clip(-1, 1),
    "tanh_shrink": lambda x: x - x.unary("Tanh"),
    "softplus": softplus,
    "log_sigmoid": lambda x: -softplus(-x),
    "softsign": lambda x: x / (x.unary("Abs") + 1),
    "squareplus": lambda x, b=4: (x + (x * x + b).unary("Sqrt")) / 2,
    "mish": lambda x: x * softplus(x).unary("Tanh"),
    "gelu": gelu,
    "exponential": lambda x: x.unary("Exp"),
    "softmax": softmax,
    "log_softmax": log_softmax,
    "glu": glu,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": lambda x: ((x + 1) / 2).clip(0, 1),
    "soft_shrink": soft_shrink,
    "hard_shrink": hard_shrink,
    "sparsemax": sparsemax,
    "keras2_hard_sigmoid": keras2_hard_sigmoid,
}
"""Name of an activation -> the function that writes it."""

ROUNDED = frozenset({"relu", "leaky_relu", "gelu"})
"""Activations whose constants TensorFlow rounds to float32."""


def fused(name: str) -> tuple[str, float | None, float | None] | None:
    """Return an activation as ONNX's recurrent operators name it, or None.

    Returns
    -------
    tuple of the name, alpha and beta
        None for an argument that the activation does not have.
    """
    bare, arguments = parsed(name)
    if bare == "leaky_relu":
        slope = arguments.pop("negative_slope", 0.2)
        return None if arguments else ("LeakyRelu", constant(slope, False), None)
    if bare == "elu":
        return "Elu", arguments.get("alpha", 1.0), None
    if arguments:
        return None
    return {
        "tanh": ("Tanh", None, None),
        "sigmoid": ("Sigmoid", None, None),
        "relu": ("Relu", None, None),
        "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),
        "keras2_hard_sigmoid": ("HardSigmoid", 0.2, 0.5),
        "softsign": ("Softsign", None, None),
        "softplus": ("Softplus", None, None),
        "linear": ("Affine", 1.0, 0.0),
    }.get(bare)
