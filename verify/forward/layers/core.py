"""Evaluate the layers around a recurrent one: Embedding, Masking and others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.errors import DataError
from verify.forward.layers.base import (
    Elementwise,
    LayerType,
    Option,
    Run,
    Tensor,
    Unexpected,
    activation,
    as_float,
    boolean,
    function_of,
    number,
    one_of,
    optional,
    positive,
    weight_settings,
)
from verify.forward.layers.dense import QUANTIZED, Quantizable, quantized
from verify.forward.layers.lora import LORA, lora_notes
from verify.forward.outlines import rows_of
from verify.forward.recordable import as_array
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, is_float, rounded
from verify.model.spec import LayerSpec


class Embedding(Quantizable):
    """Look up ``y = embeddings[ids]``; with ``mask_zero``, id 0 masks its step.

    Quantised it is ``y = embeddings[ids] / embeddings_scale[ids]``.

    Ids that arrive as floats are truncated, after the mask has been made from them. A
    negative id counts from the end of the table, as on every Keras backend.

    Source: keras/src/layers/core/embedding.py.
    """

    class_name = "Embedding"
    options: ClassVar[Mapping[str, Option]] = {
        "input_dim": Option(positive),
        "output_dim": Option(positive),
        "mask_zero": Option(boolean, False),
        **QUANTIZED,
    }
    inert = weight_settings("embeddings") | {"input_length"}
    supports_masking = True

    shown_by_weights = frozenset({"input_dim", "output_dim", *LORA})

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        ids, size = options["input_dim"], options["output_dim"]
        shapes: dict[str, tuple[int | None, ...]] = {"embeddings": (ids, size)}
        if options["quantization_mode"]:
            shapes["embeddings_scale"] = (ids,)
        return shapes

    def formula(self, layer: LayerSpec) -> str:
        ids, size = layer.options["input_dim"], layer.options["output_dim"]
        return f"{ids:,} ids x {size}" + (
            f" + {ids:,}" if layer.options["quantization_mode"] else ""
        )

    def notes(self, layer: LayerSpec) -> list[str]:
        text = "mask_zero is off: id 0 is a word like any other, padding included"
        if layer.options["mask_zero"]:
            text = "mask_zero: id 0 is padding, and the output has a mask of it"
        return [text, *lora_notes(layer)]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        table = layer.weights["embeddings"]  # (input_dim, output_dim)
        ids = _whole(inputs)
        # Ids are checked before any lookup, because the fast loop clips and would hide
        # a wrong one. One comparison is enough: a negative id, taken as unsigned, is
        # greater than any table.
        if is_float(inputs) or (ids.view(np.uint64) >= len(table)).any():
            ids = _from_the_front(layer, inputs, ids)
        if not layer.options["quantization_mode"]:
            if run.passes_ids_on(layer):
                return np.asfortranarray(ids)  # the ids of a time step are contiguous
            return rows_of(table, ids)  # (batch, ..., output_dim)
        scales = layer.weights["embeddings_scale"]
        vectors = rows_of(table, ids).astype(scales.dtype)
        return vectors / rows_of(scales, ids)[..., None]

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        return inputs != 0 if layer.options["mask_zero"] else None


_FLOATS = ("float16", "bfloat16", "float32", "float64")


class ReversibleEmbedding(Embedding):
    """Look up ids as `Embedding` does, or compute logits with the same table.

    Called with ``reverse=True`` it is ``y = x @ embeddings^T``, or
    ``y = x @ reverse_embeddings`` unless ``tie_weights``; then, with a
    ``logit_soft_cap``, ``y = tanh(y / cap) * cap``. Quantised, x is quantised by row as
    in `verify.forward.layers.dense.Dense`. Logits have no mask, nor has what is looked
    up in a quantised table.

    Source: keras/src/layers/core/reversible_embedding.py.
    """

    class_name = "ReversibleEmbedding"
    options: ClassVar[Mapping[str, Option]] = {
        **Embedding.options,
        "tie_weights": Option(boolean, True),
        "reverse_dtype": Option(
            optional(one_of(*_FLOATS)), None, supported=f"None, {', '.join(_FLOATS)}"
        ),
        "logit_soft_cap": Option(optional(number), None),
    }
    arguments = ("inputs", "reverse")
    supports_masking = False
    casts_outputs = False
    shown_by_weights = Embedding.shown_by_weights | {"tie_weights"}

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        ids, size = options["input_dim"], options["output_dim"]
        shapes = dict(super().weight_shapes(options))
        if not options["tie_weights"]:
            shapes["reverse_embeddings"] = (size, ids)
            if options["quantization_mode"]:
                shapes["reverse_embeddings_scale"] = (ids,)
        return shapes

    def formula(self, layer: LayerSpec) -> str:
        return LayerType.formula(self, layer)

    def notes(self, layer: LayerSpec) -> list[str]:
        table = "embeddings^T" if layer.options["tie_weights"] else "reverse_embeddings"
        lines = [f"called with reverse=True: y = x @ {table}"]
        cap = layer.options["logit_soft_cap"]
        if cap is not None:
            lines.append(f"logits are tanh(y / {cap:g}) * {cap:g}")
        return [*super().notes(layer), *lines]

    def call(
        self, run: Run, layer: LayerSpec, inputs: Array, reverse: bool = False
    ) -> Any:
        if not reverse:
            found = rounded(
                super().call(run, layer, inputs), POLICIES[layer.policy].compute
            )
            # Keras makes the mask where it looks words up in floats
            masked = layer.options["mask_zero"]
            if not masked or layer.options["quantization_mode"]:
                return found
            return Tensor(found, inputs != 0)
        y = self._logits(layer, inputs)
        cap = layer.options["logit_soft_cap"]
        return y if cap is None else np.tanh(y / cap) * cap

    def _logits(self, layer: LayerSpec, x: Array) -> Array:
        options, weights = layer.options, layer.weights
        tied = options["tie_weights"]
        table = weights["embeddings"].T if tied else weights["reverse_embeddings"]
        if options["quantization_mode"]:
            scales = weights["embeddings_scale" if tied else "reverse_embeddings_scale"]
            compute = POLICIES[layer.policy].compute
            q, scale = quantized(x.astype(scales.dtype, copy=False), (-1,), compute)
            product = q.astype(np.float64) @ table.astype(np.float64)
            return rounded(product.astype(q.dtype), compute) / rounded(
                scales * scale, compute
            )
        to = options["reverse_dtype"]
        if to is not None:
            x, table = rounded(x, to), rounded(table, to)
        return as_array(x.astype(table.dtype, copy=False) @ table)  # (..., input_dim)


def _whole(ids: Array) -> Array:
    """Return ids as whole numbers; floats are truncated."""
    if not is_float(ids):
        return ids.astype(np.int64, copy=False)
    with np.errstate(invalid="ignore"):
        return np.trunc(ids).astype(np.int64)


def _from_the_front(layer: LayerSpec, inputs: Array, ids: Array) -> Array:
    """Return ids counted from the front of the table.

    Raises
    ------
    DataError
        An id is outside the table.
    """
    count = len(layer.weights["embeddings"])
    outside = (ids >= count) | (ids < -count)
    if is_float(inputs):
        outside |= ~np.isfinite(inputs)
    if outside.any():
        first = tuple(int(k) for k in np.argwhere(outside)[0])
        value = inputs[first]
        whole = np.isfinite(value) and value == np.trunc(value)
        raise DataError(
            f"{layer}: expected token ids from 0 to {count - 1}, or to "
            f"-{count} counted from the end. "
            f"Received: {int(value) if whole else value} at {list(first)}, "
            f"{np.count_nonzero(outside):,} such id(s). Keras raises an error there on "
            "TensorFlow, torch and NumPy, and returns NaN on JAX and zeros on OpenVINO"
        )
    return np.where(ids < 0, ids + count, ids)


class Activation(Elementwise):
    """Compute ``y = activation(x)``.

    Source: keras/src/layers/activations/activation.py.
    """

    class_name = "Activation"
    options: ClassVar[Mapping[str, Option]] = {"activation": Option(activation)}

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"y = {layer.options['activation']}(x)"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        return function_of(layer)(as_float(inputs, run.floatx))


def mask_value(value: Any) -> float:
    """Read a number that marks padding; say what infinity would do.

    NaN is read too: it equals nothing, so no step is ever masked.
    """
    if isinstance(value, float) and math.isnan(value):
        return value
    if isinstance(value, float) and math.isinf(value):
        raise Unexpected(
            "a finite number, or nan: many versions of Keras multiply the masked "
            "inputs by 0, which makes nan of an infinite one; mark padding by a number "
            "that the data do not hold, such as -1000"
        )
    return number(value)


def padding_number(layer: LayerSpec) -> float | None:
    """Return the number that marks padding for a Masking layer; None if none can."""
    value = float(layer.options["mask_value"])
    return None if math.isnan(value) else value


class Masking(Elementwise):
    """Mask every step whose features all equal ``mask_value``, and set it to zeros.

    Source: keras/src/layers/core/masking.py.
    """

    class_name = "Masking"
    options: ClassVar[Mapping[str, Option]] = {"mask_value": Option(mask_value, 0.0)}

    def notes(self, layer: LayerSpec) -> list[str]:
        value = layer.options["mask_value"]
        if math.isnan(value):
            return [
                "mask_value is nan, which equals nothing: no step is ever masked, and "
                "every nan in the inputs goes on"
            ]
        return [f"a step is masked where every feature is {value:g}; it becomes zeros"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        keep = self.compute_mask(layer, inputs, None)
        return np.where(keep[..., None], inputs, np.zeros_like(inputs))

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        value = as_array(layer.options["mask_value"]).astype(inputs.dtype)
        return np.any(inputs != value, axis=-1)


class Identity(Elementwise):
    """Compute ``y = x``.

    Source: keras/src/layers/core/identity.py.
    """

    class_name = "Identity"

    def notes(self, layer: LayerSpec) -> list[str]:
        return ["y = x"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        return inputs


KINDS: tuple[type[LayerType], ...] = (
    *(Embedding, ReversibleEmbedding, Masking, Activation, Identity),
)
"""The layer types of this module, for the registry."""
