"""The convolutions of a ConvLSTM misread: padding, orientation, layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from verify.forward.convolution import convolve, dilated_size, pad_width
from verify.mistakes.catalogue.convolutions import channel_mistakes
from verify.mistakes.catalogue.mistake import (
    CONV_LSTMS,
    Change,
    Mistake,
    MutationOperator,
    Need,
    on_weights,
)
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

SEVERAL_STEPS = frozenset({Need.SEVERAL_STEPS})


def _pad_widths(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: str,
    dilation: Sequence[int],
) -> list[tuple[int, int]]:
    """Return how far Keras pads each axis, in front and behind."""
    span = dilated_size(kernel.shape[:-2], dilation)
    spatial = [
        pad_width(n, r, s, padding)
        for n, r, s in zip(x.shape[1:-1], span, strides, strict=True)
    ]
    return [(0, 0), *spatial, (0, 0)]


def _padded_in_front(
    x: Array,
    kernel: Array,
    *,
    strides: Sequence[int],
    padding: str,
    dilation: Sequence[int],
) -> Array:
    """Pad one step more in front than behind where their number is odd."""
    widths = _pad_widths(x, kernel, strides, padding, dilation)
    x = np.pad(x, [width[::-1] for width in widths])
    return convolve(x, kernel, strides=strides, padding="valid", dilation=dilation)


def _wrapped_round(
    x: Array,
    kernel: Array,
    *,
    strides: Sequence[int],
    padding: str,
    dilation: Sequence[int],
) -> Array:
    """Take what lies beyond an edge from the opposite edge."""
    widths = _pad_widths(x, kernel, strides, padding, dilation)
    x = np.pad(x, widths, mode="wrap")
    return convolve(x, kernel, strides=strides, padding="valid", dilation=dilation)


def _dilated(
    x: Array, kernel: Array, *, rates: Sequence[int], dilation: Any, **how: Any
) -> Array:
    return convolve(x, kernel, dilation=rates, **how)


def _recur(function: Callable[..., Array]) -> Change:
    return lambda layer: layer.with_overrides(recur=function)


def _flipped(_: LayerSpec, kernel: Array) -> Array:
    return np.flip(kernel, axis=tuple(range(kernel.ndim - 2)))


def _filters_first(_: LayerSpec, kernel: Array) -> Array:
    *size, channels, columns = kernel.shape
    return kernel.reshape(*size, columns, channels).swapaxes(-1, -2)


def _turned(_: LayerSpec, kernel: Array) -> Array:
    return kernel.swapaxes(0, 1)


def paddings(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield zeros on the wrong side of the states or of the inputs.

    Keras pads ``same`` with one zero more behind than in front where their number is
    odd; so the recurrent convolution of an even kernel has it behind.
    """
    if layer.class_name not in CONV_LSTMS:
        return
    sizes, strides = layer.options["kernel_size"], layer.options["strides"]
    right = "pad one more behind than in front where their number is odd"
    if any(size % 2 == 0 for size in sizes):
        yield Mistake(
            "recurrent convolution padded in front",
            "the recurrent convolution has its odd zero in front of the states; Keras "
            "has it behind",
            right,
            _recur(_padded_in_front),
            common=True,
            needs=SEVERAL_STEPS,
        )
    if any(size > 1 for size in sizes):
        yield Mistake(
            "recurrent convolution wrapped round",
            "the recurrent convolution takes what lies beyond an edge from the "
            "opposite edge; Keras pads with zeros",
            "pad the states with zeros",
            _recur(_wrapped_round),
            needs=SEVERAL_STEPS,
        )
    spans = dilated_size(sizes, layer.options["dilation_rate"])
    strided = any(stride > 1 for stride in strides)
    if layer.options["padding"] == "same" and (
        strided or any(span % 2 == 0 for span in spans)
    ):
        yield Mistake(
            "inputs padded in front",
            "the convolution of the inputs has its odd zero in front; Keras has it "
            "behind",
            right,
            lambda layer: layer.with_overrides(convolve=_padded_in_front),
            common=True,
        )
    rates = layer.options["dilation_rate"]
    if any(rate > 1 for rate in rates):
        yield Mistake(
            "recurrent convolution dilated",
            f"the recurrent convolution has dilation {rates} as well; Keras dilates "
            "that of the inputs alone",
            "convolve the states with dilation 1",
            _recur(partial(_dilated, rates=rates)),
            needs=SEVERAL_STEPS,
        )


def orientations(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield kernels turned round, or read in another layout."""
    if layer.class_name not in CONV_LSTMS:
        return
    sizes = layer.options["kernel_size"]
    both = ("kernel", "recurrent_kernel")
    for keys in (both, *((key,) for key in both)):
        where = "both kernels are" if keys is both else f"{keys[0]} is"
        what = "both kernels" if keys is both else keys[0]
        needs = SEVERAL_STEPS if keys == ("recurrent_kernel",) else frozenset[Need]()
        if any(size > 1 for size in sizes):
            yield Mistake(
                f"{what} flipped",
                f"{where} flipped in space, as a true convolution does (scipy.signal, "
                "MATLAB's conv2); Keras computes a cross-correlation",
                "do not flip the kernel",
                on_weights(*keys, change=_flipped),
                common=True,
                needs=needs,
            )
        if len(sizes) > 1 and sizes[0] == sizes[1] > 1:
            yield Mistake(
                f"{what} with rows and columns exchanged",
                f"the first two spatial axes of {what} are exchanged",
                "the spatial axes of a kernel are those of the inputs, in their order",
                on_weights(*keys, change=_turned),
                needs=needs,
            )
    yield Mistake(
        "filters read before channels",
        "the kernels are read as (..., filters, channels); Keras stores "
        "(..., channels, filters)",
        "read the last two axes of a kernel as channels and filters",
        on_weights(*both, change=_filters_first),
        common=True,
    )


def channels(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield channels of the inputs in another order, or on another axis."""
    if layer.class_name in CONV_LSTMS:
        yield from channel_mistakes(layer, "kernel", -2, leading=2)


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (paddings, orientations, channels)
