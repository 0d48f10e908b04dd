"""Outputs in another shape than the model's: which of its numbers are they?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from verify.mistakes.presentation.number_formats import number_formats
from verify.mistakes.presentation.view import Given, View
from verify.model.arrays import Array

RELATIVE_TOLERANCE = 1e-5
"""Difference that counts as rounding, of the greatest output: shapes are compared
before a noise floor is known."""

MIN_CLASS_BITS = 16.0
"""Classes are told from chance by so many bits at least."""


def other_shape(ours: Array, theirs: Array) -> str:
    """Say what outputs of another shape than the model's are; may be empty.

    Parameters
    ----------
    ours : (batch, ...)
        Outputs of the model in float64.
    theirs : array of another shape
        Outputs of a port, for the same rows.

    Returns
    -------
    str
        A sentence, without a full stop.
    """
    if not np.isfinite(ours).all() or not ours.size or not theirs.size:
        return ""
    if _are_classes(ours, theirs):
        return "these are the model's classes, the argmax of its outputs"
    with np.errstate(all="ignore"):
        wide = np.float64(RELATIVE_TOLERANCE * np.max(np.abs(ours)))
        values = theirs.astype(np.float64)
        given = Given(values, tuple(number_formats(theirs)))
        for expected, sentence in _candidates(ours, theirs.shape):
            view = View(expected, np.full(expected.shape, wide))
            if given.decided(view) is not None:
                return sentence
    if theirs.shape == ours.shape[1:]:
        return "this is the shape of one row, without the batch axis"
    return ""


def _are_classes(ours: Array, theirs: Array) -> bool:
    if ours.ndim < 2 or ours.shape[-1] < 2:
        return False
    if theirs.shape not in (ours.shape[:-1], (*ours.shape[:-1], 1)):
        return False
    classes = ours.argmax(axis=-1).reshape(theirs.shape)
    if not np.array_equal(classes, theirs):
        return False
    shares = np.unique(classes, return_counts=True)[1] / classes.size
    return float(-classes.size * (shares @ np.log2(shares))) >= MIN_CLASS_BITS


def _candidates(ours: Array, shape: tuple[int, ...]) -> Iterator[tuple[Array, str]]:
    """Yield numbers in the shape of theirs, and the sentence for each."""
    rows, same = len(ours), "these are the model's outputs"
    size = int(np.prod(shape))
    if size == ours.size:
        yield ours.reshape(shape), f"{same} in another shape: reshape them to it"
        for axes in permutations(range(ours.ndim)) if ours.ndim <= 4 else ():
            turned = ours.transpose(axes)
            back = tuple(int(k) for k in np.argsort(axes))
            if turned.shape == shape:
                use = f"theirs.transpose{back}"
            else:
                use = f"theirs.reshape{turned.shape}.transpose{back}"
            yield (
                turned.reshape(shape),
                f"{same} with their axes in another order: take {use}",
            )
    if shape[1:] == ours.shape[1:] and shape[0] < rows:
        count = shape[0]
        yield ours[:count], f"{same} for the first {count:,} of the {rows:,} rows"
        yield ours[-count:], f"{same} for the last {count:,} of the {rows:,} rows"
    if size == ours[0].size:
        yield ours[0].reshape(shape), f"{same} for the first row alone"
    count = ours.shape[-1]
    if size * count == ours.size and ours.ndim > 1:
        for k in range(min(count, 1000)):
            yield ours[..., k].reshape(shape), f"{same} in column {k} alone"
    if ours.ndim > 2 and size == ours[:, 0].size:
        yield ours[:, -1].reshape(shape), f"{same} at the last time step alone"
        yield ours[:, 0].reshape(shape), f"{same} at the first time step alone"
    if count == 1 and size == 2 * ours.size and shape[-1] == 2:
        both = np.concatenate([1 - ours, ours], axis=-1).reshape(shape)
        yield both, "column 1 of these is the model's output, column 0 is 1 less it"
        yield (
            both[..., ::-1],
            ("column 0 of these is the model's output, column 1 is 1 less it"),
        )
