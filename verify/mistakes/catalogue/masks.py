"""Masks that a model ignores, each by itself, loses on the way or takes from another.

Each mutant changes which layers use which masks, as `mask_flow` finds it; two that come
to the same are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain, combinations, permutations
from typing import Any

import numpy as np

from verify.forward.layers import LOOPS, REGISTRY
from verify.forward.layers.base import Tensor
from verify.mistakes.catalogue.mask_flow import (
    Call,
    Maker,
    MaskFlow,
    shapes_in,
    with_implicit_masks,
    without,
)
from verify.mistakes.catalogue.mistake import ModelOperator, Mutant, Need
from verify.model.graph import (
    Graph,
    MaskOf,
    Node,
    TensorRef,
    flatten,
    map_structure,
    refs_of,
)
from verify.model.spec import LayerSpec, ModelSpec

MASK_IGNORED = "mask ignored"

MASKED_STEPS = frozenset({Need.MASKED_STEPS})

HOLD = "hold the state at every masked step, and repeat the last output"

MOST_MAKERS = 6
"""Masks that are tried in each other's places, at most: the pairs grow with their
square."""

IGNORED_BY = {
    "Attention": "padded steps get a share of the attention",
    "AdditiveAttention": "padded steps get a share of the attention",
    "MultiHeadAttention": "padded steps get a share of the attention",
    "GlobalAveragePooling1D": "padded steps count in the mean",
}
"""What comes of it where a layer that is not recurrent ignores its mask."""

HALVES = {"forward_layer": "forward", "backward_layer": "backward"}


def has_masks(spec: ModelSpec) -> bool:
    """Say whether anything in a model makes a mask, or takes one as an argument."""
    layers = [spec.root, *(layer for _, layer in spec.walk())]
    return any(
        layer.options.get("mask_zero")
        or layer.class_name == "Masking"
        or any(node.kwargs.get("mask") is not None for node in _nodes(layer))
        for layer in layers
    )


def _nodes(layer: LayerSpec) -> tuple[Node, ...]:
    return () if layer.graph is None else layer.graph.nodes


def masks_ignored(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield the model without any of its masks, if it uses one."""
    if not has_masks(spec):
        return
    flow = MaskFlow.of(with_implicit_masks(spec.root))
    makers = flow.makers
    if not makers:
        return
    paths = {maker.path for maker in makers}
    several = len(paths) > 1
    yield Mutant(
        MASK_IGNORED,
        "" if several else paths.pop(),
        "all masks of the model are ignored: padded steps are computed like any other"
        if several
        else "the mask is ignored: padded steps are computed like any other",
        HOLD,
        replace(spec, root=unmasked(spec.root)),
        needs=MASKED_STEPS,
        common=True,
    )
    blank = {maker.path for maker in makers if _pads(spec[maker.path])}
    # where one layer alone uses masks, this is the same as "masked inputs zeroed"
    if blank and len({_whole(use.path) for use in flow.uses}) > 1:
        yield Mutant(
            "padding gives zeros, mask ignored",
            blank.pop() if len(blank) == 1 else "",
            "id 0 gives zeros, as with PyTorch's padding_idx, and the mask is ignored: "
            "padded steps are computed with these zeros",
            HOLD,
            replace(spec, root=unmasked(spec.root.mapped(_with_zeros))),
            needs=MASKED_STEPS,
        )


def _pads(layer: LayerSpec) -> bool:
    """Say whether a layer masks id 0, and its row in the table is not all zeros."""
    table = layer.weights.get("embeddings")
    return bool(layer.options.get("mask_zero")) and table is not None and table[0].any()


def _with_zeros(layer: LayerSpec) -> LayerSpec:
    """Return an Embedding that gives zeros for the id it masks; others as they are."""
    if not _pads(layer):
        return layer
    table = layer.weights["embeddings"].copy()
    table[0] = 0
    return layer.with_weights(embeddings=table)


def unmasked(model: LayerSpec) -> LayerSpec:
    """Return a model in which no Embedding and no Masking makes a mask."""

    def change(layer: LayerSpec) -> LayerSpec:
        layer = _not_making(layer)
        if layer.graph is None:
            return layer
        nodes = tuple(without(node, {"mask"}) for node in layer.graph.nodes)
        return replace(layer, graph=replace(layer.graph, nodes=nodes))

    return model.mapped(change)


def _not_making(layer: LayerSpec) -> LayerSpec:
    """Return an Embedding or Masking that makes no mask; others as they are."""
    if layer.options.get("mask_zero"):
        return layer.with_options(mask_zero=False)
    if layer.class_name == "Masking":  # nothing equals NaN, so nothing is masked
        return layer.with_options(mask_value=float("nan"))
    return layer


# -- changes of a mask inside one layer ------------------------------------------------
# They serve as overrides, and work on the `Makers` of `mask_flow` as on arrays.


@dataclass(frozen=True)
class _Ignored:
    """Use no mask, or one mask less if the layer has several."""

    argument: str = ""
    position: int = 0

    def __call__(self, name: str, masks: Any) -> Any:
        if not self.argument:
            return None
        if name != self.argument:
            return masks
        if not isinstance(masks, (list, tuple)):
            return None
        return [None if k == self.position else m for k, m in enumerate(masks)]


@dataclass(frozen=True)
class _Lost:
    """Pass no mask on."""

    def __call__(self, masks: Any, output: Tensor) -> None:
        return None


@dataclass(frozen=True)
class _Kept:
    """Pass on the mask of one of the inputs."""

    position: int

    def __call__(self, masks: Any, output: Tensor) -> Any:
        mask = flatten(masks)[self.position]
        if isinstance(mask, np.ndarray):
            fits = mask.shape == output.value.shape[: mask.ndim]
            return mask if fits else None
        return mask


@dataclass(frozen=True)
class _Both:
    """Pass on a mask that is true where the masks of all inputs are."""

    def __call__(self, masks: Any, output: Tensor) -> Any:
        found = [mask for mask in flatten(masks) if mask is not None]
        if not found or isinstance(found[0], np.ndarray):
            return reduce(np.logical_and, found) if found else None
        return frozenset().union(*found, {Maker("and", 0)})


# -- the mutants -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Model:
    """Hold a model whose masks are implicit, and the flow of these masks."""

    spec: ModelSpec
    flow: MaskFlow

    def mutant(
        self, name: str, path: str, explanation: str, remedy: str, model: ModelSpec
    ) -> Mutant:
        """Return a mutant of it."""
        return Mutant(name, path, explanation, remedy, model, needs=self._needs(path))

    def _needs(self, path: str) -> frozenset[Need]:
        """Return what shows a change of the masks that a layer uses.

        A layer that passes its mask on is read by others at unmasked steps alone, and
        these come before the padding if it stands on the right.
        """
        layer = self.spec[path]
        calls = [call for call in self.flow.calls if call.path == _whole(path)]
        passes = any(any(call.outgoing) for call in calls)
        forward = layer.class_name in LOOPS and not layer.options["go_backwards"]
        if passes and forward:
            return MASKED_STEPS | {Need.MASKED_STEPS_BEFORE_OTHERS}
        return MASKED_STEPS

    def changed(self, path: str, change: Callable[[LayerSpec], LayerSpec]) -> ModelSpec:
        """Return the model with one layer changed."""
        return self.spec.with_layer(change(self.spec[path]), path)

    def graph_of(self, model: str) -> Graph:
        """Return the graph of the whole model or of one inside it."""
        layer = self.spec[model] if model else self.spec.root
        if layer.graph is None:
            raise ValueError(f"{layer}: no graph")
        return layer.graph

    def with_graph(self, model: str, graph: Graph) -> ModelSpec:
        """Return the model with another graph of the whole or of a model inside."""
        if not model:
            return replace(self.spec, root=replace(self.spec.root, graph=graph))
        return self.changed(model, lambda layer: replace(layer, graph=graph))

    def with_masks(
        self, model: str, masks: Sequence[tuple[Call, Any]]
    ) -> ModelSpec | None:
        """Return the model with masks given to some calls; None if it has a cycle."""
        given = {id(call.node): (call, mask) for call, mask in masks}
        graph = self.graph_of(model)
        nodes = [
            _with_mask(*given[id(node)]) if id(node) in given else node
            for node in graph.nodes
        ]
        ordered = _ordered(graph, nodes)
        if ordered is None:
            return None
        return self.with_graph(model, replace(graph, nodes=ordered))


def masks_one_by_one(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield mutants in which one mask is ignored, lost, kept or exchanged."""
    if not has_masks(spec):
        return
    root = with_implicit_masks(spec.root)
    model = _Model(replace(spec, root=root), MaskFlow.of(root))
    seen = {_key(model.flow), _key(MaskFlow.of(unmasked(root)))}
    for mutant in chain.from_iterable(kind(model) for kind in _KINDS):
        key = _key(MaskFlow.of(mutant.model.root))
        if key not in seen:
            seen.add(key)
            yield mutant


def _key(flow: MaskFlow) -> frozenset[Any]:
    return frozenset(flow.uses.items())


def _not_made(model: _Model) -> Iterator[Mutant]:
    """Yield mutants in which the mask that one layer makes does not exist."""
    for maker in sorted(model.flow.makers):
        if maker.argument:
            call = _call_of(model, maker)
            graph = model.graph_of(call.model)
            nodes = tuple(
                without(node, {maker.argument}) if node is call.node else node
                for node in graph.nodes
            )
            yield model.mutant(
                "mask argument ignored",
                maker.path,
                f"the {maker.argument} given in its call is ignored",
                f"use the {maker.argument} that the call is given",
                model.with_graph(call.model, replace(graph, nodes=nodes)),
            )
        else:
            yield model.mutant(
                "mask not made",
                maker.path,
                "the mask that it makes is ignored, wherever it is used; other masks "
                "are not",
                HOLD,
                model.changed(maker.path, _not_making),
            )


def _call_of(model: _Model, maker: Maker) -> Call:
    """Return the call in which a mask is made or given."""
    return next(
        call
        for call in model.flow.calls
        if (call.path, call.node.index) == (maker.path, maker.call)
    )


def _ignored_in_one(model: _Model) -> Iterator[Mutant]:
    """Yield mutants in which one layer ignores its mask, but passes it on."""
    ignore = _with_use(_Ignored())
    users = dict.fromkeys(use.path for use in model.flow.uses)
    paths = dict.fromkeys(chain.from_iterable((_whole(path), path) for path in users))
    for path in paths:
        layer, half = model.spec[path], path.rpartition("/")[2]
        if path != _whole(path):
            word = HALVES[half]
            yield model.mutant(
                f"mask ignored in the {word} half",
                path,
                f"the {word} half runs over the padding: the mask is ignored in the "
                f"{word} half",
                HOLD,
                model.changed(path, ignore),
            )
            continue
        yield model.mutant(
            "mask ignored in one layer",
            path,
            f"its mask is ignored, in this layer alone: {_consequence(layer)}",
            HOLD if layer.class_name in (*LOOPS, "Bidirectional") else "use its mask",
            model.changed(path, ignore),
        )
        own = [use for use in model.flow.uses if _whole(use.path) == path]
        several = {(use.argument, use.position) for use in own}
        if len(several) < 2 or _queries_are_masked_later(model, path):
            several = set()  # they do not differ
        for argument, position in sorted(several):
            which = _which_mask(layer, argument, position)
            yield model.mutant(
                f"{which} ignored",
                path,
                f"the {which} is ignored, its other masks are not",
                "use each of its masks",
                model.changed(path, _with_use(_Ignored(argument, position))),
            )
        yield from _ignored_in_one_call(model, path, {use.call for use in own})


def _queries_are_masked_later(model: _Model, path: str) -> bool:
    """Say whether a layer passes its first mask on to a layer that uses it."""
    after = False
    for call in model.flow.calls:
        if after and any(call.used.values()):
            return True
        after = after or (call.path == path and any(call.outgoing))
    return False


def _whole(path: str) -> str:
    """Return the path of the Bidirectional that a path is a half of, or the path."""
    outer, _, half = path.rpartition("/")
    return outer if half in HALVES else path


def _consequence(layer: LayerSpec) -> str:
    known = "padded steps are computed like any other"
    return IGNORED_BY.get(layer.class_name, known)


def _which_mask(layer: LayerSpec, argument: str, position: int) -> str:
    """Return the words for one of several masks that a layer uses."""
    if argument != "mask":
        return argument.replace("_", " ")
    if "Attention" in layer.class_name:
        return f"{('query', 'value', 'key')[position]} mask"
    return f"mask of input {position}"


def _with_use(change: _Ignored) -> Callable[[LayerSpec], LayerSpec]:
    return lambda layer: layer.with_overrides(use_mask=change)


def _with_pass(change: Any) -> Callable[[LayerSpec], LayerSpec]:
    return lambda layer: layer.with_overrides(pass_mask=change)


def _ignored_in_one_call(model: _Model, path: str, calls: set[int]) -> Iterator[Mutant]:
    """Yield mutants in which a layer ignores its mask in one of its calls."""
    for call in model.flow.calls:
        if call.path != path or call.node.index not in calls or len(calls) < 2:
            continue
        outer = model.spec[call.model] if call.model else model.spec.root
        lone = _with_own_layer(outer, call.node, _with_use(_Ignored()))
        spec = replace(model.spec, root=lone)
        if call.model:
            spec = model.spec.with_layer(lone, call.model)
        yield model.mutant(
            f"mask ignored in call {call.node.index + 1}",
            path,
            f"its mask is ignored in call {call.node.index + 1} of {len(calls)}: "
            f"{_consequence(call.layer)}",
            HOLD,
            spec,
        )


def _with_own_layer(
    model: LayerSpec, node: Node, change: Callable[[LayerSpec], LayerSpec]
) -> LayerSpec:
    """Return a model in which one call is that of a changed copy of the layer."""
    graph, name = model.graph, f"{node.layer} in call {node.index + 1}"
    if graph is None:
        return model

    def moved(leaf: Any) -> Any:
        if isinstance(leaf, MaskOf):
            return MaskOf(moved(leaf.tensor))
        if isinstance(leaf, TensorRef) and leaf.place[:2] == (node.layer, node.index):
            return replace(leaf, layer=name)
        return leaf

    nodes = tuple(
        replace(
            one,
            layer=name if one is node else one.layer,
            args=map_structure(moved, one.args),
            kwargs=map_structure(moved, dict(one.kwargs)),
        )
        for one in graph.nodes
    )
    outputs = map_structure(moved, graph.outputs)
    own = change(model.sublayers[node.layer])
    return replace(
        model,
        sublayers={**model.sublayers, name: own},
        graph=replace(graph, nodes=nodes, outputs=outputs),
    )


def _kept(model: _Model) -> Iterator[Mutant]:
    """Yield mutants in which a mask is passed on where Keras loses it.

    Where other layers would lose it before it is used, these pass it on, too.
    """
    for call in model.flow.calls:
        position = _lost_at(call)
        if position is None:
            continue
        spec = model.changed(call.path, _with_pass(_Kept(position)))
        for _ in model.flow.calls:
            flow = MaskFlow.of(spec.root)
            further = _first_that_loses(flow, model.flow)
            if further is None or flow.uses != model.flow.uses:
                break
            path, position = further
            spec = spec.with_layer(_with_pass(_Kept(position))(spec[path]), path)
        joined = call.outgoing[0] is not None
        yield model.mutant(
            "mask kept",
            call.path,
            "the mask of its input is passed on, and later layers skip the padding"
            + (
                "; Keras joins it with an input that has no mask, so that no step is "
                "masked any more"
                if joined
                else "; in Keras masks end here, and later layers compute it"
            ),
            "compute every step in the layers after it",
            spec,
        )


def _lost_at(call: Call) -> int | None:
    """Return which input's mask a call loses, if its outputs are as many steps."""
    if len(call.outgoing) != 1 or call.outgoing[0]:
        return None
    into, out = shapes_in(call.layer.input_shape), shapes_in(call.layer.output_shape)
    if len(out) != 1 or len(out[0]) < 3:
        return None
    for position, makers in enumerate(call.incoming):
        own = into[position][1:2] if position < len(into) else ()  # () of a scalar
        if makers and own == out[0][1:2]:
            return position
    return None


def _first_that_loses(flow: MaskFlow, before: MaskFlow) -> tuple[str, int] | None:
    """Return the first call that loses a mask which it did not receive before."""
    received = {(c.path, c.node.index): list(c.incoming) for c in before.calls}
    for call in flow.calls:
        position = _lost_at(call)
        known = received.get((call.path, call.node.index))
        if position is not None and known != list(call.incoming):
            return call.path, position
    return None


def _of_another(model: _Model) -> Iterator[Mutant]:
    """Yield mutants in which layers use the mask of another branch."""
    makers = sorted(model.flow.makers)
    if len(makers) > MOST_MAKERS:
        return
    for own, other in permutations(makers, 2):
        calls = _calls_with(model, own, other)
        if not calls:
            continue
        source = _in_words(model, other)
        users = dict.fromkeys(call.path for call in calls)
        for path in ("", *(users if len(users) > 1 else ())):
            chosen = [call for call in calls if path in ("", call.path)]
            spec = model.with_masks(
                chosen[0].model, [(c, _mask_from(model, own, other)) for c in chosen]
            )
            if spec is not None:
                yield model.mutant(
                    f"mask of {source}",
                    path or own.path,
                    f"it uses the mask of {source} instead of its own"
                    if path
                    else f"the mask of {source} is used wherever its own should be",
                    "give each layer the mask of its own input",
                    spec,
                )
    for own, other in combinations(makers, 2):
        there, back = _calls_with(model, own, other), _calls_with(model, other, own)
        if not there or not back or there[0].model != back[0].model:
            continue
        masks = [(c, _mask_from(model, own, other)) for c in there if c not in back]
        masks += [(c, _mask_from(model, other, own)) for c in back if c not in there]
        spec = model.with_masks(there[0].model, masks)
        if spec is not None:
            yield model.mutant(
                f"mask exchanged with {_in_words(model, other)}",
                own.path,
                f"its mask and that of {_in_words(model, other)} are exchanged",
                "give each layer the mask of its own input",
                spec,
            )


def _in_words(model: _Model, maker: Maker) -> str:
    """Return the words for what makes a mask."""
    calls = [c for c in model.flow.calls if c.path == maker.path]
    which = f"call {maker.call + 1} of " if len(calls) > 1 else ""
    name = f"{which}layer '{maker.path}'"
    return f"the call of {name}" if maker.argument else name


@dataclass(frozen=True)
class _Exchange:
    """Describe a mask that stands in for another.

    Attributes
    ----------
    own : Maker or None
        The mask that is replaced; None for whichever mask there is, or none.
    expression
        Stands for the mask in the arguments of a call.
    """

    own: Maker | None
    expression: Any


def _mask_from(model: _Model, own: Maker | None, other: Maker) -> _Exchange:
    """Return the exchange of one mask for another."""
    node = _call_of(model, other).node
    if other.argument:
        return _Exchange(own, node.kwargs[other.argument])
    return _Exchange(own, MaskOf(TensorRef(node.layer, node.index, 0)))


def _calls_with(model: _Model, own: Maker, other: Maker) -> list[Call]:
    """Return the calls that use one mask alone, if another can take its place."""
    mine, theirs = (_call_of(model, maker) for maker in (own, other))
    alike = _steps_of(mine) == _steps_of(theirs)
    if not alike or mine.model != theirs.model:
        return []
    return [
        call
        for call in model.flow.calls
        if call.model == mine.model
        and any(
            makers == {own} for mask in call.used.values() for makers in flatten(mask)
        )
    ]


def _steps_of(call: Call) -> int | None:
    """Return how many steps the first input of a call has, if that is known."""
    shapes = shapes_in(call.layer.input_shape)
    return shapes[0][1] if shapes and len(shapes[0]) > 1 else None


def _with_mask(call: Call, exchange: _Exchange) -> Node:
    """Return a call that is given another mask."""
    node, kwargs = call.node, dict(call.node.kwargs)
    if exchange.own is None:
        return replace(node, kwargs={**kwargs, "mask": exchange.expression})
    for name, masks in call.used.items():
        if name in REGISTRY[call.layer.class_name].masks_from_tensor:
            continue
        if not isinstance(masks, (list, tuple)):
            if masks == {exchange.own}:
                kwargs[name] = exchange.expression
            continue
        refs = flatten(node.args[:1])
        kwargs[name] = [
            exchange.expression if makers == {exchange.own} else MaskOf(ref)
            for makers, ref in zip(masks, refs, strict=True)
        ]
    return replace(node, kwargs=kwargs)


def _ordered(graph: Graph, nodes: Sequence[Node]) -> tuple[Node, ...] | None:
    """Return calls so that each comes after those it takes tensors or masks from."""
    ready = {ref.place[:2] for ref in flatten(graph.inputs)}
    left, found = list(nodes), list[Node]()
    while left:
        for node in left:
            if all(ref.place[:2] in ready for ref in refs_of(node)):
                break
        else:
            return None
        left.remove(node)
        found.append(node)
        ready.add((node.layer, node.index))
    return tuple(found)


def _of_another_despite_states(model: _Model) -> Iterator[Mutant]:
    """Yield mutants in which a layer called with initial_state uses another's mask.

    Keras gives it none, because the states are a second tensor argument;
    `given_states` has the mask of its own input.
    """
    makers = sorted(model.flow.makers)
    for call in model.flow.calls if len(makers) <= MOST_MAKERS else ():
        kind = REGISTRY[call.layer.class_name]
        given = kind.by_name(call.node.args, call.node.kwargs)
        if "initial_state" not in given or "mask" in given:
            continue
        for other in makers:
            source = _call_of(model, other)
            same = source.model == call.model and _steps_of(source) == _steps_of(call)
            if call.incoming[0] == frozenset({other}) or not same:
                continue
            exchange = _mask_from(model, None, other)
            spec = model.with_masks(call.model, [(call, exchange)])
            if spec is not None:
                yield model.mutant(
                    f"mask of {_in_words(model, other)}",
                    call.path,
                    f"it uses the mask of {_in_words(model, other)}; Keras gives it "
                    "none, because it is called with initial_state",
                    "compute every step of it",
                    spec,
                )


def _lost(model: _Model) -> Iterator[Mutant]:
    """Yield mutants in which a layer does not pass its mask on."""
    for call in model.flow.calls:
        if any(call.outgoing) and any(call.incoming) and call.layer.graph is None:
            later = REGISTRY[call.layer.class_name].masks_may_end
            until = " up to 3.15; 3.16 does not (--keras 3.16)" if later else ""
            yield model.mutant(
                "mask lost",
                call.path,
                "the mask ends here: later layers compute the padding like any other "
                f"step; Keras passes the mask on{until}",
                "pass the mask on to the layers after it",
                model.changed(call.path, _with_pass(_Lost())),
            )


def _joined(model: _Model) -> Iterator[Mutant]:
    """Yield mutants in which masks of several inputs are joined in another way."""
    for call in model.flow.calls:
        several = len({makers for makers in call.incoming if makers}) > 1
        if not several or not any(call.outgoing) or len(call.outgoing) != 1:
            continue
        if "Attention" in call.layer.class_name:
            continue
        yield model.mutant(
            "masks joined by and",
            call.path,
            "a step is masked after it if it is masked in any input; in Keras it must "
            "be masked in all",
            "mask a step if it is masked in every input",
            model.changed(call.path, _with_pass(_Both())),
        )
        yield model.mutant(
            "mask of the first input alone",
            call.path,
            "it passes on the mask of its first input; in Keras a step is masked if it "
            "is masked in all inputs",
            "mask a step if it is masked in every input",
            model.changed(call.path, _with_pass(_Kept(0))),
        )


_KINDS: tuple[Callable[[_Model], Iterator[Mutant]], ...] = (
    *(
        _not_made,
        _ignored_in_one,
        _kept,
        _of_another,
        _of_another_despite_states,
        _lost,
        _joined,
    ),
)

MODEL_OPERATORS: tuple[ModelOperator, ...] = (masks_ignored, masks_one_by_one)
