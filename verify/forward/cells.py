"""Compute one time step of each recurrent cell: the equations and nothing else.

Vectors are rows: ``x`` is (batch, features), ``h`` and ``c`` are (batch, units), and
kernels multiply from the right. A step takes the states and returns new ones; time,
masks and direction are in `verify.forward.recurrence`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from verify.forward.activations import Activation
from verify.model.arrays import Array


class SimpleRNNStep(NamedTuple):
    """Hold the result of one step of a SimpleRNN, (batch, units)."""

    h: Array


class LSTMStep(NamedTuple):
    """Hold the gates and states of one step of an LSTM, (batch, units) each.

    The letters are those of `lstm_step`.
    """

    i: Array
    f: Array
    c_hat: Array
    o: Array
    c: Array
    h: Array


class GRUStep(NamedTuple):
    """Hold the gates and the state of one step of a GRU, (batch, units) each.

    The letters are those of `gru_step`.
    """

    z: Array
    r: Array
    h_hat: Array
    h: Array


def gate_blocks(z: Array, count: int) -> list[Array]:
    """Split the columns of an array into gate blocks of equal width.

    Slicing takes a tenth of the time of `np.split`, which counts at every step.

    Parameters
    ----------
    z : (..., count * units)

    Returns
    -------
    list of (..., units)
        Views of `z`.
    """
    units = z.shape[-1] // count
    return [z[..., k * units : (k + 1) * units] for k in range(count)]


def simple_rnn_step(
    x: Array,
    h: Array,
    *,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    activation: Activation,
) -> SimpleRNNStep:
    """Compute ``h = activation(x @ kernel + bias + h @ recurrent_kernel)``.

    Parameters
    ----------
    x : (batch, features)
    h : (batch, units)
    kernel : (features, units)
    recurrent_kernel : (units, units)
    bias : (units,)

    Source: Elman (1990); weights as in keras/src/layers/rnn/simple_rnn.py.
    """
    return SimpleRNNStep(activation(x @ kernel + bias + h @ recurrent_kernel))


def lstm_step(
    x: Array,
    h: Array,
    c: Array,
    *,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    activation: Activation,
    recurrent_activation: Activation,
) -> LSTMStep:
    """Compute one step of a long short-term memory cell.

    ::

        z_i, z_f, z_c, z_o = split(x @ kernel + h @ recurrent_kernel + bias)
        i = recurrent_activation(z_i)        input gate
        f = recurrent_activation(z_f)        forget gate
        c_hat = activation(z_c)              candidate
        o = recurrent_activation(z_o)        output gate
        c = f * c + i * c_hat                cell state
        h = o * activation(c)                hidden value

    Parameters
    ----------
    x : (batch, features)
    h, c : (batch, units)
    kernel : (features, 4 * units), columns in the order i, f, c, o
    recurrent_kernel : (units, 4 * units), the same order
    bias : (4 * units,), the same order

    Source: Hochreiter and Schmidhuber (1997), forget gate of Gers et al. (2000);
    weights as in keras/src/layers/rnn/lstm.py.
    """
    z = x @ kernel + h @ recurrent_kernel + bias  # (batch, 4 * units)
    return lstm_gates(z, c, activation, recurrent_activation)


def lstm_gates(
    z: Array, c: Array, activation: Activation, recurrent_activation: Activation
) -> LSTMStep:
    """Compute the gates and states of an LSTM or ConvLSTM from its pre-activations.

    Parameters
    ----------
    z : (batch, ..., 4 * units), blocks i, f, c, o
    c : (batch, ..., units)
    """
    z_i, z_f, z_c, z_o = gate_blocks(z, 4)  # (batch, ..., units) each
    i = recurrent_activation(z_i)
    f = recurrent_activation(z_f)
    c_hat = activation(z_c)
    o = recurrent_activation(z_o)
    c = f * c + i * c_hat
    return LSTMStep(i, f, c_hat, o, c, h=o * activation(c))


def conv_lstm_step(
    x: Array,
    h: Array,
    c: Array,
    *,
    convolve: Callable[[Array], Array],
    recur: Callable[[Array], Array],
    bias: Array,
    activation: Activation,
    recurrent_activation: Activation,
) -> LSTMStep:
    """Compute one step of an LSTM whose products are convolutions.

    ::

        z_i, z_f, z_c, z_o = split(convolve(x) + bias + recur(h))
        then as in lstm_step

    Parameters
    ----------
    x : (batch, spatial..., channels)
    h, c : (batch, spatial after the convolution..., filters)
    convolve : the input convolution with its kernel, strides, padding and dilation
    recur : the recurrent convolution: stride 1, ``same`` padding
    bias : (4 * filters,), in the order i, f, c, o

    Source: Shi et al. (2015), arXiv:1506.04214; weights as in
    keras/src/layers/rnn/conv_lstm.py.
    """
    z = convolve(x) + bias + recur(h)
    return lstm_gates(z, c, activation, recurrent_activation)


def gru_step(
    x: Array,
    h: Array,
    *,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    activation: Activation,
    recurrent_activation: Activation,
    reset_after: bool,
) -> GRUStep:
    """Compute one step of a gated recurrent unit.

    ::

        a_z, a_r, a_h = split(x @ kernel + bias[0])
        s_z, s_r, s_h = split(h @ recurrent_kernel + bias[1])
        z = recurrent_activation(a_z + s_z)             update gate: keeps the old h
        r = recurrent_activation(a_r + s_r)             reset gate
        h_hat = activation(a_h + r * s_h)               if reset_after
        h_hat = activation(a_h + (r * h) @ U_h)         otherwise
        h = z * h + (1 - z) * h_hat

    Parameters
    ----------
    x : (batch, features)
    h : (batch, units)
    kernel : (features, 3 * units), columns in the order z, r, h
    recurrent_kernel : (units, 3 * units), the same order; U_h is its last block
    bias : (2, 3 * units), row 0 for the input, row 1 for the recurrent side.
        Without reset_after Keras stores one row only; row 1 is then zero.

    Source: Cho et al. (2014), arXiv:1406.1078; ``reset_after`` is the cuDNN variant;
    weights as in keras/src/layers/rnn/gru.py.
    """
    a_z, a_r, a_h = gate_blocks(x @ kernel + bias[0], 3)
    s_z, s_r, s_h = gate_blocks(h @ recurrent_kernel + bias[1], 3)
    z = recurrent_activation(a_z + s_z)
    r = recurrent_activation(a_r + s_r)
    if not reset_after:
        u_h = gate_blocks(recurrent_kernel, 3)[2]  # (units, units)
        h_hat = activation(a_h + (r * h) @ u_h)
    else:
        h_hat = activation(a_h + r * s_h)
    return GRUStep(z, r, h_hat, h=z * h + (1 - z) * h_hat)
