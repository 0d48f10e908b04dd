"""Show what an ONNX file computes inside: tensors, recurrent operators and loops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from verify.model.arrays import Array
from verify.ports.artefacts.runtimes.base import Answer, Kept, one_line
from verify.ports.artefacts.runtimes.onnx import OnnxFile, run_session

ROLES: Mapping[str, tuple[str, ...]] = {
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
}
"""Recurrent operator -> its inputs. Source: the Operators page of onnx."""

RESULTS = ("Y", "Y_h", "Y_c")

LOOPS = ("Loop", "Scan")


def inside(file: OnnxFile, arguments: Mapping[str, Any], feeds: Any) -> Answer:
    """Run the file with every tensor as an output.

    Parameters
    ----------
    file : OnnxFile
    arguments : mapping
        Not used.
    feeds : mapping of str to array
        The inputs by name.

    Returns
    -------
    value : dict
        ``tensors``, ``operators``, ``loops`` and ``notes``, in the order of the file;
        see `verify.ports.locate.inside`.
    arrays : dict of str to array
    """
    import onnx

    notes = []
    for with_loops in (True, False):
        proto = onnx.load(file.opening.path)
        graph = proto.graph
        loops = [node for node in graph.node if node.op_type in LOOPS]
        # a Loop of a name that is empty cannot be told from another
        bodies: dict[int, dict[str, str]] = {
            k: _with_scan_outputs(node, f"loop {k}: ") if with_loops else {}
            for k, node in enumerate(loops)
        }
        plain = {info.name for info in graph.output}
        scanned = {name: None for names in bodies.values() for name in names}
        wanted = {
            name: None
            for node in graph.node
            if node.op_type not in LOOPS
            for name in node.output
            if name and name not in plain
        }
        for name in (*wanted, *scanned):
            graph.output.append(onnx.ValueInfoProto(name=name))
        try:
            values = _ran(file, proto, feeds)
            break
        except Exception as error:
            what = "loops" if with_loops else "the file"
            notes.append(
                f"the tensors inside {what} could not be looked at: with them as "
                f"outputs the runtime says {one_line(error)}"
            )
    else:
        values = file.run(feeds)
    known: dict[str, Array] = {**feeds, **_initializers(graph), **values}
    constant = _constants(graph)
    tensors: list[dict[str, Any]] = []
    kept = Kept()

    makers = {name: node for node in graph.node for name in node.output}
    for name, node in makers.items():
        usable = name in values and name not in constant and name not in scanned
        if usable and values[name].dtype.kind == "f":
            key = f"t{len(tensors)}"
            if kept.keep(key, values[name]):
                tensors.append(_tensor(key, name, node, None))
    found_loops = []
    for k, node in enumerate(loops):
        body = _body(node)
        inner = {name: n for n in body.node for name in n.output}
        for outer, name in bodies[k].items():
            if outer in values and values[outer].dtype.kind == "f":
                key = f"t{len(tensors)}"
                if kept.keep(key, values[outer]):
                    tensors.append(_tensor(key, name, inner[name], k))
        held = []
        for name in _used_constants(node, body, constant):
            if name in known and kept.keep(f"l{k}/{name}", known[name]):
                held.append(name)
        for tensor in body.initializer:
            value = onnx.numpy_helper.to_array(tensor)
            if value.size > 1 and kept.keep(f"l{k}/{tensor.name}", value):
                held.append(tensor.name)
        found_loops.append(
            {"op": node.op_type, "node": node.name or node.output[0], "constants": held}
        )
    operators: list[dict[str, Any]] = []
    for node in graph.node:
        if node.op_type not in ROLES:
            continue
        k = len(operators)
        given = {}
        for role, name in zip(ROLES[node.op_type], node.input, strict=False):
            if (
                name
                and name in known
                and kept.keep(f"o{k}/{role}", known[name], always=True)
            ):
                given[role] = name
        for role, name in zip(RESULTS, node.output, strict=False):
            if (
                name
                and name in values
                and kept.keep(f"o{k}/{role}", values[name], always=True)
            ):
                given[role] = name
        operators.append(
            {
                "op": node.op_type,
                "node": node.name or node.output[0],
                "attributes": _attributes(node),
                "roles": given,
            }
        )
    found = {
        "tensors": tensors,
        "operators": operators,
        "loops": found_loops,
        "notes": notes,
    }
    return found, kept.arrays


def _ran(file: OnnxFile, proto: Any, feeds: Mapping[str, Array]) -> dict[str, Array]:
    session = file.session_of(proto.SerializeToString())
    return run_session(session, feeds)


def _tensor(key: str, name: str, node: Any, loop: int | None) -> dict[str, Any]:
    return {"key": key, "name": name, "op": node.op_type, "loop": loop, "steps": None}


def _body(node: Any) -> Any:
    return next(a.g for a in node.attribute if a.name == "body")


def _with_scan_outputs(node: Any, prefix: str) -> dict[str, str]:
    """Make what nodes of a body compute scan outputs; outer name -> name inside."""
    import onnx

    body = _body(node)
    known = {info.name for info in body.output}
    added = {}
    for inner in list(body.node):
        # an If has a body again, and integers count and index
        if inner.op_type in {"If", "Constant", "Shape", "Cast", *LOOPS}:
            continue
        for name in inner.output:
            if not name:
                continue
            twice = name if name not in known else f"{prefix}{name} again"
            if twice != name:
                body.node.append(onnx.helper.make_node("Identity", [name], [twice]))
            body.output.append(onnx.ValueInfoProto(name=twice))
            node.output.append(f"{prefix}{name}")
            added[f"{prefix}{name}"] = name
    for attribute in node.attribute:
        if attribute.name in ("scan_output_axes", "scan_output_directions"):
            attribute.ints.extend([0] * len(added))
    return added


def _initializers(graph: Any) -> dict[str, Array]:
    import onnx

    return {
        tensor.name: np.asarray(onnx.numpy_helper.to_array(tensor))
        for tensor in graph.initializer
    }


def _constants(graph: Any) -> set[str]:
    """Return the names of all tensors that do not depend on the inputs."""
    found = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        fixed = all(not name or name in found for name in node.input)
        if fixed and not any(a.HasField("g") for a in node.attribute):
            found.update(node.output)
    return found


def _used_constants(node: Any, body: Any, constant: set[str]) -> Iterable[str]:
    names = [*node.input, *(name for inner in body.node for name in inner.input)]
    return [name for name in dict.fromkeys(names) if name in constant]


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    found: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif isinstance(value, (list, tuple)) or hasattr(value, "__iter__"):
            value = [
                v.decode(errors="replace") if isinstance(v, bytes) else v for v in value
            ]
        found[attribute.name] = value
    return found
