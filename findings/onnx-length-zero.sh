#!/usr/bin/env bash
# onnxruntime 1.32.0 and openvino 2026.4.1, on the same ONNX nodes.
#
# Guess: a row whose sequence length is 0 has taken no step, so Y_h is its initial_h, as
#        Keras returns for a row that is all padding, and as for every other length Y_h
#        is the state at that length.
# Found: Y_h of such a row is zeros (LSTM: Y_c too), whatever initial_h is. Lengths 1
#        and more are as guessed. Nothing warns. So a masked encoder or a decoder with
#        given states is wrong in just those rows.
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
LENGTHS = [0, 1, 4]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def model(kind, lengths, steps=STEPS):
    """One node with random weights and random initial states."""
    rng = np.random.default_rng(0)
    rows, batch = GATES[kind] * UNITS, len(lengths)
    tensors = {
        "W": rng.normal(size=(1, rows, FEATURES)),
        "R": rng.normal(size=(1, rows, UNITS)),
        "B": rng.normal(size=(1, 2 * rows)),
        "h0": rng.normal(size=(1, batch, UNITS)),
    }
    if kind == "LSTM":
        tensors["c0"] = rng.normal(size=(1, batch, UNITS))
    constants = [
        numpy_helper.from_array(value.astype(np.float32), name)
        for name, value in tensors.items()
    ]
    constants.append(numpy_helper.from_array(np.int32(lengths), "lengths"))
    states = ["h0", "c0"] if kind == "LSTM" else ["h0"]
    outputs = ["", "Y_h", "Y_c"] if kind == "LSTM" else ["", "Y_h"]
    node = helper.make_node(
        kind, ["X", "W", "R", "B", "lengths", *states], outputs, hidden_size=UNITS
    )
    kept = [n for n in outputs if n]
    graph = helper.make_graph(
        [node], "one_node",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [steps, batch, FEATURES])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in kept],
        constants,
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    return made, tensors, kept


def onnx_runtime(made, x):
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"X": x})


def open_vino(made, x):
    save(made, "model.onnx")
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model("model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return list(compiled(x).values())


rng = np.random.default_rng(1)
x = rng.normal(size=(STEPS, len(LENGTHS), FEATURES)).astype(np.float32)
for name, run in (("onnxruntime", onnx_runtime), ("openvino", open_vino)):
    for kind in GATES:
        made, tensors, kept = model(kind, LENGTHS)
        found = run(made, x)
        for output, y in zip(kept, found, strict=True):
            start = tensors["h0" if output == "Y_h" else "c0"]
            # [direction, row]: row 0 has length 0
            assert np.array_equal(y[0, 0], np.zeros(UNITS)), (name, kind, output)
            assert np.abs(start[0, 0]).max() > 0.3
        # row 1 has length 1: as if its sequence ended there
        short, _, _ = model(kind, [1] * len(LENGTHS), steps=1)
        for y, z in zip(found, run(short, x[:1]), strict=True):
            assert np.abs(y[0, 1] - z[0, 1]).max() < 1e-6, (name, kind)
            assert np.abs(y[0, 1]).max() > 0.05, (name, kind)
        print(f"{name:11} {kind:4} length 0: {', '.join(kept)} are zeros, "
              f"initial_h is up to {np.abs(tensors['h0'][0, 0]).max():.2f}")
PYTHON
