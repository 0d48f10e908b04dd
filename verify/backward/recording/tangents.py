"""Carry changes of values forwards through whatever a network computes.

A `Tape` is read backwards, once for each output. A `ForwardTape` keeps nothing: beside
each value it carries some *changes* of it, and an operation makes changes of its result
from those of its operands, to first order. All outputs have theirs after one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.backward.recording.pending import Pending, pass_on
from verify.backward.recording.summing import extreme_shares
from verify.backward.recording.tape import (
    Operation,
    Pullback,
    Recorded,
    Tape,
    constant_error,
    single_of,
    value_of,
)
from verify.model.arrays import Array

SMALL_CHANGE = 2.0**-20
"""By how much, against its greatest number, an operand is changed to differentiate an
operation for which nothing better is known."""


class Changing(Recorded):
    """Stand for an array, with changes of it.

    Attributes
    ----------
    changes : (copies, ...) of float32, or None
        None if nothing has changed it.
    pending : Pending, or None
        Errors that are not drawn yet.
    """

    __slots__ = ("changes", "pending")

    def __init__(
        self,
        tape: Tape,
        value: Array,
        single: Any,
        place: int | None,
        changes: Any,
        pending: Pending | None = None,
    ) -> None:
        super().__init__(tape, value, single, place=place)
        self.changes, self.pending = changes, pending


def changes_of(x: Any) -> Any:
    """Return the changes of a value, all of them drawn; None if it has none."""
    if not isinstance(x, Changing):
        return None
    if x.pending is not None:
        assert isinstance(x.tape, ForwardTape)
        drawn = x.tape.draw(x.pending, x.shape)
        x.changes = drawn if x.changes is None else x.changes + drawn
        x.pending = None
    return x.changes


def _nothing_drawn(pending: Pending, shape: tuple[int, ...]) -> Array:
    return np.zeros((1, *shape), np.float32)


@dataclass(eq=False)
class ForwardTape(Tape):
    """Evaluate operations, and carry changes through them.

    Attributes
    ----------
    copies : int
        How many changes each value has.
    rows : int
        Of the batch.
    disturb : callable
        Operation, whether inputs have an effect on it -> errors to add to its result,
        or None.
    draw : callable
        `Pending` errors of an array, its shape -> changes, (copies, ...).
    """

    single: bool = True
    copies: int = 1
    rows: int = 1
    disturb: Callable[[Operation, bool], Pending | None] = lambda operation, varies: (
        None
    )
    draw: Callable[[Pending, tuple[int, ...]], Array] = _nothing_drawn

    def input(self, x: Any) -> Any:
        """Return a value that counts as one that inputs have an effect on."""
        if not isinstance(x, Recorded) or x.place is not None:
            return x
        return Changing(self, x.value, x.single, 0, changes_of(x))

    def looked_up(self, x: Any) -> Any:
        """Return rows of a table, which every row has others of, as an input."""
        return x if np.any(constant_error(x)) else self.input(x)

    def record(
        self,
        operands: Sequence[Any],
        function: Callable[..., Any],
        pullback: Callable[[Array], Pullback],
        *,
        name: str = "",
        slopes: Callable[..., Sequence[Any]] | None = None,
        terms: int = 0,
        place: Hashable = None,
        by_row: bool = False,
        summed: tuple[int | None, ...] = (),
    ) -> Any:
        """Compute an operation and the changes of its result; see `Tape.record`."""
        exact = [value_of(x) for x in operands]
        output = function(*exact)
        singles = tuple(single_of(x) for x in operands)
        single = function(*singles)
        # what weights are made of has changes of its own
        errors = tuple(
            0.0 if isinstance(x, Recorded) else constant_error(x) for x in operands
        )
        operation = Operation(
            name, tuple(map(np.asarray, exact)), output, function, slopes, terms,
            tuple(map(np.asarray, singles)), errors, place, self.steps, by_row,
            summed,
        )  # fmt: skip
        varies = any(getattr(x, "place", None) is not None for x in operands)
        waiting = [getattr(x, "pending", None) for x in operands]
        passed, pending = pass_on(operation, waiting, self.rows)
        given = [
            getattr(x, "changes", None) if passes else changes_of(x)
            for x, passes in zip(operands, passed, strict=True)
        ]
        changes = None
        if any(one is not None for one in given):
            changes = self._carried(operation, given, pullback)
        if name and not self._silent:
            own = self.disturb(operation, varies)
            if own is not None:
                pending = own if pending is None else pending.plus(own)
        place_of_result = 0 if varies else None
        return Changing(self, output, single, place_of_result, changes, pending)

    def decide(self, function: Callable[..., Any], *operands: Any) -> Any:
        """Return a result that is no float, and show what it was decided by."""
        exact = tuple(np.asarray(value_of(x)) for x in operands)
        if any(getattr(x, "place", None) is not None for x in operands):
            singles = tuple(np.asarray(single_of(x)) for x in operands)
            self.disturb(
                Operation(
                    "decision", exact, exact[0], function,
                    singles=singles, steps=self.steps,
                ),
                True,
            )  # fmt: skip
        return function(*exact)

    def _carried(
        self,
        operation: Operation,
        given: Sequence[Array | None],
        pullback: Callable[[Array], Pullback],
    ) -> Array:
        """Return the changes of a result that those of the operands make."""
        with np.errstate(all="ignore"):
            name, output = operation.name, operation.output
            found: Array | None
            if operation.slopes is not None:
                found = _by_slopes(operation, given)
            elif name == "products":
                found = _of_products(operation, given)
            elif name in ("max", "min"):
                found = _of_extreme(operation, given[0])
            elif name == "activation:softmax":  # whose Jacobian is symmetric
                assert given[0] is not None
                (found,) = pullback(output)(given[0])
            elif name in ("", "sum", "mean", "cumsum"):
                found = _of_linear(operation, given)
            else:
                found = _by_differences(operation, given)
        return np.asarray(found, dtype=np.float32)


def _by_slopes(operation: Operation, given: Sequence[Array | None]) -> Array:
    """Return the changes of an operation on single elements."""
    assert operation.slopes is not None
    shape = operation.output.shape
    slopes = operation.slopes(*operation.operands, operation.output)
    found: Any = None
    for slope, changes, x in zip(slopes, given, operation.operands, strict=True):
        if changes is None:
            continue
        wide = changes.reshape(len(changes), *(1,) * (len(shape) - x.ndim), *x.shape)
        part = _times(wide, slope)
        found = part if found is None else found + part
    return np.broadcast_to(found, (len(found), *shape))


def _times(changes: Array, slope: Any) -> Array:
    """Return changes times a slope, 0 where either is: see `times_slope`."""
    if np.isscalar(slope) and slope == 1:
        return changes
    part = changes * np.asarray(slope, dtype=np.float32)
    if np.isnan(part.sum()):
        part = np.where((changes == 0) | np.equal(slope, 0), np.float32(0), part)
    return part


def _of_products(operation: Operation, given: Sequence[Array | None]) -> Array:
    """Return the changes of a sum of products, which is linear in each operand."""
    found: Any = None
    for k, changes in enumerate(given):
        if changes is None:
            continue
        other = operation.operands[1 - k].astype(np.float32)
        if k == 0 and operation.function is np.matmul and other.ndim <= 2:
            part = np.matmul(changes, other)
        elif k == 0 and operation.by_row:
            rows = changes.reshape(-1, *changes.shape[2:])  # of all copies
            part = operation.function(rows, other)
            part = part.reshape(len(changes), -1, *part.shape[1:])
        else:
            pair = [other, other]
            parts = []
            for change in changes:
                pair[k] = change
                parts.append(operation.function(*pair))
            part = np.stack(parts)
        found = part if found is None else found + part
    return np.asarray(found)


def _of_extreme(operation: Operation, changes: Array | None) -> Array:
    """Return the changes of a maximum or a minimum: those of the number that it is."""
    assert changes is not None
    (x,), axes = operation.operands, operation.place[1]  # type: ignore[index]
    function = np.max if operation.name == "max" else np.min
    shares = extreme_shares(x, axes, function, all_of_them=True)
    over = tuple(1 + k for k in axes)
    found = (changes * shares.astype(np.float32)).sum(axis=over)
    return found.reshape(len(changes), *operation.output.shape)


def _of_linear(operation: Operation, given: Sequence[Array | None]) -> Array:
    """Return the changes of an operation that adds, moves or chooses numbers."""
    nothing = [np.zeros(x.shape, np.float32) for x in operation.operands]
    found = []
    for copy in range(_copies(given)):
        moved = [
            none if changes is None else changes[copy]
            for none, changes in zip(nothing, given, strict=True)
        ]
        found.append(operation.function(*moved))
    constant = operation.function(*nothing)  # such as the numbers of a padding
    result = np.stack(found)
    return result if not np.any(constant) else np.where(constant, 0.0, result)


def _by_differences(operation: Operation, given: Sequence[Array | None]) -> Array:
    """Return the changes of any operation, by changing its operands a little."""
    found = []
    for copy in range(_copies(given)):
        sizes = [np.abs(c[copy]).max(initial=0.0) for c in given if c is not None]
        reach = [
            np.abs(x).max(initial=0.0)
            for x, c in zip(operation.operands, given, strict=True)
            if c is not None
        ]
        little = SMALL_CHANGE * max(reach) / max(*sizes, np.finfo(np.float32).tiny)
        little = little or SMALL_CHANGE
        moved = [
            x if changes is None else x + little * changes[copy]
            for x, changes in zip(operation.operands, given, strict=True)
        ]
        apart = operation.function(*moved) - operation.output
        found.append(apart / little)
    return np.stack(found)


def _copies(given: Sequence[Array | None]) -> int:
    return next(len(changes) for changes in given if changes is not None)
