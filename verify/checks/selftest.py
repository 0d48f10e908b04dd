"""Plant every known mistake in a model and find those that a check would not notice.

A check on given weights and inputs cannot notice everything. Each mistake of the
catalogue is planted in the model, and must change the outputs by more than a correct
port in float32 may differ. Mistakes that do not are listed with the reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from verify.checks.inputs import (
    checked_inputs,
    several_batches,
    usable_inputs,
    whole_batches,
)
from verify.checks.load import load
from verify.checks.shorter_windows import Shortened, shortened
from verify.console.progress import doing
from verify.errors import DataError, did_you_mean, join_and, printable
from verify.forward.evaluable import Inputs
from verify.forward.fast import single_threaded_blas
from verify.forward.network import Network
from verify.mistakes.blind_spots import BlindSpot, blind_spots
from verify.mistakes.catalogue import (
    Attempts,
    Mutant,
    Untried,
    catalogue,
    untried_sentence,
)
from verify.mistakes.search import Case, Clock
from verify.model.arguments import typed
from verify.model.arrays import Array
from verify.report.cases import Case as Part
from verify.report.cases import Outcome
from verify.report.report import number
from verify.report.schema import document_header
from verify.tolerance.noise_floor import Rounding

MAX_SELFTEST_ROWS, MIN_SELFTEST_ROWS, SELFTEST_NUMBERS = 64, 4, 2**21
"""Rows that are evaluated, at most and at least: every mutant is evaluated on them. The
third is how many numbers their forward pass may have, which limits the rows of wide
models and of long windows."""

MAX_SELFTEST_SECONDS = 300.0
"""Seconds after which no further mistake is tried. Long windows are cut, so few models
need as many: those in which a layer takes a great number of steps and no other."""

NO_TIME = f"there was no time left after {MAX_SELFTEST_SECONDS:.0f} s"
"""What is said of a mistake that was not tried."""

SHOWN_IGNORED = 5
"""Mistakes that were left out, and that the text names at most; JSON has all."""

SAME = 1e-7
"""Effect below which outputs are the same: it is the rounding of float64."""


@dataclass(frozen=True)
class MutantResult:
    """Hold what one mistake does to the outputs.

    Attributes
    ----------
    mistake : str
        Name of the mistake.
    layer : str
        Path of the layer it is made in.
    caught : bool
        Whether the outputs change by more than rounding may.
    effect : float
        The greatest change, in units of what is allowed; infinite where the mutant has
        outputs of other shapes.
    reason : str
        What hides a mistake that is not caught.
    remedy : str
        What to change so that it shows.
    one_number : bool
        Whether it is a single number of the weights that is off by 0.1 %, and not a
        mistake in what is done with them.
    """

    mistake: str
    layer: str
    caught: bool
    effect: float
    reason: str = ""
    remedy: str = ""
    one_number: bool = False

    def __str__(self) -> str:
        where = f" in '{printable(self.layer)}'" if self.layer else ""
        return f"{self.mistake}{where}"


@dataclass(frozen=True)
class SelfTest:
    """Hold what a comparison on this model and these inputs can see.

    It is true if every mistake would show, and false otherwise.

    Attributes
    ----------
    model : str
        Where the model was read from.
    rows : int
        Rows that were evaluated.
    results : tuple of MutantResult
    untried : tuple of Untried
        Mistakes that could not be planted in this model, or not be evaluated.
    window : Shortened or None
        How many of their time steps the rows had, if they were too many.
    ignored : tuple of str
        Names of mistakes that were left out because the caller asked for it.
    """

    model: str
    rows: int
    results: tuple[MutantResult, ...]
    untried: tuple[Untried, ...] = ()
    window: Shortened | None = None
    ignored: tuple[str, ...] = ()

    @property
    def mistakes(self) -> tuple[MutantResult, ...]:
        """Return what was planted, without `single_numbers`."""
        return tuple(result for result in self.results if not result.one_number)

    @property
    def single_numbers(self) -> tuple[MutantResult, ...]:
        """Return what was planted in a single number of the weights."""
        return tuple(result for result in self.results if result.one_number)

    @property
    def survivors(self) -> tuple[MutantResult, ...]:
        """Return the mistakes that would go unnoticed."""
        return tuple(result for result in self.results if not result.caught)

    @property
    def mutation_score(self) -> float:
        """Return the share of all that was planted that is caught, from 0 to 1."""
        return share_caught(self.results)

    def at_least(self, share: float) -> bool:
        """Return whether a share of `mistakes` is caught, and none lacked the time.

        Single numbers do not count: 0.1 % of one may be less than rounding.

        Parameters
        ----------
        share : float
            From 0 to 1.
        """
        return share_caught(self.mistakes) >= share and not self.unfinished

    @property
    def exit_code(self) -> int:
        """Return 0 if every mistake is caught, 3 if some are not, or time was short."""
        return 3 if self.survivors or self.unfinished else 0

    @property
    def unfinished(self) -> bool:
        """Return whether some mistakes were not tried because it took too long."""
        return any(untried.error == NO_TIME for untried in self.untried)

    def __bool__(self) -> bool:
        return self.exit_code == 0

    def __repr__(self) -> str:
        seen = f"{len(self.results) - len(self.survivors)} of {len(self.results)}"
        return f"<SelfTest of {printable(self.model, 120)}: {seen} mistakes would show>"

    def __str__(self) -> str:
        steps = "" if self.window is None else f", of {self.window} each"
        lines = [
            f"{printable(self.model)}: {_caught(self.mistakes)} known mistakes "
            f"({share_caught(self.mistakes):.1%}) would show in the outputs of "
            f"{self.rows} row(s){steps}"
        ]
        if self.single_numbers:
            lines.append(
                f"  single numbers of the weights, off by 0.1 %: "
                f"{_caught(self.single_numbers)} would show"
            )
        if self.ignored:
            names = [printable(name) for name in self.ignored[:SHOWN_IGNORED]]
            more = len(self.ignored) - len(names)
            names += [f"{more} more"] if more else []
            lines.append(f"  ignored: {join_and(names)}")
        seen = [result for result in self.results if result.caught]
        if seen:
            smallest = min(seen, key=lambda result: result.effect)
            lines.append(
                f"  the least of them, {smallest}, by "
                f"{number(smallest.effect)} times what rounding may do"
            )
        for reason, group in _by_reason(self.survivors):
            lines += ["", f"Not seen, {len(group)}: {reason}"]
            lines += [f"  - {result}" for result in group]
            if group[0].remedy:
                lines.append(f"  to see them: {group[0].remedy}")
        if self.untried:
            why = f"; {NO_TIME}" if self.unfinished else ""
            lines += ["", f"{untried_sentence(self.untried)}{why}"]
        return "\n".join(lines)

    def cases(self) -> tuple[Part, ...]:
        """Return a case for each layer in which mistakes were planted, for CI."""
        by_layer: dict[str, list[MutantResult]] = {}
        for result in self.results:
            by_layer.setdefault(result.layer, []).append(result)
        return tuple(
            Part(
                layer or "the whole model",
                Outcome.PASSED if all(x.caught for x in found) else Outcome.UNDECIDED,
                f"{_caught(found)} mistakes would show",
            )
            for layer, found in by_layer.items()
        )

    def to_json(self) -> str:
        """Return one JSON document, in which an infinite effect is null."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of ``--json``."""
        return {
            **document_header("selftest"),
            "model": self.model,
            "rows": self.rows,
            "steps": None if self.window is None else self.window.steps,
            "of_steps": None if self.window is None else self.window.of_steps,
            "share": self.mutation_score,
            "mistakes": _counted(self.mistakes),
            "single_numbers": _counted(self.single_numbers),
            "ignored": list(self.ignored),
            "planted": [
                {
                    "mistake": result.mistake,
                    "layer": result.layer,
                    "single_number": result.one_number,
                    "caught": result.caught,
                    "margin": result.effect if np.isfinite(result.effect) else None,
                    "reason": result.reason,
                    "remedy": result.remedy,
                }
                for result in self.results
            ],
            "untried": [vars(untried) for untried in self.untried],
        }


def share_caught(results: Sequence[MutantResult]) -> float:
    """Return the share of results that are caught, from 0 to 1; 1 of none."""
    return sum(x.caught for x in results) / len(results) if results else 1.0


def _caught(results: Sequence[MutantResult]) -> str:
    return f"{sum(x.caught for x in results)} of {len(results)}"


def _counted(results: Sequence[MutantResult]) -> dict[str, Any]:
    return {
        "planted": len(results),
        "caught": sum(x.caught for x in results),
        "share": share_caught(results),
    }


@typed
def selftest(
    model: Any, x: Any = None, *, ignore: Sequence[str] = (), **options: Any
) -> SelfTest:
    """Plant every known mistake in a model and find those that would not show.

    Parameters
    ----------
    model : path to a model file, Network, or keras.Model
    x : (batch, ...), optional
        Inputs as for `verify.check`; by default probe inputs are made.
    ignore : sequence of str
        Names of mistakes to leave out; ``*`` stands for any text in one.
    **options
        As for `verify.load`.

    Raises
    ------
    VerifyError
        The model or the inputs cannot be used, no known mistake applies, or none has a
        name that is to be ignored.
    """
    clock = Clock(MAX_SELFTEST_SECONDS)
    net = load(model, **options)
    given = None if x is None else checked_inputs(net, x)
    with doing("how many steps are enough"):
        short = shortened(net, given, SELFTEST_NUMBERS / MIN_SELFTEST_ROWS)
    if short is not None:
        net, given = short.net, short.inputs
    with doing("the model on the inputs"):
        prepared = usable_inputs(net, given, rows=MAX_SELFTEST_ROWS)
    if x is None and net.stateful:
        prepared = several_batches(net, prepared)
    rows = MAX_SELFTEST_ROWS if net.stateful else _affordable(net, prepared)
    x = prepared.take(slice(0, whole_batches(rows, net.spec.batch_size)))
    with doing("what rounding may do"):
        right = net.flat(x, dtype="float64")
        case = Case(x, right, ()).with_ours(net.spec)
        noise_floors = Rounding(net).noise_floors(x, right, native=False)
    allowed = [floor.atol for floor in noise_floors]
    spots = blind_spots(net, x, x.rows)
    attempts, results, ignored = Attempts(), [], _Ignored(ignore)
    # the products are small: several threads would only wait for each other
    with single_threaded_blas():
        for k, mutant in enumerate(
            catalogue(net.spec, unchanged=True, attempts=attempts)
        ):
            if ignored.takes(mutant.name):
                continue
            if not clock.left:
                left = Untried(mutant.name, mutant.layer, NO_TIME)
                attempts.untried[mutant.name, mutant.layer] = left
                continue
            with np.errstate(all="ignore"), doing(f"mistake {k + 1}, {mutant.name}"):
                # layers before the mistake are not computed again
                evaluate = (
                    partial(case.outputs, mutant)
                    if net.floatx == "float32"
                    else partial(mutant.evaluate, x, floatx=net.floatx)
                )
                wrong = attempts.result(mutant.name, mutant.layer, evaluate)
            if wrong is not None:
                results.append(_result(mutant, wrong, right, allowed, spots))
    untried = tuple(attempts.untried.values())
    ignored.require_found([result.mistake for result in results])
    if not results and not untried and not ignored.names:
        raise DataError(
            f"{printable(net.spec.source)}: expected a model with a layer that "
            "mistakes are known for. Received: none"
        )
    return SelfTest(
        net.spec.source, x.rows, tuple(results), untried, short, tuple(ignored.names)
    )


class _Ignored:
    """Leave mistakes out by their names, and know those that were.

    Parameters
    ----------
    texts : sequence of str
        Names, in which ``*`` stands for any text.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._patterns = {
            text: re.compile(".*".join(map(re.escape, text.split("*"))))
            for text in texts
        }
        self._found: set[str] = set()
        self.names: dict[str, None] = {}

    def takes(self, name: str) -> bool:
        """Return whether a mistake is to be left out."""
        by = {text for text, p in self._patterns.items() if p.fullmatch(name)}
        self._found |= by
        if by:
            self.names[name] = None
        return bool(by)

    def require_found(self, known: Sequence[str]) -> None:
        """Raise DataError for a name that no mistake has."""
        for text in self._patterns:
            if text not in self._found:
                raise DataError(
                    f"ignore: no mistake that can be made in this model is called "
                    f"'{printable(text, 80)}'. {did_you_mean(text, known)}--json lists "
                    "them"
                )


def _affordable(net: Network, x: Inputs) -> int:
    """Return how many rows every mutant is evaluated on."""
    few = x.take(slice(0, net.spec.batch_size or 1))
    arrays = net.outline(few).arrays().values()
    most = SELFTEST_NUMBERS * few.rows // max(sum(a.size for a in arrays), 1)
    return max(min(MAX_SELFTEST_ROWS, most), MIN_SELFTEST_ROWS)


def _result(
    mutant: Mutant,
    wrong: Sequence[Array],
    right: Sequence[Array],
    allowed: Sequence[Array],
    spots: Sequence[BlindSpot],
) -> MutantResult:
    """Judge the outputs of one mutant, and say why it survives if it does.

    Parameters
    ----------
    mutant : Mutant
    wrong : list of (batch, ...)
        Its outputs.
    right, allowed : list of (batch, ...)
        The model's outputs, and how far they may change.
    spots : sequence of BlindSpot
    """
    effect = _effect(wrong, right, allowed)
    one_number = any(mistake.one_number for _, mistake in mutant.changes)
    if effect > 1:
        return MutantResult(
            mutant.name, mutant.layer, True, effect, one_number=one_number
        )
    for spot in spots:
        if spot.hides(mutant):
            reason, remedy = spot.sentence, spot.remedy
            break
    else:
        reason, remedy = (
            ("the outputs are the same either way", "give other weights or inputs")
            if effect == 0
            else (
                "they change the outputs by less than rounding may",
                "give more rows, or compare what the layer itself returns",
            )
        )
    return MutantResult(
        mutant.name, mutant.layer, False, effect, reason, remedy, one_number
    )


def _effect(
    wrong: Sequence[Array], right: Sequence[Array], allowed: Sequence[Array]
) -> float:
    """Return how far the outputs move, in units of what is allowed."""
    if [y.shape for y in wrong] != [y.shape for y in right]:
        return float("inf")
    with np.errstate(all="ignore"):
        moved = (
            np.max(np.abs(a - b) / limit, initial=0.0)
            for a, b, limit in zip(wrong, right, allowed, strict=True)
        )
        worst = max(map(float, moved))
    if worst < SAME:
        return 0.0
    return float("inf") if np.isnan(worst) else worst


def _by_reason(
    survivors: Sequence[MutantResult],
) -> Iterator[tuple[str, list[MutantResult]]]:
    """Yield each reason with its survivors, in the order of the first of each."""
    for reason in dict.fromkeys(result.reason for result in survivors):
        yield reason, [result for result in survivors if result.reason == reason]
