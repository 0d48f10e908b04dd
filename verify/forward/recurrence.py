"""Run a cell over time: the loop over steps, masks, direction and states.

One function, `scan`, serves every cell. It follows the rules of Keras on TensorFlow,
including the odd ones, because the aim is to compute what *your* model computes and not
what it should have computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from verify.console.progress import COUNTED, loop_over
from verify.errors import UnsupportedError
from verify.forward.outlines import outline
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.spec import LayerSpec


class Stepped(NamedTuple):
    """Hold the result of one step of a cell.

    Attributes
    ----------
    output : (batch, units)
        The output of the layer at this step, if it is not masked.
    states : tuple of (batch, units)
        The new states, in the cell's order.
    values : mapping
        Gates and states by name, each (batch, units), for a trace.
    """

    output: Array
    states: tuple[Array, ...]
    values: Mapping[str, Array]


Step = Callable[[Array, tuple[Array, ...]], Stepped]
"""One step of a cell, given x at that step and the states before it."""


class Scan(NamedTuple):
    """Hold the result of running a cell over time.

    Attributes
    ----------
    output : (batch, time, units) or (batch, units)
        The output of the layer, in processing order: reversed if it goes backwards.
    states : tuple of (batch, units)
        The states after the last step; a masked step leaves them unchanged.
    values : dict of str to (batch, time, units)
        Gates and states by name; empty unless recorded. The time axis is that of the
        input even if the layer goes backwards. At a masked step the gates are those
        that the cell computed and discarded, and the states those that were kept.
    """

    output: Array
    states: tuple[Array, ...]
    values: dict[str, Array]


TimeLoop = Callable[..., Scan]
"""The loop of one recurrent layer: `scan` without its argument `step`."""


KeepStep = Callable[[int, int, Mapping[str, Array]], None]
"""Called after each step with its place in the input, the number of all steps, and the
gates and states by name, (batch, ...) each."""


class MaskRule(NamedTuple):
    """Describe what a recurrent layer outputs at a masked step.

    At most one of the attributes is true. If none is, the layer repeats its previous
    *output*, which is zeros before the first unmasked step.

    Attributes
    ----------
    zeroes : bool
        The layer outputs zeros.
    misaligned : bool
        The layer outputs zeros at the wrong steps. If it is unrolled, goes backwards
        and returns sequences, Keras on TensorFlow zeroes the outputs, which are in
        processing order, by the mask, which is in input order. It is reproduced here
        because ``predict`` does it.
    shows_state : bool
        The layer outputs its state, as on JAX.

    Source: keras/src/backend/tensorflow/rnn.py, function ``rnn``; `Rule` for JAX.
    """

    zeroes: bool
    misaligned: bool
    shows_state: bool

    @classmethod
    def of(cls, layer: LayerSpec) -> MaskRule:
        """Return the rule for a recurrent layer with its options and backend."""
        options, rules = layer.options, layer.rules
        unroll = options["unroll"]
        zeroes = options["zero_output_for_mask"] and not (
            unroll and Rule.UNROLL_NEVER_ZEROES in rules
        )
        twisted = unroll and options["go_backwards"] and options["return_sequences"]
        shows_state = Rule.MASKED_STEP_SHOWS_STATE in rules and not unroll
        return cls(
            zeroes=zeroes and not twisted,
            misaligned=zeroes and twisted,
            shows_state=shows_state and not zeroes,
        )


def mask_of_steps(
    layer: LayerSpec,
    mask: Any,
    states: Sequence[Array] = (),
    *,
    shapes_alone: bool = False,
) -> Array:
    """Return the mask by which a recurrent layer holds its states.

    Parameters
    ----------
    layer : LayerSpec
    mask : (batch, time) or (batch, time, n) of bool
    states : sequence of (batch, units) or (batch, spatial..., units)
        The initial states, where it is to be known whether Keras can run this.
    shapes_alone : bool
        Whether only the shapes of the results matter.

    Returns
    -------
    (batch, time) of bool, or (batch, time, units) where each unit is held or not, and
    of a ConvLSTM each place along the first axis of space
        See `Rule.MASK_HOLDS_STEPS`.

    Raises
    ------
    UnsupportedError
        There are not as many units, so that Keras cannot run the layer on this backend.
    """
    found = np.asarray(mask, dtype=bool)
    if found.ndim != 3:
        return found
    whole = Rule.MASK_HOLDS_STEPS in layer.rules and not layer.options["unroll"]
    if whole or shapes_alone or found.shape[2] == 1:
        return np.asarray(found.any(axis=2))
    for state in states:
        if state.shape[1] != found.shape[2]:
            shape, held = (
                ", ".join(map(str, sizes)) for sizes in (found.shape[1:], state.shape)
            )
            raise UnsupportedError(
                f"{layer}: the mask that reaches it is (batch, {shape}), and a state "
                f"is (batch, {held.partition(', ')[2]}). Keras on TensorFlow and on "
                "torch takes the last axis of such a mask for that of the units, and "
                "cannot run this; on JAX it can, unless unroll is true. Give the call "
                "a mask of its own, (batch, time)"
            )
    return found


def scan(
    step: Step,
    x: Array,
    mask: Array | None,
    states: tuple[Array, ...],
    names: tuple[str, ...],
    *,
    return_sequences: bool,
    go_backwards: bool,
    mask_rule: MaskRule,
    record: bool | KeepStep,
) -> Scan:
    """Run `step` over the time axis of `x`.

    A masked step leaves every state unchanged; `mask_rule` says what it outputs. Masked
    values are replaced and not multiplied by 0, so NaN at a masked step has no effect.

    Parameters
    ----------
    x : (batch, time, ...)
    mask : (batch, time) of bool, or None
        False where the step is masked; or (batch, time, units), false where a unit is.
    states : tuple of (batch, ...)
        Initial states, in the cell's order.
    names : tuple of str
        The names of the states among the values of a step.
    return_sequences : bool
        Whether to return the output at every step, and not only at the last.
    go_backwards : bool
        Whether to process the last step first.
    mask_rule : MaskRule
    record : bool or KeepStep
        Whether to return gates and states too, or what is given them instead.

    Source: keras/src/backend/tensorflow/rnn.py, function ``rnn``.
    """
    time = x.shape[1]
    shown: Array | None = None  # the output at the last processed step
    outputs, recorded = _Steps(time), _Steps(time)
    keep = recorded.keep if record is True else record
    at_step = loop_over(time)
    for k in range(time):
        if not k % COUNTED:
            at_step(k)
        t = time - 1 - k if go_backwards else k
        result = step(x[:, t], states)
        if mask is None:
            states, shown = result.states, result.output
        else:
            if mask_rule.zeroes:
                before = np.zeros_like(result.output)
            elif mask_rule.shows_state:
                before = states[_shown_state(names)]
            else:
                before = np.zeros_like(result.output) if shown is None else shown
            shown = _select(mask[:, t], result.output, before)
            states = tuple(
                _select(mask[:, t], new, old)
                for new, old in zip(result.states, states, strict=True)
            )
        if return_sequences:
            outputs.keep(k, time, {"": shown})
        if keep:
            keep(t, time, {**result.values, **dict(zip(names, states, strict=True))})
    if shown is None:
        raise ValueError("a sequence without a time step")
    output = outputs.joined()[""] if return_sequences else shown
    if mask_rule.misaligned and mask is not None:
        output = _select(mask, output, np.zeros_like(output))
    return Scan(output, states, recorded.joined())


class _Steps:
    """Hold values of every step, (batch, ...) each, until they are joined.

    Arrays are written where they will be, so that they are not in memory twice.
    """

    def __init__(self, time: int) -> None:
        self.time = time
        self._whole: dict[str, Array] = {}
        self._other: dict[str, list[Any]] = {}

    def keep(self, t: int, time: int, values: Mapping[str, Array]) -> None:
        """Keep the values of one step; see `KeepStep`."""
        for name, value in values.items():
            if type(value) is np.ndarray and name not in self._other:
                whole = self._whole.get(name)
                if whole is None:
                    shape = value.shape[0], time, *value.shape[1:]
                    whole = self._whole[name] = np.empty(shape, value.dtype)
                whole[:, t] = value
            else:  # what stands for an array while its computation is recorded
                if name not in self._other:
                    before = self._whole.pop(name, None)
                    self._other[name] = (
                        [None] * time if before is None else list(before.swapaxes(0, 1))
                    )
                self._other[name][t] = value

    def joined(self) -> dict[str, Array]:
        """Return (batch, time, ...) by name."""
        other = {name: np.stack(steps, axis=1) for name, steps in self._other.items()}
        return {**self._whole, **other}


def outlined(loop: TimeLoop) -> TimeLoop:
    """Return a loop that takes two steps at most, and results of the right shapes.

    Every step has the same shapes, so it is enough to know those of two. The numbers of
    the results mean nothing.
    """

    def run(x: Array, mask: Array | None, *arguments: Any, **options: Any) -> Scan:
        time = x.shape[1]
        if mask is not None:
            mask = mask[:, :2]
        result: Scan = loop(x[:, :2], mask, *arguments, **options)

        def whole(steps: Array) -> Array:  # (batch, steps, ...) -> (batch, time, ...)
            shape = steps.shape[0], time, *steps.shape[2:]
            return outline(shape, np.zeros((), steps.dtype))

        output = result.output
        if options["return_sequences"]:
            output = whole(output)
        values = {name: whole(value) for name, value in result.values.items()}
        return Scan(output, result.states, values)

    return run


def _shown_state(names: tuple[str, ...]) -> int:
    """Return the index of the state that is the output: the last cell's ``h``.

    The states of stacked cells are called ``0/h``, ``0/c``, ``1/h`` and so on.
    """
    return max(k for k, name in enumerate(names) if name.split("/")[-1] == "h")


def _select(keep: Array, new: Array, old: Array) -> Array:
    """Return `new` where `keep` is true, else `old`; `keep` may lack the last axes."""
    return np.where(keep.reshape(keep.shape + (1,) * (new.ndim - keep.ndim)), new, old)
