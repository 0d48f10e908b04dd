"""Compare values inside a port with the model's, and find the first that differs.

They are compared as `Network.trace` names them, in the order in which the model
computes them: layer by layer, and inside a recurrent layer step by step, gate by gate.
So the first difference is where the mistake is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from verify.checks._batches import (
    Batch,
    Examiner,
    evaluating,
    input_batches,
    rows_of,
)
from verify.checks._port_comparison import PortComparison
from verify.checks._recorded import Recording
from verify.checks._tapping import Given, ModelValues
from verify.checks._verdict import (
    UNDEFINED,
    format_rule,
    partial_verdict,
    undefined,
)
from verify.checks.checkpoint import Watch
from verify.checks.inputs import (
    file_name,
    prepared_rows,
)
from verify.checks.partial import has_a_loop
from verify.console.progress import doing
from verify.data.sources import Source
from verify.errors import join_and, printable
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.forward.taps import Tapped, traced_batches, with_outputs
from verify.mistakes.diagnose import diagnose
from verify.mistakes.explanation import Diagnosis
from verify.mistakes.search import Clock
from verify.model.arrays import Array
from verify.model.graph import flatten
from verify.report.intermediates import SHOWN_NAMES, Place, ValueResult, listed
from verify.report.parts import Coverage, Unproved
from verify.report.report import Report
from verify.tolerance.compare import Comparison, Verdict, both_finite, compare_each
from verify.tolerance.error_bound import bounded_by_format, bounded_outputs
from verify.tolerance.noise_floor import Tolerance
from verify.tolerance.partial import PartialOutput, PartialResult, Ranking
from verify.tolerance.simulation import FormatRounding, Simulation

STATES = ("h", "c")
"""Last part of the names of states in a trace; all other values are gates."""

WRAPPERS = ("Bidirectional", "TimeDistributed", "RNN")
"""Layers whose mistakes may be in the layer inside, or in how they call it."""


@dataclass(frozen=True, eq=False)
class TapExaminer(Examiner):
    """Hold what is the same for all batches of intermediates.

    Attributes
    ----------
    recordings : tuple of Recording or None
        For each tap in how few digits its numbers were recorded.
    """

    recordings: tuple[Recording | None, ...] = ()

    def tap_tolerances(
        self, x: Tapped, expected: Sequence[Array], theirs: Sequence[Array]
    ) -> tuple[list[Tolerance], list[Tolerance]]:
        """Return noise floors and tolerances, those of what layers return derived.

        They are the bounds of a model whose outputs these are.
        """
        simulation = None
        if self.precision is None:
            floors = self.rounding.noise_floors(
                x,
                expected,
                native=False,
                rows=self.neighbour_rows(x, expected, theirs),
            )
        else:
            rounding = FormatRounding(self.net, self.precision)
            rows = self.neighbour_rows(x, expected, theirs)
            with np.errstate(over="ignore", invalid="ignore"):
                simulation = rounding.simulation(x)
                floors = rounding.format_floors(simulation, x, expected, rows)
        order = [k for k, tap in enumerate(x.taps) if tap.tensor is not None]
        if not order:
            return floors, floors
        net = with_outputs(self.net, [t.tensor for t in x.taps if t.tensor is not None])
        some = [floors[k] for k in order]
        a, b = ([of[k] for k in order] for of in (expected, theirs))
        work = self.plan.adjoints
        with doing("deriving bounds"), np.errstate(over="ignore", invalid="ignore"):
            if simulation is not None:
                alike = Simulation(net, simulation.number_format, simulation.scales)
                bounded = bounded_by_format(alike, Inputs(x), some, a, b, work=work)
            else:
                errors = self.activation_errors
                bounded = bounded_outputs(net, Inputs(x), some, a, b, errors, work=work)
        tolerances = list(floors)
        for k, tolerance in zip(order, bounded, strict=True):
            tolerances[k] = tolerance
        return floors, tolerances


def examine_taps(batch: Batch, *, examiner: TapExaminer) -> PartialResult:
    """Compare one batch of intermediates; see `verify.checks._batches.examine`."""
    net, x, theirs = examiner.net, batch.x, batch.theirs
    assert isinstance(x, Tapped)
    with evaluating(batch, examiner):
        expected = x.evaluate(net, "float64")
    pairs = [both_finite(a, b) for a, b in zip(expected, theirs, strict=True)]
    expected, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    with doing(f"{rows_of(batch)}: what rounding may do"):
        floors, tolerances = examiner.tap_tolerances(x, expected, theirs)
    if examiner.tolerance is not None:
        tolerances = [examiner.tolerance.widened(t) for t in tolerances]
    slacks = [
        0.0 if recording is None else recording.slack(y)
        for recording, y in zip(examiner.recordings, theirs, strict=True)
    ]
    wider = [_widened(t, by) for t, by in zip(tolerances, slacks, strict=True)]
    names = [tap.name for tap in x.taps]
    found, noisy = (
        compare_each(expected, theirs, allowed=[t.atol for t in of], names=names)
        for of in (
            wider,
            [_widened(t, by) for t, by in zip(floors, slacks, strict=True)],
        )
    )
    return PartialResult(
        rows=x.rows,
        batches=1,
        count=examiner.closer_rows,
        outputs=tuple(
            PartialOutput(
                None,
                replace(found[k], output=names[k]),
                noisy[k],
                {},
                wider[k].by_unit(),
                floors[k].by_unit(),
                round(tolerances[k].derived * expected[k].size),
            )
            for k in range(len(names))
        ),
        unsound=undefined(expected, theirs, wider),
        finite=all(np.isfinite(y).all() for y in theirs),
        rule_effects={
            str(rule): far for rule, far in net.rule_effects(Inputs(x)).items()
        },
        by_predict=Ranking.of(batch.start, expected, theirs, examiner.closer_rows),
    )


def _widened(tolerance: Tolerance, by: Array | float) -> Tolerance:
    return replace(tolerance, atol=tolerance.atol + by)


@dataclass(frozen=True, eq=False, kw_only=True)
class IntermediatesComparison(PortComparison):
    """Compare values inside a port, and perhaps its outputs, with those of the model.

    Attributes
    ----------
    outputs : Source
        The port's arrays, by name.
    examiner : TapExaminer
    model : ModelValues
    given : list of Given
        What the arrays are, in the order of computation.
    notes : list of str
        What was left out.
    outputs_path : str
        File or folder of the port's arrays; empty if there is none.
    """

    examiner: TapExaminer
    model: ModelValues
    given: list[Given]
    notes: list[str] = field(default_factory=list)
    outputs_path: str = ""

    examine = staticmethod(examine_taps)

    def identity(self) -> dict[str, Any]:
        """Return what must be unchanged for a comparison to resume."""
        names = [one.tap.name for one in self.given]
        return {**self.resumed_if("of a port's intermediates"), "names": names}

    def batches(self, start: int) -> Iterator[Batch]:
        """Yield the rows from `start` on, with the port's values."""
        theirs = self.outputs.batches(self.plan.size, start)
        rows = input_batches(self.net, self.source, self.plan, start)
        for (first, x), values in zip(rows, theirs, strict=True):
            yield self._batch(first, x, values)

    def _batch(self, first: int, x: Inputs, values: Any) -> Batch:
        """Return some rows with the port's values in the order of processing."""
        tapped = self._tapped(x)
        theirs = []
        for k, one in enumerate(self.given):
            array = one.shaped(np.asarray(values[one.tap.name]))
            theirs.append(tapped.kept(k, one.tap.processed(array)))
        return Batch(first, tapped, theirs)

    def _tapped(self, x: Inputs) -> Tapped:
        taps = [one.tap for one in self.given]
        masked = {
            value.key
            for tap in taps
            if (value := self.model.values.get(tap.array)) is not None
            and value.stepped
            and value.value.rpartition("/")[2] not in STATES
            and _mask(value.call.mask) is not None
        }
        if not masked:
            return Tapped(x, taps)
        parts: dict[str, list[Array]] = {key: [] for key in masked}
        for trace in traced_batches(self.net, x, "float64"):
            for key in masked:
                mask = _mask(trace[key].mask)
                if mask is not None:
                    parts[key].append(mask)
        masks = {key: np.concatenate(found) for key, found in parts.items()}
        ignored = list[Array | None]()
        for one in self.given:
            value = self.model.values.get(one.tap.array)
            gate = value is not None and value.value.rpartition("/")[2] not in STATES
            if value is None or not gate or value.key not in masks or not value.stepped:
                ignored.append(None)
                continue
            skipped = one.tap.processed(one.tap.of(~masks[value.key]))
            shape = (len(skipped), *one.shape[1:])
            axes = (1,) * (len(shape) - skipped.ndim)
            ignored.append(
                np.broadcast_to(skipped.reshape(skipped.shape + axes), shape)
            )
        return Tapped(x, taps, ignored)

    # The report ---------------------------------------------------------------

    def report(self, result: PartialResult, watch: Watch) -> Report:
        """Report on all rows, with the first difference and its likely cause."""
        return self._report(result, watch)

    def partial_report(self, result: PartialResult) -> Report:
        """Report on the rows compared so far."""
        return self._report(result, None)

    def _report(self, result: PartialResult, watch: Watch | None) -> Report:
        values = self._values(result)
        numerics = result.numerics
        verdict, reason, coverage = self._judged(result, values)
        complete = watch is not None
        if not complete:
            verdict, reason = partial_verdict(
                verdict, reason, result.rows, self.plan.rows
            )
        notes = [*self.notes, *self._recorded_notes()]
        if complete:
            notes += self.notes_on(self.first_rows(result))
        rule = "derived bounds of what layers return, noise floor of gates and states"
        if self.examiner.precision is not None:
            rule = format_rule(self.net, result, self.examiner.precision)
        elif self.examiner.tolerance is not None:
            rule = self.tolerance_given()
        elif not result.derived[0]:
            rule = "noise floor"
        failed = verdict is Verdict.FAIL
        place = self._place(result, values) if failed and complete else None
        report = self.report_on(
            result,
            verdict,
            reason,
            numerics,
            notes,
            rule=rule,
            values=values,
            place=place,
            suspects=suspects(self.model, values) if failed else (),
            coverage=coverage,
            complete=complete,
        )
        if not (failed and complete) or watch is None:
            return replace(report, advice=self._advice(report))
        if self.diagnosis_seconds:
            self.announce_search(report, watch)
            found = self._diagnosis(result, values, place, watch.show)
            report = replace(report, diagnosis=found)
        return replace(report, advice=self._advice(report))

    def _values(self, result: PartialResult) -> tuple[ValueResult, ...]:
        found = []
        for one, output, recording in zip(
            self.given, result.outputs, self.examiner.recordings, strict=True
        ):
            value = self.model.values.get(one.tap.array)
            what = "" if value is None else value.value
            total = output.numerics.total
            found.append(
                ValueResult(
                    name=one.tap.name,
                    layer="" if value is None else value.key,
                    class_name="" if value is None else value.call.layer.class_name,
                    value=what,
                    output=one.tap.output is not None,
                    comparison=self._in_time(one, output.numerics),
                    decided=output.tolerance.decides or output.numerics.max_diff == 0,
                    derived=output.derived / total if total else 0.0,
                    recorded=f"{recording}" if recording and recording.few else "",
                )
            )
        return tuple(found)

    def _in_time(self, one: Given, comparison: Comparison) -> Comparison:
        """Return a comparison with the numbers of time steps in its indices."""
        steps = self.model.steps(one.tap)
        if one.tap.single or len(comparison.shape) < 3 or not steps:
            return comparison
        if steps == tuple(range(comparison.shape[1])):
            return comparison

        def moved(index: tuple[int, ...] | None) -> tuple[int, ...] | None:
            return None if index is None else (index[0], steps[index[1]], *index[2:])

        return replace(
            comparison, first=moved(comparison.first), worst=moved(comparison.worst)
        )

    def _first(self, result: PartialResult) -> int | None:
        """Return which tap differs first, in the order of computation."""
        wrong = [
            (self.model.sort_key(one.tap, output.numerics.first), k)
            for k, (one, output) in enumerate(
                zip(self.given, result.outputs, strict=True)
            )
            if not output.numerics.matches and output.tolerance.decides
        ]
        return min(wrong)[1] if wrong else None

    def _judged(
        self, result: PartialResult, values: Sequence[ValueResult]
    ) -> tuple[Verdict, str, Coverage | None]:
        """Return the verdict, the sentence for it, and what was proved if not all."""
        first = self._first(result)
        outputs = [one.tap for one in self.given if one.tap.output is not None]
        whole = {tap.output for tap in outputs if tap.steps is None}
        missing = [
            name for k, name in enumerate(self.net.output_names) if k not in whole
        ]
        if first is not None:
            name = printable(values[first].name, 80)
            right = [v for v in values if v.output and v.matches and v.decided]
            head = f"'{name}' is not what the model computes"
            if not missing and len(right) == len(outputs):
                head += ", although the outputs are those of the model"
            return Verdict.FAIL, head, None
        if result.undefined:
            return Verdict.INCONCLUSIVE, UNDEFINED, None
        open_ = [v.name for v in values if not v.decided]
        ends = [v for v in values if v.output and not v.decided]
        if len(open_) == len(values) or ends:
            names = listed([v.name for v in ends] or open_)
            return (
                Verdict.INCONCLUSIVE,
                f"rounding, or the few digits recorded, may change {names} so much "
                "that agreement proves little",
                None,
            )
        count = len(values) - len(open_)
        inside = [v for v in values if not v.output and v.decided]
        agree = f"{len(inside)} value(s) inside it"
        how = ""
        if self.examiner.precision is not None:
            how = f", computed in {self.examiner.precision}"
        elif self.examiner.tolerance is not None:
            how = f" within the tolerance given ({self.examiner.tolerance})"
        if not missing:
            return (
                Verdict.PASS,
                f"the outputs are those of the model{how}, and so are {agree}",
                None,
            )
        one, names = len(missing) == 1, join_and(printable(n, 60) for n in missing)
        partly = whole != {tap.output for tap in outputs}
        return (
            Verdict.PARTIAL,
            f"what was given is that of the model{how} ({count} array(s)); "
            f"{'output' if one else 'outputs'} {names} {'was' if one else 'were'} not "
            f"given{' in all steps' if partly else ''}",
            self._coverage(values),
        )

    def _covered(
        self, values: Sequence[ValueResult], *, whole: bool = False
    ) -> set[str]:
        """Return the calls of layers whose results are behind values that agree.

        With `whole` values of some time steps do not count.
        """
        covered = set[str]()
        for one, result in zip(self.given, values, strict=True):
            value = self.model.values.get(one.tap.array)
            if not (result.matches and result.decided):
                continue
            if value is None or result.value.startswith("mask"):
                continue
            if whole and one.tap.steps is not None:
                continue
            top = self.model.top(value.key)
            covered |= set(self.model.before(top))
            own = top == value.key
            if own and one.tap.steps is None and value.value.startswith("output"):
                covered.add(top)
        return covered

    def _coverage(self, values: Sequence[ValueResult]) -> Coverage:
        """Return which layers are proved: those behind values that agree."""
        covered = self._covered(values, whole=True)
        proved = {
            self.model.nodes[key][0] for key in covered if key in self.model.nodes
        }
        layers = [
            layer
            for layer in self.net.spec.layers
            if layer.class_name != "InputLayer"
            and not layer.class_name.startswith("ops.")
        ]
        right = [x for x in layers if x.name in proved]
        return Coverage(
            layers=len(right),
            of_layers=len(layers),
            parameters=sum(x.parameters for x in right),
            of_parameters=self.net.spec.parameters,
            recurrent=tuple(x.name for x in right if has_a_loop(x)),
            unproved=tuple(
                Unproved(
                    x.name, x.class_name, x.parameters,
                    "nothing was given that comes after it",
                )
                for x in layers
                if x.name not in proved
            ),
        )  # fmt: skip

    def _recorded_notes(self) -> list[str]:
        """Say which arrays were recorded in few digits."""
        names: dict[str, list[str]] = {}
        for one, recording in zip(self.given, self.examiner.recordings, strict=True):
            if recording is not None and recording.few:
                names.setdefault(str(recording), []).append(one.tap.name)
        return [
            f"{listed(held)} {'are' if len(held) > 1 else 'is'} recorded in {how}: "
            "what that loses of each number is allowed for"
            for how, held in names.items()
        ]

    # Where it is --------------------------------------------------------------

    def _place(
        self, result: PartialResult, values: Sequence[ValueResult]
    ) -> Place | None:
        """Return the first difference, with both values there."""
        k = self._first(result)
        if k is None:
            return None
        one, output, value = self.given[k], result.outputs[k], values[k]
        raw = output.numerics
        at = raw.first
        if at is None:
            return None
        ours, theirs = self._pair(k, at)
        shown = value.comparison.first or at
        step = None
        if one.tap.single and one.tap.steps:
            step = one.tap.steps[0]
        elif len(raw.shape) > 2:
            step = shown[1]
        key = self.model.sort_key(one.tap, at)
        before = [
            v.name
            for other, v in zip(self.given, values, strict=True)
            if v.matches and v.decided and self.model.sort_key(other.tap, None) < key
        ]
        known = self.model.values.get(one.tap.array)
        unseen: list[str] = []
        if known is not None:
            covered = self._covered(values)
            top = self.model.top(known.key)
            unseen = [name for name in self.model.before(top) if name not in covered]
        steps = known.shape[0] if known is not None and step is not None else 0
        return Place(
            name=one.tap.name,
            layer=value.layer,
            class_name=value.class_name,
            value=value.value,
            step=step,
            steps=steps,
            row=shown[0],
            unit=shown[-1] if len(shown) > 1 else None,
            index=shown,
            found=theirs,
            expected=ours,
            allowed=float(output.tolerance.atol[at[-1] if len(at) > 1 else 0]),
            agreeing=tuple(before),
            unseen=tuple(unseen),
        )

    def _rows_with(self, row: int) -> Array:
        """Return the rows that must be evaluated to know what comes of one."""
        alone = not self.net.stateful and not self.net.batch_matters
        if not alone:
            return np.arange(self.plan.rows)
        unit = self.net.spec.batch_size or 1
        first = row // unit * unit
        return np.arange(first, min(first + unit, self.plan.rows))

    def _pair(self, number: int, at: tuple[int, ...]) -> tuple[float, float]:
        """Return both values of a tap at an index, in the order of processing."""
        batch = self.rows(self._rows_with(at[0]))
        x = batch.x
        assert isinstance(x, Tapped)
        ours = x.tapped([number]).evaluate(self.net, "float64")[0]
        here = (at[0] - batch.start, *at[1:])
        return float(ours[here]), float(batch.theirs[number][here])

    def rows(self, rows: Array) -> Batch:
        """Return some rows of both sides, by their numbers in ascending order."""
        x = prepared_rows(self.net, self.source, rows)
        return self._batch(int(rows[0]), x, self.outputs.take(rows))

    def _diagnosis(
        self,
        result: PartialResult,
        values: Sequence[ValueResult],
        place: Place | None,
        show: bool,
    ) -> Diagnosis | None:
        """Search for the mistake in the layer where the first difference is."""
        if place is None or not place.layer:
            return None
        rows, leading = self.telling_rows(result)
        batch = self.rows(rows)
        x = batch.x
        assert isinstance(x, Tapped)
        clock = Clock(self.diagnosis_seconds)
        options: dict[str, Any] = {"leading": leading, "numbers": rows, "show": show}
        chosen = self._up_to(place, values)
        found = diagnose(
            self.net.spec,
            x.tapped(chosen),
            [batch.theirs[k] for k in chosen],
            allowed=[result.outputs[k].tolerance.atol for k in chosen],
            # of layers of which nothing was given each may be the wrong one
            layer=None if place.unseen else self._suspect(place),
            seconds=clock.left,
            **options,
        )
        at = {
            one.tap.output: k for k, one in enumerate(self.given) if not one.tap.steps
        }
        ends = [at.get(k) for k in range(len(self.net.output_names))]
        last = place.name in {v.name for v in values if v.output}
        if found or not last or None in ends or not clock.left:
            return found
        # what comes after the last layer: rows, classes and digits
        outputs = [k for k in ends if k is not None]
        other = diagnose(
            self.net.spec,
            Inputs(x),
            [batch.theirs[k] for k in outputs],
            allowed=[result.outputs[k].tolerance.atol for k in outputs],
            port=True,
            seconds=clock.left,
            **options,
        )
        return other if other else found

    def _up_to(self, place: Place, values: Sequence[ValueResult]) -> list[int]:
        """Return the taps up to the layer of the first difference, by their numbers.

        Values of later layers are wrong because of it, or of another mistake.
        """
        top = self.model.top(self._suspect(place))
        limit = max(
            value.order
            for value in self.model.values.values()
            if self.model.top(value.key) == top
        )
        return [
            k
            for k, one in enumerate(self.given)
            if values[k].decided
            and (value := self.model.values.get(one.tap.array)) is not None
            and value.order <= limit
            and value.numbers
        ]

    def _suspect(self, place: Place) -> str:
        """Return the call of the layer in which mistakes are sought."""
        parent, _, _ = place.layer.rpartition("/")
        call = self.model.trace.get(parent) if parent else None
        if call is not None and call.layer.class_name in WRAPPERS:
            return parent
        return place.layer

    # What to do next ----------------------------------------------------------

    def _advice(self, report: Report) -> tuple[str, ...]:
        """Say what to dump next, where neither a cause nor a proof was found."""
        if report.verdict is Verdict.PASS or report.diagnosis:
            return ()
        given = {one.tap.array for one in self.given}
        place = report.place
        if place is None:
            outputs = [n for n in self.model.output_arrays if n not in given]
            wanted = outputs if report.verdict is Verdict.PARTIAL else []
        else:
            wanted = [
                f"{key}/output"
                for key in place.unseen
                if f"{key}/output" in self.model.values
            ]
            call = self.model.trace.get(place.layer)
            if call is not None:
                wanted += [f"{place.layer}/{name}" for name in call.values]
        names = [name for name in wanted if name not in given]
        if place is not None and not names:
            model = printable(self.net.spec.source or "model.keras")
            data = file_name(self.source) or "x.npz"
            return (
                f"compute {place.what} at {place.where} by hand from what goes into "
                "it, which the model's own arrays hold: "
                f"rnn-verify trace {model} --data {data} --out trace.npz",
            )
        return advice(names, self.net, self.source, self.outputs_path)


def wanted_inside(model: ModelValues) -> list[str]:
    """Return the arrays that narrow a mistake down, if nothing inside is known.

    They are the states of recurrent layers and what other layers with weights return.
    """
    found = []
    for value in model.values.values():
        last = value.value.rpartition("/")[2]
        weights = bool(value.call.layer.weights) and not value.key.count("/")
        tells = (value.stepped and last == "h") or (value.value == "output" and weights)
        known = value.name in model.output_arrays or value.name not in model.names
        if tells and not known:
            found.append(value.name)
    if len(found) <= SHOWN_NAMES:
        return found
    spread = np.linspace(0, len(found) - 1, SHOWN_NAMES)
    return [found[int(k)] for k in spread]


def advice(
    names: Sequence[str], net: Network, source: Source, outputs: str
) -> tuple[str, ...]:
    """Return sentences that say which arrays a port should dump, and the command.

    Parameters
    ----------
    names : sequence of str
        Names in a trace; nothing is said if there are none.
    net : Network
    source : Source
        The inputs.
    outputs : str
        The file of the port; empty if there is none.
    """
    if not names:
        return ()
    model = printable(net.spec.source or "model.keras")
    data = file_name(source) or "x.npz"
    theirs = printable(outputs) or "port.npz"
    if not theirs.endswith((".npz", ".parquet")) and "." in theirs.rpartition("/")[2]:
        theirs = "port.npz"
    return (
        f"have the port write {listed(list(names))} into {theirs} as well, then: "
        f"rnn-verify compare {model} --data {data} --outputs {theirs}",
        "what these arrays are in the model, with their shapes: "
        f"rnn-verify trace {model} --data {data} --out trace.npz",
    )


def suspects(model: ModelValues, values: Sequence[ValueResult]) -> tuple[str, ...]:
    """Return the layers on which outputs that differ depend, and none that agrees.

    Parameters
    ----------
    model : ModelValues
    values : sequence of ValueResult
        The outputs among them have the names of the model's.
    """
    at = dict(zip(model.net.output_names, model.output_arrays, strict=True))
    behind: dict[bool, set[str]] = {True: set(), False: set()}
    for value in values:
        if not value.output:
            continue
        key = at.get(value.name, value.name).rpartition("/")[0]
        behind[value.matches] |= {key, *model.before(key)}
    if not (behind[True] and behind[False]):
        return ()
    return tuple(key for key in model.nodes if key in behind[False] - behind[True])


def _mask(mask: Any) -> Array | None:
    """Return the mask that a layer is given, (batch, time), or None."""
    found = [m for m in flatten(mask) if isinstance(m, np.ndarray)]
    return found[0].astype(bool) if found and found[0].ndim == 2 else None
