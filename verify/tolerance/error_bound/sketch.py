"""Bound thousands of outputs at once, by carrying random errors forwards.

A backpropagation for each output gives exactly

    bound = L + STANDARD_DEVIATIONS * S,  L = sum |d| * max_error,
                                          S = sqrt(sum (d * standard_deviation)**2)

and takes too long for images. One pass forwards gives, for every output, a random
number whose spread is that bound. To the result of each operation is added

    max_error * C + STANDARD_DEVIATIONS * standard_deviation * G

with numbers C of Cauchy's distribution and G of the normal one, all independent. To
first order an output changes by the sum of these, each times d. A sum of Cauchy
numbers with factors a is a Cauchy number times ``sum |a|``, and a sum of normal ones is
a normal one times ``sqrt(sum a**2)``. So the change is ``L * C + 10 * S * G``, without
any d being known. Its density is nowhere above ``PEAK / bound``, so that

    P(|change| < t * bound) <= 2 * PEAK * t

whatever L and S are. Of `COPIES` independent changes the one of rank `RANK` is below
``bound / factor`` with a probability of `MAX_CHANCE` at most, if `factor` is what the
binomial distribution says. Then ``factor * that change`` is at least the bound; it is
about 5 times the bound in the median, and some 10 times at most.

Errors that are the same at every step, whose deviation is at least ``sum d *
standard_deviation`` (see the package), are drawn once for all steps in addition.

The random numbers are always the same, and do not depend on the model.

Source: Indyk, Stable distributions, pseudorandom generators, embeddings, and data
stream computation, Journal of the ACM 53 (2006), for sums of absolute values.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Set
from functools import cache
from typing import Any

import numpy as np

from verify.backward.forwards import changed_outputs
from verify.backward.recording import NotRecorded, Operation, Recorded
from verify.backward.recording.tangents import ForwardTape, changes_of
from verify.forward.evaluable import Inputs
from verify.forward.evaluate import States
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.dtypes import SINGLE
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.error_bound.operation_sites import operation_rounding
from verify.tolerance.noise_floor import FLUSH_ERROR

COPIES, RANK = 64, 38
"""Changes of each output, and which of them, counted from the least, is taken."""

MAX_CHANCE = 1e-9
"""Greatest probability that a number is below the bound that it stands for."""

PEAK = 0.43
"""Greatest density of ``a * C + (1 - a) * G``, for any a from 0 to 1, rounded up; it is
that of Voigt's distribution."""

SEED = 20
"""Of the random numbers."""


@cache
def factor(copies: int = COPIES, rank: int = RANK) -> float:
    """Return what the change of that rank among so many is multiplied with."""

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


def sketched_bounds(
    net: Network,
    x: Inputs,
    activation_errors: ActivationErrors,
    standard_deviations: float,
    groups: int = 1,
) -> tuple[list[Array], Array]:
    """Return bounds of all outputs of a model.

    The batches of a stateful model hand on their states, with the errors in them.

    Parameters
    ----------
    net : Network
    x : Inputs
    activation_errors : ActivationErrors
    standard_deviations : float
        How many count.
    groups : int
        In how many passes; more of them take less memory.

    Returns
    -------
    list of (rows, ...)
        Bounds of the outputs.
    (rows,) of bool
        Rows in which float32 may decide otherwise, so that no bound holds.

    Raises
    ------
    NotRecorded
        The model computes something that is not known here.
    """
    parts: list[list[Array]] = []
    near = np.zeros(x.rows, dtype=bool)
    for group in range(groups):
        copies = COPIES * (group + 1) // groups - COPIES * group // groups
        if not copies:
            continue
        size = (net.spec.batch_size or 1) if net.stateful else x.rows
        errors = RandomErrors(
            copies, size, activation_errors, standard_deviations, SEED + group,
            net.row_counts(x.take(slice(0, size))),
        )  # fmt: skip
        tape = ForwardTape(copies=copies, disturb=errors)
        states: States = {}
        batches = []
        for start in range(0, x.rows, size):
            some = slice(start, start + size)
            outputs = changed_outputs(net, x.take(some), tape, states)
            batches.append([spread(y, copies) for y in outputs])
            near[some] |= errors.near  # of the batches before as well
        parts.append([np.concatenate(of, axis=1) for of in zip(*batches, strict=True)])
    found = []
    for changes in zip(*parts, strict=True):
        found.append(chosen_bound(np.concatenate(changes), COPIES, RANK))
    return found, near


def chosen_bound(changes: Array, copies: int, rank: int) -> Array:
    """Return the bounds of an output; NaN where a change is.

    Parameters
    ----------
    changes : (copies, rows, ...)
        Absolute changes, in units of `SINGLE`.
    copies, rank : int
        As `COPIES` and `RANK`.
    """
    chosen = np.partition(changes, rank - 1, axis=0)[rank - 1]
    unknown = np.isnan(changes).any(axis=0)
    bound = factor(copies, rank) * SINGLE * chosen.astype(np.float64) + FLUSH_ERROR
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
        self.activation_errors = activation_errors
        self.standard_deviations = standard_deviations
        self.row_counts = row_counts or {rows}
        self.near = np.zeros(rows, dtype=bool)
        self._random = np.random.Generator(np.random.SFC64(seed))
        self._at_every_step: dict[Hashable, Array] = {}

    def __call__(self, operation: Operation, varies: bool) -> Array | None:
        """Return errors of an operation, (copies, ...); None if it does not round."""
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
        # What does not round returns what was flushed to zero already, if anything.
        errors: Any = None
        if np.any(found.max_error):
            worst = (found.max_error + FLUSH_ERROR) / SINGLE
            errors = self.cauchy((self.copies, *shape)) * worst.astype(np.float32)
        if found.standard_deviation is not None:
            deviation = found.standard_deviation * (self.standard_deviations / SINGLE)
            normal = self.normal((self.copies, *shape))
            if len(shape) > 1 and varies:
                normal = self._add_same(normal, operation)
            normal *= deviation.astype(np.float32)
            errors = normal if errors is None else errors + normal
        return None if errors is None else np.asarray(errors)

    def _counts(self, operation: Operation) -> set[int]:
        return {rows * operation.steps for rows in self.row_counts}

    def cauchy(self, shape: tuple[int, ...]) -> Array:
        """Return numbers of Cauchy's distribution."""
        uniform = self._random.random(shape, dtype=np.float32)
        uniform -= np.float32(0.5)
        uniform *= np.float32(np.pi)
        return np.tan(uniform, out=uniform)

    def normal(self, shape: tuple[int, ...]) -> Array:
        """Return numbers of the normal distribution, with a deviation of 1."""
        return self._random.standard_normal(shape, dtype=np.float32)

    def at_every_step(self, key: Hashable, shape: tuple[int, ...]) -> Array:
        """Return normal numbers that are the same at every step for a key."""
        if key not in self._at_every_step:
            self._at_every_step[key] = self.normal(shape)
        return self._at_every_step[key]

    def _add_same(self, normal: Array, operation: Operation) -> Array:
        """Add what is the same at every step of a row, for each unit."""
        shape = operation.output.shape
        fixed = self.copies, self.rows, 1, shape[-1]
        key = operation.name, operation.place, shape[-1]
        same = (
            self.normal(fixed)
            if operation.place is None
            else self.at_every_step(key, fixed)
        )
        wide = normal.reshape(self.copies, self.rows, -1, shape[-1])
        wide += same
        return wide.reshape(normal.shape)
