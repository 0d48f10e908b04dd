#!/usr/bin/env bash
# onnxruntime 1.32.0 and onnxslim 0.1.98, files with two recurrent nodes of equal
# inputs.
#
# Guess: a layer that is called twice on the same input, once for its outputs and once
#        for its last state, may stand in a file as two nodes, ["Y"] and ["", "Y_h"]. An
#        optimiser may merge them or let them be; the results stay.
# Found: the checker of onnx accepts the file, and onnxruntime refuses to load it, with
#        "Argument type mismatch when adding edge": it takes the second node for a copy
#        of the first, which has no such output. The order of all nodes decides: with
#        those of Y_h first the file loads. It loads in both orders, and is right, if
#        the option graph_optimization_level is ORT_DISABLE_ALL. onnxslim merges as
#        well: it raises "list index out of range" in the first order and writes a file
#        that onnxruntime refuses in the second. LSTM, GRU and RNN alike. One node with
#        both outputs is safe.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  onnxslim==0.1.98 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnxruntime
import onnxslim
from onnx import TensorProto, checker, helper, numpy_helper

STEPS, ROWS, FEATURES, UNITS = 5, 3, 2, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ALL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
NONE = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
X = np.random.default_rng(1).normal(size=(STEPS, ROWS, FEATURES)).astype(np.float32)


def model(kind, state_first):
    """Both nodes, and a Neg behind each, so that neither is itself an output."""
    rng = np.random.default_rng(0)
    width = GATES[kind] * UNITS
    tensors = [
        numpy_helper.from_array(rng.normal(size=(1, *s)).astype(np.float32), name)
        for name, s in {"W": (width, FEATURES), "R": (width, UNITS)}.items()
    ]
    nodes = [
        helper.make_node(kind, ["X", "W", "R"], outputs, hidden_size=UNITS, name=name)
        for name, outputs in (("outputs", ["Y"]), ("state", ["", "Y_h"]))
    ]
    behind = [helper.make_node("Neg", [n], [f"minus_{n}"], n) for n in ("Y", "Y_h")]
    if state_first:
        nodes.reverse()
        behind.reverse()
    graph = helper.make_graph(
        nodes + behind,
        "twins",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, X.shape)],
        [
            helper.make_tensor_value_info(f"minus_{name}", TensorProto.FLOAT, shape)
            for name, shape in (
                ("Y", [STEPS, 1, ROWS, UNITS]), ("Y_h", [1, ROWS, UNITS]),
            )
        ],
        tensors,
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    checker.check_model(made, full_check=True)
    return made


def run(made, level):
    """What the file gives, or the last words of the refusal."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            made.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        return str(error).strip()
    y, last = session.run(None, {"X": X})
    assert np.array_equal(y[-1], last)
    return "right"


def slimmed(made):
    try:
        return run(onnxslim.slim(made), NONE)
    except IndexError as error:
        return f"IndexError: {error}"


for kind in GATES:
    for state_first in (False, True):
        made = model(kind, state_first)
        default, plain = run(made, ALL), run(made, NONE)
        slim = slimmed(made)
        first = "Y_h" if state_first else "Y"
        print(f"{kind:4} {first} first, default: {default[-58:]}")
        print(f"     not optimised: {plain}; after onnxslim: {slim[-58:]}")
        assert plain == "right"
        if state_first:
            assert default == "right", "the other order"
            assert "has an empty string" in slim, "onnxslim, Y_h first"
        else:
            assert "Argument type mismatch when adding edge" in default, "it loads now"
            assert "list index out of range" in slim, "onnxslim, Y first"
PYTHON
