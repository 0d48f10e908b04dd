"""Recurrent layers with fast steps: their loop over time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, partial
from itertools import repeat
from typing import Any

import numpy as np

from verify.forward.fast.memory import empty_from_pool
from verify.forward.fast.steps import FAST_STEPS, Steps, SumsFactory, scalar
from verify.forward.fast.sums import Ahead, LookedUp, Products
from verify.forward.fast.weights import FastWeights
from verify.forward.recurrence import Scan, scan
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, working
from verify.model.spec import LayerSpec

MAX_AHEAD_NUMBERS = 2**18
"""Numbers that the inputs' share of the sums may take for every step of one row."""


class FastLoop(FastWeights):
    """A recurrent layer whose weights are laid out for fast steps."""

    def __call__(
        self,
        x: Array,
        mask: Array | None,
        states: tuple[Array, ...],
        names: tuple[str, ...],
        *,
        return_sequences: bool,
        go_backwards: bool,
        zero_output_for_mask: bool,
        **options: Any,
    ) -> Scan:
        """As `verify.forward.recurrence.scan` with the steps of this layer, nothing recorded.

        Its rules for what a masked step shows are not repeated here: where that is not
        simply the state, which is held, steps go through it.
        """
        batch, time = x.shape[:2]
        kernel = self.layer.weights["kernel"]
        if not self.looks_up and x.shape[2:] != kernel.shape[:1]:
            raise ValueError(f"{len(kernel)} features expected")  # none broadcast
        if not time:
            raise ValueError("a sequence without a time step")
        usual = LookedUp if self.looks_up else Products
        if mask is not None and (
            zero_output_for_mask or states[0].any() or mask.shape != (batch, time)
        ):
            return scan(
                self._steps(usual, batch).step,
                x,
                mask,
                states,
                names,
                return_sequences=return_sequences,
                go_backwards=go_backwards,
                zero_output_for_mask=zero_output_for_mask,
                **options,
            )
        make: SumsFactory = usual
        by_time = x.swapaxes(0, 1)  # (time, batch, ...)
        if batch == 1 and time * kernel.shape[1] <= MAX_AHEAD_NUMBERS:
            make = Ahead
            by_time = self.input_sums(x[0]).reshape(time, 1, -1)
        steps = self._buffers(make, batch)
        order = slice(None, None, -1 if go_backwards else 1)
        masked = None if mask is None else ~mask.T[order]
        result = _looped(steps, by_time[order], masked, states, return_sequences)
        self._last[:] = [(make, batch, steps)]
        return result

    def _steps(self, make: SumsFactory, rows: int) -> Steps:
        return FAST_STEPS[self.layer.class_name](self, make, rows)

    def _buffers(self, make: SumsFactory, rows: int) -> Steps:
        """Steps that are nobody else's: those of the last call, if they fit."""
        try:
            *known, steps = self._last.pop()  # at once: other threads may want them
        except IndexError:
            return self._steps(make, rows)
        return steps if known == [make, rows] else self._steps(make, rows)

    @cached_property
    def _last(self) -> list[tuple[SumsFactory, int, Steps]]:
        """The steps of the last call, or none while they are at work."""
        return []


def _looped(
    steps: Steps,
    by_time: Array,
    masked: Array | None,
    states: tuple[Array, ...],
    sequences: bool,
) -> Scan:
    """All steps, in the order given: x (time, batch, ...), mask (time, batch)."""
    moves: Iterable[Callable[[Array], None]] = repeat(steps.advance)
    if masked is not None:
        held = map(np.flatnonzero, masked)
        moves = [partial(steps.advance_but, rows) for rows in held]
    steps.begin(states)
    if not sequences:
        for x, move in zip(by_time, moves, strict=False):
            move(x)
        states = steps.states()
        return Scan(states[0], states, {})
    h, share = steps.h, scalar(1 / steps.scale, steps.h.dtype)
    outputs = empty_from_pool((len(by_time), *h.shape), h.dtype)
    for x, move, output in zip(by_time, moves, outputs, strict=False):
        move(x)
        np.multiply(h, share, output)
    return Scan(outputs.swapaxes(0, 1), steps.states(), {})


def fast_layer(layer: LayerSpec) -> LayerSpec:
    """A recurrent layer with its fast steps; any other layer as it is."""
    if layer.class_name not in FAST_STEPS or layer.overrides:
        return layer
    compute = POLICIES[layer.policy].compute
    if compute not in ("float32", "float64") or any(
        weight.dtype != working(compute) for weight in layer.weights.values()
    ):
        return layer
    return layer.with_overrides(fast=FastLoop(layer))
