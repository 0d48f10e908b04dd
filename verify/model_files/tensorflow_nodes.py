"""Read the operations of TensorFlow in graphs of tf.keras 2.0 to 2.3.

There an operation between layers is a layer of the class TensorFlowOpLayer, whose
config holds the node of a TensorFlow graph: the name of the operation, its attributes,
and those of its inputs that are constant. `NODES` says which function of
`verify.model_files.tensorflow_functions` computes an operation, and by which names the
function knows the inputs.

Source: tf.keras 2.3, keras/engine/base_layer.py (TensorFlowOpLayer); TensorFlow,
core/ops/{math,array,nn}_ops.cc and core/framework/node_def.proto.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from verify.errors import printable
from verify.model_files.operation_emitter import Emitter, Refused, is_tensor
from verify.model_files.tensorflow_functions import FUNCTIONS
from verify.model_files.tensorflow_shapes import getitem_by_masks, matmul, split

DTYPES = {
    "DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16",
    "DT_BFLOAT16": "bfloat16", "DT_BOOL": "bool", "DT_INT8": "int8",
    "DT_INT16": "int16", "DT_INT32": "int32", "DT_INT64": "int64",
    "DT_UINT8": "uint8", "DT_UINT16": "uint16",
    "DT_COMPLEX64": "complex64", "DT_COMPLEX128": "complex128",
}  # fmt: skip

_PAIRS = {
    "Add": "math.add", "AddV2": "math.add", "BiasAdd": "math.add",
    "Sub": "math.subtract", "Mul": "math.multiply", "RealDiv": "math.truediv",
    "Div": "div", "FloorDiv": "math.floordiv", "FloorMod": "math.floormod",
    "Pow": "math.pow", "Maximum": "math.maximum", "Minimum": "math.minimum",
    "SquaredDifference": "math.squared_difference", "Equal": "math.equal",
    "NotEqual": "math.not_equal", "Less": "math.less",
    "LessEqual": "math.less_equal", "Greater": "math.greater",
    "GreaterEqual": "math.greater_equal", "LogicalAnd": "math.logical_and",
    "LogicalOr": "math.logical_or", "DivNoNan": "math.divide_no_nan",
    "MulNoNan": "math.multiply_no_nan",
}  # fmt: skip
_SINGLE = {
    "Neg": "math.negative", "Abs": "math.abs", "Exp": "math.exp", "Log": "math.log",
    "Log1p": "math.log1p", "Expm1": "math.expm1", "Sqrt": "math.sqrt",
    "Rsqrt": "math.rsqrt", "Square": "math.square", "Sigmoid": "math.sigmoid",
    "Erf": "math.erf",
    "Tanh": "math.tanh", "Relu": "nn.relu", "Relu6": "nn.relu6", "Elu": "nn.elu",
    "Selu": "nn.selu", "Softplus": "math.softplus", "Softsign": "nn.softsign",
    "Floor": "math.floor", "Ceil": "math.ceil", "Round": "math.round",
    "Rint": "math.rint", "Sign": "math.sign", "Sin": "math.sin", "Cos": "math.cos",
    "Tan": "math.tan", "Sinh": "math.sinh", "Cosh": "math.cosh", "Atan": "math.atan",
    "Reciprocal": "math.reciprocal", "Inv": "math.reciprocal",
    "IsNan": "math.is_nan", "IsInf": "math.is_inf", "IsFinite": "math.is_finite",
    "LogicalNot": "math.logical_not", "StopGradient": "stop_gradient",
    "Identity": "identity", "Softmax": "nn.softmax", "LogSoftmax": "nn.log_softmax",
    "EnsureShape": "ensure_shape",
    "ZerosLike": "zeros_like", "OnesLike": "ones_like", "Shape": "shape",
}  # fmt: skip
_REDUCTIONS = {
    "Mean": "math.reduce_mean", "Sum": "math.reduce_sum", "Max": "math.reduce_max",
    "Min": "math.reduce_min", "Prod": "math.reduce_prod", "Any": "math.reduce_any",
    "All": "math.reduce_all", "EuclideanNorm": "math.reduce_euclidean_norm",
}  # fmt: skip

NODES: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, str]]] = {
    **{name: (function, ("y",), {}) for name, function in _PAIRS.items()},
    **{name: (function, (), {}) for name, function in _SINGLE.items()},
    **{
        name: (function, ("axis",), {"keep_dims": "keepdims"})
        for name, function in _REDUCTIONS.items()
    },
    "LeakyRelu": ("nn.leaky_relu", (), {"alpha": "alpha"}),
    "ArgMax": ("math.argmax", ("axis",), {}),
    "ArgMin": ("math.argmin", ("axis",), {}),
    "Cumsum": (
        "math.cumsum",
        ("axis",),
        {"exclusive": "exclusive", "reverse": "reverse"},
    ),
    "Cumprod": (
        "math.cumprod",
        ("axis",),
        {"exclusive": "exclusive", "reverse": "reverse"},
    ),
    "Cast": ("cast", (), {"DstT": "dtype"}),
    "Reshape": ("reshape", ("shape",), {}),
    "Transpose": ("transpose", ("perm",), {}),
    "ExpandDims": ("expand_dims", ("axis",), {}),
    "Squeeze": ("squeeze", (), {"squeeze_dims": "axis"}),
    "Unpack": ("unstack", (), {"axis": "axis", "num": "num"}),
    "Tile": ("tile", ("multiples",), {}),
    "GatherV2": ("gather", ("indices", "axis"), {"batch_dims": "batch_dims"}),
    "OneHot": ("one_hot", ("depth", "on_value", "off_value"), {"axis": "axis"}),
    "Select": ("where", ("x", "y"), {}),
    "SelectV2": ("where", ("x", "y"), {}),
    "Slice": ("slice", ("begin", "size"), {}),
    "Pad": ("pad", ("paddings",), {}),
    "PadV2": ("pad", ("paddings", "constant_values"), {}),
    "MirrorPad": ("pad", ("paddings",), {"mode": "mode"}),
    "ReverseV2": ("reverse", ("axis",), {}),
    "Roll": ("roll", ("shift", "axis"), {}),
    "Fill": ("fill", ("value",), {}),
    "BroadcastTo": ("broadcast_to", ("shape",), {}),
    "ClipByValue": ("clip_by_value", ("clip_value_min", "clip_value_max"), {}),
}
"""Operation -> the function that computes it, the names of its inputs after the first,
and its attributes that are arguments of the function."""


def read_node(
    config: Mapping[str, Any], tensors: list[Any]
) -> tuple[str, Callable[[Emitter, Any], Any], Any, dict[str, Any]]:
    """Return the name, the program, the first argument and the others of a node.

    Parameters
    ----------
    config : mapping
        The config of a TensorFlowOpLayer.
    tensors : list
        Its inputs that are tensors, in order.

    Raises
    ------
    Refused
        The node cannot be read, or its operation has no equivalent.
    """
    node, constants = config.get("node_def"), config.get("constants", {})
    if not isinstance(node, Mapping) or not isinstance(constants, Mapping):
        raise Refused("its node is stored in binary")
    op, inputs = str(node.get("op")), node.get("input", [])
    attributes = {k: _attribute(v) for k, v in node.get("attr", {}).items()}
    rest = iter(tensors)
    places = [int(place) for place in constants if str(place).isdigit()]
    values = dict(zip(places, constants.values(), strict=True))
    count = max(len(inputs), len(tensors) + len(values))
    arguments = [values[k] if k in values else next(rest, None) for k in range(count)]
    if any(argument is None for argument in arguments) or not arguments:
        raise Refused("its node has other inputs than its call")
    special = SPECIAL.get(op)
    if special is not None:
        return op, lambda e, x: special(e, arguments, attributes), arguments[0], {}
    if op not in NODES:
        raise Refused("")
    function, names, renamed = NODES[op]
    first, *others = arguments
    given = dict(zip(names, others, strict=False))
    given |= {
        new: attributes[old]
        for old, new in renamed.items()
        if attributes.get(old) not in (None, [])
    }
    return op, FUNCTIONS[function], first, given


def _attribute(value: Any) -> Any:
    """Return an attribute of a node in the JSON form of its protocol buffer."""
    if not isinstance(value, Mapping):
        return None
    for kind, item in value.items():
        if kind == "i":
            return int(item)
        if kind in ("b", "f"):
            return item
        if kind == "type":
            return DTYPES.get(item, item)
        if kind == "s":
            return base64.b64decode(item).decode(errors="replace")
        if kind == "list":
            return [int(k) for k in item.get("i", [])]
    return None


Attributes = Mapping[str, Any]


def _concat(e: Emitter, values: list[Any], attributes: Attributes) -> Any:
    *xs, axis = values
    e.arguments["axis"] = axis
    return FUNCTIONS["concat"](e, xs)


def _pack(e: Emitter, values: list[Any], attributes: Attributes) -> Any:
    e.arguments["axis"] = attributes.get("axis", 0)
    return FUNCTIONS["stack"](e, values)


def _add_n(e: Emitter, values: list[Any], attributes: Attributes) -> Any:
    return FUNCTIONS["math.add_n"](e, values)


def _split(e: Emitter, values: list[Any], attributes: Attributes) -> Any:
    axis, x = values
    return split(e, x, attributes.get("num_split"), axis)


def _split_sizes(e: Emitter, values: list[Any], attributes: Attributes) -> Any:
    x, sizes, axis = values
    return split(e, x, sizes, axis)


def _matmul(e: Emitter, values: list[Any], attributes: Attributes) -> Any:
    flips = [
        bool(attributes.get(f"transpose_{a}")) or bool(attributes.get(f"adj_{b}"))
        for a, b in ("ax", "by")
    ]
    return matmul(e, values[0], values[1], flips)


def _strided_slice(e: Emitter, values: list[Any], attributes: Attributes) -> Any:
    x, begin, end, strides = values
    if not all(isinstance(part, list) for part in (begin, end, strides)):
        raise Refused("an end of a slice is no number")
    masks = {
        k: v for k, v in attributes.items() if k.endswith("_mask") and type(v) is int
    }
    return getitem_by_masks(e, x, (begin, end, strides), masks)


def _einsum(e: Emitter, values: list[Any], attributes: Attributes) -> Any:
    if not all(map(is_tensor, values)):
        raise Refused("a constant operand is not read")
    equation = attributes.get("equation")
    if not isinstance(equation, str):
        raise Refused(f"equation {printable(equation)} cannot be read")
    return e.op("Einsum", *values, subscripts=equation)


SPECIAL: Mapping[str, Callable[[Emitter, list[Any], Attributes], Any]] = {
    "ConcatV2": _concat,
    "Pack": _pack,
    "AddN": _add_n,
    "Split": _split,
    "SplitV": _split_sizes,
    "MatMul": _matmul,
    "BatchMatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "StridedSlice": _strided_slice,
    "Einsum": _einsum,
}
"""Operation -> the program for its inputs and attributes."""
