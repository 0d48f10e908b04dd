"""Raw operations: what ``x * 2`` or ``keras.ops.relu(x)`` leaves in a Functional graph.

They are called ``ops.Multiply`` and so on here, because layers of the same name do
other things. An operation casts by Keras's rules of promotion and loses masks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from verify.dtypes import POLICIES, dtype_of, is_float, promoted
from verify.layers.base import LayerType, Option, Run, Unexpected, boolean, optional
from verify.layers.base import anything as _anything
from verify.spec import Array, LayerSpec


class Operation(LayerType):
    """What all operations share."""

    autocast = False
    casts_outputs = False

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"keras.ops.{self.class_name.removeprefix('ops.')}; masks end here"]


class Binary(Operation):
    """An operation on two operands, of which one may be a number."""

    arguments = ("x1", "x2")
    function: ClassVar[Callable[..., Array]]
    compares: ClassVar[bool] = False

    def call(self, run: Run, layer: LayerSpec, x1: Any, x2: Any) -> Array:
        arrays = [x for x in (x1, x2) if isinstance(x, np.ndarray)]
        numbers = [x for x in (x1, x2) if not isinstance(x, np.ndarray)]
        if any(map(is_float, arrays)) or any(isinstance(x, float) for x in numbers):
            dtype = promoted(*arrays, floatx=run.floatx)
            x1, x2 = np.asarray(x1).astype(dtype), np.asarray(x2).astype(dtype)
        return np.asarray(type(self).function(x1, x2))


def _binary(name: str, function: Callable[..., Array]) -> type[LayerType]:
    return type(
        name, (Binary,), {"class_name": f"ops.{name}", "function": staticmethod(function)}
    )


def _axis(value: Any) -> Any:
    """An axis to reduce over that is not that of the rows."""
    axes = value if isinstance(value, (list, tuple)) else [value]
    if not all(type(axis) is int and axis != 0 for axis in axes) or not axes:
        raise Unexpected("an axis that is not that of the rows (0)")
    return tuple(value) if isinstance(value, (list, tuple)) else value


class Any_(Operation):
    """``any(x, axis)``: where Masking finds a step that counts."""

    class_name = "ops.Any"
    arguments = ("x",)
    options: ClassVar[Mapping[str, Option]] = {
        "axis": Option(_axis),
        "keepdims": Option(boolean, False),
    }

    def call(self, run: Run, layer: LayerSpec, x: Array) -> Array:
        options = layer.options
        return np.any(x, axis=options["axis"], keepdims=options["keepdims"])


class Cast(Operation):
    """``cast(x, dtype)``; a cast to floats follows the precision asked for."""

    class_name = "ops.Cast"
    arguments = ("x",)
    options: ClassVar[Mapping[str, Option]] = {"dtype": Option(_anything)}

    def call(self, run: Run, layer: LayerSpec, x: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return x.astype(dtype_of(layer.options["dtype"]))


OPERATIONS: tuple[type[LayerType], ...] = (
    _binary("Add", np.add),
    _binary("Subtract", np.subtract),
    _binary("Multiply", np.multiply),
    _binary("NotEqual", np.not_equal),
    Any_,
    Cast,
)

_UNUSED = (POLICIES, optional)
