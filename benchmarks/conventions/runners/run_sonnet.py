"""Run the recurrent cores of Sonnet."""

import numpy as np
import sonnet as snt
import tensorflow as tf

BOTH = False


def version():
    """Return the version of the framework."""
    return snt.__version__


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    name = cell.split(",")[0][len("snt.") :]
    kind = getattr(snt, name)
    hidden = arrays.get("w_h", arrays.get("hidden_to_hidden/w"))
    core = kind(hidden.shape[0])
    given = tf.constant(np.swapaxes(x, 0, 1))
    state = core.initial_state(x.shape[0])
    core(given[0], state)  # creates the variables
    held = {v.name.split("/", 1)[-1].partition(":")[0]: v for v in core.variables}
    for key, value in arrays.items():
        (variable,) = (
            v for k, v in held.items() if k.split("/", 1)[-1] == key or k == key
        )
        variable.assign(value)
    y, state = snt.dynamic_unroll(core, given, state)
    states = (state.hidden, state.cell) if name == "LSTM" else (state,)
    return [np.swapaxes(y.numpy(), 0, 1), *(s.numpy() for s in states)]
