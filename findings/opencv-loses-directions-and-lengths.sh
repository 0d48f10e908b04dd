#!/usr/bin/env bash
# OpenCV 5.0.0 (opencv-python-headless 5.0.0.93), module dnn, beside onnxruntime 1.32.0,
# the operators LSTM and GRU of ONNX.
#
# Guess: `direction` and `sequence_lens` are obeyed, or the file is refused, as OpenCV
#        does with `activations` that it lacks; and a GRU that is asked for Y alone
#        gives Y.
# Found: none of it, and nothing warns. "bidirectional" is right, but
#        - an LSTM with "reverse" has right outputs and wrong last states: Y_h and Y_c
#          are those of the last place in time, where it has read one step, not all;
#        - a GRU with "reverse" is read forwards;
#        - `sequence_lens` is passed over by a GRU, and by an LSTM that has initial
#          states; without these an LSTM is refused ("Insufficient inputs");
#        - a GRU with the output Y alone gives Y_h under that name: the last step, and
#          one axis less. With both outputs, both are right.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  opencv-python-headless==5.0.0.93 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import cv2
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

STEPS, ROWS, FEATURES, UNITS = 5, 3, 2, 4
GATES = {"LSTM": 4, "GRU": 3}
X = np.random.default_rng(1).normal(size=(STEPS, ROWS, FEATURES)).astype(np.float32)
LENGTHS = np.array([2, 5, 3], np.int32)


def content(kind, direction="forward", lengths=False, outputs=None):
    """A file with one node, whose weights, biases and states are not zero."""
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
    if lengths:
        tensors.append(numpy_helper.from_array(LENGTHS, "lengths"))
    outputs = outputs or ["Y", "Y_h", "Y_c"][: len(states) + 1]
    node = helper.make_node(
        kind, ["X", "W", "R", "B", "lengths" if lengths else "", *states], outputs,
        hidden_size=UNITS, direction=direction,
    )
    state = [ways, ROWS, UNITS]
    shapes = {"Y": [STEPS, *state], "Y_h": state, "Y_c": state}
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
    return made.SerializeToString(), outputs


def in_onnxruntime(held, _):
    session = onnxruntime.InferenceSession(held, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})


def in_opencv(held, outputs):
    net = cv2.dnn.readNetFromONNX(np.frombuffer(held, np.uint8))
    net.setInput(X, "X")
    return net.forward(outputs)


def apart(found, wanted):
    return max(np.abs(f - w).max() for f, w in zip(found, wanted, strict=True))


for kind in GATES:
    plain, both = content(kind), content(kind, "bidirectional")
    assert apart(in_opencv(*plain), in_onnxruntime(*plain)) < 2e-6, "forward"
    assert apart(in_opencv(*both), in_onnxruntime(*both)) < 2e-6, "bidirectional"

held = content("LSTM", "reverse")
found, wanted = in_opencv(*held), in_onnxruntime(*held)
y, states = apart(found[:1], wanted[:1]), apart(found[1:], wanted[1:])
end = apart(found[1:2], [found[0][-1]])
print(f"LSTM reverse: Y {y:.1e} off, states {states:.2g}; Y_h {end:.1e} from Y[-1]")
assert y < 2e-6 and end < 2e-6 and states > 0.1, "the last states are right now"

held = content("GRU", "reverse")
found = in_opencv(*held)
wrong = apart(found, in_onnxruntime(*held))
forwards = apart(found, in_onnxruntime(*content("GRU")))
print(f"GRU  reverse: {wrong:.2g} off, {forwards:.1e} from the steps read forwards")
assert wrong > 0.1 and forwards < 2e-6, "reverse is obeyed now"

for kind in GATES:
    held = content(kind, lengths=True)
    found = in_opencv(*held)
    wrong = apart(found, in_onnxruntime(*held))
    without = apart(found, in_onnxruntime(*content(kind)))
    print(f"{kind:4} lengths: {wrong:.2g} off, {without:.1e} from a file without them")
    assert wrong > 0.1 and without < 2e-6, "lengths are obeyed now"

(found,) = in_opencv(*content("GRU", outputs=["Y"]))
y, last = in_onnxruntime(*content("GRU"))
assert found.shape == last.shape, "Y alone is Y now"
end = apart([found], [last])
print(f"GRU  Y alone: shape {found.shape}, not {y.shape}; {end:.1e} from Y_h")
assert end < 2e-6, "Y alone is something else now"
PYTHON
