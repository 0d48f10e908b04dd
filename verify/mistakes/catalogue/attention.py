"""Attention computed otherwise: masks, scales, the axis of the softmax, projections."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from verify.forward.layers.attention import weighed
from verify.mistakes.catalogue.graphs import (
    Arguments,
    GraphCall,
    graph_calls,
    tensors,
)
from verify.mistakes.catalogue.mistake import (
    Change,
    Mistake,
    ModelOperator,
    Mutant,
    MutationOperator,
    Need,
    on_outputs,
    on_weights,
)
from verify.model.arrays import Array
from verify.model.graph import Node, refs_of
from verify.model.spec import LayerSpec, ModelSpec

ATTENTION = ("Attention", "AdditiveAttention", "MultiHeadAttention")
MASKED = frozenset({Need.MASKED_STEPS})

Weigh = Callable[..., Array]
"""`verify.forward.layers.attention.weighed`, or a function in its place."""


def _weighing(change: Callable[..., Array]) -> Change:
    """Return a change of how attention gets its weights from the scores.

    Parameters
    ----------
    change : callable
        How they are got without this mistake, the layer, the scores, and the other
        arguments of `weighed` -> the weights.
    """

    def changed(layer: LayerSpec) -> LayerSpec:
        before = layer.overrides.get("weigh", weighed)
        return layer.with_overrides(weigh=partial(change, before, layer))

    return changed


def _masked_after(
    weigh: Weigh, layer: LayerSpec, scores: Array, allowed: Array | None, *rest: Any
) -> Array:
    weights = weigh(scores, None, *rest)
    if allowed is None:
        return weights
    return np.where(allowed, weights, weights.dtype.type(0))


def _masked_with_zeros(
    weigh: Weigh,
    layer: LayerSpec,
    scores: Array,
    allowed: Array | None,
    keys: tuple[int, ...],
    lowered: Any,
    zeroed: bool = False,
) -> Array:
    return weigh(scores, allowed, keys, np.zeros_like)


def _inverted(
    weigh: Weigh, layer: LayerSpec, scores: Array, allowed: Array | None, *rest: Any
) -> Array:
    return weigh(scores, None if allowed is None else ~allowed, *rest)


def _over_queries(
    weigh: Weigh,
    layer: LayerSpec,
    scores: Array,
    allowed: Array | None,
    keys: tuple[int, ...],
    *rest: Any,
) -> Array:
    return weigh(scores, allowed, tuple(k - len(keys) for k in keys), *rest)


def _times(
    weigh: Weigh, layer: LayerSpec, scores: Array, *rest: Any, factor: float
) -> Array:
    return weigh(scores * scores.dtype.type(factor), *rest)


def wrong_masks(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield masks of attention that are misplaced or inverted; `masks` ignores them."""
    if layer.class_name not in ATTENTION:
        return
    before = "lower the scores of masked keys so far that the softmax gives them 0"
    yield Mistake(
        "mask after the softmax",
        "the mask is applied after the softmax, so the weights of a row no longer add "
        "up to 1",
        before,
        _weighing(_masked_after),
        common=True,
        needs=MASKED,
    )
    yield Mistake(
        "masked scores set to 0",
        "the scores of masked keys are set to 0 before the softmax, which still gives "
        "them weights",
        before,
        _weighing(_masked_with_zeros),
        needs=MASKED,
    )
    yield Mistake(
        "attention mask inverted",
        "the keys that count are masked and the padding is attended to; in Keras true "
        "means attend, in PyTorch's key_padding_mask it means skip",
        "attend where the mask is true",
        _weighing(_inverted),
        common=True,
        needs=MASKED,
    )


def wrong_scores(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield scores scaled otherwise, or a softmax over the other axis."""
    if layer.class_name not in ATTENTION:
        return
    yield Mistake(
        "attention softmax over the queries",
        "the softmax of the scores runs over the queries",
        "the weights of each query add up to 1: softmax over the keys, the last axis",
        _weighing(_over_queries),
        common=True,
    )
    if layer.class_name == "MultiHeadAttention":
        yield from _scales_of_heads(layer)
        return
    if "scale" in layer.weights:
        yield Mistake(
            "scale missing",
            "the weight 'scale' is left out of the scores",
            "multiply by scale",
            on_weights("scale", change=lambda _, scale: np.ones_like(scale)),
            common=True,
        )
    width = _width(layer)
    if layer.options.get("score_mode") == "dot" and width is not None and width > 1:
        yield Mistake(
            "scores divided by the root of the width",
            f"the scores are divided by sqrt({width}), the width of query and key; "
            "Keras's Attention does not",
            "scores = query @ key^T, not scaled unless use_scale is set",
            _weighing(partial(_times, factor=1 / math.sqrt(width))),
            common=True,
        )


def _width(layer: LayerSpec) -> int | None:
    """Return the width of the query of Attention, if its shape is known."""
    shapes = layer.input_shape
    return shapes[0][-1] if isinstance(shapes, list) else None


def _scales_of_heads(layer: LayerSpec) -> Iterator[Mistake]:
    size, heads = layer.options["key_dim"], layer.options["num_heads"]
    right = f"divide the scores by sqrt(key_dim), {math.sqrt(size):.4g}"
    if size > 1:
        yield Mistake(
            "scores not scaled",
            "the scores are not divided by the root of key_dim",
            right,
            _weighing(partial(_times, factor=math.sqrt(size))),
            common=True,
        )
    if heads > 1:
        yield Mistake(
            "scores scaled by the width of all heads",
            f"the scores are divided by sqrt({heads * size}), the width of all heads; "
            f"each has {size}",
            right,
            _weighing(partial(_times, factor=1 / math.sqrt(heads))),
            common=True,
        )


PROJECTIONS = ("query", "key", "value")


def wrong_projections(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield projections of MultiHeadAttention exchanged, or their heads misread."""
    if layer.class_name != "MultiHeadAttention":
        return
    for one, other in (("query", "key"), ("key", "value"), ("query", "value")):
        if _alike(layer, one, other):
            yield Mistake(
                f"weights of {one} and {other} exchanged",
                f"the projections of {one} and {other} have each other's weights",
                "get_weights() has query, key, value, output in this order",
                partial(_exchanged, one=one, other=other),
                common=True,
            )
    if layer.options["num_heads"] > 1 and layer.options["key_dim"] > 1:
        split = [k for k in layer.weights if k.split("_")[0] in PROJECTIONS]
        yield Mistake(
            "heads interleaved",
            "the columns of query, key and value are dealt to the heads in turn; Keras "
            "stores those of each head side by side",
            "read the kernels as (features, num_heads, key_dim), last axis fastest",
            on_weights(*split, change=_dealt),
        )
    if layer.options["use_bias"]:
        for name, keys in (
            ("biases of query, key and value", PROJECTIONS),
            ("bias of the output", ("output",)),
        ):
            yield Mistake(
                f"{name} missing",
                f"the {name} {'are' if len(keys) > 1 else 'is'} left out",
                "add the bias of each projection",
                on_weights(
                    *(f"{key}_bias" for key in keys),
                    change=lambda _, b: np.zeros_like(b),
                ),
                common=True,
                needs=frozenset({Need.BIAS}),
            )


def _alike(layer: LayerSpec, one: str, other: str) -> bool:
    return all(
        layer.weights[key].shape == layer.weights[key.replace(one, other, 1)].shape
        for key in layer.weights
        if key.startswith(f"{one}_")
    )


def _exchanged(layer: LayerSpec, one: str, other: str) -> LayerSpec:
    places = {one: other, other: one}
    return layer.with_weights(
        **{
            f"{places[name]}_{rest}": value
            for name, _, rest, value in (
                (*key.partition("_"), value) for key, value in layer.weights.items()
            )
            if name in places
        }
    )


def _dealt(_: LayerSpec, value: Array) -> Array:
    *before, heads, size = value.shape
    return np.swapaxes(value.reshape(*before, size, heads), -2, -1)


def wrong_arguments(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield attention called on its tensors in another order, or without a mask."""
    for call in graph_calls(spec, *ATTENTION):
        names = ("query", "value", "key")
        listed = call.arguments.get("inputs")
        if isinstance(listed, (list, tuple)):
            given = dict(zip(names, listed, strict=False))
        else:
            given = {k: call.arguments[k] for k in names if k in call.arguments}
        yield from _orders(call, given)
        if call.arguments.get("use_causal_mask"):
            yield Mutant(
                "causal mask missing",
                call.path,
                "every query sees later keys; the model calls it with use_causal_mask",
                "mask the keys that are later than the query",
                call.with_arguments(partial(_without, key="use_causal_mask")),
                common=True,
                needs=frozenset({Need.SEVERAL_STEPS}),
            )


def _orders(call: GraphCall, given: dict[str, Any]) -> Iterator[Mutant]:
    """Yield query, value and key in each other's places, where shapes allow it."""
    for one, other in (("query", "value"), ("value", "key"), ("query", "key")):
        if one not in given or other not in given:
            continue
        if given[one] == given[other] or not call.alike(given[one], given[other]):
            continue
        yield Mutant(
            f"{one} and {other} exchanged",
            call.path,
            f"{one} and {other} are given in each other's place",
            "Keras's attention takes query, value, key, in this order",
            call.with_arguments(
                partial(_moved, given=given, places={one: other, other: one})
            ),
            common=True,
        )


def _without(arguments: Arguments, key: str) -> Arguments:
    return {k: v for k, v in arguments.items() if k != key}


def _moved(
    arguments: Arguments, given: dict[str, Any], places: dict[str, str]
) -> Arguments:
    moved = {name: given[places.get(name, name)] for name in given}
    if "inputs" in arguments:
        return {**arguments, "inputs": list(moved.values())}
    return {**arguments, **moved}


def _tiled_heads(x: Array, count: int) -> Array:
    return np.tile(x, (1, 1, count, 1))


def wrong_groups(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield heads of the query that meet the keys and values of another group."""
    options = layer.options
    if layer.class_name != "GroupQueryAttention":
        return
    if 1 < options["num_key_value_heads"] < options["num_query_heads"]:
        yield Mistake(
            "heads grouped in turn",
            "the heads of keys and values are repeated one after the other, 0 1 0 1, "
            "as torch's repeat and np.tile do, so that query heads meet wrong ones",
            "repeat each head beside itself, 0 0 1 1, as repeat_interleave does",
            lambda layer: layer.with_overrides(group=_tiled_heads),
        )


def scores_scaled(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield scores that are divided by a root where the model has none.

    They are products of two tensors that go straight into a softmax.
    """
    for call in graph_calls(spec, "Dot", "ops.Matmul"):
        both = tensors(call.arguments)
        shape = call.shape(both[0]) if len(both) == 2 else None
        place = (call.node.layer, call.node.index, 0)
        takers = [n for n in call.graph.nodes if place in {r.place for r in refs_of(n)}]
        if shape is None or not takers or any(not _is_softmax(call, n) for n in takers):
            continue
        axes = call.layer.options.get("axes", -1)
        axis = axes[0] if isinstance(axes, (list, tuple)) else axes
        width = shape[axis]
        if width is None or width < 2:
            continue
        scaled = on_outputs(partial(np.multiply, 1 / math.sqrt(width)))
        yield Mutant(
            "scores divided by the root of the width",
            call.path,
            f"the scores are divided by sqrt({width}); the model gives them to the "
            "softmax as they are",
            "do not scale the product",
            spec.with_layer(scaled(call.layer), call.path),
            common=True,
        )


def _is_softmax(call: GraphCall, node: Node) -> bool:
    layer = call.model.sublayers[node.layer]
    if layer.class_name == "Activation":
        return bool(layer.options["activation"] == "softmax")
    return layer.class_name in ("Softmax", "ops.Softmax")


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (
    wrong_groups,
    wrong_masks,
    wrong_scores,
    wrong_projections,
)
MODEL_OPERATORS: tuple[ModelOperator, ...] = (wrong_arguments, scores_scaled)
