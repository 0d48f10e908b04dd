#!/usr/bin/env bash
# onnxruntime 1.32.0 and OpenVINO 2026.4.1, the LSTM operator with sequence lengths.
#
# Guess: a row of length 0 takes no step, so its final state is its initial state, as in
#        Keras for a row that is wholly masked, and in PaddlePaddle.
# Found: both return zeros as the final state of such a row, whatever initial_h and
#        initial_c were. Rows of length 1 and more are right. Nothing warns.
#        An encoder-decoder that is given states, or a stateful model that is fed an empty
#        row, loses its memory there.
#
# Prints one line per runtime, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper
from openvino import opset13 as ops

UNITS, FEATURES, STEPS, BATCH = 3, 2, 4, 3
rng = np.random.default_rng(0)
W, R, B, x, h0, c0 = (
    rng.normal(size=shape).astype(np.float32)
    for shape in (
        (1, 4 * UNITS, FEATURES), (1, 4 * UNITS, UNITS), (1, 4 * UNITS),
        (BATCH, STEPS, FEATURES), (BATCH, 1, UNITS), (BATCH, 1, UNITS),
    )
)
lengths = np.array([STEPS, 1, 0], np.int32)


def with_onnxruntime():
    names = ["X", "lengths", "h0", "c0"]
    node = helper.make_node(
        "LSTM", ["X", "W", "R", "B", "lengths", "h0", "c0"], ["", "Y_h", "Y_c"],
        hidden_size=UNITS,
    )
    kinds = [TensorProto.FLOAT, TensorProto.INT32, TensorProto.FLOAT, TensorProto.FLOAT]
    held = {"W": W, "R": R, "B": np.concatenate([B, 0 * B], axis=1)}
    graph = helper.make_graph(
        [node], "one",
        [helper.make_tensor_value_info(n, k, None) for n, k in zip(names, kinds)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("Y_h", "Y_c")],
        [numpy_helper.from_array(v, k) for k, v in held.items()],
    )
    opset = [helper.make_opsetid("", 14)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opset)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    turned = {"X": x, "h0": h0, "c0": c0}
    feeds = {k: np.ascontiguousarray(np.swapaxes(v, 0, 1)) for k, v in turned.items()}
    h, c = session.run(None, {**feeds, "lengths": lengths})
    return h[0], c[0]


def with_openvino():
    given = ops.parameter(x.shape, np.float32)
    constants = [ops.constant(v) for v in (h0, c0, lengths, W, R, B)]
    node = ops.lstm_sequence(given, *constants, UNITS, "forward")
    model = openvino.Model(list(node.outputs()), [given])
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(model, "CPU", options)(x)
    return np.array(found[1])[:, 0], np.array(found[2])[:, 0]


for name, run in (("onnxruntime", with_onnxruntime), ("openvino", with_openvino)):
    h, c = run()
    lost = not h[2].any() and not c[2].any()
    print(f"{name:12s} length 0: initial h {h0[2, 0]}, final h {h[2]}, final c {c[2]}")
    if not lost or not h[1].any():
        sys.exit(f"{name}: the states of an empty row are kept now")
PYTHON
