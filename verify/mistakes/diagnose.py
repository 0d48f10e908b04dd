"""On failure: which known mistake makes the difference vanish?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from verify.console.progress import progress
from verify.errors import join_and
from verify.forward.evaluable import Inputs, LayerCall
from verify.forward.network import Network
from verify.forward.taps import Tapped
from verify.mistakes.catalogue import (
    Mutant,
    catalogue,
    gate_of,
    other_backends,
    other_versions,
    same_mistakes,
)
from verify.mistakes.catalogue.attempts import FAILURES
from verify.mistakes.catalogue.combined import (
    pairs,
    together,
    with_model,
    without_model,
)
from verify.mistakes.catalogue.inputs import hints, telling_ids, unknown_ids
from verify.mistakes.catalogue.mistake import Need
from verify.mistakes.changed import place_in
from verify.mistakes.explanation import (
    Diagnosis,
    Explanation,
    Nearest,
    digits_of_difference,
    explanation_of,
)
from verify.mistakes.presentation import likeliest_first, presentations
from verify.mistakes.presentation.near import near_presentations
from verify.mistakes.remainder import (
    OutputRounding,
    describe_remainder,
    rounding_on_top,
)
from verify.mistakes.search import (
    CONFIRMED_ROWS,
    EXPLAINED_REST,
    ROUNDED_REST,
    Case,
    Clock,
    Search,
    remaining,
)
from verify.mistakes.single_weight import WeightFit, find_single_weight
from verify.model.arrays import Array
from verify.model.graph import flatten
from verify.model.spec import ModelSpec
from verify.tolerance.compare import compare_each

DIAGNOSIS_SECONDS = 30.0
"""Seconds that a search takes at most, if it is not told otherwise."""

SECONDS_FOR_OTHERS = 5.0
"""Seconds, after a mistake was found that explains everything, in which others are
sought that these outputs cannot tell from it."""

DIFFERENCE_IS = "the difference is "
"""Begins the hint that describes the difference, which is the first."""

WEIGHT_SHARE = 0.4
"""Share of the time left in which a single wrong number is sought."""

SAME_PRECISION, FLOAT32_ROUNDING = 4.0, 2.4e-7
"""An explanation that leaves more than so many times what the best one leaves, and a
larger share of the greatest output than two units in the last place of float32, is a
worse one and not shown."""

NEAREST_SECONDS = 3.0
"""Seconds, after the search, in which what comes nearest is measured on more rows."""

MOST_ROWS_TRACED = 1024
"""Rows up to which masks are looked at to describe a difference."""

MOSTLY_EXPLAINED, MOST_ROWS = 0.9, 0.5
"""Shares of the difference, and of the rows that differ, from which on a mistake that
does not explain everything is worth showing."""


def diagnose(
    spec: ModelSpec,
    x: Inputs | LayerCall,
    observed: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
    layer: str | None = None,
    port: bool = False,
    leading: int | None = None,
    numbers: Array | None = None,
    seconds: float = DIAGNOSIS_SECONDS,
    show: bool = False,
    changed: Mutant | None = None,
) -> Diagnosis:
    """Search the catalogue for what explains `observed`.

    The likeliest comes first: right outputs presented in another way, the same mistake
    in all layers of a class, one mistake, the rules of another backend, a single wrong
    number of the weights, and two mistakes at a time. The search ends where something
    explains everything.

    Parameters
    ----------
    spec : ModelSpec
        The model as Keras has it.
    x : Inputs, or LayerCall
        Prepared inputs of the whole model, or a call of `layer` alone. With `Tapped`
        inputs values inside the model are explained.
    observed : list of (batch, ...)
        What came out instead, of `layer`, of the whole model or of the taps.
    allowed : list of float, or of (units,)
        Greatest difference that counts as explained, for each output.
    layer : str, optional
        The first call of a layer that differs, as a trace names it. Mistakes are then
        sought in that layer and in the masks that reach it. By default they are sought
        in every layer, from final outputs alone.
    port : bool
        Whether a port computed the outputs, and may have presented them in another
        way; see `verify.mistakes.presentation`.
    leading : int, optional
        How many of the rows are the first rows of the data, all by default. Mistakes
        that carry something from row to row are sought in these.
    numbers : (batch,) of int, optional
        Numbers of the rows in the data, by default 0, 1, ...
    seconds : float
        How long the search may take.
    show : bool
        Whether to show on stderr how far it is.
    changed : Mutant, optional
        What is known to have been changed in the model, in case that no mistake of the
        catalogue says it better; see `verify.mistakes.changed`.
    """
    clock = Clock(seconds)
    case = Case(x, observed, allowed, layer).with_ours(spec)
    if numbers is None:
        numbers = np.arange(x.rows)
    leading = x.rows if leading is None else leading
    if (rows := _telling(spec, case)) is not None:
        case, numbers = case.take(rows), numbers[rows]
        # those before the first that is left out follow one another
        leading = min(leading, max(int(np.argmax(rows != np.arange(len(rows)))), 1))
    search = Search(spec, case, leading, clock)
    return _Diagnosing(spec, search, numbers, show, port, changed).run()


def _telling(spec: ModelSpec, case: Case) -> Array | None:
    """Return the rows that can be explained, if the right model has NaN in others.

    None if all rows belong together, or nothing differs in the rows with numbers alone.
    """
    tied = spec.stateful or spec.batch_size is not None
    if tied or case.ours is None or not case.fits(case.ours):
        return None
    numbers = np.ones(case.x.rows, dtype=bool)
    for y in case.ours:
        numbers &= ~np.isnan(y).reshape(len(numbers), -1).any(axis=1)
    if numbers.all() or not (numbers & case.wrong_rows).any():
        return None
    return np.flatnonzero(numbers)


class _Diagnosing:
    """Go through the stages of a search.

    Parameters
    ----------
    spec : ModelSpec
        The right model.
    search : Search
    numbers : (batch,) of int
    show, port : bool
    changed : Mutant or None
        All as for `diagnose`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        search: Search,
        numbers: Array,
        show: bool,
        port: bool,
        changed: Mutant | None,
    ) -> None:
        self.spec, self.search, self.show, self.port = spec, search, show, port
        self.changed = changed
        self.numbers = numbers
        self.case = search.case
        self.whole = (
            self.case.layer is None
            and isinstance(self.case.x, Inputs)
            and not isinstance(self.case.x, Tapped)
        )
        self.unsearched: list[str] = []

    def run(self) -> Diagnosis:
        """Search until something explains everything or the time is up."""
        presented = self._presented()
        found = likeliest_first(presented, self._one_mistake(bool(presented)))
        if not found and self.whole:
            found = self._unknown_ids() or self._backend() or self._rounded()
            found = found or self._single_weight()
        if not found:
            found = self._two_mistakes()
        nearest = None if found else self._nearest()
        return Diagnosis(
            tuple(_best(found, self.case.observed)),
            self.search.tried,
            nearest=nearest,
            agreeing=self._agreeing(),
            untried=tuple(self.search.attempts.untried.values()),
            unsearched=tuple(self.unsearched),
            hints=() if found or not self.whole else tuple(self._hints(nearest)),
            seconds=self.search.clock.spent,
        )

    def _presented(self) -> list[Explanation]:
        """Return how the outputs of a port are right, but presented otherwise."""
        case = self.case
        if not (self.port and self.whole and case.fits(case.ours)):
            return []
        assert isinstance(case.x, Inputs)
        return list(
            presentations(
                self.spec, case.x, case.ours, case.observed, allowed=case.allowed
            )
        )

    def _one_mistake(self, explained: bool = False) -> list[Explanation]:
        """Try every mistake by itself, those made in several layers first.

        `explained` says that there is an explanation already, so that only others that
        these outputs cannot tell from it are sought, in little time.
        """
        spec, attempts = self.spec, self.search.attempts
        singles = (m for m in catalogue(spec, attempts=attempts) if self._concerns(m))
        several = same_mistakes(spec, attempts=attempts) if self.whole else iter(())
        self.several = [without_model(m, spec) for m in several]
        self.singles = [without_model(m, spec) for m in singles]
        every = [*self.several, *self.singles]
        # else as they come; the few that lie between layers are among the first
        candidates = sorted(every, key=lambda m: bool(m.changes) and not m.common)
        done = 0
        with self._progress("known mistakes", len(candidates)) as advance:
            since = self.search.clock.spent if explained else None
            for _ in self.search.all(candidates):
                done += 1
                advance(1)
                spent = self.search.clock.spent
                if self.search.found and since is None:
                    since = spent
                if since is not None and spent - since > SECONDS_FOR_OTHERS:
                    break
        found = self.search.confirmed()
        if not found and self.changed is not None:
            every.append(self.changed)
            self.search.try_(self.changed)
            found = self.search.confirmed()
        if not (found or explained) and done < len(candidates):
            self.unsearched.append(
                f"{len(candidates) - done:,} of {len(candidates):,} known mistakes"
            )
        every.sort(key=lambda m: not _is_of_masks(m))
        order = {(m.name, m.layer): k for k, m in enumerate(every)}
        return sorted(found, key=lambda e: order[e.mistake, e.layer])

    def _concerns(self, mutant: Mutant) -> bool:
        """Say whether a mistake is in the layer to explain, or masks carry it there."""
        if self.case.layer is None:
            return (mutant.inputs is None and mutant.outputs is None) or self.whole
        if not mutant.changes:
            plain = mutant.inputs is None and mutant.outputs is None
            return plain and Need.MASKED_STEPS in mutant.needs
        path = self.case.layer.partition(":")[0]
        return f"{mutant.layer}/".startswith(f"{path}/")

    def _unknown_ids(self) -> list[Explanation]:
        """Try ids taken as unknown that stand in the rows that differ alone."""
        case = self.search.case
        if isinstance(case.x, Inputs) and case.fits(case.ours):
            agrees = case.rows_explained(case.ours)
            for _ in self.search.all(unknown_ids(self.spec, case.x, agrees)):
                if self.search.found:
                    break
        return self.search.found

    def _backend(self) -> list[Explanation]:
        """Try the rules of other backends and versions, if the model meets any."""
        found = []
        for mutant in (*other_backends(self.spec), *other_versions(self.spec)):
            explanation = self.search.try_(mutant)
            x = self.search.chosen.x
            if explanation is None or not isinstance(x, Inputs):
                continue
            met = Network(mutant.model).rule_effects(x) or Network(
                self.spec
            ).rule_effects(x)
            text = f"{explanation.explanation}: {join_and(list(met))}"
            found.append(replace(explanation, explanation=text))
        return found

    def _rounded(self) -> list[Explanation]:
        """Try the mistakes that come nearest with outputs rounded to some format."""
        case = self.search.leading if self.search.tied else self.search.chosen
        for tried in self.search.best() if self.whole else ():
            mutant = with_model(tried.mutant, self.spec)
            outputs = self.search.outputs(case, mutant)
            if not case.fits(outputs) or case.rest(outputs) > ROUNDED_REST:
                continue
            on_top = rounding_on_top(outputs, case.observed, allowed=case.allowed)
            if on_top is not None:
                return [_also_rounded(mutant, on_top, case.observed)]
        return []

    def _single_weight(self) -> list[Explanation]:
        """Search for a single number of the weights that explains the outputs."""
        if not isinstance(self.case.x, Inputs):
            return []
        left = self.search.clock.left
        if not left:
            self.unsearched.append("a single wrong number")
            return []
        case = self.search.chosen
        assert isinstance(case.x, Inputs)
        fits = find_single_weight(
            self.spec,
            case.x,
            case.observed,
            allowed=case.allowed,
            seconds=WEIGHT_SHARE * left,
        )
        return [_weight_explanation(self.spec, fit, case.observed) for fit in fits]

    def _two_mistakes(self) -> list[Explanation]:
        """Try two mistakes at a time until the first two that explain."""
        common = [m for m in self.several if m.common]
        common += [m for m in self.singles if m.common]
        near = [t.mutant for t in self.search.best()]
        if not near and not common:
            return []
        candidates = chain(
            pairs(self.spec, [m for m in self.several if m.common]),
            self._with_each(near, [*common, *self.several, *self.singles]),
            pairs(self.spec, common),
        )
        for _ in self.search.all(candidates):
            if self.search.found and (found := self.search.confirmed()):
                return found
        if not self.search.clock.left:
            self.unsearched.append("most pairs of mistakes")
        return []

    def _with_each(
        self, near: Sequence[Mutant], others: Sequence[Mutant]
    ) -> Iterator[Mutant]:
        """Yield each mutant that comes nearest with each other mistake too."""
        unlike = list({id(m): m for m in others}.values())
        for first in near:
            made = with_model(first, self.spec)
            for second in unlike:
                if first is not second and (both := together(made, second)) is not None:
                    yield both

    def _nearest(self) -> Nearest | None:
        """Return what explains most, if it explains enough to be worth showing."""
        best: tuple[float, Nearest] | None = None
        case = self.search.leading
        if not self.search.tied:
            case = self.case.take(slice(0, CONFIRMED_ROWS)).with_ours(self.spec)
        if not case.fits(case.ours):
            return None
        names, masks = self._names(), self._masks()
        clock = Clock(NEAREST_SECONDS)
        for tried in self.search.best():
            if not clock.left:
                break
            mutant = with_model(tried.mutant, self.spec)
            found = _measured(case, mutant, self.numbers, names, masks)
            if found is None:
                continue
            share, nearest = found
            worth = max(share, nearest.share)
            enough = nearest.share >= MOSTLY_EXPLAINED or share >= MOST_ROWS
            if enough and (best is None or worth > best[0]):
                best = worth, nearest
        return None if best is None else best[1]

    def _hints(self, nearest: Nearest | None) -> Iterator[str]:
        """Yield what the difference looks like, and what else may be behind it."""
        case = self.case
        if nearest is None and case.fits(case.ours):
            text = describe_remainder(
                case.ours,
                case.observed,
                allowed=case.allowed,
                masks=self._masks(),
                rows=self.numbers,
                names=self._names(),
            )
            if text:
                yield f"{DIFFERENCE_IS}{text}"
        if self.port and case.fits(case.ours):
            names = Network(self.spec).output_names
            yield from near_presentations(case.ours, case.observed, names)
        if isinstance(case.x, Inputs) and case.fits(case.ours):
            yield from telling_ids(self.spec, case.x, ~case.wrong_rows)
        if self.port:
            yield from hints(self.spec)

    def _names(self) -> list[str]:
        """Return the names of what was observed."""
        x = self.case.x
        if isinstance(x, Tapped):
            return [tap.name for tap in x.taps]
        return Network(self.spec).output_names

    def _masks(self) -> list[Array]:
        """Return the masks that reach any layer, (batch, time) each, unlike ones only.

        Where there are many rows, they are not worth their memory.
        """
        x = self.case.x
        if not isinstance(x, Inputs) or x.rows > MOST_ROWS_TRACED:
            return []
        try:
            trace = Network(self.spec).trace(x, dtype="float64")
        except FAILURES:
            return []
        masks = {
            (mask.shape, mask.tobytes()): mask
            for layer in trace.values()
            for mask in flatten(layer.mask)
            if isinstance(mask, np.ndarray) and mask.ndim > 1
        }
        return list(masks.values())

    def _agreeing(self) -> tuple[str, ...]:
        """Return the names of the outputs that agree, of a model with several."""
        if not self.whole or len(self.case.observed) < 2:
            return ()
        if not self.case.fits(self.case.ours):
            return ()
        names = Network(self.spec).output_names
        found = compare_each(
            self.case.ours,
            self.case.observed,
            allowed=self.case.allowed,
            names=names,
        )
        return tuple(c.output for c in found if c.matches)

    def _progress(self, unit: str, total: int) -> AbstractContextManager[Any]:
        return progress(unit, total) if self.show else nullcontext(lambda count: None)


def _is_of_masks(mutant: Mutant) -> bool:
    """Say whether a mistake lies between layers and is about which masks they use.

    Padding on one side often hides a mask misread in many layers in all but one, where
    it is the same as no mask. That one is then said first.
    """
    return not mutant.changes and Need.MASKED_STEPS in mutant.needs


def _also_rounded(
    mutant: Mutant, rounding: OutputRounding, observed: Sequence[Array]
) -> Explanation:
    """Return the explanation by a mistake and a rounding of the outputs."""
    return Explanation(
        f"{mutant.name}; {rounding.name}",
        mutant.layer,
        f"{mutant.explanation}; and {rounding.explanation}",
        f"{mutant.remedy}; {rounding.remedy}",
        rounding.max_diff,
        digits_of_difference(rounding.max_diff, observed),
        mutant.gate,
        mutant=mutant,
    )


def _measured(
    case: Case,
    mutant: Mutant,
    numbers: Array,
    names: Sequence[str],
    masks: Sequence[Array],
) -> tuple[float, Nearest] | None:
    """Return how much a candidate explains of all rows at hand.

    Returns
    -------
    float
        Share of the rows that differ which it explains: such that little of their
        difference is left, and that is allowed.
    Nearest
    """
    try:
        outputs = case.outputs(mutant)
    except FAILURES:
        return None
    if not case.fits(outputs) or case.ours is None:
        return None
    fine = case.rows_explained(outputs)
    result = case.compare(outputs)
    wrong = ~case.rows_explained(case.ours)
    mended = wrong & fine
    left = remaining(
        *([y[mended] for y in of] for of in (outputs, case.ours, case.observed))
    )
    share = mended.sum() / wrong.sum() if left <= EXPLAINED_REST else 0.0
    return float(share), Nearest(
        explanation_of(mutant, result, case.observed),
        share=max(0.0, 1.0 - remaining(outputs, case.ours, case.observed)),
        rows=len(fine),
        explained=int(fine.sum()),
        first=None if fine.all() else int(numbers[np.argmin(fine)]),
        remains=describe_remainder(
            outputs,
            case.observed,
            allowed=case.allowed,
            masks=[mask[: len(fine)] for mask in masks],
            rows=numbers[: len(fine)],
            names=names,
        ),
    )


def _best(
    found: Sequence[Explanation], observed: Sequence[Array]
) -> Iterable[Explanation]:
    """Yield explanations as good as the best one, without those said already."""
    if not found:
        return
    least = min(e.max_diff for e in found)
    scale = max(float(np.max(np.abs(y), initial=0.0)) for y in observed)
    most = max(SAME_PRECISION * least, FLOAT32_ROUNDING * scale)
    said = set[tuple[str, str]]()
    for explanation in found:
        key = explanation.layer, explanation.explanation
        if explanation.max_diff <= most and key not in said:
            said.add(key)
            yield explanation


def _weight_explanation(
    spec: ModelSpec, fit: WeightFit, observed: Sequence[Array]
) -> Explanation:
    """Return the explanation that a single number of the weights is another."""
    layer = spec[fit.path]
    place = place_in(layer, fit.weight, fit.place)
    mutant = Mutant(
        f"{place.partition(' (')[0]} another number",
        fit.path,
        f"{place} seems to be {fit.value:.6g}; it is {fit.original:.6g}",
        "copy the weights again, and compare their checksums",
        fit.model(spec),
        gate=gate_of(layer, fit.place[-1] if fit.place else 0),
    )
    return explanation_of(mutant, fit.comparison, observed)
