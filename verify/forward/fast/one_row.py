"""Run a recurrent layer over a single row, in as few calls of NumPy as there can be.

The arrays of one row are so small that a call of NumPy takes longer than its
arithmetic. So x's part of the pre-activations is computed ahead, for many steps at
once, and a sum that is then halved is one product, with ``[1/2, 1/2]``. The gates are
those of `verify.forward.fast.steps`: ``1 + tanh(z / 2)`` is twice the sigmoid of z.

A masked step changes nothing in a single row, so the caller leaves it out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from verify.forward.fast.weights import FastWeights, biases, h_scale, uses_tanh_form
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

MAX_AHEAD_NUMBERS = 2**18
"""Greatest count of numbers in x's part of the pre-activations that is computed at a
time: 1 MiB in float32."""


class RowLoop(ABC):
    """Run a layer over the steps of one row, in buffers that are used again.

    Attributes
    ----------
    h : (units,)
        The state h, multiplied by `scale`.
    scale : int
        See `h_scale`.
    """

    def __init__(self, weights: FastWeights) -> None:
        kernel = weights.layer.weights["recurrent_kernel"]
        self.weights, self.scale = weights, h_scale(weights.layer)
        self.h = np.empty(len(kernel), kernel.dtype)
        self.window = max(MAX_AHEAD_NUMBERS // kernel.shape[1], 1)

    def __call__(
        self, x: Array, states: tuple[Array, ...], outputs: Array | None
    ) -> tuple[Array, ...]:
        """Take all steps, and return the states after the last, (1, units) each.

        Parameters
        ----------
        x : (time, features), or (time,) of ids
            The steps in the order in which they are taken.
        states : tuple of (1, units)
            Initial states.
        outputs : (time, units), optional
            Where the output at every step is written.
        """
        np.multiply(states[0][0], self.scale, self.h)
        self.begin(states)
        for start in range(0, len(x), self.window):
            some = slice(start, start + self.window)
            parts = self.ahead(x[some])  # (steps, columns)
            if outputs is None:
                self.advance(zip(parts, [self.h] * len(parts), strict=True))
            else:
                self.advance(zip(parts, outputs[some], strict=True))
        if outputs is not None and self.scale != 1:
            np.divide(outputs, self.scale, outputs)
        return (self.h[None] / self.scale, *self.others())

    def ahead(self, x: Array) -> Array:
        """Return x's part of the pre-activations of some steps, (steps, columns)."""
        table = self.weights.table
        if table is None:
            return self.weights.input_part(x)
        return table.take(x, 0)  # of a single row the check of the ids costs nothing

    def begin(self, states: tuple[Array, ...]) -> None:  # noqa: B027
        """Copy the states other than h into the buffers."""

    def others(self) -> tuple[Array, ...]:
        """Return copies of the states other than h, (1, units) each."""
        return ()

    @abstractmethod
    def advance(self, steps: Iterable[tuple[Array, Array]]) -> None:
        """Take steps.

        Parameters
        ----------
        steps : iterable of ((columns,), (units,))
            x's part of the pre-activations, and where h after the step is written,
            multiplied by `scale`.
        """


class SimpleRNNRow(RowLoop):
    """Take the steps of a SimpleRNN."""

    def advance(self, steps: Iterable[tuple[Array, Array]]) -> None:
        """Take steps; see `RowLoop`."""
        kernel, h = self.weights.recurrent.flat, self.h
        z, add, tanh = np.empty_like(h), np.add, np.tanh
        for part, after in steps:
            h.dot(kernel, z)
            add(z, part, z)
            h = tanh(z, after)
        self.h[:] = h


class LSTMRow(RowLoop):
    """Take the steps of an LSTM, whose gates and h are doubled; see `_lstm`."""

    def __init__(self, weights: FastWeights) -> None:
        super().__init__(weights)
        units = len(self.h)
        self.z = np.empty(4 * units, self.h.dtype)
        self.blocks = np.empty((5, units), self.h.dtype)  # o, i, f, c_hat, c
        self.products = np.empty((2, units), self.h.dtype)  # i * c_hat, f * c
        self.one, self.halves = np.ones((), self.h.dtype), np.full(2, 0.5, self.h.dtype)

    def begin(self, states: tuple[Array, ...]) -> None:
        """Copy c into its buffer."""
        self.blocks[4] = states[1][0]

    def others(self) -> tuple[Array, ...]:
        """Return a copy of c."""
        return (self.blocks[4:].copy(),)

    def advance(self, steps: Iterable[tuple[Array, Array]]) -> None:
        """Take steps; see `RowLoop`."""
        kernel, h, z, one = self.weights.recurrent.flat, self.h, self.z, self.one
        blocks, products, half_sum = self.blocks, self.products, self.halves.dot
        tanh_z = blocks[:4].reshape(-1)
        sigmoids = tanh_z[: 3 * len(h)]
        i_f, factors, o, c = blocks[1:3], blocks[3:], blocks[0], blocks[4]
        tanh, add, multiply, tanh_c = np.tanh, np.add, np.multiply, np.empty_like(h)
        for part, after in steps:
            h.dot(kernel, z)
            add(z, part, z)
            tanh(z, tanh_z)
            add(sigmoids, one, sigmoids)
            multiply(i_f, factors, products)
            half_sum(products, c)
            tanh(c, tanh_c)
            h = multiply(tanh_c, o, after)
        self.h[:] = h


class GRURow(RowLoop):
    """Take the steps of a GRU with ``reset_after``.

    With ``t = tanh(z / 2)`` of a gate, so that the gate is ``(1 + t) / 2``::

        a_h + r * s_h           = (a_h + s_h / 2) + t_r * (s_h / 2)
        z * h + (1 - z) * h_hat = h_hat + (h - h_hat) / 2 + t_z * (h - h_hat) / 2

    The columns of the product are s_h / 2, the gates z and r, and again s_h / 2; x's
    part adds half the bias to the first, and a_h to the last.
    """

    def __init__(self, weights: FastWeights) -> None:
        super().__init__(weights)
        units, dtype = len(self.h), self.h.dtype
        gates, s_h = np.split(weights.recurrent.flat, [2 * units], axis=1)
        self.kernel = np.hstack([s_h / 2, gates, s_h / 2]).astype(dtype)
        self.bias = biases(weights.layer)[1][2].reshape(-1) / dtype.type(2)  # (units,)
        self.z = np.empty(4 * units, dtype)
        self.tanh_gates = np.empty(2 * units, dtype)
        self.terms = np.empty((3, units), dtype)
        self.factors = np.array([1, 0.5, 0.5], dtype)

    def ahead(self, x: Array) -> Array:
        """Return x's part for each column of the product, and half the bias."""
        part, units = super().ahead(x), len(self.h)  # (steps, 3 * units): z, r, h
        whole = np.empty((len(part), 4 * units), part.dtype)
        whole[:, :units] = self.bias
        whole[:, units:] = part
        whole[:, 3 * units :] += self.bias
        return whole

    def advance(self, steps: Iterable[tuple[Array, Array]]) -> None:
        """Take steps; see `RowLoop`."""
        kernel, h, z, t = self.kernel, self.h, self.z, self.tanh_gates
        units = len(h)
        s_h, gates, a_h = z[:units], z[units : 3 * units], z[3 * units :]
        t_z, t_r = t[:units], t[units:]
        (h_hat, change, scaled), total = self.terms, self.factors.dot
        terms = self.terms
        tanh, add, multiply, subtract = np.tanh, np.add, np.multiply, np.subtract
        for part, after in steps:
            h.dot(kernel, z)
            add(z, part, z)
            tanh(gates, t)
            multiply(t_r, s_h, s_h)
            add(a_h, s_h, a_h)
            tanh(a_h, h_hat)
            subtract(h, h_hat, change)
            multiply(change, t_z, scaled)
            h = total(terms, after)
        self.h[:] = h


ROW_LOOPS: Mapping[str, Callable[[FastWeights], RowLoop]] = {
    "SimpleRNN": SimpleRNNRow,
    "LSTM": LSTMRow,
    "GRU": GRURow,
}
"""Class name of a layer -> its loop over one row."""


def has_row_loop(layer: LayerSpec) -> bool:
    """Return whether a layer with a fast loop has one for a single row.

    Its activations must be tanh and sigmoid, and a GRU must have ``reset_after``.
    """
    name, options = layer.class_name, layer.options
    if name not in ROW_LOOPS or options["activation"] != "tanh":
        return False
    return name == "SimpleRNN" or (
        uses_tanh_form(layer) and (name != "GRU" or options["reset_after"])
    )
