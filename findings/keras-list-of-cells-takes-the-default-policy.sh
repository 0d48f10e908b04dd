#!/usr/bin/env bash
# Keras 3.15.1, TensorFlow 2.21.0.
#
# Guess: RNN([GRUCell(3, dtype=p), LSTMCell(2, dtype=p)], dtype=p) computes in p, whatever
#        the policy p: the layer and each of its cells are told so.
# Found: predict raises a TypeError of the loop: its states begin in float32. The list
#        becomes a StackedRNNCells of the default policy, which makes the states
#        (layers/rnn/rnn.py, `__init__`). Given as StackedRNNCells(cells, dtype=p) the
#        same cells compute in p, and so does a single cell.
#
# Prints what came of each, and fails if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
cat >"$folder/cells.py" <<'PYTHON'
import re
import sys

import keras
import numpy as np

layers = keras.layers


def said(cells, policy):
    x = keras.Input((6, 4))
    model = keras.Model(x, layers.RNN(cells, dtype=policy)(x))
    try:
        return model.predict(np.zeros((2, 6, 4), "float32"), verbose=0).dtype.name
    except TypeError as error:
        types = re.findall(r"<dtype: '(\w+)'>", str(error))
        return f"TypeError: a state begins as {types[0]} and becomes {types[1]}"


for policy in ("float64", "mixed_float16", "mixed_bfloat16"):
    both = [layers.GRUCell(3, dtype=policy), layers.LSTMCell(2, dtype=policy)]
    found = {
        "a list": said(both, policy),
        "stacked": said(layers.StackedRNNCells(both, dtype=policy), policy),
        "one cell": said(layers.GRUCell(3, dtype=policy), policy),
    }
    for name, result in found.items():
        print(f"{policy:15} {name:9} {result}")
    right = policy.removeprefix("mixed_")
    if not found.pop("a list").startswith("TypeError"):
        sys.exit("changed")
    if set(found.values()) != {right}:
        sys.exit("changed")
PYTHON
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 \
  "$folder/venv/bin/python" "$folder/cells.py" 2>"$folder/err" ||
  { cat "$folder/err" >&2; exit 1; }
