"""Run the recurrent layers of Keras."""

import keras
import numpy as np

BOTH = True


def version():
    """Return the version of the framework."""
    return keras.__version__


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    kind = getattr(keras.layers, cell.split()[0][len("layers.") :])
    units = next(v for k, v in arrays.items() if "recurrent" in k).shape[0]
    more = {"reset_after": "=True" in cell} if "GRU" in cell else {}
    layer = kind(units, return_sequences=True, return_state=True, **more)
    prefixes = ("forward_layer/", "backward_layer/") if both else ("",)
    layer = keras.layers.Bidirectional(layer) if both else layer
    layer.build(x.shape)
    names = ("kernel", "recurrent_kernel", "bias")
    layer.set_weights([arrays[p + name] for p in prefixes for name in names])
    return [np.asarray(array) for array in layer(x)]
