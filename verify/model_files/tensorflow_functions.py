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
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from verify.errors import printable
from verify.model_files.operation_emitter import (
    FLOATS,
    Emitter,
    Refused,
    ShapeOf,
    SizeOf,
    constant,
    is_tensor,
    whole,
    wholes,
)

# One function each: elementwise functions and activations.

Program = Callable[[Emitter, Any], Any]


def _unary(class_name: str, **options: Any) -> Program:
    return lambda e, x: e.op(class_name, x, **options)


def _binary(class_name: str) -> Program:
    return lambda e, x: e.op(class_name, x, e.must_take("y", "other", "b"))


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
    dtype = _dtype_name(e.must_take("dtype"))
    return e.op("Cast", x, dtype=dtype)


def _dtype_name(value: Any) -> str:
    """Return a dtype as Keras names it, however it was written."""
    if isinstance(value, Mapping):
        inner = value.get("config", value)
        value = inner.get("name", inner) if isinstance(inner, Mapping) else inner
    if not isinstance(value, str):
        raise Refused(f"dtype {printable(value, 40)} cannot be read")
    return value.removeprefix("<dtype: '").removesuffix("'>").removeprefix("tf.")


def _saturated(e: Emitter, x: Any) -> Any:
    dtype = _dtype_name(e.must_take("dtype"))
    if dtype not in FLOATS or e.dtype(x) != dtype:
        raise Refused("saturation is not read")
    return e.op("Cast", x, dtype=dtype)


def _convert(e: Emitter, x: Any) -> Any:
    e.take("dtype_hint", "as_ref", "preferred_dtype")
    dtype = e.take("dtype")
    if not is_tensor(x):
        raise Refused("a list of tensors is joined; use tf.stack")
    return e.op(
        "ConvertToTensor", x, **({"dtype": _dtype_name(dtype)} if dtype else {})
    )


def _like(class_name: str) -> Program:
    def program(e: Emitter, x: Any) -> Any:
        e.take("optimize", "layout")
        dtype = e.take("dtype")
        options = {"dtype": _dtype_name(dtype)} if dtype is not None else {}
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


# Shapes, parts and joins.


def _shape(e: Emitter, x: Any) -> Any:
    e.take("out_type", "optimize")
    return ShapeOf(x)


def _getitem(e: Emitter, x: Any) -> Any:
    key = e.must_take("slice_spec")
    if isinstance(x, (ShapeOf, list)):
        return _of_shape(x, key)
    return e.op("GetItem", x, _key(key if isinstance(key, list) else [key]))


def _of_shape(shape: Any, key: Any) -> Any:
    """Return a part of the shape of a tensor."""
    if isinstance(shape, list):  # a shape that is put together in the graph
        raise Refused("a part of a list is taken")
    if type(key) is list and len(key) == 1:
        key = key[0]
    if type(key) is int and key + shape.start >= 0 and key >= 0:
        return SizeOf(shape.tensor, key + shape.start)
    if isinstance(key, Mapping) and key.get("stop") is None and key.get("step") is None:
        start = key.get("start") or 0
        if type(start) is int and start >= 0:
            return ShapeOf(shape.tensor, shape.start + start)
    raise Refused("this part of the shape of a tensor is not read")


def _key(spec: Any) -> Any:
    """Return a key of ``x[key]`` in the form of Keras 3."""
    if isinstance(spec, list):
        return {"class_name": "__tuple__", "items": [_key(item) for item in spec]}
    if spec is None or type(spec) is int:
        return spec
    if isinstance(spec, Mapping) and spec.get("class_name") == "__ellipsis__":
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(spec, Mapping) and spec.keys() <= {"start", "stop", "step"}:
        ends = {end: spec.get(end) for end in ("start", "stop", "step")}
        if all(end is None or type(end) is int for end in ends.values()):
            return {"class_name": "__slice__", "config": ends}
    if is_tensor(spec):
        raise Refused("the place is a tensor; only numbers are read")
    raise Refused("a place or an end of a slice is no number")


def _slices(*parts: tuple[int | None, int | None]) -> list[Any]:
    return [{"start": a, "stop": b, "step": None} for a, b in parts]


def _slice(e: Emitter, x: Any) -> Any:
    begin = wholes(e.must_take("begin"), "begin")
    size = wholes(e.must_take("size"), "size")
    ends = [None if n == -1 else a + n for a, n in zip(begin, size, strict=True)]
    return e.op("GetItem", x, _key(_slices(*zip(begin, ends, strict=True))))


def _strided_slice(e: Emitter, x: Any) -> Any:
    begin, end = (wholes(e.must_take(k), k) for k in ("begin", "end"))
    strides = e.take("strides", default=[1] * len(begin))
    masks = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask")
    return getitem_by_masks(
        e,
        x,
        (begin, end, wholes(strides, "strides")),
        {k: e.take(k, default=0) for k in (*masks, "shrink_axis_mask")},
    )


def getitem_by_masks(
    e: Emitter, x: Any, ends: tuple[list[int], ...], masks: Mapping[str, int]
) -> Any:
    """Emit ``x[key]`` for the five bit masks of TensorFlow's StridedSlice."""
    key: list[Any] = []
    for k, (begin, end, step) in enumerate(zip(*ends, strict=True)):
        bit = {name for name, mask in masks.items() if mask >> k & 1}
        if "ellipsis_mask" in bit:
            key.append({"class_name": "__ellipsis__"})
        elif "new_axis_mask" in bit:
            key.append(None)
        elif "shrink_axis_mask" in bit:
            key.append(begin)
        else:
            first = None if "begin_mask" in bit else begin
            last = None if "end_mask" in bit else end
            key.append({"start": first, "stop": last, "step": step})
    if isinstance(x, ShapeOf):
        return _of_shape(
            x, [{**i, "step": None} if isinstance(i, dict) else i for i in key]
        )
    return e.op("GetItem", x, _key(key))


def _reshape(e: Emitter, x: Any) -> Any:
    shape = e.must_take("shape")
    return reshaped(e, x, shape)


def reshaped(e: Emitter, x: Any, shape: Any) -> Any:
    """Emit a Reshape whose first size is the number of rows."""
    if isinstance(shape, ShapeOf):
        raise Refused("the shape is that of another tensor; only numbers are read")
    sizes = list(shape) if isinstance(shape, list) else [shape]
    rows = isinstance(sizes[0], SizeOf) and sizes[0].axis == 0 and not sizes[0].rest
    if len(sizes) == 2 and sizes[1] == SizeOf(x, 1, rest=True):
        return e.layer("Flatten", x)
    open_sizes = [k for k, n in enumerate(sizes) if type(n) is not int or n == -1]
    if rows and len(open_sizes) == 2:
        # Keras's layer keeps the rows apart, so that another size may stay open
        rest = [-1 if k in open_sizes else n for k, n in enumerate(sizes)]
        return e.layer("Reshape", x, target_shape=rest[1:])
    if rows and len(open_sizes) == 1:
        sizes[0] = -1
    if any(type(size) is not int for size in sizes):
        raise Refused("its sizes must be numbers, or the number of rows and numbers")
    return e.op("Reshape", x, newshape=sizes)


def _transpose(e: Emitter, x: Any) -> Any:
    if e.take("conjugate", default=False) and not e.is_float(x):
        raise Refused("conjugate=True is not read")
    return e.op("Transpose", x, axes=wholes(e.must_take("perm"), "perm"))


def _swapped(e: Emitter, x: Any) -> Any:
    e.take("conjugate")
    return e.op("Swapaxes", x, axis1=-1, axis2=-2)


def _expand_dims(e: Emitter, x: Any) -> Any:
    return e.op("ExpandDims", x, axis=whole(e.must_take("axis", "dim"), "its axis"))


def _squeeze(e: Emitter, x: Any) -> Any:
    axis = e.take("axis", "squeeze_dims")
    if axis in (None, []):
        raise Refused("without an axis it may remove that of the rows")
    axes = wholes(axis, "its axis")
    return e.op("Squeeze", x, axis=axes[0] if len(axes) == 1 else axes)


def _concat(e: Emitter, xs: Any) -> Any:
    axis = whole(e.take("axis", "concat_dim", default=None), "its axis")
    return e.op("Concatenate", xs if isinstance(xs, list) else [xs], axis=axis)


def _stack(e: Emitter, xs: Any) -> Any:
    axis = whole(e.take("axis", default=0), "its axis")
    xs = xs if isinstance(xs, list) else [xs]
    if not any(map(is_tensor, xs)) and any(isinstance(x, SizeOf) for x in xs):
        return [list(xs)]  # a single value: a shape that is put together
    return e.op("Stack", xs, axis=axis)


def _split(e: Emitter, x: Any) -> Any:
    sizes = e.must_take("num_or_size_splits")
    axis = whole(e.take("axis", "split_dim", default=0), "its axis")
    e.take("num")
    return split(e, x, sizes, axis)


def split(e: Emitter, x: Any, sizes: Any, axis: int) -> list[Any]:
    """Emit a Split into a number of parts, or into parts of some sizes."""
    parts: Any = sizes
    count = parts
    if isinstance(sizes, list):
        found = wholes(sizes, "a size")
        if -1 in found[:-1]:
            raise Refused("a size of -1 before the last one is not read")
        count, parts = len(found), np.cumsum(found[:-1]).tolist()
    first = e.op("Split", x, indices_or_sections=parts, axis=axis)
    return [e.output(first, k) for k in range(whole(count, "the number of parts"))]


def _unstack(e: Emitter, x: Any) -> Any:
    axis, num = whole(e.take("axis", default=0), "its axis"), e.take("num")
    if isinstance(x, ShapeOf):
        return [SizeOf(x.tensor, x.start + k) for k in range(_MOST_AXES)]
    first = e.op("Unstack", x, num=num, axis=axis)
    return [e.output(first, k) for k in range(_MOST_PARTS if num is None else num)]


_MOST_AXES, _MOST_PARTS = 8, 4096


def _gather(e: Emitter, x: Any) -> Any:
    indices, axis = e.must_take("indices", "ids"), e.take("axis", default=0)
    e.take("validate_indices")
    if e.take("batch_dims", default=0):
        raise Refused("batch_dims is not read")
    e.take("partition_strategy")  # how several tables are joined; here is one
    if e.take("max_norm") is not None:
        raise Refused("max_norm is not read")
    if is_tensor(indices) and not is_tensor(x) and axis == 0:
        return looked_up(e, x, indices)
    if is_tensor(indices):
        raise Refused("the indices are a tensor; only numbers are read")
    if type(indices) is int:
        axis = whole(axis, "its axis")
        taken = e.op("Take", x, constant([indices], "int32"), axis=axis)
        return e.op("Squeeze", taken, axis=axis)
    return e.op("Take", x, constant(indices, "int32"), axis=whole(axis, "its axis"))


def looked_up(e: Emitter, table: Any, ids: Any) -> Any:
    """Emit the look-up of ids in a constant table, as a product with one-hot rows."""
    array = np.asarray(table)
    if array.ndim != 2 or array.dtype.kind != "f":
        raise Refused("the table is no matrix of floats")
    hot = e.op("OneHot", ids, num_classes=len(array), dtype="float32")
    return e.op("Dot", hot, constant(table, "float32"))


def _matmul(e: Emitter, a: Any) -> Any:
    b = e.must_take("b")
    flips = [
        bool(e.take(f"transpose_{k}", default=False))
        or bool(e.take(f"adjoint_{k}", default=False))
        for k in "ab"
    ]
    for k in ("a_is_sparse", "b_is_sparse", "output_type", "grad_a", "grad_b"):
        e.take(k)
    return matmul(e, a, b, flips)


def matmul(e: Emitter, a: Any, b: Any, flips: list[bool]) -> Any:
    """Emit ``a @ b``, with the last two axes swapped where `flips` says so."""
    a, b = (_flipped(e, x, flip) for x, flip in zip((a, b), flips, strict=True))
    return e.op("Matmul", a, b)


def _flipped(e: Emitter, x: Any, flip: bool) -> Any:
    if not flip:
        return x
    if is_tensor(x):
        return e.op("Swapaxes", x, axis1=-1, axis2=-2)
    return np.swapaxes(np.asarray(x), -1, -2).tolist()


def _matvec(e: Emitter, a: Any) -> Any:
    b = e.must_take("b")
    flip = bool(e.take("transpose_a", default=False))
    column = (
        e.op("ExpandDims", b, axis=-1)
        if is_tensor(b)
        else np.asarray(b)[..., None].tolist()
    )
    return e.op("Squeeze", matmul(e, a, column, [flip, False]), axis=-1)


def _tensordot(e: Emitter, a: Any) -> Any:
    b, axes = e.must_take("b"), e.must_take("axes")
    if is_tensor(b) or not is_tensor(a):
        raise Refused("only a constant as the second operand is read")
    matrix = np.asarray(b)
    if axes not in (1, [-1, 0], [[-1], [0]]) or matrix.ndim > 2:
        raise Refused(f"axes={printable(axes, 40)}; only axes=1 is read")
    return e.op("Dot", a, b)


def _one_hot(e: Emitter, ids: Any) -> Any:
    depth, axis = whole(e.must_take("depth"), "depth"), e.take("axis", default=-1)
    on, off = e.take("on_value"), e.take("off_value")
    default = "float32" if not isinstance(on, int) else "int32"
    dtype = _dtype_name(e.take("dtype", default=default))
    y = e.op("OneHot", ids, num_classes=depth, axis=axis, dtype=dtype)
    on, off = 1 if on is None else on, 0 if off is None else off
    if (on, off) == (1, 0):
        return y
    return e.op("Where", e.op("Equal", y, 1), on, off)


def _tile(e: Emitter, x: Any) -> Any:
    return e.op("Tile", x, repeats=wholes(e.must_take("multiples"), "multiples"))


def _repeat(e: Emitter, x: Any) -> Any:
    repeats, axis = e.must_take("repeats"), e.take("axis")
    if axis is None:
        raise Refused("without an axis it joins the rows of a batch")
    listed = wholes(repeats, "repeats")
    repeats = listed if isinstance(repeats, list) else listed[0]
    return e.op("Repeat", x, repeats=repeats, axis=whole(axis, "its axis"))


def _reverse(e: Emitter, x: Any) -> Any:
    return e.op("Flip", x, axis=wholes(e.must_take("axis"), "its axis"))


def _roll(e: Emitter, x: Any) -> Any:
    shifts = wholes(e.must_take("shift"), "shift")
    for shift, axis in zip(
        shifts, wholes(e.must_take("axis"), "its axis"), strict=True
    ):
        if shift:
            ends = [_along(axis, -shift, None), _along(axis, None, -shift)]
            parts = [e.op("GetItem", x, _key(end)) for end in ends]
            x = e.op("Concatenate", parts, axis=axis)
    return x


def _along(axis: int, start: int | None, stop: int | None) -> list[Any]:
    """Return the key of a slice along one axis."""
    part = _slices((start, stop))
    if axis >= 0:
        return [*_slices(*[(None, None)] * axis), *part]
    return [
        {"class_name": "__ellipsis__"},
        *part,
        *_slices(*[(None, None)] * (-1 - axis)),
    ]


def _pad(e: Emitter, x: Any) -> Any:
    widths = e.must_take("paddings")
    mode = str(e.take("mode", default="CONSTANT")).lower()
    value = e.take("constant_values", default=0)
    if mode == "constant" and value:
        return e.op("Pad", x, value, pad_width=widths, mode=mode)
    return e.op("Pad", x, pad_width=widths, mode=mode)


def _filled(number: float) -> Program:
    """Return the program of `tf.zeros` and `tf.ones`, with as many rows as a tensor."""

    def program(e: Emitter, shape: Any) -> Any:
        dtype = _dtype_name(e.take("dtype", default="float32"))
        e.take("layout")
        return filled(e, shape, number, dtype)

    return program


def filled(e: Emitter, shape: Any, number: float, dtype: str) -> Any:
    """Emit a tensor of one number, with the rows of another tensor."""
    if isinstance(shape, ShapeOf) and shape.start == 0:
        zeros = e.op("ZerosLike", shape.tensor, dtype=dtype)
        return zeros if number == 0 else e.op("Add", zeros, number)
    sizes = shape if isinstance(shape, list) else [shape]
    if not isinstance(sizes[0], SizeOf) or sizes[0].axis != 0 or sizes[0].rest:
        raise Refused("its first size must be the number of rows")
    rest = wholes(sizes[1:], "a size")
    flat = e.layer("Flatten", sizes[0].tensor)
    column = e.op("GetItem", flat, _key(_slices((None, None), (None, 1))))
    zeros = e.op("ZerosLike", column, dtype=dtype)
    y = e.op("Repeat", zeros, repeats=math.prod(rest), axis=1)
    y = y if len(rest) == 1 else e.op("Reshape", y, newshape=[-1, *rest])
    return y if number == 0 else e.op("Add", y, number)


def _fill(e: Emitter, dims: Any) -> Any:
    value = e.must_take("value")
    if type(value) not in (int, float):
        raise Refused("value is no number")
    dtype = "float32" if isinstance(value, float) else "int32"
    return filled(e, dims, value, dtype)


def _broadcast_to(e: Emitter, x: Any) -> Any:
    shape = e.must_take("shape")
    if isinstance(shape, ShapeOf) and shape.start == 0:
        return e.op("Add", x, e.op("ZerosLike", shape.tensor, dtype=e.dtype(x)))
    sizes = shape if isinstance(shape, list) else [shape]
    if not isinstance(sizes[0], SizeOf) or sizes[0].axis != 0 or sizes[0].rest:
        raise Refused("its first size must be the number of rows")
    rest = [1, *wholes(sizes[1:], "a size")]
    return e.op("Multiply", x, np.ones(rest).tolist())


def _sequence_mask(e: Emitter, lengths: Any) -> Any:
    steps = list(range(whole(e.must_take("maxlen"), "maxlen")))
    dtype = _dtype_name(e.take("dtype", default="bool"))
    column = e.op("ExpandDims", lengths, axis=-1)
    mask = e.op("Greater", column, steps)
    return mask if dtype == "bool" else e.op("Cast", mask, dtype=dtype)


def _range(e: Emitter, start: Any) -> Any:
    """Emit ``tf.range(tf.shape(ids)[1])``, the positions of tokens, for every row."""
    limit, delta = e.take("limit"), e.take("delta", default=1)
    if limit is None:
        start, limit = 0, start
    dtype = e.take("dtype", default="int32")
    steps = isinstance(limit, SizeOf) and limit.axis == 1 and not limit.rest
    if (start, delta) != (0, 1) or not steps or e.rank(limit.tensor) != 2:
        raise Refused("it counts something else than the steps of token ids")
    ones = e.op("OnesLike", limit.tensor, dtype=_dtype_name(dtype))
    return e.op("Subtract", e.op("Cumsum", ones, axis=1), 1)


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
    "math.atan": "Arctan", "math.sigmoid": "Sigmoid", "nn.sigmoid": "Sigmoid",
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
    "math.multiply": "Multiply", "math.pow": "Power", "math.maximum": "Maximum",
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

FUNCTIONS: Mapping[str, Program] = {
    **{name: _unary(kind) for name, kind in _ELEMENTWISE.items()},
    **{name: _binary(kind) for name, kind in _PAIRS.items()},
    **{name: _reduction(*row) for name, row in _REDUCTIONS.items()},
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
    "math.cumsum": _cumulative("Cumsum"),
    "math.cumprod": _cumulative("Cumprod"),
    "shape": _shape,
    "__operators__.getitem": _getitem,
    "slice": _slice,
    "strided_slice": _strided_slice,
    "reshape": _reshape,
    "transpose": _transpose,
    "linalg.matrix_transpose": _swapped,
    "linalg.adjoint": _swapped,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "concat": _concat,
    "stack": _stack,
    "split": _split,
    "unstack": _unstack,
    "gather": _gather,
    "nn.embedding_lookup": _gather,
    "linalg.matmul": _matmul,
    "linalg.matvec": _matvec,
    "tensordot": _tensordot,
    "one_hot": _one_hot,
    "tile": _tile,
    "repeat": _repeat,
    "reverse": _reverse,
    "roll": _roll,
    "pad": _pad,
    "zeros": _filled(0),
    "ones": _filled(1),
    "fill": _fill,
    "broadcast_to": _broadcast_to,
    "sequence_mask": _sequence_mask,
    "range": _range,
    "keras.backend.batch_flatten": _flatten_rows,
    "keras.backend.cast_to_floatx": _to_floatx,
    "keras.backend.print_tensor": _nothing_but("message", "summarize"),
}
"""Name of a function of TensorFlow -> the program that emits its equivalent."""
