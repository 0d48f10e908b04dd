"""Any amount of data: a comparison made piece by piece.

Rows are cut into pieces by the model and their number alone, never by the machine, so
that the outcome is the same on one machine, on several, and after an interruption.
`examine` is what is done with a piece: in NumPy, so any worker can do it. What it finds
is a `PartialResult`; tallies of pieces are joined in their order.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from verify import __version__
from verify.checks._layers import LAYER_ROWS
from verify.checks._verdict import tolerance_rule, undefined
from verify.checks.checkpoint import Watch
from verify.checks.inputs import checked_inputs
from verify.data.sources import Arrays, Source
from verify.data.sources.base import FileSource
from verify.errors import DataError, printable
from verify.forward.network import Inputs, Network
from verify.model.arrays import Array
from verify.report.report import Report
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.compare import (
    Tolerance,
    compare_each,
    float64_tolerance,
    rank_rows,
    row_differences,
)
from verify.tolerance.error_bound import MAX_OUTPUT_ADJOINTS, bounded_outputs, unbounded
from verify.tolerance.noise_floor import Rounding
from verify.tolerance.partial import Decimals, PartialOutput, PartialResult, Ranking

BATCH_ROWS = 4096
"""Rows of a piece at most: up to here everything is evaluated at once."""

BATCH_NUMBERS = 2**27
"""Numbers that the rows of a piece come to on the way through the model, at most."""

WHOLE_BYTES = 2**26
"""Bytes of inputs that are looked at whole before they are cut."""

NEIGHBOUR_ROWS = 512
"""Rows on which the neighbours of the model are evaluated for the noise floor: those of
a piece that differ most."""

BOUND_WORK_SHARE = 0.1
"""Of many pieces each has derived bounds for the rows that differ most: for that it
computes so many adjoints for every number of the forward pass. All together are at
least `verify.tolerance.error_bound.MAX_OUTPUT_ADJOINTS`, which is what a single piece has."""


class Mapper(Protocol):
    """``builtins.map`` with arguments that are the same for all items.

    Results come in the order of the items, of which few are taken in advance.
    `verify.cluster.Cluster.map` is one, `serial_map` another.
    """

    def __call__(
        self,
        function: Callable[..., Any],
        items: Iterable[Any],
        *,
        shared: Mapping[str, Any],
    ) -> Iterator[Any]:
        """Yield ``function(item, **shared)`` for every item."""


def serial_map(
    function: Callable[..., Any], items: Iterable[Any], *, shared: Mapping[str, Any]
) -> Iterator[Any]:
    """The mapper of this process."""
    for item in items:
        yield function(item, **shared)


@dataclass(frozen=True)
class BatchPlan:
    """How rows are cut into pieces.

    Attributes
    ----------
    rows : int
        How many there are.
    size : int
        Rows of a piece; the last one may have fewer.
    numbers : int
        Numbers that one row comes to on the way through the model.
    """

    rows: int
    size: int
    numbers: int

    @classmethod
    def of(cls, net: Network, source: Source, batch: int = 1) -> BatchPlan:
        """For a model and its inputs.

        Parameters
        ----------
        net : Network
        source : Source
        batch : int
            Rows that Keras takes at a time: pieces are whole batches, so that predict
            computes what it does without them. A size that the model fixes wins.

        Raises
        ------
        DataError
        """
        batch = net.spec.batch_size or batch
        if net.stateful:  # states go from one batch to the next
            return cls(source.rows, max(source.rows, 1), 0)
        few = min(source.rows, net.spec.batch_size or 1)
        rows = np.arange(few)
        size = sum(array.nbytes for array in net.separate(source.take(rows)))
        if source.rows <= BATCH_ROWS and source.rows * size <= few * WHOLE_BYTES:
            rows = np.arange(source.rows)  # messages are then about the whole
        x = prepared_rows(net, source, rows).take(slice(0, few))
        with error_rows(0, few, source.rows, file_name(source)):
            arrays = net.trace(x).arrays()
        numbers = sum(array.size for array in arrays.values()) // few
        most = min(BATCH_ROWS, BATCH_NUMBERS // max(numbers, 1))
        return cls(source.rows, max(most // batch, 1) * batch, numbers)

    @property
    def batches(self) -> int:
        """How many there are."""
        return -(-self.rows // self.size)

    @property
    def work(self) -> float:
        """Adjoints that the derived bounds of one piece may cost."""
        if self.batches <= 1:
            return MAX_OUTPUT_ADJOINTS
        return max(
            MAX_OUTPUT_ADJOINTS / self.batches,
            BOUND_WORK_SHARE * float(self.size * self.numbers),
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows, and what is to be compared.

    Attributes
    ----------
    start : int
        Number of the first row.
    x : Inputs
    theirs : list of (batch, ...)
        Keras's outputs, or a port's.
    proved : list of (batch, ...) or None
        Keras's in float64; None for a port.
    """

    start: int
    x: Inputs
    theirs: list[Array]
    proved: list[Array] | None = None


@dataclass(frozen=True, eq=False)
class Examiner:
    """What is the same for all pieces; it is sent to a worker once.

    Attributes
    ----------
    net : Network
    activation_errors : ActivationErrors
    layout : Layout
    native : bool
        As for `verify.tolerance.noise_floor.Rounding.floors`.
    name : str
        Of the file that the inputs are from.
    threads : int, optional
        For NumPy's evaluation of the model.
    """

    net: Network
    activation_errors: ActivationErrors
    layout: BatchPlan
    native: bool
    name: str = ""
    threads: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {key: v for key, v in vars(self).items() if key != "rounding"}

    @cached_property
    def rounding(self) -> Rounding:
        """Of the network, for as long as this lives."""
        return Rounding(self.net)

    @property
    def count(self) -> int:
        """How many rows are looked at more closely."""
        return self._whole_batches(LAYER_ROWS)

    def _whole_batches(self, rows: int) -> int:
        batch = self.net.spec.batch_size or 1
        return batch if self.net.stateful else max(rows // batch, 1) * batch

    def flat(self, net: Network, x: Inputs, dtype: str | None) -> list[Array]:
        """The outputs of a network, by so many threads."""
        return net.flat(x, dtype=dtype, threads=self.threads)

    def noise_floors(
        self, x: Inputs, expected: Sequence[Array], theirs: Sequence[Array]
    ) -> list[Tolerance]:
        """Noise floors of a piece.

        The neighbours of the model are evaluated on those rows alone that differ most:
        they cost most of the time.
        """
        some: Array | None = None
        count = self._whole_batches(NEIGHBOUR_ROWS)
        same = [a.shape for a in expected] == [b.shape for b in theirs]
        if same and x.rows > count and not self.net.stateful:
            with np.errstate(invalid="ignore"):
                order = rank_rows(*row_differences(expected, theirs))
            some = np.sort(order[:count])

        def call(net: Network, dtype: str | None) -> list[Array]:
            if some is None or net is self.net:
                return self.flat(net, x, dtype)
            outputs = [y.copy() for y in expected]
            for whole, part in zip(
                outputs, self.flat(net, x.take(some), dtype), strict=True
            ):
                whole[some] = part
            return outputs

        return self.rounding.noise_floors(call, expected, native=self.native)


def examine(batch: Batch, *, examiner: Examiner) -> PartialResult:
    """Compare one piece.

    Raises
    ------
    DataError
        Inputs that the model cannot take, such as ids outside the vocabulary.
    """
    net, x, theirs = examiner.net, batch.x, batch.theirs
    with error_rows(batch.start, x.rows, examiner.layout.rows, examiner.name):
        expected = examiner.flat(net, x, "float64")
    names = net.output_names
    proofs: list[Any] = [None] * len(expected)
    if batch.proved is not None:
        allowed = [float64_tolerance(y).atol for y in expected]
        proofs = compare_each(expected, batch.proved, allowed=allowed, names=names)
    noise = examiner.noise_floors(x, expected, theirs)
    floors = bounded_outputs(
        net,
        x,
        noise,
        expected,
        theirs,
        examiner.activation_errors,
        work=examiner.layout.work,
    )

    def compared(tolerances: Sequence[Tolerance]) -> list[Any]:
        allowed = [floor.atol for floor in tolerances]
        return compare_each(expected, theirs, allowed=allowed, names=names)

    decimals, recorded = None, {}
    if not examiner.native:
        decimals = Decimals.of(theirs)
        recorded = {
            places: compared([floor.widened(half_unit(places)) for floor in floors])
            for places in decimals.candidates
        }
    numerics, noisy = compared(floors), compared(noise)
    found = range(min(len(numerics), len(proofs)))
    proved = theirs if batch.proved is None else batch.proved
    return PartialResult(
        rows=x.rows,
        batches=1,
        count=examiner.count,
        outputs=tuple(
            PartialOutput(
                proofs[k],
                numerics[k],
                noisy[k],
                {places: of[k] for places, of in recorded.items()},
                floors[k].by_unit(),
                noise[k].by_unit(),
                round(floors[k].derived * floors[k].atol.size),
            )
            for k in found
        ),
        decimals=decimals,
        unsound=undefined(expected, proved),
        finite=all(np.isfinite(y).all() for y in theirs),
        rule_effects={str(rule): far for rule, far in net.differences(x).items()},
        by_predict=Ranking.of(batch.start, expected, theirs, examiner.count),
        by_proof=None
        if batch.proved is None
        else Ranking.of(batch.start, expected, proved, examiner.count),
    )


def half_unit(places: int) -> float:
    """Half of the last of so many decimals."""
    return 0.5 * 10.0**-places


def as_source(net: Network, x: Any) -> Source:
    """Inputs as `verify.check` is given them, to be read piece by piece.

    Raises
    ------
    DataError
    """
    if isinstance(x, Source):
        return x
    if isinstance(x, Inputs):
        x = list(x)
    arrays = net.separate(x)
    return Arrays(
        arrays[0]
        if len(arrays) == 1
        else dict(zip(net.input_names, arrays, strict=True))
    )


def input_batches(
    net: Network, source: Source, layout: BatchPlan, start: int = 0
) -> Iterator[tuple[int, Inputs]]:
    """Pieces of inputs from row `start` on, ready for the model.

    Raises
    ------
    DataError
    """
    for data in source.batches(layout.size, start):
        with error_rows(start, layout.size, layout.rows, file_name(source)):
            x = checked_inputs(net, data)
        yield start, x
        start += x.rows


@contextlib.contextmanager
def error_rows(start: int, count: int, rows: int, name: str = "") -> Iterator[None]:
    """Errors raised inside say which rows they are about, where these are not all.

    Parameters
    ----------
    start, count, rows : int
        The first row, how many there are, and how many in all.
    name : str
        Of the file that they are from.
    """
    try:
        yield
    except DataError as error:
        text = f"{error}"
        if start > 0 or count < rows:
            last = min(start + count, rows) - 1
            text = f"rows {start:,} to {last:,}: {text}"
        if name and not f"{error}".startswith(name):
            text = f"{name}: {text}"
        raise type(error)(text) from None


def file_name(source: Source) -> str:
    """The file that a source reads, if it does."""
    return printable(source.path) if isinstance(source, FileSource) else ""


def prepared_rows(net: Network, source: Source, rows: Array) -> Inputs:
    """Chosen rows of inputs, ready for the model."""
    data = source.take(rows)
    start = int(rows[0]) if len(rows) else 0
    with error_rows(start, len(rows), source.rows, file_name(source)):
        return checked_inputs(net, data)


def watched(
    examiner: Examiner,
    batches: Callable[[int], Iterator[Batch]],
    complete: Callable[[PartialResult], Report],
    partial: Callable[[PartialResult], Report],
    identity: Callable[[], Mapping[str, Any]],
    mapper: Mapper,
    watch: Watch | None,
) -> Report:
    """A whole comparison, or with Ctrl-C what there is of it.

    Parameters
    ----------
    examiner : Examiner
    batches : callable
        From a row on.
    complete, partial : callable
        Make a report of a tally: of all rows, or of some.
    identity : callable
        As for `Watch.begin`.
    mapper : Mapper
    watch : Watch, optional
        Without it Ctrl-C is KeyboardInterrupt.

    Raises
    ------
    KeyboardInterrupt
        It is not watched, or nothing has been compared yet.
    """
    watch = watch or Watch(interruptible=False)
    tally = watch.begin(identity)

    def so_far() -> Report | None:
        return None if tally is None else partial(tally)

    try:
        rows, start = examiner.layout.rows, 0 if tally is None else tally.rows
        with watch.over(rows, start):
            left = batches(start) if start < rows else iter(())
            for found in mapper(examine, left, shared={"examiner": examiner}):
                tally = found if tally is None else tally.merge(found)
                watch.advance(found.rows, so_far)
        if tally is None:
            raise DataError("expected a row or more to compare. Received: none")
        report = complete(tally)
    except KeyboardInterrupt:
        known = so_far()
        watch.write(known)
        if known is None or not watch.interruptible:
            raise KeyboardInterrupt from None
        return known
    except BaseException:
        watch.write(so_far())
        raise
    watch.write(report)
    return report


def reported(
    net: Network,
    tally: PartialResult,
    platform: str,
    *,
    warnings: Sequence[str],
    **more: Any,
) -> Report:
    """What is reported of a tally, with the allowance that its outputs were held to.

    Parameters
    ----------
    net : Network
        What was held against the outputs that were given.
    tally : Tally
    platform : str
        Whose kernels the derived bounds hold for.
    warnings : sequence of str
        Beside what there is to say of the model itself.
    **more
        Of `verify.report.report.Report`: what the tally does not know.
    """
    return Report(
        reference="numpy",
        noise=max(float(floor.noise.max()) for floor in tally.tolerances),
        scale=max(float(floor.scale.max()) for floor in tally.tolerances),
        allowance=tolerance_rule(
            tally.tolerances[0].rule, *tally.derived, unbounded(net), platform
        ),
        warnings=(*net.spec.notes, *warnings),
        partial_result=tally,
        **more,
    )


def versions() -> dict[str, str]:
    """What a comparison depends on besides Keras."""
    return {"verify": __version__, "numpy": np.__version__}


def fingerprint(net: Network) -> str:
    """SHA-256 of everything that a network computes with, in hexadecimal."""
    digest = hashlib.sha256()
    spec = net.spec
    config = json.dumps(spec.config, sort_keys=True, default=repr)
    digest.update(f"{config} {sorted(spec.root.rules)} {net.floatx}".encode())
    for path, layer in spec.walk():
        how = f"{layer.class_name} {layer.policy} {dict(layer.options)} {layer.graph}"
        digest.update(f"{path} {how} {sorted(layer.overrides)}".encode())
        for name, weight in layer.weights.items():
            digest.update(f"{name} {weight.dtype} {weight.shape} ".encode())
            digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
