#!/usr/bin/env bash
# keras 3.15.1 on tensorflow 2.21.0.
#
# Guess: with a fixed seed, a callback that only calls model.predict changes nothing
#        about the training: dropout is off in predict, so it draws no random numbers.
#        The weights are bit by bit those of a training without the callback.
# Found: so it is with a Dropout layer. A recurrent layer with dropout draws its masks in
#        predict and evaluate, too, does not use them, and so moves the state of its seed
#        generator: what training draws afterwards is something else. Validation data
#        have the same effect. Nothing says so.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 \
  tensorflow==2.21.0 numpy==2.4.6
cd "$folder"
cat > case.py <<'PYTHON'
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np

x = np.random.default_rng(0).normal(size=(32, 5, 3)).astype("float32")
y = x.sum(axis=(1, 2))


class Predicts(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.predict(x[:4], verbose=0)


def trained(make, callbacks=(), **options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((5, 3)), *make(), keras.layers.Dense(1)])
    model.compile(loss="mse")
    model.fit(x, y, epochs=3, verbose=0, callbacks=list(callbacks), **options)
    return model.get_weights()


def same(a, b):
    return all(map(np.array_equal, a, b))


layers = keras.layers
cases = {
    "Dropout": lambda: [layers.LSTM(4), layers.Dropout(0.5)],
    "LSTM(dropout=)": lambda: [layers.LSTM(4, dropout=0.5)],
    "GRU(recurrent_dropout=)": lambda: [layers.GRU(4, recurrent_dropout=0.5)],
}
for name, make in cases.items():
    alone = trained(make)
    again = same(alone, trained(make))
    predicts = same(alone, trained(make, [Predicts()]))
    validates = same(alone, trained(make, validation_data=(x[:4], y[:4])))
    assert again, name
    assert predicts == validates == (name == "Dropout"), (name, predicts, validates)
    print(
        f"{name:23}  the same weights: without a callback {again}, with one that "
        f"predicts {predicts}, with validation data {validates}"
    )
PYTHON
"$folder/venv/bin/python" -W ignore case.py 2>"$folder/log" || { tail -5 "$folder/log"; exit 1; }
