#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0.
#
# Guess: a model that is called by itself and inside a Sequential, as an encoder that
#        two heads share, is loaded from .keras as from .h5.
# Found: both are written without a word; .h5 predicts the same again, and `load_model`
#        of the .keras file raises ValueError, "Output with path `` is not connected to
#        `inputs`". What is guessed of the cause: Keras writes a shared object once, and
#        the Functional model finds no call of it in the other place.
#
# Prints what came of both files, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
cat >"$folder/shared.py" <<'PYTHON'
import sys
from pathlib import Path

import keras
import numpy as np

layers, folder = keras.layers, Path(sys.argv[1])
encoder = keras.Sequential(
    [keras.Input((4, 3)), layers.LSTM(2, return_sequences=True)], name="encoder"
)
head = keras.Sequential(
    [keras.Input((4, 3)), encoder, layers.GlobalAveragePooling1D()], name="head"
)
inputs = keras.Input((4, 3))
both = layers.Concatenate()([layers.Flatten()(encoder(inputs)), head(inputs)])
model = keras.Model(inputs, both)
rng = np.random.default_rng(0)
model.set_weights([rng.normal(size=w.shape) for w in model.weights])
x = rng.normal(size=(2, 4, 3)).astype("float32")
y = model.predict(x, verbose=0)
for suffix, works in ((".keras", False), (".h5", True)):
    path = folder / f"model{suffix}"
    model.save(path)
    try:
        again = keras.models.load_model(path).predict(x, verbose=0)
        said = "the same outputs" if np.array_equal(again, y) else "other outputs"
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"
    print(f"{suffix}: {said}")
    if (said == "the same outputs") != works or said == "other outputs":
        sys.exit("changed")
PYTHON
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 \
  "$folder/venv/bin/python" "$folder/shared.py" "$folder" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
