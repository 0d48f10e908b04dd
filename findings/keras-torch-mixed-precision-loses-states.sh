#!/usr/bin/env bash
# Keras 3.15.1 on torch 2.13.0, beside Keras on TensorFlow 2.21.0.
#
# Guess: a stateful LSTM under the policy mixed_float16 keeps its states from batch to
#        batch, as it does in float32, to the precision of 16 bits.
# Found: on torch it keeps none: every batch begins with zeros, in predict and in calls of
#        the model, without a warning. In float32 it keeps them, and on TensorFlow under
#        either policy. Keras assigns by copying into `variable.value`, and inside a call
#        of a mixed layer that is a copy in float16 (backend/torch/core.py,
#        `_direct_assign`), so the variable stays as it was.
#
# Prints one line per backend and policy, and fails if any of this changes. The torch of
# PyPI for Linux brings CUDA; the CPU build is enough, if your pip is set up to find it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 torch==2.13.0 tensorflow==2.21.0
cat >"$folder/states.py" <<'PYTHON'
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np

backend = keras.backend.backend()
x = np.random.default_rng(0).normal(size=(6, 5, 2)).astype("float32")
for policy in ("float32", "mixed_float16"):
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    inputs = keras.Input(batch_shape=(3, 5, 2))
    lstm = keras.layers.LSTM(4, stateful=True)
    model = keras.Model(inputs, lstm(inputs))
    whole = model.predict(x, batch_size=3, verbose=0).astype("float32")
    held = max(float(abs(keras.ops.convert_to_numpy(s)).max()) for s in lstm.states)
    lstm.reset_state()
    second = model.predict(x[3:], batch_size=3, verbose=0).astype("float32")
    kept = float(abs(whole[3:] - second).max()) > 1e-3
    print(f"{backend} {policy}: greatest state afterwards {held:.3f}, "
          f"second batch {'depends' if kept else 'does not depend'} on the first")
    lost = backend == "torch" and policy == "mixed_float16"
    if kept == lost or (held == 0) != lost:
        sys.exit(f"changed: {backend} {policy}")
PYTHON
for backend in tensorflow torch; do
  KERAS_BACKEND=$backend "$folder/venv/bin/python" "$folder/states.py" 2>"$folder/err" ||
    { cat "$folder/err" >&2; exit 1; }
done
