"""Run recurrent layers over time, in buffers that the next call uses again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat

import numpy as np

from verify.forward.fast.memory import empty_from_pool
from verify.forward.fast.one_row import ROW_LOOPS, RowLoop, has_row_loop
from verify.forward.fast.pre_activations import Fused, LookedUp
from verify.forward.fast.steps import FAST_STEPS, Method, Steps, scalar
from verify.forward.fast.weights import FastWeights
from verify.forward.recurrence import MaskRule, Scan, scan
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, working
from verify.model.spec import LayerSpec


class FastLoop:
    """Run a recurrent layer over time by its fast steps.

    Parameters
    ----------
    layer : LayerSpec
        A layer for which `has_fast_loop` is true.
    table : (ids, columns), optional
        An embedding multiplied by the kernel, for a layer that is given ids; see
        `FastWeights`.
    """

    def __init__(self, layer: LayerSpec, table: Array | None = None) -> None:
        self.weights = FastWeights(layer, table)
        self._last: list[tuple[Method, int, Steps]] = []
        self._row_loops: list[RowLoop] = []
        self._has_row_loop = has_row_loop(layer)
        kernel = layer.weights["recurrent_kernel"]
        self._zeros = (np.zeros((1, len(kernel)), kernel.dtype),) * 2  # h, c

    def __call__(
        self,
        x: Array,
        mask: Array | None,
        states: tuple[Array, ...],
        names: tuple[str, ...],
        *,
        return_sequences: bool,
        go_backwards: bool,
        mask_rule: MaskRule,
        record: bool,
    ) -> Scan:
        """Run the layer as `verify.forward.recurrence.scan` does; parameters as there.

        The loop here lets a masked row show its unchanged state, or zeros. If masked
        steps output something else, the fast steps are run by `scan`. Nothing can be
        recorded.
        """
        looks_up = self.weights.looks_up
        kernel = self.weights.layer.weights["kernel"]  # (features, columns)
        if not looks_up:
            if x.shape[2:] != kernel.shape[:1]:
                # writing x into a buffer would broadcast a single feature silently
                raise ValueError(f"{len(kernel)} features expected")
            x = x.astype(kernel.dtype, copy=False)
        if record:
            raise ValueError("a fast loop records nothing")
        rows, time = x.shape[:2]
        if not time:
            raise ValueError("a sequence without a time step")
        method = LookedUp if looks_up else Fused
        if mask is not None and (
            mask_rule.misaligned
            or (states[0].any() and not (mask_rule.shows_state or mask_rule.zeroes))
            or mask.shape != (rows, time)
        ):
            return scan(
                self._steps(method, rows).step,
                x,
                mask,
                states,
                names,
                return_sequences=return_sequences,
                go_backwards=go_backwards,
                mask_rule=mask_rule,
                record=False,
            )
        order = slice(None, None, -1 if go_backwards else 1)
        by_time = x.swapaxes(0, 1)[order]  # (time, rows, ...)
        masked = None if mask is None else ~mask.T[order]  # (time, rows)
        if rows == 1 and self._has_row_loop:
            result = self._over_row(by_time[:, 0], masked, states, return_sequences)
        else:
            steps = self._buffers(method, rows)
            result = _over_time(steps, by_time, masked, states, return_sequences)
            self._last[:] = [(method, rows, steps)]
        if masked is not None and mask_rule.zeroes:
            return _zeroed(result, masked, return_sequences)
        return result

    def row(self, x: Array) -> Array:
        """Return the output for a single row, whose states begin with zeros.

        Only if `has_row_loop` is true of the layer.

        Parameters
        ----------
        x : (1, time, features), or (1, time) of ids
            In the dtype of the weights.

        Raises
        ------
        IndexError
            An id is not in the table.
        ValueError
            There is no time step, or the features are not those of the kernel.
        """
        options = self.weights.layer.options
        steps = x[0, ::-1] if options["go_backwards"] else x[0]
        if not len(steps):
            raise ValueError("a sequence without a time step")
        return self._over_row(
            steps, None, self._zeros, options["return_sequences"]
        ).output

    def _over_row(
        self,
        x: Array,
        masked: Array | None,
        states: tuple[Array, ...],
        return_sequences: bool,
    ) -> Scan:
        """Take all steps of a single row; see `RowLoop`.

        Parameters
        ----------
        x : (time, features), or (time,) of ids
        masked : (time, 1) of bool, or None
        states : tuple of (1, units)
        return_sequences : bool
        """
        shown = None  # for each step the number of the step whose output it shows
        if masked is not None and masked.any():
            taken = ~masked[:, 0]
            x, shown = x[taken], taken.cumsum()
        outputs = None
        if return_sequences:  # with h before the first step in front
            outputs = np.empty((len(x) + 1, states[0].shape[1]), states[0].dtype)
            outputs[0] = states[0][0]
        try:
            loop = self._row_loops.pop()  # as in `_buffers`
        except IndexError:
            loop = ROW_LOOPS[self.weights.layer.class_name](self.weights)
        after = loop(x, states, None if outputs is None else outputs[1:])
        self._row_loops[:] = [loop]
        if outputs is None:
            return Scan(after[0], after, {})
        whole = outputs[1:] if shown is None else outputs[shown]
        return Scan(whole[None], after, {})  # (1, time, units)

    def _steps(self, method: Method, rows: int) -> Steps:
        return FAST_STEPS[self.weights.layer.class_name](self.weights, method, rows)

    def _buffers(self, method: Method, rows: int) -> Steps:
        """Return steps, in the buffers of the last call if these fit and are free."""
        try:
            # pop takes and removes in one operation, so no other thread gets them too
            *known, steps = self._last.pop()
        except IndexError:
            return self._steps(method, rows)
        return steps if known == [method, rows] else self._steps(method, rows)


def _over_time(
    steps: Steps,
    by_time: Array,
    masked: Array | None,
    states: tuple[Array, ...],
    return_sequences: bool,
) -> Scan:
    """Take all steps in the order in which they come.

    Parameters
    ----------
    steps : Steps
    by_time : (time, rows, ...)
        x, or its part of the pre-activations, at each step.
    masked : (time, rows) of bool, or None
        True where a row leaves its states unchanged.
    states : tuple of (rows, units)
        Initial states.
    """
    moves: Iterable[Callable[[Array], None]] = repeat(steps.advance)
    if masked is not None:
        held = map(np.flatnonzero, masked)
        moves = [partial(steps.advance_but, rows) for rows in held]
    steps.begin(states)
    if not return_sequences:
        for x, move in zip(by_time, moves, strict=False):
            move(x)
        states = steps.states()
        return Scan(states[0], states, {})
    h, inverse = steps.h, scalar(1 / steps.scale, steps.h.dtype)
    outputs = empty_from_pool((len(by_time), *h.shape), h.dtype)  # (time, rows, units)
    for x, move, output in zip(by_time, moves, outputs, strict=False):
        move(x)
        np.multiply(h, inverse, output)
    return Scan(outputs.swapaxes(0, 1), steps.states(), {})  # (rows, time, units)


def _zeroed(result: Scan, masked: Array, return_sequences: bool) -> Scan:
    """Return what a layer that outputs zeros at masked steps returns."""
    where = masked.T if return_sequences else masked[-1]  # (rows, time) or (rows,)
    output = result.output
    if not return_sequences:  # it is the state h, which stays
        output = output.copy()
    output[where] = 0
    return result._replace(output=output)


def has_fast_loop(layer: LayerSpec) -> bool:
    """Return whether `FastLoop` can run a layer.

    The layer must be a SimpleRNN, LSTM or GRU that computes in 32 or 64 bits and has no
    planted mistake.
    """
    if layer.class_name not in FAST_STEPS or layer.overrides:
        return False
    compute = POLICIES[layer.policy].compute
    return compute in ("float32", "float64") and all(
        weight.dtype == working(compute) for weight in layer.weights.values()
    )
