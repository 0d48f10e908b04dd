"""Write the raw operations of Fourier transforms as products with cosines and sines.

ONNX has an operator for them, which few runtimes have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.layers.fourier_operations import waves, window_of
from verify.model.arrays import Array
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx.values import Value


def _size(layer: LayerSpec, x: Value) -> int:
    size = x.shape[-1]
    if size is None:
        raise UnsupportedError(f"{layer}: expected a last axis of a fixed size")
    return size


def _fitted(layer: LayerSpec, x: Value, size: int) -> Value:
    missing = size - _size(layer, x)
    if missing <= 0:
        return x.slice(x.ndim - 1, 0, size) if missing else x
    return x.pad([(0, 0)] * (x.ndim - 1) + [(0, missing)])


def _times(x: Value, matrix: Array) -> Value:
    return x @ x.graph.constant(matrix.astype(x.dtype))


def _rfft(layer: LayerSpec, x: Value, fft_length: int | None) -> list[Value]:
    size = fft_length or _size(layer, x)
    cosines, sines = waves(size, size // 2 + 1, size, x.dtype)
    x = _fitted(layer, x, size)
    return [_times(x, cosines), _times(x, -sines)]


def _irfft(layer: LayerSpec, x: Sequence[Value], fft_length: int | None) -> Value:
    size = fft_length or 2 * (_size(layer, x[0]) - 1)
    count = size // 2 + 1
    cosines, sines = waves(count, size, size, np.float64)
    twice = np.full((count, 1), 2.0)
    twice[0] = 1
    if size % 2 == 0:
        twice[-1] = 1
    real, imaginary = (_fitted(layer, part, count) for part in x)
    return _times(real, cosines * twice / size) - _times(
        imaginary, sines * twice / size
    )


def _fft(layer: LayerSpec, x: Sequence[Value]) -> list[Value]:
    real, imaginary = x
    size = _size(layer, real)
    cosines, sines = waves(size, size, size, np.float64)
    return [
        _times(real, cosines) + _times(imaginary, sines),
        _times(imaginary, cosines) - _times(real, sines),
    ]


def _frames(layer: LayerSpec, x: Value, length: int, stride: int) -> Value:
    count = max((_size(layer, x) - length) // stride + 1, 0)
    if not count:
        raise UnsupportedError(f"{layer}: expected a sequence of {length} or more")
    places = stride * np.arange(count)[:, None] + np.arange(length)
    return x.gather(x.graph.constant(places.astype(np.int64)), x.ndim - 1)


def _sequences(
    layer: LayerSpec, x: Value, sequence_length: int, sequence_stride: int
) -> Value:
    return _frames(layer, x, sequence_length, sequence_stride)


def _stft(layer: LayerSpec, x: Value, **options: Any) -> list[Value]:
    size = options["fft_length"]
    if options["center"]:
        places = np.pad(np.arange(_size(layer, x)), size // 2, mode="reflect")
        x = x.gather(x.graph.integers(places.tolist()), x.ndim - 1)
    parts = _frames(layer, x, size, options["sequence_stride"])
    length = options["sequence_length"]
    seen = window_of(options["window"], length, size, np.float64)
    wide = np.ones((size, 1)) if seen is None else seen[:, None]
    cosines, sines = waves(size, size // 2 + 1, size, np.float64)
    return [_times(parts, wide * cosines), _times(parts, -wide * sines)]


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "RFFT": _rfft,
    "IRFFT": _irfft,
    "FFT": _fft,
    "ExtractSequences": _sequences,
    "STFT": _stft,
}
"""Name of an operation -> the function that writes it."""
