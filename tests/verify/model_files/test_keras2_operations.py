"""Operations of TensorFlow in graphs of Keras 2, read as raw operations of Keras 3."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.nets import GivenWeights

import verify
from verify.errors import UnsupportedError
from verify.model.graph import refs_of
from verify.model_files.config import read_architecture, read_model
from verify.model_files.cuts import cut
from verify.model_files.keras2_config import upgrade_config
from verify.tolerance.compare import compare

FILES = Path(__file__).parents[2] / "data" / "keras2"
ROWS, TIME, FEATURES = 5, 6, 3


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


X, Y = floats(ROWS, TIME, FEATURES), floats(ROWS, TIME, FEATURES, seed=1)
IDS = np.random.default_rng(2).integers(0, 4, size=(ROWS, TIME)).astype("int32")


def input_layer(name, shape, dtype="float32"):
    config = {"batch_input_shape": [None, *shape], "dtype": dtype, "name": name}
    return {
        "class_name": "InputLayer",
        "config": config,
        "name": name,
        "inbound_nodes": [],
    }


def operation(name, function, node):
    """A layer as Keras 2 writes an operation, with one call."""
    slicing = function == "__operators__.getitem"
    config = {"name": name, "trainable": True, "dtype": "float32", "function": function}
    return {
        "class_name": "SlicingOpLambda" if slicing else "TFOpLambda",
        "config": config,
        "name": name,
        "inbound_nodes": [node],
    }


INPUTS = (
    input_layer("x", (TIME, FEATURES)),
    input_layer("y", (TIME, FEATURES)),
    input_layer("ids", (TIME,), "int32"),
)


def graph(*operations, outputs=None):
    """The config of a Functional model of Keras 2; its output is the last operation."""
    places = [[entry["name"], 0, 0] for entry in INPUTS]
    return {
        "class_name": "Functional",
        "config": {
            "name": "model",
            "layers": [*INPUTS, *operations],
            "input_layers": places,
            "output_layers": outputs or [[operations[-1]["name"], 0, 0]],
        },
        "keras_version": "2.15.0",
    }


def load(*operations, **options):
    """The network of such a model, which has no weights."""
    upgraded = upgrade_config(graph(*operations, **options), "keras2")
    spec = read_model(
        upgraded.config,
        GivenWeights({}),
        source="a test",
        keras_version="2.15.0",
        notes=upgraded.notes,
    )
    return verify.Network(spec)


def result(function, node):
    return load(operation("op", function, node)).predict([X, Y, IDS])


def x(**arguments):
    """A call whose first argument is x."""
    return ["x", 0, 0, arguments]


def both(**arguments):
    """A call whose first argument is the list of x and y."""
    return [["x", 0, 0, arguments], ["y", 0, 0, arguments]]


TENSOR_Y = ["y", 0, 0]
TABLE = floats(FEATURES, 4, seed=3)


def softmax(values):
    powers = np.exp(values)
    return powers / powers.sum(axis=1, keepdims=True)


CASES = {
    "add": ("__operators__.add", x(y=TENSOR_Y, name=None), X + Y),
    "constant first": (
        "math.subtract",
        ["_CONSTANT_VALUE", -1, 1.0, {"y": ["x", 0, 0]}],
        1 - X,
    ),
    "list": ("math.multiply", x(y=[0, 1, 2]), X * np.array([0, 1, 2], "float32")),
    "matrix": ("linalg.matmul", x(b=TABLE.tolist()), X @ TABLE),
    "transposed": (
        "linalg.matmul",
        x(b=TENSOR_Y, transpose_b=True),
        X @ Y.transpose(0, 2, 1),
    ),
    "mean": ("math.reduce_mean", x(axis=1, keepdims=True), X.mean(1, keepdims=True)),
    "old argument": ("math.reduce_sum", x(reduction_indices=[1, 2]), X.sum((1, 2))),
    "concat": ("concat", both(axis=-1), np.concatenate([X, Y], -1)),
    "stack": ("stack", both(axis=1), np.stack([X, Y], 1)),
    "softmax": ("nn.softmax", x(axis=1), softmax(X)),
    "leaky": ("nn.leaky_relu", x(), np.where(X > 0, X, 0.2 * X)),
    "clip": (
        "clip_by_value",
        x(clip_value_min=-0.1, clip_value_max=0.5),
        X.clip(-0.1, 0.5),
    ),
    "squeeze": ("compat.v1.expand_dims", x(axis=-1), X[..., None]),
    "transpose": (
        "compat.v1.transpose",
        x(perm=[0, 2, 1], conjugate=False),
        X.swapaxes(1, 2),
    ),
    "tile": ("tile", x(multiples=[1, 2, 1]), np.tile(X, (1, 2, 1))),
    "gather": ("compat.v1.gather", x(indices=[2, 0], axis=1), X[:, [2, 0]]),
    "gather by row": (
        "compat.v1.gather",
        x(indices=["ids", 0, 0], axis=1, batch_dims=1),
        np.take_along_axis(X, IDS[..., None], 1),
    ),
    "top k": ("math.top_k", x(k=2, sorted=True), -np.sort(-X, -1)[..., :2]),
    "sort": ("sort", x(axis=1, direction="ASCENDING"), np.sort(X, 1)),
    "argsort": ("argsort", x(axis=1, stable=False), np.argsort(X, 1)),
    "roll": ("roll", x(shift=[2, -1], axis=[1, 2]), np.roll(X, [2, -1], [1, 2])),
    "cumsum": ("math.cumsum", x(axis=1, reverse=True), X[:, ::-1].cumsum(1)[:, ::-1]),
    "pad": (
        "compat.v1.pad",
        x(paddings=[[0, 0], [1, 2], [0, 0]], mode="CONSTANT", constant_values=0.5),
        np.pad(X, [(0, 0), (1, 2), (0, 0)], constant_values=0.5),
    ),
    "erf": ("math.erf", x(), np.vectorize(math.erf)(X).astype("float32")),
    "tensordot": (
        "tensordot",
        x(b=floats(TIME, 2).tolist(), axes=[[1], [0]]),
        np.tensordot(X, floats(TIME, 2), [[1], [0]]),
    ),
    "tensordot, constant first": (
        "tensordot",
        ["_CONSTANT_VALUE", -1, [0.5, 2.0, -1.0], {"b": ["x", 0, 0], "axes": [0, 2]}],
        X @ np.float32([0.5, 2.0, -1.0]),
    ),
    "one hot": (
        "one_hot",
        ["ids", 0, 0, {"depth": 4, "on_value": 2.0, "off_value": -1.0}],
        3 * np.eye(4, dtype="float32")[IDS] - 1,
    ),
    "whole numbers": ("math.truediv", ["ids", 0, 0, {"y": 7}], IDS / 7),
    "cast": ("cast", ["ids", 0, 0, {"dtype": "float32"}], IDS.astype("float32")),
    "lookup": (
        "compat.v1.gather",
        ["_CONSTANT_VALUE", -1, floats(4, 2).tolist(), {"indices": ["ids", 0, 0]}],
        floats(4, 2)[IDS],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_function_of_tensorflow_computes_what_tensorflow_computes(name):
    function, node, expected = CASES[name]
    ours = result(function, node)
    assert ours.shape == expected.shape
    assert compare(ours, expected, allowed=2e-6).max_diff < 2e-6
    assert compare(ours, expected[::-1], allowed=2e-6).max_diff > 1e-2


def test_every_output_of_a_file_of_keras_2_is_what_keras_2_predicted():
    with np.load(FILES / "functions.npz") as arrays:
        x = [arrays["x0"], arrays["x1"]]
        theirs = [arrays[k] for k in arrays.files if k.startswith("y")]
    net = verify.load(FILES / "functions.h5")
    ours = net.flat(net.prepare(x))
    assert len(ours) == len(theirs) > 50
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        size = np.abs(b).max()
        assert a.shape == b.shape, k
        assert compare(a, b, allowed=2e-6 * size).max_diff < 2e-6 * size, k
        assert compare(a[::-1], b, allowed=2e-6).max_diff > 1e-4, k
    (note,) = [n for n in net.spec.notes if "TensorFlow" in n]
    assert "__operators__.add, __operators__.getitem" in note
    with np.load(FILES / "operators.npz") as arrays:
        for suffix in (".h5", ".keras"):
            net = verify.load(FILES / f"operators{suffix}")
            ours = net.predict(arrays["x0"])
            assert compare(ours, arrays["y0"], allowed=2e-6).max_diff < 2e-6


@pytest.mark.keras
def test_check_builds_the_operations_in_keras_3_and_proves_them():
    report = verify.check(FILES / "functions.h5")
    assert report.verdict is verify.Verdict.PASS
    assert report.facts["keras model"].startswith("rebuilt")


def node(op, *inputs, constants=(), **attributes):
    """A layer of tf.keras 2.0 to 2.3, with its node as it is written."""
    config = {
        "name": op,
        "trainable": True,
        "dtype": "float32",
        "node_def": {
            "name": op,
            "op": op,
            "input": [f"in_{k}" for k in range(len(inputs) + len(constants))],
            "attr": attributes,
        },
        "constants": dict(constants),
    }
    return {
        "class_name": "TensorFlowOpLayer",
        "config": config,
        "name": f"tf_op_layer_{op}",
        "inbound_nodes": [[[name, 0, 0, {}] for name in inputs]],
    }


def number(value):
    return {"i": str(value)}


SLICED = {
    "begin_mask": number(5),
    "end_mask": number(5),
    "shrink_axis_mask": number(2),
}

NODES = {
    "AddV2": (node("AddV2", "x", "y"), X + Y),
    "RealDiv": (node("RealDiv", "x", constants={"0": 2.0}), 2 / X),
    "Mean": (
        node("Mean", "x", constants={"1": [1, 2]}, keep_dims={"b": True}),
        X.mean((1, 2), keepdims=True),
    ),
    "StridedSlice": (
        node(
            "StridedSlice",
            "x",
            constants={"1": [0, -1, 0], "2": [0, 0, 0], "3": [1] * 3},
            **SLICED,
        ),
        X[:, -1],
    ),
    "ConcatV2": (
        node("ConcatV2", "x", "y", constants={"2": -1}),
        np.concatenate([X, Y], -1),
    ),
    "BatchMatMulV2": (
        node("BatchMatMulV2", "x", "y", adj_x={"b": False}, adj_y={"b": True}),
        X @ Y.swapaxes(1, 2),
    ),
    "Cast": (node("Cast", "ids", DstT={"type": "DT_FLOAT"}), IDS.astype("float32")),
    "Pack": (
        node("Pack", "x", "y", axis=number(2)),
        np.stack([X, Y], 2),
    ),
    "Split": (node("Split", "x", constants={"0": -1}, num_split=number(3)), X[..., :1]),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_the_nodes_of_keras_2_0_to_2_3_compute_what_tensorflow_computes(name):
    entry, expected = NODES[name]
    ours = load(entry).predict([X, Y, IDS])
    assert ours.shape == expected.shape
    limit = 2e-6 * np.abs(expected).max()
    assert compare(ours, expected, allowed=limit).max_diff < limit
    assert compare(ours, expected[::-1], allowed=limit).max_diff > 1e-2


def test_nodes_without_an_equivalent_are_refused_by_the_operation():
    with pytest.raises(UnsupportedError, match=r"the operation TopKV2 of TensorFlow"):
        load(node("TopKV2", "x", constants={"1": 2}))
    with pytest.raises(UnsupportedError, match=r"complex numbers are not read; give"):
        load(node("Cast", "x", DstT={"type": "DT_COMPLEX64"}))
    binary = node("Mul", "x", "y")
    binary["config"]["node_def"] = "CgNNdWw="
    with pytest.raises(UnsupportedError, match=r"its node is stored in binary"):
        load(binary)


ENDS = st.one_of(st.none(), st.integers(-7, 7))
STEPS = st.one_of(st.none(), st.sampled_from([1, 2, 3, -1, -2]))
PARTS = st.one_of(st.integers(0, 2), st.none(), st.builds(slice, ENDS, ENDS, STEPS))


def written(part):
    """A part of a key as Keras 2 writes it."""
    if isinstance(part, slice):
        return {"start": part.start, "stop": part.stop, "step": part.step}
    return {"class_name": "__ellipsis__"} if part is Ellipsis else part


@settings(max_examples=40, deadline=None)
@given(st.lists(PARTS, max_size=2), st.booleans())
def test_slices_of_every_kind_pick_what_numpy_picks(parts, dots):
    key = (slice(None), *parts, *([Ellipsis] if dots else []))
    expected = X[key]
    if 0 in expected.shape:
        return
    node = x(slice_spec=[written(part) for part in key])
    np.testing.assert_array_equal(result("__operators__.getitem", node), expected)


@pytest.mark.parametrize(
    ("function", "node", "reason"),
    [
        (
            "unique",
            x(),
            "the function tf.unique of TensorFlow is not supported. To go on",
        ),
        (
            "sort",
            x(axis=1, direction="DESCENDING"),
            "the function tf.sort of TensorFlow is not supported: direction=DESCENDING",
        ),
        ("math.top_k", x(k=2, sorted=False), "sorted=False, which leaves the order"),
        (
            "compat.v1.gather",
            x(indices=["ids", 0, 0], axis=2, batch_dims=2),
            "batch_dims=2 with axis=2 is not read",
        ),
        ("__operators__.eq", x(), "the file does not say its argument y"),
        ("math.reduce_mean", x(), "without an axis it joins the rows"),
        ("math.reduce_mean", ["ids", 0, 0, {"axis": 1}], "computed in whole numbers"),
        (
            "tensordot",
            x(b=["y", 0, 0], axes=[[2], [2]]),
            "of two tensors each row would meet each row of the other",
        ),
        ("concat", both(axis=0), "an axis other than that of the rows"),
        ("nn.relu", x(slope=2), "its argument slope=2 has no equivalent"),
        ("compat.v1.squeeze", x(), "without an axis it may remove that of the rows"),
        ("reshape", x(shape=["ids", 0, 0]), "its sizes must be numbers"),
        (
            "einsum",
            ["_CONSTANT_VALUE", -1, "ab,bc->ac", {}],
            "tf.einsum of TensorFlow is not supported: Keras 2 writes its first oper",
        ),
        (
            "__operators__.getitem",
            x(slice_spec=[written(slice(None)), ["ids", 0, 0]]),
            "the place is a tensor",
        ),
    ],
)
def test_what_has_no_equivalent_is_refused_by_the_name_of_the_function(
    function, node, reason
):
    with pytest.raises(UnsupportedError, match=r"Layer 'op'.*") as caught:
        result(function, node)
    assert reason in str(caught.value)


@pytest.mark.parametrize("axes", [[[0], [0]], [[0, 2], [0, 1]], 3])
def test_a_tensordot_along_the_rows_is_refused(axes):
    node = x(b=floats(ROWS, FEATURES, 2).tolist(), axes=axes)
    with pytest.raises(verify.VerifyError, match="the rows to stand first"):
        result("tensordot", node)


def test_the_shape_of_a_tensor_stands_for_the_rows_where_it_is_used():
    operations = [
        operation("shape", "compat.v1.shape", x(out_type="int32")),
        operation("rows", "__operators__.getitem", ["shape", 0, 0, {"slice_spec": 0}]),
        operation("steps", "__operators__.getitem", ["shape", 0, 0, {"slice_spec": 1}]),
        operation(
            "features", "__operators__.getitem", ["shape", 0, 0, {"slice_spec": 2}]
        ),
    ]
    rows, steps, features = ([n, 0, 0] for n in ("rows", "steps", "features"))
    for k, (shape, expected) in enumerate(
        [
            ([rows, 18], X.reshape(ROWS, 18)),
            ([rows, -1], X.reshape(ROWS, 18)),
            ([rows, steps, 3, 1], X[..., None]),
            ([rows, steps, 3], X),
            ([-1, steps, 3], X),
            ([-1, steps, 1, 3], X[:, :, None]),
            ([-1, 2, 3, features], X.reshape(ROWS, 2, 3, 3)),
        ]
    ):
        last = operation(f"reshape_{k}", "reshape", x(shape=shape))
        ours = load(*operations, last).predict([X, Y, IDS])
        np.testing.assert_array_equal(ours, expected)
    zeros = operation("zeros", "zeros", [[*rows, {}], ["_CONSTANT_VALUE", -1, 4, {}]])
    ours = load(*operations, zeros).predict([X, Y, IDS])
    np.testing.assert_array_equal(ours, np.zeros((ROWS, 4)))


def test_rows_times_a_number_are_other_axes_folded_into_the_rows():
    rows = [
        operation("shape", "compat.v1.shape", x(out_type="int32")),
        operation("rows", "__operators__.getitem", ["shape", 0, 0, {"slice_spec": 0}]),
        operation("twice", "math.multiply", ["rows", 0, 0, {"y": 2}]),
        operation("six", "math.multiply", ["_CONSTANT_VALUE", -1, 3,
                                           {"y": ["twice", 0, 0]}]),
    ]  # fmt: skip
    six = operation("fold", "reshape", x(shape=[["six", 0, 0], 3]))
    last = operation("sum", "math.cumsum", ["fold", 0, 0, {"axis": 1}])
    whole = operation(
        "whole", "reshape", ["sum", 0, 0, {"shape": [["rows", 0, 0], 18]}]
    )
    ours = load(*rows, six, last, whole).predict([X, Y, IDS])
    np.testing.assert_allclose(ours, np.cumsum(X, 2).reshape(ROWS, 18), rtol=1e-6)
    part = ["shape", 0, 0, {"slice_spec": 1}]
    steps = operation("steps", "__operators__.getitem", part)
    wide = operation("wide", "math.multiply", ["steps", 0, 0, {"y": 2}])
    with pytest.raises(UnsupportedError, match="not that of the rows is multiplied"):
        load(
            rows[0], steps, wide, operation("op", "reshape", x(shape=[["wide", 0, 0]]))
        )


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ([-1, "steps", 1], "cannot reshape"),  # rows of 3: three times as many
        ([-1, "steps", 6], "cannot reshape"),
        ([-1, "steps", "features"], "more than one of its sizes is open"),
        ([-1, "others"], "one of its sizes is that of another tensor"),
        ([-1, 3, "steps"], "axis 1, whose size is open, becomes axis 2"),
        ([-1, "features", 6], "axis 2, whose size is open, becomes axis 1"),
    ],
)
def test_a_reshape_that_may_not_keep_the_rows_is_refused(shape, reason):
    ends = {"steps": ("x", 1), "features": ("x", 2), "others": ("y", 1)}
    operations = []
    for name, (tensor, axis) in ends.items():
        whole = operation(f"shape_{name}", "compat.v1.shape", [tensor, 0, 0, {}])
        key = [f"shape_{name}", 0, 0, {"slice_spec": axis}]
        operations += [whole, operation(name, "__operators__.getitem", key)]
    sizes = [[n, 0, 0] if isinstance(n, str) else n for n in shape]
    with pytest.raises(verify.VerifyError, match=reason):
        load(*operations, operation("op", "reshape", x(shape=sizes)))


def test_each_call_of_an_operation_becomes_an_operation_of_its_own():
    first = operation("op", "math.multiply", x(y=2.0))
    first["inbound_nodes"].append(["y", 0, 0, {"y": 3.0}])
    last = operation("sum", "__operators__.add", ["op", 0, 0, {"y": ["op", 1, 0]}])
    net = load(first, last)
    np.testing.assert_allclose(net.predict([X, Y, IDS]), 2 * X + 3 * Y, rtol=1e-6)
    assert {"op", "op.call_1", "sum"} <= set(net.spec.root.sublayers)


def test_operations_are_sorted_even_if_the_file_is_not():
    last = operation("last", "math.negative", ["first", 0, 0, {}])
    first = operation("first", "math.square", x())
    net = load(last, first, outputs=[["last", 0, 0]])
    np.testing.assert_allclose(net.predict([X, Y, IDS]), -(X**2), rtol=1e-6)
    cycle = operation("first", "math.square", ["last", 0, 0, {}])
    with pytest.raises(verify.VerifyError):
        load(last, cycle)


def test_constants_have_the_dtype_of_the_tensor_beside_them():
    entry = operation("op", "math.multiply", x(y=[0.1, 0.2, 0.3]))
    upgraded = upgrade_config(graph(entry), "keras2").config
    (made,) = [e for e in upgraded["config"]["layers"] if e.get("name") == "op"]
    stored = made["inbound_nodes"][0]["args"][1]["config"]
    assert stored["dtype"] == "float32"
    assert stored["value"] == np.float32([0.1, 0.2, 0.3]).tolist()


def test_the_dtype_of_an_operation_of_keras_3_in_an_h5_file_is_no_policy():
    entry = {
        "class_name": "Prod",
        "config": {"name": "op", "axis": 1, "keepdims": False, "dtype": None},
        "name": "op",
        "inbound_nodes": [["x", 0, 0, {}]],
    }
    upgraded = upgrade_config(graph(entry), "keras3").config
    (made,) = [e for e in upgraded["config"]["layers"] if e.get("name") == "op"]
    assert made["module"] == "keras.ops"
    assert made["config"]["dtype"] is None


def test_an_operation_that_is_refused_keeps_the_tensors_behind_shapes():
    """Each context is repeated as often as there are steps, which no file says."""
    whole = {"start": None, "stop": None, "step": None}
    row = ["y", 0, 0, {"slice_spec": [whole, 0]}]
    axis, times = {"axis": -1}, [1, ["steps", 0, 0], 1]
    operations = (
        operation("shape", "shape", x()),
        operation("steps", "__operators__.getitem", ["shape", 0, 0, {"slice_spec": 1}]),
        operation("row", "__operators__.getitem", row),
        operation("one", "expand_dims", ["row", 0, 0, {"axis": 1}]),
        operation("tile", "tile", ["one", 0, 0, {"multiples": times}]),
        operation("joined", "concat", [["x", 0, 0, axis], ["tile", 0, 0, axis]]),
        {
            "class_name": "LSTM",
            "config": {"name": "lstm", "units": 4},
            "name": "lstm",
            "inbound_nodes": [[["joined", 0, 0, {}]]],
        },
    )
    upgraded = upgrade_config(graph(*operations), "keras2", partial=True)
    root = read_architecture(upgraded.config, partial=True)
    (tile,) = [layer for _, layer in root.walk() if layer.unread]
    assert tile.name == "tile"
    assert "multiples must be a whole number" in tile.unread
    (node,) = [node for node in root.graph.nodes if node.layer == "tile"]
    behind = {ref.layer.partition(".")[0] for ref in refs_of(node)}
    assert behind == {"one", "x"}
    weights = {"kernel": floats(2 * FEATURES, 16), "recurrent_kernel": floats(4, 16)}
    weights["bias"] = floats(16)
    lstm = replace(root.sublayers["lstm"], weights=weights)
    remains = cut(root.replaced("lstm", lstm), upgraded.config)
    assert "lstm" in remains.layers
    shape = remains.stand_ins["tile_output"].layer.options["batch_shape"]
    assert shape == (None, TIME, FEATURES)
