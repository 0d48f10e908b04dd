"""Write what crops, pads and resizes sequences, images and volumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.layers import images
from verify.forward.layers.images import interpolated, kept_sides
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.dtypes import POLICIES, working
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx.layers import repeated
from verify.ports.convert.to_onnx.run import Emit, Writing
from verify.ports.convert.to_onnx.values import Value


def _axes(layer: LayerSpec, x: Value) -> range:
    """Return the axes of time or space."""
    first = layer.options.get("data_format") == "channels_first"
    return range(1 + first, x.ndim - 1 + first)


def _by_axis(value: Any) -> Any:
    return value if isinstance(value[0], tuple) else (value,)


def cropping(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write Cropping1D, Cropping2D and Cropping3D."""
    x = inputs
    pairs = _by_axis(layer.options["cropping"])
    for axis, (first, last) in zip(_axes(layer, x), pairs, strict=True):
        x = x.slice(axis, first, -last if last else None)
    return x


def zero_padding(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write ZeroPadding1D, ZeroPadding2D and ZeroPadding3D."""
    widths = [(0, 0)] * inputs.ndim
    pairs = _by_axis(layer.options["padding"])
    for axis, pair in zip(_axes(layer, inputs), pairs, strict=True):
        widths[axis] = pair
    return inputs.pad(widths)


def up_sampling(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write UpSampling1D, UpSampling2D and UpSampling3D."""
    x, size = inputs, layer.options["size"]
    size = size if isinstance(size, tuple) else (size,)
    axes = _axes(layer, x)
    if layer.options.get("interpolation", "nearest") != "nearest":
        lengths = _fixed(layer, x, axes)
        wanted = [n * times for n, times in zip(lengths, size, strict=True)]
        return _resized(layer, x, wanted, layer.options["interpolation"])
    for axis, times in zip(axes, size, strict=True):
        x = _repeated(x, axis, times)
    return x


def _repeated(x: Value, axis: int, times: int) -> Value:
    """Write each number of an axis several times in a row."""
    n = x.shape[axis]
    if n is not None:
        at = x.graph.constant(np.repeat(np.arange(n), times))
    else:
        wide = x.graph.steps(x, axis).expand(1)
        at = repeated(wide, [1, times]).reshape([-1], (None,))
    return x.gather(at, axis)


def _fixed(layer: LayerSpec, x: Value, axes: Sequence[int]) -> list[int]:
    lengths = [x.shape[axis] for axis in axes]
    if None in lengths:
        raise UnsupportedError(
            f"{layer}: expected images of a fixed size. Received: {x.shape[1:]}"
        )
    return [n for n in lengths if n is not None]


def _resized(
    layer: LayerSpec, x: Value, size: Sequence[int], interpolation: str, **how: Any
) -> Value:
    """Resize rows and columns: by their numbers, or by products with weights."""
    axes = _axes(layer, x)
    for axis, n, m in zip(axes, _fixed(layer, x, axes), size, strict=True):
        weights = _weights(layer, n, m, interpolation, **how)
        if interpolation == "nearest":
            x = x.gather(x.graph.constant(weights.argmax(axis=1)), axis)
        else:
            matrix = x.graph.constant(weights.T.astype(x.dtype), "weights")
            x = (x.moved(axis, -1) @ matrix).moved(-1, axis)
    return x


def _weights(layer: LayerSpec, n: int, m: int, interpolation: str, **how: Any) -> Array:
    """Return what each of n pixels gives to each of m: (m, n)."""
    one_each = np.eye(n).reshape(1, n, 1, n)
    return interpolated(layer, one_each, (m, 1), interpolation, **how)[0, :, 0]


def resizing(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write Resizing."""
    options = layer.options
    if Rule.RESIZED_STAYS_WHOLE not in layer.rules:
        inputs = inputs.cast(working(POLICIES[layer.policy].compute))
    x = inputs
    size, axes = (options["height"], options["width"]), _axes(layer, inputs)
    interpolation = options["interpolation"]
    if options["crop_to_aspect_ratio"]:
        x = _middle(x, axes, kept_sides(_pair(layer, x), size))
    if options["pad_to_aspect_ratio"]:
        rows, columns = _pair(layer, x)
        height, width = size
        above = (max(rows, columns * height // width) - rows) // 2
        beside = (max(columns, rows * width // height) - columns) // 2
        widths = [(0, 0)] * x.ndim
        widths[axes[0]], widths[axes[1]] = (above, above), (beside, beside)
        x = x.pad(widths, options["fill_value"])
    floats = inputs.dtype.kind == "f"
    if not floats and interpolation != "nearest":
        x = x.cast(np.float32)
    y = _resized(layer, x, size, interpolation, antialias=options["antialias"])
    if floats or interpolation == "nearest":
        return y
    limits = np.iinfo(inputs.dtype)
    if limits.max > 1 << 16:
        raise UnsupportedError(f"{layer}: expected floats, or whole numbers of 8 bits")
    return y.unary("Round").clip(limits.min, limits.max).cast(inputs.dtype)


def _pair(layer: LayerSpec, x: Value) -> tuple[int, int]:
    rows, columns = _fixed(layer, x, _axes(layer, x))
    return rows, columns


def _middle(x: Value, axes: Sequence[int], size: Sequence[int]) -> Value:
    """Cut the middle out of images with sides of fixed lengths."""
    for axis, m in zip(axes, size, strict=True):
        first = ((x.shape[axis] or m) - m) // 2
        x = x.slice(axis, first, first + m)
    return x


def center_crop(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write CenterCrop."""
    size, axes = (layer.options["height"], layer.options["width"]), _axes(layer, inputs)
    x = inputs.cast(working(POLICIES[layer.policy].compute))
    lengths = _pair(layer, x)
    if lengths[0] >= size[0] and lengths[1] >= size[1]:
        return _middle(x, axes, size)
    x = _middle(x, axes, kept_sides(lengths, size))
    return _resized(layer, x, size, "bilinear")


def auto_contrast(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write AutoContrast."""
    given = inputs.cast(working(POLICIES[layer.policy].compute))
    low, high = layer.options["value_range"]
    x = given if (low, high) == (0, 255) else (given - low) / (high - low) * 255
    least, most = (x.reduce(f"Reduce{k}", [1, 2], True) for k in ("Min", "Max"))
    same = most.equals(least)
    scale = 255 / run.graph.where(same, 1, most - least)
    y = (x * scale - least * scale).clip(0, 255)
    if (low, high) != (0, 255):
        y = y / 255 * (high - low) + low
    return run.graph.where(same, given, y)


def cast(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write a layer that casts its input to the dtype that it computes in."""
    compute = POLICIES[layer.policy].compute
    return inputs.cast(working(compute)).rounded(compute)


def unchanged(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write a layer that returns its input."""
    return inputs


def _over_axes(kind: str) -> list[str]:
    return [f"{kind}{rank}D" for rank in (1, 2, 3)]


EMITTERS: Mapping[str, Emit] = {
    **dict.fromkeys(_over_axes("Cropping"), cropping),
    **dict.fromkeys(_over_axes("ZeroPadding"), zero_padding),
    **dict.fromkeys(_over_axes("UpSampling"), up_sampling),
    "Resizing": resizing,
    "CenterCrop": center_crop,
    "AutoContrast": auto_contrast,
    **dict.fromkeys(images.CAST, cast),
    **dict.fromkeys(images.UNCAST, unchanged),
}
