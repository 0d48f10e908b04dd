"""Read the graph of a Functional config: the calls of the layers, and their order.

In the arguments of a call, a tensor is a dict with class name ``__keras_tensor__``. Its
config holds the name of the layer that returned it, the number of that layer's call and
the number of the output.

Source: keras/src/models/functional.py.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from verify.errors import ModelFileError, UnsupportedError, printable
from verify.model.dtypes import POLICIES
from verify.model.graph import Graph, MaskOf, Node, TensorRef, flatten, tensor_refs
from verify.model.spec import UNREAD, LayerSpec
from verify.model_files.classes import holds_operations


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
        if item.get("class_name") == "__keras_tensor__":
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


def masks_given_as_none(model: Any, node: Any) -> list[tuple[int, Any, str]]:
    """Return the inputs of a call of a model for whose masks it gives None.

    Keras writes ``mask=[None, None]`` where the tensors have no mask while the graph is
    made. Those that have one when the model runs keep it, but for a tensor that the
    model casts, because it wants floats of another dtype.

    Parameters
    ----------
    model : mapping
        Config of the model that is called.
    node : mapping
        Config of the call.

    Returns
    -------
    list of tuple
        The number of the mask among those of the argument ``mask``, by sorted keys; the
        tensor, as the config has it; and the dtype to which it is cast, or an empty
        text.
    """
    args, kwargs = node.get("args"), node.get("kwargs")
    body, given = model.get("config"), args[0] if isinstance(args, list) and args else 0
    mask = kwargs.get("mask") if isinstance(kwargs, Mapping) else None
    masks, tensors = _leaves(mask), _leaves(given)
    if mask is None or not isinstance(body, Mapping) or len(masks) != len(tensors):
        return []
    wants = _input_dtypes(body)
    expected = body.get("input_layers")
    names = [x[0] for x in _leaves(expected) if isinstance(x, list) and x]
    if isinstance(given, dict) and not isinstance(expected, dict):
        names = sorted(given)  # each is given by the name of its InputLayer
    found = []
    for k, (tensor, mask) in enumerate(zip(tensors, masks, strict=True)):
        if mask is None and _is_tensor(tensor):
            wanted = wants.get(names[k]) if k < len(names) else None
            cast = wanted and wanted != tensor["config"].get("dtype", wanted)
            found.append((k, tensor, str(wanted) if cast else ""))
    return found


def _input_dtypes(model: Mapping[str, Any]) -> dict[Any, Any]:
    """Return the dtypes in the config of a model, by the names of its layers."""
    layers = model.get("layers")
    return {
        entry.get("name"): entry["config"].get("dtype")
        for entry in (layers if isinstance(layers, list) else ())
        if isinstance(entry, Mapping) and isinstance(entry.get("config"), Mapping)
    }


def with_masks_of_tensors(entries: list[Any]) -> list[Any]:
    """Return the layers of a config, calls of models with the masks that they use.

    See `masks_given_as_none`: what is None afterwards is no mask.
    """
    return [_with_calls(entry, _with_masks) for entry in entries]


def _with_masks(entry: Mapping[str, Any], node: Mapping[str, Any]) -> Any:
    """Return a call in which None stands for no mask only."""
    kept = {
        k: {"class_name": "__keras_mask__", "config": tensor["config"]}
        for k, tensor, cast in masks_given_as_none(entry, node)
        if not cast
    }
    if not kept:
        return node
    mask = _with_leaves(node["kwargs"]["mask"], kept)
    return {**node, "kwargs": {**node["kwargs"], "mask": mask}}


def with_copies(
    entries: list[Any], floats: Container[str], copied: Callable[[str], dict[str, Any]]
) -> list[Any]:
    """Return the layers of a config, with a copy before each cast of a model inside.

    A copy ends the mask, as the cast does, where every dtype is made the same.

    Parameters
    ----------
    entries : list
    floats : container of str
        The dtypes that are made the same.
    copied : callable
        Name -> config of an operation that copies, without calls.
    """
    copies: list[Any] = []

    def with_copied(entry: Mapping[str, Any], node: Mapping[str, Any]) -> Any:
        replaced = {}
        for k, tensor, cast in masks_given_as_none(entry, node):
            if cast in floats and tensor["config"].get("dtype") in floats:
                name = f"{entry['name']}_copy_{len(copies)}"
                call = {"args": [tensor], "kwargs": {}}
                copies.append({**copied(name), "inbound_nodes": [call]})
                history = {**tensor["config"], "keras_history": [name, 0, 0]}
                replaced[k] = {**tensor, "config": history}
        if not replaced:
            return node
        args = [_with_leaves(node["args"][0], replaced), *node["args"][1:]]
        return {**node, "args": args}

    return [_with_calls(entry, with_copied) for entry in entries] + copies


def _with_calls(entry: Any, change: Callable[[Any, Any], Any]) -> Any:
    """Return a layer of a config; if it is a Functional model, with its calls changed.

    Parameters
    ----------
    entry : Any
    change : callable
        The entry and the config of a call -> the config of the call.
    """
    if not isinstance(entry, Mapping) or entry.get("class_name") != "Functional":
        return entry
    nodes = entry.get("inbound_nodes")
    if not isinstance(nodes, list):
        return entry
    changed = [change(entry, x) if isinstance(x, Mapping) else x for x in nodes]
    return {**entry, "inbound_nodes": changed}


def _leaves(structure: Any) -> list[Any]:
    """Return the leaves of serialised arguments or endpoints, by sorted keys."""
    found: list[Any] = []
    _with_leaves(structure, {}, found)
    return found


def _with_leaves(
    structure: Any, leaves: Mapping[int, Any], found: list[Any] | None = None
) -> Any:
    """Return serialised arguments with some of the leaves replaced.

    Parameters
    ----------
    structure : Any
    leaves : mapping of int to Any
        Number of a leaf, by sorted keys -> what to put there.
    found : list, optional
        To it every leaf is added as it was.
    """
    found = [] if found is None else found
    if isinstance(structure, list) and not (
        structure and isinstance(structure[0], str)  # which is one endpoint
    ):
        return [_with_leaves(x, leaves, found) for x in structure]
    if isinstance(structure, Mapping):
        if structure.get("class_name") == "__tuple__":
            items = _with_leaves(structure.get("items"), leaves, found)
            return {**structure, "items": items}
        if structure.get("class_name") is None:
            keys = sorted(structure)
            return {k: _with_leaves(structure[k], leaves, found) for k in keys}
    found.append(structure)
    return leaves.get(len(found) - 1, structure)


def _is_tensor(item: Any) -> bool:
    """Return whether a serialised argument is a tensor."""
    return (
        isinstance(item, Mapping)
        and item.get("class_name") == "__keras_tensor__"
        and isinstance(item.get("config"), Mapping)
    )


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
