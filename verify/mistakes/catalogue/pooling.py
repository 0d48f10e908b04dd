"""Pooling over time and space: masks left out or added, other reductions, padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from verify.forward.convolution import channels_last, in_format, window_counts
from verify.forward.layers.base import Run
from verify.mistakes.catalogue.mistake import (
    Call,
    Change,
    Mistake,
    MutationOperator,
    Need,
    on_call,
)
from verify.mistakes.catalogue.windows import from_the_end, padded_by_hand, window
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.spec import LayerSpec

MASKED = frozenset({Need.MASKED_STEPS})
SEVERAL_STEPS = frozenset({Need.SEVERAL_STEPS})

Axes = tuple[int, ...]
Reduction = Callable[[Array, Array | None, Axes, bool], Array]
"""Input, its mask with an axis for the channels, the axes of time or space, keepdims ->
the pooled values."""


def _pooling(reduce: Reduction) -> Change:
    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Array:
        x = arguments["inputs"]
        x = x if is_float(x) else x.astype(np.float64)
        first = 1 if layer.options["data_format"] == "channels_last" else 2
        axes = tuple(range(first, first + x.ndim - 2))
        keep = None
        if mask is not None and x.ndim == 3:
            keep = np.expand_dims(mask.astype(bool), 3 - first)
        return reduce(x, keep, axes, layer.options["keepdims"])

    return on_call(changed)


def _kept(x: Array, keep: Array | None) -> Array:
    return x if keep is None else np.where(keep, x, np.zeros_like(x))


def _mean(x: Array, keep: Array | None, axes: Axes, keepdims: bool) -> Array:
    return np.asarray(x.mean(axis=axes, keepdims=keepdims))


def _sum_over_steps(x: Array, keep: Array | None, axes: Axes, keepdims: bool) -> Array:
    total = _kept(x, keep).sum(axis=axes, keepdims=keepdims)
    return np.asarray(total / x.shape[axes[0]])


def _sum(x: Array, keep: Array | None, axes: Axes, keepdims: bool) -> Array:
    return np.asarray(_kept(x, keep).sum(axis=axes, keepdims=keepdims))


def _maximum(x: Array, keep: Array | None, axes: Axes, keepdims: bool) -> Array:
    return np.asarray(x.max(axis=axes, keepdims=keepdims))


def _masked_maximum(x: Array, keep: Array | None, axes: Axes, keepdims: bool) -> Array:
    if keep is not None:
        x = np.where(keep, x, x.dtype.type(-np.inf))
    return np.asarray(x.max(axis=axes, keepdims=keepdims))


def wrong_global_pooling(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield other reductions over all steps, with or without the mask."""
    kind, over_time = layer.class_name[:-2], layer.class_name.endswith("1D")
    what = "steps" if over_time else "positions"
    if kind == "GlobalAveragePooling":
        if over_time:
            yield Mistake(
                "sum of unmasked steps divided by all steps",
                "the steps that are not masked are added up and divided by the number "
                "of all steps",
                "divide by the number of the steps that are not masked",
                _pooling(_sum_over_steps),
                common=True,
                needs=MASKED,
            )
        yield Mistake(
            "sum instead of mean",
            f"the {what} are added up; the model takes their mean",
            f"divide by the number of {what}",
            _pooling(_sum),
            needs=SEVERAL_STEPS if over_time else frozenset(),
        )
        yield Mistake(
            "maximum instead of mean",
            f"the maximum over the {what} is taken; the model takes their mean",
            f"take the mean over the {what}",
            _pooling(_maximum),
            common=True,
            needs=SEVERAL_STEPS if over_time else frozenset(),
        )
    if kind == "GlobalMaxPooling":
        if over_time:
            yield Mistake(
                "maximum of unmasked steps alone",
                "the maximum is taken over the steps that are not masked; Keras's "
                "GlobalMaxPooling1D knows no mask",
                "take the maximum over all steps, masked ones included",
                _pooling(_masked_maximum),
                common=True,
                needs=MASKED,
            )
        yield Mistake(
            "mean instead of maximum",
            f"the mean over the {what} is taken; the model takes their maximum",
            f"take the maximum over the {what}",
            _pooling(_mean),
            common=True,
            needs=SEVERAL_STEPS if over_time else frozenset(),
        )


WORDS = {"Max": ("maximum", "mean"), "Average": ("mean", "maximum")}
"""What pooling takes of each window -> and what is taken instead."""


def wrong_pooling(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield windows padded otherwise, or reduced by another function."""
    kind, rank = layer.class_name[:-2], layer.class_name[-2:]
    if kind not in ("MaxPooling", "AveragePooling"):
        return
    size = layer.options["pool_size"]
    if max(size) > 1:
        yield _other_reduction(kind.removesuffix("Pooling"), "", rank)
    if len(set(size)) > 1 and _same_shape_turned(layer):
        yield Mistake(
            "rows and columns of the windows exchanged",
            "the sizes and strides of the windows are read from the last axis to the "
            "first",
            "pool_size and strides begin with the first axis after the rows of data",
            _turned_windows,
            common=True,
        )
    found = window(layer)
    if found is None:
        return
    if layer.options["padding"] == "same" and found.may_pad:
        yield from _wrong_padding(kind, found.may_be_uneven)
    if layer.options["padding"] == "valid" and found.may_drop:
        yield Mistake(
            "windows counted from the end",
            "what does not fill a window is left out at the beginning",
            "begin with the first step, and leave out what remains at the end",
            from_the_end(),
        )


def _other_reduction(kind: str, prefix: str, rank: str) -> Mistake:
    right, does = WORDS[kind]
    other = next(name for name in WORDS if name != kind)
    return Mistake(
        f"{does} instead of {right} of each window",
        f"the {does} of each window is taken; the model takes its {right}",
        f"take the {right} of each window",
        on_call(_as_class(f"{prefix}{other}Pooling{rank}")),
        common=True,
        needs=SEVERAL_STEPS if rank == "1D" else frozenset(),
    )


def _wrong_padding(kind: str, may_be_uneven: bool) -> Iterator[Mistake]:
    if kind == "AveragePooling":
        yield Mistake(
            "padding counted in the mean",
            "the zeros of the padding count in the mean, as count_include_pad=True "
            "does in PyTorch",
            "divide by the number of steps in the window that are not padding",
            padded_by_hand(lambda before, after: (before, after)),
            common=True,
        )
        return
    yield Mistake(
        "padding of zeros in the maximum",
        "the zeros of the padding can be the maximum of a window",
        "leave the padding out of the maximum: pad with -infinity",
        padded_by_hand(lambda before, after: (before, after)),
    )
    if may_be_uneven:
        yield Mistake(
            "more padding before than after",
            "where the padding is uneven the extra step is put before the sequence",
            "put the extra step of padding 'same' after the sequence",
            padded_by_hand(lambda before, after: (after, before), fill=-np.inf),
            common=True,
        )


def _turned_windows(layer: LayerSpec) -> LayerSpec:
    strides = layer.options["strides"]
    return layer.with_options(
        pool_size=layer.options["pool_size"][::-1],
        strides=None if strides is None else strides[::-1],
    )


def _same_shape_turned(layer: LayerSpec) -> bool:
    """Return whether windows with their axes exchanged give an output of one shape."""
    one, two = window(layer), window(_turned_windows(layer))
    if one is None or two is None:
        return False
    padding = layer.options["padding"]
    known = [[n or 60 for n in found.lengths] for found in (one, two)]
    try:
        first, second = (
            window_counts(lengths, found.span, found.stride, padding)
            for lengths, found in zip(known, (one, two), strict=True)
        )
    except ValueError:
        return False
    return first == second


def wrong_adaptive_pooling(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield windows that do not overlap, or are reduced by another function."""
    kind, rank = layer.class_name[:-2], layer.class_name[-2:]
    if kind not in ("AdaptiveMaxPooling", "AdaptiveAveragePooling"):
        return
    yield _other_reduction(kind[8:].removesuffix("Pooling"), "Adaptive", rank)
    yield Mistake(
        "windows that do not overlap",
        "each window ends where the next one begins",
        "window k of m ends before ceil((k + 1) * n / m), and the next one begins at "
        "floor((k + 1) * n / m)",
        on_call(_apart),
        common=True,
    )


def _apart(
    call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
) -> Array:
    data_format = layer.options["data_format"]
    reduce: Any = np.max if "Max" in layer.class_name else np.mean
    x = channels_last(arguments["inputs"], data_format)
    for axis, m in enumerate(layer.options["output_size"], start=1):
        n = x.shape[axis]
        bounds = [k * n // m for k in range(m + 1)]
        parts = [
            np.take(x, range(a, max(b, a + 1)), axis=axis) for a, b in pairwise(bounds)
        ]
        x = np.stack([reduce(part, axis=axis) for part in parts], axis=axis)
    return in_format(x, data_format)


def _as_class(class_name: str) -> Callable[..., Any]:
    """Return a change of a call: another class with the same options computes it."""
    from verify.forward.layers import REGISTRY

    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Any:
        return REGISTRY[class_name].call(run, layer, **arguments)

    return changed


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (
    wrong_global_pooling,
    wrong_pooling,
    wrong_adaptive_pooling,
)
