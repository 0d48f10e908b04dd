"""Write raw operations that sort, pick, shift and count, and inverse functions.

ONNX's TopK returns equal numbers in the order in which they stand, as Keras does.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.layers.base import from_front
from verify.model.dtypes import dtype_of
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx.layers import einsum_shape
from verify.ports.convert.to_onnx.values import Value


def _size(layer: LayerSpec, x: Value, axis: int) -> int:
    size = x.shape[axis]
    if size is None:
        raise UnsupportedError(f"{layer}: expected an axis of a fixed size")
    return size


def _axis(x: Value, axis: int) -> int:
    return from_front((axis,), x.ndim)[0]


def _top(x: Value, count: Value, size: int | None, axis: int, largest: bool) -> Any:
    """Return the greatest or the least numbers in order, and where they stand."""
    if x.dtype.kind == "b" or x.dtype.itemsize < 4:
        raise UnsupportedError(f"{x.dtype.name} is not sorted in ONNX")
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    outputs: list[Any] = [(x.dtype, shape), (np.dtype(np.int64), shape)]
    return x.graph.ops("TopK", [x, count], outputs, axis=axis, largest=int(largest))


def _ordered(layer: LayerSpec, x: Value, axis: int) -> Any:
    along = _axis(x, axis)
    return _top(x, x.sizes(along, along + 1), x.shape[along], along, largest=False)


def _top_k(layer: LayerSpec, x: Value, k: int, sorted: bool) -> list[Value]:
    values, places = _top(x, x.graph.integers([k]), k, x.ndim - 1, largest=True)
    return [values, places.cast(np.int32)]


def _median(layer: LayerSpec, x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    axes = from_front(axis, x.ndim)
    others = [k for k in range(x.ndim) if k not in axes]
    size = int(np.prod([_size(layer, x, k) for k in axes]))
    turned = x.transpose([*others, *axes])
    shape = (*(x.shape[k] for k in others), size)
    flat = turned.reshape([*[0] * len(others), -1], shape)
    y, _ = _ordered(layer, flat, -1)
    below, above = max(size // 2 - 1, 0), size // 2
    share = 0.5 if size % 2 == 0 else 0.0
    last = len(others)
    middle = y.take(last, above) * (1 - share) + y.take(last, below) * share
    unknown = flat.graph.op("IsNaN", [flat], bool, flat.shape).any([last], False)
    middle = x.graph.where(unknown, np.nan, middle)
    return middle.expand(*axes) if keepdims else middle


def _roll(
    layer: LayerSpec, x: Value, shift: tuple[int, ...], axis: tuple[int, ...]
) -> Value:
    several = shift if len(shift) > 1 else shift * len(axis)
    for by, along in zip(several, from_front(axis, x.ndim), strict=True):
        places = np.roll(np.arange(_size(layer, x, along)), by)
        x = x.gather(x.graph.integers(places.tolist()), along)
    return x


def _difference(layer: LayerSpec, a: Value, n: int, axis: int) -> Value:
    along = _axis(a, axis)
    for _ in range(n):
        later, earlier = a.slice(along, 1, None), a.slice(along, 0, -1)
        a = later.binary("Xor", earlier) if a.dtype.kind == "b" else later - earlier
    return a


def _moveaxis(
    layer: LayerSpec, x: Value, source: Sequence[int], destination: Sequence[int]
) -> Value:
    axes = np.empty((1,) * x.ndim)
    places = [from_front(tuple(ends), x.ndim) for ends in (source, destination)]
    order = [k for k in range(axes.ndim) if k not in places[0]]
    for to, at in sorted(zip(places[1], places[0], strict=True)):
        order.insert(to, at)
    return x.transpose(order)


def _triangle(upper: bool) -> Callable[..., Value]:
    def emit(layer: LayerSpec, x: Value, k: int) -> Value:
        at = x.graph.constant(np.int64(k))
        return x.graph.op("Trilu", [x, at], x.dtype, x.shape, upper=int(upper))

    return emit


def _nan_to_num(
    layer: LayerSpec,
    x: Value,
    nan: float,
    posinf: float | None,
    neginf: float | None,
) -> Value:
    info, graph = np.finfo(x.dtype), x.graph
    y = graph.where(graph.op("IsNaN", [x], bool, x.shape), nan, x)
    for end, value, other in (
        ("negative", info.max, posinf),
        ("positive", info.min, neginf),
    ):
        ends: dict[str, Any] = {f"detect_{end}": 0}
        infinite = graph.op("IsInf", [x], bool, x.shape, **ends)
        y = graph.where(infinite, value if other is None else other, y)
    return y


def _count_nonzero(layer: LayerSpec, x: Value, axis: tuple[int, ...]) -> Value:
    ones = (x if x.dtype.kind == "b" else ~x.equals(0)).cast(np.int32)
    return ones.reduce("ReduceSum", from_front(axis, x.ndim))


def _norm(layer: LayerSpec, x: Value, ord: Any, axis: Any, keepdims: bool) -> Value:
    over = from_front(axis, x.ndim)
    if ord == 1:
        return x.unary("Abs").reduce("ReduceSum", over, keepdims)
    return (x * x).reduce("ReduceSum", over, keepdims).unary("Sqrt")


def _part(
    layer: LayerSpec, inputs: Value, start_indices: Any, shape: tuple[int, ...]
) -> Value:
    starts = [int(k) for k in np.asarray(start_indices).reshape(-1)]
    for axis, (start, size) in enumerate(zip(starts, shape, strict=True)):
        if (start, size) != (0, -1):
            end = None if size < 0 else start + size
            inputs = inputs.slice(axis, start, end)
    return inputs


def _take_along_axis(layer: LayerSpec, x: Value, indices: Any, axis: int) -> Value:
    along, graph = _axis(x, axis), x.graph
    ids = graph.given(indices, np.dtype(np.int64)).cast(np.int64)
    for k in range(x.ndim):
        if k == along or x.shape[k] == ids.shape[k]:
            continue
        if ids.shape[k] not in (1, None) and x.shape[k] not in (1, None):
            raise UnsupportedError(f"{layer}: expected indices of the shape of x")
        # the one of size 1 is repeated to the size that the other has
        short, long = (ids, x) if ids.shape[k] == 1 else (x, ids)
        sizes = [short.sizes(j, j + 1) for j in range(x.ndim)]
        sizes[k] = long.sizes(k, k + 1)
        shape = (*short.shape[:k], long.shape[k], *short.shape[k + 1 :])
        wide = graph.expanded(short, graph.concat(sizes, 0), shape)
        x, ids = (x, wide) if short is ids else (wide, ids)
    inputs = [x, ids]
    return graph.op("GatherElements", inputs, x.dtype, ids.shape, axis=along)


def _full_like(
    layer: LayerSpec, x: Value, fill_value: Any, dtype: str | None = None
) -> Value:
    to = x.dtype if dtype is None else dtype_of(dtype)
    filling = x.graph.constant(np.asarray(fill_value).astype(to))
    return x.graph.expanded(filling, x.sizes(), x.shape)


def _tensordot(layer: LayerSpec, x1: Any, x2: Any, axes: Any) -> Value:
    if isinstance(axes, int):
        axes = (range(x1.ndim - axes, x1.ndim), range(axes))
    names = iter(string.ascii_letters)
    first = [next(names) for _ in range(x1.ndim)]
    second = [next(names) for _ in range(x2.ndim)]
    for a, b in zip(*axes, strict=True):
        second[b] = first[a]
    summed = {first[a] for a in axes[0]}
    left = [n for n in (*first, *second) if n not in summed]
    equation = f"{''.join(first)},{''.join(second)}->{''.join(left)}"
    return x1.graph.einsum(equation, [x1, x2], einsum_shape(equation, x1, x2))


def _arctan2(layer: LayerSpec, x1: Any, x2: Any) -> Value:
    """Write the angle of a point: that of the first quadrant, mirrored."""
    graph = (x1 if isinstance(x1, Value) else x2).graph
    dtype = (x1 if isinstance(x1, Value) else x2).dtype
    y, x = graph.given(x1, dtype), graph.given(x2, dtype)
    far, up = x.unary("Abs"), y.unary("Abs")
    ratio = graph.where(far.equals(up), 1, up / far)  # two of 0, or infinite, too
    angle = graph.where(far.equals(up) & far.equals(0), 0, ratio.unary("Atan"))
    angle = graph.where(_is_negative(x), np.pi - angle, angle)
    return graph.where(_is_negative(y), -angle, angle)


def _is_negative(x: Value) -> Value:
    """Return where numbers have a minus, -0 too."""
    return (x < 0) | (x.equals(0) & ((1 / x) < 0))


def _logaddexp(layer: LayerSpec, x1: Any, x2: Any) -> Value:
    graph = (x1 if isinstance(x1, Value) else x2).graph
    dtype = (x1 if isinstance(x1, Value) else x2).dtype
    a, b = graph.given(x1, dtype), graph.given(x2, dtype)
    apart = graph.where(a.equals(b), 0, (a - b).unary("Abs"))
    return a.maximum(b) + ((-apart).unary("Exp") + 1).unary("Log")


def _inverse(kind: str) -> Callable[..., Value]:
    return lambda layer, x: x.unary(kind)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "Arccos": _inverse("Acos"),
    "Arccosh": _inverse("Acosh"),
    "Arcsin": _inverse("Asin"),
    "Arcsinh": _inverse("Asinh"),
    "Arctanh": _inverse("Atanh"),
    "Arctan2": _arctan2,
    "Argsort": lambda layer, x, axis: _ordered(layer, x, axis)[1].cast(np.int32),
    "CountNonzero": _count_nonzero,
    "Diff": _difference,
    "FullLike": _full_like,
    "Hstack": lambda layer, xs: xs[0].graph.concat(list(xs), 1),
    "Logaddexp": _logaddexp,
    "Median": _median,
    "Moveaxis": _moveaxis,
    "NanToNum": _nan_to_num,
    "Norm": _norm,
    "Roll": _roll,
    "Slice": _part,
    "Sort": lambda layer, x, axis: _ordered(layer, x, axis)[0],
    "TakeAlongAxis": _take_along_axis,
    "Tensordot": _tensordot,
    "TopK": _top_k,
    "Tril": _triangle(upper=False),
    "Triu": _triangle(upper=True),
    "Trunc": lambda layer, x: x.unary("Sign") * x.unary("Abs").unary("Floor"),
}
"""Name of an operation -> the function that writes it."""
