"""Run torch.nn.LSTM, GRU and RNN."""

import numpy as np
import torch

BOTH = True


def version():
    """Return the version of the framework."""
    return torch.__version__.partition("+")[0]


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    kind = getattr(torch.nn, cell[len("nn.") :])
    units = arrays["weight_hh_l0"].shape[1]
    layer = kind(x.shape[2], units, batch_first=True, bidirectional=both)
    layer.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
    with torch.no_grad():
        y, states = layer(torch.from_numpy(x))
    states = states if isinstance(states, tuple) else (states,)
    # one array for h and one for c, directions on their first axis
    per_direction = [s[d] for d in range(1 + both) for s in states]
    return [np.asarray(a) for a in (y, *per_direction)]
