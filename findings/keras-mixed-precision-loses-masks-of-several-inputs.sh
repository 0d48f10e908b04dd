#!/usr/bin/env bash
# Keras 3.15.1 on JAX 0.7.2 (on TensorFlow it does the same).
#
# Guess: padding behind a sequence changes nothing in a model with masks, under
#        mixed_float16 as under float32: one encoder is called on two sequences, and a
#        model inside takes what it returns.
# Found: under float32 it changes nothing. Under mixed_float16 it changes the outputs of
#        a model inside that takes two tensors, and not of one that takes a single one.
#        keras.Input is float32 whatever the policy, so the model inside casts; what is
#        cast has no mask any more, and the masks that Keras gives it again are those
#        of the time when the graph was made, when the encoder's results had none.
#        With keras.Input(..., dtype="float16") inside nothing is lost. Keras warns of
#        a mask that is destroyed where there is a single input and none is.
#        (models/functional.py: `_convert_inputs_to_tensors`, `call`.)
#
# Prints how far padding moves the outputs, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 numpy==2.2.6 jax==0.7.2
cat >"$folder/padding.py" <<'PYTHON'
import sys

import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(0)
short = rng.normal(size=(4, 5, 3)).astype("float32")
padded = np.pad(short, ((0, 0), (0, 6), (0, 0)))


def outputs(policy, inputs, dtype):
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    encoder = keras.Sequential(
        [
            keras.Input((None, 3)),
            layers.Masking(),
            layers.LSTM(4, return_sequences=True),
        ]
    )
    taken = [keras.Input((None, 4), dtype=dtype) for _ in range(inputs)]
    states = [layers.GRU(4)(one) for one in taken]
    inside = keras.Model(
        taken if inputs > 1 else taken[0],
        layers.add(states) if inputs > 1 else states[0],
    )
    x = [keras.Input((None, 3)) for _ in range(inputs)]
    encoded = [encoder(one) for one in x]
    model = keras.Model(x, inside(encoded if inputs > 1 else encoded[0]))
    return [
        np.asarray(model.predict([some] * inputs, verbose=0), np.float64)
        for some in (short, padded)
    ]


kept = True
for policy, inputs, dtype, loses in (
    ("float32", 2, None, False),
    ("mixed_float16", 1, None, False),
    ("mixed_float16", 2, None, True),
    ("mixed_float16", 2, "float16", False),
):
    without, with_padding = outputs(policy, inputs, dtype)
    moved = np.abs(without - with_padding).max()
    given = "" if dtype is None else f", Input of {dtype}"
    print(f"{policy}, {inputs} input(s){given}: padding moves outputs by {moved:.2g}")
    kept &= (moved > 0.05) == loses and (loses or moved < 0.005)
sys.exit(not kept)
PYTHON
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/padding.py"
