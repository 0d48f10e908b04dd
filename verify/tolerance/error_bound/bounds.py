"""Derive the bounds of a model's outputs, or of those of one layer.

The package's docstring has the formula and its reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from verify.console.progress import doing
from verify.forward.evaluable import Inputs, LayerCall
from verify.forward.fast import single_threaded_blas
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.dtypes import HALF_DTYPES
from verify.model.graph import flatten, part_for
from verify.model.spec import LayerSpec
from verify.tolerance.activation_errors import RELATIVE_TO_ONE, ActivationErrors
from verify.tolerance.error_bound.computations import OneLayer, Traces, WholeModel
from verify.tolerance.error_bound.costs import numbers
from verify.tolerance.error_bound.deviations import MAX_LINEAR_DEVIATION
from verify.tolerance.error_bound.sites import unbounded
from verify.tolerance.error_bound.sketch import MOST_COPIES, sketched_bounds
from verify.tolerance.error_bound.sums import STANDARD_DEVIATIONS
from verify.tolerance.error_bound.sweeps import bounds_of, sketched_rows
from verify.tolerance.error_bound.time_windows import LongBounds
from verify.tolerance.error_bound.visitor import BoundVisitor
from verify.tolerance.noise_floor import (
    MAX_RELATIVE,
    NEGLIGIBLE,
    SCALE_OF_ZEROS,
    Rounding,
    Tolerance,
)

MAX_OUTPUT_ADJOINTS, MAX_LAYER_ADJOINTS = 1e8, 1e7
"""Adjoints computed at most for the outputs of a model, and for those of one layer:
at most a second or two. Beyond that, only the elements that differ most get a bound."""

AMPLIFIED, AMPLIFIED_COARSE = 40.0, 10.0
"""A row has no bounds where one of them is above so many times what decides something:
that of a `sketch` may be as many times what backpropagation says. The second is for
numbers of few digits, which are not sketched."""


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
    found = _sound(noise_floors, ours, theirs, bounds)
    return _with_bounds(noise_floors, found)


def _with_bounds(
    noise_floors: Sequence[Tolerance], bounds: Sequence[Array] | None
) -> list[Tolerance]:
    if bounds is None:
        return list(noise_floors)
    return [
        floor.bounded(bound) for floor, bound in zip(noise_floors, bounds, strict=True)
    ]


def _sound(
    floors: Sequence[Tolerance],
    ours: Sequence[Array],
    theirs: Sequence[Array],
    bounds: Callable[[Sequence[Array]], list[Array]],
) -> list[Array] | None:
    """Return the bounds of the rows in which they hold; None if shapes do not fit."""
    if [a.shape for a in ours] != [b.shape for b in theirs] or not ours[0].size:
        return None
    with np.errstate(invalid="ignore"):
        differences = [
            np.abs(a - b.astype(np.float64)) / floor.atol
            for a, b, floor in zip(ours, theirs, floors, strict=True)
        ]
    # An output that is no number in the model's own dtype, as NumPy computes it too, is
    # beyond what a bound says: a small constant became 0 there, or a sum infinite.
    found = [
        np.where(np.isfinite(b) | np.isfinite(floor.atol), bound, np.nan)
        for bound, b, floor in zip(bounds(differences), theirs, floors, strict=True)
    ]
    # Where one element of a row amplifies rounding, first order does not hold there. An
    # element that is small against the others, such as a class that softmax rules out,
    # may have a bound that decides nothing for it alone.
    sound = np.ones(len(ours[0]), dtype=bool)  # (rows,)
    for floor, bound in zip(floors, found, strict=True):
        times = AMPLIFIED if floor.limit <= MAX_RELATIVE else AMPLIFIED_COARSE
        scale = floor.scale.max(initial=0.0) or SCALE_OF_ZEROS
        most = max(times * floor.limit * scale, NEGLIGIBLE)
        small = (bound <= most) | np.isnan(bound)
        sound &= small.reshape(len(sound), -1).all(axis=1)
    return [
        # (rows, 1, ...) against (rows, ...)
        np.where(sound.reshape(-1, *(1,) * (bound.ndim - 1)), bound, np.nan)
        for bound in found
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
    traces: Traces | None = None,
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
    traces : Traces, optional
        Of the inputs, if they are known; of a model that is not stateful.
    """
    if unbounded(net):
        return list(noise_floors)
    return bounded(
        noise_floors,
        ours,
        theirs,
        lambda differences: output_bounds(
            net, x, differences, activation_errors, work, traces
        ),
    )


def bounded_call(
    rounding: Rounding,
    call: LayerCall,
    ours: Sequence[Array],
    theirs: Sequence[Array],
    activation_errors: ActivationErrors,
    *,
    traces: Traces | None = None,
    rows: Array | None = None,
) -> list[Tolerance]:
    """Return the tolerances of one layer's outputs: derived bounds, if there are any.

    The noise floor takes several evaluations of the layer. It is measured only where an
    element has no bound and differs by more than the least that a noise floor can be.

    A layer that has states before the call has no bound: a sweep starts it at zero. Nor
    has an operation on numbers of 16 bits, which is called without a policy.

    Parameters
    ----------
    rounding : Rounding
        Of the network that the layer belongs to.
    call : LayerCall
    ours, theirs : list of (batch, ...)
        The outputs to compare.
    activation_errors : ActivationErrors
    traces : Traces, optional
        Of the call, if they are known.
    rows : (n,) of int, optional
        As for `Rounding.noise_floors`.
    """
    net = rounding.net
    single = None if traces is None else flatten(traces.single.output)
    if any(y.dtype.name in HALF_DTYPES for y in theirs):
        floors = rounding.noise_floors(call, ours, rows=rows, single=single)
        extra = _cancelled(net.spec[call.name]) * rounding.unit
        return [floor.widened(extra) for floor in floors]
    if (
        unbounded(net, call.name)
        or has_states(call)
        # it folds axes into the batch, which rounds nothing
        or call.rows != len(ours[0])
    ):
        return rounding.noise_floors(call, ours, rows=rows, single=single)
    least = rounding.least_floors(ours)

    def measure() -> list[Tolerance]:
        return rounding.noise_floors(call, ours, rows=rows, single=single)

    def bounds(differences: Sequence[Array]) -> list[Array]:
        return call_bounds(net, call, differences, activation_errors, traces)

    return _measured_where_needed(least, measure, ours, theirs, bounds)[1]


def _cancelled(layer: LayerSpec) -> float:
    """Return the error of a layer's function that does not shrink with its result.

    It is in units of the roundoff. An elu is ``exp(x) - 1``, whose exponential is
    rounded near 1: a noise floor, which is in proportion to the results, is too small
    for small ones in 16 bits.
    """
    bare = layer.class_name.removeprefix("ops.").lower()
    function = str(layer.options.get("activation", bare)).partition("(")[0]
    return 1.0 if function in RELATIVE_TO_ONE else 0.0


def measured_outputs(
    rounding: Rounding,
    x: Inputs,
    ours: Sequence[Array],
    theirs: Sequence[Array],
    activation_errors: ActivationErrors,
    *,
    native: bool = True,
    threads: int | None = None,
    rows: Array | None = None,
    work: float = MAX_OUTPUT_ADJOINTS,
    traces: Traces | None = None,
) -> tuple[list[Tolerance], list[Tolerance]]:
    """Return noise floors and tolerances of a model's outputs.

    The noise floor is measured only where not all outputs have a bound, or where one
    differs by more than the least that a noise floor can be.

    Parameters
    ----------
    rounding : Rounding
        Of a network that is not `unbounded`.
    x, ours, theirs, activation_errors, work, traces : as for `bounded_outputs`
    native, threads, rows : as for `Rounding.noise_floors`

    Returns
    -------
    noise_floors, tolerances : list of Tolerance
        One for each output; the second with derived bounds in them.
    """
    single = None if traces is None else flatten(traces.single.output)
    least = rounding.least_noise_floors(
        x, ours, native=native, threads=threads, single=single
    )

    def measure() -> list[Tolerance]:
        return rounding.noise_floors(
            x, ours, native=native, threads=threads, rows=rows, least=least
        )

    def bounds(differences: Sequence[Array]) -> list[Array]:
        with doing("deriving bounds"):
            return output_bounds(
                rounding.net, x, differences, activation_errors, work, traces
            )

    return _measured_where_needed(least, measure, ours, theirs, bounds, noisy=True)


def _measured_where_needed(
    least: Sequence[Tolerance],
    measure: Callable[[], Sequence[Tolerance]],
    ours: Sequence[Array],
    theirs: Sequence[Array],
    bounds: Callable[[Sequence[Array]], list[Array]],
    *,
    noisy: bool = False,
) -> tuple[list[Tolerance], list[Tolerance]]:
    """Return noise floors and tolerances with derived bounds, measuring little.

    A noise floor takes several evaluations. It is measured only where an element has no
    bound and differs by more than the least that a noise floor can be.

    Parameters
    ----------
    least : list of Tolerance
        What the noise floor of each output is at least.
    measure : callable
        Measures the noise floors.
    ours, theirs, bounds : as for `bounded`
    noisy : bool
        Whether the noise floors themselves are of interest: they are measured then
        wherever an element differs by more than the least, or has no bound.

    Returns
    -------
    noise_floors : list of Tolerance
        Those measured, or the least.
    tolerances : list of Tolerance
    """
    found = _sound(least, ours, theirs, bounds)
    tolerances = _with_bounds(least, found)
    if all(
        _enough(tolerance, floor, a, b, noisy=noisy)
        for tolerance, floor, a, b in zip(tolerances, least, ours, theirs, strict=False)
    ):
        return list(least), tolerances
    floors = list(measure())
    tolerances = _with_bounds(floors, found)
    if found is None or not _beyond_noise(tolerances, found, ours, theirs):
        return floors, tolerances
    # A noise floor is what a few evaluations did, and `found` has the elements that
    # differ most from the least floor. Those beyond the measured one are others.
    later = _sound(tolerances, ours, theirs, bounds)
    merged = [
        np.where(np.isnan(a), b, a) for a, b in zip(found, later or found, strict=True)
    ]
    return floors, _with_bounds(floors, merged)


def _enough(
    tolerance: Tolerance, least: Tolerance, ours: Array, theirs: Array, *, noisy: bool
) -> bool:
    """Return whether an output can be judged without a noise floor that is measured."""
    bounded = tolerance.derived == 1
    if noisy:
        return bounded and bool(_within(least, ours, theirs).all())
    return bounded or bool(_within(tolerance, ours, theirs).all())


def _within(tolerance: Tolerance, a: Array, b: Array) -> Array:
    """Return which elements are as near as a tolerance asks; NaN is not."""
    if a.shape != b.shape:
        return np.zeros(1, dtype=bool)
    with np.errstate(invalid="ignore"):
        near: Array = np.abs(a - b.astype(np.float64)) <= tolerance.atol
    return near


def _beyond_noise(
    tolerances: Sequence[Tolerance],
    bounds: Sequence[Array],
    ours: Sequence[Array],
    theirs: Sequence[Array],
) -> bool:
    """Return whether elements without a bound alone differ by more than allowed."""
    beyond = False
    for tolerance, bound, a, b in zip(tolerances, bounds, ours, theirs, strict=True):
        wrong = ~_within(tolerance, a, b)
        without = ~tolerance.decisive(bound)
        if (wrong & ~without).any():
            return False
        beyond |= bool((wrong & without).any())
    return beyond


def has_states(call: LayerCall) -> bool:
    """Return whether a layer, or one inside it, has states before a call."""
    inside = f"{call.name}/"
    return any(at == call.name or at.startswith(inside) for at in call.states)


def output_bounds(
    net: Network,
    x: Inputs,
    differences: Sequence[Array],
    activation_errors: ActivationErrors,
    work: float = MAX_OUTPUT_ADJOINTS,
    traces: Traces | None = None,
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
    traces : Traces, optional
        As for `bounded_outputs`.

    Returns
    -------
    list of (batch, ...)
        NaN for an element that has no bound.
    """
    found = _together(net, x, differences, activation_errors, work, traces)
    graph = net.spec.root.graph
    if graph is None or not all(np.isnan(bound).all() for bound in found):
        return found
    # What one output depends on may have no derivative, or amplify rounding too much.
    # Another one may not depend on it.
    for k, output in enumerate(flatten(graph.outputs) if len(found) > 1 else ()):
        part = part_for(graph, output)
        if len(part.nodes) < len(graph.nodes):
            root = replace(net.spec.root, graph=part)
            alone = Network(replace(net.spec, root=root), net.floatx)
            (found[k],) = _together(alone, x, [differences[k]], activation_errors, work)
    return found


def _together(
    net: Network,
    x: Inputs,
    differences: Sequence[Array],
    activation_errors: ActivationErrors,
    work: float,
    traces: Traces | None = None,
) -> list[Array]:
    """Return `output_bounds` by going back from all outputs of a model at once."""
    windows = LongBounds(
        net, x, activation_errors, STANDARD_DEVIATIONS, MAX_LINEAR_DEVIATION,
        trace=None if traces is None else traces.single,
    )  # fmt: skip
    if not net.stateful and windows.applies(differences, work):
        return windows.bounds(differences)
    # A stateful model passes its states on from one batch to the next.
    rows = (net.spec.batch_size or 1) if net.stateful else x.rows

    def sketch(
        some: Array, copies: int = MOST_COPIES, groups: int = 1
    ) -> tuple[list[Array], Array]:
        return sketched_bounds(
            net,
            x.take(some),
            activation_errors,
            standard_deviations=STANDARD_DEVIATIONS,
            max_deviation=MAX_LINEAR_DEVIATION,
            copies=copies,
            groups=groups,
        )

    model = WholeModel(net, x, traces)
    found = bounds_of(
        model,
        differences,
        partial(BoundVisitor, net, activation_errors),
        rows,
        work,
        sketch=None if net.stateful else sketch,
    )
    if rows < x.rows and numbers(model.traces(np.arange(1)).double) * x.rows <= work:
        with single_threaded_blas():
            later = sketched_rows(sketch, np.arange(x.rows), found)
        found = [np.where(np.isnan(a), b, a) for a, b in zip(found, later, strict=True)]
    return found


def call_bounds(
    net: Network,
    call: LayerCall,
    differences: Sequence[Array],
    activation_errors: ActivationErrors,
    traces: Traces | None = None,
) -> list[Array]:
    """Return `output_bounds` for one layer alone, called on the given arguments.

    Parameters
    ----------
    net, differences, activation_errors : as for `output_bounds`
    call : LayerCall
        Without states.
    traces : Traces, optional
        Of the call, if they are known.
    """
    windows = LongBounds(
        net, call, activation_errors, STANDARD_DEVIATIONS, MAX_LINEAR_DEVIATION,
        trace=None if traces is None else traces.single,
    )  # fmt: skip
    if windows.applies(differences, MAX_LAYER_ADJOINTS):
        return windows.bounds(differences)
    rows = len(differences[0])
    layer = OneLayer(net, call, traces)
    visitor = partial(BoundVisitor, net, activation_errors)
    return bounds_of(layer, differences, visitor, rows, MAX_LAYER_ADJOINTS)
