"""Time: the loop over steps, masks, direction and states.

One function, `scan`, serves every cell. It follows the rules that Keras has on the
TensorFlow backend, the odd ones included, because the aim is what *your* model
computes and not what it should have computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.spec import LayerSpec


class Stepped(NamedTuple):
    """Hold what a cell returns for one step.

    Attributes
    ----------
    output : (batch, units)
        What the layer shows at this step.
    states : tuple of (batch, units)
        The new states, in the cell's order.
    values : mapping
        Gates and states by name, each (batch, units), for a trace.
    """

    output: Array
    states: tuple[Array, ...]
    values: Mapping[str, Array]


Step = Callable[[Array, tuple[Array, ...]], Stepped]


class Scan(NamedTuple):
    """Hold what a recurrence returns.

    Attributes
    ----------
    output : (batch, time, units) or (batch, units)
        What the layer hands on, in processing order.
    states : tuple of (batch, units)
        The states after the last step, held over masked steps.
    values : dict of str to (batch, time, units)
        Gates and held states by name, indexed by *input* step also when the sequence
        is processed backwards; empty unless recorded. Gates at masked steps are what
        the cell computed there and then discarded.
    """

    output: Array
    states: tuple[Array, ...]
    values: dict[str, Array]


TimeLoop = Callable[..., Scan]
"""The loop of one recurrent layer: `scan` without its argument `step`."""


class MaskRule(NamedTuple):
    """Describe what a recurrent layer outputs at a masked step.

    At most one of the attributes is true. Where none is, the layer repeats its previous
    *output*, which is zeros before the first unmasked step.

    Attributes
    ----------
    zeroes : bool
        It outputs zeros.
    misaligned : bool
        It outputs zeros, but at the wrong steps: an unrolled, reversed, zeroing layer
        returns sequences zeroed by the mask in input order while its outputs are in
        processing order. Keras on TensorFlow forgets to reverse the one with the
        other. Reproduced, since predict does it.
    shows_state : bool
        It outputs the state that it holds, as on JAX.

    Source: keras/src/backend/tensorflow/rnn.py, function ``rnn``; `Rule` for JAX.
    """

    zeroes: bool
    misaligned: bool
    shows_state: bool

    @classmethod
    def of(cls, layer: LayerSpec) -> MaskRule:
        """Return the rule of a recurrent layer, by its options and its backend."""
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
    record: bool,
) -> Scan:
    """Run `step` over the time axis of `x`.

    A masked step holds every state; `mask_rule` says what it outputs. Selection, not
    multiplication: NaN at a masked step does not leak.

    Parameters
    ----------
    x : (batch, time, ...)
    mask : (batch, time) of bool, or None
        True where the step counts.
    states : tuple of (batch, ...)
        Initial states, in the cell's order.
    names : tuple of str
        The states' names among the step's values.
    mask_rule : MaskRule

    Source: keras/src/backend/tensorflow/rnn.py, function ``rnn``.
    """
    time = x.shape[1]
    shown: Array | None = None  # what the layer outputs
    outputs: list[Array] = []
    recorded: list[dict[str, Array]] = []
    for t in reversed(range(time)) if go_backwards else range(time):
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
            outputs.append(shown)
        if record:
            recorded.append({**result.values, **dict(zip(names, states, strict=True))})
    if shown is None:
        raise ValueError("a sequence without a time step")
    output = np.stack(outputs, axis=1) if return_sequences else shown
    if mask_rule.misaligned and mask is not None:
        output = _select(mask, output, np.zeros_like(output))
    return Scan(output, states, _by_input_step(recorded, go_backwards))


def _shown_state(names: tuple[str, ...]) -> int:
    """Return which state counts as the output: the last cell's first one.

    The states of stacked cells are called ``0/h``, ``0/c``, ``1/h``.
    """
    return max(k for k, name in enumerate(names) if name.split("/")[-1] == "h")


def _select(keep: Array, new: Array, old: Array) -> Array:
    """Return `new` where `keep`, which lacks the last axes, is true, else `old`."""
    return np.where(keep.reshape(keep.shape + (1,) * (new.ndim - keep.ndim)), new, old)


def _by_input_step(
    recorded: list[dict[str, Array]], go_backwards: bool
) -> dict[str, Array]:
    if go_backwards:
        recorded = recorded[::-1]
    return {
        name: np.stack([values[name] for values in recorded], axis=1)
        for name in (recorded[0] if recorded else {})
    }
