"""The number formats in which a port may have given its outputs, as its numbers show.

Numbers that were stored in float16, as whole numbers or to a few decimals are known
from the numbers themselves, whatever type their file has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from verify.model.arrays import Array
from verify.model.dtypes import SINGLE, is_float

MIN_LEVELS = 6
"""A format is known from this many different numbers, at least."""

MAX_BINARY_PLACES, MAX_DECIMAL_PLACES = 20, 9
"""Places after the point that are tried as the step between numbers."""

MAX_SKIPPED_STEPS = 8
"""The nearest two of some numbers may be this many steps apart, where the step is
neither a power of 2 nor of 10."""

COARSE = 256.0
"""A step is told from rounding to float32 if it is this many times as large."""


@dataclass(frozen=True, eq=False)
class NumberFormat:
    """Describe a number format by how far a number may lie from what it stands for.

    Attributes
    ----------
    name : str
        Short and stable; empty for float32, which needs no mention.
    says : str
        What was done to the outputs: "rounded to float16".
    below, above : (batch, ...), or a number
        How far the right value may lie below each number given, and above it.
    """

    name: str
    says: str
    below: Array
    above: Array

    @property
    def width(self) -> Array:
        """Return half of the range in which the right value may lie."""
        half: Array = (self.below + self.above) / 2
        return np.where(np.isfinite(half), half, np.inf)

    def take(self, rows: Any) -> NumberFormat:
        """Return the same for some rows."""
        return replace(self, below=self.below[rows], above=self.above[rows])

    def holds(self, values: Array, given: Array, tolerance: Array) -> bool:
        """Say whether numbers in this format stand for `values`.

        Parameters
        ----------
        values, given, tolerance : (batch, ...)
            Right values, numbers given, and how far rounding before this may have moved
            the right values.
        """
        with np.errstate(invalid="ignore"):
            more = np.where(values == given, 0.0, values - given)
        enough = np.isinf(tolerance) & ~np.isnan(given)
        return bool(
            np.all(
                enough
                | ((more <= self.above + tolerance) & (-more <= self.below + tolerance))
            )
        )


def number_formats(given: Array) -> Iterator[NumberFormat]:
    """Yield the formats that all numbers given fit, the finest first.

    Parameters
    ----------
    given : (batch, ...)
        Outputs of a port, as they were given.
    """
    values = given.astype(np.float64)
    if is_float(given):
        yield float32_of(values)
    if not np.isfinite(values).all():
        return
    levels = np.unique(values)
    if is_float(given):
        yield from _short_floats(given, values, levels)
    step = step_of(levels, values.size if is_float(given) else 0)
    if step is not None:
        yield from _steps(values, float(step), _step_text(step))


def float32_of(values: Array) -> NumberFormat:
    """Return the format of float32 numbers, in which a port computes at least."""
    return nearest("", "", SINGLE * np.abs(values))


def nearest(name: str, says: str, half: Array) -> NumberFormat:
    """Return a format that rounds to the nearest number: at most `half` away."""
    return NumberFormat(name, says, half, half)


def _short_floats(given: Array, values: Array, levels: Array) -> Iterator[NumberFormat]:
    """Yield float16 and bfloat16, if all numbers can be stored in them."""
    enough = np.count_nonzero(levels) >= MIN_LEVELS
    name = given.dtype.name
    with np.errstate(over="ignore", invalid="ignore"):
        half = values.astype(np.float16)
        if name == "float16" or (enough and np.array_equal(half, values)):
            gap = np.spacing(np.abs(half)).astype(np.float64)
            yield nearest("float16", "rounded to float16", gap / 2)
    single = given.astype(np.float32)
    # the upper half of a float32 number is a bfloat16 number
    short = not (single.view(np.uint32) & 0xFFFF).any() and (single == values).all()
    if name == "bfloat16" or (enough and short):
        _, exponent = np.frexp(values)
        gap = np.ldexp(1.0, exponent - 8)
        yield nearest("bfloat16", "rounded to bfloat16", gap / 2)
        yield _cut("bfloat16", "cut off to bfloat16", values, gap)


def _steps(values: Array, step: float, text: str) -> Iterator[NumberFormat]:
    """Yield the ways to round to multiples of a step."""
    gap = np.full(values.shape, step)
    name = "whole numbers" if step == 1 else "steps"
    yield nearest(name, f"rounded to {text}", gap / 2)
    yield NumberFormat(name, f"rounded down to {text}", 0 * gap, gap)
    yield _cut(name, f"cut off to {text}", values, gap)


def _cut(name: str, says: str, values: Array, gap: Array) -> NumberFormat:
    """Return a format that rounds towards zero."""
    below = np.where(values <= 0, gap, 0.0)
    return NumberFormat(name, says, below, np.where(values >= 0, gap, 0.0))


def step_of(levels: Array, count: int) -> Fraction | float | None:
    """Return the step of which all numbers are multiples; None if there is none.

    Parameters
    ----------
    levels : (n,)
        The different numbers, ascending.
    count : int
        How many numbers there are, if they are floats; 0 for whole numbers.

    Returns
    -------
    Fraction or float
        A fraction if the step is a power of 2 or of 10, or 1.
    """
    if not count:
        return Fraction(1)
    if len(levels) < MIN_LEVELS:
        return None
    error = SINGLE * float(np.max(np.abs(levels)))
    exact = [Fraction(1, 2**k) for k in range(MAX_BINARY_PLACES + 1)]
    exact += [Fraction(1, 10**k) for k in range(1, MAX_DECIMAL_PLACES + 1)]
    for step in sorted(exact, reverse=True):
        if float(step) < COARSE * error:
            break
        if _multiples(levels, float(step), error):
            return step
    gaps = np.diff(levels)
    least = float(gaps[gaps > 2 * error].min(initial=np.inf))
    for parts in range(1, MAX_SKIPPED_STEPS + 1):
        size = least / parts
        if not COARSE * error < size < np.inf:
            break
        refined = _refined(levels, size, error)
        if refined is not None:
            return refined
    return None


def _multiples(levels: Array, step: float, error: float) -> bool:
    return bool(np.all(np.abs(levels - step * np.rint(levels / step)) <= 2 * error))


def _refined(levels: Array, size: float, error: float) -> float | None:
    """Return a step near `size` of which all numbers are multiples, or None.

    The numbers near zero tell it coarsely, the greater ones ever more finely.
    """
    for level in levels[np.argsort(np.abs(levels))]:
        times = np.rint(level / size)
        if abs(level - times * size) > 0.25 * size:
            return None
        if times and abs(times) * size > 4 * error:
            size = float(level / times)
    return size if _multiples(levels, size, error) else None


def _step_text(step: Fraction | float) -> str:
    """Write a step for a sentence."""
    if not isinstance(step, Fraction):
        return f"steps of {step:.6g} (numbers of few bits, scaled back?)"
    if step == 1:
        return "whole numbers"
    binary = step.denominator.bit_length() - 1
    if step.denominator == 2**binary:
        return f"{binary} binary places (steps of 2^-{binary})"
    return f"{len(str(step.denominator)) - 1} decimal(s)"
