"""Compare arrays with arrays: is the difference a mistake, or rounding?

Every comparison of the project is made here. Shapes are compared before values, nothing
broadcasts, NaN equals nothing, and the tolerance is always stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from verify.data.json_values import json_name
from verify.model.arrays import Array

PROOF_TOLERANCE = 1e-10
"""Absolute tolerance between two computations in float64. Correct formulas agree to
about 1e-15; wrong ones usually differ by 1e-6 to 1."""


class Verdict(StrEnum):
    """Name the outcomes of a check."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    PARTIAL = "PARTIAL"

    @property
    def exit_code(self) -> int:
        """Return the exit code of a command: 0, 1 or 3."""
        return {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "PARTIAL": 3}[self.value]


@dataclass(frozen=True)
class Comparison:
    """Hold the outcome of comparing two arrays.

    Attributes
    ----------
    matches : bool
    allowed : float
        Tolerance, in units of the outputs: that of `worst` if something differs, or
        else the greatest of all elements.
    max_diff : float
        The greatest difference found; NaN if a NaN is on either side, infinite if the
        shapes differ.
    error_ratio : float
        The greatest ratio of an element's difference to its tolerance; above 1 it does
        not match. NaN and infinite as `max_diff`. It is not `max_diff / allowed`, which
        may be of two different elements.
    nearest : (float, float)
        Difference and tolerance of the element that has this ratio.
    shape : tuple
        Shape of both arrays, if they agree.
    mismatched, total : int
        How many elements differ by more than allowed, of how many.
    first, worst : tuple of int or None
        Index of the first mismatch (earliest time step, then row, then unit) and of
        the greatest one; `None` where everything matches.
    units : tuple of int
        Indices of the last axis that do not match: at the first time step that does
        not, where a mistake has not spread to other units, or anywhere if there is no
        time axis.
    actual, expected : float
        The two values at `worst`.
    problem : str
        Why values could not be compared; empty if they were.
    output : str
        Name of the output; empty if the model has only one.
    """

    matches: bool
    allowed: float
    max_diff: float
    shape: tuple[int, ...] = ()
    mismatched: int = 0
    total: int = 0
    first: tuple[int, ...] | None = None
    worst: tuple[int, ...] | None = None
    units: tuple[int, ...] = ()
    actual: float = float("nan")
    expected: float = float("nan")
    problem: str = ""
    output: str = ""
    error_ratio: float = field(default=0.0, metadata=json_name("share"))
    nearest: tuple[float, float] = (0.0, 0.0)

    @property
    def axes(self) -> str:
        """Return the names of the axes: ``[batch, time, unit]``."""
        names = {1: ["batch"], 2: ["batch", "unit"], 3: ["batch", "time", "unit"]}
        fallback = ["batch", *(f"axis {k}" for k in range(1, len(self.shape)))]
        return f"[{', '.join(names.get(len(self.shape), fallback))}]"

    @property
    def first_step(self) -> int | None:
        """Return the earliest time step that differs; None without a time axis."""
        if self.first is None or len(self.shape) < 3:
            return None
        return self.first[1]

    def merge(self, later: Comparison) -> Comparison:
        """Return the comparison of the rows of both, those of `later` after these.

        It equals what `compare` returns for all rows at once, by the same tolerances.

        Parameters
        ----------
        later : Comparison
            Comparison of the rows that follow.
        """
        if self.problem or later.problem:
            return self if self.problem else later
        later = _shifted(later, self.shape[0])
        wrong = [c for c in (self, later) if not c.matches]
        # As np.argmax: the first NaN wins, otherwise the first of the greatest.
        nearest = later if _ranks_before(self.error_ratio, later.error_ratio) else self
        both = replace(
            nearest,
            matches=not wrong,
            allowed=max(self.allowed, later.allowed),
            max_diff=float(np.maximum(self.max_diff, later.max_diff)),
            shape=(self.shape[0] + later.shape[0], *self.shape[1:]),
            mismatched=self.mismatched + later.mismatched,
            total=self.total + later.total,
        )
        if not wrong:
            return both
        greatest = max(wrong, key=_worst_diff)
        first = min(wrong, key=_mismatch_order)
        there = [
            c for c in wrong if len(c.shape) < 3 or c.first_step == first.first_step
        ]
        return replace(
            both,
            allowed=greatest.allowed,
            first=first.first,
            worst=greatest.worst,
            actual=greatest.actual,
            expected=greatest.expected,
            units=tuple(sorted({unit for c in there for unit in c.units})),
        )


def compare(actual: Array, expected: Array, *, allowed: float | Array) -> Comparison:
    """Compare element by element, with an absolute tolerance.

    Parameters
    ----------
    actual, expected : (batch, ...) arrays of numbers
        Infinities match only themselves; NaN matches nothing, NaN included.
    allowed : float, (units,), or in the shape of the arrays
        Greatest difference that counts as equal, in units of the values.

    Returns
    -------
    Comparison
    """
    limit = np.asarray(allowed, dtype=np.float64)
    widest = float(limit.max(initial=0.0))
    if actual.shape != expected.shape:
        return Comparison(
            matches=False,
            allowed=widest,
            max_diff=float("inf"),
            error_ratio=float("inf"),
            nearest=(float("inf"), widest),
            problem=f"shapes differ: {actual.shape} and {expected.shape}",
        )
    if not actual.size:
        return Comparison(True, widest, 0.0, shape=actual.shape, nearest=(0.0, widest))
    a, e = actual.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        diff = np.where(a == e, 0.0, np.abs(a - e))
        bad = ~(diff <= limit)  # NaN is bad
        ratios = np.where(diff == 0, 0.0, diff / limit)
    at = _index(int(np.argmax(ratios)), diff.shape)  # the first NaN, if there is one
    ratio = float(ratios[at])
    limits = np.broadcast_to(limit, diff.shape)
    nearest = float(diff[at]), float(limits[at])
    max_diff = float(diff.max())  # NaN if there is one
    if not bad.any():
        return Comparison(
            matches=True,
            allowed=widest,
            max_diff=max_diff,
            shape=actual.shape,
            total=diff.size,
            error_ratio=ratio,
            nearest=nearest,
        )
    ranked = np.where(bad, np.where(np.isnan(diff), np.inf, diff), -1.0)
    worst = _index(int(np.argmax(ranked)), diff.shape)
    first = _first(bad)
    there = bad[:, first[1]] if bad.ndim > 2 else bad
    units = there.reshape(-1, there.shape[-1] if bad.ndim > 1 else 1).any(axis=0)
    return Comparison(
        matches=False,
        allowed=float(limits[worst]),
        max_diff=max_diff,
        shape=actual.shape,
        mismatched=int(bad.sum()),
        total=diff.size,
        first=first,
        worst=worst,
        units=tuple(int(k) for k in np.flatnonzero(units)) if bad.ndim > 1 else (),
        actual=float(a[worst]),
        expected=float(e[worst]),
        error_ratio=ratio,
        nearest=nearest,
    )


def both_finite(ours: Array, theirs: Array) -> tuple[Array, Array]:
    """Return both with zeros where they are NaN, or the same infinity, together.

    Such numbers prove nothing, and hide none of the others. Where an infinity meets
    that of the other sign, or the shapes differ, both are returned as they are.
    """
    if ours.shape != theirs.shape:
        return ours, theirs
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    together = (
        ~np.isfinite(a) & ~np.isfinite(b) & (np.isnan(a) | np.isnan(b) | (a == b))
    )
    if not together.any():
        return ours, theirs
    return np.where(together, 0, ours), np.where(together, 0, theirs)


def all_finite(
    ours: Sequence[Array], theirs: Sequence[Array]
) -> tuple[list[Array], list[Array]]:
    """Return `both_finite` of each output; as they are where their numbers differ."""
    if len(ours) != len(theirs):
        return list(ours), list(theirs)
    pairs = [both_finite(a, b) for a, b in zip(ours, theirs, strict=True)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def compare_all(
    actual: Sequence[Array],
    expected: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
    names: Sequence[str] = (),
) -> Comparison:
    """Compare several outputs, and return the comparison that is `most_telling`.

    Parameters
    ----------
    actual, expected, allowed, names : as for `compare_each`
    """
    return most_telling(compare_each(actual, expected, allowed=allowed, names=names))


def compare_each(
    actual: Sequence[Array],
    expected: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
    names: Sequence[str] = (),
) -> list[Comparison]:
    """Compare several outputs, one by one.

    Parameters
    ----------
    actual, expected, allowed : as for `compare`, one for each output
    names : sequence of str
        Names of the outputs.

    Returns
    -------
    list of Comparison
        One for each output; a single one, with a `problem`, if their numbers differ.
    """
    if len(actual) != len(expected):
        return [
            Comparison(
                matches=False,
                allowed=0.0,
                max_diff=float("inf"),
                error_ratio=float("inf"),
                nearest=(float("inf"), 0.0),
                problem=f"{len(actual)} outputs and {len(expected)}",
            )
        ]
    found = [
        compare(a, e, allowed=limit)
        for a, e, limit in zip(actual, expected, allowed, strict=True)
    ]
    if len(found) == 1:
        return found
    return [
        replace(comparison, output=names[k] if k < len(names) else f"output {k}")
        for k, comparison in enumerate(found)
    ]


def most_telling(found: Sequence[Comparison]) -> Comparison:
    """Return the first comparison that fails, or else the one of greatest ratio."""
    wrong = [comparison for comparison in found if not comparison.matches]
    return wrong[0] if wrong else max(found, key=lambda c: c.error_ratio)


def _shifted(c: Comparison, rows: int) -> Comparison:
    """Return the comparison with all row numbers `rows` greater."""
    first = None if c.first is None else (c.first[0] + rows, *c.first[1:])
    worst = None if c.worst is None else (c.worst[0] + rows, *c.worst[1:])
    return replace(c, first=first, worst=worst)


def _ranks_before(earlier: float, later: float) -> bool:
    return not np.isnan(earlier) and (bool(np.isnan(later)) or later > earlier)


def _worst_diff(c: Comparison) -> float:
    """Return the difference at `worst`, as `compare` ranks it: NaN is greatest."""
    with np.errstate(invalid="ignore"):
        diff = float(np.abs(np.float64(c.actual) - np.float64(c.expected)))
    return float("inf") if np.isnan(diff) else diff


def _mismatch_order(c: Comparison) -> tuple[int, int]:
    """Return the sort key of mismatches: time step, if any, then row."""
    first = c.first or (0,)
    return (c.first_step or 0, first[0])


def most_different(ours: Sequence[Array], theirs: Sequence[Array]) -> Array:
    """Return all row numbers, the rows that differ most first; (batch,).

    The outputs must agree in number and shapes.
    """
    return rank_rows(*row_differences(ours, theirs))


def row_differences(
    ours: Sequence[Array], theirs: Sequence[Array]
) -> tuple[Array, Array]:
    """Return the greatest difference of each row, and the size of each output.

    Returns
    -------
    found : (batch, outputs)
        The greatest difference of each row.
    scales : (outputs,)
        The greatest absolute value of each output of `ours`.
    """
    found, scales = [], []
    for a, b in zip(ours, theirs, strict=True):
        diff = np.abs(a.astype(np.float64) - b.astype(np.float64))
        found.append(diff.reshape(len(a), -1).max(axis=1, initial=0.0))
        scales.append(float(np.max(np.abs(a), initial=1e-30)))
    return np.stack(found, axis=1), np.array(scales)


def rank_rows(found: Array, scales: Array) -> Array:
    """Return all row numbers, the rows that differ most first; (batch,).

    Parameters
    ----------
    found : (batch, outputs)
    scales : (outputs,)
        Both as `row_differences` returns them.
    """
    total = np.max(found / scales, axis=1, initial=0.0)
    return np.argsort(-np.nan_to_num(total, nan=np.inf), kind="stable")


def _first(bad: Array) -> tuple[int, ...]:
    """Return the index of the first mismatch: earliest time step, if any, then row."""
    if bad.ndim < 3:
        return _index(int(np.argmax(bad)), bad.shape)
    by_time = np.moveaxis(bad, 1, 0)
    time, batch, *rest = _index(int(np.argmax(by_time)), by_time.shape)
    return (batch, time, *rest)


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(k) for k in np.unravel_index(flat, shape))
