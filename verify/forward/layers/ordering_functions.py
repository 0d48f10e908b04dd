"""Define raw operations that sort, pick and shift numbers along an axis in NumPy.

As those of `operation_functions`, they raise ValueError where rows would be moved.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verify.forward.layers.base import from_front
from verify.forward.recordable import as_array
from verify.model.arrays import Array
from verify.model.dtypes import dtype_of, extremes, is_float


def take_along_axis(x: Array, indices: Any, axis: int) -> Array:
    """Take the entries at the indices of each row; negative ones count back."""
    ids = as_array(indices)
    if is_float(ids):
        raise ValueError("indices that are floats")
    if ids.ndim != x.ndim:
        raise ValueError(f"indices of {ids.ndim} axes for {x.ndim}")
    size = x.shape[axis]
    if ids.size and not -size <= ids.min() <= ids.max() < size:
        raise ValueError(f"an index outside -{size}..{size - 1}")
    shape = np.broadcast_shapes(
        *([1 if k == axis else n for k, n in enumerate(y.shape)] for y in (x, ids))
    )
    wide = [size if k == axis else n for k, n in enumerate(shape)]
    long = [ids.shape[axis] if k == axis else n for k, n in enumerate(shape)]
    return np.take_along_axis(
        np.broadcast_to(x, wide), np.broadcast_to(ids, long).astype(np.int64), axis=axis
    )


def argsort(x: Array, axis: int) -> Array:
    """Return the indices that sort along an axis, the first of equal numbers first."""
    return np.argsort(x, axis=axis, kind="stable").astype(np.int32)


def sort(x: Array, axis: int) -> Array:
    """Sort along an axis, the least first."""
    # by its order, so that a recorded computation knows where each number came from
    order = np.argsort(x, axis=axis, kind="stable")
    return np.take_along_axis(x, order, axis=axis)


def top_k(x: Array, k: int, sorted: bool) -> list[Array]:
    """Return the `k` greatest numbers of the last axis, greatest first, and where."""
    if x.ndim < 2:
        raise ValueError("a single axis, that of the rows")
    if k > x.shape[-1]:
        raise ValueError(f"k={k} of {x.shape[-1]} numbers")
    # backwards, since whole numbers without a sign cannot be negated; equal numbers
    # keep their order
    back = np.argsort(np.flip(x, -1), axis=-1, kind="stable")
    order = np.flip(x.shape[-1] - 1 - back, -1)[..., :k]
    return [np.take_along_axis(x, order, axis=-1), order.astype(np.int32)]


def roll(x: Array, shift: tuple[int, ...], axis: tuple[int, ...]) -> Array:
    """Shift along axes; what falls off one end comes back at the other."""
    if len(shift) not in (1, len(axis)):
        raise ValueError(f"shifts {shift} for {len(axis)} axes")
    several = shift if len(shift) > 1 else shift * len(axis)
    return np.roll(x, several, from_front(axis, x.ndim))


def difference(a: Array, n: int, axis: int) -> Array:
    """Subtract each entry along an axis from the next, `n` times."""
    for _ in range(n):
        ends = [[slice(None)] * a.ndim for _ in range(2)]
        ends[0][axis], ends[1][axis] = slice(1, None), slice(None, -1)
        later, earlier = a[tuple(ends[0])], a[tuple(ends[1])]
        a = later != earlier if a.dtype.kind == "b" else later - earlier
    return a


def moveaxis(x: Array, source: tuple[int, ...], destination: tuple[int, ...]) -> Array:
    """Move axes to other places."""
    places = [from_front(ends, x.ndim) for ends in (source, destination)]
    if places[0] == places[1]:
        raise ValueError("axes that are not moved")
    return np.moveaxis(x, *places)


def lower(x: Array, k: int) -> Array:
    """Set numbers above the `k`-th diagonal of the last two axes to 0."""
    return np.where(_below(x, k), x, np.zeros((), x.dtype))


def upper(x: Array, k: int) -> Array:
    """Set numbers below the `k`-th diagonal of the last two axes to 0."""
    return np.where(~_below(x, k - 1), x, np.zeros((), x.dtype))


def _below(x: Array, k: int) -> Array:
    """Return where the `k`-th diagonal of the last two axes is, and what is below."""
    if x.ndim < 3:
        raise ValueError(f"{x.ndim} axes, where the rows are one of the last two")
    return np.tri(x.shape[-2], x.shape[-1], k, dtype=bool)


def nan_to_num(
    x: Array, nan: float, posinf: float | None, neginf: float | None
) -> Array:
    """Replace NaN and infinite numbers."""
    if not is_float(x):
        raise ValueError(f"{x.dtype.name}, which it returns as it is")
    least, greatest = extremes(x.dtype)
    if posinf is not None:
        greatest = x.dtype.type(posinf)
    if neginf is not None:
        least = x.dtype.type(neginf)
    y = np.where(np.isnan(x), x.dtype.type(nan), x)
    y = np.where(np.isposinf(y), greatest, y)
    return np.where(np.isneginf(y), least, y)


def median(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    """Compute the median along axes, as Keras on TensorFlow interpolates it.

    Of an odd number of entries the one before the middle counts 0 times, so that it
    makes NaN of the median if it is infinite.
    """
    others = [k for k in range(x.ndim) if k not in axis]
    y = np.transpose(x, (*others, *axis))
    y = np.reshape(y, (*y.shape[: len(others)], -1))
    y = sort(y, axis=len(others))
    below, above = max(y.shape[-1] // 2 - 1, 0), y.shape[-1] // 2
    share = x.dtype.type(0.5 if y.shape[-1] % 2 == 0 else 0.0)
    middle = y[..., above] * (1 - share) + y[..., below] * share
    middle = np.where(np.isnan(y[..., -1]), x.dtype.type(np.nan), middle)
    return as_array(np.expand_dims(middle, axis) if keepdims else middle)


def part(inputs: Array, start_indices: Any, shape: tuple[int, ...]) -> Array:
    """Cut a block of a size out of each row; a size of -1 reaches to the end."""
    starts = [int(k) for k in np.asarray(start_indices).reshape(-1)]
    if (starts[0], shape[0]) != (0, -1):
        raise ValueError(
            f"a block of {shape[0]} rows from row {starts[0]} on: its first size must "
            "be -1, for all rows"
        )
    ends = [
        a + n if n >= 0 else size
        for a, n, size in zip(starts, shape, inputs.shape, strict=True)
    ]
    for k, (a, end, size) in enumerate(zip(starts, ends, inputs.shape, strict=True)):
        if not 0 <= a <= end <= size:
            raise ValueError(f"entries {a} to {end} of {size} along axis {k}")
    return inputs[tuple(slice(a, end) for a, end in zip(starts, ends, strict=True))]


def count_nonzero(x: Array, axis: tuple[int, ...]) -> Array:
    """Count the numbers that are not 0 along axes."""
    return as_array(np.count_nonzero(x, axis=axis)).astype(np.int32)


def norm(x: Array, axis: Any, ord: Any, keepdims: bool) -> Array:
    """Compute the norm along one axis, or of all the numbers of two axes."""
    if len(axis) > 1 and (ord not in (None, "fro") or len(axis) > 2):
        raise ValueError(f"the norm {ord} over axes {axis}, which is not read")
    if ord == 1:
        return as_array(np.abs(x).sum(axis=axis, keepdims=keepdims))
    return as_array(np.sqrt(np.square(x).sum(axis=axis, keepdims=keepdims)))


def hstack(xs: Any) -> Array:
    """Join arrays along axis 1."""
    return np.concatenate(xs, axis=1)


def full_like(x: Array, fill_value: Any, dtype: str | None) -> Array:
    """Fill an array of the shape of `x` with a constant."""
    kind = dtype_of(dtype) if dtype else x.dtype
    return np.full_like(as_array(x), as_array(fill_value).astype(kind), dtype=kind)
