"""Write the layers of categories, and ReversibleEmbedding and SpectralNormalization.

Each function writes the ``call`` of the layer type of the same name in
`verify.forward.layers`, which says what is computed and where Keras does so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import Tensor, exact_constants
from verify.model.backends import Rule
from verify.model.dtypes import POLICIES, dtype_of, is_float, working
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx.layers import _quantized, embedding
from verify.ports.convert.to_onnx.run import Emit, Writing
from verify.ports.convert.to_onnx.values import Value


def encoded(
    ids: Value, mode: str, depth: int, dtype: str, weights: Value | None = None
) -> Value:
    """Write `verify.forward.layers.categories.encoded`."""
    if mode == "one_hot" and ids.ndim > 1 and ids.shape[-1] == 1:
        ids = ids.squeeze(-1)
    hot = ids.cast(np.int64).expand(-1).equals(np.arange(depth)).cast(dtype_of(dtype))
    if mode == "one_hot":
        return hot
    if mode == "multi_hot":
        return hot.reduce("ReduceMax", [1])
    if weights is not None:
        hot = hot * weights.cast(hot.dtype).expand(-1)
    return hot.reduce("ReduceSum", [1])


def discretization(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write Discretization, which counts the boundaries that a number reaches."""
    edges = np.asarray(layer.options["bin_boundaries"], dtype=np.float64)
    if not exact_constants(layer):
        edges = edges.astype(np.float32)
    exact = Rule.EXACT_BOUNDARIES in layer.rules or not is_float(inputs)  # type: ignore[arg-type]
    x = inputs.cast(np.float64) if exact else inputs
    reached = x.expand(-1) >= run.graph.constant(edges.astype(x.dtype), "boundaries")
    bins = reached.cast(np.int32).reduce("ReduceSum", [-1])
    mode = layer.options["output_mode"]
    if mode == "int":
        return bins
    return encoded(bins, mode, len(edges) + 1, POLICIES[layer.policy].compute)


def category_encoding(
    run: Writing, layer: LayerSpec, inputs: Value, count_weights: Value | None = None
) -> Value:
    """Write CategoryEncoding."""
    depth, mode = layer.options["num_tokens"], layer.options["output_mode"]
    return encoded(inputs, mode, depth, POLICIES[layer.policy].variable, count_weights)


def reversible_embedding(
    run: Writing, layer: LayerSpec, inputs: Value, reverse: bool = False
) -> Any:
    """Write ReversibleEmbedding: a look-up, or a product with the table."""
    if not reverse:
        found = embedding(run, layer, inputs)
        masked = layer.options["mask_zero"]
        return Tensor(found, ~inputs.equals(0)) if masked else found  # type: ignore[arg-type]
    y = _logits(run, layer, inputs)
    cap = layer.options["logit_soft_cap"]
    return y if cap is None else (y / cap).unary("Tanh") * cap


def _logits(run: Writing, layer: LayerSpec, x: Value) -> Value:
    options, weights = layer.options, layer.weights
    tied = options["tie_weights"]
    table = weights["embeddings"].T if tied else weights["reverse_embeddings"]
    if options["quantization_mode"]:
        name = "embeddings_scale" if tied else "reverse_embeddings_scale"
        scales = run.graph.constant(weights[name], name)
        compute = POLICIES[layer.policy].compute
        q, scale = _quantized(x.cast(scales.dtype), (-1,), compute)
        product = q.cast(np.float64) @ run.graph.constant(table.astype(np.float64))
        return product.cast(q.dtype).rounded(compute) / (scales * scale).rounded(
            compute
        )
    to = options["reverse_dtype"]
    kernel = run.graph.constant(np.ascontiguousarray(table), "reverse_embeddings")
    if to is not None:
        x, kernel = x.rounded(to), kernel.rounded(to)
    return x.cast(kernel.dtype) @ kernel


def spectral_normalization(
    run: Writing, layer: LayerSpec, inputs: Tensor | Value
) -> Any:
    """Write the inner layer; its output has the dtype of the input."""
    # TimeDistributed calls it on a value, which has no mask
    tensor = inputs if isinstance(inputs, Tensor) else Tensor(inputs)  # type: ignore[arg-type]
    x: Value = tensor.value  # type: ignore[assignment]
    compute = POLICIES[layer.policy].compute
    if is_float(x):  # type: ignore[arg-type]
        x = x.rounded(compute)
    to = dtype_of(compute) if is_float(x) else x.dtype  # type: ignore[arg-type]
    y = run(layer.sublayers["layer"], Tensor(x, tensor.mask), at="layer")  # type: ignore[arg-type]
    stays = y.value.dtype == to and Rule.CAST_ENDS_MASK not in layer.rules
    return y if stays else Tensor(y.value.cast(to))


def integer_lookup(run: Writing, layer: LayerSpec, inputs: Value) -> Value:
    """Write IntegerLookup: each number is compared with the whole vocabulary."""
    options, kind = layer.options, REGISTRY["IntegerLookup"]
    if options["invert"] or not options["num_oov_indices"]:
        what = "invert=True" if options["invert"] else "num_oov_indices=0"
        raise UnsupportedError(f"{layer}: {what} is not written as ONNX")
    if options["num_oov_indices"] > 1 and options["oov_method"] == "farmhash":
        raise UnsupportedError(f"{layer}: {NO_HASH}")
    graph, x = run.graph, inputs.cast(np.int64)
    special, count = kind.special(options)  # type: ignore[attr-defined]
    first = len(special) - count
    same = x.expand(-1).equals(np.asarray(options["vocabulary"], dtype=np.int64))
    numbers = np.arange(len(options["vocabulary"])) + len(special)
    found = (same.cast(np.int64) * numbers).reduce("ReduceSum", [-1])
    other = x - (x.cast(np.float64) / count).unary("Floor").cast(np.int64) * count
    ids = graph.where(same.any([-1]), found, other + first)
    mode, depth = options["output_mode"], kind.depth(layer)  # type: ignore[attr-defined]
    if options["mask_token"] is not None:
        zero = np.asarray(0 if mode == "int" else depth, dtype=np.int64)
        ids = graph.where(x.equals(options["mask_token"]), zero, ids)
    if mode == "int":
        return ids
    y = encoded(ids, "count" if mode == "tf_idf" else mode, depth, "int64")
    if mode != "tf_idf":
        return y
    weights = np.zeros(depth, dtype=working(run.floatx))
    weights[: len(options["idf_weights"])] = options["idf_weights"]
    return y.cast(weights.dtype) * weights


NO_HASH = "ONNX has no such hash; compute ids before the model, and convert the rest"
NO_TEXTS = (
    "texts are not written as ONNX; compute the ids before the model, and convert "
    "the rest"
)


def refused(reason: str) -> Emit:
    """Return a function that refuses a layer, and says what to do."""

    def emit(run: Writing, layer: LayerSpec, inputs: Any, **others: Any) -> Any:
        raise UnsupportedError(f"{layer}: {reason}")

    return emit


EMITTERS: Mapping[str, Emit] = {
    "Discretization": discretization,
    "CategoryEncoding": category_encoding,
    "ReversibleEmbedding": reversible_embedding,
    "IntegerLookup": integer_lookup,
    "StringLookup": refused(NO_TEXTS),
    "TextVectorization": refused(NO_TEXTS),
    "Hashing": refused(NO_HASH),
    "HashedCrossing": refused(NO_HASH),
    "SpectralNormalization": spectral_normalization,
}
"""Class of a layer -> the function that writes it."""
