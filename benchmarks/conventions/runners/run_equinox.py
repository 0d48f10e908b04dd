"""Run the recurrent cells of Equinox."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

BOTH = False


def version():
    """Return the version of the framework."""
    return eqx.__version__


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    kind = getattr(eqx.nn, cell[len("nn.") :])
    units = arrays["weight_hh"].shape[1]
    made = kind(x.shape[2], units, key=jax.random.PRNGKey(0))
    for name, value in arrays.items():
        made = eqx.tree_at(lambda c: getattr(c, name), made, jnp.asarray(value))  # noqa: B023
    zeros = jnp.zeros(units)
    lstm = cell == "nn.LSTMCell"

    def row(steps):
        def step(state, x):
            state = made(x, state)
            return state, state[0] if lstm else state

        return jax.lax.scan(step, (zeros, zeros) if lstm else zeros, steps)

    state, y = jax.vmap(row)(jnp.asarray(x))
    return [np.asarray(a) for a in (y, *(state if lstm else (state,)))]
