#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0 and JAX 0.10.2.
#
# Guess: in a network of words in sentences, Embedding(mask_zero=True),
#        TimeDistributed(LSTM), GRU, the GRU skips the sentences that are padding, on
#        every backend, and however many units it has; or Keras raises on all.
# Found: TimeDistributed hands on the mask that it is given, (batch, sentences, words).
#        On JAX a GRU skips the sentences without any word. On TensorFlow a GRU of as
#        many units as a sentence has words takes the mask for (batch, time, units),
#        without a warning: where word k is padding, unit k keeps its state. With any
#        other number of units but 1 it raises there.
#        (backend/tensorflow/rnn.py: `compute_masked_output`; backend/jax/rnn.py:
#        `is_masked`.)
#
# Prints, for 6 words and 5, 6 and 7 units, how the GRU's outputs differ from those of a
# loop that keeps single units, or whole states; fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 numpy==2.4.6 tensorflow==2.21.0 jax==0.10.2
cat >"$folder/words.py" <<'PYTHON'
import sys

import keras
import numpy as np
from keras import layers

SENTENCES, WORDS = 5, 6
rng = np.random.default_rng(0)
ids = rng.integers(1, 20, (8, SENTENCES, WORDS))
ids[:, :, 4:] = 0
ids[1, 3:] = 0  # whole sentences of padding


def made(units):
    keras.utils.set_random_seed(1)
    given = keras.Input((SENTENCES, WORDS), dtype="int32")
    words = layers.Embedding(20, 4, mask_zero=True)(given)
    sentences = layers.TimeDistributed(layers.LSTM(3))(words)
    rnn = layers.GRU(units)
    return keras.Model(given, [sentences, rnn(sentences)]), rnn.cell


def steps(cell, x, kept):
    h = np.zeros((len(x), cell.units), np.float32)
    for t in range(x.shape[1]):
        after = np.asarray(cell(x[:, t], [h])[0])
        h = np.where(kept[:, t], h, after)
    return h


found = []
for units in (5, 6, 7):
    try:
        model, cell = made(units)
        sentences, y = model.predict(ids, verbose=0)
    except Exception as error:
        found.append("raises")
        print(f"  {units} units: {type(error).__name__}")
        continue
    padding = ids == 0
    whole = np.abs(y - steps(cell, sentences, padding.all(-1, keepdims=True))).max()
    line = f"  {units} units: {whole:.1g} from a loop that keeps whole states"
    single = np.inf
    if units == WORDS:
        single = np.abs(y - steps(cell, sentences, padding)).max()
        line += f", {single:.1g} from one that keeps single units"
    print(line)
    found.append("states" if whole < 1e-5 else "units" if single < 1e-5 else "?")
expected = {
    "tensorflow": ["raises", "units", "raises"],
    "jax": ["states", "states", "states"],
}
sys.exit(found != expected[keras.backend.backend()])
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1
for backend in tensorflow jax; do
  echo "$backend:"
  KERAS_BACKEND=$backend "$folder/venv/bin/python" "$folder/words.py"
done
