"""Recurrent layers with their weights laid out for quick steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from verify.dtypes import POLICIES, working
from verify.layers.base import function_of
from verify.recurrence import Step, Stepped
from verify.spec import GATES, Array, LayerSpec


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
        stack = _stack(self.layer, looks_up=self.table is not None)
        object.__setattr__(self, "stack", stack)

    @property
    def looks_up(self) -> bool:
        """Whether the layer is given ids."""
        return self.table is not None

    def __call__(self, rows: int) -> Step:
        """Steps for a block of so many rows, with buffers of their own."""
        return QUICK[self.layer.class_name](self, rows)


class _Sums:
    """The sums of a step: products with x and h, and the bias; (blocks, rows, units).

    With a table ``x`` is ids, and `looked_up` holds what was found for each block.
    """

    def __init__(self, quick: Quick, rows: int) -> None:
        self.stack, self.table = quick.stack, quick.table
        blocks, width, units = self.stack.shape
        dtype = self.stack.dtype
        self.sums = np.empty((blocks, rows, units), dtype)
        if self.table is None:
            self.inputs = np.ones((rows, width), dtype)  # x, h, 1
            features = width - units - 1
            self._x = self.inputs[:, :features]
            self._h = self.inputs[:, features:-1]
        else:
            self._found = np.empty((rows, self.table.shape[1]), dtype)
            self.looked_up = self._found.reshape(rows, -1, units).transpose(1, 0, 2)

    def __call__(self, x: Array, h: Array) -> None:
        """Fill `sums`, and `looked_up`."""
        if self.table is None:
            self._x[...] = x
            self._h[...] = h
            np.matmul(self.inputs, self.stack, out=self.sums)
        else:
            # ids have been checked: "clip" spares a second check and a copy
            self.table.take(x, axis=0, out=self._found, mode="clip")
            np.matmul(h, self.stack, out=self.sums)


def _simple_rnn(quick: Quick, rows: int) -> Step:
    sums, function = _Sums(quick, rows), _function(quick.layer)
    (z,), looks_up = sums.sums, quick.looks_up

    def step(x: Array, states: tuple[Array, ...]) -> Stepped:
        sums(x, states[0])
        if looks_up:
            np.add(z, sums.looked_up[0], out=z)
        h = function(z)
        return Stepped(h, (h,), {})

    return step


def _lstm(quick: Quick, rows: int) -> Step:
    sums, function = _Sums(quick, rows), _function(quick.layer)
    z, looks_up = sums.sums, quick.looks_up
    i, f, o, c_hat = z
    activate = _in_place(quick.layer, z[:3], z[3:])

    def step(x: Array, states: tuple[Array, ...]) -> Stepped:
        sums(x, states[0])
        if looks_up:
            np.add(z, sums.looked_up, out=z)
        activate()
        c = f * states[1]
        np.multiply(i, c_hat, out=i)
        np.add(c, i, out=c)
        h = function(c)
        np.multiply(h, o, out=h)
        return Stepped(h, (h, c), {})

    return step


def _gru(quick: Quick, rows: int) -> Step:
    sums, function = _Sums(quick, rows), _function(quick.layer)
    units, after = quick.layer.options["units"], quick.layer.options["reset_after"]
    u_h = quick.layer.weights["recurrent_kernel"][:, 2 * units :]
    b_h = _biases(quick.layer)[1][2]
    looks_up, gates = quick.looks_up, sums.sums[:2]
    z, r = gates
    activate = _in_place(quick.layer, gates, sums.sums[:0])
    a_h = sums.looked_up[2] if looks_up else sums.sums[-1]

    def step(x: Array, states: tuple[Array, ...]) -> Stepped:
        (h,) = states
        sums(x, h)
        if looks_up:
            np.add(gates, sums.looked_up[:2], out=gates)
        activate()
        if after:
            s_h = sums.sums[2]
            if looks_up:
                np.add(s_h, b_h, out=s_h)
            inside = np.multiply(r, s_h, out=r)
        else:
            inside = (r * h) @ u_h
        np.add(inside, a_h, out=inside)
        h_hat = function(inside)
        new = h - h_hat
        np.multiply(new, z, out=new)
        np.add(new, h_hat, out=new)
        return Stepped(new, (new,), {})

    return step


QUICK: Mapping[str, Callable[[Quick, int], Step]] = {
    "SimpleRNN": _simple_rnn,
    "LSTM": _lstm,
    "GRU": _gru,
}
"""Class name of a layer -> its quick steps."""


def _function(layer: LayerSpec) -> Callable[[Array], Array]:
    """The activation, always into an array of its own: sums are written over."""
    if layer.options["activation"] == "tanh":
        return np.tanh
    function = function_of(layer)
    sample = np.ones((1, 1))
    if np.may_share_memory(function(sample), sample):  # linear hands back what it got
        return lambda x: np.array(function(x))
    return function


def _in_place(layer: LayerSpec, gates: Array, others: Array) -> Callable[[], None]:
    """What turns sums into gates and candidates, where they lie; (blocks, rows, units).

    Parameters
    ----------
    layer : LayerSpec
    gates, others : (blocks, rows, units)
        One behind the other: those with the recurrent activation, and with the other.
    """
    gate, other = function_of(layer, "recurrent_activation"), function_of(layer)
    halved, tanh = _halves(layer), layer.options["activation"] == "tanh"
    whole = gates.base if len(others) and tanh else None
    both = gates if whole is None else whole  # one call for all
    one, half = gates.dtype.type(1), gates.dtype.type(0.5)

    def activate() -> None:
        if halved:
            np.tanh(both, out=both)
            np.add(gates, one, out=gates)
            np.multiply(gates, half, out=gates)
        else:
            for block in gates:  # one by one: softmax has the units for its axis
                block[...] = gate(block)
        if not halved or both is gates:
            for block in others:
                block[...] = other(block)

    return activate


def _halves(layer: LayerSpec) -> bool:
    """Whether the sums of the gates are halved, for tanh in the place of sigmoid."""
    return layer.options.get("recurrent_activation") == "sigmoid"


ORDER: Mapping[str, tuple[str, ...]] = {
    "SimpleRNN": ("h",),
    "LSTM": ("i", "f", "o", "c"),
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
    recurrent = _columns(layer, layer.weights["recurrent_kernel"])
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


def table_of(layer: LayerSpec, embeddings: Array) -> Array:
    """Every id's share of the sums: (ids, blocks * units)."""
    given, held = _biases(layer)
    if layer.class_name != "GRU":
        given = given + held
    else:
        given[:2] += held[:2]
    kernel = np.concatenate(list(_columns(layer, layer.weights["kernel"])), axis=1)
    table: Array = embeddings @ kernel
    table += given.reshape(-1)
    return table


def quick_layer(layer: LayerSpec) -> LayerSpec:
    """A recurrent layer with its quick steps; any other layer as it is."""
    if layer.class_name not in QUICK or layer.overrides:
        return layer
    compute = POLICIES[layer.policy].compute
    if compute not in ("float32", "float64") or any(
        weight.dtype != working(compute) for weight in layer.weights.values()
    ):
        return layer
    return layer.with_overrides(quick=Quick(layer))
