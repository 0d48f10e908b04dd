"""Go back through the loop over time, from outputs of a recurrent layer to its inputs.

`backward_scan` reverses `verify.forward.recurrence.scan` step by step, with the same
rules for masks and direction; `MaskRule` says what a masked step outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from verify.backward.cells import BACKWARD_CELLS, Values
from verify.console.progress import COUNTED, loop_over, name_loop
from verify.forward.recurrence import MaskRule
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

StepVisitor = Callable[[int, Values, Values], None]
"""A function that is called with an input step, its adjoints and its values."""


class BackwardScan(NamedTuple):
    """Hold the gradients of a recurrent layer's inputs, states and weights.

    Attributes
    ----------
    x : (..., batch, time, features)
        The gradient of the inputs.
    states : tuple of (..., batch, units)
        The gradients of the initial states, in the cell's order.
    weights : dict of str to (..., *shape of the weight)
        The gradients of the weights, summed over batch and time; empty unless wanted.
    """

    x: Array
    states: tuple[Array, ...]
    weights: dict[str, Array]


def backward_scan(
    layer: LayerSpec,
    x: Array,
    mask: Array | None,
    initial: tuple[Array, ...],
    traced: Mapping[str, Array],
    d_output: Array,
    d_states: tuple[Array, ...],
    *,
    weights: bool,
    visit: StepVisitor | None = None,
) -> BackwardScan:
    """Go back through every step of a recurrent layer, the last processed one first.

    The layer discards the results of its cell at a masked step. The adjoints of that
    step are therefore zeros, and NaN in its values has no effect.

    Parameters
    ----------
    layer : LayerSpec
        A SimpleRNN, LSTM or GRU with weights in float64.
    x : (batch, time, features)
    mask : (batch, time) of bool, or None
    initial : tuple of (batch, units)
        Initial states.
    traced : mapping of str to (batch, time, units)
        Gates and states by input step, as in a trace.
    d_output : (..., batch, time, units) or (..., batch, units)
        The gradient of the output of the layer, in processing order.
    d_states : tuple of (..., batch, units)
        The gradients of the states after the last step. The axes in front, as those of
        `d_output`, hold several backpropagations at once.
    weights : bool
        Whether to compute the gradients of the weights.
    visit : callable, optional
        See `StepVisitor`.
    """
    cell = BACKWARD_CELLS[layer.class_name](layer)
    options = layer.options
    sequences, rule = options["return_sequences"], MaskRule.of(layer)
    order = list(range(x.shape[1]))[:: -1 if options["go_backwards"] else 1]
    keep = None if mask is None else mask[..., None]  # (batch, time, 1)
    if rule.misaligned:
        d_output = _where(keep, d_output)
    before = states_before(initial, [traced[s] for s in cell.state_names], order)
    x = _where(keep, x)
    traced = {name: _where(keep, v) for name, v in traced.items()}
    # d_x is (..., batch, time, features), d_shown (..., batch, units)
    d_x = np.zeros((*d_states[0].shape[:-1], *x.shape[1:]))
    d_shown = np.zeros_like(d_states[0]) if sequences else d_output
    found: dict[str, Array] = {}
    name_loop(f"{layer.name}, backwards")
    at_step = loop_over(len(order))
    for place, t in reversed(list(enumerate(order))):
        if not place % COUNTED:
            at_step(len(order) - place)
        counts = None if keep is None else keep[:, t]  # (batch, 1)
        if sequences:
            d_shown = d_shown + d_output[..., place, :]
        # an unmasked step passes the adjoints of its states to the cell, and a masked
        # step to the states before it, which it has left unchanged
        d_new = [_where(counts, d) for d in d_states]
        d_held = [_unless(counts, d) for d in d_states]
        d_new[0] = d_new[0] + _where(counts, d_shown)  # the layer shows the first state
        d_repeated = _unless(counts, d_shown)
        if rule.shows_state:
            d_held[0] = d_held[0] + d_repeated
        values = cell.values(
            x[:, t], before[t], {name: v[:, t] for name, v in traced.items()}
        )
        adjoints = cell.adjoints(values, tuple(d_new))
        if visit is not None:
            visit(t, adjoints, values)
        if weights:
            for name, gradient in cell.weights(values, adjoints).items():
                if name in layer.weights:
                    found[name] = found.get(name, 0.0) + gradient
        d_x[..., t, :] = adjoints["x"]
        d_states = tuple(
            adjoints[f"{name}_before"] + d
            for name, d in zip(cell.state_names, d_held, strict=True)
        )
        # a masked step that repeats the last output passes its adjoint on to that
        repeats = not (rule.shows_state or rule.zeroes)
        d_shown = d_repeated if repeats else np.zeros_like(d_shown)
    return BackwardScan(d_x, d_states, found)


def _where(keep: Array | None, values: Array) -> Array:
    """Return values where `keep` is true, and zeros elsewhere, even in place of NaN."""
    return values if keep is None else np.where(keep, values, 0.0)


def _unless(keep: Array | None, values: Array) -> Array:
    """Return zeros where `keep` is true, and values elsewhere.

    Without a mask no step is masked, and a single zero is returned.
    """
    return np.zeros(()) if keep is None else np.where(keep, 0.0, values)


def states_before(
    initial: tuple[Array, ...], held: list[Array], order: list[int]
) -> dict[int, tuple[Array, ...]]:
    """Return the states before each step, (batch, units) each, by input step."""
    before = {order[0]: initial}
    for last, t in pairwise(order):
        before[t] = tuple(state[:, last] for state in held)
    return before
