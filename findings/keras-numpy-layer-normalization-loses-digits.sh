#!/usr/bin/env bash
# Keras 3.15.1 on NumPy 2.2.6 (with JAX 0.7.2 and SciPy, which its import needs), beside
# Keras on JAX.
#
# Guess: LayerNormalization is the same on all backends to rounding, which for float32
#        numbers about 1000 with a deviation of 1 is about 1e-4 of the deviation.
# Found: on NumPy it is wrong by 0.1 to 1 of the deviation there, by 0.01 for numbers
#        about 100, since the variance is taken as mean(x^2) - mean(x)^2, in float32
#        (backend/numpy/nn.py, `moments`). On JAX it is as exact as it should be.
#        GroupNormalization is computed in the same way on NumPy and on torch.
#
# Prints one line per backend and offset, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 numpy==2.2.6 jax==0.7.2 scipy==1.16.2
cat >"$folder/variance.py" <<'PYTHON'
import sys

import keras
import numpy as np

backend = keras.backend.backend()
inputs = keras.Input((8,))
model = keras.Model(inputs, keras.layers.LayerNormalization(epsilon=1e-3)(inputs))
for offset in (0, 100, 1000):
    x = (np.random.default_rng(0).normal(size=(64, 8)) + offset).astype("float32")
    wide = x.astype("float64")
    spread = np.sqrt(wide.var(axis=1, keepdims=True) + 1e-3)
    right = (wide - wide.mean(axis=1, keepdims=True)) / spread
    error = float(abs(model.predict(x, batch_size=64, verbose=0) - right).max())
    print(f"{backend}, numbers about {offset}: greatest error {error:.1e}")
    least, most = (1e-3, 1) if backend == "numpy" and offset else (0, 1e-3)
    if not least <= error <= most:
        sys.exit(f"changed: {backend} {offset}")
PYTHON
for backend in jax numpy; do
  KERAS_BACKEND=$backend "$folder/venv/bin/python" "$folder/variance.py" 2>"$folder/err" ||
    { cat "$folder/err" >&2; exit 1; }
done
