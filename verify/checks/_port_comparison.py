"""Hold what comparisons of arrays that a port has recorded share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.checks._batches import BatchPlan, Examiner
from verify.checks._row_comparison import RowComparison
from verify.checks._verdict import backend_notes, make_report
from verify.checks.checkpoint import Watch, network_fingerprint, package_versions
from verify.checks.inputs import input_notes, prepared_rows
from verify.data.sources import Source
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.mistakes.diagnose import DIAGNOSIS_SECONDS
from verify.mistakes.keras_versions import changes_on, file_note, rule_notes
from verify.mistakes.search import LEADING_ROWS
from verify.model.arrays import Array
from verify.model.backends import backend_with
from verify.report.report import Report
from verify.tolerance.compare import Comparison, Verdict
from verify.tolerance.partial import PartialResult


@dataclass(frozen=True, eq=False, kw_only=True)
class PortComparison(RowComparison):
    """Hold a network, and what a port recorded when it was given the same inputs.

    Attributes
    ----------
    net : Network
    source : Source
        The inputs.
    outputs : Source
        What the port recorded for them.
    plan : BatchPlan
    examiner : Examiner
    diagnosis_seconds : float
        How long to look for the mistake, if something differs; 0: not at all.
    """

    net: Network
    source: Source
    outputs: Source
    plan: BatchPlan
    examiner: Examiner
    diagnosis_seconds: float = DIAGNOSIS_SECONDS

    def resumed_if(self, comparison: str) -> dict[str, Any]:
        """Return what must be unchanged for a comparison, called so, to resume."""
        return {
            "comparison": comparison,
            "model": network_fingerprint(self.net),
            "data": self.source.fingerprint(),
            "outputs": self.outputs.fingerprint(),
            "pieces": vars(self.plan),
            "versions": package_versions(),
            **self.examiner.options,
        }

    def first_rows(self, result: PartialResult) -> Inputs:
        """Return the first inputs, of which reports say what they do not test."""
        rows = np.arange(min(result.count, self.plan.rows))
        return prepared_rows(self.net, self.source, rows)

    def notes_on(self, first: Inputs) -> list[str]:
        """Say what the inputs, these first ones and all, do and do not test."""
        trace = self.examiner.known_trace(first)
        about = input_notes(self.net, self.source, first, self.plan.rows, trace)
        return [*about, *self.outputs.notes, *changes_on(self.net, first, trace)]

    def report_on(
        self,
        result: PartialResult,
        verdict: Verdict,
        reason: str,
        numerics: Comparison,
        notes: Sequence[str],
        **more: Any,
    ) -> Report:
        """Return a report; `more` is for `verify.checks._verdict.make_report`."""
        spec = self.net.spec
        about = backend_notes(backend_with(spec.root.rules), result)
        about += rule_notes(spec, result.rule_effects)
        return make_report(
            self.net,
            result,
            self.examiner.activation_errors.platform,
            verdict=verdict,
            reason=reason,
            subject="theirs",
            proof=None,
            numerics=numerics,
            warnings=[*file_note(spec), *about, *notes],
            facts={
                "model": spec.source,
                "rows": self.plan.rows,
                "pieces": self.plan.batches,
                "inputs": "given",
                **self.examiner.options,
            },
            **more,
        )

    def announce_search(self, report: Report, watch: Watch) -> None:
        """Keep a report that says FAIL, and say that the mistake is looked for."""
        watch.write(report)
        watch.log(
            f"{report.verdict}: {report.reason}. Looking for the mistake, for "
            f"{self.diagnosis_seconds:g} s at most"
        )

    def telling_rows(self, result: PartialResult) -> tuple[Array, int]:
        """Return the rows on which a mistake is sought, and how many are the first.

        These are all, or where there are several batches the first rows and those that
        differ most.
        """
        if self.plan.batches == 1:
            return np.arange(self.plan.rows), self.plan.rows
        leading = min(LEADING_ROWS, self.plan.rows)
        differ = result.most_different()
        rows = np.concatenate([np.arange(leading), differ[differ >= leading]])
        return rows, leading

    def tolerance_given(self) -> str:
        """Say which tolerance the user gave; empty if none."""
        tolerance = self.examiner.tolerance
        if tolerance is None:
            return ""
        return f"the tolerance given, {tolerance}, or rounding where it does more"
