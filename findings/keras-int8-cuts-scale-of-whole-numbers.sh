#!/usr/bin/env bash
# Keras 3.15.1 on JAX 0.7.2 (on TensorFlow it does the same).
#
# Guess: a Dense layer after quantize("int8") on counts of int32 returns about what it
#        returns on the same counts given as float32, off by one part in 127 or less.
# Found: the scale of the inputs, 127 / maximum, is cast to their dtype, so that it is
#        126 for a maximum of 1, 2 for one of 50, and 0 from 128 on: then the layer
#        returns NaN. Random models showed it.
#        (quantizers/quantizers.py, `abs_max_quantize`.)
#
# Prints both layers' outputs, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 numpy==2.2.6 jax==0.7.2
cat >"$folder/scale.py" <<'PYTHON'
import sys
import warnings

import keras
import numpy as np

warnings.simplefilter("ignore")
x = np.asarray([[0, 1], [50, 20], [100, 200]])
found = {}
for dtype in ("int32", "float32"):
    inputs = keras.Input((2,), dtype=dtype)
    layer = keras.layers.Dense(1, kernel_initializer="ones")
    model = keras.Model(inputs, layer(inputs))
    model.quantize("int8")
    found[dtype] = np.asarray(model(x.astype(dtype))).ravel()
    print(f"counts of {dtype}: {found[dtype]}")
right = x.sum(axis=1)
if not np.allclose(found["float32"], right, rtol=0.01):
    sys.exit("changed: float32")
if not np.array_equal(np.isnan(found["int32"]), [False, False, True]):
    sys.exit("changed: int32")
PYTHON
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/scale.py" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
