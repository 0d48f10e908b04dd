"""Run the recurrent operators in ONNX Runtime."""

import numpy as np
import onnxruntime

from benchmarks.conventions.runners import onnx_file

BOTH = True


def version():
    """Return the version of the framework."""
    return onnxruntime.__version__


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    content = onnx_file.model(cell, arrays, both).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    feeds = {"X": np.ascontiguousarray(np.swapaxes(x, 0, 1))}
    return onnx_file.in_order(session.run(None, feeds))
