"""Evaluate Conv1D, Conv2D, Conv3D and relatives by `verify.forward.convolution`.

The convolutions are computed with channels last. The activation is applied in the
layer's own ``data_format``, because softmax and the like sum over the last axis,
whatever it is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
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
    optional,
    positive,
    weight_settings,
)
from verify.forward.layers.lora import LORA, lora_notes
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

Shapes = Mapping[str, tuple[int | None, ...]]

AXES: Mapping[int, tuple[str, ...]] = {
    1: ("time",),
    2: ("height", "width"),
    3: ("depth", "height", "width"),
}
"""Spatial axes of a convolution, as its input has them."""


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


def refuse_windows_of_tensorflow(layer: LayerSpec, lengths: Sequence[int]) -> None:
    """Raise DataError if TensorFlow may move the windows of this 3D convolution.

    Where windows with padding ``same`` leave out several steps of an axis, TensorFlow's
    kernel for float64, on some processors that for float32 too, begins all of them
    half of these steps later, as if it padded by a negative number.

    Parameters
    ----------
    layer : LayerSpec
    lengths : sequence of int
        Steps on each of the three axes.
    """
    options = layer.options
    if layer.rules or options["padding"] != "same":
        return
    if options["data_format"] != "channels_last" or options.get("groups", 1) > 1:
        return  # TensorFlow takes other kernels, which are right
    strides = options["strides"]
    span = dilated_size(options["kernel_size"], options["dilation_rate"])
    left_out = [
        n - r - (-(-n // s) - 1) * s
        for n, r, s in zip(lengths, span, strides, strict=True)
    ]
    if max(left_out) > 1:
        axis = int(np.argmax(left_out))
        raise DataError(
            f"{layer}: expected windows that leave out no more than one step of an "
            f"axis. Received: {left_out[axis]} of {lengths[axis]} left out along "
            f"{AXES[3][axis]}, by strides {tuple(strides)} and padding='same'; Keras "
            "on TensorFlow may move such windows, depending on dtype and processor"
        )


def _window_options(rank: int, *paddings: str) -> dict[str, Option]:
    """Return the options that every convolution with `rank` spatial axes has."""
    ones = (1,) * rank
    return {
        "kernel_size": Option(sizes(rank)),
        "strides": Option(sizes(rank), ones),
        "padding": Option(one_of("valid", "same", *paddings), "valid"),
        "data_format": DATA_FORMAT,
        "dilation_rate": Option(sizes(rank), ones),
        "activation": Option(activation, "linear"),
        "use_bias": Option(boolean, True),
    }


class Convolution(LayerType):
    """Add layout, bias and activation to a convolution; the base of all of them."""

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
            axes = ", ".join(AXES[len(options["kernel_size"])])
            lines.append(f"channels_first: axes are (batch, channels, {axes})")
        return lines

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        first_weight = next(iter(layer.weights.values()))
        options = layer.options
        if inputs.ndim != len(options["kernel_size"]) + 2:
            axes = ", ".join(AXES[len(options["kernel_size"])])
            raise DataError(
                f"{layer}: expected an input with axes (batch, {axes}) and channels. "
                f"Received: shape {inputs.shape}"
            )
        data_format = options["data_format"]
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
        The channels come first and the last axis is as long as theirs. Keras on
        TensorFlow looks for an axis as long as the bias, starting from the last, and so
        adds the bias along that one, unless TensorFlow fuses it with the convolution:
        ``predict``, XLA and a direct call give different results.
        Source: keras/src/backend/tensorflow/numpy.py, ``add``.
    """
    bias = layer.weights["bias"]
    if layer.options["data_format"] == "channels_last":
        return y + bias
    on_tensorflow = not layer.rules
    if on_tensorflow and y.shape[-1] == len(bias) > 1:
        last = AXES[y.ndim - 2][-1]
        raise DataError(
            f"{layer}: expected an output whose {last} and channels differ in size. "
            f"Received: {len(bias)} of both; with channels_first Keras on TensorFlow "
            f"may then add the bias along {last}, depending on how the model is run"
        )
    return y + bias.reshape(-1, *[1] * (y.ndim - 2))


def _how(layer: LayerSpec) -> dict[str, Any]:
    """Return the keyword arguments of `convolve` from the options of a layer."""
    options = layer.options
    return {
        "strides": options["strides"],
        "padding": options["padding"],
        "dilation": options["dilation_rate"],
    }


def _letters(layer: LayerSpec) -> tuple[list[str], list[str]]:
    """Return the letters of the output steps and of the taps, one for each axis."""
    axes = AXES[len(layer.options["kernel_size"])]
    taps = ["j"] if len(axes) == 1 else ["i", "j", "k"][: len(axes)]
    return [name[0] for name in axes], taps


def _step(layer: LayerSpec) -> str:
    """Write the input step that a tap meets for an output step: ``2 * t + 3 * j``."""

    def times(factor: int, letter: str) -> str:
        return letter if factor == 1 else f"{factor} * {letter}"

    options = layer.options
    return ", ".join(
        f"{times(stride, p)} + {times(dilation, j)}"
        for stride, p, dilation, j in zip(
            options["strides"],
            _letters(layer)[0],
            options["dilation_rate"],
            _letters(layer)[1],
            strict=True,
        )
    )


def _taps(layer: LayerSpec) -> str:
    return ", ".join(_letters(layer)[1])


def _steps(layer: LayerSpec) -> str:
    return ", ".join(_letters(layer)[0])


class Conv(Convolution):
    """Compute ``y = activation(convolve(x, kernel) + bias)``.

    Source: keras/src/layers/convolutional/base_conv.py, conv1d.py.
    """

    inert = weight_settings("kernel", "bias")
    shown_by_weights = Convolution.shown_by_weights | LORA.keys()

    def notes(self, layer: LayerSpec) -> list[str]:
        return [*super().notes(layer), *lora_notes(layer)]

    def check(self, where: str, layer: LayerSpec) -> None:
        refuse_strides_with_dilation(where, layer.options)
        filters, groups = layer.options["filters"], layer.options["groups"]
        if filters % groups:
            raise UnsupportedError(
                f"{where}: expected filters that groups divides. "
                f"Received: filters={filters}, groups={groups}"
            )

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        filters = options["filters"]
        shapes = {"kernel": (*options["kernel_size"], None, filters)}
        return shapes | ({"bias": (filters,)} if options["use_bias"] else {})

    def equation(self, layer: LayerSpec) -> str:
        groups, j = layer.options["groups"], _taps(layer)
        line = f"z[{_steps(layer)}] = sum over {j} of x[{_step(layer)}] @ kernel[{j}]"
        return line + (f" in each of {groups} groups" if groups > 1 else "")

    def convolved(self, layer: LayerSpec, x: Array) -> Array:
        groups = layer.options["groups"]
        return convolve(x, layer.weights["kernel"], groups=groups, **_how(layer))


def _conv_options(rank: int, *paddings: str) -> dict[str, Option]:
    return {
        "filters": Option(positive),
        **_window_options(rank, *paddings),
        "groups": Option(positive, 1),
        **LORA,
    }


class Conv1D(Conv):
    """Convolve over time; see `Conv`. It alone has padding ``causal``."""

    class_name = "Conv1D"
    options: ClassVar[Mapping[str, Option]] = _conv_options(1, "causal")


class Conv2D(Conv):
    """Convolve over height and width; see `Conv`."""

    class_name = "Conv2D"
    options: ClassVar[Mapping[str, Option]] = _conv_options(2)


class Conv3D(Conv):
    """Convolve over three axes; see `Conv`."""

    class_name = "Conv3D"
    options: ClassVar[Mapping[str, Option]] = _conv_options(3)

    def convolved(self, layer: LayerSpec, x: Array) -> Array:
        refuse_windows_of_tensorflow(layer, x.shape[1:-1])
        return super().convolved(layer, x)


class DepthwiseConv(Convolution):
    """Compute ``y = activation(depthwise(x, kernel) + bias)``.

    Source: keras/src/layers/convolutional/base_depthwise_conv.py.
    """

    inert = weight_settings("depthwise", "bias")
    shown_by_weights = frozenset({"depth_multiplier", "kernel_size", "use_bias"})

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        shapes = {
            "kernel": (*options["kernel_size"], None, options["depth_multiplier"])
        }
        return shapes | ({"bias": (None,)} if options["use_bias"] else {})

    def equation(self, layer: LayerSpec) -> str:
        return _depthwise_equation(layer, "z", "kernel")

    def convolved(self, layer: LayerSpec, x: Array) -> Array:
        return depthwise(x, layer.weights["kernel"], **_how(layer))


def _depthwise_equation(layer: LayerSpec, result: str, kernel: str) -> str:
    j = _taps(layer)
    return (
        f"{result}[{_steps(layer)}, c] = sum over {j} of x[{_step(layer)}, c] * "
        f"{kernel}[{j}, c]"
    )


class DepthwiseConv1D(DepthwiseConv):
    """Convolve each channel over time by itself; see `DepthwiseConv`."""

    class_name = "DepthwiseConv1D"
    options: ClassVar[Mapping[str, Option]] = {
        "depth_multiplier": Option(positive, 1),
        **_window_options(1),
    }


class DepthwiseConv2D(DepthwiseConv):
    """Convolve each channel over height and width by itself; see `DepthwiseConv`."""

    class_name = "DepthwiseConv2D"
    options: ClassVar[Mapping[str, Option]] = {
        "depth_multiplier": Option(positive, 1),
        **_window_options(2),
    }


class SeparableConv(Convolution):
    """Compute a depthwise convolution, and mix its channels by a pointwise one.

    ::

        y = activation(depthwise(x, depthwise_kernel) @ pointwise_kernel + bias)

    Source: keras/src/layers/convolutional/base_separable_conv.py.
    """

    inert = weight_settings("depthwise", "pointwise", "bias")
    shown_by_weights = Convolution.shown_by_weights | {"depth_multiplier"}

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        filters, multiplier = options["filters"], options["depth_multiplier"]
        kernel_size = options["kernel_size"]
        shapes = {
            "depthwise_kernel": (*kernel_size, None, multiplier),
            "pointwise_kernel": (*[1] * len(kernel_size), None, filters),
        }
        return shapes | ({"bias": (filters,)} if options["use_bias"] else {})

    def equation(self, layer: LayerSpec) -> str:
        zeros = ", ".join("0" for _ in layer.options["kernel_size"])
        depth = _depthwise_equation(layer, "d", "depthwise_kernel")
        return f"{depth}, z = d @ pointwise_kernel[{zeros}]"

    def convolved(self, layer: LayerSpec, x: Array) -> Array:
        pointwise = layer.weights["pointwise_kernel"]
        y = depthwise(x, layer.weights["depthwise_kernel"], **_how(layer))
        return np.tensordot(y, pointwise.reshape(pointwise.shape[-2:]), axes=1)


class SeparableConv1D(SeparableConv):
    """Convolve over time, and mix the channels; see `SeparableConv`."""

    class_name = "SeparableConv1D"
    options: ClassVar[Mapping[str, Option]] = {
        "filters": Option(positive),
        "depth_multiplier": Option(positive, 1),
        **_window_options(1),
    }


class SeparableConv2D(SeparableConv):
    """Convolve over height and width, and mix the channels; see `SeparableConv`."""

    class_name = "SeparableConv2D"
    options: ClassVar[Mapping[str, Option]] = {
        "filters": Option(positive),
        "depth_multiplier": Option(positive, 1),
        **_window_options(2),
    }


class ConvTranspose(Convolution):
    """Compute ``y = activation(transposed(x, kernel) + bias)``.

    Without ``output_padding`` each axis of the output has ``length * strides`` steps
    for padding ``same``, and ``(length - 1) * strides + max(span, strides)`` for
    ``valid``, where span is the dilated size of the kernel.

    Source: keras/src/layers/convolutional/base_conv_transpose.py, and
    keras/src/backend/common/backend_utils.py.
    """

    inert = weight_settings("kernel", "bias")

    def check(self, where: str, layer: LayerSpec) -> None:
        options = layer.options
        refuse_strides_with_dilation(where, options)
        if options["output_padding"] is None:
            return
        spans = dilated_size(options["kernel_size"], options["dilation_rate"])
        for extra, stride, span in zip(
            options["output_padding"], options["strides"], spans, strict=True
        ):
            least = 1 - span % 2 if options["padding"] == "same" else 0
            if not least <= extra < stride:
                raise UnsupportedError(
                    f"{where}: expected output_padding from {least} to {stride - 1} "
                    "with these strides, kernel_size and padding. "
                    f"Received: {extra}"
                )

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        filters = options["filters"]
        shapes = {"kernel": (*options["kernel_size"], filters, None)}
        return shapes | ({"bias": (filters,)} if options["use_bias"] else {})

    def equation(self, layer: LayerSpec) -> str:
        at, taps = _steps(layer), _taps(layer)
        every = "every t and j" if at == "t" else f"every {at} and every {taps}"
        return f"z[{_step(layer)}] gets x[{at}] @ kernel[{taps}].T of {every}"

    def convolved(self, layer: LayerSpec, x: Array) -> Array:
        options = layer.options
        none = (None,) * len(options["kernel_size"])
        return transposed(
            x,
            layer.weights["kernel"],
            strides=options["strides"],
            padding=options["padding"],
            output_padding=options["output_padding"] or none,
            dilation=options["dilation_rate"],
        )


def _transposed_options(rank: int) -> dict[str, Option]:
    return {
        "filters": Option(positive),
        **_window_options(rank),
        "output_padding": Option(optional(sizes(rank, non_negative_integer)), None),
    }


class Conv1DTranspose(ConvTranspose):
    """Spread each step over time; see `ConvTranspose`."""

    class_name = "Conv1DTranspose"
    options: ClassVar[Mapping[str, Option]] = _transposed_options(1)


class Conv2DTranspose(ConvTranspose):
    """Spread each position over height and width; see `ConvTranspose`."""

    class_name = "Conv2DTranspose"
    options: ClassVar[Mapping[str, Option]] = _transposed_options(2)


class Conv3DTranspose(ConvTranspose):
    """Spread each position over three axes; see `ConvTranspose`."""

    class_name = "Conv3DTranspose"
    options: ClassVar[Mapping[str, Option]] = _transposed_options(3)


KINDS: tuple[type[LayerType], ...] = (
    Conv1D,
    Conv2D,
    Conv3D,
    SeparableConv1D,
    SeparableConv2D,
    DepthwiseConv1D,
    DepthwiseConv2D,
    Conv1DTranspose,
    Conv2DTranspose,
    Conv3DTranspose,
)
"""The layer types of this module, for the registry."""
