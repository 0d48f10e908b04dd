"""Define the functions of the raw operations in NumPy, and how operands are cast.

Each function takes arrays that a rule of `CASTS` has cast already. No function changes
the axis of the rows; one that is told to raises ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from verify.forward.layers.base import KERAS_EPSILON, from_front
from verify.forward.recordable import as_array, is_array
from verify.model.arrays import Array
from verify.model.dtypes import HALF_DTYPES, dtype_of, is_float, working
from verify.model.graph import flatten, map_structure

DTYPES = (
    *HALF_DTYPES,
    *("float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


def result_type(*operands: Any, floatx: str) -> np.dtype[Any]:
    """Return the dtype of an operation by Keras's rules of promotion.

    Python numbers take the dtype of the arrays if it can hold them. A float dtype and
    one of whole numbers make that float dtype; float16 and bfloat16 make float32.

    Source: keras/src/backend/common/dtypes.py.
    """
    arrays = {x.dtype for x in operands if is_array(x)}
    arrays |= {np.dtype(bool) for x in operands if isinstance(x, bool)}
    numbers = [x for x in operands if type(x) in (int, float)]
    floats = {d for d in arrays if is_float(np.empty(0, d))}
    if floats:
        if len(floats) == 1:
            return floats.pop()
        return np.dtype("float64" if np.dtype("float64") in floats else "float32")
    whole = np.result_type(*arrays) if arrays else np.dtype(bool)
    if whole.kind == "f" or any(isinstance(x, float) for x in numbers):
        return dtype_of(floatx)
    if whole.kind == "b" and numbers:
        return np.dtype(f"int{floatx[-2:]}")
    return whole


def makes_floats(values: Any, results: Any) -> bool:
    """Return whether any result is a float, and no operand is."""
    given = [as_array(x) for x in flatten(values)]
    made = [as_array(x) for x in flatten(results)]
    return any(map(is_float, made)) and not any(map(is_float, given))


def strict(x: Any) -> Array:
    """Return a number as TensorFlow converts it by itself, to float32 or int32."""
    if is_array(x):
        return x
    kind = {bool: "bool", int: "int32", float: "float32"}.get(type(x))
    if kind is None:
        raise ValueError(f"numbers expected, a {type(x).__name__} received")
    return np.asarray(x, dtype=kind)


def counted(x: Array) -> Array:
    """Return truth values as whole numbers, and other arrays unchanged."""
    return x.astype(np.int32) if x.dtype.kind == "b" else x


def summable(x: Array) -> Array:
    """Return whole numbers of fewer than 32 bits, and truth values, in 32 bits."""
    if x.dtype.kind in "biu" and x.dtype.itemsize < 4:
        return x.astype("uint32" if x.dtype.kind == "u" else "int32")
    return x


def sixteen(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype has 16 bits, so that this package computes in float32."""
    return dtype.name in HALF_DTYPES


def lifted(leaf: Any) -> Any:
    """Return 16-bit numbers in float32, and anything else unchanged."""
    if is_array(leaf) and sixteen(leaf.dtype):
        return leaf.astype(np.float32)
    return leaf


def lowered(y: Array, dtype: np.dtype[Any] | None) -> Array:
    """Round floats to a 16-bit dtype, if one is given."""
    return y.astype(dtype) if dtype is not None and is_float(y) else y


def _promoted(values: Any, floatx: str) -> Any:
    dtype = result_type(*flatten(values), floatx=floatx)
    return map_structure(lambda x: as_array(x).astype(dtype), values)


def _floating(values: Any, floatx: str) -> Any:
    dtype = result_type(*flatten(values), 0.0, floatx=floatx)
    return map_structure(lambda x: as_array(x).astype(dtype), values)


def _each(change: Callable[[Array], Array]) -> Callable[[Any, str], Any]:
    return lambda values, floatx: map_structure(lambda x: change(strict(x)), values)


CASTS: Mapping[str, Callable[[Any, str], Any]] = {
    "keep": lambda values, floatx: values,
    "promote": _promoted,
    "strict": lambda x, floatx: _promoted(map_structure(strict, x), floatx),
    "float": _floating,
    "bool": _each(lambda x: x.astype(bool)),
    "counted": _each(counted),
    "summable": _each(summable),
    "float32": _each(lambda x: x if is_float(x) else x.astype(np.float32)),
    "floatx": lambda values, floatx: map_structure(
        lambda x: x if is_float(strict(x)) else strict(x).astype(working(floatx)),
        values,
    ),
}
"""Name of a rule -> how it casts operands; see the attribute ``casts`` of
`verify.forward.layers.operations.Operation`."""


def floor_divide(x1: Array, x2: Array) -> Array:
    """Compute ``floor(x1 / x2)``; floats are divided, and so rounded, first."""
    return np.floor_divide(x1, x2) if x1.dtype.kind in "iu" else np.floor(x1 / x2)


def divide_no_nan(x1: Array, x2: Array) -> Array:
    """Compute ``x1 / x2``, and 0 where ``x2`` is 0."""
    return np.where(x2 == 0, x1.dtype.type(0), x1 / x2)


def clip(x: Array, x_min: float, x_max: float) -> Array:
    """Compute ``max(min(x, x_max), x_min)``."""
    low, high = (as_array(end).astype(x.dtype) for end in (x_min, x_max))
    return np.maximum(np.minimum(x, high), low)


def round_(x: Array, decimals: int) -> Array:
    """Round to a number of decimals, halves to even."""
    if decimals == 0 or (decimals > 0 and not is_float(x)):
        return np.rint(x) if is_float(x) else x
    factor = np.asarray(10.0**decimals, dtype=x.dtype if is_float(x) else np.float32)
    return as_array(np.rint(x * factor) / factor).astype(x.dtype)


def threshold(x: Array, threshold: float, default_value: float) -> Array:
    """Compute ``x if x > threshold else default_value``."""
    return np.where(x > threshold, x, as_array(default_value).astype(x.dtype))


def where(condition: Any, x1: Array, x2: Array) -> Array:
    """Compute ``x1 if condition else x2``, element by element."""
    return np.where(condition, x1, x2)


def on_axes(function: Callable[..., Array]) -> Callable[..., Array]:
    """Return a reduction that raises ValueError if its axes include the rows."""

    def reduced(x: Array, axis: tuple[int, ...], **options: Any) -> Array:
        return as_array(function(x, axis=from_front(axis, x.ndim), **options))

    return reduced


def on_axis(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function along an axis that raises ValueError if that is the rows."""

    def along(x: Array, *more: Any, axis: int, **options: Any) -> Any:
        return function(x, *more, axis=from_front((axis,), x.ndim)[0], **options)

    return along


def sum_(x: Array, axis: Any, keepdims: bool) -> Array:
    """Sum along axes, in the dtype of `x`."""
    return as_array(np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype))


def prod(x: Array, axis: Any, keepdims: bool, dtype: None = None) -> Array:
    """Multiply along axes, in the dtype of `x`."""
    return as_array(np.prod(x, axis=axis, keepdims=keepdims, dtype=x.dtype))


def maximum_of(x: Array, axis: Any, keepdims: bool, initial: float | None) -> Array:
    """Compute the maximum along axes, and at least `initial`."""
    y = np.max(x, axis=axis, keepdims=keepdims)
    return y if initial is None else np.maximum(y, as_array(initial).astype(x.dtype))


def minimum_of(x: Array, axis: Any, keepdims: bool, initial: float | None) -> Array:
    """Compute the minimum along axes, and at most `initial`."""
    y = np.min(x, axis=axis, keepdims=keepdims)
    return y if initial is None else np.minimum(y, as_array(initial).astype(x.dtype))


def logsumexp(x: Array, axis: Any, keepdims: bool) -> Array:
    """Compute ``log(sum(exp(x)))`` without overflow."""
    # the greatest is subtracted before exp and added after log; if it is infinite, 0 is
    # subtracted, because inf - inf is NaN
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    y = np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return y if keepdims else np.squeeze(y, axis)


def argmax(x: Array, axis: int, keepdims: bool) -> Array:
    """Return the index of the first maximum; -0 counts as less than 0."""
    if is_float(x):
        x = np.where((x == 0) & np.signbit(x), -np.finfo(x.dtype).tiny, x)
    return np.argmax(x, axis=axis, keepdims=keepdims).astype(np.int32)


def argmin(x: Array, axis: int, keepdims: bool) -> Array:
    """Return the index of the first minimum; -0 counts as less than 0."""
    if is_float(x):
        x = np.where((x == 0) & np.signbit(x), -np.finfo(x.dtype).tiny, x)
    return np.argmin(x, axis=axis, keepdims=keepdims).astype(np.int32)


def first_maximum(x: Array, axis: int, keepdims: bool) -> Array:
    """Return the index of the first maximum; -0 and 0 count as equal."""
    return np.argmax(x, axis=axis, keepdims=keepdims).astype(np.int32)


def first_minimum(x: Array, axis: int, keepdims: bool) -> Array:
    """Return the index of the first minimum; -0 and 0 count as equal."""
    return np.argmin(x, axis=axis, keepdims=keepdims).astype(np.int32)


def cumulative(function: Callable[..., Array]) -> Callable[..., Array]:
    """Return a running sum or product, in the dtype of `x` or in the one given."""

    def run(x: Array, axis: int, dtype: str | None) -> Array:
        x = x if dtype is None else x.astype(dtype_of(dtype))
        return function(x, axis=axis, dtype=x.dtype)

    return run


def normalize(x: Array, axis: int, order: int, epsilon: float | None) -> Array:
    """Compute ``x / max(norm(x), epsilon)`` along an axis."""
    epsilon = epsilon or KERAS_EPSILON
    if order == 2:
        factor = 1 / np.sqrt(np.square(x).sum(axis=axis, keepdims=True))
        return x * np.minimum(factor, x.dtype.type(1 / epsilon))
    norm = (np.abs(x) ** order).sum(axis=axis, keepdims=True) ** (1 / order)
    return x / np.maximum(norm, x.dtype.type(epsilon))


def getitem(x: Array, key: Any = None) -> Array:
    """Compute ``x[key]`` for a key that keeps all rows.

    A key is made of whole numbers, slices, ``None`` and ``...``.
    """
    items = tuple(key) if isinstance(key, (list, tuple)) else (key,)
    allowed = all(
        item is None or item is Ellipsis or type(item) is int or isinstance(item, slice)
        for item in items
    )
    if not allowed:
        raise ValueError(f"[{key}] picks by something else than numbers and slices")
    counted_axes = sum(item is not None and item is not Ellipsis for item in items)
    first = items[0]
    whole = isinstance(first, slice) and first in (
        *(slice(a, None, b) for a in (None, 0) for b in (None, 1)),
    )
    if not whole and not (first is Ellipsis and counted_axes < x.ndim):
        raise ValueError(f"[{key}] does not keep the rows: it must begin with ':'")
    return x[items]


def reshape(x: Array, newshape: Sequence[int]) -> Array:
    """Reshape; other axes may be folded into that of the rows, and out of it."""
    return x.reshape(tuple(newshape))


def expand_dims(x: Array, axis: tuple[int, ...]) -> Array:
    """Insert axes of size 1."""
    return np.expand_dims(x, from_front(axis, x.ndim + len(axis)))


def squeeze(x: Array, axis: tuple[int, ...]) -> Array:
    """Remove axes of size 1."""
    return np.squeeze(x, from_front(axis, x.ndim))


def flip(x: Array, axis: tuple[int, ...]) -> Array:
    """Reverse the order along axes."""
    return np.flip(x, from_front(axis, x.ndim))


def swapaxes(x: Array, axis1: int, axis2: int) -> Array:
    """Swap two axes."""
    return np.swapaxes(x, *from_front((axis1, axis2), x.ndim))


def concatenate(xs: Sequence[Array], axis: int) -> Array:
    """Join arrays along an axis."""
    return np.concatenate(xs, axis=from_front((axis,), xs[0].ndim)[0])


def stack(xs: Sequence[Array], axis: int) -> Array:
    """Stack arrays along a new axis."""
    return np.stack(xs, axis=from_front((axis,), xs[0].ndim + 1)[0])


def split(x: Array, axis: int, indices_or_sections: Any) -> list[Array]:
    """Split into parts of equal size, or at indices."""
    return list(np.split(x, indices_or_sections, axis=axis))


def unstack(x: Array, axis: int, num: int | None) -> list[Array]:
    """Return the slices along an axis, without that axis."""
    if num not in (None, x.shape[axis]):
        raise ValueError(f"num={num} of {x.shape[axis]} slices")
    return [np.take(x, k, axis=axis) for k in range(x.shape[axis])]


def tile(x: Array, repeats: tuple[int, ...]) -> Array:
    """Repeat an array several times along each axis but that of the rows."""
    if len(repeats) > x.ndim or (len(repeats) == x.ndim and repeats[0] != 1):
        raise ValueError(f"repeats={repeats}, which repeats the rows")
    return np.tile(x, repeats)


def pad(
    x: Array, constant_values: float | None = None, *, pad_width: Any, mode: str
) -> Array:
    """Pad axes at both ends."""
    if len(pad_width) != x.ndim:
        raise ValueError(f"pad_width for {len(pad_width)} axes of {x.ndim}")
    if mode != "constant":
        return np.pad(x, pad_width, mode=mode)  # type: ignore[call-overload]
    value = as_array(constant_values or 0).astype(x.dtype)
    return np.pad(x, pad_width, constant_values=value)


def pad_by_edge(
    x: Array, constant_values: float | None = None, *, pad_width: Any, mode: str
) -> Array:
    """Pad axes at both ends, and repeat the number at the edge for ``symmetric``."""
    mode = "edge" if mode == "symmetric" else mode
    return pad(x, constant_values, pad_width=pad_width, mode=mode)


def take(x: Array, indices: Any, axis: int) -> Array:
    """Take the entries at constant indices along an axis; negative ones count back."""
    return np.take(x, as_array(indices).astype(np.int64), axis=axis)


def one_hot(x: Array, num_classes: int, axis: int, dtype: str, sparse: bool) -> Array:
    """Return 1 at the index, 0 elsewhere, along a new axis."""
    with np.errstate(invalid="ignore"):
        ids = np.trunc(x).astype(np.int64)
    axis = from_front((axis,), x.ndim + 1)[0]
    hot = np.expand_dims(ids, axis) == np.arange(num_classes).reshape(
        [-1 if k == axis else 1 for k in range(x.ndim + 1)]
    )
    return hot.astype(dtype_of(dtype))


def one_hot_of_whole(x: Array, axis: int, **options: Any) -> Array:
    """Return 1 at the index, 0 elsewhere; a number with a fraction has no index."""
    with np.errstate(invalid="ignore"):
        whole = np.where(np.trunc(x) == x, x, -1)
    return one_hot(whole, axis=axis, **options)


def matmul(x1: Array, x2: Array) -> Array:
    """Compute ``x1 @ x2``."""
    return as_array(np.matmul(x1, x2))


def dot(x1: Array, x2: Array) -> Array:
    """Sum products over the last axis of `x1` and the last but one of `x2`."""
    if 0 in (x1.ndim, x2.ndim):
        return np.multiply(x1, x2)
    return np.tensordot(x1, x2, axes=((-1,), (-1 if x2.ndim == 1 else -2,)))


def einsum(*operands: Array, subscripts: str) -> Array:
    """Compute an Einstein sum, with the rows first in operands and result."""
    return as_array(np.einsum(subscripts, *operands, optimize=True))


def average(x: Array, weights: Any = None, *, axis: tuple[int, ...]) -> Array:
    """Compute the mean along axes; weights are refused."""
    if weights is not None:
        raise ValueError("an average with weights, which is not supported")
    return as_array(x.mean(axis=from_front(axis, x.ndim)))


def same(x: Array) -> Array:
    """Return ``x`` unchanged."""
    return x


def filled(value: int) -> Callable[..., Array]:
    """Return a function that fills an array of the shape of `x` with one value."""

    def like(x: Array, dtype: str | None) -> Array:
        return np.full_like(x, value, dtype=dtype_of(dtype) if dtype else x.dtype)

    return like


def converted(x: Array, dtype: str | None, **_: Any) -> Array:
    """Cast to another dtype; floats become whole numbers by truncation."""
    with np.errstate(over="ignore", invalid="ignore"):
        return x if dtype is None else x.astype(dtype_of(dtype), copy=False)
