"""Draw random errors, and make bounds of what they change; `sketch` says why."""

from __future__ import annotations

import math
from collections.abc import Hashable, Set
from functools import cache
from typing import Any

import numpy as np

from verify.backward.recording import NotRecorded, Operation, Recorded
from verify.backward.recording.pending import Pending, SharedNumbers
from verify.backward.recording.tangents import changes_of
from verify.model.arrays import Array
from verify.model.dtypes import SINGLE
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.error_bound.operation_sites import operation_rounding
from verify.tolerance.noise_floor import FLUSH_ERROR

MAX_CHANCE = 1e-9
"""Greatest probability that a number is below the bound that it stands for."""

PEAK = 0.43
"""Greatest density of ``a * C + (1 - a) * G``, for any a from 0 to 1, rounded up; it is
that of Voigt's distribution."""

SEED = 20
"""Of the random numbers."""


@cache
def rank_and_factor(copies: int) -> tuple[int, float]:
    """Return which of the changes counts, from the least, and what it is multiplied by.

    The rank is that for which the product is least, for a Cauchy number in the median.
    """
    found = []
    for rank in range(copies // 2, copies):
        factor = _factor(copies, rank)
        found.append((factor * math.tan(math.pi / 2 * rank / (copies + 1)), rank))
    _, rank = min(found)
    return rank, _factor(copies, rank)


def _factor(copies: int, rank: int) -> float:
    """Return what makes a bound of the change of that rank; see `MAX_CHANCE`."""

    def chance(share: float) -> float:
        """Return how likely at least `rank` of the changes are among that share."""
        return sum(
            math.comb(copies, k) * share**k * (1 - share) ** (copies - k)
            for k in range(rank, copies + 1)
        )

    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) <= MAX_CHANCE else (low, middle)
    return 2 * PEAK / low


def chosen_bound(changes: Array) -> Array:
    """Return the bounds of an output; NaN where a change is.

    Parameters
    ----------
    changes : (copies, rows, ...)
        Absolute changes, in units of `SINGLE`.
    """
    rank, factor = rank_and_factor(len(changes))
    chosen = np.partition(changes, rank - 1, axis=0)[rank - 1]
    unknown = np.isnan(changes).any(axis=0)
    bound = factor * SINGLE * chosen.astype(np.float64) + FLUSH_ERROR
    return np.where(unknown, np.nan, bound)


def spread(output: Any, copies: int) -> Array:
    """Return the absolute changes of an output; (copies, rows, ...)."""
    changes = changes_of(output)
    if changes is not None:
        return np.abs(changes)
    shape = output.shape if isinstance(output, Recorded) else np.shape(output)
    return np.zeros((copies, *shape), np.float32)


class RandomErrors:
    """Draw the errors of one operation after the other, in units of `SINGLE`.

    Parameters
    ----------
    copies, rows : int
    activation_errors : ActivationErrors
    standard_deviations : float
    seed : int
    row_counts : set of int, optional
        `Network.row_counts`: how many rows there may be for all samples together.

    Attributes
    ----------
    near : (rows,) of bool
        Rows in which float32 may decide otherwise.
    """

    def __init__(
        self,
        copies: int,
        rows: int,
        activation_errors: ActivationErrors,
        standard_deviations: float,
        seed: int,
        row_counts: Set[int] | None = None,
    ) -> None:
        self.copies, self.rows = copies, rows
        self.row_counts = row_counts or {rows}
        self.activation_errors = activation_errors
        self.standard_deviations = standard_deviations
        self.near = np.zeros(rows, dtype=bool)
        self._random = np.random.Generator(np.random.SFC64(seed))
        self._at_every_step: dict[Hashable, Array] = {}
        self._shared: dict[Hashable, SharedNumbers] = {}

    def __call__(self, operation: Operation, varies: bool) -> Pending | None:
        """Return the errors of an operation; None if it does not round."""
        found = operation_rounding(operation, self.activation_errors)
        if found.near.any():
            by_row = found.near.size in self._counts(operation)
            self.near |= (
                found.near.reshape(self.rows, -1).any(axis=1) if by_row else True
            )
        shape = operation.output.shape
        if operation.name == "decision":
            return None
        if varies and not (shape and shape[0] in self._counts(operation)):
            raise NotRecorded(f"{operation.name} across rows")
        rounds = bool(np.any(found.max_error))
        exact = found.standard_deviation is None and found.alike is None
        if not rounds and exact:
            return None
        # What does not round returns what was flushed to zero already, if anything.
        worst = (found.max_error + FLUSH_ERROR) / SINGLE if rounds else 0.0
        pending = Pending(np.array(np.broadcast_to(worst, shape)))
        if found.alike is not None:
            self._add_alike(pending, found.alike / SINGLE, varies)
        if found.standard_deviation is not None:
            many = self.standard_deviations / SINGLE
            deviation = found.standard_deviation * many
            pending.variance = np.square(np.broadcast_to(deviation, shape))
            if len(shape) > 1 and varies:
                numbers = self._alike(operation)
                pending.alike[numbers] = np.broadcast_to(deviation, shape)
        return pending

    def _counts(self, operation: Operation) -> set[int]:
        return {rows * operation.steps for rows in self.row_counts}

    def _add_alike(self, pending: Pending, alike: Array, varies: bool) -> None:
        """Add the errors of one constant, which are the same at all places."""
        shape = pending.worst.shape
        wide = np.broadcast_to(alike, shape)
        if not varies or len(shape) < 2:
            pending.worst += np.abs(wide)
            return
        numbers = np.broadcast_to(
            self.cauchy((self.copies, self.rows, 1, 1)),
            (self.copies, self.rows, 1, shape[-1]),
        )
        pending.alike[SharedNumbers(numbers)] = wide

    def draw(self, pending: Pending, shape: tuple[int, ...]) -> Array:
        """Return random errors of these sizes; (copies, *shape)."""
        errors = self.numbers(pending.worst, pending.variance)
        for numbers, deviation in pending.alike.items():
            # (copies, rows, places, units)
            wide = errors.reshape(self.copies, self.rows, -1, shape[-1])
            own = deviation.astype(np.float32).reshape(wide.shape[1:])
            wide += own * numbers.array
        return errors

    def numbers(self, worst: Array, variance: Array | None) -> Array:
        """Return random errors of these sizes, independent of each other."""
        errors = self.cauchy((self.copies, *worst.shape))
        errors *= worst.astype(np.float32)
        if variance is not None:
            normal = self.normal((self.copies, *worst.shape))
            normal *= np.sqrt(variance).astype(np.float32)
            errors += normal
        return errors

    def cauchy(self, shape: tuple[int, ...]) -> Array:
        """Return numbers of Cauchy's distribution."""
        uniform = self._random.random(shape, dtype=np.float32)
        uniform -= np.float32(0.5)
        uniform *= np.float32(np.pi)
        below = np.cos(uniform)  # NumPy's float32 tan takes twice as long
        np.sin(uniform, out=uniform)
        uniform /= below
        return uniform

    def normal(self, shape: tuple[int, ...]) -> Array:
        """Return numbers of the normal distribution, with a deviation of 1."""
        return self._random.standard_normal(shape, dtype=np.float32)

    def at_every_step(self, key: Hashable, shape: tuple[int, ...]) -> Array:
        """Return normal numbers that are the same at every step for a key."""
        if key not in self._at_every_step:
            self._at_every_step[key] = self.normal(shape)
        return self._at_every_step[key]

    def _alike(self, operation: Operation) -> SharedNumbers:
        """Return numbers that are the same at every step of a row, for each unit."""
        units = operation.output.shape[-1]
        shape = self.copies, self.rows, 1, units
        if operation.place is None:
            return SharedNumbers(self.normal(shape))
        key = operation.name, operation.place, units
        if key not in self._shared:
            self._shared[key] = SharedNumbers(self.normal(shape))
        return self._shared[key]
