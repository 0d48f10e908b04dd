"""Write a recurrent layer by ONNX's operators RNN, LSTM and GRU.

They take time first, the gates of an LSTM in the order i, o, f, c and those of a GRU in
Keras's own, z, r, h; weights are (gates * units, features), and the bias of the inputs
stands before that of the recurrent side.

ONNX has no masks, but lengths: a row is cut off after ``sequence_lens`` steps. A masked
step of Keras leaves the states as they are, so that a row with masked steps ends in the
states of the same row without them. Therefore `packed` moves the steps that count to
the front of each row, which is exact for every mask, with padding in front, behind and
in between; `Packed.unpacked` puts the outputs back.

Lengths of 0 are never given: runtimes begin such a row with states of zeros, whatever
states they are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from verify.model.arrays import Array
from verify.model.dtypes import POLICIES
from verify.model.spec import GATES, LayerSpec
from verify.ports.convert.to_onnx import activations
from verify.ports.convert.to_onnx.run import Dialect
from verify.ports.convert.to_onnx.values import Graph, Value

OPERATORS = {"SimpleRNN": "RNN", "LSTM": "LSTM", "GRU": "GRU"}

ORDER = {"SimpleRNN": ("h",), "LSTM": ("i", "o", "f", "c"), "GRU": ("z", "r", "h")}
"""The gate blocks as ONNX stores them, by Keras's letters."""


class Direction(NamedTuple):
    """Hold one direction of a fused operator.

    Attributes
    ----------
    cell : LayerSpec
        The layer or cell with the options and weights of a step.
    reverse : bool
        Whether it processes the last step first.
    states : tuple of (batch, units), or None
        The states it begins with; None for zeros.
    """

    cell: LayerSpec
    reverse: bool
    states: tuple[Value, ...] | None


class Result(NamedTuple):
    """Hold what one direction of a fused operator returns.

    Attributes
    ----------
    outputs : (batch, time, units)
        At every step, in the order of the input, also if it goes backwards.
    states : tuple of (batch, units)
    """

    outputs: Value
    states: tuple[Value, ...]


def obstacle(cell: LayerSpec, dialect: Dialect) -> str:
    """Return why a cell cannot be written by a fused operator; empty if it can."""
    name = cell.class_name.removesuffix("Cell")
    if name not in OPERATORS:
        return f"no operator of ONNX computes {cell.class_name}"
    compute = POLICIES[cell.policy].compute
    if compute != "float32":
        return f"runtimes have the operator {OPERATORS[name]} in float32 only"
    for option in ("recurrent_activation", "activation"):
        function = cell.options.get(option)
        if function is None:
            continue
        known = activations.fused(function)
        if known is None:
            return f"the operator {OPERATORS[name]} has no activation {function}"
        if dialect.activations is not None and known[0] not in dialect.activations:
            return f"{dialect.name} computes no {known[0]} in the operator"
    return ""


def same_operator(cells: Sequence[LayerSpec]) -> bool:
    """Return whether one bidirectional operator can compute both cells."""
    first, second = cells
    keys = ("units", "reset_after")
    return first.class_name == second.class_name and all(
        first.options.get(key) == second.options.get(key) for key in keys
    )


def weights(cell: LayerSpec) -> tuple[Array, Array, Array]:
    """Return W, R and B of ONNX for one direction.

    Returns
    -------
    W : (gates * units, features)
    R : (gates * units, units)
    B : (2 * gates * units,)

    Rows are in ONNX's order of the gates; a bias that the cell does not have is zeros.
    """
    name = cell.class_name.removesuffix("Cell")
    kernel, recurrent = cell.weights["kernel"], cell.weights["recurrent_kernel"]
    bias = np.zeros((2, kernel.shape[1]), kernel.dtype)
    stored = cell.weights.get("bias")
    if stored is not None:
        bias[: stored.ndim] = stored
    kernel, recurrent, bias = (
        _reordered(weight, GATES[name], ORDER[name])
        for weight in (kernel, recurrent, bias)
    )
    return kernel.T, recurrent.T, bias.reshape(-1)


def _reordered(weight: Array, before: Sequence[str], after: Sequence[str]) -> Array:
    blocks = dict(zip(before, np.split(weight, len(before), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in after], axis=-1)


def run(
    x: Value, directions: Sequence[Direction], lengths: Value | None
) -> list[Result]:
    """Write one operator for one direction, or for both.

    Parameters
    ----------
    x : (batch, time, features)
    directions : sequence of Direction
        One, or the forward and the backward one.
    lengths : (batch,) of int64, or None
        How many steps of each row count, 1 or more.
    """
    graph, cell = x.graph, directions[0].cell
    name, units = cell.class_name.removesuffix("Cell"), cell.options["units"]
    operands = [
        graph.constant(np.stack(arrays), hint)
        for hint, arrays in zip(
            "WRB", zip(*(weights(one.cell) for one in directions), strict=True),
            strict=True,
        )
    ]  # fmt: skip
    options: dict[str, Any] = {"hidden_size": units}
    if len(directions) > 1:
        options["direction"] = "bidirectional"
    elif directions[0].reverse:
        options["direction"] = "reverse"
    if name == "GRU":
        options["linear_before_reset"] = int(cell.options["reset_after"])
    options |= _activation_options([one.cell for one in directions])
    shape = (len(directions), x.shape[0], units)
    count = 2 if name == "LSTM" else 1
    found = graph.ops(
        OPERATORS[name],
        [
            _time_first(x),
            *operands,
            None if lengths is None else lengths.cast(np.int32),
            *_initial(graph, x, directions, count),
        ],
        [(x.dtype, (x.shape[1], *shape)), *[(x.dtype, shape)] * count],
        ["Y", "Y_h", "Y_c"],
        **options,
    )
    y, *finals = (value for value in found if value is not None)
    results = []
    for k, _ in enumerate(directions):
        own = y.take(1, k) if len(directions) > 1 else y.squeeze(1)
        states = tuple(
            final.take(0, k) if len(directions) > 1 else final.squeeze(0)
            for final in finals
        )
        results.append(Result(own.transpose([1, 0, 2]), states))
    return results


def _time_first(x: Value) -> Value:
    """Return the inputs (time, batch, features).

    Of an Embedding the ids are turned, of which there are fewer.
    """
    if x.name in x.graph.look_ups:
        table, ids = x.graph.look_ups[x.name]
        return table.gather(ids.transpose([1, 0]))
    return x.transpose([1, 0, 2])


def _initial(
    graph: Graph, x: Value, directions: Sequence[Direction], count: int
) -> list[Value | None]:
    """Return the operands initial_h and initial_c: (directions, batch, units) each."""
    if all(one.states is None for one in directions):
        return [None] * count
    found: list[Value | None] = []
    for k in range(count):
        parts = []
        for one in directions:
            if one.states is None:
                state = zeros(x, one.cell.options["units"])
            else:
                state = one.states[k]
            parts.append(state.expand(0))
        found.append(graph.concat(parts, 0))
    return found


def zeros(x: Value, *sizes: int) -> Value:
    """Return zeros (batch, *sizes) for the rows of `x`."""
    graph = x.graph
    batch = x.sizes(0, 1)
    whole = graph.concat([batch, graph.integers(sizes)], 0)
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    return graph.full(whole, (x.shape[0], *sizes), 0, dtype)


def _activation_options(cells: Sequence[LayerSpec]) -> dict[str, Any]:
    """Return the attributes that name the activations, unless they are the usual."""
    named = []
    for cell in cells:
        phi = cell.options["activation"]
        sigma = cell.options.get("recurrent_activation")
        wanted = {
            "SimpleRNN": (phi,),
            "GRU": (sigma, phi),
            "LSTM": (sigma, phi, phi),
        }[cell.class_name.removesuffix("Cell")]
        named += [activations.fused(function) for function in wanted]
    chosen = [item for item in named if item is not None]
    names = [name for name, _, _ in chosen]
    if set(names) <= {"Tanh", "Sigmoid"}:
        usual = {1: ["Tanh"], 2: ["Sigmoid", "Tanh"], 3: ["Sigmoid", "Tanh", "Tanh"]}
        if names == usual[len(names) // len(cells)] * len(cells):
            return {}
    # an operator reads one alpha for each activation that has one, in their order
    alphas = [alpha for _, alpha, _ in chosen if alpha is not None]
    betas = [beta for _, _, beta in chosen if beta is not None]
    options: dict[str, Any] = {"activations": names}
    if alphas:
        options["activation_alpha"] = alphas
    if betas:
        options["activation_beta"] = betas
    return options


@dataclass(frozen=True)
class Packed:
    """Hold rows whose steps that count have been moved to the front.

    Attributes
    ----------
    x : (batch, time, features)
        Zeros after the steps that count.
    mask : (batch, time) of bool
        Which steps counted in the original order.
    counted : (batch, time) of int64
        How many of the steps up to this one count.
    total : (batch,) of int64
        How many steps of a row count.
    """

    x: Value
    mask: Value
    counted: Value
    total: Value

    @property
    def lengths(self) -> Value:
        """Return the lengths to give to an operator: the totals, but at least 1."""
        return self.total.maximum(1)

    def unpacked(self, outputs: Value, before: Value, reverse: bool) -> Value:
        """Return the outputs at the original steps.

        At a masked step it is the output of the step processed last, and `before` if
        there is none.

        Parameters
        ----------
        outputs : (batch, time, units)
        before : (batch, 1, units)
        reverse : bool
            Whether the last step was processed first.
        """
        graph = outputs.graph
        if reverse:  # the next step that counts, this one included
            place = self.counted - self.mask.cast(np.int64)
            there = place < self.total.expand(1)
            place = graph.where(there, place, 0)
        else:  # the step before that counts, this one included
            there = self.counted > 0
            place = (self.counted - 1).maximum(0)
        return graph.where(there.expand(2), outputs.gather_rows(place), before)

    def held(self, after: Value, before: Value) -> Value:
        """Return a final state, which of a row without steps is the initial one."""
        return after.graph.where((self.total > 0).expand(1), after, before)


def packed(x: Value, mask: Value) -> Packed:
    """Move the steps that count to the front of each row.

    Parameters
    ----------
    x : (batch, time, features)
    mask : (batch, time) of bool
    """
    graph = x.graph
    ones = mask.cast(np.int64)
    counted = ones.cumsum(1)
    total = ones.reduce("ReduceSum", [1])
    steps = graph.steps(x)
    # where each step goes: those that count in order, the others behind them
    skipped = (steps + 1) - counted
    place = graph.where(mask, counted - 1, total.expand(1) + skipped - 1)
    sources = graph.expanded(steps.expand(0), mask.sizes(), mask.shape)
    empty = graph.full(mask.sizes(), mask.shape, 0, np.int64)
    order = graph.op(
        "ScatterElements", [empty, place, sources], np.int64, mask.shape, axis=1
    )
    moved = x.gather_rows(order)
    real = (steps.expand(0) < total.expand(1)).expand(2)
    # what stands at masked steps may be NaN, and 0 * NaN is not 0
    return Packed(graph.where(real, moved, 0), mask, counted, total)
