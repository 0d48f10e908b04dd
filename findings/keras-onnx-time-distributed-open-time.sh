#!/usr/bin/env bash
# keras 3.15.1 on tensorflow 2.21.0, tf2onnx 1.17.0, run by onnxruntime 1.32.0.
#
# Guess: model.export(format="onnx") of TimeDistributed(Dense(2)) over Input((None, 3))
#        returns as many steps as it is given, as Dense(2) itself does, and as Keras.
# Found: it returns as many steps as the batch has rows, and the rest is missing: one row
#        of six steps gives one step, two rows give two. With more rows than steps the
#        runtime refuses. What is returned is right, and with rows = steps all of it is,
#        so a test on a square batch passes. Nothing warns. Dense without TimeDistributed
#        and a fixed number of steps are right.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0 \
  numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>"$folder/log" <<'PYTHON' || { tail -5 "$folder/log"; exit 1; }
import keras
import numpy as np
import onnxruntime

layers = keras.layers


def exported(layer, steps):
    """A model of one layer, and a function that runs its ONNX file."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((steps, 3))
    model = keras.Model(inputs, layer(inputs))
    model(np.zeros((1, steps or 4, 3), np.float32))  # export asks for a call
    model.export("model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession("model.onnx")
    name = session.get_inputs()[0].name
    return model, lambda x: session.run(None, {name: x})[0]


rng = np.random.default_rng(0)
cases = {
    "Dense, steps open": (layers.Dense(2), None),
    "TimeDistributed(Dense), 6 steps": (layers.TimeDistributed(layers.Dense(2)), 6),
    "TimeDistributed(Dense), steps open": (
        layers.TimeDistributed(layers.Dense(2)),
        None,
    ),
}
for name, (layer, steps) in cases.items():
    model, run = exported(layer, steps)
    for rows in (1, 2, 6):
        x = rng.normal(size=(rows, 6, 3)).astype(np.float32)
        right, found = model.predict_on_batch(x), run(x)
        kept = found.shape[1]
        apart = np.abs(found - right[:, :kept]).max()
        print(f"{name}: {rows} row(s) of 6 steps -> {kept} step(s), off by {apart:.1g}")
        assert apart < 1e-6
        assert kept == (rows if name.endswith("Distributed(Dense), steps open") else 6)
x = rng.normal(size=(7, 6, 3)).astype(np.float32)
try:
    run(x)
except Exception as error:
    print(f"{name}: 7 rows of 6 steps -> {type(error).__name__}")
else:
    raise AssertionError("7 rows of 6 steps are answered now")
PYTHON
