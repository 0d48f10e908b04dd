"""How far a port's outputs may lie from what they stand for, by their number format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verify.mistakes.output_formats import find_format
from verify.model.arrays import Array
from verify.model.dtypes import HALF_DTYPES, SINGLE, is_float

MANTISSA_BITS = {"float16": 11, "bfloat16": 8}
"""Bits of a number, the leading one included."""

SMALLEST_HALF = 2.0**-24
"""The least distance of two float16 numbers, near zero."""


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
    found = find_format(values)
    if given.dtype.name in HALF_DTYPES:
        yield from _halves(values, given.dtype.name)
    elif not is_float(given):
        yield from _steps(values, 1.0, "whole numbers")
    elif found is not None and not found.step:
        yield from _halves(values, found.name)
    elif found is not None:
        even = found.name.startswith("steps of") and "^" not in found.name
        text = found.name
        if even:
            many = round(float(np.ptp(values)) / found.step) + 1
            text = f"{many} steps of {found.step:.6g}, as integers scaled back are"
        yield from _steps(values, found.step, text)


def float32_of(values: Array) -> NumberFormat:
    """Return the format of float32 numbers, in which a port computes at least."""
    return nearest("", "", SINGLE * np.abs(values))


def nearest(name: str, says: str, half: Array) -> NumberFormat:
    """Return a format that rounds to the nearest number: at most `half` away."""
    return NumberFormat(name, says, half, half)


def _halves(values: Array, name: str) -> Iterator[NumberFormat]:
    """Yield the ways to round to a float of 16 bits."""
    gap = np.ldexp(1.0, np.frexp(values)[1] - MANTISSA_BITS[name])
    if name == "float16":
        gap = np.maximum(gap, SMALLEST_HALF)
    yield nearest(name, f"rounded to {name}", gap / 2)
    yield _cut(name, f"cut off to {name}", values, gap)


def _steps(values: Array, step: float, text: str) -> Iterator[NumberFormat]:
    """Yield the ways to round to multiples of a step."""
    gap = np.full(values.shape, step)
    yield nearest(text, f"rounded to {text}", gap / 2)
    yield NumberFormat(text, f"cut off to {text}, downwards", 0 * gap, gap)
    yield _cut(text, f"cut off to {text}, towards zero", values, gap)


def _cut(name: str, says: str, values: Array, gap: Array) -> NumberFormat:
    """Return a format that rounds towards zero."""
    below = np.where(values <= 0, gap, 0.0)
    return NumberFormat(name, says, below, np.where(values >= 0, gap, 0.0))
