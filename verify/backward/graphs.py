"""Go back through the graph of a model, and through those of models inside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np

from verify.backward.any_layer import recorded_layer, show_decisions
from verify.backward.cells import BACKWARD_CELLS
from verify.backward.layers import (
    BACKWARD_LAYERS,
    EXACT_LAYERS,
    VISITED_LOOPS,
    Adjoints,
    Backward,
    BackwardCall,
    has_visited_loop,
)
from verify.forward.evaluate import LayerTrace, value_of
from verify.forward.layers import REGISTRY
from verify.model.arrays import Array
from verify.model.dtypes import dtype_of, is_float
from verify.model.graph import (
    Graph,
    Node,
    TensorRef,
    flatten,
    in_order,
    map_structure,
)
from verify.model.spec import LayerSpec

ZERO_DERIVATIVE = (
    *("ops.Equal", "ops.NotEqual", "ops.Less", "ops.LessEqual", "ops.Greater"),
    *("ops.GreaterEqual", "ops.LogicalAnd", "ops.LogicalOr", "ops.LogicalXor"),
    *("ops.LogicalNot", "ops.Any", "ops.All", "ops.OnesLike", "ops.ZerosLike"),
)
"""Operations whose derivative is 0. A model may contain them, and operations on their
results alone, because Keras writes the masks of a Functional model as such a graph."""

LOOPS = frozenset({*BACKWARD_CELLS, *VISITED_LOOPS, "Bidirectional"})
"""Classes of layers that run over time."""

Call = tuple[Node, str, str]
"""A node of a graph, the path of its layer in the model, and the key of the call in a
trace."""


def calls_of(graph: Graph, path: str = "", number: int = 1) -> list[Call]:
    """Return every call in order of evaluation.

    Parameters
    ----------
    graph : Graph
    path : str
        Path of the model whose graph it is; by default that of the whole model.
    number : int
        Which of its calls this one is: those of its layers are counted through.
    """
    every = Counter(node.layer for node in graph.nodes)
    count: Counter[str] = Counter()
    found = []
    for node in graph.nodes:
        count[node.layer] += 1
        at = f"{path}/{node.layer}" if path else node.layer
        of_all = (number - 1) * every[node.layer] + count[node.layer]
        found.append((node, at, at if of_all == 1 else f"{at}:{of_all}"))
    return found


def back_within(
    back: Backward,
    model: LayerSpec,
    calls: Sequence[Call],
    inputs: Mapping[TensorRef, Array],
    exact: Set[TensorRef],
) -> Backward:
    """Return what a pass back through the graph of a model needs.

    Parameters
    ----------
    back : Backward
        Of the model that calls this one.
    model : LayerSpec
    calls : list
        As `calls_of` returns them.
    inputs : mapping of TensorRef to ndarray
        The inputs of the model, in float64.
    exact : set of TensorRef
        Inputs whose adjoints nobody asks for.
    """
    forward = dict(inputs)
    for node, _, key in calls:
        forward |= _outputs(node, back.trace, key)
    added = {
        TensorRef(node.layer, node.index, 0): _tensors(node.args)
        for node, _, _ in calls
        if model.sublayers[node.layer].class_name == "Add"
    }
    unneeded = _exact_tensors(model, exact)
    return replace(back, forward=forward, added=added, unneeded=unneeded)


def back_through_graph(
    back: Backward,
    model: LayerSpec,
    calls: Sequence[Call],
    gradients: Sequence[Array],
) -> GraphAdjoints:
    """Go back through the layers of a model; return the adjoints of all tensors.

    Parameters
    ----------
    back : Backward
        As `back_within` returns it.
    model : LayerSpec
        With weights in float64.
    calls : list
    gradients : list of (..., batch, ...)
        The adjoint of each output of the model.
    """
    graph = model.graph
    assert graph is not None
    adjoints = GraphAdjoints(back)
    for ref, gradient in zip(flatten(graph.outputs), gradients, strict=True):
        adjoints.add(ref, gradient)
    constant = constant_layers(model, bounding=back.visit is not None)
    for node, path, key in reversed(calls):
        layer = model.sublayers[node.layer]
        outputs = _outputs(node, back.trace, key)
        unused = node.layer in constant or not any(ref in adjoints for ref in outputs)
        if unused and (back.visit is None or all(map(is_float, outputs.values()))):
            continue
        given = REGISTRY[layer.class_name].by_name(node.args, node.kwargs)
        of_outputs = [adjoints[ref] for ref in outputs]
        call = BackwardCall(path, key, layer, back.trace[key], given, of_outputs)
        if unused:
            show_decisions(back, call)
            continue
        for name, found in back_through(back, call).items():
            for ref, adjoint in zip(_tensors(given[name]), found, strict=True):
                adjoints.add(ref, adjoint)
    return adjoints


def _model(back: Backward, call: BackwardCall) -> Adjoints:
    """Go back through a model that is a layer: through each of its own layers."""
    model, given = call.layer, call.arguments["inputs"]
    assert model.graph is not None
    refs: list[TensorRef] = flatten(model.graph.inputs)
    arrays = [
        value_of(leaf)
        for leaf in in_order(model.graph.inputs, call.trace.arguments["inputs"])
    ]
    entries = [model.sublayers[ref.layer] for ref in refs]
    if not all(map(_is_passed_on, entries, arrays)):
        return recorded_layer(back, call)
    numbers: Iterator[int] = iter(range(len(flatten(given))))
    places = in_order(model.graph.inputs, map_structure(lambda _: next(numbers), given))
    leaves = flatten(given)  # places: input of the model -> which of these it is
    outside = {ref: leaves[k] for ref, k in zip(refs, places, strict=True)}
    exact = {
        ref
        for ref, leaf in outside.items()
        if not isinstance(leaf, TensorRef) or leaf in back.unneeded
    }
    calls = calls_of(model.graph, call.path, call.number)
    inputs = dict(zip(refs, map(exact_values, arrays), strict=True))
    inner = back_within(back, model, calls, inputs, exact)
    found = back_through_graph(inner, model, calls, call.adjoints)
    by_place = {k: found[ref] for ref, k in zip(refs, places, strict=True)}

    def adjoint(k: int, ref: TensorRef) -> Array:
        if k in by_place:
            return by_place[k]
        return np.zeros((*back.sweeps, *back.forward[ref].shape))  # a key too many

    return {
        "inputs": [
            adjoint(k, leaf)
            for k, leaf in enumerate(leaves)
            if isinstance(leaf, TensorRef)
        ]
    }


def _is_passed_on(entry: LayerSpec, values: Array) -> bool:
    """Return whether an input of a model inside has the numbers that it is given."""
    same_axes = values.ndim == len(entry.options["batch_shape"])
    return same_axes and not (
        is_float(values) and dtype_of(entry.options["dtype"]).kind != "f"
    )


def back_through(back: Backward, call: BackwardCall) -> Mapping[str, Sequence[Array]]:
    """Return the adjoints of the arguments of one call, without overflow warnings."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _way_back(back, call)(back, call)


def _way_back(
    back: Backward, call: BackwardCall
) -> Callable[[Backward, BackwardCall], Adjoints]:
    """Return the function that goes back through a layer.

    The equations of a layer do for a visitor that says nothing of activations, or whose
    ``known_activations`` has those of the layer; else its operations are recorded.
    """
    layer = call.layer
    if layer.graph is not None:
        return _model
    inside = {one.class_name for one in layer.sublayers.values()}
    if layer.class_name == "Bidirectional" and not inside <= BACKWARD_CELLS.keys():
        return recorded_layer
    if _masks_units(call):
        return recorded_layer
    known = getattr(back.visit, "known_activations", None)
    if has_visited_loop(back, call, known or frozenset()):
        return VISITED_LOOPS[layer.class_name]
    if known is not None and needs_recording(layer, known):
        return recorded_layer
    return BACKWARD_LAYERS.get(layer.class_name, recorded_layer)


def _masks_units(call: BackwardCall) -> bool:
    """Return whether the mask of a loop says for each unit what a step changes."""
    mask = call.mask if call.layer.class_name in LOOPS else None
    return mask is not None and mask.ndim > 2


def needs_recording(layer: LayerSpec, known: frozenset[str]) -> bool:
    """Return whether operations must be recorded, as a layer's equations do not do.

    Parameters
    ----------
    layer : LayerSpec
    known : frozenset of str
        Activations of which equations are enough; ``Dense.softmax`` if they are in that
        class of layer alone.
    """
    if layer.class_name == "InputLayer":
        return False
    if layer.graph is None and layer.class_name not in BACKWARD_LAYERS:
        return True
    if layer.options.get("quantization_mode"):
        return True
    for option in ("activation", "recurrent_activation"):
        function = layer.options.get(option, "linear")
        if not known & {function, f"{layer.class_name}.{function}"}:
            return True
    return any(needs_recording(inner, known) for inner in layer.sublayers.values())


def constant_layers(root: LayerSpec, *, bounding: bool) -> set[str]:
    """Return the operations whose results have gradient 0; see `ZERO_DERIVATIVE`.

    Where bounds are wanted, those on their results do not count: they may round.
    """
    found: set[str] = set()
    for node in root.graph.nodes if root.graph is not None else ():
        name = root.sublayers[node.layer].class_name
        leaves = flatten([list(node.args), dict(node.kwargs)])
        sources = {x.layer for x in leaves if isinstance(x, TensorRef)}
        follows = not bounding and name.startswith("ops.") and sources <= found
        if name in ZERO_DERIVATIVE or follows:
            found.add(node.layer)
    return found


def _exact_tensors(model: LayerSpec, given: Set[TensorRef]) -> set[TensorRef]:
    """Return what layers only choose or pass on of the given inputs of a model."""
    found = set(given)
    for node in model.graph.nodes if given and model.graph is not None else ():
        layer = model.sublayers[node.layer]
        exact = layer.class_name in EXACT_LAYERS and not layer.overrides
        if exact and not layer.options.get("quantization_mode"):
            tensors = _tensors([list(node.args), dict(node.kwargs)])
            if found.issuperset(tensors):
                found.add(TensorRef(node.layer, node.index, 0))
    return found


class GraphAdjoints:
    """Hold the adjoint of every tensor of a graph, summed over the uses seen yet."""

    def __init__(self, back: Backward) -> None:
        self.back = back
        self._known: dict[TensorRef, Array] = {}

    def __getitem__(self, ref: TensorRef) -> Array:
        """Return the adjoint of a tensor; zeros if no output depends on it."""
        if ref in self._known:
            return self._known[ref]
        return np.zeros((*self.back.sweeps, *self.back.forward[ref].shape))

    def __contains__(self, ref: TensorRef) -> bool:
        return ref in self._known

    def add(self, ref: TensorRef, adjoint: Array) -> None:
        """Add the adjoint that one use of a tensor contributes."""
        self._known[ref] = self._known[ref] + adjoint if ref in self else adjoint


def _outputs(
    node: Node, trace: Mapping[str, LayerTrace], key: str
) -> dict[TensorRef, Array]:
    """Return the outputs of a call from a trace, by their references."""
    return {
        TensorRef(node.layer, node.index, k): output
        for k, output in enumerate(flatten(trace[key].output))
    }


def _tensors(structure: Any) -> list[TensorRef]:
    return [leaf for leaf in flatten(structure) if isinstance(leaf, TensorRef)]


def exact_values(values: Array) -> Array:
    """Return numbers in float64; texts, which have no gradient, as they are."""
    return values if values.dtype.kind == "U" else values.astype(np.float64)
