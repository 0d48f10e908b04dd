"""Evaluate the raw operation that reshapes, and so may fold other axes into the batch.

``reshape(x, (-1, T, F))`` of (batch, A, T, F) folds A into the axis of the rows. There
are then A rows for each sample, those of the first sample first, and the layers between
compute them one by one. ``reshape(y, (-1, A, F))`` unfolds them. A reshape keeps the
order of all numbers, and each layer between keeps the order of the rows, so the numbers
of a sample stay together whatever is folded, if they fill whole rows.

Source: keras/src/ops/numpy.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from verify.errors import DataError
from verify.forward.layers.base import LayerType, Option, Run, integers
from verify.forward.layers.operations import Operation
from verify.model.spec import LayerSpec


class Reshape(Operation):
    """Reshape, where the numbers of each sample stay together."""

    class_name = "ops.Reshape"
    arguments = ("x",)
    options: ClassVar[Mapping[str, Option]] = {"newshape": Option(integers)}
    casts = "own"
    returns_input = "by rule"

    def notes(self, layer: LayerSpec) -> list[str]:
        return [*super().notes(layer), *self._rows_note(layer)]

    def _rows_note(self, layer: LayerSpec) -> list[str]:
        """Say how many rows become how many, where the sizes are known."""
        try:
            before, after = (
                math.prod(shape[1:])
                for shape in (layer.input_shape, layer.output_shape)
            )
        except (TypeError, ValueError):  # a size is not known
            return []
        if before > after and not before % after:
            return [f"of one row {before // after} are made, which are computed apart"]
        if after > before and not after % before:
            return [f"{after // before} rows of a sample become one row"]
        return []

    def call(self, run: Run, layer: LayerSpec, **arguments: Any) -> Any:
        x = arguments["x"].value
        first, *rest = layer.options["newshape"]
        samples, fixed = run.samples, run.fixed_batch
        of_batch = bool(samples and fixed) and first > 0 and first % (fixed or 1) == 0
        if -1 in rest and of_batch:  # the model fixes the batch size, `verify` does not
            sizes = (first // (fixed or 1) * (samples or 1), *rest)
        else:
            sizes = (first if -1 in rest else -1, *rest)
        y = x.reshape(sizes)
        if samples is None:  # called alone: the whole model has been evaluated before
            return y
        of_one = x.size // samples
        if not len(y) or of_one % math.prod(y.shape[1:]):
            raise DataError(
                f"{layer}: expected a shape in which the {of_one} numbers of a sample "
                f"fill whole rows. Received: {layer.options['newshape']}"
            )
        if first != -1 and not of_batch and first != len(y):
            raise DataError(
                f"{layer}: expected -1 as the first size, or a multiple of the batch "
                f"size if the model fixes one. Received: {layer.options['newshape']}"
            )
        return y


KINDS: tuple[type[LayerType], ...] = (Reshape,)
"""The layer types of this module, for the registry."""
