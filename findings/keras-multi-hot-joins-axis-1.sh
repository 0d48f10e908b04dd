#!/usr/bin/env bash
# Keras 3.15.1 on JAX 0.7.2 (on TensorFlow it does the same).
#
# Guess: CategoryEncoding(output_mode="multi_hot") of (batch, time, samples) is
#        (batch, time, tokens): "treats the last dimension as the sample dimension, if
#        input shape is (..., sample_length), output shape will be (..., num_tokens)".
# Found: it joins axis 1, so that the output is (batch, samples, tokens): the tokens of
#        all time steps together. The symbolic shape says (batch, time, tokens), and
#        `predict` returns another. "count" does the same, Discretization as well
#        (utils/numerical_utils.py, ops.multi_hot).
#
# Prints the shapes, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 numpy==2.2.6 jax==0.7.2
cat >"$folder/axis.py" <<'PYTHON'
import sys

import keras
import numpy as np

ids = np.random.default_rng(0).integers(0, 7, size=(2, 5, 3))
for mode in ("multi_hot", "count"):
    inputs = keras.Input((5, 3), dtype="int32")
    encoding = keras.layers.CategoryEncoding(7, output_mode=mode)
    model = keras.Model(inputs, encoding(inputs))
    found = np.asarray(model.predict(ids, verbose=0))
    print(f"{mode}: declared {model.output_shape}, predicted {found.shape}")
    if model.output_shape != (None, 5, 7) or found.shape != (2, 3, 7):
        sys.exit("changed: shapes")
    if found[0, 1, ids[0, 4, 1]] < 1:  # a token of the last step, of sample 1
        sys.exit("changed: axis")
PYTHON
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/axis.py" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
