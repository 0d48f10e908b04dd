"""Take the steps of recurrent layers for a block of rows, in preallocated buffers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from verify.forward.fast.memory import empty_from_pool
from verify.forward.fast.pre_activations import PreActivations
from verify.forward.fast.weights import FastWeights, biases, h_scale, uses_tanh_form
from verify.forward.layers.base import function_of
from verify.forward.recurrence import Stepped
from verify.model.arrays import Array
from verify.model.spec import LayerSpec


class Steps(NamedTuple):
    """Hold the states of a block of rows, and the function that takes a step.

    Attributes
    ----------
    advance : callable
        Takes x of one step and changes every state in place.
    h : (rows, units)
        The state h, multiplied by `scale`.
    others : tuple of (rows, units)
        The states other than h.
    scale : int
        See `h_scale`.
    """

    advance: Callable[[Array], None]
    h: Array
    others: tuple[Array, ...] = ()
    scale: int = 1

    def begin(self, states: tuple[Array, ...]) -> None:
        """Copy the states of a layer into the buffers."""
        for place, state in zip((self.h, *self.others), states, strict=True):
            place[...] = state
        if self.scale != 1:
            np.multiply(self.h, self.scale, self.h)

    def advance_but(self, rows: Array, x: Array) -> None:
        """Take a step; the rows listed in `rows` are masked and keep their states."""
        if not len(rows):
            self.advance(x)
        elif len(rows) < len(self.h):
            states = (self.h, *self.others)
            before = [state[rows] for state in states]
            self.advance(x)
            for state, old in zip(states, before, strict=True):
                state[rows] = old

    def states(self) -> tuple[Array, ...]:
        """Return copies of the states of the layer."""
        return (self.h / self.scale, *(state.copy() for state in self.others))

    def step(self, x: Array, states: tuple[Array, ...]) -> Stepped:
        """Take a step from given states and return the new ones, as `scan` does it."""
        self.begin(states)
        self.advance(x)
        new = self.states()
        return Stepped(new[0], new, {})


Method = Callable[[FastWeights, int], PreActivations]
"""A way to compute pre-activations, given the weights and a number of rows."""


def _simple_rnn(weights: FastWeights, method: Method, rows: int) -> Steps:
    compute, function = method(weights, rows), _function(weights.layer)
    (z,), h = compute.gate_blocks, compute.h  # (rows, units) each

    def advance(x: Array) -> None:
        compute(x)
        function(z, h)

    return Steps(advance, h)


def _lstm(weights: FastWeights, method: Method, rows: int) -> Steps:
    """Return the steps of an LSTM.

    If `h_scale` is 2, i, f, o and h are stored twice as large: ``1 + tanh(z / 2)`` is
    ``2 * sigmoid(z)`` without the halving. c is halved back at every step.
    """
    compute, function = method(weights, rows), _function(weights.layer)
    h, scale = compute.h, h_scale(weights.layer)
    buffer = empty_from_pool((5, *h.shape), h.dtype)
    activate = _activation(
        weights.layer, compute.gate_blocks, buffer[:4], 3, scale != 1
    )
    o, i, _, _, c = buffer  # o, i, f, c_hat, c: (rows, units) each
    gates, factors = buffer[1:3], buffer[3:]  # i, f; c_hat, c: (2, rows, units) each
    i_c_hat, f_c = gates  # the products i * c_hat and f * c overwrite i and f
    inverse = scalar(1 / scale, h.dtype)

    def advance(x: Array) -> None:
        compute(x)
        activate()
        np.multiply(gates, factors, gates)
        np.add(f_c, i_c_hat, c)
        if scale != 1:
            np.multiply(c, inverse, c)
        function(c, i)
        np.multiply(i, o, h)

    return Steps(advance, h, (c,), scale)


def _gru(weights: FastWeights, method: Method, rows: int) -> Steps:
    compute, function = method(weights, rows), _function(weights.layer)
    h, units = compute.h, weights.layer.options["units"]
    reset_after = weights.layer.options["reset_after"]
    u_h = weights.layer.weights["recurrent_kernel"][:, 2 * units :]  # (units, units)
    b_h = biases(weights.layer)[1][2]  # (1, units)
    gates, candidates = compute.gate_blocks[:2], compute.gate_blocks[2:]
    z, r = gates  # (rows, units) each
    activate = _activation(weights.layer, gates, gates, 2)

    def advance(x: Array) -> None:
        a_h = compute(x)  # None if it is the last block of `candidates`
        activate()
        if reset_after:
            s_h = candidates[0]
            if a_h is not None:
                np.add(s_h, b_h, s_h)
            np.multiply(r, s_h, r)
        else:
            np.matmul(r * h, u_h, r)
        np.add(r, candidates[-1] if a_h is None else a_h, r)
        function(r, r)  # h_hat
        np.subtract(h, r, h)
        np.multiply(h, z, h)
        np.add(h, r, h)

    return Steps(advance, h)


FAST_STEPS: Mapping[str, Callable[[FastWeights, Method, int], Steps]] = {
    "SimpleRNN": _simple_rnn,
    "LSTM": _lstm,
    "GRU": _gru,
}
"""Class name of a layer -> its fast steps."""


@cache
def scalar(value: float, dtype: np.dtype[Any]) -> Array:
    """Return a number as an array without axes, which NumPy handles faster."""
    return np.array(value, dtype)


def _function(layer: LayerSpec) -> Callable[[Array, Array], Any]:
    """Return the activation as a function that writes into its second argument."""
    if layer.options["activation"] == "tanh":
        return np.tanh
    function = function_of(layer)

    def into(x: Array, out: Array) -> None:
        out[...] = function(x)

    return into


def _activation(
    layer: LayerSpec, z: Array, out: Array, gates: int, doubled: bool = False
) -> Callable[[], None]:
    """Return a function that computes gates and candidates from pre-activations.

    Parameters
    ----------
    layer : LayerSpec
    z : (blocks, rows, units)
        The pre-activations.
    out : (blocks, rows, units)
        Where the result is written; may be `z` itself.
    gates : int
        The first `gates` blocks have the recurrent activation, the others the
        activation.
    doubled : bool
        Whether the gates are multiplied by 2; only if they are sigmoids.
    """
    by_tanh = 0
    if uses_tanh_form(layer):
        by_tanh = len(out) if layer.options["activation"] == "tanh" else gates
    sigmoids, before, after = out[:gates], z[:by_tanh], out[:by_tanh]
    one, half = scalar(1, out.dtype), scalar(0.5, out.dtype)
    names = ["recurrent_activation"] * gates + ["activation"] * (len(out) - gates)
    others = [
        (function_of(layer, names[k]), z[k], out[k]) for k in range(by_tanh, len(out))
    ]

    def activate() -> None:
        if by_tanh:
            np.tanh(before, after)
            np.add(sigmoids, one, sigmoids)
            if not doubled:
                np.multiply(sigmoids, half, sigmoids)
        for function, block, place in others:  # one by one: a softmax is over one block
            place[...] = function(block)

    return activate
