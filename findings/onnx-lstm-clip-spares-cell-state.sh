#!/usr/bin/env bash
# onnxruntime 1.32.0 and OpenVINO 2026.4.1, the operator LSTM of ONNX with `clip`.
#
# Guess: `clip` bounds the input of every activation, as the operator's specification
#        says: the four pre-activations, and the cell state on its way into the last tanh.
# Found: both runtimes bound the four pre-activations alone. The cell state goes into
#        tanh as it is, and is not bounded when it is kept either. With a clip of 0.5 the
#        outputs of these weights are 0.02 from what the specification says. GRU and RNN,
#        which have no cell state, do as specified in both.
#        A port that clips as the specification says therefore differs from both runtimes,
#        by little, and at no step by more than where the cell state exceeds the clip.
#
# Prints the distances, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

STEPS, BATCH, FEATURES, UNITS, CLIP = 5, 3, 4, 2, 0.5
rng = np.random.default_rng(0)
x = rng.normal(size=(STEPS, BATCH, FEATURES)).astype(np.float32)
W = rng.normal(scale=2, size=(4 * UNITS, FEATURES)).astype(np.float32)
R = rng.normal(scale=2, size=(4 * UNITS, UNITS)).astype(np.float32)
B = rng.normal(size=8 * UNITS).astype(np.float32)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def clipped(z):
    return np.clip(z, -CLIP, CLIP)


def by_hand(gate, cell_into_tanh, cell_kept):
    """Compute all steps, with what is done to each of these values."""
    h = c = np.zeros((BATCH, UNITS))
    found = []
    for step in x:
        z = step @ W.T + h @ R.T + B[: 4 * UNITS] + B[4 * UNITS :]
        i, o, f, g = map(gate, np.split(z, 4, axis=1))
        c = cell_kept(sigmoid(f) * c + sigmoid(i) * np.tanh(g))
        h = sigmoid(o) * np.tanh(cell_into_tanh(c))
        found.append(h)
    return np.stack(found)


def as_it_is(z):
    return z


EXPECTED = {
    "pre-activations and the cell into tanh": by_hand(clipped, clipped, as_it_is),
    "pre-activations and the cell that is kept": by_hand(clipped, as_it_is, clipped),
    "pre-activations alone": by_hand(clipped, as_it_is, as_it_is),
    "nothing": by_hand(as_it_is, as_it_is, as_it_is),
}
node = helper.make_node(
    "LSTM", ["X", "W", "R", "B"], ["Y"], hidden_size=UNITS, clip=CLIP
)
constants = [
    numpy_helper.from_array(array[None], name)
    for name, array in (("W", W), ("R", R), ("B", B))
]
graph = helper.make_graph(
    [node],
    "one_node",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [STEPS, 1, BATCH, UNITS])],
    constants,
)
model = helper.make_model(
    graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8
).SerializeToString()
session = onnxruntime.InferenceSession(model)
core = openvino.Core()
exact = {"INFERENCE_PRECISION_HINT": "f32"}
compiled = core.compile_model(core.read_model(model), "CPU", exact)
runs = {
    "onnxruntime": session.run(None, {"X": x})[0],
    "openvino": next(iter(compiled({"X": x}).values())),
}
for runtime, y in runs.items():
    apart = {what: np.abs(y[:, 0] - e).max() for what, e in EXPECTED.items()}
    for what, distance in apart.items():
        print(f"{runtime}, {what} clipped: {distance:.1e} apart")
    assert apart.pop("pre-activations alone") < 1e-6
    assert min(apart.values()) > 1e-2
PYTHON
