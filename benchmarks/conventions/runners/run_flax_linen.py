"""Run the recurrent cells of Flax Linen."""

import flax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

BOTH = True


def version():
    """Return the version of the framework."""
    return flax.__version__


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    kind = getattr(nn, cell.split(",")[0][len("nn.") :])
    state = next(v for k, v in arrays.items() if k.split("/")[-2].startswith("h"))
    units = state.shape[0]
    if both:
        layer = nn.Bidirectional(
            nn.RNN(kind(units)), nn.RNN(kind(units)), return_carry=True
        )
    else:
        layer = nn.RNN(kind(units), return_carry=True)
    parameters = {}
    for name, value in arrays.items():
        held = parameters
        *path, array = name.split("/") if both else ("cell", *name.split("/"))
        for key in path:
            held = held.setdefault(key, {})
        held[array] = jnp.asarray(value)
    carry, y = layer.apply({"params": parameters}, jnp.asarray(x))
    carries = carry if both else (carry,)
    return [np.asarray(y), *(s for c in carries for s in _states(c))]


def _states(carry):
    """Return h, then c: the carry of an LSTM is (c, h)."""
    states = carry[::-1] if isinstance(carry, tuple) else (carry,)
    return [np.asarray(s) for s in states]
