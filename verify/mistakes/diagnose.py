"""On failure: which known mistake makes the difference vanish?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from verify.errors import DataError
from verify.forward.network import Inputs, LayerCall, Network
from verify.mistakes.catalogue import (
    MASK_IGNORED,
    Mutant,
    catalogue,
    elsewhere,
    gate_of,
    pairs,
)
from verify.mistakes.single_weight import WeightFit, find_single_weight
from verify.model.arrays import Array
from verify.model.graph import flatten
from verify.model.spec import ModelSpec
from verify.tolerance.compare import Comparison, compare_all, most_different
from verify.tolerance.noise_floor import Rounding

MAX_DIAGNOSIS_ROWS = 64
"""Rows a diagnosis looks at: enough to tell mistakes apart, few enough for seconds."""

PAIR_ROWS, MAX_PAIR_SECONDS = 8, 20.0
"""Two mistakes at a time are tried on so many rows first, and for so long in all."""

NEAR_SHARE = 1e-3
"""Outputs farther from a mistake's than this share are not its rounding."""


@dataclass(frozen=True)
class Explanation:
    """A mistake that explains the outputs, or two that do together.

    Attributes
    ----------
    mistake : str
        Its name in the catalogue; two are joined by a semicolon.
    layer : str
        Path of the layer it is made in; empty for the whole model.
    explanation, remedy : str
        What was done instead of what Keras does, and how to mend it.
    max_diff : float
        How far the outputs are from those of the mistaken model.
    digits : int
        To how many digits of the greatest output they agree with it.
    gate : str
        The gate that it is made in, where it is one alone.
    """

    mistake: str
    layer: str
    explanation: str
    remedy: str
    max_diff: float
    digits: int = 0
    gate: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Every mistake of the catalogue that explains the outputs, in its order.

    More than one means that these data cannot tell them apart.
    """

    explanations: tuple[Explanation, ...]
    tried: int

    def __bool__(self) -> bool:
        return bool(self.explanations)


def diagnose(
    spec: ModelSpec,
    x: Inputs | LayerCall,
    observed: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
    layer: str | None = None,
) -> Diagnosis:
    """Search the catalogue for what explains `observed`.

    If nothing in it does, one number of the weights is sought that would, and then two
    mistakes at a time.

    Parameters
    ----------
    spec : ModelSpec
        The model as Keras has it.
    x : Inputs, or LayerCall
        Prepared inputs of the whole model, or of `layer` alone.
    observed : list of (batch, ...)
        What came out instead, of `layer` or of the whole model.
    allowed : list of float, or of one number for each unit
        Greatest difference that counts as explained, for each output.
    layer : str, optional
        The first call of a layer that differs, as a trace names it. Mistakes are then
        sought in it, and in the masks that reach it. By default in every layer, from
        final outputs alone.
    """
    rows = _informative_rows(spec, x, observed, layer)
    x, observed = x.take(rows), [y[rows] for y in observed]
    where = None if layer is None else layer.partition(":")[0]

    def inside(mutant: Mutant) -> bool:
        within = where is None or f"{mutant.layer}/".startswith(f"{where}/")
        return within or mutant.name == MASK_IGNORED

    others = elsewhere(spec) if layer is None else ()
    singles = [m for m in chain(others, catalogue(spec)) if inside(m)]
    found = [
        _explanation(mutant, result, observed)
        for mutant in singles
        if (result := _explains(mutant, x, observed, allowed, layer)) is not None
        and result.matches
    ]
    tried = len(singles)
    if not found and layer is None and isinstance(x, Inputs):
        fits = find_single_weight(spec, x, observed, allowed=allowed)
        found = [_weight_explanation(spec, fit, observed) for fit in fits]
    if not found:
        found, more = _in_pairs(spec, x, observed, allowed, layer, inside)
        tried += more
    return Diagnosis(tuple(found), tried)


def _in_pairs(
    spec: ModelSpec,
    x: Inputs | LayerCall,
    observed: Sequence[Array],
    allowed: Sequence[float | Array],
    layer: str | None,
    inside: Callable[[Mutant], bool],
) -> tuple[list[Explanation], int]:
    """Two common mistakes at a time, on a few rows first, for so many seconds."""
    fixed = spec.batch_size is not None
    few = slice(None) if fixed else slice(0, None, max(1, x.rows // PAIR_ROWS))
    some, seen = x.take(few), [y[few] for y in observed]
    began, tried = time.monotonic(), 0
    for mutant in pairs(spec):
        if not inside(mutant):
            continue
        if time.monotonic() - began > MAX_PAIR_SECONDS:
            break
        tried += 1
        quick = _explains(mutant, some, seen, allowed, layer)
        if quick is not None and quick.matches:
            result = _explains(mutant, x, observed, allowed, layer)
            if result is not None and result.matches:
                return [_explanation(mutant, result, observed)], tried
    return [], tried


def _weight_explanation(
    spec: ModelSpec, fit: WeightFit, observed: Sequence[Array]
) -> Explanation:
    """The explanation by one number of the weights that is another."""
    place = f"{fit.weight}[{', '.join(map(str, fit.place))}]"
    layer = spec[fit.path]
    gate, units = gate_of(layer, fit.place[-1]), layer.options.get("units", 0)
    unit = f"unit {fit.place[-1] % units}" if units else ""
    where = f"gate {gate} of {unit}" if gate else unit
    where = f" ({where})" if where else ""
    return Explanation(
        f"{place} another number",
        fit.path,
        f"{place}{where} seems to be {fit.value:.6g}; it is {fit.instead:.6g}",
        "copy the weights again, and compare their checksums",
        fit.comparison.max_diff,
        _digits(fit.comparison, observed),
        gate,
    )


def _explanation(
    mutant: Mutant, result: Comparison, observed: Sequence[Array]
) -> Explanation:
    return Explanation(
        mutant.name,
        mutant.layer,
        mutant.explanation,
        mutant.remedy,
        result.max_diff,
        _digits(result, observed),
        mutant.gate,
    )


def _digits(result: Comparison, observed: Sequence[Array]) -> int:
    """To how many digits of the greatest output they agree."""
    scale = max(float(np.max(np.abs(y), initial=0.0)) for y in observed)
    ratio = result.max_diff / scale if scale else 0.0
    return min(16, math.floor(-math.log10(ratio))) if ratio else 16


def _explains(
    mutant: Mutant,
    x: Inputs | LayerCall,
    observed: Sequence[Array],
    allowed: Sequence[float | Array],
    layer: str | None,
) -> Comparison | None:
    """How the mistaken model compares with what was observed.

    A mistake may amplify rounding more than the model itself does, so outputs that come
    near are also measured against the mistaken model's own noise floor.
    """
    outputs = _outputs(mutant.model, x, layer)
    if outputs is None or [y.shape for y in outputs] != [y.shape for y in observed]:
        return None
    result = compare_all(outputs, observed, allowed=allowed)
    scale = max(float(np.max(np.abs(y), initial=1.0)) for y in outputs)
    near = not result.matches and result.max_diff < NEAR_SHARE * scale
    if near and layer is None and isinstance(x, Inputs):
        rounding = Rounding(Network(mutant.model))
        noise_floors = rounding.noise_floors(x, outputs, native=False)
        if all(floor.decides for floor in noise_floors):
            wider = [
                np.maximum(own, floor.atol)
                for own, floor in zip(allowed, noise_floors, strict=True)
            ]
            return compare_all(outputs, observed, allowed=wider)
    return result


def _outputs(
    spec: ModelSpec, x: Inputs | LayerCall, layer: str | None
) -> list[Array] | None:
    """What a mistaken model computes; None if the mistake makes it incomputable."""
    with np.errstate(all="ignore"):
        try:
            if layer is None or isinstance(x, LayerCall):
                return x.evaluate(Network(spec), "float64")
            return flatten(Network(spec).trace(x, dtype="float64")[layer].output)
        except (DataError, ValueError, KeyError):
            return None


def _informative_rows(
    spec: ModelSpec, x: Inputs | LayerCall, observed: Sequence[Array], layer: str | None
) -> Array:
    """The rows that differ most, plus some that agree: both must be explained.

    Every row of a model with a fixed batch size: its rows go together.
    """
    if x.rows <= MAX_DIAGNOSIS_ROWS or spec.batch_size is not None:
        return np.arange(x.rows)
    ours = _outputs(spec, x, layer)
    if ours is None or [y.shape for y in ours] != [y.shape for y in observed]:
        return np.arange(MAX_DIAGNOSIS_ROWS)
    order = most_different(ours, observed)
    few = MAX_DIAGNOSIS_ROWS // 4
    return np.sort(np.concatenate([order[: MAX_DIAGNOSIS_ROWS - few], order[-few:]]))
