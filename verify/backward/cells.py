"""Go back through one time step of each recurrent cell, by the chain rule.

Vectors are rows and the letters are those of `verify.forward.cells`. The *adjoint* of a
value is the gradient of a number ``L`` with respect to it; ``d_z`` is the adjoint of
``z``. Values are (batch, ...) and adjoints (..., batch, ...). The axes in front are
*sweeps*: each belongs to an ``L`` of its own, and all are computed at once. Time, masks
and direction are in `verify.backward.scan`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from verify.backward.derivatives import Pullback, pullback
from verify.forward.cells import gate_blocks
from verify.forward.layers.base import exact_constants, function_of
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

Values = Mapping[str, Array]
"""Arrays of one step by name."""


def product_gradient(x: Array, d_y: Array) -> Array:
    """Return the gradient of a kernel in ``y = x @ kernel``, summed over the rows of x.

    Parameters
    ----------
    x : (batch, ..., inputs)
    d_y : (sweeps..., batch, ..., outputs)

    Returns
    -------
    (sweeps..., inputs, outputs)
    """
    sweeps = d_y.shape[: d_y.ndim - x.ndim]
    d_rows = d_y.reshape(*sweeps, -1, d_y.shape[-1])  # (sweeps..., rows, outputs)
    rows = x.reshape(-1, x.shape[-1])  # (rows, inputs)
    return rows.T @ d_rows


def input_gradient(d_y: Array, kernel: Array) -> Array:
    """Return the gradient of x in ``y = x @ kernel``: ``d_y @ kernel.T``.

    Parameters
    ----------
    d_y : (..., outputs)
    kernel : (inputs, outputs)

    Returns
    -------
    (..., inputs)
    """
    # one product for all sweeps and rows; NumPy would make a product for each sweep
    rows = d_y.reshape(-1, d_y.shape[-1])
    return (rows @ kernel.T).reshape(*d_y.shape[:-1], len(kernel))


def bias_gradient(d_y: Array, ndim: int) -> Array:
    """Return the gradient of a bias added to an array of `ndim` axes.

    Parameters
    ----------
    d_y : (sweeps..., batch, ..., outputs)

    Returns
    -------
    (sweeps..., outputs)
    """
    return d_y.sum(axis=tuple(range(-ndim, -1)))


class BackwardCell(ABC):
    """Go back through one step of a cell with its weights.

    Parameters
    ----------
    layer : LayerSpec
        A SimpleRNN, LSTM or GRU with weights in float64.

    Attributes
    ----------
    state_names : tuple of str
        Names of the states, in the cell's order. The first is the layer's output.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, layer: LayerSpec) -> None:
        self.layer = layer
        self.kernel = layer.weights["kernel"]  # (features, gates * units)
        self.recurrent_kernel = layer.weights["recurrent_kernel"]
        self.bias: Array | float = layer.weights.get("bias", 0.0)
        self.activation = function_of(layer)
        self.back = self.pullback("activation")

    def pullback(self, option: str) -> Pullback:
        """Return the pullback of the activation that an option names."""
        name = self.layer.options[option]
        return pullback(name, exact=exact_constants(self.layer))

    @abstractmethod
    def values(self, x: Array, before: tuple[Array, ...], traced: Values) -> Values:
        """Return every value of a step that `adjoints` and `weights` need.

        Parameters
        ----------
        x : (batch, features)
        before : tuple of (batch, units)
            The states before the step.
        traced : mapping of str to (batch, units)
            Gates and states of this step from a `LayerTrace`.
        """

    @abstractmethod
    def adjoints(self, v: Values, d_states: tuple[Array, ...]) -> Values:
        """Return the adjoint of each value of a step.

        Parameters
        ----------
        v : mapping
            From `values`.
        d_states : tuple of (..., batch, units)
            The adjoints of the states after the step, summed over their uses in later
            steps and in the output of the layer.

        Returns
        -------
        mapping
            Adjoints by name, among them ``x``, ``h_before`` and for an LSTM
            ``c_before``.
        """

    def weights(self, v: Values, d: Values) -> dict[str, Array]:
        """Return the gradient of each weight from one step, summed over the batch.

        ::

            d_kernel = x.T @ d_z
            d_recurrent_kernel = h_before.T @ d_z
            d_bias = sum(d_z)

        Parameters
        ----------
        v, d : mapping
            From `values` and from `adjoints`.
        """
        return {
            "kernel": product_gradient(v["x"], d["z"]),
            "recurrent_kernel": product_gradient(v["h_before"], d["z"]),
            "bias": bias_gradient(d["z"], 2),
        }


class SimpleRNNBack(BackwardCell):
    """Go back through `verify.forward.cells.simple_rnn_step`."""

    def values(self, x: Array, before: tuple[Array, ...], traced: Values) -> Values:
        """Return the values of a step, computing those that a trace lacks.

        ::

            z = x @ kernel + bias + h_before @ recurrent_kernel
            h = activation(z)
        """
        (h_before,) = before
        z = x @ self.kernel + self.bias + h_before @ self.recurrent_kernel
        return {"x": x, "h_before": h_before, "z": z, "h": traced["h"]}

    def adjoints(self, v: Values, d_states: tuple[Array, ...]) -> Values:
        """Go back from the state to the input.

        ::

            d_z = d_h * activation'(z)
            d_x = d_z @ kernel.T
            d_h_before = d_z @ recurrent_kernel.T
        """
        (d_h,) = d_states
        d_z = self.back(v["z"], v["h"], d_h)
        return {
            "x": input_gradient(d_z, self.kernel),
            "h_before": input_gradient(d_z, self.recurrent_kernel),
            "z": d_z,
            "h": d_h,
        }


class LSTMBack(BackwardCell):
    """Go back through `verify.forward.cells.lstm_step`."""

    state_names = ("h", "c")

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        self.recurrent_back = self.pullback("recurrent_activation")

    def values(self, x: Array, before: tuple[Array, ...], traced: Values) -> Values:
        """Return the values of a step, computing those that a trace lacks.

        ::

            z_i, z_f, z_c, z_o = split(x @ kernel + h_before @ recurrent_kernel + bias)
            i, f, o = recurrent_activation(z_i, z_f, z_o); c_hat = activation(z_c)
            c = f * c_before + i * c_hat
            h = o * activation(c)
        """
        h_before, c_before = before
        z = x @ self.kernel + h_before @ self.recurrent_kernel + self.bias
        shown = {"activation(c)": self.activation(traced["c"])}
        states = {"h_before": h_before, "c_before": c_before}
        return {"x": x, **states, "z": z, **traced, **shown}

    def adjoints(self, v: Values, d_states: tuple[Array, ...]) -> Values:
        """Go back from the state to the input.

        ::

            d_activation(c) = d_h * o
            d_c = d_c of the next step + d_activation(c) * activation'(c)
            d_i = d_c * c_hat; d_f = d_c * c_before; d_c_hat = d_c * i
            d_o = d_h * activation(c)
            d_z = each gate's adjoint times the derivative of its activation
            d_x = d_z @ kernel.T
            d_h_before = d_z @ recurrent_kernel.T; d_c_before = d_c * f
        """
        d_h, d_c = d_states
        c_act = v["activation(c)"]
        d_c_act = d_h * v["o"]
        d_c = d_c + self.back(v["c"], c_act, d_c_act)
        d = {
            "i": d_c * v["c_hat"],
            "f": d_c * v["c_before"],
            "c_hat": d_c * v["i"],
            "o": d_h * c_act,
        }
        z_i, z_f, z_c, z_o = gate_blocks(v["z"], 4)
        d_z = np.concatenate(
            [
                self.recurrent_back(z_i, v["i"], d["i"]),
                self.recurrent_back(z_f, v["f"], d["f"]),
                self.back(z_c, v["c_hat"], d["c_hat"]),
                self.recurrent_back(z_o, v["o"], d["o"]),
            ],
            axis=-1,
        )  # (..., batch, 4 * units)
        return {
            "x": input_gradient(d_z, self.kernel),
            "h_before": input_gradient(d_z, self.recurrent_kernel),
            "c_before": d_c * v["f"],
            "z": d_z,
            **d,
            "c": d_c,
            "activation(c)": d_c_act,
            "h": d_h,
        }


class GRUBack(BackwardCell):
    """Go back through `verify.forward.cells.gru_step`."""

    def __init__(self, layer: LayerSpec) -> None:
        super().__init__(layer)
        self.recurrent_back = self.pullback("recurrent_activation")
        self.reset_after = layer.options["reset_after"]
        self.gate_columns = 2 * layer.options["units"]
        self.u_h = self.recurrent_kernel[:, self.gate_columns :]  # (units, units)
        bias = layer.weights.get("bias", np.zeros((2, self.kernel.shape[1])))
        self.biases = bias if bias.ndim == 2 else np.stack([bias, 0 * bias])

    def values(self, x: Array, before: tuple[Array, ...], traced: Values) -> Values:
        """Return the values of a step, computing those that a trace lacks.

        ::

            a_z, a_r, a_h = split(x @ kernel + bias[0])
            s_z, s_r, s_h = split(h_before @ recurrent_kernel + bias[1])
            s_h = (r * h_before) @ U_h                   without reset_after
            z, r = recurrent_activation(a_z + s_z, a_r + s_r)
            h_hat = activation(a_h + r * s_h)            with reset_after
            h_hat = activation(a_h + s_h)                otherwise
            h = z * h_before + (1 - z) * h_hat
        """
        (h_before,) = before
        a = x @ self.kernel + self.biases[0]
        s = h_before @ self.recurrent_kernel + self.biases[1]
        if not self.reset_after:
            s_h = (traced["r"] * h_before) @ self.u_h
            s_zr = s[:, : self.gate_columns]  # (batch, 2 * units)
            s = np.concatenate([s_zr, s_h], axis=-1)  # (batch, 3 * units)
        return {"x": x, "h_before": h_before, "a": a, "s": s, **traced}

    def adjoints(self, v: Values, d_states: tuple[Array, ...]) -> Values:
        """Go back from the state to the input.

        ::

            d_z = d_h * (h_before - h_hat); d_h_hat = d_h * (1 - z)
            d_a_h = d_h_hat * activation'
            d_r = d_a_h * s_h; d_s_h = d_a_h * r                 with reset_after
            d_r = (d_a_h @ U_h.T) * h_before; d_s_h = d_a_h      otherwise
            d_a_z = d_s_z = d_z * recurrent_activation'; d_a_r = d_s_r likewise
            d_x = d_a @ kernel.T
            d_h_before = d_h * z + d_s_zr @ U_zr.T
                         + d_s_h @ U_h.T                         with reset_after
                         + (d_a_h @ U_h.T) * r                   otherwise

        U_zr is the recurrent kernel without U_h.
        """
        (d_h,) = d_states
        a_z, a_r, a_h = gate_blocks(v["a"], 3)
        s_z, s_r, s_h = gate_blocks(v["s"], 3)
        d_z = d_h * (v["h_before"] - v["h_hat"])
        d_h_hat = d_h * (1 - v["z"])
        inside = a_h + (v["r"] * s_h if self.reset_after else s_h)
        d_a_h = self.back(inside, v["h_hat"], d_h_hat)
        d_h_before = d_h * v["z"]
        if self.reset_after:
            d_r, d_s_h = d_a_h * s_h, d_a_h * v["r"]
            d_h_before = d_h_before + input_gradient(d_s_h, self.u_h)
        else:
            d_r_h = input_gradient(d_a_h, self.u_h)
            d_r, d_s_h = d_r_h * v["h_before"], d_a_h
            d_h_before = d_h_before + d_r_h * v["r"]
        d_gates = [
            self.recurrent_back(a_z + s_z, v["z"], d_z),
            self.recurrent_back(a_r + s_r, v["r"], d_r),
        ]
        d_a = np.concatenate([*d_gates, d_a_h], axis=-1)  # (..., batch, 3 * units)
        d_s_zr = np.concatenate(d_gates, axis=-1)  # (..., batch, 2 * units)
        u_zr = self.recurrent_kernel[:, : self.gate_columns]  # (units, 2 * units)
        d_h_before = d_h_before + input_gradient(d_s_zr, u_zr)
        return {
            "x": input_gradient(d_a, self.kernel),
            "h_before": d_h_before,
            "a": d_a,
            "s": np.concatenate([*d_gates, d_s_h], axis=-1),
            "z": d_z,
            "r": d_r,
            "h_hat": d_h_hat,
            "h": d_h,
        }

    def weights(self, v: Values, d: Values) -> dict[str, Array]:
        """Return the gradient of each weight from one step, summed over the batch.

        ::

            d_kernel = x.T @ d_a; d_bias[0] = sum(d_a)
            d_recurrent_kernel = h_before.T @ d_s; d_bias[1] = sum(d_s)
            d_U_h = (r * h_before).T @ d_s_h             without reset_after
        """
        recurrent = product_gradient(v["h_before"], d["s"])
        bias = bias_gradient(d["a"], 2)
        if self.reset_after:
            recurrent_bias = bias_gradient(d["s"], 2)
            bias = np.stack([bias, recurrent_bias], axis=-2)  # (..., 2, 3 * units)
        else:
            d_s_h = d["s"][..., self.gate_columns :]
            recurrent[..., self.gate_columns :] = product_gradient(
                v["r"] * v["h_before"], d_s_h
            )
        return {
            "kernel": product_gradient(v["x"], d["a"]),
            "recurrent_kernel": recurrent,
            "bias": bias,
        }


BACKWARD_CELLS: Mapping[str, type[BackwardCell]] = MappingProxyType(
    {"SimpleRNN": SimpleRNNBack, "LSTM": LSTMBack, "GRU": GRUBack}
)
"""Class name of a recurrent layer -> the class that differentiates its cell."""
