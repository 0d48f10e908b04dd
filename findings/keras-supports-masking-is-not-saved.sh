#!/usr/bin/env bash
# Keras 3.15.1 on JAX 0.7.2.
#
# Guess: `supports_masking = True`, set on a pooling layer so that the mask is passed on,
#        is part of the model: saved as .keras and loaded, padding changes as little as
#        before.
# Found: it is in no config. The live model gives the same outputs whatever the length of
#        the padding; the loaded one, of the same weights, does not. Loading warns that
#        the layer destroys a mask, as making the layer does without that setting.
#        (layers/layer.py: `supports_masking`; `get_config` has no such key.)
#
# Prints how far padding moves the outputs of the model, live and loaded, and fails if
# this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 numpy==2.2.6 jax==0.7.2
cat >"$folder/saved.py" <<'PYTHON'
import sys
import warnings

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(1)
rng = np.random.default_rng(0)
short = rng.integers(1, 9, (4, 5))
padded = np.pad(short, ((0, 0), (0, 6)))


def moved(model):
    a, b = (model.predict(x, verbose=0) for x in (short, padded))
    return float(np.abs(a - b).max())


pool = layers.MaxPooling1D(pool_size=1, strides=1)
pool.supports_masking = True
model = keras.Sequential(
    [
        keras.Input((None,), dtype="int32"),
        layers.Embedding(9, 4, mask_zero=True),
        pool,
        layers.GRU(3),
    ]
)
live = moved(model)
model.save(sys.argv[1])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    again = keras.models.load_model(sys.argv[1])
told = any("destroy the mask" in str(w.message) for w in caught)
loaded = moved(again)
same = all(
    np.array_equal(a, b)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True)
)
print(f"padding moves the live model by {live:.1g}, the loaded one by {loaded:.2g}")
print(f"weights are the same: {same}; loading warns: {told}")
sys.exit(not (live < 1e-6 and loaded > 1e-2 and same and told))
PYTHON
KERAS_BACKEND=jax "$folder/venv/bin/python" "$folder/saved.py" "$folder/m.keras"
