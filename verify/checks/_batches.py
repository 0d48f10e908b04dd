"""Cut rows into batches, and compare one batch in NumPy.

The size of a batch depends on the model and the data alone, never on the machine. So
the outcome is the same on one machine, on several, and after an interruption. `examine`
needs NumPy only, so any worker can run it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from verify.errors import DataError, printable
from verify.forward.evaluable import Evaluable, Inputs
from verify.forward.network import Network
from verify.forward.trace import Trace
from verify.model.arrays import Array
from verify.model.graph import flatten
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.compare import (
    Comparison,
    all_finite,
    compare_all,
    compare_each,
    rank_rows,
    row_differences,
)
from verify.tolerance.error_bound import (
    MAX_OUTPUT_ADJOINTS,
    Traces,
    bounded_by_format,
    bounded_by_policy,
    bounded_outputs,
    measured_outputs,
    traces_of,
    unbounded,
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


ENOUGH_BATCHES, LARGER_BATCHES, LARGER_OUTPUTS = 8, 4, 2**20
"""Where there are twice so many batches or more, each has twice as many rows, or three
times as many, up to so many times: part of the work on a batch takes as long for many
rows as for few. The last is how many numbers the outputs of such a batch have at most,
because they are held against others several times over."""

FIRST_SHARE, FEWEST_FIRST, MOST_FIRST = 64, 8, 64
"""In a `first_look` one row in so many of a batch is looked at closely: so many at
least, and so many at most. They are those that differ most."""

FAST_SHARE = 0.01
"""Share of what is allowed in float64 by which the fast path may differ from the
equations: a hundred times the rounding of either."""

MAX_TRACED_ROWS, MAX_TRACED, MAX_TRACED_ROW = 128, 2**23, 2**27
"""Rows of a batch, and numbers of their forward pass, at most, of which traces are kept
in both precisions: what is compared and what bounds are derived from are the same. The
last is for a single row of few steps, whose bounds need its traces as a whole."""

MAX_KEPT_TRACE = 2**21
"""Numbers in the forward pass of the only batch, at most, whose trace is kept to the
end, for what is said of its inputs."""

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
        Rows of a batch, at most, unless there are `ENOUGH_BATCHES`.
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
    neighbour_numbers: int = 2**24
    layer_rows: int = 256
    layer_numbers: int = 2**24


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
        *,
        whole: bool = False,
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
        whole : bool
            Whether gates and states of all steps are in memory.

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
            outline = net.outline(x)
        arrays = outline.arrays()
        numbers = sum(array.size for array in arrays.values()) // few
        held = numbers
        if _steps(x) >= LONG_STEPS and not whole:
            held = sum(a.size for name, a in arrays.items() if "/output" in name) // few
        fit = max(limits.batch_numbers // max(held, 1), 1)
        if fit < batch_size and net.spec.batch_size is None:  # a long window
            fit = _equal_parts(source.rows, min(fit, limits.batch_rows))
            return cls(source.rows, fit, numbers)
        larger = source.rows // (ENOUGH_BATCHES * limits.batch_rows)
        most = limits.batch_rows * min(max(larger, 1), LARGER_BATCHES)
        returned = sum(np.size(y) for y in flatten(outline.output)) // few
        most = max(min(most, LARGER_OUTPUTS // max(returned, 1)), limits.batch_rows)
        return cls(source.rows, whole_batches(min(most, fit), batch_size), numbers)

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


def _equal_parts(rows: int, most: int) -> int:
    """Return how many rows a part has at most, all parts being equal if that is near.

    Keras compiles its predict for each number of rows, which takes longer for some
    models than to compute them.
    """
    sizes = range(most, (most - 1) // 2, -1)  # at least half as many
    return next((size for size in sizes if rows % size == 0), most)


def _steps(x: Inputs) -> int:
    """Return how many time steps inputs have."""
    return max(array.shape[1] if array.ndim > 1 else 1 for array in x)


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
        # They hold copies of the model, and numbers: a worker makes its own.
        here = ("rounding", "_kept")
        return {key: v for key, v in vars(self).items() if key not in here}

    @cached_property
    def rounding(self) -> Rounding:
        """Return the `Rounding` of the network, made once in each process."""
        return Rounding(self.net)

    @cached_property
    def _kept(self) -> list[Trace]:
        return []

    def known_trace(self, x: Inputs) -> Trace | None:
        """Return the float64 trace of inputs, if they are all and it has been kept."""
        return self._kept[0] if self._kept and x.rows == self.plan.rows else None

    @property
    def options(self) -> dict[str, str]:
        """Return what the user allows, by the names of the options."""
        given = {"tolerance": self.tolerance, "precision": self.precision}
        return {name: str(value) for name, value in given.items() if value is not None}

    @property
    def closer_rows(self) -> int:
        """Return how many rows, those that differ most, are compared layer by layer."""
        most = self.limits.layer_numbers // max(self.plan.numbers, 1)
        return self._whole_batches(max(min(self.limits.layer_rows, most), 1))

    def _whole_batches(self, rows: int) -> int:
        batch = self.net.spec.batch_size
        return whole_batches(0 if self.net.stateful else rows, batch)

    def keeps_traces(self, rows: int) -> bool:
        """Return whether traces of so many rows are kept for all that needs them."""
        small = rows <= MAX_TRACED_ROWS and rows * self.plan.numbers <= MAX_TRACED
        return small and not self.net.batch_matters

    def traces(self, x: Inputs) -> Traces | None:
        """Return the traces of a batch; None where they are large or of no use."""
        useful = self.precision is None and not unbounded(self.net)
        if not useful or self.net.stateful:
            return None
        large = (
            x.rows == 1
            and self.plan.numbers <= MAX_TRACED_ROW
            and _steps(x) < LONG_STEPS
            and not self.net.batch_matters
        )
        if not (large or self.keeps_traces(x.rows)):
            return None
        found = traces_of(self.net, x)
        if self.plan.batches == 1 and x.rows * self.plan.numbers <= MAX_KEPT_TRACE:
            self._kept[:] = [found.double]
        return found

    def neighbour_rows(
        self, x: Evaluable, expected: Sequence[Array], theirs: Sequence[Array]
    ) -> Array | None:
        """Return the rows on which the neighbours are evaluated; None for all.

        They are those that differ most, because the neighbours cost most of the time.

        Parameters
        ----------
        x : Evaluable
            Inputs of the model, or a call of one layer.
        expected, theirs : list of (batch, ...)
            The outputs that are compared.
        """
        most = max(self.limits.neighbour_numbers // max(self.plan.numbers, 1), 2)
        return self._most_different(
            x, expected, theirs, min(self.limits.neighbour_rows, most)
        )

    def _most_different(
        self,
        x: Evaluable,
        expected: Sequence[Array],
        theirs: Sequence[Array],
        count: int,
    ) -> Array | None:
        """Return the rows that differ most, ascending; None for all rows."""
        count = self._whole_batches(count)
        same = [a.shape for a in expected] == [b.shape for b in theirs]
        if not same or x.rows <= count or self.net.stateful:
            return None
        if any(len(y) != x.rows for y in expected):  # axes are folded into the batch
            return None
        with np.errstate(invalid="ignore"):
            order = rank_rows(*row_differences(*all_finite(expected, theirs)))
        return np.sort(order[:count])

    @property
    def first_count(self) -> int:
        """Return how many rows the closer part of a `first_look` takes."""
        return min(max(self.plan.size // FIRST_SHARE, FEWEST_FIRST), MOST_FIRST)

    def first_rows(
        self, x: Inputs, expected: Sequence[Array], theirs: Sequence[Array]
    ) -> Array | None:
        """Return the rows for the closer part of a `first_look`; None for all rows."""
        return self._most_different(x, expected, theirs, self.first_count)

    def first_tolerances(
        self,
        x: Inputs,
        expected: Sequence[Array],
        theirs: Sequence[Array],
        few: Array,
    ) -> tuple[list[Tolerance], list[Tolerance]]:
        """Return `tolerances` that are found in a small part of the time.

        The noise floor is measured on a few rows, so it is at most what it is on all,
        and about as many rows have a derived bound.
        """
        noise_floors = self.rounding.least_noise_floors(
            x, expected, few, native=self.native, threads=self.threads
        )
        work = float(len(few) * self.plan.numbers)
        return noise_floors, self._bounded(x, expected, theirs, noise_floors, work)

    def tolerances(
        self,
        x: Inputs,
        expected: Sequence[Array],
        theirs: Sequence[Array],
        traces: Traces | None = None,
    ) -> tuple[list[Tolerance], list[Tolerance]]:
        """Return the tolerance of every output of a batch.

        Parameters
        ----------
        x : Inputs
        expected, theirs : list of (batch, ...)
            NumPy's outputs in float64, and those that are compared with them.
        traces : Traces, optional
            Of the batch, if they are known.

        Returns
        -------
        noise_floors : list of Tolerance
        tolerances : list of Tolerance
            With derived bounds where there are any.
        """
        if self.precision is None:
            return self._tolerances(x, expected, theirs, traces)
        rounding = FormatRounding(self.net, self.precision)
        rows = self.neighbour_rows(x, expected, theirs)
        with np.errstate(over="ignore", invalid="ignore"):  # judged later
            simulation = rounding.simulation(x)
            noise_floors = rounding.format_floors(simulation, x, expected, rows)
            return noise_floors, bounded_by_format(
                simulation, x, noise_floors, expected, theirs, work=self.plan.adjoints
            )

    def _tolerances(
        self,
        x: Inputs,
        expected: Sequence[Array],
        theirs: Sequence[Array],
        traces: Traces | None,
    ) -> tuple[list[Tolerance], list[Tolerance]]:
        """Return `tolerances` of a model that computes by its own policies."""
        rows, work = self.neighbour_rows(x, expected, theirs), self.plan.adjoints
        how: dict[str, Any] = {"native": self.native, "threads": self.threads}
        if not unbounded(self.net):
            return measured_outputs(
                self.rounding, x, expected, theirs, self.activation_errors,
                rows=rows, work=work, traces=traces, **how,
            )  # fmt: skip
        floors = self.rounding.noise_floors(x, expected, rows=rows, **how)
        return floors, self._bounded(x, expected, theirs, floors, work)

    def _bounded(
        self,
        x: Inputs,
        expected: Sequence[Array],
        theirs: Sequence[Array],
        noise_floors: Sequence[Tolerance],
        work: float,
    ) -> list[Tolerance]:
        with doing("deriving bounds"):
            if unbounded(self.net):
                return bounded_by_policy(
                    self.net, x, noise_floors, expected, theirs, work=work
                )
            return bounded_outputs(
                self.net,
                x,
                noise_floors,
                expected,
                theirs,
                self.activation_errors,
                work=work,
            )


def examine(batch: Batch, *, examiner: Examiner) -> PartialResult:
    """Compare one batch.

    Raises
    ------
    DataError
        Inputs that the model cannot take, such as ids outside the vocabulary, or an
        output without a single number.
    """
    _require_numbers(batch, examiner)
    found = first_look(batch, examiner)
    if found is not None:
        return found
    with evaluating(batch, examiner):
        traces = examiner.traces(batch.x)
        if traces is None:
            net, threads = examiner.net, examiner.threads
            expected = batch.x.evaluate(net, "float64", threads=threads)
        else:
            expected = flatten(traces.double.output)
    with doing(f"{rows_of(batch)}: what rounding may do"):
        noise_floors, tolerances = examiner.tolerances(
            batch.x, expected, batch.theirs, traces
        )
    return _compared(batch, examiner, expected, noise_floors, tolerances)


def _require_numbers(batch: Batch, examiner: Examiner) -> None:
    """Refuse an output that has no numbers, of which nothing can be proved."""
    for name, y in zip(examiner.net.output_names, batch.theirs, strict=False):
        if not y.size:
            raise DataError(
                f"output '{printable(name)}': it has no numbers for these inputs, only "
                f"the shape {y.shape}, so there is nothing to compare. Look for a "
                "slice or a split that leaves no steps"
            )


def first_look(batch: Batch, examiner: Examiner) -> PartialResult | None:
    """Compare one of several batches in the shortest time in which it can be right.

    Every number is compared, with outputs in float64 that `verify.forward.fast`
    computes. On the rows that differ most these are held against the equations, and
    what rounding may do is found on these rows alone: no number is allowed more than it
    would be by the noise floor of all rows.

    Returns
    -------
    PartialResult or None
        None unless every number is within what is allowed; then, and where there is
        one batch only, the whole batch must be examined by the equations.
    """
    x, theirs, net = batch.x, batch.theirs, examiner.net
    if examiner.plan.batches <= 1 or examiner.precision is not None:
        return None
    if x.rows <= examiner.first_count:  # all rows would be looked at closely
        return None
    with evaluating(batch, examiner):
        expected = net.flat(
            x,
            dtype="float64",
            threads=examiner.threads,
            fast=True,
            of_rows=examiner.plan.rows,
        )
    few = examiner.first_rows(x, expected, theirs)
    if few is None:
        return None
    closer = few
    if batch.theirs64 is not None:
        more = examiner.first_rows(x, expected, batch.theirs64)
        closer = few if more is None else np.union1d(few, more)
    if not _as_by_equations(x.take(closer), [y[closer] for y in expected], examiner):
        return None
    with doing(f"{rows_of(batch)}: what rounding may do"):
        tolerances = examiner.first_tolerances(x, expected, theirs, few)
    if not all(one.decides for each in tolerances for one in each):
        return None
    found = _compared(batch, examiner, expected, *tolerances)
    given = examiner.tolerance  # which decides without the noise floor
    right = found.by_noise_floor.matches or (given and given.kind != "classes")
    alike = found.proof is None or found.proof.matches
    return found if right and alike and found.numerics.matches else None


def _as_by_equations(x: Inputs, fast: Sequence[Array], examiner: Examiner) -> bool:
    """Return whether outputs of the fast path are those of the equations."""
    ours = x.evaluate(examiner.net, "float64", threads=examiner.threads)
    fast, ours = all_finite(fast, ours)
    allowed = [FAST_SHARE * float64_tolerance(y).atol for y in ours]
    return compare_all(fast, ours, allowed=allowed).matches


def rows_of(batch: Batch) -> str:
    """Return the rows of a batch, for messages."""
    return f"rows {batch.start + 1:,} to {batch.start + batch.x.rows:,}"


@contextmanager
def evaluating(batch: Batch, examiner: Examiner) -> Iterator[None]:
    """Say what is being done, and of which rows an error is."""
    with (
        doing(f"{rows_of(batch)}: NumPy in float64"),
        error_rows(batch.start, batch.x.rows, examiner.plan.rows, examiner.name),
    ):
        yield


def _compared(
    batch: Batch,
    examiner: Examiner,
    expected: Sequence[Array],
    noise_floors: Sequence[Tolerance],
    tolerances: Sequence[Tolerance],
) -> PartialResult:
    """Compare a batch by tolerances that are known.

    Parameters
    ----------
    batch : Batch
    examiner : Examiner
    expected : list of (batch, ...)
        NumPy's outputs in float64.
    noise_floors, tolerances : list of Tolerance
        One for each output.
    """
    net, x, theirs, theirs64 = examiner.net, batch.x, batch.theirs, batch.theirs64
    count = examiner.closer_rows

    def compared(
        sides: tuple[Sequence[Array], Sequence[Array]], tolerances: Sequence[Tolerance]
    ) -> list[Comparison]:
        allowed = [tolerance.atol for tolerance in tolerances]
        return compare_each(*sides, allowed=allowed, names=net.output_names)

    native = all_finite(expected, theirs)
    doubles = None if theirs64 is None else all_finite(expected, theirs64)
    if examiner.tolerance is not None:
        tolerances = [examiner.tolerance.widened(t) for t in tolerances]
    proofs: list[Comparison] | None = None
    reference, judged_by = theirs, tolerances
    if theirs64 is not None and doubles is not None:
        reference, judged_by = theirs64, [float64_tolerance(y) for y in doubles[0]]
        proofs = compared(doubles, judged_by)
    classes: list[ClassAgreement | None] = [
        ClassAgreement.of(a, b, binary=binary, start=batch.start)
        for a, b, binary in zip(expected, theirs, examiner.binary, strict=False)
    ] or [None] * len(expected)
    decimals: Decimals | None = None
    recorded: dict[int, list[Comparison]] = {}
    if not examiner.native:
        decimals = Decimals.of(native[1])
        for places in decimals.candidates:
            wider = [t.widened(half_unit(places)) for t in tolerances]
            recorded[places] = compared(native, wider)
    numerics, noisy = compared(native, tolerances), compared(native, noise_floors)
    # Where the numbers of outputs differ there is one comparison, which says so.
    found = min(len(numerics), len(expected if proofs is None else proofs))
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
        unsound=undefined(expected, reference, judged_by),
        finite=all(np.isfinite(y).all() for y in theirs),
        rule_effects={str(rule): far for rule, far in net.rule_effects(x).items()},
        by_predict=Ranking.of(batch.start, *native, count),
        by_proof=None if doubles is None else Ranking.of(batch.start, *doubles, count),
    )
