"""Carry random errors through the loop over time of a recurrent layer.

What `sketch` does operation by operation takes milliseconds for each step of a loop.
Here the equations are known, so a block of steps is prepared at once: the states in
float64 and in float32, where a step rounds (`sites`), and how the states depend on
those before. Within a step the errors of a gate reach the states of its own unit alone,
so that one random number stands for all errors that reach a state in a step. To first
order, with ``d`` for changes, for an LSTM::

    d_z = d_x @ kernel + d_h_before @ recurrent_kernel
    d_c = f * d_c_before + to_c * d_z + errors that reach c
    d_h = o * activation'(c) * d_c + to_h * d_z + errors that reach h

The products of a ConvLSTM are convolutions, and its values have axes of space before
that of the units, which are not named below.

The changes after the last step of a window are those that the next window begins with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verify.backward.cells import Values
from verify.backward.recording import NotRecorded
from verify.backward.recording.tangents import Changing, ForwardTape, changes_of
from verify.backward.recording.tape import single_of, value_of
from verify.console.progress import COUNTED, loop_over
from verify.forward.evaluate import cast_to
from verify.forward.layers import REGISTRY
from verify.forward.recurrence import MaskRule, Scan, TimeLoop
from verify.model.arrays import Array, by_sample
from verify.model.dtypes import SINGLE
from verify.model.spec import LayerSpec
from verify.tolerance.error_bound.conv_cells import LOOP_CELLS
from verify.tolerance.error_bound.loop_cells import (
    add_blocks,
    adding_up,
    same_at_every_step,
)
from verify.tolerance.error_bound.random_errors import RandomErrors
from verify.tolerance.error_bound.sites import (
    KNOWN_ACTIVATIONS,
    LayerRounding,
    sites_of,
)

BLOCK_NUMBERS = 2**20
"""Changes of pre-activations that are prepared at once, and steps at most, so that they
fit a core's cache."""

MAX_BLOCK_STEPS = 256


class Deviations:
    """Collect how far float32 is from float64 in the values of a model, row by row."""

    def __init__(self) -> None:
        self._errors: dict[str, Array] = {}
        self._sizes: dict[str, Array] = {}

    def add(self, name: str, single: Array, double: Array) -> Array:
        """Compare an array, (rows, ...); return the greatest difference so far.

        Returns
        -------
        (rows,)
        """
        exact = double.astype(np.float64, copy=False)
        rows = len(exact)
        with np.errstate(invalid="ignore"):
            error = np.abs(single - exact).reshape(rows, -1).max(axis=1, initial=0.0)
        size = np.abs(exact).reshape(rows, -1).max(axis=1, initial=0.0)
        if name in self._errors:
            error = np.maximum(error, self._errors[name])
            size = np.maximum(size, self._sizes[name])
        self._errors[name], self._sizes[name] = error, size
        return error

    def exceeding(self, share: float, rows: int) -> Array:
        """Return the rows in which a value deviates by more than that share of it."""
        found = np.zeros(rows, dtype=bool)
        for name, error in self._errors.items():
            far = ~(error <= share * self._sizes[name])
            found |= by_sample(far, rows).any(axis=1)
        return found


@dataclass(eq=False)
class _Held:
    """Hold what a loop hands on from block to block.

    Attributes
    ----------
    double, single : tuple of (rows, units)
        The states in both precisions.
    changes : list of (copies, rows, units)
        Changes of the states.
    seen : (rows,) of bool
        Rows with a step that counts, so that a masked step repeats an output.
    """

    double: tuple[Array, ...]
    single: tuple[Array, ...]
    changes: list[Array]
    seen: Array


class ChangingLoops:
    """Offer the loops over time of a model, for `verify.backward.forwards`.

    Parameters
    ----------
    tape : ForwardTape
    errors : RandomErrors
    continues : bool
        Whether a call of a layer goes on where the call before ended: the next window
        of time.

    Attributes
    ----------
    deviations : Deviations
    """

    def __init__(
        self, tape: ForwardTape, errors: RandomErrors, *, continues: bool
    ) -> None:
        self.tape, self.errors, self.continues = tape, errors, continues
        self.deviations = Deviations()
        self._loops: dict[str, _ChangingLoop] = {}
        self._calls: Counter[str] = Counter()

    def begin(self) -> None:
        """Begin the next window: the calls of layers are counted anew."""
        self._calls.clear()

    def loop(self, layer: LayerSpec, path: str) -> TimeLoop | None:
        """Return the loop of a layer; None if its operations are to be recorded."""
        self._calls[path] += 1
        key = f"{path}:{self._calls[path]}"
        if key not in self._loops:
            weights = {name: value_of(w) for name, w in layer.weights.items()}
            plain = replace(layer, weights=weights)
            if not has_loop(plain) or self.tape.steps > 1:
                return None
            self._loops[key] = _ChangingLoop(self, plain, key)
        return self._loops[key]


def has_loop(layer: LayerSpec) -> bool:
    """Return whether the loop over time of a layer is written out here."""
    if layer.class_name not in LOOP_CELLS:
        return False
    functions = {
        layer.options[k]
        for k in ("activation", "recurrent_activation")
        if k in layer.options
    }
    return (
        functions <= KNOWN_ACTIVATIONS
        and layer.options.get("data_format") != "channels_first"
        and not layer.overrides
        and not MaskRule.of(layer).misaligned
    )


class _ChangingLoop:
    """Run one layer; see `verify.forward.recurrence.TimeLoop`."""

    def __init__(self, owner: ChangingLoops, layer: LayerSpec, key: str) -> None:
        self.owner, self.key = owner, key
        self.double = cast_to(layer, "float64")
        kind = REGISTRY[layer.class_name]
        self._loops = [
            kind.time_loop(cast_to(layer, dtype))  # type: ignore[attr-defined]
            for dtype in ("float64", "float32")
        ]
        self.cell = LOOP_CELLS[layer.class_name](self.double)
        self.rule = MaskRule.of(layer)
        self.held: _Held | None = None

    def __call__(
        self,
        x: Any,
        mask: Array | None,
        states: tuple[Any, ...],
        names: tuple[str, ...],
        *,
        return_sequences: bool,
        go_backwards: bool,
        **options: Any,
    ) -> Scan:
        owner = self.owner
        double, single, changes = value_of(x), single_of(x), changes_of(x)
        if go_backwards:
            double, single = double[:, ::-1], single[:, ::-1]
            changes = None if changes is None else changes[:, :, ::-1]
            mask = None if mask is None else mask[:, ::-1]
        rows, time = double.shape[:2]
        if mask is not None and mask.ndim > 2:
            raise NotRecorded("a mask of each place")
        copies = owner.errors.copies
        held = self.held if owner.continues else None
        held = held or self._from(states, rows)
        shape = held.double[0].shape[1:]  # (units,), after the axes of space if any
        size = copies * held.double[0].size // self.cell.units * self.cell.width
        steps = min(max(BLOCK_NUMBERS // size, 1), MAX_BLOCK_STEPS, time)
        length = time if return_sequences else 1
        out = [np.empty((rows, length, *shape), dtype) for dtype in (float, np.float32)]
        moved = np.empty((copies, rows, length, *shape), np.float32)
        at_step = loop_over(time)
        done = 0
        for start in range(0, time, steps):
            if start - done >= COUNTED:
                done = start
                at_step(start)
            some = slice(start, min(start + steps, time))
            keep = None if mask is None else mask[:, some]
            shown = self._block(
                double[:, some],
                single[:, some],
                None if changes is None else changes[:, :, some],
                keep,
                names,
                held,
            )
            places: list[Any] = [*out, moved]
            for place, array, front in zip(places, shown, (1, 1, 2), strict=True):
                before: Any = (slice(None),) * front
                if return_sequences:
                    place[*before, some] = array
                else:
                    place[*before, 0] = array[*before, -1]
        self.held = held
        if not return_sequences:
            out = [array[:, 0] for array in out]
            moved = moved[:, :, 0]
        after: Any = tuple(
            Changing(owner.tape, a, b, 0, c)
            for a, b, c in zip(held.double, held.single, held.changes, strict=True)
        )
        result: Any = Changing(owner.tape, out[0], out[1], 0, moved)
        return Scan(result, after, {})

    def _from(self, states: Sequence[Any], rows: int) -> _Held:
        """Return what the first block begins with."""
        copies = self.owner.errors.copies
        changes = [
            np.zeros((copies, *value_of(state).shape), np.float32)
            if changes_of(state) is None
            else changes_of(state)
            for state in states
        ]
        return _Held(
            tuple(np.asarray(value_of(s), np.float64) for s in states),
            tuple(np.asarray(single_of(s), np.float32) for s in states),
            changes,
            np.zeros(rows, dtype=bool),
        )

    def _block(
        self,
        double: Array,
        single: Array,
        changes: Array | None,
        keep: Array | None,
        names: tuple[str, ...],
        held: _Held,
    ) -> tuple[Array, Array, Array]:
        """Run some steps, in the order in which they are processed.

        Parameters
        ----------
        double, single : (rows, steps, features)
        changes : (copies, rows, steps, features), or None
        keep : (rows, steps) of bool, or None
            False at masked steps.
        names : tuple of str
        held : _Held
            Is replaced by what the next block begins with.

        Returns
        -------
        (rows, steps, units), (rows, steps, units), (copies, rows, steps, units)
            The outputs in float64 and in float32, and their changes.
        """
        owner, (rows, steps) = self.owner, double.shape[:2]
        traced = []
        for run, x, states in zip(
            self._loops, (double, single), (held.double, held.single), strict=True
        ):
            traced.append(
                run(
                    x, keep, states, names, return_sequences=True, go_backwards=False,
                    mask_rule=self.rule, record=True,
                ).values
            )  # fmt: skip
        if keep is not None:
            double = _select(keep, double)
            single = _select(keep, single)
        far = {
            "x": owner.deviations.add(f"{self.key}/x", single, double),
            "h": np.zeros(rows),
        }
        for name, value in traced[0].items():
            other = traced[1][name]
            if keep is not None:
                other, value = _select(keep, other), _select(keep, value)
                traced[0][name], traced[1][name] = value, other
            error = owner.deviations.add(f"{self.key}/{name}", other, value)
            far["h"] = np.maximum(far["h"], error)

        def flat(a: Array) -> Array:  # (rows, steps, ...) -> (rows * steps, ...)
            return a.reshape(rows * steps, *a.shape[2:])

        states64 = [self._states(traced[0][name], held.double[k], keep)
                    for k, name in enumerate(names)]  # fmt: skip
        states32 = [self._states(traced[1][name], held.single[k], keep)
                    for k, name in enumerate(names)]  # fmt: skip
        before = tuple(
            flat(np.concatenate([old[:, None], new[:, :-1]], axis=1))
            for old, new in zip(held.double, states64, strict=True)
        )
        values = self.cell.back.values(
            flat(double), before, {name: flat(v) for name, v in traced[0].items()}
        )
        moved = self._changes(values, far, changes, keep, held, rows, steps)
        seen = np.ones((rows, 1), dtype=bool) if keep is None else keep
        seen = np.logical_or.accumulate(seen, axis=1) | held.seen[:, None]
        shown = np.broadcast_to(seen, (rows, steps))
        if self.rule.zeroes and keep is not None:
            shown = keep
        elif self.rule.shows_state:
            shown = np.ones((rows, steps), dtype=bool)
        held.double = tuple(s[:, -1] for s in states64)
        held.single = tuple(s[:, -1] for s in states32)
        held.seen = seen[:, -1]
        if shown.all():
            return states64[0], states32[0], moved
        first, single_first = _select(shown, states64[0]), _select(shown, states32[0])
        return first, single_first, _select(shown, moved, first.ndim - 2)

    def _states(self, new: Array, old: Array, keep: Array | None) -> Array:
        """Return states that a masked step leaves as they are; (rows, steps, units).

        At masked steps `new` is 0.
        """
        if keep is None:
            return new
        steps = np.where(keep, np.arange(1, keep.shape[1] + 1), 0)
        last = np.maximum.accumulate(steps, axis=1)  # the last step that counts, or 0
        every = np.concatenate([old[:, None], new], axis=1)
        return np.take_along_axis(every, _wide(last, new.ndim - 2), axis=1)

    def _changes(
        self,
        values: Values,
        far: Mapping[str, Array],
        changes: Array | None,
        keep: Array | None,
        held: _Held,
        rows: int,
        steps: int,
    ) -> Array:
        """Return the changes of the first state; (copies, rows, steps, units)."""
        owner, cell = self.owner, self.cell
        errors = owner.errors
        places = values["h_before"].shape[1:-1]  # axes of space, if any
        ones = (1,) * len(places)
        rounding = LayerRounding(
            self.double,
            errors.activation_errors,
            {k: np.repeat(error, steps).reshape(-1, *ones) for k, error in far.items()},
        )
        sites = cell.apart(sites_of(rounding, values))

        def by_step(a: Array) -> Array:  # (rows * steps, n) -> (steps, 1, rows, n)
            wide = a.reshape(rows, steps, *a.shape[1:]).swapaxes(0, 1)[:, None]
            return np.ascontiguousarray(wide, dtype=np.float32)

        shape = steps, errors.copies, rows, *places
        base = []
        for reaching in cell.reaching(values):
            worst, variance = adding_up(sites, reaching, cell.units)
            own = errors.cauchy((*shape, cell.units)) * by_step(worst / SINGLE)
            many = errors.standard_deviations / SINGLE
            own += errors.normal((*shape, cell.units)) * by_step(
                np.sqrt(variance) * many
            )
            for name, moved in same_at_every_step(sites, reaching).items():
                fixed = errors.at_every_step(
                    (self.key, name), (errors.copies, rows, *ones, moved.shape[-1])
                )
                add_blocks(own, by_step(moved * many) * fixed)
            base.append(own)
        if changes is not None:
            given = np.moveaxis(changes, 2, 0)
            given = cell.of_inputs(given.reshape(-1, *given.shape[3:]))
            cell.add_inputs(base, given.reshape(*shape, -1), values, by_step)
        found = np.empty((*shape, cell.units), np.float32)
        step = cell.forwards(values, by_step)
        states = held.changes
        for t in range(steps):
            new = step(t, states, [of[t] for of in base])
            if keep is not None and not keep[:, t].all():
                counts = _wide(keep[:, t], len(places) + 1)
                new = [np.where(counts, a, b) for a, b in zip(new, states, strict=True)]
            states = new
            found[t] = new[0]
        held.changes = states
        return np.moveaxis(found, 0, 2)


def _wide(values: Array, axes: int) -> Array:
    """Return values with so many axes of size 1 behind."""
    return values.reshape(*values.shape, *(1,) * axes)


def _select(keep: Array, values: Array, axes: int | None = None) -> Array:
    """Return values, zeros where `keep` is false.

    Parameters
    ----------
    keep : (rows, steps) of bool
    values : (..., rows, steps, ...)
    axes : int, optional
        Axes of a step; by default all behind the first two.
    """
    axes = values.ndim - 2 if axes is None else axes
    return np.where(_wide(keep, axes), values, values.dtype.type(0))
