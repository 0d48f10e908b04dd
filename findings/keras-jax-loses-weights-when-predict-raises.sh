#!/usr/bin/env bash
# Keras 3.15.1 on JAX 0.10.2 and TensorFlow 2.21.0.
#
# Guess: a predict that raises, because the inputs do not fit, leaves the model as it was;
#        with inputs that fit it predicts the same as before, on either backend.
# Found: so it is on TensorFlow. On JAX the variables have no values any more: get_weights
#        and save raise TypeError, and predict of the right inputs too. What raised is
#        found while the function is traced, when the values are handed to it already.
#        (backend/jax/trainer.py: `_purge_model_variables`, which is undone by
#        `jax_state_sync` after the last batch alone.)
#
# Prints what predict and get_weights do afterwards, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 numpy==2.4.6 tensorflow==2.21.0 jax==0.10.2
cat >"$folder/raising.py" <<'PYTHON'
import sys

import keras
import numpy as np
from keras import layers, ops

given = keras.Input((None, 3))
model = keras.Model(given, layers.LSTM(4)(given * ops.ones((1, 5, 1))))
right = np.ones((2, 5, 3), "float32")
before = model.predict(right, verbose=0)
try:
    model.predict(np.zeros((2, 6, 3), "float32"), verbose=0)  # 6 steps and 5
    sys.exit("nothing was raised")
except Exception as error:
    print(f"  predict of what does not fit: {type(error).__name__}")
kept = []
for name, call in (
    ("get_weights", model.get_weights),
    ("predict", lambda: model.predict(right, verbose=0)),
):
    try:
        found = call()
        same = name != "predict" or np.array_equal(found, before)
        kept.append(same)
        print(f"  {name} afterwards: as before")
    except Exception as error:
        kept.append(False)
        print(f"  {name} afterwards: {type(error).__name__}: {error}")
expected = keras.backend.backend() == "tensorflow"
sys.exit(kept != [expected, expected])
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1
for backend in tensorflow jax; do
  echo "$backend:"
  KERAS_BACKEND=$backend "$folder/venv/bin/python" "$folder/raising.py"
done
