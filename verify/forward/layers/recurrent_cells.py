"""Bind options and weights to the equations of the recurrent cells."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.cells import gru_step, lstm_step, simple_rnn_step
from verify.forward.layers.base import (
    LayerType,
    Option,
    Run,
    activation,
    boolean,
    columns,
    function_of,
    positive,
    weight_settings,
)
from verify.forward.recurrence import Step, Stepped
from verify.model.arrays import Array
from verify.model.dtypes import HALF_DTYPES, POLICIES, rounded, working
from verify.model.graph import flatten
from verify.model.spec import GATES, LayerSpec

CELL_OPTIONS: Mapping[str, Option] = {
    "units": Option(positive),
    "activation": Option(activation, "tanh"),
    "use_bias": Option(boolean, True),
}
GATED_OPTIONS = {"recurrent_activation": Option(activation, "sigmoid")}
WEIGHT_SETTINGS = weight_settings("kernel", "recurrent", "bias")


class Cell(LayerType):
    """Describe one step of a recurrent layer, for cells and for layers with a cell.

    Attributes
    ----------
    state_names : tuple of str
        Names of the states in a trace, in the order of Keras's states.
    """

    shown_by_weights = frozenset({"units", "use_bias"})
    state_names: ClassVar[tuple[str, ...]] = ("h",)
    options = CELL_OPTIONS
    inert = WEIGHT_SETTINGS | {"dropout", "recurrent_dropout", "seed", "implementation"}
    arguments = ("inputs", "states")

    @abstractmethod
    def unrounded_step(self, layer: LayerSpec, run: Run | None = None) -> Step:
        """Return the equations of a step with the weights and activations filled in.

        `run` tells `OwnCell` how the layers inside a cell are to be evaluated.
        """

    @abstractmethod
    def equations(self, layer: LayerSpec) -> list[str]:
        """Return lines for `describe`: one step with the layer's own activations."""

    def names(self, layer: LayerSpec) -> tuple[str, ...]:
        """Return the names of the states in a trace, in the order of Keras's states."""
        return self.state_names

    def initial(self, layer: LayerSpec, batch: int) -> tuple[Array, ...]:
        """Return states of zeros, (batch, units) each."""
        shape = (batch, layer.options["units"])
        zeros = np.zeros(shape, dtype=working(POLICIES[layer.policy].compute))
        return (zeros,) * len(self.state_names)

    def step(self, layer: LayerSpec, run: Run | None = None) -> Step:
        """Return the step of the layer, which for 16 bits rounds inputs and results."""
        step, compute = self.unrounded_step(layer, run), POLICIES[layer.policy].compute
        if compute not in HALF_DTYPES:
            return step

        def rounding(x: Array, states: tuple[Array, ...]) -> Stepped:
            result = step(rounded(x, compute), states)
            return Stepped(
                rounded(result.output, compute),
                tuple(rounded(state, compute) for state in result.states),
                result.values,
            )

        return rounding

    def bias_shape(self, options: Mapping[str, Any], width: int) -> tuple[int, ...]:
        """Return the shape of the bias of a kernel with `width` columns."""
        return (width,)

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        units = options["units"]
        width = len(GATES[type(self).class_name]) * units  # also of a registered cell
        shapes: dict[str, tuple[int | None, ...]] = {
            "kernel": (None, width),
            "recurrent_kernel": (units, width),
        }
        if options["use_bias"]:
            shapes["bias"] = self.bias_shape(options, width)
        return shapes

    def formula(self, layer: LayerSpec) -> str:
        if "kernel" not in layer.weights:  # a registered cell
            return super().formula(layer)
        features, width = layer.weights["kernel"].shape
        units = layer.options["units"]
        bias = layer.weights.get("bias")
        rows = 0 if bias is None else bias.size // width
        each = f"{units} x ({features} + {units}{f' + {rows}' if rows else ''})"
        gates = width // units
        return f"{gates} gates x {each}" if gates > 1 else each

    def notes(self, layer: LayerSpec) -> list[str]:
        """Return the columns of each gate, then the equations of a step.

        Nothing is known of a registered cell that computes something else.
        """
        if type(self).call is not Cell.call:
            return []
        lines = []
        if len(layer.gates) > 1:
            lines.append(f"columns: {columns(layer.gates, layer.options['units'])}")
        return lines + self.equations(layer)

    def call(
        self, run: Run, layer: LayerSpec, inputs: Array, states: Any
    ) -> tuple[Array, ...]:
        given = layer.overrides.get("initial_state", tuple)(tuple(flatten(states)))
        result = self.step(layer)(inputs, given)
        after = layer.overrides.get("return_state", tuple)(result.states)
        return (result.output, *after)


def _weights(layer: LayerSpec, rows: int = 1) -> dict[str, Any]:
    """Return keyword arguments for a step function; a missing bias becomes zeros.

    Parameters
    ----------
    layer : LayerSpec
    rows : int
        Number of rows of the bias: 2 for a GRU, otherwise 1.
    """
    kernel = layer.weights["kernel"]
    bias = layer.weights.get("bias")
    if bias is None:
        width = kernel.shape[1]
        bias = np.zeros(width if rows == 1 else (rows, width), dtype=kernel.dtype)
    return {
        "kernel": kernel,
        "recurrent_kernel": layer.weights["recurrent_kernel"],
        "bias": bias,
        "activation": function_of(layer),
    }


class SimpleRNNCell(Cell):
    """Bind weights to `cells.simple_rnn_step`.

    Source: keras/src/layers/rnn/simple_rnn.py.
    """

    class_name = "SimpleRNNCell"

    def equations(self, layer: LayerSpec) -> list[str]:
        bias = " + bias" if "bias" in layer.weights else ""
        phi = layer.options["activation"]
        return [f"h = {phi}(x @ kernel{bias} + h @ recurrent_kernel)"]

    def unrounded_step(self, layer: LayerSpec, run: Run | None = None) -> Step:
        weights = _weights(layer)
        equations = layer.overrides.get("step", simple_rnn_step)

        def step(x: Array, states: tuple[Array, ...]) -> Stepped:
            result = equations(x, *states, **weights)
            return Stepped(result.h, (result.h,), result._asdict())

        return step


class LSTMCell(Cell):
    """Bind weights to `cells.lstm_step`.

    Source: keras/src/layers/rnn/lstm.py.
    """

    class_name = "LSTMCell"
    options: ClassVar[Mapping[str, Option]] = {**CELL_OPTIONS, **GATED_OPTIONS}
    inert = Cell.inert | {"unit_forget_bias"}
    state_names = ("h", "c")

    def equations(self, layer: LayerSpec) -> list[str]:
        bias = " + bias" if "bias" in layer.weights else ""
        phi, sigma = layer.options["activation"], layer.options["recurrent_activation"]
        return [
            f"z = x @ kernel + h @ recurrent_kernel{bias}, one block of z a gate",
            f"i, f, o = {sigma}(z_i, z_f, z_o); c_hat = {phi}(z_c)",
            f"c = f * c + i * c_hat; h = o * {phi}(c)",
        ]

    def unrounded_step(self, layer: LayerSpec, run: Run | None = None) -> Step:
        weights = _weights(layer)
        weights["recurrent_activation"] = function_of(layer, "recurrent_activation")

        equations = layer.overrides.get("step", lstm_step)

        def step(x: Array, states: tuple[Array, ...]) -> Stepped:
            result = equations(x, *states, **weights)
            return Stepped(result.h, (result.h, result.c), result._asdict())

        return step


class GRUCell(Cell):
    """Bind weights to `cells.gru_step`.

    Source: keras/src/layers/rnn/gru.py.
    """

    class_name = "GRUCell"
    options: ClassVar[Mapping[str, Option]] = {
        **CELL_OPTIONS,
        **GATED_OPTIONS,
        "reset_after": Option(boolean, True),
    }

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

    def unrounded_step(self, layer: LayerSpec, run: Run | None = None) -> Step:
        weights = _weights(layer, rows=2)
        if weights["bias"].ndim == 1:  # reset_after=False stores the input row only
            weights["bias"] = np.stack(
                [weights["bias"], np.zeros_like(weights["bias"])]
            )
        weights["recurrent_activation"] = function_of(layer, "recurrent_activation")
        weights["reset_after"] = layer.options["reset_after"]

        equations = layer.overrides.get("step", gru_step)

        def step(x: Array, states: tuple[Array, ...]) -> Stepped:
            result = equations(x, *states, **weights)
            return Stepped(result.h, (result.h,), result._asdict())

        return step


class StackedRNNCells(Cell):
    """Run several cells within each step, each on the output of the one before it.

    Source: keras/src/layers/rnn/stacked_rnn_cells.py.
    """

    class_name = "StackedRNNCells"
    options: ClassVar[Mapping[str, Option]] = {}
    inert = frozenset()
    child_configs = frozenset({"cells"})
    container = "cells"

    def children(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        cells = config.get("cells")
        return (
            {str(k): x for k, x in enumerate(cells)} if isinstance(cells, list) else {}
        )

    def check(self, where: str, layer: LayerSpec) -> None:
        require_cells(where, layer)

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        return {}

    def formula(self, layer: LayerSpec) -> str:
        return " + ".join(f"{cell.parameters:,}" for cell in layer.sublayers.values())

    def equations(self, layer: LayerSpec) -> list[str]:
        count = len(layer.sublayers)
        if count == 1:
            return ["each step runs one cell"]
        return [f"each step runs {count} cells in turn, one on the output of the other"]

    def names(self, layer: LayerSpec) -> tuple[str, ...]:
        return tuple(
            f"{key}/{name}"
            for key, cell in layer.sublayers.items()
            for name in cell_type(cell).names(cell)
        )

    def initial(self, layer: LayerSpec, batch: int) -> tuple[Array, ...]:
        return tuple(
            state
            for cell in layer.sublayers.values()
            for state in cell_type(cell).initial(cell, batch)
        )

    def unrounded_step(self, layer: LayerSpec, run: Run | None = None) -> Step:
        cells = [
            (key, cell_type(cell).step(cell, run), len(cell_type(cell).names(cell)))
            for key, cell in layer.sublayers.items()
        ]

        def step(x: Array, states: tuple[Array, ...]) -> Stepped:
            new: tuple[Array, ...] = ()
            values: dict[str, Array] = {}
            for key, cell_step, count in cells:
                own, states = states[:count], states[count:]
                x, after, noted = cell_step(x, own)
                new += after
                values |= {f"{key}/{name}": value for name, value in noted.items()}
            return Stepped(x, new, values)

        return step


class OwnCell(Cell):
    """Run the ``call`` of a registered cell for each step.

    It takes the input of the step and the states, and returns the output and the new
    states. The states are named by its ``state_names``, one ``h`` unless it says so.
    ``initial`` returns the first ones; otherwise they are zeros, (batch, units) each.

    Parameters
    ----------
    kind : LayerType
        What is registered, an instance.
    """

    def __init__(self, kind: LayerType) -> None:
        self._kind = kind

    def names(self, layer: LayerSpec) -> tuple[str, ...]:
        return tuple(getattr(self._kind, "state_names", ("h",)))

    def initial(self, layer: LayerSpec, batch: int) -> tuple[Array, ...]:
        own = getattr(self._kind, "initial", None)
        if own is not None:
            return tuple(flatten(own(layer, batch)))
        if not isinstance(layer.options.get("units"), int):
            raise UnsupportedError(
                f"{layer}: expected an option 'units', or a method initial(layer, "
                "batch) that returns the first states"
            )
        return super().initial(layer, batch) * len(self.names(layer))

    def equations(self, layer: LayerSpec) -> list[str]:
        return []

    def formula(self, layer: LayerSpec) -> str:
        return self._kind.formula(layer)

    def unrounded_step(self, layer: LayerSpec, run: Run | None = None) -> Step:
        from verify.forward.evaluate import Evaluation

        names = self.names(layer)
        assert run is not None
        # layers inside the cell leave no trace: they would leave one for every step
        inside = Evaluation(floatx=run.floatx, outlining=run.outlining)

        def step(x: Array, states: tuple[Array, ...]) -> Stepped:
            output, *after = flatten(self._kind.call(inside, layer, x, list(states)))
            if len(after) != len(names):
                raise ValueError(
                    f"call returned {len(after)} states after the output; "
                    f"expected {len(names)}: {', '.join(names)}"
                )
            return Stepped(output, tuple(after), dict(zip(names, after, strict=True)))

        return step


CELLS: Mapping[str, Cell] = {
    kind.class_name: kind
    for kind in (SimpleRNNCell(), LSTMCell(), GRUCell(), StackedRNNCells())
}


def cell_type(layer: LayerSpec) -> Cell:
    """Return the type of a cell that `require_cells` has accepted."""
    known = CELLS.get(layer.class_name)
    return OwnCell(_registered(layer)) if known is None else known


def _registered(layer: LayerSpec) -> LayerType:
    from verify.forward.layers import REGISTRY

    return REGISTRY[layer.class_name]


def _takes_states(layer: LayerSpec) -> bool:
    """Return whether a layer is a cell: of Keras, or a registered one with states."""
    return layer.class_name in CELLS or "states" in _registered(layer).arguments


def require_cells(where: str, layer: LayerSpec) -> None:
    """Raise UnsupportedError unless the sublayers are one cell or more."""
    for inner in layer.sublayers.values():
        if not _takes_states(inner):
            raise UnsupportedError(
                f"{where}: expected cells ({', '.join(CELLS)}, or a registered class "
                f"whose call takes states). Received: {inner}"
            )
    if not layer.sublayers:
        raise UnsupportedError(f"{where}: expected one cell or more. Received: none")


KINDS: tuple[type[LayerType], ...] = (SimpleRNNCell, LSTMCell, GRUCell, StackedRNNCells)
"""The layer types of this module, for the registry."""
