"""Run the recurrent operators in the reference evaluator of ONNX."""

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from benchmarks.conventions.runners import onnx_file

BOTH = True


def version():
    """Return the version of the framework."""
    return onnx.__version__


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    session = ReferenceEvaluator(onnx_file.model(cell, arrays, both))
    return onnx_file.in_order(session.run(None, {"X": np.swapaxes(x, 0, 1)}))
