"""Cut rows into batches, and compare one batch in NumPy.

The size of a batch depends on the model and the data alone, never on the machine. So
the outcome is the same on one machine, on several, and after an interruption. `examine`
needs NumPy only, so any worker can run it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from verify.checks._verdict import undefined
from verify.checks.inputs import (
    checked_inputs,
    error_rows,
    file_name,
    prepared_rows,
    whole_batches,
)
from verify.console.progress import doing
from verify.data.sources import Source
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.compare import (
    Comparison,
    compare_each,
    rank_rows,
    row_differences,
)
from verify.tolerance.error_bound import (
    MAX_OUTPUT_ADJOINTS,
    bounded_by_format,
    bounded_outputs,
)
from verify.tolerance.formats import NumberFormat
from verify.tolerance.noise_floor import Rounding, Tolerance, float64_tolerance
from verify.tolerance.partial import (
    Decimals,
    PartialOutput,
    PartialResult,
    Ranking,
    half_unit,
)
from verify.tolerance.simulation import FormatRounding
from verify.tolerance.user_tolerance import ClassAgreement, UserTolerance

MAX_WHOLE_BYTES = 2**26
"""Bytes of inputs up to which all rows are checked before they are cut into batches, so
that a message is about all of them."""

BOUND_WORK_SHARE = 0.1
"""Budget for error bounds where there are several batches: adjoints per number of the
batch's forward pass, spent on the rows that differ most. The budgets of all batches add
up to `MAX_OUTPUT_ADJOINTS` at least, the budget of a single batch."""


LONG_STEPS = 1000
"""Steps from which a batch is as large as what its layers return may be: gates and
states of all steps are never in memory, and a step of few rows takes as long as one of
many."""


@dataclass(frozen=True)
class Limits:
    """Hold how many rows make a batch, and how many get a closer look.

    Attributes
    ----------
    batch_rows : int
        Rows of a batch, at most.
    batch_numbers : int
        Numbers in the forward pass of a batch, at most.
    neighbour_rows : int
        Rows of a batch, at most, on which the neighbours of the model are evaluated for
        the noise floor: those that differ most.
    neighbour_numbers : int
        Numbers in the forward pass of those rows, at most, but for two rows.
    layer_rows : int
        Rows that are compared layer by layer, at most; outputs are compared on all.
    layer_numbers : int
        Numbers in the forward pass of those rows, at most, but for a single row.
    """

    batch_rows: int = 4096
    batch_numbers: int = 2**27
    neighbour_rows: int = 512
    neighbour_numbers: int = 2**27
    layer_rows: int = 256
    layer_numbers: int = 2**25


DEFAULT_LIMITS: Limits = Limits()


@dataclass(frozen=True)
class BatchPlan:
    """Say how rows are cut into batches.

    Attributes
    ----------
    rows : int
        All rows.
    size : int
        Rows of a batch; the last one may have fewer.
    numbers : int
        Numbers in the forward pass of one row; 0 for a stateful model, which has a
        single batch.
    """

    rows: int
    size: int
    numbers: int

    @classmethod
    def of(
        cls,
        net: Network,
        source: Source,
        batch_size: int = 1,
        limits: Limits = DEFAULT_LIMITS,
    ) -> BatchPlan:
        """Plan the batches of a model's inputs.

        Parameters
        ----------
        net : Network
        source : Source
        batch_size : int
            Rows that Keras evaluates at a time. The size of the batches is a multiple
            of it, so that Keras is given the same groups of rows as in one call of
            predict, unless so many would take too much memory. A batch size that is
            fixed in the model takes precedence.
        limits : Limits

        Raises
        ------
        DataError
            The inputs do not fit the model.
        """
        batch_size = net.spec.batch_size or batch_size
        if net.stateful:  # rows depend on those before them
            return cls(source.rows, max(source.rows, 1), 0)
        few = min(source.rows, net.spec.batch_size or 1)
        rows = np.arange(few)
        size = sum(array.nbytes for array in net.separate(source.take(rows)))
        small = source.rows * size <= few * MAX_WHOLE_BYTES
        if source.rows <= limits.batch_rows and small:
            rows = np.arange(source.rows)  # check all: see MAX_WHOLE_BYTES
        x = prepared_rows(net, source, rows).take(slice(0, few))
        with error_rows(0, few, source.rows, file_name(source)):
            arrays = net.outline(x).arrays()
        numbers = sum(array.size for array in arrays.values()) // few
        held = numbers
        if max(array.shape[1] if array.ndim > 1 else 1 for array in x) >= LONG_STEPS:
            held = sum(a.size for name, a in arrays.items() if "/output" in name) // few
        fit = max(limits.batch_numbers // max(held, 1), 1)
        if fit < batch_size and net.spec.batch_size is None:  # a long window
            return cls(source.rows, min(fit, limits.batch_rows), numbers)
        most = min(limits.batch_rows, fit)
        return cls(source.rows, whole_batches(most, batch_size), numbers)

    @property
    def batches(self) -> int:
        """Return the number of batches."""
        return -(-self.rows // self.size)

    @property
    def adjoints(self) -> float:
        """Return how many adjoints the derived bounds of one batch may cost."""
        if self.batches <= 1:
            return MAX_OUTPUT_ADJOINTS
        return max(
            MAX_OUTPUT_ADJOINTS / self.batches,
            BOUND_WORK_SHARE * float(self.size * self.numbers),
        )


def input_batches(
    net: Network, source: Source, plan: BatchPlan, start: int = 0
) -> Iterator[tuple[int, Inputs]]:
    """Yield the number of the first row and the inputs, ready for use, of each batch.

    Parameters
    ----------
    net : Network
    source : Source
    plan : BatchPlan
    start : int
        Number of the first row of the first batch.

    Raises
    ------
    DataError
        The inputs do not fit the model, or NaN or infinity is in them.
    """
    for data in source.batches(plan.size, start):
        with error_rows(start, plan.size, plan.rows, file_name(source)):
            x = checked_inputs(net, data)
        yield start, x
        start += x.rows


@dataclass(frozen=True, eq=False)
class Batch:
    """Hold the inputs of some rows, and the outputs that NumPy's are compared with.

    Attributes
    ----------
    start : int
        Number of the first row.
    x : Inputs
    theirs : list of (batch, ...)
        Outputs of Keras, or of a port.
    theirs64 : list of (batch, ...) or None
        Outputs of Keras in float64; None for a port.
    """

    start: int
    x: Inputs
    theirs: list[Array]
    theirs64: list[Array] | None = None


@dataclass(frozen=True, eq=False)
class Examiner:
    """Hold what is the same for all batches; it is sent to each worker once.

    Attributes
    ----------
    net : Network
    activation_errors : ActivationErrors
    plan : BatchPlan
    native : bool
        As for `verify.tolerance.noise_floor.Rounding.noise_floors`.
    name : str
        File of the inputs, for messages; empty if they are from none.
    threads : int, optional
        Threads of NumPy's evaluation of the model; one for each core by default.
    limits : Limits
    tolerance : UserTolerance, optional
        How far the outputs of a port may be from the model's by the user's word.
    binary : tuple of bool
        For a share of classes: `verify.checks._classes.binary_outputs`.
    precision : NumberFormat, optional
        The number format in which a port computes; by default float32.
    """

    net: Network
    activation_errors: ActivationErrors
    plan: BatchPlan
    native: bool
    name: str = ""
    threads: int | None = None
    limits: Limits = DEFAULT_LIMITS
    tolerance: UserTolerance | None = None
    binary: tuple[bool, ...] = ()
    precision: NumberFormat | None = None

    def __getstate__(self) -> dict[str, Any]:
        # `rounding` holds copies of the model, which a worker makes itself.
        return {key: v for key, v in vars(self).items() if key != "rounding"}

    @cached_property
    def rounding(self) -> Rounding:
        """Return the `Rounding` of the network, made once in each process."""
        return Rounding(self.net)

    @property
    def closer_rows(self) -> int:
        """Return how many rows, those that differ most, are compared layer by layer."""
        most = self.limits.layer_numbers // max(self.plan.numbers, 1)
        return self._whole_batches(max(min(self.limits.layer_rows, most), 1))

    def _whole_batches(self, rows: int) -> int:
        batch = self.net.spec.batch_size
        return whole_batches(0 if self.net.stateful else rows, batch)

    def noise_floors(
        self, x: Inputs, expected: Sequence[Array], theirs: Sequence[Array]
    ) -> list[Tolerance]:
        """Return the noise floor of every output of a batch.

        The neighbours of the model are evaluated only on the rows that differ most,
        because they cost most of the time.
        """
        rows = self._neighbour_rows(x, expected, theirs)
        return self.rounding.noise_floors(
            x, expected, native=self.native, rows=rows, threads=self.threads
        )

    def _neighbour_rows(
        self, x: Inputs, expected: Sequence[Array], theirs: Sequence[Array]
    ) -> Array | None:
        """Return the rows on which the neighbours are evaluated; None for all."""
        most = max(self.limits.neighbour_numbers // max(self.plan.numbers, 1), 2)
        count = self._whole_batches(min(self.limits.neighbour_rows, most))
        same = [a.shape for a in expected] == [b.shape for b in theirs]
        if not same or x.rows <= count or self.net.stateful:
            return None
        with np.errstate(invalid="ignore"):
            order = rank_rows(*row_differences(expected, theirs))
        return np.sort(order[:count])

    def tolerances(
        self, x: Inputs, expected: Sequence[Array], theirs: Sequence[Array]
    ) -> tuple[list[Tolerance], list[Tolerance]]:
        """Return the tolerance of every output of a batch.

        Returns
        -------
        noise_floors : list of Tolerance
        tolerances : list of Tolerance
            With derived bounds where there are any.
        """
        if self.precision is None:
            noise_floors = self.noise_floors(x, expected, theirs)
            with doing("deriving bounds"):
                return noise_floors, bounded_outputs(
                    self.net,
                    x,
                    noise_floors,
                    expected,
                    theirs,
                    self.activation_errors,
                    work=self.plan.adjoints,
                )
        rounding = FormatRounding(self.net, self.precision)
        rows = self._neighbour_rows(x, expected, theirs)
        with np.errstate(over="ignore", invalid="ignore"):  # judged later
            simulation = rounding.simulation(x)
            noise_floors = rounding.format_floors(simulation, x, expected, rows)
            return noise_floors, bounded_by_format(
                simulation, x, noise_floors, expected, theirs, work=self.plan.adjoints
            )


def examine(batch: Batch, *, examiner: Examiner) -> PartialResult:
    """Compare one batch.

    Raises
    ------
    DataError
        Inputs that the model cannot take, such as ids outside the vocabulary.
    """
    net, x, theirs, theirs64 = examiner.net, batch.x, batch.theirs, batch.theirs64
    plan, count = examiner.plan, examiner.closer_rows
    rows = f"rows {batch.start + 1:,} to {batch.start + x.rows:,}"
    with (
        doing(f"{rows}: NumPy in float64"),
        error_rows(batch.start, x.rows, plan.rows, examiner.name),
    ):
        expected = x.evaluate(net, "float64", threads=examiner.threads)

    def compared(
        outputs: Sequence[Array], tolerances: Sequence[Tolerance]
    ) -> list[Comparison]:
        allowed = [tolerance.atol for tolerance in tolerances]
        return compare_each(expected, outputs, allowed=allowed, names=net.output_names)

    proofs: list[Comparison] | None = None
    if theirs64 is not None:
        proofs = compared(theirs64, [float64_tolerance(y) for y in expected])
    with doing(f"{rows}: what rounding may do"):
        noise_floors, tolerances = examiner.tolerances(x, expected, theirs)
    if examiner.tolerance is not None:
        tolerances = [examiner.tolerance.widened(t) for t in tolerances]
    classes: list[ClassAgreement | None] = [
        ClassAgreement.of(a, b, binary=binary, start=batch.start)
        for a, b, binary in zip(expected, theirs, examiner.binary, strict=False)
    ] or [None] * len(expected)
    decimals: Decimals | None = None
    recorded: dict[int, list[Comparison]] = {}
    if not examiner.native:
        decimals = Decimals.of(theirs)
        for places in decimals.candidates:
            wider = [t.widened(half_unit(places)) for t in tolerances]
            recorded[places] = compared(theirs, wider)
    numerics, noisy = compared(theirs, tolerances), compared(theirs, noise_floors)
    # Where the numbers of outputs differ there is one comparison, which says so.
    found = min(len(numerics), len(expected if proofs is None else proofs))
    reference = theirs if theirs64 is None else theirs64
    return PartialResult(
        rows=x.rows,
        batches=1,
        count=count,
        outputs=tuple(
            PartialOutput(
                None if proofs is None else proofs[k],
                numerics[k],
                noisy[k],
                {places: of[k] for places, of in recorded.items()},
                tolerances[k].by_unit(),
                noise_floors[k].by_unit(),
                round(tolerances[k].derived * tolerances[k].atol.size),
                classes[k],
            )
            for k in range(found)
        ),
        decimals=decimals,
        unsound=undefined(expected, reference),
        finite=all(np.isfinite(y).all() for y in theirs),
        rule_effects={str(rule): far for rule, far in net.rule_effects(x).items()},
        by_predict=Ranking.of(batch.start, expected, theirs, count),
        by_proof=None
        if theirs64 is None
        else Ranking.of(batch.start, expected, theirs64, count),
    )
