#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0.
#
# Guess: Resizing of uint8 images returns whole numbers, rounded, by `predict` as by a
#        call of the model.
# Found: a call rounds and returns uint8; `predict` returns float32 with halves, so that
#        the layers behind see other numbers. Inside a graph of TensorFlow the layer
#        casts its input to its own dtype first, and has nothing left to round. With
#        `run_eagerly=True` `predict` rounds too. (layers/preprocessing/data_layer.py,
#        `DataLayer.__call__`.)
#
# Prints what both return, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
cat >"$folder/resize.py" <<'PYTHON'
import sys

import keras
import numpy as np

images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype("uint8")
model = keras.Sequential(
    [keras.Input((5, 5, 3), dtype="uint8"), keras.layers.Resizing(7, 4)]
)
called, predicted = np.asarray(model(images)), model.predict(images, verbose=0)
for name, y in (("call", called), ("predict", predicted)):
    print(f"{name}: {y.dtype}, begins {np.ravel(y)[:3].tolist()}")
if called.dtype != np.uint8 or predicted.dtype != np.float32:
    sys.exit("changed: dtypes")
if not np.any(predicted != np.round(predicted)):
    sys.exit("changed: predict returns whole numbers")
if np.abs(called - predicted).max() != 0.5:
    sys.exit("changed: they are not half a grey level apart")
PYTHON
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 \
  "$folder/venv/bin/python" "$folder/resize.py" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
