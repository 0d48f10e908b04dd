"""Layers and operations that are activations, with other constants or functions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from verify.forward.activations import keras2_hard_sigmoid, log_softmax, softmax
from verify.forward.layers.base import Run
from verify.mistakes.catalogue.mistake import (
    Call,
    Change,
    Mistake,
    MutationOperator,
    on_call,
    on_outputs,
    on_weights,
)
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

SLOPES = {
    0.01: "PyTorch's default",
    0.1: "Darknet's",
    0.2: "the default of Keras's function",
    0.3: "the default of Keras's layer",
}
"""Slopes below 0 of a leaky ReLU -> whose they are."""


def _option(**options: object) -> Change:
    return lambda layer: layer.with_options(**options)


def wrong_slopes(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield leaky ReLUs and ELUs with another constant, and ReLUs with a ceiling."""
    if layer.class_name in ("LeakyReLU", "ops.LeakyRelu"):
        own = layer.options["negative_slope"]
        for slope, whose in SLOPES.items():
            if slope != own:
                yield Mistake(
                    f"slope {slope:g} instead of {own:g}",
                    f"negative numbers are multiplied by {slope:g}, {whose}; the model "
                    f"has {own:g}",
                    f"multiply negative numbers by {own:g}",
                    _option(negative_slope=slope),
                    common=True,
                )
        if own:
            yield Mistake(
                "slope 0",
                "negative numbers become 0, as in ReLU",
                f"multiply negative numbers by {own:g}",
                _option(negative_slope=0.0),
                common=True,
            )
    if layer.class_name in ("ELU", "ops.Elu") and layer.options["alpha"] != 1:
        yield Mistake(
            "alpha 1 in elu",
            f"alpha is 1; the model has {layer.options['alpha']:g}",
            "multiply exp(x) - 1 by alpha",
            _option(alpha=1.0),
            common=True,
        )
    if layer.class_name in ("ReLU", "ops.ReLU"):
        ceiling = layer.options["max_value"]
        if ceiling is None:
            yield Mistake(
                "max_value 6",
                "numbers above 6 become 6",
                "do as max_value=None says",
                on_outputs(partial(np.minimum, 6)),  # an integer: dtypes stay
            )
        else:
            yield Mistake(
                "max_value None",
                f"numbers above {ceiling:g} are left as they are",
                f"do as max_value={ceiling:g} says",
                _option(max_value=None),
            )
    if layer.class_name == "PReLU":
        yield Mistake(
            "alpha of PReLU missing",
            "negative numbers become 0, as in ReLU",
            "multiply negative numbers by alpha",
            on_weights("alpha", change=lambda _, alpha: np.zeros_like(alpha)),
            common=True,
        )


def _hard(
    call: Call,
    run: Run,
    layer: LayerSpec,
    arguments: dict[str, Any],
    mask: Any,
    silu: bool,
) -> Array:
    x = arguments["x"].value
    y = keras2_hard_sigmoid(x)
    return x * y if silu else y


def _over_a_row(
    call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
) -> Array:
    x = arguments["x"].value
    function = log_softmax if layer.class_name == "ops.LogSoftmax" else softmax
    return function(x, axis=tuple(range(1, x.ndim)))


def wrong_operations(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield activations called as operations, computed by another formula."""
    if layer.class_name == "ops.Gelu":
        approximate = layer.options["approximate"]
        used, own = ("erf", "tanh") if approximate else ("tanh", "erf")
        yield Mistake(
            f"gelu by {used} instead of {own}",
            f"gelu is computed by its formula with {used}; the model uses that with "
            f"{own} (approximate={approximate})",
            f"use the formula with {own}",
            _option(approximate=not approximate),
            common=True,
        )
    if layer.class_name in ("ops.HardSigmoid", "ops.HardSilu"):
        silu = layer.class_name == "ops.HardSilu"
        yield Mistake(
            "hard_sigmoid of Keras 2",
            "the hard_sigmoid of Keras 2, clip(0.2 * x + 0.5, 0, 1), is used; that of "
            "Keras 3 is clip(x / 6 + 0.5, 0, 1)",
            "use clip(x / 6 + 0.5, 0, 1)",
            on_call(partial(_hard, silu=silu)),
            common=True,
        )
    axis = layer.options.get("axis")
    softmaxes = ("Softmax", "ops.Softmax", "ops.LogSoftmax")
    if layer.class_name in softmaxes and isinstance(layer.input_shape, tuple):
        rank = len(layer.input_shape)
        (own_axis,) = axis if isinstance(axis, tuple) and len(axis) == 1 else (axis,)
        if not isinstance(own_axis, int):
            return
        for other in range(1, rank):
            if other != own_axis % rank:
                yield Mistake(
                    f"softmax over axis {other}",
                    f"the softmax runs over axis {other}; the model has axis "
                    f"{own_axis % rank}",
                    f"let it run over axis {own_axis % rank}",
                    _option(axis=(other,) if isinstance(axis, tuple) else other),
                    common=True,
                )
        if rank > 2:
            yield Mistake(
                "softmax over all of a row",
                "the softmax runs over all numbers of a row at once, as in ONNX before "
                f"opset 13; the model has axis {own_axis % rank}",
                f"let it run over axis {own_axis % rank} alone",
                _option(axis=tuple(range(1, rank)))
                if isinstance(axis, tuple)
                else on_call(_over_a_row),
                common=True,
            )


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (wrong_slopes, wrong_operations)
