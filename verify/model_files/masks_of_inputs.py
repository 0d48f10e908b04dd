"""Say in a config which masks a model inside uses of the tensors that it is given.

Keras fills in the masks of a call when the model runs, and a cast drops them. Here what
is written down says so, for the forward pass and for copies in another dtype.

Source: keras/src/models/functional.py (``call``, ``_standardize_inputs``).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from verify.model_files.operation_emitter import is_tensor


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
    body = model.get("config")
    given: Any = args[0] if isinstance(args, list) and args else None
    mask = kwargs.get("mask") if isinstance(kwargs, Mapping) else None
    masks, tensors = _leaves(mask), _leaves(given)
    if mask is None or not isinstance(body, Mapping) or len(masks) != len(tensors):
        return []
    wants = _input_dtypes(body)
    expected = body.get("input_layers")
    names = [x[0] for x in _leaves(expected) if isinstance(x, list) and x]
    by_name = isinstance(given, Mapping) and given.get("class_name") is None
    if by_name and not isinstance(expected, Mapping):
        names = sorted(given)  # each is given by the name of its InputLayer
    found = []
    for k, (tensor, mask) in enumerate(zip(tensors, masks, strict=True)):
        known = is_tensor(tensor) and isinstance(tensor.get("config"), Mapping)
        if mask is None and known:
            wanted = wants.get(names[k]) if k < len(names) else None
            cast = wanted and wanted != tensor["config"].get("dtype", wanted)
            found.append((k, tensor, str(wanted) if cast else ""))
    return found


def _input_dtypes(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dtypes in the config of a model, by the names of its layers."""
    layers = model.get("layers")
    return {
        entry["name"]: entry["config"].get("dtype")
        for entry in (layers if isinstance(layers, list) else ())
        if isinstance(entry, Mapping) and isinstance(entry.get("config"), Mapping)
        if isinstance(entry.get("name"), str)
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
