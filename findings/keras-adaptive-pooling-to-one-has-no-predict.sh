#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0.
#
# Guess: AdaptiveAveragePooling1D(1) is a mean over time, by `predict` as by a call.
# Found: a call of the model returns the mean; `predict` raises ValueError, "Negative
#        dimension size caused by subtracting 7 from 6". Keras pools by windows of two
#        sizes, ceil(n / m) and one more, and the second one is longer than the input
#        where m is 1. Two and three dimensions have it where a side becomes 1.
#        (backend/tensorflow/nn.py, `_adaptive_average_pool1d`.)
#
# Prints what both do, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
cat >"$folder/pool.py" <<'PYTHON'
import sys

import keras
import numpy as np

x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
for size, works in ((1, False), (2, True)):
    inputs = keras.Input((6, 3))
    pool = keras.layers.AdaptiveAveragePooling1D(size)
    model = keras.Model(inputs, pool(inputs))
    called = np.asarray(model(x))
    right = x.reshape(2, size, 6 // size, 3).mean(axis=2)
    if not np.allclose(called, right, atol=1e-6):
        sys.exit(f"changed: a call, output_size={size}")
    try:
        model.predict(x, verbose=0)
        said = "predicts"
    except ValueError as error:
        said = str(error).strip().splitlines()[2][:70]
    print(f"output_size={size}: a call returns the mean; predict: {said}")
    if (said == "predicts") != works:
        sys.exit(f"changed: predict, output_size={size}")
PYTHON
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 \
  "$folder/venv/bin/python" "$folder/pool.py" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
