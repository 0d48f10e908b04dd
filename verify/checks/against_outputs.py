"""The outputs of somebody's port: are they those of the model?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.checks._rows import (
    Batch,
    BatchPlan,
    Examiner,
    Mapper,
    as_source,
    error_rows,
    file_name,
    fingerprint,
    half_unit,
    input_batches,
    prepared_rows,
    reported,
    serial_map,
    versions,
    watched,
)
from verify.checks._verdict import (
    UNDEFINED,
    beyond_noise,
    partial_verdict,
    undecided,
)
from verify.checks.checkpoint import Watch
from verify.checks.load import load
from verify.data.sources import Arrays, Source
from verify.errors import DataError, join_and, printable
from verify.forward.network import Network
from verify.mistakes.blind_spots import warnings
from verify.mistakes.diagnose import Diagnosis, diagnose
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import flatten
from verify.report.report import Report
from verify.tolerance.activation_errors import ActivationErrors, worst_known_errors
from verify.tolerance.compare import Comparison, Verdict
from verify.tolerance.partial import PartialResult


def compare_outputs(
    model: Any,
    x: Any,
    outputs: Any,
    *,
    config: str | os.PathLike[str] | None = None,
    semantics: str | None = None,
    backend: str | None = None,
    threads: int | None = None,
    mapper: Mapper = serial_map,
    watch: Watch | None = None,
) -> Report:
    """Are these the outputs of this model? For a port in C, a device, another runtime.

    Needs no Keras when `model` is a path. The allowance is that of a port in float32.

    Parameters
    ----------
    model : path to a model file, Network, or keras.Model
    x : (batch, ...)
        The inputs that the port was given; any number of rows, also a
        `verify.data.sources.Source`.
    outputs : (batch, ...)
        What the port returned, in the shape of ``model.predict(x)``; a list or a dict
        by the names of the output layers where there are several; or a Source.
    config, semantics, backend
        As for `load`.
    threads, mapper, watch
        As for `check`.

    Returns
    -------
    Report
        With a diagnosis where a known mistake explains the outputs.

    Raises
    ------
    VerifyError
    """
    net = load(model, config=config, semantics=semantics, backend=backend)
    net.spec.require_finite()
    source = as_source(net, x)
    layout = BatchPlan.of(net, source)
    name = file_name(source)
    port = _Port(
        net, source, _as_outputs(net, source, outputs), layout, worst_known_errors()
    )
    examiner = Examiner(net, port.activation_errors, layout, False, name, threads)
    return watched(
        examiner, port.batches, port.report, port.partial, port.identity, mapper, watch
    )


@dataclass(frozen=True, eq=False)
class _Port:
    """A port's outputs beside the inputs that it was given."""

    net: Network
    source: Source
    outputs: Source
    layout: BatchPlan
    activation_errors: ActivationErrors

    def identity(self) -> dict[str, Any]:
        """What must be the same for a comparison to go on."""
        return {
            "comparison": "of a port's outputs",
            "model": fingerprint(self.net),
            "data": self.source.fingerprint(),
            "outputs": self.outputs.fingerprint(),
            "pieces": vars(self.layout),
            "versions": versions(),
        }

    def batches(self, start: int) -> Iterator[Batch]:
        """From a row on."""
        theirs = self.outputs.batches(self.layout.size, start)
        rows = input_batches(self.net, self.source, self.layout, start)
        for (first, x), outputs in zip(rows, theirs, strict=True):
            yield Batch(first, x, _leaves(outputs, self.net.output_names))

    def judged(
        self, tally: PartialResult
    ) -> tuple[Verdict, str, Comparison, list[str], float]:
        """Verdict, reason, comparison, notes, and what decimals add to allowances."""
        numerics, notes, by = tally.numerics, list[str](), 0.0
        decimals = tally.decimals
        if numerics.matches:
            notes += beyond_noise(tally.by_noise_floor)
        elif decimals is not None and (places := decimals.places):
            # printed, or kept in a text file: half of the last decimal is theirs
            by, numerics = half_unit(places), tally.recorded(places)
            notes.append(
                f"the outputs are recorded to {places} decimal(s), so differences "
                f"below {by:.0e} cannot be seen: record all digits of float32"
            )
        sharp = tally.tolerances
        if tally.undefined:
            verdict, reason = Verdict.INCONCLUSIVE, UNDEFINED
        elif not all(floor.decides for floor in sharp):
            verdict, reason = Verdict.INCONCLUSIVE, undecided(sharp)
        elif numerics.matches and not all(f.widened(by).decides for f in sharp):
            verdict, reason = Verdict.INCONCLUSIVE, notes[0]
        elif numerics.matches:
            verdict, reason = Verdict.PASS, "the outputs are those of the model"
        else:
            verdict, reason = Verdict.FAIL, "the outputs are not those of the model"
        return verdict, reason, numerics, notes, by

    def report(self, tally: PartialResult, *, complete: bool = True) -> Report:
        """Of the rows that were compared."""
        verdict, reason, numerics, notes, by = self.judged(tally)
        diagnosis: Diagnosis | None = None
        more: list[str] = []
        if complete:
            if verdict is Verdict.FAIL:
                diagnosis = self._diagnosis(tally, by)
            count = min(tally.count, self.layout.rows)
            first = prepared_rows(self.net, self.source, np.arange(count))
            more = [*warnings(self.net, first, self.layout.rows), *self.source.notes]
        else:
            verdict, reason = partial_verdict(
                verdict, reason, tally.rows, self.layout.rows
            )
        return reported(
            self.net,
            tally,
            self.activation_errors.platform,
            verdict=verdict,
            reason=reason,
            subject="theirs",
            proof=None,
            numerics=numerics,
            diagnosis=diagnosis,
            warnings=(*notes, *more),
            facts={
                "model": self.net.spec.source,
                "rows": self.layout.rows,
                "pieces": self.layout.batches,
                "inputs": "given",
            },
            complete=complete,
        )

    def partial(self, tally: PartialResult) -> Report:
        """Of the rows that were compared, while others are not yet."""
        return self.report(tally, complete=False)

    def _diagnosis(self, tally: PartialResult, by: float) -> Diagnosis:
        """From all rows of a single piece; of many from those that differ most."""
        rows = tally.most_different()
        if self.layout.batches == 1:
            rows = np.arange(self.layout.rows)
        theirs = _leaves(self.outputs.take(rows), self.net.output_names)
        return diagnose(
            self.net.spec,
            prepared_rows(self.net, self.source, rows),
            theirs,
            allowed=[noise.widened(by).atol for noise in tally.noise_floors],
        )


def _as_outputs(net: Network, source: Source, outputs: Any) -> Source:
    """A port's outputs, to be read piece by piece; in the shapes of the model's.

    Raises
    ------
    DataError
    """
    names, few = net.output_names, min(net.spec.batch_size or 1, source.rows)
    with error_rows(0, few, source.rows, file_name(source)):
        ours = net.flat(prepared_rows(net, source, np.arange(few)), dtype="float64")
    shapes = [(source.rows, *y.shape[1:]) for y in ours]
    if isinstance(outputs, Source):
        some = outputs.take(np.arange(min(1, outputs.rows)))
        with error_rows(0, 1, 1, file_name(outputs)):
            _require_fitting(_leaves(some, names), shapes, outputs.rows)
        return outputs
    theirs = _leaves(outputs, names)
    _require_fitting(theirs, shapes)
    return Arrays(
        theirs[0] if len(theirs) == 1 else dict(zip(names, theirs, strict=True))
    )


def _require_fitting(
    theirs: Sequence[Array],
    shapes: Sequence[tuple[int, ...]],
    rows: int | None = None,
) -> None:
    """Outputs are numbers in the shapes of the model's; of some rows out of `rows`."""
    for array, shape in zip(theirs, shapes, strict=True):
        received = array.shape if rows is None else (rows, *array.shape[1:])
        if array.dtype.kind not in "biuf" and not is_float(array):
            raise DataError(
                f"expected outputs that are numbers. Received: {array.dtype}"
            )
        if received != shape:
            raise DataError(
                f"expected outputs of shape {shape}, as predict returns them for these "
                f"inputs. Received: shape={received}"
            )


def _leaves(outputs: Any, names: Sequence[str]) -> list[Array]:
    """A port's outputs as a list of arrays.

    A structure as `predict` returns it, or a dict by `names`.
    """
    if isinstance(outputs, Mapping) and set(outputs) != set(names):
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
    return [np.asarray(value) for value in given]
