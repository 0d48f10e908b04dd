"""The steps of recurrent layers for a block of rows, in buffers of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from verify.forward.fast.memory import empty_from_pool
from verify.forward.fast.sums import Sums
from verify.forward.fast.weights import FastWeights, biases, h_scale, uses_tanh_form
from verify.forward.layers.base import function_of
from verify.forward.recurrence import Stepped
from verify.model.arrays import Array
from verify.model.spec import LayerSpec


class Steps(NamedTuple):
    """The steps of a block of rows, which keep what they need in buffers.

    Attributes
    ----------
    advance : callable
        Given x; every state changes where it lies.
    h : (rows, units)
    kept : tuple of (rows, units)
        The states other than h.
    scale : int
        h is held so many times as large.
    """

    advance: Callable[[Array], None]
    h: Array
    kept: tuple[Array, ...] = ()
    scale: int = 1

    def begin(self, states: tuple[Array, ...]) -> None:
        """Take over the states of a layer."""
        for place, state in zip((self.h, *self.kept), states, strict=True):
            place[...] = state
        if self.scale != 1:
            np.multiply(self.h, self.scale, self.h)

    def advance_but(self, rows: Array, x: Array) -> None:
        """A step at which some rows, by their numbers, are held as they are."""
        if not len(rows):
            self.advance(x)
        elif len(rows) < len(self.h):
            states = (self.h, *self.kept)
            before = [state[rows] for state in states]
            self.advance(x)
            for state, old in zip(states, before, strict=True):
                state[rows] = old

    def states(self) -> tuple[Array, ...]:
        """The states of the layer, none of them a buffer's."""
        return (self.h / self.scale, *(state.copy() for state in self.kept))

    def step(self, x: Array, states: tuple[Array, ...]) -> Stepped:
        """A step whose states come in and go out, as `verify.forward.recurrence` wants it."""
        self.begin(states)
        self.advance(x)
        new = self.states()
        return Stepped(new[0], new, {})


SumsFactory = Callable[[FastWeights, int], Sums]
"""A kind of sums, which are made for so many rows."""


def _simple_rnn(weights: FastWeights, make: SumsFactory, rows: int) -> Steps:
    sums, function = make(weights, rows), _function(weights.layer)
    (z,), h = sums.gate_blocks, sums.h

    def advance(x: Array) -> None:
        sums(x)
        function(z, h)

    return Steps(advance, h)


def _lstm(weights: FastWeights, make: SumsFactory, rows: int) -> Steps:
    """The gates and h are held doubled if `h_scale` says so, which spares passes."""
    sums, function = make(weights, rows), _function(weights.layer)
    h, scale = sums.h, h_scale(weights.layer)
    space = empty_from_pool((5, *h.shape), h.dtype)
    activate = _activation(weights.layer, sums.gate_blocks, space[:4], 3, scale != 1)
    o, i, _, _, c = space
    gates, others = space[1:3], space[3:]  # i and f, c_hat and c
    added, kept = gates
    share = scalar(1 / scale, h.dtype)

    def advance(x: Array) -> None:
        sums(x)
        activate()
        np.multiply(gates, others, gates)
        np.add(kept, added, c)
        if scale != 1:
            np.multiply(c, share, c)
        function(c, i)
        np.multiply(i, o, h)

    return Steps(advance, h, (c,), scale)


def _gru(weights: FastWeights, make: SumsFactory, rows: int) -> Steps:
    sums, function = make(weights, rows), _function(weights.layer)
    h, units = sums.h, weights.layer.options["units"]
    after = weights.layer.options["reset_after"]
    u_h = weights.layer.weights["recurrent_kernel"][:, 2 * units :]
    b_h = biases(weights.layer)[1][2]
    gates, others = sums.gate_blocks[:2], sums.gate_blocks[2:]
    z, r = gates
    activate = _activation(weights.layer, gates, gates, 2)

    def advance(x: Array) -> None:
        rest = sums(x)
        activate()
        if after:
            s_h = others[0]
            if rest is not None:
                np.add(s_h, b_h, s_h)
            np.multiply(r, s_h, r)
        else:
            np.matmul(r * h, u_h, r)
        np.add(r, others[-1] if rest is None else rest, r)
        function(r, r)  # h_hat
        np.subtract(h, r, h)
        np.multiply(h, z, h)
        np.add(h, r, h)

    return Steps(advance, h)


FAST_STEPS: Mapping[str, Callable[[FastWeights, SumsFactory, int], Steps]] = {
    "SimpleRNN": _simple_rnn,
    "LSTM": _lstm,
    "GRU": _gru,
}
"""Class name of a layer -> its fast steps."""


@cache
def scalar(value: float, dtype: np.dtype[Any]) -> Array:
    """An array without axes: NumPy takes longer over a number that is none."""
    return np.array(value, dtype)


def _function(layer: LayerSpec) -> Callable[[Array, Array], Any]:
    """The activation, into a place of its own or where the sums are."""
    if layer.options["activation"] == "tanh":
        return np.tanh
    function = function_of(layer)

    def into(x: Array, out: Array) -> None:
        out[...] = function(x)

    return into


def _activation(
    layer: LayerSpec, sums: Array, out: Array, gates: int, doubled: bool = False
) -> Callable[[], None]:
    """What makes gates and candidates of sums.

    Parameters
    ----------
    layer : LayerSpec
    sums, out : (blocks, rows, units)
        Which may be the same.
    gates : int
        So many come first that have the recurrent activation.
    doubled : bool
        Whether gates, which are sigmoids, are wanted twice as large.
    """
    done = 0
    if uses_tanh_form(layer):
        done = len(out) if layer.options["activation"] == "tanh" else gates
    sigmoids, before, after = out[:gates], sums[:done], out[:done]
    one, half = scalar(1, out.dtype), scalar(0.5, out.dtype)
    names = ["recurrent_activation"] * gates + ["activation"] * (len(out) - gates)
    others = [
        (function_of(layer, names[k]), sums[k], out[k]) for k in range(done, len(out))
    ]

    def activate() -> None:
        if done:
            np.tanh(before, after)
            np.add(sigmoids, one, sigmoids)
            if not doubled:
                np.multiply(sigmoids, half, sigmoids)
        for function, block, place in others:  # softmax is over the units of one
            place[...] = function(block)

    return activate
