"""What a check on these weights and these inputs could not have seen.

A comparison that passes proves nothing about mistakes that leave the outputs as they
are: a transposed kernel of one unit, a forget gate on a single step. These warnings
say so.
"""

from __future__ import annotations

import numpy as np

from verify.network import Trace
from verify.spec import Array, ModelSpec, listing

SATURATED = 1e-6
MOSTLY = 0.5


def warnings(spec: ModelSpec, x: Array, trace: Trace) -> list[str]:
    """Sentences, each naming what is hidden and by what; empty if nothing is.

    Parameters
    ----------
    spec : ModelSpec
    x : (batch, ...)
        Prepared inputs.
    trace : Trace
        Of `x`, in float64.
    """
    found = []
    if len(x) == 1:
        found.append("one row only: rows mixed up in a batch cannot show")
    for layer in spec:
        values = trace[layer.name]
        if layer.class_name == "Embedding":
            found += _padding(
                str(layer), bool(layer.options["mask_zero"]), values.input
            )
        if not layer.gates:
            continue
        if values.input.shape[1] == 1:
            found.append(
                f"{layer}: one time step, so the recurrent kernel"
                f"{' and the forget gate' if 'f' in layer.gates else ''} play no part"
            )
        if layer.options["units"] == 1:
            found.append(
                f"{layer}: one unit, so transposed or interleaved kernels cannot show"
            )
        bias = layer.weights.get("bias")
        if bias is not None:
            blocks = np.split(bias, len(layer.gates), axis=-1)
            zero = [g for g, b in zip(layer.gates, blocks, strict=True) if not b.any()]
            if zero:
                gates = "gates" if len(zero) > 1 else "gate"
                of = f" of {gates} {listing(zero)}" if len(layer.gates) > 1 else ""
                found.append(
                    f"{layer}: the bias{of} is zero (untrained?), so a missing bias "
                    "cannot show there"
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
