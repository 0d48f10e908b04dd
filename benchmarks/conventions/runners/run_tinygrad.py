"""Run the LSTM cell of tinygrad."""

import importlib.metadata
import os

import numpy as np

os.environ.setdefault("DEV", "PYTHON")  # the device that needs no compiler

from tinygrad import Tensor, nn

BOTH = False


def version():
    """Return the version of the framework."""
    return importlib.metadata.version("tinygrad")


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    made = nn.LSTMCell(x.shape[2], arrays["weight_hh"].shape[1])
    for name, value in arrays.items():
        setattr(made, name, Tensor(value))
    state, found = None, []
    for t in range(x.shape[1]):
        state = made(Tensor(np.ascontiguousarray(x[:, t])), state)
        found.append(state[0].numpy())
    return [np.stack(found, axis=1), *(s.numpy() for s in state)]
