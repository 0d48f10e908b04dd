"""Steps computed by other equations than those of `verify.forward.cells`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from verify.forward.cells import (
    GRUStep,
    LSTMStep,
    SimpleRNNStep,
    gru_step,
    lstm_step,
    simple_rnn_step,
)
from verify.mistakes.catalogue.mistake import Change, Mistake, MutationOperator
from verify.model.arrays import Array
from verify.model.spec import GATES, LayerSpec


def _with_step(step: Callable[..., Any]) -> Change:
    return lambda layer: layer.with_overrides(step=step)


def _lstm(cell: Callable[..., tuple[Array, Array]]) -> Callable[..., LSTMStep]:
    """A step whose ``c`` and ``h`` come from `cell` of the right gates."""

    def step(x: Array, h: Array, c: Array, **weights: Any) -> LSTMStep:
        right = lstm_step(x, h, c, **weights)
        new_c, new_h = cell(right, c, weights["activation"])
        return right._replace(c=new_c, h=new_h)

    return step


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
    return lstm_step(x, c, h, **weights)


LSTM_MISTAKES: tuple[tuple[str, str, str, str, Callable[..., LSTMStep]], ...] = (
    ("output activation missing", "h = o * c: the activation of the cell state is left "
     "out", "h = o * activation(c)", "o", _lstm(_no_output_activation)),
    ("output gate missing", "h = activation(c): the output gate is left out",
     "h = o * activation(c)", "o", _lstm(_no_output_gate)),
    ("output from the old cell state", "h = o * activation(c) takes the cell state of "
     "the step before", "compute c first, then h from the new c", "o",
     _lstm(_old_cell_state)),
    ("input gate missing", "c = f * c + c_hat: the input gate is left out",
     "c = f * c + i * c_hat", "i", _lstm(_no_input_gate)),
    ("forget gate missing", "c = c + i * c_hat: the forget gate is left out",
     "c = f * c + i * c_hat", "f", _lstm(_no_forget_gate)),
    ("input and forget gate coupled", "c = f * c + (1 - f) * c_hat: the input gate is "
     "taken from the forget gate", "c = f * c + i * c_hat", "i", _lstm(_coupled_gates)),
    ("forget gate inverted", "c = (1 - f) * c + i * c_hat",
     "c = f * c + i * c_hat: f near 1 keeps", "f", _lstm(_inverted_forget_gate)),
    ("states h and c exchanged", "the states are passed on in the order [c, h]",
     "Keras's states are [h, c]", "", _states_exchanged),
)  # fmt: skip


def _gru(cell: Callable[..., Array]) -> Callable[..., GRUStep]:
    """A step whose ``h`` comes from `cell` of the right gates."""

    def step(x: Array, h: Array, **weights: Any) -> GRUStep:
        right = gru_step(x, h, **weights)
        return right._replace(h=cell(right, h))

    return step


def _candidate(x: Array, h: Array, r: Array, weights: dict[str, Any]) -> Array:
    """The candidate with `r` in the place of the reset gate."""
    kernel, recurrent = weights["kernel"], weights["recurrent_kernel"]
    bias, phi = weights["bias"], weights["activation"]
    a = np.split(x @ kernel + bias[0], 3, axis=-1)[2]
    u, b = np.split(recurrent, 3, axis=-1)[2], np.split(bias[1], 3, axis=-1)[2]
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


GRU_MISTAKES: tuple[tuple[str, str, str, str, Callable[..., GRUStep]], ...] = (
    ("update gate inverted", "h = (1 - z) * h + z * h_hat: z and 1 - z are exchanged, "
     "as in the paper and in PyTorch's older documents", "h = z * h + (1 - z) * h_hat: "
     "z near 1 keeps the old state", "z",
     _gru(lambda s, h: (1 - s.z) * h + s.z * s.h_hat)),
    ("update gate missing", "h = h_hat: the update gate is left out",
     "h = z * h + (1 - z) * h_hat", "z", _gru(lambda s, h: s.h_hat)),
    ("old state not weighted", "h = h + (1 - z) * h_hat: z is left out of the first "
     "term", "h = z * h + (1 - z) * h_hat", "z",
     _gru(lambda s, h: h + (1 - s.z) * s.h_hat)),
    ("reset gate missing", "the reset gate is left out of the candidate",
     "multiply the recurrent part of the candidate by r", "r", _no_reset_gate),
    ("reset gate inverted", "1 - r stands in the place of the reset gate r",
     "multiply the recurrent part of the candidate by r", "r", _inverted_reset_gate),
)  # fmt: skip


def _activated_first(x: Array, h: Array, **weights: Any) -> SimpleRNNStep:
    phi = weights["activation"]
    inner = phi(x @ weights["kernel"] + weights["bias"])
    return SimpleRNNStep(inner + h @ weights["recurrent_kernel"])


def _activated_twice(x: Array, h: Array, **weights: Any) -> SimpleRNNStep:
    return SimpleRNNStep(weights["activation"](simple_rnn_step(x, h, **weights).h))


def _state_added(x: Array, h: Array, **weights: Any) -> SimpleRNNStep:
    return SimpleRNNStep(h + simple_rnn_step(x, h, **weights).h)


SIMPLE_RNN_MISTAKES: tuple[tuple[str, str, str, str, Callable[..., SimpleRNNStep]], ...] = (
    ("recurrent term outside the activation", "h = activation(x @ kernel + bias) + "
     "h @ recurrent_kernel", "h = activation(x @ kernel + bias + h @ recurrent_kernel)",
     "", _activated_first),
    ("activation applied twice", "h = activation(activation(...))",
     "apply the activation once", "", _activated_twice),
    ("old state added", "h = h + activation(...): the old state is added once more",
     "h = activation(x @ kernel + bias + h @ recurrent_kernel)", "", _state_added),
)  # fmt: skip


def wrong_steps(layer: LayerSpec) -> Iterator[Mistake]:
    """Equations of a step that are close to the right ones."""
    if layer.class_name.startswith("ConvLSTM"):
        return
    tables: dict[tuple[str, ...], tuple[Any, ...]] = {
        GATES["LSTM"]: LSTM_MISTAKES,
        GATES["GRU"]: GRU_MISTAKES,
        GATES["SimpleRNN"]: SIMPLE_RNN_MISTAKES,
    }
    for name, explanation, remedy, gate, step in tables.get(layer.gates, ()):
        inverted = name == "update gate inverted"
        yield Mistake(
            name, explanation, remedy, _with_step(step), common=inverted, gate=gate
        )


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (wrong_steps,)
