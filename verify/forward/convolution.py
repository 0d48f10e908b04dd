"""Move windows over axes: convolutions, and the numbers that pooling reduces.

Arrays have their channels last here. `channels_last` converts an array to that layout,
and `in_format` converts it back to the data format of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from verify.model.arrays import Array


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
    """
    kernel_size, lengths = kernel.shape[:-2], x.shape[1:-1]
    span = dilated_size(kernel_size, dilation)
    counts = window_counts(lengths, span, strides, padding)
    widths = [
        pad_width(n, r, s, padding)
        for n, r, s in zip(lengths, span, strides, strict=True)
    ]
    x = np.pad(x, [(0, 0), *widths, (0, 0)])
    y = np.zeros((len(x), *counts, kernel.shape[-1]), dtype=kernel.dtype)
    for offset in np.ndindex(*kernel_size):  # one tap of the kernel, for all windows
        at = tuple(
            slice(j * d, j * d + (count - 1) * s + 1, s)
            for j, d, s, count in zip(offset, dilation, strides, counts, strict=True)
        )
        y += _mixed(x[(slice(None), *at)], kernel[offset], groups)
    return y


def _mixed(x: Array, kernel: Array, groups: int) -> Array:
    """Compute ``x @ kernel`` within each group of channels and filters."""
    if groups == 1:
        return np.tensordot(x, kernel, axes=1)
    x = x.reshape(*x.shape[:-1], groups, -1)
    by_group = kernel.reshape(len(kernel), groups, -1)
    y = np.einsum("...gi,igf->...gf", x, by_group)
    return y.reshape(*y.shape[:-2], kernel.shape[-1])


def depthwise(x: Array, kernel: Array, **how: Any) -> Array:
    """Convolve each channel by itself, with ``multiplier`` filters for each channel.

    Parameters
    ----------
    x : (batch, time, channels)
    kernel : (kernel_size, channels, multiplier)
    **how
        Keyword arguments of `convolve`.

    Returns
    -------
    (batch, windows, channels * multiplier), the filters of a channel side by side
    """
    kernel_size, channels, _ = kernel.shape
    return convolve(x, kernel.reshape(kernel_size, 1, -1), groups=channels, **how)


def transposed(
    x: Array,
    kernel: Array,
    *,
    stride: int,
    padding: str,
    output_padding: int | None,
    dilation: int,
) -> Array:
    """Compute a transposed convolution, cut to the length that Keras gives it.

    ::

        y[t * stride + j * dilation] += x[t] @ kernel[j].T

    Parameters
    ----------
    x : (batch, time, channels)
    kernel : (kernel_size, filters, channels)

    Returns
    -------
    (batch, length, filters)
    """
    kernel_size, filters, _ = kernel.shape
    (span,) = dilated_size([kernel_size], [dilation])
    last = (x.shape[1] - 1) * stride
    if padding == "same":
        more = stride if output_padding is None else span % 2 + output_padding
        length = last + more
        cut = max(last + span - length, 0) // 2
    else:
        more = max(stride - span, 0) if output_padding is None else output_padding
        length = last + span + more
        cut = 0
    y = np.zeros((len(x), max(last + span, cut + length), filters), kernel.dtype)
    for j in range(kernel_size):
        start = j * dilation
        y[:, start : start + last + 1 : stride] += np.tensordot(x, kernel[j].T, axes=1)
    return y[:, cut : cut + length]


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
