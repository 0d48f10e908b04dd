"""Run the recurrent operators of ONNX in MNN, by its own converter."""

import contextlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import MNN
import numpy as np
from onnx import TensorProto, helper, numpy_helper

BOTH = False
CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv[1:])"


def version():
    """Return the version of the framework."""
    return importlib.metadata.version("MNN")


def run(cell, arrays, x, both):
    """Return the outputs."""
    steps = np.ascontiguousarray(np.swapaxes(x, 0, 1))
    kind = cell.split()[0]
    units = arrays["R"].shape[2]
    states = ["h0", "c0"][
        : 2 if kind == "LSTM" else 1
    ]  # without them it did not convert
    outputs = ["Y", "Y_h", "Y_c"][: len(states) + 1]
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    node = helper.make_node(
        kind, ["X", "W", "R", "B", "", *states], outputs, hidden_size=units, **more
    )
    shape = (1, x.shape[0], units)
    held = {**arrays, **{name: np.zeros(shape, np.float32) for name in states}}
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, steps.shape)],
        [helper.make_tensor_value_info(
            "Y", TensorProto.FLOAT, (steps.shape[0], 1, x.shape[0], units))],
        [numpy_helper.from_array(v, k) for k, v in held.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 14)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opset)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "one.onnx", Path(folder) / "one.mnn"
        source.write_bytes(model.SerializeToString())
        # not the command mnnconvert, which installs a package and reports its use
        command = [sys.executable, "-c", CONVERT, "mnnconvert", "-f", "ONNX",
                   "--modelFile", str(source), "--MNNModel", str(target),
                   "--bizCode", "one"]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        net = MNN.nn.load_module_from_file(str(target), ["X"], ["Y"])
        given = MNN.expr.placeholder(steps.shape, MNN.expr.NCHW, MNN.expr.float)
        given.write(steps.copy())
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            (y,) = net.forward([given])
        y = np.array(MNN.expr.convert(y, MNN.expr.NCHW).read()).reshape(
            steps.shape[0], x.shape[0], units
        )
    return [np.swapaxes(y, 0, 1)]
