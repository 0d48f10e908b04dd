"""Evaluate STFTSpectrogram, which makes frequencies of a sound by convolutions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.forward.convolution import convolve
from verify.forward.layers.base import (
    DATA_FORMAT,
    KERAS_EPSILON,
    LayerType,
    Option,
    Run,
    boolean,
    one_of,
    optional,
    positive,
)
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, rounded
from verify.model.spec import LayerSpec

MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


class STFTSpectrogram(LayerType):
    """Compute the short-time Fourier transform of each channel over time.

    ::

        re = convolve(x, real_kernel), im = convolve(x, imag_kernel)
        psd       = re^2 + im^2, twice that of all but the first and last frequency
        magnitude = sqrt(max(re^2 + im^2, 1e-7))
        log       = log(max(magnitude, 1e-7))
        angle     = arctan2(im, re);  stft = re and im, one behind the other

    The kernels hold window and scaling, and are weights, so that options which only
    initialise them have no effect here.

    Source: keras/src/layers/preprocessing/stft_spectrogram.py.
    """

    class_name = "STFTSpectrogram"
    options: ClassVar[Mapping[str, Option]] = {
        "mode": Option(one_of(*MODES), "log"),
        "frame_length": Option(positive, 256),
        "frame_step": Option(optional(positive), None),
        "fft_length": Option(optional(positive), None),
        "padding": Option(one_of("valid", "same"), "valid"),
        "expand_dims": Option(boolean, False),
        "data_format": DATA_FORMAT,
    }
    inert = frozenset({"window", "periodic", "scaling"})
    shown_by_weights = frozenset({"frame_length", "fft_length"})

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        frame, mode = options["frame_length"], options["mode"]
        length = options["fft_length"] or 2 ** math.ceil(math.log2(frame))
        shape = (frame, 1, length // 2 + 1)
        kernels = {"real_kernel": shape} if mode != "imag" else {}
        return kernels | ({"imag_kernel": shape} if mode != "real" else {})

    def notes(self, layer: LayerSpec) -> list[str]:
        options = layer.options
        return [
            f"{options['mode']} of frames of {options['frame_length']} steps, one each "
            f"{step_of(layer)} steps; re and im are convolutions of each channel"
        ]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        options = layer.options
        if inputs.ndim != 3:
            raise ValueError("(batch, time, channels)")
        last = options["data_format"] == "channels_last"
        x = np.swapaxes(inputs, 1, 2) if last else inputs  # (batch, channels, time)
        # In 16 bits this constant is itself rounded, in float16 to 1.2 times its value.
        least = rounded(np.asarray(KERAS_EPSILON), POLICIES[layer.policy].compute)
        parts = (_part(layer, key, x) for key in layer.weights)
        y = spectrum(options["mode"], least, *parts)
        if options["expand_dims"]:
            return y.transpose(0, 2, 3, 1) if last else y
        # frequencies of the first channel, then those of the next
        joined = y.transpose(0, 2, 1, 3).reshape(len(y), y.shape[2], -1)
        return joined if last else np.swapaxes(joined, 1, 2)


def step_of(layer: LayerSpec) -> int:
    """Return how many steps lie between two frames."""
    return int(layer.options["frame_step"] or layer.options["frame_length"] // 2)


def _part(layer: LayerSpec, key: str, x: Array) -> Array:
    """Convolve each channel with one kernel: (batch, channels, frames, frequencies)."""
    # One channel at a time, so that the first axis is always that of the rows: those
    # who derive how far rounding moves a row depend on it.
    parts = [
        convolve(
            x[:, channel, :, None],  # (batch, time, 1)
            layer.weights[key],
            strides=[step_of(layer)],
            padding=layer.options["padding"],
            dilation=[1],
        )
        for channel in range(x.shape[1])
    ]
    return np.stack(parts, axis=1)


def spectrum(
    mode: str, least: Array, first: Array, second: Array | None = None
) -> Array:
    """Return what a mode makes of the real and the imaginary part.

    Parameters
    ----------
    mode : str
    least : () of float
        What the root, and after it the logarithm, is taken of at least.
    first, second : (batch, channels, frames, frequencies)
        The real part and the imaginary one; the only one in the modes of that name.
    """
    if second is None:
        return first
    if mode == "stft":
        return np.concatenate([first, second], axis=-1)
    if mode == "angle":
        return np.asarray(np.arctan2(second, first))
    power = first * first + second * second
    if mode == "psd":
        twice = np.full(power.shape[-1], 2, dtype=power.dtype)
        twice[[0, -1]] = 1
        return power * twice
    magnitude = np.sqrt(np.maximum(power, least))
    if mode == "magnitude":
        return magnitude
    return np.log(np.maximum(magnitude, least))


KINDS: tuple[type[LayerType], ...] = (STFTSpectrogram,)
"""The layer types of this module, for the registry."""
