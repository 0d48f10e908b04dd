"""Say of each weight of a file whether it is the model's, or what was done to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from verify.errors import VerifyError, join_and, printable
from verify.mistakes.catalogue.mistake import Mistake
from verify.mistakes.catalogue.weights import MUTATION_OPERATORS
from verify.model.arrays import Array
from verify.model.spec import LayerSpec
from verify.ports.weight_files.matching import Leaf, Matched, Matching

ROUNDING: tuple[tuple[str, float, float], ...] = (
    ("", 2.5e-7, 1e-7),
    ("float16", 2.0**-10.9, 6e-8),
    ("bfloat16", 2.0**-8.9, 1e-38),
)
"""Precision, and how far rounding to it moves a number: relatively, and as a share of
the greatest number, since 1 is added to biases and rows of them are summed."""

EQUAL, ROUNDED, CHANGED, OTHER = "equal", "rounded", "changed", "different"


@dataclass(frozen=True)
class WeightFinding:
    """Hold what one weight of a file is.

    Attributes
    ----------
    layer, weight : str
        Path of the layer, and Keras's name of the weight.
    where : str
        What the arrays of the layer are called in the file.
    state : str
        ``"equal"``; ``"rounded"`` to 16 bits; ``"changed"``: the model's numbers,
        handled in a way that is known; or ``"different"``.
    sentence : str
    """

    layer: str
    weight: str
    where: str
    state: str
    sentence: str


def findings(matching: Matching) -> list[WeightFinding]:
    """Return what each weight of the model is in the file."""
    return [found for one in matching.matched for found in _of_layer(one, matching)]


def sentences(matching: Matching, found: Sequence[WeightFinding]) -> list[str]:
    """Return sentences on all weights: those that are equal together, others each."""
    equal = [x for x in found if x.state == EQUAL]
    said = [f"{len(equal)} of {len(found)} weights are equal to the model's"]
    said += [x.sentence for x in found if x.state != EQUAL]
    said += [one.doubt for one in matching.matched if one.doubt]
    if matching.left_over:
        shown = [f"'{printable(key, 60)}'" for key in matching.left_over[:8]]
        more = len(matching.left_over) - len(shown)
        rest = f" and {more} more" if more else ""
        said.append(f"arrays that no layer uses: {join_and(shown)}{rest}")
    return said


def _of_layer(one: Matched, matching: Matching) -> Iterator[WeightFinding]:
    ours, theirs = one.leaf.layer, one.group.found
    where = one.group.label or "no prefix"
    states = {key: _equal(ours, theirs, key) for key in ours.weights}
    wrong = [key for key, state in states.items() if state is None]
    explained = _explained(ours, theirs, wrong) if wrong else {}
    elsewhere = _whose(one.leaf, theirs, matching) if wrong and not explained else ""
    for key, state in states.items():
        start = f"Layer '{printable(one.leaf.path)}': {key} of '{printable(where, 60)}'"
        if state == "":
            kind, text = EQUAL, f"{start} is equal"
        elif state is not None:
            kind, text = ROUNDED, f"{start} is rounded to {state}"
        elif key in explained:
            kind, text = CHANGED, f"{start}: {explained[key].explanation}"
        else:
            kind = OTHER
            text = (
                f"{start} differs: {_greatest(ours.weights[key], theirs.weights[key])}"
            )
            text += f"; {elsewhere}" if elsewhere else ""
        yield WeightFinding(one.leaf.path, key, where, kind, text)


def _equal(ours: LayerSpec, theirs: LayerSpec, key: str) -> str | None:
    """Return the precision to which a weight is equal, ``""`` for float32, or None."""
    a, b = ours.weights[key], theirs.weights[key]
    if precision := _rounding(a, b):
        return precision
    if _rounding(a, b) is None and a.ndim == 2 and key == "bias":
        # a GRU whose framework has both rows of z and r in one
        return _rounding(_merged(ours), _merged(theirs))
    return _rounding(a, b)


def _rounding(a: Array, b: Array) -> str | None:
    a, b = a.astype(np.float64), b.astype(np.float64)
    if a.shape != b.shape:
        return None
    scale = float(np.abs(a).max(initial=0))
    for name, relative, share in ROUNDING:
        if (np.abs(a - b) <= relative * np.abs(a) + share * scale).all():
            return name
    return None


def _merged(layer: LayerSpec) -> Array:
    """Return the bias of a GRU with both rows of z and r in the first row."""
    bias = layer.weights["bias"].astype(np.float64)
    if bias.ndim != 2:
        return bias
    gates = 2 * (bias.shape[1] // 3)
    bias[0, :gates] += bias[1, :gates]
    bias[1, :gates] = 0
    return bias


def _explained(
    ours: LayerSpec, theirs: LayerSpec, wrong: Sequence[str]
) -> dict[str, Mistake]:
    """Return for each weight that differs the known mistake that makes it so.

    One mistake that explains all of them comes before one for each.
    """
    made = [
        (mistake, changed)
        for mistake in _mistakes(ours)
        if (changed := _changed(ours, mistake)) is not None
        and _touched(ours, changed) <= set(wrong)
    ]
    for mistake, changed in made:
        if all(_made(changed, theirs, ours, key) for key in wrong):
            return dict.fromkeys(wrong, mistake)
    found: dict[str, Mistake] = {}
    for key in wrong:
        for mistake, changed in made:
            if _made(changed, theirs, ours, key):
                found[key] = mistake
                break
    return found


def _touched(ours: LayerSpec, changed: LayerSpec) -> set[str]:
    """Return the weights that a mistake changes."""
    return {
        key
        for key, value in ours.weights.items()
        if not np.array_equal(changed.weights.get(key, 0), value)
    }


def _made(changed: LayerSpec, theirs: LayerSpec, ours: LayerSpec, key: str) -> bool:
    """Return whether a mistake makes this weight what the file has."""
    a, b = changed.weights.get(key), ours.weights[key]
    if a is None or a.shape != b.shape or np.array_equal(a, b):
        return False
    return _equal(changed, theirs, key) is not None


def _mistakes(layer: LayerSpec) -> Iterator[Mistake]:
    for operator in MUTATION_OPERATORS:
        yield from operator(layer)
    yield from _also(layer)


def _also(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield what goes wrong in conversions alone."""
    gates = layer.gates

    def of_gate(gate: str, keys: Sequence[str], change: str) -> LayerSpec:
        weights = {}
        for key in keys:
            blocks = np.split(layer.weights[key], len(gates), axis=-1)
            k = gates.index(gate)
            blocks[k] = -blocks[k] if change == "negated" else blocks[k] - 1
            weights[key] = np.concatenate(blocks, axis=-1)
        return layer.with_weights(**weights)

    if gates[:1] == ("z",):
        new = of_gate("z", list(layer.weights), "negated")
        yield Mistake(
            "update gate negated",
            "the block of the update gate z is negated, for a framework whose z is the "
            "share of the new state",
            "negate it only where z is the share of the new state",
            lambda _, new=new: new,  # type: ignore[misc]
        )
    if "f" in gates and "bias" in layer.weights:
        less = of_gate("f", ["bias"], "less")
        yield Mistake(
            "forget bias less 1",
            "1 is missing from the forget gate's bias; Keras stores it, other "
            "frameworks add it in the forward pass",
            "use the bias as it is stored",
            lambda _, less=less: less,  # type: ignore[misc]
        )


def _changed(layer: LayerSpec, mistake: Mistake) -> LayerSpec | None:
    """Return the layer with a mistake, if it is one of the weights alone."""
    try:
        changed = mistake.change(layer)
    except (VerifyError, ValueError, KeyError):
        return None
    return None if changed.overrides != layer.overrides else changed


def _whose(leaf: Leaf, theirs: LayerSpec, matching: Matching) -> str:
    """Say that these are the weights of another layer of the model, if they are."""
    for other in matching.matched:
        layer = other.leaf.layer
        shapes: Mapping[str, tuple[int, ...]] = {
            k: w.shape for k, w in layer.weights.items()
        }
        if other.leaf.path == leaf.path or shapes != {
            k: w.shape for k, w in theirs.weights.items()
        }:
            continue
        if all(_equal(layer, theirs, key) is not None for key in layer.weights):
            return f"these are the weights of '{printable(other.leaf.path)}'"
    return ""


def _greatest(ours: Array, theirs: Array) -> str:
    """Say where two weights differ most, and how many numbers differ."""
    apart = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    apart = np.where(np.isnan(apart), np.inf, apart)
    place = np.unravel_index(int(np.argmax(apart)), apart.shape)
    scale = float(np.abs(ours).max(initial=0))
    count = int((apart > 1e-6 * scale).sum())
    at = ", ".join(str(int(k)) for k in place)
    return (
        f"{count:,} of {ours.size:,} numbers, most at [{at}]: "
        f"{float(theirs[place]):.6g} in the file, {float(ours[place]):.6g} in the model"
    )
