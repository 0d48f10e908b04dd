"""Evaluate raw operations, such as ``x * 2`` or ``keras.ops.relu(x)`` in a graph.

They are called ``ops.Multiply`` and so on here, because there are layers of the same
names, which compute something else. An operation casts its operands by Keras's rules of
promotion, and its result has no mask. An operation that would mix or move the rows of a
batch is refused, because `verify` cuts the rows into other batches than Keras does.
Constants are arguments of the call, or options.

Source: keras/src/ops/numpy.py, nn.py, math.py, core.py and
keras/src/activations/activations.py; what they compute on TensorFlow is in
keras/src/backend/tensorflow/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from verify.errors import DataError
from verify.forward import activations
from verify.forward.layers import operation_functions as functions
from verify.forward.layers import ordering_functions as ordering
from verify.forward.layers.base import (
    LayerType,
    Option,
    Run,
    Tensor,
    Unexpected,
    axes,
    axis,
    boolean,
    exact_constants,
    integer,
    integers,
    number,
    one_of,
    only,
    optional,
    positive,
    refuse,
    require_gentle_slope,
)
from verify.forward.layers.operation_functions import on_axes, on_axis
from verify.forward.recordable import as_array, is_array
from verify.model.arrays import Array
from verify.model.backends import Limit, Rule
from verify.model.dtypes import is_float
from verify.model.graph import flatten, map_structure
from verify.model.spec import LayerSpec
from verify.model.versions import VersionRule

CONSTANTS = frozenset(
    {"key", "indices", "constant_values", "weights", "fill_value"} | {"start_indices"}
)
"""Arguments that are not cast, and that must not be tensors."""


class Operation(LayerType):
    """Cast operands, apply a function and check the rows; the base of all operations.

    Attributes
    ----------
    function : callable
        Called with the arguments in order and the options by name.
    casts : str
        How the operands are cast before; a key of `operation_functions.CASTS`, or
        ``own``:

        * ``promote``: to the dtype of `operation_functions.result_type`;
        * ``strict``: the same, but Python numbers count as float32 or int32;
        * ``float``: the same as ``promote``, but always to a float dtype;
        * ``float32``: whole numbers to float32;
        * ``floatx``: whole numbers to Keras's default float type;
        * ``bool``: to truth values;
        * ``counted``: truth values to whole numbers;
        * ``summable``: truth values and short whole numbers to 32 bits;
        * ``keep``: not at all;
        * ``own``: not at all, and 16-bit numbers are not computed in float32 either.
    broadcasts : bool
        Whether an operand with fewer axes is aligned with the last axes of the others,
        which would mix its rows with other axes.
    """

    raw_tensors = True
    autocast = False
    casts_outputs = False
    computed: ClassVar[frozenset[str]] = frozenset()
    function: ClassVar[Callable[..., Any]]
    casts: ClassVar[str] = "keep"
    broadcasts: ClassVar[bool] = False

    def notes(self, layer: LayerSpec) -> list[str]:
        options = {k: v for k, v in layer.options.items() if k in self.options}
        given = ", ".join(f"{key}={value}" for key, value in options.items())
        name = self.class_name.removeprefix("ops.")
        kept = " unless it changes nothing" * (self.returns_input in ("cast", "swap"))
        return [f"the operation {name}({given}); masks end here{kept}"]

    def call(self, run: Run, layer: LayerSpec, **arguments: Any) -> Any:
        for name in CONSTANTS & arguments.keys() - self.computed:
            if any(isinstance(leaf, Tensor) for leaf in flatten(arguments[name])):
                raise DataError(f"{layer}: expected {name} to be a constant")
        tensors = [x.value for x in flatten(arguments) if isinstance(x, Tensor)]
        self.check_rows(layer, list(arguments.values()))
        limited = LIMITED.get(self.class_name)
        if limited is not None and layer.rules:
            limited(layer, {k: map_structure(_bare, x) for k, x in arguments.items()})
        cast, dtype = self._cast(arguments, run.floatx, layer)
        results = self.compute(cast, layer)
        values = map_structure(_bare, list(arguments.values()))
        if self.casts != "own" and functions.makes_floats(values, results):
            refuse(layer, Limit.WHOLE_TO_FLOATS)
        for result in flatten(results):
            self._check_result(layer, tensors, as_array(result))
        return map_structure(lambda y: functions.lowered(as_array(y), dtype), results)

    def compute(self, arguments: Mapping[str, Any], layer: LayerSpec) -> Any:
        """Apply the function to the cast arguments and the options."""
        given = [arguments[name] for name in self.arguments if name in arguments]
        function = type(self).function
        rule, other = BY_RULE.get(self.class_name, (None, None))
        if other is not None and rule in layer.rules:
            function = other
        version, later = BY_VERSION.get(self.class_name, (None, None))
        if later is not None and version in layer.version_rules:
            function = later
        if exact_constants(layer):
            function = activations.exactly(function)
        return function(*given, **layer.options)

    def check_rows(self, layer: LayerSpec, operands: list[Any]) -> None:
        """Raise DataError if rows of one operand would meet other rows of another."""

    def _cast(
        self, arguments: Mapping[str, Any], floatx: str, layer: LayerSpec
    ) -> tuple[dict[str, Any], np.dtype[Any] | None]:
        """Return the arguments as cast arrays, and the dtype to round the result to.

        That dtype is None unless an operand has 16 bits.
        """
        values: dict[str, Any] = map_structure(_bare, dict(arguments))
        if self.casts == "own":
            return values, None
        names = [name for name in values if name not in CONSTANTS | {"condition"}]
        chosen = {name: values[name] for name in names}
        chosen = functions.CASTS[self._casts_of(layer)](chosen, floatx)
        if "condition" in values:
            values["condition"] = as_array(values["condition"]).astype(bool)
        sixteen = next(
            (
                x.dtype
                for x in flatten(chosen)
                if is_array(x) and functions.sixteen(x.dtype)
            ),
            None,
        )
        return {**values, **map_structure(functions.lifted, chosen)}, sixteen

    def _casts_of(self, layer: LayerSpec) -> str:
        """Return the rule of `casts` by the backend and the version of a layer."""
        if self.casts == "strict" and exact_constants(layer):
            return "promote"
        averaged = VersionRule.WHOLE_NUMBERS_AVERAGED_IN_FLOATX in layer.version_rules
        averaged = averaged and not layer.rules  # elsewhere it is as in 3.15
        return "floatx" if averaged and self.class_name == "ops.Mean" else self.casts

    def _check_result(self, layer: LayerSpec, tensors: list[Array], y: Array) -> None:
        for x in tensors:
            moved = y.ndim == 0 or len(y) != len(x)
            if moved or (self.broadcasts and y.ndim != x.ndim):
                raise DataError(
                    f"{layer}: expected an operation on each row by itself. Received: "
                    f"shapes {[x.shape for x in tensors]} -> {y.shape}"
                )


def _bare(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, Tensor) else leaf


class TanhShrink(Operation):
    """Compute ``x - tanh(x)``; in 16 bits Keras rounds tanh first, which is near x."""

    class_name = "ops.TanhShrink"
    arguments = ("x",)
    function = staticmethod(activations.ACTIVATIONS["tanh_shrink"])

    def call(self, run: Run, layer: LayerSpec, **arguments: Any) -> Any:
        x = _bare(arguments["x"])
        if not functions.sixteen(x.dtype):
            return super().call(run, layer, **arguments)
        tanh = functions.lowered(np.tanh(functions.lifted(x)), x.dtype)
        return functions.lowered(functions.lifted(x) - functions.lifted(tanh), x.dtype)


class Matmul(Operation):
    """Compute ``x1 @ x2`` for each row of a batch."""

    class_name = "ops.Matmul"
    arguments = ("x1", "x2")
    function = staticmethod(functions.matmul)
    casts = "strict"

    def check_rows(self, layer: LayerSpec, operands: list[Any]) -> None:
        ranks = [np.ndim(_bare(x)) for x in operands]
        first, second = (isinstance(x, Tensor) for x in operands)
        if (second and ranks[1] < 3) or (first and second and ranks[0] != ranks[1]):
            raise DataError(
                f"{layer}: expected matrices for each row. Received: "
                f"{', '.join(str(np.shape(_bare(x))) for x in operands)}"
            )


class Dot(Operation):
    """Compute ``dot(x1, x2)``, where one operand is a constant."""

    class_name = "ops.Dot"
    arguments = ("x1", "x2")
    function = staticmethod(functions.dot)
    casts = "strict"

    def check_rows(self, layer: LayerSpec, operands: list[Any]) -> None:
        if all(isinstance(x, Tensor) for x in operands):
            raise DataError(f"{layer}: expected a constant as one of the operands")


def _subscripts(value: Any) -> str:
    if not isinstance(value, str) or value.count("->") != 1:
        raise Unexpected("an equation with one '->'")
    text = value.replace(" ", "")
    output = text.partition("->")[2]
    if not output:
        raise Unexpected("an equation that keeps the rows")
    return text


class Einsum(Operation):
    """Compute an Einstein sum in which one letter, the first, stands for the rows."""

    class_name = "ops.Einsum"
    arguments = ("x1", "x2", "x3", "x4")
    options: ClassVar[Mapping[str, Option]] = {"subscripts": Option(_subscripts)}
    function = staticmethod(functions.einsum)
    casts = "strict"

    def check_rows(self, layer: LayerSpec, operands: list[Any]) -> None:
        inputs, _, output = layer.options["subscripts"].partition("->")
        rows = "..." if output.startswith("...") else output[0]
        for term, x in zip(inputs.split(","), operands, strict=False):
            if isinstance(x, Tensor):
                alone = term.startswith(rows) and term.count(rows) == 1
                letters = len(term.replace("...", ""))
                alone = alone and (rows != "..." or letters < x.value.ndim)
            else:
                alone = rows == "..." or rows not in term
            if not alone:
                raise DataError(
                    f"{layer}: expected the rows to stand first in each tensor and in "
                    f"the result. Received: {layer.options['subscripts']}"
                )


def _pad_width(value: Any) -> tuple[tuple[int, int], ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    widths = tuple(integers(item) for item in items)
    if any(len(width) != 2 or min(width) < 0 for width in widths) or widths[0] != (
        0,
        0,
    ):
        raise Unexpected("two numbers for each axis, and none for that of the rows")
    return widths  # type: ignore[return-value]


def _permutation(value: Any) -> tuple[int, ...]:
    order = integers(value)
    if order[0] != 0 or len(set(order)) != len(order):
        raise Unexpected("an order of the axes with that of the rows, 0, first")
    return order


def _sections(value: Any) -> Any:
    return integers(value) if isinstance(value, (list, tuple)) else positive(value)


ANY_DTYPE = one_of(*functions.DTYPES)
AXIS = {"axis": Option(axis)}
AXES = {"axis": Option(axes)}
LAST = {"axis": Option(axis, -1)}
KEEP = {"keepdims": Option(boolean, False)}
REDUCED = {**AXES, **KEEP}
FOUND = {**AXIS, **KEEP}
BOUNDED = {**REDUCED, "initial": Option(optional(number), None)}
DTYPE = {"dtype": Option(optional(ANY_DTYPE), None)}


BY_RULE: Mapping[str, tuple[Rule, Callable[..., Any]]] = {
    "ops.FloorDivide": (Rule.FLOOR_DIVIDES_EXACTLY, np.floor_divide),
    "ops.OneHot": (Rule.FRACTIONS_HAVE_NO_ROW, functions.one_hot_of_whole),
    "ops.Pad": (Rule.SYMMETRIC_REPEATS_EDGE, functions.pad_by_edge),
    "ops.Argmax": (Rule.ZEROS_TIE, on_axis(functions.first_maximum)),
    "ops.Argmin": (Rule.ZEROS_TIE, on_axis(functions.first_minimum)),
}
"""Operations that compute another function where a rule holds."""


def _no_negative_step(layer: LayerSpec, given: Mapping[str, Any]) -> None:
    key = given["key"]
    items = key if isinstance(key, (list, tuple)) else [key]
    if any(isinstance(item, slice) and (item.step or 1) < 0 for item in items):
        refuse(layer, Limit.NEGATIVE_STEP)


def _ids_within(layer: LayerSpec, given: Mapping[str, Any]) -> None:
    ids = as_array(given["x"])
    if is_float(ids):
        refuse(layer, Limit.ONE_HOT_OF_FLOATS)
    if np.any(np.trunc(ids) >= layer.options["num_classes"]):
        refuse(layer, Limit.ONE_HOT_BEYOND)


def _no_list(layer: LayerSpec, given: Mapping[str, Any]) -> None:
    listed = [*given.values(), layer.options.get("repeats")]
    if any(isinstance(value, (list, tuple)) for value in listed):
        refuse(layer, Limit.LISTS if layer.class_name == "ops.Where" else Limit.REPEATS)


def _not_to_tens(layer: LayerSpec, given: Mapping[str, Any]) -> None:
    if layer.options["decimals"] < 0 and not is_float(as_array(given["x"])):
        refuse(layer, Limit.WHOLE_TO_TENS)


def _heads_for_each(layer: LayerSpec, given: Mapping[str, Any]) -> None:
    query, key = (as_array(given[name]) for name in ("query", "key"))
    if query.shape[2] != key.shape[2]:
        refuse(layer, Limit.GROUPED_HEADS)


def _always(limit: Limit) -> Callable[[LayerSpec, Mapping[str, Any]], None]:
    return lambda layer, given: refuse(layer, limit)


def _leaky(layer: LayerSpec, given: Mapping[str, Any]) -> None:
    require_gentle_slope(layer, layer.options["negative_slope"])


LIMITED: Mapping[str, Callable[[LayerSpec, Mapping[str, Any]], None]] = {
    "ops.GetItem": _no_negative_step,
    "ops.OneHot": _ids_within,
    "ops.Repeat": _no_list,
    "ops.Where": _no_list,
    "ops.Round": _not_to_tens,
    "ops.Norm": _always(Limit.NORM_OVER_AXES),
    "ops.Slice": _always(Limit.SLICE_TO_END),
    "ops.DotProductAttention": _heads_for_each,
    "ops.ISTFT": _always(Limit.ISTFT_ENDS),
    "ops.Argsort": _always(Limit.EQUAL_NUMBERS),
    "ops.TopK": _always(Limit.EQUAL_NUMBERS),
    "ops.CountNonzero": _always(Limit.COUNT_TURNED_ROUND),
    "ops.LeakyRelu": _leaky,
    "ops.ReLU": _leaky,
}
"""Operations of which another backend refuses some calls, and the function that raises
UnsupportedError then: given the layer and the arguments of the call, in NumPy."""


RETURNS_INPUT: Mapping[str, str] = {
    **dict.fromkeys(("Cast", "ConvertToTensor"), "cast"),
    "Swapaxes": "swap",
    **dict.fromkeys(("Transpose", "GetItem"), "by rule"),
}
"""Operations that may return their input itself; see `LayerType.returns_input`."""


def made_operation(
    name: str,
    casts: str,
    function: Callable[..., Any],
    options: Mapping[str, Option],
    arguments: tuple[str, ...] = ("x",),
) -> type[LayerType]:
    """Return the class of an operation that is one function with some options."""
    several = len(arguments) > 1 and not CONSTANTS & set(arguments)
    return type(
        name,
        (Operation,),
        {
            "__doc__": function.__doc__,
            "class_name": f"ops.{name}",
            "function": staticmethod(function),
            "casts": casts,
            "options": dict(options),
            "arguments": arguments,
            "broadcasts": several,
            "computed": frozenset({"indices"} if name == "TakeAlongAxis" else ()),
            "returns_input": RETURNS_INPUT.get(name, ""),
        },
    )


_UNARY: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "float": {
        "Sqrt": np.sqrt, "Exp": np.exp, "Expm1": np.expm1, "Log": np.log,
        "Log1p": np.log1p, "Log2": np.log2, "Log10": np.log10, "Sin": np.sin,
        "Cos": np.cos, "Tan": np.tan, "Sinh": np.sinh, "Cosh": np.cosh,
        "Tanh": np.tanh, "Arctan": np.arctan, "Floor": np.floor, "Ceil": np.ceil,
        "Arcsin": np.arcsin, "Arccos": np.arccos, "Arcsinh": np.arcsinh,
        "Arccosh": np.arccosh, "Arctanh": np.arctanh,
    },
    "keep": {
        "Negative": np.negative, "Absolute": np.abs, "Abs": np.abs, "Sign": np.sign,
        "Reciprocal": lambda x: 1 / x, "Rsqrt": lambda x: 1 / np.sqrt(x),
        "Isnan": np.isnan, "Isfinite": np.isfinite, "Isinf": np.isinf,
        "StopGradient": functions.same, "Copy": functions.same,
        "Erf": activations.erf, "Trunc": np.trunc,
    },
    "counted": {"Square": np.square},
    "bool": {"LogicalNot": np.logical_not},
}  # fmt: skip
_BINARY: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "promote": {
        "Add": np.add, "Subtract": np.subtract, "Multiply": np.multiply,
        "Power": np.power, "Maximum": np.maximum, "Minimum": np.minimum,
        "FloorDivide": functions.floor_divide,
    },
    "float": {
        "Divide": np.true_divide, "TrueDivide": np.true_divide,
        "DivideNoNan": functions.divide_no_nan, "Arctan2": np.arctan2,
        "Logaddexp": np.logaddexp,
    },
    "strict": {
        "Equal": np.equal, "NotEqual": np.not_equal, "Less": np.less,
        "LessEqual": np.less_equal, "Greater": np.greater,
        "GreaterEqual": np.greater_equal, "Mod": np.mod,
    },
    "bool": {
        "LogicalAnd": np.logical_and, "LogicalOr": np.logical_or,
        "LogicalXor": np.logical_xor,
    },
}  # fmt: skip
_ACTIVATIONS: Mapping[str, tuple[str, Mapping[str, Option]]] = {
    **{
        name: (function, {})
        for name, function in {
            "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Silu": "silu",
            "SparseSigmoid": "sparse_sigmoid", "Softplus": "softplus", "Selu": "selu",
            "Softsign": "softsign", "SparsePlus": "sparse_plus",
            "LogSigmoid": "log_sigmoid", "HardSigmoid": "hard_sigmoid",
            "HardSilu": "hard_silu", "HardTanh": "hard_tanh",
        }.items()
    },
    "SoftShrink": ("soft_shrink", {"threshold": Option(number, 0.5)}),
    "HardShrink": ("hard_shrink", {"threshold": Option(number, 0.5)}),
    "Squareplus": ("squareplus", {"b": Option(number, 4.0)}),
    "LeakyRelu": ("leaky_relu", {"negative_slope": Option(number, 0.2)}),
    "Elu": ("elu", {"alpha": Option(number, 1.0)}),
    "Celu": ("celu", {"alpha": Option(number, 1.0)}),
    "Gelu": ("gelu", {"approximate": Option(boolean, True)}),
    "ReLU": (
        "relu",
        {
            "negative_slope": Option(number, 0.0),
            "max_value": Option(optional(number), None),
            "threshold": Option(number, 0.0),
        },
    ),
}  # fmt: skip
_OTHERS: tuple[tuple[Any, ...], ...] = (
    ("Round", "keep", functions.round_, {"decimals": Option(integer, 0)}),
    ("Clip", "counted", functions.clip,
     {"x_min": Option(number), "x_max": Option(number)}),
    ("Threshold", "keep", functions.threshold,
     {"threshold": Option(number), "default_value": Option(number)}),
    ("Where", "promote", functions.where, {}, ("condition", "x1", "x2")),
    ("Softmax", "keep", on_axis(activations.softmax), LAST),
    ("LogSoftmax", "keep", on_axis(activations.log_softmax), LAST),
    ("Sparsemax", "keep", on_axis(activations.sparsemax), LAST),
    ("Glu", "keep", on_axis(activations.glu), LAST),
    ("Normalize", "keep", on_axis(functions.normalize),
     {**LAST, "order": Option(positive, 2), "epsilon": Option(optional(number), None)}),
    ("Any", "bool", on_axes(np.any), REDUCED),
    ("All", "bool", on_axes(np.all), REDUCED),
    ("Sum", "summable", on_axes(functions.sum_), REDUCED),
    ("Prod", "summable", on_axes(functions.prod), {**REDUCED, "dtype": only(None)}),
    ("Mean", "float32", on_axes(np.mean), REDUCED),
    ("Var", "float32", on_axes(np.var), REDUCED),
    ("Std", "float", on_axes(np.std), REDUCED),
    ("Max", "keep", on_axes(functions.maximum_of), BOUNDED),
    ("Min", "keep", on_axes(functions.minimum_of), BOUNDED),
    ("Amax", "keep", on_axes(np.max), REDUCED),
    ("Amin", "keep", on_axes(np.min), REDUCED),
    ("Median", "float", on_axes(ordering.median), REDUCED),
    ("Logsumexp", "keep", on_axes(functions.logsumexp), REDUCED),
    ("Average", "float", functions.average, AXES, ("x", "weights")),
    ("Argmax", "keep", on_axis(functions.argmax), FOUND),
    ("Argmin", "keep", on_axis(functions.argmin), FOUND),
    ("Cumsum", "counted", on_axis(functions.cumulative(np.cumsum)), {**AXIS, **DTYPE}),
    ("Cumprod", "counted", on_axis(functions.cumulative(np.cumprod)),
     {**AXIS, **DTYPE}),
    ("GetItem", "own", functions.getitem, {}, ("x", "key")),
    ("Take", "own", on_axis(functions.take), AXIS, ("x", "indices")),
    ("Transpose", "own", np.transpose, {"axes": Option(_permutation)}),
    ("Swapaxes", "own", functions.swapaxes,
     {"axis1": Option(axis), "axis2": Option(axis)}),
    ("ExpandDims", "own", functions.expand_dims, AXES),
    ("Squeeze", "own", functions.squeeze, AXES),
    ("Flip", "own", functions.flip, AXES),
    ("Repeat", "own", on_axis(np.repeat), {"repeats": Option(_sections), **AXIS}),
    ("Tile", "own", functions.tile, {"repeats": Option(integers)}),
    ("Split", "own", on_axis(functions.split),
     {"indices_or_sections": Option(_sections), **AXIS}),
    ("Unstack", "own", on_axis(functions.unstack),
     {"num": Option(optional(positive), None, supported="the axis's size"), **AXIS}),
    ("Pad", "own", functions.pad,
     {"pad_width": Option(_pad_width),
      "mode": Option(one_of("constant", "reflect", "symmetric"), "constant")},
     ("x", "constant_values")),
    ("Concatenate", "promote", functions.concatenate, AXIS, ("xs",)),
    ("Stack", "promote", functions.stack, AXIS, ("xs",)),
    ("OneHot", "own", functions.one_hot,
     {"num_classes": Option(positive), "axis": Option(axis, -1),
      "dtype": Option(ANY_DTYPE, "float32"), "sparse": only(False)}),
    ("TakeAlongAxis", "own", on_axis(ordering.take_along_axis), AXIS,
     ("x", "indices")),
    ("Sort", "keep", on_axis(ordering.sort), LAST),
    ("Argsort", "keep", on_axis(ordering.argsort), LAST),
    ("TopK", "own", ordering.top_k, {"k": Option(positive), "sorted": only(True)}),
    ("Roll", "own", ordering.roll, {"shift": Option(integers), **AXES}),
    ("Slice", "own", ordering.part, {"shape": Option(integers)},
     ("inputs", "start_indices")),
    ("Moveaxis", "own", ordering.moveaxis,
     {"source": Option(integers), "destination": Option(integers)}),
    ("Diff", "keep", on_axis(ordering.difference),
     {"n": Option(positive, 1), **LAST}, ("a",)),
    ("Tril", "own", ordering.lower, {"k": Option(integer, 0)}),
    ("Triu", "own", ordering.upper, {"k": Option(integer, 0)}),
    ("NanToNum", "own", ordering.nan_to_num,
     {"nan": Option(number, 0.0), "posinf": Option(optional(number), None),
      "neginf": Option(optional(number), None)}),
    ("CountNonzero", "keep", on_axes(ordering.count_nonzero), AXES),
    ("Norm", "float", on_axes(ordering.norm),
     {"ord": Option(one_of(None, 1, 2, "fro"), None), **REDUCED}),
    ("Hstack", "promote", ordering.hstack, {}, ("xs",)),
    ("FullLike", "own", ordering.full_like, DTYPE, ("x", "fill_value")),
    ("OnesLike", "own", functions.filled(1), DTYPE),
    ("ZerosLike", "own", functions.filled(0), DTYPE),
    ("Cast", "own", functions.converted, {"dtype": Option(ANY_DTYPE)}),
    ("ConvertToTensor", "own", functions.converted,
     {**DTYPE, "sparse": only(None), "ragged": only(None)}),
)  # fmt: skip

BY_VERSION: Mapping[str, tuple[VersionRule, Callable[..., Any]]] = {
    "ops.FloorDivide": (
        VersionRule.EXACT_FLOOR_DIVIDE,
        np.floor_divide,
    ),
    "ops.Sparsemax": (
        VersionRule.SPARSEMAX_OF_THE_PAPER,
        on_axis(activations.sparsemax_of_the_paper),
    ),
}
"""Operation -> the rule of a version by which it has another function, and that."""

KINDS: tuple[type[LayerType], ...] = (
    *(
        made_operation(n, c, f, {})
        for c, rows in _UNARY.items()
        for n, f in rows.items()
    ),
    *(
        made_operation(n, c, f, {}, ("x1", "x2"))
        for c, rows in _BINARY.items()
        for n, f in rows.items()
    ),
    *(
        made_operation(name, "keep", activations.ACTIVATIONS[function], options)
        for name, (function, options) in _ACTIVATIONS.items()
    ),
    *(made_operation(*row) for row in _OTHERS),
    TanhShrink,
    Matmul,
    Dot,
    Einsum,
)
