#!/usr/bin/env bash
# onnxruntime 1.32.0 on the CPU of x86_64.
#
# Guess: Sigmoid has a few units in the last place, as Exp has: sigmoid(-10) = 4.5e-5 is
#        right to six digits, and so is a gate of an LSTM that is nearly closed.
# Found: its error is absolute, up to 2.8 times 2**-24, whatever the result. Of
#        sigmoid(-5) five digits are right, of sigmoid(-10) two or three, of
#        sigmoid(-16) none; below -18 every result is 0. Exp of the same
#        runtime, from which it could be made, keeps all digits. The gates of its LSTM
#        are computed alike: an output gate of 1e-7 lets 1e-7 more or less through.
#
# Prints one line per argument, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, checker, helper, numpy_helper

UNIT = 2.0**-24


def outputs(node, x, shape, weights=()):
    """Run one operator on one input of a fixed shape."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["?"] * len(shape))],
        [numpy_helper.from_array(np.array(w, np.float32), k) for k, w in weights],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    checker.check_model(model)
    session = ort.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x.reshape(shape)})[0].ravel().astype(np.float64)


x = np.linspace(-25, 0, 100_001).astype(np.float32)
exact = 1 / (1 + np.exp(-x.astype(np.float64)))
size = [len(x)]
sigmoid = outputs(helper.make_node("Sigmoid", ["x"], ["y"]), x, size)
exponential = outputs(helper.make_node("Exp", ["x"], ["y"]), x, size)
# One unit: the gates i and f and the candidate are 1 for all that float32 shows, so
# that c = tanh(30) = 1 and h = sigmoid(x) * tanh(1). Rows of one step each.
lstm = helper.make_node("LSTM", ["x", "W", "R", "B"], ["", "y"], hidden_size=1)
h = outputs(
    lstm,
    x,
    [1, len(x), 1],
    [
        ("W", [[[0], [1], [0], [0]]]),  # rows: i, o, f, c
        ("R", np.zeros((1, 4, 1))),
        ("B", [[30, 0, 0, 30, 0, 0, 0, 0]]),
    ],
)
gate = h / np.tanh(1.0)
for at in (-2.0, -5.0, -10.0, -16.0):
    k = int(np.argmin(np.abs(x - at)))
    near = slice(max(k - 200, 0), k + 200)
    shares = [
        np.max(np.abs(found[near] - exact[near]) / exact[near])
        for found in (sigmoid, gate)
    ]
    print(f"sigmoid near {at:g}: off by {shares[0]:.1g} of it, as a gate {shares[1]:.1g}")
    least = {-2.0: 1e-7, -5.0: 2e-6, -10.0: 5e-4, -16.0: 0.3}[at]
    assert all(least < share < 100 * least for share in shares), (at, shares)
assert np.max(np.abs(sigmoid - exact)) < 3 * UNIT
low = np.unique(sigmoid[x < -18.1])
print(f"sigmoid below -18.1: {low}")
assert len(low) == 1
off = np.max(np.abs(exponential / np.exp(x.astype(np.float64)) - 1))
print(f"exp from -25 to 0: off by {off:.1g} of it at most")
assert off < 3e-7
PYTHON
