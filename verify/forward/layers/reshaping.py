"""Evaluate the layers that move numbers and compute nothing; all of them lose masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from verify.forward.convolution import channels_last, in_format
from verify.forward.layers.base import (
    DATA_FORMAT,
    LayerType,
    Option,
    Run,
    Unexpected,
    positive,
)
from verify.forward.layers.convolution import sizes
from verify.forward.layers.images import INTERPOLATION, interpolated
from verify.model.arrays import Array
from verify.model.spec import LayerSpec


def pair(value: Any) -> tuple[int, int]:
    """Read two whole numbers, 0 or more, or one number for both."""
    items = list(value) if isinstance(value, (list, tuple)) else [value, value]
    if len(items) != 2 or not all(type(item) is int and item >= 0 for item in items):
        raise Unexpected("two whole numbers, 0 or more, or one for both")
    return items[0], items[1]


Pair = tuple[int, int]


def pairs(rank: int) -> Callable[[Any], tuple[Pair, ...]]:
    """Return a parser of what is cut off or added at both ends of `rank` axes.

    It reads one pair for each axis, one number for both ends of each axis, or one
    number for all.
    """

    def read(value: Any) -> tuple[Pair, ...]:
        items = value if isinstance(value, (list, tuple)) else [value] * rank
        if len(items) != rank:
            raise Unexpected(f"{rank} pairs of whole numbers, or one number for all")
        return tuple(pair(item) for item in items)

    return read


def _by_axis(value: Any) -> tuple[Pair, ...]:
    """Return pairs for several axes; a layer of one axis has its only pair."""
    return value if isinstance(value[0], tuple) else (value,)


def _spatial_axes(rank: int, options: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the axes of time or space; without a data format, channels come last."""
    first = 2 if options.get("data_format") == "channels_first" else 1
    return tuple(range(first, first + rank))


def target_shape(value: Any) -> tuple[int, ...]:
    """Read the sizes of a row; one of them may be -1, for the size that is left."""
    items = tuple(value) if isinstance(value, (list, tuple)) else (None,)
    sizes = all(type(item) is int and (item > 0 or item == -1) for item in items)
    if not sizes or items.count(-1) > 1:
        raise Unexpected("sizes of 1 or more, one of which may be -1")
    return items


def permutation(value: Any) -> tuple[int, ...]:
    """Read a list of all axes from 1, each once, in any order."""
    items = tuple(value) if isinstance(value, (list, tuple)) else (None,)
    integers = all(type(item) is int for item in items)
    if not integers or sorted(items) != list(range(1, len(items) + 1)):
        raise Unexpected("each axis from 1 on once")
    return items


class Reshaping(LayerType):
    """Move numbers within each row; the base of the layers of this module.

    Attributes
    ----------
    ndim : int
        Number of axes that the input must have, rows included; 0 for any.
    """

    ndim: ClassVar[int] = 0

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        if self.ndim and inputs.ndim != self.ndim:
            raise ValueError(f"{self.ndim} axes, rows first")
        return self.moved(layer, inputs)

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        """Return the output: the numbers of `x` in their new places."""
        raise NotImplementedError

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"{self.equation(layer.options)}; masks end here"]

    def equation(self, options: Mapping[str, Any]) -> str:
        """Return what the layer does in a few words, for `describe`."""
        raise NotImplementedError


class Flatten(Reshaping):
    """Put all numbers of a row into one axis, ``y = x.reshape(rows, -1)``.

    With ``channels_first``, axis 1 is moved to the end first.

    Source: keras/src/layers/reshaping/flatten.py.
    """

    class_name = "Flatten"
    returns_input = "by rule"
    options: ClassVar[Mapping[str, Option]] = {"data_format": DATA_FORMAT}

    def equation(self, options: Mapping[str, Any]) -> str:
        first = options["data_format"] == "channels_first"
        return "each row in one axis" + ", axis 1 fastest" * first

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        if layer.options["data_format"] == "channels_first" and x.ndim > 1:
            x = np.moveaxis(x, 1, -1)
        return x.reshape(len(x), -1)


class Reshape(Reshaping):
    """Compute ``y = x.reshape(rows, *target_shape)``, the last axis fastest.

    Source: keras/src/layers/reshaping/reshape.py.
    """

    class_name = "Reshape"
    returns_input = "by rule"
    options: ClassVar[Mapping[str, Option]] = {"target_shape": Option(target_shape)}

    def equation(self, options: Mapping[str, Any]) -> str:
        return f"each row as {options['target_shape']}, last axis fastest"

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        return x.reshape(len(x), *layer.options["target_shape"])


class Permute(Reshaping):
    """Move axis ``dims[k]`` of the input to axis ``k + 1`` of the output.

    Source: keras/src/layers/reshaping/permute.py.
    """

    class_name = "Permute"
    returns_input = "by rule"
    options: ClassVar[Mapping[str, Option]] = {"dims": Option(permutation)}

    def equation(self, options: Mapping[str, Any]) -> str:
        return f"axes in the order (0, {', '.join(map(str, options['dims']))})"

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        return np.transpose(x, (0, *layer.options["dims"]))

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        y = super().call(run, layer, inputs)
        dims = list(layer.options["dims"])
        if run.outlining and dims != sorted(dims):
            # What stands in for an array there has strides of 0, with which a view
            # looks like its input; one number of its own makes it another.
            y = np.broadcast_to(y[(slice(1),) * y.ndim].copy(), y.shape)
        return y


class RepeatVector(Reshaping):
    """Compute ``y[:, t] = x`` for ``n`` steps.

    Source: keras/src/layers/reshaping/repeat_vector.py.
    """

    class_name = "RepeatVector"
    options: ClassVar[Mapping[str, Option]] = {"n": Option(positive)}
    ndim = 2

    def equation(self, options: Mapping[str, Any]) -> str:
        return f"y[:, t] = x for t = 0 .. {options['n'] - 1}"

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        return np.repeat(x[:, None], layer.options["n"], axis=1)


class Cropping(Reshaping):
    """Leave out what lies at both ends of each axis of time or space.

    Attributes
    ----------
    rank : int
        Number of these axes.
    """

    returns_input = "by rule"
    rank: ClassVar[int]

    def equation(self, options: Mapping[str, Any]) -> str:
        words = [
            f"the first {first} and the last {last}"
            for first, last in _by_axis(options["cropping"])
        ]
        if self.rank == 1:
            return f"y = x without {words[0]} steps"
        axes = _spatial_axes(self.rank, options)
        parts = [f"{w} of axis {k}" for k, w in zip(axes, words, strict=True)]
        return f"y = x without {', '.join(parts)}"

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        at = [slice(None)] * x.ndim
        cropping = _by_axis(layer.options["cropping"])
        axes = _spatial_axes(self.rank, layer.options)
        for axis, (first, last) in zip(axes, cropping, strict=True):
            if first + last >= x.shape[axis]:
                raise ValueError(f"more than {first + last} along axis {axis}")
            at[axis] = slice(first, x.shape[axis] - last)
        return x[tuple(at)]


class Cropping1D(Cropping):
    """Compute ``y = x[:, first : time - last]``.

    Source: keras/src/layers/reshaping/cropping1d.py.
    """

    class_name = "Cropping1D"
    options: ClassVar[Mapping[str, Option]] = {"cropping": Option(pair, (1, 1))}
    ndim, rank = 3, 1


class Cropping2D(Cropping):
    """Leave out rows at the top and the bottom, and columns on the left and the right.

    Source: keras/src/layers/reshaping/cropping2d.py.
    """

    class_name = "Cropping2D"
    options: ClassVar[Mapping[str, Option]] = {
        "cropping": Option(pairs(2), ((0, 0), (0, 0))),
        "data_format": DATA_FORMAT,
    }
    ndim, rank = 4, 2


class Cropping3D(Cropping):
    """Leave out what lies at both ends of three axes.

    Source: keras/src/layers/reshaping/cropping3d.py.
    """

    class_name = "Cropping3D"
    options: ClassVar[Mapping[str, Option]] = {
        "cropping": Option(pairs(3), ((1, 1), (1, 1), (1, 1))),
        "data_format": DATA_FORMAT,
    }
    ndim, rank = 5, 3


class ZeroPadding(Reshaping):
    """Add zeros at both ends of each axis of time or space.

    Attributes
    ----------
    rank : int
        Number of these axes.
    """

    rank: ClassVar[int]

    def equation(self, options: Mapping[str, Any]) -> str:
        widths = _by_axis(options["padding"])
        axes = _spatial_axes(self.rank, options)
        parts = [
            f"{first} before and {last} after, along axis {axis}"
            for axis, (first, last) in zip(axes, widths, strict=True)
        ]
        return f"zeros are added: {'; '.join(parts)}"

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        widths = [(0, 0)] * x.ndim
        given = _by_axis(layer.options["padding"])
        for axis, width in zip(
            _spatial_axes(self.rank, layer.options), given, strict=True
        ):
            widths[axis] = width
        return np.pad(x, widths)


class ZeroPadding1D(ZeroPadding):
    """Add steps of zeros at both ends; with ``channels_first``, time is the last axis.

    Source: keras/src/layers/reshaping/zero_padding1d.py.
    """

    class_name = "ZeroPadding1D"
    options: ClassVar[Mapping[str, Option]] = {
        "padding": Option(pair, (1, 1)),
        "data_format": DATA_FORMAT,
    }
    ndim, rank = 3, 1


class ZeroPadding2D(ZeroPadding):
    """Add rows of zeros at the top and the bottom, and columns on both sides.

    Source: keras/src/layers/reshaping/zero_padding2d.py.
    """

    class_name = "ZeroPadding2D"
    options: ClassVar[Mapping[str, Option]] = {
        "padding": Option(pairs(2), ((1, 1), (1, 1))),
        "data_format": DATA_FORMAT,
    }
    ndim, rank = 4, 2


class ZeroPadding3D(ZeroPadding):
    """Add zeros at both ends of three axes.

    Source: keras/src/layers/reshaping/zero_padding3d.py.
    """

    class_name = "ZeroPadding3D"
    options: ClassVar[Mapping[str, Option]] = {
        "padding": Option(pairs(3), ((1, 1), (1, 1), (1, 1))),
        "data_format": DATA_FORMAT,
    }
    ndim, rank = 5, 3


class UpSampling1D(Reshaping):
    """Repeat each step ``size`` times in a row.

    Source: keras/src/layers/reshaping/up_sampling1d.py.
    """

    class_name = "UpSampling1D"
    options: ClassVar[Mapping[str, Option]] = {"size": Option(positive, 2)}
    ndim = 3

    def equation(self, options: Mapping[str, Any]) -> str:
        return f"each step {options['size']} times in a row"

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        return np.repeat(x, layer.options["size"], axis=1)


class UpSampling2D(Reshaping):
    """Make images ``size`` times as large, by repetition or by interpolation.

    Source: keras/src/layers/reshaping/up_sampling2d.py.
    """

    class_name = "UpSampling2D"
    options: ClassVar[Mapping[str, Option]] = {
        "size": Option(sizes(2), (2, 2)),
        "data_format": DATA_FORMAT,
        "interpolation": INTERPOLATION,
    }
    ndim = 4
    casts_outputs = False

    def equation(self, options: Mapping[str, Any]) -> str:
        times = " x ".join(map(str, options["size"]))
        if options["interpolation"] == "nearest":
            return f"each pixel {times} times in a row"
        return f"x, {times} times as large, {options['interpolation']}"

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        rows, columns = layer.options["size"]
        data_format = layer.options["data_format"]
        x = channels_last(x, data_format)
        if layer.options["interpolation"] == "nearest":
            y = np.repeat(np.repeat(x, rows, axis=1), columns, axis=2)
        else:
            size = x.shape[1] * rows, x.shape[2] * columns
            y = interpolated(layer, x, size, layer.options["interpolation"])
        return in_format(y, data_format)


class UpSampling3D(Reshaping):
    """Repeat each position ``size`` times in a row, along three axes.

    Source: keras/src/layers/reshaping/up_sampling3d.py.
    """

    class_name = "UpSampling3D"
    options: ClassVar[Mapping[str, Option]] = {
        "size": Option(sizes(3), (2, 2, 2)),
        "data_format": DATA_FORMAT,
    }
    ndim = 5

    def equation(self, options: Mapping[str, Any]) -> str:
        return f"each position {' x '.join(map(str, options['size']))} times in a row"

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        axes = _spatial_axes(3, layer.options)
        for axis, times in zip(axes, layer.options["size"], strict=True):
            x = np.repeat(x, times, axis=axis)
        return x


KINDS: tuple[type[LayerType], ...] = (
    Flatten,
    Reshape,
    Permute,
    RepeatVector,
    Cropping1D,
    Cropping2D,
    Cropping3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
)
"""The layer types of this module, for the registry."""
