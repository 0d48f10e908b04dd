#!/usr/bin/env bash
# onnxruntime 1.32.0, RNN, GRU and LSTM of ONNX with `activations`, without
# `activation_alpha` and `activation_beta`.
#
# Guess: an activation then has the alpha and beta of the ONNX operator of its name, as
#        the specification says, and Affine and ScaledTanh, which are operators no more,
#        multiply by 1 and add 0.
# Found: HardSigmoid (0.2, 0.5), LeakyRelu (0.01) and Elu (1) do. ThresholdedRelu has the
#        threshold 0, where the operator ThresholdedRelu of the same runtime has 1: it is
#        a Relu. Affine and ScaledTanh multiply by 0: the layer returns zeros. There is no
#        warning. With the numbers written out all of them compute what they should.
#
# Prints one line per operator and activation, and fails if any of this changes.
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

BATCH, FEATURES, UNITS = 64, 3, 2
rng = np.random.default_rng(0)
x = rng.normal(scale=2, size=(1, BATCH, FEATURES)).astype(np.float32)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


ACTIVATIONS = {
    "HardSigmoid": lambda z, a, b: np.clip(a * z + b, 0, 1),
    "LeakyRelu": lambda z, a, b: np.where(z > 0, z, a * z),
    "Elu": lambda z, a, b: np.where(z > 0, z, a * np.expm1(z)),
    "ThresholdedRelu": lambda z, a, b: np.where(z > a, z, 0),
    "Affine": lambda z, a, b: a * z + b,
    "ScaledTanh": lambda z, a, b: a * np.tanh(b * z),
}
SPECIFIED = {
    "HardSigmoid": (0.2, 0.5), "LeakyRelu": (0.01, None), "Elu": (1.0, None),
    "ThresholdedRelu": (1.0, None), "Affine": (1.0, 0.0), "ScaledTanh": (1.0, 1.0),
}
FOUND = SPECIFIED | {
    "ThresholdedRelu": (0.0, None), "Affine": (0.0, 0.0), "ScaledTanh": (0.0, 0.0),
}
WITH_BETA = ("HardSigmoid", "Affine", "ScaledTanh")
# A first step from states of zeros: gates are sigmoids, the activation makes the rest.
KINDS = {
    "RNN": (1, lambda name: [name], lambda z, f: f(z[0])),
    "GRU": (3, lambda name: ["Sigmoid", name], lambda z, f: (1 - sigmoid(z[0])) * f(z[2])),
    "LSTM": (
        4,
        lambda name: ["Sigmoid", name, "Tanh"],
        lambda z, f: sigmoid(z[1]) * np.tanh(sigmoid(z[0]) * f(z[3])),
    ),
}


def first_step(kind, name, given):
    """Return Y of onnxruntime, and by hand as a function of alpha and beta."""
    gates, names, equation = KINDS[kind]
    W = rng.normal(size=(1, gates * UNITS, FEATURES)).astype(np.float32)
    R = np.zeros((1, gates * UNITS, UNITS), np.float32)
    node = helper.make_node(
        kind, ["X", "W", "R"], ["Y"], hidden_size=UNITS, activations=names(name), **given
    )
    graph = helper.make_graph(
        [node],
        "one_node",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, 1, BATCH, UNITS])],
        [numpy_helper.from_array(W, "W"), numpy_helper.from_array(R, "R")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    z = np.split(x[0] @ W[0].T, gates, axis=1)

    def by_hand(alpha, beta):
        return equation(z, lambda v: ACTIVATIONS[name](v, alpha, beta))

    return session.run(None, {"X": x})[0][0, 0], by_hand


for kind in KINDS:
    for name, (alpha, beta) in SPECIFIED.items():
        y, by_hand = first_step(kind, name, {})
        apart = np.abs(y - by_hand(alpha, beta)).max()
        print(f"{kind}, {name} without numbers: {apart:.1e} from the specification")
        assert np.abs(y - by_hand(*FOUND[name])).max() < 1e-5
        assert (apart < 1e-5) == (FOUND[name] == SPECIFIED[name])
        given = {"activation_alpha": [alpha]}
        given |= {"activation_beta": [beta]} if name in WITH_BETA else {}
        y, by_hand = first_step(kind, name, given)
        assert np.abs(y - by_hand(alpha, beta)).max() < 1e-5, "with the numbers"
PYTHON
