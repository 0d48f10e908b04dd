"""What a check on these weights and these inputs could not have seen.

A comparison that passes proves nothing about mistakes that leave the outputs as they
are: a transposed kernel of one unit, a forget gate on a single step. A `BlindSpot`
says what the model or its inputs lack, and so which mistakes cannot show, and what to
change. ``check`` warns of blind spots; ``selftest`` gives them as the reasons why a
mistake goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from verify.errors import join_and
from verify.forward.evaluable import Inputs
from verify.forward.evaluate import LayerTrace
from verify.forward.layers import REGISTRY
from verify.forward.network import Network
from verify.forward.recurrence import mask_of_steps
from verify.forward.trace import Trace
from verify.mistakes.catalogue import Mutant
from verify.mistakes.catalogue.categories import LOOKUPS
from verify.mistakes.catalogue.masks import has_masks
from verify.mistakes.catalogue.mistake import Need
from verify.mistakes.catalogue.time import PREDICT_BATCH_ROWS
from verify.mistakes.lost_masks import lost_masks, padding_alone
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.graph import flatten
from verify.model.spec import LayerSpec, ModelSpec

SATURATION_DISTANCE = 1e-6
"""A gate is saturated if it is nearer to 0 or 1 than this."""

MOST_SHARE = 0.5
"""Share of the steps, or of the ids, that counts as most of them."""

COMPARISONS = tuple(
    f"ops.{name}"
    for name in ("Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual")
)
"""Operations by which a model makes masks of its own."""

SIGMOID_GATES = ("i", "f", "o", "z", "r")
"""Gates between 0 and 1, as a trace names them."""


CELL_CLASSES = ("SimpleRNNCell", "LSTMCell", "GRUCell", "StackedRNNCells")
"""Layers that compute one step, and are given the states before it."""


@dataclass(frozen=True)
class BlindSpot:
    """Describe something about the weights or the inputs that hides mistakes.

    Attributes
    ----------
    layer : str
        Path of the layer it is about; empty for the whole model.
    sentence : str
        The warning.
    lacks : frozenset of Need
        What the layer or the inputs lack; a mistake that needs any of it is hidden.
    remedy : str
        What to change so that the mistakes show.
    warns : bool
        Whether ``check`` says it; some blind spots matter to ``selftest`` alone.
    gate : str
        The gate it is about; empty if it is not about a single one.
    """

    layer: str
    sentence: str
    lacks: frozenset[Need] = frozenset()
    remedy: str = ""
    warns: bool = True
    gate: str = ""

    def hides(self, mutant: Mutant) -> bool:
        """Say whether this may be why a mutant has the same outputs as the model."""
        if self.layer and not _related(self.layer, mutant.layer):
            return False
        needs = mutant.needs
        if self.gate != mutant.gate:
            needs = needs - {Need.OPEN_OWN_GATE}
        return bool(self.lacks & needs)


def _related(one: str, other: str) -> bool:
    """Say whether two paths are of the same layer, or one is inside the other."""
    one, other = f"{one}/", f"{other}/"
    return one.startswith(other) or other.startswith(one)


def warnings(
    net: Network, x: Inputs, rows: int, trace: Trace | None = None
) -> list[str]:
    """Return sentences that each name what is hidden and by what.

    Parameters
    ----------
    net, x, rows, trace : as for `blind_spots`
    """
    return [spot.sentence for spot in blind_spots(net, x, rows, trace) if spot.warns]


def blind_spots(
    net: Network, x: Inputs, rows: int, trace: Trace | None = None
) -> list[BlindSpot]:
    """Return what hides mistakes in this model on these inputs.

    Parameters
    ----------
    net : Network
    x : Inputs
        Prepared inputs; the model is evaluated on them to see its gates and masks.
    rows : int
        How many rows there are in all, of which `x` may be a part.
    trace : Trace, optional
        Of `x` in float64, if it is known.
    """
    found = [*_of_rows(rows, net.spec.batch_size), *_of_training_calls(net.spec.root)]
    trace = trace or net.trace(x, dtype="float64")
    given, masked = _paths_with_states(net.spec, rows), has_masks(net.spec)
    some_held = any(map(_holds_steps, trace.values())) or _compares(net.spec)
    if masked:
        found += _of_lost_masks(net, x, trace, rows)
    for path, layer in net.spec.walk():
        if path not in trace:
            continue
        values = trace[path]
        if layer.class_name == "Embedding":
            found += _of_ids(path, layer, flatten(values.input)[0], some_held)
        found += _of_categories(path, layer, values)
        if layer.class_name == "Masking":
            found += _of_masking(layer, flatten(values.input)[0])
        found += _of_zero_biases(path, layer)
        if layer.gates:
            found += _of_steps(path, layer, values, path in given)
            found += _of_gates(path, layer, values)
            found += _of_masks(path, layer, values) if masked else ()
    return found


def _of_rows(rows: int, batch_size: int | None) -> Iterator[BlindSpot]:
    """Yield what few rows hide, in batches of a size that the model may fix."""
    batch = batch_size or PREDICT_BATCH_ROWS
    if rows == 1:
        yield BlindSpot(
            "",
            "one row only: rows mixed up in a batch cannot show",
            frozenset({Need.SEVERAL_ROWS, Need.SEVERAL_BATCHES}),
            "give several rows",
        )
    elif rows <= batch:
        yield BlindSpot(
            "",
            f"{rows} rows are one batch: states carried from a batch to the next "
            "cannot show",
            frozenset({Need.SEVERAL_BATCHES}),
            f"give more than {batch} rows",
            warns=False,
        )


def _of_training_calls(model: LayerSpec) -> Iterator[BlindSpot]:
    """Yield calls that the graph makes with training=True, which predict overrides."""
    for node in model.graph.nodes if model.graph is not None else ():
        layer = model.sublayers[node.layer]
        if node.kwargs.get("training") is True:
            yield BlindSpot(
                node.layer,
                f"{layer} is called with training=True: predict computes it with "
                "training=False, and so does this check; model(x) does not",
            )
        yield from _of_training_calls(layer)


def _paths_with_states(spec: ModelSpec, rows: int) -> frozenset[str]:
    """Return the paths of layers that do not begin every row with states of zeros.

    Their graph gives them states, or they are stateful and there are several batches,
    or they are cells, which are always given states.
    """
    found = set(_paths_given_states(spec.root))
    forgets = Rule.PREDICT_FORGETS_STATES in spec.root.rules
    batches = rows > (spec.batch_size or 1) and not forgets
    for path, layer in spec.walk():
        outer = path.rpartition("/")[0]
        if outer in found or (batches and layer.options.get("stateful")):
            found.add(path)
    return frozenset(found)


def _paths_given_states(model: LayerSpec, path: str = "") -> Iterator[str]:
    """Yield the path of every layer that a graph calls with states."""
    for node in model.graph.nodes if model.graph is not None else ():
        layer = model.sublayers[node.layer]
        here = f"{path}/{node.layer}" if path else node.layer
        named = REGISTRY[layer.class_name].by_name(node.args, node.kwargs)
        if named.keys() & {"initial_state", "states"}:
            yield here
        yield from _paths_given_states(layer, here)


def _of_lost_masks(
    net: Network, x: Inputs, trace: Mapping[str, LayerTrace], rows: int
) -> Iterator[BlindSpot]:
    """Yield layers that compute padding, because they see no mask of it.

    Where there are more rows than `x`, padding may be among the others: then the layers
    are looked for on padding alone.
    """
    found = list(lost_masks(net.spec.root, trace))
    for lost in found:
        far = lost.effect(net, x)
        apart = f"; with the mask the outputs would be up to {far:.2g} apart"
        yield BlindSpot(
            lost.path,
            f"{lost.layer}: there is padding ({lost.where}), and it {lost.fate}: "
            f"{lost.reason}{apart if far else ''}",
            frozenset({Need.MASKED_STEPS, Need.MASKED_STEPS_BEFORE_OTHERS}),
            lost.remedy,
        )
    padding = padding_alone(net.spec) if rows > x.rows and not found else None
    if padding is not None:
        for lost in lost_masks(net.spec.root, net.trace(padding)):
            yield BlindSpot(
                lost.path,
                f"{lost.layer}: padding, of which the {x.rows:,} rows looked at have "
                f"none, {lost.fate}: {lost.reason}",
                frozenset({Need.MASKED_STEPS, Need.MASKED_STEPS_BEFORE_OTHERS}),
                lost.remedy,
            )


def _of_steps(
    path: str, layer: LayerSpec, values: LayerTrace, given: bool
) -> Iterator[BlindSpot]:
    """Yield what a single step hides; less if it begins with `given` states."""
    first = flatten(values.input)[0]  # (batch, time, ...), of a cell (batch, features)
    if layer.class_name in CELL_CLASSES or first.shape[1] > 1:
        return
    idle = "the recurrent kernel plays"
    if "f" in layer.gates:
        idle = "the recurrent kernel and the forget gate play"
    yield BlindSpot(
        path,
        f"{layer}: one time step" + ("" if given else f", so {idle} no part"),
        frozenset({Need.SEVERAL_STEPS}),
        "give sequences of three steps or more",
        warns=not given,
    )


def _of_gates(path: str, layer: LayerSpec, values: LayerTrace) -> Iterator[BlindSpot]:
    """Yield what one unit or saturated gates hide."""
    if layer.options.get("units") == 1:
        yield BlindSpot(
            path,
            f"{layer}: one unit, so transposed or interleaved kernels cannot show",
            frozenset({Need.SEVERAL_UNITS}),
            "try the same code on a model of several units",
        )
    for gate in SIGMOID_GATES:
        if gate in values.values:
            g = values[gate]
            distance = np.minimum(np.abs(g), np.abs(1 - g))
            share = np.mean(distance < SATURATION_DISTANCE)
            if share > MOST_SHARE:
                yield BlindSpot(
                    path,
                    f"{layer}: gate {gate} is saturated at 0 or 1 in {share:.0%} "
                    "of the steps, so mistakes inside it hardly show",
                    frozenset({Need.OPEN_GATES, Need.OPEN_OWN_GATE}),
                    "give smaller inputs",
                    gate=gate,
                )


def _of_masks(path: str, layer: LayerSpec, values: LayerTrace) -> Iterator[BlindSpot]:
    """Yield what masks hide that mask no step, every step, or only steps at the end."""
    masks = [mask for mask in flatten(values.mask) if isinstance(mask, np.ndarray)]
    if not masks:
        yield BlindSpot(
            path,
            f"{layer}: no mask reaches it",
            frozenset({Need.MASKED_STEPS, Need.MASKED_STEPS_BEFORE_OTHERS}),
            "give a mask to the layer, if it should have one",
            warns=False,
        )
        return
    if masks[0].ndim != 2:
        yield from _of_mask_of_units(path, layer, masks[0])
        return
    mask = masks[0].astype(bool)  # (batch, time)
    if mask.all():
        yield BlindSpot(
            path,
            f"{layer}: its mask is never false",
            frozenset({Need.MASKED_STEPS}),
            "give rows with padding",
            warns=False,
        )
    elif not mask.any():
        yield BlindSpot(
            path,
            f"{layer}: its mask is false at every step of every row, so that no step "
            "was computed, and no mistake in it can show",
            frozenset(Need),
            "give rows with steps that are not padding",
        )
    elif np.array_equal(mask, np.logical_and.accumulate(mask, axis=1)):
        yield BlindSpot(
            path,
            f"{layer}: its mask is false on the right alone",
            frozenset({Need.MASKED_STEPS_BEFORE_OTHERS}),
            "give rows with padding on the left, or with holes",
            warns=False,
        )


def _of_mask_of_units(path: str, layer: LayerSpec, mask: Array) -> Iterator[BlindSpot]:
    """Yield that a mask, (batch, time, ...), says more than which steps are padding."""
    if mask.ndim != 3 or mask.shape[2] == 1 or "kernel_size" in layer.options:
        return
    shape = ", ".join(map(str, mask.shape[1:]))
    held = (
        "Keras takes the last axis for the units: where the k-th of a step's numbers "
    )
    held += "was padding, unit k is held"
    if mask_of_steps(layer, mask).ndim == 2:
        held = "A step is held where it is false throughout; on TensorFlow its last "
        held += "axis is taken for the units, and each is held or not"
    yield BlindSpot(
        path,
        f"{layer}: the mask that reaches it is (batch, {shape}). {held}. Behind a "
        "TimeDistributed, which hands on the mask of the words, give the call one of "
        "the sentences, (batch, time)",
    )


def _of_masking(layer: LayerSpec, x: Array) -> Iterator[BlindSpot]:
    """Yield a Masking that finds no step to mask in its inputs, (batch, time, ...)."""
    if np.all(REGISTRY["Masking"].compute_mask(layer, x, None)):
        yield BlindSpot(
            "",
            f"{layer}: no step is masked",
            frozenset({Need.MASKED_STEPS}),
            f"give rows with padding, steps of {layer.options['mask_value']:g} alone",
            warns=False,
        )


def _of_zero_biases(path: str, layer: LayerSpec) -> Iterator[BlindSpot]:
    """Yield blocks of a bias that are zero, as they are before training."""
    bias = layer.weights.get("bias")
    if bias is None:
        return
    for k, row in enumerate(np.atleast_2d(bias)):
        which = f"row {k} of the bias" if bias.ndim > 1 else "the bias"
        blocks = np.split(row, max(len(layer.gates), 1))  # (units,) each
        names = layer.gates or ("",)
        zero = [g for g, b in zip(names, blocks, strict=True) if not b.any()]
        if not zero:
            continue
        if len(layer.gates) > 1:
            which += f" of {'gates' if len(zero) > 1 else 'gate'} {join_and(zero)}"
        yield BlindSpot(
            path,
            f"{layer}: {which} is zero (untrained?), so a missing bias cannot show",
            frozenset({Need.BIAS}),
            "train the model, or give its biases random numbers",
        )


def _of_categories(
    path: str, layer: LayerSpec, values: LayerTrace
) -> Iterator[BlindSpot]:
    """Yield what the numbers of bins and the tokens of a vocabulary hide."""
    if layer.class_name == "Discretization":
        x = flatten(values.input)[0]
        edges = np.asarray(layer.options["bin_boundaries"])
        if not np.isin(x, np.concatenate([edges, edges.astype(np.float32)])).any():
            yield BlindSpot(
                path,
                f"{layer}: no number is one of its boundaries",
                frozenset({Need.NUMBERS_AT_BOUNDARIES}),
                "give numbers that equal a boundary of bins",
                warns=False,
            )
    if layer.class_name in LOOKUPS and not layer.options.get("invert"):
        special, unknown = LOOKUPS[layer.class_name].special(layer.options)
        y, first = flatten(values.output)[0], len(special) - unknown
        whole = layer.options["output_mode"] == "int"
        seen = (y >= first) & (y < len(special)) if whole else y[..., :unknown] != 0
        if not seen.any():
            yield BlindSpot(
                path,
                f"{layer}: every token is in its vocabulary",
                frozenset({Need.UNKNOWN_TOKENS}),
                "give tokens that are not in the vocabulary",
                warns=False,
            )


def _holds_steps(values: LayerTrace) -> bool:
    """Return whether a layer is given a mask that is false at some steps."""
    masks = [mask for mask in flatten(values.mask) if isinstance(mask, np.ndarray)]
    return any(not mask.all() for mask in masks)


def _compares(spec: ModelSpec) -> bool:
    """Return whether a model compares numbers, as one does that makes its own masks."""
    return any(layer.class_name in COMPARISONS for _, layer in spec.walk())


def _padding(ids: Array) -> float:
    """Return the share of ids, (batch, ..., time), that are 0 at an end of a row."""
    rows = ids.reshape(-1, ids.shape[-1]) != 0
    after = np.logical_or.accumulate(rows[:, ::-1], axis=1)[:, ::-1]
    inside = np.logical_or.accumulate(rows, axis=1) & after
    return float(np.mean(~inside))


def _of_ids(
    path: str, layer: LayerSpec, ids: Array, some_held: bool
) -> Iterator[BlindSpot]:
    """Yield what the ids of an Embedding hide, and ids Keras mends.

    Parameters
    ----------
    path : str
    layer : LayerSpec
    ids : (batch, ...)
    some_held : bool
        Whether any layer is given a mask that is false at some steps, or the model
        makes masks of its own; they may come of these ids.
    """
    zeros = float(np.mean(ids == 0))
    masked = bool(layer.options["mask_zero"])
    if masked and zeros == 0:
        yield BlindSpot(
            "",
            f"{layer}: no id is 0, so the mask is never false and not tested",
            frozenset({Need.MASKED_STEPS, Need.ID_ZERO}),
            "give rows with padding, ids of 0",
        )
    if not masked and zeros == 0:
        yield BlindSpot(
            path,
            f"{layer}: no id is 0",
            frozenset({Need.ID_ZERO}),
            "give ids of 0",
            warns=False,
        )
    padding = _padding(ids) if ids.ndim > 1 and ids.shape[-1] > 1 else 0.0
    if not masked and padding > MOST_SHARE and not some_held:
        yield BlindSpot(
            path,
            f"{layer}: {padding:.0%} of the ids are 0 and nothing masks them "
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
