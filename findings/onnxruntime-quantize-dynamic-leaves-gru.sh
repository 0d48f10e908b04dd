#!/usr/bin/env bash
# onnxruntime 1.32.0, quantization.quantize_dynamic on LSTM, GRU and RNN of ONNX.
#
# Guess: it stores the weights of all three in 8 bits, or says which it leaves.
# Found: LSTM becomes DynamicQuantizeLSTM, and its file a quarter of the size. GRU
#        and RNN stay as they are, in float32: the file grows by what the tool writes
#        about itself. With op_types_to_quantize=["GRU"] it is the same. No error and no
#        warning tells that nothing was quantised; outputs are equal to the bit.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 numpy==2.2.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import logging
import os
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

STEPS, BATCH, FEATURES, UNITS = 6, 4, 32, 64
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
rng = np.random.default_rng(0)
x = rng.normal(size=(STEPS, BATCH, FEATURES)).astype(np.float32)
said = []


class Heard(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


logging.getLogger().addHandler(Heard())
warnings.simplefilter("error")


def save(kind):
    rows = GATES[kind] * UNITS
    constants = {
        "W": rng.normal(scale=0.2, size=(1, rows, FEATURES)),
        "R": rng.normal(scale=0.1, size=(1, rows, UNITS)),
    }
    node = helper.make_node(kind, ["X", *constants], ["Y"], hidden_size=UNITS)
    graph = helper.make_graph(
        [node],
        "one_node",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [STEPS, 1, BATCH, UNITS])],
        [
            numpy_helper.from_array(array.astype(np.float32), name)
            for name, array in constants.items()
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), "model.onnx")


def outputs(name):
    return onnxruntime.InferenceSession(name).run(None, {"X": x})[0]


for kind, asked in (
    ("LSTM", None), ("GRU", None), ("RNN", None), ("GRU", ["GRU"]), ("RNN", ["RNN"]),
):
    save(kind)
    said.clear()
    options = {} if asked is None else {"op_types_to_quantize": asked}
    quantize_dynamic("model.onnx", "small.onnx", **options)
    nodes = [node.op_type for node in onnx.load("small.onnx").graph.node]
    share = os.path.getsize("small.onnx") / os.path.getsize("model.onnx")
    same = np.array_equal(outputs("model.onnx"), outputs("small.onnx"))
    about = [line for line in said if kind in line]
    print(f"{kind}, op_types_to_quantize={asked}: {nodes}, {share:.2f} of the size, "
          f"outputs {'equal' if same else 'others'}, said of it: {len(about)}")
    if kind == "LSTM":
        assert nodes == ["DynamicQuantizeLSTM"] and share < 0.4 and not same
    else:
        assert nodes == [kind] and 1 < share < 1.1 and same and not about
PYTHON
