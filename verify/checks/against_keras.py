"""The check itself: NumPy against Keras, layer by layer, with a verdict.

Three comparisons, in this order:

1. *proof*: Keras rebuilt with every dtype policy float64, NumPy in float64. Only a
   wrong formula can exceed 1e-10 here.
2. *layers*: each layer on Keras's own input to it, so that an error does not spread.
3. *numerics*: ``model.predict`` as the user runs it, against NumPy float64, held to a
   bound that is derived for every output, or to the model's own rounding noise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.backward import backprop, supports
from verify.checks._layers import compare_layers, diagnose_layers
from verify.checks._rows import (
    Batch,
    BatchPlan,
    Examiner,
    Mapper,
    as_source,
    error_rows,
    file_name,
    fingerprint,
    input_batches,
    prepared_rows,
    reported,
    serial_map,
    versions,
    watched,
)
from verify.checks._time_chunks import TimeChunks, Undecided, compare_time_chunks
from verify.checks._verdict import (
    UNDEFINED,
    beyond_noise,
    judge,
    judge_time_chunks,
    partial_verdict,
)
from verify.checks.checkpoint import Watch
from verify.checks.inputs import usable_inputs
from verify.checks.load import load
from verify.data.sources import Source
from verify.errors import DataError, KerasCannotRun, UnsupportedError
from verify.forward.network import Inputs, Network
from verify.mistakes.blind_spots import warnings
from verify.mistakes.diagnose import Diagnosis
from verify.model.arrays import Array
from verify.model.spec import ModelSpec, is_path
from verify.report.report import GradientResult, LayerResult, Report
from verify.tolerance.compare import PROOF_TOLERANCE, Comparison, Verdict, compare
from verify.tolerance.partial import PartialResult

if TYPE_CHECKING:
    from verify.keras_bridge import KerasModel

GRADIENT_ROWS = 64
"""Rows whose gradients are compared."""


def check(
    model: Any,
    x: Any = None,
    *,
    batch_size: int = 32,
    network: Network | None = None,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    loaded: Network | None = None,
    gradients: bool = False,
    threads: int | None = None,
    mapper: Mapper = serial_map,
    watch: Watch | None = None,
    on_batch: Callable[[list[Array]], object] | None = None,
) -> Report:
    """Check whether NumPy, from config and weights alone, computes what Keras computes.

    Parameters
    ----------
    model : path to a model file, or keras.Model
    x : (batch, ...), optional
        Inputs, in a list or a dict by their names where there are several; by default
        probe inputs are made from the model's input shapes. Any number of rows: they
        are compared a piece at a time, and may be a `verify.data.sources.Source`.
    batch_size : int
        For ``model.predict``; a batch size fixed in the model wins.
    network : Network, optional
        Hold this one against Keras instead of the one read from `model`: your own
        variant, or a mistake planted on purpose.
    config, semantics
        As for `load`.
    loaded : Network, optional
        What `load` has returned for `model`, where it has been read already.
    gradients : bool
        Whether to compare the gradients of every weight and input too: NumPy's own
        backpropagation with Keras's automatic differentiation, in float64.
    threads : int, optional
        For NumPy's evaluation of the model; as many as there are cores by default.
    mapper : Mapper
        What has pieces examined; by default this process.
    watch : Watch, optional
        Shows progress, keeps a report up to date and makes Ctrl-C end in a partial
        report.
    on_batch : callable, optional
        Called with what Keras's predict returns for each batch of rows, one array for
        each output, in the order of the rows. Rows that `watch` knows already are not
        predicted again.

    Returns
    -------
    Report

    Raises
    ------
    VerifyError
        The model or the inputs cannot be used; the message is one line.
    """
    if isinstance(model, Network):
        raise DataError(
            "expected a path to a model file or a Keras model, to compare with. "
            "Received: a verify.Network; give it as network=, beside its model"
        )
    own = loaded
    if own is None:
        own = load(model, config=config, semantics=semantics)
    net = own if network is None else load(network)
    _require_same_layers(own.spec, net.spec)
    if gradients and (reason := supports(net)):
        raise UnsupportedError(reason)
    net.spec.require_finite()
    source = as_source(net, usable_inputs(net) if x is None else x)
    batch_size = _batch_size(net.spec, source.rows, batch_size)
    layout = BatchPlan.of(net, source, batch_size)
    # What NumPy refuses, such as ids outside the vocabulary, is refused before Keras.
    start, some = next(input_batches(net, source, layout))
    with error_rows(start, some.rows, layout.rows, file_name(source)):
        net.flat(some, threads=threads, fast=True)

    from verify import keras_bridge

    keras_bridge.require_keras()
    if watch is not None:
        watch.log("Loading Keras ...")
    backend = keras_bridge.backend()
    own, net = own.on(backend), net.on(backend)
    live, how = model, ""
    if is_path(model):
        live, how = keras_bridge.load_model(os.fspath(model), own.spec)
    keras = keras_bridge.KerasModel(live, batch_size)
    keras64 = keras.twin("float64")
    if net.spec.batch_size is None:  # rows are each for themselves: larger save time
        keras64.batch_size = max(batch_size, net.row_blocks(some).max_rows)
    checked = _Checked(
        own=own,
        net=net,
        given=network is not None,
        live=not is_path(model),
        source=source,
        layout=layout,
        keras=keras,
        keras64=keras64,
        examiner=Examiner(
            net,
            keras_bridge.current_activation_errors(),
            layout,
            native=True,
            name=file_name(source),
            threads=threads,
        ),
        gradients=gradients,
        on_batch=on_batch,
        facts={
            "model": net.spec.source,
            "rows": layout.rows,
            "pieces": layout.batches,
            "inputs": "probe inputs made from the model" if x is None else "given",
            **({"keras model": how} if how else {}),
            **keras_bridge.versions(),
        },
    )
    return watched(
        checked.examiner,
        checked.batches,
        checked.report,
        checked.partial,
        checked.identity,
        mapper,
        watch,
    )


@dataclass(frozen=True, eq=False)
class _Checked:
    """A model beside Keras's.

    Attributes
    ----------
    own, net : Network
        As the model is, and what is held against it.
    given : bool
        Whether these are two.
    live : bool
        Whether Keras's model was there before, or was made from a file.
    """

    own: Network
    net: Network
    given: bool
    live: bool
    source: Source
    layout: BatchPlan
    keras: KerasModel
    keras64: KerasModel
    examiner: Examiner
    gradients: bool
    on_batch: Callable[[list[Array]], object] | None
    facts: dict[str, Any]

    def identity(self) -> dict[str, Any]:
        """What must be the same for a comparison to go on."""
        from verify import keras_bridge

        return {
            "comparison": "with Keras",
            "model": [fingerprint(self.own), fingerprint(self.net)],
            "data": self.source.fingerprint(),
            "options": {
                "batch size": self.keras.batch_size,
                "gradients": self.gradients,
            },
            "pieces": vars(self.layout),
            "versions": {**versions(), **keras_bridge.versions()},
        }

    def batches(self, start: int) -> Iterator[Batch]:
        """From a row on, with what Keras makes of them."""
        for first, x in input_batches(self.net, self.source, self.layout, start):
            try:
                theirs = self.keras.predict(x)
                proved = self.keras64.predict(x)
            except KerasCannotRun:
                with error_rows(first, x.rows, self.layout.rows, self.examiner.name):
                    self.net.flat(x)  # NumPy may say better what is wrong with x
                raise
            if self.on_batch is not None:
                self.on_batch(theirs)
            yield Batch(first, x, theirs, proved)

    def partial(self, tally: PartialResult) -> Report:
        """Of the rows that were compared, while others are not yet."""
        proof, numerics = _proof(tally), tally.numerics
        verdict, reason = Verdict.INCONCLUSIVE, UNDEFINED
        if not tally.undefined:
            rows = tally.most_different() if not proof.matches else np.arange(1)
            some = prepared_rows(
                self.net, self.source, rows
            )  # looked at on failure alone
            rounding = self.examiner.rounding
            verdict, reason = judge(
                rounding, some, proof, numerics, tally.tolerances, ()
            )
        verdict, reason = partial_verdict(verdict, reason, tally.rows, self.layout.rows)
        return self._report(tally, verdict, reason, proof, numerics, complete=False)

    def report(self, tally: PartialResult) -> Report:
        """Of all rows; the layers, and what else takes time, of some of them."""
        proof, numerics = _proof(tally), tally.numerics
        net, activation_errors, rounding = (
            self.net,
            self.examiner.activation_errors,
            self.examiner.rounding,
        )
        some = prepared_rows(net, self.source, tally.most_different())
        more = [
            f"Keras on {self.facts['backend']}: {rule} (here up to {far:.2g} apart)"
            for rule, far in tally.rule_effects.items()
        ]
        if proof.matches and numerics.matches:
            more += beyond_noise(tally.by_noise_floor)
        layers: tuple[LayerResult, ...] = ()
        chunks: TimeChunks | None = None
        amplified: tuple[float, float] | None = None
        try:
            # A live model belongs to its owner: its layers are called in a copy.
            own = self.keras.twin() if self.live else self.keras
            layers = compare_layers(
                rounding, own, self.keras64, some, activation_errors
            )
        except KerasCannotRun as error:
            more.append(f"the layers were not compared one by one: {error}")
        if tally.undefined:
            verdict, reason = Verdict.INCONCLUSIVE, UNDEFINED
        else:
            verdict, reason = judge(
                rounding, some, proof, numerics, tally.tolerances, layers
            )
            if verdict is Verdict.INCONCLUSIVE and layers and tally.finite:
                try:
                    chunks = compare_time_chunks(
                        rounding,
                        self.keras,
                        self.keras64,
                        some,
                        layers,
                        self.keras.predict(some),
                        activation_errors,
                    )
                    layers = chunks.layers
                    verdict, reason = judge_time_chunks(layers)
                    amplified = proof.max_diff, numerics.max_diff
                    parts = [layer for layer in layers if layer.chunks]
                    proof = max((x.proof for x in parts), key=lambda c: c.error_ratio)
                    numerics = max(
                        (x.numerics for x in parts), key=lambda c: c.error_ratio
                    )
                except Undecided as why:
                    more.append(f"no comparison in chunks: {why}")
        diagnosis = None
        if verdict is Verdict.FAIL:
            diagnosis = self._diagnosis(some, layers, chunks)
        slopes: tuple[GradientResult, ...] = ()
        if self.gradients:
            slopes = _compared_gradients(net, self.keras64, some)
        if verdict is Verdict.PASS and not all(g.comparison.matches for g in slopes):
            verdict, reason = Verdict.FAIL, "the gradients do not match Keras's"
        return self._report(
            tally,
            verdict,
            reason,
            proof,
            numerics,
            layers=layers,
            amplified=amplified,
            diagnosis=diagnosis,
            warnings=(
                *more,
                *warnings(net, some, self.layout.rows),
                *self.source.notes,
            ),
            gradients=slopes,
        )

    def _diagnosis(
        self, some: Inputs, layers: tuple[LayerResult, ...], chunks: TimeChunks | None
    ) -> Diagnosis | None:
        """Which mistake is in the first layer that differs."""
        if chunks is not None:
            return chunks.diagnosis(self.own, self.net if self.given else None)
        if not self.given:
            return diagnose_layers(self.net.spec, some, layers, self.keras64)
        # which mistake does the given network make, seen from the model's own?
        return diagnose_layers(self.own.spec, some, layers, self.net)

    def _report(
        self,
        tally: PartialResult,
        verdict: Verdict,
        reason: str,
        proof: Comparison,
        numerics: Comparison,
        *,
        warnings: tuple[str, ...] = (),
        **more: Any,
    ) -> Report:
        from verify import keras_bridge

        return reported(
            self.net,
            tally,
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


def _proof(tally: PartialResult) -> Comparison:
    if tally.proof is None:
        raise ValueError("expected a tally of a comparison with Keras")
    return tally.proof


def _compared_gradients(
    net: Network, keras64: KerasModel, x: Inputs
) -> tuple[GradientResult, ...]:
    """Of the sum of all outputs, each times a number, with respect to everything."""
    from verify.keras_bridge import keras_gradients

    batch = net.spec.batch_size or 1
    x = x.take(slice(0, max(GRADIENT_ROWS // batch, 1) * batch))
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
        GradientResult(
            path,
            name,
            compare(a, b, allowed=PROOF_TOLERANCE * max(1.0, float(np.abs(a).max()))),
            float(np.abs(a).max()),
        )
        for path, name, a, b in pairs
    )


def assert_matches_predict(model: Any, x: Any = None, **options: Any) -> Report:
    """`check` for a test-suite.

    Parameters
    ----------
    model, x, **options
        As for `check`.

    Returns
    -------
    Report
        Of a check that passed.

    Raises
    ------
    AssertionError
        The verdict is FAIL or INCONCLUSIVE; the message is the whole report.
    VerifyError
        The model or the inputs cannot be used.
    """
    report = check(model, x, **options)
    if report.verdict is not Verdict.PASS:
        raise AssertionError(report.to_text())
    return report


def _batch_size(spec: ModelSpec, rows: int, wanted: int) -> int:
    fixed = spec.batch_size
    if wanted < 1:
        raise DataError(f"expected a batch size of 1 or more. Received: {wanted}")
    if fixed is None:
        return wanted
    if rows % fixed:
        raise DataError(
            f"expected a multiple of {fixed} rows, the model's fixed batch size. "
            f"Received: {rows} rows"
        )
    return fixed


def _require_same_layers(own: ModelSpec, other: ModelSpec) -> None:
    """A network held against a model must have the model's layers."""
    if [(x.name, x.class_name) for x in own] != [(x.name, x.class_name) for x in other]:
        raise DataError(
            "expected a network with the layers of the model "
            f"({', '.join(x.name for x in own)}). "
            f"Received: {', '.join(x.name for x in other)}"
        )
