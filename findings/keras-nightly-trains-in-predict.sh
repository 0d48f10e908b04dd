#!/usr/bin/env bash
# keras-nightly 3.16.0.dev2026102704 beside keras 3.15.1, both on tensorflow 2.21.0.
#
# Guess: predict computes every layer as in inference. A Functional model in which a
#        layer is called with training=True gives the same outputs at every predict, as
#        it does in 3.15, whose predict overrides the argument.
# Found: in the nightly the argument of the call holds in predict, too. Dropout is random
#        (two calls of predict differ), and BatchNormalization normalises by the batch
#        that it is given, so an output depends on the other rows of its batch. Nothing
#        warns. A file of 3.15 that was deterministic is no more.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip --quiet --disable-pip-version-check"
$pip install tensorflow==2.21.0 keras==3.15.1 numpy==2.4.6
cat > "$folder/case.py" <<'PYTHON'
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np

later = keras.__version__.startswith("3.16")
version = "3.16 nightly" if later else keras.__version__
x = np.random.default_rng(0).normal(size=(6, 4, 3)).astype("float32")
i = keras.Input((4, 3))
cases = {
    "Dropout": keras.layers.Dropout(0.5),
    "LSTM with dropout": keras.layers.LSTM(2, dropout=0.5),
    "BatchNormalization": keras.layers.BatchNormalization(),
}
for name, layer in cases.items():
    model = keras.Model(i, layer(i, training=True))
    first, second = (model.predict(x, verbose=0) for _ in range(2))
    alone = model.predict(x[:1], verbose=0)
    inference = keras.ops.convert_to_numpy(layer(x, training=False))
    as_inference = np.allclose(first, inference, atol=1e-5)
    repeats = np.array_equal(first, second)
    by_row = np.allclose(first[:1], alone, atol=1e-5)
    assert as_inference != later, (name, version)
    assert repeats != (later and name != "BatchNormalization"), (name, version)
    assert by_row != later, (name, version)
    print(
        f"{version:12}  {name:18}  predict is inference: {as_inference}, "
        f"repeats: {repeats}, a row alone is the same: {by_row}",
        flush=True,
    )
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/case.py" 2>/dev/null
$pip uninstall --yes keras
$pip install --no-deps keras-nightly==3.16.0.dev2026102704
"$folder/venv/bin/python" -W ignore "$folder/case.py" 2>/dev/null
