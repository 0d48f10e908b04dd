"""Tell in how few digits the numbers of a port were recorded, and allow for that.

A port may compute in float32 and write float16, or text with few digits. What is lost
is known for each number: half a unit of its last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from verify.mistakes.output_formats import find_format
from verify.model.arrays import Array
from verify.model.dtypes import HALF_DTYPES, UNIT_ROUNDOFF, is_float, rounded
from verify.tolerance.partial import MIN_ROUNDED_OUTPUTS, Decimals, half_unit

LOOKED_AT = 4096
"""Numbers of an array that are looked at to find out how they were recorded."""

MAX_DIGITS, FEW_DIGITS = 9, 7
"""Significant digits up to which they are counted, and up to which they are few: 9 give
every number of float32 back."""

HALF_SUBNORMAL = 2.0**-25
"""Half of the least number above 0 in float16."""


def recordings_of(arrays: Sequence[Array]) -> tuple[Recording | None, ...]:
    """Return in how few digits each array of a port was recorded.

    One with too few numbers to tell was recorded as the others were, if it fits.
    """
    found = [Recording.of(array) for array in arrays]
    known = [recording for recording in found if recording is not None]
    if not known:
        return tuple(found)
    all_of = reduce(Recording.with_, known)
    return tuple(
        all_of
        if recording is None
        and is_float(array)
        and array.size < LOOKED_AT
        and np.any(all_of.slack(array))
        and np.unique(array).size < MIN_ROUNDED_OUTPUTS
        else recording
        for recording, array in zip(found, arrays, strict=True)
    )


@dataclass(frozen=True)
class Recording:
    """Say in which digits an array was recorded.

    Numbers of few digits may have come about in several ways, such as 0.25: the widest
    of those that fit is allowed for.

    Attributes
    ----------
    half : str
        ``"float16"`` or ``"bfloat16"`` if all numbers are of that dtype.
    text : bool
        Whether they are numbers of float16 in the fewest digits that give these back,
        so that what is read may be half a unit further away.
    digits, places : int
        Significant digits and decimals of text; 0 if there are no few.
    """

    half: str = ""
    text: bool = False
    digits: int = 0
    places: int = 0

    def __str__(self) -> str:
        if self.half:
            return self.half
        if self.places and self.places <= 3:
            return f"text with {self.places} decimal(s)"
        if self.text:
            return "text with the digits of float16"
        if self.places and self.places <= self.digits:
            return f"text with {self.places} decimals"
        return f"text with {self.digits or self.places} digits"

    @property
    def few(self) -> bool:
        """Return whether so much is lost that a user should know of it."""
        counts = (self.digits, self.places)
        return bool(self.half or self.text) or any(
            0 < count <= FEW_DIGITS for count in counts
        )

    @classmethod
    def of(cls, array: Array) -> Recording | None:
        """Return how the numbers were recorded; None if in all their digits."""
        if not is_float(array):
            return None
        if array.dtype.name in HALF_DTYPES:
            return cls(array.dtype.name)
        some = array.reshape(-1)[:LOOKED_AT]
        if not np.isfinite(some).all():
            return None
        found = find_format(some)
        if found is not None and found.name in HALF_DTYPES:
            return cls(found.name)
        if np.unique(some[some != 0]).size < MIN_ROUNDED_OUTPUTS:
            return None
        whole = bool((some == np.rint(some)).all())
        places = 0 if whole else Decimals.of([some]).places
        text = _is_text_of_half(some)
        digits = _digits(some)
        return cls("", text, digits, places) if text or digits or places else None

    def with_(self, other: Recording) -> Recording:
        """Return the digits of two arrays that one program recorded."""
        return Recording(
            self.half or other.half,
            self.text or other.text,
            max(self.digits, other.digits),
            max(self.places, other.places),
        )

    def slack(self, array: Array) -> Array | float:
        """Return by how much recording may have changed each number; (...) or 0.

        It is 0 where numbers are not recorded so after all.
        """
        values = array.astype(np.float64)
        if not np.isfinite(values).all():
            return 0.0
        lost: Array | float = 0.0
        if self.half:
            same = rounded(values, self.half).astype(np.float64) == values
            lost = _half_unit(values, self.half) if same.all() else 0.0
        if self.text and _is_text_of_half(array):
            lost = np.maximum(lost, 2 * _half_unit(values, "float16"))
        if self.digits and 0 < _digits(array) <= self.digits:
            unit = 10.0 ** (_exponents(values) + 1 - self.digits)
            lost = np.maximum(lost, unit / 2)
        if self.places and self.places in Decimals.of([array]).candidates:
            lost = np.maximum(lost, half_unit(self.places))
        return lost


def _half_unit(values: Array, name: str) -> Array:
    least = HALF_SUBNORMAL if name == "float16" else 0.0
    lost: Array = UNIT_ROUNDOFF[name] * np.abs(values) + least
    return lost


def _is_text_of_half(array: Array) -> bool:
    """Return whether all numbers have the fewest digits of numbers of float16."""
    values = np.unique(array.astype(np.float64))
    with np.errstate(over="ignore"):
        texts = values.astype(np.float16).astype("U32").astype(np.float64)
    error = 2 * UNIT_ROUNDOFF[array.dtype.name] * np.abs(values)
    return bool((np.abs(texts - values) <= error).all())


def _exponents(values: Array) -> Array:
    """Return the power of ten of the first digit of each number; 0 for 0."""
    sizes = np.abs(np.where(values == 0, 1.0, values))
    return np.asarray(np.floor(np.log10(sizes) + 1e-12))


def _digits(array: Array) -> int:
    """Return how many significant digits the numbers have; 0 if more than a few."""
    values = array.astype(np.float64)
    for digits in range(1, MAX_DIGITS + 1):
        scaled = np.abs(values) * 10.0 ** (digits - 1 - _exponents(values))
        slack = 1e-6 + scaled * 2 * UNIT_ROUNDOFF[array.dtype.name]
        if slack.max(initial=0.0) > 0.1:  # the dtype has no more digits
            return 0
        if (np.abs(scaled - np.rint(scaled)) <= slack).all():
            return digits
    return 0
