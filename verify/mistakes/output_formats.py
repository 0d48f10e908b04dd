"""In which number format were outputs recorded: float16, steps of 2^-10, 8 bits?

A format counts as found only if numbers of float32 would come out in it by chance less
often than once in 2^40 times; `_EVIDENCE` holds these bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from verify.model.arrays import Array
from verify.model.dtypes import UNIT_ROUNDOFF, rounded

_EVIDENCE, _EVIDENCE_AGAINST_HALF = 40.0, 12.0
"""Bits that a format must explain; and those by which steps must explain more than a
16-bit float, whose numbers of one size come in steps, too."""

_FEWEST_VALUES = 4
"""Distinct values from which on a format can be found."""

_MANY_VALUES = 16
"""Distinct values from which on steps of several units of the last decimal are no
chance."""

_MOST_STEPS = 1 << 16
"""Distinct values of a 16-bit format."""

_FINEST_POWER, _MOST_DECIMALS = 20, 6
_SINGLE_BITS, _HALF_BITS = 23, {"float16": 10, "bfloat16": 7}
"""Bits of a number after the leading one."""

Rounding = Callable[[Array], Array]


@dataclass(frozen=True)
class OutputFormat:
    """Describe the numbers that outputs come in.

    Attributes
    ----------
    name : str
        ``"float16"``, ``"bfloat16"``, or for example ``"steps of 2^-10"``.
    step : float
        Distance of neighbours; 0 for the 16-bit floats, where it depends on the size.
    offset : float
        A value that lies on a step.
    """

    name: str
    step: float = 0.0
    offset: float = 0.0

    @property
    def unit(self) -> str:
        """Return what differences are counted in, for a format with a step."""
        word = self.name.removeprefix("steps of ")
        return f"steps of {word}" if word != self.name else f"steps of {self.step:g}"

    @property
    def roundings(self) -> dict[str, Rounding]:
        """Return how a port may round to this format; each keeps the order of values.

        Returns
        -------
        dict
            What was done, such as ``"rounded to float16"`` -> the function that does
            it.
        """
        if not self.step:
            return {f"rounded to {self.name}": self._half}
        return {
            f"rounded to {self.name}": lambda x: self._stepped(x, np.rint),
            f"cut off to {self.name}, downwards": lambda x: self._stepped(x, np.floor),
            f"cut off to {self.name}, towards zero": lambda x: self._stepped(
                x, np.trunc
            ),
        }

    def _half(self, values: Array) -> Array:
        return rounded(values, self.name).astype(np.float64)

    def _stepped(self, values: Array, whole: Rounding) -> Array:
        return self.offset + self.step * whole((values - self.offset) / self.step)


def find_format(values: Array) -> OutputFormat | None:
    """Return the coarsest number format that all values are in, if there is one.

    Parameters
    ----------
    values : array of floats, finite
        Whole numbers are in steps of 1.
    """
    if not np.isfinite(values.astype(np.float64)).all():
        return None
    distinct = np.unique(values.astype(np.float64))
    if len(distinct) < _FEWEST_VALUES:
        return None
    power = _binary_steps(distinct)
    if power is not None:
        name = f"steps of 2^-{power}" if power else "whole numbers"
        return OutputFormat(name, 2.0**-power)
    places = _decimals(distinct)
    even = _even_steps(distinct)
    if places:
        step = 10.0**-places
        if even and even.step > 1.5 * step and len(distinct) >= _MANY_VALUES:
            return even
        return OutputFormat(f"{places} decimals", step)
    for name, bits in reversed(_HALF_BITS.items()):
        fits = np.array_equal(rounded(distinct, name).astype(np.float64), distinct)
        nonzero = np.count_nonzero(distinct)
        if fits and nonzero * (_SINGLE_BITS - bits) >= _EVIDENCE:
            return OutputFormat(name)
    return even


def _sizes(values: Array) -> Array:
    """Return the exponents of values that are not zero: 0 for 1 to 2."""
    return np.frexp(values[values != 0])[1] - 1


def _binary_steps(values: Array) -> int | None:
    """Return the least k for which all values are multiples of 2^-k, if that says much.

    A number of n bits is one by chance as often as the bits below 2^-k are all zero.
    """
    for power in range(_FINEST_POWER + 1):
        scaled = values * 2.0**power
        if np.array_equal(scaled, np.rint(scaled)):
            break
    else:
        return None
    sizes = _sizes(values)

    def evidence(bits: int) -> float:
        return float(np.maximum(bits - sizes - power, 0).sum())

    if evidence(_SINGLE_BITS) < _EVIDENCE:
        return None
    for name, bits in _HALF_BITS.items():
        half = np.array_equal(rounded(values, name).astype(np.float64), values)
        if half and evidence(bits) < _EVIDENCE_AGAINST_HALF:
            return None
    return power


def _decimals(values: Array) -> int:
    """Return to how many decimals values were rounded, or 0."""
    error = UNIT_ROUNDOFF["float32"] * np.abs(values)
    for places in range(1, _MOST_DECIMALS + 1):
        step = 10.0**-places
        if np.all(np.abs(values - step * np.rint(values / step)) <= 2 * error):
            chance = np.minimum(4 * error[values != 0] / step, 1.0)
            bits = float(-np.log2(np.maximum(chance, 1e-30)).sum())
            return places if bits >= _EVIDENCE else 0
    return 0


def _even_steps(values: Array) -> OutputFormat | None:
    """Return the even steps that sorted values are in, as after int8 quantisation."""
    count = len(values)
    error = 2 * UNIT_ROUNDOFF["float32"] * float(np.abs(values).max())
    above = values - values[0]
    if count > _MOST_STEPS:
        return None
    narrowest = float(np.diff(values).min())
    for divisor in (1, 2, 3):
        step = narrowest / divisor
        for _ in range(3):  # the more steps are counted rightly, the better it gets
            numbers = np.rint(above / step)
            step = float(above @ numbers / (numbers @ numbers))
        if step < 32 * error or numbers[-1] >= _MOST_STEPS:
            return None
        off = float(np.abs(above - step * numbers).max())
        if off <= 2 * error and (count - 2) * np.log2(step / (4 * error)) >= _EVIDENCE:
            return OutputFormat(f"steps of {step:.3g}", step, float(values[0]))
    return None
