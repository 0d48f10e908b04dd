#!/usr/bin/env bash
# OpenVINO 2026.4.1 beside onnxruntime 1.32.0: LSTM and GRU of ONNX whose gates are
# HardSigmoid, as exporters write Keras 2's hard_sigmoid.
#
# Guess: OpenVINO computes them as onnxruntime does, or refuses the file when it reads it.
# Found: read_model takes the file and returns a model with the right inputs and outputs.
#        compile_model raises an error for the CPU: "Unsupported activation function", at
#        the end of a message of several lines about the passes of a transformation.
#        So with LeakyRelu and Elu ("Unknown activation function"); Sigmoid, Tanh and Relu
#        compile. A file that was read and saved again as .xml, with which a check of the
#        export would end, runs nowhere.
#
# Prints one line per operator and activation, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.2.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

STEPS, BATCH, FEATURES, UNITS = 4, 2, 3, 2
GATES = {"GRU": 3, "LSTM": 4}
rng = np.random.default_rng(0)
x = rng.normal(size=(STEPS, BATCH, FEATURES)).astype(np.float32)
core = openvino.Core()
for kind, gates in GATES.items():
    for name in ("Sigmoid", "Relu", "HardSigmoid", "LeakyRelu", "Elu"):
        shapes = {"W": (1, gates * UNITS, FEATURES), "R": (1, gates * UNITS, UNITS)}
        node = helper.make_node(
            kind, ["X", *shapes], ["Y"], hidden_size=UNITS,
            activations=[name, "Tanh", "Tanh"][: gates - 1],
        )
        graph = helper.make_graph(
            [node],
            "one_node",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [STEPS, 1, BATCH, UNITS])],
            [
                numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), key)
                for key, shape in shapes.items()
            ],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8
        ).SerializeToString()
        y = onnxruntime.InferenceSession(model).run(None, {"X": x})[0]
        read = core.read_model(model)
        assert list(read.output(0).shape) == list(y.shape)
        openvino.save_model(read, f"{kind}-{name}.xml", compress_to_fp16=False)
        said = "compiles"
        try:
            compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            apart = np.abs(next(iter(compiled({"X": x}).values())) - y).max()
            assert apart < 1e-5
        except RuntimeError as error:
            said = next(
                line[line.index("Un") :].strip()
                for line in str(error).splitlines()
                if "activation function" in line
            )
        print(f"{kind}, {name}: read, saved; {said}")
        assert said.startswith("compiles" if name in ("Sigmoid", "Relu") else "Un")
PYTHON
