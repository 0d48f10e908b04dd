"""List the derivatives of the operations on single elements.

A function in `SLOPES` takes the operands and the output, and returns the derivative
with respect to each operand. At a kink it takes the side that TensorFlow takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from verify.model.arrays import Array

Slopes = Callable[..., Sequence[Any]]


def _power(x: Any, exponent: Any, y: Array) -> Sequence[Any]:
    """Differentiate ``x ** exponent``; its logarithm counts for positive x alone."""
    with np.errstate(divide="ignore", invalid="ignore"):
        by_x = exponent * np.power(x, exponent - 1.0)
        by_x = np.where(np.equal(exponent, 0), 0.0, by_x)
        logarithm = np.log(np.where(np.greater(x, 0), x, 1.0))
    return by_x, y * logarithm


def _flat(*operands: Any) -> Sequence[Any]:
    return (0.0,) * (len(operands) - 1)


SLOPES: Mapping[np.ufunc, Slopes] = MappingProxyType(
    {
        np.add: lambda a, b, y: (1.0, 1.0),
        np.subtract: lambda a, b, y: (1.0, -1.0),
        np.multiply: lambda a, b, y: (b, a),
        np.true_divide: lambda a, b, y: (1 / b, -y / b),
        np.power: _power,
        np.float_power: _power,
        np.maximum: lambda a, b, y: (np.greater_equal(a, b), np.less(a, b)),
        np.minimum: lambda a, b, y: (np.less_equal(a, b), np.greater(a, b)),
        np.mod: lambda a, b, y: (1.0, -np.floor(a / b)),
        np.logaddexp: lambda a, b, y: (np.exp(a - y), np.exp(b - y)),
        np.arctan2: lambda a, b, y: (b / (a * a + b * b), -a / (a * a + b * b)),
        np.hypot: lambda a, b, y: (a / y, b / y),
        np.negative: lambda x, y: (-1.0,),
        np.positive: lambda x, y: (1.0,),
        np.absolute: lambda x, y: (np.sign(x),),
        np.fabs: lambda x, y: (np.sign(x),),
        np.reciprocal: lambda x, y: (-y * y,),
        np.square: lambda x, y: (2 * x,),
        np.sqrt: lambda x, y: (0.5 / y,),
        np.cbrt: lambda x, y: (y / (3 * x),),
        np.exp: lambda x, y: (y,),
        np.exp2: lambda x, y: (y * math.log(2),),
        np.expm1: lambda x, y: (y + 1,),
        np.log: lambda x, y: (1 / x,),
        np.log2: lambda x, y: (1 / (x * math.log(2)),),
        np.log10: lambda x, y: (1 / (x * math.log(10)),),
        np.log1p: lambda x, y: (1 / (1 + x),),
        np.deg2rad: lambda x, y: (math.pi / 180,),
        np.rad2deg: lambda x, y: (180 / math.pi,),
        np.sin: lambda x, y: (np.cos(x),),
        np.cos: lambda x, y: (-np.sin(x),),
        np.tan: lambda x, y: (1 + y * y,),
        np.arcsin: lambda x, y: (1 / np.sqrt(1 - x * x),),
        np.arccos: lambda x, y: (-1 / np.sqrt(1 - x * x),),
        np.arctan: lambda x, y: (1 / (1 + x * x),),
        np.sinh: lambda x, y: (np.cosh(x),),
        np.cosh: lambda x, y: (np.sinh(x),),
        np.tanh: lambda x, y: (1 - y * y,),
        np.arcsinh: lambda x, y: (1 / np.sqrt(x * x + 1),),
        np.arccosh: lambda x, y: (1 / np.sqrt(x * x - 1),),
        np.arctanh: lambda x, y: (1 / (1 - x * x),),
        np.floor: _flat, np.ceil: _flat, np.trunc: _flat,
        np.rint: _flat, np.sign: _flat, np.floor_divide: _flat,
    }
)  # fmt: skip
"""Function of NumPy -> its derivatives."""

TIED: Mapping[np.ufunc, Slopes] = MappingProxyType(
    {
        np.maximum: lambda a, b, y: (np.greater_equal(a, b), np.less_equal(a, b)),
        np.minimum: lambda a, b, y: (np.less_equal(a, b), np.greater_equal(a, b)),
    }
)
"""For those who ask how errors move a result: of two equal numbers, such as the zeros
after a ReLU, either may turn out to be the greater one, so both count."""

EXACT = frozenset(
    {"negative", "positive", "absolute", "fabs", "maximum", "minimum"}
    | {"floor", "ceil", "rint", "trunc", "sign", "where"}
)
"""Functions of NumPy that do not round: they choose, or return whole numbers."""


def times_slope(d: Array, slope: Any) -> Array:
    """Return ``d * slope``, where an adjoint of 0 stays 0 whatever the slope is.

    A row of zeros has a norm of 0, whose slope is infinite, before it is divided by a
    greater number instead. What no output depends on has no effect.
    """
    found = d * slope
    if not np.all(np.isfinite(slope)):
        found = np.where(d == 0, 0.0, found)
    return np.asarray(found)


def unbroadcast(d: Array, shape: tuple[int, ...]) -> Array:
    """Sum an adjoint over the axes along which an operand was repeated.

    Parameters
    ----------
    d : (sweeps, ...)
    shape : tuple of int
        Shape of the operand.

    Returns
    -------
    (sweeps, *shape)
    """
    if d.shape[1:] == shape:
        return d
    new = d.ndim - 1 - len(shape)
    over = tuple(range(1, 1 + new))
    over += tuple(
        1 + new + k for k, size in enumerate(shape) if size == 1 != d.shape[1 + new + k]
    )
    return d.sum(axis=over, keepdims=True).reshape(len(d), *shape) if over else d
