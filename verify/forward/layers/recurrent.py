"""Evaluate SimpleRNN, LSTM, GRU, and RNN around any cell or stack of cells.

`verify.forward.cells` has the equations, `recurrent_cells` binds the weights to them,
and `verify.forward.recurrence` has the loop over time. This module handles states and
masks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from verify.console.progress import name_loop
from verify.forward.blas import for_loop
from verify.forward.layers.base import LayerType, Option, Run, boolean, refuse
from verify.forward.layers.recurrent_cells import (
    Cell,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    cell_type,
    require_cells,
)
from verify.forward.recurrence import (
    MaskRule,
    Scan,
    TimeLoop,
    mask_of_steps,
    outlined,
    scan,
)
from verify.model.arrays import Array
from verify.model.backends import Limit
from verify.model.dtypes import POLICIES, rounded, working
from verify.model.graph import flatten
from verify.model.spec import LayerSpec

LOOP_OPTIONS: Mapping[str, Option] = {
    "return_sequences": Option(boolean, False),
    "return_state": Option(boolean, False),
    "go_backwards": Option(boolean, False),
    "stateful": Option(boolean, False),
    "unroll": Option(boolean, False),
    "zero_output_for_mask": Option(boolean, False),
}


class Loop(LayerType):
    """Run a cell over time; the base of every recurrent layer.

    Source: keras/src/layers/rnn/rnn.py.
    """

    options = LOOP_OPTIONS
    arguments = ("sequences", "initial_state", "mask")
    supports_masking = True
    masks_may_end = True

    @abstractmethod
    def cell(self, layer: LayerSpec) -> tuple[Cell, LayerSpec]:
        """Return the type of the cell, and the spec with its options and weights."""

    def initial(self, layer: LayerSpec, x: Array) -> tuple[Array, ...]:
        """Return states of zeros for inputs (batch, time, ...)."""
        kind, cell = self.cell(layer)
        return kind.initial(cell, len(x))

    def loop_notes(self, layer: LayerSpec) -> list[str]:
        """Return lines for `describe` about the options that have an effect."""
        options, rule = layer.options, MaskRule.of(layer)
        lines = []
        if options["go_backwards"]:
            lines.append(
                "go_backwards: reads the last step first; sequences come out in that "
                "order, while the mask that goes on keeps the order of the input"
            )
        if rule.zeroes or rule.misaligned:
            text = "zero_output_for_mask: a masked step outputs zeros"
            if not options["return_sequences"]:
                text += "; so does the layer if the step it reads last is masked"
            lines.append(text)
        if options["stateful"]:
            lines.append(
                "stateful: a batch starts with the states that the one before it ended "
                "with"
            )
        if options["return_state"]:
            lines.append(
                "return_state: the states after the last step follow the output: "
                f"{', '.join(self.state_words(layer))}"
            )
        if rule.misaligned:
            lines.append(
                "unrolled, backwards and zeroing: Keras zeroes the outputs, which are "
                "reversed, by the mask that is not"
            )
        return lines

    def state_words(self, layer: LayerSpec) -> tuple[str, ...]:
        """Return the names of the states as `describe` shows them."""
        kind, cell = self.cell(layer)
        return kind.names(cell)

    def call(
        self,
        run: Run,
        layer: LayerSpec,
        sequences: Array,
        initial_state: Any = None,
        mask: Array | None = None,
    ) -> Any:
        kind, cell = self.cell(layer)
        options = layer.options
        if mask is not None and options["unroll"] and options["go_backwards"]:
            refuse(layer, Limit.UNROLLED_BACKWARDS_MASK)
        compute = POLICIES[cell.policy].compute
        if initial_state is not None:
            given = tuple(flatten(initial_state))
            given = layer.overrides.get("initial_state", tuple)(given)
            states = tuple(rounded(state, compute) for state in given)
        elif options["stateful"] and run.states() is not None:
            states = tuple(rounded(s, compute) for s in run.states() or ())
        else:
            states = self.initial(layer, sequences)
        names = kind.names(cell)
        if len(states) != len(names):
            raise ValueError(f"{len(names)} states expected, {len(states)} received")
        if mask is not None and isinstance(mask, (list, tuple)):
            mask = mask[0]  # Keras uses the first of several masks
        if mask is not None:
            mask = mask_of_steps(layer, mask, states, shapes_alone=run.outlining)
        name_loop(layer.name)
        loop = run.loop(layer) or self.time_loop(layer, run)
        if run.outlining:
            loop = outlined(loop)
        rows, time = sequences.shape[:2]
        with for_loop(time, rows * layer.parameters):
            result = loop(
                sequences,
                mask,
                states,
                names,
                return_sequences=options["return_sequences"],
                go_backwards=options["go_backwards"],
                mask_rule=MaskRule.of(layer),
                record=run.keep_steps(),
            )
        run.note(**result.values)
        if options["stateful"]:
            run.keep_states(layer.overrides.get("stateful", tuple)(result.states))
        if options["return_state"]:
            after = layer.overrides.get("return_state", tuple)(result.states)
            return (result.output, *after)
        return result.output

    def time_loop(self, layer: LayerSpec, run: Run | None = None) -> TimeLoop:
        """Return the loop over time that evaluates the equations of the cell."""
        kind, cell = self.cell(layer)
        dtype = working(POLICIES[cell.policy].compute)
        step, over_time = kind.step(cell, run), layer.overrides.get("scan", scan)

        def loop(x: Array, *arguments: Any, **options: Any) -> Scan:
            result: Scan = over_time(
                step, x.astype(dtype, copy=False), *arguments, **options
            )
            return result

        return loop

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        flat = flatten(mask)
        outgoing = flat[0] if layer.options["return_sequences"] else None
        if layer.options["return_state"]:
            kind, cell = self.cell(layer)
            return [outgoing, *[None for _ in kind.names(cell)]]
        return outgoing


class CellLoop(Loop):
    """Run one cell over time; the layer itself has the options of the cell."""

    cell_type: ClassVar[Cell]
    shown_by_weights = Cell.shown_by_weights
    weight_groups = ("cell",)

    def cell(self, layer: LayerSpec) -> tuple[Cell, LayerSpec]:
        return self.cell_type, layer

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        return self.cell_type.weight_shapes(options)

    def formula(self, layer: LayerSpec) -> str:
        return self.cell_type.formula(layer)

    def notes(self, layer: LayerSpec) -> list[str]:
        return self.cell_type.notes(layer) + self.loop_notes(layer)


class SimpleRNN(CellLoop):
    """Run `cells.simple_rnn_step` over time.

    Source: keras/src/layers/rnn/simple_rnn.py.
    """

    class_name = "SimpleRNN"
    cell_type = SimpleRNNCell()
    options: ClassVar[Mapping[str, Option]] = {**cell_type.options, **LOOP_OPTIONS}
    inert = cell_type.inert


class LSTM(CellLoop):
    """Run `cells.lstm_step` over time.

    Source: keras/src/layers/rnn/lstm.py.
    """

    class_name = "LSTM"
    cell_type = LSTMCell()
    options: ClassVar[Mapping[str, Option]] = {**cell_type.options, **LOOP_OPTIONS}
    inert = cell_type.inert | {"use_cudnn"}


class GRU(CellLoop):
    """Run `cells.gru_step` over time.

    Source: keras/src/layers/rnn/gru.py.
    """

    class_name = "GRU"
    cell_type = GRUCell()
    options: ClassVar[Mapping[str, Option]] = {**cell_type.options, **LOOP_OPTIONS}
    inert = cell_type.inert | {"use_cudnn"}


class RNN(Loop):
    """Run the cell inside this layer over time; it may be a stack of cells.

    Source: keras/src/layers/rnn/rnn.py.
    """

    class_name = "RNN"
    child_configs = frozenset({"cell"})

    def children(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"cell": config.get("cell")}

    def check(self, where: str, layer: LayerSpec) -> None:
        require_cells(where, layer)

    def cell(self, layer: LayerSpec) -> tuple[Cell, LayerSpec]:
        inner = layer.sublayers["cell"]
        return cell_type(inner), inner

    def formula(self, layer: LayerSpec) -> str:
        kind, cell = self.cell(layer)
        return kind.formula(cell)

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"a loop around {layer.sublayers['cell']}", *self.loop_notes(layer)]


KINDS: tuple[type[LayerType], ...] = (SimpleRNN, LSTM, GRU, RNN)
"""The layer types of this module, for the registry."""
