"""Write recurrent layers: by a fused operator where there is one, else by a Scan.

Outputs, states and masks follow `verify.forward.recurrence.scan`. Both forms are exact
for every mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from verify.errors import DataError, UnsupportedError
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import Tensor
from verify.forward.layers.recurrent import Loop
from verify.forward.recurrence import MaskRule
from verify.model.backends import Rule
from verify.model.dtypes import POLICIES, working
from verify.model.graph import flatten
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx import cells, fused
from verify.ports.convert.to_onnx.convolution import convolved
from verify.ports.convert.to_onnx.run import Emit, Writing
from verify.ports.convert.to_onnx.values import Graph, Value, onnx

States = tuple[Value, ...]


class Looped(NamedTuple):
    """Hold the result of a loop over time.

    Attributes
    ----------
    output : (batch, time, units) or (batch, units)
        In processing order: reversed if it goes backwards.
    states : tuple of (batch, units)
    """

    output: Value
    states: States


class Call(NamedTuple):
    """Hold one call of a recurrent layer, its states and mask found.

    Attributes
    ----------
    layer, cell : LayerSpec
    names : tuple of str
        Of the states.
    x : (batch, time, ...)
    states : tuple of (batch, units), or None
        None for zeros.
    mask : (batch, time) of bool, or None
    """

    layer: LayerSpec
    cell: LayerSpec
    names: tuple[str, ...]
    x: Value
    states: States | None
    mask: Value | None

    @property
    def rule(self) -> MaskRule:
        """Return what the layer outputs at masked steps."""
        return MaskRule.of(self.layer)


def recurrent(
    run: Writing,
    layer: LayerSpec,
    sequences: Value,
    initial_state: Any = None,
    mask: Any = None,
) -> Any:
    """Write SimpleRNN, LSTM, GRU or RNN."""
    call = prepared(run, layer, sequences, initial_state, mask)
    reason = fused.obstacle(call.cell, run.dialect)
    if not reason and call.mask is not None and not run.dialect.lengths:
        reason = _needs_lengths(call)
    if reason:
        run.written_as("Scan", reason)
        return returned(run, call, scanned(call))
    name = fused.OPERATORS[call.cell.class_name.removesuffix("Cell")]
    if call.mask is not None and not run.dialect.lengths:
        run.written_as(
            name,
            "without sequence_lens: the masked steps are moved behind the others, and "
            "the last output is looked up",
        )
        return returned(run, call, _without_lengths(call))
    run.written_as(name, _why(call))
    packed = None if call.mask is None else fused.packed(call.x, call.mask)
    (result,) = fused.run(
        call.x if packed is None else packed.x,
        [fused.Direction(call.cell, layer.options["go_backwards"], call.states)],
        None if packed is None else packed.lengths,
    )
    return returned(run, call, _finished(call, result, packed))


def _needs_lengths(call: Call) -> str:
    """Return why a masked layer cannot do without ``sequence_lens``; or nothing."""
    options = call.layer.options
    if len(call.names) > 1 and (options["return_state"] or options["stateful"]):
        return "the cell state at the end of a row needs sequence_lens"
    return ""


def _without_lengths(call: Call) -> Looped:
    """Write a masked layer so that no length matters.

    The steps that count are moved to the front in the order in which they are
    processed. What the operator makes of the steps behind them is not looked at.
    """
    backwards = call.layer.options["go_backwards"]
    x, mask = call.x, call.mask
    assert mask is not None
    if backwards:
        x, mask = x.flip(1), mask.flip(1)
    packed = fused.packed(x, mask)
    direction = fused.Direction(call.cell, False, call.states)
    (result,) = fused.run(packed.x, [direction], None)
    place = (packed.total - 1).maximum(0).expand(1)
    last = result.outputs.gather_rows(place).squeeze(1)
    return _finished(call, fused.Result(result.outputs, (last,)), packed, ordered=True)


def prepared(
    run: Writing, layer: LayerSpec, x: Value, initial_state: Any, mask: Any
) -> Call:
    """Find the states and the mask that a recurrent layer uses; as `Loop.call`."""
    kind = REGISTRY[layer.class_name]
    assert isinstance(kind, Loop)
    cell_kind, cell = kind.cell(layer)
    names = cell_kind.names(cell)
    compute = POLICIES[cell.policy].compute
    states: States | None = None
    if initial_state is not None:
        states = tuple(state.rounded(compute) for state in flatten(initial_state))
    elif layer.options["stateful"]:
        known = run.states()
        if known is None and Rule.PREDICT_FORGETS_STATES not in layer.rules:
            known = _state_inputs(run, layer, x, names)
        if known is not None:
            states = tuple(state.rounded(compute) for state in known)
    if states is not None and len(states) != len(names):
        raise DataError(
            f"{layer}: expected {len(names)} states. Received: {len(states)}"
        )
    if isinstance(mask, (list, tuple)):
        mask = mask[0]
    if mask is not None:
        mask = mask.cast(bool)
    if mask is not None and mask.ndim > 2 and x.ndim == 3:
        if mask.shape[2:] != (1,):
            raise UnsupportedError(
                f"{layer}: the mask that reaches it has a value for each unit, which "
                "is not written as ONNX"
            )
        mask = mask.take(2, 0)  # (batch, time, 1)
    return Call(layer, cell, names, x.cast(working(compute)), states, mask)


def returned(run: Writing, call: Call, looped: Looped) -> Any:
    """Return the outputs of a layer, and keep its states if it is stateful."""
    if call.layer.options["stateful"]:
        run.keep_states(looped.states)
    if call.layer.options["return_state"]:
        return (looped.output, *looped.states)
    return looped.output


def _state_inputs(
    run: Writing, layer: LayerSpec, x: Value, names: tuple[str, ...]
) -> States:
    """Return the inputs of the file that hold the states of a stateful layer."""
    kind = REGISTRY[layer.class_name]
    assert isinstance(kind, Loop)
    _, cell = kind.cell(layer)
    example = np.zeros([size or 1 for size in x.shape], dtype=x.dtype)
    zeros = kind.initial(layer, example)
    states = tuple(
        Value(
            run.graph,
            run.graph.unique(name),
            working(POLICIES[cell.policy].compute),
            (x.shape[0], *zero.shape[1:]),
        )
        for name, zero in zip(names, zeros, strict=True)
    )
    run.given_states[run.path] = states
    return states


def _why(call: Call) -> str:
    if call.mask is None:
        return "no mask reaches it"
    return "sequence_lens, after the masked steps are moved behind the others"


def _finished(
    call: Call,
    result: fused.Result,
    packed: fused.Packed | None,
    *,
    ordered: bool = False,
) -> Looped:
    """Return the outputs of a fused operator as Keras returns them.

    `ordered` says that steps stand in the order in which they are processed already.
    """
    options, rule = call.layer.options, call.rule
    backwards, graph = options["go_backwards"] and not ordered, call.x.graph
    if packed is None:
        if options["return_sequences"]:
            y = result.outputs.flip(1) if backwards else result.outputs
        else:
            y = result.states[0]
        return Looped(y, result.states)
    units = call.cell.options["units"]
    before = call.states or (fused.zeros(call.x, units),) * len(result.states)
    states = tuple(
        packed.held(after, begun)
        for after, begun in zip(result.states, before, strict=False)
    )
    # before the first step that counts, Keras shows zeros, or on JAX the state
    shown = before[0] if rule.shows_state else fused.zeros(call.x, units)
    if options["return_sequences"]:
        y = packed.unpacked(result.outputs, shown.expand(1), backwards)
        if rule.zeroes:
            y = graph.where(packed.mask.expand(2), y, 0)
        y = y.flip(1) if backwards else y
        if rule.misaligned and call.mask is not None:  # the mask in its own order
            y = graph.where(call.mask.expand(2), y, 0)
        return Looped(y, states)
    y = packed.held(result.states[0], shown)
    if rule.zeroes:
        last = packed.mask.take(1, 0 if backwards else -1)
        y = graph.where(last.expand(1), y, 0)
    return Looped(y, states)


def scanned(
    call: Call,
    stepped: Callable[[Value, States], tuple[Value, States]] | None = None,
    inputs: Value | None = None,
    zeros: States | None = None,
) -> Looped:
    """Write a recurrent layer as a Scan, whose body has the mask and holds the states.

    Parameters
    ----------
    call : Call
    stepped : callable, optional
        Writes a step from `inputs` at that step and the states; by default that of the
        cell.
    inputs : (batch, time, ...), optional
        What the loop reads; by default ``x @ kernel + bias``.
    zeros : tuple of (batch, ...), optional
        States of zeros.
    """
    graph, options, rule = call.x.graph, call.layer.options, call.rule
    if stepped is None:
        cell = call.cell

        def stepped(a: Value, states: States) -> tuple[Value, States]:
            return cells.stepped(cell, a, states)

        inputs = cells.projected(cell, call.x)
        zeros = tuple(fused.zeros(call.x, size) for size in state_sizes(cell))
    assert inputs is not None
    assert zeros is not None
    begun = zeros if call.states is None else call.states
    shown_state = max(
        k for k, name in enumerate(call.names) if name.split("/")[-1] == "h"
    )
    # the output at the step before is carried along, and is the result at the end
    carried = (*begun, zeros[shown_state])
    scanned_in = [inputs] if call.mask is None else [inputs, call.mask]
    with graph.body() as nodes, graph.within("body"):
        old = [_like(graph, value, "state") for value in carried]
        step = [_at_step(graph, value) for value in scanned_in]
        *states, shown = old
        output, after = stepped(step[0], tuple(states))
        new = [*after, output]
        if call.mask is not None:
            keep = _with_axes(step[1], output.ndim)
            if rule.zeroes:
                before = graph.zeros_like(output)
            else:
                before = states[shown_state] if rule.shows_state else shown
            new = [
                graph.where(keep, value, held)
                for value, held in zip(new, [*states, before], strict=True)
            ]
        ends = [_renamed(graph, value) for value in new]
        series = [_renamed(graph, new[-1])] if options["return_sequences"] else []
        body = onnx().helper.make_graph(
            nodes,
            graph.unique("step"),
            [graph.info(value) for value in (*old, *step)],
            [graph.info(value) for value in (*ends, *series)],
        )
    time = call.x.shape[1]
    outputs = [(value.dtype, value.shape) for value in carried]
    if series:
        shape = (call.x.shape[0], time, *series[0].shape[1:])
        outputs.append((series[0].dtype, shape))
    backwards = int(options["go_backwards"])
    directions: dict[str, Any] = {
        "scan_input_axes": [1] * len(scanned_in),
        "scan_input_directions": [backwards] * len(scanned_in),
    }
    if series:
        directions["scan_output_axes"] = [1]
    found = graph.ops(
        "Scan",
        [*carried, *scanned_in],
        outputs,
        body=body,
        num_scan_inputs=len(scanned_in),
        **directions,
    )
    values = [value for value in found if value is not None]
    final, last = tuple(values[: len(begun)]), values[len(begun)]
    y = values[-1] if series else last
    if rule.misaligned and call.mask is not None:
        y = graph.where(_with_axes(call.mask, y.ndim), y, 0)
    return Looped(y, final)


def state_sizes(cell: LayerSpec) -> list[int]:
    """Return the number of units of each state of a cell."""
    if cell.class_name == "StackedRNNCells":
        return [n for inner in cell.sublayers.values() for n in state_sizes(inner)]
    return [cell.options["units"]] * (2 if cell.class_name.startswith("LSTM") else 1)


def _with_axes(mask: Value, ndim: int) -> Value:
    """Return a mask with axes of size 1 behind its own, `ndim` in all."""
    return mask.expand(*range(mask.ndim, ndim)) if mask.ndim < ndim else mask


def _like(graph: Graph, value: Value, hint: str) -> Value:
    return Value(graph, graph.unique(hint), value.dtype, value.shape)


def _at_step(graph: Graph, value: Value) -> Value:
    shape = (value.shape[0], *value.shape[2:])
    return Value(graph, graph.unique("input"), value.dtype, shape)


def _renamed(graph: Graph, value: Value) -> Value:
    """Return a copy: a body may return a tensor once, and none of its inputs."""
    return value.unary("Identity")


def bidirectional(
    run: Writing,
    layer: LayerSpec,
    sequences: Value,
    initial_state: Any = None,
    mask: Any = None,
) -> Any:
    """Write Bidirectional: by one operator of both directions, where that is exact."""
    given = tuple(flatten(initial_state)) if initial_state is not None else ()
    half = len(given) // 2
    keys = ("forward_layer", "backward_layer")
    halves = [layer.sublayers[key] for key in keys]
    owns = [given[:half], given[half:]]
    sequences_out = halves[0].options["return_sequences"]
    results = _both_at_once(run, halves, sequences, owns, mask)
    if results is None:
        results = []
        for key, inner, own in zip(keys, halves, owns, strict=True):
            outputs = run(inner, _tensor(sequences), initial_state=_tensors(own),
                          mask=mask, at=key)  # fmt: skip
            results.append([leaf.value for leaf in flatten(outputs)])
    compute = POLICIES[layer.policy].compute
    (y, *after), (y_rev, *after_rev) = (
        [value.rounded(compute) for value in values] for values in results
    )
    if sequences_out:
        y_rev = y_rev.flip(1)
    merged = MERGES[layer.options["merge_mode"]](y, y_rev)
    outputs = (*merged, *after, *after_rev)
    return outputs if len(outputs) > 1 else outputs[0]


MERGES: Mapping[str | None, Callable[[Value, Value], tuple[Value, ...]]] = {
    "concat": lambda y, y_rev: (y.graph.concat([y, y_rev], -1),),
    "sum": lambda y, y_rev: (y + y_rev,),
    "mul": lambda y, y_rev: (y * y_rev,),
    "ave": lambda y, y_rev: ((y + y_rev) / 2,),
    None: lambda y, y_rev: (y, y_rev),
}


def _tensor(value: Value) -> Any:
    return Tensor(value)  # type: ignore[arg-type]


def _tensors(values: tuple[Value, ...]) -> Any:
    return [_tensor(value) for value in values] or None


def _both_at_once(
    run: Writing,
    halves: list[LayerSpec],
    x: Value,
    owns: list[tuple[Value, ...]],
    mask: Any,
) -> list[list[Value]] | None:
    """Write both directions as one operator; None if they need two."""
    kinds = [REGISTRY[inner.class_name] for inner in halves]
    inside = [kind.cell(inner)[1] for kind, inner in zip(kinds, halves, strict=True)
              if isinstance(kind, Loop)]  # fmt: skip
    forward_first = not halves[0].options["go_backwards"]
    if (
        any(fused.obstacle(cell, run.dialect) for cell in inside)
        or not fused.same_operator(inside)
        or not forward_first
        or len({inner.policy for inner in halves}) > 1
        or (mask is not None and not run.dialect.lengths)
    ):
        return None
    calls, found = [], []
    for key, inner, own in zip(
        ("forward_layer", "backward_layer"), halves, owns, strict=True
    ):
        with run.inside(key):
            calls.append(prepared(run, inner, x, own or None, mask))
    first = calls[0]
    packed = None if first.mask is None else fused.packed(first.x, first.mask)
    results = fused.run(
        first.x if packed is None else packed.x,
        [
            fused.Direction(call.cell, call.layer.options["go_backwards"], call.states)
            for call in calls
        ],
        None if packed is None else packed.lengths,
    )
    name = fused.OPERATORS[first.cell.class_name.removesuffix("Cell")]
    run.written_as(name, f"both directions at once; {_why(first)}")
    for key, call, result in zip(
        ("forward_layer", "backward_layer"), calls, results, strict=True
    ):
        with run.inside(key):
            made = returned(run, call, _finished(call, result, packed))
            found.append(list(made) if isinstance(made, tuple) else [made])
    return found


def conv_lstm(
    run: Writing,
    layer: LayerSpec,
    sequences: Value,
    initial_state: Any = None,
    mask: Any = None,
) -> Any:
    """Write ConvLSTM1D, ConvLSTM2D or ConvLSTM3D, as a Scan around convolutions."""
    call = prepared(run, layer, sequences, initial_state, mask)
    run.written_as("Scan", f"no operator of ONNX computes {layer.class_name}")
    options, weights = layer.options, layer.weights
    last = options["data_format"] == "channels_last"
    rank = len(options["kernel_size"])
    ones = (1,) * rank

    def product(x: Value, key: str, **how: Any) -> Value:
        x = x if last else x.moved(1, -1)
        return convolved(x, weights[key], **how)

    def first(x: Value) -> Value:
        z = product(
            x, "kernel", strides=options["strides"], padding=options["padding"],
            dilation=options["dilation_rate"],
        )  # fmt: skip
        return z + z.graph.constant(weights["bias"]) if "bias" in weights else z

    def stepped(x: Value, states: States) -> tuple[Value, States]:
        h, c = states
        z = first(x) + product(
            h, "recurrent_kernel", strides=ones, padding="same", dilation=ones
        )
        if last:
            return cells.lstm_gates(layer, z, c)
        return cells.lstm_gates(layer, z.moved(-1, 1), c, axis=1)

    # the shape of a state is that of the convolution's result at the first step
    z = first(call.x.take(1, 0))
    state = z.slice(-1, 0, options["filters"])
    state = graph_zeros(state if last else state.moved(-1, 1))
    return returned(run, call, scanned(call, stepped, call.x, (state, state)))


def graph_zeros(value: Value) -> Value:
    """Return zeros of the shape of a value."""
    return value.graph.zeros_like(value)


EMITTERS: Mapping[str, Emit] = {
    **dict.fromkeys(("SimpleRNN", "LSTM", "GRU", "RNN"), recurrent),
    **dict.fromkeys(("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), conv_lstm),
    "Bidirectional": bidirectional,
}
