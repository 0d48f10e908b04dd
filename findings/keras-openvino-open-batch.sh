#!/usr/bin/env bash
# keras 3.15.1 on its OpenVINO backend, openvino 2026.4.1.
#
# Guess: the file that model.export(format="openvino") writes for Input((6, 3)), which
#        declares its batch axis open ([?,6,3]), takes any number of rows.
# Found: of an LSTM or GRU it is refused as declared, and for two rows; it runs only
#        when its input is reshaped to one row, which is how many the initial state of
#        its LSTMSequence has. SimpleRNN and every masked layer take any number: those
#        are written step by step.
#        Those, for Input((None, 3)), also declared open, read the first step only, at
#        every length, without a warning.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 openvino==2026.4.1 scipy==1.17.1 numpy==2.4.6
cd "$folder"
cat > make.py <<'PYTHON'
import sys

import keras
import numpy as np

steps = {"6": 6, "None": None}[sys.argv[2]]
keras.utils.set_random_seed(1)
inputs = keras.Input((steps, 3))
layer = getattr(keras.layers, sys.argv[1])(5, bias_initializer="normal")
model = keras.Model(inputs, layer(inputs))
if keras.backend.backend() == "openvino":
    model.load_weights("model.weights.h5")
    model.export("model.xml", format="openvino", verbose=False)
else:
    model.save_weights("model.weights.h5")
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    np.savez("data.npz", x=x, y=model(x), first=layer(x[:, :1]))
PYTHON
cat > run.py <<'PYTHON'
import sys

import numpy as np
import openvino

kind, steps = sys.argv[1:]
data = np.load("data.npz")
core = openvino.Core()
declared = core.read_model("model.xml").inputs[0].get_partial_shape()
assert declared[0].is_dynamic, declared
fused = {op.get_type_name() for op in core.read_model("model.xml").get_ops()}
fused &= {"LSTMSequence", "GRUSequence"}


def run(x, shape=None):
    """What the file computes, or None where it is refused; shape: set beforehand."""
    model = core.read_model("model.xml")
    try:
        if shape is not None:
            model.reshape(shape)
        return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]
    except RuntimeError:
        return None


def same(a, b):
    return a is not None and np.abs(a - b).max() < 1e-6


x, y = data["x"], data["y"]
if fused:
    assert run(x) is None and run(x[:1]) is None, (kind, "runs as declared")
    assert run(x, [2, 6, 3]) is None, (kind, "runs with two rows")
    assert same(run(x[:1], [1, 6, 3]), y[:1]), kind
    said = "refused as declared, refused for two rows, right when reshaped to one row"
elif steps == "6":
    assert same(run(x), y) and same(run(x[:1]), y[:1]), kind
    said = "right for one row and for two"
else:
    found = run(x)
    assert same(found, data["first"]), kind
    off = np.abs(found - y).max()
    assert off > 0.05, off
    said = f"reads the first step of six, off by {off:.2f}"
print(f"{kind:9} declared {declared}, {', '.join(fused) or 'step by step'}: {said}")
PYTHON
for kind in LSTM GRU SimpleRNN; do
  for steps in 6 None; do
    [ $steps = None ] && [ $kind != SimpleRNN ] && continue
    for backend in tensorflow openvino; do
      KERAS_BACKEND=$backend "$folder/venv/bin/python" make.py $kind $steps \
        > log 2>&1 || { tail -5 log; exit 1; }
    done
    "$folder/venv/bin/python" run.py $kind $steps
  done
done
