"""Weights of a recurrent layer, laid out for the products of fast steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from verify.model.arrays import Array
from verify.model.spec import GATES, LayerSpec


@dataclass(frozen=True, eq=False)
class GateColumns:
    """Blocks of columns, of so many units each: (rows, columns)."""

    flat: Array
    units: int

    @cached_property
    def stack(self) -> Array:
        """The blocks behind each other: (blocks, rows, units)."""
        return np.ascontiguousarray(by_gate_block(self.flat, self.units))


def by_gate_block(flat: Array, units: int) -> Array:
    """What lies beside each other in (rows, columns) as (blocks, rows, units)."""
    return flat.reshape(len(flat), -1, units).transpose(1, 0, 2)


@dataclass(frozen=True, eq=False)
class FastWeights:
    """Weights in blocks of columns, in the order of `GATE_ORDER`.

    Attributes
    ----------
    layer : LayerSpec
        The layer as it is.
    table : (ids, columns), optional
        What `input_sums` makes of an embedding. With it the layer is given ids.
    """

    layer: LayerSpec
    table: Array | None = None

    @property
    def looks_up(self) -> bool:
        """Whether the layer is given ids."""
        return self.table is not None

    @property
    def separate_candidate(self) -> bool:
        """Whether x and h are not simply added: the candidate of a GRU needs both."""
        return self.layer.class_name == "GRU"

    @cached_property
    def recurrent(self) -> GateColumns:
        """What h alone is multiplied by, one row for each unit."""
        blocks = _columns(self.layer, self.layer.weights["recurrent_kernel"])
        blocks /= h_scale(self.layer)
        if self.separate_candidate and not self.layer.options["reset_after"]:
            blocks = blocks[:2]  # the candidate's is multiplied by r * h
        return GateColumns(_beside(blocks), self.layer.options["units"])

    @cached_property
    def inputs(self) -> tuple[Array, Array]:
        """What x alone is multiplied by, (features, columns), and its bias."""
        given, held = biases(self.layer)
        if self.separate_candidate:  # the candidate's other bias is added to h's share
            given[:2] += held[:2]
        else:
            given = given + held
        kernel = _columns(self.layer, self.layer.weights["kernel"])
        return _beside(kernel), given.reshape(-1)

    @cached_property
    def together(self) -> GateColumns:
        """What ``[x, h, 1]`` is multiplied by, one row for each number.

        Of a GRU's candidate what comes of x is the last block.
        """
        (kernel, bias), recurrent = self.inputs, self.recurrent.flat
        (features, _), (units, columns) = kernel.shape, recurrent.shape
        given = np.arange(columns)  # where x adds to the sums
        if self.separate_candidate:
            given = np.r_[: 2 * units, columns : columns + units]
        found = np.zeros((features + units + 1, given[-1] + 1), kernel.dtype)
        found[:features, given], found[-1, given] = kernel, bias
        found[features:-1, :columns] = recurrent
        if self.separate_candidate and columns > 2 * units:  # reset_after
            found[-1, 2 * units : columns] = biases(self.layer)[1][2]
        return GateColumns(found, units)

    def empty_h(self, rows: int) -> Array:
        """(rows, units), for anything."""
        recurrent = self.layer.weights["recurrent_kernel"]
        return np.empty((rows, len(recurrent)), recurrent.dtype)

    def input_sums(self, x: Array) -> Array:
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


def uses_tanh_form(layer: LayerSpec) -> bool:
    """Whether the sums of the gates are halved, for tanh in the place of sigmoid."""
    return layer.options.get("recurrent_activation") == "sigmoid"


def h_scale(layer: LayerSpec) -> int:
    """How many times as large the steps of a layer hold h; see `verify.forward.fast.steps`.

    A power of two, with functions that are bounded: no digit is lost.
    """
    doubled = layer.class_name == "LSTM" and uses_tanh_form(layer)
    return 2 if doubled and layer.options["activation"] == "tanh" else 1


GATE_ORDER: Mapping[str, tuple[str, ...]] = {
    "SimpleRNN": ("h",),
    "LSTM": ("o", "i", "f", "c"),
    "GRU": ("z", "r", "h"),
}
"""The blocks of a step's sums: those with the recurrent activation come first."""


def _columns(layer: LayerSpec, weight: Array) -> Array:
    """The columns of a weight by blocks, gates halved: (blocks, rows, units)."""
    units = layer.options["units"]
    order = GATE_ORDER[layer.class_name]
    stored = GATES[layer.class_name]
    blocks = weight.reshape(-1, len(order), units).transpose(1, 0, 2)
    blocks = np.stack([blocks[stored.index(gate)] for gate in order])
    if uses_tanh_form(layer):
        blocks[: len(order) - 1] *= 0.5
    return blocks


def biases(layer: LayerSpec) -> tuple[Array, Array]:
    """Of the inputs and of the recurrent side, (blocks, 1, units) each."""
    kernel = layer.weights["recurrent_kernel"]
    bias = layer.weights.get("bias", np.zeros(kernel.shape[1], kernel.dtype))
    rows = np.atleast_2d(bias)
    own = _columns(layer, rows[:1])
    return own, _columns(layer, rows[1:]) if len(rows) > 1 else np.zeros_like(own)


def _beside(blocks: Array) -> Array:
    """Blocks (blocks, rows, units) beside each other: (rows, columns)."""
    return np.concatenate(list(blocks), axis=1)
