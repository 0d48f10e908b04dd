"""Run the recurrent cells of Flax NNX."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

BOTH = True


def version():
    """Return the version of the framework."""
    return flax.__version__


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    kind = getattr(nnx, cell[len("nnx.") :])
    first = next(v for k, v in arrays.items() if k.endswith("dense_h.kernel")
                 or k.endswith("hi.kernel"))  # fmt: skip
    make = lambda: nnx.RNN(  # noqa: E731
        kind(x.shape[2], first.shape[0], rngs=nnx.Rngs(0)), return_carry=True
    )
    if both:
        forward, backward = make(), make()
        layer = nnx.Bidirectional(forward, backward, return_carry=True)
        for one, prefix in (
            (forward, "forward_rnn.cell."),
            (backward, "backward_rnn.cell."),
        ):
            _set(one.cell, arrays, prefix)
        (a, b), y = layer(jnp.asarray(x))
        return [np.asarray(y), *_states(a), *_states(b)]
    layer = make()
    _set(layer.cell, arrays, "")
    carry, y = layer(jnp.asarray(x))
    return [np.asarray(y), *_states(carry)]


def _set(cell, arrays, prefix):
    for name, value in arrays.items():
        if not name.startswith(prefix):
            continue
        inside, array = name[len(prefix) :].split(".")
        getattr(getattr(cell, inside), array).value = jnp.asarray(value)


def _states(carry):
    """Return h, then c: the carry of an LSTM is (c, h)."""
    states = carry[::-1] if isinstance(carry, tuple) else (carry,)
    return [np.asarray(s) for s in jax.tree_util.tree_leaves(list(states))]
