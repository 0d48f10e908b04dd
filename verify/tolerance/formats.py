"""Describe the number formats in which a port may compute, and round to them.

======================  ============================================================
format                  rounding
======================  ============================================================
``float16``             to nearest: by 2^-11 of a number, and by 2^-25 below 2^-14
``bfloat16``            to nearest: by 2^-8 of a number
``fixed<W,I>``          W bits, I of them for the sign and the whole part, as the
                        ``ap_fixed<W,I>`` of hls4ml: cut off, by up to a whole step
                        of 2^-(W - I); a port that rounds to nearest errs by half
``int8``                weights of two axes or more and what passes between layers,
                        the states h included: to nearest, by half a step of
                        ``greatest / 127``, where ``greatest`` is that of the array;
                        gates, sums and the states c: by a step of
                        ``greatest / 32767``; biases: not at all
======================  ============================================================

In all formats but int8 every weight and every result of an operation is rounded, the
terms of a sum included. In int8 sums are exact, as in an accumulator of 32 bits. The
greatest values are those of the model itself on the inputs compared; an interpreter
knows them from its calibration.

Sources: IEEE 754 for the first two; the AMD Vitis HLS user guide (UG1399) on
``ap_fixed``; the TensorFlow Lite 8-bit quantization specification.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from verify.errors import DataError, did_you_mean, printable
from verify.model.arrays import Array
from verify.model.dtypes import HALF_DTYPES, UNIT_ROUNDOFF, dtype_of, is_float

GRAMMAR = (
    "float16, bfloat16, int8, or fixed<W,I> with W bits of which I are for the sign "
    "and the whole part, 1 <= I <= W <= 64, such as fixed<16,6>"
)
"""What a precision may be, for messages."""

MAX_BITS = 64
BYTE, WORD = 127, 32767
"""Greatest whole numbers of int8 and int16."""


OTHERWISE_FIXED = r"(?:ap_)?fixed[^\w-]*(\d{1,2})[^\w-]+(\d{1,2})[^\w-]*"
"""What ``fixed<W,I>`` is mistaken for: with other brackets, signs or spaces."""


@dataclass(frozen=True)
class NumberFormat:
    """Hold how a number format rounds.

    Attributes
    ----------
    name : str
        As the user wrote it.
    unit : float
        Greatest relative error of one rounding; 0 where errors do not depend on the
        size of a number.
    step : float
        Greatest absolute error of one rounding, in addition; 0 for int8, where it
        depends on the array.
    greatest : float
        The greatest number, in magnitude; infinite for int8, which is scaled.
    truncates : bool
        Whether numbers are cut off, so that all errors have one sign.
    """

    name: str
    unit: float
    step: float
    greatest: float
    truncates: bool = False

    @classmethod
    def read(cls, name: str) -> NumberFormat:
        """Read the name of a format.

        Raises
        ------
        DataError
            There is no such format.
        """
        if name in HALF_DTYPES:
            # half of the least subnormal, which NumPy's finfo lacks for bfloat16
            least, greatest = {
                "float16": (2.0**-25, 65504.0),
                "bfloat16": (2.0**-134, (2 - 2.0**-7) * 2.0**127),
            }[name]
            return cls(name, UNIT_ROUNDOFF[name], least, greatest)
        if name == "int8":
            return cls(name, 0.0, 0.0, float("inf"))
        found = re.fullmatch(r"fixed<(\d{1,2}),(\d{1,2})>", f"{name}", re.ASCII)
        bits, whole = map(int, found.groups()) if found else (0, 0)
        if not 1 <= whole <= bits <= MAX_BITS:
            near = did_you_mean(f"{name}", (*HALF_DTYPES, "int8"))
            parts = re.fullmatch(OTHERWISE_FIXED, f"{name}", re.ASCII)
            if parts and 1 <= int(parts[2]) <= int(parts[1]) <= MAX_BITS:
                near = f"Did you mean fixed<{parts[1]},{parts[2]}>? "
            raise DataError(
                f"precision: expected {GRAMMAR}. {near}Received: {printable(name, 60)}"
            )
        step = 2.0 ** (whole - bits)
        return cls(name, 0.0, step, 2.0 ** (whole - 1), truncates=True)

    def __str__(self) -> str:
        return self.name

    @property
    def scheme(self) -> str:
        """Return in a few words what is taken to be rounded, for reports."""
        if self.scaled:
            return (
                "weights and what passes between layers and steps in 8 bits with one "
                "scale an array, gates and c in 16 bits, sums exact"
            )
        if self.truncates:
            bits = round(np.log2(self.step))
            return f"weights, results and terms of sums cut off to steps of 2^{bits}"
        return "weights, results and partial sums rounded to nearest"

    @property
    def scaled(self) -> bool:
        """Return whether each array has a step of its own: int8."""
        return not self.unit and not self.step

    def error(self, values: Array, step: float = 0.0) -> Array:
        """Return the greatest error of rounding numbers; shaped like them.

        Parameters
        ----------
        values : (...)
        step : float
            The greatest error in int8.
        """
        return self.unit * np.abs(values) + (self.step + step)

    def rounded(self, values: Array, step: float = 0.0) -> Array:
        """Round numbers to the format, in float64.

        Numbers beyond the greatest one are kept: see `beyond_range`.

        Parameters
        ----------
        values : (...)
        step : float
            The greatest error in int8: half the distance of its numbers.
        """
        values = values.astype(np.float64, copy=False)
        if self.unit:
            with np.errstate(over="ignore"):
                narrow = values.astype(dtype_of(self.name)).astype(np.float64)
            return np.where(np.isfinite(narrow), narrow, values)
        if self.truncates:
            return np.floor(values / self.step) * self.step
        return np.rint(values / (2 * step)) * (2 * step) if step else values

    def weight_step(self, name: str, weight: Array) -> float:
        """Return the greatest error of a weight in int8: 0 for one that is exact."""
        if not self.scaled or weight.ndim < 2 or "bias" in name:
            return 0.0
        return float(np.max(np.abs(weight), initial=0.0)) / BYTE / 2

    def weight_error(self, name: str, weight: Array) -> Array:
        """Return the greatest error of rounding the numbers of a weight.

        It is 0 for whole numbers, which are quantised already, and for those that the
        format holds.
        """
        if not is_float(weight):
            return np.zeros(weight.shape)
        step = self.weight_step(name, weight)
        weight = weight.astype(np.float64)
        if self.scaled:
            return np.full(weight.shape, step)
        exact = self.rounded(weight, step) == weight
        return np.where(exact, 0.0, self.error(weight, step))

    def beyond_range(self, values: Array) -> float:
        """Return the greatest magnitude that the format cannot hold; 0 if it holds all.

        The greatest negative number of a fixed-point format is in range.
        """
        if not values.size or not is_float(values):
            return 0.0
        most = float(np.max(np.abs(values)))
        low, high = float(np.min(values)), float(np.max(values))
        least = 0.0 if not self.truncates else self.step
        fits = low >= -self.greatest and high <= self.greatest - least
        return 0.0 if fits else most
