#!/usr/bin/env bash
# Keras 3.15.1, TensorFlow 2.21.0.
#
# Guess: a layer with dtype="float64" on float64 images returns float64, as the model's
#        symbolic output says.
# Found: CenterCrop returns float32 where it has to enlarge the images, and its numbers
#        are off by what float32 rounds; where it only cuts, it returns float64. Resizing
#        to the same size returns float64. (CenterCrop resizes by a function that
#        computes in float32, and does not cast back: layers/preprocessing/
#        image_preprocessing/center_crop.py.)
#
# Prints the dtypes, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
cat >"$folder/crop.py" <<'PYTHON'
import sys

import keras
import numpy as np

layers = keras.layers
images = np.random.default_rng(0).normal(size=(2, 6, 8, 3))
found = {}
for name, layer in {
    "CenterCrop to 4 x 6": layers.CenterCrop(4, 6, dtype="float64"),
    "CenterCrop to 9 x 12": layers.CenterCrop(9, 12, dtype="float64"),
    "Resizing to 9 x 12": layers.Resizing(9, 12, dtype="float64"),
}.items():
    x = keras.Input((6, 8, 3), dtype="float64")
    model = keras.Model(x, layer(x))
    y = model.predict(images, verbose=0)
    found[name] = y.dtype.name
    print(f"{name:21} symbolic {model.output.dtype}, predict {y.dtype}")
if list(found.values()) != ["float64", "float32", "float64"]:
    sys.exit("changed")
PYTHON
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 \
  "$folder/venv/bin/python" "$folder/crop.py" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
