"""What a check on these weights and these inputs could not have seen.

A comparison that passes proves nothing about mistakes that leave the outputs as they
are: a transposed kernel of one unit, a forget gate on a single step. Each `BlindSpot` says
which mistakes are hidden, by what, and what to change so that they show. ``check``
warns of them; ``selftest`` gives them as the reasons for what survives it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from verify.errors import join_and
from verify.forward.evaluate import LayerTrace
from verify.forward.network import Inputs, Network
from verify.model.arrays import Array
from verify.model.graph import flatten
from verify.model.spec import LayerSpec

SATURATION_DISTANCE = 1e-6
MOST_SHARE = 0.5
PREDICT_BATCH_ROWS = 32

MASKS = ("mask", "masked", "sequence cut", "length counted", "zero_output", "padding")
RECURRENT = (
    *("recurrent", "time", "inputs shifted", "first step", "last step", "states"),
    *(
        "output of the first",
        "forget",
        "output from the old",
        "update gate",
        "old state",
    ),
    *("reset", "input and forget", "both layers read", "backward output", "kernel and"),
    *("gate order", "gates interleaved", "bias row"),
)


@dataclass(frozen=True)
class BlindSpot:
    """Something about the weights or the data that hides mistakes.

    Attributes
    ----------
    layer : str
        Path of the layer it is about; empty for the whole model.
    sentence : str
        The warning.
    hidden : tuple of str
        How the names of the mistakes begin or end that it may hide; `verify.mistakes.catalogue`.
    remedy : str
        What to change so that they show.
    warns : bool
        Whether ``check`` says it; some facts matter to ``selftest`` alone.
    """

    layer: str
    sentence: str
    hidden: tuple[str, ...] = ()
    remedy: str = ""
    warns: bool = True


def warnings(net: Network, x: Inputs, rows: int) -> list[str]:
    """Sentences, each naming what is hidden and by what; empty if nothing is.

    Parameters as for `blind_spots`.
    """
    return [spot.sentence for spot in blind_spots(net, x, rows) if spot.warns]


def blind_spots(net: Network, x: Inputs, rows: int) -> list[BlindSpot]:
    """What hides mistakes in this model on these inputs.

    Parameters
    ----------
    net : Network
    x : Inputs
        Prepared inputs, to evaluate for a look at the gates.
    rows : int
        How many there are in all.
    """
    found = []
    if rows == 1:
        sentence = "one row only: rows mixed up in a batch cannot show"
        found.append(BlindSpot("", sentence, ("states carried",), "give several rows"))
    elif rows <= PREDICT_BATCH_ROWS:
        found.append(
            BlindSpot(
                "",
                f"{rows} rows are one batch: states carried from a batch to the next "
                "cannot show",
                ("states carried to the next batch",),
                f"give more than {PREDICT_BATCH_ROWS} rows",
                warns=False,
            )
        )
    found += _training(net.spec.root)
    trace = net.trace(x, dtype="float64")
    for path, layer in net.spec.walk():
        if path not in trace:
            continue
        values = trace[path]
        if layer.class_name == "Embedding":
            ids = flatten(values.input)[0]
            found += _padding(path, layer, ids)
        found += _zero_biases(path, layer)
        if layer.gates:
            found += _gates(path, layer, values)
    return found


def _training(model: LayerSpec) -> Iterator[BlindSpot]:
    """Calls that the graph makes with training=True: predict overrides that."""
    for node in model.graph.nodes if model.graph is not None else ():
        layer = model.sublayers[node.layer]
        if node.kwargs.get("training") is True:
            yield BlindSpot(
                node.layer,
                f"{layer} is called with training=True: predict computes it with "
                "training=False, and so does this check; model(x) does not",
            )
        yield from _training(layer)


def _gates(path: str, layer: LayerSpec, values: LayerTrace) -> Iterator[BlindSpot]:
    """What one step, one unit, masks or saturated gates hide in a recurrent layer."""
    steps = flatten(values.input)[0].shape[1]
    if steps == 1:
        forget = " and the forget gate" if "f" in layer.gates else ""
        yield BlindSpot(
            path,
            f"{layer}: one time step, so the recurrent kernel{forget} play no part",
            RECURRENT,
            "give sequences of three steps or more",
        )
    if layer.options.get("units") == 1:
        yield BlindSpot(
            path,
            f"{layer}: one unit, so transposed or interleaved kernels cannot show",
            ("kernel", "recurrent_kernel", "gates interleaved"),
            "try the same code on a model of several units",
        )
    yield from _masks(path, layer, values)
    for gate in ("i", "f", "o", "z", "r"):
        if gate in values.values:
            g = values[gate]
            share = np.mean(np.minimum(np.abs(g), np.abs(1 - g)) < SATURATION_DISTANCE)
            if share > MOST_SHARE:
                yield BlindSpot(
                    path,
                    f"{layer}: gate {gate} is saturated at 0 or 1 in {share:.0%} "
                    "of the steps, so mistakes inside it hardly show",
                    (f"bias of gate {gate}", "gate order", "recurrent", "kernel"),
                    "give smaller inputs",
                )


def _masks(path: str, layer: LayerSpec, values: LayerTrace) -> Iterator[BlindSpot]:
    masks = [mask for mask in flatten(values.mask) if isinstance(mask, np.ndarray)]
    if not masks or masks[0].ndim != 2:
        return
    mask = masks[0].astype(bool)
    if mask.all():
        yield BlindSpot(
            path, f"{layer}: its mask is never false", MASKS,
            "give rows with padding", warns=False,
        )  # fmt: skip
    elif np.array_equal(mask, np.logical_and.accumulate(mask, axis=1)):
        yield BlindSpot(
            path,
            f"{layer}: its mask is false on the right alone",
            ("sequence cut", "length counted"),
            "give rows with padding on the left, or with holes",
            warns=False,
        )


def _zero_biases(path: str, layer: LayerSpec) -> Iterator[BlindSpot]:
    """Blocks of a bias that are still what they were before training."""
    bias = layer.weights.get("bias")
    if bias is None:
        return
    for k, row in enumerate(np.atleast_2d(bias)):
        which = f"row {k} of the bias" if bias.ndim > 1 else "the bias"
        blocks = np.split(row, max(len(layer.gates), 1))
        names = layer.gates or ("",)
        zero = [g for g, b in zip(names, blocks, strict=True) if not b.any()]
        if not zero:
            continue
        if len(layer.gates) > 1:
            which += f" of {'gates' if len(zero) > 1 else 'gate'} {join_and(zero)}"
        yield BlindSpot(
            path,
            f"{layer}: {which} is zero (untrained?), so a missing bias cannot show",
            ("bias", "in bias alone"),
            "train the model, or give its biases random numbers",
        )


def _padding(path: str, layer: LayerSpec, ids: Array) -> Iterator[BlindSpot]:
    zeros = float(np.mean(ids == 0))
    masked = bool(layer.options["mask_zero"])
    if masked and zeros == 0:
        yield BlindSpot(
            "",
            f"{layer}: no id is 0, so the mask is never false and not tested",
            MASKS,
            "give rows with padding, ids of 0",
        )
    if not masked and zeros == 0:
        yield BlindSpot(
            path, f"{layer}: no id is 0", ("padding row",), "give ids of 0", warns=False
        )
    if not masked and zeros > MOST_SHARE:
        yield BlindSpot(
            path,
            f"{layer}: {zeros:.0%} of the ids are 0 and nothing masks them "
            "(mask_zero is off): padding is computed like a word",
        )
    if np.any(ids != np.trunc(ids)):
        yield BlindSpot(
            path, f"{layer}: some ids are not whole numbers; Keras cuts them off"
        )
    if np.any(ids < 0):
        yield BlindSpot(
            path, f"{layer}: some ids are negative; Keras counts from the end"
        )
