"""Compare a port's recorded outputs with NumPy's, and report on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verify.checks._batches import Batch, input_batches
from verify.checks._intermediates import advice, suspects, wanted_inside
from verify.checks._port_comparison import PortComparison
from verify.checks._short_diagnosis import diagnosed_on_some_steps, few_rows
from verify.checks._tapping import ModelValues
from verify.checks._verdict import (
    beyond_noise,
    format_rule,
    hidden_by,
    judge_by_tolerance,
    judge_outputs,
    partial_verdict,
)
from verify.checks.checkpoint import Watch
from verify.checks.inputs import (
    file_name,
    prepared_rows,
)
from verify.errors import DataError, join_and, printable
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.forward.preparing import as_numbers
from verify.mistakes.diagnose import diagnose
from verify.mistakes.explanation import Diagnosis
from verify.mistakes.search import Clock
from verify.model.arrays import Array
from verify.model.graph import flatten
from verify.report.intermediates import ValueResult
from verify.report.report import Report
from verify.tolerance.compare import Comparison, Verdict
from verify.tolerance.format_range import beyond_range
from verify.tolerance.partial import PartialResult, half_unit


class OutputsComparison(PortComparison):
    """Compare a network with the outputs of a port that was given the same inputs."""

    def identity(self) -> dict[str, Any]:
        """Return what must be unchanged for a comparison to resume."""
        return self.resumed_if("of a port's outputs")

    def batches(self, start: int) -> Iterator[Batch]:
        """Yield the rows from `start` on, with the port's outputs."""
        theirs = self.outputs.batches(self.plan.size, start)
        rows = input_batches(self.net, self.source, self.plan, start)
        for (first, x), outputs in zip(rows, theirs, strict=True):
            yield Batch(first, x, output_leaves(outputs, self.net.output_names))

    def report(self, result: PartialResult, watch: Watch) -> Report:
        """Report on all rows, with a diagnosis if the outputs are not the model's."""
        verdict, reason, numerics, notes, slack = self._judged(result)
        first = self.first_rows(result)
        if self.examiner.precision is not None:
            notes += beyond_range(self.net, first, self.examiner.precision)
        notes += self.notes_on(first)
        report = self._report(result, verdict, reason, numerics, notes)
        if verdict is not Verdict.FAIL:
            return report
        model = ModelValues(self.net, first)
        report = replace(report, suspects=suspects(model, report.values))
        if not self.diagnosis_seconds:
            return replace(report, advice=self._advice(model))
        self.announce_search(report, watch)
        found = self._diagnosis(result, slack, watch.show)
        unknown = self._advice(model) if not found else ()
        return replace(report, diagnosis=found, advice=unknown)

    def _advice(self, model: ModelValues) -> tuple[str, ...]:
        """Say which values inside the port would tell where the mistake is."""
        path = file_name(self.outputs)
        return advice(wanted_inside(model), self.net, self.source, path)

    def partial_report(self, result: PartialResult) -> Report:
        """Report on the rows compared so far."""
        verdict, reason, numerics, notes, _ = self._judged(result)
        verdict, reason = partial_verdict(verdict, reason, result.rows, self.plan.rows)
        return self._report(result, verdict, reason, numerics, notes, complete=False)

    def _judged(
        self, result: PartialResult
    ) -> tuple[Verdict, str, Comparison, list[str], float]:
        """Judge the outputs, as they are or as numbers with few decimals.

        Returns
        -------
        verdict : Verdict
        reason : str
            The sentence for it.
        numerics : Comparison
            The comparison that it is based on.
        notes : list of str
        slack : float
            Difference that is allowed in addition, where outputs were recorded with few
            decimals.
        """
        numerics, notes, slack = result.numerics, list[str](), 0.0
        decimals = result.decimals
        if numerics.matches and self.examiner.tolerance is None:
            notes += beyond_noise(result.by_noise_floor)
        elif numerics.matches or decimals is None:
            pass
        elif places := decimals.places:
            # Printed, or kept in a text file: rounded to these decimals.
            slack, numerics = half_unit(places), result.recorded(places)
            notes.append(
                f"the outputs are recorded to {places} decimal(s), so differences "
                f"below {slack:.0e} cannot be seen: record all digits of float32"
            )
        tolerance = self.examiner.tolerance
        if tolerance is not None:
            verdict, reason = judge_by_tolerance(result, numerics, tolerance)
        else:
            verdict, reason = judge_outputs(
                result, numerics, slack, "".join(notes[:1]), self.examiner.precision
            )
        if verdict is Verdict.PASS and self.examiner.precision is not None:
            notes += hidden_by(result, self.examiner.precision)
        return verdict, reason, numerics, notes, slack

    def _report(
        self,
        result: PartialResult,
        verdict: Verdict,
        reason: str,
        numerics: Comparison,
        notes: Sequence[str],
        **more: Any,
    ) -> Report:
        return self.report_on(
            result,
            verdict,
            reason,
            numerics,
            notes,
            rule=self._rule(result),
            values=self._values(result, numerics),
            **more,
        )

    def _values(
        self, result: PartialResult, numerics: Comparison
    ) -> tuple[ValueResult, ...]:
        """Return the comparison of each output, if there are several.

        Parameters
        ----------
        result : PartialResult
        numerics : Comparison
            The most telling one, as `_judged` returns it.
        """
        tolerance = self.examiner.tolerance
        if len(result.outputs) < 2 or (tolerance and tolerance.kind == "classes"):
            return ()
        as_they_are = any(numerics is output.numerics for output in result.outputs)
        places = result.decimals.places if result.decimals and not as_they_are else 0
        return tuple(
            ValueResult(
                name=name,
                layer="",
                class_name="",
                value="output",
                output=True,
                comparison=output.recorded[places] if places else output.numerics,
                decided=output.tolerance.decides,
                derived=output.derived / max(output.numerics.total, 1),
            )
            for name, output in zip(self.net.output_names, result.outputs, strict=True)
        )

    def _rule(self, result: PartialResult) -> str:
        """Say what the tolerance rests on; empty if on the rules for float32."""
        tolerance, precision = self.examiner.tolerance, self.examiner.precision
        if precision is not None:
            return format_rule(self.net, result, precision)
        if tolerance is None or tolerance.kind == "classes":
            return ""
        return self.tolerance_given()

    def _diagnosis(self, result: PartialResult, slack: float, show: bool) -> Diagnosis:
        """Search for the mistake on the rows that tell most."""
        rows, leading = self.telling_rows(result)
        few = None
        if not self.net.stateful and self.net.spec.batch_size is None:
            first = prepared_rows(self.net, self.source, np.arange(1))
            few = few_rows(self.net, first, self.plan.rows, result.most_different())
        if few is not None:
            rows, leading = few, 1
        x = prepared_rows(self.net, self.source, rows)
        theirs = output_leaves(self.outputs.take(rows), self.net.output_names)
        allowed = self._allowed(result, slack)

        def search(
            net: Network, x: Inputs, observed: Sequence[Array], seconds: float
        ) -> Diagnosis:
            return diagnose(
                net.spec,
                x,
                observed,
                allowed=allowed,
                port=True,
                leading=leading,
                numbers=rows,
                seconds=seconds,
                show=show,
            )

        clock = Clock(self.diagnosis_seconds)
        if not self.net.stateful and self.net.spec.batch_size is None:
            found = diagnosed_on_some_steps(
                self.net, x, theirs, allowed, clock.left, search, rows
            )
            if found is not None:
                return found
        return search(self.net, x, theirs, clock.left)

    def _allowed(self, result: PartialResult, slack: float) -> list[Array]:
        """Return what a diagnosis counts as explained, (units,) for each output."""
        floors = result.noise_floors
        if self.examiner.precision is not None:
            # Either may be the smaller one. A diagnosis that allows more than the
            # verdict would find causes in what is no difference.
            floors = [
                replace(floor, atol=np.minimum(floor.atol, used.atol))
                for floor, used in zip(floors, result.tolerances, strict=True)
            ]
        if self.examiner.tolerance is not None:
            floors = [self.examiner.tolerance.widened(floor) for floor in floors]
        return [floor.widened(slack).atol for floor in floors]


def output_leaves(outputs: Any, names: Sequence[str]) -> list[Array]:
    """Return a port's outputs as a list of arrays, in the order of the model's.

    Parameters
    ----------
    outputs
        A structure as `predict` returns it, or a dict by `names`.
    names : sequence of str
        Names of the model's outputs.

    Raises
    ------
    DataError
        Their number or their names are not those of the model's outputs.
    """
    if isinstance(outputs, Mapping) and set(outputs) != set(names):
        # an entry may hold several outputs, as in a dict that predict returns
        inside = [flatten(outputs[key]) for key in names if key in outputs]
        if sum(map(len, inside)) == len(names):
            outputs = [leaf for leaves in inside for leaf in leaves]
    if isinstance(outputs, Mapping):
        if set(outputs) != set(names):
            raise DataError(
                f"expected outputs called {join_and(list(names))}. "
                f"Received: {join_and([printable(key, 40) for key in outputs])}"
            )
        given = [outputs[name] for name in names]
    elif len(names) == 1:
        one = isinstance(outputs, (list, tuple)) and len(outputs) == 1
        given = list(outputs) if one and hasattr(outputs[0], "shape") else [outputs]
    else:
        given = flatten(list(outputs))
        if len(given) != len(names):
            raise DataError(
                f"expected {len(names)} outputs ({join_and(list(names))}). "
                f"Received: {len(given)}"
            )
    return [as_numbers(value, "outputs that are numbers") for value in given]
