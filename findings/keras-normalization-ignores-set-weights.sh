#!/usr/bin/env bash
# keras 3.15.1 on jax 0.10.2, Normalization in a model, and set_weights.
#
# Guess: after b.set_weights(a.get_weights()) two models of the same config compute the
#        same, as they do with every other layer that has weights.
# Found: Normalization computes with copies of its mean and variance. set_weights changes
#        the weights and leaves the copies: get_weights() of both models are equal, and
#        b still normalises with mean 0 and variance 1. b saved and loaded computes as a
#        does, so a file computes something else than the model that was saved. There is
#        no warning. layer.finalize_state() renews the copies; where predict has run
#        before, it keeps the old ones that it compiled, and needs
#        model.make_predict_function(force=True) in addition.
#
# Prints the greatest differences, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 jax==0.10.2 numpy==2.2.6
cd "$folder"
KERAS_BACKEND=jax "$folder/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np
from keras import layers


def made():
    return keras.Sequential(
        [keras.Input((6, 3)), layers.Normalization(), layers.GRU(4), layers.Dense(2)]
    )


x = np.random.default_rng(0).normal(3, 2, size=(20, 6, 3)).astype("float32")
a, b = made(), made()
a.layers[0].adapt(x)
b.set_weights(a.get_weights())
assert all(map(np.array_equal, a.get_weights(), b.get_weights()))
b.save("b.keras")
loaded = keras.models.load_model("b.keras")


def apart(one, other):
    y, z = (model.predict(x, verbose=0) for model in (one, other))
    return np.abs(y - z).max()


print(f"b beside a, whose weights it has: {apart(b, a):.2g} apart")
print(f"b loaded from its file beside a: {apart(loaded, a):.2g} apart")
assert apart(b, a) > 0.1
assert apart(loaded, a) < 1e-6
b.layers[0].finalize_state()
print(f"after finalize_state: predict of b {apart(b, a):.2g} apart")
assert apart(b, a) > 0.1
assert np.abs(np.asarray(b(x)) - a.predict(x, verbose=0)).max() < 1e-6
b.make_predict_function(force=True)
print(f"after make_predict_function(force=True): {apart(b, a):.2g} apart")
assert apart(b, a) < 1e-6
PYTHON
