"""Write the raw operations on numbers that may be missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.layers.base import from_front
from verify.model.dtypes import is_float
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx.values import Value


def is_nan(x: Value) -> Value:
    """Return where numbers are NaN."""
    return x.graph.op("IsNaN", [x], bool, x.shape)


def _one(function: Callable[[Value], Value]) -> Callable[..., Value]:
    return lambda layer, x: function(x)


def _two(function: Callable[[Any, Value, Value], Value]) -> Callable[..., Value]:
    def emit(layer: LayerSpec, x1: Any, x2: Any) -> Value:
        like = x1 if isinstance(x1, Value) else x2
        a, b = (like.graph.given(x, like.dtype) for x in (x1, x2))
        return function(like.graph, a, b)

    return emit


def _sinc(x: Value) -> Value:
    turned = x.graph.where(x.equals(0), 1, x * math.pi)
    return x.graph.where(x.equals(0), 1, turned.unary("Sin") / turned)


def _infinite(negative: bool) -> Callable[..., Value]:
    off: dict[str, Any] = {f"detect_{'positive' if negative else 'negative'}": 0}
    return lambda layer, x: x.graph.op("IsInf", [x], bool, x.shape, **off)


def _signbit(x: Value) -> Value:
    return (x < 0) | (x.equals(0) & ((1 / x) < 0))


def _hypot(graph: Any, a: Value, b: Value) -> Value:
    most = a.unary("Abs").maximum(b.unary("Abs"))
    least = a.unary("Abs").minimum(b.unary("Abs"))
    ratio = least / graph.where(most.equals(0), 1, most)
    return most * (ratio * ratio + 1).unary("Sqrt")


def _fmod(graph: Any, a: Value, b: Value) -> Value:
    return a.binary("Mod", b, fmod=1)


def _known(greater: bool) -> Callable[[Any, Value, Value], Value]:
    def chosen(graph: Any, a: Value, b: Value) -> Value:
        y = a.maximum(b) if greater else a.minimum(b)
        if not is_float(y):  # type: ignore[arg-type]
            return y
        y = graph.where(is_nan(a) & ~is_nan(b), b, y)
        return graph.where(is_nan(b) & ~is_nan(a), a, y)

    return chosen


def _over(function: Callable[..., Value]) -> Callable[..., Value]:
    def emit(layer: LayerSpec, x: Value, axis: Any, keepdims: bool) -> Value:
        return function(x, from_front(axis, x.ndim), keepdims)

    return emit


def _counts(x: Value, axes: Any, keepdims: bool) -> Value:
    known = (~is_nan(x)).cast(x.dtype)
    return known.reduce("ReduceSum", axes, keepdims)


def _filled(kind: str, filling: float) -> Callable[..., Value]:
    def reduced(x: Value, axes: Any, keepdims: bool) -> Value:
        return x.graph.where(is_nan(x), filling, x).reduce(kind, axes, keepdims)

    return reduced


def _nan_mean(x: Value, axes: Any, keepdims: bool) -> Value:
    total = _filled("ReduceSum", 0)(x, axes, keepdims)
    return total / _counts(x, axes, keepdims)


def _nan_var(x: Value, axes: Any, keepdims: bool) -> Value:
    apart = x - _nan_mean(x, axes, True)
    total = _filled("ReduceSum", 0)(apart * apart, axes, keepdims)
    return total / _counts(x, axes, keepdims)


def _nan_end(kind: str, end: float) -> Callable[..., Value]:
    def reduced(x: Value, axes: Any, keepdims: bool) -> Value:
        none = is_nan(x).all(axes, keepdims)
        return x.graph.where(none, np.nan, _filled(kind, end)(x, axes, keepdims))

    return reduced


def _span(x: Value, axes: Any, keepdims: bool) -> Value:
    most, least = (x.reduce(k, axes, keepdims) for k in ("ReduceMax", "ReduceMin"))
    return most - least


def _array_split(
    layer: LayerSpec, x: Value, axis: int, indices_or_sections: int
) -> list[Value]:
    (along,) = from_front((axis,), x.ndim)
    size = x.shape[along]
    if size is None:
        raise UnsupportedError(f"{layer}: expected an axis of a fixed size")
    parts = np.array_split(np.arange(size), indices_or_sections)
    return x.graph.split(x, [len(part) for part in parts], along)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "Cbrt": _one(lambda x: x.unary("Sign") * x.unary("Abs") ** (1 / 3)),
    "Deg2rad": _one(lambda x: x * (math.pi / 180)),
    "Rad2deg": _one(lambda x: x * (180 / math.pi)),
    "Exp2": _one(lambda x: (x * math.log(2)).unary("Exp")),
    "Erfc": _one(lambda x: 1 - x.unary("Erf")),
    "Sinc": _one(_sinc),
    "Signbit": _one(_signbit),
    "Isneginf": _infinite(negative=True),
    "Isposinf": _infinite(negative=False),
    "Hypot": _two(_hypot),
    "Heaviside": _two(
        lambda graph, a, b: graph.where(a < 0, 0, graph.where(a > 0, 1, b))
    ),
    "Fmod": _two(_fmod),
    "Fmax": _two(_known(greater=True)),
    "Fmin": _two(_known(greater=False)),
    "Nansum": _over(_filled("ReduceSum", 0)),
    "Nanprod": _over(_filled("ReduceProd", 1)),
    "Nanmean": _over(_nan_mean),
    "Nanvar": _over(_nan_var),
    "Nanstd": _over(lambda *given: _nan_var(*given).unary("Sqrt")),
    "Nanmax": _over(_nan_end("ReduceMax", -np.inf)),
    "Nanmin": _over(_nan_end("ReduceMin", np.inf)),
    "Ptp": _over(_span),
    "Fliplr": _one(lambda x: x.flip(1)),
    "ArraySplit": _array_split,
}
"""Name of an operation -> the function that writes it."""
