"""Write pooling, which ONNX computes with channels first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.layers.pooling import pooling_windows, spatial_axes
from verify.model.dtypes import POLICIES, dtype_of
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx.convolution import counts, pads
from verify.ports.convert.to_onnx.run import Emit, Writing
from verify.ports.convert.to_onnx.values import Value


def pooling(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write MaxPooling and AveragePooling over one, two or three axes."""
    options = layer.options
    if inputs.dtype.kind != "f":  # float64 holds every whole number of 32 bits
        if inputs.dtype.itemsize > 4:
            raise UnsupportedError(
                f"{layer}: pooling whole numbers of 64 bits has no form in ONNX"
            )
        y = pooling(run, layer, inputs.cast(np.float64))
        return y.cast(inputs.dtype) if "Max" in layer.class_name else y
    size, strides = pooling_windows(layer)
    last = options["data_format"] == "channels_last"
    x = inputs.moved(-1, 1) if last else inputs
    lengths, padding = x.shape[2:], options["padding"]
    y = run.graph.op(
        "MaxPool" if layer.class_name.startswith("Max") else "AveragePool",
        [x],
        x.dtype,
        (*x.shape[:2], *counts(lengths, size, strides, padding)),
        kernel_shape=list(size),
        strides=list(strides),
        **pads(lengths, size, strides, padding),
    )
    return y.moved(1, -1) if last else y


def adaptive(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write adaptive pooling, one axis after the other and window by window."""
    kind = "ReduceMax" if "Max" in layer.class_name else "ReduceMean"
    size = layer.options["output_size"]
    y = inputs
    for axis, m in zip(spatial_axes(layer, len(size)), size, strict=True):
        n = y.shape[axis]
        if n is None:
            raise UnsupportedError(f"{layer}: expected axes of fixed lengths")
        windows = [(k * n // m, -(-(k + 1) * n // m)) for k in range(m)]
        parts = [y.slice(axis, a, b).reduce(kind, [axis], True) for a, b in windows]
        y = run.graph.concat(parts, axis)
    return y


def global_max(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write GlobalMaxPooling."""
    axes = spatial_axes(layer, inputs.ndim - 2)
    return inputs.reduce("ReduceMax", axes, layer.options["keepdims"])


def global_average(
    run: Writing, layer: LayerSpec, inputs: Value, mask: Value | None = None
) -> Value:
    """Write GlobalAveragePooling, over time of the steps that are not masked."""
    x, whole = inputs, inputs.dtype.kind != "f"
    if whole:
        x = x.cast(np.float32 if mask is None else np.float64)
    axes, keepdims = spatial_axes(layer, x.ndim - 2), layer.options["keepdims"]
    if mask is None:
        y = x.reduce("ReduceMean", axes, keepdims)
    else:
        keep = mask.cast(bool).expand(3 - axes[0])
        total = run.graph.where(keep, x, 0).reduce("ReduceSum", axes, keepdims)
        y = total / keep.cast(x.dtype).reduce("ReduceSum", axes, keepdims)
    return y if whole else y.cast(dtype_of(POLICIES[layer.policy].compute))


def _over_axes(kind: str) -> list[str]:
    return [f"{kind}{rank}D" for rank in (1, 2, 3)]


EMITTERS: Mapping[str, Emit] = {
    **dict.fromkeys(
        (*_over_axes("MaxPooling"), *_over_axes("AveragePooling")), pooling
    ),
    **dict.fromkeys(
        (
            *_over_axes("AdaptiveMaxPooling"),
            *_over_axes("AdaptiveAveragePooling"),
        ),
        adaptive,
    ),
    **dict.fromkeys(_over_axes("GlobalMaxPooling"), global_max),
    **dict.fromkeys(_over_axes("GlobalAveragePooling"), global_average),
}
