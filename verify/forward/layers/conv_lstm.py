"""Evaluate ConvLSTM1D, ConvLSTM2D and ConvLSTM3D, LSTMs whose products convolve."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from verify.forward.activations import Activation
from verify.forward.cells import conv_lstm_step
from verify.forward.convolution import (
    channels_last,
    convolve,
    dilated_size,
    in_format,
    window_counts,
)
from verify.forward.layers.base import (
    DATA_FORMAT,
    LayerType,
    Option,
    Run,
    activation,
    boolean,
    columns,
    function_of,
    one_of,
    positive,
    refuse,
)
from verify.forward.layers.convolution import (
    Shapes,
    refuse_strides_with_dilation,
    refuse_windows_of_tensorflow,
    sizes,
)
from verify.forward.layers.recurrent import LOOP_OPTIONS, CellLoop
from verify.forward.layers.recurrent_cells import Cell
from verify.forward.recurrence import Step, Stepped
from verify.model.arrays import Array
from verify.model.backends import Limit
from verify.model.dtypes import POLICIES, working
from verify.model.spec import LayerSpec


def _options(rank: int) -> dict[str, Option]:
    ones = (1,) * rank
    return {
        "filters": Option(positive),
        "kernel_size": Option(sizes(rank)),
        "strides": Option(sizes(rank), ones),
        "padding": Option(one_of("valid", "same"), "valid"),
        "data_format": DATA_FORMAT,
        "dilation_rate": Option(sizes(rank), ones),
        "activation": Option(activation, "tanh"),
        "recurrent_activation": Option(activation, "sigmoid"),
        "use_bias": Option(boolean, True),
    }


def _in_layout(function: Activation, data_format: str) -> Activation:
    """Return the activation as it acts in the layer's data format.

    The function returned takes and returns arrays with channels last. The format
    matters because a softmax, for example, sums over the last axis whatever it is.
    """
    if data_format == "channels_last":
        return function
    return lambda z: channels_last(function(in_format(z, data_format)), data_format)


class ConvLSTMCell(Cell):
    """Bind weights to `verify.forward.cells.conv_lstm_step`.

    Source: keras/src/layers/rnn/conv_lstm.py.
    """

    state_names = ("h", "c")
    inert = Cell.inert | {"unit_forget_bias"}

    def zeros(self, layer: LayerSpec, x: Array) -> tuple[Array, ...]:
        """Return states of zeros for inputs (batch, time, ...), in the data format."""
        options = layer.options
        *lengths, _ = channels_last(x[:, 0], options["data_format"]).shape[1:]
        span = dilated_size(options["kernel_size"], options["dilation_rate"])
        counts = window_counts(lengths, span, options["strides"], options["padding"])
        dtype = working(POLICIES[layer.policy].compute)
        zeros = np.zeros((len(x), *counts, options["filters"]), dtype=dtype)
        return (in_format(zeros, options["data_format"]),) * 2

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        kernel_size, filters = options["kernel_size"], options["filters"]
        shapes: dict[str, tuple[int | None, ...]] = {
            "kernel": (*kernel_size, None, 4 * filters),
            "recurrent_kernel": (*kernel_size, filters, 4 * filters),
        }
        return shapes | ({"bias": (4 * filters,)} if options["use_bias"] else {})

    def formula(self, layer: LayerSpec) -> str:
        filters = layer.options["filters"]
        *kernel_size, channels, _ = layer.weights["kernel"].shape
        window = " x ".join(map(str, kernel_size))
        bias = " + 1" if "bias" in layer.weights else ""
        return f"4 gates x {filters} x ({window} x ({channels} + {filters}){bias})"

    def notes(self, layer: LayerSpec) -> list[str]:
        blocks = columns(layer.gates, layer.options["filters"])
        return [f"filters: {blocks}", *self.equations(layer)]

    def equations(self, layer: LayerSpec) -> list[str]:
        options = layer.options
        bias = " + bias" if "bias" in layer.weights else ""
        phi, sigma = options["activation"], options["recurrent_activation"]
        return [
            f"z = conv(x, kernel){bias} + conv(h, recurrent_kernel), one block a gate",
            f"conv(x): strides {options['strides']}, dilation "
            f"{options['dilation_rate']}, padding {options['padding']}; conv(h): "
            "strides and dilation 1, padding same",
            f"i, f, o = {sigma}(z_i, z_f, z_o); c_hat = {phi}(z_c)",
            f"c = f * c + i * c_hat; h = o * {phi}(c)",
        ]

    def unrounded_step(self, layer: LayerSpec, run: Run | None = None) -> Step:
        options, weights = layer.options, layer.weights
        data_format = options["data_format"]
        kernel, recurrent = weights["kernel"], weights["recurrent_kernel"]
        ones = (1,) * len(options["kernel_size"])
        equations = partial(
            layer.overrides.get("step", conv_lstm_step),
            convolve=partial(
                layer.overrides.get("convolve", convolve),
                kernel=kernel,
                strides=options["strides"],
                padding=options["padding"],
                dilation=options["dilation_rate"],
            ),
            recur=partial(
                layer.overrides.get("recur", convolve),
                kernel=recurrent,
                strides=ones,
                padding="same",
                dilation=ones,
            ),
            bias=weights.get("bias", np.zeros(kernel.shape[-1], kernel.dtype)),
            activation=_in_layout(function_of(layer), data_format),
            recurrent_activation=_in_layout(
                function_of(layer, "recurrent_activation"), data_format
            ),
        )

        def step(x: Array, states: tuple[Array, ...]) -> Stepped:
            h, c = (channels_last(state, data_format) for state in states)
            result = equations(channels_last(x, data_format), h, c)
            values = {
                name: in_format(value, data_format)
                for name, value in result._asdict().items()
            }
            return Stepped(values["h"], (values["h"], values["c"]), values)

        return step


class ConvLSTM(CellLoop):
    """Run `ConvLSTMCell` over time, for any number of spatial axes.

    A mask is (batch, time). It has spatial axes too if a layer such as Masking made it
    from an input with these; then each position keeps its state by itself.

    Source: keras/src/layers/rnn/conv_lstm.py.
    """

    cell_type: ClassVar[ConvLSTMCell] = ConvLSTMCell()
    inert = cell_type.inert
    shown_by_weights = frozenset({"filters", "kernel_size", "use_bias"})

    def check(self, where: str, layer: LayerSpec) -> None:
        refuse_strides_with_dilation(where, layer.options)

    def initial(self, layer: LayerSpec, x: Array) -> tuple[Array, ...]:
        return self.cell_type.zeros(layer, x)

    def call(
        self,
        run: Run,
        layer: LayerSpec,
        sequences: Array,
        initial_state: Any = None,
        mask: Array | None = None,
    ) -> Any:
        if mask is not None:
            refuse(layer, Limit.MASKED_CONVLSTM)
        return super().call(run, layer, sequences, initial_state, mask)


class ConvLSTM1D(ConvLSTM):
    """Run `ConvLSTMCell` over time, with one spatial axis.

    Source: keras/src/layers/rnn/conv_lstm1d.py.
    """

    class_name = "ConvLSTM1D"
    options: ClassVar[Mapping[str, Option]] = {**_options(1), **LOOP_OPTIONS}


class ConvLSTM2D(ConvLSTM):
    """Run `ConvLSTMCell` over time, with two spatial axes.

    Source: keras/src/layers/rnn/conv_lstm2d.py.
    """

    class_name = "ConvLSTM2D"
    options: ClassVar[Mapping[str, Option]] = {**_options(2), **LOOP_OPTIONS}


class ConvLSTM3D(ConvLSTM):
    """Run `ConvLSTMCell` over time, with three spatial axes.

    Source: keras/src/layers/rnn/conv_lstm3d.py.
    """

    class_name = "ConvLSTM3D"
    options: ClassVar[Mapping[str, Option]] = {**_options(3), **LOOP_OPTIONS}

    def call(
        self, run: Run, layer: LayerSpec, sequences: Array, *rest: Any, **named: Any
    ) -> Any:
        step = channels_last(sequences[:, 0], layer.options["data_format"])
        refuse_windows_of_tensorflow(layer, step.shape[1:-1])
        return super().call(run, layer, sequences, *rest, **named)


KINDS: tuple[type[LayerType], ...] = (ConvLSTM1D, ConvLSTM2D, ConvLSTM3D)
"""The layer types of this module, for the registry."""
