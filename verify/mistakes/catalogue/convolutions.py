"""Convolutions misread: groups, transposed ones, and those over height and width.

What is particular to windows over time stands in `windows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from verify.forward.convolution import dilated_size, pad_width, transposed_size
from verify.forward.layers.base import Run
from verify.mistakes.catalogue.mistake import (
    Call,
    Mistake,
    MutationOperator,
    on_call,
    on_inputs,
    on_weights,
)
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")
SPATIAL = ("Conv2D", "Conv3D", "DepthwiseConv2D", "SeparableConv2D")
TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")

Widths = tuple[int, int]
Padding = Callable[[int, int, int], Widths]
"""Length, span and stride of an axis -> how many steps are added before and after."""


def _rank(layer: LayerSpec) -> int:
    return len(layer.options["kernel_size"])


def _first_axis(layer: LayerSpec) -> int:
    return 1 if layer.options["data_format"] == "channels_last" else 2


def _spans(layer: LayerSpec) -> list[int]:
    return dilated_size(layer.options["kernel_size"], layer.options["dilation_rate"])


def _kernel(layer: LayerSpec) -> str:
    """Return the name of the weight that has the spatial axes."""
    return next(iter(layer.weights))


def _lengths(layer: LayerSpec) -> tuple[int | None, ...]:
    """Return the lengths of the spatial axes, as far as the model fixes them."""
    shape, first = layer.input_shape, _first_axis(layer)
    if isinstance(shape, tuple) and len(shape) == _rank(layer) + 2:
        return shape[first : first + _rank(layer)]
    return (None,) * _rank(layer)


def _padded(padding: Padding, mode: str = "constant") -> Any:
    """Return a change of padding ``same``: other steps stand before and after."""

    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Any:
        x, first = arguments["inputs"], _first_axis(layer)
        widths = [(0, 0)] * x.ndim
        pairs = zip(_spans(layer), layer.options["strides"], strict=True)
        for axis, (span, stride) in enumerate(pairs, start=first):
            widths[axis] = padding(x.shape[axis], span, stride)
        given = {**arguments, "inputs": np.pad(x, widths, mode=mode)}  # type: ignore[call-overload]
        return call(run, layer.with_options(padding="valid"), given, mask)

    return on_call(changed)


def _as_keras(length: int, span: int, stride: int) -> Widths:
    return pad_width(length, span, stride, "same")


def _more_before(length: int, span: int, stride: int) -> Widths:
    return _as_keras(length, span, stride)[::-1]


def _all_before(length: int, span: int, stride: int) -> Widths:
    return sum(_as_keras(length, span, stride)), 0


def _both_sides(length: int, span: int, stride: int) -> Widths:
    """Pad as for stride 1, before, and behind as far as the windows reach."""
    before, windows = (span - 1) // 2, -(-length // stride)
    return before, max((windows - 1) * stride + span - length - before, 0)


def _differs(layer: LayerSpec, padding: Padding) -> bool:
    """Return whether it may pad otherwise than Keras, as far as lengths are known."""
    options = layer.options
    axes = zip(_lengths(layer), _spans(layer), options["strides"], strict=True)
    return any(
        padding(n, span, stride) != _as_keras(n, span, stride)
        for length, span, stride in axes
        for n in (range(span, span + stride) if length is None else [length])
    )


def paddings(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield images padded on other sides, by other numbers, or for another stride."""
    if layer.class_name not in SPATIAL:
        return
    options = layer.options
    if options["padding"] == "same":
        if _differs(layer, _more_before):
            yield Mistake(
                "more padding before than after",
                "where the padding of an axis is uneven, the extra step is put before",
                "put the extra step of padding 'same' after the last one",
                _padded(_more_before),
                common=True,
            )
        strided = max(options["strides"]) > 1
        if strided and _differs(layer, _both_sides):
            yield Mistake(
                "padded as for stride 1",
                "the padding in front is that of stride 1, (kernel_size - 1) // 2, as "
                "in PyTorch; so the windows begin at another offset",
                "with a stride, padding 'same' depends on the length of the axis",
                _padded(_both_sides),
                common=True,
            )
        if _differs(layer, _all_before):
            yield Mistake(
                "padding before alone",
                "all the padding is put before the first row and column",
                "pad on both sides",
                _padded(_all_before),
            )
            yield Mistake(
                "padding repeats the edge",
                "what lies beyond an edge is taken from the edge; Keras pads with "
                "zeros",
                "pad with zeros",
                _padded(_as_keras, mode="edge"),
            )
        if max(options["dilation_rate"]) > 1:
            ones = (1,) * _rank(layer)
            yield Mistake(
                "dilation ignored",
                "the taps of the kernel meet neighbours; the model has "
                f"dilation_rate={options['dilation_rate']}",
                "leave the gaps of dilation_rate",
                lambda layer: layer.with_options(dilation_rate=ones),
                common=True,
            )
        turned = tuple(reversed(options["dilation_rate"]))
        if turned != options["dilation_rate"]:
            yield Mistake(
                "dilation of other axes",
                f"dilation_rate={options['dilation_rate']} is read from the last axis",
                "dilation_rate has the order of the spatial axes",
                lambda layer: layer.with_options(dilation_rate=turned),
            )
    elif _leaves_steps_out(layer):
        yield Mistake(
            "windows aligned to the end",
            "the steps that no window reaches are left out at the beginning",
            "begin at the first row and column; leave steps out at the end",
            on_call(_from_the_end),
            common=True,
        )


def _leaves_steps_out(layer: LayerSpec) -> bool:
    axes = zip(_lengths(layer), _spans(layer), layer.options["strides"], strict=True)
    return any(s > 1 if n is None else (n - span) % s > 0 for n, span, s in axes)


def _from_the_end(
    call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
) -> Any:
    x, at = arguments["inputs"], [slice(None)] * arguments["inputs"].ndim
    pairs = zip(_spans(layer), layer.options["strides"], strict=True)
    for axis, (span, stride) in enumerate(pairs, start=_first_axis(layer)):
        at[axis] = slice((x.shape[axis] - span) % stride, None)
    return call(run, layer, {**arguments, "inputs": x[tuple(at)]}, mask)


def kernels(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield kernels turned round, or read in the layout of another library."""
    if layer.class_name not in (*SPATIAL, *TRANSPOSED):
        return
    key = _kernel(layer)
    *size, inner, outer = layer.weights[key].shape
    if max(size) > 1:
        yield Mistake(
            "kernel flipped",
            "the kernel is turned round on every spatial axis, as in a convolution of "
            "mathematics",
            "do not flip it: Keras computes a cross-correlation, and of that the "
            "transposed",
            on_weights(key, change=partial(_flipped, rank=len(size))),
            common=True,
        )
    if len(size) > 1 and size[-2] == size[-1] > 1:
        yield Mistake(
            "rows and columns of the kernel exchanged",
            f"the last two spatial axes of {key} are exchanged",
            "the spatial axes of a kernel are those of the inputs, in their order",
            on_weights(key, change=lambda _, kernel: kernel.swapaxes(-4, -3)),
            common=True,
        )
    if inner == outer > 1:
        yield Mistake(
            "channels and filters of the kernel exchanged",
            f"the last two axes of {key} are exchanged",
            _axes_of(layer, key),
            on_weights(key, change=lambda _, kernel: kernel.swapaxes(-2, -1)),
            common=True,
        )
    elif inner > 1 and outer > 1:
        yield Mistake(
            "last axes of the kernel read in reverse order",
            f"{key} is read as if its last two axes stood in the other order",
            _axes_of(layer, key),
            on_weights(key, change=_last_axes_reversed),
        )
    if sum(n > 1 for n in (*size, inner, outer)) > 1:
        yield Mistake(
            "kernel read as PyTorch's",
            f"{key} is read as if it were stored as in PyTorch, where the spatial axes "
            "come last",
            _axes_of(layer, key),
            on_weights(key, change=_read_as_torch),
            common=True,
        )


def _axes_of(layer: LayerSpec, key: str) -> str:
    last = "(..., channels, filters)"
    if layer.class_name in TRANSPOSED:
        last = "(..., filters, channels)"
    elif layer.class_name in DEPTHWISE:
        last = "(..., channels, depth_multiplier)"
    return f"the axes of {key} are {last}, the spatial ones in front"


def _flipped(_: LayerSpec, kernel: Array, rank: int) -> Array:
    return np.flip(kernel, axis=tuple(range(rank)))


def _last_axes_reversed(_: LayerSpec, kernel: Array) -> Array:
    *size, inner, outer = kernel.shape
    return kernel.reshape(*size, outer, inner).swapaxes(-2, -1)


def _read_as_torch(_: LayerSpec, kernel: Array) -> Array:
    *size, inner, outer = kernel.shape
    return np.moveaxis(kernel.reshape(outer, inner, *size), (0, 1), (-1, -2))


def channels(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield channels in another order, or on another axis."""
    if layer.class_name not in (*SPATIAL, *TRANSPOSED):
        return
    key = _kernel(layer)
    axis = -1 if layer.class_name in TRANSPOSED else -2
    if layer.options.get("groups", 1) == 1:
        yield from channel_mistakes(layer, key, axis)


def channel_mistakes(
    layer: LayerSpec, key: str, axis: int, leading: int = 1
) -> Iterator[Mistake]:
    """Yield channels of the inputs in another order, or on another axis.

    Parameters
    ----------
    layer : LayerSpec
    key : str
        The weight that meets the channels of the inputs.
    axis : int
        Its axis of these channels.
    leading : int
        Axes of the inputs before those of positions and channels: 1, or 2 with time.
    """
    if layer.weights[key].shape[axis] < 2:
        return
    yield Mistake(
        "channels in reverse order",
        "the channels of the inputs come in reverse order, as BGR for RGB",
        "pass the channels in the order of training",
        on_weights(key, change=partial(_reversed, axis=axis)),
        common=True,
    )
    last = layer.options["data_format"] == "channels_last"
    yield Mistake(
        "channels reshaped, not moved",
        "the inputs are reshaped to another data format, so that positions and "
        f"channels are mixed; the model has {layer.options['data_format']}",
        "transpose the axes; a reshape leaves the numbers where they are",
        on_inputs(partial(_channels_moved, last=last, leading=leading)),
    )


def _reversed(_: LayerSpec, kernel: Array, axis: int) -> Array:
    return np.flip(kernel, axis=axis)


def _channels_moved(x: Array, last: bool, leading: int) -> Array:
    """Read the memory of the inputs as if their channels stood at the other end."""
    front, rest = x.shape[:leading], x.shape[leading:]
    if last:
        *lengths, channels = rest
        return np.moveaxis(x.reshape(*front, channels, *lengths), leading, -1)
    channels, *lengths = rest
    return np.moveaxis(x.reshape(*front, *lengths, channels), -1, leading)


def groups(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield groups of channels that meet other filters."""
    if "kernel" not in layer.weights:
        return  # GroupNormalization has groups too
    count = layer.options.get("groups", 1)
    if count > 1:
        inner, filters = layer.weights["kernel"].shape[-2:]
        if inner > 1:
            yield Mistake(
                "every groups-th channel in a group",
                "a group takes every so many channels; Keras's take neighbours",
                "cut the channels into groups of neighbours",
                on_inputs(partial(_apart, count=count, axis=_channel_axis(layer))),
                common=True,
            )
        if filters > count:
            yield Mistake(
                "filters of the groups interleaved",
                "the filters of a group are taken apart; Keras has them side by side",
                "cut the filters into groups of neighbours",
                on_weights("kernel", change=partial(_interleaved, count=count)),
                common=True,
            )
        yield Mistake(
            "every group sees the first channels",
            "the channels of the first group are used for the filters of all groups",
            "group k of the filters belongs to group k of the channels",
            on_inputs(partial(_first_alone, count=count, axis=_channel_axis(layer))),
        )
        yield Mistake(
            "groups in reverse order",
            "the filters of the first group are applied to the channels of the last",
            "group k of the filters belongs to group k of the channels",
            on_inputs(partial(_turned, count=count, axis=_channel_axis(layer))),
        )
    if layer.class_name in DEPTHWISE:
        yield from _depthwise(layer)


def _depthwise(layer: LayerSpec) -> Iterator[Mistake]:
    key = _kernel(layer)
    count, multiplier = layer.weights[key].shape[-2:]
    if count < 2 or multiplier < 2:
        return
    axes = "the results of a channel stand side by side: channel * multiplier + filter"
    what = "the results of the depthwise step are ordered by filter, then by channel"
    if "pointwise_kernel" in layer.weights:
        change = on_weights(
            "pointwise_kernel", change=partial(_reordered, count=count, axis=-2)
        )
    else:
        change = on_call(partial(_filters_first, count=count))
    yield Mistake("filters before channels", what, axes, change, common=True)


def _channel_axis(layer: LayerSpec) -> int:
    return -1 if layer.options["data_format"] == "channels_last" else 1


def _apart(x: Array, count: int, axis: int) -> Array:
    x = np.moveaxis(x, axis, -1)
    y = x.reshape(*x.shape[:-1], -1, count).swapaxes(-1, -2).reshape(x.shape)
    return np.moveaxis(y, -1, axis)


def _turned(x: Array, count: int, axis: int) -> Array:
    x = np.moveaxis(x, axis, -1)
    y = np.flip(x.reshape(*x.shape[:-1], count, -1), axis=-2).reshape(x.shape)
    return np.moveaxis(y, -1, axis)


def _first_alone(x: Array, count: int, axis: int) -> Array:
    return np.concatenate([np.split(x, count, axis)[0]] * count, axis)


def _interleaved(_: LayerSpec, kernel: Array, count: int) -> Array:
    apart = kernel.reshape(*kernel.shape[:-1], -1, count)
    return apart.swapaxes(-1, -2).reshape(kernel.shape)


def _reordered(_: LayerSpec, kernel: Array, count: int, axis: int) -> Array:
    """Return a kernel whose channels by (channel, filter) come as (filter, channel)."""
    moved = np.moveaxis(kernel, axis, -1)
    parts = moved.reshape(*moved.shape[:-1], -1, count).swapaxes(-1, -2)
    return np.moveaxis(parts.reshape(moved.shape), -1, axis)


def _filters_first(
    call: Call,
    run: Run,
    layer: LayerSpec,
    arguments: dict[str, Any],
    mask: Any,
    count: int,
) -> Any:
    """Return results by (filter, channel); the bias stays where it was."""
    if "bias" in layer.weights:
        bias = _reordered(layer, layer.weights["bias"], count, -1)
        layer = layer.with_weights(bias=bias)
    y = np.moveaxis(call(run, layer, arguments, mask), _channel_axis(layer), -1)
    by_filter = y.reshape(*y.shape[:-1], count, -1).swapaxes(-1, -2)
    return np.moveaxis(by_filter.reshape(y.shape), -1, _channel_axis(layer))


def transposed(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield transposed convolutions cut on the other side, or without their gaps."""
    if layer.class_name not in TRANSPOSED or layer.options["padding"] != "same":
        return
    first_softmax = (
        layer.options["data_format"] == "channels_first"
        and "softmax" in layer.options["activation"]
    )
    uneven = any(r > more and (r - more) % 2 for r, more in _reaches(layer))
    if uneven and not first_softmax:
        yield Mistake(
            "cut more in front than behind",
            "where the steps to cut off are uneven, the extra one is cut off in front",
            "cut half of the steps, rounded down, in front and the rest behind",
            on_call(partial(_cut, share=lambda more: -(-more // 2))),
            common=True,
        )
    if any(r - more > 1 for r, more in _reaches(layer)) and not first_softmax:
        yield Mistake(
            "cut behind alone",
            "all the steps that padding 'same' cuts off are cut off behind",
            "cut half of them, rounded down, in front",
            on_call(partial(_cut, share=lambda more: 0)),
            common=True,
        )
    extra = layer.options["output_padding"]
    if max(layer.options["dilation_rate"]) > 1 and extra is None:
        ones = (1,) * _rank(layer)
        yield Mistake(
            "dilation ignored",
            "the taps of the kernel meet neighbours; the model has "
            f"dilation_rate={layer.options['dilation_rate']}",
            "leave the gaps of dilation_rate",
            lambda layer: layer.with_options(dilation_rate=ones),
            common=True,
        )


def _reaches(layer: LayerSpec) -> Iterator[tuple[int, int]]:
    """Yield the span of each axis, and the steps of it that are kept."""
    options = layer.options
    extra = options["output_padding"] or (None,) * _rank(layer)
    for span, stride, e in zip(_spans(layer), options["strides"], extra, strict=True):
        yield span, transposed_size(span, stride, "same", e)[0]


def _cut(
    call: Call,
    run: Run,
    layer: LayerSpec,
    arguments: dict[str, Any],
    mask: Any,
    share: Callable[[int], int],
) -> Any:
    """Cut from the whole result; share: steps to cut -> how many of them in front."""
    x, first = arguments["inputs"], _first_axis(layer)
    whole = layer.with_options(padding="valid", output_padding=None)
    y = call(run, whole, arguments, mask)
    at = [slice(None)] * y.ndim
    pairs = zip(_reaches(layer), layer.options["strides"], strict=True)
    for axis, ((span, more), stride) in enumerate(pairs, start=first):
        cut = share(max(span - more, 0))
        at[axis] = slice(cut, cut + (x.shape[axis] - 1) * stride + more)
    return y[tuple(at)]


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (
    paddings,
    kernels,
    channels,
    groups,
    transposed,
)
