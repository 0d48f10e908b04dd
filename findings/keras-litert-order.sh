#!/usr/bin/env bash
# keras 3.15.1 on tensorflow 2.21.0, run by ai-edge-litert 2.3.0.
#
# Guess: get_input_details() and get_output_details() of an exported model stand in the
#        order of its inputs and outputs in Keras.
# Found: of a model [a, b] -> [y, h, c] they stand in the order b, a and h, y, c. Fed
#        and read by position, tensors of equal shape are swapped and nothing complains.
#        The signature runner (a=..., b=...; output_0, output_1, output_2) is right.
#
# Prints both orders, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 \
  tensorflow==2.21.0 ai-edge-litert==2.3.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - 2>"$folder/log" <<'PYTHON' || { tail -5 "$folder/log"; exit 1; }
import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

keras.utils.set_random_seed(1)
a = keras.Input((6, 3), name="a")
b = keras.Input((6, 3), name="b")
_, h, c = keras.layers.LSTM(5, return_state=True, bias_initializer="normal")(a)
decoder = keras.layers.LSTM(
    5, return_sequences=True, return_state=True, bias_initializer="normal"
)
model = keras.Model([a, b], list(decoder(b, initial_state=[h, c])))
specs = [keras.InputSpec(shape=(1, 6, 3), dtype="float32", name=n) for n in "ab"]
model.export("model.tflite", format="litert", input_signature=[specs], verbose=False)

rng = np.random.default_rng(0)
x = [rng.normal(size=(1, 6, 3)).astype(np.float32) for _ in "ab"]
right = model.predict_on_batch(x)
interpreter = Interpreter("model.tflite")
interpreter.allocate_tensors()

runner = interpreter.get_signature_runner()
by_name = {name: y.copy() for name, y in runner(a=x[0], b=x[1]).items()}
del runner  # no reference to its memory may be left
for k, y in enumerate(right):
    assert np.abs(by_name[f"output_{k}"] - y).max() < 1e-6, k

details = interpreter.get_input_details(), interpreter.get_output_details()
print("inputs :", [detail["name"] for detail in details[0]])
print("outputs:", [detail["name"] for detail in details[1]])
assert ["_b:" in d["name"] for d in details[0]] == [True, False], details[0]
for detail, array in zip(details[0], x[::-1], strict=True):
    interpreter.set_tensor(detail["index"], array)
interpreter.invoke()
found = [interpreter.get_tensor(detail["index"]) for detail in details[1]]
order = [
    next(k for k, y in enumerate(right) if y.shape == f.shape and np.abs(f - y).max() < 1e-6)
    for f in found
]
print("outputs by position are the model's numbers", order, "= h, y, c")
assert order == [1, 0, 2], order
PYTHON
