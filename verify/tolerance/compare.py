"""Arrays against arrays: is the difference a mistake, or rounding?

The one comparison routine of the project. Shapes are compared before values, nothing
broadcasts, NaN equals nothing, and the allowance is always stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from verify.model.arrays import Array
from verify.model.dtypes import SINGLE

PROOF_TOLERANCE = 1e-10
"""What float64 may differ by. Correct formulas agree to about 1e-15, wrong ones differ
by 1e-3 to 1, so anything between would do."""

NOISE_FACTOR = 10.0
SCALE_FACTOR = 5e-7
"""``allowed = NOISE_FACTOR * noise + SCALE_FACTOR * scale``, see `noise_floor`.

How near ``predict`` comes to it on random models: ``python -m benchmarks.allowances``.
"""

FLUSH_ERROR = 1e-37
"""Always allowed too: TensorFlow takes float32 numbers below about 1e-38 for 0. So is
the square of float32's rounding error, times the largest unit: what its mish makes of a
large negative number may be 0."""

MAX_RELATIVE, MAX_RELATIVE_COARSE = 1e-2, 0.25
"""An allowance above this share of the outputs' scale decides nothing. With numbers of
16 or 8 bits one rounding error is a thousandth of the output or more, and the proof in
float64 is what tells formulas apart."""


class Verdict(StrEnum):
    """Outcome of a check; `exit_code` is what the commands return."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"

    @property
    def exit_code(self) -> int:
        """What a command returns: 0, 1 or 3."""
        return {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[self.value]


@dataclass(frozen=True)
class Comparison:
    """Outcome of comparing two arrays.

    Attributes
    ----------
    matches : bool
    allowed : float
        The greatest difference that still counts as equal, in units of the outputs: the
        greatest of all elements, or that at `worst` where something differs.
    max_diff : float
        The greatest difference found; NaN if a NaN is on either side, infinite if the
        shapes differ.
    error_ratio : float
        The greatest of the elements' differences, each as a share of what is allowed in
        its place: 1 is the most that matches. NaN and infinite as `max_diff`. It is not
        `max_diff` divided by `allowed`, which may be of other elements.
    nearest : (float, float)
        The difference and what is allowed in the place that `error_ratio` is of.
    shape : tuple
        Shape of both, if they agree.
    mismatched, total : int
        How many elements differ by more than allowed, of how many.
    first, worst : tuple of int or None
        Index of the first mismatch (earliest time step, then row, then unit) and of
        the greatest one; `None` where everything matches.
    units : tuple of int
        Indices of the last axis that do not match, at the first time step that does not
        where there is one: a mistake has not spread to other units there.
    actual, expected : float
        The two values at `worst`.
    problem : str
        What made a comparison of values impossible, otherwise empty.
    output : str
        Which output of the model this is, where it has several.
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
    error_ratio: float = 0.0
    nearest: tuple[float, float] = (0.0, 0.0)

    @property
    def axes(self) -> str:
        """What the indices count: ``[batch, time, unit]``."""
        names = {1: ["batch"], 2: ["batch", "unit"], 3: ["batch", "time", "unit"]}
        fallback = ["batch", *(f"axis {k}" for k in range(1, len(self.shape)))]
        return f"[{', '.join(names.get(len(self.shape), fallback))}]"

    @property
    def first_step(self) -> int | None:
        """The earliest time step that differs, where there is a time axis."""
        if self.first is None or len(self.shape) < 3:
            return None
        return self.first[1]

    def merge(self, later: Comparison) -> Comparison:
        """Return the comparison of the rows of both, those of `later` behind these.

        It is what `compare` finds in all rows at once, by the same tolerances.

        Parameters
        ----------
        later : Comparison
            Of arrays that differ in nothing but their number of rows.
        """
        if self.problem or later.problem:
            return self if self.problem else later
        later = _moved(later, self.shape[0])
        wrong = [c for c in (self, later) if not c.matches]
        # As np.argmax: the first NaN wins, otherwise the first of the greatest.
        nearest = later if _before(self.error_ratio, later.error_ratio) else self
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
        greatest = max(wrong, key=_apart)
        first = min(wrong, key=_order)
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
    """Compare element by element, with an absolute allowance.

    Parameters
    ----------
    actual, expected : (batch, ...) arrays of numbers
        Infinities match only themselves; NaN matches nothing, NaN included.
    allowed : float, or one number for each unit of the last axis or each element
        Greatest difference that counts as equal, in units of the values.

    Returns
    -------
    Comparison
    """
    limit = np.asarray(allowed, dtype=np.float64)
    widest = float(limit.max())
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


def compare_all(
    actual: Sequence[Array],
    expected: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
    names: Sequence[str] = (),
) -> Comparison:
    """Compare several outputs, and return the comparison that says most.

    Parameters
    ----------
    actual, expected, allowed, names : as for `compare_each`

    Returns
    -------
    Comparison
        As `most_telling` finds it.
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
        What the outputs are called.

    Returns
    -------
    list of Comparison
        One for each output; a single one, with a problem, if there are more on one
        side.
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
    """That of the first output that does not match; else the nearest to its limit."""
    wrong = [comparison for comparison in found if not comparison.matches]
    return wrong[0] if wrong else max(found, key=lambda c: c.error_ratio)


def _moved(c: Comparison, rows: int) -> Comparison:
    """The same comparison of rows that stand so many further down."""
    first = None if c.first is None else (c.first[0] + rows, *c.first[1:])
    worst = None if c.worst is None else (c.worst[0] + rows, *c.worst[1:])
    return replace(c, first=first, worst=worst)


def _before(earlier: float, later: float) -> bool:
    return not np.isnan(earlier) and (bool(np.isnan(later)) or later > earlier)


def _apart(c: Comparison) -> float:
    """The difference at `worst`, as `compare` ranks it: NaN is most."""
    with np.errstate(invalid="ignore"):
        diff = float(np.abs(np.float64(c.actual) - np.float64(c.expected)))
    return float("inf") if np.isnan(diff) else diff


def _order(c: Comparison) -> tuple[int, int]:
    """By time step, where there is one, then by row; see `_first`."""
    first = c.first or (0,)
    return (c.first_step or 0, first[0])


def most_different(ours: Sequence[Array], theirs: Sequence[Array]) -> Array:
    """Rows, those first whose outputs differ most; (batch,).

    The outputs must agree in number and shapes.
    """
    return rank_rows(*row_differences(ours, theirs))


def row_differences(
    ours: Sequence[Array], theirs: Sequence[Array]
) -> tuple[Array, Array]:
    """How far outputs are apart at most in each row, and their size.

    Returns
    -------
    (batch, outputs)
    (outputs,)
    """
    found, scales = [], []
    for a, b in zip(ours, theirs, strict=True):
        diff = np.abs(a.astype(np.float64) - b.astype(np.float64))
        found.append(diff.reshape(len(a), -1).max(axis=1))
        scales.append(float(np.max(np.abs(a), initial=1e-30)))
    return np.stack(found, axis=1), np.array(scales)


def rank_rows(found: Array, scales: Array) -> Array:
    """Rows, those first that are most apart, in the measure of `row_differences`; (batch,)."""
    total = np.max(found / scales, axis=1, initial=0.0)
    return np.argsort(-np.nan_to_num(total, nan=np.inf), kind="stable")


def _first(bad: Array) -> tuple[int, ...]:
    """Earliest time step first, where axis 1 is time."""
    if bad.ndim < 3:
        return _index(int(np.argmax(bad)), bad.shape)
    by_time = np.moveaxis(bad, 1, 0)
    time, batch, *rest = _index(int(np.argmax(by_time)), by_time.shape)
    return (batch, time, *rest)


def _index(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(k) for k in np.unravel_index(flat, shape))


@dataclass(frozen=True, eq=False)
class Tolerance:
    """How much rounding may change these outputs, and what the figure is made of.

    All are kept unit by unit, each the greatest over batch and time, so that a unit of
    large values does not pay for a mistake in one of small values; a derived bound is
    kept element by element.

    Attributes
    ----------
    atol : (units,), or in the shape of the outputs
        Greatest difference that is still rounding, in units of the outputs.
    noise : (units,)
        This model's own rounding on these inputs; 0 where float64 is compared with
        float64.
    scale : (units,)
        Greatest output.
    limit : float
        Share of `scale` above which it decides nothing.
    proven : bool
        Whether a proof in float64 stands beside it. Numbers of 16 or 8 bits are then
        held against the largest unit: the proof tells formulas apart.
    rule : str
        By which it was found.
    derived : float
        The share of the elements that have a derived bound; the rest have `rule`.
    """

    atol: Array
    noise: Array
    scale: Array
    limit: float = MAX_RELATIVE
    proven: bool = False
    rule: str = "noise floor"
    derived: float = 0.0

    @property
    def decides(self) -> bool:
        """Whether it is small against the outputs; if not, no float32 answer is.

        A unit that hardly ever rises above zero, such as a class that softmax rules
        out, is held against a thousandth of the largest unit instead.
        """
        return bool(np.all(self.decisive(self.atol)))

    def bounded(self, bound: Array) -> Tolerance:
        """With a derived bound instead, wherever there is one that decides.

        Parameters
        ----------
        bound : (batch, ..., units)
            NaN where there is none.
        """
        use = self.decisive(bound)
        share = float(np.mean(use)) if use.size else 0.0
        return replace(self, atol=np.where(use, bound, self.atol), derived=share)

    def by_unit(self) -> Tolerance:
        """With the greatest of each unit for all of its elements."""
        return replace(self, atol=_by_unit(self.atol))

    def merge(self, later: Tolerance) -> Tolerance:
        """One for the rows of both, unit by unit, each the greater; of `by_unit`.

        What it says of `derived` is what this one says.
        """
        return replace(
            self,
            atol=np.maximum(self.atol, later.atol),
            noise=np.maximum(self.noise, later.noise),
            scale=np.maximum(self.scale, later.scale),
        )

    def widened(self, by: float) -> Tolerance:
        """With so much more for every element."""
        return replace(self, atol=self.atol + by)

    def decisive(self, values: Array) -> Array:
        """Which of these, as allowances, decide something; NaN does not."""
        coarse = self.proven and self.limit > MAX_RELATIVE
        least = 1.0 if coarse else 1e-3
        against = np.maximum(self.scale, least * self.scale.max())
        return (values <= self.limit * against) | (values <= FLUSH_ERROR)


def float64_tolerance(float64: Array) -> Tolerance:
    """What float64 may differ by: 1e-10, times the outputs where these exceed 1."""
    scale = _by_unit(float64)
    return Tolerance(
        PROOF_TOLERANCE * np.maximum(1.0, scale),
        np.zeros_like(scale),
        scale,
        rule="both in float64",
    )


def noise_floor(
    float64: Array,
    *others: Array,
    unit: float = SINGLE,
    quantised: bool = False,
    proven: bool = False,
) -> Tolerance:
    """``10 * noise + 5e-7 * scale``, from several evaluations of one NumPy formula.

    Parameters
    ----------
    float64 : (batch, ..., units)
        The reference.
    *others : of the same shape
        The same formulas in float32, or with every weight moved by one rounding error.
        What these change is the noise; another correct float32 program differs by a
        small multiple of it.
    unit : float
        Unit roundoff of the coarsest dtype in the model; the factors are for float32.
    quantised : bool
        Whether a layer rounds to 8 bits, where a last digit may decide about 1 / 127.
    proven : bool
        As for `Tolerance`.
    """
    scale = _by_unit(float64)
    with np.errstate(invalid="ignore"):
        each = [_by_unit(other.astype(np.float64) - float64) for other in others]
    noise = np.max(each, axis=0)
    value = NOISE_FACTOR * noise + SCALE_FACTOR * max(unit / SINGLE, 1) * scale
    coarse = quantised or unit > SINGLE
    limit = MAX_RELATIVE_COARSE if coarse else MAX_RELATIVE
    least = np.maximum(FLUSH_ERROR, SINGLE**2 * scale.max(initial=0.0))
    return Tolerance(np.maximum(value, least), noise, scale, limit, proven)


def _by_unit(values: Array) -> Array:
    """Greatest absolute value of each unit of the last axis."""
    last = values.shape[-1] if values.ndim > 1 else 1
    return np.max(np.abs(values.astype(np.float64)).reshape(-1, last), axis=0)
