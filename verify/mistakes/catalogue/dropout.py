"""Dropout that still scales in predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from verify.mistakes.catalogue.mistake import (
    ModelOperator,
    Mutant,
    on_inputs,
)
from verify.model.arrays import Array
from verify.model.spec import ModelSpec

DROPOUTS = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")


def rates(config: Any, inside: str = "") -> Iterator[tuple[str, float]]:
    """Yield the path of every layer of a Keras config that has a rate, and the rate."""
    entries = config.get("config", {}) if isinstance(config, Mapping) else {}
    layers = entries.get("layers", ()) if isinstance(entries, Mapping) else ()
    for entry in layers:
        own = entry.get("config") if isinstance(entry, Mapping) else None
        if not isinstance(own, Mapping):
            continue
        path = f"{inside}{own.get('name')}"
        rate = own.get("rate", own.get("dropout"))
        if isinstance(rate, (int, float)) and 0 < rate < 1:
            yield path, float(rate)
        yield from rates(entry, f"{path}/")


def dropout_scales(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield factors of dropout applied in predict, where Keras does nothing.

    A port that drops numbers at random cannot be named from its outputs; one that only
    scales can.
    """
    layers = dict(spec.walk())
    for path, rate in rates(spec.config):
        layer = layers.get(path)
        known = layer is not None and (
            layer.class_name in DROPOUTS or "go_backwards" in layer.options
        )
        if layer is None or not known:
            continue
        for factor, how in (
            (1 - rate, f"multiplied by 1 - rate = {1 - rate:g}"),
            (1 / (1 - rate), f"divided by 1 - rate = {1 - rate:g}"),
        ):
            yield Mutant(
                f"dropout inputs {how}",
                path,
                f"the inputs are {how}, the scale of dropout; Keras scales in training "
                "alone",
                "leave dropout out in predict: its output is its input",
                spec.with_layer(
                    on_inputs(partial(_scaled, factor=factor))(layer), path
                ),
                common=True,
            )


def _scaled(x: Any, factor: float) -> Any:
    if isinstance(x, list):  # a sequence and its initial states
        return [_scaled(x[0], factor), *x[1:]]
    array: Array = x
    return array * array.dtype.type(factor) if array.dtype.kind == "f" else np.array(x)


MODEL_OPERATORS: tuple[ModelOperator, ...] = (dropout_scales,)
