#!/usr/bin/env bash
# openvino 2026.4.1 on a CPU, beside onnxruntime 1.32.0, on the same ONNX nodes.
#
# Guess: LSTM, GRU and RNN with sequence_lens give the same whether the time axis of X
#        is declared with a number or left open: the lengths are an input either way.
# Found: with a fixed time axis the lengths are obeyed. With an open one they are
#        ignored, constant or fed: every row is computed to its last step, padding
#        included, and Y_h is the state there. Nothing warns, shapes are right.
#        onnxruntime obeys them in both files.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper, save

UNITS, FEATURES, STEPS = 5, 3, 4
LENGTHS = [1, 2, 4]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def model(kind, steps, batch, lengths=None):
    """One node with random weights; lengths are an input, or a constant if given."""
    rng = np.random.default_rng(0)
    rows = GATES[kind] * UNITS
    tensors = {
        "W": rng.normal(size=(1, rows, FEATURES)),
        "R": rng.normal(size=(1, rows, UNITS)),
        "B": rng.normal(size=(1, 2 * rows)),
    }
    constants = [
        numpy_helper.from_array(value.astype(np.float32), name)
        for name, value in tensors.items()
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [steps, batch, FEATURES])]
    if lengths is None:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, [batch]))
    else:
        constants.append(numpy_helper.from_array(np.int32(lengths), "lengths"))
    node = helper.make_node(
        kind, ["X", "W", "R", "B", "lengths"], ["Y", "Y_h"], hidden_size=UNITS
    )
    graph = helper.make_graph(
        [node], "one_node", inputs,
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("Y", "Y_h")],
        constants,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )


def onnx_runtime(made, feeds):
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["Y_h"], feeds)[0]


def open_vino(made, feeds):
    save(made, "model.onnx")
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model("model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return compiled(feeds)["Y_h"]


x = np.random.default_rng(1).normal(size=(STEPS, len(LENGTHS), FEATURES))
x = x.astype(np.float32)
full = {"X": x, "lengths": np.int32([STEPS] * len(LENGTHS))}
cases = [
    ("fixed time, fixed batch", STEPS, len(LENGTHS), False),
    ("open time, fixed batch", "time", len(LENGTHS), False),
    ("open time, open batch", "time", "batch", False),
    ("open time, constant lengths", "time", len(LENGTHS), True),
]
for kind in GATES:
    to_the_end = onnx_runtime(model(kind, STEPS, len(LENGTHS)), full)
    for name, steps, batch, constant in cases:
        made = model(kind, steps, batch, LENGTHS if constant else None)
        feeds = {"X": x} if constant else {"X": x, "lengths": np.int32(LENGTHS)}
        right = onnx_runtime(made, feeds)
        assert np.abs(right - to_the_end)[0, :2].max() > 0.05, kind
        found = open_vino(made, feeds)
        off = np.abs(found - right).max()
        if steps == STEPS:
            assert off < 1e-6, (kind, name, off)
            print(f"{kind:4} {name:27}: as onnxruntime")
        else:
            assert off > 0.05, (kind, name, "lengths are obeyed")
            apart = np.abs(found - to_the_end).max()
            assert apart < 1e-6, (kind, name, apart)
            print(f"{kind:4} {name:27}: lengths ignored, off by {off:.2f}")
PYTHON
