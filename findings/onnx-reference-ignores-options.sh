#!/usr/bin/env bash
# onnx 1.23.2, ReferenceEvaluator, beside onnxruntime 1.32.0.
#
# Guess: ONNX's own reference evaluator computes what the operator's specification says,
#        and raises where it does not implement an option.
# Found: its LSTM, GRU and RNN accept `sequence_lens`, and LSTM and GRU accept `clip`
#        (LSTM also `input_forget` and `activations`), and compute as if they were not
#        there. Nothing warns. The plain node agrees with onnxruntime to 1e-6.
#        So the reference evaluator cannot tell whether an export dropped its lengths.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnx==1.23.2 onnxruntime==1.32.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

UNITS, FEATURES, STEPS, BATCH = 3, 2, 4, 2
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def outputs(kind, lengths=None, **attributes):
    """Y of the reference evaluator, with and without the options, and of onnxruntime."""
    rng = np.random.default_rng(0)
    rows = GATES[kind] * UNITS
    constants = {
        "W": rng.normal(size=(1, rows, FEATURES)),
        "R": rng.normal(size=(1, rows, UNITS)),
        "B": rng.normal(size=(1, 2 * rows)),
    }
    x = rng.normal(size=(STEPS, BATCH, FEATURES)).astype(np.float32)

    def model(lengths, attributes):
        inputs = ["X", *constants]
        tensors = [
            numpy_helper.from_array(value.astype(np.float32), name)
            for name, value in constants.items()
        ]
        if lengths is not None:
            inputs.append("lengths")
            tensors.append(numpy_helper.from_array(np.int32(lengths), "lengths"))
        node = helper.make_node(kind, inputs, ["Y"], hidden_size=UNITS, **attributes)
        graph = helper.make_graph(
            [node],
            "one_node",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
            tensors,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
        )

    asked = model(lengths, attributes)
    session = onnxruntime.InferenceSession(
        asked.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return (
        ReferenceEvaluator(asked).run(None, {"X": x})[0],
        ReferenceEvaluator(model(None, {})).run(None, {"X": x})[0],
        session.run(None, {"X": x})[0],
    )


for kind in GATES:
    reference, _, runtime = outputs(kind)
    assert np.abs(reference - runtime).max() < 1e-6, kind
    print(f"{kind:4}  no option      the same as onnxruntime")

cases = [(kind, "sequence_lens", {"lengths": [2, 4]}) for kind in GATES]
cases += [(kind, "clip", {"clip": 0.1}) for kind in ("LSTM", "GRU")]
cases += [
    ("LSTM", "input_forget", {"input_forget": 1}),
    ("LSTM", "activations", {"activations": ["Sigmoid", "Relu", "Tanh"]}),
]
for kind, name, options in cases:
    reference, without, runtime = outputs(kind, **options)
    assert np.array_equal(reference, without), (kind, name, "is no longer ignored")
    apart = np.abs(reference - runtime).max()
    assert apart > 0.05, (kind, name, apart)
    print(f"{kind:4}  {name:13}  ignored; onnxruntime differs by {apart:.2f}")
PYTHON
