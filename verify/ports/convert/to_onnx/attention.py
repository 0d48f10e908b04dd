"""Write the layers of attention with their masks."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from verify.forward.activations import constant
from verify.forward.layers import REGISTRY
from verify.forward.layers.attention import LOWEST_FUSED_SCORE, ManyHeads, _listed
from verify.forward.layers.base import Tensor, exact_constants
from verify.model.dtypes import POLICIES
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx.activations import softmax
from verify.ports.convert.to_onnx.layers import einsum_shape
from verify.ports.convert.to_onnx.run import Emit, Writing
from verify.ports.convert.to_onnx.values import Value


def _causal(query: Value, key: Value) -> Value:
    """Return a mask (queries, keys) in which no query sees a later key."""
    graph = query.graph
    return graph.steps(query).expand(1) >= graph.steps(key).expand(0)


def _both(a: Value | None, b: Value | None) -> Value | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b


def attention(
    run: Writing,
    layer: LayerSpec,
    inputs: Any,
    mask: Any = None,
    return_attention_scores: bool = False,
    use_causal_mask: bool = False,
) -> Any:
    """Write Attention or AdditiveAttention."""
    graph = run.graph
    query, value, *rest = _listed(inputs)
    query_mask, value_mask, *_ = (None, None) if mask is None else _listed(mask)
    key = rest[0] if rest else value
    scores = _scores(layer, query, key)
    allowed = None if value_mask is None else value_mask.cast(bool).expand(-2)
    if use_causal_mask:
        allowed = _both(allowed, _causal(query, key))
    compute = POLICIES[layer.policy].compute
    least = 65504.0 if compute == "float16" else 1e9
    if allowed is not None:
        scores = graph.where(allowed, scores, (scores - least).rounded(compute))
    weights = softmax(scores)
    output = weights @ value
    if query_mask is not None:
        output = graph.where(query_mask.cast(bool).expand(-1), output, 0)
    return (output, weights) if return_attention_scores else output


def _scores(layer: LayerSpec, query: Value, key: Value) -> Value:
    graph = query.graph
    scale = layer.weights.get("scale")
    if layer.class_name == "AdditiveAttention":
        sums = (query.expand(-2) + key.expand(-3)).unary("Tanh")
        if scale is not None:
            sums = sums * graph.constant(scale, "scale")
        return sums.reduce("ReduceSum", [-1])
    if layer.options["score_mode"] == "dot":
        order = [*range(key.ndim - 2), key.ndim - 1, key.ndim - 2]
        scores = query @ key.transpose(order)
        return scores if scale is None else scores * scale
    sums = query.expand(-2) + key.expand(-3)
    if scale is not None:
        sums = sums * scale
    weight = layer.weights["concat_score_weight"]
    return sums.unary("Tanh").reduce("ReduceSum", [-1]) * weight


def multi_head(
    run: Writing,
    layer: LayerSpec,
    query: Value,
    value: Value,
    key: Value | None = None,
    query_mask: Value | None = None,
    value_mask: Value | None = None,
    key_mask: Value | None = None,
    attention_mask: Value | None = None,
    return_attention_scores: bool = False,
    use_causal_mask: bool = False,
) -> Any:
    """Write MultiHeadAttention or GroupQueryAttention."""
    options, graph = layer.options, run.graph
    kind = cast(ManyHeads, REGISTRY[layer.class_name])
    masks = (query_mask, value_mask, key_mask)
    window = options["sliding_window"]
    allowed = _allowed(query, value, masks, attention_mask, use_causal_mask, window)
    factor = constant(1 / math.sqrt(options[kind.size_option]), exact_constants(layer))
    q = _projected(layer, "query", query) * factor
    k = _projected(layer, "key", value if key is None else key)
    v = _projected(layer, "value", value)
    if "num_key_value_heads" in options:
        # which head of the keys each head of the query meets
        met = graph.constant(
            np.arange(options["num_query_heads"]) // kind.share(options)
        )
        k, v = k.gather(met, 2), v.gather(met, 2)
    fused = not (return_attention_scores or options["dropout"]) and q.ndim == 4
    axes = kind.axes(options)
    heads, scores, allowed = _attend(axes, q, k, v, allowed, fused)
    if options["use_gate"]:
        heads = heads * _projected(layer, "gate", query).unary("Sigmoid")
    kernel = layer.weights["output_kernel"]  # (heads, size, *outputs)
    outputs = kernel.shape[2:]
    flat = kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)
    keep = [0] * (heads.ndim - 2)
    output = heads.reshape([*keep, flat.shape[0]]) @ graph.constant(
        flat, "output_kernel"
    )
    if len(outputs) != 1:
        output = output.reshape([*keep, *outputs])
    if options["use_bias"]:
        output = output + graph.constant(layer.weights["output_bias"], "output_bias")
    if not return_attention_scores:
        return output
    return output, Tensor(scores, allowed)  # type: ignore[arg-type]


def _allowed(
    query: Value,
    value: Value,
    masks: tuple[Value | None, Value | None, Value | None],
    attention_mask: Value | None,
    causal: bool,
    window: int | None,
) -> Value | None:
    """Write `verify.forward.layers.attention._allowed`."""
    graph = query.graph
    of_query, *of_keys = masks
    allowed = None if of_query is None else of_query.cast(bool).expand(-1)
    for mask in of_keys:
        if mask is not None:
            allowed = _both(allowed, mask.cast(bool).expand(-2))
    if causal:
        allowed = _both(allowed, _causal(query, value).expand(0))
    if window is not None:
        distance = graph.steps(query).expand(1) - graph.steps(value).expand(0)
        near = distance.unary("Abs") < window
        allowed = _both(allowed, near.expand(0))
    if attention_mask is not None:
        allowed = _both(attention_mask.cast(bool), allowed)
    return allowed


def _projected(layer: LayerSpec, name: str, x: Value) -> Value:
    """Project (..., features) to (..., heads, size)."""
    kernel = layer.weights[f"{name}_kernel"]
    features, heads, size = kernel.shape
    flat = x.graph.constant(kernel.reshape(features, heads * size), f"{name}_kernel")
    y = (x.cast(kernel.dtype) @ flat).reshape([*[0] * (x.ndim - 1), heads, size])
    bias = layer.weights.get(f"{name}_bias")
    return y if bias is None else y + x.graph.constant(bias, f"{name}_bias")


def _attend(
    axes: tuple[int, ...] | None,
    q: Value,
    k: Value,
    v: Value,
    allowed: Value | None,
    fused: bool,
) -> tuple[Value, Value, Value | None]:
    """Write `verify.forward.layers.attention._attend`, with the same letters."""
    graph, rank = q.graph, q.ndim
    chosen = tuple(range(1, rank - 2)) if axes is None else axes
    chosen = tuple(axis if axis >= 0 else axis + rank - 1 for axis in chosen)
    along = (1,) if fused else chosen
    queries = string.ascii_lowercase[:rank]
    keys = "".join(s.upper() if i in along else s for i, s in enumerate(queries))
    kept = "".join(s for i, s in enumerate(queries[:-1]) if i not in along)
    pairs = kept + "".join(queries[i] for i in along)
    pairs += "".join(keys[i] for i in along)
    equation = f"{queries},{keys}->{pairs}"
    scores = graph.einsum(equation, [q, k], einsum_shape(equation, q, k))
    while allowed is not None and allowed.ndim < scores.ndim:
        allowed = allowed.expand(allowed.ndim + 1 - 2 * len(chosen) - 1)
    over = tuple(range(-len(along), 0))
    if allowed is not None:
        lowest = np.asarray(LOWEST_FUSED_SCORE if fused else -1e9, scores.dtype)
        scores = graph.where(allowed, scores, lowest)
    scores = softmax(scores, over)
    if allowed is not None and not fused:
        scores = graph.where(allowed, scores, 0)
    equation = f"{pairs},{keys}->{queries}"
    heads = graph.einsum(equation, [scores, v], einsum_shape(equation, scores, v))
    return heads, scores, allowed


EMITTERS: Mapping[str, Emit] = {
    "Attention": attention,
    "AdditiveAttention": attention,
    "MultiHeadAttention": multi_head,
    "GroupQueryAttention": multi_head,
}
