#!/usr/bin/env bash
# Keras 3.15.1, TensorFlow 2.21.0.
#
# Guess: a model with a Discretization under mixed_bfloat16 predicts the same when it is
#        called, and after it has been saved and loaded.
# Found: predict rounds the numbers to bfloat16 before it looks for their bins, so that
#        0.7 is below a boundary of 0.7. A call of the same model does not, and neither
#        does predict of the loaded model: the config has the dtype of the layer's
#        variables, float32, in place of its policy (layers/preprocessing/
#        discretization.py, `get_config`).
#
# Prints the bins, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
cat >"$folder/bins.py" <<'PYTHON'
import sys
from pathlib import Path

import keras
import numpy as np

path = Path(sys.argv[1])
keras.config.set_dtype_policy("mixed_bfloat16")
x = keras.Input((5,))
layer = keras.layers.Discretization(bin_boundaries=[-0.4, 0.7])
model = keras.Model(x, layer(x))
numbers = np.float32([[-1.0, -0.4, 0.0, 0.7, 1.0]])
model.save(path)
loaded = keras.models.load_model(path)
found = {
    "predict": model.predict(numbers, verbose=0),
    "call": np.asarray(model(numbers)),
    "predict of the loaded": loaded.predict(numbers, verbose=0),
}
print("numbers", numbers[0].tolist(), "boundaries [-0.4, 0.7]")
for name, bins in found.items():
    print(f"{name:22}", bins[0].tolist())
print("policy", layer.dtype_policy.name, "config", layer.get_config()["dtype"])
rounded, exact = [[0, 0, 1, 1, 2]], [[0, 1, 1, 2, 2]]
if [bins.tolist() for bins in found.values()] != [rounded, exact, exact]:
    sys.exit("changed")
PYTHON
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 \
  "$folder/venv/bin/python" "$folder/bins.py" "$folder/model.keras" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
