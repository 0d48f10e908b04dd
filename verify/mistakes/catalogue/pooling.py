"""Pooling over time: masks left out or added, other reductions, padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from verify.forward.layers.base import Run
from verify.mistakes.catalogue.mistake import (
    Call,
    Change,
    Mistake,
    MutationOperator,
    Need,
    on_call,
)
from verify.mistakes.catalogue.windows import padded_by_hand, window
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.spec import LayerSpec

MASKED = frozenset({Need.MASKED_STEPS})
SEVERAL_STEPS = frozenset({Need.SEVERAL_STEPS})

Reduction = Callable[[Array, Array | None, int, bool], Array]
"""Input, its mask with an axis for the channels, the axis of time, keepdims -> the
pooled values."""


def _pooling(reduce: Reduction) -> Change:
    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Array:
        x = arguments["inputs"]
        x = x if is_float(x) else x.astype(np.float64)
        axis = 1 if layer.options["data_format"] == "channels_last" else 2
        keep = None if mask is None else np.expand_dims(mask.astype(bool), 3 - axis)
        return reduce(x, keep, axis, layer.options["keepdims"])

    return on_call(changed)


def _kept(x: Array, keep: Array | None) -> Array:
    return x if keep is None else np.where(keep, x, np.zeros_like(x))


def _mean(x: Array, keep: Array | None, axis: int, keepdims: bool) -> Array:
    return np.asarray(x.mean(axis=axis, keepdims=keepdims))


def _sum_over_steps(x: Array, keep: Array | None, axis: int, keepdims: bool) -> Array:
    return np.asarray(_kept(x, keep).sum(axis=axis, keepdims=keepdims) / x.shape[axis])


def _sum(x: Array, keep: Array | None, axis: int, keepdims: bool) -> Array:
    return np.asarray(_kept(x, keep).sum(axis=axis, keepdims=keepdims))


def _maximum(x: Array, keep: Array | None, axis: int, keepdims: bool) -> Array:
    return np.asarray(x.max(axis=axis, keepdims=keepdims))


def _masked_maximum(x: Array, keep: Array | None, axis: int, keepdims: bool) -> Array:
    if keep is not None:
        x = np.where(keep, x, x.dtype.type(-np.inf))
    return np.asarray(x.max(axis=axis, keepdims=keepdims))


def wrong_global_pooling(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield other reductions over all steps, with or without the mask."""
    if layer.class_name == "GlobalAveragePooling1D":
        yield Mistake(
            "sum of unmasked steps divided by all steps",
            "the steps that are not masked are added up and divided by the number of "
            "all steps",
            "divide by the number of the steps that are not masked",
            _pooling(_sum_over_steps),
            common=True,
            needs=MASKED,
        )
        yield Mistake(
            "sum instead of mean",
            "the steps are added up; the model takes their mean",
            "divide by the number of steps",
            _pooling(_sum),
            needs=SEVERAL_STEPS,
        )
        yield Mistake(
            "maximum instead of mean",
            "the maximum over the steps is taken; the model takes their mean",
            "take the mean over the steps",
            _pooling(_maximum),
            common=True,
            needs=SEVERAL_STEPS,
        )
    if layer.class_name == "GlobalMaxPooling1D":
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
            "the mean over the steps is taken; the model takes their maximum",
            "take the maximum over the steps",
            _pooling(_mean),
            common=True,
            needs=SEVERAL_STEPS,
        )


def wrong_pooling(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield windows padded otherwise, or reduced by another function."""
    words = {"MaxPooling1D": ("maximum", "mean"), "AveragePooling1D": ("mean", "max")}
    if layer.class_name not in words:
        return
    (size,) = layer.options["pool_size"]
    if size > 1:
        largest = layer.class_name == "MaxPooling1D"
        other = "mean instead of maximum" if largest else "maximum instead of mean"
        does, right = ("mean", "maximum") if largest else ("maximum", "mean")
        yield Mistake(
            f"{other} of each window",
            f"the {does} of each window is taken; the model takes its {right}",
            f"take the {right} of each window",
            on_call(_as_class("AveragePooling1D" if largest else "MaxPooling1D")),
            common=True,
            needs=SEVERAL_STEPS,
        )
    found = window(layer)
    if layer.options["padding"] != "same" or found is None or not found.may_pad:
        return
    if layer.class_name == "AveragePooling1D":
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
    if found.may_be_uneven:
        yield Mistake(
            "more padding before than after",
            "where the padding is uneven the extra step is put before the sequence",
            "put the extra step of padding 'same' after the sequence",
            padded_by_hand(lambda before, after: (after, before), fill=-np.inf),
            common=True,
        )


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
)
