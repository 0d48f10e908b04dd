"""Write raw operations of a graph, such as ``x * 2`` or ``keras.ops.relu(x)``.

The operands are cast by the same table of rules as in
`verify.forward.layers.operations`, applied to empty arrays of their dtypes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from verify.errors import DataError, UnsupportedError
from verify.forward.layers import REGISTRY, operation_functions
from verify.forward.layers.base import (
    KERAS_EPSILON,
    Tensor,
    exact_constants,
    from_front,
)
from verify.forward.layers.operations import _ACTIVATIONS, CONSTANTS, Operation
from verify.model.dtypes import dtype_of, is_float
from verify.model.graph import flatten, map_structure
from verify.model.spec import LayerSpec
from verify.ports.convert.to_onnx import activations, fourier, numeric, ordering
from verify.ports.convert.to_onnx.layers import einsum_shape, repeated
from verify.ports.convert.to_onnx.run import Emit, Writing
from verify.ports.convert.to_onnx.values import Value, onnx


def operation(run: Writing, layer: LayerSpec, **arguments: Any) -> Any:
    """Write an operation: cast its operands, then apply the function of its class."""
    kind = REGISTRY[layer.class_name]
    assert isinstance(kind, Operation)
    function = FUNCTIONS.get(layer.class_name.removeprefix("ops."))
    if function is None:
        raise UnsupportedError(f"{layer}: it has no form in ONNX that is written")
    for name in CONSTANTS & arguments.keys() - kind.computed:
        if any(isinstance(leaf, Tensor) for leaf in flatten(arguments[name])):
            raise DataError(f"{layer}: expected {name} to be a constant")
    values, half = _cast(run, layer, kind, arguments)
    given = [values[name] for name in kind.arguments if name in values]
    results = function(layer, *given, **layer.options)
    if half is not None:
        results = map_structure(lambda y: y.cast(half) if is_float(y) else y, results)
    return results


def _cast(
    run: Writing, layer: LayerSpec, kind: Operation, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], np.dtype[Any] | None]:
    """Return the operands in the dtype they are computed in, and that of the result.

    The second is None unless an operand has 16 bits.
    """
    values: dict[str, Any] = map_structure(_bare, dict(arguments))
    if kind.casts == "own":
        return values, None
    names = [name for name in values if name not in CONSTANTS | {"condition"}]
    chosen = {name: values[name] for name in names}
    exact = exact_constants(layer)
    rule = "promote" if kind.casts == "strict" and exact else kind.casts
    # an empty array stands for each tensor, and shows the dtype it is cast to
    like = map_structure(_stand_in, chosen)
    made = operation_functions.CASTS[rule](like, run.floatx)
    half = next(
        (
            x.dtype
            for x in flatten(made)
            if isinstance(x, np.ndarray) and operation_functions.sixteen(x.dtype)
        ),
        None,
    )
    made = map_structure(operation_functions.lifted, made)
    pairs = iter(flatten(made))
    cast = map_structure(lambda x: _as(run, x, next(pairs)), chosen)
    if "condition" in values:
        condition = values["condition"]
        cast["condition"] = (
            condition.cast(bool)
            if isinstance(condition, Value)
            else run.graph.constant(np.asarray(condition).astype(bool))
        )
    return {**values, **cast}, half


def _bare(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, Tensor) else leaf


def _stand_in(leaf: Any) -> Any:
    return np.zeros(0, leaf.dtype) if isinstance(leaf, Value) else leaf


def _as(run: Writing, operand: Any, made: Any) -> Any:
    """Return an operand as the rule casts it; numbers become constants."""
    if isinstance(operand, Value):
        return operand.cast(made.dtype)
    if isinstance(made, np.ndarray):
        return run.graph.constant(made)
    return operand


def _one(kind: str) -> Callable[..., Value]:
    return lambda layer, x: x.unary(kind)


def _pair(function: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    def emit(layer: LayerSpec, x1: Any, x2: Any) -> Value:
        graph = (x1 if isinstance(x1, Value) else x2).graph
        dtype = (x1 if isinstance(x1, Value) else x2).dtype
        return function(graph.given(x1, dtype), graph.given(x2, dtype))

    return emit


def _floor_divide(a: Value, b: Value) -> Value:
    if a.dtype.kind in "iu":
        wide = np.float64  # holds whole numbers of 32 bits, which ONNX's Div truncates
        if a.dtype.itemsize > 4:
            raise UnsupportedError("FloorDivide of 64 bits has no form in ONNX")
        return (a.cast(wide) / b.cast(wide)).unary("Floor").cast(a.dtype)
    return (a / b).unary("Floor")


def _divide_no_nan(a: Value, b: Value) -> Value:
    return a.graph.where(b.equals(0), 0, a / b)


def _mod(a: Value, b: Value) -> Value:
    if a.dtype.kind != "f":
        return a.binary("Mod", b)
    # ONNX has the remainder with the sign of a; NumPy's has that of b
    rest = a.binary("Mod", b, fmod=1)
    opposite = (rest < 0).binary("Xor", b < 0)
    return a.graph.where(opposite & ~rest.equals(0), rest + b, rest)


def _over(layer: LayerSpec, x: Value, axis: Any) -> tuple[int, ...]:
    axes = axis if isinstance(axis, (list, tuple)) else (axis,)
    return from_front(axes, x.ndim)


def _reduction(kind: str) -> Callable[..., Value]:
    def emit(layer: LayerSpec, x: Value, axis: Any, keepdims: bool, **_: Any) -> Value:
        return x.reduce(kind, _over(layer, x, axis), keepdims)

    return emit


def _bounded(kind: str) -> Callable[..., Value]:
    def emit(
        layer: LayerSpec, x: Value, axis: Any, keepdims: bool, initial: float | None
    ) -> Value:
        y = x.reduce(kind, _over(layer, x, axis), keepdims)
        if initial is None:
            return y
        return y.maximum(initial) if kind == "ReduceMax" else y.minimum(initial)

    return emit


def _variance(layer: LayerSpec, x: Value, axis: Any, keepdims: bool) -> Value:
    over = _over(layer, x, axis)
    apart = x - x.reduce("ReduceMean", over, keepdims=True)
    return (apart * apart).reduce("ReduceMean", over, keepdims)


def _logsumexp(layer: LayerSpec, x: Value, axis: Any, keepdims: bool) -> Value:
    over = _over(layer, x, axis)
    top = x.reduce("ReduceMax", over, keepdims=True)
    total = (x - top).unary("Exp").reduce("ReduceSum", over, keepdims=True)
    y = total.unary("Log") + top
    return y if keepdims else y.squeeze(*over)


def _average(
    layer: LayerSpec, x: Value, weights: Any = None, *, axis: tuple[int, ...]
) -> Value:
    if weights is not None:
        raise UnsupportedError(f"{layer}: weights are not supported")
    return x.reduce("ReduceMean", _over(layer, x, axis))


def _index(kind: str) -> Callable[..., Value]:
    def emit(layer: LayerSpec, x: Value, axis: int, keepdims: bool) -> Value:
        (along,) = _over(layer, x, axis)
        shape = tuple(
            1 if k == along else s
            for k, s in enumerate(x.shape)
            if keepdims or k != along
        )
        options: dict[str, Any] = {"axis": along, "keepdims": int(keepdims)}
        if is_float(x):  # type: ignore[arg-type]
            # -0 counts as less than 0: its reciprocal is -inf
            negative = x.equals(0) & ((1 / x) < 0)
            x = x.graph.where(negative, -np.finfo(x.dtype).tiny, x)
        return x.graph.op(kind, [x], np.int64, shape, **options).cast(np.int32)

    return emit


def _cumsum(layer: LayerSpec, x: Value, axis: int, dtype: str | None) -> Value:
    (along,) = _over(layer, x, axis)
    return (x if dtype is None else x.cast(dtype_of(dtype))).cumsum(along)


def _cumprod(layer: LayerSpec, x: Value, axis: int, dtype: str | None) -> Value:
    """Write a running product as a Scan, because ONNX has no operator for it."""
    (along,) = _over(layer, x, axis)
    x = x if dtype is None else x.cast(dtype_of(dtype))
    graph, shape = x.graph, (*x.shape[:along], *x.shape[along + 1 :])
    first = x.take(along, 0)
    with graph.body() as nodes:
        before, factor = (
            Value(graph, graph.unique(hint), x.dtype, shape)
            for hint in ("product", "factor")
        )
        product = before * factor
        ends = [product, product.unary("Identity")]
        body = onnx().helper.make_graph(
            nodes,
            graph.unique("step"),
            [graph.info(value) for value in (before, factor)],
            [graph.info(value) for value in ends],
        )
    ones = graph.full(first.sizes(), shape, 1, x.dtype)
    found = graph.ops(
        "Scan",
        [ones, x],
        [(x.dtype, shape), (x.dtype, x.shape)],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[along],
        scan_output_axes=[along],
    )
    assert found[1] is not None
    return found[1]


def _getitem(layer: LayerSpec, x: Value, key: Any = None) -> Value:
    """Write ``x[key]``: one Slice, Gather or Unsqueeze for each part of the key."""
    items = list(key) if isinstance(key, (list, tuple)) else [key]
    counted = sum(item is not None and item is not Ellipsis for item in items)
    whole: list[Any] = [slice(None)]
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = whole * (x.ndim - counted)
    else:
        items += whole * (x.ndim - counted)
    axis = 0
    for item in items:
        if item is None:
            x = x.expand(axis)
        elif isinstance(item, slice):
            step = 1 if item.step is None else int(item.step)
            start = item.start
            if start is None:
                start = 0 if step > 0 else -1
            if (item.start, item.stop, step) != (None, None, 1):
                x = x.slice(axis, int(start), item.stop, step)
        else:
            x = x.take(axis, int(item))
            continue
        axis += 1
    return x


def _take(layer: LayerSpec, x: Value, indices: Any, axis: int) -> Value:
    (along,) = _over(layer, x, axis)
    return x.gather(x.graph.constant(np.asarray(indices).astype(np.int64)), along)


def _reshape(layer: LayerSpec, x: Value, newshape: Sequence[int]) -> Value:
    first, *rest = newshape
    if first == -1 or x.shape[0] is None:
        row = None if None in x.shape[1:] else math.prod(x.shape[1:])  # type: ignore[arg-type]
        first = 0 if -1 in rest or row == math.prod(rest) else -1
    return x.reshape([first, *rest])


def _transpose(layer: LayerSpec, x: Value, axes: Sequence[int]) -> Value:
    return x.transpose(axes)


def _swapaxes(layer: LayerSpec, x: Value, axis1: int, axis2: int) -> Value:
    a, b = from_front((axis1, axis2), x.ndim)
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    return x.transpose(order)


def _expand_dims(layer: LayerSpec, x: Value, axis: tuple[int, ...]) -> Value:
    return x.expand(*from_front(axis, x.ndim + len(axis)))


def _squeeze(layer: LayerSpec, x: Value, axis: tuple[int, ...]) -> Value:
    return x.squeeze(*from_front(axis, x.ndim))


def _flip(layer: LayerSpec, x: Value, axis: tuple[int, ...]) -> Value:
    for along in from_front(axis, x.ndim):
        x = x.flip(along)
    return x


def _repeat(layer: LayerSpec, x: Value, repeats: Any, axis: int) -> Value:
    (along,) = _over(layer, x, axis)
    size = x.shape[along]
    if size is None:
        raise UnsupportedError(f"{layer}: expected an axis of a fixed size")
    counts = [repeats] * size if isinstance(repeats, int) else list(repeats)
    if len(counts) == 1:
        counts *= size
    return x.gather(
        x.graph.integers(np.repeat(np.arange(size), counts).tolist()), along
    )


def _tile(layer: LayerSpec, x: Value, repeats: tuple[int, ...]) -> Value:
    return repeated(x, [1] * (x.ndim - len(repeats)) + list(repeats))


def _split(
    layer: LayerSpec, x: Value, indices_or_sections: Any, axis: int
) -> list[Value]:
    (along,) = _over(layer, x, axis)
    size = x.shape[along]
    if size is None:
        raise UnsupportedError(f"{layer}: expected an axis of a fixed size")
    if isinstance(indices_or_sections, int):
        sizes = [size // indices_or_sections] * indices_or_sections
    else:
        ends = [0, *indices_or_sections, size]
        sizes = [b - a for a, b in itertools.pairwise(ends)]
    return x.graph.split(x, sizes, along)


def _unstack(layer: LayerSpec, x: Value, num: int | None, axis: int) -> list[Value]:
    (along,) = _over(layer, x, axis)
    size = x.shape[along]
    if size is None:
        raise UnsupportedError(f"{layer}: expected an axis of a fixed size")
    return [x.take(along, k) for k in range(size)]


def _pad(
    layer: LayerSpec,
    x: Value,
    constant_values: Any = None,
    *,
    pad_width: Any,
    mode: str,
) -> Value:
    if mode == "symmetric":  # ONNX has no such mode, so each axis is looked up
        for axis, width in enumerate(pad_width):
            if tuple(width) == (0, 0):
                continue
            size = x.shape[axis]
            if size is None:
                raise UnsupportedError(f"{layer}: expected an axis of a fixed size")
            places = np.pad(np.arange(size), width, mode="symmetric")
            x = x.gather(x.graph.integers(places.tolist()), axis)
        return x
    if mode == "constant":
        return x.pad(pad_width, constant_values or 0)
    before, after = ([width[end] for width in pad_width] for end in (0, 1))
    shape = tuple(
        None if s is None else s + sum(w)
        for s, w in zip(x.shape, pad_width, strict=True)
    )
    sizes = x.graph.integers([*before, *after])
    return x.graph.op("Pad", [x, sizes], x.dtype, shape, mode=mode)


def _joined(layer: LayerSpec, xs: Sequence[Value], axis: int) -> Value:
    (along,) = from_front((axis,), xs[0].ndim)
    return xs[0].graph.concat(list(xs), along)


def _stack(layer: LayerSpec, xs: Sequence[Value], axis: int) -> Value:
    (along,) = from_front((axis,), xs[0].ndim + 1)
    return xs[0].graph.concat([x.expand(along) for x in xs], along)


def _one_hot(
    layer: LayerSpec, x: Value, num_classes: int, axis: int, dtype: str, sparse: bool
) -> Value:
    (along,) = from_front((axis,), x.ndim + 1)
    ids = x.cast(np.int64).expand(along)
    shape = [-1 if k == along else 1 for k in range(ids.ndim)]
    hot = ids.equals(np.arange(num_classes).reshape(shape))
    return hot.cast(dtype_of(dtype))


def _filled(number: int) -> Callable[..., Value]:
    def emit(layer: LayerSpec, x: Value, dtype: str | None) -> Value:
        to = x.dtype if dtype is None else dtype_of(dtype)
        return x.graph.full(x.sizes(), x.shape, number, to)

    return emit


def _converted(layer: LayerSpec, x: Value, dtype: str | None, **_: Any) -> Value:
    return x if dtype is None else x.cast(dtype_of(dtype))


def _round(layer: LayerSpec, x: Value, decimals: int) -> Value:
    if not is_float(x):  # type: ignore[arg-type]
        if decimals >= 0:
            return x
        factor = float(np.float32(10.0**decimals))
        return ((x.cast(np.float64) * factor).unary("Round") / factor).cast(x.dtype)
    if decimals == 0:
        return x.unary("Round")
    factor = 10.0**decimals
    return (x * factor).unary("Round") / factor


def _clip(layer: LayerSpec, x: Value, x_min: float, x_max: float) -> Value:
    return x.minimum(x_max).maximum(x_min)


def _threshold(
    layer: LayerSpec, x: Value, threshold: float, default_value: float
) -> Value:
    return x.graph.where(x > threshold, x, default_value)


def _where(layer: LayerSpec, condition: Value, x1: Any, x2: Any) -> Value:
    return condition.graph.where(condition, x1, x2)


def _normalize(
    layer: LayerSpec, x: Value, axis: int, order: int, epsilon: float | None
) -> Value:
    over, epsilon = _over(layer, x, axis), epsilon or KERAS_EPSILON
    if order == 2:
        total = (x * x).reduce("ReduceSum", over, keepdims=True)
        return x * (1 / total.unary("Sqrt")).minimum(1 / epsilon)
    powers = x.unary("Abs") ** float(order)
    norm = powers.reduce("ReduceSum", over, keepdims=True) ** (1 / order)
    return x / norm.maximum(epsilon)


def _matmul(layer: LayerSpec, x1: Value, x2: Value) -> Value:
    return x1 @ x2


def _dot(layer: LayerSpec, x1: Value, x2: Value) -> Value:
    if 0 in (x1.ndim, x2.ndim):
        return x1 * x2
    if x2.ndim > 2:
        left, right = "abcdefgh"[: x1.ndim - 1], "ijklmnop"[: x2.ndim - 2]
        last = "w"
        equation = f"{left}s,{right}s{last}->{left}{right}{last}"
        return x1.graph.einsum(equation, [x1, x2], einsum_shape(equation, x1, x2))
    return x1 @ x2


def _einsum(layer: LayerSpec, *operands: Value, subscripts: str) -> Value:
    shape = einsum_shape(subscripts, *operands)
    return operands[0].graph.einsum(subscripts, operands, shape)


def _activation(name: str, layer: LayerSpec, x: Value, **options: Any) -> Value:
    return activations.apply(layer, name, x, options)


def _along(name: str) -> Callable[..., Value]:
    def emit(layer: LayerSpec, x: Value, axis: int) -> Value:
        (along,) = _over(layer, x, axis)
        return activations.apply(layer, name, x, {"axis": along})

    return emit


def _composed(function: Callable[[Value], Value]) -> Callable[..., Value]:
    return lambda layer, x: function(x)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **{
        name: _one(kind)
        for name, kind in {
            "Sqrt": "Sqrt", "Exp": "Exp", "Log": "Log", "Sin": "Sin", "Cos": "Cos",
            "Tan": "Tan", "Sinh": "Sinh", "Cosh": "Cosh", "Tanh": "Tanh",
            "Arctan": "Atan", "Floor": "Floor", "Ceil": "Ceil", "Negative": "Neg",
            "Absolute": "Abs", "Abs": "Abs", "Sign": "Sign", "LogicalNot": "Not",
        }.items()
    },
    "Expm1": _composed(lambda x: x.unary("Exp") - 1),
    "Log1p": _composed(lambda x: (x + 1).unary("Log")),
    "Log2": _composed(lambda x: x.unary("Log") * float(1 / np.log(2))),
    "Log10": _composed(lambda x: x.unary("Log") * float(1 / np.log(10))),
    "Reciprocal": _composed(lambda x: 1 / x),
    "Rsqrt": _composed(lambda x: 1 / x.unary("Sqrt")),
    "Square": _composed(lambda x: x * x),
    "Isnan": _composed(lambda x: x.graph.op("IsNaN", [x], bool, x.shape)),
    "Isinf": _composed(lambda x: x.graph.op("IsInf", [x], bool, x.shape)),
    "Isfinite": _composed(
        lambda x: ~(
            x.graph.op("IsNaN", [x], bool, x.shape)
            | x.graph.op("IsInf", [x], bool, x.shape)
        )
    ),
    "Erf": _one("Erf"),
    "Amax": _reduction("ReduceMax"),
    "Amin": _reduction("ReduceMin"),
    "StopGradient": _composed(lambda x: x),
    "Copy": _composed(lambda x: x),
    "Add": _pair(lambda a, b: a + b),
    "Subtract": _pair(lambda a, b: a - b),
    "Multiply": _pair(lambda a, b: a * b),
    "Power": _pair(lambda a, b: a**b),
    "Maximum": _pair(lambda a, b: a.maximum(b)),
    "Minimum": _pair(lambda a, b: a.minimum(b)),
    "FloorDivide": _pair(_floor_divide),
    "Divide": _pair(lambda a, b: a / b),
    "TrueDivide": _pair(lambda a, b: a / b),
    "DivideNoNan": _pair(_divide_no_nan),
    "Equal": _pair(lambda a, b: a.equals(b)),
    "NotEqual": _pair(lambda a, b: ~a.equals(b)),
    "Less": _pair(lambda a, b: a < b),
    "LessEqual": _pair(lambda a, b: a <= b),
    "Greater": _pair(lambda a, b: a > b),
    "GreaterEqual": _pair(lambda a, b: a >= b),
    "Mod": _pair(_mod),
    "LogicalAnd": _pair(lambda a, b: a & b),
    "LogicalOr": _pair(lambda a, b: a | b),
    "LogicalXor": _pair(lambda a, b: a.binary("Xor", b)),
    **{
        name: partial(_activation, function)
        for name, (function, _) in _ACTIVATIONS.items()
    },
    "TanhShrink": partial(_activation, "tanh_shrink"),
    "Round": _round,
    "Clip": _clip,
    "Threshold": _threshold,
    "Where": _where,
    "Softmax": _along("softmax"),
    "LogSoftmax": _along("log_softmax"),
    "Sparsemax": _along("sparsemax"),
    "Glu": _along("glu"),
    "Normalize": _normalize,
    "Any": lambda layer, x, axis, keepdims: x.any(_over(layer, x, axis), keepdims),
    "All": lambda layer, x, axis, keepdims: x.all(_over(layer, x, axis), keepdims),
    "Sum": _reduction("ReduceSum"),
    "Prod": _reduction("ReduceProd"),
    "Mean": _reduction("ReduceMean"),
    "Var": _variance,
    "Std": lambda layer, x, **options: _variance(layer, x, **options).unary("Sqrt"),
    "Max": _bounded("ReduceMax"),
    "Min": _bounded("ReduceMin"),
    "Logsumexp": _logsumexp,
    "Average": _average,
    "Argmax": _index("ArgMax"),
    "Argmin": _index("ArgMin"),
    "Cumsum": _cumsum,
    "Cumprod": _cumprod,
    "GetItem": _getitem,
    "Take": _take,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Swapaxes": _swapaxes,
    "ExpandDims": _expand_dims,
    "Squeeze": _squeeze,
    "Flip": _flip,
    "Repeat": _repeat,
    "Tile": _tile,
    "Split": _split,
    "Unstack": _unstack,
    "Pad": _pad,
    "Concatenate": _joined,
    "Stack": _stack,
    "OneHot": _one_hot,
    "OnesLike": _filled(1),
    "ZerosLike": _filled(0),
    "Cast": _converted,
    "ConvertToTensor": _converted,
    "Matmul": _matmul,
    "Dot": _dot,
    "Einsum": _einsum,
    **ordering.FUNCTIONS,
    **numeric.FUNCTIONS,
    **fourier.FUNCTIONS,
}  # fmt: skip
"""Name of an operation -> the function that writes it."""

EMITTERS: Mapping[str, Emit] = {
    name: operation for name in REGISTRY if name.startswith("ops.")
}
