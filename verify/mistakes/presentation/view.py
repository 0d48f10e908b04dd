"""What a model's outputs would be if they were presented otherwise, and does it fit?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from verify.mistakes.presentation.number_formats import NumberFormat
from verify.model.arrays import Array

MIN_BITS = 40.0
"""A presentation is told from chance by so many bits at least: the numbers that differ
from each other, times the digits to which each of them fits, less what was free to
choose. The chance that numbers of another origin fit is about ``2**-bits``."""

SCREENED = 4096
"""Numbers that are looked at before all of them."""


class Part(NamedTuple):
    """Describe one thing in which a presentation differs.

    Attributes
    ----------
    name : str
        Short and stable.
    says, remedy : str
        What is presented otherwise, and how to have it as the model has it.
    """

    name: str
    says: str
    remedy: str


@dataclass(frozen=True, eq=False)
class View:
    """Hold an output of the model as it would be if it were presented otherwise.

    Attributes
    ----------
    values : (batch, ...)
        In float64.
    tolerance : (batch, ...)
        How far rounding may move each number; infinite where a number decides nothing.
    parts : tuple of Part
        What was done to the output of the model; empty for the output itself.
    term : str
        What the values are, as a formula names it.
    """

    values: Array
    tolerance: Array
    parts: tuple[Part, ...] = ()
    term: str = "numpy"

    def then(self, part: Part, values: Array, tolerance: Array, term: str = "") -> View:
        """Return what one more part makes of this."""
        return View(values, tolerance, (*self.parts, part), term or self.term)

    def said(self, *parts: Part) -> View:
        """Return the same values with more parts."""
        return replace(self, parts=(*self.parts, *parts))


class Found(NamedTuple):
    """Hold a view that fits, and the number format in which the port gave it."""

    view: View
    number_format: NumberFormat

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return what differs, the number format included; empty if nothing does."""
        form = self.number_format
        if not form.name:
            return self.view.parts
        says = form.says
        if not self.view.parts:
            says = f"the outputs are those of the model, {says}"
        return (
            *self.view.parts,
            Part(
                form.name, says, "return the outputs in float32, with all their digits"
            ),
        )


@dataclass(frozen=True, eq=False)
class Given:
    """Hold an output of a port, and the number formats that it may have.

    Attributes
    ----------
    values : (batch, ...)
        In float64.
    formats : tuple of NumberFormat
        The finest first.
    """

    values: Array
    formats: tuple[NumberFormat, ...]

    @cached_property
    def width(self) -> Array:
        """Return how far the coarsest format may have moved each number."""
        return np.max([form.width for form in self.formats], axis=0)

    def fit(self, view: View) -> Found | None:
        """Return a view, with the finest format in which every number fits."""
        few = slice(0, max(1, SCREENED // max(self.values[:1].size, 1)))
        for form in self.formats:
            if form.take(few).holds(
                view.values[few], self.values[few], view.tolerance[few]
            ) and form.holds(view.values, self.values, view.tolerance):
                return Found(view, form)
        return None

    def decided(
        self, view: View, *, free: int = 0, arrangements: float = 0.0
    ) -> Found | None:
        """Return a view that fits and is told from chance; parameters of `bits`."""
        found = self.fit(view)
        if found is None:
            return None
        if bits(found, free, arrangements) < MIN_BITS:
            return None
        return found


def bits(found: Found, free: int = 0, arrangements: float = 0.0) -> float:
    """Return how surely numbers that fit are told from others, in bits.

    Numbers that the model's own rounding does not tell apart count once.

    Parameters
    ----------
    found : Found
        Numbers that fit.
    free : int
        How many numbers were fitted.
    arrangements : float
        Binary logarithm of the number of arrangements among which one was chosen.
    """
    values, tolerance = found.view.values, found.view.tolerance
    width = tolerance + found.number_format.width
    use = np.isfinite(values) & np.isfinite(width)
    v = values[use]
    if not v.size:
        return 0.0
    spread, wide = float(np.ptp(v)), max(float(np.median(width[use])), 1e-300)
    if spread <= 8 * wide:
        return 0.0
    own = max(float(np.median(tolerance[use])), 1e-300)
    different = len(np.unique(np.floor((v - v.min()) / (4 * own))))
    if different < free + 2:
        return 0.0
    return (different - free) * math.log2(spread / (2 * wide)) - arrangements
