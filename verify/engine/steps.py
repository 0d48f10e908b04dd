"""The steps of recurrent layers for a block of rows, in buffers of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from verify.engine.layout import Layout, biases, halves, scale_of
from verify.engine.sums import Sums
from verify.layers.base import function_of
from verify.recurrence import Stepped
from verify.spec import Array, LayerSpec


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

    def apart(self, x: Array, states: tuple[Array, ...]) -> Stepped:
        """A step whose states come in and go out, as `verify.recurrence` wants it."""
        self.begin(states)
        self.advance(x)
        new = self.states()
        return Stepped(new[0], new, {})


def _simple_rnn(layout: Layout, kind: type[Sums], rows: int) -> Steps:
    sums, function = kind(layout, rows), _function(layout.layer)
    (z,), h = sums.sums, sums.h

    def advance(x: Array) -> None:
        rest = sums(x)
        if rest is not None:
            np.add(z, rest[0], z)
        function(z, h)

    return Steps(advance, h)


def _lstm(layout: Layout, kind: type[Sums], rows: int) -> Steps:
    """The gates and h are held doubled if `scale_of` says so, which spares passes."""
    sums, function = kind(layout, rows, more=1), _function(layout.layer)
    z, h, scale = sums.sums, sums.h, scale_of(layout.layer)
    activate = _in_place(layout.layer, z[:3], z[3:], doubled=scale != 1)
    o, i, _, _, c = sums.space
    gates, others = sums.space[1:3], sums.space[3:]  # i and f, c_hat and c
    added, kept = gates
    share = number(1 / scale, z.dtype)

    def advance(x: Array) -> None:
        rest = sums(x)
        if rest is not None:
            np.add(z, rest, z)
        activate()
        np.multiply(gates, others, gates)
        np.add(kept, added, c)
        if scale != 1:
            np.multiply(c, share, c)
        function(c, i)
        np.multiply(i, o, h)

    return Steps(advance, h, (c,), scale)


def _gru(layout: Layout, kind: type[Sums], rows: int) -> Steps:
    sums, function = kind(layout, rows), _function(layout.layer)
    h = sums.h
    units, after = layout.layer.options["units"], layout.layer.options["reset_after"]
    u_h = layout.layer.weights["recurrent_kernel"][:, 2 * units :]
    b_h = biases(layout.layer)[1][2]
    gates, *others = sums.sums[:2], *sums.sums[2:]
    z, r = gates
    activate = _in_place(layout.layer, gates, sums.sums[:0])

    def advance(x: Array) -> None:
        rest = sums(x)
        if rest is not None:
            np.add(gates, rest[:2], gates)
        activate()
        if after:
            s_h = others[0]
            if rest is not None:
                np.add(s_h, b_h, s_h)
            np.multiply(r, s_h, r)
        else:
            np.matmul(r * h, u_h, r)
        np.add(r, others[-1] if rest is None else rest[2], r)
        function(r, r)  # h_hat
        np.subtract(h, r, h)
        np.multiply(h, z, h)
        np.add(h, r, h)

    return Steps(advance, h)


STEPS: Mapping[str, Callable[[Layout, type[Sums], int], Steps]] = {
    "SimpleRNN": _simple_rnn,
    "LSTM": _lstm,
    "GRU": _gru,
}
"""Class name of a layer -> its quick steps."""


@cache
def number(value: float, dtype: np.dtype[Any]) -> Array:
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


def _in_place(
    layer: LayerSpec, gates: Array, others: Array, doubled: bool = False
) -> Callable[[], None]:
    """What turns sums into gates and candidates, where they lie.

    Parameters
    ----------
    layer : LayerSpec
    gates, others : (blocks, rows, units)
        One behind the other: those with the recurrent activation, and with the other.
    doubled : bool
        Whether gates, which are sigmoids, are wanted twice as large.
    """
    halved, tanh = halves(layer), layer.options["activation"] == "tanh"
    together = tanh and len(others) > 0  # one call for all
    both = gates
    if together and gates.base is not None:
        both = gates.base[: len(gates) + len(others)]
    one, half = number(1, gates.dtype), number(0.5, gates.dtype)

    def activate() -> None:
        if halved:
            np.tanh(both, both)
            np.add(gates, one, gates)
            if not doubled:
                np.multiply(gates, half, gates)
        else:
            gate = function_of(layer, "recurrent_activation")
            for block in gates:  # one by one: softmax has the units for its axis
                block[...] = gate(block)
        if not halved or not together:
            other = function_of(layer)
            for block in others:
                block[...] = other(block)

    return activate
