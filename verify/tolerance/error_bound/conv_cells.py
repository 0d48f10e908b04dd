"""Say how the states of a ConvLSTM depend on what a step computes: as those of an LSTM.

Its products are convolutions, so values have axes of space: (rows, spatial..., units).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from verify.backward.cells import BackwardCell, LSTMBack, Values
from verify.backward.layers import CONV_LOOPS
from verify.backward.recording.convolution import Windows
from verify.forward.convolution import convolve
from verify.model.arrays import Array
from verify.model.spec import LayerSpec
from verify.tolerance.activation_errors import KINKS
from verify.tolerance.error_bound.loop_cells import CELLS, LoopCell, LSTMLoopCell

ROUNDED_UP = 1 + 1e-4
"""Makes up for what float32 loses in the sizes of products."""


class _ConvLSTMBack(LSTMBack):
    """Have the values of a step of `verify.forward.cells.conv_lstm_step`."""

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        options = layer.options
        ones = (1,) * len(options["kernel_size"])
        self.how: Mapping[str, Any] = {
            "strides": options["strides"],
            "padding": options["padding"],
            "dilation": options["dilation_rate"],
        }
        self.recurrent_how: Mapping[str, Any] = {
            "strides": ones, "padding": "same", "dilation": ones,
        }  # fmt: skip
        functions = {options["activation"], options["recurrent_activation"]}
        # on which side of a kink a sum is, float64 must say
        self.dtype: Any = np.float64 if functions & KINKS.keys() else np.float32

    def products(
        self, x: Array, h: Array, *, sizes: bool = False
    ) -> tuple[Array, Array]:
        """Return both convolutions, or what their terms add up to without their signs.

        Parameters
        ----------
        x : (rows, spatial..., channels)
        h : (rows, spatial after the convolution..., units)
        sizes : bool
        """
        dtype = np.float32 if sizes else self.dtype
        pairs = (
            (x, self.kernel, self.how),
            (h, self.recurrent_kernel, self.recurrent_how),
        )
        found = []
        for given, kernel, how in pairs:
            pair = [a.astype(dtype) for a in (given, kernel)]
            y = convolve(*(map(np.abs, pair) if sizes else pair), **how)
            found.append(y.astype(np.float64))
        return found[0], found[1]

    def values(self, x: Array, before: tuple[Array, ...], traced: Values) -> Values:
        """Return the values of a step, computing those that a trace lacks.

        ::

            z_i, z_f, z_c, z_o = split(convolve(x) + bias + recur(h_before))
            size = convolve(|x|) + |bias| + recur(|h_before|), with absolute kernels
            then as for an LSTM
        """
        h_before, c_before = before
        of_x, of_h = self.products(x, h_before)
        size = sum(self.products(x, h_before, sizes=True)) * ROUNDED_UP
        return {
            "h_before": h_before,
            "c_before": c_before,
            "z": of_x + self.bias + of_h,
            "z of x": of_x,
            "size": size + np.abs(self.bias),
            **traced,
            "activation(c)": self.activation(traced["c"]),
        }


class _ConvLSTM(LSTMLoopCell):
    back: _ConvLSTMBack

    def backward_cell(self, layer: LayerSpec) -> BackwardCell:
        return _ConvLSTMBack(layer)

    def of_inputs(self, changes: Array) -> Array:
        return convolve(changes, self.kernel, **self.back.how)

    def through(self, changes: Array) -> Array:
        rows = changes.reshape(-1, *changes.shape[2:])  # of all copies
        found = convolve(rows, self.recurrent, **self.back.recurrent_how)
        return found.reshape(*changes.shape[:2], *found.shape[1:])

    def towards_x(self, d: Array, row: Sequence[int]) -> Array:
        return _convolved_back(d, self.kernel, row, self.back.how)

    def towards_h(self, d: Array) -> Array:
        row = *d.shape[2:-1], self.units
        return _convolved_back(d, self.recurrent, row, self.back.recurrent_how)


def _convolved_back(
    d: Array, kernel: Array, row: Sequence[int], how: Mapping[str, Any]
) -> Array:
    """Return the adjoint of what was convolved, (rows, sweeps, *row)."""
    windows = Windows((1, *row), kernel.shape, **how)
    return windows.towards_x(d, kernel.astype(d.dtype, copy=False))


LOOP_CELLS: Mapping[str, type[LoopCell]] = MappingProxyType(
    {**CELLS, **dict.fromkeys(CONV_LOOPS, _ConvLSTM)}
)
"""Class name of a recurrent layer -> how its states change."""
