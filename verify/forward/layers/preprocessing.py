"""Evaluate Normalization and Rescaling, which prepare inputs by constants.

Source: keras/src/layers/preprocessing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.layers.base import (
    KERAS_EPSILON,
    Elementwise,
    LayerType,
    Option,
    Run,
    Unexpected,
    axes,
    boolean,
    exact_constants,
    from_front,
    numbers,
    optional,
)
from verify.model.arrays import Array
from verify.model.dtypes import HALF_DTYPES, POLICIES, dtype_of, rounded, working
from verify.model.spec import LayerSpec

_HELD = (*HALF_DTYPES, "float32", "float64", "int32", "int64")


def kept_axes(value: Any) -> tuple[int, ...]:
    """Read the axes of Normalization; None and [] mean one mean for all numbers."""
    found = () if value in (None, [], ()) else axes(value)
    if len(set(found)) < len(found):
        raise Unexpected("axes that differ")
    return found


@dataclass(frozen=True)
class Stored:
    """Hold an array that a config contains, and its dtype."""

    values: Any
    dtype: str

    def __str__(self) -> str:
        return f"{self.values}"


def constants(value: Any) -> Any:
    """Read numbers, or a serialised array: a dict with values and a dtype."""
    dtype = None
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        value, dtype = (value["config"].get(key) for key in ("value", "dtype"))
        if dtype not in _HELD:
            raise Unexpected("numbers, or an array of numbers")
    value = numbers(value)
    try:
        np.asarray(value, dtype=np.float64)
    except ValueError:
        raise Unexpected("numbers in lists of one length") from None
    return value if dtype is None else Stored(value, dtype)


def held(layer: LayerSpec, option: str) -> Array:
    """Return the constants of an option, rounded as Keras holds them, in float64.

    A serialised array is rounded to its own dtype, and numbers to float32 unless
    `exact_constants` says otherwise.
    """
    value = layer.options[option]
    dtype = "float64" if exact_constants(layer) else "float32"
    if isinstance(value, Stored):
        value, dtype = value.values, value.dtype
    array = np.asarray(value, dtype=np.float64)
    return array.astype(dtype_of(dtype)).astype(np.float64)


class Normalization(Elementwise):
    """Compute ``y = (x - mean) / max(sqrt(variance), 1e-7)``, or its inverse.

    With ``invert``, ``y = mean + x * max(sqrt(variance), 1e-7)``.

    Mean and variance are weights, or constants of the config, which are held in
    float32. There is one of each for every position along ``axis``, and a single one
    for axis ``None``. The third weight counts what ``adapt`` has seen; predict does not
    use it.

    Source: keras/src/layers/preprocessing/normalization.py.
    """

    class_name = "Normalization"
    options: ClassVar[Mapping[str, Option]] = {
        "axis": Option(kept_axes, (-1,)),
        "mean": Option(optional(constants), None),
        "variance": Option(optional(constants), None),
        "invert": Option(boolean, False),
    }

    def check(self, where: str, layer: LayerSpec) -> None:
        mean, variance = layer.options["mean"], layer.options["variance"]
        if (mean is None) != (variance is None):
            raise UnsupportedError(f"{where}: expected mean and variance, or neither")
        if mean is None:
            return
        first, second = held(layer, "mean").shape, held(layer, "variance").shape
        if first != second or len(first) > len(layer.options["axis"]):
            raise UnsupportedError(
                f"{where}: expected mean and variance in one shape, with no more axes "
                f"than 'axis'. Received: {first} and {second}"
            )

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        if options["mean"] is not None:
            return {}
        shape = (None,) * len(options["axis"])
        return {"mean": shape, "variance": shape, "count": ()}

    def non_trainable(self, options: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(self.weight_shapes(options))

    def notes(self, layer: LayerSpec) -> list[str]:
        given = "in the config" if "mean" not in layer.weights else "weights"
        if layer.options["invert"]:
            return [
                f"y = mean + x * max(sqrt(variance), {KERAS_EPSILON}); both {given}"
            ]
        return [f"y = (x - mean) / max(sqrt(variance), {KERAS_EPSILON}); both {given}"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        compute = POLICIES[layer.policy].compute
        x = inputs.astype(working(compute), copy=False)
        mean, variance = (self._fitted(layer, key, x) for key in ("mean", "variance"))
        deviation = np.maximum(np.sqrt(variance), KERAS_EPSILON)
        if layer.options["invert"]:
            return mean + x * deviation
        return (x - mean) / deviation

    def _fitted(self, layer: LayerSpec, key: str, x: Array) -> Array:
        """Return the mean or the variance in a shape that broadcasts to `x`."""
        kept = sorted(from_front(layer.options["axis"], x.ndim))
        wanted = tuple(size if k in kept else 1 for k, size in enumerate(x.shape))
        if key in layer.weights:
            return layer.weights[key].astype(x.dtype, copy=False).reshape(wanted)
        given = held(layer, key)
        if not exact_constants(layer):
            given = given.astype(np.float32)
        given = rounded(given, POLICIES[layer.policy].compute)
        shape = [1] * x.ndim
        for k in range(1, given.ndim + 1):  # axes are matched from the last
            shape[kept[-k]] = given.shape[-k]
        return np.broadcast_to(given.reshape(shape), wanted)


class Rescaling(Elementwise):
    """Compute ``y = x * scale + offset``.

    Both are held in float32, unless the config holds an array with a dtype. Lists
    broadcast along the last axes, as by default in Keras.

    Source: keras/src/layers/preprocessing/rescaling.py.
    """

    class_name = "Rescaling"
    options: ClassVar[Mapping[str, Option]] = {
        "scale": Option(constants),
        "offset": Option(constants, 0.0),
    }

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"y = x * {layer.options['scale']} + {layer.options['offset']}"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        compute = POLICIES[layer.policy].compute
        scale, offset = (
            rounded(held(layer, key), compute) for key in ("scale", "offset")
        )
        return inputs.astype(working(compute), copy=False) * scale + offset


KINDS: tuple[type[LayerType], ...] = (Normalization, Rescaling)
"""The layer types of this module, for the registry."""
