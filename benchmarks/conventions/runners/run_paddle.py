"""Run the recurrent layers of PaddlePaddle."""

import numpy as np
import paddle

BOTH = True


def version():
    """Return the version of the framework."""
    return paddle.__version__


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    kind = getattr(paddle.nn, cell[len("nn.") :])
    units = arrays["weight_hh_l0"].shape[1]
    layer = kind(x.shape[2], units, direction="bidirectional" if both else "forward")
    layer.set_state_dict({k: paddle.to_tensor(v) for k, v in arrays.items()})
    held = layer.state_dict()
    for name, value in arrays.items():  # a name that is not there would be skipped
        if not np.array_equal(held[name].numpy(), value):
            raise ValueError(name)
    y, states = layer(paddle.to_tensor(x))
    states = states if isinstance(states, tuple) else (states,)
    per_direction = [s[d] for d in range(1 + both) for s in states]
    return [a.numpy() for a in (y, *per_direction)]
