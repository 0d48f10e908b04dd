"""Approximations of tanh and sigmoid that ports compute in place of the functions.

Each function takes and returns an array of one dtype, element by element.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from verify.forward.activations import hard_tanh, sigmoid, softsign, tanh
from verify.model.arrays import Array

Function = Callable[[Array], Array]


def from_tanh(function: Function) -> Function:
    """Return ``sigmoid(x) = (1 + tanh(x / 2)) / 2`` of an approximate tanh."""
    return lambda x: 0.5 + 0.5 * function(0.5 * x)


def pade(x: Array) -> Array:
    """Compute ``x (27 + x^2) / (27 + 9 x^2)``, the Pade approximant of order 3/2."""
    return x * (27 + x * x) / (27 + 9 * x * x)


def clipped_pade(x: Array) -> Array:
    """Compute `pade` of x limited to -3 to 3, where it is -1 and 1.

    Source: musicdsp.org, "Rational tanh approximation".
    """
    return pade(np.clip(x, -3, 3))


def rational(x: Array) -> Array:
    """Compute the rational approximation of NeuralAmpModelerCore's ``fast_tanh``.

    Source: A. Vaneev, kvraudio.com; NeuralAmpModelerCore, NAM/activations.h.
    """
    a, y = np.abs(x), x * x
    above = x * (
        2.45550750702956
        + 2.45550750702956 * a
        + (0.893229853513558 + 0.821226666969744 * a) * y
    )
    below = 2.44506634652299 + (2.44506634652299 + y) * np.abs(
        x + 0.814642734961073 * x * a
    )
    return above / below


POLYNOMIALS = {
    3: (1.0, 0.183428244899),
    5: (1.0, 0.165326984031, 0.00970240200826),
    7: (1.0, 0.166769941467, 0.00818199927912, 0.000243153287690),
}
"""Order -> coefficients of x, x^3 and so on. Source: chowdsp math_approx, tanh, which
RTNeural's users take in its place."""


def by_square_root(x: Array, order: int) -> Array:
    """Compute ``p / sqrt(p^2 + 1)`` with p an odd polynomial of x."""
    y, factor = x * x, np.zeros_like(x)
    for coefficient in reversed(POLYNOMIALS[order]):
        factor = factor * y + coefficient
    p = x * factor
    return p / np.sqrt(p * p + 1)


def by_opus(x: Array) -> Array:
    """Compute the rational approximation of Opus, limited to -1 to 1.

    Source: opus/dnn/vec.h, ``tanh_approx``.
    """
    y = x * x
    above = (0.60863042 * y + 96.39235687) * y + 952.52801514
    below = (11.88600922 * y + 413.36801147) * y + 952.72399902
    return np.clip(x * above / below, -1, 1)


def by_exponent(x: Array) -> Array:
    """Compute exp by writing into the exponent of a double.

    Source: Schraudolph, A Fast, Compact Approximation of the Exponential Function
    (1999), with the constants 1512775 and 60801.
    """
    limited = np.clip(x.astype(np.float64), -80, 80)  # finite in float32 as well
    upper = np.trunc(1512775 * limited + (1072693248 - 60801)).astype(np.int64)
    return (upper << 32).view(np.float64).astype(x.dtype)


def _exponent_sigmoid(x: Array) -> Array:
    return 1 / (1 + by_exponent(-x))


def _exponent_tanh(x: Array) -> Array:
    e = by_exponent(2 * x)
    return (e - 1) / (e + 1)


def table(
    function: Function, reach: float, entries: int, digits: int | None
) -> Function:
    """Return a function that is read from a table, without interpolation.

    ::

        entry k = function(2 * reach * (k - entries / 2) / entries)

    Parameters
    ----------
    function : callable
    reach : float
        The table goes from -reach to just below reach.
    entries : int
    digits : int, optional
        Bits after the point that are kept of each entry; by default all.

    Source: hls4ml/templates/vivado/nnet_utils/nnet_activation.h: 1024 entries of
    ``ap_fixed<18,8>``, tanh up to 4, sigmoid up to 8; the index is cut off towards
    zero before half the table is added.
    """
    values = function(2 * reach * (np.arange(entries) - entries / 2) / entries)
    if digits is not None:
        values = np.floor(values * 2.0**digits) / 2.0**digits

    def read(x: Array) -> Array:
        limited = np.clip(x, -2 * reach, 2 * reach)
        index = np.trunc(limited * entries / (2 * reach)).astype(np.intp) + entries // 2
        return values[np.clip(index, 0, entries - 1)].astype(x.dtype, copy=False)

    return read


def by_q7(function: Function) -> Function:
    """Return a function read from the 256 entries of ARM's tables for 8 bits.

    The input has steps of 1/16 between -8 and 8, the entries have 7 bits after the
    point.

    Source: CMSIS-NN, arm_nntables.c, ``sigmoidTable_q7`` and ``tanhTable_q7``; NNoM,
    inc/nnom_local.h.
    """

    def read(x: Array) -> Array:
        steps = np.clip(np.floor(x * 16), -128, 127) / 16
        return np.minimum(np.rint(function(steps) * 128), 127) / 128

    return read


def interpolated(function: Function, reach: float, entries: int) -> Function:
    """Return a function that is interpolated between entries from -reach to reach."""
    places = np.linspace(-reach, reach, entries)
    values = function(places)
    return lambda x: np.interp(x, places, values).astype(x.dtype, copy=False)


def nearest(function: Function, reach: float, entries: int) -> Function:
    """Return the nearest of the entries from -reach to reach, both ends included."""
    places = np.linspace(-reach, reach, entries)
    values = function(places)

    def read(x: Array) -> Array:
        share = (np.clip(x, -reach, reach) + reach) / (2 * reach)
        index = np.rint(share * (entries - 1)).astype(np.intp)
        return values[index].astype(x.dtype, copy=False)

    return read


@dataclass(frozen=True)
class Approximation:
    """Describe what stands in the place of tanh and of sigmoid.

    Attributes
    ----------
    name, text : str
        In names and in explanations: both follow "by".
    tanh, sigmoid : callable
    roundoff : float
        As for `Mistake`: how far neighbouring entries of a table are apart.
    alone : bool
        Whether ports do this to one of the two functions only, too.
    """

    name: str
    text: str
    tanh: Function
    sigmoid: Function
    roundoff: float = 0.0
    alone: bool = False


def _of_tanh(
    name: str, text: str, function: Function, *, alone: bool = False
) -> Approximation:
    return Approximation(name, text, function, from_tanh(function), alone=alone)


HLS4ML_ENTRIES, HLS4ML_DIGITS = 1024, 10

HLS4ML = Approximation(
    "hls4ml's tables",
    "tables of 1024 entries in steps of 2^-10, as hls4ml does",
    table(tanh, 4, HLS4ML_ENTRIES, HLS4ML_DIGITS),
    table(sigmoid, 8, HLS4ML_ENTRIES, HLS4ML_DIGITS),
    roundoff=2.0**-7,
    alone=True,
)

APPROXIMATIONS: tuple[Approximation, ...] = (
    HLS4ML,
    Approximation(
        "tables of 1024 entries",
        "tables of 1024 entries, tanh from -4 to 4 and sigmoid from -8 to 8, without "
        "interpolation",
        table(tanh, 4, HLS4ML_ENTRIES, None),
        table(sigmoid, 8, HLS4ML_ENTRIES, None),
        roundoff=2.0**-7,
    ),
    Approximation(
        "CMSIS-NN's 8-bit tables",
        "tables of 256 entries from -8 to 8 in steps of 2^-7, as CMSIS-NN and NNoM do",
        by_q7(tanh),
        by_q7(sigmoid),
        roundoff=2.0**-4,
    ),
    Approximation(
        "the nearest of 1024 entries",
        "the nearest of 1024 entries from -8 to 8",
        nearest(tanh, 8, 1024),
        nearest(sigmoid, 8, 1024),
        roundoff=2.0**-6,
    ),
    Approximation(
        "interpolation between 256 entries",
        "linear interpolation between 256 entries from -8 to 8",
        interpolated(tanh, 8, 256),
        interpolated(sigmoid, 8, 256),
    ),
    Approximation(
        "interpolation between 256 entries from -10.7 to 10.7",
        "linear interpolation between 256 entries of sigmoid from -10.7 to 10.7, tanh "
        "as 2 * sigmoid(2 * x) - 1, as in TensorFlow Lite's tables for 16 bits",
        lambda x: 2 * interpolated(sigmoid, 10.7, 256)(2 * x) - 1,
        interpolated(sigmoid, 10.7, 256),
    ),
    _of_tanh(
        "x (27 + x^2) / (27 + 9 x^2), clipped",
        "x (27 + x^2) / (27 + 9 x^2) with x limited to -3 to 3",
        clipped_pade,
        alone=True,
    ),
    _of_tanh(
        "x (27 + x^2) / (27 + 9 x^2)",
        "x (27 + x^2) / (27 + 9 x^2), which exceeds 1 beyond 3",
        pade,
    ),
    _of_tanh(
        "NeuralAmpModeler's fast_tanh",
        "a rational function of x and |x|, as NeuralAmpModeler's fast_tanh does",
        rational,
    ),
    *(
        _of_tanh(
            f"math_approx::tanh<{order}>",
            f"p / sqrt(1 + p^2) with p of order {order}, as math_approx::tanh<{order}> "
            "does",
            partial(by_square_root, order=order),
        )
        for order in POLYNOMIALS
    ),
    _of_tanh(
        "Opus's tanh_approx",
        "a rational function limited to -1 to 1, as Opus does",
        by_opus,
    ),
    _of_tanh(
        "x / (1 + |x|)",
        "x / (1 + |x|), the softsign, also called fast sigmoid",
        softsign,
        alone=True,
    ),
    _of_tanh("clipping", "clip(x, -1, 1)", hard_tanh, alone=True),
    Approximation(
        "Schraudolph's exp",
        "Schraudolph's exp, which writes into the exponent of a double",
        _exponent_tanh,
        _exponent_sigmoid,
    ),
)
"""What ports compute, the likeliest first."""
