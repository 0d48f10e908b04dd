"""Other units: a times the outputs plus b, and whole numbers of a quantised output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from verify.mistakes.presentation.number_formats import NumberFormat, nearest
from verify.mistakes.presentation.view import (
    MIN_BITS,
    Found,
    Given,
    Part,
    View,
    bits,
)
from verify.model.arrays import Array
from verify.model.dtypes import SINGLE

SIMPLE: tuple[tuple[float, float, str, str], ...] = (
    (100.0, 0.0, "in percent", "divide them by 100"),
    (0.01, 0.0, "a hundredth of the outputs", "multiply them by 100"),
    (-1.0, 0.0, "the sign is flipped", "change the sign"),
    (-1.0, 1.0, "1 less the outputs", "take 1 - theirs"),
    (2.0, -1.0, "from -1 to 1 instead of 0 to 1", "take (theirs + 1) / 2"),
    (0.5, 0.5, "from 0 to 1 instead of -1 to 1", "take 2 * theirs - 1"),
    (10.0, 0.0, "ten times the outputs", "divide them by 10"),
    (1000.0, 0.0, "a thousand times the outputs", "divide them by 1000"),
    (10000.0, 0.0, "ten thousand times the outputs", "divide them by 10000"),
    (255.0, 0.0, "scaled to 0..255", "divide them by 255"),
)
"""Scales and shifts that are tried before any is fitted: a, b, and what they are."""

FITTED = frozenset({"shifted", "other units", "columns in other units"})
"""Names of the parts whose scale or shift is fitted."""

LOGITS = "logits"
"""What a formula calls what a model computes before its last activation."""

MAX_COLUMNS = 1000
"""Columns that may have scales of their own, at most."""

FLOAT32 = np.dtype(np.float32)

FIT_STEPS, GOLDEN_SECTION = 120, (5**0.5 - 1) / 2
"""Most steps of the search for a scale, and the share of where it may be that each
leaves. It ends where float64 has no numbers in between."""

FEW_NUMBERS, MAX_ROUNDS = 2000, 20
"""Numbers among which a scale is sought, and how often those are added that it leaves
least room."""

CURVE_FLOATS, CURVE_STEPS = 1600.0, 32.0
"""The square of the outputs' spread must be this many times their tolerance times their
size. In a smaller spread every smooth function of them is a straight line."""

LEAST_CHANGE = 0.05
"""A fitted scale and shift change outputs by this share of their spread, at least. What
changes them less is a small mistake, and no units."""

MIN_COLUMN_BITS = 20.0
"""Scale and shift of one column among several are told from chance by so many bits."""

SHOWN_COLUMNS = 6
"""Columns whose scale and shift a sentence shows."""


class _Integers(NamedTuple):
    """Describe the type of a quantised output."""

    name: str
    low: int
    high: int


INTEGERS = (
    _Integers("int8", -128, 127),
    _Integers("uint8", 0, 255),
    _Integers("int16", -32768, 32767),
    _Integers("uint16", 0, 65535),
)

SIMPLE_SCALES = (
    *(1 / 2**k for k in (8, 7, 15, 16)),
    *(1 / k for k in (255, 127, 32767, 65535)),
)
"""Scales of quantised outputs that are tried before any is fitted. TFLite has 1/256 for
a softmax or sigmoid, and 1/128 for a tanh (int8), 1/32768 (int16)."""


# ---- floats


def scaled(
    view: View, given: Given, dtype: np.dtype[np.generic] = FLOAT32
) -> Found | None:
    """Return the view in other units, if that fits, the simplest first.

    A simple scale, raw integers of a quantised output, any scale and shift, and at last
    one of each for every column.

    Parameters
    ----------
    view : View
    given : Given
    dtype
        Type of the numbers as they were given.
    """
    if not (np.isfinite(view.values).all() and np.isfinite(given.values).all()):
        return None
    for a, b, says, remedy in SIMPLE:
        part = Part("scaled", f"{says}: theirs = {_formula(a, b, view.term)}", remedy)
        found = given.decided(_affine(view, part, a, b))
        if found is not None:
            return found
    raw = _quantised(view, given.values, dtype)
    if raw is not None:
        return raw
    for form in given.formats:
        fitted = _Line(view.values, view.tolerance, given.values, form).fit()
        if fitted is not None:
            return _decided_fit(view, given, *fitted)
    return _columns_scaled(view, given)


def _decided_fit(view: View, given: Given, a: float, b: float) -> Found | None:
    """Return the view in units that were fitted, if it is told from a mistake.

    A shift of a single column is what another number in the last bias makes.
    """
    shifted = a == 1
    if shifted and (view.values.ndim < 2 or view.values.shape[-1] == 1):
        return None
    if b and view.term == LOGITS:
        return None  # a straight piece of some hard sigmoid
    part = Part(
        "shifted" if shifted else "other units",
        f"{'shifted' if shifted else 'other units'}: theirs = "
        f"{_formula(a, b, view.term)}{_scaler(a, b)}",
        _undone(a, b),
    )
    found = given.decided(_affine(view, part, a, b), free=2)
    if found is None or not _changes(view.values, given.values):
        return None
    width = (found.view.tolerance + found.number_format.width) / abs(a)
    return found if _spreads(view.values, width, CURVE_FLOATS) else None


def _changes(values: Array, given: Array) -> bool:
    """Say whether outputs differ enough for other units."""
    return float(np.max(np.abs(given - values))) >= LEAST_CHANGE * np.ptp(values)


def _spreads(values: Array, width: Array, factor: float) -> bool:
    spread = float(np.ptp(values))
    size = float(np.max(np.abs(values)))
    return spread**2 >= factor * float(np.median(width)) * size


def _affine(view: View, part: Part, a: float | Array, b: float | Array) -> View:
    """Return ``a * view + b``; its own rounding is allowed for."""
    values = a * view.values + b
    own = 2 * SINGLE * (np.abs(a * view.values) + np.abs(b))
    return view.then(part, values, np.abs(a) * view.tolerance + own)


class _Line:
    """Find a and b of ``given = a * values + b`` that keep within the tolerances.

    Parameters
    ----------
    values, tolerance, given : (batch, ...)
        Outputs of the model, how far rounding may move them, and those of the port.
    form : NumberFormat
        Format of the given numbers.
    """

    def __init__(
        self, values: Array, tolerance: Array, given: Array, form: NumberFormat
    ) -> None:
        self.v, self.t = values.reshape(-1), given.reshape(-1)
        self.wide = tolerance.reshape(-1)
        self.below, self.above = (
            np.broadcast_to(limit, values.shape).reshape(-1)
            for limit in (form.below, form.above)
        )

    def _take(self, some: Array) -> _Line:
        """Return the same for some of the numbers."""
        few = copy(self)
        for name in ("v", "t", "wide", "below", "above"):
            setattr(few, name, getattr(self, name)[some])
        return few

    def _limits(self, a: float) -> tuple[Array, Array]:
        """Return the least and the greatest b that each number leaves for one a."""
        left = self.t - a * self.v
        slack = abs(a) * self.wide + 2 * SINGLE * (np.abs(a * self.v) + np.abs(left))
        return left - self.below - slack, left + self.above + slack

    def shifts(self, a: float) -> tuple[float, float]:
        """Return the least and the greatest b for one a; none if the first is more."""
        least, most = self._limits(a)
        return float(np.max(least)), float(np.min(most))

    def _room(self, a: float) -> float:
        low, high = self.shifts(a)
        return high - low

    def scales(self) -> tuple[float, float]:
        """Return the least and the greatest a for ``b = 0``, as `shifts` does."""
        some = self.v != 0
        v, t = self.v[some], self.t[some]
        slack = np.abs(t / v) * self.wide[some] + 4 * SINGLE * np.abs(t)
        ends = np.stack(
            [(t - self.below[some] - slack) / v, (t + self.above[some] + slack) / v]
        )
        return float(ends.min(axis=0).max()), float(ends.max(axis=0).min())

    def slope(self) -> float | None:
        """Return an a for which there is a b; None if there is none.

        Least squares is near, and not always within the tolerances.
        """
        spread = float(np.ptp(self.v))
        if len(self.v) < 4 or not np.isfinite(self.wide).all() or not spread:
            return None
        off = self.v - self.v.mean()
        about = float(off @ (self.t - self.t.mean())) / float(off @ off)
        left = self.t - self.t.mean() - about * off
        width = float(np.max(self.below + self.above) + abs(about) * np.max(self.wide))
        width += 4 * SINGLE * float(np.max(np.abs(self.t)))
        # no line leaves less in the root mean square
        if not about or float(np.sqrt(np.mean(left**2))) > width:
            return None
        if self._room(about) >= 0:
            return about
        a = self._widest(about, 4 * width / spread)
        return a if self._room(a) >= 0 else None

    def _widest(self, about: float, reach: float) -> float:
        """Return the a near `about` that leaves most room for b.

        It is sought for some of the numbers; those that leave least room are added.
        """
        some = np.unique(np.linspace(0, len(self.v) - 1, FEW_NUMBERS).astype(int))
        a = about
        for _ in range(MAX_ROUNDS):
            a = _greatest(self._take(some)._room, about - reach, about + reach)
            least, most = self._limits(a)
            more = np.union1d(some, [np.argmax(least), np.argmin(most)])
            if len(more) == len(some):
                break
            some = more
        return a

    def fit(self) -> tuple[float, float] | None:
        """Return a and b, with few digits; None if none keep within the tolerances."""
        about = self.slope()
        if about is None:
            return None
        least, most = self.scales()
        if least <= most and np.sign(least) == np.sign(most):
            a = _shortest_between(least, most)
            low, high = self.shifts(a)
            if low <= 0 <= high:
                return a, 0.0
        for digits in range(1, 10):
            short = _digits(about, digits)
            low, high = self.shifts(short)
            if short and low <= high:
                return short, _shortest_between(low, high)
        return about, sum(self.shifts(about)) / 2


def _greatest(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function that rises and then falls is greatest."""
    share = GOLDEN_SECTION
    one, two = high - share * (high - low), low + share * (high - low)
    at_one, at_two = function(one), function(two)
    for _ in range(FIT_STEPS):
        if not low < one < two < high:
            break
        # one of the two points is a point of the next step as well
        if at_one < at_two:
            low, one, at_one = one, two, at_two
            two = low + share * (high - low)
            at_two = function(two)
        else:
            high, two, at_two = two, one, at_one
            one = high - share * (high - low)
            at_one = function(one)
    return (low + high) / 2


def _digits(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _shortest_between(least: float, most: float) -> float:
    """Return a number between two that has few digits; 0 if it is between them."""
    if least <= 0 <= most:
        return 0.0
    middle = (least + most) / 2
    for digits in range(1, 17):
        short = _digits(middle, digits)
        if least <= short <= most:
            return short
    return middle


def _columns_scaled(view: View, given: Given) -> Found | None:
    """Return the view with a scale and a shift for each column of the last axis."""
    count = view.values.shape[-1]
    if view.values.ndim < 2 or not 1 < count <= MAX_COLUMNS or view.term == LOGITS:
        return None
    scales, shifts = np.ones(count), np.zeros(count)
    for k in range(count):
        v, wide = view.values[..., k], view.tolerance[..., k]
        for form in given.formats:
            part_form = replace(
                form,
                below=np.broadcast_to(form.below, view.values.shape)[..., k],
                above=np.broadcast_to(form.above, view.values.shape)[..., k],
            )
            fitted = _Line(v, wide, given.values[..., k], part_form).fit()
            if fitted is not None:
                break
        if fitted is None:
            return None
        scales[k], shifts[k] = fitted
        part = View(v, wide)
        width = wide + part_form.width / abs(scales[k])
        if bits(Found(part, nearest("", "", width - wide)), 2) < MIN_COLUMN_BITS:
            return None
        if not _spreads(v, width, CURVE_FLOATS):
            return None
        if not _changes(v, given.values[..., k]):
            return None  # a scaler changes all columns, a mistake perhaps a single one
    if np.all(scales == 1):
        return None  # another last bias
    shown = slice(0, SHOWN_COLUMNS)
    more = ", ..." if count > SHOWN_COLUMNS else ""
    a = ", ".join(f"{x:.6g}" for x in scales[shown]) + more
    b = ", ".join(f"{x:.6g}" for x in shifts[shown]) + more
    whole = Part(
        "columns in other units",
        f"each column in other units: theirs[..., k] = a[k] * {view.term}[..., k] + "
        f"b[k] with a = [{a}], b = [{b}], as a scaler makes it",
        "compare what the model returns: the scaler is undone, or applied, on one side "
        "alone",
    )
    return given.decided(_affine(view, whole, scales, shifts), free=2 * count)


def _formula(a: float, b: float, term: str) -> str:
    """Write ``a * term + b``."""
    if a == -1 and b > 0:
        return f"{b:.9g} - {term}"
    first = term if a == 1 else f"-{term}" if a == -1 else f"{a:.9g} * {term}"
    if not b:
        return first
    return f"{first} {'+' if b > 0 else '-'} {abs(b):.9g}"


def _scaler(a: float, b: float) -> str:
    """Say of which scaler a and b are, in brackets."""
    if not b or a < 0 or a == 1:
        return ""
    if a >= 1:
        return (
            f" (as a scaler of mean {b:.6g} and scale {a:.6g} is undone, or one that "
            f"maps {b:.6g}..{a + b:.6g} to 0..1)"
        )
    return f" (as a scaler of mean {-b / a:.6g} and scale {1 / a:.6g} is applied)"


def _undone(a: float, b: float) -> str:
    shifted = f"theirs {'-' if b > 0 else '+'} {abs(b):.9g}" if b else "theirs"
    if a == 1:
        return f"take {shifted}"
    return f"take {f'({shifted})' if b else shifted} / {a:.9g}"


# ---- whole numbers


def _quantised(view: View, t: Array, dtype: np.dtype[np.generic]) -> Found | None:
    """Return the view as raw integers of a quantised output, if that fits.

    These are ``round(view / scale) + zero_point``, cut off at the ends of their type.

    Parameters
    ----------
    view : View
    t : (batch, ...)
        The numbers given; only whole ones can fit.
    dtype
        Type of the numbers as they were given.
    """
    if not np.array_equal(t, np.rint(t)):
        return None
    kinds = [k for k in INTEGERS if k.name == dtype.name] or [
        k for k in INTEGERS if k.low <= t.min() and t.max() <= k.high
    ]
    for kind in kinds:
        for scale, zero in _simple_quantisations(kind):
            found = _quantised_by(view, t, kind, scale, zero, free=0)
            if found is not None:
                return found
    for kind in kinds[:1]:
        for scale, zero in _fitted_quantisations(view, t, kind):
            found = _quantised_by(view, t, kind, scale, zero, free=2)
            if found is not None:
                return found
    return None


def _simple_quantisations(kind: _Integers) -> Iterator[tuple[float, float]]:
    middle = (kind.low + kind.high + 1) // 2
    for scale in SIMPLE_SCALES:
        for zero in dict.fromkeys((kind.low, middle, 0)):
            yield scale, zero


def _quantised_by(
    view: View, t: Array, kind: _Integers, scale: float, zero: float, *, free: int
) -> Found | None:
    """Return the view as whole numbers of one scale and zero point, if that fits."""
    a = 1 / scale
    raw = a * view.values + zero
    inside = (kind.low < t) & (t < kind.high)
    form = NumberFormat(
        "",
        "",
        below=np.where(t == kind.low, np.inf, 0.5),
        above=np.where(t == kind.high, np.inf, 0.5),
    )
    tolerance = abs(a) * view.tolerance + 2 * SINGLE * (np.abs(raw) + abs(zero))
    if not form.holds(raw, t, tolerance):
        return None
    shown = view.then(
        _quantised_part(view, t, kind, scale, zero),
        np.clip(raw, kind.low, kind.high),
        np.where(inside, tolerance, np.inf),
    )
    found = Found(shown, nearest("", "", np.full(t.shape, 0.5)))
    if len(np.unique(t)) < free + 5 or bits(found, free) < MIN_BITS:
        return None
    width = np.where(inside, tolerance + 0.5, np.inf) / abs(a)
    return found if not free or _spreads(view.values, width, CURVE_STEPS) else None


def _quantised_part(
    view: View, t: Array, kind: _Integers, scale: float, zero: float
) -> Part:
    over = round(1 / scale)
    simple = scale in SIMPLE_SCALES
    size = f"1/{over}" if simple else f"{scale:.6g}"
    shift = f"(theirs {'-' if zero > 0 else '+'} {abs(zero):g})" if zero else "theirs"
    back = f"{shift} / {over}" if simple else f"{shift} * {size}"
    return Part(
        "quantised output",
        f"raw integers of a quantised output ({kind.name}): theirs = "
        f"round({view.term} / scale) + zero_point with scale={size}, "
        f"zero_point={zero:g}; {int(np.ptp(t)) + 1} steps from the least to the "
        "greatest",
        f"scale them back: {back}",
    )


def _fitted_quantisations(
    view: View, t: Array, kind: _Integers
) -> Iterator[tuple[float, float]]:
    """Yield scale and zero point of those that fit, a few at most."""
    use = (kind.low < t) & (t < kind.high)
    v, wide, q = view.values[use], view.tolerance[use], t[use]
    if len(v) < 8 or len(np.unique(q)) < 5:
        return
    half = nearest("", "", np.array(0.5))
    a = _Line(v, wide, q, half).slope()
    if a is None:
        return
    low, high = _Line(v, wide, q, half).shifts(a)
    shift, found = (low + high) / 2, []
    for zero in range(math.floor(shift) - 3, math.ceil(shift) + 4):
        least, most = _Line(v, wide, q - zero, half).scales()
        if least <= most and np.sign(least) == np.sign(most):
            found.append((least - most, 1 / most, 1 / least, zero))
    for _, least, most, zero in sorted(found):
        yield _shortest_between(least, most), zero
