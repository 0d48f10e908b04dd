"""On failure: which known mistake makes the difference vanish?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.compare import Comparison, compare, most_different
from verify.mutants import Mutant, catalogue
from verify.network import Network
from verify.rounding import Rounding
from verify.spec import Array, DataError, ModelSpec

MAX_ROWS = 64
"""Rows a diagnosis looks at: enough to tell mistakes apart, few enough for seconds."""

NEAR = 1e-3
"""Outputs farther from a mistake's than this share are not its rounding."""


@dataclass(frozen=True)
class Explanation:
    """A mistake that explains the outputs."""

    mistake: str
    layer: str
    explanation: str
    remedy: str
    max_diff: float


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
    x: Array,
    observed: Array,
    *,
    allowed: float | Array,
    layer: str | None = None,
) -> Diagnosis:
    """Search the catalogue for what explains `observed`.

    Parameters
    ----------
    spec : ModelSpec
        The model as Keras has it.
    x : (batch, ...)
        Prepared inputs of the whole model.
    observed : (batch, ...)
        What came out instead, of `layer` or of the whole model.
    allowed : float, or one number for each unit
        Greatest difference that counts as explained.
    layer : str, optional
        Name of the first layer that differs. Mistakes are then sought in it, and in
        the masks that reach it. By default in every layer, from final outputs alone.
    """
    rows = _telling_rows(spec, x, observed, layer)
    x, observed = x[rows], observed[rows]
    found = []
    tried = 0
    for mutant in catalogue(spec):
        if layer not in (None, mutant.layer) and mutant.name != "mask ignored":
            continue
        tried += 1
        result = _explains(mutant, x, observed, allowed, layer)
        if result is not None and result.matches:
            found.append(
                Explanation(
                    mutant.name,
                    mutant.layer,
                    mutant.explanation,
                    mutant.remedy,
                    result.max_diff,
                )
            )
    return Diagnosis(tuple(found), tried)


def _explains(
    mutant: Mutant,
    x: Array,
    observed: Array,
    allowed: float | Array,
    layer: str | None,
) -> Comparison | None:
    """How the mistaken model compares with what was observed.

    A mistake may amplify rounding more than the model itself does, so outputs that come
    near are also measured against the mistaken model's own noise floor.
    """
    outputs = _outputs(mutant.model, x, layer)
    if outputs is None:
        return None
    result = compare(outputs, observed, allowed=allowed)
    scale = float(np.max(np.abs(outputs), initial=1.0))
    if layer is None and not result.matches and result.max_diff < NEAR * scale:
        floor = Rounding(Network(mutant.model)).floor(x, outputs, native=False)
        if floor.decides:
            wider = np.maximum(allowed, floor.value)
            return compare(outputs, observed, allowed=wider)
    return result


def _outputs(spec: ModelSpec, x: Array, layer: str | None) -> Array | None:
    """What a mistaken model computes; None if the mistake makes it incomputable."""
    with np.errstate(all="ignore"):
        try:
            if layer is None:
                return Network(spec).predict(x, dtype="float64")
            return Network(spec).trace(x, dtype="float64")[layer].output
        except (DataError, ValueError):
            return None


def _telling_rows(
    spec: ModelSpec, x: Array, observed: Array, layer: str | None
) -> Array:
    """The rows that differ most, plus some that agree: both must be explained."""
    if len(x) <= MAX_ROWS:
        return np.arange(len(x))
    ours = _outputs(spec, x, layer)
    if ours is None or ours.shape != observed.shape:
        return np.arange(MAX_ROWS)
    order = most_different(ours, observed)
    few = MAX_ROWS // 4
    return np.sort(np.concatenate([order[: MAX_ROWS - few], order[-few:]]))
