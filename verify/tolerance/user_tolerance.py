"""Read and apply a tolerance that the user gives for the outputs of a port."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from verify.errors import DataError, printable
from verify.model.arrays import Array
from verify.tolerance.noise_floor import Tolerance

GRAMMAR = (
    "a number above 0, such as 1e-3, a percentage of the greatest output of a unit, "
    "such as 1%, or a share of agreeing classes, such as classes:99%"
)
"""What a tolerance may be, for messages."""

NUMBER = r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"
"""A number as a tolerance holds it: neither sign nor space, NaN or infinity."""

NO_LIMIT = 1e300
"""Share of the outputs' scale up to which a user's own tolerance decides: the user has
said that it does."""

SHOWN_ROWS = 5
"""Rows of another class that a report names."""


@dataclass(frozen=True)
class UserTolerance:
    """Hold how far the outputs of a port may be from the model's by the user's word.

    Attributes
    ----------
    kind : str
        ``absolute``: in units of the outputs. ``relative``: as a share of the greatest
        absolute output of each unit, among the rows that are compared at a time.
        ``classes``: the least share of rows whose class agrees.
    value : float
        A share is between 0 and 1.
    """

    kind: Literal["absolute", "relative", "classes"]
    value: float

    @classmethod
    def read(cls, given: str | float) -> UserTolerance:
        """Read a tolerance: ``1e-3``, ``1%`` or ``classes:99%``.

        Parameters
        ----------
        given : str or float
            A number is absolute.

        Raises
        ------
        DataError
            It is none of these.
        """
        text = given if isinstance(given, str) else f"{given!r}"
        kind: Literal["absolute", "relative", "classes"]
        prefix, colon, amount = text.rpartition(":")
        share = amount.endswith("%")
        kind = "classes" if colon else "relative" if share else "absolute"
        digits = amount.removesuffix("%")
        fits = re.fullmatch(NUMBER, digits, re.IGNORECASE | re.ASCII) is not None
        value = float(digits) / (100 if share else 1) if fits else 0.0
        right = fits and value > 0 and math.isfinite(value)
        if kind == "classes":
            right = right and prefix == "classes" and share
        if share:
            right = right and (value <= 1 if kind == "classes" else value < 1)
        if not right or isinstance(given, bool):
            raise DataError(
                f"tolerance: expected {GRAMMAR}. Received: {printable(text, 60)}"
            )
        return cls(kind, value)

    def __str__(self) -> str:
        percent = f"{100 * self.value:.6g}%"
        match self.kind:
            case "classes":
                return f"{percent} of the classes"
            case "relative":
                return f"{percent} of the greatest output of a unit"
            case _:
                return f"{self.value:.6g} absolute"

    def widened(self, tolerance: Tolerance) -> Tolerance:
        """Return a tolerance of an output that is this one at least.

        A share of classes widens nothing. What rounding alone may do stays allowed
        where it is known, even if the user asked for less.
        """
        if self.kind == "classes":
            return tolerance
        own = np.where(tolerance.decisive(tolerance.atol), tolerance.atol, 0.0)
        given = self.value * (tolerance.scale if self.kind == "relative" else 1.0)
        return replace(tolerance, atol=np.maximum(own, given), limit=NO_LIMIT)


@dataclass(frozen=True)
class ClassAgreement:
    """Hold how many rows of a port have the class that the model gives them.

    Attributes
    ----------
    total, agreeing : int
        Numbers of decisions: one for each row, or for each time step of each row.
    rows : tuple of int
        The first rows with another class, a few at most.
    """

    total: int
    agreeing: int
    rows: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, ours: Array, theirs: Array, *, binary: bool, start: int = 0
    ) -> ClassAgreement:
        """Compare the classes of one output.

        Parameters
        ----------
        ours, theirs : (batch, ..., classes)
            Scores; NaN agrees with nothing. Of another shape, no row agrees.
        binary : bool
            Whether each number is the probability of a class of its own, which is
            chosen above 0.5; otherwise the greatest of the last axis is chosen.
        start : int
            Number of the first row.
        """
        if ours.shape != theirs.shape:
            return cls(
                len(ours), 0, tuple(range(start, start + len(ours)))[:SHOWN_ROWS]
            )
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        if binary:
            agrees = ((a > 0.5) == (b > 0.5)).all(axis=-1)
        else:
            agrees = a.argmax(axis=-1) == b.argmax(axis=-1)
        agrees &= np.isfinite(b).all(axis=-1)  # (batch, ...)
        rows = np.flatnonzero(~agrees.reshape(len(agrees), -1).all(axis=1))
        return cls(
            agrees.size,
            int(agrees.sum()),
            tuple(int(row) + start for row in rows[:SHOWN_ROWS]),
        )

    def merge(self, later: ClassAgreement) -> ClassAgreement:
        """Return the agreement of the rows of both."""
        return ClassAgreement(
            self.total + later.total,
            self.agreeing + later.agreeing,
            (*self.rows, *later.rows)[:SHOWN_ROWS],
        )

    @property
    def share(self) -> float:
        """Return the share of decisions that agree."""
        return self.agreeing / self.total if self.total else 0.0

    def __str__(self) -> str:
        said = f"{self.share:.2%} of {self.total:,} classes agree"
        if self.agreeing == self.total:
            return said
        first = ", ".join(map(str, self.rows))
        return f"{said}; the first rows that do not: {first}"


def least_agreement(found: Sequence[ClassAgreement]) -> ClassAgreement:
    """Return the agreement of the output whose classes agree least."""
    return min(found, key=lambda agreement: agreement.share)
