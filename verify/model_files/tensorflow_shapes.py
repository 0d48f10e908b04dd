"""Say which raw operations compute TensorFlow's functions of shapes, parts and joins.

`SHAPE_FUNCTIONS` is a part of `verify.model_files.tensorflow_functions.FUNCTIONS`; a
program emits operations, as there.

Source: TensorFlow 2.21, python/ops/{array_ops,math_ops,embedding_ops}.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from verify.errors import printable
from verify.model_files.operation_emitter import (
    Emitter,
    FoldedRows,
    Program,
    Refused,
    ShapeOf,
    SizeOf,
    constant,
    dtype_name,
    is_tensor,
    whole,
    wholes,
)


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
    if isinstance(sizes[0], FoldedRows) and all(type(n) is int for n in sizes[1:]):
        if -1 in sizes:
            raise Refused("a size beside the number of rows is -1")
        sizes[0] = -1  # other axes are folded into that of the rows
    if len(sizes) == 2 and sizes[1] == SizeOf(x, 1, rest=True):
        return e.layer("Flatten", x)
    open_sizes = [k for k, n in enumerate(sizes) if type(n) is not int or n == -1]
    if rows and len(open_sizes) == 2:
        # Keras's layer keeps the rows apart, so that another size may stay open
        rest = [-1 if k in open_sizes else n for k, n in enumerate(sizes)]
        return e.layer("Reshape", x, target_shape=rest[1:])
    if rows and len(open_sizes) == 1:
        sizes[0] = -1
    if sizes[0] == -1 and any(isinstance(size, SizeOf) for size in sizes):
        return _around_an_axis(e, x, sizes)
    if any(type(size) is not int for size in sizes):
        raise Refused("its sizes must be numbers, or the number of rows and numbers")
    return e.op("Reshape", x, newshape=sizes)


def _around_an_axis(e: Emitter, x: Any, sizes: list[Any]) -> Any:
    """Emit a Reshape to ``(-1, T, n)``, where T is the size of an axis of `x` itself.

    Nothing in the call says that as many rows come out as went in. So that they do,
    whatever the sizes are, every step along that axis is reshaped by itself; if the
    numbers of a step do not fit, there is no result.
    """
    places = [k for k, n in enumerate(sizes) if isinstance(n, SizeOf)]
    numbers = [n for n in sizes[1:] if not isinstance(n, SizeOf)]
    if len(places) > 1 or any(type(n) is not int or n < 1 for n in numbers):
        raise Refused("more than one of its sizes is open beside that of the rows")
    place, size = places[0], sizes[places[0]]
    if size.rest or size.tensor != x:
        raise Refused("one of its sizes is that of another tensor, and the first is -1")
    last = place == len(sizes) - 1 and size.axis + 1 == e.rank(x)
    if last and (place, size.axis) != (1, 1):
        x = e.op("Moveaxis", x, source=[-1], destination=[1])
    elif (place, size.axis) != (1, 1):
        raise Refused(
            f"the first size is -1, and axis {size.axis}, whose size is open, becomes "
            f"axis {place}; it is read where both are the first or the last of a row"
        )
    x = e.op("ExpandDims", x, axis=-1)  # a step may be a number; and masks end
    step = {"name": f"{e.name}.step", "target_shape": numbers or [1]}
    inner = {
        "module": "keras.layers",
        "registered_name": None,
        "class_name": "Reshape",
        "config": {**step, **e.policy(x)},
    }
    y = e.layer("TimeDistributed", x, layer=inner)
    if not numbers:
        return e.op("Squeeze", y, axis=-1)
    if place == 1:
        return y
    return e.op("Moveaxis", y, source=[1], destination=[-1])


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
    batch_dims = e.take("batch_dims", default=0)
    e.take("partition_strategy")  # how several tables are joined; here is one
    if e.take("max_norm") is not None:
        raise Refused("max_norm is not read")
    if batch_dims:
        return _gathered_by_row(e, x, indices, (batch_dims, axis))
    if is_tensor(indices) and not is_tensor(x) and axis == 0:
        return looked_up(e, x, indices)
    if is_tensor(indices):
        raise Refused("the indices are a tensor; only numbers are read")
    if type(indices) is int:
        axis = whole(axis, "its axis")
        taken = e.op("Take", x, constant([indices], "int32"), axis=axis)
        return e.op("Squeeze", taken, axis=axis)
    return e.op("Take", x, constant(indices, "int32"), axis=whole(axis, "its axis"))


def _gathered_by_row(e: Emitter, x: Any, indices: Any, along: tuple[Any, Any]) -> Any:
    """Emit ``tf.gather`` in which each row has indices of its own, along axis 1."""
    if along not in ((1, 1), (1, None), (1, 0)):  # an axis below batch_dims is it
        raise Refused(f"batch_dims={along[0]} with axis={along[1]} is not read")
    axes, places = (e.rank(y) if is_tensor(y) else None for y in (x, indices))
    if axes is None or places is None:
        raise Refused("batch_dims, where the numbers of axes are not known")
    if axes < 2 or places != 2:
        raise Refused(f"batch_dims with indices of {places} axes is not read")
    for _ in range(axes - 2):
        indices = e.op("ExpandDims", indices, axis=-1)
    return e.op("TakeAlongAxis", x, indices, axis=1)


def _top_k(e: Emitter, x: Any) -> Any:
    k, order = whole(e.take("k", default=1), "k"), e.take("sorted", default=True)
    e.take("index_type")
    if order is not True:
        raise Refused("sorted=False, which leaves the order open, is not read")
    first = e.op("TopK", x, k=k, sorted=True)
    return [first, {**e.output(first, 1), "dtype": "int32"}]


def _ordered(class_name: str) -> Any:
    """Return the reader of ``tf.sort`` or ``tf.argsort``."""

    def read(e: Emitter, x: Any) -> Any:
        axis, way = e.take("axis", default=-1), e.take("direction", default="ASCENDING")
        e.take("stable")
        if way != "ASCENDING":
            raise Refused(f"direction={printable(way, 40)} is not read")
        return e.op(class_name, x, axis=whole(axis, "its axis"))

    return read


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
    if is_tensor(a) and is_tensor(b):
        raise Refused("of two tensors each row would meet each row of the other")
    if axes in (1, [-1, 0], [[-1], [0]]) and is_tensor(a) and np.ndim(b) <= 2:
        return e.op("Dot", a, b)
    if isinstance(axes, list):  # of one axis each, [2, 0] is short for [[2], [0]]
        axes = [wholes(ends, "an axis") for ends in axes]
    return e.op("Tensordot", a, b, axes=axes)


def _one_hot(e: Emitter, ids: Any) -> Any:
    depth, axis = whole(e.must_take("depth"), "depth"), e.take("axis", default=-1)
    on, off = e.take("on_value"), e.take("off_value")
    default = "float32" if not isinstance(on, int) else "int32"
    dtype = dtype_name(e.take("dtype", default=default))
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
        dtype = dtype_name(e.take("dtype", default="float32"))
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
    dtype = dtype_name(e.take("dtype", default="bool"))
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
    ones = e.op("OnesLike", limit.tensor, dtype=dtype_name(dtype))
    return e.op("Subtract", e.op("Cumsum", ones, axis=1), 1)


SHAPE_FUNCTIONS: Mapping[str, Program] = {
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
    "math.top_k": _top_k,
    "nn.top_k": _top_k,
    "sort": _ordered("Sort"),
    "argsort": _ordered("Argsort"),
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
}
"""Name of a function of TensorFlow -> the program that emits its equivalent."""
