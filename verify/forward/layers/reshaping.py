"""Evaluate the layers that move numbers and compute nothing; all of them lose masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.forward.layers.base import (
    DATA_FORMAT,
    LayerType,
    Option,
    Run,
    Unexpected,
    positive,
)
from verify.model.arrays import Array
from verify.model.spec import LayerSpec


def pair(value: Any) -> tuple[int, int]:
    """Read two whole numbers, 0 or more, or one number for both."""
    items = list(value) if isinstance(value, (list, tuple)) else [value, value]
    if len(items) != 2 or not all(type(item) is int and item >= 0 for item in items):
        raise Unexpected("two whole numbers, 0 or more, or one for both")
    return items[0], items[1]


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


class Cropping1D(Reshaping):
    """Compute ``y = x[:, first : time - last]``.

    Source: keras/src/layers/reshaping/cropping1d.py.
    """

    class_name = "Cropping1D"
    returns_input = "by rule"
    options: ClassVar[Mapping[str, Option]] = {"cropping": Option(pair, (1, 1))}
    ndim = 3

    def equation(self, options: Mapping[str, Any]) -> str:
        first, last = options["cropping"]
        return f"y = x without the first {first} and the last {last} steps"

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        first, last = layer.options["cropping"]
        if first + last >= x.shape[1]:
            raise ValueError(f"more than {first + last} steps")
        return x[:, first : x.shape[1] - last]


class ZeroPadding1D(Reshaping):
    """Add steps of zeros at both ends; with ``channels_first``, time is the last axis.

    Source: keras/src/layers/reshaping/zero_padding1d.py.
    """

    class_name = "ZeroPadding1D"
    options: ClassVar[Mapping[str, Option]] = {
        "padding": Option(pair, (1, 1)),
        "data_format": DATA_FORMAT,
    }
    ndim = 3

    def equation(self, options: Mapping[str, Any]) -> str:
        first, last = options["padding"]
        axis = 2 if options["data_format"] == "channels_first" else 1
        return f"{first} zeros before and {last} after, along axis {axis}"

    def moved(self, layer: LayerSpec, x: Array) -> Array:
        padding = [(0, 0), layer.options["padding"], (0, 0)]
        if layer.options["data_format"] == "channels_first":
            padding = [(0, 0), (0, 0), layer.options["padding"]]
        return np.pad(x, padding)


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


KINDS: tuple[type[LayerType], ...] = (
    Flatten,
    Reshape,
    Permute,
    RepeatVector,
    Cropping1D,
    ZeroPadding1D,
    UpSampling1D,
)
"""The layer types of this module, for the registry."""
