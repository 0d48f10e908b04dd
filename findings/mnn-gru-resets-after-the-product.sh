#!/usr/bin/env bash
# MNN 3.6.1 beside onnxruntime 1.32.0, the operator GRU of ONNX.
#
# Guess: `linear_before_reset` is obeyed, or the converter refuses the file. 0 is ONNX's
#        default, and what a Keras GRU with reset_after=False is.
# Found: the converter passes over it: the reset gate is always multiplied with the
#        product of the state and the recurrent kernel, never with the state. With 0,
#        both biases are added outside of that product, so this is not the network with
#        1 either. A GRU with 0 is 0.5 to 0.9 off here, and nothing warns; with 1 it is
#        right to 1e-6. The GRU files that Keras exports are loops, which MNN computes
#        rightly; this is for a port that writes the operator.
#
# Prints the distances, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  MNN==3.6.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.2.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import subprocess
import sys

import MNN
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

STEPS, ROWS, FEATURES, UNITS = 5, 3, 2, 4
# the command mnnconvert would install a package of its own first, to report its use
CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv[1:])"
rng = np.random.default_rng(0)
x, W, R, B, h0 = (
    rng.normal(size=shape).astype(np.float32)
    for shape in (
        (STEPS, ROWS, FEATURES), (1, 3 * UNITS, FEATURES), (1, 3 * UNITS, UNITS),
        (1, 6 * UNITS), (1, ROWS, UNITS),
    )
)


def content(after, bias):
    node = helper.make_node(
        "GRU", ["X", "W", "R", "B", "", "h0"], ["Y", "Y_h"], hidden_size=UNITS,
        linear_before_reset=int(after),
    )
    held = {"W": W, "R": R, "B": B * np.float32(bias), "h0": h0}
    graph = helper.make_graph(
        [node],
        "one_node",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (
                ("Y", [STEPS, 1, ROWS, UNITS]), ("Y_h", [1, ROWS, UNITS]),
            )
        ],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8
    )
    checker.check_model(made, full_check=True)
    return made.SerializeToString()


def in_onnxruntime(held):
    session = onnxruntime.InferenceSession(held, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": x})[0][:, 0]


def in_mnn(held):
    with open("one.onnx", "wb") as file:
        file.write(held)
    subprocess.run(
        [sys.executable, "-c", CONVERT, "mnnconvert", "-f", "ONNX", "--modelFile",
         "one.onnx", "--MNNModel", "one.mnn", "--bizCode", "one"],
        check=True, stdout=subprocess.DEVNULL,
    )
    net = MNN.nn.load_module_from_file("one.mnn", ["X"], ["Y", "Y_h"])
    given = MNN.expr.placeholder(x.shape, MNN.expr.NCHW, MNN.expr.float)
    given.write(x.copy())
    y = MNN.expr.convert(net.forward([given])[0], MNN.expr.NCHW)
    return np.array(y.read()).reshape(STEPS, ROWS, UNITS)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def reset_after(bias):
    """The steps with the reset gate on the product, and every bias outside of it."""
    side, recurrent = np.split(B[0] * bias, 2)
    h, found = h0[0], []
    for step in x:
        a = np.split(step @ W[0].T + side + recurrent, 3, axis=1)
        b = np.split(h @ R[0].T, 3, axis=1)
        z, r = sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1])
        h = (1 - z) * np.tanh(a[2] + r * b[2]) + z * h
        found.append(h)
    return np.stack(found)


for bias in (0, 1):
    found = in_mnn(content(False, bias))
    wrong = np.abs(found - in_onnxruntime(content(False, bias))).max()
    same = np.abs(found - reset_after(bias)).max()
    right = content(True, bias)
    after = np.abs(in_mnn(right) - in_onnxruntime(right)).max()
    print(
        f"bias times {bias}: linear_before_reset=0 is {wrong:.2g} from onnxruntime, "
        f"{same:.1e} from a reset after the product; 1 is {after:.1e} from onnxruntime"
    )
    assert wrong > 0.05, "linear_before_reset=0 is obeyed now"
    assert max(same, after) < 2e-6, "something else is computed now"
PYTHON
