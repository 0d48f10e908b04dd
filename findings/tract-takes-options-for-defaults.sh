#!/usr/bin/env bash
# tract 0.23.9 beside onnxruntime 1.32.0, the operators LSTM, GRU and RNN of ONNX.
#
# Guess: an option of these operators is obeyed, or the file is refused, as tract does
#        with `sequence_lens`.
# Found: `direction` "reverse", `activations`, `clip` and `input_forget` are passed over
#        without a word: the outputs are those of the file without the option, to 1e-6,
#        and 0.04 to 2 from what the file says. "bidirectional" is right in both halves.
#        So two are other networks there: the backward half of a Bidirectional that was
#        split, and a Keras LSTM with activation "relu", which Keras's own export writes
#        as this operator.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  tract==0.23.9 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.2.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import tract
from onnx import TensorProto, checker, helper, numpy_helper

STEPS, ROWS, FEATURES, UNITS = 5, 3, 2, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
X = np.random.default_rng(1).normal(size=(STEPS, ROWS, FEATURES)).astype(np.float32)


def content(kind, options):
    """A file with one node, whose weights, biases and states are not zero."""
    rng = np.random.default_rng(0)
    width = GATES[kind] * UNITS
    ways = 2 if options.get("direction") == "bidirectional" else 1
    shapes = {
        "W": (ways, width, FEATURES),
        "R": (ways, width, UNITS),
        "B": (ways, 2 * width),
        "h0": (ways, ROWS, UNITS),
        "c0": (ways, ROWS, UNITS),
    }
    states = ["h0", "c0"] if kind == "LSTM" else ["h0"]
    names = ["W", "R", "B", *states]
    tensors = [
        numpy_helper.from_array(rng.normal(size=shapes[n]).astype(np.float32), n)
        for n in names
    ]
    node = helper.make_node(
        kind, ["X", "W", "R", "B", "", *states], ["Y", "Y_h"], hidden_size=UNITS,
        **options,
    )
    graph = helper.make_graph(
        [node],
        "one_node",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, X.shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (
                ("Y", [STEPS, ways, ROWS, UNITS]), ("Y_h", [ways, ROWS, UNITS]),
            )
        ],
        tensors,
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    checker.check_model(made, full_check=True)
    return made.SerializeToString()


def in_onnxruntime(held):
    session = onnxruntime.InferenceSession(held, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})


def in_tract(held):
    with open("one.onnx", "wb") as file:
        file.write(held)
    runnable = tract.onnx().load("one.onnx").into_model().into_runnable()
    return [tensor.to_numpy() for tensor in runnable.run([X])]


def apart(found, wanted):
    return max(np.abs(f - w).max() for f, w in zip(found, wanted, strict=True))


CASES = [(kind, o) for kind in GATES for o in ({"direction": "reverse"}, {"clip": 0.3})]
CASES += [
    ("LSTM", {"input_forget": 1}),
    ("LSTM", {"activations": ["Sigmoid", "Relu", "Relu"]}),
    ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}),
    ("GRU", {"activations": ["Sigmoid", "Relu"]}),
    ("RNN", {"activations": ["Relu"]}),
]
for kind in GATES:
    both = content(kind, {"direction": "bidirectional"})
    assert apart(in_tract(both), in_onnxruntime(both)) < 2e-6, "bidirectional"
for kind, options in CASES:
    held = content(kind, options)
    found = in_tract(held)
    wrong = apart(found, in_onnxruntime(held))
    default = apart(found, in_onnxruntime(content(kind, {})))
    print(
        f"{kind:4} {options}: {wrong:.2g} from onnxruntime, "
        f"{default:.1e} from the file without the option"
    )
    assert wrong > 0.02 and default < 2e-6, "the option is obeyed now"
PYTHON
