#!/usr/bin/env bash
# tf_keras 2.21.0 (the code of Keras 2) on tensorflow 2.21.0.
#
# Guess: a Functional model with operations of TensorFlow between its layers that saves
#        without an error or a warning can be loaded again.
# Found: not with ``x == y``, ``x != y`` or tf.einsum. The file holds the first operand
#        alone, so no program can tell what the others were; loading raises. The same
#        model with tf.equal or tf.matmul, which compute the same, loads and agrees.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  tensorflow==2.21.0 tf_keras==2.21.0
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/log" || { tail -3 "$folder/log"; exit 1; }
import json

import numpy as np
import tensorflow as tf
import tf_keras

rng = np.random.default_rng(0)
data = [rng.integers(0, 2, size=(2, 5, 3)).astype("float32") for _ in range(2)]


def saved(function):
    """The calls of the first operation in the file, and whether the file loads."""
    x, y = tf_keras.Input((5, 3)), tf_keras.Input((5, 3))
    model = tf_keras.Model([x, y], tf.cast(function(x, y), "float32"))
    model.save("model.h5")
    entries = json.loads(model.to_json())["config"]["layers"]
    calls = next(e for e in entries if e["class_name"] == "TFOpLambda")["inbound_nodes"]
    try:
        loaded = tf_keras.models.load_model("model.h5", compile=False)
    except (TypeError, ValueError):
        return calls, False
    assert np.array_equal(model(data), loaded(data))
    return calls, True


multiply = "btf,bsf->bts"
cases = {
    "x == y": (lambda x, y: x == y, False),
    "x != y": (lambda x, y: x != y, False),
    "tf.einsum": (lambda x, y: tf.einsum(multiply, x, y), False),
    "tf.equal": (tf.equal, True),
    "tf.matmul": (lambda x, y: tf.matmul(x, y, transpose_b=True), True),
}
for name, (function, expected) in cases.items():
    calls, loads = saved(function)
    assert loads == expected, (name, loads)
    print(f"{name:9}  {'loads' if loads else 'cannot be loaded'}; the file has {calls}")
PYTHON
