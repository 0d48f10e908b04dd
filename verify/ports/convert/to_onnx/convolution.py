"""Write convolutions, which ONNX computes with channels first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.convolution import dilated_size, pad_width, transposed_size
from verify.forward.layers.base import KERAS_EPSILON
from verify.forward.layers.spectrograms import step_of
from verify.model.arrays import Array
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx.activations import activated
from verify.ports.convert.to_onnx.run import Emit, Writing
from verify.ports.convert.to_onnx.values import Dims, Value


def _open(lengths: Dims, strides: Sequence[int]) -> bool:
    """Return whether ``same`` pads by a length that is left open."""
    return any(n is None and s > 1 for n, s in zip(lengths, strides, strict=True))


def pads(
    lengths: Dims, span: Sequence[int], strides: Sequence[int], padding: str
) -> dict[str, Any]:
    """Return the attributes that pad an operator as Keras pads.

    Where the padding depends on a length that is left open, the runtime finds it;
    ``SAME_UPPER`` is TensorFlow's rule.
    """
    if padding != "same":
        before = [s - 1 if padding == "causal" else 0 for s in span]
        return {"pads": [*before, *[0] * len(span)]}
    if _open(lengths, strides):
        return {"auto_pad": "SAME_UPPER"}
    widths = [
        pad_width(r if n is None else n, r, s, padding)
        for n, r, s in zip(lengths, span, strides, strict=True)
    ]  # with stride 1 the padding is that of any length
    return {"pads": [w[0] for w in widths] + [w[1] for w in widths]}


def _padded(x: Value, span: Sequence[int], strides: Sequence[int]) -> Value:
    """Pad with zeros as ``same`` does, by lengths that are known when it runs.

    ONNX Runtime refuses ``SAME_UPPER`` with a dilation.

    Parameters
    ----------
    x : (batch, channels, spatial...)
    """
    graph = x.graph
    n = x.sizes(2)
    stride, reach = graph.integers(strides), graph.integers(span)
    windows = (n + stride - 1) / stride
    total = ((windows - 1) * stride + reach - n).maximum(0)
    before = total / 2
    none = graph.integers([0, 0])
    widths = graph.concat([none, before, none, total - before], 0)
    inputs = [x, widths, graph.constant(np.asarray(0, x.dtype))]
    shape = (*x.shape[:2], *[None] * len(span))
    return graph.op("Pad", inputs, x.dtype, shape, mode="constant")


def counts(
    lengths: Dims, span: Sequence[int], strides: Sequence[int], padding: str
) -> Dims:
    """Return how many windows fit on each axis, None where the length is open."""
    return tuple(
        None if n is None else (n + sum(pad_width(n, r, s, padding)) - r) // s + 1
        for n, r, s in zip(lengths, span, strides, strict=True)
    )


def convolved(
    x: Value,
    kernel: Array,
    *,
    strides: Sequence[int],
    padding: str,
    dilation: Sequence[int],
    groups: int = 1,
) -> Value:
    """Write a convolution; as `verify.forward.convolution.convolve`.

    Parameters
    ----------
    x : (batch, spatial..., channels)
    kernel : (kernel_size..., channels / groups, filters)

    Returns
    -------
    (batch, windows..., filters)
    """
    kernel_size, filters = kernel.shape[:-2], kernel.shape[-1]
    span = dilated_size(kernel_size, dilation)
    lengths = x.shape[1:-1]
    weight = np.moveaxis(kernel, (-1, -2), (0, 1))  # (filters, channels, kernel_size)
    shape = (x.shape[0], filters, *counts(lengths, span, strides, padding))
    x = x.cast(kernel.dtype).moved(-1, 1)
    if padding == "same" and _open(lengths, strides):
        x = _padded(x, span, strides)
        padding = "valid"
    y = x.graph.op(
        "Conv",
        [x, x.graph.constant(weight, "kernel")],
        x.dtype,
        shape,
        strides=list(strides),
        dilations=list(dilation),
        group=groups,
        kernel_shape=list(kernel_size),
        **pads(lengths, span, strides, padding),
    )
    return y.moved(1, -1)


def _depthwise(layer: LayerSpec, x: Value, kernel: Array) -> Value:
    *size, channels, _ = kernel.shape
    return convolved(x, kernel.reshape(*size, 1, -1), groups=channels, **_how(layer))


def _how(layer: LayerSpec) -> dict[str, Any]:
    options = layer.options
    return {
        "strides": options["strides"],
        "padding": options["padding"],
        "dilation": options["dilation_rate"],
    }


def _conv(layer: LayerSpec, x: Value) -> Value:
    groups = layer.options["groups"]
    return convolved(x, layer.weights["kernel"], groups=groups, **_how(layer))


def _separable(layer: LayerSpec, x: Value) -> Value:
    y = _depthwise(layer, x, layer.weights["depthwise_kernel"])
    kernel = layer.weights["pointwise_kernel"]
    return y @ y.graph.constant(kernel.reshape(kernel.shape[-2:]), "pointwise")


def _transposed(layer: LayerSpec, x: Value) -> Value:
    """Write a transposed convolution; as `verify.forward.convolution.transposed`."""
    options, kernel = layer.options, layer.weights["kernel"]
    strides, dilation = options["strides"], options["dilation_rate"]
    *size, filters, _ = kernel.shape
    span = dilated_size(size, dilation)
    x = x.cast(kernel.dtype).moved(-1, 1)
    full = [
        None if n is None else (n - 1) * s + r
        for n, s, r in zip(x.shape[2:], strides, span, strict=True)
    ]
    weight = np.moveaxis(kernel, (-1, -2), (0, 1))  # (channels, filters, kernel_size)
    y = x.graph.op(
        "ConvTranspose",
        [x, x.graph.constant(weight, "kernel")],
        x.dtype,
        (x.shape[0], filters, *full),
        strides=list(strides),
        dilations=list(dilation),
        kernel_shape=list(size),
    ).moved(1, -1)
    extra = options["output_padding"] or (None,) * len(size)
    for axis, (r, s, e) in enumerate(zip(span, strides, extra, strict=True), start=1):
        more, cut = transposed_size(r, s, options["padding"], e)
        lacking = more + cut - r
        if lacking > 0:
            widths = [(0, 0)] * (len(size) + 2)
            widths[axis] = (0, lacking)
            y = y.pad(widths)
        if cut or lacking < 0:
            y = y.slice(axis, cut, lacking if lacking < 0 else None)
    return y


def _channelwise(layer: LayerSpec, x: Value) -> Value:
    return _depthwise(layer, x, layer.weights["kernel"])


CONVOLVED = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _conv),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _channelwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _separable),
    **dict.fromkeys(
        ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _transposed
    ),
}


def convolution(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write a convolution with its bias and activation."""
    first = layer.options["data_format"] == "channels_first"
    x = inputs.moved(1, -1) if first else inputs
    y = CONVOLVED[layer.class_name](layer, x)
    if "bias" in layer.weights:
        y = y + run.graph.constant(layer.weights["bias"], "bias")
    return activated(layer, y.moved(-1, 1) if first else y)


def stft_spectrogram(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write STFTSpectrogram; its channels are convolved one by one."""
    options, mode = layer.options, layer.options["mode"]
    if mode == "angle":
        raise UnsupportedError(f"{layer}: ONNX has no arctan2 for the mode 'angle'")
    last = options["data_format"] == "channels_last"
    channels = inputs.shape[-1 if last else 1]
    if channels is None:
        raise UnsupportedError(f"{layer}: expected channels of a fixed number")
    parts = []
    for channel in range(channels):
        x = inputs.slice(-1 if last else 1, channel, channel + 1)
        x = x if last else x.moved(1, -1)  # (batch, time, 1)
        found = [
            convolved(x, k, strides=[step_of(layer)], padding=options["padding"],
                      dilation=[1])
            for k in layer.weights.values()
        ]  # fmt: skip
        parts.append(_spectrum(mode, *found))
    if options["expand_dims"]:
        axis = -1 if last else 1
        return run.graph.concat([y.expand(axis) for y in parts], axis)
    y = run.graph.concat(parts, -1)
    return y if last else y.moved(-1, 1)


def _spectrum(mode: str, first: Value, second: Value | None = None) -> Value:
    """Write `verify.forward.layers.spectrograms.spectrum`."""
    if second is None:
        return first
    if mode == "stft":
        return first.graph.concat([first, second], -1)
    power = first * first + second * second
    if mode == "psd":
        twice = np.full(power.shape[-1] or 1, 2, dtype=power.dtype)
        twice[[0, -1]] = 1
        return power * twice
    magnitude = power.maximum(KERAS_EPSILON).unary("Sqrt")
    if mode == "magnitude":
        return magnitude
    return magnitude.maximum(KERAS_EPSILON).unary("Log")


EMITTERS: Mapping[str, Emit] = {
    **dict.fromkeys(CONVOLVED, convolution),
    "STFTSpectrogram": stft_spectrogram,
}
