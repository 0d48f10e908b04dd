#!/usr/bin/env bash
# keras 3.15.1 on tensorflow 2.21.0.
#
# Guess: predict of TimeDistributed(Dense(2)) over Input((None, 3)) returns, for every
#        number of rows and steps, what a call of the model returns.
# Found: it does for the inputs of the first predict. From the second number of steps on,
#        it returns as many steps as the batch has rows, without a word, and with more
#        rows than steps it raises InvalidArgumentError. TimeDistributed takes the size
#        of the first axis before it has swapped the axes, where the number of steps is
#        not known while a function is compiled. Two predicts of models that go on with
#        an LSTM return wrong numbers of the right shape.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
cat >"$folder/steps.py" <<'PYTHON'
import sys

import keras
import numpy as np
import tensorflow as tf

inputs = keras.Input((None, 3))
model = keras.Model(inputs, keras.layers.TimeDistributed(keras.layers.Dense(2))(inputs))
rng = np.random.default_rng(0)
for rows, steps, found in ((9, 7, 7), (4, 6, 4), (2, 8, 2), (8, 5, None)):
    x = rng.normal(size=(rows, steps, 3)).astype("float32")
    right = np.asarray(model(x))
    try:
        y = model.predict(x, verbose=0)
        said = f"{y.shape[1]} step(s)"
        kept = y.shape[1]
        if not np.allclose(y, right[:, :kept], atol=1e-6):
            sys.exit("changed: the steps that are returned")
    except tf.errors.InvalidArgumentError:
        said, kept = "InvalidArgumentError", None
    print(f"{rows} rows of {steps} steps: a call returns {right.shape[1]}, predict {said}")
    if right.shape[1] != steps or kept != found:
        sys.exit(f"changed: {rows} rows of {steps} steps")
PYTHON
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 \
  "$folder/venv/bin/python" "$folder/steps.py" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
