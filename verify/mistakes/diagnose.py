"""On failure: which known mistake makes the difference vanish?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeGuard

import numpy as np

from verify.forward.network import Inputs, LayerCall, Network
from verify.mistakes.catalogue import (
    MASK_IGNORED,
    Attempts,
    Mutant,
    catalogue,
    gate_of,
    other_backends,
    pairs,
)
from verify.mistakes.explanation import Diagnosis, Explanation, digits_of
from verify.mistakes.single_weight import WeightFit, find_single_weight
from verify.model.arrays import Array
from verify.model.graph import flatten
from verify.model.spec import ModelSpec
from verify.tolerance.compare import compare_all, most_different
from verify.tolerance.noise_floor import Rounding

MAX_DIAGNOSIS_ROWS = 64
"""Rows that are evaluated: enough to tell mistakes apart, few enough for seconds."""

PAIR_ROWS, MAX_PAIR_SECONDS = 8, 20.0
"""Rows on which two mistakes at a time are tried first, and time for all pairs."""

NEAR_SHARE = 1e-3
"""Beyond this share of the greatest output, a difference from a mutant cannot be
rounding, so the mutant's noise floor is not measured."""


def diagnose(
    spec: ModelSpec,
    x: Inputs | LayerCall,
    observed: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
    layer: str | None = None,
) -> Diagnosis:
    """Search the catalogue for what explains `observed`.

    If no mistake in it does, search for a single number of the weights that does, and
    then for two mistakes at a time.

    Parameters
    ----------
    spec : ModelSpec
        The model as Keras has it.
    x : Inputs, or LayerCall
        Prepared inputs of the whole model, or a call of `layer` alone.
    observed : list of (batch, ...)
        What came out instead, of `layer` or of the whole model.
    allowed : list of float, or of (units,)
        Greatest difference that counts as explained, for each output.
    layer : str, optional
        The first call of a layer that differs, as a trace names it. Mistakes are then
        sought in that layer and in the masks that reach it. By default they are sought
        in every layer, from final outputs alone.
    """
    attempts = Attempts()
    case = _Case(x, observed, allowed, layer, attempts)
    case = case.take(_informative_rows(spec, case))
    others = other_backends(spec) if layer is None else ()
    single = catalogue(spec, attempts=attempts)
    mutants = [m for m in chain(others, single) if case.concerns(m)]
    found = [e for m in mutants if (e := case.explanation(m)) is not None]
    tried = len(mutants)
    if not found and layer is None and isinstance(case.x, Inputs):
        fits = find_single_weight(spec, case.x, case.observed, allowed=allowed)
        found = [_weight_explanation(spec, fit, case.observed) for fit in fits]
    if not found:
        found, more = _explain_by_pairs(spec, case)
        tried += more
    return Diagnosis(tuple(found), tried, tuple(attempts.untried.values()))


@dataclass(frozen=True, eq=False)
class _Case:
    """Hold what is to be explained; the fields are the parameters of `diagnose`.

    `attempts` gets the mutants that cannot be evaluated.
    """

    x: Inputs | LayerCall
    observed: Sequence[Array]
    allowed: Sequence[float | Array]
    layer: str | None
    attempts: Attempts

    def take(self, rows: Any) -> _Case:
        """Return the same for some rows."""
        return replace(
            self, x=self.x.take(rows), observed=[y[rows] for y in self.observed]
        )

    def concerns(self, mutant: Mutant) -> bool:
        """Say whether a mistake is in the layer to explain, or masks carry it there."""
        if self.layer is None or mutant.name == MASK_IGNORED:
            return True
        path = self.layer.partition(":")[0]
        return f"{mutant.layer}/".startswith(f"{path}/")

    def outputs(
        self, spec: ModelSpec, mistake: str = "", layer: str = ""
    ) -> list[Array] | None:
        """Return what a model computes; None if its mistake makes that impossible."""

        def compute() -> list[Array]:
            if self.layer is None or isinstance(self.x, LayerCall):
                return self.x.evaluate(Network(spec), "float64")
            trace = Network(spec).trace(self.x, dtype="float64")
            return flatten(trace[self.layer].output)

        with np.errstate(all="ignore"):
            return self.attempts.result(mistake, layer, compute)

    def fits(self, outputs: Sequence[Array] | None) -> TypeGuard[Sequence[Array]]:
        """Say whether there are outputs, shaped like the observed ones."""
        shapes = [y.shape for y in self.observed]
        return outputs is not None and [y.shape for y in outputs] == shapes

    def explanation(self, mutant: Mutant) -> Explanation | None:
        """Return how a mutant explains what was observed; None if it does not.

        A mistake may amplify rounding more than the model itself does, so outputs that
        come near are also measured against the mutant's own noise floor.
        """
        outputs = self.outputs(mutant.model, mutant.name, mutant.layer)
        if not self.fits(outputs):
            return None
        result = compare_all(outputs, self.observed, allowed=self.allowed)
        scale = max(float(np.max(np.abs(y), initial=1.0)) for y in outputs)
        near = not result.matches and result.max_diff < NEAR_SHARE * scale
        if near and self.layer is None and isinstance(self.x, Inputs):
            rounding = Rounding(Network(mutant.model))
            noise_floors = rounding.noise_floors(self.x, outputs, native=False)
            if all(floor.decides for floor in noise_floors):
                wider = [
                    np.maximum(own, floor.atol)
                    for own, floor in zip(self.allowed, noise_floors, strict=True)
                ]
                result = compare_all(outputs, self.observed, allowed=wider)
        if not result.matches:
            return None
        return Explanation(
            mutant.name,
            mutant.layer,
            mutant.explanation,
            mutant.remedy,
            result.max_diff,
            digits_of(result, self.observed),
            mutant.gate,
        )


def _explain_by_pairs(spec: ModelSpec, case: _Case) -> tuple[list[Explanation], int]:
    """Try two common mistakes at a time, on a few rows first, while there is time.

    Returns
    -------
    explanations : list of Explanation
        The first pair that explains, or none.
    tried : int
        Pairs that were evaluated.
    """
    fixed = spec.batch_size is not None
    few = slice(None) if fixed else slice(0, None, max(1, case.x.rows // PAIR_ROWS))
    small = case.take(few)
    began, tried = time.monotonic(), 0
    for mutant in pairs(spec):
        if not case.concerns(mutant):
            continue
        if time.monotonic() - began > MAX_PAIR_SECONDS:
            break
        tried += 1
        if small.explanation(mutant) is not None:
            found = case.explanation(mutant)
            if found is not None:
                return [found], tried
    return [], tried


def _weight_explanation(
    spec: ModelSpec, fit: WeightFit, observed: Sequence[Array]
) -> Explanation:
    """Return the explanation that a single number of the weights is another."""
    place = f"{fit.weight}[{', '.join(map(str, fit.place))}]"
    layer = spec[fit.path]
    gate, units = gate_of(layer, fit.place[-1]), layer.options.get("units", 0)
    unit = f"unit {fit.place[-1] % units}" if units else ""
    where = f"gate {gate} of {unit}" if gate else unit
    where = f" ({where})" if where else ""
    return Explanation(
        f"{place} another number",
        fit.path,
        f"{place}{where} seems to be {fit.value:.6g}; it is {fit.original:.6g}",
        "copy the weights again, and compare their checksums",
        fit.comparison.max_diff,
        digits_of(fit.comparison, observed),
        gate,
    )


def _informative_rows(spec: ModelSpec, case: _Case) -> Array:
    """Return the rows that differ most, and some that agree: both must be explained.

    Returns
    -------
    (rows,) of int
        All rows if the batch size is fixed, because its rows belong together.
    """
    if case.x.rows <= MAX_DIAGNOSIS_ROWS or spec.batch_size is not None:
        return np.arange(case.x.rows)
    ours = replace(case, attempts=Attempts()).outputs(spec)
    if not case.fits(ours):
        return np.arange(MAX_DIAGNOSIS_ROWS)
    order = most_different(ours, case.observed)
    few = MAX_DIAGNOSIS_ROWS // 4
    return np.sort(np.concatenate([order[: MAX_DIAGNOSIS_ROWS - few], order[-few:]]))
