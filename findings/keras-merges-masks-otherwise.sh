#!/usr/bin/env bash
# keras 3.15.1 beside tf_keras 2.21.0 (the code of Keras 2), both on tensorflow 2.21.0.
#
# Guess: a model of standard layers that Keras 2 saved predicts in Keras 3, which loads
#        its .h5 file without a word, what it predicted in Keras 2.
# Found: not if masks meet in a merging layer. Keras 2 masks a step that is masked in any
#        input that has a mask. Keras 3 masks a step that is masked in all of them, and
#        none if an input has no mask; its Multiply and Maximum change numbers, too. So
#        words with padding beside other features, or a residual connection round a
#        layer without a mask, are averaged with the padding. Nothing warns. (A recurrent
#        layer of tf_keras 2.21 in an .h5 file Keras 3 does not load: time_major. Nor a
#        masked Concatenate of the default name: Keras 3 joins its masks by an operation
#        that it names "concatenate" as well.)
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  tensorflow==2.21.0 keras==3.15.1 tf_keras==2.21.0
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON' 2>"$folder/log" || { tail -3 "$folder/log"; exit 1; }
import keras
import numpy as np
import tf_keras
from tf_keras import layers

words = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0], [6, 7, 8, 1, 2]])
others = np.array([[1, 0, 0, 0, 0], [4, 5, 6, 7, 0], [6, 7, 8, 1, 2]])
plain = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")


def apart(merge, masked):
    """How far Keras 3 is from Keras 2 on the same file."""
    ids, more = tf_keras.Input((5,)), tf_keras.Input((5,) if masked else (5, 4))
    embedding = layers.Embedding(9, 4, mask_zero=True)
    pair = [embedding(ids), embedding(more) if masked else more]
    model = tf_keras.Model([ids, more], layers.GlobalAveragePooling1D()(merge(name="joined")(pair)))
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    inputs = [words, others if masked else plain]
    theirs = model.predict(inputs, verbose=0)
    model.save("model.h5")
    ours = keras.models.load_model("model.h5", compile=False).predict(inputs, verbose=0)
    # the last row has no padding: there the two agree
    assert np.abs(ours[2] - theirs[2]).max() < 1e-5
    return np.abs(ours - theirs).max()


cases = [(kind, False) for kind in ("Add", "Concatenate", "Multiply", "Maximum")]
cases += [(kind, True) for kind in ("Add", "Concatenate")]
for kind, masked in cases:
    distance = apart(getattr(layers, kind), masked)
    what = "another mask" if masked else "no mask"
    assert distance > 0.05, (kind, what, distance)
    print(f"{kind:12} of a masked input and one with {what:12}: {distance:.2f} apart")
PYTHON
