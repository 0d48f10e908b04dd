"""Run the recurrent primitives of oneDNN, by a program that g++ compiles.

The packages onednn-cpu-gomp and onednn-devel-cpu-gomp, 2023.2.0, put its libraries and
headers into the folder of the environment. The newer package onednn is the build for
SYCL, which has no engine on a plain CPU.
"""

import re
import sys
from pathlib import Path

import numpy as np
import programs

BOTH = False
KINDS = ("lstm_forward", "lbr_gru_forward", "gru_forward", "vanilla_rnn_forward")
LIBRARIES = f"{sys.prefix}/lib"


def version():
    """Return the version of the framework."""
    header = Path(sys.prefix) / "include" / "oneapi" / "dnnl" / "dnnl_version.h"
    text = header.read_text()
    parts = ("MAJOR", "MINOR", "PATCH")
    found = [re.search(rf"DNNL_VERSION_{part} (\d+)", text) for part in parts]
    return ".".join(one[1] for one in found)


def run(cell, arrays, x, both):
    """Return the outputs and the final states."""
    batch, steps, inputs = x.shape
    units = arrays["weights_iter"].shape[0]
    program = programs.built(
        "onednn.cpp", f"-I{sys.prefix}/include", f"-L{LIBRARIES}", "-ldnnl",
        "-Wl,--allow-shlib-undefined",
    )  # fmt: skip
    weights = [arrays[name] for name in ("weights_layer", "weights_iter", "bias")]
    found = programs.numbers(
        program, [KINDS.index(cell), steps, batch, inputs, units],
        np.swapaxes(x, 0, 1), *weights, LD_LIBRARY_PATH=LIBRARIES,
    )  # fmt: skip
    y = found[: steps * batch * units].reshape(steps, batch, units)
    states = found[steps * batch * units :].reshape(-1, batch, units)
    return [np.swapaxes(y, 0, 1), *states]
