#!/usr/bin/env bash
# MNN 3.6.1 beside onnxruntime 1.32.0, the operators LSTM, GRU and RNN of ONNX.
#
# Guess: the converter obeys `direction`, or refuses the file; and whether a file asks
#        for all outputs or for the last state alone changes nothing in what it is
#        given.
# Found: "reverse" is read forwards, 0.9 to 1.9 off here; "bidirectional" is right in
#        both halves. And a GRU or RNN whose node has the output Y_h alone, with "" for
#        Y, gives the outputs of all steps under the name Y_h, of another shape; beside
#        Y, Y_h is right. The converter says "Converted Success!" each time, and warns
#        of nothing.
#
# Prints one line per case, and fails if any of this changes.
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
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
# the command mnnconvert would install a package of its own first, to report its use
CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv[1:])"
X = np.random.default_rng(1).normal(size=(STEPS, ROWS, FEATURES)).astype(np.float32)


def content(kind, direction="forward", outputs=("Y", "Y_h")):
    """A file with one node; a GRU has its reset where MNN has it."""
    rng = np.random.default_rng(0)
    width = GATES[kind] * UNITS
    ways = 2 if direction == "bidirectional" else 1
    states = ["h0", "c0"] if kind == "LSTM" else ["h0"]
    shapes = {
        "W": (ways, width, FEATURES),
        "R": (ways, width, UNITS),
        "B": (ways, 2 * width),
        **{name: (ways, ROWS, UNITS) for name in states},
    }
    tensors = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    asked = ["Y" if "Y" in outputs else "", "Y_h"]
    if kind == "LSTM":
        asked.append("Y_c")
    options = {"linear_before_reset": 1} if kind == "GRU" else {}
    node = helper.make_node(
        kind, ["X", "W", "R", "B", "", *states], asked, hidden_size=UNITS,
        direction=direction, **options,
    )
    shapes = {"Y": [STEPS, ways, ROWS, UNITS], "Y_h": [ways, ROWS, UNITS]}
    graph = helper.make_graph(
        [node],
        "one_node",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, X.shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name])
            for name in outputs
        ],
        tensors,
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8
    )
    checker.check_model(made, full_check=True)
    return made.SerializeToString()


def in_onnxruntime(held):
    session = onnxruntime.InferenceSession(held, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})


def in_mnn(held, outputs=("Y", "Y_h")):
    with open("one.onnx", "wb") as file:
        file.write(held)
    subprocess.run(
        [sys.executable, "-c", CONVERT, "mnnconvert", "-f", "ONNX", "--modelFile",
         "one.onnx", "--MNNModel", "one.mnn", "--bizCode", "one"],
        check=True, stdout=subprocess.DEVNULL,
    )
    net = MNN.nn.load_module_from_file("one.mnn", ["X"], list(outputs))
    given = MNN.expr.placeholder(X.shape, MNN.expr.NCHW, MNN.expr.float)
    given.write(X.copy())
    return [
        np.array(MNN.expr.convert(y, MNN.expr.NCHW).read()).reshape(y.shape)
        for y in net.forward([given])
    ]


def apart(found, wanted):
    return max(np.abs(f - w).max() for f, w in zip(found, wanted, strict=True))


for kind in GATES:
    forward = in_onnxruntime(content(kind))
    both = content(kind, "bidirectional")
    reverse = content(kind, "reverse")
    found = in_mnn(reverse)
    wrong = apart(found, in_onnxruntime(reverse))
    print(
        f"{kind:4} reverse: {wrong:.2g} from onnxruntime, "
        f"{apart(found, forward):.1e} from the steps read forwards"
    )
    assert apart(in_mnn(both), in_onnxruntime(both)) < 2e-6, "bidirectional"
    assert wrong > 0.1 and apart(found, forward) < 2e-6, "reverse is obeyed now"
for kind in ("GRU", "RNN"):
    wanted = in_onnxruntime(content(kind))
    (found,) = in_mnn(content(kind, outputs=("Y_h",)), ["Y_h"])
    print(
        f"{kind:4} Y_h alone: shape {found.shape}, not {wanted[1].shape}; "
        f"{apart([found], wanted[:1]):.1e} from Y"
    )
    assert apart([found], wanted[:1]) < 2e-6, "Y_h alone is not Y now"
    assert apart(in_mnn(content(kind)), wanted) < 2e-6, "Y_h beside Y"
PYTHON
