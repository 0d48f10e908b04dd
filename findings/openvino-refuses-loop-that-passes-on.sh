#!/usr/bin/env bash
# OpenVINO 2026.4.1, its reader of ONNX files, beside onnxruntime 1.32.0.
#
# Guess: a Loop that onnx.checker accepts and onnxruntime runs can be read by OpenVINO,
#        which says that it supports the operator Loop.
# Found: a Loop whose body returns one of its inputs as it is, which ONNX allows, is
#        refused: "The provided loop body graph canonical inputs size (5), does not match
#        the sum of loop carried dependencies and two mandatory inputs (4)". An Identity
#        between the two is all that it needs. tf2onnx 1.17 passes every weight on in
#        this way, so OpenVINO reads no GRU and no masked LSTM that Keras exports as ONNX.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.2.6
"$folder/venv/bin/python" - "$folder/loop.onnx" <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

PATH = sys.argv[1]
X = np.arange(6, dtype=np.float32).reshape(3, 2)


def model(passed_on):
    """Sum of x[t] * w over t; `passed_on`: the body returns w without an Identity."""
    info, real = helper.make_tensor_value_info, TensorProto.FLOAT
    node = helper.make_node
    inputs = [
        info("t", TensorProto.INT64, []), info("on", TensorProto.BOOL, []),
        info("sum", real, [2]), info("w", real, [2]),
    ]
    nodes = [
        node("Gather", ["x", "t"], ["x_t"], axis=0),
        node("Mul", ["x_t", "w"], ["product"]),
        node("Add", ["sum", "product"], ["sum_after"]),
        node("Identity", ["on"], ["on_after"]),
        node("Identity", ["w"], ["w_after"]),
    ]
    last = "w" if passed_on else "w_after"
    outputs = [
        info("on_after", TensorProto.BOOL, []),
        info("sum_after", real, [2]), info(last, real, [2]),
    ]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    loop = node("Loop", ["steps", "true", "zero", "weight"], ["y", "same"], body=body)
    constants = {
        "steps": np.int64(3), "true": np.array(True),
        "zero": np.zeros(2, np.float32), "weight": np.array([1, 2], np.float32),
    }
    graph = helper.make_graph(
        [loop], "graph", [info("x", real, [3, 2])], [info("y", real, [2])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opset = helper.make_opsetid("", 17)
    found = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(found, full_check=True)
    return found


def openvino_says():
    """The sum, or what OpenVINO says against the file."""
    try:
        return openvino.compile_model(PATH, "CPU")(X)[0].tolist()
    except RuntimeError as error:
        words = "does not match the sum of loop carried dependencies"
        return words if words in str(error) else str(error)


changed = False
for passed_on, wanted in (
    (False, [6.0, 18.0]),
    (True, "does not match the sum of loop carried dependencies"),
):
    made = model(passed_on)
    onnx.save(made, PATH)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    right = session.run(["y"], {"x": X})[0].tolist()
    said = openvino_says()
    name = "the body returns its input" if passed_on else "an Identity between them"
    print(f"{name}: onnxruntime {right}, OpenVINO {said}")
    changed |= right != [6.0, 18.0] or said != wanted
sys.exit(changed)
PYTHON
