"""Report on an exported file: each probe with its verdict, and what is wrong where."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from verify.console.tables import text_table
from verify.data.json_values import to_json
from verify.errors import join_and, printable
from verify.mistakes.explanation import Diagnosis
from verify.ports.locate import Location
from verify.report.cases import Case, Outcome
from verify.report.diagnosis_text import diagnosis_lines
from verify.report.report import Report, mismatch, number
from verify.report.schema import document_header
from verify.tolerance.compare import Comparison, Verdict

SHOWN_WARNINGS, SHOWN_REFUSAL = 12, 50
"""Warnings that the text shows at most, and characters of what a runtime says in the
table; a warning has the whole."""


class ProbeVerdict(StrEnum):
    """Enumerate what can be said of the answer to a probe."""

    RIGHT = "right"
    WRONG = "WRONG"
    REFUSED = "refused"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class ProbeResult:
    """Hold the verdict on one probe.

    Attributes
    ----------
    name, why : str
        What was asked, and what the inputs were.
    rows : int
        Rows of all calls.
    verdict : ProbeVerdict
    said : str
        What the file does instead, what the runtime said, or why nothing can be said;
        empty if the answer is right.
    comparison : Comparison or None
        The outputs against the model's; None if there are none, or of another shape.
    shapes : str
        What shape they have instead; empty if they have the model's.
    """

    name: str
    why: str
    rows: int
    verdict: ProbeVerdict
    said: str = ""
    comparison: Comparison | None = None
    shapes: str = ""


@dataclass(frozen=True)
class ExportReport:
    """Hold what comparing a model with an exported file came to.

    It is true if the verdict is PASS, and false otherwise.

    Attributes
    ----------
    verdict : Verdict
        ``PASS``, ``FAIL`` or ``INCONCLUSIVE``; ``verdict.exit_code`` is 0, 1 or 3.
    reason : str
        The verdict in one sentence.
    model, exported : str
        Where the model and the exported file came from.
    kind : str
        ``"onnx"``, ``"litert"``, ``"openvino"``, ``"saved_model"`` or
        ``"torch_export"``; a framework for a file of weights.
    runtime : str
        What computed the outputs, with its version.
    inputs, outputs : tuple of str
        How each input and output was matched.
    weights : tuple of str
        Which of the model's weights were found in the file, and how they are stored.
    weights_found : (int, int)
        How many of the model's weights the file holds, of how many that can be told.
    probes : tuple of ProbeResult
    findings : tuple of str
        What is wrong, one sentence each, with the probes that show it.
    location : Location or None
        Where inside the file its values leave those of the model.
    located : str
        Why there is no location, if something is wrong; empty otherwise.
    diagnosis : Diagnosis or None
        The known mistakes that explain what no finding says.
    data : Report or None
        The comparison of the user's own rows.
    warnings : tuple of str
    facts : mapping
        Versions, and what the user allowed.
    """

    verdict: Verdict
    reason: str
    model: str
    exported: str
    kind: str
    runtime: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...] = ()
    weights_found: tuple[int, int] = (0, 0)
    probes: tuple[ProbeResult, ...] = ()
    findings: tuple[str, ...] = ()
    location: Location | None = None
    located: str = ""
    diagnosis: Diagnosis | None = None
    data: Report | None = None
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.verdict is Verdict.PASS

    def __repr__(self) -> str:
        names = f"{printable(self.model, 60)} as {printable(self.exported, 60)}"
        return f"<ExportReport {self.verdict}: {names}: {printable(self.reason, 80)}>"

    def __str__(self) -> str:
        return self.to_text()

    @property
    def wrong(self) -> tuple[ProbeResult, ...]:
        """Return the probes whose answers are wrong."""
        return tuple(p for p in self.probes if p.verdict is ProbeVerdict.WRONG)

    def cases(self) -> tuple[Case, ...]:
        """Return a case for each probe, for CI systems."""
        outcomes = {
            ProbeVerdict.RIGHT: Outcome.PASSED,
            ProbeVerdict.WRONG: Outcome.FAILED,
        }
        return tuple(
            Case(
                probe.name,
                outcomes.get(probe.verdict, Outcome.UNDECIDED),
                printable(probe.said or probe.shapes),
                probe.why,
            )
            for probe in self.probes
        )

    def to_text(self) -> str:
        """Return the report as text for a terminal."""
        lines = [
            f"{self.verdict}  {printable(self.model)} as {printable(self.exported)}: "
            f"{self.reason}"
        ]
        lines += [f"  what is wrong  : {finding}" for finding in self.findings]
        lines += self._where()
        lines += diagnosis_lines(self.diagnosis)
        lines.append(f"  computed by    : {printable(self.runtime)}")
        for label, matched in (("inputs", self.inputs), ("outputs", self.outputs)):
            lines += [f"  {label:<15}: {text}" for text in matched]
        lines += self._weights()
        if self.probes:
            lines += ["", text_table([HEADINGS, *map(_row, self.probes)])]
        if self.data is not None:
            lines += ["", "Your inputs:", self.data.to_text()]
        if self.warnings:
            lines += ["", "Warnings:"]
            lines += [f"  - {text}" for text in self.warnings[:SHOWN_WARNINGS]]
            more = len(self.warnings) - SHOWN_WARNINGS
            lines += [f"  - and {more} more"] if more > 0 else []
        return "\n".join(lines)

    def _weights(self) -> list[str]:
        """Return how many weights were found; after a failure also where and how."""
        found, total = self.weights_found
        lines = [f"{found} of {total} found in the file"] if total else []
        if self.verdict is not Verdict.PASS:
            lines += self.weights
        return [f"  {'weights':<15}: {text}" for text in lines]

    def _where(self) -> list[str]:
        """Return the lines that say where outputs, or values inside, first differ."""
        wrong = self.wrong
        lines = []
        if wrong:
            lines.append(f"  probe          : {wrong[0].name}: {wrong[0].why}")
            if wrong[0].comparison is not None:
                lines += mismatch(wrong[0].comparison, "the file", "numpy")
            if wrong[0].shapes:
                lines.append(f"  shape          : {wrong[0].shapes}")
        if self.location is not None:
            lines += [f"  where          : {text}" for text in self.location.sentences]
        elif self.located:
            lines.append(f"  where          : {self.located}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON values of ``--json``."""
        found: dict[str, Any] = to_json(
            {
                **document_header("exported"),
                "verdict": self.verdict,
                "reason": self.reason,
                "model": self.model,
                "exported": self.exported,
                "kind": self.kind,
                "runtime": self.runtime,
                "inputs": self.inputs,
                "outputs": self.outputs,
                "weights": self.weights,
                "weights_found": self.weights_found,
                "probes": self.probes,
                "findings": self.findings,
                "location": self.location,
                "located": self.located,
                "diagnosis": self.diagnosis,
                "data": None if self.data is None else self.data.to_dict(),
                "warnings": self.warnings,
                "facts": self.facts,
            }
        )
        return found

    def to_json(self) -> str:
        """Return `to_dict` as one JSON document; NaN and infinity become strings."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)


HEADINGS = ("probe", "rows", "verdict", "|diff|", "allowed", "error / allowed", "")


def _row(probe: ProbeResult) -> tuple[str, ...]:
    c, refused = probe.comparison, probe.verdict is ProbeVerdict.REFUSED
    figures = ("", "", "")
    if c is not None and not c.problem:
        figures = (number(c.max_diff), number(c.allowed), number(c.error_ratio))
    return (
        probe.name,
        f"{probe.rows}",
        str(probe.verdict),
        *figures,
        printable(probe.said, SHOWN_REFUSAL if refused else 160),
    )


def named(probes: Sequence[ProbeResult]) -> str:
    """Return the names of probes, for a sentence."""
    return join_and([probe.name for probe in probes])
