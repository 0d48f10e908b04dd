"""Move windows over axes: convolutions, and the numbers that pooling reduces.

Arrays have their channels last here, and any number of spatial axes. `channels_last`
converts an array to that layout, and `in_format` converts it back to the data format of
a layer.

A convolution is one matrix product: `patches` shows the numbers under each window, and
these are copied into the rows of a matrix. The copies are made in blocks of at most
`BLOCK` numbers, so that the memory does not grow with the input.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from verify.forward.outlines import Outline, outline
from verify.forward.recordable import sum_of_products
from verify.model.arrays import Array

BLOCK = 1 << 19
"""Numbers that one block of windows may hold: 4 MiB of float64."""


def channels_last(x: Array, data_format: str) -> Array:
    """Return (batch, ..., channels) from an array in the data format of a layer."""
    return np.moveaxis(x, 1, -1) if data_format == "channels_first" else x


def in_format(x: Array, data_format: str) -> Array:
    """Return an array in the data format of a layer; the inverse of `channels_last`."""
    return np.moveaxis(x, -1, 1) if data_format == "channels_first" else x


def dilated_size(kernel_size: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Return how many steps a dilated window spans on each axis, gaps included."""
    return [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]


def pad_width(length: int, span: int, stride: int, padding: str) -> tuple[int, int]:
    """Return how many steps to add before and after an axis.

    ``same`` adds enough steps for ``ceil(length / stride)`` windows, and if their
    number is odd one more after than before. ``causal`` adds steps before only, so that
    no window sees a later step than its own.
    """
    if padding == "causal":
        return span - 1, 0
    if padding == "valid":
        return 0, 0
    windows = -(-length // stride)
    total = max((windows - 1) * stride + span - length, 0)
    return total // 2, total - total // 2


def window_counts(
    lengths: Sequence[int], span: Sequence[int], strides: Sequence[int], padding: str
) -> list[int]:
    """Return how many windows fit on each axis.

    Raises
    ------
    ValueError
        An axis is shorter than the window.
    """
    counts = [
        (n + sum(pad_width(n, r, s, padding)) - r) // s + 1
        for n, r, s in zip(lengths, span, strides, strict=True)
    ]
    if min(counts) < 1:
        raise ValueError(f"axes of {list(lengths)} for windows of {list(span)}")
    return counts


def patches(
    x: Array,
    kernel_size: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> Array:
    """Return a view of the numbers under each window.

    Parameters
    ----------
    x : (batch, spatial..., channels)
        Padded already.
    kernel_size, strides, dilation : one number for each spatial axis

    Returns
    -------
    (batch, windows..., kernel_size..., channels)
    """
    axes = tuple(range(1, x.ndim - 1))
    span = dilated_size(kernel_size, dilation)
    view = sliding_window_view(x, span, axis=axes)
    apart = (*[slice(None, None, n) for n in strides], slice(None))
    inside = [slice(None, None, n) for n in dilation]
    return np.moveaxis(view[(slice(None), *apart, *inside)], len(axes) + 1, -1)


@sum_of_products
def convolve(
    x: Array,
    kernel: Array,
    *,
    strides: Sequence[int],
    padding: str,
    dilation: Sequence[int],
    groups: int = 1,
) -> Array:
    """Compute a convolution.

    ::

        y[p] = sum over j of padded_x[p * strides + j * dilation] @ kernel[j]

    Parameters
    ----------
    x : (batch, spatial..., channels)
    kernel : (kernel_size..., channels / groups, filters)
        Not flipped: Keras's convolution is a cross-correlation.
    strides, dilation : one number for each spatial axis
    padding : "valid", "same" or "causal"
    groups : int
        Number of groups of channels and filters; each group is convolved by itself.

    Returns
    -------
    (batch, windows..., filters)

    Raises
    ------
    ValueError
        An axis is shorter than the window, or the kernel is for other channels.
    """
    kernel_size, lengths = kernel.shape[:-2], x.shape[1:-1]
    if x.shape[-1] != kernel.shape[-2] * groups:
        raise ValueError(
            f"{x.shape[-1]} channels for a kernel of {kernel.shape[-2] * groups}"
        )
    span = dilated_size(kernel_size, dilation)
    counts = window_counts(lengths, span, strides, padding)
    widths = [
        pad_width(n, r, s, padding)
        for n, r, s in zip(lengths, span, strides, strict=True)
    ]
    shape = (len(x), *counts, kernel.shape[-1])
    if isinstance(x, Outline):
        return outline(shape, kernel.dtype.type(0))
    y = np.empty(shape, dtype=kernel.dtype)
    numbers = math.prod(kernel_size) * x.shape[-1]
    for rows, some in _blocks(len(x), counts, max(numbers, kernel.shape[-1])):
        padded = np.pad(x[rows], [(0, 0), *widths, (0, 0)]) if _any(widths) else x[rows]
        view = patches(padded, kernel_size, strides, dilation)
        for part in some:
            y[rows, part] = _products(view[:, part], kernel, groups)
    return y


def _any(widths: Sequence[tuple[int, int]]) -> bool:
    return any(before or after for before, after in widths)


def _blocks(
    rows: int, counts: Sequence[int], numbers: int
) -> Iterator[tuple[slice, list[slice]]]:
    """Yield slices of the rows, each with slices of the first spatial axis.

    Parameters
    ----------
    rows : int
    counts : sequence of int
        Windows on each axis.
    numbers : int
        Numbers of one window; a block has at most `BLOCK`, but at least one window on
        the first axis.
    """
    beside = math.prod(counts[1:]) * numbers
    length = max(1, min(counts[0], BLOCK // max(beside, 1)))
    height = max(1, BLOCK // max(beside * length, 1))
    for row in range(0, rows, height):
        starts = range(0, counts[0], length)
        yield slice(row, row + height), [slice(n, n + length) for n in starts]


def _products(view: Array, kernel: Array, groups: int) -> Array:
    """Sum the products of windows and kernel.

    Parameters
    ----------
    view : (batch, windows..., kernel_size..., channels)
    kernel : (kernel_size..., channels / groups, filters)

    Returns
    -------
    (batch, windows..., filters)
    """
    *kernel_size, inputs, filters = kernel.shape
    rank = len(kernel_size)
    shape = view.shape[: 1 + rank]
    if groups == 1:
        rows: Array = view.reshape(math.prod(shape), -1)
        return (rows @ kernel.reshape(-1, filters)).reshape(*shape, filters)
    if inputs == 1:  # each channel by itself: no matrix, so tap by tap
        y = np.zeros((*shape, groups, filters // groups), dtype=kernel.dtype)
        for tap in np.ndindex(*kernel_size):
            by_channel = kernel[tap].reshape(groups, -1)
            y += view[(..., *tap, slice(None), None)] * by_channel
        return y.reshape(*shape, filters)
    rows = view.reshape(math.prod(shape), -1, groups, inputs).transpose(2, 0, 1, 3)
    by_group = kernel.reshape(-1, inputs, groups, filters // groups)
    matrix = by_group.transpose(2, 0, 1, 3).reshape(groups, -1, filters // groups)
    y = rows.reshape(groups, math.prod(shape), -1) @ matrix
    return y.transpose(1, 0, 2).reshape(*shape, filters)


def depthwise(x: Array, kernel: Array, **how: Any) -> Array:
    """Convolve each channel by itself, with ``multiplier`` filters for each channel.

    Parameters
    ----------
    x : (batch, spatial..., channels)
    kernel : (kernel_size..., channels, multiplier)
    **how
        Keyword arguments of `convolve`.

    Returns
    -------
    (batch, windows..., channels * multiplier), the filters of a channel side by side
    """
    *kernel_size, channels, _ = kernel.shape
    return convolve(x, kernel.reshape(*kernel_size, 1, -1), groups=channels, **how)


@sum_of_products
def spread(
    x: Array,
    kernel: Array,
    lengths: Sequence[int],
    *,
    strides: Sequence[int],
    dilation: Sequence[int],
    groups: int = 1,
) -> Array:
    """Add up what each position gives to a window: the adjoint of `convolve`.

    ::

        y[p * strides + j * dilation] += x[p] @ kernel[j].T

    Parameters
    ----------
    x : (batch, windows..., channels)
    kernel : (kernel_size..., filters / groups, channels)
    lengths : sequence of int
        Of the spatial axes of the result: long enough for every window.

    Returns
    -------
    (batch, lengths..., filters)
    """
    *kernel_size, outputs, channels = kernel.shape
    if x.shape[-1] != channels:
        raise ValueError(f"{x.shape[-1]} channels for a kernel of {channels}")
    rank, counts = len(kernel_size), x.shape[1:-1]
    if isinstance(x, Outline):
        return outline((len(x), *lengths, groups * outputs), kernel.dtype.type(0))
    # (groups, channels / groups, kernel_size * filters / groups)
    matrix = kernel.reshape(-1, groups, channels // groups)
    matrix = matrix.transpose(1, 2, 0)
    y = np.zeros((len(x), *lengths, groups, outputs), dtype=kernel.dtype)
    numbers = math.prod(kernel_size) * outputs * groups
    for rows, some in _blocks(len(x), counts, max(numbers, channels)):
        for part in some:
            given = x[rows, part]
            flat = given.reshape(-1, groups, channels // groups).transpose(1, 0, 2)
            parts = (flat @ matrix).transpose(1, 0, 2)
            parts = parts.reshape(*given.shape[:-1], groups, *kernel_size, outputs)
            for tap in np.ndindex(*kernel_size):
                at = tuple(
                    slice(j * d, j * d + (n - 1) * s + 1, s)
                    for j, d, s, n in zip(tap, dilation, strides, counts, strict=True)
                )
                first = at[0].start + part.start * strides[0]
                last = first + (given.shape[1] - 1) * strides[0] + 1
                at = (slice(first, last, strides[0]), *at[1:])
                y[(rows, *at)] += parts[(*[slice(None)] * (rank + 2), *tap)]
    return y.reshape(*y.shape[: 1 + rank], groups * outputs)


def transposed_size(
    span: int, stride: int, padding: str, output_padding: int | None
) -> tuple[int, int]:
    """Return how a transposed convolution is cut on one axis.

    Returns
    -------
    more : int
        The result has ``(length - 1) * stride + more`` steps.
    cut : int
        Steps that are cut off in front of it.
    """
    if padding == "same":
        more = stride if output_padding is None else span % 2 + output_padding
        return more, max(span - more, 0) // 2
    extra = max(stride - span, 0) if output_padding is None else output_padding
    return span + extra, 0


def transposed(
    x: Array,
    kernel: Array,
    *,
    strides: Sequence[int],
    padding: str,
    output_padding: Sequence[int | None],
    dilation: Sequence[int],
) -> Array:
    """Compute a transposed convolution, cut to the lengths that Keras gives it.

    ::

        y[p * strides + j * dilation] += x[p] @ kernel[j].T

    Parameters
    ----------
    x : (batch, spatial..., channels)
    kernel : (kernel_size..., filters, channels)
    strides, output_padding, dilation : one for each spatial axis

    Returns
    -------
    (batch, lengths..., filters)
    """
    span = dilated_size(kernel.shape[:-2], dilation)
    lengths, cuts = [], []
    for n, r, s, extra in zip(
        x.shape[1:-1], span, strides, output_padding, strict=True
    ):
        more, cut = transposed_size(r, s, padding, extra)
        cuts.append(slice(cut, cut + (n - 1) * s + more))
        lengths.append((n - 1) * s + max(r, cut + more))
    y = spread(x, kernel, lengths, strides=strides, dilation=dilation)
    return y[(slice(None), *cuts)]


def taps(
    x: Array,
    size: Sequence[int],
    strides: Sequence[int],
    padding: str,
    *,
    fill: float | int = 0,
) -> Iterator[Array]:
    """Pad an array, and yield the numbers at each place of its windows.

    ::

        y_j[p] = padded_x[p * strides + j]    for j = (0, ..., 0) to size - 1

    Parameters
    ----------
    x : (batch, spatial..., channels)
    size, strides : one number for each spatial axis
    padding : "valid" or "same"
    fill
        The value to pad with.

    Yields
    ------
    (batch, windows..., channels), a view

    Raises
    ------
    ValueError
        An axis is shorter than the window, or `x` has too many axes or too few.
    """
    lengths = x.shape[1:-1]
    if len(lengths) != len(size):
        raise ValueError(f"{len(size) + 2} axes, rows first")
    counts = window_counts(lengths, size, strides, padding)
    widths = [
        pad_width(n, k, s, padding)
        for n, k, s in zip(lengths, size, strides, strict=True)
    ]
    if any(map(any, widths)):
        x = np.pad(x, [(0, 0), *widths, (0, 0)], constant_values=fill)
    for offset in np.ndindex(*size):
        at = tuple(
            slice(j, j + (count - 1) * s + 1, s)
            for j, s, count in zip(offset, strides, counts, strict=True)
        )
        yield x[(slice(None), *at)]
