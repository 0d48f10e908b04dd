"""Read the graph of a Functional config: the calls of the layers, and their order.

In the arguments of a call, a tensor is a dict with class name ``__keras_tensor__``. Its
config holds the name of the layer that returned it, the number of that layer's call and
the number of the output.

Source: keras/src/models/functional.py.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from verify.errors import ModelFileError, UnsupportedError, printable
from verify.model.dtypes import POLICIES
from verify.model.graph import Graph, MaskOf, Node, TensorRef, flatten, tensor_refs
from verify.model.spec import UNREAD, LayerSpec
from verify.model_files.classes import holds_operations
from verify.model_files.operation_emitter import is_tensor


def read_graph(
    where: str,
    class_name: str,
    config: Mapping[str, Any],
    layers: Mapping[str, LayerSpec],
) -> Graph:
    """Read the graph of a Functional model, or make the chain of a Sequential one.

    Raises
    ------
    ModelFileError
        The graph refers to a layer that does not exist, or it has a cycle.
    """
    if class_name == "Sequential":
        return _sequential_graph(list(layers))
    pending: list[Node] = []
    known = {
        TensorRef(name, 0, 0)
        for name, layer in layers.items()
        if layer.class_name == "InputLayer"
    }
    for entry in config["layers"]:
        name = entry["name"] if isinstance(entry.get("name"), str) else None
        name = entry["config"].get("name") if name is None else name
        nodes = entry.get("inbound_nodes", [])
        if layers[name].class_name == "InputLayer":
            continue
        if not isinstance(nodes, list):
            raise ModelFileError(
                f"{where}: layer '{printable(name)}' has no list of calls"
            )
        for k, node in enumerate(nodes):
            if not isinstance(node, dict) or not isinstance(node.get("args"), list):
                raise ModelFileError(
                    f"{where}: call {k} of layer '{printable(name)}' cannot be read"
                )
            args = tuple(_read_argument(where, arg) for arg in node["args"])
            kwargs = node.get("kwargs")
            kwargs = _read_argument(where, kwargs if isinstance(kwargs, dict) else {})
            pending.append(Node(name, k, args, kwargs))
    ordered = _topological_order(where, pending, known, layers)
    inputs = _read_endpoints(where, config.get("input_layers"), layers)
    outputs = _read_endpoints(where, config.get("output_layers"), layers)
    made = {(node.layer, node.index) for node in ordered}
    for ref in flatten(inputs):
        if layers[ref.layer].class_name != "InputLayer":
            raise ModelFileError(
                f"{where}: '{printable(ref.layer)}' is not an InputLayer"
            )
    for ref in flatten(outputs):
        if (ref.layer, ref.node) not in made and ref not in known:
            raise ModelFileError(
                f"{where}: its output '{printable(ref.layer)}' is never computed"
            )
    run = _keras_run_order(ordered, outputs)
    _refuse_foreign_inputs(where, run, inputs, outputs, known)
    return Graph(inputs, outputs, run)


def _refuse_foreign_inputs(
    where: str,
    nodes: Iterable[Node],
    inputs: Any,
    outputs: Any,
    starts: Container[TensorRef],
) -> None:
    """Refuse a graph that reads an InputLayer which is no input of the model.

    A model whose beginning was exchanged by hand is saved so: its new input leads
    nowhere, and its layers still read the old one.

    Parameters
    ----------
    nodes : iterable of Node
        The calls that Keras runs.
    inputs, outputs : nested TensorRef
    starts : container of TensorRef
        What the InputLayers give.

    Raises
    ------
    ModelFileError
        A call or an output needs such a layer.
    """
    given = {ref.layer for ref in flatten(inputs)}
    reads = [
        *(
            (f"layer '{printable(node.layer)}'", ref)
            for node in nodes
            for ref in tensor_refs([node.args, node.kwargs])
        ),
        *(("an output", ref) for ref in flatten(outputs)),
    ]
    for reader, ref in reads:
        if ref in starts and ref.layer not in given:
            names = ", ".join(f"'{printable(name)}'" for name in sorted(given))
            raise ModelFileError(
                f"{where}: {reader} reads InputLayer '{printable(ref.layer)}', which "
                f"is none of the model's inputs ({names}). Keras cannot build this "
                "graph either: name it among the inputs of the model, and save again"
            )


def with_readable_calls(where: str, entry: Any) -> Any:
    """Return the config of a layer, marked as unread if an argument cannot be read.

    Its calls then keep the tensors among their arguments alone.
    """
    nodes = entry.get("inbound_nodes") if isinstance(entry, Mapping) else None
    if not isinstance(nodes, list):
        return entry
    try:
        for node in nodes:
            _read_argument(where, dict(node) if isinstance(node, Mapping) else {})
    except UnsupportedError as error:
        calls = [{"args": list(_tensors_of(node)), "kwargs": {}} for node in nodes]
        reason = str(error).removeprefix(f"{where}: ")
        return {UNREAD: reason, **entry, "inbound_nodes": calls}
    return entry


def _tensors_of(item: Any) -> Iterator[Any]:
    """Yield the tensors among serialised arguments, as the config has them."""
    if isinstance(item, Mapping):
        if is_tensor(item):
            yield item
        else:
            yield from _tensors_of(list(item.values()))
    elif isinstance(item, list):
        for inner in item:
            yield from _tensors_of(inner)


def casts_to_another_float(entry: Any) -> bool:
    """Say whether an operation of a config casts floats to floats of another dtype.

    The mask of its input ends there. Where every dtype is made the same, and nothing is
    cast any more, it must end all the same.
    """
    if not isinstance(entry, Mapping):
        return False
    config = entry.get("config")
    if entry.get("class_name") not in ("Cast", "ConvertToTensor"):
        return False
    if not holds_operations(entry.get("module")):
        return False
    tensor = next(_tensors_of(entry.get("inbound_nodes")), None)
    given = None if tensor is None else tensor.get("config")
    if not isinstance(config, Mapping) or not isinstance(given, Mapping):
        return False
    dtypes = (config.get("dtype"), given.get("dtype"))
    return all(d in POLICIES for d in dtypes) and dtypes[0] != dtypes[1]


def _sequential_graph(names: list[str]) -> Graph:
    nodes = tuple(
        Node(name, 0, (TensorRef(before, 0, 0),), {})
        for before, name in pairwise(names)
    )
    return Graph(TensorRef(names[0], 0, 0), TensorRef(names[-1], 0, 0), nodes)


def _topological_order(
    where: str,
    pending: list[Node],
    known: set[TensorRef],
    layers: Mapping[str, LayerSpec],
) -> tuple[Node, ...]:
    """Sort calls so that each comes after those whose outputs it needs."""
    done = {(ref.layer, ref.node) for ref in known}
    ordered: list[Node] = []
    while pending:
        waiting = []
        for node in pending:
            refs = tensor_refs([node.args, node.kwargs])
            for ref in refs:
                if ref.layer not in layers:
                    raise ModelFileError(
                        f"{where}: a call of '{printable(node.layer)}' refers to "
                        f"'{printable(ref.layer)}', which is not there"
                    )
            if all((ref.layer, ref.node) in done for ref in refs):
                ordered.append(node)
                done.add((node.layer, node.index))
            else:
                waiting.append(node)
        if len(waiting) == len(pending):
            names = ", ".join(sorted({node.layer for node in waiting}))
            raise ModelFileError(f"{where}: these layers can never be called: {names}")
        pending = waiting
    return tuple(ordered)


def _keras_run_order(nodes: tuple[Node, ...], outputs: Any) -> tuple[Node, ...]:
    """Sort calls in the order in which Keras runs them, and drop those it does not run.

    The order matters if a call affects a later one: by states that a stateful layer
    keeps, or by a mask that MultiHeadAttention removes from its query. Keras sorts by
    the distance to the outputs, the farthest first; all calls of a layer count as far
    away as its farthest. Source: ``map_graph`` in keras/src/ops/function.py.

    Parameters
    ----------
    nodes : tuple of Node
        In topological order.
    outputs : nested TensorRef
        The model's outputs.
    """
    known = {(node.layer, node.index): node for node in nodes}

    def parents(node: Node) -> list[Node]:
        refs = tensor_refs([node.args, node.kwargs])
        return [known[r.layer, r.node] for r in refs if (r.layer, r.node) in known]

    # depth first from the outputs, with a stack of our own because graphs may be deep:
    # a call is finished after all calls whose outputs it takes
    finished: dict[int, Node] = {}
    if isinstance(outputs, Mapping):
        outputs = [outputs[key] for key in sorted(outputs)]
    for ref in flatten(outputs):
        waiting = [known[ref.layer, ref.node]] if (ref.layer, ref.node) in known else []
        while waiting:
            node = waiting[-1]
            missing = [p for p in parents(node) if id(p) not in finished]
            if missing and id(node) not in finished:
                waiting.append(missing[0])
            else:
                finished.setdefault(id(waiting.pop()), node)
    depths: dict[int, int] = {}
    deepest: dict[str, int] = {}
    for key, node in reversed(finished.items()):
        depth = max(depths.setdefault(key, 0), deepest.get(node.layer, 0))
        deepest[node.layer] = depths[key] = depth
        for parent in parents(node):
            depths[id(parent)] = max(depth + 1, depths.get(id(parent), 0))
    return tuple(finished[key] for key in sorted(depths, key=lambda k: -depths[k]))


def _read_argument(where: str, item: Any) -> Any:
    """Read an argument of a call; serialised values become the values themselves."""
    if isinstance(item, list):
        return [_read_argument(where, inner) for inner in item]
    if not isinstance(item, dict):
        return item
    class_name, config = item.get("class_name"), item.get("config")
    if class_name is None:
        return {str(key): _read_argument(where, inner) for key, inner in item.items()}
    if class_name == "__keras_tensor__" and isinstance(config, dict):
        return _read_tensor_ref(where, config.get("keras_history"))
    if class_name == "__keras_mask__" and isinstance(config, dict):
        return MaskOf(_read_tensor_ref(where, config.get("keras_history")))
    if class_name == "__slice__" and isinstance(config, dict):
        ends = [config.get(end) for end in ("start", "stop", "step")]
        if all(end is None or type(end) is int for end in ends):
            return slice(*ends)
    if class_name == "__ellipsis__":
        return Ellipsis
    if class_name == "__tuple__" and isinstance(item.get("items"), list):
        return tuple(_read_argument(where, inner) for inner in item["items"])
    if class_name in ("__numpy__", "__tensor__") and isinstance(config, dict):
        try:
            return np.asarray(config["value"], dtype=str(config["dtype"]))
        except (KeyError, ValueError, TypeError):
            pass
    raise UnsupportedError(
        f"{where}: an argument of class '{printable(class_name)}' is not supported"
    )


def _read_tensor_ref(where: str, history: Any) -> TensorRef:
    if (
        isinstance(history, (list, tuple))
        and len(history) == 3
        and isinstance(history[0], str)
        and all(type(k) is int and k >= 0 for k in history[1:])
    ):
        return TensorRef(*history)
    raise ModelFileError(f"{where}: a tensor cannot be read: {printable(history, 60)}")


def as_called(layer: LayerSpec) -> LayerSpec:
    """Return a layer with its outputs in the order in which other layers count them.

    Keras counts the outputs of a model inside by the sorted keys of a dict, whatever
    the order in which the model returns them.
    """
    if layer.graph is None:
        return layer
    outputs = _by_key(layer.graph.outputs)
    return replace(layer, graph=replace(layer.graph, outputs=outputs))


def _by_key(structure: Any) -> Any:
    """Return nested outputs with the keys of each dict in order."""
    if isinstance(structure, Mapping):
        return {key: _by_key(structure[key]) for key in sorted(structure)}
    if isinstance(structure, list):
        return [_by_key(inner) for inner in structure]
    return structure


def _read_endpoints(where: str, structure: Any, layers: Mapping[str, LayerSpec]) -> Any:
    """Read the inputs or outputs of a model.

    In these lists Keras counts the calls of a nested Functional model from 1, and
    everywhere else from 0.
    """

    def read(item: Any) -> Any:
        if isinstance(item, dict):
            return {str(key): read(inner) for key, inner in item.items()}
        if isinstance(item, list) and item and isinstance(item[0], str):
            ref = _read_tensor_ref(where, item)
            if ref.layer not in layers:
                raise ModelFileError(f"{where}: there is no layer '{ref.layer}'")
            shift = layers[ref.layer].class_name == "Functional"
            return TensorRef(ref.layer, ref.node - shift, ref.tensor)
        if isinstance(item, list) and item:
            return [read(inner) for inner in item]
        raise ModelFileError(f"{where}: it has no inputs or no outputs")

    found = read(structure)
    if isinstance(found, list) and len(found) == 1:
        return found[0]
    return found
