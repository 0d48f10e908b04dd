"""Run the recurrent layers of TensorFlow.js in node.

The folder of node_modules that has @tensorflow/tfjs is to be named in NODE_PATH.
"""

import json
import subprocess
from pathlib import Path

import numpy as np

BOTH = True
SCRIPT = Path(__file__).with_name("tfjs.cjs")


def version():
    """Return the version of the framework."""
    return _node({})["version"]


def run(cell, arrays, x, both):
    """Return the outputs, and of one direction the final states."""
    kind = cell[len("layers.") :]
    halves = ("forward_", "backward_") if both else ("",)
    names = ("kernel", "recurrent_kernel", "bias")
    weights = [arrays[half + name] for half in halves for name in names]
    request = {
        "kind": kind,
        "both": both,
        "units": int(weights[1].shape[0]),
        "x": x.tolist(),
        "weights": [w.tolist() for w in weights],
    }
    return [np.array(a, np.float32) for a in _node(request)["outputs"]]


def _node(request):
    command = ["node", str(SCRIPT)]
    text = json.dumps(request)
    found = subprocess.run(
        command, input=text, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(found.stdout.splitlines()[-1])
