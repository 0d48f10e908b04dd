#!/usr/bin/env bash
# keras-nightly 3.16.0.dev2026102704 beside keras 3.15.1, both on tensorflow 2.21.0.
#
# Guess: a stacked LSTM over padded ids (Embedding with mask_zero) is computed by the next
#        Keras as by 3.15, and a file of 3.15 gives the same outputs there, however the
#        model was built.
# Found: a mask now ends at the first recurrent layer (supports_masking is False in RNN,
#        Bidirectional and TimeDistributed), so the second layer computes padding like
#        any other step. Keras warns when a layer is called, and predict then returns
#        other numbers than the model was trained with. The loss and the metrics of a
#        tagger count its padding, since its outputs have no mask.
#        A Sequential file of 3.15 changes its outputs; the same layers saved by 3.15 as
#        a Functional model do not, because 3.15 writes the masks into the calls of such
#        a file. 3.16 writes none, so there and back again 3.15 passes the mask on.
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
import sys
import warnings

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np

folder, writer = sys.argv[1:]
here = "3.16" if keras.__version__.startswith("3.16") else "3.15"
x = np.random.default_rng(0).integers(1, 11, size=(5, 6))
x[0, 3:] = 0
x[1, :3] = 0


def outputs(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.predict(x, verbose=0)


if writer == here:  # the same weights, random and not zero, in models of two kinds
    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Embedding(11, 3, mask_zero=True, name="words"),
        keras.layers.LSTM(4, return_sequences=True, name="first"),
        keras.layers.LSTM(4, name="second"),
    ]
    ids = keras.Input((6,), dtype="int32")
    y = ids
    for layer in layers:
        y = layer(y)
    functional = keras.Model(ids, y)
    rng = np.random.default_rng(1)
    functional.set_weights(
        [rng.normal(size=w.shape) * 0.5 for w in functional.get_weights()]
    )
    twin = [type(layer).from_config(layer.get_config()) for layer in layers]
    sequential = keras.Sequential([keras.Input((6,), dtype="int32"), *twin])
    sequential.set_weights(functional.get_weights())
    for name, model in (("Sequential", sequential), ("Functional", functional)):
        model.save(f"{folder}/{writer}-{name}.keras")
        np.save(f"{folder}/{writer}-{name}.npy", outputs(model))

if writer == here:  # what evaluate says of a tagger: five rows, nine steps of padding
    tagger = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            keras.layers.Embedding(11, 3, mask_zero=True),
            keras.layers.LSTM(4, return_sequences=True),
            keras.layers.Dense(1),
        ]
    )
    tagger.compile(loss="mae")
    rng = np.random.default_rng(1)
    tagger.set_weights([rng.normal(size=w.shape) for w in tagger.get_weights()])
    wanted = rng.normal(size=(5, 6, 1))
    errors = np.abs(outputs(tagger) - wanted)[..., 0]
    loss = tagger.evaluate(x, wanted, verbose=0)
    words, all_steps = errors[x != 0].mean(), errors.mean()
    counted = all_steps if here == "3.16" else words
    assert abs(words - all_steps) > 1e-2, (words, all_steps)
    assert abs(loss - counted) < 1e-5, (here, loss, words, all_steps)
    print(
        f"{here}: the loss of a tagger {loss:.3f}; of its words alone {words:.3f}, "
        f"of every step {all_steps:.3f}",
        flush=True,
    )

for name in ("Sequential", "Functional"):
    model = keras.models.load_model(f"{folder}/{writer}-{name}.keras")
    apart = np.abs(outputs(model) - np.load(f"{folder}/{writer}-{name}.npy")).max()
    same = writer == here or (writer == "3.15" and name == "Functional")
    assert (apart < 1e-6) if same else (apart > 1e-2), (writer, here, name, apart)
    said = "the same outputs" if same else f"outputs {apart:.2f} apart"
    print(f"saved by {writer} as {name:10} loaded by {here}: {said}", flush=True)
PYTHON
run="$folder/venv/bin/python -W ignore $folder/case.py $folder"
$run 3.15 2>/dev/null
$pip uninstall --yes keras
$pip install --no-deps keras-nightly==3.16.0.dev2026102704
$run 3.16 2>/dev/null
$run 3.15 2>/dev/null
$pip uninstall --yes keras-nightly
$pip install --no-deps keras==3.15.1
$run 3.16 2>/dev/null
