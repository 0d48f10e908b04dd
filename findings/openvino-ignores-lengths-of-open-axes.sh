#!/usr/bin/env bash
# openvino 2026.4.1 on the CPU, beside onnxruntime 1.32.0, on the same ONNX files.
#
# Guess: whether the axis of the rows, or of the steps, has a number or a name changes
#        how fast a model runs, not what it computes; an LSTM obeys its `sequence_lens`
#        in all of them.
# Found: LSTM, GRU and RNN obey `sequence_lens` if the numbers of rows and of steps are
#        written in the file, and ignore it if either axis is open, without a warning. It
#        makes no difference whether the lengths are a constant or an input. Every row is
#        then computed to the last step: Y is not zeros past the length, and Y_h is
#        another state. Most exported files leave an axis open.
#
# Prints one line per case, and fails if any of this changes.
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
from onnx import TensorProto, checker, helper, numpy_helper

UNITS, FEATURES, STEPS, ROWS = 5, 3, 6, 2
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
LENGTHS = np.array([3, 6], np.int32)
X = np.random.default_rng(1).normal(size=(STEPS, ROWS, FEATURES)).astype(np.float32)


def model(kind, steps, rows, constant):
    """One recurrent node; `steps` and `rows` are numbers, or names of open axes."""
    rng = np.random.default_rng(0)
    width = GATES[kind] * UNITS
    arrays = {
        "W": rng.normal(size=(1, width, FEATURES)),
        "R": rng.normal(size=(1, width, UNITS)),
        "B": rng.normal(size=(1, 2 * width)),
    }
    tensors = [
        numpy_helper.from_array(value.astype(np.float32), name)
        for name, value in arrays.items()
    ]
    inputs = [
        helper.make_tensor_value_info("X", TensorProto.FLOAT, [steps, rows, FEATURES])
    ]
    if constant:
        tensors.append(numpy_helper.from_array(LENGTHS, "lengths"))
    else:
        inputs.append(
            helper.make_tensor_value_info("lengths", TensorProto.INT32, [rows])
        )
    outputs = [
        helper.make_tensor_value_info("Y", TensorProto.FLOAT, [steps, 1, rows, UNITS]),
        helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, [1, rows, UNITS]),
    ]
    node = helper.make_node(
        kind, ["X", "W", "R", "B", "lengths"], ["Y", "Y_h"], hidden_size=UNITS
    )
    graph = helper.make_graph([node], "one_node", inputs, outputs, tensors)
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    checker.check_model(made, full_check=True)
    return made.SerializeToString()


core = openvino.Core()
for kind in GATES:
    for constant in (True, False):
        feeds = {"X": X} if constant else {"X": X, "lengths": LENGTHS}
        for steps, rows in ((STEPS, ROWS), (STEPS, "rows"), ("steps", ROWS)):
            content = model(kind, steps, rows, constant)
            session = onnxruntime.InferenceSession(
                content, providers=["CPUExecutionProvider"]
            )
            wanted = session.run(None, feeds)
            compiled = core.compile_model(
                core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
            )
            found = compiled(feeds)
            apart = [float(np.abs(found[k] - wanted[k]).max()) for k in (0, 1)]
            lengths = "constant" if constant else "an input"
            print(
                f"{kind:4}  lengths {lengths}, steps {steps}, rows {rows}: Y differs by "
                f"{apart[0]:.2g}, Y_h by {apart[1]:.2g}"
            )
            if (steps, rows) == (STEPS, ROWS):
                assert max(apart) < 1e-6, "lengths of fixed axes"
            else:
                assert min(apart) > 0.1, "lengths of an open axis are obeyed now"
                past = found[0][LENGTHS[0] :, 0, 0]
                assert np.abs(past).max() > 0.01, "zeros past the length now"
PYTHON
