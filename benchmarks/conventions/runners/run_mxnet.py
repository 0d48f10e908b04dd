"""Run the recurrent layers of Apache MXNet."""

import mxnet as mx
import numpy as np

BOTH = True


def version():
    """Return the version of the framework."""
    return mx.__version__


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    kind = getattr(mx.gluon.rnn, cell[len("gluon.rnn.") :])
    units = arrays["l0_h2h_weight"].shape[1]
    more = {"activation": "tanh"} if cell.endswith("RNN") else {}
    layer = kind(units, layout="NTC", input_size=x.shape[2], bidirectional=both, **more)
    layer.initialize()
    for name, value in arrays.items():
        getattr(layer, name).set_data(mx.nd.array(value))
    y, states = layer(mx.nd.array(x), layer.begin_state(x.shape[0]))
    per_direction = [s[d] for d in range(1 + both) for s in states]
    return [np.asarray(a.asnumpy()) for a in (y, *per_direction)]
