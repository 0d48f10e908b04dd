"""Compute with arrays that have a shape and a dtype, but no memory of their own.

The shapes of all layers are learnt by evaluating a model, so that no layer type has to
compute its output shape by separate code. On real arrays that would take as long as a
prediction, and as much memory. An `Outline` behaves like an array of the same shape in
which all numbers are equal: operations on it cost the same for any number of steps.
What has no rule here is computed for real, which is slow but gives the same shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from verify.model.arrays import Array

"""Numbers up to which an array of bool is kept if its numbers are not all equal."""


class Outline(np.ndarray):
    """Be an array of one number, repeated along all axes without being stored.

    The number is true for what is computed element by element, so that masks are right;
    elsewhere, after a matrix product for example, it is 0 and means nothing. Results of
    bool that are not constant are arrays of their own: a mask is small.
    """

    def __array_finalize__(self, _: Any) -> None:
        """Keep a result of NumPy's that stores numbers from passing as an outline."""

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any
    ) -> Any:
        """Apply a ufunc to single numbers, and repeat the result."""
        found = _attempt(_UFUNC_METHODS.get(method), ufunc, *inputs, **kwargs)
        if found is not _NO_RULE:
            return found
        plain = _plain([list(inputs), kwargs])
        return _outlined(getattr(ufunc, method)(*plain[0], **plain[1]))

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        """Apply one of NumPy's functions by its rule, or else for real."""
        found = _attempt(_FUNCTIONS.get(func), *args, **kwargs)
        if found is not _NO_RULE:
            return found
        plain = _plain([list(args), kwargs])
        return _outlined(func(*plain[0], **plain[1]))

    def astype(self, dtype: Any, *args: Any, **options: Any) -> Any:
        """Return an outline of another dtype; itself if it has that one already."""
        if np.dtype(dtype) == self.dtype and not options.get("copy", True):
            return self
        return outline(self.shape, _one(self).astype(dtype))

    def reshape(self, *shape: Any, **options: Any) -> Any:
        """Return an outline of another shape."""
        wanted = shape[0] if len(shape) == 1 else shape
        wanted = (wanted,) if isinstance(wanted, (int, np.integer)) else tuple(wanted)
        sizes = [int(size) for size in wanted]
        known = math.prod(size for size in sizes if size != -1)
        if sizes.count(-1) == 1 and known and not self.size % known:
            sizes[sizes.index(-1)] = self.size // known
        if tuple(sizes) == self.shape:
            return self.view()
        if -1 in sizes or math.prod(sizes) != self.size:
            raise ValueError(
                f"cannot reshape array of size {self.size} into shape {wanted}"
            )
        return outline(sizes, _one(self))

    def ravel(self, *args: Any, **options: Any) -> Any:
        """Return an outline with one axis."""
        return self.reshape(-1)

    def flatten(self, *args: Any, **options: Any) -> Any:
        """Return an outline with one axis."""
        return self.reshape(-1)

    def copy(self, *args: Any, **options: Any) -> Any:
        """Return another outline that equals this one."""
        return outline(self.shape, _one(self))

    def repeat(self, repeats: Any, axis: Any = None) -> Any:
        """Repeat as `numpy.repeat` does."""
        return np.repeat(self, repeats, axis)

    def take(self, indices: Any, axis: Any = None, *args: Any, **options: Any) -> Any:
        """Take elements as `numpy.take` does."""
        return np.take(self, indices, axis, *args, **options)

    def clip(self, *args: Any, **options: Any) -> Any:
        """Limit the number as `numpy.clip` does."""
        return outline(self.shape, _one(self).clip(*args, **options))

    def dot(self, other: Any, *args: Any) -> Any:
        """Multiply as `numpy.dot` does."""
        return np.dot(self, other)

    def cumsum(self, axis: Any = None, *args: Any, **options: Any) -> Any:
        """Return zeros of the shape of a cumulative sum."""
        return np.cumsum(self, axis, *args, **options)

    def __getitem__(self, key: Any) -> Any:
        """Return a part of the outline, which is an outline."""
        return _outlined(self.view(np.ndarray)[key])


def outline(shape: Sequence[int], value: Any) -> Outline:
    """Return an array of one number that is repeated without being stored.

    Parameters
    ----------
    shape : sequence of int
    value : number, or an array of one number
        It has the dtype of the result.

    Raises
    ------
    ValueError
        NumPy cannot have so large an array.
    """
    one = np.asarray(value).reshape(()).copy()
    sizes = tuple(shape)
    if any(size < 0 for size in sizes):
        raise ValueError("negative dimensions are not allowed")
    try:
        # takes less time than numpy.broadcast_to
        found = Outline(sizes, one.dtype, one, strides=(0,) * len(sizes))
    except (ValueError, TypeError):  # a dtype without buffers, or too large a shape
        return np.broadcast_to(one, sizes).view(Outline)
    found.flags.writeable = False
    return found


def outline_of(value: Any) -> Any:
    """Return an outline in place of an array; whatever else as it is.

    A small array of bool stays: it may be a mask, and its numbers matter. So do texts,
    whose words make the steps of what comes of them.
    """
    if not isinstance(value, np.ndarray) or value.dtype.kind in "bU":
        return value
    if not any(value.strides):
        return value if isinstance(value, Outline) else value.view(Outline)
    return outline(value.shape, np.zeros((), value.dtype))


_NO_RULE = object()


def _attempt(rule: Callable[..., Any] | None, *args: Any, **kwargs: Any) -> Any:
    """Return what a rule gives; `_NO_RULE` where it cannot tell.

    Arguments that do not fit are such a case: NumPy itself then says what is wrong.
    """
    if rule is None:
        return _NO_RULE
    try:
        with np.errstate(all="ignore"):
            return rule(*args, **kwargs)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError):
        return _NO_RULE


def _plain(structure: Any) -> Any:
    """Return arguments with arrays of NumPy's own class, for NumPy's own code."""
    if isinstance(structure, Outline):
        return structure.view(np.ndarray)
    if isinstance(structure, dict):
        return {key: _plain(value) for key, value in structure.items()}
    if type(structure) in (list, tuple):
        return type(structure)(_plain(value) for value in structure)
    return structure


def _outlined(result: Any) -> Any:
    """Return outlines in place of what NumPy returned."""
    if not isinstance(result, np.ndarray):
        if isinstance(result, (list, tuple)):
            return type(result)(_outlined(one) for one in result)
        return result
    if not result.size or not result.ndim:
        return result.view(np.ndarray)
    if _constant(result):
        return result.view(Outline)
    if result.dtype.kind == "b":
        return result.view(np.ndarray)
    return outline(result.shape, np.zeros((), result.dtype))


def _constant(array: Array) -> bool:
    """Return whether an array stores one number only."""
    return not any(
        stride
        for stride, size in zip(array.strides, array.shape, strict=True)
        if size > 1
    )


def _one(array: Array) -> Array:
    """Return the first number of an array, as an array without axes."""
    return array.view(np.ndarray)[(0,) * array.ndim] if array.ndim else array


def _single(value: Any) -> Any:
    """Return an array with its first number alone, and a single step on all axes."""
    if not isinstance(value, np.ndarray):
        return value
    return value.view(np.ndarray)[(slice(0, 1),) * value.ndim]


def _shape(value: Any) -> tuple[int, ...]:
    """Return the shape; `numpy.shape` would ask an outline for a rule of its own."""
    return value.shape if isinstance(value, np.ndarray) else np.shape(value)


def _together(*values: Any) -> tuple[int, ...]:
    """Return the shape that values have together."""
    shapes = {_shape(value) for value in values} - {()}
    return shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)


def _kept(inputs: Sequence[Any]) -> bool:
    """Return whether a result of bool is computed for real: an input is no constant."""
    arrays = [x for x in inputs if isinstance(x, np.ndarray)]
    return all(x.dtype.kind == "b" for x in arrays) and not all(map(_constant, arrays))


def _called(ufunc: np.ufunc, *inputs: Any, **options: Any) -> Any:
    """Apply a ufunc element by element, or `numpy.matmul`."""
    out = options.pop("out", None)
    if ufunc is np.matmul:
        return _matmul(*inputs)
    if ufunc.signature is not None or _kept(inputs):
        return _NO_RULE
    where = options.pop("where", True)
    shape = _together(*inputs, *(() if where is True else (where,)))
    found = ufunc(*map(_single, inputs), **options)
    if out is not None:
        return outline(out[0].shape, np.asarray(found).astype(out[0].dtype))
    if isinstance(found, tuple):
        return tuple(outline(shape, _one(np.asarray(one))) for one in found)
    return outline(shape, _one(np.asarray(found)))


def _matmul(a: Any, b: Any) -> Outline:
    x, y = _shape(a), _shape(b)
    if len(x) < 1 or len(y) < 1 or x[-1] != y[-2 if len(y) > 1 else 0]:
        raise ValueError("matmul")
    front = np.broadcast_shapes(x[:-2], y[:-2])
    ends = (*x[-2:-1], *(y[-1:] if len(y) > 1 else ()))
    return _zeros((*front, *ends), a, b)


def _zeros(shape: Sequence[int], *like: Any) -> Outline:
    """Return an outline of zeros, of the dtype that the arguments have together."""
    dtype = np.result_type(*(x.dtype if hasattr(x, "dtype") else x for x in like))
    return outline(shape, np.zeros((), dtype))


def _reduced(
    ufunc: np.ufunc,
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    **options: Any,
) -> Any:
    """Reduce axes: what does not depend on how many numbers there are is right."""
    if not isinstance(array, np.ndarray) or _kept([array]) or not array.size:
        return _NO_RULE
    shape = _without(array.shape, axis, keepdims)
    one = np.atleast_1d(_one(array))
    found = ufunc.reduce(one, dtype=dtype, **options)
    if out is not None and not isinstance(out[0] if isinstance(out, tuple) else out,
                                          Outline):  # fmt: skip
        return _NO_RULE
    return outline(shape, found) if shape else np.asarray(found)[()]


def _without(shape: Sequence[int], axis: Any, keepdims: bool) -> tuple[int, ...]:
    """Return the shape that is left of an array when axes are reduced."""
    gone = range(len(shape)) if axis is None else np.atleast_1d(axis)
    axes = {range(len(shape))[k] for k in gone}
    if keepdims:
        return tuple(1 if k in axes else size for k, size in enumerate(shape))
    return tuple(size for k, size in enumerate(shape) if k not in axes)


def _accumulated(ufunc: np.ufunc, array: Any, axis: Any = 0, **options: Any) -> Any:
    return _zeros(array.shape, array)


_UFUNC_METHODS: Mapping[str, Callable[..., Any]] = {
    "__call__": _called,
    "reduce": _reduced,
    "accumulate": _accumulated,
}


def _reduction(name: str) -> Callable[..., Any]:
    """Return the rule for a function that reduces axes, such as `numpy.mean`."""

    def reduced(
        array: Any,
        axis: Any = None,
        *more: Any,
        keepdims: Any = False,
        **options: Any,
    ) -> Any:
        if more or not isinstance(array, np.ndarray) or _kept([array]):
            return _NO_RULE
        if not array.size or any(options.get(key) is not None for key in ("out",)):
            return _NO_RULE
        options = {k: v for k, v in options.items() if k == "dtype" and v is not None}
        shape = _without(array.shape, axis, keepdims is True)
        found = getattr(np, name)(np.atleast_1d(_one(array)), **options)
        return outline(shape, found) if shape else np.asarray(found)[()]

    return reduced


def _where(condition: Any, *branches: Any) -> Any:
    if len(branches) != 2 or _kept([condition, *branches]):
        return _NO_RULE
    shape = _together(condition, *branches)
    chosen = np.where(*map(_single, (condition, *branches)))
    return outline(shape, _one(chosen))


def _like(
    array: Any,
    *args: Any,
    dtype: Any = None,
    shape: Any = None,
    value: Any = 0,
    **_: Any,
) -> Any:
    number = args[0] if args else value
    kind = array.dtype if dtype is None else dtype
    return outline(array.shape if shape is None else shape, np.array(number, kind))


def _joined(arrays: Sequence[Any], axis: Any = 0, **options: Any) -> Any:
    """Join arrays; a result of bool whose parts differ is an array of its own."""
    if options or len({x.ndim for x in arrays}) != 1:
        return _NO_RULE
    at = range(arrays[0].ndim)[axis]
    rest = {x.shape[:at] + x.shape[at + 1 :] for x in arrays}
    if len(rest) != 1:
        raise ValueError("concatenate")
    shape = list(arrays[0].shape)
    shape[at] = sum(x.shape[at] for x in arrays)
    return _all_in(shape, arrays)


def _stacked(arrays: Sequence[Any], axis: Any = 0, **options: Any) -> Any:
    arrays = list(arrays)
    if options or len({x.shape for x in arrays}) != 1:
        return _NO_RULE
    at = range(arrays[0].ndim + 1)[axis]
    shape = list(arrays[0].shape)
    shape.insert(at, len(arrays))
    return _all_in(shape, arrays)


def _all_in(shape: Sequence[int], arrays: Sequence[Any]) -> Any:
    """Return an outline of all arrays together, or _NO_RULE for bools that differ."""
    dtype = np.result_type(*(x.dtype for x in arrays))
    ones = [_one(x) for x in arrays]
    if dtype.kind == "b":
        same = all(map(_constant, arrays)) and len({bool(one) for one in ones}) == 1
        return outline(shape, ones[0]) if same else _NO_RULE
    return outline(shape, np.zeros((), dtype))


def _padded(array: Any, widths: Any, mode: str = "constant", **options: Any) -> Any:
    if array.dtype.kind == "b":
        return _NO_RULE
    pairs = np.broadcast_to(np.asarray(widths), (array.ndim, 2))
    if (pairs < 0).any():
        return _NO_RULE
    sizes = [size + int(a) + int(b) for size, (a, b) in zip(array.shape, pairs,
                                                            strict=True)]  # fmt: skip
    return _zeros(sizes, array)


def _einsum(subscripts: Any, *arrays: Any, **options: Any) -> Any:
    """Return the shape of a sum of products, also where there is an ellipsis."""
    left, arrow, right = str(subscripts).replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or options.get("out") is not None or len(terms) != len(arrays):
        return _NO_RULE
    sizes: dict[str, int] = {}
    front: tuple[int, ...] = ()
    for term, array in zip(terms, arrays, strict=True):
        before, dots, after = term.partition("...")
        shape = np.shape(array)
        if len(shape) < len(before) + len(after) or (
            not dots and len(shape) != len(term)
        ):
            return _NO_RULE
        last = len(shape) - len(after)
        if dots:
            front = np.broadcast_shapes(front, shape[len(before) : last])
        named = [*zip(before, shape, strict=False)]
        named += [*zip(after, shape[last:], strict=True)] if dots else []
        for label, size in named:
            if sizes.setdefault(label, size) != size:
                if 1 not in (sizes[label], size):
                    return _NO_RULE
                sizes[label] = max(sizes[label], size)
    shape = []
    head, dots, tail = right.partition("...")
    shape = [sizes[label] for label in head]
    shape += [*front, *(sizes[label] for label in tail)] if dots else []
    return _zeros(shape, *arrays)


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    x, y = np.shape(a), np.shape(b)
    if isinstance(axes, int):
        pairs = [[*range(len(x) - axes, len(x))], [*range(axes)]]
    else:
        pairs = [[int(k) for k in np.atleast_1d(one)] for one in axes]
    of_a = [range(len(x))[k] for k in pairs[0]]
    of_b = [range(len(y))[k] for k in pairs[1]]
    if [x[k] for k in of_a] != [y[k] for k in of_b]:
        raise ValueError("tensordot")
    shape = [size for k, size in enumerate(x) if k not in of_a]
    shape += [size for k, size in enumerate(y) if k not in of_b]
    return _zeros(shape, a, b)


def _dot(a: Any, b: Any, **options: Any) -> Any:
    if options or np.ndim(a) < 1 or np.ndim(b) < 1:
        return _NO_RULE
    return _tensordot(a, b, ([-1], [-2 if np.ndim(b) > 1 else 0]))


def _same_shape(array: Any, *args: Any, **options: Any) -> Any:
    """Return the shape of what is sorted, rounded or the like."""
    if array.dtype.kind == "b" or options.get("axis", 0) is None:
        return _NO_RULE
    return _zeros(array.shape, array)


def _cumulative(
    array: Any, axis: Any = None, dtype: Any = None, out: Any = None
) -> Any:
    if axis is None or out is not None:
        return _NO_RULE
    kind = np.cumsum(np.zeros(1, array.dtype), dtype=dtype).dtype
    return outline(array.shape, np.zeros((), kind))


def _taken(array: Any, indices: Any, axis: Any = None, **options: Any) -> Any:
    """Take elements; indices that are known must be in range."""
    size = array.size if axis is None else array.shape[axis]
    near = _one(indices) if isinstance(indices, Outline) else np.asarray(indices)
    if near.size and not options and not ((near >= -size) & (near < size)).all():
        return _NO_RULE  # NumPy says so
    if isinstance(array, np.ndarray) and array.dtype.kind == "b":
        return _NO_RULE
    at = None if axis is None else range(array.ndim)[axis]
    before = () if at is None else array.shape[:at]
    after = () if at is None else array.shape[at + 1 :]
    return _zeros((*before, *np.shape(indices), *after), array)


def _repeated(array: Any, repeats: Any, axis: Any = None) -> Any:
    if not isinstance(repeats, (int, np.integer)) or not _constant(array):
        return _NO_RULE
    if axis is None:
        return outline((array.size * int(repeats),), _one(array))
    shape = list(array.shape)
    shape[axis] *= int(repeats)
    return outline(shape, _one(array))


def _tiled(array: Any, reps: Any) -> Any:
    if not _constant(array):
        return _NO_RULE
    times = tuple(int(k) for k in np.atleast_1d(reps))
    pairs = zip_longest(reversed(array.shape), reversed(times), fillvalue=1)
    return outline([a * b for a, b in pairs][::-1], _one(array))


def _in_shape(array: Any, *args: Any, **options: Any) -> Any:
    shape = args[0] if args else options.get("shape", options.get("newshape"))
    return array.reshape(shape) if isinstance(array, Outline) else _NO_RULE


def _indices(array: Any, axis: Any = None, *, keepdims: Any = False, **_: Any) -> Any:
    shape = _without(array.shape, axis, keepdims is True)
    return outline(shape, np.zeros((), np.intp))


def _order(array: Any, axis: Any = -1, **_: Any) -> Any:
    return _NO_RULE if axis is None else outline(array.shape, np.zeros((), np.intp))


_REDUCTIONS = (
    *("sum", "prod", "mean", "std", "var", "max", "min", "amax", "amin", "any", "all"),
    *("nanmax", "nanmin", "count_nonzero"),
)

_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **{getattr(np, name): _reduction(name) for name in _REDUCTIONS},
    np.where: _where,
    np.zeros_like: _like,
    np.empty_like: _like,
    np.ones_like: lambda array, **options: _like(array, value=1, **options),
    np.full_like: _like,
    np.concatenate: _joined,
    np.stack: _stacked,
    np.pad: _padded,
    np.einsum: _einsum,
    np.tensordot: _tensordot,
    np.dot: _dot,
    np.sort: _same_shape,
    np.round: _same_shape,
    np.cumsum: _cumulative,
    np.cumprod: _cumulative,
    np.take: _taken,
    np.repeat: _repeated,
    np.tile: _tiled,
    np.reshape: _in_shape,
    np.ravel: lambda array, *args, **options: array.reshape(-1),
    np.copy: lambda array, *args, **options: array.copy(),
    np.argmax: _indices,
    np.argmin: _indices,
    np.argsort: _order,
    np.ascontiguousarray: lambda array, *args, **options: array,
    np.asfortranarray: lambda array, *args, **options: array,
}


def rows_of(table: Array, ids: Array) -> Array:
    """Return the rows of a table that ids name, ``table[ids]``."""
    if not isinstance(ids, Outline):
        return table[ids]
    if ids.size and not -len(table) <= _one(ids) < len(table):
        raise IndexError(f"id {_one(ids)} of a table with {len(table)} rows")
    return outline((*ids.shape, *table.shape[1:]), np.zeros((), table.dtype))
