"""Writes the files of this folder, with Keras 1 itself: ``KERAS_BACKEND=... make.py``.

It needs Python 3.7, keras 1.2.2 and tensorflow 1.15.5 or theano 1.0.5. Each model is
saved with random weights, together with inputs and with what Keras 1 predicts for them.
"""

from pathlib import Path

import keras
import numpy as np
from keras import backend
from keras.layers import (
    GRU,
    LSTM,
    Bidirectional,
    Convolution1D,
    Dense,
    Dropout,
    Embedding,
    Highway,
    Input,
    MaxoutDense,
    MaxPooling1D,
    Merge,
    SimpleRNN,
    TimeDistributed,
    TimeDistributedDense,
    merge,
)
from keras.layers.normalization import BatchNormalization
from keras.models import Model, Sequential

if backend.backend() == "theano":
    import theano.ifelse  # noqa: F401 - Keras 1 takes for granted that it is imported

HERE = Path(__file__).parent
ROWS, TIME, FEATURES = 5, 9, 3


def ids():
    """Token ids with padding on the right, on the left, in holes, and altogether."""
    x = np.random.RandomState(0).randint(1, 9, size=(ROWS, TIME)).astype("int32")
    x[0, 3:] = 0
    x[1, :3] = 0
    x[2, 2] = 0
    x[3] = 0
    return x


def floats(*shape):
    """Numbers."""
    return np.random.RandomState(1).normal(size=(ROWS, *shape)).astype("float32")


def stacked():
    """Every recurrent layer behind a mask, in both layouts of the weights."""
    layers = [
        Embedding(9, 3, mask_zero=True, input_length=TIME, dropout=0.1),
        LSTM(4, return_sequences=True, dropout_W=0.1),
        LSTM(3, return_sequences=True, consume_less="gpu", go_backwards=True),
        Bidirectional(GRU(3, return_sequences=True, consume_less="mem")),
        GRU(3, return_sequences=True, consume_less="gpu", inner_activation="sigmoid"),
        TimeDistributedDense(4, activation="tanh"),
        SimpleRNN(4),
        Dense(2, activation="softmax"),
    ]
    return Sequential(layers), [ids()]


def convolutional():
    """Kernels of even and odd size, with strides, padded and not."""
    layers = [
        Convolution1D(4, 4, border_mode="same", input_shape=(TIME, FEATURES)),
        BatchNormalization(epsilon=1e-4),
        Convolution1D(3, 3, border_mode="same", subsample_length=2, bias=False),
        MaxPooling1D(2),
        LSTM(4, return_sequences=True),
        TimeDistributed(Dense(3, activation="relu")),
        Dropout(0.4),
        Bidirectional(SimpleRNN(2), merge_mode="ave"),
    ]
    return Sequential(layers), [floats(TIME, FEATURES)]


def branches():
    """A Sequential model that begins with a Merge of two others."""
    first = Sequential([LSTM(4, input_shape=(TIME, FEATURES))])
    second = Sequential([GRU(3, input_dim=FEATURES), Dense(4)])
    layers = [
        Merge([first, second], mode="concat"),
        Highway(activation="tanh"),
        MaxoutDense(3, nb_feature=5),
        Dense(2),
    ]
    x = floats(TIME, FEATURES)
    return Sequential(layers), [x, 0.5 - x]


def functional():
    """Shared layers, a model in the model, and merges of every mode."""
    x, y = Input((TIME, FEATURES)), Input((TIME, FEATURES))
    shared = Bidirectional(LSTM(2))
    inner = [Dense(5, input_dim=4), BatchNormalization(), Dense(4)]
    inner = Sequential(inner)
    a, b = inner(shared(x)), inner(shared(y))
    modes = ["sum", "mul", "ave", "max"]
    outputs = [merge([a, b], mode=mode) for mode in modes]
    if backend.backend() == "tensorflow":  # Theano 1.0 cannot run a dot of Keras 1
        outputs.append(merge([a, b], mode="cos", dot_axes=1))
        outputs.append(merge([a, b], mode="dot", dot_axes=1))
    return Model([x, y], outputs), [floats(TIME, FEATURES), -floats(TIME, FEATURES)]


def random_weights(model):
    """Give every weight random numbers, and a variance positive ones."""
    rng = np.random.RandomState(2)
    layers = getattr(model, "flattened_layers", model.layers)
    names = [weight.name for layer in layers for weight in layer.weights]
    values = []
    for k, old in enumerate(model.get_weights()):
        value = rng.uniform(0.2, 0.9, size=old.shape)
        if "running_std" not in names[k]:
            value = value * rng.choice([-1, 1], size=old.shape)
        values.append(value)
    model.set_weights(values)


def main():
    """Write every file."""
    name = backend.backend()
    for make in [stacked, convolutional, branches, functional]:
        model, inputs = make()
        random_weights(model)
        outputs = model.predict(inputs if len(inputs) > 1 else inputs[0])
        outputs = outputs if isinstance(outputs, list) else [outputs]
        path = HERE / f"{make.__name__}_{name}"
        model.save(f"{path}.h5")
        arrays = {f"x{k}": x for k, x in enumerate(inputs)}
        arrays.update({f"y{k}": y for k, y in enumerate(outputs)})
        np.savez_compressed(f"{path}.npz", **arrays)
        print(path.name, [y.shape for y in outputs], keras.__version__)


if __name__ == "__main__":
    main()
