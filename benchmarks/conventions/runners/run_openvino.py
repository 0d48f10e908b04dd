"""Run the recurrent sequence operators in OpenVINO."""

import numpy as np
import openvino
from openvino import opset13 as ops

BOTH = True


def version():
    """Return the version of the framework."""
    return openvino.__version__.partition("-")[0]


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    batch, steps, _ = x.shape
    directions, _, units = arrays["R"].shape
    given = ops.parameter(x.shape, np.float32, name="X")
    zeros = ops.constant(np.zeros((batch, directions, units), np.float32))
    lengths = ops.constant(np.full(batch, steps, np.int32))
    weights = [ops.constant(arrays[name]) for name in ("W", "R", "B")]
    direction = "bidirectional" if both else "forward"
    kind = cell.split()[0]
    if kind == "LSTMSequence":
        node = ops.lstm_sequence(
            given, zeros, zeros, lengths, *weights, units, direction
        )
    elif kind == "GRUSequence":
        node = ops.gru_sequence(
            given, zeros, lengths, *weights, units, direction,
            linear_before_reset="linear_before_reset=true" in cell,
        )  # fmt: skip
    else:
        node = ops.rnn_sequence(given, zeros, lengths, *weights, units, direction)
    model = openvino.Model(list(node.outputs()), [given])
    compiled = openvino.Core().compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    results = compiled(x)
    y, *states = (np.array(results[k]) for k in range(len(compiled.outputs)))
    y = np.transpose(y, (0, 2, 1, 3)).reshape(batch, steps, -1)
    return [y, *(s[:, d] for d in range(directions) for s in states)]
