"""Compare a network with Keras: outputs, layers and gradients, and report on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.backward import backprop
from verify.checks._batches import (
    Batch,
    BatchPlan,
    Examiner,
    Limits,
    examine,
    input_batches,
)
from verify.checks._layers import compare_layers, diagnose_layers
from verify.checks._row_comparison import RowComparison
from verify.checks._short_diagnosis import shorter_pair
from verify.checks._time_chunks import TimeChunks, Undecided, compare_time_chunks
from verify.checks._verdict import (
    ANEW,
    FORMULAS_DIFFER,
    KEPT_FROM_BEFORE,
    NUMERICS_DIFFER,
    OLD_COPIES,
    OPEN_STEPS,
    SET_AFTERWARDS,
    backend_notes,
    beyond_noise,
    judge,
    judge_in_own_dtype,
    judge_time_chunks,
    jumping,
    make_report,
    may_jump,
    on_untested,
    partial_verdict,
    proof_by_layers,
)
from verify.checks.checkpoint import Watch, network_fingerprint, package_versions
from verify.checks.inputs import (
    error_rows,
    file_name,
    input_notes,
    prepared_rows,
    whole_batches,
)
from verify.checks.partial import Remains
from verify.console.progress import doing
from verify.console.signals import interruptible
from verify.data.sources import Source
from verify.errors import KerasCannotRun, UnsupportedError, join_and, printable
from verify.forward.evaluable import Inputs
from verify.forward.network import KERAS_BATCH, Network
from verify.forward.own_layers import own_layers
from verify.mistakes.diagnose import diagnose
from verify.mistakes.explanation import Diagnosis
from verify.mistakes.keras_versions import changes_on, rule_notes
from verify.model.arrays import Array
from verify.model.conventions import export_warning
from verify.model.dtypes import SINGLE
from verify.model.spec import ModelSpec, is_path
from verify.model_files.base_classes import taken_classes
from verify.report.report import GradientResult, LayerResult, Report, first_wrong
from verify.tolerance.compare import (
    PROOF_TOLERANCE,
    Comparison,
    Verdict,
    all_finite,
    compare,
)
from verify.tolerance.partial import PartialResult

if TYPE_CHECKING:
    from verify.keras_bridge import KerasCall, KerasModel

MAX_GRADIENT_ROWS = 64
"""Rows whose gradients are compared, at most."""

MOST_NAMED = 2
"""Gradients that a sentence names."""

MAX_KEPT_NUMBERS = 2**22
"""Numbers in the forward pass of the rows, where not all of them are compared layer by
layer, that Keras computes at a time while it keeps what every layer returns."""

NO_FLOAT64 = (
    "Keras computes this model in its own dtype alone ({why}), so no layer was "
    "compared by itself, and a mistake smaller than rounding is not seen"
)
SEEN_BEFORE = "as the run found that is resumed"
OWN_DTYPE = "; a class of yours should compute in self.compute_dtype"
"""What a report says of a model that Keras cannot compute in float64."""

OnBatch = Callable[[list[Array]], object]
"""Given Keras's outputs of a batch of rows."""


@dataclass(eq=False)
class KerasComparison(RowComparison):
    """Compare a network with a model in Keras.

    Attributes
    ----------
    model : path or keras.Model
    own : Network
        The model as it was read.
    net : Network
        The network that is compared with Keras: `own`, or one that the user gave.
    given : bool
        Whether the user gave `net`.
    source : Source
        The inputs.
    probe : bool
        Whether the inputs were made from the model.
    plan : BatchPlan
    batch_size : int
        Batch size of ``model.predict``.
    gradients : bool
        Whether to compare gradients too.
    threads : int or None
        Threads of NumPy's evaluation of the model.
    limits : Limits
    on_batch : callable or None
        Called with Keras's outputs of each batch.
    remains : Remains or None
        Of a model of which not all can be read; `model` and `own` are then of that.
    keras, keras64 : KerasModel
        The model as the user runs it, and with every dtype float64; set by `open`.
    untested : str
        Says that this version of Keras was not tested; empty if it was. Set by `open`.
    examiner : Examiner
        Set by `open`.
    facts : dict
        Facts of the report; set by `open`.
    calls64 : list of KerasCall or None
        Every call of a layer in float64, on all rows, if they are few; set by
        `batches`.
    no_float64 : str
        Why Keras computes this model in its own dtype alone; empty if it does not. Set
        by `batches`.
    anew : str
        Says that predict is run in a copy of a live model, and why; set by `open`.
    """

    model: Any
    own: Network
    net: Network
    given: bool
    source: Source
    probe: bool
    plan: BatchPlan
    batch_size: int
    gradients: bool
    threads: int | None
    limits: Limits
    on_batch: OnBatch | None
    remains: Remains | None
    keras: KerasModel = field(init=False)
    keras64: KerasModel = field(init=False)
    untested: str = field(init=False)
    examiner: Examiner = field(init=False)
    facts: dict[str, Any] = field(init=False)
    calls64: list[KerasCall] | None = field(init=False, default=None)
    no_float64: str = field(init=False, default="")
    anew: str = field(init=False, default="")

    def open(self, log: Callable[[str], None]) -> None:
        """Load Keras; for a file after NumPy has evaluated the first batch.

        This evaluation may look superfluous, because its outputs are not used. It is
        there for its errors. NumPy refuses inputs that do not fit, such as an id
        outside the vocabulary, and says why. Keras may fail without a reason or return
        numbers all the same, and it takes seconds to load. So Keras is not loaded for
        inputs that NumPy refuses. The outputs cannot be kept: the rules to compute by
        are those of Keras's backend, which is known only once Keras is loaded. Of a
        live model NumPy refuses the inputs later, when it evaluates all of them.
        """
        from verify import keras_bridge

        name = file_name(self.source)
        start, x = next(input_batches(self.net, self.source, self.plan))
        if is_path(self.model):
            # what cannot be computed by the rules of TensorFlow may be by Keras's own
            with (
                suppress(UnsupportedError),
                error_rows(start, x.rows, self.plan.rows, name),
            ):
                self.net.flat(x, threads=self.threads, fast=True, of_rows=0)

        keras_bridge.require_keras()
        log("Loading Keras ...")
        backend, rules = keras_bridge.backend(), keras_bridge.version_rules()
        self.untested = keras_bridge.untested_version()
        self.own = self.own.on(backend).by_version(rules)
        self.net = self.net.on(backend).by_version(rules)
        live, how = self.model, ""
        if self.remains is not None:
            how = "built from the layers that can be read"
        if is_path(self.model):
            path, spec = os.fspath(self.model), self.own.spec
            live, how = interruptible(lambda: keras_bridge.load_model(path, spec))
        self.keras = keras_bridge.KerasModel(live, self.batch_size)
        self.keras64 = interruptible(lambda: self.keras.twin("float64"))
        self.examiner = Examiner(
            self.net,
            keras_bridge.current_activation_errors(),
            self.plan,
            native=True,
            name=name,
            threads=self.threads,
            limits=self.limits,
        )
        if self.net.spec.batch_size is None:  # rows are independent: larger is faster
            rows = self.net.row_blocks(x).max_rows
            if not self._keeps_calls:
                rows = min(rows, MAX_KEPT_NUMBERS // max(self.plan.numbers, 1))
            self.keras64.batch_size = max(self.batch_size, rows)
        if self.net.batch_matters:  # NumPy takes as many rows at a time
            self.keras.batch_size = self.keras64.batch_size = KERAS_BATCH
        self.facts = {
            "model": self.net.spec.source,
            "rows": self.plan.rows,
            "pieces": self.plan.batches,
            "inputs": "probe inputs made from the model" if self.probe else "given",
            **({"keras model": how} if how else {}),
            **keras_bridge.versions(),
        }
        if self.probe and not is_path(self.model) and (note := self._open_steps()):
            # predict of the owner's model would keep the length of the probe inputs
            self.keras = self.keras.twin()
            self.anew = f"predict was run in a new copy of the model: {note}"

    def identity(self) -> dict[str, Any]:
        """Return what must be unchanged for a comparison to resume."""
        from verify import keras_bridge

        return {
            "comparison": "with Keras",
            "model": [network_fingerprint(self.own), network_fingerprint(self.net)],
            "data": self.source.fingerprint(),
            "options": {"batch size": self.batch_size, "gradients": self.gradients},
            "pieces": vars(self.plan),
            "versions": {**package_versions(), **keras_bridge.versions()},
        }

    def batches(self, start: int) -> Iterator[Batch]:
        """Yield the rows from `start` on, with Keras's outputs."""
        for first, x in input_batches(self.net, self.source, self.plan, start):
            try:
                rows = f"rows {first + 1:,} to {first + x.rows:,}"
                with doing(f"{rows}: Keras's predict"):
                    theirs = self.keras.predict(x)
                with doing(f"{rows}: Keras's predict in float64"):
                    theirs64 = self._in_float64(x)
            except KerasCannotRun as error:
                with error_rows(first, x.rows, self.plan.rows, self.examiner.name):
                    self.net.flat(x)  # raises if NumPy can say what is wrong with x
                if note := self._open_steps():
                    raise KerasCannotRun(f"{error}: {note}") from error
                raise
            if self.on_batch is not None:
                self.on_batch(theirs)
            yield Batch(first, x, theirs, theirs64)

    @property
    def _keeps_calls(self) -> bool:
        """Return whether the calls of the only batch are compared layer by layer."""
        return self.plan.batches == 1 and self.plan.rows <= self.examiner.closer_rows

    def _in_float64(self, x: Inputs) -> list[Array] | None:
        """Return Keras's outputs in float64; keep the calls of layers of few rows.

        A layer may compute in float32 whatever it is told, above all one of the user's.
        There is None then, if what float32 may do to the outputs tells formulas apart.
        """
        if self.no_float64:
            return None
        try:
            return self._computed_in_float64(x)
        except KerasCannotRun as error:
            rounding = self.examiner.rounding
            if self.gradients or rounding.quantised or rounding.unit > SINGLE:
                raise
            self.no_float64 = str(error)
            return None

    def _computed_in_float64(self, x: Inputs) -> list[Array]:
        if self._keeps_calls:
            outputs, self.calls64 = self.keras64.run(x)
            return outputs
        rows = min(self.keras64.batch_size, x.rows)
        if rows * self.plan.numbers > MAX_KEPT_NUMBERS:
            return self.keras64.predict(x)
        return self.keras64.outputs(x)

    def partial_report(self, result: PartialResult) -> Report:
        """Report on the rows compared so far."""
        proof, numerics = result.proof, result.numerics
        if proof is None:
            verdict, reason = judge_in_own_dtype(result)
        else:
            # the model is evaluated on these rows only if the proof has failed
            rows = result.most_different() if not proof.matches else np.arange(1)
            some = prepared_rows(self.net, self.source, rows)
            verdict, reason = judge(self.examiner.rounding, some, result, proof, ())
        verdict, reason = partial_verdict(verdict, reason, result.rows, self.plan.rows)
        verdict, reason = on_untested(verdict, reason, self.untested)
        return self._report(
            result,
            verdict,
            reason,
            proof,
            numerics,
            warnings=tuple(self._about_keras(result)),
            complete=False,
        )

    def report(self, result: PartialResult, watch: Watch) -> Report:
        """Report on all rows; compare the layers on those that differ most."""
        proof, numerics = result.proof, result.numerics
        if proof is None:
            return self._report_in_own_dtype(result)
        some = prepared_rows(self.net, self.source, result.most_different())
        notes = self._about_keras(result) + own_notes(self.net.spec)
        if proof.matches and numerics.matches:
            notes += beyond_noise(result.by_noise_floor)
        layers: tuple[LayerResult, ...] = ()
        try:
            with doing(f"{some.rows:,} row(s) layer by layer"):
                layers = self._layers(some)
        except KerasCannotRun as error:
            notes.append(f"the layers were not compared one by one: {error}")
        proof = proof_by_layers(proof, layers)
        verdict, reason = judge(self.examiner.rounding, some, result, proof, layers)
        if reason == NUMERICS_DIFFER and self._agrees_anew(some):
            reason = f"{ANEW}: {self._why_not_this_one()}"
        jumps = reason == NUMERICS_DIFFER and jumping(self.net.spec, layers)
        if jumps:
            verdict, reason = Verdict.INCONCLUSIVE, jumps
        chunks: TimeChunks | None = None
        amplified: tuple[float, float] | None = None
        comparable = layers and result.finite and not result.undefined
        own = not self.given
        tied = own and reason == FORMULAS_DIFFER and may_jump(self.net.spec, layers)
        undecided = verdict is Verdict.INCONCLUSIVE and not jumps
        if comparable and (undecided or tied):
            try:
                rows = some
                if self.net.stateful:  # each row depends on those before it
                    every = np.arange(self.plan.rows)
                    rows = prepared_rows(self.net, self.source, every)
                with doing("time chunks"):
                    chunks = compare_time_chunks(
                        self.examiner, self.keras, self.keras64, rows, layers
                    )
                layers = chunks.layers
                verdict, reason = judge_time_chunks(layers)
                amplified = proof.max_diff, numerics.max_diff
                # with no layer in chunks, each is decided on its own inputs
                parts = [layer for layer in layers if layer.chunks] or layers
                proof = max((x.proof for x in parts), key=_error_ratio)
                numerics = max((x.numerics for x in parts), key=_error_ratio)
            except Undecided as why:
                if not tied:
                    notes.append(f"no comparison in chunks: {why}")
        diagnosis = None
        if verdict is Verdict.FAIL and not self.untested:
            with doing("searching for the mistake"):
                diagnosis = self._diagnosis(some, layers, chunks)
        gradients: tuple[GradientResult, ...] = ()
        if self.gradients:
            with doing("gradients"):
                gradients = _compared_gradients(self.net, self.keras64, some)
            if verdict is Verdict.PASS:
                verdict, reason = _judged_gradients(gradients) or (verdict, reason)
        verdict, reason = on_untested(verdict, reason, self.untested)
        notes += self._about_inputs(some)
        return self._report(
            result,
            verdict,
            reason,
            proof,
            numerics,
            layers=layers,
            amplified=amplified,
            diagnosis=diagnosis,
            warnings=tuple(notes),
            gradients=gradients,
        )

    def _report_in_own_dtype(self, result: PartialResult) -> Report:
        """Report on the outputs of a model that Keras cannot compute in float64."""
        some = prepared_rows(self.net, self.source, result.most_different())
        verdict, reason = judge_in_own_dtype(result)
        diagnosis = None
        if verdict is Verdict.FAIL and not self.untested:
            with doing("searching for the mistake"):
                theirs = (
                    self.net.flat(some, dtype="float64")
                    if self.given
                    else self.keras.predict(some)
                )
                allowed = [floor.atol for floor in result.noise_floors]
                diagnosis = diagnose(self.own.spec, some, theirs, allowed=allowed)
        verdict, reason = on_untested(verdict, reason, self.untested)
        own = own_notes(self.net.spec)
        notes = [
            *self._about_keras(result),
            NO_FLOAT64.format(why=self.no_float64 or SEEN_BEFORE)
            + OWN_DTYPE * bool(own),
            *own,
            *self._about_inputs(some),
        ]
        return self._report(
            result,
            verdict,
            reason,
            None,
            result.numerics,
            diagnosis=diagnosis,
            warnings=tuple(notes),
        )

    def _agrees_anew(self, some: Inputs) -> bool:
        """Tell whether predict of a new copy of the model agrees with NumPy."""
        try:
            with doing("predict of a new copy"):
                theirs = self.keras.twin().predict(some)
        except KerasCannotRun:
            return False
        again = examine(Batch(0, some, theirs, None), examiner=self.examiner)
        return again.numerics.matches

    def _why_not_this_one(self) -> str:
        """Say what predict of a live model does that that of a copy does not."""
        from verify import keras_bridge

        if name := keras_bridge.layer_with_old_copies(self.keras.model):
            return OLD_COPIES.format(layer=f"Layer '{name}' (Normalization)")
        layer, name = keras_bridge.set_afterwards(
            self.keras.model, self.keras.twin().model
        )
        if layer:
            return SET_AFTERWARDS.format(layer=layer, name=name)
        return self._open_steps() or KEPT_FROM_BEFORE

    def _open_steps(self) -> str:
        """Say which layer computes wrong steps after inputs of several lengths."""
        if self.facts["backend"] != "tensorflow":
            return ""
        for _, layer in self.net.spec.walk():
            if layer.class_name == "TimeDistributed" and layer.input_shape[1] is None:
                return OPEN_STEPS.format(layer=layer)
        return ""

    def _about_keras(self, result: PartialResult) -> list[str]:
        """Say what backend and version change here, and if the version is untested."""
        from verify import keras_bridge

        backend, version = self.facts["backend"], self.facts["keras"]
        notes = [self.untested] if self.untested else []
        notes += [self.anew] if self.anew else []
        notes += [keras_bridge.AT_ONCE] if self.keras.at_once else []
        notes += backend_notes(backend, result)
        return notes + rule_notes(self.net.spec, result.rule_effects, version)

    def _about_inputs(self, some: Inputs) -> list[str]:
        """Say what these inputs do not test, and what will be computed otherwise."""
        trace = self.examiner.known_trace(some)
        return [
            *input_notes(self.net, self.source, some, self.plan.rows, trace),
            *changes_on(self.net, some, trace),
            *export_warning(self.net.spec),
        ]

    def _layers(self, some: Inputs) -> tuple[LayerResult, ...]:
        # A live model belongs to its owner: its layers are called in a copy.
        keras = self.keras if is_path(self.model) else self.keras.twin()
        calls = self.calls64 if some.rows == self.plan.rows else None
        return compare_layers(self.examiner, keras, self.keras64, some, calls)

    def _diagnosis(
        self, some: Inputs, layers: tuple[LayerResult, ...], chunks: TimeChunks | None
    ) -> Diagnosis | None:
        """Say which mistake is in the first layer that differs."""
        if chunks is not None:
            return chunks.diagnosis(self.own, self.net if self.given else None)
        if not self.given:
            return diagnose_layers(self.net.spec, some, layers, self.keras64)
        # Which mistake, made in the model, gives what the user's network computes?
        own, net = self.own, self.net
        wrong = first_wrong([layer for layer in layers if not layer.proof.matches])
        if wrong is not None:
            name = None if wrong.proof.problem else wrong.name
            short = shorter_pair(own, net, some, name, PROOF_TOLERANCE)
            if short is not None:
                own, net, some = short.own, short.other, short.x
        return diagnose_layers(own.spec, some, layers, net)

    def _report(
        self,
        result: PartialResult,
        verdict: Verdict,
        reason: str,
        proof: Comparison | None,
        numerics: Comparison,
        *,
        warnings: tuple[str, ...] = (),
        **more: Any,
    ) -> Report:
        from verify import keras_bridge

        report = make_report(
            self.net,
            result,
            keras_bridge.current_platform(),
            verdict=verdict,
            reason=reason,
            subject="keras",
            proof=proof,
            numerics=numerics,
            warnings=warnings,
            facts=self.facts,
            **more,
        )
        taken = taken_classes(self.net.spec)
        if taken and verdict is Verdict.PASS:
            report = replace(report, reason=f"{reason}, with {taken}")
        return report if self.remains is None else self.remains.relabelled(report)


def own_notes(spec: ModelSpec) -> list[str]:
    """Say which layers are computed by code of the user's."""
    own = own_layers()
    return [
        f"{layer}: computed by code of yours, in "
        f"{Path(own[layer.class_name].home).name}, of which no mistakes are known"
        for _, layer in spec.walk()
        if layer.class_name in own
    ]


def _error_ratio(comparison: Comparison) -> float:
    return comparison.error_ratio


def _compared_gradients(
    net: Network, keras64: KerasModel, x: Inputs
) -> tuple[GradientResult, ...]:
    """Compare the gradients of a random weighted sum of all outputs, in float64.

    They are taken with respect to every input and every weight.
    """
    from verify.keras_bridge import keras_gradients

    x = x.take(slice(0, whole_batches(MAX_GRADIENT_ROWS, net.spec.batch_size)))
    rng = np.random.default_rng(0)
    towards = [rng.normal(size=y.shape) for y in net.flat(x, dtype="float64")]
    ours = backprop(net, x, towards)
    inputs, weights = keras_gradients(keras64, x, towards)
    pairs = [
        (name, "", a, b)
        for name, a, b in zip(net.input_names, ours.inputs, inputs, strict=True)
        if a is not None and b is not None
    ]
    pairs += [
        (path, name, value, weights[path][name])
        for path, values in ours.weights.items()
        for name, value in values.items()
    ]
    return tuple(
        GradientResult(path, name, _compared_gradient(a, b), float(np.abs(a).max()))
        for path, name, a, b in pairs
    )


def _compared_gradient(ours: Array, theirs: Array) -> Comparison:
    """Compare a gradient; NaN of Keras is a difference unless there is another one."""
    (ours,), (theirs,) = all_finite([ours], [theirs])
    allowed = PROOF_TOLERANCE * max(1.0, float(np.abs(ours).max()))
    rest = compare(ours, np.where(np.isnan(theirs), ours, theirs), allowed=allowed)
    return compare(ours, theirs, allowed=allowed) if rest.matches else rest


def _judged_gradients(
    gradients: tuple[GradientResult, ...],
) -> tuple[Verdict, str] | None:
    """Return the verdict and its sentence where gradients do not match; None if all do.

    TensorFlow's gradient of a number that ``where`` leaves out is 0 times that of the
    operation which made it, and so NaN where that is infinite. NumPy's is 0.
    """
    wrong = [g for g in gradients if not g.comparison.matches]
    if not wrong:
        return None
    nan = [np.isnan(g.comparison.max_diff) and np.isfinite(g.greatest) for g in wrong]
    if not all(nan):
        return Verdict.FAIL, "the gradients do not match Keras's"
    names = [printable(f"{g.layer}/{g.weight}".rstrip("/"), 40) for g in wrong]
    if len(names) > MOST_NAMED:
        names[MOST_NAMED:] = [f"{len(names) - MOST_NAMED} more"]
    return (
        Verdict.INCONCLUSIVE,
        f"the outputs match, but Keras's gradients of {join_and(names)} hold NaN, in "
        "training too: a division, root or logarithm that is not used does that",
    )
