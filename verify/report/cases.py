"""What CI systems show of a report: the verdict, and a case for each part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from verify.report.report import Report, mismatch, number


class Outcome(StrEnum):
    """Enumerate how a case ends."""

    PASSED = "passed"
    FAILED = "FAILED"
    UNDECIDED = "undecided"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Case:
    """Hold one part of what was compared or planted: a layer, a probe, or all of it.

    Attributes
    ----------
    name : str
    outcome : Outcome
    message : str
        In one line.
    text : str
        In several.
    """

    name: str
    outcome: Outcome
    message: str = ""
    text: str = ""


def layer_cases(report: Report) -> tuple[Case, ...]:
    """Return a case for each layer that was compared, or each array of a port."""
    cases = []
    for value in report.values:
        ratio = f"error / allowed {number(value.comparison.error_ratio)}"
        if not value.decided:
            said = "rounding grows too much to decide"
            cases.append(Case(value.name, Outcome.UNDECIDED, said))
        elif value.matches:
            cases.append(Case(value.name, Outcome.PASSED, ratio))
        else:
            lines = mismatch(value.comparison, report.subject, report.reference)
            said = "is not what the model computes"
            cases.append(Case(value.name, Outcome.FAILED, said, "\n".join(lines)))
    for layer in report.layers:
        ratio = f"error / allowed {number(layer.numerics.error_ratio)}"
        if not layer.matches:
            lines = mismatch(layer.telling, report.subject, report.reference)
            said = "does not match Keras"
            cases.append(Case(layer.name, Outcome.FAILED, said, "\n".join(lines)))
        elif not layer.decided:
            said = "rounding grows too much to decide"
            cases.append(Case(layer.name, Outcome.UNDECIDED, said))
        else:
            cases.append(Case(layer.name, Outcome.PASSED, ratio))
    return tuple(cases)


@dataclass(frozen=True)
class Finding:
    """Hold what a command found out about a model, for CI systems.

    Attributes
    ----------
    command : str
        ``check``, ``compare`` or ``selftest``.
    model : str
        The file, as it was given.
    verdict : str
        A `verify.Verdict`, or ``ERROR`` if something could not be read or used.
    reason, text : str
        The verdict in one sentence, and the whole report.
    cases : tuple of Case
    facts : mapping of str to str
        Versions, hashes and others, in plain text.
    seconds : float
        How long it took.
    """

    command: str
    model: str
    verdict: str
    reason: str
    text: str
    cases: tuple[Case, ...] = ()
    facts: Mapping[str, str] | None = None
    seconds: float = 0.0

    @property
    def whole(self) -> Case:
        """Return the case of the verdict itself."""
        outcomes = {"PASS": Outcome.PASSED, "ERROR": Outcome.ERROR}
        outcome = outcomes.get(self.verdict, Outcome.FAILED)
        return Case("verdict", outcome, self.reason, self.text)
