"""Windows over time and space: padding on another side, kernels flipped or misread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from verify.forward.convolution import dilated_size, pad_width
from verify.forward.layers.base import Run
from verify.mistakes.catalogue.mistake import (
    Call,
    Change,
    Mistake,
    MutationOperator,
    Need,
    on_call,
    on_weights,
)
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

CONVOLUTIONS = ("Conv1D", "SeparableConv1D", "DepthwiseConv1D")
SEVERAL_STEPS = frozenset({Need.SEVERAL_STEPS})


@dataclass(frozen=True)
class Window:
    """Hold the windows of a convolution or a pooling layer, over time or space.

    Attributes
    ----------
    span, stride : tuple of int
        Steps that a window spans on each axis, gaps included, and steps between two.
    lengths : tuple of (int or None)
        Steps of the input on each axis, where the model fixes them.
    """

    span: tuple[int, ...]
    stride: tuple[int, ...]
    lengths: tuple[int | None, ...]

    @property
    def may_pad(self) -> bool:
        """Return whether padding ``same`` may add steps."""
        return any(
            k > 1 if n is None else sum(pad_width(n, k, s, "same")) > 0
            for n, k, s in self._axes()
        )

    @property
    def may_be_uneven(self) -> bool:
        """Return whether padding ``same`` may add more steps after than before."""
        return any(
            k > 1 and (s > 1 or k % 2 == 0)
            if n is None
            else sum(pad_width(n, k, s, "same")) % 2 == 1
            for n, k, s in self._axes()
        )

    @property
    def may_drop(self) -> bool:
        """Return whether padding ``valid`` may leave steps at the end out."""
        return any(s > 1 if n is None else (n - k) % s > 0 for n, k, s in self._axes())

    def _axes(self) -> Iterator[tuple[int | None, int, int]]:
        return zip(self.lengths, self.span, self.stride, strict=True)


def window(layer: LayerSpec) -> Window | None:
    """Return the windows of a layer; None if its shape is not known."""
    span, stride = _span_and_stride(layer)
    shape = layer.input_shape
    if not isinstance(shape, tuple) or len(shape) != len(span) + 2:
        return None
    axes = _spatial_axes(layer, len(span))
    return Window(span, stride, tuple(shape[axis] for axis in axes))


def _span_and_stride(layer: LayerSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    options = layer.options
    size = options.get("kernel_size") or options["pool_size"]
    span = dilated_size(size, options.get("dilation_rate", (1,) * len(size)))
    return tuple(span), options["strides"] or size


def _spatial_axes(layer: LayerSpec, rank: int) -> range:
    first = 1 if layer.options["data_format"] == "channels_last" else 2
    return range(first, first + rank)


def padded_by_hand(
    change: Callable[[int, int], tuple[int, int]], fill: float = 0.0
) -> Change:
    """Return a change of padding ``same``: other steps are added before and after.

    Parameters
    ----------
    change : callable
        How many steps Keras adds before and after an axis -> how many are added, as
        many in all.
    fill : float
        The value of these steps.
    """

    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Any:
        x = arguments["inputs"]
        span, stride = _span_and_stride(layer)
        widths = [(0, 0)] * x.ndim
        axes = _spatial_axes(layer, len(span))
        for axis, k, s in zip(axes, span, stride, strict=True):
            widths[axis] = change(*pad_width(x.shape[axis], k, s, "same"))
        padded = np.pad(x, widths, constant_values=x.dtype.type(fill))
        given = {**arguments, "inputs": padded}
        return call(run, layer.with_options(padding="valid"), given, mask)

    return on_call(changed)


def from_the_end() -> Change:
    """Return a change of padding ``valid``: what does not fill a window is left out at
    the beginning of an axis, not at its end."""

    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Any:
        x = arguments["inputs"]
        span, stride = _span_and_stride(layer)
        at = [slice(None)] * x.ndim
        axes = _spatial_axes(layer, len(span))
        for axis, k, s in zip(axes, span, stride, strict=True):
            at[axis] = slice((x.shape[axis] - k) % s, None)
        return call(run, layer, {**arguments, "inputs": x[tuple(at)]}, mask)

    return on_call(changed)


def wrong_windows(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield convolutions with other padding, dilation or order of the taps."""
    if layer.class_name not in CONVOLUTIONS:
        return
    padding, found = layer.options["padding"], window(layer)
    if found is not None and max(found.span) > 1:
        if padding == "same" and found.may_be_uneven:
            yield Mistake(
                "more padding before than after",
                "where the padding is uneven the extra step is put before the sequence",
                "put the extra step of padding 'same' after the sequence",
                padded_by_hand(lambda before, after: (after, before)),
                common=True,
            )
        if padding == "causal":
            yield Mistake(
                "padding same instead of causal",
                "the sequence is padded on both sides, so a step sees later ones",
                "pad before the sequence alone",
                lambda layer: layer.with_options(padding="same"),
                common=True,
            )
        if padding == "same":
            yield Mistake(
                "padding causal instead of same",
                "the sequence is padded before its first step alone",
                "pad on both sides",
                padded_by_hand(lambda before, after: (before + after, 0)),
                common=True,
            )
        (dilation,) = layer.options["dilation_rate"]
        if dilation > 1 and padding != "valid":
            yield Mistake(
                "dilation ignored",
                f"the taps of the kernel meet neighbouring steps; the model has "
                f"dilation_rate={dilation}",
                f"take every {dilation}th step",
                lambda layer: layer.with_options(dilation_rate=(1,)),
                common=True,
            )
    yield from _wrong_kernels(layer)


def _wrong_kernels(layer: LayerSpec) -> Iterator[Mistake]:
    key = next(iter(layer.weights))
    size, channels, filters = layer.weights[key].shape
    if size > 1:
        yield Mistake(
            "kernel flipped in time",
            "the kernel is turned round in time, as in a convolution of mathematics",
            "do not flip it: Keras computes a cross-correlation",
            on_weights(key, change=lambda _, kernel: kernel[::-1].copy()),
            common=True,
            needs=SEVERAL_STEPS,
        )
    if channels == filters > 1:
        yield Mistake(
            "channels and filters of the kernel exchanged",
            f"the last two axes of {key} are exchanged",
            f"the axes of {key} are (kernel_size, channels, filters)",
            on_weights(key, change=lambda _, kernel: np.swapaxes(kernel, -2, -1)),
            common=True,
        )
    if (size, channels, filters) != (1, 1, 1):
        yield Mistake(
            "kernel read as (filters, channels, size)",
            f"{key} is read as if it were stored like PyTorch's: filters, channels, "
            "size",
            f"the axes of {key} are (kernel_size, channels, filters)",
            on_weights(key, change=_read_as_torch),
        )


def _read_as_torch(_: LayerSpec, kernel: Array) -> Array:
    return kernel.ravel().reshape(kernel.shape[::-1]).transpose()


def wrong_flattening(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield numbers put into one axis, or taken out of it, in another order."""
    shape = layer.input_shape
    if not isinstance(shape, tuple):
        return
    wide = [size for size in shape[1:] if size != 1]
    if layer.class_name == "Flatten" and len(wide) > 1:
        if layer.options["data_format"] == "channels_first":
            return
        yield Mistake(
            "flattened channels first",
            "all steps of a feature stand side by side, as after Flatten in PyTorch, "
            "where the channels are in front",
            "flatten step by step: the last axis is the fastest",
            on_call(_channels_first),
            common=True,
        )
    if layer.class_name == "Reshape":
        target = layer.options["target_shape"]
        if len(shape) == 2 and sum(size != 1 for size in target) > 1:
            yield Mistake(
                "reshaped with the first axis fastest",
                "the numbers of a row are laid out with the first axis fastest",
                "lay them out with the last axis fastest",
                on_call(_first_axis_fastest),
                common=True,
            )
        if len(target) == 1 and len(wide) > 1:
            yield Mistake(
                "flattened channels first",
                "all steps of a feature stand side by side, as after a reshape in "
                "PyTorch, where the channels are in front",
                "flatten step by step: the last axis is the fastest",
                on_call(_channels_first),
                common=True,
            )
        after = layer.output_shape
        keeps_steps = isinstance(after, tuple) and len(after) == 3 < len(shape)
        if keeps_steps and after[1] == shape[1] and len(wide) > 2 and shape[-1] != 1:
            yield Mistake(
                "steps flattened channels first",
                "in each step all numbers of a channel stand side by side, as after a "
                "reshape in PyTorch, where the channels are in front",
                "flatten each step with the channels as the fastest axis",
                on_call(partial(_channels_first, axis=2)),
                common=True,
            )


def _channels_first(
    call: Call,
    run: Run,
    layer: LayerSpec,
    arguments: dict[str, Any],
    mask: Any,
    *,
    axis: int = 1,
) -> Any:
    """Call a layer on inputs whose channels stand at an axis, by default in front."""
    x = np.moveaxis(arguments["inputs"], -1, axis)
    return call(run, layer, {**arguments, "inputs": np.ascontiguousarray(x)}, mask)


def _first_axis_fastest(
    call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
) -> Any:
    y = call(run, layer, arguments, mask)  # (batch, ...)
    turned = y.reshape(len(y), *y.shape[:0:-1])
    return turned.transpose(0, *range(y.ndim - 1, 0, -1))


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (wrong_windows, wrong_flattening)
