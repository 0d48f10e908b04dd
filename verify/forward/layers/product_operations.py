"""Evaluate the raw operations that sum products by rules of their own.

Source: keras/src/ops/numpy.py and nn.py; what they compute on TensorFlow is in
keras/src/backend/tensorflow/{numpy,nn}.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.errors import DataError
from verify.forward.activations import constant, softmax
from verify.forward.layers.attention import repeated_heads
from verify.forward.layers.base import (
    LayerType,
    Option,
    Tensor,
    Unexpected,
    boolean,
    exact_constants,
    integers,
    one_of,
    only,
)
from verify.forward.layers.operations import Operation
from verify.forward.recordable import as_array
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

Axes = int | tuple[tuple[int, ...], tuple[int, ...]]


def _axes(value: Any) -> Axes:
    if type(value) is int and value >= 0:
        return value
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise Unexpected("a number of axes, or the axes of both operands")
    first, second = (integers(ends) for ends in value)
    if len(first) != len(second):
        raise Unexpected("as many axes of one operand as of the other")
    return first, second


def _tensordot(x1: Array, x2: Array, axes: Axes) -> Array:
    return np.tensordot(x1, x2, axes)


class Tensordot(Operation):
    """Compute ``tensordot(x1, x2)``, where one operand is a constant."""

    class_name = "ops.Tensordot"
    arguments = ("x1", "x2")
    options: ClassVar[Mapping[str, Option]] = {"axes": Option(_axes, 2)}
    function = staticmethod(_tensordot)
    casts = "strict"

    def check_rows(self, layer: LayerSpec, operands: list[Any]) -> None:
        if all(isinstance(x, Tensor) for x in operands):
            raise DataError(f"{layer}: expected a constant as one of the operands")
        ranks = [np.ndim(x.value if isinstance(x, Tensor) else x) for x in operands]
        axes = layer.options["axes"]
        if isinstance(axes, int):
            axes = (range(ranks[0] - axes, ranks[0]), range(axes))
        of_tensor = int(isinstance(operands[1], Tensor))
        summed = {k + ranks[of_tensor] if k < 0 else k for k in axes[of_tensor]}
        if 0 in summed or (of_tensor and len(axes[0]) != ranks[0]):
            raise DataError(
                f"{layer}: expected the rows to stand first in the tensor and in the "
                f"result. Received: axes={layer.options['axes']}"
            )


class DotProductAttention(Operation):
    """Compute ``softmax(scale * query @ key^T + bias) @ value`` for each head.

    Query, key and value are (rows, steps, heads, size). If there are fewer heads of
    keys and values than of queries, each of them serves several. The operation takes
    its mask as it is given; those that tensors carry do not count.
    """

    class_name = "ops.DotProductAttention"
    arguments = ("query", "key", "value", "bias", "mask", "scale")
    options: ClassVar[Mapping[str, Option]] = {
        "is_causal": Option(boolean, False),
        "flash_attention": Option(one_of(None, False), None, supported="None, False"),
        "attn_logits_soft_cap": only(None),
    }
    computed: ClassVar[frozenset[str]] = frozenset({"key"})
    casts = "promote"

    @property
    def mask_arguments(self) -> frozenset[str]:
        """Return no argument: the masks of tensors are not looked at."""
        return frozenset()

    def check_rows(self, layer: LayerSpec, operands: list[Any]) -> None:
        tensors = [x.value for x in operands if isinstance(x, Tensor)]
        others = [x for x in operands if not isinstance(x, Tensor)]
        heads = all(isinstance(x, Tensor) for x in operands[:3])
        alone = all(np.ndim(x) < 4 or len(x) == 1 for x in others)
        if not heads or not alone or any(x.ndim != 4 for x in tensors):
            raise DataError(
                f"{layer}: expected query, key, value and all other tensors to have "
                "four axes, rows first"
            )

    def _cast(
        self, arguments: Mapping[str, Any], floatx: str, layer: LayerSpec
    ) -> tuple[dict[str, Any], np.dtype[Any] | None]:
        own = ("query", "key", "value")
        # a tensor called "key" is to be cast, which the key of ``x[key]`` is not
        named = {f"{k}s": arguments[k] for k in own}
        cast, sixteen = super()._cast(named, floatx, layer)
        values = {k: cast[f"{k}s"] for k in own}
        for name in arguments.keys() - set(own):
            given = arguments[name]
            values[name] = given.value if isinstance(given, Tensor) else given
        return values, sixteen

    def compute(self, arguments: Mapping[str, Any], layer: LayerSpec) -> Any:
        """Apply attention, head by head."""
        query, key, value = (arguments[k] for k in ("query", "key", "value"))
        bias, mask, scale = (arguments.get(k) for k in ("bias", "mask", "scale"))
        groups = query.shape[2] // key.shape[2]
        exact = exact_constants(layer)
        if groups > 1 and key.shape[2] == 1 and not exact:
            raise ValueError(
                "one head of keys for several of queries, which Keras cannot compute "
                "on TensorFlow"
            )
        if groups > 1:
            key, value = (repeated_heads(x, groups) for x in (key, value))
        if scale is None:
            size = key.shape[-1]
            root = math.sqrt(size) if exact else np.sqrt(np.float32(size))
            scale = 1 / root
        factor = constant(float(np.asarray(scale)), exact)
        scores = np.einsum("btnh,bsnh->bnts", query, key, optimize=True) * factor
        if bias is not None:
            scores = scores + as_array(bias).astype(scores.dtype)
        allowed = self._allowed(layer, mask, scores.shape[2:])
        if allowed is not None:
            if exact and not np.all(allowed.any(axis=-1)):
                raise ValueError("a query without a key, where backends differ")
            scores = np.where(allowed, scores, scores.dtype.type(-2.3e38))
        return np.einsum("bnts,bsnh->btnh", softmax(scores), value, optimize=True)

    def _allowed(
        self, layer: LayerSpec, mask: Any, steps: tuple[int, ...]
    ) -> Array | None:
        """Return where a query may see a key, or None for everywhere."""
        causal = (
            np.tri(steps[0], steps[1], dtype=bool)
            if layer.options["is_causal"]
            else None
        )
        if mask is None:
            return causal
        seen = as_array(mask)
        if seen.dtype != bool:
            raise ValueError(f"a mask of {seen.dtype.name}, which must be bool")
        return seen if causal is None else seen & causal


KINDS: tuple[type[LayerType], ...] = (Tensordot, DotProductAttention)
