"""Evaluate the raw operations of Fourier transforms along the last axis.

Complex numbers are pairs of arrays, their real and imaginary parts, as in Keras. Arrays
are transformed by `numpy.fft`; what is recorded for derivatives, by products with
cosines and sines.

Source: keras/src/ops/math.py, keras/src/backend/tensorflow/math.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from verify.errors import DataError, UnsupportedError
from verify.forward.layers.base import (
    LayerType,
    Option,
    Tensor,
    boolean,
    one_of,
    optional,
    positive,
)
from verify.forward.layers.operations import Operation
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import flatten
from verify.model.spec import LayerSpec

Pair = tuple[Array, Array]


def fitted(x: Array, size: int) -> Array:
    """Return numbers cut, or filled up with zeros, to a size of the last axis."""
    missing = size - x.shape[-1]
    if missing <= 0:
        return x[..., :size]
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])


def waves(rows: int, columns: int, size: int, dtype: Any) -> Pair:
    """Return ``cos`` and ``sin`` of ``2 * pi * j * k / size``; (rows, columns) each."""
    turns = np.outer(np.arange(rows), np.arange(columns)) % size  # whole turns are 0
    angles = 2 * np.pi * turns / size
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def mixed(x: Array, part: Array) -> Array:
    """Return ``x @ part`` of recorded numbers, rounded as a fast transform does it.

    A fast transform adds every number of `x` to every frequency on its way, even those
    that a wave is 0 at. The two products that cancel stand for their rounding errors.
    """
    rest = (1 - np.abs(part)).astype(part.dtype)
    return x @ part + (x @ rest - x @ rest)


def rfft(x: Array, fft_length: int | None) -> list[Array]:
    """Return the frequencies from 0 to a half of real numbers."""
    size = fft_length or x.shape[-1]
    if isinstance(x, np.ndarray):
        found = np.fft.rfft(x, size)
        return [found.real.astype(x.dtype), found.imag.astype(x.dtype)]
    cosines, sines = waves(size, size // 2 + 1, size, x.dtype)
    x = fitted(x, size)
    return [mixed(x, cosines), -mixed(x, sines)]


def irfft(x: Pair, fft_length: int | None) -> Array:
    """Return the real numbers that have these frequencies."""
    real, imaginary = x
    size = fft_length or 2 * (real.shape[-1] - 1)
    count = size // 2 + 1
    real, imaginary = fitted(real, count), fitted(imaginary, count)
    if isinstance(real, np.ndarray) and isinstance(imaginary, np.ndarray):
        return np.fft.irfft(real + 1j * imaginary, size).astype(real.dtype)
    cosines, sines = waves(count, size, size, real.dtype)
    # every frequency but the first, and that of a half, stands for two
    twice = np.full(count, 2.0, real.dtype)
    twice[0] = 1
    if size % 2 == 0:
        twice[-1] = 1
    parts = (mixed(real * twice, cosines), mixed(imaginary * twice, sines))
    return (parts[0] - parts[1]) / size


def fft(x: Pair) -> list[Array]:
    """Return all frequencies of complex numbers."""
    real, imaginary = x
    size = real.shape[-1]
    if isinstance(real, np.ndarray) and isinstance(imaginary, np.ndarray):
        found = np.fft.fft(real + 1j * imaginary)
        return [found.real.astype(real.dtype), found.imag.astype(real.dtype)]
    cosines, sines = waves(size, size, size, real.dtype)
    return [
        mixed(real, cosines) + mixed(imaginary, sines),
        mixed(imaginary, cosines) - mixed(real, sines),
    ]


def frames_of(x: Array, length: int, stride: int) -> Array:
    """Return parts of so many numbers, one each `stride`: (..., parts, length)."""
    count = max((x.shape[-1] - length) // stride + 1, 0)
    places = stride * np.arange(count)[:, None] + np.arange(length)
    return x[..., places]


def extract_sequences(x: Array, sequence_length: int, sequence_stride: int) -> Array:
    """Return the parts of a sequence that a window sees as it moves."""
    return frames_of(x, sequence_length, sequence_stride)


def window_of(window: str | None, length: int, size: int, dtype: Any) -> Array | None:
    """Return a window of a length, filled up with zeros to a size at both ends."""
    if window is None:
        return None
    a = {"hann": 0.5, "hamming": 0.54}[window]
    found = a - (1 - a) * np.cos(2 * np.pi * np.arange(length) / length)
    before = (size - length) // 2
    return np.pad(found, (before, size - length - before)).astype(dtype)


def stft(
    x: Array,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    window: str | None,
    center: bool,
) -> list[Array]:
    """Return the frequencies of each part of a sequence, seen through a window."""
    if center:
        ends = (fft_length // 2, fft_length // 2)
        x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [ends], mode="reflect")
    parts = frames_of(x, fft_length, sequence_stride)
    seen = window_of(window, sequence_length, fft_length, x.dtype)
    return rfft(parts if seen is None else parts * seen, fft_length)


def istft(
    x: Pair,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None,
    window: str | None,
    center: bool,
) -> Array:
    """Return the sequence whose parts have these frequencies; parts overlap and add."""
    parts = irfft(x, fft_length)
    seen = window_of(window, sequence_length, fft_length, parts.dtype)
    if seen is not None:
        # the windows that meet at a place: those of as many strides
        strides = -(-fft_length // sequence_stride)
        squares = fitted(np.square(seen), strides * sequence_stride)
        total = np.tile(squares.reshape(strides, -1).sum(axis=0), strides)
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = parts * (seen / total[:fft_length])
    count = parts.shape[-2]
    size = fft_length + sequence_stride * (count - 1)
    found: Any = 0.0
    for k in range(count):
        ends = (k * sequence_stride, size - fft_length - k * sequence_stride)
        part = parts[..., k, :]
        found = found + np.pad(part, [(0, 0)] * (part.ndim - 1) + [ends])
    start = fft_length // 2 if center else 0
    end = size - start if length is None else start + length
    return found[..., start:end]


WINDOWS = ("hann", "hamming", None)
FRAMES: Mapping[str, Option] = {
    "sequence_length": Option(positive),
    "sequence_stride": Option(positive),
}
SPECTRA: Mapping[str, Option] = {
    **FRAMES,
    "fft_length": Option(positive),
    "window": Option(one_of(*WINDOWS), "hann", supported="hann, hamming, None"),
    "center": Option(boolean, True),
}
LENGTH: Mapping[str, Option] = {"fft_length": Option(optional(positive), None)}


class Fourier(Operation):
    """Transform along the last axis, which must not be that of the rows."""

    function: ClassVar[Callable[..., Any]]
    casts = "own"
    arguments = ("x",)

    def check(self, where: str, layer: LayerSpec) -> None:
        options = layer.options
        if "window" not in options:
            return
        if options["fft_length"] < options["sequence_length"]:
            raise UnsupportedError(
                f"{where}: expected an fft_length of sequence_length or more. "
                f"Received: {options['fft_length']} and {options['sequence_length']}"
            )
        if options["window"] is not None and options["sequence_length"] % 2:
            # TensorFlow repeats such a window after one number less than it has
            raise UnsupportedError(
                f"{where}: expected a window of an even sequence_length. Received: "
                f"{options['sequence_length']}"
            )

    def check_rows(self, layer: LayerSpec, operands: list[Any]) -> None:
        for leaf in flatten(operands):
            value = leaf.value if isinstance(leaf, Tensor) else np.asarray(leaf)
            if value.ndim < 2 or not is_float(value):
                raise DataError(
                    f"{layer}: expected floats with an axis after that of the rows. "
                    f"Received: {value.dtype.name} of shape {value.shape}"
                )


def _made(
    name: str, function: Callable[..., Any], options: Mapping[str, Option]
) -> type[LayerType]:
    return type(
        name,
        (Fourier,),
        {
            "__doc__": function.__doc__,
            "class_name": f"ops.{name}",
            "function": staticmethod(function),
            "options": dict(options),
        },
    )


KINDS: tuple[type[LayerType], ...] = (
    _made("RFFT", rfft, LENGTH),
    _made("IRFFT", irfft, LENGTH),
    _made("FFT", fft, {}),
    _made("STFT", stft, SPECTRA),
    _made("ISTFT", istft, {**SPECTRA, "length": Option(optional(positive), None)}),
    _made("ExtractSequences", extract_sequences, FRAMES),
)
"""The layer types of this module, for the registry."""
