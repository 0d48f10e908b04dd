#!/usr/bin/env bash
# Keras 3.15.1 on JAX 0.7.2 (on TensorFlow it does the same).
#
# Guess: model.quantize("int8") stores the kernel of every Dense in 8 bits, whether its
#        activation is given as "elu" or as a layer, ELU(); a warning names what it
#        leaves.
# Found: a Dense whose activation is a layer keeps its kernel in float32, without a
#        warning. Only layers without a layer inside are quantised, and the activation
#        counts as one inside. Random models showed it.
#        (models/model.py, `Model.quantize`.)
#
# Prints the dtype of each kernel and the warnings, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 numpy==2.2.6 jax==0.7.2
cat >"$folder/kept.py" <<'PYTHON'
import sys
import warnings

import keras
from keras import layers

model = keras.Sequential(
    [
        keras.Input((5,)),
        layers.Dense(4, activation="elu", name="by_name"),
        layers.Dense(4, activation=keras.activations.elu, name="by_function"),
        layers.Dense(4, activation=layers.ELU(), name="by_layer"),
    ]
)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.quantize("int8")
found = {x.name: str(x._kernel.dtype) for x in model.layers}
about = [str(w.message) for w in caught if "by_layer" in str(w.message)]
print(found)
print(f"warnings that name the layer: {len(about)}")
expected = {"by_name": "int8", "by_function": "int8", "by_layer": "float32"}
sys.exit(found != expected or bool(about))
PYTHON
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/kept.py" 2>&1 | grep -v "^W0000"
