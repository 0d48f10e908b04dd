"""Build an ONNX graph by arithmetic on symbolic arrays.

A `Value` stands for a tensor of the graph as an array stands for numbers in NumPy: it
has a dtype and a shape, and each operation on it adds a node. The functions of this
module know ONNX and nothing of Keras.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.errors import UnsupportedError, install_hint
from verify.model.dtypes import HALF_DTYPES, dtype_of, is_float, working

Dims = tuple[int | None, ...]
"""The shape of a tensor; None for an axis whose size is known only when it runs."""

OPSET, IR_VERSION = 18, 8
"""Version of the operators and of the format. ONNX Runtime reads them from 1.14 on; the
recurrent operators have not changed since opset 14."""


def onnx() -> Any:
    """Return the package onnx.

    Raises
    ------
    UnsupportedError
        It is not installed.
    """
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError:
        raise UnsupportedError(
            f"writing ONNX needs the package onnx. {install_hint('onnx')}"
        ) from None
    return onnx


@dataclass(frozen=True, eq=False)
class Value:
    """Stand for one tensor of a graph.

    Attributes
    ----------
    graph : Graph
    name : str
        As in the file.
    dtype : dtype
    shape : tuple of int or None
    """

    graph: Graph
    name: str
    dtype: np.dtype[Any]
    shape: Dims

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    def __add__(self, other: Any) -> Value:
        return self._binary("Add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self._binary("Add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self._binary("Sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self._binary("Sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self._binary("Mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self._binary("Mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self._binary("Div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self._binary("Div", other, self)

    def __pow__(self, other: Any) -> Value:
        return self._binary("Pow", self, other)

    def __gt__(self, other: Any) -> Value:
        return self._compared("Greater", other)

    def __ge__(self, other: Any) -> Value:
        return self._compared("GreaterOrEqual", other)

    def __lt__(self, other: Any) -> Value:
        return self._compared("Less", other)

    def __le__(self, other: Any) -> Value:
        return self._compared("LessOrEqual", other)

    def equals(self, other: Any) -> Value:
        """Return where this equals another value."""
        return self._compared("Equal", other)

    def __and__(self, other: Any) -> Value:
        return self._binary("And", self, other)

    def __or__(self, other: Any) -> Value:
        return self._binary("Or", self, other)

    def __invert__(self) -> Value:
        return self.unary("Not")

    def __neg__(self) -> Value:
        return self.unary("Neg")

    def __matmul__(self, other: Any) -> Value:
        right = self.graph.given(other, self.dtype)
        if right.ndim == 1:
            shape = self.shape[:-1]
        else:
            batch = broadcast(self.shape[:-2], right.shape[:-2])
            rows = self.shape[-2:-1] if self.ndim > 1 else ()
            shape = (*batch, *rows, right.shape[-1])
        return self.graph.op("MatMul", [self, right], self.dtype, shape)

    __array_ufunc__ = None
    """NumPy leaves operations with an array on the left to this class."""

    def binary(self, kind: str, other: Any, **options: Any) -> Value:
        """Return the result of an operator of two inputs, in this dtype."""
        other = self.graph.given(other, self.dtype)
        shape = broadcast(self.shape, other.shape)
        return self.graph.op(kind, [self, other], self.dtype, shape, **options)

    def _binary(self, kind: str, left: Any, right: Any) -> Value:
        a, b = (self.graph.given(item, self.dtype) for item in (left, right))
        return self.graph.op(kind, [a, b], self.dtype, broadcast(a.shape, b.shape))

    def _compared(self, kind: str, other: Any) -> Value:
        a, b = self, self.graph.given(other, self.dtype)
        if self.dtype.kind in "iu" and self.dtype.itemsize < 4:
            a, b = a.cast(np.int32), b.cast(np.int32)  # few runtimes compare these
        shape = broadcast(a.shape, b.shape)
        return self.graph.op(kind, [a, b], np.dtype(bool), shape)

    def unary(self, kind: str, **options: Any) -> Value:
        """Return the result of an operator of one input that keeps the shape."""
        return self.graph.op(kind, [self], self.dtype, self.shape, **options)

    def cast(self, dtype: Any) -> Value:
        """Return the value in another dtype."""
        to = np.dtype(dtype)
        if to == self.dtype:
            return self
        code = onnx().helper.np_dtype_to_tensor_dtype(to)
        return self.graph.op("Cast", [self], to, self.shape, to=code)

    def rounded(self, name: str) -> Value:
        """Return the value rounded to a dtype and held in the working dtype.

        As `verify.model.dtypes.rounded`: 16-bit numbers are held as float32.
        """
        if not is_float(self):  # type: ignore[arg-type]
            return self
        value = self.cast(dtype_of(name)) if name in HALF_DTYPES else self
        return value.cast(working(name))

    def clip(self, low: float | None, high: float | None) -> Value:
        """Return the value, at least `low` and at most `high`."""
        ends = [
            None if end is None else self.graph.constant(np.asarray(end, self.dtype))
            for end in (low, high)
        ]
        return self.graph.op("Clip", [self, *ends], self.dtype, self.shape)

    def minimum(self, other: Any) -> Value:
        """Return the smaller of two values, element by element."""
        return self._binary("Min", self, other)

    def maximum(self, other: Any) -> Value:
        """Return the greater of two values, element by element."""
        return self._binary("Max", self, other)

    def reduce(self, kind: str, axes: Sequence[int], keepdims: bool = False) -> Value:
        """Return ``ReduceSum`` and the like over some axes."""
        over = sorted(axis % self.ndim for axis in axes)
        shape = tuple(
            1 if k in over else size
            for k, size in enumerate(self.shape)
            if keepdims or k not in over
        )
        inputs = [self, self.graph.integers(over)]
        return self.graph.op(kind, inputs, self.dtype, shape, keepdims=int(keepdims))

    def any(self, axes: Sequence[int], keepdims: bool = False) -> Value:
        """Return whether any of these truth values is true along some axes."""
        found = self.cast(np.int32).reduce("ReduceMax", axes, keepdims)
        return found.cast(bool)

    def all(self, axes: Sequence[int], keepdims: bool = False) -> Value:
        """Return whether all of these truth values are true along some axes."""
        found = self.cast(np.int32).reduce("ReduceMin", axes, keepdims)
        return found.cast(bool)

    def transpose(self, order: Sequence[int]) -> Value:
        """Return the value with its axes in another order."""
        if list(order) == list(range(self.ndim)):
            return self
        shape = tuple(self.shape[k] for k in order)
        return self.graph.op("Transpose", [self], self.dtype, shape, perm=list(order))

    def moved(self, source: int, target: int) -> Value:
        """Return the value with one axis in another place, as `np.moveaxis`."""
        source, target = source % self.ndim, target % self.ndim
        order = [k for k in range(self.ndim) if k != source]
        order.insert(target, source)
        return self.transpose(order)

    def expand(self, *axes: int) -> Value:
        """Return the value with axes of size 1 inserted, counted in the result."""
        ndim = self.ndim + len(axes)
        places = sorted(axis % ndim for axis in axes)
        left = iter(self.shape)
        shape = tuple(1 if k in places else next(left) for k in range(ndim))
        inputs = [self, self.graph.integers(places)]
        return self.graph.op("Unsqueeze", inputs, self.dtype, shape)

    def squeeze(self, *axes: int) -> Value:
        """Return the value without some axes of size 1."""
        places = sorted(axis % self.ndim for axis in axes)
        shape = tuple(size for k, size in enumerate(self.shape) if k not in places)
        inputs = [self, self.graph.integers(places)]
        return self.graph.op("Squeeze", inputs, self.dtype, shape)

    def reshape(self, sizes: Sequence[int], shape: Dims | None = None) -> Value:
        """Return the value in another shape.

        Parameters
        ----------
        sizes : sequence of int
            As ONNX reads them: 0 is the size of the same axis here, -1 what is left.
        shape : tuple of int or None, optional
            The new shape, if it is known better than from the sizes.
        """
        if shape is None:
            known = [self.shape[k] if s == 0 else s for k, s in enumerate(sizes)]
            count = None if None in self.shape else math.prod(self.shape)  # type: ignore[arg-type]
            left: int | None = None
            if count is not None and None not in known:
                left = count // math.prod(s for s in known if s != -1)  # type: ignore[misc]
            elif -1 in known:
                # sizes that both shapes leave open cancel where they are the same
                # axes at the front, which 0 keeps
                kept = [k for k, s in enumerate(sizes) if s == 0]
                mine = [s for k, s in enumerate(self.shape) if k not in kept]
                others = [s for k, s in enumerate(known) if k not in kept and s != -1]
                if None not in mine and None not in others:
                    left = math.prod(mine) // math.prod(others)  # type: ignore[arg-type]
            shape = tuple(left if s == -1 else s for s in known)
        inputs = [self, self.graph.integers(sizes)]
        return self.graph.op("Reshape", inputs, self.dtype, shape)

    def reshape_to(self, sizes: Value, shape: Dims) -> Value:
        """Return the value in a shape that is computed when the graph runs."""
        return self.graph.op("Reshape", [self, sizes], self.dtype, shape)

    def sizes(self, start: int = 0, end: int | None = None) -> Value:
        """Return the sizes of some axes, as whole numbers of 64 bits."""
        ndim = len(self.shape[start:end])
        options: dict[str, Any] = {"start": start}
        if end is not None:
            options["end"] = end
        return self.graph.op("Shape", [self], np.dtype(np.int64), (ndim,), **options)

    def slice(self, axis: int, start: int, end: int | None, step: int = 1) -> Value:
        """Return some positions of an axis; start and end as in Python."""
        axis %= self.ndim
        limits = np.iinfo(np.int64)
        ends = (limits.max if step > 0 else limits.min) if end is None else end
        size = self.shape[axis]
        if size is not None:
            size = len(range(*slice(start, end, step).indices(size)))
        shape = (*self.shape[:axis], size, *self.shape[axis + 1 :])
        places = [self.graph.integers([k]) for k in (start, ends, axis, step)]
        return self.graph.op("Slice", [self, *places], self.dtype, shape)

    def flip(self, axis: int) -> Value:
        """Return the value with an axis in the opposite order."""
        return self.slice(axis, -1, None, -1)

    def take(self, axis: int, position: int) -> Value:
        """Return one position of an axis, without that axis."""
        return self.gather(self.graph.constant(np.int64(position)), axis)

    def gather(self, indices: Value, axis: int = 0) -> Value:
        """Return the entries at these indices of an axis."""
        axis %= self.ndim
        shape = (*self.shape[:axis], *indices.shape, *self.shape[axis + 1 :])
        return self.graph.op("Gather", [self, indices], self.dtype, shape, axis=axis)

    def gather_rows(self, indices: Value) -> Value:
        """Return ``value[b, indices[b, t]]`` for every row b and every t.

        Parameters
        ----------
        indices : (batch, time) of int64
        """
        shape = (self.shape[0], indices.shape[1], *self.shape[2:])
        inputs = [self, indices.expand(-1)]
        return self.graph.op("GatherND", inputs, self.dtype, shape, batch_dims=1)

    def pad(self, widths: Sequence[tuple[int, int]], value: Any = 0) -> Value:
        """Return the value with numbers added at both ends of each axis."""
        before, after = ([width[end] for width in widths] for end in (0, 1))
        shape = tuple(
            None if s is None else s + sum(width)
            for s, width in zip(self.shape, widths, strict=True)
        )
        fill = self.graph.constant(np.asarray(value, self.dtype))
        inputs = [self, self.graph.integers([*before, *after]), fill]
        return self.graph.op("Pad", inputs, self.dtype, shape, mode="constant")

    def softmax(self, axis: int) -> Value:
        """Return ``exp(x) / sum(exp(x))`` over one axis."""
        return self.unary("Softmax", axis=axis % self.ndim)

    def cumsum(self, axis: int) -> Value:
        """Return the running sum along an axis."""
        along = self.graph.constant(np.int64(axis % self.ndim))
        return self.graph.op("CumSum", [self, along], self.dtype, self.shape)


def broadcast(a: Dims, b: Dims) -> Dims:
    """Return the shape of an operation on two tensors, by NumPy's rule."""
    ndim = max(len(a), len(b))
    found: list[int | None] = []
    for m, n in zip(
        (1,) * (ndim - len(a)) + tuple(a), (1,) * (ndim - len(b)) + tuple(b),
        strict=True,
    ):  # fmt: skip
        if m == 1 or n == 1:
            found.append(n if m == 1 else m)
        else:
            found.append(m if n is None else n)
    return tuple(found)


RECURRENT = frozenset({"RNN", "LSTM", "GRU"})


def _names_read(node: Any) -> set[str]:
    """Return the tensors that a node reads, in the bodies of loops too."""
    found = set(node.input)
    for attribute in node.attribute:
        for inner in attribute.g.node:
            found |= _names_read(inner)
    return found


class Graph:
    """Collect the nodes, constants, inputs and outputs of a file.

    Parameters
    ----------
    reserved : sequence of str
        Names that no tensor of its own may take: those of inputs and outputs.

    Attributes
    ----------
    look_ups : dict of str to pair of Value
        Name of a tensor -> the table and the ids (batch, time) of which it is
        ``table[ids]``.
    """

    def __init__(self, reserved: Sequence[str] = ()) -> None:
        self._onnx = onnx()
        self.initializers: list[Any] = []
        self.look_ups: dict[str, tuple[Value, Value]] = {}
        self._scopes: list[list[Any]] = [[]]
        self._names = set(reserved)
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._path: list[str] = []

    @property
    def nodes(self) -> list[Any]:
        """Return the nodes of the graph, or of the body that is being written."""
        return self._scopes[-1]

    @contextlib.contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Put the name of a layer in front of those of its tensors."""
        self._path.append(name)
        try:
            yield
        finally:
            self._path.pop()

    @contextlib.contextmanager
    def body(self) -> Iterator[list[Any]]:
        """Collect nodes for the body of a loop, and yield the list of them."""
        self._scopes.append([])
        try:
            yield self._scopes[-1]
        finally:
            self._scopes.pop()

    def unique(self, hint: str) -> str:
        """Return a name that no other tensor has."""
        base = "/".join(filter(None, (*self._path, hint)))
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name

    def op(
        self,
        kind: str,
        inputs: Sequence[Value | None],
        dtype: Any,
        shape: Dims,
        hint: str = "",
        **options: Any,
    ) -> Value:
        """Add a node of one output, and return it."""
        (value,) = self.ops(kind, inputs, [(dtype, shape)], [hint], **options)
        assert value is not None
        return value

    def ops(
        self,
        kind: str,
        inputs: Sequence[Value | None],
        outputs: Sequence[tuple[Any, Dims] | None],
        hints: Sequence[str] = (),
        **options: Any,
    ) -> list[Value | None]:
        """Add a node of several outputs; None stands for one that is not used."""
        names = [*hints, *[""] * len(outputs)]
        found = [
            None
            if given is None
            else Value(
                self, self.unique(name or kind), np.dtype(given[0]), tuple(given[1])
            )
            for given, name in zip(outputs, names, strict=False)
        ]
        received = ["" if value is None else value.name for value in inputs]
        while received and not received[-1]:
            received.pop()
        returned = ["" if value is None else value.name for value in found]
        node = self._onnx.helper.make_node(
            kind,
            received,
            returned,
            name=self.unique(f"{kind}_node"),
            **options,
        )
        self.nodes.append(node)
        return found

    def constant(self, array: Any, hint: str = "constant") -> Value:
        """Return a constant; equal ones are stored once."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (array.dtype.str + array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            value = Value(self, self.unique(hint), array.dtype, array.shape)
            tensor = self._onnx.numpy_helper.from_array(array, value.name)
            self.initializers.append(tensor)
            self._constants[key] = value
        return self._constants[key]

    def integers(self, numbers: Sequence[int]) -> Value:
        """Return a list of whole numbers as a constant of 64 bits."""
        return self.constant(np.asarray(numbers, dtype=np.int64), "sizes")

    def given(self, item: Any, dtype: np.dtype[Any]) -> Value:
        """Return a value as it is, and numbers or an array as a constant."""
        if isinstance(item, Value):
            return item
        return self.constant(np.asarray(item).astype(dtype))

    def where(self, condition: Value, x: Any, y: Any) -> Value:
        """Return `x` where the condition is true, else `y`."""
        dtype = next(item.dtype for item in (x, y) if isinstance(item, Value))
        a, b = self.given(x, dtype), self.given(y, dtype)
        shape = broadcast(condition.shape, broadcast(a.shape, b.shape))
        return self.op("Where", [condition, a, b], dtype, shape)

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """Return values side by side along an axis."""
        ndim = values[0].ndim
        axis %= ndim
        sizes = [value.shape[axis] for value in values]
        total = None if None in sizes else sum(s for s in sizes if s is not None)
        others: list[int | None] = [
            next((v.shape[k] for v in values if v.shape[k] is not None), None)
            for k in range(ndim)
        ]
        others[axis] = total
        if len(values) == 1:
            return values[0]
        shape = tuple(others)
        return self.op("Concat", values, values[0].dtype, shape, axis=axis)

    def full(self, sizes: Value, shape: Dims, number: Any, dtype: Any) -> Value:
        """Return a value filled with one number, of sizes known when it runs."""
        fill = np.asarray([number], dtype=dtype)
        tensor = self._onnx.numpy_helper.from_array(fill)
        return self.op("ConstantOfShape", [sizes], dtype, shape, value=tensor)

    def zeros_like(self, value: Value) -> Value:
        """Return zeros of the shape of a value."""
        return self.full(value.sizes(), value.shape, 0, value.dtype)

    def steps(self, value: Value, axis: int = 1) -> Value:
        """Return 0, 1, 2, ... for the positions of an axis: (size,) of int64."""
        count = value.sizes(axis, axis + 1).squeeze(0)
        zero, one = (self.constant(np.int64(k)) for k in (0, 1))
        inputs, shape = [zero, count, one], (value.shape[axis],)
        return self.op("Range", inputs, np.dtype(np.int64), shape)

    def expanded(self, value: Value, sizes: Value, shape: Dims) -> Value:
        """Return a value repeated along axes of size 1, to sizes known at run time."""
        return self.op("Expand", [value, sizes], value.dtype, shape)

    def einsum(self, equation: str, values: Sequence[Value], shape: Dims) -> Value:
        """Return an Einstein sum."""
        dtype = values[0].dtype
        return self.op("Einsum", values, dtype, shape, equation=equation)

    def split(self, value: Value, sizes: Sequence[int], axis: int) -> list[Value]:
        """Return the parts of an axis."""
        axis %= value.ndim
        shapes = [
            (value.dtype, (*value.shape[:axis], size, *value.shape[axis + 1 :]))
            for size in sizes
        ]
        inputs = [value, self.integers(sizes)]
        found = self.ops("Split", inputs, shapes, axis=axis)
        return [part for part in found if part is not None]

    def prune(self, outputs: Sequence[str]) -> None:
        """Leave out nodes, outputs of nodes and constants that nothing uses.

        Parameters
        ----------
        outputs : sequence of str
            Names of the outputs of the file.
        """
        used, kept = set(outputs), []
        for node in reversed(self.nodes):
            if not used & set(node.output):
                continue
            if node.op_type in RECURRENT:  # all of their outputs are optional
                names = [name if name in used else "" for name in node.output]
                while not names[-1]:
                    names.pop()
                node.output[:] = names
            used |= _names_read(node)
            kept.append(node)
        self.nodes[:] = kept[::-1]
        self.initializers[:] = [one for one in self.initializers if one.name in used]

    @property
    def operators(self) -> dict[str, int]:
        """Return how often each operator occurs, bodies of loops left out."""
        found: dict[str, int] = {}
        for node in self.nodes:
            found[node.op_type] = found.get(node.op_type, 0) + 1
        return dict(sorted(found.items()))

    def info(self, value: Value, names: Mapping[int, str] | None = None) -> Any:
        """Return how the file describes an input or output; `names` are of axes."""
        names = names or {}
        dims = [
            names.get(k, f"{value.name}_{k}") if size is None else size
            for k, size in enumerate(value.shape)
        ]
        code = self._onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        return self._onnx.helper.make_tensor_value_info(value.name, code, dims)
