"""Time: the loop over steps, masks, direction and states.

One function, `scan`, serves every cell. It follows the rules that Keras has on the
TensorFlow backend, the odd ones included, because the aim is what *your* model
computes and not what it should have computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from verify.spec import Array

Step = Callable[..., Any]
"""``step(x, *states) -> NamedTuple`` whose fields include ``h`` and every state."""


class Scan(NamedTuple):
    """What a recurrence returns.

    Attributes
    ----------
    output : (batch, time, units) or (batch, units)
        What the layer hands on, in processing order.
    values : dict of str to (batch, time, units)
        Gates and held states by name, indexed by *input* step also when the sequence
        is processed backwards; empty unless recorded. Gates at masked steps are what
        the cell computed there and then discarded.
    """

    output: Array
    values: dict[str, Array]


def scan(
    step: Step,
    x: Array,
    mask: Array | None,
    states: dict[str, Array],
    *,
    return_sequences: bool,
    go_backwards: bool,
    zero_output_for_mask: bool,
    unroll: bool,
    record: bool,
) -> Scan:
    """Run `step` over the time axis of `x`.

    A masked step holds every state and repeats the previous *output* (zeros before
    the first unmasked step); with `zero_output_for_mask` it outputs zeros instead.
    Selection, not multiplication: NaN at a masked step does not leak.

    Parameters
    ----------
    x : (batch, time, features)
    mask : (batch, time) of bool, or None
        True where the step counts.
    states : dict of str to (batch, units)
        Initial states by their name in the step's result, in the cell's order.

    Source: keras/src/backend/tensorflow/rnn.py, function ``rnn``.
    """
    time = x.shape[1]
    # An unrolled, reversed, zeroing layer returns sequences zeroed by the mask in input
    # order while its outputs are in processing order: Keras on TensorFlow forgets to
    # reverse the one with the other. Reproduced, since predict does it.
    misaligned = zero_output_for_mask and unroll and go_backwards and return_sequences
    zeroing = zero_output_for_mask and not misaligned
    names = tuple(states)
    state = tuple(states.values())
    shown = np.zeros_like(state[0])  # (batch, units): what the layer outputs
    outputs: list[Array] = []
    recorded: list[dict[str, Array]] = []
    for t in reversed(range(time)) if go_backwards else range(time):
        result = step(x[:, t], *state)
        new = tuple(getattr(result, name) for name in names)
        if mask is None:
            state, shown = new, result.h
        else:
            keep = mask[:, t, None]  # (batch, 1)
            state = tuple(np.where(keep, n, s) for n, s in zip(new, state, strict=True))
            shown = np.where(keep, result.h, np.zeros_like(shown) if zeroing else shown)
        if return_sequences:
            outputs.append(shown)
        if record:
            recorded.append(result._asdict() | dict(zip(names, state, strict=True)))
    output = np.stack(outputs, axis=1) if return_sequences else shown
    if misaligned and mask is not None:
        output = np.where(mask[:, :, None], output, np.zeros_like(output))
    return Scan(output, _by_input_step(recorded, go_backwards))


def _by_input_step(
    recorded: list[dict[str, Array]], go_backwards: bool
) -> dict[str, Array]:
    if go_backwards:
        recorded = recorded[::-1]
    return {
        name: np.stack([values[name] for values in recorded], axis=1)
        for name in (recorded[0] if recorded else {})
    }
