"""Evaluate the activations that are layers: those with options, and PReLU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.errors import DataError
from verify.forward.activations import elu, leaky_relu, relu, softmax
from verify.forward.layers.base import (
    AnyShape,
    Elementwise,
    LayerType,
    Option,
    Run,
    Unexpected,
    axes,
    exact_constants,
    from_front,
    non_negative_number,
    number,
    optional,
    refuse,
    require_gentle_slope,
    weight_settings,
)
from verify.model.arrays import Array
from verify.model.backends import Limit
from verify.model.dtypes import POLICIES, is_float
from verify.model.spec import LayerSpec


def _require_floats(x: Array) -> None:
    if not is_float(x):
        raise ValueError("floats; Keras cannot compute this of whole numbers")


class ReLU(Elementwise):
    """Compute ``y = max(x, 0)``, or with options a ceiling, a threshold and a slope.

    ``y`` is ``min(x, max_value)`` above the threshold, and
    ``negative_slope * (x - threshold)`` up to it. Whole numbers stay whole; with a
    slope and nothing else they become float32, as in `LeakyReLU`.

    Source: keras/src/layers/activations/relu.py.
    """

    class_name = "ReLU"
    casts_outputs = False
    options: ClassVar[Mapping[str, Option]] = {
        "max_value": Option(optional(non_negative_number), None),
        "negative_slope": Option(non_negative_number, 0.0),
        "threshold": Option(non_negative_number, 0.0),
    }

    def notes(self, layer: LayerSpec) -> list[str]:
        ceiling, slope, threshold = (layer.options[key] for key in self.options)
        above = "x" if ceiling is None else f"min(x, {ceiling:g})"
        below = f"{slope:g} * (x - {threshold:g})" if slope else "0"
        return [f"y = {above} if x > {threshold:g} else {below}"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        slope, exact = layer.options["negative_slope"], exact_constants(layer)
        bent_alone = layer.options["max_value"] is None
        if slope and bent_alone and not layer.options["threshold"]:
            return _leaky(layer, inputs, slope)
        if slope or inputs.dtype == bool:
            _require_floats(inputs)
            require_gentle_slope(layer, slope)
        y = relu(inputs, **layer.options, exact=exact)
        return y.astype(inputs.dtype, copy=False)


def _leaky(layer: LayerSpec, x: Array, slope: float) -> Array:
    """Return `x`, times the slope below 0; whole numbers become float32.

    Keras makes float32 of them in every layer, one of 16 or of 64 bits as well.
    """
    if x.dtype == bool:
        _require_floats(x)
    require_gentle_slope(layer, slope)
    if is_float(x):
        y = leaky_relu(x, slope, exact=exact_constants(layer))
        return y.astype(x.dtype, copy=False)
    refuse(layer, Limit.WHOLE_NUMBERS)
    refuse(layer, Limit.LEAKY_RELU)
    refuse(layer, Limit.SLOPE_OF_WHOLE)
    return leaky_relu(x.astype(np.float32), slope, exact=exact_constants(layer))


class LeakyReLU(Elementwise):
    """Compute ``y = x if x > 0 else negative_slope * x``.

    Source: keras/src/layers/activations/leaky_relu.py.
    """

    class_name = "LeakyReLU"
    casts_outputs = False
    options: ClassVar[Mapping[str, Option]] = {
        "negative_slope": Option(non_negative_number, 0.3)
    }

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"y = x if x > 0 else {layer.options['negative_slope']:g} * x"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        return _leaky(layer, inputs, layer.options["negative_slope"])


class ELU(Elementwise):
    """Compute ``y = x if x > 0 else alpha * (exp(x) - 1)``.

    Source: keras/src/layers/activations/elu.py.
    """

    class_name = "ELU"
    options: ClassVar[Mapping[str, Option]] = {"alpha": Option(number, 1.0)}

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"y = x if x > 0 else {layer.options['alpha']:g} * (exp(x) - 1)"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        _require_floats(inputs)
        return elu(inputs, layer.options["alpha"])


def shared_axes(value: Any) -> tuple[int, ...]:
    """Read the axes along which one slope is shared, from 1; None and [] mean none."""
    found = () if value in (None, [], ()) else axes(value)
    if any(axis < 0 for axis in found):
        raise Unexpected("axes counted from 1 on, after that of the rows")
    return found


class PReLU(Elementwise):
    """Compute ``y = max(x, 0) - alpha * max(-x, 0)`` with a slope for each position.

    ``alpha`` has the shape of a row, with size 1 along the ``shared_axes``.

    Source: keras/src/layers/activations/prelu.py.
    """

    class_name = "PReLU"
    options: ClassVar[Mapping[str, Option]] = {"shared_axes": Option(shared_axes, ())}
    inert = weight_settings("alpha")
    shown_by_weights = frozenset({"shared_axes"})

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        return {"alpha": AnyShape()}

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"y = x if x > 0 else alpha * x, alpha {layer.weights['alpha'].shape}"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        _require_floats(inputs)
        alpha = layer.weights["alpha"]
        row = inputs.shape[1:]
        shared = from_front(layer.options["shared_axes"], inputs.ndim)
        wanted = tuple(1 if k in shared else s for k, s in enumerate(row, start=1))
        if alpha.shape != wanted:
            raise ValueError(f"alpha {wanted} expected, {alpha.shape} found")
        return relu(inputs) - alpha * relu(-inputs)


class Softmax(Elementwise):
    """Compute ``y = exp(x) / sum(exp(x))`` over one axis or several, with a mask.

    A masked number enters as -1e9, or -3e4 in float16, and its result is set to 0. The
    mask must have as many axes as the input; the (batch, time) mask of a sequence has
    too few.

    Source: keras/src/layers/activations/softmax.py.
    """

    class_name = "Softmax"
    options: ClassVar[Mapping[str, Option]] = {"axis": Option(axes, (-1,))}
    arguments = ("inputs", "mask")

    def notes(self, layer: LayerSpec) -> list[str]:
        over = layer.options["axis"]
        named = f"{'axis' if len(over) == 1 else 'axes'} {', '.join(map(str, over))}"
        return [f"y = exp(x) / sum(exp(x)) over {named}"]

    def call(
        self, run: Run, layer: LayerSpec, inputs: Array, mask: Array | None = None
    ) -> Array:
        _require_floats(inputs)
        over = from_front(layer.options["axis"], inputs.ndim)
        if len(over) > 1:
            refuse(layer, Limit.SOFTMAX_OVER_AXES)
        if mask is None:
            return softmax(inputs, over)
        if mask.ndim != inputs.ndim:
            raise DataError(
                f"{layer}: expected a mask with as many axes as the input, "
                f"{inputs.ndim}. Received: {mask.ndim}; Keras would lay it onto the "
                "last axes"
            )
        mask = mask if mask.dtype == bool else mask > 0.5
        half = POLICIES[layer.policy].compute == "float16"
        masked = np.asarray(-3e4 if half else -1e9, dtype=inputs.dtype)
        y = softmax(np.where(mask, inputs, masked), over)
        return np.where(mask, y, np.zeros_like(y))


KINDS: tuple[type[LayerType], ...] = (ReLU, LeakyReLU, ELU, PReLU, Softmax)
"""The layer types of this module, for the registry."""
