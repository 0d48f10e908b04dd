"""Derive bounds from local errors by backpropagation, within a budget of adjoints.

The package's docstring has the formula and its reasons, `sites` the local errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np

from verify.backward.cells import Values
from verify.backward.recording import NotRecorded, Operation
from verify.forward.evaluable import Inputs, LayerCall
from verify.forward.fast import single_threaded_blas
from verify.forward.network import Network
from verify.forward.trace import Trace, bare_path
from verify.model.arrays import Array, FlatOutputs, by_sample
from verify.model.dtypes import HALF_DTYPES, is_float
from verify.model.graph import flatten
from verify.model.spec import LayerSpec
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.error_bound.computations import (
    Computation,
    OneLayer,
    WholeModel,
)
from verify.tolerance.error_bound.operation_sites import operation_rounding
from verify.tolerance.error_bound.sites import (
    KNOWN_ACTIVATIONS,
    ROUNDING_SITES,
    LayerRounding,
    RoundingSite,
    unbounded,
)
from verify.tolerance.error_bound.sketch import COPIES, sketched_bounds
from verify.tolerance.error_bound.time_windows import LongBounds, loop_steps
from verify.tolerance.noise_floor import FLUSH_ERROR, NEGLIGIBLE, Tolerance

STANDARD_DEVIATIONS = 10.0
"""Standard deviations that are allowed for the rounding of dot products."""

MAX_OUTPUT_ADJOINTS, MAX_LAYER_ADJOINTS = 1e8, 3e7
"""Adjoints computed at most for the outputs of a model, and for those of one layer: a
second or two. Beyond that, only the elements that differ most get a bound."""

MAX_LINEAR_DEVIATION = 1e-3
"""An analysis to first order holds while errors are small. A row gets no bound if NumPy
in float32 deviates from float64 by more than this relative error in any value."""

Deviations = Mapping[str, Mapping[str, Array]]
"""Call of a layer -> `LayerRounding.deviations`."""

MAX_BLOCK_ADJOINTS, MAX_BLOCK_ROWS = 4e6, 128
"""Adjoints kept at a time, and their greatest number of rows, so that they fit a core's
cache. Matrix products that small are not worth several threads."""

MIN_BLOCK_PAIRS, MAX_ARRAY_NUMBERS = 8, 1.6e7
"""Elements of a dear row that are swept together, because the row's own values are
judged once for all of them; and the greatest size of an array of adjoints then."""

TERMS_PER_ADJOINT, RECORDED_PER_ADJOINT = 64, 3
"""Terms of a sum of products that take as long as an adjoint of another recorded
operation, and how many of those take as long as one of a layer with equations."""

ROW_SHARE = 4
"""Sweeps of a single element that take as long as recording a row and judging it."""

MAX_SKETCH_STEPS = 20_000
"""Steps of loops over time that a sketch takes at most, all passes together: each takes
some 3 ms. Loops of many steps are bounded by `time_windows`."""

Sketch = Callable[[Array, int], tuple[list[Array], Array]]
"""Rows, and in how many passes -> bounds of all their outputs, and rows that are near a
jump; see `sketched_bounds`."""

SKETCH_SHARE, EXACT_SHARE, SKETCH_BYTES = 4.0, 4, 2**28
"""How many times the budget may be spent on a `Sketch`; what it is divided by for the
elements that differ most, which get a bound of their own after it, since that is
several times nearer; and the memory of the changes that a sketch carries."""


def bounded(
    noise_floors: Sequence[Tolerance],
    ours: Sequence[Array],
    theirs: Sequence[Array],
    bounds: Callable[[Sequence[Array]], list[Array]],
) -> list[Tolerance]:
    """Return tolerances with derived bounds where there are any.

    Parameters
    ----------
    noise_floors : list of Tolerance
        One for each output.
    ours, theirs : list of (batch, ...)
        The outputs to compare.
    bounds : callable
        `output_bounds` or `call_bounds` as a function of `differences` alone.
    """
    if [a.shape for a in ours] != [b.shape for b in theirs] or not ours[0].size:
        return list(noise_floors)
    with np.errstate(invalid="ignore"):
        differences = [
            np.abs(a - b.astype(np.float64)) / floor.atol
            for a, b, floor in zip(ours, theirs, noise_floors, strict=True)
        ]
    found = bounds(differences)
    # Where one element of a row amplifies rounding, first order does not hold there. An
    # element that is small against the others, such as a class that softmax rules out,
    # may have a bound that decides nothing for it alone.
    sound = np.ones(len(ours[0]), dtype=bool)  # (rows,)
    for floor, bound in zip(noise_floors, found, strict=True):
        most = max(floor.limit * floor.scale.max(initial=0.0), NEGLIGIBLE)
        small = (bound <= most) | np.isnan(bound)
        sound &= small.reshape(len(sound), -1).all(axis=1)
    found = [
        # (rows, 1, ...) against (rows, ...)
        np.where(sound.reshape(-1, *(1,) * (bound.ndim - 1)), bound, np.nan)
        for bound in found
    ]
    return [
        floor.bounded(bound) for floor, bound in zip(noise_floors, found, strict=True)
    ]


def bounded_outputs(
    net: Network,
    x: Inputs,
    noise_floors: Sequence[Tolerance],
    ours: Sequence[Array],
    theirs: Sequence[Array],
    activation_errors: ActivationErrors,
    *,
    work: float = MAX_OUTPUT_ADJOINTS,
) -> list[Tolerance]:
    """Return the tolerances of a model's outputs, with derived bounds in them.

    Parameters
    ----------
    net : Network
    x : Inputs
    noise_floors : list of Tolerance
        One for each output; returned as they are if the model is `unbounded`.
    ours, theirs : list of (batch, ...)
        The outputs to compare.
    activation_errors : ActivationErrors
    work : float
        Adjoints to compute at most.
    """
    if unbounded(net):
        return list(noise_floors)
    return bounded(
        noise_floors,
        ours,
        theirs,
        lambda differences: output_bounds(net, x, differences, activation_errors, work),
    )


def bounded_call(
    net: Network,
    call: LayerCall,
    noise_floors: Sequence[Tolerance],
    ours: Sequence[Array],
    theirs: Sequence[Array],
    activation_errors: ActivationErrors,
) -> list[Tolerance]:
    """Return `bounded_outputs` for one layer alone.

    A layer that has states before the call has no bound: a sweep starts it at zero. Nor
    has an operation on numbers of 16 bits, which is called without a policy.
    """
    if any(y.dtype.name in HALF_DTYPES for y in theirs):
        return list(noise_floors)
    if unbounded(net, call.name) or call.name in call.states:
        return list(noise_floors)
    if call.rows != len(ours[0]):  # it folds axes into the batch, which rounds nothing
        return list(noise_floors)
    return bounded(
        noise_floors,
        ours,
        theirs,
        lambda differences: call_bounds(net, call, differences, activation_errors),
    )


def output_bounds(
    net: Network,
    x: Inputs,
    differences: Sequence[Array],
    activation_errors: ActivationErrors,
    work: float = MAX_OUTPUT_ADJOINTS,
) -> list[Array]:
    """Return, for every output of a model, how far float32 may change it.

    Parameters
    ----------
    net : Network
        One that is not `unbounded`.
    x : Inputs
    differences : list of (batch, ...)
        How much each output seems to differ, in any unit. Where `work` does not suffice
        for all elements, those with the greatest differences get a bound.
    activation_errors : ActivationErrors
    work : float
        Adjoints to compute at most.

    Returns
    -------
    list of (batch, ...)
        NaN for an element that has no bound.
    """
    windows = LongBounds(
        net, x, activation_errors, STANDARD_DEVIATIONS, MAX_LINEAR_DEVIATION
    )
    if not net.stateful and windows.applies(differences, work):
        return windows.bounds(differences)
    # A stateful model passes its states on from one batch to the next.
    rows = (net.spec.batch_size or 1) if net.stateful else x.rows

    def sketch(some: Array, groups: int) -> tuple[list[Array], Array]:
        return sketched_bounds(
            net, x.take(some), activation_errors, STANDARD_DEVIATIONS, groups
        )

    model = WholeModel(net, x)
    found = bounds_of(
        model,
        differences,
        partial(BoundVisitor, net, activation_errors),
        rows,
        work,
        sketch=None if net.stateful else sketch,
    )
    if rows < x.rows and _numbers(model.traces(np.arange(1))[1]) * x.rows <= work:
        later = _of_later_batches(model, sketch)
        found = [np.where(np.isnan(a), b, a) for a, b in zip(found, later, strict=True)]
    return found


def _of_later_batches(model: WholeModel, sketch: Sketch) -> list[Array]:
    """Return the bounds of a stateful model from its second batch on; else NaN."""
    size = model.net.spec.batch_size or 1
    unknown = np.zeros(model.x.rows, dtype=bool)
    diverged: Any = np.zeros(size, dtype=bool)  # in a batch before, too
    wrong = []
    for rows, single, double in model.batches():
        diverged = diverged | _deviations(single, double, MAX_LINEAR_DEVIATION)[0]
        unknown[rows] = diverged
        wrong.append(_abs_errors(single.output, double.output))
    try:
        bounds, near = sketch(np.arange(model.x.rows), 1)
    except NotRecorded:
        bounds, near = [], unknown
    flat = np.concatenate(
        [bound.reshape(model.x.rows, -1) for bound in bounds]
        or [np.full_like(np.concatenate(wrong), np.nan)],
        axis=1,
    )
    unknown |= near | (flat < np.concatenate(wrong)).any(axis=1)
    unknown[:size] = True
    shapes = FlatOutputs(flatten(double.output))
    return shapes.split(np.where(unknown[:, None], np.nan, flat))


def call_bounds(
    net: Network,
    call: LayerCall,
    differences: Sequence[Array],
    activation_errors: ActivationErrors,
) -> list[Array]:
    """Return `output_bounds` for one layer alone, called on the given arguments.

    Parameters
    ----------
    net, differences, activation_errors : as for `output_bounds`
    call : LayerCall
        Without states.
    """
    windows = LongBounds(
        net, call, activation_errors, STANDARD_DEVIATIONS, MAX_LINEAR_DEVIATION
    )
    if windows.applies(differences, MAX_LAYER_ADJOINTS):
        return windows.bounds(differences)
    rows = len(differences[0])
    layer = OneLayer(net, call)
    visitor = partial(BoundVisitor, net, activation_errors)
    return bounds_of(layer, differences, visitor, rows, MAX_LAYER_ADJOINTS)


def bounds_of(
    computation: Computation,
    differences: Sequence[Array],
    visitor_for: Callable[[Deviations, Array], BoundVisitor],
    rows: int,
    budget: float,
    *,
    weights: int = 0,
    max_deviation: float | None = None,
    sketch: Sketch | None = None,
) -> list[Array]:
    """Return the bounds of all outputs, or of those that the budget allows.

    Parameters
    ----------
    computation : Computation
    differences : list of (batch, ...)
        As for `output_bounds`.
    visitor_for : callable
        Deviations of the rows and zeros, (sweeps, rows) -> a `BoundVisitor`.
    rows : int
        Only the first rows can have a bound.
    budget : float
        Adjoints to compute at most.
    weights : int
        Adjoints that a visitor computes for a row beside those of a backpropagation.
    max_deviation : float, optional
        In place of `MAX_LINEAR_DEVIATION`.
    sketch : Sketch, optional
        Bounds all outputs of some rows at once, where the budget is too small for all.

    Returns
    -------
    list of (batch, ...)
        NaN for an element that has no bound.
    """
    most = MAX_LINEAR_DEVIATION if max_deviation is None else max_deviation
    flat = FlatOutputs(differences)
    joined = flat.join(differences)  # (batch, elements)
    found = np.full(joined.shape, np.nan)
    _, first = computation.traces(np.array([0]))
    if _numbers(first) > budget:
        return flat.split(found)  # a single sweep takes longer than all may
    try:
        cost = _cost_of_a_row(computation, flat, first)
    except NotRecorded:  # a layer computes what has no derivative here
        return flat.split(found)
    work = cost.work + (weights if cost.work else 0)
    ranking = np.nan_to_num(joined[:rows], nan=np.inf)
    if sketch is not None and rows * flat.elements * work > budget:
        fit = int(min(rows, SKETCH_SHARE * budget // max(work * COPIES, 1)))
        some = np.argsort(-ranking.max(axis=1), kind="stable")[:fit]
        together, groups, passes = _sketch_plan(
            _numbers(first) * 4 * COPIES, loop_steps(first)
        )
        some = some[: together * passes]
        fit = len(some)
        for part in _blocks(some, together):
            found[part] = _sketched(computation, part, sketch, groups, most)
        if fit == rows:
            budget /= EXACT_SHARE
    share = ROW_SHARE if cost.recorded else 0
    chosen, elements = _most_different(ranking, budget / max(work, 1), share)
    pairs = max(1, int(MAX_BLOCK_ADJOINTS // max(work, flat.elements)))
    if cost.recorded:
        most_pairs = MAX_ARRAY_NUMBERS // max(cost.largest, flat.elements)
        pairs = max(pairs, int(min(MIN_BLOCK_PAIRS, most_pairs)))
    # Part of a row's cost is the same for any number of elements, so a block takes all
    # elements of few rows rather than few elements of all rows.
    row_block = min(max(1, pairs // len(elements)), MAX_BLOCK_ROWS) if work else pairs
    with single_threaded_blas() if pairs > MAX_BLOCK_ROWS else nullcontext():
        for some in _blocks(chosen, row_block):
            single, double = computation.traces(some)
            diverged, deviations = _deviations(single, double, most)
            if diverged.all():
                continue  # no row of these may have a bound
            errors = _abs_errors(single.output, double.output)
            element_block = max(1, pairs // len(some)) if work else len(elements)
            for which in _blocks(elements, element_block):
                visitor = visitor_for(deviations, np.zeros((len(which), len(some))))
                if work:
                    # (sweeps, rows, elements): sweep k is the gradient of which[k].
                    one_hot = np.zeros((len(which), len(some), flat.elements))
                    one_hot[np.arange(len(which)), :, which] = 1.0
                    gradients = flat.split(one_hot)  # (sweeps, rows, ...) each
                    with np.errstate(over="ignore", invalid="ignore"):
                        computation.sweep(some, gradients, visitor, double, single)
                bound = visitor.bound()  # (sweeps, rows)
                # A bound that NumPy's own float32 exceeds does not hold.
                exceeded = (bound < errors[:, which].T).any(axis=0)  # (rows,)
                bound = np.where(diverged | exceeded, np.nan, bound)
                found[np.ix_(some, which)] = bound.T  # (rows, sweeps)
    return flat.split(found)


def _sketched(
    computation: Computation, rows: Array, sketch: Sketch, groups: int, most: float
) -> Array:
    """Return the bounds of all elements of some rows; (rows, elements).

    Parameters
    ----------
    computation, rows, sketch, groups
    most : float
        As `MAX_LINEAR_DEVIATION`.
    """
    single, double = computation.traces(rows)
    diverged, _ = _deviations(single, double, most)
    errors = _abs_errors(single.output, double.output)
    del single, double
    none = np.full(errors.shape, np.nan)
    if diverged.all():
        return none
    try:
        bounds, near = sketch(rows, groups)
    except NotRecorded:
        return none
    bound = np.concatenate([each.reshape(len(rows), -1) for each in bounds], axis=1)
    wrong = diverged | near | (bound < errors).any(axis=1)  # (rows,)
    return np.where(wrong[:, None], np.nan, bound)


def _abs_errors(single: Any, double: Any) -> Array:
    """Return how far outputs in float32 are from float64; (rows, elements)."""
    pairs = zip(flatten(single), flatten(double), strict=True)
    with np.errstate(invalid="ignore"):
        return np.concatenate(
            [np.abs(a - b.astype(np.float64)).reshape(len(b), -1) for a, b in pairs],
            axis=1,
        )


class _RowDifferences:
    """Compare arrays in float32 with those in float64, each of them once.

    What one layer returns the next is given, so the same array comes several times.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[Array, Array]] = {}

    def __call__(self, single: Array, double: Array) -> tuple[Array, Array]:
        """Return each row's greatest difference and its greatest number; (rows,)."""
        key = id(double)
        if double.dtype.kind == "U":  # texts are the same in any precision
            return np.zeros(len(double)), np.zeros(len(double))
        if key not in self._known:
            exact = double.astype(np.float64)
            error = np.abs(single - exact).reshape(len(exact), -1)
            size = np.abs(exact).reshape(len(exact), -1)
            self._known[key] = error.max(axis=1), size.max(axis=1)
        return self._known[key]


def _deviations(
    single: Trace, double: Trace, max_deviation: float
) -> tuple[Array, Deviations]:
    """Compare the traces of some rows in float32 and in float64.

    Parameters
    ----------
    single, double : Trace
    max_deviation : float
        As `MAX_LINEAR_DEVIATION`.

    Returns
    -------
    (rows,) of bool
        Rows that deviate too far, in any value, for an analysis to first order.
    dict of str to dict of str to (rows,)
        Call of a layer -> `LayerRounding.deviations`, for each row that it is given.
    """
    differences = _RowDifferences()
    samples = len(flatten(double.output)[0])
    found, diverged = {}, np.zeros(samples, dtype=bool)
    arrays = single.arrays()
    with np.errstate(invalid="ignore"):
        for name, right in double.arrays().items():
            if is_float(right) and right.size:
                error, size = differences(arrays[name], right)
                far = ~(error <= max_deviation * size)
                diverged = diverged | by_sample(far, samples).any(axis=1)
        for key, call in double.items():
            pairs = {
                "x": [
                    (a, b)
                    for a, b in zip(
                        flatten(single[key].input), flatten(call.input), strict=True
                    )
                    if isinstance(b, np.ndarray)
                ],
                "h": [(single[key].values[name], v) for name, v in call.values.items()],
            }
            found[key] = {
                source: np.max(
                    [
                        np.zeros(len(both[0][1]) if both else samples),
                        *(
                            differences(a, b)[0]
                            for a, b in both
                            if b.size and b.dtype.kind != "U"
                        ),
                    ],
                    axis=0,
                )
                for source, both in pairs.items()
            }
    return diverged, found


class BoundVisitor:
    """Add up how far every local error moves every output, on the way back.

    Parameters
    ----------
    net : Network
    activation_errors : ActivationErrors
    deviations : mapping of str to mapping of str to (rows,)
        Call of a layer -> `LayerRounding.deviations`.
    zeros : (sweeps, rows)

    Attributes
    ----------
    coherent : (sweeps, rows)
        Sum of the greatest errors.
    squared : (sweeps, rows)
        Sum of the variances.
    drift : dict of (sweeps, rows, units)
        Call and site -> what the same error at every step would add up to.
    near : (rows,) of bool
        Rows in which float32 may decide otherwise, so that a value jumps.
    """

    known_activations = KNOWN_ACTIVATIONS

    def __init__(
        self,
        net: Network,
        activation_errors: ActivationErrors,
        deviations: Deviations,
        zeros: Array,
    ) -> None:
        self.net = net
        self.activation_errors = activation_errors
        self.deviations = deviations
        self.coherent, self.squared = zeros, zeros.copy()
        self.drift: dict[tuple[str, str], Array] = {}
        self.near = np.zeros(zeros.shape[1], dtype=bool)
        self._layers: dict[str, LayerRounding] = {}

    def __call__(
        self, key: str, step: int | None, d: Values, v: Values | Operation
    ) -> None:
        """Add the errors of one step of one call; see `Visitor`."""
        if isinstance(v, Operation):
            self.add_operation(key, d, v)
            return
        rounding = self.layer(key)
        sites, _ = ROUNDING_SITES[rounding.layer.class_name](rounding, v)
        for site in sites:
            adjoint = d[site.name]  # (sweeps, rows, ...)
            self.add_errors(adjoint, site.max_error + FLUSH_ERROR)
            if site.standard_deviation is not None:
                self.add_deviation(key, site, adjoint * site.standard_deviation)

    def add_operation(self, key: str, d: Values, operation: Operation) -> None:
        """Add the errors of one operation of a layer that is recorded."""
        if not operation.operands:
            return
        found = operation_rounding(operation, self.activation_errors)
        near = found.near
        if near.size > 1:  # of several steps or rows for each sample
            near = np.asarray(by_sample(near, len(self.near)).any(axis=1))
        self.near |= near
        if "output" not in d:
            return
        adjoint = d["output"]  # (sweeps, rows, ...), with steps after the rows if any
        shape, own = operation.output.shape, adjoint.shape[1:]
        worst = np.broadcast_to(found.max_error + FLUSH_ERROR, shape).reshape(own)
        if not np.all(np.isfinite(worst)):  # 1 / 0 that no output depends on
            unused = np.all(adjoint == 0, axis=0)
            worst = np.where(unused, 0.0, worst)
        self.add_errors(adjoint, worst)
        if found.standard_deviation is not None:
            place = operation.place or id(operation)
            site = RoundingSite(f"{operation.name} {place}", found.max_error)
            deviation = np.broadcast_to(found.standard_deviation, shape).reshape(own)
            moved = adjoint * deviation
            if len(shape) == 1:
                moved = moved[..., None]  # a single number in each row
            self.add_deviation(key, site, moved)

    def add_errors(self, adjoint: Array, errors: Array) -> None:
        """Add the greatest errors, (rows, ...), of values with these adjoints."""
        sums = sum_of_products(np.abs(adjoint), errors)  # (sweeps, rows)
        if adjoint.shape[1] != len(self.near):  # several rows of a sample
            sums = sums.reshape(*self.coherent.shape, -1).sum(axis=-1)
        self.coherent += sums

    def layer(self, key: str) -> LayerRounding:
        """Return `rounding` of a call, made once."""
        if key not in self._layers:
            root = self.net.cast_to("float64")
            layer = root.at(bare_path(key, self.net.spec))
            self._layers[key] = self.rounding(key, layer)
        return self._layers[key]

    def rounding(self, key: str, layer: LayerSpec) -> LayerRounding:
        """Return what the rounding of a layer, called by that key, depends on."""
        return LayerRounding(layer, self.activation_errors, self.deviations[key])

    def add_deviation(self, key: str, site: RoundingSite, moved: Array) -> None:
        """Add standard deviations of the outputs, (sweeps, rows, ..., units)."""
        if moved.ndim == 2:
            moved = moved[..., None]  # a single number in each row
        samples = len(self.near)
        if moved.shape[1] != samples:  # several rows of a sample count as steps
            moved = moved.reshape(len(moved), samples, -1, *moved.shape[2:])
        each = moved.reshape(*moved.shape[:2], -1)  # (sweeps, rows, values)
        self.squared += np.einsum("sru,sru->sr", each, each)
        along = tuple(range(2, moved.ndim - 1))  # a single step has no axis of time
        moved = moved.sum(axis=along) if along else moved  # (sweeps, rows, units)
        place = key, site.name
        self.drift[place] = self.drift.get(place, 0.0) + moved

    def bound(self) -> Array:
        """Return the bounds, (sweeps, rows); NaN for rows that are `near` a jump."""
        drift = sum((x**2).sum(axis=-1) for x in self.drift.values())
        spread = np.sqrt(np.maximum(self.squared, drift))
        found = self.coherent + STANDARD_DEVIATIONS * spread + FLUSH_ERROR
        return np.where(self.near, np.nan, found)


def sum_of_products(adjoint: Array, errors: Array) -> Array:
    """Return ``sum(adjoint * errors)`` over all axes but sweeps and rows.

    Parameters
    ----------
    adjoint : (sweeps, rows, ...)
    errors : (rows, ...)

    Returns
    -------
    (sweeps, rows)
    """
    rows = len(errors)
    if errors.shape != adjoint.shape[1:]:  # broadcasting takes longer than asking
        errors = np.broadcast_to(errors, adjoint.shape[1:])
    return np.einsum(
        "sru,ru->sr",
        adjoint.reshape(len(adjoint), rows, -1),
        errors.reshape(rows, -1),
    )


class _Cost:
    """Estimate how long a backpropagation takes.

    Attributes
    ----------
    work : float
        The adjoints that it computes, or what takes as long.
    largest : int
        Size of the largest adjoint of a recorded operation.
    recorded : bool
        Whether any operation is recorded.
    """

    known_activations = KNOWN_ACTIVATIONS

    def __init__(self) -> None:
        self.work, self.largest, self.recorded = 0.0, 0, False

    def __call__(
        self, key: str, step: int | None, d: Values, v: Values | Operation
    ) -> None:
        """Add the adjoints of one step; see `Visitor`."""
        size = sum(adjoint.size for adjoint in d.values())
        if not isinstance(v, Operation):
            self.work += size if d else 1
            return
        self.recorded, self.largest = True, max(self.largest, size)
        terms = v.terms if v.name == "products" else 0
        of_one = (1 + terms / TERMS_PER_ADJOINT) / RECORDED_PER_ADJOINT
        self.work += max(size * of_one, 1)


def _cost_of_a_row(computation: Computation, flat: FlatOutputs, trace: Trace) -> _Cost:
    """Return what one sweep of a row costs; no work where nothing rounds."""
    cost = _Cost()
    gradients = flat.split(np.zeros((1, 1, flat.elements)))  # one sweep of one row
    computation.sweep(np.array([0]), gradients, cost, trace)
    return cost


def _sketch_plan(size: int, steps: int) -> tuple[int, int, int]:
    """Return how the rows of a sketch are cut.

    A step of a loop takes as long for few rows as for one, so loops are run only as
    often as `MAX_SKETCH_STEPS` allows.

    Parameters
    ----------
    size : int
        Bytes of the changes of one row.
    steps : int
        Of all loops over time of the model.

    Returns
    -------
    int
        Rows that are sketched together.
    int
        In how many groups of copies, so that they fit into memory.
    int
        How many times that may be done; 0 if the loops are too long.
    """
    most = MAX_SKETCH_STEPS // max(steps, 1)
    groups = max(-(-size // SKETCH_BYTES), 1)
    return max(int(SKETCH_BYTES // max(size, 1)), 1), groups, most // groups


def _numbers(trace: Trace) -> int:
    """Return how many numbers the layers return: as many have adjoints at least."""
    outputs = [flatten(call.output) for call in trace.values()]
    return sum(np.size(x) for leaves in outputs for x in leaves)


def _most_different(
    differences: Array, budget: float, share: int = 0
) -> tuple[Array, Array]:
    """Choose the rows and elements with the greatest differences.

    Parameters
    ----------
    differences : (rows, elements)
    budget : float
        Greatest number of pairs of a row and an element.
    share : int
        Pairs that a row counts for beside those of its elements.

    Returns
    -------
    rows, elements : (n,), (m,)
        Ascending.
    """
    rows, elements = differences.shape
    least = min(max(budget // (1 + share), 1), 4) if share else 4
    count = int(min(rows, max(budget // (elements + share), least)))
    order = np.argsort(-differences.max(axis=1), kind="stable")
    some = np.sort(order[:count])
    count = int(min(elements, max(budget // len(some) - share, 1)))
    order = np.argsort(-differences[some].max(axis=0), kind="stable")
    return some, np.sort(order[:count])


def _blocks(items: Array, size: int) -> Iterator[Array]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
