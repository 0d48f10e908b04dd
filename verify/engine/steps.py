"""Recurrent layers with their weights laid out for quick steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from verify.dtypes import POLICIES, working
from verify.layers.base import function_of
from verify.recurrence import Scan, Stepped, scan
from verify.spec import GATES, Array, LayerSpec

AHEAD = 2**18
"""Numbers that the inputs' share of the sums may take for every step of one row."""


@dataclass(frozen=True, eq=False)
class Quick:
    """A recurrent layer whose weights are laid out for quick steps.

    Attributes
    ----------
    layer : LayerSpec
        The layer as it is.
    table : (ids, columns), optional
        Embeddings times the kernel, plus the bias that the inputs get. With it the
        layer is given ids, (batch, time).
    """

    layer: LayerSpec
    table: Array | None = None
    stack: Array = field(init=False)

    def __post_init__(self) -> None:
        stack = _stack(self.layer, looks_up=self.looks_up)
        object.__setattr__(self, "stack", stack)

    @property
    def looks_up(self) -> bool:
        """Whether the layer is given ids."""
        return self.table is not None

    @cached_property
    def recurrent(self) -> Array:
        """What h alone is multiplied by, blocks beside each other: (units, columns)."""
        stack = self.stack if self.looks_up else _stack(self.layer, looks_up=True)
        return np.concatenate(list(stack), axis=1)

    @cached_property
    def inputs(self) -> tuple[Array, Array]:
        """What x alone is multiplied by, and what is added: (features + 1, columns)."""
        return _of_inputs(self.layer)

    def ahead(self, x: Array) -> Array:
        """The share that x has in the sums, for every step: (time, columns).

        Parameters
        ----------
        x : (time, features), or (time,) of ids
        """
        if self.table is not None:
            return self.table.take(x, 0, mode="clip")
        kernel, bias = self.inputs
        share: Array = x @ kernel
        share += bias
        return share

    def __call__(
        self,
        x: Array,
        mask: Array | None,
        states: tuple[Array, ...],
        names: tuple[str, ...],
        *,
        return_sequences: bool,
        go_backwards: bool,
        **options: Any,
    ) -> Scan:
        """As `verify.recurrence.scan` with the steps of this layer, nothing recorded.

        Its rules for masks are not repeated here: masked steps go through it.
        """
        batch, time = x.shape[:2]
        kernel = self.layer.weights["kernel"]
        if not self.looks_up and x.shape[2:] != kernel.shape[:1]:
            raise ValueError(f"{len(kernel)} features expected")  # none broadcast
        if mask is not None:
            steps = self._steps(_LookedUp if self.looks_up else _Products, batch)
            return scan(
                steps.apart,
                x,
                mask,
                states,
                names,
                return_sequences=return_sequences,
                go_backwards=go_backwards,
                **options,
            )
        if not time:
            raise ValueError("a sequence without a time step")
        if batch == 1 and time * kernel.shape[1] <= AHEAD:
            steps = self._steps(_Ahead, batch)
            by_time = self.ahead(x[0]).reshape(time, -1, 1, self.layer.options["units"])
        else:
            steps = self._steps(_LookedUp if self.looks_up else _Products, batch)
            by_time = x.swapaxes(0, 1)  # (time, batch, ...)
        h = steps.begin(states)
        if go_backwards:
            by_time = by_time[::-1]
        if not return_sequences:
            for x_t in by_time:
                steps.advance(x_t, h, h)
            states = steps.states(h)
            return Scan(states[0], states, {})
        sequence = np.empty((time + 1, *h.shape), h.dtype)
        sequence[0] = h
        for x_t, h, out in zip(by_time, sequence, sequence[1:], strict=False):
            steps.advance(x_t, h, out)
        states = steps.states(sequence[-1])
        outputs = sequence[1:]
        if steps.scale != 1:
            outputs /= steps.scale
        return Scan(outputs.swapaxes(0, 1), states, {})

    def _steps(self, sums: type[_Sums], rows: int) -> _Steps:
        return STEPS[self.layer.class_name](self, sums, rows)


class _Sums(Protocol):
    """The sums of a step: products with x and h, and the bias.

    Called with x and h it fills `sums`, and returns what remains to be added to them,
    (blocks, rows, units), or nothing.

    Attributes
    ----------
    sums : (blocks, rows, units)
    space : (blocks + more, rows, units)
        The sums, and behind them room for what is multiplied with them.
    h : (rows, units)
        Where h lies best; it is copied there if it lies elsewhere.
    """

    sums: Array
    space: Array
    h: Array

    def __init__(self, quick: Quick, rows: int, more: int = 0) -> None: ...

    def __call__(self, x: Array, h: Array) -> Array | None: ...


class _Products(_Sums):
    """Both products in one, of x (rows, features)."""

    def __init__(self, quick: Quick, rows: int, more: int = 0) -> None:
        self.stack = quick.stack
        blocks, width, units = self.stack.shape
        self.space = np.empty((blocks + more, rows, units), self.stack.dtype)
        self.sums = self.space[:blocks]
        self.inputs = np.ones((rows, width), self.stack.dtype)  # x, h, 1
        features = width - units - 1
        self.x = self.inputs[:, :features]
        self.h = self.inputs[:, features:-1]

    def __call__(self, x: Array, h: Array) -> None:
        self.x[...] = x
        if h is not self.h:
            self.h[...] = h
        np.matmul(self.inputs, self.stack, self.sums)


class _LookedUp(_Sums):
    """The share of x (rows,) is looked up in a table: x is ids."""

    def __init__(self, quick: Quick, rows: int, more: int = 0) -> None:
        assert quick.table is not None
        self.stack, self.table = quick.stack, quick.table
        blocks, units, _ = self.stack.shape
        self.space = np.empty((blocks + more, rows, units), self.stack.dtype)
        self.sums = self.space[:blocks]
        self.h = np.empty((rows, units), self.stack.dtype)
        self.row = np.empty((rows, self.table.shape[1]), self.stack.dtype)
        self.found = self.row.reshape(rows, -1, units).transpose(1, 0, 2)

    def __call__(self, x: Array, h: Array) -> Array:
        # ids have been checked: "clip" spares a second check and a copy
        self.table.take(x, 0, self.row, "clip")
        np.matmul(h, self.stack, self.sums)
        return self.found


class _Ahead(_Sums):
    """One row, whose share of x is known for every step; x is (blocks, 1, units).

    The blocks of one row lie behind each other: one product of a vector does.
    """

    def __init__(self, quick: Quick, rows: int, more: int = 0) -> None:
        self.kernel = quick.recurrent
        units, columns = self.kernel.shape
        blocks = columns // units
        self.space = np.empty((blocks + more, rows, units), self.kernel.dtype)
        self.sums = self.space[:blocks]
        self.flat = self.sums.reshape(rows, columns)
        self.h = np.empty((rows, units), self.kernel.dtype)

    def __call__(self, x: Array, h: Array) -> Array:
        np.dot(h, self.kernel, self.flat)
        return x


class _Steps(NamedTuple):
    """The steps of a block of rows, which keep what they need in buffers.

    Attributes
    ----------
    advance : callable
        Given x, h and where the next h goes, which may be where h is; all other states
        stay in `kept`.
    h : (rows, units)
        Where h lies best.
    kept : tuple of (rows, units)
        The states other than h.
    scale : int
        h is held so many times as large.
    """

    advance: Callable[[Array, Array, Array], None]
    h: Array
    kept: tuple[Array, ...] = ()
    scale: int = 1

    def begin(self, states: tuple[Array, ...]) -> Array:
        """Take over the states of a layer; returns where h is."""
        for place, state in zip((self.h, *self.kept), states, strict=True):
            place[...] = state
        if self.scale != 1:
            np.multiply(self.h, self.scale, self.h)
        return self.h

    def states(self, h: Array) -> tuple[Array, ...]:
        """The states of the layer, none of them a buffer's."""
        return (h / self.scale, *(state.copy() for state in self.kept))

    def apart(self, x: Array, states: tuple[Array, ...]) -> Stepped:
        """A step whose states come in and go out, as `verify.recurrence` wants it."""
        h = self.begin(states)
        self.advance(x, h, h)
        new = self.states(h)
        return Stepped(new[0], new, {})


def _simple_rnn(quick: Quick, kind: type[_Sums], rows: int) -> _Steps:
    sums, function = kind(quick, rows), _function(quick.layer)
    (z,) = sums.sums

    def advance(x: Array, h: Array, out: Array) -> None:
        rest = sums(x, h)
        if rest is not None:
            np.add(z, rest[0], z)
        function(z, out)

    return _Steps(advance, sums.h)


def _lstm(quick: Quick, kind: type[_Sums], rows: int) -> _Steps:
    """The gates and h are held doubled if `_scale` says so, which spares passes."""
    sums, function = kind(quick, rows, more=1), _function(quick.layer)
    z, scale = sums.sums, _scale(quick.layer)
    activate = _in_place(quick.layer, z[:3], z[3:], doubled=scale != 1)
    o, i, _, _, c = sums.space
    gates, others = sums.space[1:3], sums.space[3:]  # i and f, c_hat and c
    added, kept = gates
    share = z.dtype.type(1 / scale)

    def advance(x: Array, h: Array, out: Array) -> None:
        rest = sums(x, h)
        if rest is not None:
            np.add(z, rest, z)
        activate()
        np.multiply(gates, others, gates)
        np.add(kept, added, c)
        if scale != 1:
            np.multiply(c, share, c)
        function(c, i)
        np.multiply(i, o, out)

    return _Steps(advance, sums.h, (c,), scale)


def _gru(quick: Quick, kind: type[_Sums], rows: int) -> _Steps:
    sums, function = kind(quick, rows), _function(quick.layer)
    units, after = quick.layer.options["units"], quick.layer.options["reset_after"]
    u_h = quick.layer.weights["recurrent_kernel"][:, 2 * units :]
    b_h = _biases(quick.layer)[1][2]
    gates, *others = sums.sums[:2], *sums.sums[2:]
    z, r = gates
    activate = _in_place(quick.layer, gates, sums.sums[:0])

    def advance(x: Array, h: Array, out: Array) -> None:
        rest = sums(x, h)
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
        np.subtract(h, r, out)
        np.multiply(out, z, out)
        np.add(out, r, out)

    return _Steps(advance, sums.h)


STEPS: Mapping[str, Callable[[Quick, type[_Sums], int], _Steps]] = {
    "SimpleRNN": _simple_rnn,
    "LSTM": _lstm,
    "GRU": _gru,
}
"""Class name of a layer -> its quick steps."""


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
    halved, tanh = _halves(layer), layer.options["activation"] == "tanh"
    together = tanh and len(others) > 0  # one call for all
    both = gates
    if together and gates.base is not None:
        both = gates.base[: len(gates) + len(others)]
    one, half = gates.dtype.type(1), gates.dtype.type(0.5)

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


def _halves(layer: LayerSpec) -> bool:
    """Whether the sums of the gates are halved, for tanh in the place of sigmoid."""
    return layer.options.get("recurrent_activation") == "sigmoid"


def _scale(layer: LayerSpec) -> int:
    """How many times as large the steps of a layer hold h; see `_lstm`.

    A power of two, with functions that are bounded: no digit is lost.
    """
    doubled = layer.class_name == "LSTM" and _halves(layer)
    return 2 if doubled and layer.options["activation"] == "tanh" else 1


ORDER: Mapping[str, tuple[str, ...]] = {
    "SimpleRNN": ("h",),
    "LSTM": ("o", "i", "f", "c"),
    "GRU": ("z", "r", "h"),
}
"""The blocks of a step's sums: those with the recurrent activation come first."""


def _columns(layer: LayerSpec, weight: Array) -> Array:
    """The columns of a weight by blocks, gates halved: (blocks, rows, units)."""
    units = layer.options["units"]
    order = ORDER[layer.class_name]
    stored = GATES[layer.class_name]
    blocks = weight.reshape(-1, len(order), units).transpose(1, 0, 2)
    blocks = np.stack([blocks[stored.index(gate)] for gate in order])
    if _halves(layer):
        blocks[: len(order) - 1] *= 0.5
    return blocks


def _biases(layer: LayerSpec) -> tuple[Array, Array]:
    """Of the inputs and of the recurrent side, (blocks, 1, units) each."""
    kernel = layer.weights["recurrent_kernel"]
    bias = layer.weights.get("bias", np.zeros(kernel.shape[1], kernel.dtype))
    rows = np.atleast_2d(bias)
    own = _columns(layer, rows[:1])
    return own, _columns(layer, rows[1:]) if len(rows) > 1 else np.zeros_like(own)


def _stack(layer: LayerSpec, looks_up: bool) -> Array:
    """What ``[x, h, 1]`` is multiplied by, or ``h`` alone where x is looked up.

    The candidate of a GRU needs both sides apart: with ``reset_after`` the last block
    is that of the inputs, and the one before it that of h; without, h has none.
    """
    recurrent = _columns(layer, layer.weights["recurrent_kernel"]) / _scale(layer)
    gru = layer.class_name == "GRU"
    after = gru and layer.options["reset_after"]
    if looks_up:
        return np.ascontiguousarray(recurrent[:2] if gru and not after else recurrent)
    kernel = _columns(layer, layer.weights["kernel"])
    given, held = _biases(layer)
    if not gru:
        return np.concatenate([kernel, recurrent, given + held], axis=1)
    gates = [x[:2] for x in (kernel, recurrent, given + held)]
    parts = [np.concatenate(gates, axis=1)]
    if after:
        nothing = np.zeros_like(kernel[2:])
        parts.append(np.concatenate([nothing, recurrent[2:], held[2:]], axis=1))
    nothing = np.zeros_like(recurrent[2:])
    parts.append(np.concatenate([kernel[2:], nothing, given[2:]], axis=1))
    return np.concatenate(parts)


def _of_inputs(layer: LayerSpec) -> tuple[Array, Array]:
    """What x alone is multiplied by, and what is added; blocks beside each other."""
    given, held = _biases(layer)
    if layer.class_name != "GRU":
        given = given + held
    else:  # that of the candidate's recurrent side is added to it inside
        given[:2] += held[:2]
    kernel = np.concatenate(list(_columns(layer, layer.weights["kernel"])), axis=1)
    return kernel, given.reshape(-1)


def table_of(layer: LayerSpec, embeddings: Array) -> Array:
    """Every id's share of the sums: (ids, blocks * units)."""
    kernel, bias = _of_inputs(layer)
    table: Array = embeddings @ kernel
    table += bias
    return table


def quick_layer(layer: LayerSpec) -> LayerSpec:
    """A recurrent layer with its quick steps; any other layer as it is."""
    if layer.class_name not in STEPS or layer.overrides:
        return layer
    compute = POLICIES[layer.policy].compute
    if compute not in ("float32", "float64") or any(
        weight.dtype != working(compute) for weight in layer.weights.values()
    ):
        return layer
    return layer.with_overrides(quick=Quick(layer))
