"""Recognise the layers of a file of weights that Keras 1 wrote, by their arrays.

=========================  =======================================================
layer                      arrays in the file
=========================  =======================================================
LSTM                       W_i, U_i, b_i, then those of c, f and o
GRU                        W_z, U_z, b_z, then those of r and h
SimpleRNN; others "gpu"    W, U, b; as many blocks side by side as there are gates
Dense, Convolution1D       W, b
Embedding                  W
BatchNormalization         gamma, beta, running_mean, running_std
=========================  =======================================================

The names stand behind that of the layer, which may be any: ``lstm_1_W_i``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from verify.model.arrays import Array

VERSION = "1.2.2"
"""The version that is taken for the writer of a file that names none."""

TAIL = re.compile(
    r"(?:^|_)(W|U|b|gamma|beta|running_mean|running_std|gammas|betas)(?:_([izcfroh]))?$"
)
GATES = {("i", "c", "f", "o"): "LSTM", ("z", "r", "h"): "GRU"}
"""Gates in the order of the arrays -> class."""

BLOCKS = {1: "SimpleRNN", 3: "GRU", 4: "LSTM"}
"""Blocks in one kernel -> class."""

RENAMED = {
    "units": "output_dim",
    "recurrent_activation": "inner_activation",
    "use_bias": "bias",
    "filters": "nb_filter",
    "kernel_size": "filter_length",
    "strides": "subsample_length",
    "padding": "border_mode",
    "pool_size": "pool_length",
    "rate": "p",
}
"""Options of Keras 2 -> their names in Keras 1."""


def is_keras1(version: str, weight_names: Sequence[str]) -> bool:
    """Return whether Keras 1 wrote the arrays of a layer."""
    if version:
        return version.startswith("1.")
    last = ("_W", "_W_i", "_W_z", "_gamma")
    return any(without_number(name).endswith(last) for name in weight_names)


def without_number(name: str) -> str:
    """Return the name of an array without what TensorFlow adds: ``:0``."""
    return re.sub(r"(_\d+)?:\d+$", "", name)


def tails(weight_names: Sequence[str]) -> list[tuple[str, str]]:
    """Return of each array what it is, such as W, and of which gate."""
    found = [TAIL.search(without_number(name)) for name in weight_names]
    return [(m[1], m[2] or "") if m else ("", "") for m in found]


def recurrent_class(
    kinds: Sequence[tuple[str, str]], arrays: Sequence[Array]
) -> tuple[str, bool] | None:
    """Return the class of a recurrent layer, and whether its gates stand in one kernel.

    None is returned for arrays that are those of no recurrent layer.
    """
    names = tuple(gate for what, gate in kinds if what == "W")
    if names in GATES and len(arrays) == 3 * len(names):
        kernel, recurrent, bias = arrays[:3]
        size = kernel.shape[-1]
        shapes = [(kernel.shape[0], size), (size, size), (size,)] * len(names)
        same = [a.shape for a in arrays] == shapes
        return (GATES[names], False) if same else None
    if [what for what, _ in kinds] != ["W", "U", "b"] or len(arrays) != 3:
        return None
    kernel, recurrent, bias = arrays
    if recurrent.ndim != 2 or kernel.ndim != 2 or not recurrent.shape[0]:
        return None
    units, width = recurrent.shape
    fits = not width % units and kernel.shape[1] == width and bias.shape == (width,)
    blocks = width // units
    return (BLOCKS[blocks], blocks > 1) if fits and blocks in BLOCKS else None


def conv1d_kernels(kernel: Array, bias: Array | None = None) -> list[Array]:
    """Return what the kernel of a Convolution1D may be, in the axes of Keras 2.

    Parameters
    ----------
    kernel : array
        (steps, 1, inputs, filters), or (filters, inputs, steps, 1) up to Keras 1.0.
    bias : array, optional
        (filters,).

    Returns
    -------
    list of (steps, inputs, filters)
        Nothing for other arrays, several if the shapes leave a choice.
    """
    found = []
    if kernel.ndim == 4 and kernel.shape[1] == 1:
        found.append(kernel[:, 0])
    if kernel.ndim == 4 and kernel.shape[3] == 1:
        found.append(kernel[..., 0].transpose(2, 1, 0))
    return [k for k in found if bias is None or bias.shape == k.shape[2:]]


def as_keras1(config: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return a guess in the form of Keras 2 in that of Keras 1.

    Parameters
    ----------
    config : mapping
        A Sequential model that begins with an InputLayer.
    version : str
        The version of Keras that wrote the weights.
    """
    entrance, *layers = config["config"]["layers"]
    given = entrance["config"]
    renamed = [_as_layer(entry) for entry in layers]
    renamed[0]["config"] |= {
        "batch_input_shape": given["batch_input_shape"],
        "input_dtype": given["dtype"],
    }
    return {**config, "config": renamed, "keras_version": version}


def _as_layer(entry: Mapping[str, Any]) -> dict[str, Any]:
    class_name = entry["class_name"]
    config = {
        RENAMED.get(key, key): value
        for key, value in entry["config"].items()
        if key != "reset_after"
    }
    if isinstance(config.get("layer"), Mapping):
        config["layer"] = _as_layer(config["layer"])
    if class_name in BLOCKS.values():
        config.pop("bias", None)
    if class_name == "Conv1D":
        class_name = "Convolution1D"
        config["filter_length"] = config["filter_length"][0]
        config["subsample_length"] = config["subsample_length"][0]
    if class_name in ("MaxPooling1D", "AveragePooling1D"):
        config |= {"stride": config["pool_length"], "border_mode": "valid"}
    if class_name == "BatchNormalization":
        config |= {"mode": 0, "axis": -1}
    return {"class_name": class_name, "config": config}
