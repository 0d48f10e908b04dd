"""Bound the outputs of a computation: by a sweep for each, or by a sketch of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from verify.backward.recording import NotRecorded
from verify.forward.fast import single_threaded_blas
from verify.model.arrays import Array, FlatOutputs
from verify.tolerance.error_bound.computations import Computation
from verify.tolerance.error_bound.costs import (
    FEW_ELEMENTS,
    LONG_LOOPS,
    ROW_SHARE,
    blocks,
    cost_of_a_row,
    most_different,
    numbers,
    records,
    sketch_plan,
)
from verify.tolerance.error_bound.deviations import (
    MAX_LINEAR_DEVIATION,
    Deviations,
    abs_errors,
    deviations_of,
)
from verify.tolerance.error_bound.sketch import FEWEST_COPIES, MOST_COPIES
from verify.tolerance.error_bound.time_windows import loop_steps, recorded_steps
from verify.tolerance.error_bound.visitor import BoundVisitor

MAX_BLOCK_ADJOINTS, MAX_BLOCK_ROWS = 4e6, 128
"""Adjoints kept at a time, and their greatest number of rows, so that they fit a core's
cache. Matrix products that small are not worth several threads."""

MAX_TRACED_NUMBERS = 4e6
"""Numbers that layers return for the rows of a block."""

LONG_BLOCK_ADJOINTS = 2e7
"""In place of `MAX_BLOCK_ADJOINTS` for `LONG_LOOPS`, whose steps hold few each."""

MIN_BLOCK_PAIRS, MAX_ARRAY_NUMBERS = 8, 4e6
"""Elements of a dear row that are swept together, because the row's own values are
judged once for all of them; and the greatest size of an array of adjoints then."""


class Sketch(Protocol):
    """Bound all outputs of some rows at once; see `sketched_bounds`."""

    def __call__(
        self, some: Array, copies: int = MOST_COPIES, groups: int = 1
    ) -> tuple[list[Array], Array]:
        """Return the bounds, and the rows in which they do not hold."""


DEAR_SHARE, EXACT_SHARE = 2, 10
"""What the budget is divided by for sweeps where a `Sketch` is possible: for sweeps of
all elements in its place, and for those of the elements that differ most after it,
since a bound of their own is several times nearer. An adjoint takes as long as some
twenty copies of a sketch."""

RECORDED_STEP = 1e5
"""Adjoints that take as long as a step of a loop in a sketch, if it is recorded."""

FEW_FACTOR = 2.6
"""What the budget is multiplied with where rows have `FEW_ELEMENTS`."""

DEAR_ROWS, DEAR_FACTOR, DEAR_SKETCH_FACTOR = 16, 4, 4
"""Rows that all have bounds even where this takes longer than the budget says, in a
model whose forward pass takes long, and what the budget is multiplied with at most
then: for sweeps, and for a sketch, which takes longer anyway."""

SKETCH_SHARE = 8.0
"""How many times the budget may be spent on a `Sketch`, in adjoints times copies."""


def bounds_of(
    computation: Computation,
    differences: Sequence[Array],
    visitor_for: Callable[[Deviations], BoundVisitor],
    rows: int,
    budget: float,
    *,
    weights: int = 0,
    max_deviation: float | None = None,
    sketch: Sketch | None = None,
) -> list[Array]:
    """Return the bounds of all outputs, or of those that the budget allows.

    Parameters
    ----------
    computation : Computation
    differences : list of (batch, ...)
        As for `output_bounds`.
    visitor_for : callable
        Deviations of some rows -> a `BoundVisitor`.
    rows : int
        Only the first rows can have a bound.
    budget : float
        Adjoints to compute at most.
    weights : int
        Adjoints that a visitor computes for a row beside those of a backpropagation.
    max_deviation : float, optional
        In place of `MAX_LINEAR_DEVIATION`.
    sketch : Sketch, optional
        Bounds all outputs of some rows at once, where the budget is too small for all.

    Returns
    -------
    list of (batch, ...)
        NaN for an element that has no bound.
    """
    most = MAX_LINEAR_DEVIATION if max_deviation is None else max_deviation
    flat = FlatOutputs(differences)
    joined = flat.join(differences)  # (batch, elements)
    found = np.full(joined.shape, np.nan)
    whole, traced = computation.whole, len(joined)
    if whole is None or records(whole.double):
        whole, traced = computation.traces(np.array([0])), 1
    first = whole.double
    size = numbers(first) // traced  # of a row
    if size > budget:
        return flat.split(found)  # a single sweep takes longer than all may
    try:
        cost = cost_of_a_row(computation, flat, first, traced)
    except NotRecorded:  # a layer computes what has no derivative here
        return flat.split(found)
    work = cost.work + (weights if cost.work else 0)
    share = ROW_SHARE if cost.recorded else 0
    ranking = np.nan_to_num(joined[:rows], nan=np.inf)
    dear = max(budget / DEAR_SHARE, RECORDED_STEP * recorded_steps(first))
    if sketch is not None and flat.elements <= FEW_ELEMENTS:
        budget *= FEW_FACTOR
        of_dear = min(rows, DEAR_ROWS) * (flat.elements + share) * work
        budget = max(budget, min(of_dear, DEAR_FACTOR * budget))
    elif sketch is not None and rows * flat.elements * work > min(dear, budget):
        afford = SKETCH_SHARE * budget / max(work, 1)  # copies of rows
        of_dear = min(rows, DEAR_ROWS) * FEWEST_COPIES
        afford = max(afford, min(of_dear, DEAR_SKETCH_FACTOR * afford))
        copies = int(np.clip(afford // rows, FEWEST_COPIES, MOST_COPIES))
        fit = int(min(rows, afford // copies))
        some = np.argsort(-ranking.max(axis=1), kind="stable")[:fit]
        together, groups, passes = sketch_plan(size * 4 * copies, loop_steps(first))
        some = some[: together * passes]
        with single_threaded_blas():
            for part in blocks(some, together):
                bounds = sketched_rows(sketch, part, differences, copies, groups)
                found[part] = flat.join(bounds)
        budget /= EXACT_SHARE
    chosen, elements = most_different(ranking, budget / max(work, 1), share)
    long = loop_steps(first) >= LONG_LOOPS and not cost.recorded
    at_a_time = LONG_BLOCK_ADJOINTS if long else MAX_BLOCK_ADJOINTS
    pairs = max(1, int(at_a_time // max(work, flat.elements)))
    if cost.recorded:
        most_pairs = MAX_ARRAY_NUMBERS // max(cost.largest, flat.elements)
        pairs = max(pairs, int(min(MIN_BLOCK_PAIRS, most_pairs)))
    # What is recorded of a row is kept for all its elements, so a block has few rows.
    row_block = pairs
    if work:
        row_block = max(1, int(MAX_TRACED_NUMBERS // max(size, 1)))
    if cost.recorded:
        row_block = min(row_block, max(1, pairs // len(elements)))
    row_block = min(row_block, MAX_BLOCK_ROWS)
    with single_threaded_blas():
        for some in blocks(chosen, row_block):
            alone = traced == 1 and list(some) == [0]
            single, double = whole if alone else computation.traces(some)
            diverged, deviations = deviations_of(single, double, most)
            if diverged.all():
                continue  # no row of these may have a bound
            errors = abs_errors(single.output, double.output)
            visitor = visitor_for(deviations)
            element_block = max(1, pairs // len(some)) if work else len(elements)
            if element_block < len(elements):
                visitor.keep_recordings()
            for which in blocks(elements, element_block):
                visitor.begin(len(which), len(some))
                if work:
                    # (sweeps, rows, elements): sweep k is the gradient of which[k].
                    one_hot = np.zeros((len(which), len(some), flat.elements))
                    one_hot[np.arange(len(which)), :, which] = 1.0
                    gradients = flat.split(one_hot)  # (sweeps, rows, ...) each
                    try:
                        with np.errstate(over="ignore", invalid="ignore"):
                            computation.sweep(some, gradients, visitor, double, single)
                    except NotRecorded:  # on these rows, if not on the first
                        return flat.split(found)
                bound = visitor.bound()  # (sweeps, rows)
                # A bound that NumPy's own float32 exceeds does not hold.
                exceeded = (bound < errors[:, which].T).any(axis=0)  # (rows,)
                bound = np.where(diverged | exceeded, np.nan, bound)
                found[np.ix_(some, which)] = bound.T  # (rows, sweeps)
    return flat.split(found)


def sketched_rows(
    sketch: Sketch,
    rows: Array,
    like: Sequence[Array],
    copies: int = MOST_COPIES,
    groups: int = 1,
) -> list[Array]:
    """Return the bounds of all elements of some rows, NaN for rows that have none.

    Parameters
    ----------
    sketch : Sketch
    rows : (n,) of int
    like : list of (batch, ...)
        Arrays in the shapes of the outputs.
    copies, groups : int
        As for `sketched_bounds`.
    """
    try:
        bounds, unsound = sketch(rows, copies, groups)
    except NotRecorded:
        return [np.full((len(rows), *y.shape[1:]), np.nan) for y in like]
    return [
        np.where(unsound.reshape(-1, *(1,) * (bound.ndim - 1)), np.nan, bound)
        for bound in bounds
    ]
