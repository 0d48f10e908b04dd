"""Evaluate the layers that pool over time or space: in windows, or over all steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from itertools import product
from typing import Any, ClassVar

import numpy as np

from verify.forward.convolution import channels_last, in_format, pad_width, taps
from verify.forward.layers.base import (
    DATA_FORMAT,
    REQUIRED,
    LayerType,
    Option,
    Run,
    boolean,
    one_of,
    optional,
    refuse,
)
from verify.forward.layers.convolution import sizes
from verify.forward.recordable import as_array
from verify.model.arrays import Array
from verify.model.backends import Limit, Rule
from verify.model.dtypes import POLICIES, dtype_of, is_float, working
from verify.model.spec import LayerSpec
from verify.model.versions import VersionRule

POSITIONS = ("t", "p, q", "p, q, r")
"""How `describe` writes a position, by the number of spatial axes."""


def spatial_axes(layer: LayerSpec, rank: int) -> tuple[int, ...]:
    """Return the axes of time or space in the data format of a layer."""
    first = 1 if layer.options["data_format"] == "channels_last" else 2
    return tuple(range(first, first + rank))


def pooling_options(rank: int, pool_size: Any = REQUIRED) -> dict[str, Option]:
    """Return the options of a layer that pools in windows over `rank` axes."""
    return {
        "pool_size": Option(sizes(rank), pool_size),
        "strides": Option(optional(sizes(rank)), None),
        "padding": Option(one_of("valid", "same"), "valid"),
        "data_format": DATA_FORMAT,
    }


class Pooling(LayerType):
    """Compute ``y[p] = pooled(x[p * strides], ..., x[p * strides + pool_size - 1])``.

    A position p has one number for each axis of time or space. What padding adds is
    ignored. Without ``strides`` the windows do not overlap.

    Source: keras/src/layers/pooling/base_pooling.py.
    """

    rank: ClassVar[int]
    word: ClassVar[str]

    @abstractmethod
    def pooled(
        self,
        layer: LayerSpec,
        x: Array,
        size: tuple[int, ...],
        strides: tuple[int, ...],
        padding: str,
    ) -> Array:
        """Return one value for each window: (batch, windows..., channels)."""

    def notes(self, layer: LayerSpec) -> list[str]:
        size, strides = pooling_windows(layer)
        names = POSITIONS[self.rank - 1]
        start = ", ".join(
            f"{stride} * {name}"
            for stride, name in zip(strides, names.split(", "), strict=True)
        )
        steps = " x ".join(map(str, size)) + (" steps" if self.rank == 1 else "")
        return [
            f"y[{names}] = {self.word} of {steps} from x[{start}] on, padding "
            f"{layer.options['padding']}; masks end here"
        ]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        options = layer.options
        x = channels_last(inputs, options["data_format"])
        y = self.pooled(layer, x, *pooling_windows(layer), options["padding"])
        return in_format(y, options["data_format"])


def pooling_windows(layer: LayerSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the size of the windows of a pooling layer, and their strides."""
    size = layer.options["pool_size"]
    return size, layer.options["strides"] or size


class MaxPooling(Pooling):
    """Compute the maximum of each window; see `Pooling`."""

    word = "maximum"

    def pooled(
        self,
        layer: LayerSpec,
        x: Array,
        size: tuple[int, ...],
        strides: tuple[int, ...],
        padding: str,
    ) -> Array:
        if not is_float(x) and self.rank == 1:
            refuse(layer, Limit.WHOLE_NUMBERS)
        # the padding must never be the maximum
        lowest = -np.inf if is_float(x) else np.iinfo(x.dtype).min
        return reduce(np.maximum, taps(x, size, strides, padding, fill=lowest))


class AveragePooling(Pooling):
    """Compute the mean of each window; see `Pooling`."""

    word = "mean"

    def pooled(
        self,
        layer: LayerSpec,
        x: Array,
        size: tuple[int, ...],
        strides: tuple[int, ...],
        padding: str,
    ) -> Array:
        if Rule.UNEVEN_PADDING_COUNTS in layer.rules:
            widths = [
                pad_width(n, k, s, padding)
                for n, k, s in zip(x.shape[1:-1], size, strides, strict=True)
            ]
            if any(before != after for before, after in widths):
                x = np.pad(x, [(0, 0), *widths, (0, 0)], mode="edge")
                padding = "valid"
        total = reduce(np.add, taps(x, size, strides, padding))
        return total / window_members(x.shape[1:-1], size, strides, padding, x.dtype)


def window_members(
    lengths: tuple[int, ...],
    size: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str,
    dtype: Any,
) -> Array:
    """Return how many numbers of each window are not padding: (1, windows..., 1)."""
    real = np.ones((1, *lengths, 1), dtype=dtype)
    return as_array(reduce(np.add, taps(real, size, strides, padding)))


class MaxPooling1D(MaxPooling):
    """Compute the maximum of windows over time; see `Pooling`.

    Source: keras/src/layers/pooling/max_pooling1d.py.
    """

    class_name = "MaxPooling1D"
    rank = 1
    options: ClassVar[Mapping[str, Option]] = pooling_options(1, (2,))


class MaxPooling2D(MaxPooling):
    """Compute the maximum of windows over rows and columns; see `Pooling`.

    Source: keras/src/layers/pooling/max_pooling2d.py.
    """

    class_name = "MaxPooling2D"
    rank = 2
    options: ClassVar[Mapping[str, Option]] = pooling_options(2, (2, 2))


class MaxPooling3D(MaxPooling):
    """Compute the maximum of windows over three axes; see `Pooling`.

    Source: keras/src/layers/pooling/max_pooling3d.py.
    """

    class_name = "MaxPooling3D"
    rank = 3
    options: ClassVar[Mapping[str, Option]] = pooling_options(3, (2, 2, 2))


class AveragePooling1D(AveragePooling):
    """Compute the mean of windows over time; see `Pooling`.

    Source: keras/src/layers/pooling/average_pooling1d.py.
    """

    class_name = "AveragePooling1D"
    rank = 1
    options: ClassVar[Mapping[str, Option]] = pooling_options(1)


class AveragePooling2D(AveragePooling):
    """Compute the mean of windows over rows and columns; see `Pooling`.

    Source: keras/src/layers/pooling/average_pooling2d.py.
    """

    class_name = "AveragePooling2D"
    rank = 2
    options: ClassVar[Mapping[str, Option]] = pooling_options(2)


class AveragePooling3D(AveragePooling):
    """Compute the mean of windows over three axes; see `Pooling`.

    Source: keras/src/layers/pooling/average_pooling3d.py.
    """

    class_name = "AveragePooling3D"
    rank = 3
    options: ClassVar[Mapping[str, Option]] = pooling_options(3)


class AdaptivePooling(LayerType):
    """Cut each axis into ``output_size`` windows, and pool each of them.

    On an axis of n numbers, window k of m begins at ``floor(k * n / m)`` and ends
    before ``ceil((k + 1) * n / m)``. Windows overlap where m does not divide n.

    Source: keras/src/layers/pooling/base_adaptive_pooling.py.
    """

    rank: ClassVar[int]
    word: ClassVar[str]
    reduction: ClassVar[Callable[..., Any]]

    def notes(self, layer: LayerSpec) -> list[str]:
        size = " x ".join(map(str, layer.options["output_size"]))
        return [
            f"y = {self.word} of each of {size} windows; window k of m goes from step "
            "floor(k * n / m) to before ceil((k + 1) * n / m); masks end here"
        ]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        size, data_format = layer.options["output_size"], layer.options["data_format"]
        x = channels_last(inputs, data_format)
        if x.ndim != self.rank + 2:
            raise ValueError(f"{self.rank + 2} axes, rows first")
        if not is_float(x):
            refuse(layer, Limit.WHOLE_NUMBERS)
        axes = tuple(range(1, self.rank + 1))
        pooled = [
            type(self).reduction(x[(slice(None), *window)], axis=axes)
            for window in adaptive_windows(x.shape[1:-1], size)
        ]  # in the order of the output's positions
        y = np.stack(pooled, axis=1).reshape(len(x), *size, x.shape[-1])
        return in_format(y, data_format)


def adaptive_windows(
    lengths: tuple[int, ...], size: tuple[int, ...]
) -> Iterator[tuple[slice, ...]]:
    """Yield the window of each position of the output of an `AdaptivePooling`."""
    on_axes = [
        [slice(k * n // m, -(-(k + 1) * n // m)) for k in range(m)]
        for n, m in zip(lengths, size, strict=True)
    ]
    yield from product(*on_axes)


def adaptive_options(rank: int) -> dict[str, Option]:
    """Return the options of an `AdaptivePooling` over `rank` axes."""
    return {"output_size": Option(sizes(rank)), "data_format": DATA_FORMAT}


class AdaptiveMaxPooling1D(AdaptivePooling):
    """Compute the maximum of windows over time; see `AdaptivePooling`.

    Source: keras/src/layers/pooling/adaptive_max_pooling1d.py.
    """

    class_name = "AdaptiveMaxPooling1D"
    rank, word, reduction = 1, "maximum", np.max
    options: ClassVar[Mapping[str, Option]] = adaptive_options(1)


class AdaptiveMaxPooling2D(AdaptivePooling):
    """Compute the maximum of windows over rows and columns; see `AdaptivePooling`.

    Source: keras/src/layers/pooling/adaptive_max_pooling2d.py.
    """

    class_name = "AdaptiveMaxPooling2D"
    rank, word, reduction = 2, "maximum", np.max
    options: ClassVar[Mapping[str, Option]] = adaptive_options(2)


class AdaptiveMaxPooling3D(AdaptivePooling):
    """Compute the maximum of windows over three axes; see `AdaptivePooling`.

    Source: keras/src/layers/pooling/adaptive_max_pooling3d.py.
    """

    class_name = "AdaptiveMaxPooling3D"
    rank, word, reduction = 3, "maximum", np.max
    options: ClassVar[Mapping[str, Option]] = adaptive_options(3)


class AdaptiveAveragePooling1D(AdaptivePooling):
    """Compute the mean of windows over time; see `AdaptivePooling`.

    Source: keras/src/layers/pooling/adaptive_average_pooling1d.py.
    """

    class_name = "AdaptiveAveragePooling1D"
    rank, word, reduction = 1, "mean", np.mean
    options: ClassVar[Mapping[str, Option]] = adaptive_options(1)


class AdaptiveAveragePooling2D(AdaptivePooling):
    """Compute the mean of windows over rows and columns; see `AdaptivePooling`.

    Source: keras/src/layers/pooling/adaptive_average_pooling2d.py.
    """

    class_name = "AdaptiveAveragePooling2D"
    rank, word, reduction = 2, "mean", np.mean
    options: ClassVar[Mapping[str, Option]] = adaptive_options(2)


class AdaptiveAveragePooling3D(AdaptivePooling):
    """Compute the mean of windows over three axes; see `AdaptivePooling`.

    Source: keras/src/layers/pooling/adaptive_average_pooling3d.py.
    """

    class_name = "AdaptiveAveragePooling3D"
    rank, word, reduction = 3, "mean", np.mean
    options: ClassVar[Mapping[str, Option]] = adaptive_options(3)


class GlobalPooling(LayerType):
    """Compute one value for each channel from all steps or positions.

    Source: keras/src/layers/pooling/base_global_pooling.py.
    """

    rank: ClassVar[int]
    options: ClassVar[Mapping[str, Option]] = {
        "data_format": DATA_FORMAT,
        "keepdims": Option(boolean, False),
    }

    def axes(self, layer: LayerSpec, x: Array) -> tuple[int, ...]:
        """Return the axes to reduce.

        Raises
        ------
        ValueError
            The input has too many axes, or too few.
        """
        if x.ndim != self.rank + 2:
            raise ValueError(f"{self.rank + 2} axes, rows first")
        return spatial_axes(layer, self.rank)


class GlobalMaxPooling(GlobalPooling):
    """Compute ``y = max over p of x[p]``, including masked steps."""

    def notes(self, layer: LayerSpec) -> list[str]:
        what = "all steps, masked ones included" if self.rank == 1 else "all positions"
        return [f"y = maximum over {what}"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        keepdims = layer.options["keepdims"]
        return as_array(inputs.max(axis=self.axes(layer, inputs), keepdims=keepdims))


class GlobalMaxPooling1D(GlobalMaxPooling):
    """Compute the maximum over time; see `GlobalMaxPooling`.

    Source: keras/src/layers/pooling/global_max_pooling1d.py.
    """

    class_name = "GlobalMaxPooling1D"
    rank = 1


class GlobalMaxPooling2D(GlobalMaxPooling):
    """Compute the maximum over rows and columns; see `GlobalMaxPooling`.

    Source: keras/src/layers/pooling/global_max_pooling2d.py.
    """

    class_name = "GlobalMaxPooling2D"
    rank = 2


class GlobalMaxPooling3D(GlobalMaxPooling):
    """Compute the maximum over three axes; see `GlobalMaxPooling`.

    Source: keras/src/layers/pooling/global_max_pooling3d.py.
    """

    class_name = "GlobalMaxPooling3D"
    rank = 3


class GlobalAveragePooling(GlobalPooling):
    """Compute ``y = mean over p of x[p]``."""

    casts_outputs = False

    def notes(self, layer: LayerSpec) -> list[str]:
        return ["y = mean over all positions"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        axes, keepdims = self.axes(layer, inputs), layer.options["keepdims"]
        x, whole = inputs, not is_float(inputs)
        if whole:
            x = inputs.astype(_mean_dtype(run, layer))
        y = as_array(x.mean(axis=axes, keepdims=keepdims))
        return y if whole else y.astype(dtype_of(POLICIES[layer.policy].compute))


def _mean_dtype(run: Run, layer: LayerSpec) -> Any:
    """Return the dtype in which Keras averages whole numbers."""
    refuse(layer, Limit.MEAN_OF_WHOLE)
    by_floatx = VersionRule.WHOLE_NUMBERS_AVERAGED_IN_FLOATX in layer.version_rules
    # on other backends it is as in 3.15
    return working(run.floatx) if by_floatx and not layer.rules else np.float32


class GlobalAveragePooling1D(GlobalAveragePooling):
    """Compute the mean over the steps that are not masked, all without a mask.

    ::

        y = sum over t of mask[t] * x[t] / sum over t of mask[t]

    A row in which every step is masked becomes NaN.

    Source: keras/src/layers/pooling/global_average_pooling1d.py.
    """

    class_name = "GlobalAveragePooling1D"
    rank = 1
    arguments = ("inputs", "mask")
    supports_masking = True

    def notes(self, layer: LayerSpec) -> list[str]:
        return ["y = mean over the steps that are not masked; NaN where there is none"]

    def call(
        self, run: Run, layer: LayerSpec, inputs: Array, mask: Array | None = None
    ) -> Array:
        if mask is None:
            return super().call(run, layer, inputs)
        x, whole = inputs, not is_float(inputs)
        if whole:  # TensorFlow divides whole numbers in float64, Keras's mean does not
            x = x.astype(np.float64)
        (axis,), keepdims = self.axes(layer, x), layer.options["keepdims"]
        keep = np.expand_dims(np.asarray(mask, dtype=bool), 3 - axis)
        kept = np.where(keep, x, np.zeros_like(x))
        count = keep.astype(x.dtype).sum(axis=axis, keepdims=keepdims)
        y = kept.sum(axis=axis, keepdims=keepdims) / count
        return y if whole else y.astype(dtype_of(POLICIES[layer.policy].compute))

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        return None


class GlobalAveragePooling2D(GlobalAveragePooling):
    """Compute the mean over rows and columns; see `GlobalAveragePooling`.

    Source: keras/src/layers/pooling/global_average_pooling2d.py.
    """

    class_name = "GlobalAveragePooling2D"
    rank = 2


class GlobalAveragePooling3D(GlobalAveragePooling):
    """Compute the mean over three axes; see `GlobalAveragePooling`.

    Source: keras/src/layers/pooling/global_average_pooling3d.py.
    """

    class_name = "GlobalAveragePooling3D"
    rank = 3


KINDS: tuple[type[LayerType], ...] = (
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D,
    AdaptiveMaxPooling3D,
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
)
"""The layer types of this module, for the registry."""
