"""Go back through the loop over time of a recurrent layer for bounds.

`verify.backward.scan` computes the adjoint of every value of a step, for each sweep.
But an error within a step reaches the states of its own unit alone (`loop_cells`), so
that it moves an output by the adjoint of a state times a number that is the same for
all outputs. These numbers are computed once for some rows, all steps together. What is
left for each sweep are the adjoints of the states, which are computed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from verify.backward.layers import LoopCall
from verify.console.progress import COUNTED, loop_over, name_loop
from verify.forward.recurrence import MaskRule
from verify.model.arrays import Array
from verify.model.dtypes import SINGLE
from verify.tolerance.error_bound.conv_cells import LOOP_CELLS
from verify.tolerance.error_bound.loop_cells import (
    Backwards,
    SteppedBack,
    adding_up,
    step_by_step,
)
from verify.tolerance.error_bound.sites import LayerRounding, sites_of

PEAK_EXPONENT = 20
"""Of the greatest adjoint that a loop is given, in float32: its square may grow by 2^87
until it overflows, and adjoints may shrink by 2^83 before their squares are lost."""

MOST_EXPONENT = 1020
"""Of the numbers that adjoints are scaled with, so that their reciprocals are normal
numbers."""

ROUNDED_UP = 1 + 1e-3
"""Makes up for what float32 loses. The adjoints are rounded as the states are on the
way forwards, of which a row with a bound has lost less than `MAX_LINEAR_DEVIATION`."""


PREPARED_NUMBERS = 2**20
"""Numbers of an array of what is prepared at once, in float64."""


@dataclass(eq=False)
class Moved:
    """Hold how far the errors of a loop move outputs; see `BoundVisitor`.

    Attributes
    ----------
    coherent, squared : (rows, sweeps)
    drift : dict of (rows, sweeps, n * units)
        Name of a site -> what the same error at every step would add up to.
    """

    coherent: Array
    squared: Array
    drift: dict[str, Array] = field(default_factory=dict)


@dataclass(eq=False)
class _Prepared:
    """Hold what is the same for all sweeps of some steps.

    Attributes
    ----------
    step : callable
    worst, variance : list of (time, rows, numbers, 1)
        Of the errors that reach each node.
    deviations : dict of (time, rows, 1, ..., n * units)
        Name of a site -> standard deviation of its errors.
    """

    step: Backwards
    worst: list[Array] = field(default_factory=list)
    variance: list[Array] = field(default_factory=list)
    deviations: dict[str, Array] = field(default_factory=dict)


class SweptLoop:
    """Prepare the loop of one call of a layer for any number of sweeps.

    Parameters
    ----------
    call : LoopCall
    rounding : LayerRounding
        Of the layer, with the deviations of the rows.
    """

    def __init__(self, call: LoopCall, rounding: LayerRounding) -> None:
        layer = call.layer
        self.call, self.layer, self.rule = call, layer, MaskRule.of(layer)
        self.cell = LOOP_CELLS[layer.class_name](layer)
        self.rows, self.time = call.x.shape[:2]
        self.turn = slice(None, None, -1 if layer.options["go_backwards"] else 1)
        self.mask = call.mask
        self.keep: Array | None = None  # (time, rows)
        if call.mask is not None:
            self.keep = self._in_order(call.mask)
        numbers = call.initial[0].size // self.cell.units * self.cell.width
        self.steps_at_once = int(np.clip(PREPARED_NUMBERS // numbers, 1, self.time))
        self.parts = [
            self._prepared(rounding, slice(start, start + self.steps_at_once))
            for start in range(0, self.time, self.steps_at_once)
        ]

    def _prepared(self, rounding: LayerRounding, some: slice) -> _Prepared:
        """Compute what is the same for all sweeps of some steps."""
        names = self.cell.back.state_names
        x = self._masked(self._in_order(self.call.x)[some], some)
        time = len(x)
        by_step = step_by_step(time, self.rows)
        traced = {k: self._in_order(v) for k, v in self.call.traced.items()}
        before = []
        for name, initial in zip(names, self.call.initial, strict=True):
            first = initial if not some.start else traced[name][some.start - 1]
            earlier = traced[name][some][:-1]
            before.append(_flat(np.concatenate([first[None], earlier])))
        values = self.cell.back.values(
            _flat(x),
            tuple(before),
            {k: _flat(self._masked(v[some], some)) for k, v in traced.items()},
        )
        places = (1,) * (x.ndim - 3)
        far = {
            k: np.tile(v, time).reshape(-1, *places)
            for k, v in rounding.deviations.items()
        }
        sites = sites_of(replace(rounding, deviations=far), values)
        made = _Prepared(self.cell.backwards(values, by_step))
        apart = self.cell.apart(sites)
        for reaching in self.cell.reaching(values):
            worst, variance = adding_up(apart, reaching, self.cell.units)
            made.worst.append(self._in_a_column(by_step(worst / SINGLE)))
            made.variance.append(self._in_a_column(by_step(variance / SINGLE**2)))
        for site in sites:
            if site.standard_deviation is not None:
                deviation = by_step(site.standard_deviation / SINGLE)
                made.deviations[site.name] = deviation
        return made

    def _in_a_column(self, values: Array) -> Array:
        """Return (time, rows, 1, ..., units) as (time, rows, numbers, 1)."""
        return values.reshape(*values.shape[:2], -1, 1)

    def _in_order(self, values: Array) -> Array:
        """Return (rows, time, ...) in processing order: (time, rows, ...)."""
        return values[:, self.turn].swapaxes(0, 1)

    def _masked(self, values: Array, some: slice) -> Array:
        if self.keep is None:
            return values
        return np.where(self.keep[some][..., None], values, 0.0)

    def back(
        self, d_output: Array, d_states: Sequence[Array], *, wants_x: bool
    ) -> tuple[Moved, Array, list[Array]]:
        """Go back through all steps; in float64 where float32 overflows.

        Parameters and results are those of `swept`.
        """
        found = self.swept(d_output, d_states, wants_x=wants_x, dtype=np.float32)
        if np.isfinite(found[0].coherent).all() and np.isfinite(found[0].squared).all():
            return found
        return self.swept(d_output, d_states, wants_x=wants_x, dtype=np.float64)

    def swept(
        self,
        d_output: Array,
        d_states: Sequence[Array],
        *,
        wants_x: bool,
        dtype: type[np.floating[Any]],
    ) -> tuple[Moved, Array, list[Array]]:
        """Go back through all steps, the last processed one first.

        Parameters
        ----------
        d_output : (sweeps, rows, time, units) or (sweeps, rows, units)
            The adjoint of the output, in processing order.
        d_states : sequence of (sweeps, rows, units)
            The adjoints of the states after the last step.
        wants_x : bool
            Whether the adjoint of the inputs is wanted; zeros are returned otherwise.
        dtype : type
            Of the adjoints.

        Returns
        -------
        Moved
        (sweeps, rows, time, features)
            The adjoint of the inputs.
        list of (sweeps, rows, units)
            The adjoints of the initial states.
        """
        sequences = self.layer.options["return_sequences"]
        if self.rule.misaligned and self.mask is not None:
            d_output = np.where(self.mask[..., None], d_output, 0.0)
        scale = _scale([d_output, *d_states])  # (sweeps, rows)
        d_output = _scaled(d_output, scale, dtype)
        d = [_scaled(one, scale, dtype).swapaxes(0, 1) for one in d_states]
        rows, sweeps = d[0].shape[:2]
        found = Moved(np.zeros((rows, sweeps)), np.zeros((rows, sweeps)))
        shown = None if sequences else d_output.swapaxes(0, 1)
        of_inputs: list[Any] = [None] * self.time
        name_loop(f"{self.layer.name}, backwards")
        at_step = loop_over(self.time)
        last = self._last_used(d_output, d) if sequences else self.time - 1
        for t in range(last, -1, -1):
            if not t % COUNTED:
                at_step(self.time - t)
            if sequences:
                own = d_output[:, :, t].swapaxes(0, 1)
                shown = own if shown is None else shown + own
            held: list[Array] | None = None
            if self.keep is not None and not self.keep[t].all():
                d, held, shown = self._parted(d, shown, self.keep[t])
            elif shown is not None:  # the layer shows the first state
                d, shown = [d[0] + shown, *d[1:]], None
            part, at = divmod(t, self.steps_at_once)
            back = self.parts[part].step(at, d)
            self._add(found, self.parts[part], at, back)
            if wants_x:
                sums = next(iter(back.sums.values()))
                of_inputs[t] = self.cell.towards_x(sums, self.call.x.shape[2:])
            d = back.before
            if held is not None:
                d = [a + b for a, b in zip(d, held, strict=True)]
        unit = SINGLE / scale.T
        found = Moved(
            _known(found.coherent * (ROUNDED_UP * unit)),
            _known(found.squared * (ROUNDED_UP * unit) ** 2),
            {
                name: _known(drift * (ROUNDED_UP * unit)[..., None])
                for name, drift in found.drift.items()
            },
        )
        back_again = 1 / scale
        if wants_x:
            none = np.zeros((rows, sweeps, *self.call.x.shape[2:]), dtype)
            steps = [none if d_x is None else d_x for d_x in of_inputs]
            in_order = np.stack(steps, axis=2)  # (rows, sweeps, time, ...)
            d_inputs = _wide(back_again, in_order.ndim) * in_order.swapaxes(0, 1)
        else:
            shape = sweeps, rows, self.time, *self.call.x.shape[2:]
            d_inputs = np.broadcast_to(0.0, shape)
        d_before = [_wide(back_again, one.ndim) * one.swapaxes(0, 1) for one in d]
        return found, d_inputs[:, :, self.turn], d_before

    def _parted(
        self, d: Sequence[Array], shown: Array | None, keep: Array
    ) -> tuple[list[Array], list[Array], Array | None]:
        """Return what a step with masked rows passes on; see `backward_scan`.

        Returns
        -------
        list of (rows, sweeps, units)
            The adjoints of the states that the cell computes.
        list of (rows, sweeps, units)
            Those of the states that masked rows leave as they are.
        (rows, sweeps, units), or None
            Those of the output before, which masked rows repeat.
        """
        counts = keep[:, None, None]
        held = [np.where(counts, 0.0, one) for one in d]
        own = [np.where(counts, one, 0.0) for one in d]
        if shown is None:
            return own, held, None
        own[0] += np.where(counts, shown, 0.0)
        repeated = np.where(counts, 0.0, shown)
        if self.rule.shows_state:
            held[0] += repeated
        repeats = not (self.rule.shows_state or self.rule.zeroes)
        return own, held, repeated if repeats else None

    def _last_used(self, d_output: Array, d_states: Sequence[Array]) -> int:
        """Return the last step that an output depends on; -1 if there is none."""
        if any(one.any() for one in d_states):
            return self.time - 1
        used = np.flatnonzero(d_output.any(axis=(0, 1, *range(3, d_output.ndim))))
        return int(used[-1]) if used.size else -1

    def _add(self, found: Moved, part: _Prepared, t: int, back: SteppedBack) -> None:
        """Add how far the errors of a step move the outputs."""
        for node, worst, variance in zip(
            back.nodes, part.worst, part.variance, strict=True
        ):
            row = node.reshape(*node.shape[:2], -1)
            found.coherent += (np.abs(row) @ worst[t])[..., 0]
            found.squared += ((row * row) @ variance[t])[..., 0]
        for name, deviation in part.deviations.items():
            moved = back.sums[name] * deviation[t]
            if moved.ndim > 3:  # the same error at every place, as at every step
                moved = moved.sum(axis=tuple(range(2, moved.ndim - 1)))
            if name in found.drift:
                found.drift[name] += moved
            else:
                found.drift[name] = moved


def _flat(values: Array) -> Array:
    """Return (time, rows, ...) as (time * rows, ...)."""
    return values.reshape(-1, *values.shape[2:])


def _known(moved: Array) -> Array:
    """Return infinity for what overflowed: it amplifies rounding beyond any bound."""
    return np.nan_to_num(moved, nan=np.inf)


def _scale(adjoints: Sequence[Array]) -> Array:
    """Return powers of two that keep adjoints within float32; (sweeps, rows)."""
    peaks = [np.abs(d).max(axis=tuple(range(2, d.ndim))) for d in adjoints]
    peak = np.maximum.reduce(peaks)
    known = np.isfinite(peak) & (peak > 0)
    _, exponent = np.frexp(np.where(known, peak, 1.0))
    # the adjoint of what is nearly 0 may be below the least normal number
    return np.ldexp(1.0, np.minimum(PEAK_EXPONENT - exponent, MOST_EXPONENT))


def _scaled(adjoint: Array, scale: Array, dtype: type[np.floating[Any]]) -> Array:
    wide = _wide(scale, adjoint.ndim)
    return np.multiply(adjoint, wide, dtype=dtype, casting="same_kind")


def _wide(scale: Array, ndim: int) -> Array:
    """Return (sweeps, rows) with axes of size 1 behind."""
    return scale.reshape(*scale.shape, *(1,) * (ndim - 2))
