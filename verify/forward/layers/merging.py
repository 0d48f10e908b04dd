"""Evaluate the layers that merge several arrays into one.

Inputs with fewer axes than others get axes of size 1 after that of the rows. If some
inputs are floats, all are cast to floats. The output has a mask if *every* input has
one; a step is then masked if it is masked in all of them. Concatenate and Dot follow
rules of their own in all of this.

In a file of Keras 1 or 2 (option ``keras2_masks``) the rule is another: a step is
masked if it is masked in *any* input that has a mask, and masks do not change numbers.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from verify.forward.layers.base import (
    LayerType,
    Option,
    Run,
    Tensor,
    Unexpected,
    axis,
    boolean,
    from_front,
    number,
)
from verify.forward.layers.normalization import unit_length
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, is_float, promoted, rounded
from verify.model.spec import LayerSpec

Masks = Sequence[Array | None]
KERAS2_MASKS = {"keras2_masks": Option(boolean, False)}
"""Option that `verify.model_files.keras2_config` adds to files of Keras 1 and 2."""


class Merge(LayerType):
    """Check and cast inputs, and merge their masks; the base of all merging layers.

    Attributes
    ----------
    equation : str
        The equation, for `describe`.
    count : int or None
        The number of inputs, if it is fixed.

    Source: keras/src/layers/merging/base_merge.py.
    """

    supports_masking = True
    options: ClassVar[Mapping[str, Option]] = KERAS2_MASKS
    equation: ClassVar[str] = ""
    count: ClassVar[int | None] = None

    def notes(self, layer: LayerSpec) -> list[str]:
        return [self.equation]

    def listed(self, run: Run, inputs: Any) -> list[Array]:
        """Return the inputs as a list of arrays in one dtype.

        Raises
        ------
        ValueError
            They are not a list, or their number is not `count`.
        """
        if not isinstance(inputs, (list, tuple)) or not inputs:
            raise ValueError("a list of inputs")
        if self.count is not None and len(inputs) != self.count:
            raise ValueError(f"{self.count} inputs, not {len(inputs)}")
        arrays = list(inputs)
        if any(map(is_float, arrays)):
            dtype = promoted(*arrays, floatx=run.floatx)
            arrays = [x.astype(dtype, copy=False) for x in arrays]
        return arrays

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        if layer.options.get("keras2_masks"):
            return masked_in_any(mask)
        if any(m is None for m in mask):
            return None
        return reduce(np.logical_or, mask)


def masked_in_any(masks: Masks) -> Array | None:
    """Return the mask of Keras 2: False where any input that has a mask is masked."""
    known = [m for m in masks if m is not None]
    return reduce(np.logical_and, known) if known else None


class Arithmetic(Merge):
    """Merge inputs element by element, whatever their masks."""

    def call(self, run: Run, layer: LayerSpec, inputs: Any) -> Array:
        return self.merged(of_one_rank(self.listed(run, inputs)))

    @abstractmethod
    def merged(self, xs: list[Array]) -> Array:
        """Merge several arrays of one rank."""


class Add(Arithmetic):
    """Compute ``y = a + b + ...``.

    Source: keras/src/layers/merging/add.py.
    """

    class_name = "Add"
    equation = "y = a + b + ..."

    def merged(self, xs: list[Array]) -> Array:
        return reduce(np.add, xs)


class Subtract(Arithmetic):
    """Compute ``y = a - b``.

    Source: keras/src/layers/merging/subtract.py.
    """

    class_name = "Subtract"
    equation = "y = a - b"
    count = 2

    def merged(self, xs: list[Array]) -> Array:
        return xs[0] - xs[1]


class Average(Arithmetic):
    """Compute ``y = (a + b + ...) / n``.

    Source: keras/src/layers/merging/average.py.
    """

    class_name = "Average"
    equation = "y = (a + b + ...) / how many there are"

    def merged(self, xs: list[Array]) -> Array:
        return reduce(np.add, xs) / len(xs)


class Masked(Merge):
    """Merge inputs element by element, with regard to their masks.

    Keras's ``call`` has no ``mask`` here; it looks at the tensors themselves. Inputs
    that get another axis become new tensors, which have no mask.
    """

    arguments = ("inputs", "mask")

    def call(self, run: Run, layer: LayerSpec, inputs: Any, mask: Any = None) -> Any:
        arrays = self.listed(run, inputs)
        if layer.options["keras2_masks"]:
            y, _ = self.merged(of_one_rank(arrays), [None] * len(arrays))
            return Tensor(y, masked_in_any(mask or []))
        ndim = max(x.ndim for x in arrays)
        masks = [
            np.broadcast_to(m[..., None], x.shape)
            if m is not None and x.ndim == ndim
            else None
            for x, m in zip(arrays, mask or [None] * len(arrays), strict=True)
        ]
        y, found = self.merged(of_one_rank(arrays), masks)
        return Tensor(y, None if found is None else np.any(found, axis=-1))

    @abstractmethod
    def merged(self, xs: list[Array], masks: Masks) -> tuple[Array, Array | None]:
        """Return the output and its mask; each mask has the shape of its array."""


class Multiply(Masked):
    """Compute ``y = a * b * ...``, where a masked number counts as 1.

    If every input has a mask, a step that is masked in all of them becomes 0.

    Source: keras/src/layers/merging/multiply.py.
    """

    class_name = "Multiply"
    equation = "y = a * b * ..., masked steps of an input as 1"

    def merged(self, xs: list[Array], masks: Masks) -> tuple[Array, Array | None]:
        factors = [
            x if m is None else np.where(m, x, np.ones_like(x))
            for x, m in zip(xs, masks, strict=True)
        ]
        y = reduce(np.multiply, factors)
        known = [m for m in masks if m is not None]
        if len(known) < len(masks):
            return y, None
        found = reduce(np.logical_or, known)
        return np.where(found, y, np.zeros_like(y)), found


class Extreme(Masked):
    """Compute Maximum or Minimum, ignoring masked numbers as Keras does.

    Inputs are merged one after the other into a result. Where the next input is masked
    the result stays, and where the result is masked the next input replaces it. Once an
    input without a mask has been merged, no number of the result counts as masked.
    """

    def merged(self, xs: list[Array], masks: Masks) -> tuple[Array, Array | None]:
        (y, *others), (found, *other_masks) = xs, masks
        for x, mask in zip(others, other_masks, strict=True):
            if mask is not None:
                x = np.where(mask, x, y)
            if found is not None:
                y = np.where(found, y, x)
            found = None if mask is None or found is None else found | mask
            y = self.extreme(y, x)
        return y, found

    @abstractmethod
    def extreme(self, a: Array, b: Array) -> Array:
        """Return the greater or the smaller number, element by element."""


class Maximum(Extreme):
    """Compute ``y = max(a, b, ...)`` of the numbers not masked; see `Extreme`.

    Source: keras/src/layers/merging/maximum.py.
    """

    class_name = "Maximum"
    equation = "y = max(a, b, ...) of what is not masked"

    def extreme(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)


class Minimum(Extreme):
    """Compute ``y = min(a, b, ...)`` of the numbers not masked; see `Extreme`.

    Source: keras/src/layers/merging/minimum.py.
    """

    class_name = "Minimum"
    equation = "y = min(a, b, ...) of what is not masked"

    def extreme(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)


class Concatenate(Merge):
    """Join inputs along ``axis``.

    If any input has a mask, those without one count as unmasked everywhere. The masks
    are joined like the inputs, and a step is masked if all of its numbers are. So along
    the features, one input without a mask unmasks every step.

    Source: keras/src/layers/merging/concatenate.py.
    """

    class_name = "Concatenate"
    options: ClassVar[Mapping[str, Option]] = {"axis": Option(axis, -1), **KERAS2_MASKS}

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"inputs side by side along axis {layer.options['axis']}"]

    def call(self, run: Run, layer: LayerSpec, inputs: Any) -> Array:
        arrays = self.listed(run, inputs)
        (along,) = from_front((layer.options["axis"],), arrays[0].ndim)
        return np.concatenate(arrays, axis=along)

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        if all(m is None for m in mask):
            return None
        full = []
        for x, m in zip(inputs, mask, strict=True):
            if m is None:
                full.append(np.ones(x.shape, dtype=bool))
            elif m.ndim < x.ndim:
                full.append(m[..., None] | np.zeros(x.shape, dtype=bool))
            else:
                full.append(m)
        numbers = np.concatenate(full, axis=layer.options["axis"])
        join = np.all if layer.options["keras2_masks"] else np.any
        return np.asarray(join(numbers, axis=-1))


def two_axes(value: Any) -> tuple[int, int]:
    """Read an axis for each of two inputs, or one number for both."""
    items = list(value) if isinstance(value, (list, tuple)) else [value, value]
    if len(items) != 2:
        raise Unexpected("one axis or two")
    return axis(items[0]), axis(items[1])


class Dot(Merge):
    """Compute the scalar products of two inputs along one axis of each.

    ::

        y[r, ..., ...] = sum over k of a[r, ..., k, ...] * b[r, ..., k, ...]

    The remaining axes of the first input come before those of the second; if there are
    none, there is one axis of size 1. With ``normalize`` both inputs are first divided
    by their length along the axis, or by 1e-7 if that is greater. The output has no
    mask.

    Source: keras/src/layers/merging/dot.py.
    """

    class_name = "Dot"
    options: ClassVar[Mapping[str, Option]] = {
        "axes": Option(two_axes),
        "normalize": Option(boolean, False),
    }
    count = 2

    def notes(self, layer: LayerSpec) -> list[str]:
        first, second = layer.options["axes"]
        lengths = ", of vectors of length 1" * layer.options["normalize"]
        return [f"scalar products of axis {first} with axis {second}{lengths}"]

    def call(self, run: Run, layer: LayerSpec, inputs: Any) -> Array:
        pair = []
        for x, along in zip(
            self.listed(run, inputs), layer.options["axes"], strict=True
        ):
            (k,) = from_front((along,), x.ndim)
            if layer.options["normalize"]:
                x = unit_length(x, k, 1e-7, POLICIES[layer.policy].compute)
            pair.append(np.moveaxis(x, k, -1))
        a, b = pair
        (rows, *left, size), (_, *right, _) = a.shape, b.shape
        a = a.reshape(rows, math.prod(left), size)
        b = b.reshape(len(b), math.prod(right), -1)
        y = a @ np.swapaxes(b, 1, 2)
        return y.reshape(rows, *(*left, *right) or (1,))

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        return None


def of_one_rank(xs: list[Array]) -> list[Array]:
    """Return arrays with the same number of axes, new ones after that of the rows."""
    ndim = max(x.ndim for x in xs)
    return [x.reshape(len(x), *[1] * (ndim - x.ndim), *x.shape[1:]) for x in xs]


class CustomScaleLayer(LayerType):
    """Compute ``y = a + b * scale`` of two inputs.

    Keras has the class not among its layers, but in the model that it calls
    InceptionResNetV2. The output has no mask.

    Source: keras/src/applications/inception_resnet_v2.py.
    """

    class_name = "CustomScaleLayer"
    options: ClassVar[Mapping[str, Option]] = {"scale": Option(number)}

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"y = a + b * {layer.options['scale']:g}; masks end here"]

    def call(self, run: Run, layer: LayerSpec, inputs: Any) -> Array:
        a, b = inputs
        compute = POLICIES[layer.policy].compute
        scale = rounded(np.asarray(layer.options["scale"], dtype=b.dtype), compute)
        return a + b * scale


KINDS: tuple[type[LayerType], ...] = (
    Concatenate,
    Add,
    Subtract,
    Multiply,
    Average,
    Maximum,
    Minimum,
    Dot,
    CustomScaleLayer,
)
"""The layer types of this module, for the registry."""
