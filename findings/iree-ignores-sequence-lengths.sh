#!/usr/bin/env bash
# iree-base-compiler and iree-base-runtime 3.13.0 beside onnxruntime 1.32.0, the
# operators LSTM, GRU and RNN of ONNX.
#
# Guess: `sequence_lens` is obeyed, or the file is refused, as the compiler does with
#        the directions of a GRU or RNN and with `clip` of an LSTM or GRU.
# Found: it is compiled without a warning and never read, in all three operators and for
#        fixed axes, as a constant and as an input, which the compiled function still
#        takes. Every row is computed to the last step: Y is not zeros past the length,
#        Y_h is the state after the padding. Peepholes of an LSTM (P) are passed over in
#        the same way.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  iree-base-compiler==3.13.0 iree-base-runtime==3.13.0 onnx==1.23.2 \
  onnxruntime==1.32.0 numpy==2.2.6
cd "$folder"
PATH="$folder/venv/bin:$PATH" "$folder/venv/bin/python" - <<'PYTHON'
import subprocess

import numpy as np
import onnx
import onnxruntime
from iree import runtime
from onnx import TensorProto, checker, helper, numpy_helper

STEPS, ROWS, FEATURES, UNITS = 5, 3, 2, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
X = np.random.default_rng(1).normal(size=(STEPS, ROWS, FEATURES)).astype(np.float32)
LENGTHS = np.array([2, 5, 3], np.int32)


def model(kind, lengths=None, peepholes=False):
    """One node with fixed axes; `lengths` is None, "constant" or "input"."""
    rng = np.random.default_rng(0)
    width = GATES[kind] * UNITS
    states = ["h0", "c0"] if kind == "LSTM" else ["h0"]
    shapes = {
        "W": (1, width, FEATURES),
        "R": (1, width, UNITS),
        "B": (1, 2 * width),
        **{name: (1, ROWS, UNITS) for name in states},
        **({"P": (1, 3 * UNITS)} if peepholes else {}),
    }
    tensors = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, X.shape)]
    if lengths == "constant":
        tensors.append(numpy_helper.from_array(LENGTHS, "lengths"))
    elif lengths:
        inputs.append(
            helper.make_tensor_value_info("lengths", TensorProto.INT32, [ROWS])
        )
    names = ["X", "W", "R", "B", "lengths" if lengths else "", *states]
    node = helper.make_node(
        kind, names + (["P"] if peepholes else []), ["Y", "Y_h"], hidden_size=UNITS
    )
    state = [1, ROWS, UNITS]
    graph = helper.make_graph(
        [node],
        "one_node",
        inputs,
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("Y", [STEPS, *state]), ("Y_h", state))
        ],
        tensors,
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    checker.check_model(made, full_check=True)
    return made


def feeds(made):
    held = {"X": X, "lengths": LENGTHS}
    return {value.name: held[value.name] for value in made.graph.input}


def in_onnxruntime(made):
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds(made))


def in_iree(made):
    onnx.save(made, "one.onnx")
    subprocess.run(["iree-import-onnx", "one.onnx", "-o", "one.mlir"], check=True)
    subprocess.run(
        ["iree-compile", "one.mlir", "-o", "one.vmfb", "--iree-hal-target-device=local",
         "--iree-hal-local-target-device-backends=llvm-cpu",
         "--iree-llvmcpu-target-cpu=generic"],
        check=True,
    )
    with open("one.vmfb", "rb") as file:
        module = runtime.load_vm_flatbuffer(file.read(), driver="local-sync")
    found = module.one_node(*feeds(made).values())
    return [np.array(value.to_host()) for value in found]


def apart(found, wanted):
    return max(np.abs(f - w).max() for f, w in zip(found, wanted, strict=True))


for kind in GATES:
    for lengths in ("constant", "input"):
        made = model(kind, lengths)
        found = in_iree(made)
        wrong = apart(found, in_onnxruntime(made))
        without = apart(found, in_onnxruntime(model(kind)))
        print(
            f"{kind:4} lengths as {lengths}: {wrong:.2g} from onnxruntime, "
            f"{without:.1e} from the file without them"
        )
        assert wrong > 0.1 and without < 2e-6, "lengths are obeyed now"
made = model("LSTM", peepholes=True)
found = in_iree(made)
wrong = apart(found, in_onnxruntime(made))
without = apart(found, in_onnxruntime(model("LSTM")))
print(f"LSTM P: {wrong:.2g} from onnxruntime, {without:.1e} from the file without it")
assert wrong > 0.05 and without < 2e-6, "peepholes are obeyed now"
PYTHON
