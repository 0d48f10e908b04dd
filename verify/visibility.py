"""What a check on these weights and these inputs could not have seen.

A comparison that passes proves nothing about mistakes that leave the outputs as they
are: a transposed kernel of one unit, a forget gate on a single step. These warnings
say so.
"""

from __future__ import annotations

import numpy as np

from verify.evaluate import LayerTrace
from verify.network import Inputs, Network
from verify.spec import Array, LayerSpec, listing
from verify.structure import flatten

SATURATED = 1e-6
MOSTLY = 0.5


def warnings(net: Network, x: Inputs, rows: Array) -> list[str]:
    """Sentences, each naming what is hidden and by what; empty if nothing is.

    Parameters
    ----------
    net : Network
    x : Inputs
        Prepared inputs.
    rows : of int
        Which of them to evaluate for a look at the gates.
    """
    found = []
    if x.rows == 1:
        found.append("one row only: rows mixed up in a batch cannot show")
    trace = net.trace(x.take(rows), dtype="float64")
    for path, layer in net.spec.walk():
        if path not in trace:
            continue
        values = trace[path]
        if layer.class_name == "Embedding":
            ids = flatten(values.input)[0]
            found += _padding(str(layer), bool(layer.options["mask_zero"]), ids)
        found += _zero_biases(layer)
        if layer.gates:
            found += _gates(layer, values)
    return found


def _gates(layer: LayerSpec, values: LayerTrace) -> list[str]:
    """What one step, one unit or saturated gates hide in a recurrent layer."""
    found = []
    if flatten(values.input)[0].shape[1] == 1:
        found.append(
            f"{layer}: one time step, so the recurrent kernel"
            f"{' and the forget gate' if 'f' in layer.gates else ''} play no part"
        )
    if layer.options.get("units") == 1:
        found.append(
            f"{layer}: one unit, so transposed or interleaved kernels cannot show"
        )
    for gate in ("i", "f", "o", "z", "r"):
        if gate in values.values:
            g = values[gate]
            share = np.mean(np.minimum(np.abs(g), np.abs(1 - g)) < SATURATED)
            if share > MOSTLY:
                found.append(
                    f"{layer}: gate {gate} is saturated at 0 or 1 in {share:.0%} "
                    "of the steps, so mistakes inside it hardly show"
                )
    return found


def _zero_biases(layer: LayerSpec) -> list[str]:
    """Blocks of a bias that are still what they were before training."""
    bias = layer.weights.get("bias")
    if bias is None:
        return []
    found = []
    for k, row in enumerate(np.atleast_2d(bias)):
        which = f"row {k} of the bias" if bias.ndim > 1 else "the bias"
        blocks = np.split(row, max(len(layer.gates), 1))
        names = layer.gates or ("",)
        zero = [g for g, b in zip(names, blocks, strict=True) if not b.any()]
        if not zero:
            continue
        if len(layer.gates) > 1:
            which += f" of {'gates' if len(zero) > 1 else 'gate'} {listing(zero)}"
        found.append(
            f"{layer}: {which} is zero (untrained?), so a missing bias cannot show"
        )
    return found


def _padding(where: str, masked: bool, ids: Array) -> list[str]:
    zeros = float(np.mean(ids == 0))
    found = []
    if masked and zeros == 0:
        found.append(f"{where}: no id is 0, so the mask is never false and not tested")
    if not masked and zeros > MOSTLY:
        found.append(
            f"{where}: {zeros:.0%} of the ids are 0 and nothing masks them "
            "(mask_zero is off): padding is computed like a word"
        )
    if np.any(ids != np.trunc(ids)):
        found.append(f"{where}: some ids are not whole numbers; Keras cuts them off")
    if np.any(ids < 0):
        found.append(f"{where}: some ids are negative; Keras counts from the end")
    return found
