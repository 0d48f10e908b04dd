"""Frameworks that are installed here compute what their conventions say.

Also past the length of a row, for a row of length zero, and in a second call.
"""

from __future__ import annotations

import json
from importlib import import_module, resources

import numpy as np
import pytest

from benchmarks.conventions.measure import (
    LIMIT,
    MODULES,
    RUNNERS,
    UNITS,
    cases,
    in_this_process,
    is_here,
    measured,
)
from verify.model.conventions import conventions

HERE = ("onnxruntime", "onnx.reference", "openvino", "litert")
WRONG = 3e-2
"""What every wrong order of gates misses by, on weights of this size."""


@pytest.mark.parametrize("framework", HERE)
def test_a_framework_computes_what_its_conventions_say(framework):
    _, found = measured(framework, seed=20)
    assert {case.convention for case, _ in found} == set(conventions(framework))
    assert all(difference < LIMIT for _, difference in found)


@pytest.mark.parametrize("framework", HERE)
def test_a_planted_mistake_shows(framework, monkeypatch):
    """Two gates exchanged, and for a SimpleRNN the recurrent kernel transposed."""
    run = in_this_process(
        import_module(f"benchmarks.conventions.runners.{MODULES[framework][0]}")
    )
    for case in cases(framework, seed=20, both=False):
        arrays = case.arrays()
        name = next(
            k
            for k in arrays
            if k in ("R", "recurrent_weights") or "recurrent_to_input" in k
        )
        if case.convention.keras_layer == "SimpleRNN":
            arrays[name] = np.swapaxes(arrays[name], -1, -2).copy()
        elif case.convention.layout == "separate":
            other = name.replace("input_weights", "forget_weights")
            arrays[name], arrays[other] = arrays[other], arrays[name]
        else:
            parts = np.split(arrays[name], len(case.convention.gates), axis=1)
            arrays[name] = np.concatenate([parts[1], parts[0], *parts[2:]], axis=1)
        monkeypatch.setattr(type(case), "arrays", lambda _, a=arrays: a)
        assert case.difference(run(case)) > WRONG, case.convention.cell
        monkeypatch.undo()


def test_every_runner_belongs_to_a_framework():
    modules = {f"{name}.py" for name, _ in MODULES.values()}
    assert modules == {path.name for path in RUNNERS.glob("run_*.py")}
    assert all(conventions(name) for name in MODULES)
    assert all(is_here(name) for name in HERE)


def test_what_was_measured_is_of_conventions_that_there_are():
    folder = resources.files("verify.model.conventions")
    held = json.loads((folder / "measured.json").read_text())["measurements"]
    cells = {(c.framework, c.cell) for c in conventions() if c.measured}
    assert {(name, cell) for name, found in held.items() for cell in found} == cells
    for one in conventions():
        if one.measured is not None:
            assert one.measured.difference < LIMIT
            assert one.measured.version == one.version


STEPS = 7
LENGTHS = np.array([7, 3, 0], np.int32)
"""Of three rows: a whole one, a shorter one, an empty one."""


def lstm_weights(framework):
    case = cases(framework, seed=3, both=False)[0]
    return case.arrays()


def rows():
    """Inputs, an initial h and an initial c, none of them zero."""
    rng = np.random.default_rng(0)
    shapes = ((3, STEPS, 3), (3, 1, UNITS), (3, 1, UNITS))
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def onnx_lstm(weights):
    from onnx import TensorProto, helper, numpy_helper

    names = ["X", "lengths", "h0", "c0"]
    node = helper.make_node(
        "LSTM", ["X", "W", "R", "B", "lengths", "h0", "c0"], ["Y", "Y_h"],
        hidden_size=UNITS,
    )  # fmt: skip
    types = (TensorProto.FLOAT, TensorProto.INT32, TensorProto.FLOAT, TensorProto.FLOAT)
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(*one, None)
            for one in zip(names, types, strict=True)
        ],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, None)
            for n in ("Y", "Y_h")
        ],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    opset = [helper.make_opsetid("", 14)]
    return helper.make_model(graph, ir_version=8, opset_imports=opset)


def of_onnxruntime(x, h, c, lengths):
    import onnxruntime

    content = onnx_lstm(lstm_weights("onnxruntime")).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    turned = {"X": x, "h0": h, "c0": c}
    feeds = {k: np.ascontiguousarray(np.swapaxes(v, 0, 1)) for k, v in turned.items()}
    y, last = session.run(None, {**feeds, "lengths": lengths})
    return np.transpose(y[:, 0], (1, 0, 2)), last[0]


def of_onnx_reference(x, h, c, lengths):
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(onnx_lstm(lstm_weights("onnxruntime")))
    turned = {"X": x, "h0": h, "c0": c}
    feeds = {k: np.swapaxes(v, 0, 1) for k, v in turned.items()}
    y, last = session.run(None, {**feeds, "lengths": lengths})
    return np.transpose(y[:, 0], (1, 0, 2)), last[0]


def of_openvino(x, h, c, lengths):
    import openvino
    from openvino import opset13 as ops

    given = ops.parameter(x.shape, np.float32)
    weights = [ops.constant(v) for v in lstm_weights("openvino").values()]
    constants = [ops.constant(v) for v in (h, c, lengths)]
    node = ops.lstm_sequence(given, *constants, *weights, UNITS, "forward")
    model = openvino.Model(list(node.outputs()), [given])
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(model, "CPU", options)(x)
    return np.array(found[0])[:, 0], np.array(found[1])[:, 0]


@pytest.mark.parametrize("run", [of_onnxruntime, of_openvino])
def test_past_the_length_are_zeros_and_an_empty_row_loses_its_initial_state(run):
    x, h, c = rows()
    whole, _ = run(x, h, c, np.full(3, STEPS, np.int32))
    y, last = run(x, h, c, LENGTHS)
    assert np.abs(y[0] - whole[0]).max() < LIMIT
    assert np.abs(y[1, :3] - whole[1, :3]).max() < LIMIT
    assert not y[1, 3:].any()
    assert np.abs(last[1] - whole[1, 2]).max() < LIMIT
    assert not last[2].any()
    assert np.abs(h[2]).min() > 0


def test_the_reference_evaluator_of_onnx_ignores_lengths():
    x, h, c = rows()
    whole, _ = of_onnx_reference(x, h, c, np.full(3, STEPS, np.int32))
    y, _ = of_onnx_reference(x, h, c, LENGTHS)
    assert np.array_equal(y, whole)


def test_the_state_of_litert_survives_a_call():
    from ai_edge_litert.interpreter import Interpreter

    from benchmarks.conventions.runners import run_litert

    case = cases("litert", seed=3)[0]
    content = run_litert._file(case.convention.cell, case.arrays(), case.x.shape)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    first, last = (
        interpreter.get_input_details()[0],
        interpreter.get_output_details()[0],
    )

    def called():
        interpreter.set_tensor(first["index"], case.x)
        interpreter.invoke()
        return interpreter.get_tensor(last["index"])

    before, after = called(), called()
    assert np.abs(before - after).max() > WRONG
    interpreter.reset_all_variables()
    assert np.array_equal(called(), before)
