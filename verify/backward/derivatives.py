"""Differentiate the activations.

A function in `DERIVATIVES` takes the arguments of the activation of that name, with the
result ``y`` of the activation after ``x``, and returns ``dy / dx`` element by element.
At a kink it returns the derivative from the same side as TensorFlow. `softmax` and
`log_softmax` mix the numbers along an axis, so `PULLBACKS` has the products of their
derivatives with a gradient instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from verify.forward.activations import (
    SELU_ALPHA,
    SELU_SCALE,
    constant,
    resolve,
    sigmoid,
)
from verify.model.arrays import Array

Pullback = Callable[[Array, Array, Array], Array]
"""The function ``x, y, dy -> dx`` of an activation ``y = activation(x)``, where x and y
are (batch, ...), and the gradients dy and dx (..., batch, ...)."""


def _linear(x: Array, y: Array) -> Array:
    return np.ones_like(y)


def _relu(
    x: Array,
    y: Array,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
    *,
    exact: bool = False,
) -> Array:
    if negative_slope and max_value is None and not threshold:
        return _leaky_relu(x, y, negative_slope, exact=exact)
    rising = x > threshold
    if max_value is not None:
        rising &= x <= constant(max_value, exact)
    return rising + negative_slope * (x < threshold)


def _relu6(x: Array, y: Array) -> Array:
    return ((x > 0) & (x < 6)).astype(y.dtype)


def _leaky_relu(
    x: Array, y: Array, negative_slope: float = 0.2, *, exact: bool = False
) -> Array:
    return np.where(x > 0, 1.0, constant(negative_slope, exact))


def _elu(x: Array, y: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0)))


def _celu(x: Array, y: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, 1.0, np.exp(np.minimum(x, 0) / alpha))


def _selu(x: Array, y: Array) -> Array:
    return SELU_SCALE * _elu(x, y, SELU_ALPHA)


def _sigmoid(x: Array, y: Array) -> Array:
    return y * (1 - y)


def _hard_sigmoid(x: Array, y: Array) -> Array:
    return ((x > -3) & (x < 3)) / 6


def _keras2_hard_sigmoid(x: Array, y: Array) -> Array:
    z = 0.2 * x + 0.5
    return 0.2 * ((z >= 0) & (z <= 1))


def _silu(x: Array, y: Array) -> Array:
    s = sigmoid(x)
    return s + y * (1 - s)


def _hard_silu(x: Array, y: Array) -> Array:
    return np.clip(x + 3, 0, 6) / 6 + x * _hard_sigmoid(x, y)


def _tanh(x: Array, y: Array) -> Array:
    return 1 - y * y


def _hard_tanh(x: Array, y: Array) -> Array:
    return ((x >= -1) & (x <= 1)).astype(y.dtype)


def _tanh_shrink(x: Array, y: Array) -> Array:
    return np.tanh(x) ** 2


def _softplus(x: Array, y: Array) -> Array:
    return sigmoid(x)


def _log_sigmoid(x: Array, y: Array) -> Array:
    return sigmoid(-x)


def _softsign(x: Array, y: Array) -> Array:
    return (1 - np.abs(y)) ** 2


def _squareplus(x: Array, y: Array, b: float = 4) -> Array:
    return (1 + x / np.sqrt(x * x + b)) / 2


def _mish(x: Array, y: Array) -> Array:
    t = np.tanh(np.logaddexp(x, 0))
    return t + x * (1 - t * t) * sigmoid(x)


def _gelu(
    x: Array, y: Array, approximate: bool = False, *, exact: bool = False
) -> Array:
    zero = x == 0  # there y / x would be 0 / 0, and its limit is 1 / 2
    share = np.where(zero, 0.5, y / np.where(zero, 1, x))  # y = x * share
    if approximate:
        factor, cube = math.sqrt(2 / math.pi), constant(0.044715, exact)
        inside = factor * (1 + 3 * cube * x * x)
        return share + 2 * x * share * (1 - share) * inside
    scale = constant(1 / math.sqrt(2), exact)
    return share + x * np.exp(-((x * scale) ** 2)) * scale / math.sqrt(math.pi)


def _exponential(x: Array, y: Array) -> Array:
    return y


def _sparse_plus(x: Array, y: Array) -> Array:
    return np.clip((x + 1) / 2, 0, 1)


def _sparse_sigmoid(x: Array, y: Array) -> Array:
    return ((x > -1) & (x < 1)) / 2


def _shrink(x: Array, y: Array, threshold: float = 0.5) -> Array:
    return (np.abs(x) > threshold).astype(y.dtype)


def _erf(x: Array, y: Array) -> Array:
    return 2 / math.sqrt(math.pi) * np.exp(-x * x)


DERIVATIVES: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {
        "linear": _linear, "relu": _relu, "relu6": _relu6, "leaky_relu": _leaky_relu,
        "elu": _elu, "celu": _celu, "selu": _selu, "sigmoid": _sigmoid,
        "hard_sigmoid": _hard_sigmoid, "keras2_hard_sigmoid": _keras2_hard_sigmoid,
        "silu": _silu, "hard_silu": _hard_silu, "tanh": _tanh, "hard_tanh": _hard_tanh,
        "tanh_shrink": _tanh_shrink, "softplus": _softplus,
        "log_sigmoid": _log_sigmoid, "softsign": _softsign, "squareplus": _squareplus,
        "mish": _mish, "gelu": _gelu, "exponential": _exponential,
        "sparse_plus": _sparse_plus, "sparse_sigmoid": _sparse_sigmoid,
        "soft_shrink": _shrink, "hard_shrink": _shrink, "erf": _erf,
    }
)  # fmt: skip
"""Name of an activation -> its derivative, a function of x, y and its arguments."""


def softmax_pullback(
    x: Array, y: Array, dy: Array, axis: int | tuple[int, ...] = -1
) -> Array:
    """Compute ``dx = y * (dy - sum(y * dy))`` over one axis of x or several."""
    return y * (dy - (y * dy).sum(axis=_from_back(axis, x.ndim), keepdims=True))


def log_softmax_pullback(
    x: Array, y: Array, dy: Array, axis: int | tuple[int, ...] = -1
) -> Array:
    """Compute ``dx = dy - exp(y) * sum(dy)`` over one axis of x or several."""
    return dy - np.exp(y) * dy.sum(axis=_from_back(axis, x.ndim), keepdims=True)


def _from_back(axis: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Return axes counted from the end, which hold for arrays with sweeps too."""
    axes = [axis] if isinstance(axis, int) else axis
    return tuple(k - ndim if k >= 0 else k for k in axes)


PULLBACKS: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {"softmax": softmax_pullback, "log_softmax": log_softmax_pullback}
)
"""Name of an activation that mixes numbers -> its pullback."""

DIFFERENTIABLE = (*DERIVATIVES, *PULLBACKS)
"""Names of the activations that `pullback` accepts."""


def bare(name: str) -> str:
    """Return a name for `verify.forward.activations.resolve` without its arguments."""
    return name.partition("(")[0]


def pullback(name: str, *, exact: bool = False) -> Pullback:
    """Return the pullback of an activation.

    Parameters
    ----------
    name : str
        One of `DIFFERENTIABLE`, as for `verify.forward.activations.resolve`.
    exact : bool
        As for `verify.forward.activations.resolve`.
    """
    function = resolve(name, exact=exact)
    arguments = function.keywords if isinstance(function, partial) else {}
    if bare(name) in PULLBACKS:
        return partial(PULLBACKS[bare(name)], **arguments)
    derivative = partial(DERIVATIVES[bare(name)], **arguments)
    return lambda x, y, dy: dy * derivative(x, y)
