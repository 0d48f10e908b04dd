"""Compare the values of some rows in float32 with those in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from verify.forward.trace import Trace
from verify.model.arrays import Array, by_sample
from verify.model.dtypes import is_float
from verify.model.graph import flatten

MAX_LINEAR_DEVIATION = 1e-3
"""An analysis to first order holds while errors are small. A row gets no bound if NumPy
in float32 deviates from float64 by more than this relative error in any value."""

Deviations = Mapping[str, Mapping[str, Array]]
"""Call of a layer -> `LayerRounding.deviations`."""


def abs_errors(single: Any, double: Any) -> Array:
    """Return how far outputs in float32 are from float64; (rows, elements)."""
    pairs = zip(flatten(single), flatten(double), strict=True)
    with np.errstate(invalid="ignore"):
        return np.concatenate(
            [np.abs(a - b.astype(np.float64)).reshape(len(b), -1) for a, b in pairs],
            axis=1,
        )


class _RowDifferences:
    """Compare arrays in float32 with those in float64, each of them once.

    What one layer returns the next is given, so the same array comes several times.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Array, Array]] = {}

    def __call__(self, single: Array, double: Array) -> tuple[Array, Array]:
        """Return each row's greatest difference and its greatest number; (rows,)."""
        key = id(double)
        if double.dtype.kind == "U":  # texts are the same in any precision
            return np.zeros(len(double)), np.zeros(len(double))
        if key not in self._known:
            exact = double.astype(np.float64)
            error = np.abs(single - exact).reshape(len(exact), -1)
            size = np.abs(exact).reshape(len(exact), -1)
            self._known[key] = error.max(axis=1), size.max(axis=1)
        return self._known[key]


def deviations_of(
    single: Trace, double: Trace, max_deviation: float
) -> tuple[Array, Deviations]:
    """Compare the traces of some rows in float32 and in float64.

    Parameters
    ----------
    single, double : Trace
    max_deviation : float
        As `MAX_LINEAR_DEVIATION`.

    Returns
    -------
    (rows,) of bool
        Rows that deviate too far, in any value, for an analysis to first order.
    dict of str to dict of str to (rows,)
        Call of a layer -> `LayerRounding.deviations`, for each row that it is given.
    """
    differences = _RowDifferences()
    samples = len(flatten(double.output)[0])
    found, diverged = {}, np.zeros(samples, dtype=bool)
    arrays = single.arrays()
    with np.errstate(invalid="ignore"):
        for name, right in double.arrays().items():
            if is_float(right) and right.size:
                error, size = differences(arrays[name], right)
                far = ~(error <= max_deviation * size)
                diverged = diverged | by_sample(far, samples).any(axis=1)
        for key, call in double.items():
            pairs = {
                "x": [
                    (a, b)
                    for a, b in zip(
                        flatten(single[key].input), flatten(call.input), strict=True
                    )
                    if isinstance(b, np.ndarray)
                ],
                "h": [(single[key].values[name], v) for name, v in call.values.items()],
            }
            found[key] = {
                source: np.max(
                    [
                        np.zeros(len(both[0][1]) if both else samples),
                        *(
                            differences(a, b)[0]
                            for a, b in both
                            if b.size and b.dtype.kind != "U"
                        ),
                    ],
                    axis=0,
                )
                for source, both in pairs.items()
            }
    return diverged, found
