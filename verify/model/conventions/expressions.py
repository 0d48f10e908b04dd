"""Evaluate what turns Keras's weights into those of a framework, and back.

The language is small. It is written as in Python and evaluated here, never by Python:
``P(K).T``, ``cat(P(b), 0*b)[None]``.

========================  ============================================================
``K`` ``R`` ``b``         kernel, recurrent kernel and bias of the Keras layer
``'name'``                an array of the framework, on the way back to Keras
``U`` ``I``               units, inputs
``P(M)``                  the gate blocks of the last axis in the framework's order
``Q(M)``                  from the framework's order back into Keras's
``blk(M, k)``             gate block k, counted in Keras's order
``cat(...)``              arrays side by side, on the last axis
``vcat(...)``             arrays beneath each other
``rows(a, b)``            two rows as one array
``negz(M)``               the block of the update gate z negated
``sub1(M)`` ``add1(M)``   1 subtracted from, or added to, the block of the forget gate f
``M.T`` ``M[...]``        transposed; indexed by numbers, slices and ``None``
``+`` ``-`` ``*``         elementwise
========================  ============================================================
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from verify.model.arrays import Array


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Evaluate expressions over the arrays of one layer.

    Attributes
    ----------
    gates : tuple of str
        Keras's gates in its order, as in `verify.model.spec.GATES`.
    order : tuple of str
        The same gates in the framework's order.
    interleaved : bool
        Whether the framework stores the gates of one unit beside each other.
    units, inputs : int
    arrays : mapping of str to ndarray
        ``K``, ``R`` and ``b`` of Keras, or the arrays of the framework by their names.
    """

    gates: tuple[str, ...]
    order: tuple[str, ...]
    interleaved: bool
    units: int
    inputs: int
    arrays: Mapping[str, Array] = field(default_factory=dict)

    def __call__(self, expression: str) -> Array:
        """Return the value of an expression.

        Raises
        ------
        ValueError
            The expression is not in the language.
        KeyError
            It names an array that is not there.
        """
        return np.ascontiguousarray(self._value(_parsed(expression)))

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=str(name)):
                return self.arrays[name]
            case ast.Constant(value=int(number)):
                return number
            case ast.Constant(value=None):
                return None
            case ast.Name(id=("U" | "I") as name):
                return self.units if name == "U" else self.inputs
            case ast.Name(id=("K" | "R" | "b") as name):
                return self.arrays[name]
            case ast.BinOp(left, op, right) if type(op) in _OPERATIONS:
                return _OPERATIONS[type(op)](self._value(left), self._value(right))
            case ast.Attribute(value=value, attr="T"):
                return self._value(value).T
            case ast.Subscript(value=value, slice=index):
                return self._value(value)[self._index(index)]
            case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if (
                name in _FUNCTIONS
            ):
                return _FUNCTIONS[name](self, *map(self._value, given))
        raise ValueError(f"not in the language of expressions: {ast.unparse(node)}")

    def _index(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Slice):
            ends = (node.lower, node.upper, node.step)
            return slice(*(None if end is None else self._value(end) for end in ends))
        return self._value(node)

    def blocks(self, array: Array) -> list[Array]:
        """Split the last axis into the gate blocks of Keras's order."""
        return np.split(array, len(self.gates), axis=-1)

    def foreign(self, array: Array) -> Array:
        """Return gate blocks of Keras as the framework lays them out."""
        found = dict(zip(self.gates, self.blocks(array), strict=True))
        parts = [found[gate] for gate in self.order]
        if self.interleaved:
            return np.stack(parts, axis=-1).reshape(array.shape)
        return np.concatenate(parts, axis=-1)

    def keras(self, array: Array) -> Array:
        """Return gate blocks of the framework in Keras's order."""
        if self.interleaved:
            count = len(self.order)
            parts = [array[..., k::count] for k in range(count)]
        else:
            parts = self.blocks(array)
        found = dict(zip(self.order, parts, strict=True))
        return np.concatenate([found[gate] for gate in self.gates], axis=-1)

    def changed(self, array: Array, gate: str, change: Callable[[Array], Array]) -> Any:
        """Return Keras's blocks with that of one gate changed."""
        found = zip(self.gates, self.blocks(array), strict=True)
        return np.concatenate(
            [change(part) if name == gate else part for name, part in found], axis=-1
        )


def array_names(expression: str) -> list[str]:
    """Return the names in quotes of an expression, each once."""
    nodes = ast.walk(_parsed(expression))
    found = [x.value for x in nodes if isinstance(x, ast.Constant)]
    return list(dict.fromkeys(name for name in found if isinstance(name, str)))


@lru_cache(maxsize=1024)
def _parsed(expression: str) -> ast.expr:
    try:
        return ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"not in the language of expressions: {expression}") from error


def _rows(_: Evaluator, *arrays: Array) -> Array:
    return np.stack(arrays)


def _beside(_: Evaluator, *arrays: Array) -> Array:
    return np.concatenate(_together(arrays), axis=-1)


def _beneath(_: Evaluator, *arrays: Array) -> Array:
    return np.concatenate(_together(arrays), axis=0)


def _together(arrays: Sequence[Array]) -> list[Array]:
    return [np.asarray(array) for array in arrays]


_OPERATIONS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
}
_FUNCTIONS: Mapping[str, Callable[..., Array]] = {
    "P": Evaluator.foreign,
    "Q": Evaluator.keras,
    "blk": lambda e, array, k: e.blocks(array)[k],
    "cat": _beside,
    "vcat": _beneath,
    "rows": _rows,
    "negz": lambda e, array: e.changed(array, "z", np.negative),
    "sub1": lambda e, array: e.changed(array, "f", lambda x: x - 1),
    "add1": lambda e, array: e.changed(array, "f", lambda x: x + 1),
}
