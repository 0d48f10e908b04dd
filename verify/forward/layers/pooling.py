"""Evaluate the layers that pool over time, in windows or over all steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.forward.convolution import channels_last, in_format, pad_width, windows
from verify.forward.layers.base import (
    DATA_FORMAT,
    LayerType,
    Option,
    Run,
    boolean,
    one_of,
    optional,
    refuse,
)
from verify.forward.layers.convolution import sizes
from verify.model.arrays import Array
from verify.model.backends import Limit, Rule
from verify.model.dtypes import POLICIES, dtype_of, is_float, working
from verify.model.spec import LayerSpec
from verify.model.versions import VersionRule

POOLING_OPTIONS: Mapping[str, Option] = {
    "strides": Option(optional(sizes(1)), None),
    "padding": Option(one_of("valid", "same"), "valid"),
    "data_format": DATA_FORMAT,
}


class Pooling(LayerType):
    """Compute ``y[t] = pooled(x[t * strides], ..., x[t * strides + pool_size - 1])``.

    Steps that padding adds are ignored. Without ``strides`` the windows do not overlap.

    Source: keras/src/layers/pooling/base_pooling.py.
    """

    word: ClassVar[str]

    @abstractmethod
    def pooled(
        self, layer: LayerSpec, x: Array, size: int, stride: int, padding: str
    ) -> Array:
        """Return one value for each window: (batch, windows, channels)."""

    def notes(self, layer: LayerSpec) -> list[str]:
        size, stride = self._windows(layer)
        return [
            f"y[t] = {self.word} of {size} steps from x[{stride} * t] on, padding "
            f"{layer.options['padding']}; masks end here"
        ]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        options = layer.options
        x = channels_last(inputs, options["data_format"])
        y = self.pooled(layer, x, *self._windows(layer), options["padding"])
        return in_format(y, options["data_format"])

    def _windows(self, layer: LayerSpec) -> tuple[int, int]:
        (size,) = layer.options["pool_size"]
        (stride,) = layer.options["strides"] or (size,)
        return size, stride


class MaxPooling1D(Pooling):
    """Compute the maximum of each window; see `Pooling`.

    Source: keras/src/layers/pooling/max_pooling1d.py.
    """

    class_name = "MaxPooling1D"
    options: ClassVar[Mapping[str, Option]] = {
        "pool_size": Option(sizes(1), (2,)),
        **POOLING_OPTIONS,
    }
    word = "maximum"

    def pooled(
        self, layer: LayerSpec, x: Array, size: int, stride: int, padding: str
    ) -> Array:
        if not is_float(x):
            refuse(layer, Limit.WHOLE_NUMBERS)
        # the padding must never be the maximum
        lowest = -np.inf if is_float(x) else np.iinfo(x.dtype).min
        return windows(x, size, stride, padding, fill=lowest).max(axis=-1)


class AveragePooling1D(Pooling):
    """Compute the mean of each window; see `Pooling`.

    Source: keras/src/layers/pooling/average_pooling1d.py.
    """

    class_name = "AveragePooling1D"
    options: ClassVar[Mapping[str, Option]] = {
        "pool_size": Option(sizes(1)),
        **POOLING_OPTIONS,
    }
    word = "mean"

    def pooled(
        self, layer: LayerSpec, x: Array, size: int, stride: int, padding: str
    ) -> Array:
        if Rule.UNEVEN_PADDING_COUNTS in layer.rules:
            width = pad_width(x.shape[1], size, stride, padding)
            if width[0] != width[1]:
                x, padding = np.pad(x, [(0, 0), width, (0, 0)], mode="edge"), "valid"
        # the same windows over ones count the steps that are not padding
        real = np.ones((1, x.shape[1], 1), dtype=x.dtype)
        total, count = (
            windows(values, size, stride, padding).sum(axis=-1) for values in (x, real)
        )
        return total / count


class GlobalPooling(LayerType):
    """Compute one value for each channel from all steps.

    Source: keras/src/layers/pooling/base_global_pooling.py.
    """

    options: ClassVar[Mapping[str, Option]] = {
        "data_format": DATA_FORMAT,
        "keepdims": Option(boolean, False),
    }


def _time_axis(layer: LayerSpec) -> int:
    return 1 if layer.options["data_format"] == "channels_last" else 2


class GlobalMaxPooling1D(GlobalPooling):
    """Compute ``y = max over t of x[t]``, including masked steps.

    Source: keras/src/layers/pooling/global_max_pooling1d.py.
    """

    class_name = "GlobalMaxPooling1D"

    def notes(self, layer: LayerSpec) -> list[str]:
        return ["y = maximum over all steps, masked ones included"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        keepdims = layer.options["keepdims"]
        return inputs.max(axis=_time_axis(layer), keepdims=keepdims)


class GlobalAveragePooling1D(GlobalPooling):
    """Compute the mean over the steps that are not masked, all without a mask.

    ::

        y = sum over t of mask[t] * x[t] / sum over t of mask[t]

    A row in which every step is masked becomes NaN.

    Source: keras/src/layers/pooling/global_average_pooling1d.py.
    """

    class_name = "GlobalAveragePooling1D"
    arguments = ("inputs", "mask")
    supports_masking = True
    casts_outputs = False

    def notes(self, layer: LayerSpec) -> list[str]:
        return ["y = mean over the steps that are not masked; NaN where there is none"]

    def call(
        self, run: Run, layer: LayerSpec, inputs: Array, mask: Array | None = None
    ) -> Array:
        x, whole = inputs, not is_float(inputs)
        if whole and mask is None:
            refuse(layer, Limit.MEAN_OF_WHOLE)
        if whole:  # TensorFlow divides whole numbers in float64, Keras's mean does not
            by_floatx = VersionRule.WHOLE_NUMBERS_AVERAGED_IN_FLOATX
            # on other backends it is as in 3.15
            averaged = by_floatx in layer.version_rules and not layer.rules
            mean = working(run.floatx) if averaged else np.float32
            x = x.astype(mean if mask is None else np.float64)
        axis, keepdims = _time_axis(layer), layer.options["keepdims"]
        if mask is None:
            y = x.mean(axis=axis, keepdims=keepdims)
        else:
            keep = np.expand_dims(np.asarray(mask, dtype=bool), 3 - axis)
            kept = np.where(keep, x, np.zeros_like(x))
            count = keep.astype(x.dtype).sum(axis=axis, keepdims=keepdims)
            y = kept.sum(axis=axis, keepdims=keepdims) / count
        return y if whole else y.astype(dtype_of(POLICIES[layer.policy].compute))

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        return None


KINDS: tuple[type[LayerType], ...] = (
    MaxPooling1D,
    AveragePooling1D,
    GlobalMaxPooling1D,
    GlobalAveragePooling1D,
)
"""The layer types of this module, for the registry."""
