"""Evaluate Conv1D and its relatives by the sums of `verify.forward.convolution`.

The convolutions are computed with channels last. The activation is applied in the
layer's own ``data_format``, because softmax and the like sum over the last axis,
whatever it is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from verify.errors import DataError, UnsupportedError
from verify.forward.convolution import (
    channels_last,
    convolve,
    depthwise,
    dilated_size,
    in_format,
    transposed,
)
from verify.forward.layers.base import (
    DATA_FORMAT,
    LayerType,
    Option,
    Run,
    Unexpected,
    activation,
    boolean,
    function_of,
    non_negative_integer,
    one_of,
    only,
    optional,
    positive,
    weight_settings,
)
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

Shapes = Mapping[str, tuple[int | None, ...]]


def sizes(
    rank: int, parse: Callable[[Any], int] = positive
) -> Callable[[Any], tuple[int, ...]]:
    """Return a parser of `rank` whole numbers, one for each axis, or of one for all."""

    def read(value: Any) -> tuple[int, ...]:
        items = value if isinstance(value, (list, tuple)) else [value] * rank
        if len(items) != rank:
            raise Unexpected(f"{rank} whole number{'s' if rank > 1 else ''}")
        return tuple(parse(item) for item in items)

    return read


def refuse_strides_with_dilation(where: str, options: Mapping[str, Any]) -> None:
    """Raise UnsupportedError if both exceed 1, which Keras refuses too."""
    strides, dilation = options["strides"], options["dilation_rate"]
    if max(strides) > 1 and max(dilation) > 1:
        raise UnsupportedError(
            f"{where}: expected strides or dilation_rate to be 1. "
            f"Received: strides={strides}, dilation_rate={dilation}"
        )


ACTIVATION_OPTIONS: Mapping[str, Option] = {
    "activation": Option(activation, "linear"),
    "use_bias": Option(boolean, True),
}
WINDOW_OPTIONS: Mapping[str, Option] = {
    "kernel_size": Option(sizes(1)),
    "strides": Option(sizes(1), (1,)),
    "padding": Option(one_of("valid", "same"), "valid"),
    "data_format": DATA_FORMAT,
    "dilation_rate": Option(sizes(1), (1,)),
}


class Convolution(LayerType):
    """Add layout, bias and activation to a convolution; the base of all of them."""

    options: ClassVar[Mapping[str, Option]] = {**WINDOW_OPTIONS, **ACTIVATION_OPTIONS}
    shown_by_weights = frozenset({"filters", "kernel_size", "use_bias"})

    @abstractmethod
    def convolved(self, layer: LayerSpec, x: Array) -> Array:
        """Compute the convolution without bias and activation, channels last."""

    @abstractmethod
    def equation(self, layer: LayerSpec) -> str:
        """Return the equation of `convolved`, for `describe`."""

    def notes(self, layer: LayerSpec) -> list[str]:
        options = layer.options
        bias = " + bias" if "bias" in layer.weights else ""
        lines = [
            f"y = {options['activation']}(z{bias}), {self.equation(layer)}",
            f"padding {options['padding']}; masks end here",
        ]
        if options["data_format"] == "channels_first":
            lines.append("channels_first: axes are (batch, channels, time)")
        return lines

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        first_weight = next(iter(layer.weights.values()))
        data_format = layer.options["data_format"]
        x = channels_last(inputs, data_format).astype(first_weight.dtype, copy=False)
        y = in_format(self.convolved(layer, x), data_format)
        if "bias" in layer.weights:
            y = _biased(layer, y)
        return function_of(layer)(y)


def _biased(layer: LayerSpec, y: Array) -> Array:
    """Add the bias along the channels.

    Raises
    ------
    DataError
        The channels come first and the output has as many steps as channels. Keras on
        TensorFlow looks for an axis as long as the bias, starting from the last, and so
        adds the bias along time, unless TensorFlow fuses it with the convolution:
        ``predict``, XLA and a direct call give different results.
        Source: keras/src/backend/tensorflow/numpy.py, ``add``.
    """
    bias = layer.weights["bias"]
    if layer.options["data_format"] == "channels_last":
        return y + bias
    if y.shape[-1] == len(bias) > 1:
        raise DataError(
            f"{layer}: expected an output of more or fewer steps than channels. "
            f"Received: {len(bias)} of both; with channels_first Keras may then add "
            "the bias along time, depending on how the model is run"
        )
    return y + bias[:, None]


def _how(layer: LayerSpec) -> dict[str, Any]:
    """Return the keyword arguments of `convolve` from the options of a layer."""
    options = layer.options
    return {
        "strides": options["strides"],
        "padding": options["padding"],
        "dilation": options["dilation_rate"],
    }


def _step(layer: LayerSpec) -> str:
    """Write the input step that tap j meets for output step t: ``2 * t + 3 * j``."""
    (stride,), (dilation,) = layer.options["strides"], layer.options["dilation_rate"]
    t = "t" if stride == 1 else f"{stride} * t"
    return f"{t} + j" if dilation == 1 else f"{t} + {dilation} * j"


class Conv1D(Convolution):
    """Compute ``y = activation(convolve(x, kernel) + bias)``.

    Source: keras/src/layers/convolutional/conv1d.py, base_conv.py.
    """

    class_name = "Conv1D"
    options: ClassVar[Mapping[str, Option]] = {
        "filters": Option(positive),
        **WINDOW_OPTIONS,
        "padding": Option(one_of("valid", "same", "causal"), "valid"),
        "groups": Option(positive, 1),
        **ACTIVATION_OPTIONS,
        "lora_rank": only(None),
        "lora_alpha": only(None),
    }
    inert = weight_settings("kernel", "bias")

    def check(self, where: str, layer: LayerSpec) -> None:
        refuse_strides_with_dilation(where, layer.options)

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        filters = options["filters"]
        shapes = {"kernel": (*options["kernel_size"], None, filters)}
        return shapes | ({"bias": (filters,)} if options["use_bias"] else {})

    def equation(self, layer: LayerSpec) -> str:
        groups = layer.options["groups"]
        lines = f"z[t] = sum over j of x[{_step(layer)}] @ kernel[j]"
        return lines + (f" in each of {groups} groups" if groups > 1 else "")

    def convolved(self, layer: LayerSpec, x: Array) -> Array:
        groups = layer.options["groups"]
        return convolve(x, layer.weights["kernel"], groups=groups, **_how(layer))


class DepthwiseConv1D(Convolution):
    """Compute ``y = activation(depthwise(x, kernel) + bias)``.

    Source: keras/src/layers/convolutional/depthwise_conv1d.py, base_depthwise_conv.py.
    """

    class_name = "DepthwiseConv1D"
    options: ClassVar[Mapping[str, Option]] = {
        "depth_multiplier": Option(positive, 1),
        **Convolution.options,
    }
    inert = weight_settings("depthwise", "bias")
    shown_by_weights = frozenset({"depth_multiplier", "kernel_size", "use_bias"})

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        shapes = {
            "kernel": (*options["kernel_size"], None, options["depth_multiplier"])
        }
        return shapes | ({"bias": (None,)} if options["use_bias"] else {})

    def equation(self, layer: LayerSpec) -> str:
        return f"z[t, c] = sum over j of x[{_step(layer)}, c] * kernel[j, c]"

    def convolved(self, layer: LayerSpec, x: Array) -> Array:
        return depthwise(x, layer.weights["kernel"], **_how(layer))


class SeparableConv1D(Convolution):
    """Compute a depthwise convolution, and mix its channels by a pointwise one.

    ::

        y = activation(depthwise(x, depthwise_kernel) @ pointwise_kernel[0] + bias)

    Source: keras/src/layers/convolutional/separable_conv1d.py, base_separable_conv.py.
    """

    class_name = "SeparableConv1D"
    options: ClassVar[Mapping[str, Option]] = {
        "filters": Option(positive),
        "depth_multiplier": Option(positive, 1),
        **Convolution.options,
    }
    inert = weight_settings("depthwise", "pointwise", "bias")
    shown_by_weights = Convolution.shown_by_weights | {"depth_multiplier"}

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        filters, multiplier = options["filters"], options["depth_multiplier"]
        shapes = {
            "depthwise_kernel": (*options["kernel_size"], None, multiplier),
            "pointwise_kernel": (1, None, filters),
        }
        return shapes | ({"bias": (filters,)} if options["use_bias"] else {})

    def equation(self, layer: LayerSpec) -> str:
        return (
            f"d[t, c] = sum over j of x[{_step(layer)}, c] * depthwise_kernel[j, c], "
            "z = d @ pointwise_kernel[0]"
        )

    def convolved(self, layer: LayerSpec, x: Array) -> Array:
        y = depthwise(x, layer.weights["depthwise_kernel"], **_how(layer))
        return np.tensordot(y, layer.weights["pointwise_kernel"][0], axes=1)


class Conv1DTranspose(Convolution):
    """Compute ``y = activation(transposed(x, kernel) + bias)``.

    Without ``output_padding`` the output has ``time * strides`` steps for padding
    ``same``, and ``(time - 1) * strides + max(span, strides)`` for ``valid``, where
    span is the dilated size of the kernel.

    Source: keras/src/layers/convolutional/conv1d_transpose.py,
    base_conv_transpose.py, and keras/src/backend/common/backend_utils.py.
    """

    class_name = "Conv1DTranspose"
    options: ClassVar[Mapping[str, Option]] = {
        "filters": Option(positive),
        **WINDOW_OPTIONS,
        "output_padding": Option(optional(sizes(1, non_negative_integer)), None),
        **ACTIVATION_OPTIONS,
    }
    inert = weight_settings("kernel", "bias")

    def check(self, where: str, layer: LayerSpec) -> None:
        options = layer.options
        refuse_strides_with_dilation(where, options)
        if options["output_padding"] is None:
            return
        (extra,), (stride,) = options["output_padding"], options["strides"]
        (span,) = dilated_size(options["kernel_size"], options["dilation_rate"])
        least = 1 - span % 2 if options["padding"] == "same" else 0
        if not least <= extra < stride:
            raise UnsupportedError(
                f"{where}: expected output_padding from {least} to {stride - 1} with "
                f"these strides, kernel_size and padding. Received: {extra}"
            )

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        filters = options["filters"]
        shapes = {"kernel": (*options["kernel_size"], filters, None)}
        return shapes | ({"bias": (filters,)} if options["use_bias"] else {})

    def equation(self, layer: LayerSpec) -> str:
        return f"z[{_step(layer)}] gets x[t] @ kernel[j].T of every t and j"

    def convolved(self, layer: LayerSpec, x: Array) -> Array:
        options = layer.options
        extra = options["output_padding"]
        return transposed(
            x,
            layer.weights["kernel"],
            stride=options["strides"][0],
            padding=options["padding"],
            output_padding=None if extra is None else extra[0],
            dilation=options["dilation_rate"][0],
        )


KINDS: tuple[type[LayerType], ...] = (
    Conv1D,
    SeparableConv1D,
    DepthwiseConv1D,
    Conv1DTranspose,
)
"""The layer types of this module, for the registry."""
