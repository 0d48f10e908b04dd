"""Show what a LiteRT file computes inside: tensors, fused operators and WHILE loops.

After a run an interpreter holds the tensors of the last iteration of a loop. To see the
others, the loop is made to stop earlier: in a copy of the file whose number of steps is
smaller, or, where the number of steps is open, on the beginning of the rows.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from verify.model.arrays import Array
from verify.ports.artefacts.runtimes.base import Answer, Kept, one_line
from verify.ports.artefacts.runtimes.litert import LiteRtFile

SECONDS = 60.0
"""How long the iterations of all loops may take; later ones are left out."""

FUNCTIONS = {0: "linear", 1: "relu", 3: "relu6", 4: "tanh"}
"""Number of an activation -> its name. Source: tflite/schema/schema.fbs."""

GATES = "ifco"
"""Order of the inputs of fused LSTMs. Source:
tensorflow/lite/kernels/unidirectional_sequence_lstm.cc."""


@dataclass
class Operation:
    """Hold an operator of the main graph: numbers of its tensors, -1 for none."""

    op: str
    inputs: list[int]
    outputs: list[int]
    options: Any


@dataclass
class While:
    """Hold a loop: its sub-graphs, and where the numbers of its iterations stand.

    Attributes
    ----------
    name : str
    body : int
        Number of the sub-graph of its body.
    limits : dict of int to int
        Offset in the file -> the number there, which ends the loop.
    """

    name: str
    body: int
    limits: dict[int, int] = field(default_factory=dict)


class Plan:
    """Read from a file what the interpreter does not tell."""

    def __init__(self, path: str) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.data = Path(path).read_bytes()
        self.model = schema.Model.GetRootAs(self.data, 0)
        self.words = {
            number: name
            for name, number in vars(schema.BuiltinOperator).items()
            if isinstance(number, int)
        }

    def constant(self, subgraph: int, index: int) -> bool:
        """Return whether a tensor is one."""
        tensor = self.model.Subgraphs(subgraph).Tensors(index)
        return self.model.Buffers(tensor.Buffer()).DataLength() > 0

    def name(self, subgraph: int, index: int) -> str:
        """Return the name of a tensor."""
        name = self.model.Subgraphs(subgraph).Tensors(index).Name() or b""
        return str(name.decode(errors="replace"))

    def operations(self, subgraph: int) -> Iterator[Operation]:
        """Yield the operators of a sub-graph in order."""
        graph = self.model.Subgraphs(subgraph)
        for k in range(graph.OperatorsLength()):
            found = graph.Operators(k)
            code = self.model.OperatorCodes(found.OpcodeIndex())
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            yield Operation(
                self.words.get(number, f"operator {number}"),
                [found.Inputs(i) for i in range(found.InputsLength())],
                [found.Outputs(i) for i in range(found.OutputsLength())],
                found.BuiltinOptions(),
            )

    def options(self, operation: Operation, kind: str) -> Any:
        """Return the options of an operator, as the class of this name reads them."""
        read = getattr(self.schema, kind)()
        if operation.options is not None:
            read.Init(operation.options.Bytes, operation.options.Pos)
        return read

    def whiles(self) -> list[While]:
        """Return the loops of the main graph."""
        found = []
        for operation in self.operations(0):
            if operation.op != "WHILE":
                continue
            options = self.options(operation, "WhileOptions")
            loop = While(
                self.name(0, operation.outputs[0]), options.BodySubgraphIndex()
            )
            loop.limits = self._limits(operation, options.CondSubgraphIndex())
            found.append(loop)
        return found

    def _limits(self, loop: Operation, condition: int) -> dict[int, int]:
        graph = self.model.Subgraphs(condition)
        arguments = [graph.Inputs(k) for k in range(graph.InputsLength())]
        found: dict[int, int] = {}
        for operation in self.operations(condition):
            if operation.op != "LESS":
                continue
            limit = operation.inputs[1]
            place = (condition, limit)
            if limit in arguments:
                place = (0, loop.inputs[arguments.index(limit)])
            offset = self._offset(*place)
            if offset is None:
                return {}
            found[offset] = int(np.frombuffer(self.data, "<i4", 1, offset)[0])
        return found

    def _offset(self, subgraph: int, index: int) -> int | None:
        """Return where in the file a whole number of 32 bits stands, if it does."""
        tensor = self.model.Subgraphs(subgraph).Tensors(index)
        buffer = self.model.Buffers(tensor.Buffer())
        if tensor.Type() != self.schema.TensorType.INT32 or buffer.DataLength() != 4:
            return None
        table = buffer._tab
        return int(table.Vector(table.Offset(4)))  # 4: the first field, data


def inside(file: LiteRtFile, arguments: Mapping[str, Any], feeds: Any) -> Answer:
    """Run the file and keep every tensor.

    Parameters
    ----------
    file : LiteRtFile
    arguments : mapping
        ``backwards``: whether a layer of the model goes backwards, so that the
        beginning of the rows does not tell what it does first.
    feeds : mapping of str to array
        The inputs by name.

    Returns
    -------
    value : dict
        See `verify.ports.locate.inside`.
    arrays : dict of str to array
    """
    plan = Plan(file.opening.path)
    interpreter = file.interpreter_of(preserve_all_tensors=True)
    file.run_with(interpreter, feeds)
    tensors: list[dict[str, Any]] = []
    notes: list[str] = []
    kept = Kept()

    names: set[str] = set()

    def add(name: str, op: str, array: Array, loop: int | None, steps: Any) -> None:
        while name in names:
            name += "'"
        key = f"t{len(tensors)}"
        if array.dtype.kind == "f" and kept.keep(key, array):
            names.add(name)
            tensors.append(
                {"key": key, "name": name, "op": op, "loop": loop, "steps": steps}
            )

    for operation in plan.operations(0):
        for index in operation.outputs:
            value = _value(interpreter, index, 0)
            if value is not None:
                add(plan.name(0, index), operation.op, value, None, None)
    loops = []
    until = time.monotonic() + SECONDS
    for k, loop in enumerate(plan.whiles()):
        seen, steps, note = _iterations(
            file, plan, loop, feeds, bool(arguments.get("backwards")), until
        )
        if not seen:
            seen, steps = {-1: _body(plan, loop, interpreter)}, [-1]
        if note:
            notes.append(f"loop '{loop.name}': {note}")
        for operation in plan.operations(loop.body):
            for index in operation.outputs:
                values = [seen[step].get(index) for step in steps]
                good = [v for v in values if v is not None]
                if len(good) == len(values) and len({v.shape for v in good}) == 1:
                    name = plan.name(loop.body, index)
                    add(name, operation.op, np.stack(good), k, steps)
        held = []
        count = plan.model.Subgraphs(loop.body).TensorsLength()
        for index in range(count):
            if plan.constant(loop.body, index):
                value = _value(interpreter, index, loop.body)
                name = plan.name(loop.body, index)
                if value is None or value.size < 2:
                    continue
                if kept.keep(f"l{k}/{name}", value):
                    held.append(name)
        loops.append({"op": "WHILE", "node": loop.name, "constants": held})
    operators: list[dict[str, Any]] = []
    for operation in plan.operations(0):
        found = _fused(plan, operation)
        if found is None:
            continue
        roles, given = found
        k, held_roles = len(operators), {}
        for role, index in roles.items():
            value = _value(interpreter, index, 0)
            if value is not None and kept.keep(f"o{k}/{role}", value, always=True):
                held_roles[role] = plan.name(0, index)
        operators.append(
            {
                "op": operation.op,
                "node": plan.name(0, operation.outputs[0]),
                "attributes": given,
                "roles": held_roles,
            }
        )
    shown = {
        "tensors": tensors,
        "operators": operators,
        "loops": loops,
        "notes": notes,
    }
    return shown, kept.arrays


def _value(interpreter: Any, index: int, subgraph: int) -> Array | None:
    """Return a tensor; None if the interpreter has none, as for what it left out."""
    if index < 0:
        return None
    try:
        return np.array(interpreter.get_tensor(index, subgraph))
    except (ValueError, RuntimeError, IndexError, TypeError):
        return None


def _body(plan: Plan, loop: While, interpreter: Any) -> dict[int, Array]:
    """Return the tensors of a loop's body after its last iteration, by number."""
    found = {}
    for operation in plan.operations(loop.body):
        for index in operation.outputs:
            value = _value(interpreter, index, loop.body)
            if value is not None:
                found[index] = value
    return found


def _iterations(
    file: LiteRtFile,
    plan: Plan,
    loop: While,
    feeds: Mapping[str, Array],
    backwards: bool,
    until: float,
) -> tuple[dict[int, dict[int, Array]], list[int], str]:
    """Return the tensors of a body after each iteration, the iterations, and a note."""
    open_time = [
        info.name
        for info in file.signature.inputs
        if info.shape is not None and len(info.shape) > 1 and info.shape[1] is None
    ]
    if loop.limits:
        count = max(loop.limits.values())
    elif open_time and not backwards:
        count = max(feeds[name].shape[1] for name in open_time)
    elif open_time:
        return {}, [], (
            "only its last step can be looked at, because a layer goes backwards and "
            "the number of steps is open"
        )  # fmt: skip
    else:
        return {}, [], "only its last step can be looked at"
    seen: dict[int, dict[int, Array]] = {}
    for step in range(count):
        if time.monotonic() > until:
            return seen, list(seen), f"only {len(seen)} of {count} steps were looked at"
        try:
            if loop.limits:
                interpreter = _stopping(plan, loop, step + 1)
                file.run_with(interpreter, feeds)
            else:
                interpreter = file.interpreter_of(preserve_all_tensors=True)
                part = {
                    name: array[:, : step + 1] if name in open_time else array
                    for name, array in feeds.items()
                }
                file.run_with(interpreter, part)
        except Exception as error:
            why = f"only its last step can be looked at ({one_line(error)})"
            return {}, [], why
        seen[step] = _body(plan, loop, interpreter)
    return seen, list(seen), ""


def _stopping(plan: Plan, loop: While, after: int) -> Any:
    """Return an interpreter of a copy of the file whose loop stops earlier."""
    from ai_edge_litert.interpreter import Interpreter

    data = bytearray(plan.data)
    for offset in loop.limits:
        data[offset : offset + 4] = after.to_bytes(4, "little", signed=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = Interpreter(
            model_content=bytes(data),
            num_threads=1,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    return interpreter


def _fused(
    plan: Plan, operation: Operation
) -> tuple[dict[str, int], dict[str, Any]] | None:
    """Return role -> number of a tensor, and attributes, of a fused operator."""
    given = operation.inputs
    if operation.op == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        options = plan.options(operation, "UnidirectionalSequenceLSTMOptions")
        # the output of a cell is projected, or its gates are normalised
        if any(index >= 0 for index in (*given[16:18], *given[20:24])):
            return None
        roles = {"X": given[0], **_lstm_roles("", given, 1)}
    elif operation.op == "BIDIRECTIONAL_SEQUENCE_LSTM":
        options = plan.options(operation, "BidirectionalSequenceLSTMOptions")
        if any(index >= 0 for index in (*given[16:18], *given[33:35], *given[39:])):
            return None
        roles = {
            "X": given[0],
            **_lstm_roles("fw_", given, 1),
            **_lstm_roles("bw_", given, 18),
        }
        if len(operation.outputs) > 1:
            roles["Y_bw"] = operation.outputs[1]
    elif operation.op == "UNIDIRECTIONAL_SEQUENCE_RNN":
        options = plan.options(operation, "SequenceRNNOptions")
        roles = {"X": given[0], "W": given[1], "R": given[2], "B": given[3]}
    else:
        return None
    roles["Y"] = operation.outputs[0]
    clip = getattr(options, "CellClip", None)
    return {role: index for role, index in roles.items() if index >= 0}, {
        "activation": FUNCTIONS.get(options.FusedActivationFunction(), "unknown"),
        "time_major": bool(options.TimeMajor()),
        "cell_clip": float(clip()) if clip is not None else 0.0,
    }


def _lstm_roles(prefix: str, given: list[int], first: int) -> dict[str, int]:
    """Return the roles of weights, which stand in this order from `first` on."""
    names = [
        *(f"W_{gate}" for gate in GATES),
        *(f"R_{gate}" for gate in GATES),
        *(f"P_{gate}" for gate in "ifo"),
        *(f"B_{gate}" for gate in GATES),
    ]
    return {
        f"{prefix}{name}": given[first + k]
        for k, name in enumerate(names)
        if first + k < len(given)
    }
