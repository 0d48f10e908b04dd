"""Build an ONNX model of one recurrent node."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def model(cell, arrays, both):
    """Return a model: X (time, batch, inputs) -> Y, Y_h, for an LSTM also Y_c."""
    kind = cell.split()[0]
    units = arrays["R"].shape[2]
    attributes = {"direction": "bidirectional" if both else "forward"}
    if kind == "GRU":
        attributes["linear_before_reset"] = int("linear_before_reset=1" in cell)
    outputs = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    node = helper.make_node(
        kind, ["X", "W", "R", "B"], outputs, hidden_size=units, **attributes
    )
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(v, k) for k, v in arrays.items()],
    )
    opset = [helper.make_opsetid("", 14)]
    return helper.make_model(graph, ir_version=8, opset_imports=opset)


def in_order(outputs):
    """Return Y as (batch, time, units of both) and the states of each direction."""
    y, *states = outputs
    steps, directions, batch, units = y.shape
    y = np.transpose(y, (2, 0, 1, 3)).reshape(batch, steps, directions * units)
    return [y, *(s[d] for d in range(directions) for s in states)]
