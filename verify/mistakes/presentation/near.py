"""Hints for outputs that follow the model's in another form, though not to its digits.

A quantised port differs from the model by steps, a mistake by more. If its outputs are
in other units besides, or its columns in another order, that hides everything else. It
is said as a hint, never as the cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from verify.mistakes.presentation.order import MAX_COLUMNS
from verify.model.arrays import Array

LEAST_NUMBERS = 16
"""Numbers from which on outputs are said to follow the model's."""

FOLLOWS, FOLLOWS_IN_STEPS, ELSEWHERE = 0.99, 0.95, 0.9
"""Correlations: from which floats, and whole numbers, follow the outputs; and up to
which a column does not follow the one in its own place."""

OTHER_UNITS = 2.0
"""Factor from which a scale is another unit, and no mistake."""


def near_presentations(
    ours: Sequence[Array], observed: Sequence[Array], names: Sequence[str]
) -> Iterator[str]:
    """Yield hints about outputs that follow the model's in another form.

    Parameters
    ----------
    ours : list of (batch, ...)
        Outputs of the model, in float64.
    observed : list of (batch, ...)
        Those of a port.
    names : sequence of str
        Names of the outputs.
    """
    for k, (y, theirs) in enumerate(zip(ours, observed, strict=True)):
        which = f"output '{names[k]}': " if len(names) == len(ours) > 1 else ""
        with np.errstate(all="ignore"):
            hints = list(_of_output(y.astype(np.float64), theirs))
        yield from (f"{which}{hint}" for hint in hints)


def _of_output(ours: Array, theirs: Array) -> Iterator[str]:
    given = theirs.astype(np.float64)
    if ours.shape != given.shape or ours.size < LEAST_NUMBERS:
        return
    if not (np.isfinite(ours).all() and np.isfinite(given).all()):
        return
    order = _order_of_columns(ours, given)
    if order is not None:
        yield (
            f"the columns of theirs follow numpy's in the order {order.tolist()}, and "
            "not in its own: put them in order, and compare again"
        )
        ours = ours[..., order]
    off, moved = ours - ours.mean(), given - given.mean()
    size = float(np.linalg.norm(off) * np.linalg.norm(moved))
    if not 0 < size < np.inf:
        return
    follows = float(np.sum(off * moved)) / size
    a = float(np.sum(off * moved) / np.sum(off * off))
    b = float(given.mean() - a * ours.mean())
    rest = float(np.max(np.abs(a * ours + b - given)))
    whole = np.array_equal(given, np.rint(given)) and np.ptp(given) >= LEAST_NUMBERS
    line = f"{a:.3g} * numpy {'-' if b < 0 else '+'} {abs(b):.3g}"
    if whole and np.ptp(ours) < np.ptp(given) and follows >= FOLLOWS_IN_STEPS:
        yield (
            f"theirs are whole numbers from {given.min():g} to {given.max():g}, about "
            f"{line}, within {rest:.2g} steps: if they are the raw integers of a "
            "quantised output, scale them back, and compare with --precision int8"
        )
    elif abs(follows) >= FOLLOWS and (
        a < 0 or not 1 / OTHER_UNITS < a < OTHER_UNITS or abs(b) > 2 * np.ptp(ours)
    ):
        yield (
            f"theirs are about {line}, within {rest:.2g}: if they are in other units, "
            "undo these, and compare again"
        )


def _order_of_columns(ours: Array, theirs: Array) -> Array | None:
    """Return in which order columns follow the model's, if it is clearly another."""
    count = ours.shape[-1] if ours.ndim > 1 else 1
    if not 2 < count <= MAX_COLUMNS:
        return None
    a, b = (
        y.reshape(-1, count) - y.reshape(-1, count).mean(axis=0) for y in (ours, theirs)
    )
    lengths = np.linalg.norm(a, axis=0), np.linalg.norm(b, axis=0)
    if not all(length.all() for length in lengths):
        return None
    alike = (b.T @ a) / np.outer(lengths[1], lengths[0])  # (of theirs, of ours)
    order = alike.argmax(axis=1)
    moved = order != np.arange(count)
    clear = (
        len(set(order.tolist())) == count
        and moved.any()
        and alike[np.arange(count), order].min() >= FOLLOWS
        and np.diagonal(alike)[moved].max() < ELSEWHERE
    )
    return order if clear else None
