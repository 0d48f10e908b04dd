#!/usr/bin/env bash
# keras 3.15.1 on torch 2.13.0 (CPU), onnxscript 0.7.2, run by onnxruntime 1.32.0.
#
# Guess: model.export(format="onnx") of a model with Input((None, 3)) writes a file for
#        every length, as it does on the TensorFlow backend, or refuses.
# Found: the file declares the time axis open and takes every length, but reads the
#        first step only, at every length: y is the output of a sequence cut after one
#        step, in the right shape; with return_sequences=True y has that one step. The
#        export warns no more than that of Input((6, 3)), which is right.
#        (A SimpleRNN is refused by onnxruntime when it is run.)
#
# "+cpu" keeps CUDA away; pip may need PyTorch's own index for it (PIP_EXTRA_INDEX_URL).
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0+cpu \
  keras==3.15.1 onnxscript==0.7.2 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
cd "$folder"
KERAS_BACKEND=torch "$folder/venv/bin/python" - 2>"$folder/log" <<'PYTHON' || { tail -5 "$folder/log"; exit 1; }
import keras
import numpy as np
import onnxruntime


def exported(kind, steps, **options):
    """The model, and a function that runs its ONNX file."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((steps, 3))
    layer = getattr(keras.layers, kind)(5, bias_initializer="normal", **options)
    model = keras.Model(inputs, layer(inputs))
    model(np.zeros((1, steps or 4, 3), np.float32))  # export asks for a call
    model.export("model.onnx", format="onnx", verbose=False)
    session = onnxruntime.InferenceSession("model.onnx")
    name = session.get_inputs()[0].name
    shape = session.get_inputs()[0].shape
    return model, shape, lambda x: session.run(None, {name: x})[0]


rng = np.random.default_rng(0)
for kind in ("LSTM", "GRU"):
    for sequences in (False, True):
        model, _, run = exported(kind, 6, return_sequences=sequences)
        x = rng.normal(size=(2, 6, 3)).astype(np.float32)
        apart = np.abs(run(x) - model.predict_on_batch(x)).max()
        assert apart < 1e-6, (kind, apart)

        model, shape, run = exported(kind, None, return_sequences=sequences)
        assert isinstance(shape[1], str), shape  # declared open
        for steps in (1, 4, 6):
            x = rng.normal(size=(2, steps, 3)).astype(np.float32)
            y, right = run(x), model.predict_on_batch(x)
            first = model.predict_on_batch(x[:, :1])
            assert y.shape == first.shape, (kind, steps, y.shape)
            apart = np.abs(y - first).max()
            assert apart < 1e-6, (kind, steps, "no longer the first step", apart)
            if not sequences:
                assert y.shape == right.shape, (kind, steps, y.shape)
            apart = np.abs(y.reshape(2, -1, 5)[:, -1] - right.reshape(2, -1, 5)[:, -1])
            apart = apart.max()
            assert (apart < 1e-6) == (steps == 1), (kind, steps, apart)
        print(f"{kind:9} return_sequences={sequences!s:5}: fixed time right; open time, "
              f"6 steps: off by {apart:.2f}, the output after one step")
PYTHON
