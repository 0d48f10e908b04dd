"""Say which raw operations of Keras 3 compute a function of TensorFlow.

`FUNCTIONS` maps the name of a function, as Keras 2 writes it, to a program that emits
operations: `Emitter.op` adds one to the graph and returns its result. The arguments of
the function are taken from the call by their names in TensorFlow. An argument that
nothing takes is refused, and so is a function that would mix the rows of a batch.

The names are those of `tf.__internal__.tf_export`: ``math.reduce_mean`` is
`tf.reduce_mean` and `tf.math.reduce_mean`; ``compat.v1.`` before a name is left out,
because the first version of a function takes the same arguments and a few older names
for them.

Source: TensorFlow 2.21, python/ops/{math_ops,array_ops,nn_ops,nn_impl,clip_ops}.py; all
names were found by calling the functions of `tf`, `tf.math`, `tf.nn`, `tf.linalg`,
`tf.keras.backend` and `tf.keras.activations` on inputs of tf_keras 2.21.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from verify.errors import printable
from verify.model_files.operation_emitter import (
    FLOATS,
    Emitter,
    FoldedRows,
    Program,
    Refused,
    ShapeOf,
    SizeOf,
    dtype_name,
    is_tensor,
    whole,
    wholes,
)
from verify.model_files.tensorflow_shapes import SHAPE_FUNCTIONS

# One function each: elementwise functions and activations.


def _unary(class_name: str, **options: Any) -> Program:
    return lambda e, x: e.op(class_name, x, **options)


def _binary(class_name: str) -> Program:
    return lambda e, x: e.op(class_name, x, e.must_take("y", "other", "b"))


def _multiply(e: Emitter, x: Any) -> Any:
    y = e.must_take("y")
    sizes = [v for v in (x, y) if isinstance(v, (SizeOf, FoldedRows))]
    times = [v for v in (x, y) if type(v) is int]
    if not sizes or not times:
        return e.op("Multiply", x, y)
    known = sizes[0] if isinstance(sizes[0], FoldedRows) else FoldedRows(sizes[0], 1)
    if known.rows.axis or known.rows.rest or times[0] < 1:
        raise Refused("the size of an axis that is not that of the rows is multiplied")
    return FoldedRows(known.rows, known.times * times[0])


def _divide(e: Emitter, x: Any) -> Any:
    y = e.must_take("y")
    if e.is_float(x, y):
        return e.op("Divide", x, y)
    wide = [e.op("Cast", v, dtype="float64") if is_tensor(v) else v for v in (x, y)]
    return e.op("Divide", *wide)


def _truncated_divide(e: Emitter, x: Any) -> Any:
    y = e.must_take("y")
    e.need_floats(x, y)
    return e.op("Divide", x, y)


def _multiply_no_nan(e: Emitter, x: Any) -> Any:
    y = e.must_take("y")
    return e.op("Where", e.op("Equal", y, 0.0), 0.0, e.op("Multiply", x, y))


def _reciprocal_no_nan(e: Emitter, x: Any) -> Any:
    return e.op("DivideNoNan", 1.0, x)


def _squared_difference(e: Emitter, x: Any) -> Any:
    return e.op("Square", e.op("Subtract", x, e.must_take("y")))


def _add_n(e: Emitter, xs: Any) -> Any:
    e.take("shape", "tensor_dtype")
    if not isinstance(xs, list) or len(xs) == 1:
        return e.op("ConvertToTensor", xs[0] if isinstance(xs, list) else xs)
    total = xs[0]
    for x in xs[1:]:
        total = e.op("Add", total, x)
    return total


def _leaky_relu(e: Emitter, x: Any) -> Any:
    return e.op("LeakyRelu", x, negative_slope=e.take("alpha", default=0.2))


def _gelu(e: Emitter, x: Any) -> Any:
    return e.op("Gelu", x, approximate=bool(e.take("approximate", default=False)))


def _silu(e: Emitter, x: Any) -> Any:
    beta = e.take("beta", default=1.0)
    if beta == 1:
        return e.op("Silu", x)
    return e.op("Multiply", x, e.op("Sigmoid", e.op("Multiply", x, beta)))


def _crelu(e: Emitter, x: Any) -> Any:
    parts = [x, e.op("Negative", x)]
    joined = e.op("Concatenate", parts, axis=e.take("axis", default=-1))
    return e.op("Relu", joined)


def _clip(e: Emitter, x: Any) -> Any:
    low, high = e.must_take("clip_value_min"), e.must_take("clip_value_max")
    if high == math.inf:
        return e.op("Maximum", x, low)
    if not any(is_tensor(end) or isinstance(end, list) for end in (low, high)):
        return e.op("Clip", x, x_min=low, x_max=high)
    return e.op("Maximum", e.op("Minimum", x, high), low)


def _where(e: Emitter, condition: Any) -> Any:
    return e.op("Where", condition, e.must_take("x"), e.must_take("y"))


def _cast(e: Emitter, x: Any) -> Any:
    dtype = dtype_name(e.must_take("dtype"))
    return e.op("Cast", x, dtype=dtype)


def _saturated(e: Emitter, x: Any) -> Any:
    dtype = dtype_name(e.must_take("dtype"))
    if dtype not in FLOATS or e.dtype(x) != dtype:
        raise Refused("saturation is not read")
    return e.op("Cast", x, dtype=dtype)


def _convert(e: Emitter, x: Any) -> Any:
    e.take("dtype_hint", "as_ref", "preferred_dtype")
    dtype = e.take("dtype")
    if not is_tensor(x):
        raise Refused("a list of tensors is joined; use tf.stack")
    return e.op("ConvertToTensor", x, **({"dtype": dtype_name(dtype)} if dtype else {}))


def _like(class_name: str) -> Program:
    def program(e: Emitter, x: Any) -> Any:
        e.take("optimize", "layout")
        dtype = e.take("dtype")
        options = {"dtype": dtype_name(dtype)} if dtype is not None else {}
        return e.op(class_name, x, **options)

    return program


# Reductions.


def _axes(e: Emitter, what: str = "axis") -> list[int]:
    axis = e.take(what, "reduction_indices", "axes", "dimension", "dim")
    if axis is None:
        raise Refused("without an axis it joins the rows of a batch")
    return wholes(axis, "its axis")


def _keepdims(e: Emitter) -> bool:
    return bool(e.take("keepdims", "keep_dims", default=False))


def _reduction(class_name: str, floats: bool = False) -> Program:
    def program(e: Emitter, x: Any) -> Any:
        if isinstance(x, ShapeOf) and class_name == "Prod":
            e.take("axis")
            e.take("keepdims")
            return SizeOf(x.tensor, x.start, rest=True)
        if floats:
            e.need_floats(x)
        axes, keep = _axes(e), _keepdims(e)
        if not axes:
            return e.op("Copy", x)
        return e.op(class_name, x, axis=axes, keepdims=keep)

    return program


def _norm(e: Emitter, x: Any) -> Any:
    order = e.take("ord", default="euclidean")
    axes, keep = _axes(e), _keepdims(e)
    if order in ("euclidean", 2) and (order != 2 or len(axes) == 1):
        squares = e.op("Multiply", x, x)
        return e.op("Sqrt", e.op("Sum", squares, axis=axes, keepdims=keep))
    size = e.op("Absolute", x)
    if len(axes) > 1:
        raise Refused(f"the norm {printable(order)} of matrices is not read")
    if order == 1:
        return e.op("Sum", size, axis=axes, keepdims=keep)
    if order in (math.inf, "inf", "Infinity"):
        return e.op("Max", size, axis=axes, keepdims=keep)
    raise Refused(f"the norm {printable(order)} is not read")


def _l2_normalize(e: Emitter, x: Any) -> Any:
    axes, epsilon = _axes(e), e.take("epsilon", default=1e-12)
    total = e.op("Sum", e.op("Square", x), axis=axes, keepdims=True)
    return e.op("Multiply", x, e.op("Rsqrt", e.op("Maximum", total, epsilon)))


def _moments(e: Emitter, x: Any) -> Any:
    axes, keep = _axes(e, "axes"), _keepdims(e)
    e.need_floats(x)
    return [e.op(kind, x, axis=axes, keepdims=keep) for kind in ("Mean", "Var")]


def _arg(class_name: str) -> Program:
    def program(e: Emitter, x: Any) -> Any:
        (axis,) = _axes(e)
        e.take("output_type")
        return e.op(class_name, x, axis=axis)

    return program


def _cumulative(class_name: str) -> Program:
    def program(e: Emitter, x: Any) -> Any:
        axis = whole(e.take("axis", default=0), "its axis")
        reverse = e.take("reverse", default=False)
        if e.take("exclusive", default=False):
            raise Refused("exclusive=True is not read")
        x = e.op("Flip", x, axis=axis) if reverse else x
        y = e.op(class_name, x, axis=axis)
        return e.op("Flip", y, axis=axis) if reverse else y

    return program


def _softmax(class_name: str) -> Program:
    def program(e: Emitter, x: Any) -> Any:
        axis = e.take("axis", "dim", default=-1)
        return e.op(class_name, x, axis=whole(axis, "its axis"))

    return program


def _flatten_rows(e: Emitter, x: Any) -> Any:
    return e.layer("Flatten", x)


def _nothing_but(*inert: str) -> Program:
    def program(e: Emitter, x: Any) -> Any:
        e.take(*inert)
        return e.op("Copy", x)

    return program


def _to_floatx(e: Emitter, x: Any) -> Any:
    return e.op("Cast", x, dtype="float32")


_ELEMENTWISE = {
    "math.abs": "Absolute", "math.negative": "Negative", "math.sign": "Sign",
    "math.exp": "Exp", "math.expm1": "Expm1", "math.log": "Log", "math.log1p": "Log1p",
    "math.sqrt": "Sqrt", "math.rsqrt": "Rsqrt", "math.square": "Square",
    "math.reciprocal": "Reciprocal", "math.sin": "Sin", "math.cos": "Cos",
    "math.tan": "Tan", "math.sinh": "Sinh", "math.cosh": "Cosh", "math.tanh": "Tanh",
    "math.atan": "Arctan", "math.asin": "Arcsin", "math.acos": "Arccos",
    "math.asinh": "Arcsinh", "math.acosh": "Arccosh", "math.atanh": "Arctanh",
    "math.erf": "Erf", "math.sigmoid": "Sigmoid", "nn.sigmoid": "Sigmoid",
    "nn.tanh": "Tanh", "math.log_sigmoid": "LogSigmoid", "math.softplus": "Softplus",
    "nn.softsign": "Softsign", "nn.relu": "Relu", "nn.relu6": "Relu6",
    "nn.elu": "Elu", "nn.selu": "Selu", "math.floor": "Floor", "math.ceil": "Ceil",
    "math.round": "Round", "math.rint": "Round", "math.is_nan": "Isnan",
    "math.is_inf": "Isinf", "math.is_finite": "Isfinite",
    "math.logical_not": "LogicalNot", "stop_gradient": "StopGradient",
    "math.conj": "Copy", "math.real": "Copy",
}  # fmt: skip
_PAIRS = {
    "__operators__.add": "Add", "math.add": "Add", "math.subtract": "Subtract",
    "math.pow": "Power", "math.maximum": "Maximum",
    "math.minimum": "Minimum", "math.floormod": "Mod", "math.mod": "Mod",
    "math.floordiv": "FloorDivide", "floor_div": "FloorDivide",
    "math.divide_no_nan": "DivideNoNan",
    "math.equal": "Equal", "math.not_equal": "NotEqual", "math.less": "Less",
    "math.less_equal": "LessEqual", "math.greater": "Greater",
    "math.greater_equal": "GreaterEqual", "math.logical_and": "LogicalAnd",
    "math.logical_or": "LogicalOr", "math.logical_xor": "LogicalXor",
    "__operators__.eq": "Equal", "__operators__.ne": "NotEqual",
}  # fmt: skip
_REDUCTIONS = {
    "math.reduce_sum": ("Sum", False), "math.reduce_mean": ("Mean", True),
    "math.reduce_prod": ("Prod", False), "math.reduce_max": ("Max", False),
    "math.reduce_min": ("Min", False), "math.reduce_variance": ("Var", True),
    "math.reduce_std": ("Std", True), "math.reduce_logsumexp": ("Logsumexp", False),
    "math.reduce_any": ("Any", False), "math.reduce_all": ("All", False),
}  # fmt: skip


def _einsum(e: Emitter, x: Any) -> Any:
    raise Refused(
        "Keras 2 writes its first operand down alone, so no program can tell the "
        "others; tf.matmul is written whole"
    )


FUNCTIONS: Mapping[str, Program] = {
    **{name: _unary(kind) for name, kind in _ELEMENTWISE.items()},
    **{name: _binary(kind) for name, kind in _PAIRS.items()},
    **{name: _reduction(*row) for name, row in _REDUCTIONS.items()},
    "math.multiply": _multiply,
    "math.truediv": _divide,
    "math.divide": _divide,
    "realdiv": _truncated_divide,
    "div": _truncated_divide,
    "math.multiply_no_nan": _multiply_no_nan,
    "math.reciprocal_no_nan": _reciprocal_no_nan,
    "math.squared_difference": _squared_difference,
    "math.add_n": _add_n,
    "math.accumulate_n": _add_n,
    "nn.leaky_relu": _leaky_relu,
    "nn.gelu": _gelu,
    "nn.silu": _silu,
    "nn.swish": _silu,
    "nn.crelu": _crelu,
    "nn.softmax": _softmax("Softmax"),
    "nn.log_softmax": _softmax("LogSoftmax"),
    "math.softmax": _softmax("Softmax"),
    "math.log_softmax": _softmax("LogSoftmax"),
    "clip_by_value": _clip,
    "where": _where,
    "cast": _cast,
    "dtypes.saturate_cast": _saturated,
    "convert_to_tensor": _convert,
    "identity": _nothing_but(),
    "ensure_shape": _nothing_but("shape"),
    "zeros_like": _like("ZerosLike"),
    "ones_like": _like("OnesLike"),
    "math.reduce_euclidean_norm": _norm,
    "norm": _norm,
    "math.l2_normalize": _l2_normalize,
    "nn.moments": _moments,
    "math.argmax": _arg("Argmax"),
    "math.argmin": _arg("Argmin"),
    "einsum": _einsum,
    "math.cumsum": _cumulative("Cumsum"),
    "math.cumprod": _cumulative("Cumprod"),
    **SHAPE_FUNCTIONS,
    "keras.backend.batch_flatten": _flatten_rows,
    "keras.backend.cast_to_floatx": _to_floatx,
    "keras.backend.print_tensor": _nothing_but("message", "summarize"),
}
"""Name of a function of TensorFlow -> the program that emits its equivalent."""
