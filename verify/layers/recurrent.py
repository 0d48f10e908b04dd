"""SimpleRNN, LSTM and GRU: their options, weights and states around `verify.cells`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from verify.activations import resolve
from verify.cells import gru_step, lstm_step, simple_rnn_step
from verify.layers.base import (
    Called,
    LayerType,
    Option,
    activation,
    boolean,
    columns,
    last_axis,
    only,
    positive,
)
from verify.recurrence import Step, scan
from verify.spec import GATES, Array, LayerSpec, Shape

COMMON_OPTIONS: Mapping[str, Option] = {
    "units": Option(positive),
    "activation": Option(activation, "tanh"),
    "use_bias": Option(boolean, True),
    "return_sequences": Option(boolean, False),
    "go_backwards": Option(boolean, False),
    "unroll": Option(boolean, False),
    "zero_output_for_mask": Option(boolean, False),
    "return_state": only(False),
    "stateful": only(False),
}
GATED_OPTIONS = {"recurrent_activation": Option(activation, "sigmoid")}


class Recurrent(LayerType):
    """What the three have in common."""

    states: ClassVar[tuple[str, ...]]
    inert = frozenset(
        {"kernel_initializer", "kernel_regularizer", "kernel_constraint"}
        | {"recurrent_initializer", "recurrent_regularizer", "recurrent_constraint"}
        | {"bias_initializer", "bias_regularizer", "bias_constraint"}
        | {"dropout", "recurrent_dropout", "seed", "implementation", "use_cudnn"}
    )

    def check_input(
        self, where: str, options: Mapping[str, Any], input_shape: Shape
    ) -> None:
        last_axis(where, input_shape, rank=3)

    def bias_shape(self, options: Mapping[str, Any], width: int) -> tuple[int, ...]:
        """Shape of the bias for `width` columns."""
        return (width,)

    def weight_shapes(
        self, options: Mapping[str, Any], input_shape: Shape
    ) -> dict[str, tuple[int, ...]]:
        units = options["units"]
        width = len(GATES[self.class_name]) * units
        shapes: dict[str, tuple[int, ...]] = {
            "kernel": (last_axis(self.class_name, input_shape, rank=3), width),
            "recurrent_kernel": (units, width),
        }
        if options["use_bias"]:
            shapes["bias"] = self.bias_shape(options, width)
        return shapes

    def output_shape(self, options: Mapping[str, Any], input_shape: Shape) -> Shape:
        batch, time, _ = input_shape
        units = options["units"]
        return (batch, time, units) if options["return_sequences"] else (batch, units)

    def formula(self, layer: LayerSpec) -> str:
        features, width = layer.weights["kernel"].shape
        units = layer.options["units"]
        bias = layer.weights.get("bias")
        rows = 0 if bias is None else bias.size // width
        each = f"{units} x ({features} + {units}{f' + {rows}' if rows else ''})"
        gates = width // units
        return f"{gates} gates x {each}" if gates > 1 else each

    def notes(self, layer: LayerSpec) -> list[str]:
        """The columns of each gate, then the equations of a step."""
        lines = []
        if len(layer.gates) > 1:
            lines.append(f"columns: {columns(layer.gates, layer.options['units'])}")
        lines += self.equations(layer)
        if layer.options["go_backwards"]:
            lines.append("go_backwards: reads the last step first")
        if layer.options["zero_output_for_mask"]:
            lines.append("zero_output_for_mask: a masked step outputs zeros")
        return lines

    @abstractmethod
    def equations(self, layer: LayerSpec) -> list[str]:
        """One step in this layer's own activations."""

    @abstractmethod
    def step(self, layer: LayerSpec) -> Step:
        """The layer's cell with its weights and activations bound."""

    def call(
        self, layer: LayerSpec, x: Array, mask: Array | None, *, record: bool
    ) -> Called:
        options = layer.options
        kernel = layer.weights["kernel"]
        zeros = np.zeros((len(x), options["units"]), dtype=kernel.dtype)
        result = scan(
            self.step(layer),
            x.astype(kernel.dtype, copy=False),
            mask,
            dict.fromkeys(self.states, zeros),
            return_sequences=options["return_sequences"],
            go_backwards=options["go_backwards"],
            zero_output_for_mask=options["zero_output_for_mask"],
            unroll=options["unroll"],
            record=record,
        )
        outgoing = mask if options["return_sequences"] else None
        return Called(result.output, outgoing, result.values)


def _bound(layer: LayerSpec, rows: int = 1) -> dict[str, Any]:
    """Keyword arguments for a step function; a missing bias is a bias of zeros."""
    kernel = layer.weights["kernel"]
    bias = layer.weights.get("bias")
    if bias is None:
        width = kernel.shape[1]
        bias = np.zeros(width if rows == 1 else (rows, width), dtype=kernel.dtype)
    return {
        "kernel": kernel,
        "recurrent_kernel": layer.weights["recurrent_kernel"],
        "bias": bias,
        "activation": resolve(layer.options["activation"]),
    }


class SimpleRNN(Recurrent):
    """See `verify.cells.simple_rnn_step`; keras/src/layers/rnn/simple_rnn.py."""

    class_name = "SimpleRNN"
    options = COMMON_OPTIONS
    states = ("h",)

    def equations(self, layer: LayerSpec) -> list[str]:
        bias = " + bias" if "bias" in layer.weights else ""
        phi = layer.options["activation"]
        return [f"h = {phi}(x @ kernel{bias} + h @ recurrent_kernel)"]

    def step(self, layer: LayerSpec) -> Step:
        return partial(simple_rnn_step, **_bound(layer))


class LSTM(Recurrent):
    """See `verify.cells.lstm_step`; keras/src/layers/rnn/lstm.py."""

    class_name = "LSTM"
    options: ClassVar[Mapping[str, Option]] = {**COMMON_OPTIONS, **GATED_OPTIONS}
    inert = Recurrent.inert | {"unit_forget_bias"}
    states = ("h", "c")

    def equations(self, layer: LayerSpec) -> list[str]:
        bias = " + bias" if "bias" in layer.weights else ""
        phi, sigma = layer.options["activation"], layer.options["recurrent_activation"]
        return [
            f"z = x @ kernel + h @ recurrent_kernel{bias}, one block of z a gate",
            f"i, f, o = {sigma}(z_i, z_f, z_o); c_hat = {phi}(z_c)",
            f"c = f * c + i * c_hat; h = o * {phi}(c)",
        ]

    def step(self, layer: LayerSpec) -> Step:
        sigma = resolve(layer.options["recurrent_activation"])
        return partial(lstm_step, **_bound(layer), recurrent_activation=sigma)


class GRU(Recurrent):
    """See `verify.cells.gru_step`; keras/src/layers/rnn/gru.py."""

    class_name = "GRU"
    options: ClassVar[Mapping[str, Option]] = {
        **COMMON_OPTIONS,
        **GATED_OPTIONS,
        "reset_after": Option(boolean, True),
    }
    states = ("h",)

    def bias_shape(self, options: Mapping[str, Any], width: int) -> tuple[int, ...]:
        return (2, width) if options["reset_after"] else (width,)

    def equations(self, layer: LayerSpec) -> list[str]:
        phi, sigma = layer.options["activation"], layer.options["recurrent_activation"]
        after = layer.options["reset_after"]
        lines = []
        if "bias" in layer.weights:
            lines.append(
                "bias row 0 is added to x @ kernel, row 1 to h @ recurrent_kernel"
                if after
                else "bias has one row, added to x @ kernel"
            )
        candidate = "r * (h @ U_h + bias[1])" if after else "(r * h) @ U_h"
        if "bias" not in layer.weights:
            candidate = candidate.replace(" + bias[1]", "")
        return [
            *lines,
            f"z, r = {sigma}(x part + h part); h_hat = {phi}(x part + {candidate})",
            "h = z * h + (1 - z) * h_hat: z keeps the old state",
        ]

    def step(self, layer: LayerSpec) -> Step:
        bound = _bound(layer, rows=2)
        if bound["bias"].ndim == 1:  # reset_after=False stores the input row only
            bound["bias"] = np.stack([bound["bias"], np.zeros_like(bound["bias"])])
        sigma = resolve(layer.options["recurrent_activation"])
        return partial(
            gru_step,
            **bound,
            recurrent_activation=sigma,
            reset_after=layer.options["reset_after"],
        )
