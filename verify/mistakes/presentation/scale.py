"""Other units: a times the outputs plus b, and whole numbers of a quantised output."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
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

FLOAT32 = np.dtype(np.float32)

FIT_STEPS = 160
"""Steps of the search for the scale of whole numbers; each leaves two thirds."""

CURVE_FLOATS, CURVE_STEPS = 64.0, 16.0
"""The square of the outputs' spread must be this many times their tolerance times their
size. In a smaller spread every smooth function of them is a straight line."""

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
        fitted = _fit(view.values, view.tolerance, given.values, form)
        if fitted is not None:
            return _decided_fit(view, given, *fitted)
    return _columns_scaled(view, given)


def _decided_fit(view: View, given: Given, a: float, b: float) -> Found | None:
    what = "shifted" if a == 1 else "other units"
    part = Part(
        what,
        f"{what}: theirs = {_formula(a, b, view.term)}{_scaler(a, b)}",
        _undone(a, b),
    )
    new = _affine(view, part, a, b)
    found = given.decided(new, free=2)
    return found if found is not None and _straight(view, found, a) else None


def _straight(view: View, found: Found, a: float) -> bool:
    """Say whether the outputs spread enough to tell a straight line from a curve."""
    width = (found.view.tolerance + found.number_format.width) / abs(a)
    return _spreads(view.values, width, CURVE_FLOATS)


def _spreads(values: Array, width: Array, factor: float) -> bool:
    spread = float(np.ptp(values))
    size = float(np.max(np.abs(values)))
    return spread**2 >= factor * float(np.median(width)) * size


def _affine(view: View, part: Part, a: float | Array, b: float | Array) -> View:
    """Return ``a * view + b``; its own rounding is allowed for."""
    values = a * view.values + b
    own = 2 * SINGLE * (np.abs(a * view.values) + np.abs(b))
    return view.then(part, values, np.abs(a) * view.tolerance + own)


def _fit(
    values: Array, tolerance: Array, given: Array, form: NumberFormat
) -> tuple[float, float] | None:
    """Return a and b, with few digits, of ``given = a * values + b``; None if none fit.

    Least squares, weighted by the tolerance; then the fewest digits that fit as well.
    """
    v, t, wide = values.reshape(-1), given.reshape(-1), tolerance.reshape(-1)
    if len(v) < 4 or not np.isfinite(wide).all() or np.ptp(v) == 0:
        return None
    below = np.broadcast_to(form.below, values.shape).reshape(-1)
    above = np.broadcast_to(form.above, values.shape).reshape(-1)

    def fits(a: float, b: float) -> bool:
        own = 2 * SINGLE * (np.abs(a * v) + abs(b))
        more = a * v + b - t
        slack = abs(a) * wide + own
        return bool(np.all((more <= above + slack) & (-more <= below + slack)))

    def least_squares(weight: Array) -> tuple[float, float]:
        total = weight.sum()
        middle, target = (weight @ v) / total, (weight @ t) / total
        off = v - middle
        square = float((weight * off) @ off)
        a = float((weight * off) @ (t - target)) / square if square else 0.0
        return a, float(target - a * middle)

    a, b = least_squares(np.ones_like(v))
    if not fits(a, b):
        half = np.abs(a) * wide + (below + above) / 2 + 1e-300
        a, b = least_squares((half.min() / half) ** 2)
    if a == 0 or not fits(a, b):
        return None
    through_zero = float(v @ t) / float(v @ v)
    if through_zero and fits(through_zero, 0.0):
        return _fewest_digits(through_zero, lambda x: fits(x, 0.0)), 0.0
    for digits in range(1, 9):
        short = _digits(a, digits)
        shift = float(np.mean(t - short * v))
        if fits(short, shift):
            return short, _fewest_digits(shift, partial(fits, short))
    return a, b


def _digits(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def _fewest_digits(value: float, fits: Callable[[float], bool]) -> float:
    """Return a value at the fewest digits at which it still fits."""
    for digits in range(1, 10):
        short = _digits(value, digits)
        if fits(short):
            return short
    return value


def _columns_scaled(view: View, given: Given) -> Found | None:
    """Return the view with a scale and a shift for each column of the last axis."""
    count = view.values.shape[-1]
    if view.values.ndim < 2 or count < 2 or count > 1000:
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
            fitted = _fit(v, wide, given.values[..., k], part_form)
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
    if np.all(scales == 1) and np.any(shifts == 0):
        return None  # single numbers of a bias are no scaler
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
    if a == 1:
        return " (a mean not added, or a last bias that is off by so much)"
    if not b or a < 0:
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
            found = _quantised_by(view, t, kind, 1 / scale, zero, free=0)
            if found is not None:
                return found
    for kind in kinds[:1]:
        for a, zero in _fitted_quantisations(view, t, kind):
            found = _quantised_by(view, t, kind, a, zero, free=2)
            if found is not None:
                return found
    return None


def _simple_quantisations(kind: _Integers) -> Iterator[tuple[float, float]]:
    middle = (kind.low + kind.high + 1) // 2
    for scale in SIMPLE_SCALES:
        for zero in dict.fromkeys((kind.low, middle, 0)):
            yield scale, zero


def _quantised_by(
    view: View, t: Array, kind: _Integers, a: float, zero: float, *, free: int
) -> Found | None:
    """Return the view as whole numbers of one scale, ``1 / a``, and zero point."""
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
        _quantised_part(view, t, kind, 1 / a, zero),
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
    simple = over > 1 and abs(scale * over - 1) < 1e-12
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
    """Yield ``1 / scale`` and zero point of the scales that fit, a few at most."""
    use = (kind.low < t) & (t < kind.high)
    v, q = view.values[use], t[use]
    if len(v) < 8 or np.ptp(v) == 0 or len(np.unique(q)) < 5:
        return
    off = v - v.mean()
    about = float(off @ (q - q.mean())) / float(off @ off)
    if not about:
        return

    def reach(a: float) -> float:
        return float(np.ptp(q - a * v))

    low, high = sorted((0.5 * about, 1.5 * about))
    for _ in range(FIT_STEPS):
        one, two = low + (high - low) / 3, high - (high - low) / 3
        if reach(one) < reach(two):
            high = two
        else:
            low = one
    a = (low + high) / 2
    left = q - a * v
    if reach(a) > 1 + 2 * abs(a) * float(np.median(view.tolerance)) + 1e-6:
        return
    shift = float(left.min() + left.max()) / 2
    near = sorted(
        range(math.floor(shift) - 3, math.ceil(shift) + 4), key=lambda z: abs(z - shift)
    )
    found = []
    for zero in near:
        bounds = _scales_for(v, q, zero)
        if bounds is not None:
            found.append((bounds, zero))
    for (least, most), zero in sorted(found, key=lambda f: f[0][0] - f[0][1]):
        yield _shortest_between(least, most), zero
    yield a, shift


def _scales_for(v: Array, q: Array, zero: int) -> tuple[float, float] | None:
    """Return the least and the greatest a with ``|a * v + zero - q| <= 1/2``."""
    some = np.abs(v) > 0
    ends = np.stack(
        [(q[some] - zero - 0.5) / v[some], (q[some] - zero + 0.5) / v[some]]
    )
    least, most = float(ends.min(axis=0).max()), float(ends.max(axis=0).min())
    return (
        (least, most)
        if least <= most and np.all(np.abs(q[~some] - zero) <= 0.5)
        else None
    )


def _shortest_between(least: float, most: float) -> float:
    """Return the a between two whose scale ``1 / a`` has the fewest digits."""
    middle = (least + most) / 2
    for digits in range(1, 9):
        scale = _digits(1 / middle, digits)
        if scale and least <= 1 / scale <= most:
            return 1 / scale
    return middle
