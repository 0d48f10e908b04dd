#!/usr/bin/env bash
# keras 3.15.1 on tensorflow 2.21.0, on the CPU.
#
# Guess: the bias of a Conv2D has one number for each filter, and is added to the channel
#        of that filter, however the model is run.
# Found: with data_format="channels_first", and an output as wide as it has channels,
#        model.predict(x) adds it to the channels and model(x) adds it along the width.
#        Nothing warns. Keras looks for an axis as long as the bias, from the last one on;
#        in predict TensorFlow fuses the sum with the convolution, which knows its layout.
#
# Prints one line per case, and fails if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  keras==3.15.1 tensorflow==2.21.0 numpy==2.4.6
KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON'
import keras
import numpy as np

FILTERS, HEIGHT = 4, 5


def bias_found(width):
    """Outputs of predict and of a call for a kernel and inputs of zeros."""
    inputs = keras.Input((3, HEIGHT, width))
    layer = keras.layers.Conv2D(FILTERS, 1, data_format="channels_first")
    model = keras.Model(inputs, layer(inputs))
    bias = np.arange(1, FILTERS + 1, dtype="float32")
    layer.set_weights([np.zeros((1, 1, 3, FILTERS), "float32"), bias])
    x = np.zeros((1, 3, HEIGHT, width), "float32")
    return model.predict(x, verbose=0)[0], np.asarray(model(x))[0], bias


for width, same in ((FILTERS + 1, True), (FILTERS, False)):
    predicted, called, bias = bias_found(width)
    along_channels = np.broadcast_to(bias[:, None, None], predicted.shape)
    assert np.array_equal(predicted, along_channels), "predict has changed"
    print(f"width {width}: predict adds the bias to the channels")
    if same:
        assert np.array_equal(called, along_channels), "a call has changed"
        print(f"width {width}: a call does so, too")
    else:
        along_width = np.broadcast_to(bias, called.shape)
        assert np.array_equal(called, along_width), "a call has changed"
        print(f"width {width}: a call adds it along the width")
PYTHON
