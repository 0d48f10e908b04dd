#!/usr/bin/env bash
# keras 3.15.1 on tensorflow 2.21.0, tf2onnx 1.17.0, run by onnxruntime 1.32.0,
# ai-edge-litert 2.3.0 and tensorflow itself.
#
# Guess: a model with stateful=True is exported with its state: zeros at the beginning,
#        handed on from call to call, as in Keras.
# Found: model.export writes the state that the model happens to have at that moment, so
#        after one predict the file's very first call goes on from it.
#        ONNX: that state is a constant; every call begins with it, none hands it on.
#        LiteRT and SavedModel: hand it on, but every new interpreter begins with it,
#        and LiteRT's reset_all_variables() does not set it to zeros.
#        Nothing warns.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 \
  tensorflow==2.21.0 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0 \
  ai-edge-litert==2.3.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>"$folder/log" <<'PYTHON' || { tail -5 "$folder/log"; exit 1; }
import keras
import numpy as np
import onnxruntime
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

keras.utils.set_random_seed(1)
inputs = keras.Input(batch_shape=(1, 2, 3), name="x")
layer = keras.layers.GRU(5, stateful=True)
model = keras.Model(inputs, layer(inputs))
rng = np.random.default_rng(0)
layer.set_weights([rng.normal(size=w.shape) * 0.7 for w in layer.get_weights()])
x = rng.normal(size=(1, 2, 3)).astype(np.float32)
layer.reset_state()
first = model.predict_on_batch(x)
second = model.predict_on_batch(x)
third = model.predict_on_batch(x)
assert min(np.abs(a - b).max() for a, b in [(first, second), (second, third)]) > 0.005


def onnx_file():
    session = onnxruntime.InferenceSession("model.onnx")
    return lambda: session.run(None, {session.get_inputs()[0].name: x})[0]


def litert():
    interpreter = Interpreter("model.tflite")
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()

    def run(reset=False):
        if reset:
            interpreter.reset_all_variables()
        (found,) = runner(x=x).values()
        return found

    return run


def saved_model():
    loaded = tf.saved_model.load("folder")
    return lambda: loaded.serve(x).numpy()


def same(a, b):
    return np.abs(a - b).max() < 1e-6


signature = [keras.InputSpec(shape=(1, 2, 3), dtype="float32", name="x")]
how = {"input_signature": signature, "verbose": False}
for calls in (0, 1):
    layer.reset_state()
    for _ in range(calls):
        model.predict_on_batch(x)
    after = (first, second, third)[calls:]  # what calls from that state on give
    model.export("model.onnx", format="onnx", **how)
    model.export("model.tflite", format="litert", **how)
    model.export("folder", format="tf_saved_model", **how)
    when = "after one predict" if calls else "after reset_state"

    run = onnx_file()
    assert same(run(), after[0]), (calls, "onnx")
    assert same(run(), after[0]), (calls, "onnx hands its state on")
    off = np.abs(after[0] - first).max()
    print(f"ONNX        exported {when:17}: every call off by {off:.2f} from a first call")
    for name, start in (("LiteRT", litert), ("SavedModel", saved_model)):
        run = start()
        assert same(run(), after[0]), (calls, name)
        assert same(run(), after[1]), (calls, name, "does not hand its state on")
        run = start()
        assert same(run(), after[0]), (calls, name, "does not begin with it again")
        print(f"{name:11} exported {when:17}: first call off by {off:.2f}, then goes on")
    run = litert()
    run()
    assert not same(run(reset=True), first), "LiteRT resets its state"
PYTHON
