"""Mistakes planted in real files are located at their layer, gate and time step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support import nets

from verify import Network, load
from verify.errors import ModelFileError
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.runtimes import locate_onnx
from verify.ports.artefacts.session import open_session
from verify.ports.locate import Location, locate
from verify.ports.locate.differences import Agreement
from verify.ports.locate.fused import directions
from verify.ports.locate.inside import look_inside
from verify.ports.locate.layers import LayerComparison

from .conftest import EXPORTED, Change, Here, located, place

Planted = Callable[..., Location | None]
KINDS = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}
BACK = {"go_backwards": True, "return_sequences": True}


def tensor(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Change:
    """Change an initializer."""

    def apply(proto: Any) -> None:
        found = next(i for i in proto.graph.initializer if name in i.name)
        array = numpy_helper.to_array(found).copy()
        new = change(array)
        new = array if new is None else new
        found.CopyFrom(numpy_helper.from_array(new, found.name))

    return apply


def added(name: str, *at: int) -> Change:
    """Add 0.3 to one number of an initializer."""

    def change(array: np.ndarray) -> None:
        array[at] += 0.3

    return tensor(name, change)


def attribute(op: str, name: str, value: Any) -> Change:
    """Set an attribute of the first node of a type; None removes it."""

    def apply(proto: Any) -> None:
        node = next(n for n in proto.graph.node if n.op_type == op)
        for old in [a for a in node.attribute if a.name == name]:
            node.attribute.remove(old)
        if value is not None:
            node.attribute.append(onnx.helper.make_attribute(name, value))

    return apply


def without_input(op: str, k: int) -> Change:
    """Take an input away from the first node of a type."""

    def apply(proto: Any) -> None:
        next(n for n in proto.graph.node if n.op_type == op).input[k] = ""

    return apply


def swapped(first: int, second: int) -> Callable[[np.ndarray], None]:
    """Exchange two gate blocks of W or R."""

    def change(array: np.ndarray) -> None:
        blocks = array.reshape(-1, nets.UNITS, array.shape[-1])
        blocks[[first, second]] = blocks[[second, first]]

    return change


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, BACK], ids=["", "back"])
def test_right_files_have_no_location(
    planted: Planted, kind: str, options: dict[str, Any]
) -> None:
    assert planted(nets.feature_net(kind, **options), nets.features()) is None
    net = Network(nets.word_net(nets.rnn(kind, **options)))
    assert planted(net, nets.ids()) is None


def test_exchanged_gates(planted: Planted) -> None:
    found = planted(
        nets.feature_net("LSTM"), nets.features(), tensor("rnn/W", swapped(1, 2))
    )
    # ONNX has the order i, o, f, c, so f and o are exchanged; f is computed first
    assert place(found)[:3] == ("rnn", "f", 0)
    assert found is not None
    assert found.sentences[0].startswith(
        "first difference: layer 'rnn' (node 'rnn/LSTM_node'), gate f, time step 0, "
        "unit "
    )
    assert f"{found.found:.6g} in the file, {found.expected:.6g} by the model" in str(
        found
    )
    assert found.sentences[1] == (
        "kernel: the operator reads gate o in place of f and gate f in place of o"
    )
    assert found.sentences[2] == "all 3 weights of the model are in the file"


@pytest.mark.parametrize(("kind", "gate"), [("LSTM", "i"), ("GRU", "z")])
def test_a_dropped_bias(planted: Planted, kind: str, gate: str) -> None:
    found = planted(
        nets.feature_net(kind), nets.features(), without_input(KINDS[kind], 3)
    )
    assert place(found)[:3] == ("rnn", gate, 0)
    assert found is not None
    assert "it has no bias, the layer has one" in found.sentences[1]


@pytest.mark.parametrize(
    ("kind", "gates"), [("LSTM", "iofc"), ("GRU", "zrh"), ("SimpleRNN", "h")]
)
def test_one_weight_of_each_gate(planted: Planted, kind: str, gates: str) -> None:
    names = {"c": "c_hat", "h": "h" if kind == "SimpleRNN" else "h_hat"}
    for k, gate in enumerate(gates):
        found = planted(
            nets.feature_net(kind),
            nets.features(),
            added("rnn/R", 0, nets.UNITS * k + 2, 1),
        )
        # the recurrent kernel has no effect before step 1
        assert place(found) == ("rnn", names.get(gate, gate), 1, 2)
        assert found is not None
        assert (
            f"1 of {len(gates) * nets.UNITS**2} numbers differs" in found.sentences[1]
        )


def test_a_layer_that_goes_backwards_begins_with_its_last_step(
    planted: Planted,
) -> None:
    net = nets.feature_net("LSTM", **BACK)
    found = planted(net, nets.features(), added("rnn/R", 0, 6, 1))
    assert place(found) == ("rnn", "o", nets.TIME - 2, 2)
    found = planted(net, nets.features(), attribute("LSTM", "direction", "forward"))
    assert place(found)[:3] == ("rnn", "i", nets.TIME - 1)
    assert found is not None
    assert found.sentences[1] == (
        "LSTM 'rnn/LSTM_node': it runs forwards over its input, the layer backwards"
    )


@pytest.mark.parametrize(("after", "step"), [(True, 0), (False, 1)])
def test_a_reset_before_or_after(planted: Planted, after: bool, step: int) -> None:
    net = nets.feature_net("GRU", reset_after=after)
    flipped = attribute("GRU", "linear_before_reset", int(not after))
    found = planted(net, nets.features(), flipped)
    assert place(found)[:3] == ("rnn", "h_hat", step)
    assert found is not None
    assert found.sentences[1].startswith(
        f"GRU 'rnn/GRU_node': it resets {'before' if after else 'after'} the product"
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "activations", ["Tanh", "Sigmoid", "Tanh"],
            "its activation for the gates is tanh, the layer's is sigmoid",
        ),
        ("clip", 0.5, "it clips the arguments of its activations to 0.5"),
        ("input_forget", 1, "its forget gate is 1 - i, the layer has one of its own"),
    ],
)  # fmt: skip
def test_attributes_that_differ(
    planted: Planted, name: str, value: Any, words: str
) -> None:
    net = nets.feature_net("LSTM")
    found = planted(net, nets.features(), attribute("LSTM", name, value))
    gate = "f" if name == "input_forget" else "i"
    assert place(found)[:3] == ("rnn", gate, 0)
    assert found is not None
    assert found.sentences[1] == f"LSTM 'rnn/LSTM_node': {words}"


def test_the_slope_of_hard_sigmoid(planted: Planted) -> None:
    net = nets.feature_net("LSTM", recurrent_activation="hard_sigmoid")
    assert planted(net, nets.features()) is None
    found = planted(net, nets.features(), attribute("LSTM", "activation_alpha", [0.2]))
    assert place(found)[:3] == ("rnn", "i", 0)
    assert found is not None
    assert found.sentences[1].endswith(
        "its activation for the gates is hardsigmoid(alpha=0.2, beta=0.5), the layer's "
        "is hard_sigmoid(alpha=0.166667, beta=0.5)"
    )


@pytest.mark.parametrize(("kind", "state"), [("LSTM", "c"), ("GRU", "h")])
def test_lengths_that_are_not_given(planted: Planted, kind: str, state: str) -> None:
    ids = np.full((3, nets.TIME), 5, np.int32)
    ids[0, 4:] = ids[1, 3:] = 0
    net = Network(nets.word_net(nets.rnn(kind)))
    assert planted(net, ids) is None
    found = planted(net, ids, without_input(KINDS[kind], 4))
    # the state of row 1 should stay as it is from its first step of padding on
    assert place(found)[:3] == ("rnn", state, 3)
    assert found is not None
    assert found.row == 1
    assert found.sentences[1].endswith(
        "it is given no lengths, while the layer has a mask"
    )
    assert "the layers before it agree ('words')" in found.sentences[0]


@pytest.mark.parametrize("options", [{}, BACK], ids=["", "back"])
def test_masked_steps_that_stand_behind_the_others(
    planted: Planted, options: dict[str, Any]
) -> None:
    net = Network(nets.word_net(nets.rnn("GRU", **options)))
    found = planted(net, nets.ids(), added("rnn/R", 0, 6, 1))
    step = nets.TIME - 2 if options else 1
    assert place(found) == ("rnn", "r", step, 2)


def test_initial_states_that_are_not_given(planted: Planted) -> None:
    model = nets.FunctionalNet()
    x = model.input("x", None, nets.TIME, nets.INPUTS)
    states = [model.input(name, None, nets.UNITS) for name in "hc"]
    y = model.call(nets.rnn("LSTM"), x, features=nets.INPUTS, initial_state=states)
    net = Network(model.spec(y[0]))
    rng = np.random.default_rng(3)
    rows = [nets.features(), *rng.normal(size=(2, nets.BATCH, nets.UNITS))]
    assert planted(net, rows) is None
    found = planted(net, rows, without_input("LSTM", 5))
    assert place(found)[:2] == ("rnn", "initial state h")
    assert found is not None
    found = planted(net, rows, without_input("LSTM", 5), without_input("LSTM", 6))
    assert place(found)[:2] == ("rnn", "initial state h")
    assert found is not None
    assert found.sentences[1].endswith("it is given no initial states, the layer is")


def test_the_layer_before_and_the_layer_behind(planted: Planted) -> None:
    net = Network(nets.word_net(nets.rnn("LSTM")))
    ids = np.arange(1, 1 + 3 * nets.TIME).reshape(3, -1) % (nets.VOCABULARY - 1) + 1
    found = planted(net, ids.astype(np.int32), added("words/embeddings", 4, 1))
    step = int(np.argwhere((ids == 4).any(axis=0))[0, 0])
    assert place(found) == ("words", "output", step, 1)
    found = planted(net, nets.ids(), added("dense/kernel", 2, 1))
    assert place(found)[:2] == ("dense", "output")
    assert found is not None
    assert "the layers before it agree ('words' and 'rnn')" in found.sentences[0]


def test_the_second_of_two_recurrent_layers(planted: Planted) -> None:
    net = Network(
        nets.spec(
            nets.input_layer(None, nets.TIME, nets.INPUTS),
            nets.rnn("LSTM", "first", return_sequences=True),
            nets.rnn("LSTM", "second"),
        )
    )
    found = planted(net, nets.features(), added("second/R", 0, 14, 1))
    assert place(found) == ("second", "c_hat", 1, 2)


def test_one_direction_of_two(planted: Planted) -> None:
    model = nets.FunctionalNet()
    x = model.input("x", None, nets.TIME, nets.INPUTS)
    inner = nets.rnn("LSTM", "lstm", return_sequences=True)
    y = model.call(nets.layer("Bidirectional", "bi", layer=inner), x,
                   features=nets.INPUTS)  # fmt: skip
    net = Network(model.spec(y[0]))
    assert planted(net, nets.features()) is None

    def last(proto: Any) -> None:
        tensors = [i for i in proto.graph.initializer if i.name.endswith("R")]
        array = numpy_helper.to_array(tensors[-1]).copy()
        array[-1, 6, 1] += 0.3
        tensors[-1].CopyFrom(numpy_helper.from_array(array, tensors[-1].name))

    found = planted(net, nets.features(), last)
    assert place(found) == ("bi/backward_layer", "o", nets.TIME - 2, 2)


def test_a_loop_around_a_stack_of_cells(planted: Planted) -> None:
    model = nets.FunctionalNet()
    x = model.input("x", None, nets.TIME, nets.INPUTS)
    cells = [
        nets.layer("LSTMCell", "a", units=nets.UNITS),
        nets.layer("GRUCell", "b", units=nets.UNITS + 1),
    ]
    stack = nets.layer("StackedRNNCells", "cells", cells=cells)
    y = model.call(nets.layer("RNN", "rnn", cell=stack), x, features=nets.INPUTS)
    net = Network(model.spec(y[0]))
    assert planted(net, nets.features()) is None
    found = planted(net, nets.features(), added("rnn/body/recurrent_kernel_2", 1, 1))
    assert place(found) == ("rnn", "1/z", 1, 1)
    assert found is not None
    assert "gate z of cell 1, time step 1, unit 1" in found.sentences[0]


def test_a_convolution_over_time(planted: Planted) -> None:
    conv = nets.layer("ConvLSTM1D", "conv", filters=3, kernel_size=2)
    net = Network(nets.spec(nets.input_layer(None, 4, 5, 2), conv))
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 2)).astype(np.float32)
    found = planted(net, x, added("conv/body/kernel", 4, 0, 1))
    assert place(found) == ("conv", "f", 1, 1)


ROWS = np.random.default_rng(5).normal(size=(1, nets.TIME, 3)).astype(np.float32)
IDS = np.array([[3, 7, 0, 1, 9, 4]], np.int32)
CASES = [
    pytest.param(
        name, suffix, x, layer, gate,
        marks=pytest.mark.slow if (name, suffix) == ("masked", ".xml") else (),
    )
    for name, x, layer, gate in (
        ("sequence", ROWS, "lstm", "f"),
        ("gru", ROWS, "gru", "r"),
        ("masked", IDS, "lstm", "f"),
    )
    for suffix in (".onnx", ".tflite", ".xml")
]  # fmt: skip


@pytest.mark.parametrize(("name", "suffix", "x", "layer", "gate"), CASES)
def test_exported_files(
    patched: Planted, name: str, suffix: str, x: Any, layer: str, gate: str
) -> None:
    assert patched(name, suffix, x, "") is None
    found = patched(name, suffix, x, f"{layer}/recurrent_kernel", 2, nets.UNITS + 1)
    assert place(found) == (layer, gate, 1, 1)
    assert found is not None
    assert any("nearly found" in sentence for sentence in found.sentences)


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".xml"])
def test_the_last_layer_of_exported_files(patched: Planted, suffix: str) -> None:
    found = patched("gru", suffix, ROWS, "dense/kernel", 1, 1)
    assert place(found) == ("dense", "output", None, 1)


def test_files_that_cannot_be_looked_into_are_compared_by_outputs() -> None:
    net = load(EXPORTED / "sequence.keras")

    class Outputs:
        kind = "torch_export"

        def run(self, feeds: Any) -> Any:
            return {"out": net.flat(net.prepare(ROWS))[0] + (feeds["x"][0, 0, 0] > 9)}

        def renew(self) -> None: ...

        def constants(self) -> Any:
            return dict(net.spec["lstm"].weights)

    rows = net.prepare(ROWS)
    session: Any = Outputs()
    assert locate(session, net, rows, {"x": ROWS}, {"lstm": "out"}) is None
    found = locate(session, net, rows, {"x": ROWS + 10}, {"lstm": "out"})
    assert found is not None
    assert found.layer is None
    assert found.sentences[0].startswith(
        "first difference: output 'lstm' ('out' in the file), time step 0, unit 0"
    )
    assert found.sentences[1:] == (
        "inside a file of torch.export nothing can be looked at: its outputs are "
        "compared",
        "all 3 weights of the model are in the file",
    )


def test_a_file_in_a_process_of_its_own() -> None:
    net = load(EXPORTED / "sequence.keras")
    layer = net.spec["lstm"]
    kernel = layer.weights["kernel"].copy()
    kernel[0, 0] += 0.3
    other = Network(net.spec.with_layer(layer.with_weights(kernel=kernel)))
    rows = net.prepare(ROWS)
    with open_session(EXPORTED / "sequence.onnx") as session:
        feeds = {session.signature.inputs[0].name: ROWS}
        outputs = {"lstm": session.signature.outputs[0].name}
        assert locate(session, net, rows, feeds, outputs) is None
        found = locate(session, other, rows, feeds, outputs)
    assert place(found) == ("lstm", "i", 0, 0)


def openvino_loop(net: Network, path: Path, *, kind: str, added: float) -> Path:
    """Write an LSTM as a TensorIterator or a Loop of OpenVINO."""
    import openvino
    from openvino import opset13 as ops

    weights = {k: np.array(v) for k, v in net.spec["rnn"].weights.items()}
    weights["recurrent_kernel"][1, 5] += added
    rows, units = nets.BATCH, nets.UNITS
    x = ops.parameter([rows, nets.TIME, nets.INPUTS], np.float32, name="x")
    x_t = ops.parameter([rows, 1, nets.INPUTS], np.float32)
    h, c = (ops.parameter([rows, units], np.float32) for _ in "hc")
    one = ops.constant(np.array([1], np.int64))
    kernel, recurrent, bias = map(ops.constant, weights.values())
    products = ops.add(
        ops.matmul(ops.squeeze(x_t, one), kernel, False, False),
        ops.matmul(h, recurrent, False, False),
    )
    z = ops.split(ops.add(products, bias), ops.constant(np.int64(1)), 4)
    i, f, o = (ops.sigmoid(z.output(k)) for k in (0, 1, 3))
    new = ops.add(ops.multiply(f, c), ops.multiply(i, ops.tanh(z.output(2))))
    shown = ops.multiply(o, ops.tanh(new))
    results = [ops.result(value) for value in (shown, new, ops.unsqueeze(shown, one))]
    if kind == "Loop":
        steps, true = ops.constant(np.int64(nets.TIME)), ops.constant(np.array(True))
        goes_on = ops.result(ops.constant(np.array(True)))
        loop = ops.loop(steps, true)
        loop.set_function(openvino.Model([goes_on, *results], [x_t, h, c], "body"))
        loop.set_special_body_ports([-1, 0])
    else:
        loop = ops.tensor_iterator()
        loop.set_body(openvino.Model(results, [x_t, h, c], "body"))
    zeros = ops.constant(np.zeros((rows, units), np.float32))
    loop.set_sliced_input(x_t, x.output(0), 0, 1, 1, -1, 1)
    for state, result in zip((h, c), results, strict=False):
        loop.set_merged_input(state, zeros.output(0), result.output(0))
    y = loop.get_concatenated_slices(results[2].output(0), 0, 1, 1, -1, 1)
    model = openvino.Model([ops.result(y)], [x], "model")
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


@pytest.mark.parametrize("kind", ["TensorIterator", "Loop"])
def test_loops_of_openvino(tmp_path: Path, kind: str) -> None:
    net = nets.feature_net("LSTM", return_sequences=True)
    path = tmp_path / "loop.xml"
    openvino_loop(net, path, kind=kind, added=0.0)
    assert located(path, net, nets.features()) is None
    openvino_loop(net, path, kind=kind, added=0.3)
    assert kind in path.read_text()
    assert place(located(path, net, nets.features())) == ("rnn", "f", 1, 1)


def test_a_runtime_that_computes_something_else_than_the_file_says() -> None:
    net = load(EXPORTED / "sequence.keras")
    x = np.random.default_rng(1).normal(size=(2, nets.TIME, 3)).astype(np.float32)
    session: Any = Here(EXPORTED / "sequence.onnx")
    name = session.signature.inputs[0].name
    inside = look_inside(session, {name: x}, backwards=False)
    assert inside is not None
    (direction,) = directions(inside.operators[0])
    traced = net.trace(x, dtype="float64")["lstm"]
    comparison = LayerComparison(Agreement(1e-5))
    states = [np.zeros((2, nets.UNITS))] * 2
    assert comparison.in_operator(traced, direction, states) is None
    y = direction.outputs["y"].copy()
    y[1, 3, 2] += 0.25
    wrong = replace(direction, outputs={**direction.outputs, "y": y})
    found = comparison.in_operator(traced, wrong, states)
    assert found is not None
    assert (found.gate, found.step, found.row, found.unit) == ("h", 3, 1, 2)
    assert found.why[0].endswith(
        "the runtime computes something else than the file says"
    )
    moved = replace(direction, x=direction.x[:, ::-1] * 2)
    found = comparison.in_operator(traced, moved, states)
    assert found is not None
    assert (found.gate, found.step) == ("input", 0)


def test_inputs_that_were_exchanged(planted: Planted) -> None:
    model = nets.FunctionalNet()
    a, b = (model.input(n, None, nets.TIME, nets.INPUTS) for n in "ab")
    y = model.call(nets.rnn("LSTM", "one", return_sequences=True), a, features=3)
    z = model.call(nets.rnn("LSTM", "two"), b, features=3)
    net = Network(model.spec(y[0], z[0]))

    def exchanged(proto: Any) -> None:
        for node in proto.graph.node:
            for k, name in enumerate(node.input):
                node.input[k] = {"a": "b", "b": "a"}.get(name, name)

    rows = [nets.features(0), nets.features(1)]
    assert planted(net, rows) is None
    found = planted(net, rows, exchanged)
    assert place(found)[:3] == ("one", "input", 0)
    assert found is not None
    assert "its input, time step 0" in found.sentences[0]


def test_tensors_that_cannot_be_looked_at() -> None:
    net = load(EXPORTED / "sequence.keras")

    class Closed(Here):
        def ask(self, request: str, arguments: Any = None, arrays: Any = None) -> Any:
            raise ModelFileError("sequence.onnx: crashes on it, signal 11")

    session: Any = Closed(EXPORTED / "sequence.onnx")
    rows = net.prepare(ROWS)
    feeds = {session.signature.inputs[0].name: ROWS + 1}
    outputs = {"lstm": session.signature.outputs[0].name}
    found = locate(session, net, rows, feeds, outputs)
    assert found is not None
    assert found.layer is None
    assert found.sentences[1] == (
        "its tensors could not be looked at, only its outputs (sequence.onnx: crashes "
        "on it, signal 11)"
    )


def test_onnxruntime_loses_the_initial_state_of_a_row_of_length_zero(
    tmp_path: Path,
) -> None:
    model = nets.FunctionalNet()
    x = model.input("x", None, nets.TIME, nets.INPUTS)
    mask = model.input("mask", None, nets.TIME, dtype="bool")
    states = [model.input(name, None, nets.UNITS) for name in "hc"]
    config = nets.rnn("LSTM", return_state=True)
    outputs = model.call(
        config, x, features=nets.INPUTS, mask=mask, initial_state=states
    )
    net = Network(model.spec(outputs[1]))
    layer = {k: v.astype(np.float32) for k, v in net.spec["rnn"].weights.items()}
    order = [0, 3, 1, 2]  # i, o, f, c of ONNX

    def blocks(value: np.ndarray) -> np.ndarray:
        parts = np.split(value, 4, axis=-1)
        return np.concatenate([parts[k] for k in order], axis=-1)

    weights = {
        "W": blocks(layer["kernel"]).T[None],
        "R": blocks(layer["recurrent_kernel"]).T[None],
        "B": np.concatenate([blocks(layer["bias"]), 0 * layer["bias"]])[None],
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
    }
    make = onnx.helper.make_node
    nodes = [
        make("Transpose", ["x"], ["X"], perm=[1, 0, 2]),
        make("Cast", ["mask"], ["lives"], to=onnx.TensorProto.INT32),
        make("ReduceSum", ["lives", "one"], ["lengths"], keepdims=0),
        make("Unsqueeze", ["h", "zero"], ["h0"]),
        make("Unsqueeze", ["c", "zero"], ["c0"]),
        make(
            "LSTM", ["X", "W", "R", "B", "lengths", "h0", "c0"], ["Y", "Y_h", "Y_c"],
            name="lstm", hidden_size=nets.UNITS,
        ),
        make("Squeeze", ["Y_h", "zero"], ["out"]),
    ]  # fmt: skip
    info, real = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    rows = nets.BATCH
    graph = onnx.helper.make_graph(
        nodes,
        "model",
        [
            info("x", real, [rows, nets.TIME, nets.INPUTS]),
            info("mask", onnx.TensorProto.BOOL, [rows, nets.TIME]),
            *(info(name, real, [rows, nets.UNITS]) for name in "hc"),
        ],
        [info("out", real, [rows, nets.UNITS])],
        [numpy_helper.from_array(v.copy(), k) for k, v in weights.items()],
    )
    opset = onnx.helper.make_opsetid("", 17)
    path = tmp_path / "lengths.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    rng = np.random.default_rng(2)
    h, c = rng.normal(size=(2, rows, nets.UNITS)).astype(np.float32)
    lives = np.arange(nets.TIME) < np.array([6, 3, 1, 5, 4])[:, None]
    assert located(path, net, [nets.features(), lives, h, c]) is None
    lives[2] = False
    found = located(path, net, [nets.features(), lives, h, c])
    assert place(found)[:3] == ("rnn", "h", None)
    assert found is not None
    assert (found.row, found.found) == (2, 0.0)
    assert found.expected == pytest.approx(h[2, 0])
    assert found.sentences[1:3] == (
        "this is h after the last step, as it is returned",
        "the weights and attributes of 'lstm' are right, and so are its inputs: the "
        "runtime computes something else than the file says",
    )


def test_a_small_difference_is_located_too(planted: Planted) -> None:
    def slightly(array: np.ndarray) -> None:
        array[0, 6, 1] += 2e-4

    net = nets.feature_net("LSTM")
    found = planted(net, nets.features(), tensor("rnn/R", slightly))
    assert place(found) == ("rnn", "o", 1, 2)


def test_a_loop_that_cannot_be_looked_into_is_said(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = locate_onnx._ran

    def without_loops(file: Any, proto: Any, feeds: Any) -> Any:
        if any(info.name.startswith("loop 0: ") for info in proto.graph.output):
            raise RuntimeRefused("Scan: shapes differ")
        return ran(file, proto, feeds)

    monkeypatch.setattr(locate_onnx, "_ran", without_loops)
    conv = nets.layer("ConvLSTM1D", "conv", filters=3, kernel_size=2)
    net = Network(nets.spec(nets.input_layer(None, 4, 5, 2), conv))
    x = np.random.default_rng(0).normal(size=(2, 4, 5, 2)).astype(np.float32)
    assert planted(net, x) is None
    found = planted(net, x, added("conv/body/kernel", 4, 0, 1))
    assert found is not None
    assert found.layer == "conv"
    assert found.sentences[-1] == (
        "the tensors inside loops could not be looked at: with them as outputs the "
        "runtime says Scan: shapes differ"
    )
