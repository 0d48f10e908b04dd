"""Load the model, as each route that begins with Keras does."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

ROWS, STEPS = 2, 6


def load(source: Path):
    """Return the model in a file, called once and without a state.

    Keras's ONNX export refuses a model that was loaded and not called, and every export
    writes the state that a call has left.
    """
    model = keras.saving.load_model(source, compile=False)
    model(zeros(model))
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_state()
    return model


def zeros(model, rows: int = ROWS):
    """Return inputs of the right shapes and dtypes, all zeros."""
    arrays = []
    for tensor in model.inputs:
        shape = [tensor.shape[0] or rows, *(n or STEPS for n in tensor.shape[1:])]
        arrays.append(np.zeros(shape, keras.backend.standardize_dtype(tensor.dtype)))
    return arrays if len(arrays) > 1 else arrays[0]


def signature(model, rows: int):
    """Return the inputs of a model as InputSpecs with a fixed number of rows."""
    specs = [
        keras.InputSpec(
            shape=(tensor.shape[0] or rows, *tensor.shape[1:]),
            dtype=keras.backend.standardize_dtype(tensor.dtype),
            name=tensor.name,
        )
        for tensor in model.inputs
    ]
    return [specs] if len(specs) > 1 else specs
