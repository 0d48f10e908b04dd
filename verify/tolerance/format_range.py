"""Say which numbers of a model a number format cannot hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from verify.forward.evaluable import Inputs
from verify.forward.evaluate import LayerTrace, cast_to
from verify.forward.network import Network
from verify.forward.trace import bare_path
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import flatten
from verify.model.spec import LayerSpec
from verify.tolerance.formats import NumberFormat

CELLS = ("SimpleRNN", "LSTM", "GRU")
"""Layers whose sums, before the activations, are looked at too."""


def beyond_range(net: Network, x: Inputs, number_format: NumberFormat) -> list[str]:
    """Return a sentence for each layer with a number that a format cannot hold.

    Parameters
    ----------
    net : Network
    x : Inputs
        Some rows.
    number_format : NumberFormat
    """
    found = []
    root = cast_to(net.spec.root, "float64")
    most = {
        path: _greatest(layer.weights.items(), number_format)
        for path, layer in root.walk()
    }
    for key, trace in net.trace(x, dtype="float64").items():
        path = bare_path(key, net.spec)
        values = _greatest(_values(root.at(path), trace), number_format)
        most[path] = max(most[path], values)
    for path, (magnitude, name) in most.items():
        if magnitude:
            found.append(
                f"{root.at(path)}: {name} reaches {magnitude:.3g}, and {number_format} "
                f"holds numbers up to {number_format.greatest:.6g}: a port saturates "
                "or wraps there"
            )
    return found


def _greatest(
    values: Iterable[tuple[str, Array]], number_format: NumberFormat
) -> tuple[float, str]:
    """Return the greatest magnitude out of range and the name of the value, or 0."""
    found = [(number_format.beyond_range(array), name) for name, array in values]
    return max(found, default=(0.0, ""))


def _values(layer: LayerSpec, trace: LayerTrace) -> Iterator[tuple[str, Array]]:
    """Yield what one call of a layer is given, computes and returns, by name."""
    for name, given in (("its input", trace.input), ("its output", trace.output)):
        for array in flatten(given):
            if isinstance(array, np.ndarray):
                yield name, array
    yield from trace.values.items()
    if layer.class_name in CELLS and isinstance(trace.input, np.ndarray):
        yield "the sum before the activations", _sums(layer, trace.input, trace["h"])


def _sums(layer: LayerSpec, x: Array, h: Array) -> Array:
    """Return ``x @ kernel + h_before @ recurrent_kernel + bias`` at every step.

    The state before the first step counts as zeros.

    Parameters
    ----------
    x : (batch, time, features)
    h : (batch, time, units)
        The state after each step.
    """
    if not is_float(x):
        return np.zeros(())
    turn = -1 if layer.options["go_backwards"] else 1
    after = h[:, ::turn]
    before = np.concatenate([np.zeros_like(h[:, :1]), after[:, :-1]], axis=1)[:, ::turn]
    weights = layer.weights
    bias = weights.get("bias", np.zeros(()))
    bias = bias.sum(axis=0) if bias.ndim == 2 else bias  # a GRU has two rows
    return x @ weights["kernel"] + before @ weights["recurrent_kernel"] + bias
