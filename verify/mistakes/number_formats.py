"""Number formats of ports, as functions that round arrays to them.

Every function returns an array of the dtype that it is given, so that a model may be
evaluated with it in float64 and in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from verify.model.arrays import Array
from verify.model.dtypes import UNIT_ROUNDOFF, rounded

Rounding = Callable[[Array], Array]


@dataclass(frozen=True)
class NumberFormat:
    """Describe a number format, and how numbers get into it.

    Attributes
    ----------
    name : str
        For example ``"float16"`` or ``"ap_fixed<16,6>"``.
    how : str
        ``"rounded to"`` or ``"cut off to"``.
    text : str
        The name with what it means, for explanations.
    round : callable
    roundoff : float
        Greatest error for a number of size 1.
    """

    name: str
    how: str
    text: str
    round: Rounding
    roundoff: float

    @property
    def done(self) -> str:
        """Return what is done to numbers: ``"rounded to float16"``."""
        return f"{self.how} {self.name}"

    @property
    def explained(self) -> str:
        """Return the same with what the format means."""
        return f"{self.how} {self.text}"


def half(name: str) -> NumberFormat:
    """Return float16 or bfloat16."""

    def to(values: Array) -> Array:
        return rounded(values, name).astype(values.dtype, copy=False)

    return NumberFormat(name, "rounded to", name, to, UNIT_ROUNDOFF[name])


def to_tf32(values: Array) -> Array:
    """Round to 10 bits after the point, as TensorFloat-32 does."""
    bits = np.array(values, dtype=np.float32, order="C").view(np.uint32)
    kept = (bits + np.uint32(0x0FFF) + ((bits >> 13) & 1)) & np.uint32(0xFFFFE000)
    found = kept.view(np.float32).reshape(np.shape(values))  # a scalar had an axis
    return found.astype(values.dtype, copy=False)


def fixed(width: int, integer: int, *, cut: bool) -> NumberFormat:
    """Return the format ``ap_fixed<width, integer>`` of HLS, signed.

    ::

        steps of 2^-(width - integer), from -2^(integer - 1) to just below 2^(integer-1)

    Parameters
    ----------
    width, integer : int
        Bits in all, and bits before the point, the sign included.
    cut : bool
        Whether bits are cut off and greater numbers wrap around (``AP_TRN`` and
        ``AP_WRAP``, the defaults), or numbers are rounded and limited (``AP_RND`` and
        ``AP_SAT``).

    Source: AMD, Vitis HLS user guide (UG1399), arbitrary precision fixed-point types.
    """
    step, limit = 2.0 ** (integer - width), 2.0 ** (integer - 1)

    def wide(values: Array) -> Array:  # 16 bits do not hold the number of steps
        return values.astype(np.result_type(values.dtype, np.float32), copy=False)

    def cut_off(values: Array) -> Array:
        steps = np.floor(wide(values) / step) * step
        return ((steps + limit) % (2 * limit) - limit).astype(values.dtype, copy=False)

    def rounded_half_up(values: Array) -> Array:
        steps = np.floor(wide(values) / step + 0.5) * step
        return np.clip(steps, -limit, limit - step).astype(values.dtype, copy=False)

    name = f"ap_fixed<{width},{integer}>"
    return NumberFormat(
        name,
        "cut off to" if cut else "rounded to",
        f"{name}, steps of 2^-{width - integer}",
        cut_off if cut else rounded_half_up,
        step if cut else step / 2,
    )


INT8 = 127
"""Greatest whole number of a symmetric int8 format."""


def to_int8(values: Array, axes: tuple[int, ...] | None = None) -> Array:
    """Round to 255 steps from -max to max of the absolute values.

    Parameters
    ----------
    values : array
    axes : tuple of int, optional
        Axes over which the maximum is taken, by default all.
    """
    scale = _nonzero(np.abs(values).max(axis=axes, keepdims=True) / INT8)
    return (np.rint(values / scale) * scale).astype(values.dtype, copy=False)


def to_int8_asymmetric(values: Array) -> Array:
    """Round to 256 steps from the least to the greatest value, zero among them.

    Source: TensorFlow Lite 8-bit quantization specification.
    """
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = (high - low or 1.0) / 255
    zero = np.clip(np.rint(-128 - low / scale), -128, 127)
    steps = np.clip(np.rint(values / scale) + zero, -128, 127) - zero
    return (steps * scale).astype(values.dtype, copy=False)


def to_int8_pytorch(values: Array) -> Array:
    """Round to 256 steps of ``max / 127.5``, from -128 to 127.

    Source: torch/ao/quantization/observer.py, per_tensor_symmetric for qint8.
    """
    scale = _nonzero(np.abs(values).max() / 127.5)
    steps = np.clip(np.rint(values / scale), -128, 127)
    return (steps * scale).astype(values.dtype, copy=False)


def to_int8_power_of_two(values: Array) -> Array:
    """Round to 256 steps of a power of two, the least that holds the greatest value.

    Source: NNoM, scripts/nnom_utils.py: ``7 - ceil(log2(max|w|))`` bits after the
    point.
    """
    greatest = float(_nonzero(np.abs(values).max()))
    step = 2.0 ** (np.ceil(np.log2(greatest)) - 7)
    steps = np.clip(np.rint(values / step), -128, 127)
    return (steps * step).astype(values.dtype, copy=False)


def _nonzero(scale: Array) -> Array:
    """Return scales with 1 in place of 0, which is that of zeros alone."""
    return np.where(scale == 0, 1.0, scale)


HALVES = (half("float16"), half("bfloat16"))

CUT = (fixed(16, 6, cut=True), fixed(12, 4, cut=True), fixed(8, 3, cut=True))
ROUNDED = (
    *(fixed(16, 6, cut=False), fixed(12, 4, cut=False), fixed(8, 3, cut=False)),
    *(fixed(16, 1, cut=False), fixed(8, 1, cut=False)),
)
"""Fixed point: hls4ml's default and two narrower ones; and the formats Q15 and Q7 of
ARM's libraries, ``<16,1>`` and ``<8,1>``."""
