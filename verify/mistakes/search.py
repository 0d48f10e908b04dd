"""Try mistaken models against the outputs of a port, within a limit of time.

A candidate is evaluated on a few telling rows first, and only where it fits there on
all rows at hand. Layers that a mistake does not reach are not evaluated again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np

from verify.forward.evaluable import Inputs, LayerCall
from verify.forward.evaluate import Evaluation, FastPath, cast_to
from verify.forward.fast import compiled
from verify.forward.layers.base import LayerType, Tensor
from verify.forward.network import Network
from verify.forward.taps import Tapped
from verify.mistakes.catalogue import Attempts, Mutant
from verify.mistakes.catalogue.attempts import FAILURES
from verify.mistakes.catalogue.combined import with_model, without_model
from verify.mistakes.explanation import Explanation, explanation_of
from verify.model.arrays import Array, rows_of_samples
from verify.model.graph import flatten, map_structure
from verify.model.spec import LayerSpec, ModelSpec
from verify.tolerance.compare import Comparison, compare_all, most_different
from verify.tolerance.noise_floor import Rounding

CHOSEN_ROWS, FEW_ROWS, LEADING_ROWS = 64, 8, 256
"""Rows on which a candidate must fit, rows on which it is tried first, and rows from
the first on that a mistake which ties rows together is tried on at most."""

CONFIRMED_ROWS = 1024
"""Rows on which what was found must fit in the end, if there are as many."""

NEAR_SHARE = 1e-3
"""Beyond this share of the greatest output, a difference from a mutant cannot be
rounding, so the mutant's noise floor is not measured."""

NEAR_REST = 0.1
"""Nor is what remains of a difference taken for rounding if it is more than this share
of the whole difference."""

EXPLAINED_REST = 0.25
"""A mistake that leaves more than this share of the difference, by the root of the sum
of squares, does not explain it, even if what it leaves is allowed."""

PAIR_REST = 0.05
"""The same for two mistakes together: of many pairs, some come near by chance."""

ROUNDED_ROWS, ROUNDED_REST, ROUNDOFFS = 0.5, 0.1, 8.0
"""A mutant that rounds at every step, some numbers perhaps the other way than the port,
is the port's if so large a share of the rows agrees, or if so small a share of the
whole difference remains, and nothing differs by more than so many roundoffs."""

NEAREST_KEPT = 12
"""Candidates that come nearest, which are combined with others if none fits."""


class Clock:
    """Count the seconds that a search may take.

    Parameters
    ----------
    seconds : float
        From now on.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._began = self.now()

    @staticmethod
    def now() -> float:
        """Return the seconds since some beginning."""
        return time.monotonic()

    @property
    def spent(self) -> float:
        """Return the seconds since the beginning."""
        return self.now() - self._began

    @property
    def left(self) -> float:
        """Return the seconds left, 0 at least."""
        return max(self.seconds - self.spent, 0.0)

    def shortened(self, seconds: float) -> Clock:
        """Return a clock that runs out after these seconds, or with this one."""
        return Clock(min(seconds, self.left))


@dataclass(frozen=True, eq=False)
class Case:
    """Hold what is to be explained on some rows.

    Attributes
    ----------
    x : Inputs, or LayerCall
        Prepared inputs of the whole model, or a call of `layer` alone.
    observed : list of (batch, ...)
        What came out, of `layer` or of the whole model.
    allowed : list of float, or of (units,)
        Greatest difference that counts as explained, for each output.
    layer : str or None
        The call of a layer that differs, as a trace names it.
        The taps of `Tapped` inputs are what was observed, of this layer and others.
    ours : list of (batch, ...), or None
        Outputs of the right model; None if it cannot be evaluated on the inputs.
    known : Known
        Outputs of layers of the right model on these rows.
    """

    x: Inputs | LayerCall
    observed: Sequence[Array]
    allowed: Sequence[float | Array]
    layer: str | None = None
    ours: Sequence[Array] | None = None
    known: Known = field(default_factory=lambda: Known({}))

    def take(self, rows: Any) -> Case:
        """Return the same for some rows; itself if these are all of them."""
        every = np.arange(self.x.rows)
        if np.array_equal(every[rows], every):
            return self
        return replace(
            self,
            x=self.x.take(rows),
            observed=[rows_of_samples(y, self.x.rows, rows) for y in self.observed],
            ours=None,
            known=Known({}),
        )

    def with_ours(self, spec: ModelSpec) -> Case:
        """Return the same with the outputs of the right model."""
        if self.ours is not None:
            return self
        try:
            return replace(self, ours=self.outputs_of(spec, record=True))
        except FAILURES:
            return self

    def outputs_of(self, spec: ModelSpec, *, record: bool = False) -> list[Array]:
        """Return what a model computes in float64, for each output (batch, ...).

        Parameters
        ----------
        spec : ModelSpec
        record : bool
            Whether to keep what each layer returns, for models that share it.

        Raises
        ------
        VerifyError, and NumPy's errors
            The model cannot be evaluated on these inputs.
        """
        with np.errstate(all="ignore"):
            if isinstance(self.x, (LayerCall, Tapped)):
                return self.x.evaluate(Network(spec), "float64")
            if self.layer is not None:
                trace = Network(spec).trace(self.x, dtype="float64")
                return flatten(trace[self.layer].output)
            if spec.stateful:
                return Network(spec).flat(self.x, dtype="float64")
            if self.x.rows > LEADING_ROWS:  # in blocks of rows, which keep memory low
                return Network(spec).flat(self.x, dtype="float64", fast=True)
            root = cast_to(spec.root, "float64")
            # each layer must return the same whatever comes after it: an embedding
            # that is projected into the next layer returns ids
            fast = compiled(root, None)
            run = _Recalling(self.known, record, fast)
            outputs = run(root, list(self.x), at="")
            return [tensor.value for tensor in flatten(outputs)]

    def outputs(self, mutant: Mutant) -> list[Array]:
        """Return what a port with a mistake computes; raises as `outputs_of`."""
        case = self
        if mutant.inputs is not None and isinstance(self.x, Inputs):
            case = replace(self, x=mutant.inputs(self.x))
        found = case.outputs_of(mutant.model)
        return found if mutant.outputs is None else mutant.outputs(found)

    def fits(self, outputs: Sequence[Array] | None) -> TypeGuard[Sequence[Array]]:
        """Say whether there are outputs, shaped like the observed ones."""
        shapes = [y.shape for y in self.observed]
        return outputs is not None and [y.shape for y in outputs] == shapes

    def compare(self, outputs: Sequence[Array]) -> Comparison:
        """Compare outputs with the observed ones."""
        return compare_all(outputs, self.observed, allowed=self.allowed)

    def explains(self, mutant: Mutant, outputs: Sequence[Array]) -> Comparison | None:
        """Return the comparison with a mutant's outputs if these are the observed ones.

        A mistake may amplify rounding more than the model itself does, so outputs that
        come near are also measured against the mutant's own noise floor.
        """
        result = self.compare(outputs)
        plain = mutant.outputs is None
        if not result.matches and plain and self.is_near(result, outputs):
            x = self.x
            if mutant.inputs is not None and isinstance(x, Inputs):
                x = mutant.inputs(x)
            rounding = Rounding(Network(mutant.model))
            noise_floors = rounding.noise_floors(x, outputs, native=False)
            if all(floor.decides for floor in noise_floors):
                wider = [
                    np.maximum(own, floor.atol)
                    for own, floor in zip(self.allowed, noise_floors, strict=True)
                ]
                result = compare_all(outputs, self.observed, allowed=wider)
        if not result.matches and mutant.roundoff:
            result = self.compare_rounded(mutant, outputs)
        return result if result.matches else None

    def rest(self, outputs: Sequence[Array]) -> float:
        """Return how much of the difference is left; see `remaining`.

        Where the whole difference is hardly more than what is allowed, many mistakes
        leave less than that by chance. Returns 0 where nothing can be said.
        """
        if not self.fits(self.ours):
            return 0.0
        left = remaining(outputs, self.ours, self.observed)
        return left if np.isfinite(left) else 0.0

    def compare_rounded(self, mutant: Mutant, outputs: Sequence[Array]) -> Comparison:
        """Compare with a mutant that rounds; a few numbers may go the other way.

        It decides only where far less of the difference remains than such a mistake
        makes; see `ROUNDED_ROWS`. Of two mistakes one may have removed most of it, so
        that it does not show what the other is good for: most rows must then agree.
        """
        result = self.compare(outputs)
        if not self.fits(outputs) or not self.fits(self.ours):
            return result
        wrong = self.wrong_rows
        agree = (
            float(np.mean(self.rows_explained(outputs)[wrong])) if wrong.any() else 0
        )
        rest = remaining(outputs, self.ours, self.observed)
        if agree < ROUNDED_ROWS and not (mutant.alone and rest <= ROUNDED_REST):
            return result
        wider = [
            np.maximum(own, ROUNDOFFS * mutant.roundoff * float(np.abs(y).max()))
            for own, y in zip(self.allowed, outputs, strict=True)
        ]
        return compare_all(outputs, self.observed, allowed=wider)

    def is_near(self, result: Comparison, outputs: Sequence[Array]) -> bool:
        """Say whether a difference may be rounding that the mutant amplifies."""
        if self.layer is not None or not isinstance(self.x, Inputs):
            return False
        scale = max(float(np.max(np.abs(y), initial=1.0)) for y in outputs)
        limit = NEAR_SHARE * scale
        if self.fits(self.ours):
            limit = min(limit, NEAR_REST * self.difference)
        return result.max_diff < limit

    @cached_property
    def difference(self) -> float:
        """Return the greatest difference to the outputs of the right model."""
        assert self.ours is not None
        return self.compare(self.ours).max_diff

    @cached_property
    def wrong_rows(self) -> Array:
        """Return which rows the right model does not explain, (batch,) of bool."""
        assert self.ours is not None
        return ~self.rows_explained(self.ours)

    def rows_explained(self, outputs: Sequence[Array]) -> Array:
        """Return whether each row matches the observed one, (batch,) of bool."""
        fine = np.ones(self.x.rows, dtype=bool)
        for a, b, limit in zip(outputs, self.observed, self.allowed, strict=True):
            with np.errstate(invalid="ignore"):
                close = (np.abs(a - b.astype(np.float64)) <= limit) | (a == b)
            fine &= close.reshape(len(fine), -1).all(axis=1)
        return fine


class Known:
    """Hold what layers of the right model return for the arguments of a case."""

    def __init__(self, results: dict[Any, Any]) -> None:
        self.results = results


class _Recalling(Evaluation):
    """Evaluate a model, but take what is known of the layers that it shares.

    A layer that was not changed, called on the same numbers, returns the same.
    """

    def __init__(self, known: Known, record: bool, fast: FastPath) -> None:
        super().__init__(floatx="float64", fast=fast)
        self._known, self._record = known.results, record

    def _run(
        self,
        layer: LayerSpec,
        kind: LayerType,
        values: dict[str, Any],
        at: str,
        mask: Any,
        carried: Any = None,
    ) -> Any:
        cheap = not layer.weights and not layer.sublayers
        inside = len(self._values) > 1  # of another layer
        if cheap or inside or layer.graph is not None:
            return super()._run(layer, kind, values, at, mask, carried)
        key = (layer, at, _content(values))
        if key not in self._known:
            result = super()._run(layer, kind, values, at, mask, carried)
            if self._record:
                self._known[key] = map_structure(_copied, result)
            return result
        return map_structure(_copied, self._known[key])


def _copied(leaf: Any) -> Any:
    """Return a copy of a tensor, whose mask the evaluation may replace."""
    return Tensor(leaf.value, leaf.mask) if isinstance(leaf, Tensor) else leaf


def _content(values: dict[str, Any]) -> str:
    """Return a digest of the arrays among the arguments of a call, and of the rest."""
    digest = hashlib.blake2b(digest_size=16)

    def add(leaf: Any) -> None:
        if isinstance(leaf, Tensor):
            add(leaf.value)
            add(leaf.mask)
        elif isinstance(leaf, np.ndarray):
            digest.update(f"{leaf.dtype}{leaf.shape}".encode())
            digest.update(np.ascontiguousarray(leaf).tobytes())
        else:
            digest.update(repr(leaf).encode())

    for name, value in values.items():
        digest.update(name.encode())
        map_structure(add, value)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Tried:
    """Hold a candidate and how much of the difference it leaves.

    Attributes
    ----------
    mutant : Mutant
    left : float
        Size of what remains over that of the whole difference, on few rows; the root
        of the sum of squares.
    rows_left : float
        Share of the few rows that it does not explain.
    """

    mutant: Mutant
    left: float
    rows_left: float


class Search:
    """Try candidates one by one, and keep those that explain or come nearest.

    Parameters
    ----------
    spec : ModelSpec
        The right model.
    case : Case
        All rows at hand.
    leading : int
        Number of rows of the case that are the first rows of the data; the others were
        chosen because they differ.
    clock : Clock
    """

    def __init__(self, spec: ModelSpec, case: Case, leading: int, clock: Clock) -> None:
        self.spec, self.clock = spec, clock
        self.case = case = case.with_ours(spec)
        self.found: list[Explanation] = []
        self.nearest: list[Tried] = []
        self.tried = 0
        self.attempts = Attempts()
        # rows of a stateful model, or of a batch of fixed size, belong together
        self.tied = spec.stateful or spec.batch_size is not None
        self.leading = case.take(slice(0, self._leading(leading))).with_ours(spec)
        self._all_leading = leading
        if self.tied:
            self.chosen = self.few = self.leading
            return
        order = np.arange(case.x.rows)
        if case.fits(case.ours):
            order = most_different(case.ours, case.observed)
        self.chosen = case.take(_most_and_least(order, CHOSEN_ROWS)).with_ours(spec)
        self.few = case.take(_most_and_least(order, FEW_ROWS)).with_ours(spec)

    @cached_property
    def all_leading(self) -> Case:
        """Return the case with every row that is one of the first of the data."""
        return self.case.take(slice(0, self._all_leading)).with_ours(self.spec)

    def _leading(self, leading: int) -> int:
        """Return how many leading rows to take: some beyond the first that differs."""
        unit = self.spec.batch_size or 1
        wanted, ours = CHOSEN_ROWS, self.case.ours
        if self.case.fits(ours):
            differs = np.flatnonzero(self.case.wrong_rows[:leading])
            if len(differs):
                wanted = max(wanted, int(differs[0]) + CHOSEN_ROWS // 2)
        wanted = min(-(-wanted // unit) * unit, max(LEADING_ROWS, unit), leading)
        return wanted - wanted % unit or min(leading, unit)

    def all(self, candidates: Iterable[Mutant]) -> Iterator[None]:
        """Try candidates while there is time; yield after each."""
        for mutant in candidates:
            if not self.clock.left:
                return
            if mutant.model is self.spec:
                mutant = with_model(mutant, self.spec)
            self.try_(mutant)
            yield

    def confirmed(self) -> list[Explanation]:
        """Return what explains on more rows too, and keep the others as near."""
        case = self.case.take(slice(0, CONFIRMED_ROWS)).with_ours(self.spec)
        fine: list[Explanation] = []
        unsure: list[Tried] = []
        for explanation in self.found:
            mutant = explanation.mutant
            if mutant is None or mutant.ties_rows or self.tied or len(fine) >= 8:
                fine.append(explanation)
                continue
            outputs = self.outputs(case, mutant)
            if not case.fits(outputs):
                continue
            found = case.explains(mutant, outputs)
            if found is None:
                unsure.append(Tried(without_model(mutant, self.spec), 0.0, 0.0))
            else:
                fine.append(explanation_of(mutant, found, case.observed))
        self.found = fine
        self.nearest += unsure
        return fine

    def try_(self, mutant: Mutant) -> Explanation | None:
        """Try one candidate, first on few rows; note whether it explains."""
        self.tried += 1
        tied = mutant.ties_rows or self.tied
        few, case = self.few, self.chosen
        if tied:
            few = case = self.all_leading if mutant.ties_all_rows else self.leading
        on_few = self.outputs(few, mutant)
        if not few.fits(on_few):
            return None
        result = few.compare(on_few)
        found = None
        rounded = mutant.roundoff and few.compare_rounded(mutant, on_few).matches
        if result.matches or rounded or few.is_near(result, on_few):
            outputs = on_few if case is few else self.outputs(case, mutant)
            if case.fits(outputs) and self._enough(
                case, mutant, outputs, bool(rounded)
            ):
                found = case.explains(mutant, outputs)
        if found is None:
            self._note(few, mutant, on_few)
            return None
        explanation = explanation_of(mutant, found, case.observed)
        self.found.append(explanation)
        return explanation

    def _enough(
        self, case: Case, mutant: Mutant, outputs: Sequence[Array], rounded: bool
    ) -> bool:
        """Say whether a candidate takes enough of the difference away.

        `rounded` says that it agrees as far as a port that rounds at every step can.
        """
        if not mutant.alone:
            return case.rest(outputs) <= PAIR_REST
        return rounded or case.rest(outputs) <= EXPLAINED_REST

    def outputs(self, case: Case, mutant: Mutant) -> list[Array] | None:
        """Return what a mutant computes; None, and a note, if it cannot."""
        try:
            with np.errstate(all="ignore"):
                return case.outputs(mutant)
        except FAILURES as error:
            self.attempts.failed(mutant.name, mutant.layer, error)
            return None

    def _note(self, case: Case, mutant: Mutant, outputs: Sequence[Array]) -> None:
        """Keep a candidate that explains a part, if it is among the nearest."""
        ours = case.ours
        if not mutant.alone or not case.fits(ours):
            return
        left = remaining(outputs, ours, case.observed)
        wrong = case.wrong_rows
        still = (
            float(np.mean(~case.rows_explained(outputs)[wrong])) if wrong.any() else 1
        )
        if not left < 1 and still == 1:
            return
        self.nearest.append(Tried(without_model(mutant, self.spec), left, still))
        if len(self.nearest) > 8 * NEAREST_KEPT:
            self.nearest = self.best()

    def best(self) -> list[Tried]:
        """Return the candidates that leave least, of the difference or of the rows."""
        by_size = sorted(self.nearest, key=lambda t: t.left)[:NEAREST_KEPT]
        by_rows = sorted(self.nearest, key=lambda t: (t.rows_left, t.left))
        both = [*by_size, *by_rows[: NEAREST_KEPT // 2]]
        return list({id(t): t for t in both}.values())


def remaining(
    outputs: Sequence[Array], ours: Sequence[Array], observed: Sequence[Array]
) -> float:
    """Return how much of the difference to the right outputs a candidate leaves.

    Returns
    -------
    float
        Root of the sum of squares of observed - outputs, over that of observed - ours;
        infinite where anything is not finite.
    """
    after = before = 0.0
    with np.errstate(all="ignore"):
        for a, b, c in zip(outputs, ours, observed, strict=True):
            scale = max(float(np.max(np.abs(b), initial=0)), 1e-30) ** 2
            seen = c.astype(np.float64)
            after += float(np.sum((seen - a) ** 2)) / scale
            before += float(np.sum((seen - b) ** 2)) / scale
        found = np.sqrt(after / before) if before else np.inf
    return float(found) if np.isfinite(found) else float("inf")


def _most_and_least(order: Array, count: int) -> Array:
    """Return rows that differ most, and a quarter that differ least; ascending.

    Rows that agree must be explained as well.
    """
    if len(order) <= count:
        return np.arange(len(order))
    few = count // 4
    return np.sort(np.concatenate([order[: count - few], order[-few:]]))
