"""Compare a model with an exported file of it, which the real runtime computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np

from verify.checks.against_outputs import compare_outputs, what_is_allowed
from verify.checks.checkpoint import package_versions
from verify.checks.inputs import as_source
from verify.checks.load import load
from verify.data.files import named_path
from verify.errors import DataError, ModelFileError, join_and, printable
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.mistakes.diagnose import DIAGNOSIS_SECONDS, diagnose
from verify.mistakes.explanation import Diagnosis
from verify.mistakes.keras_versions import version_notes
from verify.model.arguments import typed
from verify.model.arrays import Array
from verify.ports.artefacts.kinds import WANTED, recognise
from verify.ports.artefacts.session import Session, open_session
from verify.ports.conclusions import AS_MANY_AS_ROWS, Case, conclude
from verify.ports.export_report import (
    ExportReport,
    ProbeResult,
    ProbeVerdict,
    named,
)
from verify.ports.locate import FoundWeights, Location, find_weights, locate
from verify.ports.matching import Matching, match
from verify.ports.probes import BATCHES, PADDING, Probe, probes
from verify.ports.runner import Answer, Runner, RuntimeOutputs, first_working_batch
from verify.report.report import Report
from verify.tolerance.compare import Verdict

LOW_PRECISION = ("float16", "bfloat16")
"""Precisions of a port for which a runtime is left to choose its own."""


@dataclass(frozen=True)
class Allowed:
    """Hold what the user allows, as for `verify.compare_outputs`.

    Attributes
    ----------
    tolerance, precision
    diagnosis_seconds : float
    threads : int or None
    """

    tolerance: str | float | None = None
    precision: str | None = None
    diagnosis_seconds: float = DIAGNOSIS_SECONDS
    threads: int | None = None

    def __post_init__(self) -> None:
        what_is_allowed(self.tolerance, self.precision)  # before a runtime is started

    def compare(self, net: Network, x: Any, outputs: Any, **more: Any) -> Report:
        """Compare outputs with those of the model."""
        return compare_outputs(
            net,
            x,
            outputs,
            threads=self.threads,
            tolerance=self.tolerance,
            precision=self.precision,
            **more,
        )


@typed
def compare_exported(
    model: Any,
    exported: str | os.PathLike[str],
    x: Any = None,
    *,
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str] | None = None,
    states: Mapping[str, str] | None = None,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    backend: str | None = None,
    keras: str | None = None,
    threads: int | None = None,
    diagnosis_seconds: float = DIAGNOSIS_SECONDS,
    tolerance: str | float | None = None,
    precision: str | None = None,
    log: Callable[[str], None] | None = None,
) -> ExportReport:
    """Run an exported file and say whether it computes what the model computes.

    The file is run by its own runtime, in a process of its own, on inputs that are made
    for what exporters are known to lose (`verify.ports.probes`), and on yours.

    Parameters
    ----------
    model : path to a model file, Network, or keras.Model
    exported : path
        An ``.onnx``, a ``.tflite``, an OpenVINO ``.xml``, a SavedModel folder or a
        ``.pt2`` of torch.export.
    x : (batch, ...), optional
        Inputs of your own, as for `verify.compare_outputs`: all rows are compared, and
        the probes are made from the first ones.
    inputs, outputs : mapping, optional
        Name in the model -> name in the file, where names and shapes leave a choice.
    states : mapping, optional
        For a stateful model whose file takes and returns its states: input of the file
        -> output that is its value for the next call, where names do not say it.
    config, semantics, backend, keras
        As for `verify.load`.
    threads, diagnosis_seconds, tolerance, precision
        As for `verify.compare_outputs`. With float16 or bfloat16 a runtime that can
        choose its precision is left to choose; otherwise it is asked for float32.
    log : callable, optional
        Is told what there is to wait for.

    Returns
    -------
    ExportReport

    Raises
    ------
    VerifyError
        The model or the file cannot be read, its runtime is missing, or they are not
        the same network; the message is one line.
    """
    net = load(model, config=config, semantics=semantics, backend=backend, keras=keras)
    net.spec.require_finite()
    allowed = Allowed(tolerance, precision, diagnosis_seconds, threads)
    hint = None if precision in LOW_PRECISION else "float32"
    recognise(
        named_path(exported, WANTED, ModelFileError)
    )  # a file of another kind is said before any waiting
    log = log or (lambda text: None)
    log(f"Opening {printable(os.fspath(exported))} ...")
    with open_session(exported, precision_hint=hint) as session:
        try:
            matching = match(
                net, session.signature, inputs=inputs, outputs=outputs, states=states
            )
        except DataError as error:
            raise DataError(f"{session.path}: {error}") from None
        comparison = _Comparison(net, session, matching, allowed, log)
        return comparison.run(x)


class _Comparison:
    """Put the probes to one exported file and draw the conclusions."""

    def __init__(
        self,
        net: Network,
        session: Session,
        matching: Matching,
        allowed: Allowed,
        log: Callable[[str], None],
    ) -> None:
        self.net, self.session, self.matching = net, session, matching
        self.allowed, self.log = allowed, log
        self.runner = Runner(net, session, matching)
        self.constants = cache(self._constants)

    def run(self, x: Any) -> ExportReport:
        """Return the report."""
        asked = probes(self.net, x, shapes=self._shapes())
        answers = self._answers(asked)
        results = [self._result(probe, answers[probe.name]) for probe in asked]
        data = self._data(x) if x is not None else None
        wrong = [
            probe
            for probe, result in zip(asked, results, strict=True)
            if result.verdict is ProbeVerdict.WRONG
        ]
        self._require_same_network(results)
        findings = _findings(results)
        location, located = self._location(wrong)
        diagnosis = None
        if wrong and not any(
            r.said for r in results if r.verdict is ProbeVerdict.WRONG
        ):
            diagnosis = self._diagnosis(asked, results, answers)
        verdict, reason = _verdict(results, data, findings)
        return ExportReport(
            verdict=verdict,
            reason=reason,
            model=self.net.spec.source,
            exported=str(self.session.path),
            kind=self.session.kind,
            runtime=self.session.runtime,
            inputs=tuple(map(str, self.matching.inputs)),
            outputs=tuple(map(str, self.matching.outputs)),
            weights=self.weights.sentences,
            weights_found=(self.weights.found, self.weights.total),
            probes=tuple(results),
            findings=findings,
            location=location,
            located=located,
            diagnosis=diagnosis,
            data=data,
            warnings=(*self._warnings(results),),
            facts={"versions": package_versions(), **self._options()},
        )

    def _constants(self) -> dict[str, Array]:
        """Return the constants of the file, variables as they are before any call."""
        self.runner.renew()
        return self.session.constants()

    @cached_property
    def weights(self) -> FoundWeights:
        """Return which of the model's weights are in the file."""
        return find_weights(self.constants(), self.net.spec)

    def _options(self) -> dict[str, str]:
        given = {
            "tolerance": self.allowed.tolerance,
            "precision": self.allowed.precision,
        }
        return {name: str(value) for name, value in given.items() if value is not None}

    def _shapes(self) -> list[tuple[int | None, ...]]:
        """Return the shape of each input, as far as the model or the file fixes it.

        The number of rows is left to the probes.
        """
        found = []
        for layer, theirs in zip(
            self.net.spec.inputs, self.matching.shapes, strict=True
        ):
            ours = layer.options["batch_shape"]
            same = len(theirs) == len(ours)
            fixed = [
                a if a is not None or not same else b
                for a, b in zip(ours[1:], theirs[1:] if same else ours[1:], strict=True)
            ]
            found.append((ours[0], *fixed))
        return found

    def _answers(self, asked: Sequence[Probe]) -> dict[str, Answer]:
        """Return the answer to each probe by its name.

        The numbers of rows come first: if the file does not take all of them, the rows
        of the other probes are given as many at a time as it takes.
        """
        batches = {f"batch {count}": count for count in BATCHES}
        found: dict[str, Answer] = {}
        for probe in asked:
            if not found or probe.name in batches:
                found[probe.name] = self.runner.answer(probe, whole=True)
                continue
            if len(found) == len(batches.keys() & found.keys()):
                by_rows = {batches[name]: answer for name, answer in found.items()}
                if by_rows:
                    self.runner.batch = first_working_batch(by_rows)
            found[probe.name] = self.runner.answer(probe, whole=False)
        return found

    def _result(self, probe: Probe, answer: Answer) -> ProbeResult:
        rows = sum(x.rows for x in probe.calls)
        made = ProbeResult(probe.name, probe.why, rows, ProbeVerdict.RIGHT)
        if answer.refused:
            return replace(made, verdict=ProbeVerdict.REFUSED, said=answer.refused)
        x = probe.whole
        expected = self.net.flat(x, dtype="float64", threads=self.allowed.threads)
        shapes = [y.shape for y in expected]
        theirs = [y.shape for y in answer.outputs]
        if shapes != theirs:
            listed = join_and([f"{shape}" for shape in theirs])
            wanted = join_and([f"{shape}" for shape in shapes])
            differ = f"{listed} in the file, {wanted} by the model"
            said = self._conclusion(probe, expected, answer, 0.0)
            said = said or f"outputs of shape {differ}"
            return replace(made, verdict=ProbeVerdict.WRONG, said=said, shapes=differ)
        report = self.allowed.compare(
            self.net, x, list(answer.outputs), diagnosis_seconds=0
        )
        made = replace(made, comparison=report.numerics)
        if report.verdict is Verdict.INCONCLUSIVE:
            return replace(made, verdict=ProbeVerdict.UNDECIDED, said=report.reason)
        if report.verdict is Verdict.PASS:
            return made
        said = self._conclusion(probe, expected, answer, report.numerics.allowed)
        return replace(made, verdict=ProbeVerdict.WRONG, said=said)

    def _conclusion(
        self, probe: Probe, expected: list[Array], answer: Answer, allowed: float
    ) -> str:
        case = Case(self.net, probe, expected, answer.outputs, allowed, self.constants)
        return conclude(case)

    def _data(self, x: Any) -> Report:
        """Compare the user's own rows."""
        source = as_source(self.net, x)
        self.log(f"Your inputs: {source.rows:,} row(s)")
        return self.allowed.compare(
            self.net,
            source,
            RuntimeOutputs(self.runner, source),
            diagnosis_seconds=self.allowed.diagnosis_seconds,
        )

    def _require_same_network(self, results: Sequence[ProbeResult]) -> None:
        """Refuse a file that holds none of the weights, and gives none of the outputs.

        Raises
        ------
        DataError
            The model and the file are not the same network.
        """
        right = any(result.verdict is ProbeVerdict.RIGHT for result in results)
        wrong = any(result.verdict is ProbeVerdict.WRONG for result in results)
        if right or not wrong or self.weights.found or not self.weights.total:
            return
        floats = sum(
            array.size for array in self.constants().values() if array.dtype.kind == "f"
        )
        if floats >= self.net.spec.parameters:
            raise DataError(
                f"{self.session.path}: expected an export of "
                f"{printable(self.net.spec.source)}. Received: another network: none "
                f"of the model's {self.weights.total} weights are found in it, and no "
                "output agrees"
            )

    def _location(self, wrong: Sequence[Probe]) -> tuple[Location | None, str]:
        """Return where inside the file the values of the first wrong probe differ."""
        usable = [probe for probe in wrong if len(probe.calls) == 1 and not probe.fed]
        if not wrong:
            return None, ""
        if not usable and all(probe.fed for probe in wrong):
            return (
                None,
                "at masked steps: what they hold, NaN here, reaches the outputs",
            )
        if not usable:
            return None, (
                "between the calls: each of them is right alone, so it is the states "
                "that a call begins with"
            )
        x = usable[0].calls[0]
        x = x.take(slice(0, self.runner.batch or x.rows))
        self.log("Looking inside the file")
        self.runner.renew()
        names = {m.name: m.theirs.name for m in self.matching.outputs}
        try:
            found = locate(self.session, self.net, x, self.runner.feeds(x), names)
        except DataError as error:
            return None, f"the values inside cannot be compared: {error}"
        if found is None:
            return None, "no value inside the file could be compared: the outputs were"
        return found, ""

    def _diagnosis(
        self,
        asked: Sequence[Probe],
        results: Sequence[ProbeResult],
        answers: Mapping[str, Answer],
    ) -> Diagnosis | None:
        """Look for the mistake on the rows of all single calls, right and wrong.

        The right ones count as much: they contradict causes that the wrong ones allow.
        Without a wrong one among them there is only rounding to explain, which some
        weight always explains.
        """
        if not self.allowed.diagnosis_seconds:
            return None
        single = [
            (probe, result)
            for probe, result in zip(asked, results, strict=True)
            if result.comparison and len(probe.calls) == 1 and not probe.fed
        ]
        wrong = [pair for pair in single if pair[1].verdict is ProbeVerdict.WRONG]
        if not wrong:
            return None
        first = wrong[0][0].whole
        chosen: list[tuple[Inputs, Sequence[Array]]] = []
        allowed: list[float] = []
        for probe, result in wrong[:1] if self.net.stateful else single:
            c, x = result.comparison, probe.whole
            if c and [a.shape[1:] for a in x] == [a.shape[1:] for a in first]:
                chosen.append((x, answers[probe.name].outputs))
                allowed.append(c.allowed)
        self.log(
            f"Looking for the mistake, for {self.allowed.diagnosis_seconds:g} s at most"
        )
        whole = Inputs(
            np.concatenate(arrays)
            for arrays in zip(*(x for x, _ in chosen), strict=True)
        )
        theirs = [
            np.concatenate(parts)
            for parts in zip(*(outputs for _, outputs in chosen), strict=True)
        ]
        return diagnose(
            self.net.spec,
            whole,
            theirs,
            allowed=[max(allowed)] * len(theirs),
            port=True,
            seconds=self.allowed.diagnosis_seconds,
        )

    def _warnings(self, results: Sequence[ProbeResult]) -> list[str]:
        found = [*version_notes(self.net.spec), *self.session.signature.notes]
        found += self.matching.notes()
        coarse = any("in steps of int8" in said for said in self.weights.sentences)
        if coarse and not self._options():
            found.append(
                "the file holds its weights in 8 bits: --precision int8 allows what "
                "that may do to the outputs, --tolerance what you say"
            )
        refused: dict[str, list[ProbeResult]] = {}
        for result in results:
            if result.verdict is ProbeVerdict.REFUSED:
                refused.setdefault(result.said, []).append(result)
        found += [
            f"{named(probes)}: the runtime refuses what the model takes: {said}"
            for said, probes in refused.items()
        ]
        return found


def _findings(results: Sequence[ProbeResult]) -> tuple[str, ...]:
    """Return what is wrong in sentences, each with the probes that show it."""
    found = []
    wrong = [r for r in results if r.verdict is ProbeVerdict.WRONG]
    batches = {
        count: result.verdict
        for count in BATCHES
        for result in results
        if result.name == f"batch {count}"
    }
    if batches.get(1) is ProbeVerdict.RIGHT and all(
        batches.get(count) is ProbeVerdict.WRONG for count in BATCHES[1:]
    ):
        found.append("right for batch 1 only")
    by_sentence: dict[str, list[ProbeResult]] = {}
    follows_rows = any(result.said == AS_MANY_AS_ROWS for result in wrong)
    for result in wrong:
        said = result.said
        if follows_rows and said.startswith("reads only the first"):
            said = AS_MANY_AS_ROWS  # of one row, where the two are the same
        if said:
            by_sentence.setdefault(said, []).append(result)
    found += [f"{said} ({named(probes)})" for said, probes in by_sentence.items()]
    names = {result.name for result in wrong}
    padded = [r for r in wrong if r.name in PADDING and not r.said]
    if padded and names <= {*PADDING}:
        found.append(f"right without padding; wrong with {named(padded)}")
    lengths = [r for r in wrong if "step(s)" in r.name and not r.said]
    if lengths and names <= {r.name for r in lengths}:
        others = any(
            "step(s)" in r.name and r.verdict is ProbeVerdict.RIGHT for r in results
        )
        where = "other lengths" if others else "one length only"
        found.append(f"right at {where}; wrong at {named(lengths)}")
    return tuple(found)


def _verdict(
    results: Sequence[ProbeResult], data: Report | None, findings: Sequence[str]
) -> tuple[Verdict, str]:
    """Return the verdict on the file, and the sentence for it."""
    count = len(results)
    by = {
        verdict: [r for r in results if r.verdict is verdict]
        for verdict in ProbeVerdict
    }
    wrong, undecided = by[ProbeVerdict.WRONG], by[ProbeVerdict.UNDECIDED]
    refused, right = by[ProbeVerdict.REFUSED], by[ProbeVerdict.RIGHT]
    if wrong:
        first = f": {findings[0]}" if findings else ""
        return Verdict.FAIL, f"{len(wrong)} of {count} probes are answered wrong{first}"
    if data is not None and data.verdict is Verdict.FAIL:
        return (
            Verdict.FAIL,
            f"the probes are answered right, your inputs are not: {data.reason}",
        )
    if undecided or not right:
        names = named(undecided or refused)
        return Verdict.INCONCLUSIVE, f"nothing can be said of {names}"
    if data is not None and data.verdict is Verdict.INCONCLUSIVE:
        return Verdict.INCONCLUSIVE, data.reason
    rest = f"; the runtime refuses {named(refused)}" if refused else ""
    which = "every probe is" if not refused else f"{len(right)} of {count} probes are"
    return Verdict.PASS, f"{which} answered as the model answers it{rest}"
