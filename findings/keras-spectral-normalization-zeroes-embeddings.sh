#!/usr/bin/env bash
# Keras 3.15.1 on JAX 0.7.2 (on TensorFlow it does the same).
#
# Guess: SpectralNormalization(Embedding(...)) on ids of int32 returns the vectors of the
#        table; its documentation and code name embeddings as a kernel to normalise.
# Found: the output is cast to the dtype of the input, so that the vectors become whole
#        numbers, zeros for a table of usual size. The symbolic dtype says float32. With
#        ids given as float32 the vectors come out.
#        (layers/normalization/spectral_normalization.py, `call`.)
#
# Prints the outputs' dtypes and greatest values, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 numpy==2.2.6 jax==0.7.2
cat >"$folder/cast.py" <<'PYTHON'
import sys

import keras
import numpy as np

for dtype, zero in (("int32", True), ("float32", False)):
    inputs = keras.Input((4,), dtype=dtype)
    layer = keras.layers.SpectralNormalization(keras.layers.Embedding(5, 3))
    model = keras.Model(inputs, layer(inputs))
    y = np.asarray(model.predict(np.ones((2, 4), dtype), verbose=0))
    greatest = float(abs(y).max())
    print(f"ids of {dtype}: declared {model.output.dtype}, predicted {y.dtype}, "
          f"greatest {greatest:.3f}")
    if model.output.dtype != "float32" or (greatest == 0) != zero:
        sys.exit(f"changed: {dtype}")
PYTHON
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/cast.py" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
