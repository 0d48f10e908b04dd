"""Resize images by interpolation, as TensorFlow does in float32 or exactly.

TensorFlow resizes in float32 whatever the dtype of the image: it rounds the places
where it interpolates, and looks the cubic up in a table of 1024 steps. Other libraries
compute weights in the dtype of the image. Both are separable: rows, then columns.

Sources: tensorflow/core/kernels/image, resize_bilinear_op.cc, resize_bicubic_op.cc and
scale_and_translate_op.cc; jax/_src/image/scale.py; aten/src/ATen/native/UpSample.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from verify.forward.recordable import as_array
from verify.model.arrays import Array

INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
RADII = {"bilinear": 1, "bicubic": 2}
_STEPS = 1024
_Taps = tuple[Array, Array]
"""For each number of an axis of the output, which numbers of the input it is made of,
and their weights: (length, taps) each."""


def resized(
    x: Array,
    size: Sequence[int],
    interpolation: str,
    *,
    antialias: bool = False,
    edge_repeated: bool = False,
) -> Array:
    """Resize by weights as exact as the dtype of `x`, as JAX and torch do.

    Output k of m lies at ``s = (k + 0.5) * n / m - 0.5`` among the n inputs. Input j
    has the weight ``kernel(s - j)``, divided by the sum of the weights.

    Parameters
    ----------
    x : (batch, rows, columns, channels)
    size : new numbers of rows and columns
    interpolation : one of `INTERPOLATIONS`
    antialias : bool
        Whether a smaller image is made of wider kernels.
    edge_repeated : bool
        Whether bicubic interpolation is that of torch, ``a = -0.75``, beyond the edge
        of an image that repeats its last number; elsewhere ``a = -0.5``.
    """
    for axis, length in zip((1, 2), size, strict=True):
        n = x.shape[axis]
        if interpolation == "nearest":
            at = nearest(n, length, single=edge_repeated)
            x = np.take(x, at, axis=axis)
        else:
            repeats = edge_repeated and interpolation == "bicubic" and not antialias
            weights = (
                _repeating_weights(n, length)
                if repeats
                else _weights(n, length, interpolation, antialias)
            )
            x = np.moveaxis(
                np.tensordot(weights.astype(x.dtype), x, (1, axis)), 0, axis
            )
    return x


def resized_in_single(
    x: Array, size: Sequence[int], interpolation: str, *, antialias: bool = False
) -> Array:
    """Resize as TensorFlow does, to float32; ``nearest`` keeps the dtype.

    Parameters are those of `resized`.
    """
    if interpolation == "nearest":
        rows, columns = (
            nearest(n, m, single=True) for n, m in zip(x.shape[1:3], size, strict=True)
        )
        return x[:, rows][:, :, columns]
    x = x.astype(np.float32)
    if interpolation == "bilinear" and not antialias:
        return _bilinear(x, size)
    taps = _kernel_taps if antialias else _cubic_taps
    for axis, length in zip((1, 2), size, strict=True):
        x = _combined(x, taps(x.shape[axis], length, interpolation), axis)
    return x


def nearest(n: int, length: int, *, single: bool) -> Array:
    """Return which of n numbers stands at each place of an axis of another length."""
    places = np.arange(length, dtype=np.float32) + np.float32(0.5)
    if single:
        at = places * (np.float32(n) / np.float32(length))
    else:
        at = places * np.float32(n) / np.float32(length)
    return np.minimum(np.floor(at).astype(np.int64), n - 1)


def _places(n: int, length: int) -> Array:
    """Return where each output lies among n inputs, in float32: (length,)."""
    scale = np.float32(n) / np.float32(length)
    half = np.float32(0.5)
    return np.asarray((np.arange(length, dtype=np.float32) + half) * scale - half)


def _bilinear(x: Array, size: Sequence[int]) -> Array:
    (y0, y1, dy), (x0, x1, dx) = (
        _neighbours(n, m) for n, m in zip(x.shape[1:3], size, strict=True)
    )
    dx, dy = dx[:, None], dy[:, None, None]
    top, bottom = x[:, y0], x[:, y1]
    top = top[:, :, x0] + (top[:, :, x1] - top[:, :, x0]) * dx
    bottom = bottom[:, :, x0] + (bottom[:, :, x1] - bottom[:, :, x0]) * dx
    return top + (bottom - top) * dy


def _neighbours(n: int, length: int) -> tuple[Array, Array, Array]:
    """Return the inputs below and above each output, and how far it is from below."""
    at = _places(n, length)
    below = np.floor(at)
    above = np.minimum(np.ceil(at).astype(np.int64), n - 1)
    return np.maximum(below.astype(np.int64), 0), above, at - below


def _combined(x: Array, taps: _Taps, axis: int) -> Array:
    """Add up the taps one after the other, in the order of TensorFlow."""
    at, weights = taps
    shape = [-1 if k == axis else 1 for k in range(x.ndim)]
    parts = (
        np.take(x, at[:, k], axis=axis) * weights[:, k].reshape(shape)
        for k in range(at.shape[1])
    )
    return as_array(reduce(np.add, parts))


def _cubic_taps(n: int, length: int, interpolation: str) -> _Taps:
    """Return the taps of a cubic that is looked up in a table, ``a = -0.5``."""
    at = _places(n, length)
    below = np.floor(at)
    step = np.rint((at - below) * np.float32(_STEPS)).astype(np.int64)
    near, far = (cubic(np.arange(_STEPS + 1) / _STEPS + k, -0.5) for k in (0.0, 1.0))
    near, far = near.astype(np.float32), far.astype(np.float32)
    wanted = below.astype(np.int64)[:, None] + np.arange(-1, 3)
    found = np.clip(wanted, 0, n - 1)
    other = _STEPS - step
    weights = np.stack([far[step], near[step], near[other], far[other]], axis=1)
    weights = np.where(found == wanted, weights, np.float32(0))
    total = reduce(np.add, weights.T)  # one after the other, in float32
    return found, weights * (np.float32(1) / total)[:, None]


def _kernel_taps(n: int, length: int, interpolation: str) -> _Taps:
    """Return the taps of an antialiased kernel, in the order of TensorFlow."""
    one, half = np.float32(1), np.float32(0.5)
    inverse = one / (np.float32(length) / np.float32(n))
    wide = max(inverse, one)
    reach = np.float32(RADII[interpolation]) * wide
    at = (np.arange(length, dtype=np.float32) + half) * inverse
    first = np.clip(np.ceil(at - reach - half).astype(np.int64), 0, n - 1)
    last = np.clip(np.floor(at + reach - half).astype(np.int64), 0, n - 1)
    found = first[:, None] + np.arange(int((last - first).max()) + 1)
    place = found.astype(np.float32) + half - at[:, None]
    kernel = _triangle if interpolation == "bilinear" else _keys
    weights = kernel(np.abs(place * (one / wide)))
    weights = np.where(found <= last[:, None], weights, np.float32(0))
    total = reduce(np.add, weights.T)
    return np.minimum(found, n - 1), weights * (one / total)[:, None]


def _triangle(x: Array) -> Array:
    return np.where(x < 1, np.float32(1) - x, np.float32(0))


def _keys(x: Array) -> Array:
    """Return the cubic with ``a = -0.5`` as TensorFlow evaluates it in float32."""
    f = np.float32
    near = ((f(1.5) * x - f(2.5)) * x) * x + f(1)
    far = ((f(-0.5) * x + f(2.5)) * x - f(4)) * x + f(2)
    return np.where(x >= 2, f(0), np.where(x >= 1, far, near))


def cubic(x: Array, a: float) -> Array:
    """Return the cubic kernel of Keys at distances x, 0 or more, in float64."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x >= 2, 0.0, np.where(x >= 1, far, near))


def _weights(n: int, length: int, interpolation: str, antialias: bool) -> Array:
    """Return the weight of each input in each output: (length, n)."""
    at = (np.arange(length) + 0.5) * n / length - 0.5
    wide = max(n / length, 1.0) if antialias else 1.0
    distance = np.abs(at[:, None] - np.arange(n)) / wide
    linear = interpolation == "bilinear"
    weights = np.maximum(1 - distance, 0.0) if linear else cubic(distance, -0.5)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _repeating_weights(n: int, length: int) -> Array:
    """Return the weights of torch's cubic, in which an edge stands for all beyond."""
    at = (np.arange(length) + 0.5) * n / length - 0.5
    below = np.floor(at).astype(np.int64)
    weights = np.zeros((length, n))
    for k in range(-1, 3):
        found = np.clip(below + k, 0, n - 1)
        weight = cubic(np.abs(at - (below + k)), -0.75)
        np.add.at(weights, (np.arange(length), found), weight)
    return weights
