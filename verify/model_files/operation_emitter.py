"""Build the raw operations of Keras 3 that take the place of a call in a graph.

`Emitter.op` adds one operation to the graph and returns its result.
`verify.model_files.tensorflow_functions` and `verify.model_files.tensorflow_nodes` say
which operations a function needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.errors import printable
from verify.model.dtypes import dtype_of

FLOATS = ("float16", "bfloat16", "float32", "float64")
_GIVEN = object()


class Refused(Exception):
    """Say why a call has no equivalent among the operations of Keras 3."""


@dataclass(frozen=True)
class ShapeOf:
    """Stand for the shape of a tensor, which ``tf.shape`` returns, or a part of it.

    Attributes
    ----------
    tensor
        The tensor, as it stands in a config.
    start : int
        The first axis of the part; the part reaches to the end.
    """

    tensor: Any
    start: int = 0


@dataclass(frozen=True)
class SizeOf:
    """Stand for the size of one axis of a tensor.

    Attributes
    ----------
    tensor
        The tensor, as it stands in a config.
    axis : int
        The axis; that of the rows is 0.
    rest : bool
        Whether this is the product of the sizes of `axis` and all axes after it.
    """

    tensor: Any
    axis: int
    rest: bool = False


@dataclass(frozen=True)
class FoldedRows:
    """Stand for the number of rows of a tensor times a whole number.

    Attributes
    ----------
    rows : SizeOf
        The size of axis 0.
    times : int
    """

    rows: SizeOf
    times: int


def is_tensor(value: Any) -> bool:
    """Return whether a value of a config is a tensor."""
    return isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__"


def tensors_behind(value: Any) -> list[Any]:
    """Return the tensors in a value, or of whose shapes it is made."""
    found = []
    for leaf in _leaves(value):
        sized = leaf.rows if isinstance(leaf, FoldedRows) else leaf
        tensor = sized.tensor if isinstance(sized, (ShapeOf, SizeOf)) else sized
        if is_tensor(tensor):
            found.append({k: v for k, v in tensor.items() if k != "dtype"})
    return found


def made_dtype(value: Any) -> str | None:
    """Return the dtype of a tensor that `Emitter` made, or None for another value."""
    return value.get("dtype") if is_tensor(value) else None


class Emitter:
    """Build the operations of Keras 3 that take the place of one call.

    Parameters
    ----------
    name : str
        Name of the call's layer; the last operation gets it.
    dtype, rank : callable
        Return the dtype and, if it is known, the number of axes of a tensor of another
        layer.
    taken : set of str
        Names that are taken; the new ones are added.
    """

    def __init__(
        self,
        name: str,
        dtype: Callable[[Any], str],
        rank: Callable[[Any], int | None],
        taken: set[str],
    ) -> None:
        self.name = name
        self.entries: list[dict[str, Any]] = []
        self.arguments: dict[str, Any] = {}
        self._dtype = dtype
        self.rank = rank
        self._taken = taken

    def finished(
        self, read: Callable[..., Any], first: Any, arguments: Mapping[str, Any]
    ) -> list[Any]:
        """Emit the operations of a call, and return its results.

        Raises
        ------
        Refused
            The call, or one of its arguments, has no equivalent.
        """
        self.arguments = {k: v for k, v in arguments.items() if k != "name"}
        result = read(self, first)
        left = {k: v for k, v in self.arguments.items() if v is not None}
        for key, value in left.items():
            raise Refused(
                f"its argument {key}={printable(value, 40)} has no equivalent"
            )
        results: list[Any] = result if isinstance(result, list) else [result]
        sources = {_source(value) for value in results if is_tensor(value)}
        last = next((e for e in self.entries if {e["name"]} == sources), None)
        if last is None:
            return results
        old, last["name"] = last["name"], self.name
        if "name" in last["config"]:
            last["config"]["name"] = self.name
        return [_renamed(value, old, self.name) for value in results]

    def op(self, class_name: str, *args: Any, **options: Any) -> dict[str, Any]:
        """Add an operation, and return its first result.

        Parameters
        ----------
        class_name : str
            As in the configs of Keras 3.
        *args
            Tensors, or constants.
        **options
            The settings of the operation.
        """
        dtype = self.result_dtype(class_name, args, options)
        name = self._free(class_name)
        entry = {
            "module": "keras.ops",
            "registered_name": None,
            "class_name": class_name,
            "config": dict(options),
            "name": name,
            "inbound_nodes": [
                {"args": [self.operand(x, args) for x in args], "kwargs": {}}
            ],
        }
        self.entries.append(entry)
        return _result(name, 0, dtype)

    def layer(self, class_name: str, x: Any, **options: Any) -> dict[str, Any]:
        """Add a layer, and return its result."""
        result = self.op(class_name, x, **options)
        entry = self.entries[-1]
        entry["module"] = "keras.layers"
        entry["config"] |= {"name": entry["name"], **self.policy(x)}
        return result

    def policy(self, x: Any) -> dict[str, Any]:
        """Return the option with which a layer keeps the float dtype of a tensor."""
        dtype = self.dtype(x)
        return {"dtype": dtype} if dtype in FLOATS else {}

    def output(self, tensor: Mapping[str, Any], number: int) -> dict[str, Any]:
        """Return another result of an operation."""
        return _result(_source(tensor), number, tensor.get("dtype"))

    def take(self, *names: str, default: Any = None) -> Any:
        """Take an argument of the call, known by any of some names."""
        found = [self.arguments.pop(name, None) for name in names]
        return next((value for value in found if value is not None), default)

    def must_take(self, *names: str) -> Any:
        """Take an argument that the call must have.

        Raises
        ------
        Refused
            It has none. Keras 2 does not write down the operands after the first of
            ``==``, ``!=`` and `tf.einsum`.
        """
        value = self.take(*names, default=_GIVEN)
        if value is _GIVEN:
            raise Refused(f"the file does not say its argument {names[0]}")
        return value

    def dtype(self, value: Any) -> str | None:
        """Return the dtype of a tensor, and None for a constant."""
        if not is_tensor(value):
            return None
        return made_dtype(value) or self._dtype(value)

    def is_float(self, *values: Any) -> bool:
        """Return whether every tensor among some values holds floats."""
        found = [self.dtype(value) for value in values if is_tensor(value)]
        return all(dtype in FLOATS for dtype in found)

    def need_floats(self, *values: Any) -> None:
        """Raise Refused if TensorFlow would compute in whole numbers."""
        if not self.is_float(*values):
            raise Refused("of whole numbers it is computed in whole numbers")

    def operand(self, value: Any, others: Any = ()) -> Any:
        """Return an operand as it stands in a config: arrays get a dtype."""
        if any(isinstance(x, (ShapeOf, SizeOf, FoldedRows)) for x in _leaves(value)):
            raise Refused("the shape of a tensor is computed with, which is not read")
        if isinstance(value, list) and not any(map(is_tensor, _leaves(value))):
            dtype = next((self.dtype(x) for x in others if is_tensor(x)), None)
            return constant(value, dtype)
        if isinstance(value, list):
            return [self.operand(x, value) for x in value]
        if is_tensor(value):
            return {k: v for k, v in value.items() if k != "dtype"}
        return value

    def result_dtype(
        self, class_name: str, args: Any, options: Mapping[str, Any]
    ) -> str | None:
        """Return the dtype of a result."""
        if class_name in _TRUTHS:
            return "bool"
        if class_name in ("Argmax", "Argmin", "Argsort"):
            return "int32"
        if isinstance(options.get("dtype"), str):
            return str(options["dtype"])
        operands = [x for x in _leaves(list(args)) if is_tensor(x)]
        operands = (
            operands[1:] if class_name == "Where" and len(operands) > 1 else operands
        )
        return self.dtype(operands[0]) if operands else None

    def _free(self, class_name: str) -> str:
        base = name = f"{self.name}.{class_name.lower()}"
        k = 1
        while name in self._taken:
            name, k = f"{base}_{k}", k + 1
        self._taken.add(name)
        return name


_TRUTHS = frozenset(
    {"Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "Any", "All"}
    | {"LogicalAnd", "LogicalOr", "LogicalXor", "LogicalNot"}
    | {"Isnan", "Isinf", "Isfinite"}
)


def _result(name: str, number: int, dtype: str | None) -> dict[str, Any]:
    return {
        "class_name": "__keras_tensor__",
        "config": {"keras_history": [name, 0, number]},
        "dtype": dtype,
    }


def _source(tensor: Mapping[str, Any]) -> str:
    return str(tensor["config"]["keras_history"][0])


def _renamed(value: Any, old: str, new: str) -> Any:
    if is_tensor(value) and _source(value) == old:
        return _result(new, value["config"]["keras_history"][2], value.get("dtype"))
    return value


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def constant(value: Any, dtype: str | None) -> dict[str, Any]:
    """Return a constant array as it stands in a config of Keras 3."""
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind not in "biuf":
        raise Refused(f"a constant cannot be read: {printable(value, 40)}")
    kinds = {"b": "bool", "i": "int32", "u": "int32", "f": "float32"}
    dtype = dtype if dtype and array.dtype.kind != "b" else kinds[array.dtype.kind]
    rounded = array.astype(dtype_of(dtype))
    listed = rounded.tolist() if dtype != "bfloat16" else array.tolist()
    return {"class_name": "__numpy__", "config": {"value": listed, "dtype": dtype}}


def whole(value: Any, what: str) -> int:
    """Return a whole number of the file, or raise Refused if it is something else."""
    if type(value) is not int:
        raise Refused(f"{what} must be a whole number in the file")
    return value


def wholes(value: Any, what: str) -> list[int]:
    """Return one whole number or a list of them as a list, or raise Refused."""
    items = value if isinstance(value, list) else [value]
    return [whole(item, what) for item in items]


def dtype_name(value: Any) -> str:
    """Return a dtype as Keras names it, however it was written."""
    if isinstance(value, Mapping):
        inner = value.get("config", value)
        value = inner.get("name", inner) if isinstance(inner, Mapping) else inner
    if not isinstance(value, str):
        raise Refused(f"dtype {printable(value, 40)} cannot be read")
    return value.removeprefix("<dtype: '").removesuffix("'>").removeprefix("tf.")


Program = Callable[[Emitter, Any], Any]
"""What emits the operations of a function, whose first argument it is given."""
