"""Carry the sizes of errors forwards, until their numbers are drawn.

A `ForwardTape` carries random changes, so every operation that rounds costs as many
random numbers as there are copies. As long as errors only go through operations on
single elements, or are moved, their sizes say as much as the numbers: they are added
and multiplied by slopes, and drawn when a sum mixes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from verify.backward.recording.elementwise import times_slope
from verify.backward.recording.tape import ONE_TO_ONE, Operation
from verify.model.arrays import Array


@dataclass(eq=False)
class SharedNumbers:
    """Hold random numbers that are the same at every step or place of a row.

    Attributes
    ----------
    array : (copies, rows, 1, units)
    """

    array: Array
    _parts: dict[bytes, SharedNumbers] = field(default_factory=dict)

    def of_units(self, units: Array) -> SharedNumbers:
        """Return those of some units: the same object for the same units."""
        if np.array_equal(units, np.arange(self.array.shape[-1])):
            return self
        key = units.tobytes()
        if key not in self._parts:
            self._parts[key] = SharedNumbers(self.array[..., units])
        return self._parts[key]


@dataclass(eq=False)
class Pending:
    """Hold errors of a value whose numbers are not drawn yet.

    Attributes
    ----------
    worst : (...)
        Sum of the greatest errors. The array belongs to this object alone.
    variance : (...), or None
        Of errors of random sign; likewise. Whoever passes these errors on takes it,
        because numbers that are used twice do not count as if they were independent.
        For every use after the first they count in `worst`: ``|d + e| <= |d| + |e|``.
    alike : dict of SharedNumbers to (...)
        Numbers -> deviations. The errors are their products.
    """

    worst: Array
    variance: Array | None = None
    alike: dict[SharedNumbers, Array] = field(default_factory=dict)

    def take(self) -> tuple[Array, Array | None]:
        """Return the greatest errors and the variance, which is used up then."""
        worst, variance = self.worst, self.variance
        if variance is not None:
            self.worst, self.variance = worst + np.sqrt(variance), None
        return worst, variance

    def take_part(self, view: Callable[[Array], Array]) -> tuple[Array, Array | None]:
        """Return what `take` does of those numbers that a function chooses."""
        if self.variance is not None:
            chosen = view(self.variance)
            if not np.shares_memory(chosen, self.variance):
                worst, variance = self.take()
                assert variance is not None
                return view(worst), view(variance)
            there = view(self.worst)
            found = there.copy(), chosen.copy()
            if np.shares_memory(there, self.worst):
                there += np.sqrt(chosen)
            else:
                self.worst = self.worst + np.sqrt(self.variance)
            chosen[...] = 0.0
            return found
        return view(self.worst).copy(), None

    def plus(self, other: Pending) -> Pending:
        """Return these errors and others that are independent of them."""
        variance = self.variance
        if other.variance is not None:
            variance = other.variance if variance is None else variance + other.variance
        alike = dict(self.alike)
        for numbers, deviation in other.alike.items():
            known = alike.get(numbers)
            alike[numbers] = deviation if known is None else known + deviation
        return Pending(self.worst + other.worst, variance, alike)


class PassedOn(NamedTuple):
    """Say which operands' errors are passed on undrawn, and what becomes of them."""

    passed: Sequence[bool]
    found: Pending | None


def pass_on(
    operation: Operation, waiting: Sequence[Pending | None], rows: int
) -> PassedOn:
    """Pass errors on to the result of an operation, where their sizes are enough.

    Parameters
    ----------
    operation : Operation
    waiting : sequence of Pending or None
        The errors of each operand.
    rows : int
        Of the batch.
    """
    none = PassedOn([False] * len(waiting), None)
    if not any(waiting):
        return none
    if operation.slopes is not None:
        with np.errstate(all="ignore"):
            return _through_slopes(operation, waiting)
    if operation.place == ONE_TO_ONE:
        return _through_moves(operation, waiting, rows) or none
    return none


def _through_slopes(
    operation: Operation, waiting: Sequence[Pending | None]
) -> PassedOn:
    assert operation.slopes is not None
    shape = operation.output.shape
    slopes = operation.slopes(*operation.operands, operation.output)
    found: Pending | None = None
    passed = []
    for slope, errors, x in zip(slopes, waiting, operation.operands, strict=True):
        passes = errors is not None and x.shape == shape
        passed.append(passes)
        if errors is None or not passes:
            continue
        worst, variance = errors.take()
        own = Pending(
            times_slope(worst, np.abs(slope, dtype=float)),
            None
            if variance is None
            else times_slope(variance, np.square(slope, dtype=float)),
            {
                numbers: times_slope(deviation, slope)
                for numbers, deviation in errors.alike.items()
            },
        )
        found = own if found is None else found.plus(own)
    return PassedOn(passed, found)


def _through_moves(
    operation: Operation, waiting: Sequence[Pending | None], rows: int
) -> PassedOn | None:
    """Return the errors of a result that uses each number at most once.

    None if it moves numbers to other rows or units that have errors alike.
    """
    function = operation.function
    nothing = [np.zeros(x.shape) for x in operation.operands]
    if np.any(function(*nothing)):  # the numbers of a padding
        return None

    def only(which: int) -> Callable[[Array], Array]:
        """Return the operation as a function of one operand; the others are zeros."""

        def moved(array: Array) -> Array:
            given = list(nothing)
            given[which] = array
            return np.asarray(function(*given))

        return moved

    alone = [
        (errors, only(k)) for k, errors in enumerate(waiting) if errors is not None
    ]
    units = [
        _units(moved, errors.worst.shape, rows) if errors.alike else None
        for errors, moved in alone
    ]
    if any(e.alike and u is None for (e, _), u in zip(alone, units, strict=True)):
        return None
    found: Pending | None = None
    for (errors, moved), sources in zip(alone, units, strict=True):
        worst, variance = errors.take_part(moved)
        alike: dict[SharedNumbers, Array] = {}
        for numbers, deviation in errors.alike.items():
            assert sources is not None
            alike[numbers.of_units(sources)] = moved(deviation)
        own = Pending(worst, variance, alike)
        found = own if found is None else found.plus(own)
    return PassedOn([errors is not None for errors in waiting], found)


def _units(
    moved: Callable[[Array], Array], shape: tuple[int, ...], rows: int
) -> Array | None:
    """Return from which unit of the last axis each unit of a result comes, if from one.

    None if it comes from several, or numbers of a row are moved to another.
    """
    if len(shape) < 2 or shape[0] % rows:
        return None
    units = moved(np.broadcast_to(1.0 + np.arange(shape[-1]), shape))
    by_row = moved(np.broadcast_to(_row_numbers(shape, rows), shape))
    if units.ndim < 2 or units.shape[0] % rows or not units.size:
        return None
    sources = units.reshape(-1, units.shape[-1]).max(axis=0)
    expected = _row_numbers(by_row.shape, rows)
    if np.any((units != sources) & (units != 0)):
        return None
    if np.any((by_row != expected) & (by_row != 0)):
        return None
    return np.maximum(sources.astype(int) - 1, 0)


def _row_numbers(shape: tuple[int, ...], rows: int) -> Array:
    """Return the number of the row, from 1, that the first axis belongs to."""
    each = 1.0 + np.arange(shape[0]) // (shape[0] // rows)
    return each.reshape(-1, *(1,) * (len(shape) - 1))
