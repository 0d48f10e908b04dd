"""Say which tensor of a loop's body is which gate or state of a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from verify.forward.evaluate import LayerTrace
from verify.model.arrays import Array
from verify.model.spec import LayerSpec
from verify.ports.locate.differences import Agreement, goes_backwards, mask_of
from verify.ports.locate.inside import Tensor


def assigned(
    agreement: Agreement, traced: LayerTrace, tensors: Sequence[Tensor]
) -> dict[str, tuple[str, Array]]:
    """Say which tensor of a loop's body is which gate or state of a layer.

    A tensor that agrees at every step is that gate. What is left goes by the names that
    TensorFlow gives the operations of a cell, and then by how many numbers agree.

    Returns
    -------
    dict of str to (str, (batch, time, units))
        Name in the trace -> name and value; NaN at steps that are not known.
    """
    backwards = goes_backwards(traced.layer)
    mask = mask_of(traced)
    lined: dict[str, tuple[Tensor, Array]] = {}
    batch, time = next(iter(traced.values.values())).shape[:2]
    for tensor in tensors:
        value = _on_time_axis(tensor, batch, time, backwards)
        if value is not None:
            lined[tensor.name] = tensor, value
    found: dict[str, tuple[str, Array]] = {}
    wrong: list[str] = []
    shares: dict[str, dict[str, float]] = {}
    for name, expected in traced.values.items():
        gate = name.rpartition("/")[2] not in ("h", "c")
        keep = mask if gate else None
        shares[name] = {}
        for key, (_, value) in lined.items():
            if value.shape != expected.shape:
                continue
            others = (0, *range(2, value.ndim))
            known = ~np.isnan(value).all(axis=others)  # (time,)
            bad = agreement.bad(value, expected, keep)[:, known]
            shares[name][key] = 1.0 - float(bad.mean()) if bad.size else 0.0
        best = max(shares[name], key=lambda k: shares[name][k], default=None)
        if best is not None and shares[name][best] == 1.0:
            found[name] = best, lined[best][1]
        else:
            wrong.append(name)
    by_name = _tensorflow_names(traced.layer, lined)
    for name in wrong:
        key = by_name.get(name, "")
        if not key:
            key = max(shares[name], key=lambda k: shares[name][k], default="")
            if not key or shares[name][key] < 0.1:
                continue
        if lined[key][1].shape == traced.values[name].shape:
            found[name] = key, lined[key][1]
    # A gate that agrees under a name that says otherwise was exchanged with another.
    for name, key in by_name.items():
        if name in found and found[name][0] != key and wrong and "h" in wrong:
            op = lined[key][0].op
            if lined[found[name][0]][0].op == op:
                found[name] = key, lined[key][1]
    return found


def _on_time_axis(
    tensor: Tensor, batch: int, time: int, backwards: bool
) -> Array | None:
    """Return a tensor of a loop as (batch, time, ...), or None if it is none.

    Iterations that the file does not show are NaN.
    """
    value = tensor.value.astype(np.float64)
    if value.ndim < 3 or value.shape[1] != batch:
        return None
    steps = range(len(value)) if tensor.steps is None else tensor.steps
    if not all(-time <= step < time for step in steps):
        return None
    filled = np.full((time, *value.shape[1:]), np.nan)
    filled[list(steps)] = value
    return np.swapaxes(filled[::-1] if backwards else filled, 0, 1)


def _tensorflow_names(
    layer: LayerSpec, lined: Mapping[str, tuple[Tensor, Array]]
) -> dict[str, str]:
    """Return gate -> tensor by the names that TensorFlow gives operations in turn.

    Keras computes i, f, c, o in this order, and z before r, so that the first Sigmoid
    is i or z. Source: keras/src/layers/rnn/{lstm,gru}.py, ``call`` of the cells.
    """
    kind = layer.class_name.removesuffix("Cell")
    wanted = {
        "LSTM": {"i": ("gate", 0), "f": ("gate", 1), "o": ("gate", 2),
                 "c_hat": ("new", 0)},
        "GRU": {"z": ("gate", 0), "r": ("gate", 1), "h_hat": ("new", 0)},
    }.get(kind, {})  # fmt: skip
    functions = {
        "gate": layer.options.get("recurrent_activation"),
        "new": layer.options.get("activation"),
    }
    if functions["gate"] == functions["new"]:
        return {}
    found = {}
    for gate, (role, number) in wanted.items():
        word = str(functions[role]).title().replace("_", "")
        ending = word if not number else f"{word}_{number}"
        for name in lined:
            last = name.rpartition("/")[2].partition(":")[0].partition(";")[0]
            if last == ending:
                found[gate] = name
    return found
