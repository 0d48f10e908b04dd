"""Weights of a recurrent layer, laid out for the products of quick steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from verify.spec import GATES, Array, LayerSpec


@dataclass(frozen=True, eq=False)
class Layout:
    """Weights in blocks of columns, in the order of `ORDER`.

    Attributes
    ----------
    layer : LayerSpec
        The layer as it is.
    table : (ids, columns), optional
        What `share` makes of an embedding. With it the layer is given ids.
    stack : (blocks, rows, units)
        What ``[x, h, 1]`` is multiplied by, or ``h`` alone where x is looked up.
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
        """What x alone is multiplied by, (features, columns), and its bias."""
        given, held = biases(self.layer)
        if self.layer.class_name != "GRU":
            given = given + held
        else:  # the candidate's other bias is added to h's share
            given[:2] += held[:2]
        blocks = _columns(self.layer, self.layer.weights["kernel"])
        return np.concatenate(list(blocks), axis=1), given.reshape(-1)

    def share(self, x: Array) -> Array:
        """What x adds to the sums: (rows, columns).

        Parameters
        ----------
        x : (rows, features), or (rows,) of ids
        """
        if self.table is not None:
            return self.table.take(x, 0, mode="clip")
        kernel, bias = self.inputs
        share: Array = x @ kernel
        share += bias
        return share


def halves(layer: LayerSpec) -> bool:
    """Whether the sums of the gates are halved, for tanh in the place of sigmoid."""
    return layer.options.get("recurrent_activation") == "sigmoid"


def scale_of(layer: LayerSpec) -> int:
    """How many times as large the steps of a layer hold h; see `verify.engine.steps`.

    A power of two, with functions that are bounded: no digit is lost.
    """
    doubled = layer.class_name == "LSTM" and halves(layer)
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
    if halves(layer):
        blocks[: len(order) - 1] *= 0.5
    return blocks


def biases(layer: LayerSpec) -> tuple[Array, Array]:
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
    recurrent = _columns(layer, layer.weights["recurrent_kernel"]) / scale_of(layer)
    gru = layer.class_name == "GRU"
    after = gru and layer.options["reset_after"]
    if looks_up:
        return np.ascontiguousarray(recurrent[:2] if gru and not after else recurrent)
    kernel = _columns(layer, layer.weights["kernel"])
    given, held = biases(layer)
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
