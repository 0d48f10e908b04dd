"""Say where the recorded operations of any layer round in float32, and by how much.

`sites` has the layers with equations of their own. Every other layer is a sequence of
operations (`verify.backward.recording`), and each of them is a rounding site:

* An operation on single elements rounds once. Functions such as exp have the error that
  was measured for them on the platform, or a few units where none was.
* A sum of products has the statistics of `LayerRounding.dot`; where neither operand is
  a weight, those of `piled_variance`, as all other sums.
* Where the slope of a function jumps near a value, float32 may be on the other side.
  The derivative is then off by the jump, so the error is at most the jump times the
  distance by which float32 moved the value.
* Where the value itself jumps, as in a comparison, the row gets no bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from verify.backward.recording import Operation
from verify.backward.recording.elementwise import EXACT
from verify.model.arrays import Array
from verify.model.dtypes import SINGLE
from verify.tolerance.activation_errors import (
    EXACT_ACTIVATIONS,
    KINKS,
    MEASURED_ACTIVATIONS,
    ActivationErrors,
)
from verify.tolerance.error_bound.kinks import slope_jump
from verify.tolerance.error_bound.sums import piled_variance
from verify.tolerance.noise_floor import FLUSH_ERROR

SHIFTS = 4.0
"""How many times further than NumPy's float32 another program may move a value."""

ROUNDED_ONCE = frozenset({"multiply", "sqrt", "square", "reciprocal"})
"""Operations that every platform rounds correctly, or nearly so."""

OWN_ERRORS: Mapping[str, float] = MappingProxyType(
    {"power": 16.0, "float_power": 16.0, "tan": 8.0, "tanh": 8.0}
)
"""Function of NumPy -> its error in units of `SINGLE` times its output."""

MEASURED: Mapping[str, str] = MappingProxyType({"exp": "exponential", "tanh": "tanh"})
"""Function of NumPy -> the activation by which its error was measured."""

RELATIVE_TO_ONE = frozenset(
    {"log", "log2", "log10", "log1p", "expm1", "sin", "cos", "logaddexp"}
    | {"arccos", "arcsin", "arctan", "arctan2", "arcsinh", "arccosh", "arctanh"}
)
"""Functions of NumPy that cancel: their error is relative to ``1 + |y|``."""

STRAIGHT = frozenset({"add", "subtract", "multiply", "negative", "positive"})
"""Operations whose slope with respect to an operand does not depend on it."""

SMOOTH = frozenset(
    {"sigmoid", "tanh", "softplus", "log_sigmoid", "softsign", "silu", "gelu", "mish"}
    | {"squareplus", "exponential", "erf", "tanh_shrink", "celu", "linear"}
)
"""Activations whose slopes do not jump. How slopes change otherwise is of second order,
which an analysis to first order leaves out."""

MANY_PRODUCTS = 1e6
"""From so many products on, their sizes are added up in float32, which takes half the
time; `ROUNDED_UP` makes up for what it rounds."""

ROUNDED_UP = 1 + 1e-4

UNKNOWN_FUNCTION = 4.0
"""Error, in units of `SINGLE`, of a function whose error was not measured."""


class OperationRounding(NamedTuple):
    """Hold how far float32 may be off in the result of one operation.

    Attributes
    ----------
    max_error : (rows, ...)
        As in `RoundingSite`.
    standard_deviation : (rows, ...) or None
    near : (rows,) of bool
        Rows in which the result may be another altogether.
    alike : (rows, ...) or None
        Error of a single constant, times the slope with respect to it: it is the same
        for all numbers of the result. A mask writes one number in many places.
    """

    max_error: Array
    standard_deviation: Array | None
    near: Array
    alike: Array | None = None


def operation_rounding(
    operation: Operation, activation_errors: ActivationErrors, unit: float = SINGLE
) -> OperationRounding:
    """Return how far float32 may be off in the result of one operation.

    Parameters
    ----------
    operation : Operation
    activation_errors : ActivationErrors
        Of float32.
    unit : float
        Unit roundoff of the floats that are computed with, if they are others. What
        they move operands by is taken from the operation all the same.
    """
    y, coarse = operation.output, unit / SINGLE
    nowhere = np.zeros(len(y) if y.ndim else 1, dtype=bool)
    match operation.name:
        case "constant":
            error = 2 * coarse * np.asarray(operation.errors[0])
            return OperationRounding(error, None, nowhere)
        case "undecided":
            return OperationRounding(np.zeros(()), None, ~nowhere)
        case "decision":
            return OperationRounding(np.zeros(()), None, _decided(operation))
        case "products":
            error, deviation = _products(operation)
            return OperationRounding(coarse * error, coarse * deviation, nowhere)
        case "sum" | "mean" | "cumsum" | "prod" | "cumprod":
            error, deviation = _sum(operation)
            return OperationRounding(coarse * error, coarse * deviation, nowhere)
        case "max" | "min":
            return OperationRounding(_extreme(operation), None, nowhere)
        case "sort":
            return OperationRounding(_order(operation), None, nowhere)
    error = coarse * _own_error(operation, activation_errors)
    if operation.slopes is None:
        return OperationRounding(error, None, nowhere)
    with np.errstate(all="ignore"):
        kinks, near = _kinks(operation)
        apart, alike = _weights_errors(operation)
        error = error + kinks + coarse * apart
        alike = None if alike is None else coarse * alike
    return OperationRounding(error, None, near, alike)


def _own_error(operation: Operation, errors: ActivationErrors) -> Array:
    """Return the error of the function itself."""
    name, y = operation.name, np.abs(operation.output)
    bare = name.removeprefix("activation:")
    if bare != name:
        x = operation.operands[0]
        if bare in ("softmax", "log_softmax"):
            return _softmax(operation, errors)
        plain = not operation.place  # nothing but x: no slope, no ceiling
        if (plain and bare in EXACT_ACTIVATIONS) or bare == "hard_shrink":
            return np.zeros_like(y)
        if bare in MEASURED_ACTIVATIONS:
            return errors.error(bare, x, operation.output)
        return UNKNOWN_FUNCTION * SINGLE * (1 + np.abs(x) + y)
    if name in EXACT:
        return np.zeros_like(y)
    if name in ("add", "subtract"):  # of several terms in any order
        a, b = operation.operands
        return SINGLE * (np.abs(a) + np.abs(b))
    if name == "true_divide":  # some multiply by the reciprocal, which is rounded too
        return 2 * SINGLE * y + FLUSH_ERROR
    if name in ROUNDED_ONCE:
        return SINGLE * y + FLUSH_ERROR
    if name in MEASURED:
        return errors.error(MEASURED[name], operation.operands[0], operation.output)
    if name in RELATIVE_TO_ONE:
        return UNKNOWN_FUNCTION * SINGLE * (1 + y)
    return OWN_ERRORS.get(name, UNKNOWN_FUNCTION) * SINGLE * y + FLUSH_ERROR


def _softmax(operation: Operation, errors: ActivationErrors) -> Array:
    """Return the error of a softmax, or of its logarithm.

    A relative error of an exponential is an absolute error of the logarithm, and a
    relative error of its own output and, weighted by the outputs, of their sum.
    """
    x, y = operation.operands[0], operation.output
    axes = operation.place[1]  # type: ignore[index]
    top = np.maximum(x.max(axis=axes, keepdims=True), -np.finfo(np.float32).max)
    below = np.maximum(x - top, -200.0)  # float32's exp is 0 below -104
    relative = SINGLE * (errors.constants["exponential"] + np.abs(below))
    terms = int(np.prod([x.shape[k] for k in axes]))
    logarithm = operation.name.endswith("log_softmax")
    shares = np.exp(y) if logarithm else y
    mean = (shares * relative).sum(axis=axes, keepdims=True)
    if logarithm:
        return mean + SINGLE * (terms + np.abs(y) + np.abs(x - top))
    return np.abs(y) * (relative + mean + SINGLE * (terms + 1)) + FLUSH_ERROR


def _products(operation: Operation) -> tuple[Array, Array]:
    """Return the errors of a sum of products; see `LayerRounding.dot`."""
    a, b = operation.operands
    y, terms = operation.output, max(operation.terms, 1)
    if y.size * terms > MANY_PRODUCTS:
        sizes = (np.abs(x, dtype=np.float32, casting="same_kind") for x in (a, b))
        size = operation.function(*sizes) * ROUNDED_UP
    else:
        size = operation.function(np.abs(a), np.abs(b))
    half = size.astype(np.float64, copy=False) / 2
    worst = SINGLE * (np.abs(y) + half) + terms * FLUSH_ERROR
    for k, error in enumerate(operation.errors):
        if np.any(error):
            pair = [np.abs(a), np.abs(b)]
            pair[k] = np.broadcast_to(error, pair[k].shape)
            worst = worst + operation.function(*pair)
    return worst, SINGLE * np.sqrt(half * half + piled_variance(operation))


def _sum(operation: Operation) -> tuple[Array, Array]:
    """Return the errors of a sum of numbers, of a mean, or of a product."""
    (x,) = operation.operands
    y = operation.output
    product = operation.name in ("prod", "cumprod")
    size = np.abs(y) if product else operation.function(np.abs(x))
    half = size / 2
    worst = SINGLE * (np.abs(y) + half) + FLUSH_ERROR
    return worst, SINGLE * np.sqrt(half * half + piled_variance(operation))


def _extreme(operation: Operation) -> Array:
    """Return how far a maximum moves if float32 chooses another number.

    That number is less than the maximum by no more than float32 moves both.
    """
    (x,) = operation.operands
    axes = operation.place[1]  # type: ignore[index]
    (shift,) = operation.shifts
    whole = x.max if operation.name == "max" else x.min
    with np.errstate(invalid="ignore"):
        gaps = np.abs(whole(axis=axes, keepdims=True) - x)
        gaps = np.where(gaps < 2 * SHIFTS * shift, gaps, 0.0)  # NaN is not near
    return gaps.max(axis=axes).reshape(operation.output.shape)


def _order(operation: Operation) -> Array:
    """Return how far a sorted number moves if float32 has another one in its place.

    Both it and what is derived of it move by no more than float32 moves the numbers.
    They are the same unless its neighbours are that near.
    """
    y = operation.output
    (k,) = operation.place[1]  # type: ignore[index]
    (shift,) = operation.shifts
    with np.errstate(invalid="ignore"):
        steps = np.diff(y, axis=k, prepend=-np.inf, append=np.inf)
    below, above = np.delete(steps, -1, axis=k), np.delete(steps, 0, axis=k)
    reach = np.broadcast_to(2 * SHIFTS * np.asarray(shift), y.shape)
    return np.where(np.minimum(below, above) < reach, reach, 0.0)


def _kinks(operation: Operation) -> tuple[Array, Array]:
    """Return what jumps of slopes add to the error, and where values jump.

    Returns
    -------
    error : (rows, ...)
    near : (rows,) of bool
    """
    assert operation.slopes is not None
    y, values = operation.output, operation.operands
    known = _known_kinks(operation)
    if known is not None:
        return known, np.zeros(len(y) if y.ndim else 1, dtype=bool)
    found: Any = np.zeros(())
    jumps: Any = np.zeros(y.shape, dtype=bool)
    own = operation.slopes(*values, y)
    for k, shift in enumerate(operation.near_shifts):
        if not np.any(shift):
            continue
        for sign in (1, -1):
            moved = list(values)
            moved[k] = values[k] + sign * SHIFTS * shift
            there = operation.function(*moved)
            slopes = operation.slopes(*moved, there)
            apart = np.abs(np.subtract(slopes[k], own[k], dtype=np.float64))
            found = np.maximum(found, SHIFTS * shift * np.nan_to_num(apart))
            steepest = np.maximum(np.abs(slopes[k]), np.abs(own[k]))
            allowed = 4 * SHIFTS * shift * steepest + SINGLE * (1 + np.abs(y))
            jumps |= np.abs(there - y) > np.maximum(allowed, 1e3 * SINGLE * np.abs(y))
    rows = jumps.reshape(len(y), -1).any(axis=1) if y.ndim else jumps.reshape(1)
    return np.asarray(found), rows


def _known_kinks(operation: Operation) -> Array | None:
    """Return what jumps of slopes add to the error, where it is known where they are.

    Beyond a kink an operation is off by the jump of its slope times the way beyond it.
    """
    name, values = operation.name, operation.operands
    if name in STRAIGHT:
        return np.zeros(())
    if name in ("maximum", "minimum"):
        a, b = values
        reach = SHIFTS * (np.asarray(operation.shifts[0]) + operation.shifts[1])
        # equal numbers have slopes of their own: see `TIED`
        return np.where(a == b, 0.0, np.maximum(reach - np.abs(a - b), 0.0))
    bare = name.removeprefix("activation:")
    if bare == name or operation.place:
        return None
    if bare in SMOOTH:
        return np.zeros(())
    if bare not in KINKS:
        return None
    found: Any = np.zeros(())
    for kink in KINKS[bare]:
        beyond = SHIFTS * np.asarray(operation.shifts[0]) - np.abs(values[0] - kink)
        found = found + slope_jump(bare, kink) * np.maximum(beyond, 0.0)
    return np.asarray(found)


def _weights_errors(operation: Operation) -> tuple[Any, Array | None]:
    """Return what errors of operands add that were computed from weights alone.

    Returns
    -------
    apart : (rows, ...) or float
        Errors of arrays.
    alike : (rows, ...) or None
        See `OperationRounding`.
    """
    assert operation.slopes is not None
    if not any(np.any(error) for error in operation.errors):
        return 0.0, None
    slopes = operation.slopes(*operation.operands, operation.output)
    apart: Any = 0.0
    alike: Any = None
    for slope, error in zip(slopes, operation.errors, strict=True):
        if np.size(error) > 1:
            apart = apart + np.abs(slope) * error
        elif np.any(error):
            own = np.asarray(slope) * np.reshape(error, ())
            alike = own if alike is None else np.abs(alike) + np.abs(own)
    return apart, alike


def _decided(operation: Operation) -> Array:
    """Return the rows in which float32 may decide otherwise.

    Numbers that are equal in float64 are equal for a reason: both are the same 0, for
    example. So they are not near.
    """
    values, shifts = operation.operands, operation.shifts
    shape = np.broadcast_shapes(*(v.shape for v in values))
    rows = shape[0] if shape else 1
    near: Any = np.zeros(shape, dtype=bool)
    if len(values) == 2 and all(v.dtype.kind in "fiu" for v in values):
        a, b = values
        gap = np.abs(np.subtract(a, b, dtype=np.float64))
        reach = np.asarray(shifts[0]) + np.asarray(shifts[1])
        near = (gap > 0) & (gap < SHIFTS * reach)
    elif len(values) == 1 and values[0].dtype.kind == "f":
        (x,), (shift,) = values, shifts
        here = operation.function(x)
        for sign in (1, -1):
            there = np.asarray(operation.function(x + sign * SHIFTS * shift))
            differs = there != here
            if there.dtype.kind == "f":
                differs &= ~(np.isnan(there) & np.isnan(here))
            if np.shape(differs)[:1] == (rows,):
                by_row = np.asarray(differs).reshape(rows, -1).any(axis=1)
                near = near | by_row.reshape(rows, *(1,) * (len(shape) - 1))
    if not near.ndim or len(near) != rows:
        return np.full(rows, bool(near.any()))
    return np.asarray(near.reshape(rows, -1).any(axis=1))
