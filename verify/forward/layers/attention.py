"""Evaluate the layers of attention, with their masks.

They treat masked keys differently. Attention subtracts a large number from the score of
a masked key; if all keys are masked, rounding then leaves nothing of the scores.
MultiHeadAttention and GroupQueryAttention replace the score, by one of two rules; see
`MultiHeadAttention`.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from verify.errors import DataError, UnsupportedError
from verify.forward.activations import constant, sigmoid, softmax
from verify.forward.layers.base import (
    LayerType,
    Option,
    Run,
    Tensor,
    Unexpected,
    boolean,
    exact_constants,
    integers,
    number,
    one_of,
    optional,
    positive,
    weight_settings,
)
from verify.forward.recordable import as_array
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, rounded
from verify.model.spec import LayerSpec
from verify.model.versions import VersionRule

LOWEST_FUSED_SCORE = 3.38953e38 * -0.7
"""The score of a masked key on the fused path of MultiHeadAttention.
Source: keras/src/backend/tensorflow/nn.py, ``_get_large_negative``."""


class Attention(LayerType):
    """Compute ``y = softmax(scores) @ value`` with ``scores = query @ key^T``.

    With ``score_mode="concat"``,
    ``scores = concat_score_weight * sum(tanh(query + key))``. From the score of a key
    that is masked, or later than a causal query, 1e9 is subtracted (65504 in float16).
    A masked query outputs zeros. `VersionRule.MASKED_ROW_ATTENDS_TO_NOTHING` says what
    later versions do instead.

    Source: keras/src/layers/attention/attention.py.
    """

    class_name = "Attention"
    options: ClassVar[Mapping[str, Option]] = {
        "use_scale": Option(boolean, False),
        "score_mode": Option(one_of("dot", "concat"), "dot"),
    }
    inert = frozenset({"dropout", "seed"})
    arguments = ("inputs", "mask", "return_attention_scores", "use_causal_mask")
    supports_masking = True
    shown_by_weights = frozenset({"use_scale"})

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        scale: dict[str, tuple[int | None, ...]] = {"scale": ()}
        weight: dict[str, tuple[int | None, ...]] = {"concat_score_weight": ()}
        return (scale if options["use_scale"] else {}) | (
            weight if options["score_mode"] == "concat" else {}
        )

    def scores_note(self, layer: LayerSpec) -> str:
        """Return the equation of the scores with the options of the layer."""
        scaled = layer.options["use_scale"]
        if layer.options["score_mode"] == "dot":
            return f"query @ key^T{' * scale' if scaled else ''}"
        inner = "scale * (query + key)" if scaled else "query + key"
        return f"concat_score_weight * sum(tanh({inner}))"

    def notes(self, layer: LayerSpec) -> list[str]:
        return [
            f"y = softmax(scores) @ value; scores = {self.scores_note(layer)}",
            _mask_note(layer),
        ]

    def scores(self, layer: LayerSpec, query: Array, key: Array) -> Array:
        """Return the scores before mask and softmax: (batch, queries, keys)."""
        scale = layer.weights.get("scale")
        if layer.options["score_mode"] == "dot":
            scores = query @ np.swapaxes(key, -2, -1)
            return scores if scale is None else scores * scale
        sums = query[..., :, None, :] + key[..., None, :, :]
        if scale is not None:
            sums = scale * sums
        weight = layer.weights["concat_score_weight"]
        return as_array(weight * np.tanh(sums).sum(axis=-1))

    def call(
        self,
        run: Run,
        layer: LayerSpec,
        inputs: Any,
        mask: Any = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        query, value, *rest = _listed(inputs)
        query_mask, value_mask, *_ = (None, None) if mask is None else _listed(mask)
        scores = self.scores(layer, query, rest[0] if rest else value)
        allowed = None if value_mask is None else value_mask.astype(bool)[..., None, :]
        if use_causal_mask:
            allowed = _both(allowed, _causal(scores.shape[-2], scores.shape[-1]))
        compute = POLICIES[layer.policy].compute
        least = 65504.0 if compute == "float16" else 1e9
        weigh = layer.overrides.get("weigh", weighed)
        if VersionRule.MASKED_ROW_ATTENDS_TO_NOTHING in layer.version_rules:
            weights = weigh(
                scores, allowed, (-1,), lambda s: np.full_like(s, -least), True
            )
        else:
            weights = weigh(
                scores, allowed, (-1,), lambda s: rounded(s - least, compute)
            )
        output = weights @ value
        if query_mask is not None:
            output = np.where(
                query_mask.astype(bool)[..., None], output, output.dtype.type(0)
            )
        return (output, weights) if return_attention_scores else output

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        return None if mask is None else mask[0]


class AdditiveAttention(Attention):
    """Compute attention with ``scores = sum(scale * tanh(query + key))``.

    The rest is as in `Attention`: ``y = softmax(scores) @ value``.

    Source: keras/src/layers/attention/additive_attention.py.
    """

    class_name = "AdditiveAttention"
    options: ClassVar[Mapping[str, Option]] = {"use_scale": Option(boolean, True)}

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        return {"scale": (None,)} if options["use_scale"] else {}

    def scores_note(self, layer: LayerSpec) -> str:
        scale = "scale * " if layer.options["use_scale"] else ""
        return f"sum({scale}tanh(query + key))"

    def scores(self, layer: LayerSpec, query: Array, key: Array) -> Array:
        sums = np.tanh(query[..., :, None, :] + key[..., None, :, :])
        scale = layer.weights.get("scale")
        return as_array((sums if scale is None else scale * sums).sum(axis=-1))


def _mask_note(layer: LayerSpec) -> str:
    """Say what masks do to an Attention in the version that it follows."""
    if VersionRule.MASKED_ROW_ATTENDS_TO_NOTHING in layer.version_rules:
        return (
            "a masked key gets no attention, so where all keys are masked y is 0; a "
            "masked query gives zeros"
        )
    return (
        "a masked key has 1e9 subtracted from its score, so where all keys are masked "
        "float32 keeps nothing of the scores and y is the mean of value; a masked "
        "query gives zeros"
    )


def weighed(
    scores: Array,
    allowed: Array | None,
    keys: tuple[int, ...],
    lowered: Callable[[Array], Array],
    zeroed: bool = False,
) -> Array:
    """Return the weights of attention: the softmax of the scores over the keys.

    Parameters
    ----------
    scores : (batch, ..., queries, keys)
    allowed : array of bool, or None
        False where a query may not attend to a key; it broadcasts to the scores.
    keys : tuple of int
        The axes of the keys, counted from the end. As many axes before them are those
        of the queries.
    lowered : callable
        The scores -> what stands in their place where `allowed` is false.
    zeroed : bool
        Whether the weights are set to 0 there as well.
    """
    if allowed is not None:
        scores = np.where(allowed, scores, lowered(scores))
    weights = softmax(scores, axis=keys)
    if zeroed and allowed is not None:
        weights = np.where(allowed, weights, weights.dtype.type(0))
    return weights


def _listed(items: Any) -> list[Any]:
    if not isinstance(items, list) or len(items) not in (2, 3):
        raise DataError(
            "expected attention to be called on a list [query, value] or "
            "[query, value, key], and with a mask for each"
        )
    return items


def _causal(queries: int, keys: int) -> Array:
    """Return a mask (queries, keys) in which no query sees a later key."""
    return np.tri(queries, keys, dtype=bool)


def _both(a: Array | None, b: Array | None) -> Array | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b


def _output_shape(value: Any) -> tuple[int, ...] | None:
    """Read an output shape; like Keras, take an empty one and 0 for none."""
    if not value:
        return None
    sizes = integers(value)
    if min(sizes) < 1:
        raise Unexpected("sizes of 1 or more")
    return sizes


def _probability(value: Any) -> float:
    rate = number(value)
    if not 0 <= rate <= 1:
        raise Unexpected("a number from 0 to 1")
    return rate


class ManyHeads(LayerType):
    """Compute attention by heads, from projections; the base of both that do.

    TensorFlow holds ``1 / sqrt(size)`` in float32, even in a float64 layer.

    Keras has two code paths, which differ for a query whose keys are all masked. The
    fused path runs if the inputs have three axes, ``dropout`` is 0 and the scores are
    not returned; the query then attends to all keys alike. On the other path its
    scores are zeros, so it attends to no key.

    Attributes
    ----------
    size_option : str
        The option that says how many numbers a head of a query or key has.
    """

    size_option: ClassVar[str]
    inert = weight_settings("kernel", "bias") | {"seed"}
    arguments = (
        *("query", "value", "key", "query_mask", "value_mask", "key_mask"),
        *("attention_mask", "return_attention_scores", "use_causal_mask"),
    )
    supports_masking = True
    weight_groups = (
        "query_dense",
        "key_dense",
        "_gate_dense",
        "value_dense",
        "output_dense",
    )

    def axes(self, options: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Return the axes that are attended to; None for all but rows and features."""
        return (1,)

    def share(self, options: Mapping[str, Any]) -> int:
        """Return how many heads of the query meet the same key and value."""
        return 1

    def met(self, layer: LayerSpec, heads: Array) -> Array:
        """Return keys or values, (batch, steps, heads, size), for each query head."""
        return heads

    def call(
        self,
        run: Run,
        layer: LayerSpec,
        query: Array,
        value: Array,
        key: Array | None = None,
        query_mask: Array | None = None,
        value_mask: Array | None = None,
        key_mask: Array | None = None,
        attention_mask: Array | None = None,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        options = layer.options
        allowed = _allowed(
            (query.shape[1], value.shape[1]),
            (query_mask, value_mask, key_mask),
            attention_mask,
            causal=use_causal_mask,
            window=options["sliding_window"],
        )
        factor = constant(
            1 / math.sqrt(options[self.size_option]), exact_constants(layer)
        )
        q = factor * _projected(layer, "query", query)
        k = self.met(layer, _projected(layer, "key", value if key is None else key))
        v = self.met(layer, _projected(layer, "value", value))
        fused = not (return_attention_scores or options["dropout"]) and q.ndim == 4
        axes = self.axes(options)
        weigh = layer.overrides.get("weigh", weighed)
        heads, scores, allowed = _attend(axes, q, k, v, allowed, fused, weigh)
        if options["use_gate"]:
            heads = heads * sigmoid(_projected(layer, "gate", query))
        output = np.tensordot(heads, layer.weights["output_kernel"], 2)
        if options["use_bias"]:
            output = output + layer.weights["output_bias"]
        if not return_attention_scores:
            return output
        # Keras computes the scores by a Softmax layer, which passes its mask on
        return output, Tensor(scores, allowed)


class MultiHeadAttention(ManyHeads):
    """Compute attention with several heads, each with projections of its own.

    ::

        q = query @ query_kernel + query_bias, for each head; k and v likewise
        heads = softmax(q @ k^T / sqrt(key_dim)) @ v
        heads = heads * sigmoid(query @ gate_kernel + gate_bias)      with use_gate
        y = heads @ output_kernel + output_bias

    Keras removes the masks of query, value and key from the tensors themselves, and
    takes the mask of the query from the tensor even if the caller gives one.

    Source: keras/src/layers/attention/multi_head_attention.py.
    """

    class_name = "MultiHeadAttention"
    options: ClassVar[Mapping[str, Option]] = {
        "num_heads": Option(positive),
        "key_dim": Option(positive),
        "value_dim": Option(optional(positive), None),
        "dropout": Option(_probability, 0.0),
        "use_bias": Option(boolean, True),
        "use_gate": Option(boolean, False),
        "output_shape": Option(_output_shape, None),
        "attention_axes": Option(optional(integers), None),
        "sliding_window": Option(optional(positive), None),
        "flash_attention": Option(one_of(None, False), None, supported="None, False"),
    }
    size_option = "key_dim"
    strips_masks = ("query", "value", "key")
    masks_from_tensor = frozenset({"query_mask"})
    shown_by_weights = frozenset(
        {"num_heads", "value_dim", "use_bias", "use_gate", "output_shape"}
    )

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        heads, key_dim = options["num_heads"], options["key_dim"]
        value_dim = options["value_dim"] or key_dim
        outputs: tuple[int | None, ...] = options["output_shape"] or (None,)
        sizes = {
            "query": key_dim,
            "key": key_dim,
            "gate": value_dim,
            "value": value_dim,
        }
        shapes: dict[str, tuple[int | None, ...]] = {}
        for name, size in sizes.items():
            if name != "gate" or options["use_gate"]:
                shapes[f"{name}_kernel"] = (None, heads, size)
                shapes[f"{name}_bias"] = (heads, size)
        shapes["output_kernel"] = (heads, value_dim, *outputs)
        shapes["output_bias"] = outputs
        return {k: v for k, v in shapes.items() if options["use_bias"] or "kernel" in k}

    def notes(self, layer: LayerSpec) -> list[str]:
        options = layer.options
        bias = " + bias" if options["use_bias"] else ""
        lines = [
            f"q, k, v = x @ kernel{bias}, for {options['num_heads']} heads; heads = "
            f"softmax(q @ k^T / sqrt({options['key_dim']})) @ v",
            f"y = heads @ output_kernel{bias.replace('bias', 'output_bias')}",
        ]
        if options["use_gate"]:
            lines.insert(
                1, f"heads are multiplied by sigmoid(query @ gate_kernel{bias})"
            )
        if options["sliding_window"]:
            lines.append(
                f"keys {options['sliding_window']} or more steps away are masked"
            )
        if options["dropout"]:
            lines.append("dropout is not 0, so a query without keys attends to none")
        return [*lines, "the masks of query, value and key are gone after it"]

    def axes(self, options: Mapping[str, Any]) -> tuple[int, ...] | None:
        axes: tuple[int, ...] | None = options["attention_axes"]
        return axes


class GroupQueryAttention(ManyHeads):
    """Compute attention in which several heads of the query share a key and a value.

    ::

        q = query @ query_kernel + query_bias, for num_query_heads heads
        k, v likewise, for num_key_value_heads heads
        head n of q meets head n // (num_query_heads / num_key_value_heads) of k and v
        y = heads @ output_kernel + output_bias

    The rest is as in `MultiHeadAttention`. Masks stay with their tensors here. The
    Python class is called GroupedQueryAttention.

    Source: keras/src/layers/attention/grouped_query_attention.py.
    """

    class_name = "GroupQueryAttention"
    python_name = "GroupedQueryAttention"
    options: ClassVar[Mapping[str, Option]] = {
        "head_dim": Option(positive),
        "num_query_heads": Option(positive),
        "num_key_value_heads": Option(positive),
        "dropout": Option(_probability, 0.0),
        "use_bias": Option(boolean, True),
        "use_gate": Option(boolean, False),
        "sliding_window": Option(optional(positive), None),
        "flash_attention": Option(one_of(None, False), None, supported="None, False"),
    }
    size_option = "head_dim"
    shown_by_weights = frozenset(
        {"num_query_heads", "num_key_value_heads", "use_bias", "use_gate"}
    )

    def check(self, where: str, layer: LayerSpec) -> None:
        queries, shared = (
            layer.options[key] for key in ("num_query_heads", "num_key_value_heads")
        )
        if queries % shared:
            raise UnsupportedError(
                f"{where}: expected num_query_heads to be a multiple of "
                f"num_key_value_heads. Received: {queries} and {shared}"
            )

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        size = options["head_dim"]
        queries, shared = options["num_query_heads"], options["num_key_value_heads"]
        heads = {"query": queries, "key": shared, "gate": queries, "value": shared}
        shapes: dict[str, tuple[int | None, ...]] = {}
        for name, count in heads.items():
            if name != "gate" or options["use_gate"]:
                shapes[f"{name}_kernel"] = (None, count, size)
                shapes[f"{name}_bias"] = (count, size)
        shapes["output_kernel"] = (queries, size, None)
        shapes["output_bias"] = (None,)
        return {k: v for k, v in shapes.items() if options["use_bias"] or "kernel" in k}

    def notes(self, layer: LayerSpec) -> list[str]:
        options = layer.options
        queries, shared = options["num_query_heads"], options["num_key_value_heads"]
        bias = " + bias" if options["use_bias"] else ""
        lines = [
            f"q = query @ kernel{bias}, for {queries} heads; k and v likewise, for "
            f"{shared}; head n of q meets head n // {queries // shared} of k and v",
            f"heads = softmax(q @ k^T / sqrt({options['head_dim']})) @ v",
            f"y = heads @ output_kernel{bias.replace('bias', 'output_bias')}",
        ]
        if options["use_gate"]:
            lines.insert(
                2, f"heads are multiplied by sigmoid(query @ gate_kernel{bias})"
            )
        if options["sliding_window"]:
            lines.append(
                f"keys {options['sliding_window']} or more steps away are masked"
            )
        if options["dropout"]:
            lines.append("dropout is not 0, so a query without keys attends to none")
        return lines

    def share(self, options: Mapping[str, Any]) -> int:
        return int(options["num_query_heads"] // options["num_key_value_heads"])

    def met(self, layer: LayerSpec, heads: Array) -> Array:
        group = layer.overrides.get("group", repeated_heads)
        return group(heads, self.share(layer.options))


def repeated_heads(x: Array, count: int) -> Array:
    """Return each head of keys or values so many times, one beside the other."""
    return np.repeat(x, count, axis=2)  # (batch, time, heads * count, size)


def _allowed(
    steps: tuple[int, int],
    masks: tuple[Array | None, Array | None, Array | None],
    attention_mask: Array | None,
    *,
    causal: bool,
    window: int | None,
) -> Array | None:
    """Return where a query may attend to a key, or None for everywhere.

    Parameters
    ----------
    steps : tuple of int
        Queries and keys.
    masks : tuple of arrays
        Those of query, value and key, (batch, steps) each.
    attention_mask : (batch, queries, keys), optional
    causal : bool
        Whether no query sees a later key.
    window : int, optional
        How many steps away a key is not seen.
    """
    of_query, *of_keys = masks
    allowed = None if of_query is None else of_query.astype(bool)[..., None]
    for mask in of_keys:
        if mask is not None:
            allowed = _both(allowed, mask.astype(bool)[..., None, :])
    if causal:
        allowed = _both(allowed, _causal(*steps)[None])
    if window is not None:
        distance = np.abs(np.subtract.outer(*map(np.arange, steps)))
        allowed = _both(allowed, distance[None] < window)
    if attention_mask is not None:
        allowed = _both(attention_mask.astype(bool), allowed)
    return allowed


def _projected(layer: LayerSpec, name: str, x: Array) -> Array:
    """Project (..., features) to (..., heads, size)."""
    kernel = layer.weights[f"{name}_kernel"]
    y = np.tensordot(x.astype(kernel.dtype, copy=False), kernel, 1)
    bias = layer.weights.get(f"{name}_bias")
    return y if bias is None else y + bias


def _attend(
    axes: tuple[int, ...] | None,
    q: Array,
    k: Array,
    v: Array,
    allowed: Array | None,
    fused: bool,
    weigh: Callable[..., Array],
) -> tuple[Array, Array, Array | None]:
    """Compute scores and their softmax, and apply them to the values of each head.

    Parameters
    ----------
    axes : tuple of int, or None
        Axes of the inputs over which attention runs; None for all but the rows and the
        features.
    q : (batch, ..., heads, size)
    k : (batch, ..., heads, size)
    v : (batch, ..., heads, size)
    allowed : array of bool, or None
        False where a query may not attend to a key.
    fused : bool
        Whether Keras runs its fused path; see `MultiHeadAttention`.
    weigh : callable
        `weighed`, or what a mistake has in its place.

    Returns
    -------
    heads : (batch, ..., heads, size)
    scores : array
        Its axes are those of the inputs over which attention does not run, then the
        heads, then `axes` of the query, then `axes` of the key.
    allowed : array of bool, or None
        In a shape that broadcasts to that of the scores.
    """
    rank = q.ndim
    chosen = tuple(range(1, rank - 2)) if axes is None else axes
    chosen = tuple(axis if axis >= 0 else axis + rank - 1 for axis in chosen)
    along = (1,) if fused else chosen
    # letters of an einsum: lower case for the axes of the query, and upper case for
    # those axes of the key that attention runs over
    queries = string.ascii_lowercase[:rank]
    keys = "".join(s.upper() if i in along else s for i, s in enumerate(queries))
    kept = "".join(s for i, s in enumerate(queries[:-1]) if i not in along)
    pairs = kept + "".join(queries[i] for i in along)
    pairs += "".join(keys[i] for i in along)
    scores = np.einsum(f"{queries},{keys}->{pairs}", q, k, optimize=True)
    while allowed is not None and allowed.ndim < scores.ndim:
        allowed = np.expand_dims(allowed, -2 * len(chosen) - 1)
    lowest = scores.dtype.type(LOWEST_FUSED_SCORE if fused else -1e9)
    over = tuple(range(-len(along), 0))
    scores = weigh(scores, allowed, over, lambda _: lowest, not fused)
    heads = np.einsum(f"{pairs},{keys}->{queries}", scores, v, optimize=True)
    return heads, scores, allowed


KINDS: tuple[type[LayerType], ...] = (
    *(Attention, AdditiveAttention, MultiHeadAttention, GroupQueryAttention),
)
"""The layer types of this module, for the registry."""
