"""Find the shapes of all layers by evaluating the model on a few zeros.

So no layer type has to compute its output shape by separate code, and weights that do
not fit together are found before anything is computed on real inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verify.errors import DataError, ModelFileError, printable
from verify.forward.evaluate import Evaluation, LayerTrace, cast_to, value_of
from verify.forward.outlines import outline
from verify.model.dtypes import dtype_of
from verify.model.graph import map_structure
from verify.model.spec import LayerSpec, ModelSpec

OPEN_AXIS_SIZES = ((60, 120), (840, 1680))
"""Pairs of sizes that are tried for the axes a model leaves open. The sizes have many
divisors, so that a Reshape can split them; the larger pair is for long windows."""

PICTURE_SIZES = ((4, 8),)
"""Pair tried first if an input has more than three axes, such as images over time; it
is small because the sizes of all axes multiply."""

FALLBACK_SIZES = ((4, 8), (2, 3), *((size, size) for size in range(1, 65)))
"""Pairs tried last, for models in which a constant or a table of positions limits the
size of an axis or fixes it."""


SIZES = (*OPEN_AXIS_SIZES, *FALLBACK_SIZES[:2])
"""Pairs that are tried for a model of which not all can be read."""


def with_shapes(
    root: LayerSpec, fallback: Sequence[tuple[int, int]] = FALLBACK_SIZES
) -> LayerSpec:
    """Return the model with the shapes of every layer, from two small evaluations.

    The two evaluations have different sizes on all axes that the model leaves open, so
    an axis of a layer is open if its sizes differ.

    Parameters
    ----------
    root : LayerSpec
    fallback : sequence of (int, int)
        Pairs of sizes for models that cannot be computed with the usual ones.

    Raises
    ------
    ModelFileError
        The layers do not fit together.
    """
    net = cast_to(root.mapped(knowing_all), "float32")
    last: DataError | None = None
    pictures = any(len(x.options["batch_shape"]) > 3 for x in ModelSpec(root).inputs)
    for sizes in (
        *(PICTURE_SIZES if pictures else ()),
        *OPEN_AXIS_SIZES,
        *fallback,
    ):
        try:
            small, large = (_dry_run(net, k, size) for k, size in enumerate(sizes))
        except DataError as error:
            last = last or error
            continue
        shaped = root
        for path, layer in root.walk():
            if path in small:
                input_shape, output_shape = (
                    _merge_shapes(a, b)
                    for a, b in zip(small[path], large[path], strict=True)
                )
                layer = replace(
                    shaped.at(path), input_shape=input_shape, output_shape=output_shape
                )
                shaped = shaped.replaced(path, layer)
        inside = (
            _merge_shapes(small[""][0], large[""][0]),
            _merge_shapes(small[""][1], large[""][1]),
        )
        return replace(shaped, input_shape=inside[0], output_shape=inside[1])
    raise ModelFileError(f"the model cannot be computed: {last}") from last


def _dry_run(root: LayerSpec, k: int, size: int) -> dict[str, tuple[Any, Any]]:
    """Return the shapes of input and output by path, for inputs of zeros."""
    run = Evaluation(recording=True, outlining=True)
    inputs = []
    for layer in ModelSpec(root).inputs:
        shape = [
            axis if axis is not None else 2 + k if position == 0 else size
            for position, axis in enumerate(layer.options["batch_shape"])
        ]
        try:
            inputs.append(blank(shape, dtype_of(layer.options["dtype"]), size))
        except ValueError as error:  # NumPy cannot have so large an array
            raise DataError(
                f"{layer}: expected an input of fewer numbers. "
                f"Received: batch_shape={printable(layer.options['batch_shape'])}"
            ) from error
    run(root, inputs, at="")
    return {
        path: (_shapes(_given(trace)), _shapes(trace.output))
        for path, trace in run.traces.items()
    }


def _given(trace: LayerTrace) -> Any:
    """Return the first argument of a call, or that after a number: in 1 - x it is x."""
    first = trace.input
    if trace.layer.class_name.startswith("ops.") and np.isscalar(first):
        values = (map_structure(value_of, x) for x in trace.arguments.values())
        return next((value for value in values if hasattr(value, "shape")), first)
    return first


def blank(shape: list[int], dtype: np.dtype[Any], size: int) -> Any:
    """Return zeros, or texts of so many words."""
    if dtype.kind == "U":
        return outline(shape, np.asarray(" ".join(["a"] * size)))
    return outline(shape, np.zeros((), dtype=dtype))


def knowing_all(layer: LayerSpec) -> LayerSpec:
    """Return a layer that takes every token for one of its vocabulary."""
    if layer.options.get("num_oov_indices", 1):
        return layer
    return layer.with_overrides(unknown=lambda layer, token: 0)


def _shapes(values: Any) -> Any:
    return map_structure(lambda leaf: Shape(np.shape(leaf)), values)


class Shape(tuple[int, ...]):
    """Mark a shape as one leaf of a structure, unlike a plain tuple."""


def _merge_shapes(a: Any, b: Any) -> Any:
    """Merge two structures of shapes; sizes that differ become None."""
    if isinstance(a, Shape):
        return tuple(x if x == y else None for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping):
        return {key: _merge_shapes(a[key], b[key]) for key in a}
    merged = [_merge_shapes(x, y) for x, y in zip(a, b, strict=True)]
    return merged[0] if len(merged) == 1 else merged
