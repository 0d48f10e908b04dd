"""Cases for `verify.forward.layers.operations` and the functions behind it."""

from __future__ import annotations

import numpy as np
from layer_cases.case import BATCH, Case


def _case(name, call, wrong=(), **kwargs):
    """An operation called as ``call(keras.ops, *inputs)``."""

    def called(layer, inputs):
        import keras

        return call(keras.ops, *inputs)

    return Case(f"ops.{name}", call=called, wrong=wrong, **kwargs)


def _positive(rng):
    return [rng.uniform(0.2, 2.0, size=(BATCH, 6, 3))]


def _two_positive(rng):
    return [rng.uniform(0.2, 2.0, size=(BATCH, 6, 3)) for _ in range(2)]


def _tenths(rng):
    """Multiples of a tenth, whose quotients are close to whole numbers."""
    return [rng.integers(-20, 20, size=(BATCH, 6, 3)) / 10 for _ in range(2)]


def _zeros(rng):
    x = rng.normal(size=(BATCH, 6, 3))
    x[0, 0], x[3, 1] = 0.0, -0.0
    return [x]


def _odd(rng):
    x = rng.normal(size=(BATCH, 6, 3))
    x[1, 1, 0], x[2, 2, 1] = np.inf, -np.inf
    x[4, 4, 2] = np.nan
    return [x]


def _ids(rng):
    return [rng.integers(-1, 6, size=(BATCH, 6))]


def _small(rng):
    return [rng.integers(-90, 90, size=(BATCH, 6, 3))]


PAIR = [(6, 3), (6, 3)]
INTS = {"shape": (6, 3), "dtypes": ["int32"], "inputs": _small}
CONSTANT = np.asarray([0.3, -1.7, 0.9])

SIMPLE = [
    *("Negative", "Absolute", "Abs", "Square", "Sign", "Reciprocal", "Exp", "Expm1"),
    *("Sin", "Cos", "Tan", "Sinh", "Cosh", "Tanh", "Arctan", "Floor", "Ceil", "Relu"),
    *(
        "Relu6",
        "Sigmoid",
        "Silu",
        "SparseSigmoid",
        "Softplus",
        "Softsign",
        "SparsePlus",
    ),
    *("Selu", "LogSigmoid", "HardSigmoid", "HardSilu", "TanhShrink", "HardTanh"),
    *("StopGradient", "Copy", "Erf"),
]
OF_POSITIVE = ["Sqrt", "Rsqrt", "Log", "Log1p", "Log2", "Log10"]
OF_TWO = [
    *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum"),
    *("DivideNoNan",),
]
COMPARED = ["Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"]
SPELLED = {
    "StopGradient": "stop_gradient", "TrueDivide": "true_divide", "Abs": "abs",
    "DivideNoNan": "divide_no_nan", "NotEqual": "not_equal", "LessEqual": "less_equal",
    "GreaterEqual": "greater_equal", "LogicalAnd": "logical_and",
    "LogicalOr": "logical_or", "LogicalXor": "logical_xor",
    "SparseSigmoid": "sparse_sigmoid", "SparsePlus": "sparse_plus",
    "LogSigmoid": "log_sigmoid", "HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu",
    "TanhShrink": "tanh_shrink", "HardTanh": "hard_tanh",
}  # fmt: skip


def _named(name, *more, **kwargs):
    """The function of that name on the inputs."""
    function = SPELLED.get(name, name.lower())
    if name == "Abs":
        # keras.ops.abs makes an Absolute; files may hold an Abs all the same.
        def call(ops, x):
            from keras.src.ops.numpy import Abs

            return Abs()(x)
    else:

        def call(ops, *inputs):
            return getattr(ops, function)(*inputs, *more)

    return _case(name, call, **kwargs)


def _gated(name, *more, **kwargs):
    """Truth values as numbers, since they cannot be compared."""
    function = SPELLED.get(name, name.lower())
    return _case(
        name,
        lambda ops, *inputs: ops.cast(
            getattr(ops, function)(*inputs, *more), "float64"
        ),
        **kwargs,
    )


def _reduced(name, wrong=({"axis": (2,)}, {"keepdims": True}), **kwargs):
    function = name.lower()
    return [
        _case(name, lambda ops, x: getattr(ops, function)(x, axis=1) * 1.5, wrong=wrong,
              **kwargs),
        _case(name, lambda ops, x: getattr(ops, function)(x, axis=(-2, -1),
              keepdims=True) * 1.5, wrong=[{"axis": (1,)}, {"keepdims": False}],
              **kwargs),
    ]  # fmt: skip


ELEMENTWISE = [
    *(_named(name) for name in SIMPLE),
    *(_named(name, inputs=_positive) for name in OF_POSITIVE),
    *(_named(name, shape=PAIR) for name in OF_TWO),
    *(_named(name, shape=[(6, 3), (1, 3)]) for name in OF_TWO[:3]),
    *(_named(name, inputs=_zeros) for name in ("Relu", "Sign", "Absolute", "Sigmoid")),
    *(_gated(name, shape=PAIR, inputs=_tenths) for name in COMPARED),
    *(_gated(name, 0.1, inputs=lambda rng: _tenths(rng)[:1]) for name in COMPARED),
    *(_gated(name, shape=PAIR, dtypes=["bool", "bool"],
             inputs=lambda rng: [rng.random((BATCH, 6, 3)) > 0.5 for _ in "12"])
      for name in ("LogicalAnd", "LogicalOr", "LogicalXor")),
    _case("LogicalNot", lambda ops, x: ops.cast(ops.logical_not(x > 0.2), "float64")),
    *(_gated(name, inputs=_odd) for name in ("Isnan", "Isfinite", "Isinf")),
    _named("Power", shape=PAIR, inputs=_two_positive),
    _case("Power", lambda ops, x: x**2),
    _case("Mod", lambda ops, x, y: x % (y + 0.05), shape=PAIR, inputs=_tenths),
    _case("Mod", lambda ops, x: x % 0.7),
    _case("Mod", lambda ops, x: (x % 7) * 0.5, **INTS),
    _case("FloorDivide", lambda ops, x, y: x // (y + 0.05), shape=PAIR, inputs=_tenths),
    _case("FloorDivide", lambda ops, x: x // 0.1, inputs=lambda rng: _tenths(rng)[:1]),
    _case("FloorDivide", lambda ops, x: (x // 7) * 0.5, **INTS),
    _case("Multiply", lambda ops, x: x * CONSTANT),
    _case("Multiply", lambda ops, x: 2 * x, masked=True, after=True),
    _case("Multiply", lambda ops, x: x * 0.1, **INTS),
    _case("Subtract", lambda ops, x: 1 - x),
    _case("Add", lambda ops, x: x + ops.convert_to_tensor(CONSTANT, "float32")),
    _case("TrueDivide", lambda ops, x: x / 7, **INTS),
    _case("Exp", lambda ops, x: ops.exp(x / 100), **INTS),
    _case("Sin", lambda ops, x: ops.sin(x), **INTS),
    _case("Where", lambda ops, x, y: ops.where(x > y, x, 0.1), shape=PAIR),
    _case("Where", lambda ops, x, y: ops.where(x, 1.5, y), shape=PAIR),
    _case("Round", lambda ops, x: ops.round(x, 1), wrong=[{"decimals": 0}]),
    _case("Round", lambda ops, x: ops.round(x * 2) / 2),
    _case("Round", lambda ops, x: ops.round(x, -1) * 0.5, wrong=[{"decimals": 0}],
          **INTS),
    _case("Clip", lambda ops, x: ops.clip(x, -0.4, 0.7),
          wrong=[{"x_min": 0}, {"x_max": 0}]),
    _case("Threshold", lambda ops, x: ops.threshold(x, 0.1, 0.3),
          wrong=[{"threshold": 0.4}, {"default_value": 0.1}]),
    _case("Where", lambda ops, x: ops.where([True, False, True], x, -x)),
    _case("Multiply", lambda ops, x: x * (x > 0)),
]  # fmt: skip


def _relu(ops, x):
    import keras

    return keras.activations.relu(x, negative_slope=0.3, max_value=0.8, threshold=0.1)


def _capped(ops, x):
    import keras

    return keras.activations.relu(x, max_value=0.5)


ACTIVATIONS = [
    _case("ReLU", _relu, wrong=[{"negative_slope": 0.0}, {"max_value": None},
                                {"threshold": 0.0}]),
    _case("ReLU", _capped, masked=True, after=True, wrong=[{"max_value": None}]),
    _case("SoftShrink", lambda ops, x: ops.soft_shrink(x, 0.4),
          wrong=[{"threshold": 0.5}]),
    _case("HardShrink", lambda ops, x: ops.hard_shrink(x, 0.4),
          wrong=[{"threshold": 0.5}]),
    _case("Squareplus", lambda ops, x: ops.squareplus(x, 3), wrong=[{"b": 4}]),
    _case("LeakyRelu", lambda ops, x: ops.leaky_relu(x, 0.1),
          wrong=[{"negative_slope": 0.3}]),
    _case("Elu", lambda ops, x: ops.elu(x, 0.7), wrong=[{"alpha": 1.0}]),
    _case("Celu", lambda ops, x: ops.celu(x, 0.7), wrong=[{"alpha": 1.0}]),
    _case("Gelu", lambda ops, x: ops.gelu(x), wrong=[{"approximate": False}]),
    _case("Gelu", lambda ops, x: ops.gelu(x, approximate=False),
          wrong=[{"approximate": True}]),
    *(
        case
        for name, function in (("Softmax", "softmax"), ("LogSoftmax", "log_softmax"),
                               ("Sparsemax", "sparsemax"))
        for case in (
            _case(name, lambda ops, x, f=function: getattr(ops, f)(x),
                  wrong=[{"axis": 1}]),
            _case(name, lambda ops, x, f=function: getattr(ops, f)(x, axis=1),
                  wrong=[{"axis": -1}]),
        )
    ),
    _case("Glu", lambda ops, x: ops.glu(x, axis=1), wrong=[{"axis": 2}]),
    _case("Glu", lambda ops, x: ops.glu(x), shape=(2, 4), wrong=[{"axis": 1}]),
    _case("Normalize", lambda ops, x: ops.normalize(x, axis=1),
          wrong=[{"axis": 2}, {"order": 1}]),
    _case("Normalize", lambda ops, x: ops.normalize(x, order=3, epsilon=2.0),
          wrong=[{"order": 2}, {"epsilon": None}]),
    _case("Normalize", lambda ops, x: ops.normalize(x, epsilon=2.0),
          wrong=[{"epsilon": None}]),
]  # fmt: skip

REDUCTIONS = [
    *(case for name in ("Sum", "Mean", "Var", "Std", "Prod", "Logsumexp")
      for case in _reduced(name)),
    *(_reduced("Sum", **INTS)),
    *(_reduced("Mean", **INTS)[:1]),
    *(case for name in ("Max", "Min") for case in _reduced(name)),
    _case("Max", lambda ops, x: ops.max(x, axis=1, initial=0.9),
          wrong=[{"initial": None}]),
    _case("Min", lambda ops, x: ops.min(x, axis=1, initial=-0.9),
          wrong=[{"initial": None}]),
    *(_case(f.title(), lambda ops, x, f=f: ops.cast(
          getattr(ops, f)(x > 0.3, axis=1), "float64"),
          wrong=[{"axis": (2,)}, {"keepdims": True}]) for f in ("any", "all")),
    *(_case(f.title(), lambda ops, x, f=f: getattr(ops, f)(x, axis=1) * 0.5,
          wrong=[{"axis": 2}, {"keepdims": True}]) for f in ("argmax", "argmin")),
    _case("Argmax", lambda ops, x: ops.argmax(x, axis=-1) * 0.5,
          inputs=lambda rng: [rng.choice([-0.0, 0.0], size=(BATCH, 6, 3))]),
    _case("Average", lambda ops, x: ops.average(x, axis=1), wrong=[{"axis": (2,)}]),
    *(_case(f.title(), lambda ops, x, f=f: getattr(ops, f)(x, axis=1),
            wrong=[{"axis": 2}]) for f in ("cumsum", "cumprod")),
    *(_case(f.title(), lambda ops, x, f=f: getattr(ops, f)(
          x * 2, axis=1, dtype="int32") * 0.5, wrong=[{"dtype": None}])
      for f in ("cumsum", "cumprod")),
]  # fmt: skip

SHAPES = [
    _case("GetItem", lambda ops, x: x[:, -1]),
    _case("GetItem", lambda ops, x: x[:, 1:5:2, ::-1]),
    _case("GetItem", lambda ops, x: x[..., 1]),
    _case("GetItem", lambda ops, x: x[:, None, ..., :2]),
    _case("GetItem", lambda ops, x: x[:, :, 0, None]),
    _case("GetItem", lambda ops, x: x[:, 2:], masked=True, after=True),
    _case("Take", lambda ops, x: ops.take(x, [2, 0, -1], axis=1), wrong=[{"axis": 2}]),
    _case("Take", lambda ops, x: ops.take(x, 1, axis=-1), wrong=[{"axis": 1}]),
    _case("Transpose", lambda ops, x: ops.transpose(x, (0, 2, 1)),
          wrong=[{"axes": (0, 1, 2)}]),
    _case("Swapaxes", lambda ops, x: ops.swapaxes(x, 1, -1), shape=(3, 3, 3),
          wrong=[{"axis1": 2}, {"axis2": 2}]),
    _case("ExpandDims", lambda ops, x: ops.expand_dims(x, 1), wrong=[{"axis": (2,)}]),
    _case("ExpandDims", lambda ops, x: ops.expand_dims(x, (1, -1))),
    _case("Squeeze", lambda ops, x: ops.squeeze(x[:, :1], 1),
          wrong=[{"axis": (2,)}]),
    _case("Squeeze", lambda ops, x: ops.squeeze(x[:, :1, None], (1, 2)),
          wrong=[{"axis": (2,)}]),
    _case("Flip", lambda ops, x: ops.flip(x, 1), wrong=[{"axis": (2,)}]),
    _case("Repeat", lambda ops, x: ops.repeat(x, 2, axis=1),
          wrong=[{"axis": 2}, {"repeats": 3}]),
    _case("Repeat", lambda ops, x: ops.repeat(x, [1, 0, 2], axis=-1),
          wrong=[{"repeats": (1, 2, 0)}]),
    _case("Tile", lambda ops, x: ops.tile(x, (1, 2, 1)),
          wrong=[{"repeats": (1, 1, 2)}]),
    _case("Tile", lambda ops, x: ops.tile(x, 2)),
    _case("Split", lambda ops, x: ops.split(x, 2, axis=1),
          wrong=[{"indices_or_sections": 3}, {"axis": 2}]),
    _case("Split", lambda ops, x: ops.split(x, [1, 2], axis=-1), wrong=[{"axis": 1}]),
    _case("Unstack", lambda ops, x: ops.unstack(x, axis=1), wrong=[{"axis": 2}]),
    _case("Pad", lambda ops, x: ops.pad(x, ((0, 0), (2, 1), (0, 1))),
          wrong=[{"pad_width": ((0, 0), (1, 2), (0, 1))}, {"mode": "reflect"}]),
    _case("Pad", lambda ops, x: ops.pad(x, ((0, 0), (2, 1), (0, 1)),
          constant_values=0.3)),
    _case("Pad", lambda ops, x: ops.pad(x, ((0, 0), (2, 1), (0, 1)), mode="reflect"),
          wrong=[{"mode": "symmetric"}]),
    _case("Pad", lambda ops, x: ops.pad(x, ((0, 0), (2, 1), (0, 1)), mode="symmetric"),
          wrong=[{"mode": "reflect"}]),
    _case("Concatenate", lambda ops, x, y: ops.concatenate([x, y], axis=-1), shape=PAIR,
          wrong=[{"axis": 1}]),
    _case("Concatenate", lambda ops, x, y: ops.concatenate([x, y], axis=1),
          shape=[(6, 3), (2, 3)], dtypes=["int32", "float64"],
          inputs=lambda rng: [_small(rng)[0], rng.normal(size=(BATCH, 2, 3))]),
    _case("Stack", lambda ops, x, y: ops.stack([x, y], axis=1), shape=PAIR,
          wrong=[{"axis": -1}]),
    _case("OneHot", lambda ops, x: ops.one_hot(x, 5), shape=(6,), dtypes=["int32"],
          inputs=_ids, wrong=[{"num_classes": 4}, {"axis": 1}]),
    _case("OneHot", lambda ops, x: ops.one_hot(x, 5, axis=1, dtype="int32") / 2,
          shape=(6,), inputs=lambda rng: [rng.uniform(-0.9, 5.0, size=(BATCH, 6))],
          wrong=[{"axis": 2}]),
    _case("OneHot", lambda ops, x: (ops.one_hot(x, 5, dtype="uint8") - 1) * 0.5,
          shape=(6,), dtypes=["int32"], inputs=_ids, wrong=[{"dtype": "int32"}]),
    *(_case(name, lambda ops, x, f=f: (getattr(ops, f)(x, dtype="uint8") - 2) * x,
            wrong=[{"dtype": None}])
      for name, f in (("OnesLike", "ones_like"), ("ZerosLike", "zeros_like"))),
    _case("OnesLike", lambda ops, x: x / 3 + ops.ones_like(x) / 3),
    _case("Cast", lambda ops, x: ops.cast(x * 3, "int32") / 7,
          wrong=[{"dtype": "float64"}]),
    _case("ConvertToTensor", lambda ops, x: ops.convert_to_tensor(x * 3, "int32") / 7,
          wrong=[{"dtype": None}]),
    # what changes nothing returns the very tensor, with its mask
    _case("Cast", lambda ops, x: ops.cast(x, "float64"), masked=True, after=True),
    _case("ConvertToTensor", lambda ops, x: ops.convert_to_tensor(x), masked=True,
          after=True),
    _case("Swapaxes", lambda ops, x: ops.swapaxes(x, 1, -2), masked=True, after=True,
          except_on={"jax": "predict and a call of the model differ"}),
]  # fmt: skip

PRODUCTS = [
    _case("Matmul", lambda ops, x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))),
          shape=PAIR),
    _case("Matmul", lambda ops, x: x @ np.arange(12.0).reshape(3, 4)),
    _case("Matmul", lambda ops, x: ops.matmul(np.arange(12.0).reshape(2, 6), x)),
    _case("Matmul", lambda ops, x: x @ CONSTANT),
    _case("Dot", lambda ops, x: ops.dot(x, np.arange(12.0).reshape(3, 4))),
    _case("Dot", lambda ops, x: ops.dot(x, CONSTANT)),
    _case("Einsum", lambda ops, x, y: ops.einsum("bti,bsi->bts", x, y), shape=PAIR,
          wrong=[{"subscripts": "bti,bsi->bst"}]),
    _case("Einsum", lambda ops, x: ops.einsum("...i,ij->...j", x, np.ones((3, 2)))),
    _case("Einsum", lambda ops, x, y: ops.einsum("bti,bti->bt", x, y), shape=PAIR,
          wrong=[{"subscripts": "bti,bti->bi"}]),
]  # fmt: skip


def _unlike(rng):
    """Numbers that are pairwise different, and so have one order."""
    return [rng.permutation(BATCH * 6 * 3).reshape(BATCH, 6, 3) / 7 - 5.0]


def _tied(rng):
    return [rng.integers(0, 3, size=(BATCH, 6, 3)) / 2]


def _and_places(rng):
    return [rng.normal(size=(BATCH, 6, 3)), rng.integers(-6, 6, size=(BATCH, 2, 1))]


ORDER = [
    _case("TakeAlongAxis", lambda ops, x, i: ops.take_along_axis(x, i, axis=1),
          shape=[(6, 3), (2, 1)], dtypes=["float64", "int32"], inputs=_and_places),
    _case("TakeAlongAxis", lambda ops, x: ops.take_along_axis(
          x, np.asarray([[[2, 0, -1, 1]]]), axis=-1)),
    _case("TakeAlongAxis", lambda ops, x, i: ops.take_along_axis(x, i, axis=-1),
          shape=[(6, 3), (6, 1)], dtypes=["float64", "int32"], wrong=[{"axis": 1}],
          inputs=lambda rng: [rng.normal(size=(BATCH, 6, 3)),
                              rng.integers(-3, 3, size=(BATCH, 6, 1))]),
    *(_case("Sort", lambda ops, x: ops.sort(x, axis=1), inputs=i, wrong=[{"axis": 2}])
      for i in (_unlike, _tied)),
    _case("Sort", lambda ops, x: ops.sort(x) / 3, **INTS, wrong=[{"axis": 1}]),
    *(_case("Argsort", lambda ops, x: ops.argsort(x, axis=1) * 0.5, inputs=i,
            wrong=[{"axis": 2}]) for i in (_unlike, _tied)),
    *(_case("TopK", lambda ops, x, n=n: ops.top_k(x, 2)[n] * 0.5, inputs=i,
            wrong=[{"k": 1}]) for i in (_unlike, _tied) for n in (0, 1)),
    _case("Roll", lambda ops, x: ops.roll(x, 2, axis=1),
          wrong=[{"shift": (-2,)}, {"axis": (2,)}]),
    _case("Roll", lambda ops, x: ops.roll(x, (1, -2), axis=(1, 2)),
          wrong=[{"shift": (-2, 1)}]),
    _case("Moveaxis", lambda ops, x: ops.moveaxis(x, 1, -1), shape=(6, 6, 3),
          wrong=[{"destination": (1,)}, {"source": (2,)}]),
    _case("Diff", lambda ops, x: ops.diff(x, axis=1), wrong=[{"axis": 2}, {"n": 2}]),
    _case("Diff", lambda ops, x: ops.diff(x, n=2), wrong=[{"n": 1}, {"axis": 1}]),
    *(_case(f.title(), lambda ops, x, f=f, k=k: getattr(ops, f)(x, k),
            wrong=[{"k": k + 1}]) for f in ("tril", "triu") for k in (-1, 0, 1)),
    _case("NanToNum", lambda ops, x: ops.nan_to_num(x, 0.3, 7.0, -9.0), inputs=_odd,
          wrong=[{"nan": 0.0}, {"posinf": None}, {"neginf": None}]),
    _case("CountNonzero", lambda ops, x: ops.count_nonzero(x, axis=1) * 0.5,
          inputs=_tied, wrong=[{"axis": (2,)}]),
    *(_case("Norm", lambda ops, x, k=k: ops.norm(x, **k), wrong=w) for k, w in (
        ({"axis": 1}, [{"axis": (2,)}, {"ord": 1}, {"keepdims": True}]),
        ({"axis": -1, "ord": 2, "keepdims": True}, [{"ord": 1}]),
        ({"axis": 1, "ord": 1}, [{"ord": 2}]),
        ({"axis": (1, 2), "ord": "fro"}, [{"axis": (1,)}]),
    )),
    _case("Hstack", lambda ops, x, y: ops.hstack([x, y]), shape=PAIR),
    _case("FullLike", lambda ops, x: x * ops.full_like(x, 0.7)),
    _case("FullLike", lambda ops, x: (ops.full_like(x, 3, dtype="uint8") - 5) * x,
          wrong=[{"dtype": None}]),
    _case("Arctan2", lambda ops, x, y: ops.arctan2(x, y), shape=PAIR),
]  # fmt: skip


def _within_one(rng):
    return [rng.uniform(-0.9, 0.9, size=(BATCH, 6, 3))]


MORE = [
    *(_case(f.title(), lambda ops, x, f=f: getattr(ops, f)(x), inputs=i)
      for f, i in (("arcsin", _within_one), ("arccos", _within_one),
                   ("arctanh", _within_one), ("arcsinh", None))),
    _case("Trunc", lambda ops, x: ops.trunc(x * 3) / 2),
    _case("Arccosh", lambda ops, x: ops.arccosh(x + 1), inputs=_positive),
    _case("Logaddexp", lambda ops, x, y: ops.logaddexp(x, y), shape=PAIR),
    _case("Logaddexp", lambda ops, x: ops.logaddexp(x * 900, 0.3)),
    *(_case(f.title(), lambda ops, x, f=f: getattr(ops, f)(x, axis=1),
            wrong=[{"axis": (2,)}, {"keepdims": True}]) for f in ("amax", "amin")),
    *(_case("Median", lambda ops, x, k=k: ops.median(x, **k), wrong=w, inputs=i)
      for k, w, i in (
        ({"axis": 1}, [{"axis": (2,)}, {"keepdims": True}], None),
        ({"axis": -1}, [{"axis": (1,)}], _tied),
        ({"axis": (2, 1), "keepdims": True}, [{"axis": (1,)}, {"keepdims": False}],
         None),
    )),
    _case("Median", lambda ops, x: ops.median(x, axis=1) * 0.5, **INTS),
    _case("Slice", lambda ops, x: ops.slice(x, (0, 1, 0), (-1, 4, -1)),
           wrong=[{"shape": (-1, 3, -1)}, {"shape": (-1, 4, 2)}]),
]  # fmt: skip

CASES = [*MORE, *ORDER, *ELEMENTWISE, *ACTIVATIONS, *REDUCTIONS, *SHAPES, *PRODUCTS]
