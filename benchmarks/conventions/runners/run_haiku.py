"""Run the recurrent cores of Haiku."""

import haiku as hk
import jax.numpy as jnp
import numpy as np

BOTH = False


def version():
    """Return the version of the framework."""
    return hk.__version__


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    kind = getattr(hk, cell[len("hk.") :])
    name = {"LSTM": "lstm", "GRU": "gru", "VanillaRNN": "vanilla_rnn"}[kind.__name__]
    weights = arrays.get("w_h", arrays.get("linear_1/w", arrays.get("linear/w")))
    units = arrays["linear/b"].shape[0] // 4 if name == "lstm" else weights.shape[0]

    def unrolled(x):
        core = kind(units)
        return hk.dynamic_unroll(core, x, core.initial_state(x.shape[1]))

    parameters = {}
    for key, value in arrays.items():
        module, _, array = key.rpartition("/")
        held = parameters.setdefault(f"{name}/{module}" if module else name, {})
        held[array] = jnp.asarray(value)
    pure = hk.without_apply_rng(hk.transform(unrolled))
    y, state = pure.apply(parameters, jnp.swapaxes(jnp.asarray(x), 0, 1))
    states = (state.hidden, state.cell) if name == "lstm" else (state,)
    return [np.swapaxes(y, 0, 1), *(np.asarray(s) for s in states)]
