#!/usr/bin/env bash
# iree-base-compiler and iree-base-runtime 3.13.0 beside NumPy, the operators LSTM, GRU
# and RNN of ONNX.
#
# Guess: the compiler knows an activation of these operators, or refuses the file, as it
#        refuses `clip` in an LSTM or GRU.
# Found: it knows Tanh, Sigmoid and Relu; any other name, such as HardSigmoid, Softsign,
#        Softplus, Elu and LeakyRelu, is computed as Relu. Neither the importer nor the
#        compiler warns. An LSTM with gates of HardSigmoid, Keras's "hard_sigmoid", has
#        gates without an upper bound there, and gave outputs up to 3.9 here, where 1 is
#        the limit.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  iree-base-compiler==3.13.0 iree-base-runtime==3.13.0 onnx==1.23.2 numpy==2.2.6
cd "$folder"
PATH="$folder/venv/bin:$PATH" "$folder/venv/bin/python" - <<'PYTHON'
import subprocess

import numpy as np
import onnx
from iree import runtime
from onnx import TensorProto, checker, helper, numpy_helper

STEPS, ROWS, FEATURES, UNITS = 5, 3, 2, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
X = np.random.default_rng(1).normal(size=(STEPS, ROWS, FEATURES)).astype(np.float32)
BY_NAME = {
    "Tanh": np.tanh,
    "Sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "Relu": lambda z: np.maximum(z, 0),
    "HardSigmoid": lambda z: np.clip(0.2 * z + 0.5, 0, 1),
    "Softsign": lambda z: z / (1 + np.abs(z)),
    "Softplus": lambda z: np.log1p(np.exp(z)),
    "Elu": lambda z: np.where(z < 0, np.expm1(z), z),
    "LeakyRelu": lambda z: np.where(z < 0, 0.01 * z, z),  # the default of alpha
}


def arrays(kind):
    rng = np.random.default_rng(0)
    width = GATES[kind] * UNITS
    shapes = {"W": (width, FEATURES), "R": (width, UNITS), "B": (2 * width,)}
    return {
        name: rng.normal(size=(1, *shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def by_hand(kind, names):
    """The outputs of all steps as ONNX specifies them, in float64."""
    W, R, B = (value[0].astype(float) for value in arrays(kind).values())
    side, recurrent = np.split(B, 2)
    f, *others = [BY_NAME[name] for name in names]
    h = c = np.zeros((ROWS, UNITS))
    found = []
    for step in X:
        a = np.split(step @ W.T + side + recurrent, GATES[kind], axis=1)
        b = np.split(h @ R.T, GATES[kind], axis=1)
        if kind == "LSTM":
            i, o, forget = (f(a[k] + b[k]) for k in range(3))
            c = forget * c + i * others[0](a[3] + b[3])
            h = o * others[1](c)
        elif kind == "GRU":
            z, r = (f(a[k] + b[k]) for k in range(2))
            new = others[0](a[2] + (r * h) @ R[2 * UNITS :].T)
            h = (1 - z) * new + z * h
        else:
            h = f(a[0] + b[0])
        found.append(h)
    return np.stack(found)


def in_iree(kind, names):
    tensors = [numpy_helper.from_array(v, n) for n, v in arrays(kind).items()]
    outputs = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    node = helper.make_node(
        kind, ["X", "W", "R", "B"], outputs, hidden_size=UNITS, activations=names
    )
    state = [1, ROWS, UNITS]
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
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    checker.check_model(made, full_check=True)
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
    return np.array(module.one_node(X)[0].to_host())[:, 0]


RIGHT = [
    ("LSTM", ["Sigmoid", "Tanh", "Relu"]), ("GRU", ["Sigmoid", "Relu"]),
    ("RNN", ["Sigmoid"]),
]
WRONG = [
    ("RNN", ["HardSigmoid"]), ("RNN", ["Softsign"]), ("RNN", ["Softplus"]),
    ("RNN", ["Elu"]), ("RNN", ["LeakyRelu"]), ("GRU", ["Sigmoid", "Softsign"]),
    ("LSTM", ["Sigmoid", "Softsign", "Elu"]), ("LSTM", ["HardSigmoid", "Tanh", "Tanh"]),
]
for kind, names in RIGHT + WRONG:
    known = [n if n in ("Tanh", "Sigmoid", "Relu") else "Relu" for n in names]
    found = in_iree(kind, names)
    off = np.abs(found - by_hand(kind, names)).max()
    same = np.abs(found - by_hand(kind, known)).max()
    line = f"{kind:4} {names}: {off:.2g} off, {same:.1e} from {known}"
    if kind == "LSTM" and "HardSigmoid" in names:
        line += f"; outputs up to {np.abs(found).max():.2g}"
        assert np.abs(found).max() > 2
    print(line)
    assert same < 1e-5, "not Relu any more"
    assert (off > 0.05) == (names != known), "the activation is obeyed now"
PYTHON
