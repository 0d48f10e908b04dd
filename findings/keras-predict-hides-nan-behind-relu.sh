#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0, on a CPU.
#
# Guess: a row with NaN in it comes out of Dense(activation="relu") as NaN, by `predict`
#        as by a call of the model.
# Found: a call returns NaN; `predict` returns 0, and the layers behind finite numbers.
#        TensorFlow joins product, bias and ReLU to one kernel in a compiled graph, and
#        that one takes 0 for max(NaN, 0). So a mean over steps that are all masked,
#        which is 0 / 0, is not seen in what `predict` returns.
#
# Prints what both return, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
cat >"$folder/relu.py" <<'PYTHON'
import sys

import keras
import numpy as np

layers = keras.layers
model = keras.Sequential(
    [
        keras.Input((4,), dtype="int32"),
        layers.Embedding(9, 3, mask_zero=True),
        layers.GlobalAveragePooling1D(),
        layers.Dense(2, activation="relu"),
        layers.Dense(1),
    ]
)
rng = np.random.default_rng(0)
model.set_weights([rng.normal(size=w.shape) for w in model.weights])
padding = np.zeros((1, 4), "int32")
called, predicted = np.asarray(model(padding)), model.predict(padding, verbose=0)
print(f"a row of padding: a call returns {called[0, 0]}, predict {predicted[0, 0]:.4f}")
if not np.isnan(called).all():
    sys.exit("changed: a call")
bias = np.asarray(model.weights[-1])
if not np.allclose(predicted, bias):
    sys.exit("changed: predict returns something else than the last bias")
PYTHON
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 \
  "$folder/venv/bin/python" "$folder/relu.py" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
