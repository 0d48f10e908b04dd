"""Every activation of Keras 3 by the name that stands in a saved config.

Each function takes and returns an array of one dtype, float32 or float64, and works
element by element unless an axis is named. Formulas follow the Keras 3.15
documentation; where Keras computes something else than the name promises
(`sparsemax`), this module computes what Keras computes and says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from verify.spec import Array

Activation = Callable[[Array], Array]

SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772

LEAKY_SLOPE = float(np.float32(0.2))
GELU_FACTOR = float(np.float32(1 / math.sqrt(2)))
"""TensorFlow holds these two in float32 also where it computes in float64, so gelu and
leaky_relu differ there from the formulas by up to 4e-9 and 2e-8 times x."""

_erf = np.vectorize(math.erf, otypes=[np.float64])


def linear(x: Array) -> Array:
    """``x``"""
    return x


def relu(x: Array) -> Array:
    """``max(x, 0)``"""
    return np.maximum(x, 0)


def relu6(x: Array) -> Array:
    """``min(max(x, 0), 6)``"""
    return np.clip(x, 0, 6)


def leaky_relu(x: Array) -> Array:
    """``x`` if ``x > 0`` else ``0.2 * x``"""
    return np.where(x > 0, x, LEAKY_SLOPE * x)


def elu(x: Array) -> Array:
    """``x`` if ``x > 0`` else ``exp(x) - 1``"""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


celu = elu  # the two are one function at the default alpha = 1


def selu(x: Array) -> Array:
    """``scale * (x if x > 0 else alpha * (exp(x) - 1))``"""
    return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0)))


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``, without overflow in either tail"""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def hard_sigmoid(x: Array) -> Array:
    """``clip(x / 6 + 0.5, 0, 1)``; Keras 2 computed ``clip(0.2 * x + 0.5, 0, 1)``"""
    return np.clip(x + 3, 0, 6) / 6


def silu(x: Array) -> Array:
    """``x * sigmoid(x)``"""
    return x * sigmoid(x)


def hard_silu(x: Array) -> Array:
    """``x * hard_sigmoid(x)``"""
    return x * hard_sigmoid(x)


def tanh(x: Array) -> Array:
    """``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``"""
    return np.tanh(x)


def hard_tanh(x: Array) -> Array:
    """``clip(x, -1, 1)``"""
    return np.clip(x, -1, 1)


def tanh_shrink(x: Array) -> Array:
    """``x - tanh(x)``"""
    return x - np.tanh(x)


def softplus(x: Array) -> Array:
    """``log(1 + exp(x))``"""
    return np.logaddexp(x, np.zeros_like(x))


def log_sigmoid(x: Array) -> Array:
    """``-log(1 + exp(-x))``"""
    return -softplus(-x)


def softsign(x: Array) -> Array:
    """``x / (1 + abs(x))``"""
    return x / (1 + np.abs(x))


def squareplus(x: Array) -> Array:
    """``(x + sqrt(x**2 + 4)) / 2``"""
    return (x + np.sqrt(x * x + 4)) / 2


def mish(x: Array) -> Array:
    """``x * tanh(softplus(x))``"""
    return x * np.tanh(softplus(x))


def gelu(x: Array) -> Array:
    """``x / 2 * (1 + erf(x / sqrt(2)))``: the exact form, as the name alone means"""
    return 0.5 * x * (1 + _erf(x * GELU_FACTOR).astype(x.dtype))


def exponential(x: Array) -> Array:
    """``exp(x)``"""
    return np.exp(x)


def softmax(x: Array) -> Array:
    """``exp(x) / sum(exp(x))`` over the last axis"""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def log_softmax(x: Array) -> Array:
    """``x - log(sum(exp(x)))`` over the last axis"""
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def sparse_plus(x: Array) -> Array:
    """``0`` up to -1, ``(x + 1)**2 / 4`` up to 1, ``x`` above"""
    return np.where(x <= -1, 0 * x, np.where(x < 1, (x + 1) ** 2 / 4, x))


def sparse_sigmoid(x: Array) -> Array:
    """``clip((x + 1) / 2, 0, 1)``"""
    return np.clip((x + 1) / 2, 0, 1)


def soft_shrink(x: Array) -> Array:
    """``x`` moved towards 0 by 0.5, and 0 between -0.5 and 0.5"""
    return np.where(x > 0.5, x - 0.5, np.where(x < -0.5, x + 0.5, 0 * x))


def hard_shrink(x: Array) -> Array:
    """``x`` if ``abs(x) > 0.5`` else ``0``"""
    return np.where(np.abs(x) > 0.5, x, 0 * x)


def sparsemax(x: Array) -> Array:
    """What Keras 3.15 computes under this name, over the last axis.

    With ``z`` sorted downwards, ``C`` its running sum and
    ``S = {k: z_k - (C_k - 1) / k > 0}``, Keras subtracts
    ``tau = (sum of C_k over S - 1) / size(S)``; the paper (Martins and Astudillo,
    2016) takes ``C`` at the last member of ``S`` only. The two agree when a single
    entry survives.
    """
    z = -np.sort(-x, axis=-1)
    k = np.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    c = np.cumsum(z, axis=-1)
    support = z - (c - 1) / k > 0
    total = np.where(support, c, 0).sum(axis=-1, keepdims=True)
    tau = (total - 1) / support.sum(axis=-1, keepdims=True).astype(x.dtype)
    return np.maximum(x - tau, 0)


def keras2_hard_sigmoid(x: Array) -> Array:
    """``clip(0.2 * x + 0.5, 0, 1)``: what Keras 1 and 2 called hard_sigmoid"""
    return np.clip(0.2 * x + 0.5, 0, 1)


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            linear, relu, relu6, leaky_relu, elu, selu, sigmoid, hard_sigmoid, silu,
            hard_silu, tanh, hard_tanh, tanh_shrink, softplus, log_sigmoid, softsign,
            squareplus, mish, gelu, exponential, softmax, log_softmax, sparse_plus,
            sparse_sigmoid, soft_shrink, hard_shrink, sparsemax,
        )
    }
    | {"celu": celu}
)  # fmt: skip
"""Name in a Keras config -> function."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {"swish": "silu", "hard_swish": "hard_silu"}
)
"""Names that older configs use for one of `ACTIVATIONS`."""

HISTORICAL: Mapping[str, Activation] = MappingProxyType(
    {"keras2_hard_sigmoid": keras2_hard_sigmoid}
)
"""Functions that no Keras 3 config names, but that ports and old files compute."""


def resolve(name: str) -> Activation:
    """The function for a name that has already been accepted."""
    return HISTORICAL[name] if name in HISTORICAL else ACTIVATIONS[name]
