"""Run the recurrent layers of MLX."""

import importlib.metadata

import mlx.core as mx
import numpy as np
from mlx import nn

BOTH = False


def version():
    """Return the version of the framework."""
    return importlib.metadata.version("mlx")


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    kind = getattr(nn, cell[len("nn.") :])
    units = arrays["Whh" if cell == "nn.RNN" else "Wh"].shape[1]
    layer = kind(x.shape[2], units)
    layer.load_weights([(k, mx.array(v)) for k, v in arrays.items()])
    every = layer(mx.array(x))
    every = every if isinstance(every, tuple) else (every,)
    every = [np.asarray(a) for a in every]
    return [every[0], *(a[:, -1] for a in every)]
