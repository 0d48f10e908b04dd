"""Show what an OpenVINO file computes inside: tensors, sequences and loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from verify.model.arrays import Array
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.runtimes.base import Answer, Kept, one_line
from verify.ports.artefacts.runtimes.openvino import OpenVinoFile, port_name

ROLES: Mapping[str, tuple[str, ...]] = {
    "LSTMSequence": (
        "X", "initial_h", "initial_c", "sequence_lens", "W", "R", "B",
    ),
    "GRUSequence": ("X", "initial_h", "sequence_lens", "W", "R", "B"),
    "RNNSequence": ("X", "initial_h", "sequence_lens", "W", "R", "B"),
}  # fmt: skip
"""Operation -> its inputs. Source: OpenVINO, operation sets, LSTMSequence-5."""

RESULTS = ("Y", "Y_h", "Y_c")

LOOPS = ("TensorIterator", "Loop")

FLOATS = ("f16", "bf16", "f32", "f64")


def inside(file: OpenVinoFile, arguments: Mapping[str, Any], feeds: Any) -> Answer:
    """Run the file with every tensor as an output.

    Parameters
    ----------
    file : OpenVinoFile
    arguments : mapping
        Not used.
    feeds : mapping of str to array
        The inputs by name.

    Returns
    -------
    value : dict
        See `verify.ports.locate.inside`.
    arrays : dict of str to array
    """
    import openvino

    model = file.read()
    notes: list[str] = []
    loops = [n for n in model.get_ordered_ops() if n.get_type_name() in LOOPS]
    bodies = []
    for node in loops:
        try:
            bodies.append(_with_concatenated_slices(node))
        except Exception as error:
            bodies.append({})
            notes.append(
                f"loop '{node.get_friendly_name()}' cannot be looked into "
                f"({one_line(error)})"
            )
    model.validate_nodes_and_infer_types()
    ordered = list(model.get_ordered_ops())
    constant = _constants(ordered)
    ports: dict[str, Any] = {}
    for node in ordered:
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind in ("Parameter", "Result") or name in constant:
            continue
        for k, port in enumerate(node.outputs()):
            if port.get_element_type().get_type_name() in FLOATS:
                ports[_name(name, k)] = port
    for node in ordered:
        if node.get_type_name() in ROLES:
            for port in node.input_values():
                ports.setdefault(_port(port), port)
    first = len(model.outputs)
    model.add_outputs(list(ports.values()))
    arrays_in = {
        k: np.ascontiguousarray(feeds[port_name(port)])
        for k, port in enumerate(model.inputs)
    }
    try:
        if file.anew:
            shapes = {
                k: openvino.PartialShape(list(a.shape)) for k, a in arrays_in.items()
            }
            model.reshape(shapes)
        request = file.compiled(model).create_infer_request()
        found = request.infer(arrays_in, share_inputs=False, share_outputs=False)
    except Exception as error:
        raise RuntimeRefused(one_line(error)) from None
    values: dict[str, Array] = {}
    for name, port in ports.items():
        values[name] = _result(model, found, port, first)
    tensors: list[dict[str, Any]] = []
    kept = Kept()

    inner = {
        name: (k, op, own)
        for k, body in enumerate(bodies)
        for name, (op, own) in body.items()
    }
    for name, port in ports.items():
        node = port.get_node()
        if node.get_friendly_name() in constant or values[name].dtype.kind != "f":
            continue
        op, loop, shown = node.get_type_name(), None, name
        if name in inner:
            loop, op, shown = inner[name]
        key = f"t{len(tensors)}"
        if kept.keep(key, values[name]):
            tensors.append(
                {"key": key, "name": shown, "op": op, "loop": loop, "steps": None}
            )
    found_loops = []
    for k, node in enumerate(loops):
        held = []
        sources = [
            *node.get_function().get_ordered_ops(),
            *(port.get_node() for port in node.input_values()),
        ]
        for source in sources:
            if source.get_type_name() != "Constant" or source.data.size < 2:
                continue
            name = source.get_friendly_name()
            if kept.keep(f"l{k}/{name}", np.array(source.data)):
                held.append(name)
        found_loops.append(
            {
                "op": node.get_type_name(),
                "node": node.get_friendly_name(),
                "constants": held,
            }
        )
    operators: list[dict[str, Any]] = []
    for node in ordered:
        kind = node.get_type_name()
        if kind not in ROLES:
            continue
        k, roles = len(operators), {}
        for role, port in zip(ROLES[kind], node.input_values(), strict=False):
            if kept.keep(f"o{k}/{role}", values[_port(port)], always=True):
                roles[role] = _port(port)
        for i, role in enumerate(RESULTS[: node.get_output_size()]):
            name = _name(node.get_friendly_name(), i)
            if name in values and kept.keep(f"o{k}/{role}", values[name], always=True):
                roles[role] = name
        operators.append(
            {
                "op": kind,
                "node": node.get_friendly_name(),
                "attributes": _attributes(node),
                "roles": roles,
            }
        )
    value = {
        "tensors": tensors,
        "operators": operators,
        "loops": found_loops,
        "notes": notes,
    }
    return value, kept.arrays


def _name(node: str, k: int) -> str:
    return f"{node}.{k}" if k else node


def _port(port: Any) -> str:
    return _name(port.get_node().get_friendly_name(), port.get_index())


def _result(model: Any, found: Any, port: Any, first: int) -> Array:
    """Return the value of an output that was added to a model."""
    for k in range(len(model.outputs)):
        source = model.outputs[k].get_node().input_value(0)
        if source == port:
            return np.array(found[k])
    raise KeyError(_port(port))


def _constants(ordered: list[Any]) -> set[str]:
    """Return the names of the operations that do not depend on the inputs."""
    found: set[str] = set()
    for node in ordered:
        kind, name = node.get_type_name(), node.get_friendly_name()
        sources = [port.get_node().get_friendly_name() for port in node.input_values()]
        if kind == "Constant" or (sources and all(s in found for s in sources)):
            found.add(name)
    return found


def _attributes(node: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in node.get_attributes().items():
        if isinstance(value, (str, bool, int, float)):
            found[name] = value
        elif isinstance(value, (list, tuple)):
            found[name] = [v if isinstance(v, (str, float, int)) else float(v)
                           for v in value]  # fmt: skip
    return found


def _with_concatenated_slices(node: Any) -> dict[str, tuple[str, str]]:
    """Make what the body of a loop computes outputs of the loop.

    Returns
    -------
    dict of str to (str, str)
        Name of the new output -> operation, and name inside.
    """
    body = node.get_function()
    added = {}
    for inner in list(body.get_ordered_ops()):
        kind = inner.get_type_name()
        if kind in ("Constant", "Parameter", "Result", *LOOPS):
            continue
        port = inner.output(0)
        if port.get_element_type().get_type_name() not in FLOATS:
            continue
        shape = port.get_partial_shape()
        if shape.rank.is_dynamic or shape.rank.get_length() < 2:
            continue
        lifted = _unsqueezed(body, port)
        new = node.get_concatenated_slices(lifted, 0, 1, 1, -1, 0)
        added[_port(new)] = kind, inner.get_friendly_name()
    return added


def _unsqueezed(body: Any, port: Any) -> Any:
    """Return a tensor of a body with an axis of size 1 in front."""
    import openvino
    from openvino import opset13

    zero = opset13.constant(np.array([0], np.int64))
    new = opset13.unsqueeze(port, zero)
    body.add_results([openvino.op.Result(new.output(0))])
    return new.output(0)
