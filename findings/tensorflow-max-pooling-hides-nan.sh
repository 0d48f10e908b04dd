#!/usr/bin/env bash
# TensorFlow 2.21.0, JAX 0.10.2 and Keras 3.15.1, on a CPU.
#
# Guess: the maximum of numbers with NaN among them is NaN in max pooling too, as it is
#        for tf.reduce_max, so that what went wrong before stays visible behind it.
# Found: TensorFlow leaves NaN out: the maximum is that of the other numbers, and of a
#        window of NaN alone it is the lowest number of the dtype, -3.4e38, which the
#        layers behind go on with; compiled by XLA (`jit_compile=True`) it is -inf. Keras
#        on JAX returns NaN for both, by XLA as well. A row of padding alone has NaN in a
#        masked average.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6
cat >"$folder/pooling.py" <<'PYTHON'
import sys

import keras
import numpy as np

LOWEST = np.finfo(np.float32).min


def pooled(rank, x, **how):
    """Predict with a model of one MaxPooling layer; its only number."""
    layer = getattr(keras.layers, f"MaxPooling{rank}D")(2)
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.compile(**how)
    return model.predict(x, verbose=0).item()


for rank in (1, 2, 3):
    some = np.arange(1, 1 + 2**rank, dtype=np.float32).reshape(1, *(2,) * rank, 1)
    every = np.full_like(some, np.nan)
    some.flat[-1] = np.nan
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        assert np.isnan(tf.reduce_max(some)), "tf.reduce_max"
        kinds = [("plain", {"jit_compile": False}), ("XLA", {"jit_compile": True})]
    else:
        kinds = [("jax", {})]
    for name, how in kinds:
        found = [pooled(rank, x, **how) for x in (some, every)]
        print(f"MaxPooling{rank}D, {name}: NaN among others {found[0]:g}, alone {found[1]:g}")
        if name == "jax":
            assert np.isnan(found).all(), found
        else:
            lowest = LOWEST if name == "plain" else -np.inf
            assert found == [2**rank - 1, lowest], found
sys.exit(0)
PYTHON
for backend in tensorflow jax; do
  KERAS_BACKEND=$backend TF_CPP_MIN_LOG_LEVEL=3 \
    "$folder/venv/bin/python" "$folder/pooling.py"
done
