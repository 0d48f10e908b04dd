"""Right numbers, presented otherwise: in other units, in another order, as integers.

A port whose outputs are the model's, but scaled, permuted, rounded to a short format or
taken through a logarithm, computes the model rightly. The comparison fails all the
same, because these are not the outputs of ``predict``; the diagnosis says what they are
instead, with its numbers.

Nothing is guessed: a presentation is told only if every number fits to the port's own
precision, and if so many numbers fitting cannot be chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain

import numpy as np

from verify.errors import join_and
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.mistakes.explanation import Explanation, digits_of
from verify.mistakes.presentation import functions, order, scale
from verify.mistakes.presentation.number_formats import float32_of, number_formats
from verify.mistakes.presentation.view import MIN_BITS, Found, Given, Part, View, bits
from verify.model.arrays import Array
from verify.model.spec import ModelSpec
from verify.tolerance.compare import compare
from verify.tolerance.partial import Decimals, half_unit

LOGITS_ALONE = frozenset({"logits", "a number added to the logits"})
"""Names of the parts of a presentation that is logits and nothing else."""


def presentations(
    spec: ModelSpec,
    x: Inputs,
    ours: Sequence[Array],
    observed: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
) -> Iterator[Explanation]:
    """Yield how outputs that differ from the model's are the same presented otherwise.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    x : Inputs
        Prepared inputs.
    ours : list of (batch, ...)
        Its outputs for them, in float64.
    observed : list of (batch, ...)
        What a port returned instead, in any dtype.
    allowed : list of float, or of (units,)
        Greatest difference that is rounding, for each output. Half a unit of the last
        decimal is part of it where the port's outputs were recorded with few decimals.

    Yields
    ------
    Explanation
        One at most: the simplest that fits.
    """
    shapes = [y.shape for y in ours]
    if shapes != [y.shape for y in observed] or not all(y.size for y in ours):
        return
    if not all(np.isfinite(y).all() for y in ours):
        return
    if any(np.isnan(y).any() for y in observed):
        return
    with np.errstate(all="ignore"):  # what overflows fits nothing
        search = _Search(spec, x, ours, observed, _without_decimals(allowed, observed))
        found = search.simplest()
        said = None if found is None else _explanation(found, search.names, observed)
    if said is not None:
        yield said


TRIED_NUMBERS, LEAST_ROWS = 100_000, 64
"""Numbers of the first rows on which presentations are tried before all of them, and
rows that are taken at least."""

MUCH_BENT = 30.0
"""A function differs from a straight line by this many times the port's precision."""


def likeliest_first(
    presented: Sequence[Explanation], mistakes: Sequence[Explanation]
) -> list[Explanation]:
    """Return presentations and the mistakes that make the same outputs, in order.

    A mistake in the model is the more particular cause: the halves of a Bidirectional
    exchanged, say, where the columns are in another order; and where a mistake explains
    the outputs as it is, a scale that had to be fitted explains nothing. But logits are
    the outputs of a right model without its last activation.
    """
    if not mistakes:
        return list(presented)
    if any(set(found.mistake.split("; ")) <= LOGITS_ALONE for found in presented):
        return [*presented, *mistakes]
    plain = [f for f in presented if not set(f.mistake.split("; ")) & scale.FITTED]
    return [*mistakes, *plain]


def _few_rows(spec: ModelSpec, ours: Sequence[Array]) -> slice | None:
    """Return the first rows of many, on which each presentation is tried first."""
    numbers = sum(y[:1].size for y in ours)
    rows = max(TRIED_NUMBERS // max(numbers, 1), LEAST_ROWS)
    if rows >= len(ours[0]) or spec.stateful or spec.batch_size is not None:
        return None
    return slice(0, rows)


def _without_decimals(
    allowed: Sequence[float | Array], observed: Sequence[Array]
) -> list[Array]:
    """Return what rounding in the model may do, without that of the record.

    The record's own rounding does not grow with a scale; the number formats have it.
    """
    places = Decimals.of(observed).places
    slack = half_unit(places) if places else 0.0
    found = []
    for limit in allowed:
        wide = np.asarray(limit, dtype=np.float64)
        found.append(np.where(wide > slack, wide - slack, wide))
    return found


class _Search:
    """Hold what is to be explained; the parameters are those of `presentations`."""

    def __init__(
        self,
        spec: ModelSpec,
        x: Inputs,
        ours: Sequence[Array],
        observed: Sequence[Array],
        allowed: Sequence[Array],
    ) -> None:
        self.spec, self.x, self.allowed = spec, x, allowed
        self.observed = observed
        self.views = [
            View(y.astype(np.float64), np.broadcast_to(limit, y.shape))
            for y, limit in zip(ours, allowed, strict=True)
        ]
        self._logits_views: dict[int, View] = {}
        self.given = [
            Given(y.astype(np.float64), tuple(number_formats(y))) for y in observed
        ]

    def simplest(self) -> list[Found] | None:
        """Return a view of each output that fits; None if there is none."""
        found = self.outputs_exchanged or self.rows_moved or self.axes_exchanged
        few = _few_rows(self.spec, [view.values for view in self.views])
        if found is not None or few is None:
            return found or self.each_by_itself
        small = _Search(
            self.spec,
            self.x.take(few),
            [view.values[few] for view in self.views],
            [y[few] for y in self.observed],
            self.allowed,
        )
        return None if small.each_by_itself is None else self.each_by_itself

    @property
    def names(self) -> list[str]:
        """Return the names of the outputs, where there are several."""
        names = Network(self.spec).output_names
        return names if len(names) == len(self.views) > 1 else [""] * len(self.views)

    @cached_property
    def outputs_exchanged(self) -> list[Found] | None:
        """Return outputs in another order, if those fit as they are."""
        names = self.names
        for places in order.exchanged_outputs([v.values.shape for v in self.views]):
            found = []
            for place, k in enumerate(places):
                part = Part(
                    "outputs exchanged",
                    f"it is output '{names[k]}' of the model",
                    "return the outputs in the order of the model's, or by their names",
                )
                given, view = self.given[place], self.views[k]
                found.append(
                    given.fit(view) if k == place else given.decided(view.said(part))
                )
            if all(found):
                return [one for one in found if one is not None]
        return None

    @cached_property
    def rows_moved(self) -> list[Found] | None:
        """Return all outputs with their rows in another order, the same for all."""
        rows = len(self.views[0].values)
        values, tolerance, theirs = (
            np.concatenate([array.reshape(rows, -1) for array in arrays], axis=1)
            for arrays in (
                [view.values for view in self.views],
                [view.tolerance for view in self.views],
                [given.values for given in self.given],
            )
        )
        joined = Given(theirs, tuple(number_formats(theirs)))
        found = order.rows_in_another_order(View(values, tolerance), joined)
        if found is None:
            return None
        ends = np.cumsum([view.values[:1].size for view in self.views])[:-1]
        moved = []
        for k, (y, wide) in enumerate(
            zip(
                np.split(found.view.values, ends, axis=1),
                np.split(found.view.tolerance, ends, axis=1),
                strict=True,
            )
        ):
            shape = self.views[k].values.shape
            view = View(y.reshape(shape), wide.reshape(shape), found.view.parts)
            fit = self.given[k].fit(view)
            if fit is None:
                return None
            moved.append(fit)
        return moved

    @cached_property
    def axes_exchanged(self) -> list[Found] | None:
        """Return outputs stored with their axes in another order."""
        found = []
        for k, (view, given) in enumerate(zip(self.views, self.given, strict=True)):
            one = self._plain(k) or given.decided(view)
            for other in () if one is not None else order.other_axes(view, given):
                one = one or given.decided(other)
            if one is None:
                return None
            found.append(one)
        return found if any(one.parts for one in found) else None

    def _plain(self, k: int) -> Found | None:
        """Return output `k` if it fits as it is, in float32."""
        given = self.given[k].values
        return Given(given, (float32_of(given),)).fit(self.views[k])

    @cached_property
    def each_by_itself(self) -> list[Found] | None:
        """Return a view of each output; some may fit as they are, but not all."""
        found = []
        for k in range(len(self.views)):
            one = self._plain(k) or self._one_output(k)
            if one is None:
                return None
            found.append(one)
        return found if any(one.parts for one in found) else None

    def _one_output(self, k: int) -> Found | None:
        """Return a view of output `k` that fits, the simplest first."""
        view, given = self.views[k], self.given[k]
        found = given.decided(view) or functions.classes(view, given)
        if found is not None:
            return found
        for other in self._functions(k):
            found = given.decided(other)
            if found is not None:
                return found
        found = self._logits(k) or order.columns_in_another_order(view, given)
        found = found or self._scaled(k, view)
        if found is not None:
            return found
        for other in chain((view,), self._functions(k)):
            found = self._combined(k, other)
            if found is not None:
                return found
        return None

    def _scaled(self, k: int, view: View, base: View | None = None) -> Found | None:
        """Return a view in other units, or as raw integers.

        Parameters
        ----------
        k : int
        view : View
        base : View, optional
            The view before it was put in another order, if it was.
        """
        found = scale.scaled(view, self.given[k], self.observed[k].dtype)
        if found is None or view.term == self.views[k].term:
            return found
        names = {part.name for part in found.view.parts}
        if not names & {*scale.FITTED, "quantised output"}:
            return found
        ours = self.views[k].values
        scaled = view.term in functions.SCALED_LOGARITHMS  # log with a scale already
        return None if scaled or _straight(ours, base or view, found) else found

    def _combined(self, k: int, view: View) -> Found | None:
        """Return a view with its columns or rows in another order, or in other units.

        Both at once are sought too.
        """
        given = self.given[k]
        found = order.columns_in_another_order(view, given) or self._scaled(k, view)
        if found is None and len(self.views) == 1:
            found = order.rows_in_another_order(view, given)
        if found is not None:
            return found
        for moved, arrangements in (
            order.columns_by_correlation(view, given),
            order.rows_by_correlation(view, given)
            if len(self.views) == 1
            else (None, 0.0),
        ):
            found = None if moved is None else self._scaled(k, moved, view)
            if found is not None and bits(found, 2, arrangements) >= MIN_BITS:
                return found
        return None

    def _functions(self, k: int) -> Iterator[View]:
        """Yield functions of output `k` that a port may have applied to it."""
        given = self.given[k].values
        last = self._last_activation(k)
        if last is not None and last.name == "softmax":
            for axis in functions.softmax_axes(given):
                yield functions.softmax_over(self._logits_view(k), axis)
        if k in self._logits_views:
            yield self._logits_views[k]
        yield from functions.functions_of(self.views[k], given)

    def _logits(self, k: int) -> Found | None:
        """Return the logits of output `k`, if that is what the port returned."""
        last, given = self._last_activation(k), self.given[k]
        if last is None or not functions.may_be_logits(
            self.views[k].values, given.values, last.name
        ):
            return None
        return functions.logits_found(self._logits_view(k), given, last.name)

    def _last_activation(self, k: int) -> functions.LastActivation | None:
        return functions.last_activation(self.spec, k)

    def _logits_view(self, k: int) -> View:
        """Return the logits of output `k`; the model is evaluated once for them."""
        last = self._last_activation(k)
        if k not in self._logits_views and last is not None:
            self._logits_views[k] = functions.logits_view(self.spec, self.x, k, last)
        return self._logits_views[k]


def _straight(ours: Array, view: View, found: Found) -> bool:
    """Say whether a function of the outputs is no other than a straight line of them.

    Then it and a scale that was fitted cannot be told from other functions. It is, if a
    column is proportional to that of the outputs as closely as the port's are to it.
    """
    count = ours.shape[-1] if ours.ndim > 1 else 1
    one, other = ours.reshape(-1, count), view.values.reshape(-1, count)
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    size = np.sum(one**2, axis=0) * np.sum(other**2, axis=0)
    same = np.sum(one * other, axis=0) ** 2 / np.maximum(size, 1e-300)
    bent = np.sqrt(np.maximum(1 - same, 0.0))  # (columns,)
    width = np.median(found.view.tolerance + found.number_format.width)
    precision = float(width / np.std(found.view.values))
    return bool(np.min(bent) < MUCH_BENT * precision)


def _explanation(
    found: Sequence[Found], names: Sequence[str], observed: Sequence[Array]
) -> Explanation:
    """Return what to say of all outputs; those alike are named together."""
    said: dict[tuple[Part, ...], list[int]] = {}
    for k, one in enumerate(found):
        if one.parts:
            said.setdefault(one.parts, []).append(k)
    same = len(said) == 1 and len(next(iter(said.values()))) == len(found)
    sentences = []
    for parts, which in said.items():
        text = "; and ".join(part.says for part in parts)
        if not same:
            named = join_and([f"'{names[k]}'" for k in which])
            text = f"output{'s' if len(which) > 1 else ''} {named}: {text}"
        sentences.append(text)
    count = sum(observed[k].size for which in said.values() for k in which)
    differences, used = [], []
    for one, theirs in zip(found, observed, strict=True):
        use = np.isfinite(one.view.tolerance)
        differences.append(compare(one.view.values[use], theirs[use], allowed=np.inf))
        used.append(theirs[use])
    worst = max(differences, key=lambda c: c.max_diff)
    every = [part for parts in said for part in parts]
    return Explanation(
        "; ".join(dict.fromkeys(part.name for part in every)),
        "",
        f"{'; '.join(sentences)}, in all {count:,} numbers",
        "; ".join(dict.fromkeys(part.remedy for part in every[::-1] if part.remedy)),
        worst.max_diff,
        digits_of(worst, used),
        presentation=True,
    )
