"""Compute every activation of Keras 3, under the name that a saved config uses.

Each function takes and returns an array of one dtype, float32 or float64, and works
element by element unless it has an axis. Formulas follow the documentation of Keras
3.15; where Keras computes something else than the name promises (`sparsemax`), this
module computes what Keras computes, and the docstring says so.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from verify.forward.recordable import activation
from verify.model.arrays import Array

Activation = Callable[..., Array]

SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772
"""Constants of `selu`. Source: Klambauer et al. (2017), arXiv:1706.02515."""

# NumPy has no erf
_erf = np.vectorize(math.erf, otypes=[np.float64])


@activation
def erf(x: Array) -> Array:
    """Compute the error function, ``2 / sqrt(pi)`` times the integral of exp(-t^2)."""
    return np.asarray(_erf(x)).astype(x.dtype)


def constant(value: float, exact: bool) -> float:
    """Return a constant as TensorFlow holds it: rounded to float32, even in float64.

    In a float64 layer, gelu and leaky_relu therefore differ from their formulas by up
    to 4e-9 and 2e-8 times x. With `exact` the constant is not rounded, as on other
    backends.
    """
    return value if exact else float(np.float32(value))


@activation
def linear(x: Array) -> Array:
    """Compute ``x``."""
    return x


@activation
def relu(
    x: Array,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
    *,
    exact: bool = False,
) -> Array:
    """Compute ``max(x, 0)``.

    With arguments it is ``min(x, max_value)`` above `threshold`, and
    ``negative_slope * (x - threshold)`` below it.
    """
    if negative_slope and max_value is None and not threshold:
        return leaky_relu(x, negative_slope, exact=exact)
    y = np.where(x > threshold, x, 0 * x) if threshold else np.maximum(x, 0)
    if max_value is not None:
        y = np.clip(y, 0, constant(max_value, exact))
    if negative_slope:
        y = y - negative_slope * np.maximum(threshold - x, 0)
    return y


@activation
def relu6(x: Array) -> Array:
    """Compute ``min(max(x, 0), 6)``."""
    return np.clip(x, 0, 6)


@activation
def leaky_relu(x: Array, negative_slope: float = 0.2, *, exact: bool = False) -> Array:
    """Compute ``x if x > 0 else negative_slope * x``."""
    return np.where(x > 0, x, constant(negative_slope, exact) * x)


@activation
def elu(x: Array, alpha: float = 1.0) -> Array:
    """Compute ``x if x > 0 else alpha * (exp(x) - 1)``."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@activation
def celu(x: Array, alpha: float = 1.0) -> Array:
    """Compute ``max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)``."""
    return np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha)


@activation
def selu(x: Array) -> Array:
    """Compute ``scale * (x if x > 0 else alpha * (exp(x) - 1))``."""
    return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0)))


@activation
def sigmoid(x: Array) -> Array:
    """Compute ``1 / (1 + exp(-x))`` without overflow in either tail."""
    e = np.exp(-np.abs(x))  # at most 1; for x < 0 the result is exp(x) / (1 + exp(x))
    return np.where(x >= 0, 1, e) / (1 + e)


@activation
def hard_sigmoid(x: Array) -> Array:
    """Compute ``clip(x / 6 + 0.5, 0, 1)``; see also `keras2_hard_sigmoid`."""
    return np.clip(x + 3, 0, 6) / 6


@activation
def silu(x: Array) -> Array:
    """Compute ``x * sigmoid(x)``."""
    return x * sigmoid(x)


@activation
def hard_silu(x: Array) -> Array:
    """Compute ``x * hard_sigmoid(x)``."""
    return x * hard_sigmoid(x)


@activation
def tanh(x: Array) -> Array:
    """Compute ``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``."""
    return np.tanh(x)


@activation
def hard_tanh(x: Array) -> Array:
    """Compute ``clip(x, -1, 1)``."""
    return np.clip(x, -1, 1)


@activation
def tanh_shrink(x: Array) -> Array:
    """Compute ``x - tanh(x)``."""
    return x - np.tanh(x)


@activation
def softplus(x: Array) -> Array:
    """Compute ``log(1 + exp(x))``."""
    return np.logaddexp(x, np.zeros_like(x))


@activation
def log_sigmoid(x: Array) -> Array:
    """Compute ``-log(1 + exp(-x))``."""
    return -softplus(-x)


@activation
def softsign(x: Array) -> Array:
    """Compute ``x / (1 + abs(x))``."""
    return x / (1 + np.abs(x))


@activation
def squareplus(x: Array, b: float = 4) -> Array:
    """Compute ``(x + sqrt(x**2 + b)) / 2``."""
    return (x + np.sqrt(x * x + b)) / 2


@activation
def mish(x: Array) -> Array:
    """Compute ``x * tanh(softplus(x))``."""
    return x * np.tanh(softplus(x))


@activation
def gelu(x: Array, approximate: bool = False, *, exact: bool = False) -> Array:
    """Compute ``x / 2 * (1 + erf(x / sqrt(2)))``, Keras's default form.

    With `approximate` it is
    ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``.
    """
    if approximate:
        factor, cube = math.sqrt(2 / math.pi), constant(0.044715, exact)
        return 0.5 * x * (1 + np.tanh(factor * (x + cube * x**3)))
    return 0.5 * x * (1 + _erf(x * constant(1 / math.sqrt(2), exact)).astype(x.dtype))


@activation
def exponential(x: Array) -> Array:
    """Compute ``exp(x)``."""
    return np.exp(x)


@activation
def softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Compute ``exp(x) / sum(exp(x))`` over one axis or several."""
    # the greatest is subtracted so that exp does not overflow; the quotient is the same
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@activation
def log_softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """Compute ``x - log(sum(exp(x)))`` over one axis or several."""
    shifted = x - x.max(axis=axis, keepdims=True)  # so that exp does not overflow
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def glu(x: Array, axis: int = -1) -> Array:
    """Compute ``a * sigmoid(b)``, where a and b are the halves of `x` along an axis."""
    a, b = np.split(x, 2, axis=axis)
    return a * sigmoid(b)


@activation
def sparse_plus(x: Array) -> Array:
    """Compute 0 for x up to -1, ``(x + 1)**2 / 4`` for x up to 1, and x above."""
    return np.where(x <= -1, np.zeros_like(x), np.where(x < 1, (x + 1) ** 2 / 4, x))


@activation
def sparse_sigmoid(x: Array) -> Array:
    """Compute ``clip((x + 1) / 2, 0, 1)``."""
    return np.clip((x + 1) / 2, 0, 1)


@activation
def soft_shrink(x: Array, threshold: float = 0.5) -> Array:
    """Move ``x`` towards 0 by `threshold`, and stop at 0."""
    low = np.where(x < -threshold, x + threshold, np.zeros_like(x))
    return np.where(x > threshold, x - threshold, low)


@activation
def hard_shrink(x: Array, threshold: float = 0.5) -> Array:
    """Compute ``x if abs(x) > threshold else 0``."""
    return np.where(np.abs(x) > threshold, x, np.zeros_like(x))


def sparsemax(x: Array, axis: int = -1) -> Array:
    """Compute what Keras 3.15 calls sparsemax, which is not that of the paper.

    Let ``z`` be `x` sorted downwards along the axis, ``C`` its running sum and
    ``S = {k: z_k - (C_k - 1) / k > 0}``. The result is ``max(x - tau, 0)`` with
    ``tau = (sum of C_k over S - 1) / size(S)``. The paper (Martins and Astudillo, 2016)
    has ``C`` at the last member of ``S`` in place of the sum. The two agree where ``S``
    has one member.
    """
    if axis not in (-1, x.ndim - 1):
        return np.moveaxis(sparsemax(np.moveaxis(x, axis, -1)), -1, axis)
    z = -np.sort(-x, axis=-1)
    k = np.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    c = np.cumsum(z, axis=-1)
    support = z - (c - 1) / k > 0
    total = np.where(support, c, 0).sum(axis=-1, keepdims=True)
    tau = (total - 1) / support.sum(axis=-1, keepdims=True).astype(x.dtype)
    return np.maximum(x - tau, 0)


def sparsemax_of_the_paper(x: Array, axis: int = -1) -> Array:
    """Compute sparsemax as Martins and Astudillo (2016), and Keras from 3.16 on.

    With ``z`` and ``S`` as in `sparsemax`, the result is ``max(x - tau, 0)`` with
    ``tau = (sum of z_k over S - 1) / size(S)``: the nearest probabilities to `x`.
    """
    if axis not in (-1, x.ndim - 1):
        moved = np.moveaxis(x, axis, -1)
        return np.moveaxis(sparsemax_of_the_paper(moved), -1, axis)
    z = -np.sort(-x, axis=-1)
    k = np.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    support = z - (np.cumsum(z, axis=-1) - 1) / k > 0
    total = np.where(support, z, 0).sum(axis=-1, keepdims=True)
    tau = (total - 1) / support.sum(axis=-1, keepdims=True).astype(x.dtype)
    return np.maximum(x - tau, 0)


@activation
def keras2_hard_sigmoid(x: Array) -> Array:
    """Compute ``clip(0.2 * x + 0.5, 0, 1)``, the hard_sigmoid of Keras 1 and 2."""
    return np.clip(0.2 * x + 0.5, 0, 1)


def keras2_hard_silu(x: Array) -> Array:
    """Compute ``x * clip(0.2 * x + 0.5, 0, 1)``, from the hard_sigmoid of Keras 2."""
    return x * keras2_hard_sigmoid(x)


def rounded_selu(x: Array) -> Array:
    """Compute `selu` with constants rounded to four digits, 1.0507 and 1.6733."""
    return 1.0507 * np.where(x > 0, x, 1.6733 * np.expm1(np.minimum(x, 0)))


ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            linear, relu, relu6, leaky_relu, elu, selu, sigmoid, hard_sigmoid, silu,
            hard_silu, tanh, hard_tanh, tanh_shrink, softplus, log_sigmoid, softsign,
            squareplus, mish, gelu, exponential, softmax, log_softmax, sparse_plus,
            sparse_sigmoid, soft_shrink, hard_shrink, sparsemax, celu, glu,
        )
    }
)  # fmt: skip
"""Name in a Keras config -> function."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {"swish": "silu", "hard_swish": "hard_silu"}
)
"""Names that older configs use for one of `ACTIVATIONS`."""

HISTORICAL: Mapping[str, Activation] = MappingProxyType(
    {"keras2_hard_sigmoid": keras2_hard_sigmoid}
)
"""Name in this package -> function that ports and old files use, and Keras 3 lacks."""

FOUND_IN_PORTS: Mapping[str, Activation] = MappingProxyType(
    {"keras2_hard_silu": keras2_hard_silu, "rounded_selu": rounded_selu}
)
"""Name in this package -> function that ports alone use; no file names it."""

ACTIVATION_LAYERS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "ReLU": ("relu", {}),
        "LeakyReLU": ("leaky_relu", {"negative_slope": 0.3}),
        "ELU": ("elu", {}),
        "Softmax": ("softmax", {}),
    }
)
"""Class of a layer that a config may name as an activation -> the function it computes,
and those defaults of the layer that are not the function's."""

RENAMED: Mapping[str, str] = MappingProxyType({"alpha": "negative_slope"})
"""Argument of LeakyReLU in Keras 2 -> its name in Keras 3."""


def exactly(function: Activation) -> Activation:
    """Return the same activation with unrounded constants; see `constant`."""
    keywords = getattr(function, "__kwdefaults__", None) or {}
    return partial(function, exact=True) if "exact" in keywords else function


def resolve(name: str, *, exact: bool = False, paper: bool = False) -> Activation:
    """Return the function for a name from `read_activation` or `with_arguments`.

    With `exact`, its constants are not rounded to float32; see `constant`. With
    `paper`, sparsemax is `sparsemax_of_the_paper`.
    """
    bare, _, inside = name.partition("(")
    known = (ACTIVATIONS, HISTORICAL, FOUND_IN_PORTS)
    function = next(names[bare] for names in known if bare in names)
    if exact:
        function = exactly(function)
    if paper and function is sparsemax:
        function = sparsemax_of_the_paper
    if not inside:
        return function
    items = (item.split("=") for item in inside[:-1].split("; "))
    return partial(function, **{key: json.loads(value) for key, value in items})


def with_arguments(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a name for `resolve`, such as ``leaky_relu(negative_slope=0.1)``.

    Arguments equal to the function's default are left out, so that two configs of the
    same function get the same name.

    Raises
    ------
    ValueError
        The function has no such argument, or a value is not made of finite numbers,
        flags and None.
    """
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(ACTIVATIONS[name]).parameters.items()
        if key != "x" and parameter.kind is not parameter.KEYWORD_ONLY
    }
    unknown = sorted(arguments.keys() - defaults.keys())
    if unknown:
        raise ValueError(f"no argument '{unknown[0]}' of {name}")
    given = {}
    for key, value in arguments.items():
        if value != defaults[key]:
            items = value if isinstance(value, (list, tuple)) else [value]
            if not all(
                item is None
                or isinstance(item, bool)
                or (isinstance(item, (int, float)) and math.isfinite(item))
                for item in items
            ):
                raise ValueError(f"a number for '{key}' of {name}")
            given[key] = value
    if not given:
        return name
    return f"{name}({'; '.join(f'{k}={json.dumps(v)}' for k, v in given.items())})"


def read_activation(value: Any) -> str:
    """Read an activation from a config, and return its name for `resolve`.

    Parameters
    ----------
    value : None, str or dict
        A name, or a serialised activation layer such as LeakyReLU; None is linear.

    Raises
    ------
    ValueError
        The value is no known activation; the text says what was expected.
    """
    if value is None:
        return "linear"
    config: Mapping[str, Any] = {}
    if isinstance(value, dict):
        module = str(value.get("module") or "keras").split(".")[0]
        ours = module == "keras" and "class_name" in value  # a lambda has none
        value, inside = value.get("class_name"), value.get("config")
        if module == "keras2" and inside in HISTORICAL:
            return str(inside)
        if value == "function" and ours:
            value = inside
        elif value in ACTIVATION_LAYERS and ours and isinstance(inside, dict):
            value, config = value, inside
        elif not ours:
            raise ValueError(
                "the name of a Keras activation, as a function of yours is code, which "
                "is never run: give the layer by --layers (docs/own-layers.md), or "
                "check the rest with rnn-verify check --partial"
            )
        else:
            value = None
    if isinstance(value, str) and value in ACTIVATION_LAYERS:
        name, defaults = ACTIVATION_LAYERS[value]
        skipped = ("name", "trainable", "dtype")
        arguments = {k: v for k, v in config.items() if k not in skipped}
        if name == "leaky_relu":
            arguments = {RENAMED.get(k, k): v for k, v in arguments.items()}
        return with_arguments(name, {**defaults, **arguments})
    name = ALIASES.get(value, value) if isinstance(value, str) else ""
    if name not in ACTIVATIONS:
        known = ", ".join((*ACTIVATIONS, *ALIASES))
        raise ValueError(
            f"the name of a Keras activation ({known}), or one of the layers "
            f"{', '.join(ACTIVATION_LAYERS)}"
        )
    return name
