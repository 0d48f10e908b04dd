"""Turn a SavedModel into a graph model of TensorFlow.js, and run it under node."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

PROGRAM = Path(__file__).with_name("tensorflowjs_graph.js")


def export(source: Path, out: Path) -> None:
    """Write the folder with model.json."""
    program = Path(sys.executable).with_name("tensorflowjs_converter")
    done = subprocess.run(
        [
            *(program, "--input_format=tf_saved_model", "--signature_name=serve"),
            *("--output_format=tfjs_graph_model", source, out),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(lines[-1] if lines else f"exit code {done.returncode}")


def outputs(out: Path, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Return what TensorFlow.js computes; inputs in the order of the model."""
    import json

    feeds = [
        {"shape": x.shape, "dtype": str(x.dtype), "values": x.ravel().tolist()}
        for x in inputs
    ]
    done = subprocess.run(
        ["node", PROGRAM, out],
        input=json.dumps(feeds),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    if done.returncode:
        lines = [x for x in done.stderr.splitlines() if "Error" in x]
        raise RuntimeError(lines[0] if lines else f"exit code {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    return [np.asarray(y["values"], np.float32).reshape(y["shape"]) for y in found]
