"""Lay out the weights of a recurrent layer for the products of the fast path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from verify.model.arrays import Array
from verify.model.spec import GATES, LayerSpec


@dataclass(frozen=True, eq=False)
class GateColumns:
    """Hold a weight whose columns are gate blocks.

    Attributes
    ----------
    flat : (rows, gates * units)
        The weight.
    units : int
        Number of columns of each block.
    """

    flat: Array
    units: int

    @cached_property
    def stacked(self) -> Array:
        """Return the weight with contiguous gate blocks: (gates, rows, units)."""
        return np.ascontiguousarray(by_gate(self.flat, self.units))


def by_gate(flat: Array, units: int) -> Array:
    """Return a view by gates, (gates, rows, units), of (rows, gates * units)."""
    rows = len(flat)
    return flat.reshape(rows, -1, units).transpose(1, 0, 2)  # (gates, rows, units)


@dataclass(frozen=True, eq=False)
class FastWeights:
    """Hold the weights of a layer with gate blocks in the order of `GATE_ORDER`.

    Attributes
    ----------
    layer : LayerSpec
        The layer, with its gate blocks in Keras's order.
    table : (ids, columns), optional
        The `input_part` of each row of an embedding. If it is given, x is ids.
    """

    layer: LayerSpec
    table: Array | None = None

    @property
    def looks_up(self) -> bool:
        """Return whether the layer is given ids."""
        return self.table is not None

    @property
    def separate_candidate(self) -> bool:
        """Return whether the candidate needs x's part and h's part separately.

        In a GRU it does, ``a_h + r * s_h``; elsewhere only the sum is needed.
        """
        return self.layer.class_name == "GRU"

    @cached_property
    def recurrent(self) -> GateColumns:
        """Return the weight that h is multiplied by: (units, columns)."""
        blocks = _gate_blocks(self.layer, self.layer.weights["recurrent_kernel"])
        blocks /= h_scale(self.layer)
        if self.separate_candidate and not self.layer.options["reset_after"]:
            blocks = blocks[:2]  # the candidate's block multiplies r * h, later
        return GateColumns(_beside(blocks), self.layer.options["units"])

    @cached_property
    def inputs(self) -> tuple[Array, Array]:
        """Return the weight that x is multiplied by, (features, columns), and a bias.

        The bias, (columns,), contains those of h where they can be added to x's part.
        """
        bias, recurrent_bias = biases(self.layer)
        if self.separate_candidate:  # the candidate's other bias is added to h's part
            bias[:2] += recurrent_bias[:2]
        else:
            bias = bias + recurrent_bias
        kernel = _gate_blocks(self.layer, self.layer.weights["kernel"])
        return _beside(kernel), bias.reshape(-1)  # (columns,)

    @cached_property
    def fused(self) -> GateColumns:
        """Return the weight that ``[x, h, 1]`` is multiplied by.

        It has a row for each feature, one for each unit and one for the bias. For a
        GRU, x's part of the candidate has columns of its own, which come last.
        """
        (kernel, bias), recurrent = self.inputs, self.recurrent.flat
        (features, _), (units, columns) = kernel.shape, recurrent.shape
        x_columns = np.arange(columns)  # x's part is added to h's part
        if self.separate_candidate:
            # z and r are sums; the candidate's columns come after all those of h
            x_columns = np.r_[: 2 * units, columns : columns + units]
        shape = (features + units + 1, x_columns[-1] + 1)
        fused = np.zeros(shape, kernel.dtype)  # rows x, h, 1
        fused[:features, x_columns] = kernel
        fused[features:-1, :columns] = recurrent
        fused[-1, x_columns] = bias
        if self.separate_candidate and columns > 2 * units:  # reset_after
            fused[-1, 2 * units : columns] = biases(self.layer)[1][2]
        return GateColumns(fused, units)

    def empty_h(self, rows: int) -> Array:
        """Return an uninitialised array for h: (rows, units)."""
        recurrent = self.layer.weights["recurrent_kernel"]
        return np.empty((rows, len(recurrent)), recurrent.dtype)

    def input_part(self, x: Array) -> Array:
        """Return x's part of the pre-activations, bias included: (rows, columns).

        Parameters
        ----------
        x : (rows, features), or (rows,) of ids
        """
        if self.table is not None:
            # Embedding has refused ids outside the table; "clip" only saves NumPy from
            # checking them again. Without that check a wrong id would get a wrong row.
            return self.table.take(x, 0, mode="clip")
        kernel, bias = self.inputs
        part: Array = x @ kernel  # (rows, columns)
        part += bias
        return part


def uses_tanh_form(layer: LayerSpec) -> bool:
    """Return whether gates are computed as ``(1 + tanh(z / 2)) / 2``.

    The columns of their weights are then halved beforehand.
    """
    return layer.options.get("recurrent_activation") == "sigmoid"


def h_scale(layer: LayerSpec) -> int:
    """Return the factor by which the fast path holds h larger than it is.

    An LSTM in tanh form computes doubled gates, ``1 + tanh(z / 2)``. It holds ``2 * h``
    and is spared halving them. No digit is lost, because 2 is a power of two, and
    nothing overflows, because the gates and the activation are bounded.
    """
    doubled = layer.class_name == "LSTM" and uses_tanh_form(layer)
    return 2 if doubled and layer.options["activation"] == "tanh" else 1


GATE_ORDER: Mapping[str, tuple[str, ...]] = {
    "SimpleRNN": ("h",),
    "LSTM": ("o", "i", "f", "c"),
    "GRU": ("z", "r", "h"),
}
"""Class name -> the order of the gate blocks in the fast path. Those with the recurrent
activation come first, so that one call computes all of them."""


def _gate_blocks(layer: LayerSpec, weight: Array) -> Array:
    """Return the columns of a weight by gate, halved for gates in tanh form.

    Parameters
    ----------
    weight : (rows, gates * units)

    Returns
    -------
    (gates, rows, units)
    """
    order = GATE_ORDER[layer.class_name]
    stored = GATES[layer.class_name]
    blocks = by_gate(weight, layer.options["units"])
    blocks = np.stack([blocks[stored.index(gate)] for gate in order])
    if uses_tanh_form(layer):
        blocks[: len(order) - 1] *= 0.5
    return blocks


def biases(layer: LayerSpec) -> tuple[Array, Array]:
    """Return the bias of x's part and that of h's part, (gates, 1, units) each."""
    kernel = layer.weights["recurrent_kernel"]
    bias = layer.weights.get("bias", np.zeros(kernel.shape[1], kernel.dtype))
    rows = np.atleast_2d(bias)  # (1 or 2, gates * units)
    own = _gate_blocks(layer, rows[:1])
    return own, _gate_blocks(layer, rows[1:]) if len(rows) > 1 else np.zeros_like(own)


def _beside(blocks: Array) -> Array:
    """Join gate blocks (gates, rows, units) side by side: (rows, columns)."""
    return np.concatenate(list(blocks), axis=1)
