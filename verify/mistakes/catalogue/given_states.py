"""States handed over wrongly from layer to layer, and from row to row.

Which layers are given states, and whose, is in the graph of a model. What each may do
wrong with them is in `verify.mistakes.catalogue.states`.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from verify.forward.evaluable import Inputs
from verify.forward.layers import REGISTRY
from verify.mistakes.catalogue.combined import Changes, changed, everywhere
from verify.mistakes.catalogue.masks import has_masks
from verify.mistakes.catalogue.mistake import Mistake, ModelOperator, Mutant, Need
from verify.mistakes.catalogue.states import (
    NEXT_BATCH,
    ONE_STEP_EARLY,
    RESTARTED,
    States,
    given_and_returned,
    states_from_outputs,
    states_of,
    with_states,
    wrong_initial_states,
    wrong_returned_states,
    wrong_steps,
)
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.graph import Graph, MaskOf, Node, TensorRef, flatten
from verify.model.spec import LayerSpec, ModelSpec

MAX_CALLS = 8
"""Calls with states in one model, beyond which these are not exchanged: so many are
the steps of a loop rather than layers."""


@dataclass
class Use:
    """Hold how the graphs of a model use the states of one layer.

    Attributes
    ----------
    given : list of lists
        The states that it is given, for each call that gives it some.
    returned : bool
        Whether a state that it returns is used.
    output : bool
        Whether its output is used too.
    elsewhere : bool
        Whether one is used other than by a layer that is given all of them in their
        order: there it is the other layer that reads them.
    """

    given: list[list[TensorRef]] = field(default_factory=list)
    returned: bool = False
    output: bool = False
    elsewhere: bool = False


def graphs(spec: ModelSpec) -> Iterator[tuple[str, LayerSpec, Graph]]:
    """Yield each model inside a model with its path, which ends in a slash."""
    for path, layer in [("", spec.root), *spec.walk()]:
        if layer.graph is not None:
            yield f"{path}/" if path else "", layer, layer.graph


def initial_state(layer: LayerSpec, node: Node) -> list[TensorRef]:
    """Return the states that a call gives to a recurrent layer, or to a cell."""
    if not states_of(layer):
        return []
    arguments = REGISTRY[layer.class_name].by_name(node.args, node.kwargs)
    states = arguments.get("initial_state", arguments.get("states"))
    tensors = [] if states is None else flatten(states)
    return tensors if all(isinstance(ref, TensorRef) for ref in tensors) else []


def returned_states(layer: LayerSpec, node: Node) -> list[TensorRef]:
    """Return the states that a call of a recurrent layer, or of a cell, returns."""
    half = layer.sublayers.get("forward_layer", layer)
    states = states_of(layer)
    if not states or not half.options.get("return_state", True):  # a cell always does
        return []
    first = 1 if layer.options.get("merge_mode", "concat") else 2
    return [TensorRef(node.layer, node.index, first + k) for k in range(len(states))]


def uses_of_states(spec: ModelSpec) -> dict[str, Use]:
    """Return the layers that are given states or whose states are used, by path."""
    found: dict[str, Use] = {}
    for path, model, graph in graphs(spec):
        owners = {
            ref: states
            for node in graph.nodes
            for states in [returned_states(model.sublayers[node.layer], node)]
            for ref in states
        }
        taken = [(leaf, False) for leaf in flatten(graph.outputs)]
        for node in graph.nodes:
            given = initial_state(model.sublayers[node.layer], node)
            if given:
                found.setdefault(path + node.layer, Use()).given.append(given)
            whole = bool(given) and given == owners.get(given[0])
            arguments = flatten([list(node.args), dict(node.kwargs)])
            taken += [(leaf, whole and leaf in given) for leaf in arguments]
        for leaf, whole in taken:
            if isinstance(leaf, TensorRef) and states_of(model.sublayers[leaf.layer]):
                use = found.setdefault(path + leaf.layer, Use())
                use.output |= leaf not in owners
                use.returned |= leaf in owners
                use.elsewhere |= leaf in owners and not whole
    return found


def states_handed_over(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield what one layer, or several in the same way, do wrong with states."""
    masked = has_masks(spec)
    singles: list[tuple[str, Mistake]] = []
    for path, use in uses_of_states(spec).items():
        layer = spec[path]
        states = states_of(layer)
        made: list[Mistake] = []
        if use.given:
            made += wrong_initial_states(states, use.given)
            if "go_backwards" in layer.options and not any(wrong_steps(layer)):
                made.append(RESTARTED)
        if use.elsewhere:
            made += wrong_returned_states(states)
            if use.given:
                made += given_and_returned(states)
        loops = "return_state" in layer.options or states[0].half
        if use.returned and loops:
            made += states_from_outputs(layer, masked)
            if use.output:  # else it would be the last step left out
                made.append(ONE_STEP_EARLY)
        singles += [(path, mistake) for mistake in made]
    for path, mistake in singles:
        yield _mutant(spec, mistake, path)
    yield from everywhere(spec, singles)


def _mutant(spec: ModelSpec, mistake: Mistake, *paths: str) -> Mutant:
    """Return a mutant with a mistake in some layers, named by the only one."""
    changes: Changes = tuple((path, mistake) for path in paths)
    return Mutant(
        mistake.name,
        paths[0] if len(paths) == 1 else "",
        mistake.explanation,
        mistake.remedy,
        changed(spec, changes),
        needs=mistake.needs,
        common=mistake.common,
        ties_rows=mistake.ties_rows,
        changes=changes,
    )


class _Offer(NamedTuple):
    """Hold the states that some layer returns, or that one is given.

    Attributes
    ----------
    whose : str
        Whose they are, in words.
    tensors : list of TensorRef
    shapes : list
        Their shapes; see `State`.
    ready : int
        Number of the last call that makes one of them; -1 if all are inputs.
    """

    whose: str
    tensors: list[TensorRef]
    shapes: list[Any]
    ready: int


class _Call(NamedTuple):
    """Hold a call of a recurrent layer that is given states.

    Attributes
    ----------
    place : int
        Number of the call in the graph.
    node : Node
    layer : LayerSpec
    given : _Offer
    """

    place: int
    node: Node
    layer: LayerSpec
    given: _Offer

    def may_take(self, offer: _Offer) -> bool:
        """Say whether other states fit, and are there when the layer is called."""
        return (
            offer.shapes == self.given.shapes
            and offer.tensors != self.given.tensors
            and offer.ready < self.place
        )

    def taking(self, offer: _Offer) -> dict[int, Node]:
        """Return the same call with other states, by its place in the graph."""
        node, states = self.node, offer.tensors
        for key in ("initial_state", "states"):
            if key in node.kwargs:
                kwargs = {**node.kwargs, key: states}
                return {self.place: replace(node, kwargs=kwargs)}
        args = (node.args[0], states, *node.args[2:])
        return {self.place: replace(node, args=args)}


def _offers(model: LayerSpec, graph: Graph) -> tuple[list[_Call], list[_Offer]]:
    """Return the calls that are given states, and the states that layers return."""
    made = {(node.layer, node.index): k for k, node in enumerate(graph.nodes)}
    calls, returned = [], []
    for place, node in enumerate(graph.nodes):
        layer = model.sublayers[node.layer]
        shapes = [state.shape for state in states_of(layer)]
        if own := returned_states(layer, node):
            returned.append(_Offer(f"of '{node.layer}'", own, shapes, place))
        if given := initial_state(layer, node):
            ready = max(made.get((ref.layer, ref.node), -1) for ref in given)
            offer = _Offer(f"for '{node.layer}'", given, shapes, ready)
            calls.append(_Call(place, node, layer, offer))
    return calls, returned


def _with_nodes(
    spec: ModelSpec, path: str, model: LayerSpec, nodes: Mapping[int, Node]
) -> ModelSpec:
    """Return a spec in which some calls, by their places, of a model are others."""
    graph = model.graph
    assert graph is not None
    all_nodes = tuple(nodes.get(k, node) for k, node in enumerate(graph.nodes))
    mistaken = replace(model, graph=replace(graph, nodes=all_nodes))
    if not path:
        return replace(spec, root=mistaken)
    return spec.with_layer(mistaken, path.removesuffix("/"))


def states_of_other_layers(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield layers that begin with states which are meant for, or of, another one."""
    remedy = "give each layer the states that are meant for it"
    for path, model, graph in graphs(spec):
        calls, returned = _offers(model, graph)
        if len(calls) > MAX_CALLS:
            continue
        for call in calls:
            offers = [*returned, *(other.given for other in calls)]
            # the same states may be offered twice, as those of one and for another
            distinct = {tuple(offer.tensors): offer for offer in offers[::-1]}
            for offer in distinct.values():
                if call.may_take(offer):
                    yield Mutant(
                        f"initial states: those {offer.whose}",
                        path + call.node.layer,
                        f"the layer begins with the states {offer.whose}",
                        remedy,
                        _with_nodes(spec, path, model, call.taking(offer)),
                        common=True,
                    )
        for one, two in combinations(calls, 2):
            if one.may_take(two.given) and two.may_take(one.given):
                other = two.node.layer
                nodes = {**one.taking(two.given), **two.taking(one.given)}
                yield Mutant(
                    f"initial states exchanged with '{other}'",
                    path + one.node.layer,
                    f"the layer begins with the states for '{other}', and '{other}' "
                    "with the states for this layer",
                    remedy,
                    _with_nodes(spec, path, model, nodes),
                    common=True,
                )
        takers = [call for call in calls if call.may_take(calls[-1].given)]
        if len(takers) > 1:
            last = calls[-1].given
            nodes = dict(ChainMap(*(call.taking(last) for call in takers)))
            yield Mutant(
                "initial states of one layer everywhere",
                "",
                f"all {len(takers) + 1} layers that are given states begin with those "
                + last.whose,
                remedy,
                _with_nodes(spec, path, model, nodes),
            )


def masks_in_spite_of_states(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield masks applied where Keras gives a layer none.

    A layer that is called with `initial_state` gets no mask unless the call names one.
    """
    for path, model, graph in graphs(spec):
        masked = _masked_calls(model, graph)
        for call in _offers(model, graph)[0]:
            kind, node = REGISTRY[call.layer.class_name], call.node
            given = kind.by_name(node.args, node.kwargs)
            x = given[kind.arguments[0]]
            takes_one = "mask" in kind.arguments and "mask" not in given
            if not takes_one or (x.layer, x.node) not in masked:
                continue
            node = replace(node, kwargs={**node.kwargs, "mask": MaskOf(x)})
            yield Mutant(
                "mask applied in spite of initial_state",
                path + node.layer,
                "the mask of the inputs is applied; Keras gives a layer that is called "
                "with initial_state no mask",
                "compute masked steps like any other in this layer",
                _with_nodes(spec, path, model, {call.place: node}),
                needs=frozenset({Need.MASKED_STEPS}),
                common=True,
            )


def _masked_calls(model: LayerSpec, graph: Graph) -> set[tuple[str, int]]:
    """Return the calls, by layer and number, whose output may carry a mask."""
    found: set[tuple[str, int]] = set()
    for node in graph.nodes:
        layer = model.sublayers[node.layer]
        makes = layer.options.get("mask_zero") or layer.class_name == "Masking"
        passes = REGISTRY[layer.class_name].passes_masks(layer) and any(
            isinstance(leaf, TensorRef) and (leaf.layer, leaf.node) in found
            for leaf in flatten([*node.args[:1]])
        )
        if makes or passes:
            found.add((node.layer, node.index))
    return found


def rows_of_stateful_models(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield the states of a stateful model kept for other rows, or by one layer alone.

    Row k of a batch begins with the states that row k of the batch before ended with.
    """
    stateful = [
        path
        for path, layer in spec.walk()
        if layer.options.get("stateful")
        and Rule.PREDICT_FORGETS_STATES not in layer.rules
    ]
    remedy = (
        "begin row k of each batch with the states that row k of the batch before "
        "ended with"
    )
    if stateful and (spec.batch_size or 1) > 1:
        one_by_one = Mistake(
            "states carried from row to row",
            "the rows of a batch are run one after the other, each from the states "
            "that the row before it ended with",
            remedy,
            _one_row_a_batch,
            ties_rows=True,
        )
        inputs = [
            path
            for path, layer in spec.root.sublayers.items()
            if layer.class_name == "InputLayer"
        ]
        yield replace(_mutant(spec, one_by_one, *inputs), layer="")
        rolled = Mistake(
            "states carried to the next row of the next batch",
            "row k of each batch begins with the states that row k - 1 of the batch "
            "before ended with",
            remedy,
            lambda layer: layer.with_overrides(stateful=_of_the_row_before),
            needs=NEXT_BATCH,
            ties_rows=True,
        )
        yield _mutant(spec, rolled, *stateful)
    if stateful:
        yield from _not_reset(spec)
    if len(stateful) > 2:
        for kept, word in ((stateful[0], "first"), (stateful[-1], "last")):
            others = [path for path in stateful if path != kept]
            forgotten = Mistake(
                f"states of the {word} stateful layer carried alone",
                f"each batch begins with the states that layer '{kept}' ended with; "
                "the other stateful layers begin with zeros",
                "carry the states of every stateful layer",
                _forgetting,
                needs=NEXT_BATCH,
                ties_rows=True,
            )
            yield _mutant(spec, forgotten, *others)


def _not_reset(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield states that are left over from a run before the one that was recorded."""
    unit = spec.batch_size or 1

    def after_first_batch(x: Inputs) -> Inputs:
        return _joined(x.take(slice(unit)), x)

    def after_zeros(x: Inputs) -> Inputs:
        return _joined([np.zeros_like(array[:unit]) for array in x], x)

    def after_itself(x: Inputs) -> Inputs:
        return _joined(x, x)

    def without_first(outputs: list[Array]) -> list[Array]:
        return [y[unit:] for y in outputs]

    def second_half(outputs: list[Array]) -> list[Array]:
        return [y[len(y) // 2 :] for y in outputs]

    for words, inputs, outputs in (
        ("the first batch", after_first_batch, without_first),
        ("a batch of zeros", after_zeros, without_first),
        ("the same rows", after_itself, second_half),
    ):
        yield Mutant(
            f"states left over from {words}",
            "",
            f"the states were not reset after a run over {words}, which came before "
            "the run whose outputs were recorded",
            "reset the states of the port, then record its outputs",
            spec,
            ties_rows=True,
            inputs=inputs,
            outputs=outputs,
        )


def _joined(first: Sequence[Array], second: Sequence[Array]) -> Inputs:
    both = zip(first, second, strict=True)
    return Inputs(np.concatenate(arrays) for arrays in both)


def _one_row_a_batch(layer: LayerSpec) -> LayerSpec:
    return layer.with_options(batch_shape=(1, *layer.options["batch_shape"][1:]))


def _of_the_row_before(states: States) -> States:
    return tuple(np.roll(state, 1, axis=0) for state in states)


def _forgetting(layer: LayerSpec) -> LayerSpec:
    return with_states("stateful", (None,) * len(states_of(layer)))(layer)


MODEL_OPERATORS: tuple[ModelOperator, ...] = (
    states_handed_over,
    states_of_other_layers,
    masks_in_spite_of_states,
    rows_of_stateful_models,
)
