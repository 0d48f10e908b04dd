"""Inputs made from a model's own input shape, for a check without data."""

from __future__ import annotations

import math

import numpy as np

from verify.spec import Array, DataError, ModelSpec, plain

ROWS = 16
STEPS = 7
"""Used where the model leaves the number of rows or of steps open."""

MOST = 10**8
"""More numbers than this are not made up."""


def probe_inputs(spec: ModelSpec, *, seed: int = 0) -> Array:
    """Inputs on which mistakes show.

    Several rows, at least three steps where the model allows, values that saturate
    nothing. Where there is an Embedding: token ids, with rows padded on the right, on
    the left, with holes, and one that is padding altogether.

    Parameters
    ----------
    spec : ModelSpec
    seed : int

    Returns
    -------
    (batch, ...) in the dtype of the model's input.
    """
    rng = np.random.default_rng(seed)
    shape = tuple(
        size if size is not None else ROWS if axis == 0 else STEPS
        for axis, size in enumerate(spec.input_shape)
    )
    if math.prod(shape) > MOST:
        raise DataError(
            f"expected a model whose inputs can be made, {MOST:,} numbers at most. "
            f"Received: shape={shape}; give inputs of your own"
        )
    ids = [layer for layer in spec if layer.class_name == "Embedding"]
    if not ids:
        return rng.normal(size=shape).astype(spec.input_dtype)
    top = int(ids[0].options["input_dim"])
    if np.dtype(spec.input_dtype).kind in "iu":
        top = min(top, int(np.iinfo(spec.input_dtype).max) + 1)
    if ids[0] is not spec.layers[0]:
        raise DataError(
            f"Layer '{plain(ids[0].name)}' (Embedding): expected it to come first, to "
            "make inputs for it. Give inputs of your own"
        )
    x = rng.integers(min(1, top - 1), top, size=shape)
    for row, pattern in enumerate(_patterns(shape[-1]) if len(shape) > 1 else []):
        if row < len(x) - 1 or row == 0:
            x[row, ...] = np.where(pattern, x[row, ...], 0)
    return x.astype(spec.input_dtype)


def _patterns(steps: int) -> list[Array]:
    """True where a step counts: right, left, both, holes, and nothing at all."""
    t = np.arange(steps)
    half = max(1, steps // 2)
    return [
        t < half,
        t >= steps - half,
        (t >= steps // 4) & (t < steps - steps // 4),
        t % 3 != 1,
        np.zeros(steps, dtype=bool),
    ]
