"""Say how much the roundings of a long sum pile up."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from verify.backward.recording import Operation
from verify.model.arrays import Array

STANDARD_DEVIATIONS = 10.0
"""Standard deviations that are allowed for the rounding of sums."""

SHORT_SUM = 40
"""Terms up to which what `piled_variance` finds is always within
`STANDARD_DEVIATIONS` of independent roundings."""

BLOCKS = 16
"""Blocks of a sum after each of which the partial sum is computed."""


def one_sign_variance(y: Array, terms: int) -> Array:
    """Return the variance of rounding the partial sums of terms of one sign.

    The partial sums grow in equal steps, and each is rounded. Together these roundings
    have a standard deviation of ``sqrt(terms) / 3`` times the unit roundoff of the sum.

    Parameters
    ----------
    y : array
        The sums.
    terms : int
        Of each sum.

    Returns
    -------
    array
        In the shape of `y`, in units of the unit roundoff, squared.
    """
    variance: Array = y * y
    variance *= terms / 9
    return variance


def piled_variance(operation: Operation) -> Array:
    """Return the variance of what rounding the partial sums of a sum adds up to.

    It is `one_sign_variance`, and more where terms follow one another as steps do.
    Over the steps of a sequence terms follow one another that are nearly the same,
    above all where the states of a layer have settled. Then neighbouring partial sums
    are rounded in the same direction, and partial sums may be far greater than the sum.
    So `STANDARD_DEVIATIONS` amount to no less than a unit roundoff of every partial
    sum, in the order of the steps. Products with weights are spared this: their terms
    have no such order.

    Parameters
    ----------
    operation : Operation
        A sum, a mean, or a sum of products.

    Returns
    -------
    array
        In the shape of the output, in units of the unit roundoff, squared.

    Notes
    -----
    Source: Higham, Accuracy and Stability of Numerical Algorithms (2002), section 4.2.
    """
    y, terms = operation.output, max(operation.terms, 1)
    found = one_sign_variance(y, terms)
    if terms <= SHORT_SUM or not operation.summed:
        return found
    piled = _partial_sums(operation) / STANDARD_DEVIATIONS
    return np.maximum(found, piled * piled)


def _partial_sums(operation: Operation) -> Array:
    """Return what the absolute partial sums add up to, in the shape of the output."""
    lengths = [
        1 if axis is None else x.shape[axis]
        for x, axis in zip(operation.operands, operation.summed, strict=True)
    ]
    count = max(lengths)
    edges = np.unique(np.linspace(0, count, BLOCKS + 1).astype(int))
    before: Any = 0.0
    found: Any = 0.0
    for start, stop in pairwise(edges):
        some = [
            x if axis is None or length < count else _cut(x, axis, start, stop)
            for x, axis, length in zip(
                operation.operands, operation.summed, lengths, strict=True
            )
        ]
        of_block = operation.function(*some)
        if operation.name == "mean":
            of_block = of_block * ((stop - start) / count)
        after = before + of_block
        share = operation.terms * (stop - start) / count
        found = found + share * np.maximum(np.abs(before), np.abs(after))
        before = after
    return np.asarray(found)


def _cut(x: Array, axis: int, start: int, stop: int) -> Array:
    return x[(slice(None),) * axis + (slice(start, stop),)]
