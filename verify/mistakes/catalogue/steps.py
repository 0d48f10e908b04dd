"""Steps computed by other equations than those of `verify.forward.cells`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from verify.forward.cells import (
    GRUStep,
    LSTMStep,
    SimpleRNNStep,
    conv_lstm_step,
    gru_step,
    lstm_step,
    simple_rnn_step,
)
from verify.mistakes.catalogue.mistake import (
    CONV_LSTMS,
    Change,
    Mistake,
    MutationOperator,
    Need,
)
from verify.model.arrays import Array
from verify.model.spec import GATES, LayerSpec

SEVERAL_STEPS = frozenset({Need.SEVERAL_STEPS})


def step_of(layer: LayerSpec) -> Callable[..., Any]:
    """Return the equations of a step as they stand in a layer with gates."""
    if layer.class_name in CONV_LSTMS:
        usual: Callable[..., Any] = conv_lstm_step
    else:
        usual = STEPS[layer.gates]
    return layer.overrides.get("step", usual)


STEPS: Mapping[tuple[str, ...], Callable[..., Any]] = MappingProxyType(
    {
        GATES["LSTM"]: lstm_step,
        GATES["GRU"]: gru_step,
        GATES["SimpleRNN"]: simple_rnn_step,
    }
)
"""Gates of a layer, if it does not convolve -> the right equations of its step."""


def _right_lstm(x: Array, h: Array, c: Array, **weights: Any) -> LSTMStep:
    """Compute a right step of an LSTM, or of a ConvLSTM if it is given convolutions."""
    if "convolve" in weights:
        return conv_lstm_step(x, h, c, **weights)
    return lstm_step(x, h, c, **weights)


def _with_step(step: Callable[..., Any]) -> Change:
    return lambda layer: layer.with_overrides(step=step)


def _lstm(cell: Callable[..., tuple[Array, Array]]) -> Change:
    """Return a change to a step whose ``c`` and ``h`` come from `cell`.

    Parameters
    ----------
    cell : callable
        The right step's values, ``c`` of the step before, (batch, units), and the
        activation -> ``c`` and ``h``, (batch, units) each.
    """

    def step(x: Array, h: Array, c: Array, **weights: Any) -> LSTMStep:
        right = _right_lstm(x, h, c, **weights)
        new_c, new_h = cell(right, c, weights["activation"])
        return right._replace(c=new_c, h=new_h)

    return _with_step(step)


def _no_output_activation(s: LSTMStep, c: Array, phi: Any) -> tuple[Array, Array]:
    return s.c, s.o * s.c


def _no_output_gate(s: LSTMStep, c: Array, phi: Any) -> tuple[Array, Array]:
    return s.c, phi(s.c)


def _old_cell_state(s: LSTMStep, c: Array, phi: Any) -> tuple[Array, Array]:
    return s.c, s.o * phi(c)


def _no_input_gate(s: LSTMStep, c: Array, phi: Any) -> tuple[Array, Array]:
    new = s.f * c + s.c_hat
    return new, s.o * phi(new)


def _no_forget_gate(s: LSTMStep, c: Array, phi: Any) -> tuple[Array, Array]:
    new = c + s.i * s.c_hat
    return new, s.o * phi(new)


def _coupled_gates(s: LSTMStep, c: Array, phi: Any) -> tuple[Array, Array]:
    new = s.f * c + (1 - s.f) * s.c_hat
    return new, s.o * phi(new)


def _inverted_forget_gate(s: LSTMStep, c: Array, phi: Any) -> tuple[Array, Array]:
    new = (1 - s.f) * c + s.i * s.c_hat
    return new, s.o * phi(new)


def _states_exchanged(x: Array, h: Array, c: Array, **weights: Any) -> LSTMStep:
    return _right_lstm(x, c, h, **weights)


LSTM_MISTAKES = (
    Mistake(
        "output activation missing",
        "h = o * c: the activation of the cell state is left out",
        "h = o * activation(c)",
        _lstm(_no_output_activation),
        gate="o",
    ),
    Mistake(
        "output gate missing",
        "h = activation(c): the output gate is left out",
        "h = o * activation(c)",
        _lstm(_no_output_gate),
        gate="o",
    ),
    Mistake(
        "output from the old cell state",
        "h = o * activation(c) takes the cell state of the step before",
        "compute c first, then h from the new c",
        _lstm(_old_cell_state),
        gate="o",
        needs=SEVERAL_STEPS,
    ),
    Mistake(
        "input gate missing",
        "c = f * c + c_hat: the input gate is left out",
        "c = f * c + i * c_hat",
        _lstm(_no_input_gate),
        gate="i",
    ),
    Mistake(
        "forget gate missing",
        "c = c + i * c_hat: the forget gate is left out",
        "c = f * c + i * c_hat",
        _lstm(_no_forget_gate),
        gate="f",
        needs=SEVERAL_STEPS,
    ),
    Mistake(
        "input and forget gate coupled",
        "c = f * c + (1 - f) * c_hat: the input gate is taken from the forget gate",
        "c = f * c + i * c_hat",
        _lstm(_coupled_gates),
        gate="i",
        needs=SEVERAL_STEPS,
    ),
    Mistake(
        "forget gate inverted",
        "c = (1 - f) * c + i * c_hat",
        "c = f * c + i * c_hat: f near 1 keeps",
        _lstm(_inverted_forget_gate),
        gate="f",
        needs=SEVERAL_STEPS,
    ),
    Mistake(
        "states h and c exchanged",
        "the states are passed on in the order [c, h]",
        "Keras's states are [h, c]",
        _with_step(_states_exchanged),
        needs=SEVERAL_STEPS,
    ),
)


def _gru(cell: Callable[..., Array]) -> Change:
    """Return a change to a step whose ``h`` comes from `cell`.

    Parameters
    ----------
    cell : callable
        The right step's values, and ``h`` of the step before, (batch, units) ->
        ``h``, (batch, units).
    """

    def step(x: Array, h: Array, **weights: Any) -> GRUStep:
        right = gru_step(x, h, **weights)
        return right._replace(h=cell(right, h))

    return _with_step(step)


def _inverted_update_gate(s: GRUStep, h: Array) -> Array:
    return (1 - s.z) * h + s.z * s.h_hat


def _no_update_gate(s: GRUStep, h: Array) -> Array:
    return s.h_hat


def _unweighted_old_state(s: GRUStep, h: Array) -> Array:
    return h + (1 - s.z) * s.h_hat


def _candidate(x: Array, h: Array, r: Array, weights: dict[str, Any]) -> Array:
    """Return the candidate, (batch, units), with `r` in place of the reset gate."""
    kernel, recurrent = weights["kernel"], weights["recurrent_kernel"]
    bias, phi = weights["bias"], weights["activation"]
    a = np.split(x @ kernel + bias[0], 3, axis=-1)[2]  # (batch, units)
    u = np.split(recurrent, 3, axis=-1)[2]  # (units, units)
    b = np.split(bias[1], 3, axis=-1)[2]  # (units,)
    if weights["reset_after"]:
        return phi(a + r * (h @ u + b))
    return phi(a + (r * h) @ u)


def _no_reset_gate(x: Array, h: Array, **weights: Any) -> GRUStep:
    right = gru_step(x, h, **weights)
    h_hat = _candidate(x, h, np.ones_like(right.r), weights)
    return right._replace(h_hat=h_hat, h=right.z * h + (1 - right.z) * h_hat)


def _inverted_reset_gate(x: Array, h: Array, **weights: Any) -> GRUStep:
    right = gru_step(x, h, **weights)
    h_hat = _candidate(x, h, 1 - right.r, weights)
    return right._replace(h_hat=h_hat, h=right.z * h + (1 - right.z) * h_hat)


GRU_MISTAKES = (
    Mistake(
        "update gate inverted",
        "h = (1 - z) * h + z * h_hat: z and 1 - z are exchanged, as in the paper and "
        "in PyTorch's older documents",
        "h = z * h + (1 - z) * h_hat: z near 1 keeps the old state",
        _gru(_inverted_update_gate),
        common=True,
        gate="z",
        needs=SEVERAL_STEPS,
    ),
    Mistake(
        "update gate missing",
        "h = h_hat: the update gate is left out",
        "h = z * h + (1 - z) * h_hat",
        _gru(_no_update_gate),
        gate="z",
        needs=SEVERAL_STEPS,
    ),
    Mistake(
        "old state not weighted",
        "h = h + (1 - z) * h_hat: z is left out of the first term",
        "h = z * h + (1 - z) * h_hat",
        _gru(_unweighted_old_state),
        gate="z",
        needs=SEVERAL_STEPS,
    ),
    Mistake(
        "reset gate missing",
        "the reset gate is left out of the candidate",
        "multiply the recurrent part of the candidate by r",
        _with_step(_no_reset_gate),
        gate="r",
        needs=SEVERAL_STEPS,
    ),
    Mistake(
        "reset gate inverted",
        "1 - r stands in the place of the reset gate r",
        "multiply the recurrent part of the candidate by r",
        _with_step(_inverted_reset_gate),
        gate="r",
        needs=SEVERAL_STEPS,
    ),
)


def _activated_first(x: Array, h: Array, **weights: Any) -> SimpleRNNStep:
    phi = weights["activation"]
    inner = phi(x @ weights["kernel"] + weights["bias"])
    return SimpleRNNStep(inner + h @ weights["recurrent_kernel"])


def _activated_twice(x: Array, h: Array, **weights: Any) -> SimpleRNNStep:
    return SimpleRNNStep(weights["activation"](simple_rnn_step(x, h, **weights).h))


def _state_added(x: Array, h: Array, **weights: Any) -> SimpleRNNStep:
    return SimpleRNNStep(h + simple_rnn_step(x, h, **weights).h)


SIMPLE_RNN_MISTAKES = (
    Mistake(
        "recurrent term outside the activation",
        "h = activation(x @ kernel + bias) + h @ recurrent_kernel",
        "h = activation(x @ kernel + bias + h @ recurrent_kernel)",
        _with_step(_activated_first),
        needs=frozenset({Need.SEVERAL_STEPS, Need.OPEN_GATES}),
    ),
    Mistake(
        "activation applied twice",
        "h = activation(activation(...))",
        "apply the activation once",
        _with_step(_activated_twice),
    ),
    Mistake(
        "old state added",
        "h = h + activation(...): the old state is added once more",
        "h = activation(x @ kernel + bias + h @ recurrent_kernel)",
        _with_step(_state_added),
        needs=SEVERAL_STEPS,
    ),
)

STEP_MISTAKES: Mapping[tuple[str, ...], tuple[Mistake, ...]] = MappingProxyType(
    {
        GATES["LSTM"]: LSTM_MISTAKES,
        GATES["GRU"]: GRU_MISTAKES,
        GATES["SimpleRNN"]: SIMPLE_RNN_MISTAKES,
    }
)
"""Gates of a layer -> the wrong equations of its step."""


def wrong_steps(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield equations of a step that are close to the right ones."""
    yield from STEP_MISTAKES.get(layer.gates, ())


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (wrong_steps,)
