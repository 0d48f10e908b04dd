"""Evaluate the raw operations on numbers that may be missing, and on matrices.

Source: keras/src/ops/{numpy,math,linalg}.py; what they compute on TensorFlow is in
keras/src/backend/tensorflow/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from verify.forward.activations import erf
from verify.forward.layers.base import (
    LayerType,
    Option,
    axis,
    from_front,
    integer,
    positive,
)
from verify.forward.layers.operation_functions import on_axes, on_axis
from verify.forward.layers.operations import REDUCED, made_operation
from verify.forward.recordable import as_array
from verify.model.arrays import Array
from verify.model.dtypes import is_float


def _of_floats(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that raises ValueError for whole numbers."""

    def checked(*operands: Any, **options: Any) -> Any:
        if not all(is_float(as_array(x)) for x in operands):
            raise ValueError("whole numbers, for which this operation is not read")
        return function(*operands, **options)

    checked.__doc__ = function.__doc__
    return checked


def cube_root(x: Array) -> Array:
    """Compute ``sign(x) * |x| ** (1 / 3)``."""
    return np.sign(x) * np.power(np.abs(x), x.dtype.type(1 / 3))


def sinc(x: Array) -> Array:
    """Compute ``sin(pi * x) / (pi * x)``, and 1 where x is 0."""
    turned = x * x.dtype.type(np.pi)
    one = np.where(x == 0, x.dtype.type(1), turned)
    return np.where(x == 0, x.dtype.type(1), np.sin(one) / one)


def hypotenuse(x1: Array, x2: Array) -> Array:
    """Compute ``sqrt(x1^2 + x2^2)``, of the greater and the ratio of both."""
    a, b = np.abs(x1), np.abs(x2)
    most, least = np.maximum(a, b), np.minimum(a, b)
    whole = np.where(most == 0, most.dtype.type(1), most)
    ratio = np.where(most == 0, most.dtype.type(0), least / whole)
    return most * np.sqrt(1 + np.square(ratio))


def step_of(x1: Array, x2: Array) -> Array:
    """Compute 0 where `x1` is below 0, 1 where it is above, and `x2` where it is 0."""
    one = np.where(x1 > 0, x1.dtype.type(1), x2)
    return np.where(x1 < 0, x1.dtype.type(0), one)


def truncated_rest(x1: Array, x2: Array) -> Array:
    """Compute the rest of a division, which has the sign of `x1`."""
    return np.sign(x1) * np.mod(np.abs(x1), np.abs(x2))


def _known(choose: Callable[..., Any]) -> Callable[[Array, Array], Array]:
    """Return a function that chooses one of two numbers, NaN only if both are."""

    def chosen(x1: Array, x2: Array) -> Array:
        y: Array = choose(x1, x2)
        if not is_float(y):
            return y
        y = np.where(np.isnan(x1) & ~np.isnan(x2), x2, y)
        return np.where(np.isnan(x2) & ~np.isnan(x1), x1, y)

    return chosen


def _without_nan(x: Array, value: float) -> Array:
    return np.where(np.isnan(x), x.dtype.type(value), x)


def nan_sum(x: Array, axis: Any, keepdims: bool) -> Array:
    """Sum the numbers that are not NaN."""
    return as_array(np.sum(_without_nan(x, 0), axis=axis, keepdims=keepdims))


def nan_prod(x: Array, axis: Any, keepdims: bool) -> Array:
    """Multiply the numbers that are not NaN."""
    return as_array(np.prod(_without_nan(x, 1), axis=axis, keepdims=keepdims))


def nan_mean(x: Array, axis: Any, keepdims: bool) -> Array:
    """Compute the mean of the numbers that are not NaN."""
    counts = np.sum(~np.isnan(x), axis=axis, keepdims=keepdims).astype(x.dtype)
    return nan_sum(x, axis, keepdims) / counts


def nan_var(x: Array, axis: Any, keepdims: bool) -> Array:
    """Compute the variance of the numbers that are not NaN."""
    apart = _without_nan(x - nan_mean(x, axis, True), 0)
    counts = np.sum(~np.isnan(x), axis=axis, keepdims=keepdims).astype(x.dtype)
    return as_array(np.sum(np.square(apart), axis=axis, keepdims=keepdims)) / counts


def nan_std(x: Array, axis: Any, keepdims: bool) -> Array:
    """Compute the standard deviation of the numbers that are not NaN."""
    return np.sqrt(nan_var(x, axis, keepdims))


def _nan_end(choose: Callable[..., Any], end: float) -> Callable[..., Array]:
    def of_known(x: Array, axis: Any, keepdims: bool) -> Array:
        y = as_array(choose(_without_nan(x, end), axis=axis, keepdims=keepdims))
        none = np.all(np.isnan(x), axis=axis, keepdims=keepdims)
        return np.where(none, x.dtype.type(np.nan), y)

    return of_known


def span(x: Array, axis: Any, keepdims: bool) -> Array:
    """Subtract the least number along axes from the greatest."""
    ends = (f(x, axis=axis, keepdims=keepdims) for f in (np.max, np.min))
    most, least = ends
    return as_array(most - least)


def diagonal(x: Array, offset: int, axis1: int, axis2: int) -> Array:
    """Return a diagonal of the matrices of two axes, as the last axis."""
    first, second = from_front((axis1, axis2), x.ndim)
    return np.diagonal(x, offset, first, second)


def trace(x: Array, offset: int, axis1: int, axis2: int) -> Array:
    """Sum a diagonal of the matrices of two axes."""
    return as_array(np.sum(diagonal(x, offset, axis1, axis2), axis=-1))


def flip_columns(x: Array) -> Array:
    """Reverse the order along axis 1."""
    return np.flip(x, (1,))


def array_split(x: Array, axis: int, indices_or_sections: int) -> list[Array]:
    """Split into parts of which the first may be greater by one."""
    return list(np.array_split(x, indices_or_sections, axis=axis))


def _matrices(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a function of the square matrices of the last two axes."""

    def of_rows(x: Array) -> Array:
        if x.ndim < 3 or x.shape[-1] != x.shape[-2]:
            raise ValueError("a square matrix for each row expected")
        return function(x)

    return of_rows


def _as_solved(x: Array) -> Array:
    """Return matrices in a dtype that NumPy solves, which those of 16 bits are not."""
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def determinant(x: Array) -> Array:
    """Return the determinant of a matrix for each row."""
    return as_array(np.linalg.det(_as_solved(x))).astype(x.dtype, copy=False)


def inverse(x: Array) -> Array:
    """Return the inverse of a matrix for each row; NaN if one has none."""
    try:
        return as_array(np.linalg.inv(_as_solved(x))).astype(x.dtype, copy=False)
    except np.linalg.LinAlgError:
        return np.full_like(x, np.nan)


DIAGONAL = {
    "offset": Option(integer, 0),
    "axis1": Option(axis, 0),
    "axis2": Option(axis, 1),
}
_UNARY: dict[str, Callable[[Array], Any]] = {
    "Cbrt": cube_root, "Deg2rad": np.deg2rad,
    "Rad2deg": np.rad2deg, "Sinc": sinc,
    "Exp2": lambda x: np.exp2(x), "Erfc": lambda x: 1 - erf(x),
    "Signbit": np.signbit, "Isneginf": np.isneginf, "Isposinf": np.isposinf,
}  # fmt: skip
_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Hypot": hypotenuse, "Heaviside": step_of, "Fmod": truncated_rest,
}  # fmt: skip
_REDUCTIONS: dict[str, Callable[..., Array]] = {
    "Nansum": nan_sum, "Nanprod": nan_prod, "Nanmean": nan_mean, "Nanvar": nan_var,
    "Nanstd": nan_std, "Nanmax": _nan_end(np.max, -np.inf),
    "Nanmin": _nan_end(np.min, np.inf), "Ptp": span,
}  # fmt: skip

KINDS: tuple[type[LayerType], ...] = (
    *(made_operation(n, "keep", _of_floats(f), {}) for n, f in _UNARY.items()),
    *(
        made_operation(n, "promote", _of_floats(f), {}, ("x1", "x2"))
        for n, f in _BINARY.items()
    ),
    made_operation("Fmax", "promote", _known(np.maximum), {}, ("x1", "x2")),
    made_operation("Fmin", "promote", _known(np.minimum), {}, ("x1", "x2")),
    *(
        made_operation(n, "keep", _of_floats(on_axes(f)), REDUCED)
        for n, f in _REDUCTIONS.items()
    ),
    made_operation("Diagonal", "own", diagonal, DIAGONAL),
    made_operation("Trace", "keep", _of_floats(trace), DIAGONAL),
    made_operation("Fliplr", "own", flip_columns, {}),
    made_operation(
        "ArraySplit", "own", on_axis(array_split),
        {"indices_or_sections": Option(positive), "axis": Option(axis)},
    ),
    made_operation("Det", "own", _of_floats(_matrices(determinant)), {}),
    made_operation("Inv", "own", _of_floats(_matrices(inverse)), {}),
)  # fmt: skip
"""The layer types of this module, for the registry."""
