"""Bound how far a port that computes in a number format may be from float64.

The bound is that of the package, with the roundings of the format in place of those of
float32, and with four differences.

* Weights and inputs are rounded too. The error of a weight is the same at every step
  and in every row, so what counts is its gradient: the sum over all steps.
* A format has few digits, so adding up worst cases would allow more than the outputs
  themselves. All roundings count by their standard deviation instead. It is that of an
  even distribution: of an error of at most e of either sign ``e / sqrt(3)``.
* Layers that are recorded have bounds in floats alone: each of their operations rounds
  as in float32, with another unit roundoff, and what a weight's error moves is added up
  without signs.
* Where numbers are cut off, errors have one sign and a mean of half the greatest error.
  The means of all errors of one place add up, with the signs of their effects. Around
  its mean such an error counts as ``e / 2``, the most that there can be: of a product
  smaller than a step it is all or nothing.

With ``d`` the adjoint of a value and ``e`` its greatest error::

    bound = sum over places of |sum d * mean|
            + FORMAT_DEVIATIONS * sqrt(sum (d * deviation)**2)

An analysis to first order holds for small errors. So a row gets no bound where the
simulated port (`verify.tolerance.simulation`) deviates too far or exceeds it, or comes
near a kink of an activation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from verify.backward.cells import Values
from verify.backward.recording import NotRecorded, Operation
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.forward.trace import bare_path
from verify.model.arrays import Array, by_sample
from verify.model.dtypes import HALF_DTYPES, POLICIES, SINGLE
from verify.model.spec import LayerSpec
from verify.tolerance.activation_errors import (
    EXACT_ACTIVATIONS,
    KINKS,
    error_scale,
    worst_known_errors,
)
from verify.tolerance.error_bound.bounds import MAX_OUTPUT_ADJOINTS, bounded
from verify.tolerance.error_bound.computations import Traces, WholeModel
from verify.tolerance.error_bound.deviations import Deviations
from verify.tolerance.error_bound.operation_sites import (
    OperationRounding,
    operation_rounding,
)
from verify.tolerance.error_bound.sites import (
    KNOWN_ACTIVATIONS,
    ROUNDING_SITES,
    LayerRounding,
    RoundingSite,
    recorded_in,
    unbounded,
)
from verify.tolerance.error_bound.sweeps import bounds_of
from verify.tolerance.error_bound.visitor import (
    BoundVisitor,
    in_rows,
    sum_of_products,
    worst_of,
)
from verify.tolerance.formats import NumberFormat
from verify.tolerance.noise_floor import FLUSH_ERROR, Tolerance
from verify.tolerance.simulation import Scales, Simulation

MAX_FORMAT_DEVIATION = 0.2
"""As `verify.tolerance.error_bound.bounds.MAX_LINEAR_DEVIATION`, for a format of few
digits: what is neglected is about this share of the bound."""

FORMAT_DEVIATIONS = 6.0
"""Standard deviations that are allowed. Nothing else of the bound is random, and each
deviation is that of the greatest error, so errors come to a few of them at most."""

FUNCTION_ROUNDINGS = 3
"""Operations in which a port may compute an activation in floats of few bits, such as
``1 / (1 + exp(-x))``. In fixed point it is a table, whose entries are rounded once."""

EVEN = 3.0**-0.5
"""Standard deviation of an even distribution between -1 and 1."""

SMOOTH_OR_IN_LOOPS = (KNOWN_ACTIVATIONS - KINKS.keys()) | {
    f"{loop}.{kinked}" for loop in ("SimpleRNN", "LSTM", "GRU") for kinked in KINKS
}
"""Activations of which a layer's equations are enough in floats of 16 bits. Those move
so far that many a value may cross a kink, so the operations of other layers are
recorded: what a kink adds is known there for each value."""

_ERRORS = worst_known_errors()
"""Activation errors of float32, of which only the kinks and names count here."""


def bounded_by_format(
    simulation: Simulation,
    x: Inputs,
    noise_floors: Sequence[Tolerance],
    ours: Sequence[Array],
    theirs: Sequence[Array],
    *,
    work: float = MAX_OUTPUT_ADJOINTS,
) -> list[Tolerance]:
    """Return the tolerances of a model's outputs for a port in a number format.

    Parameters
    ----------
    simulation : Simulation
        Of the model, in the format.
    x, noise_floors, ours, theirs, work : as for `bounded_outputs`
    """
    if without_bound(simulation.net, simulation.number_format):
        return list(noise_floors)
    return bounded(
        noise_floors,
        ours,
        theirs,
        lambda differences: format_bounds(simulation, x, differences, work),
    )


def policy_format(net: Network) -> NumberFormat | None:
    """Return the number format in which layers compute by their policies.

    None where that is no format of 16 bits, or no bound is known for a layer in it.
    """
    computed = {POLICIES[policy].compute for policy in net.spec.policies}
    narrow = computed.intersection(HALF_DTYPES)
    if len(narrow) != 1 or not computed <= {*narrow, "float32"}:
        return None
    number_format = NumberFormat.read(narrow.pop())
    return None if without_bound(_in_single(net), number_format) else number_format


def bounded_by_policy(
    net: Network,
    x: Inputs,
    noise_floors: Sequence[Tolerance],
    ours: Sequence[Array],
    theirs: Sequence[Array],
    *,
    work: float = MAX_OUTPUT_ADJOINTS,
) -> list[Tolerance]:
    """Return the tolerances of a model whose layers compute in 16 bits.

    TensorFlow rounds weights, inputs and results as a port in that format does, and
    partial sums at most. Layers in float32 round less than is taken here.

    Parameters
    ----------
    net : Network
    x, noise_floors, ours, theirs, work : as for `bounded_outputs`
        The noise floors are returned as they are where there is no `policy_format`.
    """
    number_format = policy_format(net)
    if number_format is None:
        return list(noise_floors)
    simulation = Simulation(_in_single(net), number_format, Scales({}))
    with np.errstate(over="ignore", invalid="ignore"):
        return bounded_by_format(simulation, x, noise_floors, ours, theirs, work=work)


def _in_single(net: Network) -> Network:
    """Return a network whose layers all compute in float32."""
    root = net.spec.root.mapped(lambda layer: replace(layer, policy="float32"))
    return Network(replace(net.spec, root=root), net.floatx)


def without_bound(net: Network, number_format: NumberFormat) -> str:
    """Return why a model has no bound in a number format; empty if it may have one.

    How recorded layers round is known for floats alone.
    """
    return unbounded(net) or ("" if number_format.unit else recorded_in(net))


def format_bounds(
    simulation: Simulation,
    x: Inputs,
    differences: Sequence[Array],
    work: float = MAX_OUTPUT_ADJOINTS,
) -> list[Array]:
    """Return, for every output of a model, how far a number format may change it.

    Parameters
    ----------
    simulation : Simulation
    x, differences, work : as for `output_bounds`

    Returns
    -------
    list of (batch, ...)
        NaN for an element that has no bound.
    """
    net = simulation.net
    rows = (net.spec.batch_size or 1) if net.stateful else x.rows
    return bounds_of(
        _SimulatedModel(net, x, simulation=simulation),
        differences,
        partial(FormatVisitor, simulation),
        rows,
        work,
        weights=net.spec.root.parameters,
        max_deviation=MAX_FORMAT_DEVIATION,
    )


@dataclass(frozen=True, eq=False)
class _SimulatedModel(WholeModel):
    """Evaluate a whole model, with the simulated port in place of float32."""

    simulation: Simulation = field(kw_only=True)

    def traces(self, rows: Array) -> Traces:
        """Return the traces of some rows, of the port and of the model in float64."""
        some = self.x.take(rows)
        given = self.simulation.inputs(some)
        single = self.simulation.network().trace(given, dtype="float64")
        return Traces(single, self.net.trace(some, dtype="float64"))


@dataclass(frozen=True, eq=False)
class FormatLayerRounding(LayerRounding):
    """Hold what the rounding of one layer to a number format depends on.

    Attributes
    ----------
    number_format : NumberFormat
    steps : mapping of str to float
        Name of a value -> its greatest error in int8.
    """

    number_format: NumberFormat
    steps: Mapping[str, float]

    def local(self, name: str, size: Array, count: int = 1) -> Array:
        """Return the greatest error of some roundings; see `LayerRounding`."""
        kind = self.number_format
        return kind.unit * size + (count * kind.step + self.steps.get(name, 0.0))

    def dot(
        self, name: str, total: Array, inputs: Mapping[str, Array], bias: Any
    ) -> RoundingSite:
        """Return the rounding of a sum of matrix products and a bias.

        The statistics are those of float32 with another unit roundoff. A port that
        begins with the bias rounds partial sums of its size n times, which counts where
        the products are small. In fixed point each of n products is cut off by up to a
        step; in int8 sums are exact.
        """
        kind = self.number_format
        if kind.scaled:
            return RoundingSite(name, self.local(name, np.zeros(total.shape)))
        terms = sum(x.shape[-1] for x in inputs.values())
        if kind.truncates:
            lost = np.full(total.shape, terms * kind.step)
            return RoundingSite(name, lost, lost / (2 * np.sqrt(terms)))
        single = super().dot(name, total, inputs, bias)
        factor, begun = kind.unit / SINGLE, np.abs(bias) * (EVEN * np.sqrt(terms))
        deviation = single.standard_deviation
        spread = 0.0 if deviation is None else factor * deviation
        return RoundingSite(
            name,
            factor * single.max_error + terms * kind.step,
            np.hypot(spread, kind.unit * begun),
        )

    def activation(
        self, name: str, option: str, x: Array, y: Array, shift: Any = None
    ) -> RoundingSite:
        """Return the error of ``y = activation(x)``; near a kink nothing is derived."""
        function, kind = self.layer.options[option], self.number_format
        if function in EXACT_ACTIVATIONS:
            return RoundingSite(name, np.full(y.shape, self.steps.get(name, 0.0)))
        if not kind.unit:
            return self.rounded(name, np.abs(y))
        size = FUNCTION_ROUNDINGS * error_scale(function, x, y)
        return self.rounded(name, size, FUNCTION_ROUNDINGS)

    def softmax(
        self, before: RoundingSite, x: Array, y: Array, axis: Any
    ) -> list[RoundingSite]:
        """Return the sites of ``y = softmax(x)``.

        The greatest of the exponentials is 1 and their sum 1 or more. Each is rounded,
        and so is every sum of them and every quotient.
        """
        kind = self.number_format
        terms = int(np.prod([x.shape[k] for k in np.atleast_1d(axis)]))
        if not kind.unit:
            size = np.abs(y)
            cut = kind.step * (2 + terms * size) + self.steps.get("output", 0.0)
            return [before, RoundingSite("output", cut)]
        below = x - x.max(axis=axis, keepdims=True)
        relative = kind.unit * (1 + np.abs(below))
        return [
            before._replace(max_error=before.max_error + relative),
            self.rounded("output", (terms + 1) * np.abs(y), 3),
        ]


class FormatVisitor(BoundVisitor):
    """Add up how far every rounding to a number format moves every output.

    Parameters
    ----------
    simulation : Simulation
    deviations : mapping of str to mapping of str to (rows,)

    Attributes
    ----------
    means : dict of (sweeps, rows)
        Call and site -> what the means of its errors add up to.
    products : dict of list of Product
        Path of a layer, weight and part of it -> what it was multiplied with.
    weights_drift : dict of (sweeps, rows, units)
        Path, place and operand of a recorded layer -> what its rounding moves.
    """

    sweeps_loops = False  # the errors of weights count by the adjoints of every step

    def __init__(self, simulation: Simulation, deviations: Deviations) -> None:
        super().__init__(simulation.net, _ERRORS, deviations)
        self.simulation = simulation
        self.number_format = simulation.number_format
        if self.number_format.unit:
            self.known_activations = SMOOTH_OR_IN_LOOPS

    def begin(self, sweeps: int, rows: int) -> None:
        """Begin with other sweeps of the same rows."""
        super().begin(sweeps, rows)
        self.means: dict[tuple[str, str], Any] = defaultdict(float)
        self.products: dict[tuple[str, str, str], list[Product]] = defaultdict(list)
        self.weights_drift: dict[tuple[Any, ...], Any] = defaultdict(float)

    def rounding(self, key: str, layer: LayerSpec) -> LayerRounding:
        """Return what the rounding of a layer, called by that key, depends on."""
        path = bare_path(key, self.net.spec)
        scales = self.simulation.scales
        names = {"x": "input", "logits": "output"}
        values = ("x", "z", "a", "s", "r", "i", "f", "c_hat", "o", "c", "h", "h_hat")
        steps = {
            name: scales.of_value(path, names.get(name, name))
            for name in (*values, "output")
        }
        return FormatLayerRounding(
            layer, _ERRORS, self.deviations[key], self.number_format, steps
        )

    def __call__(
        self, key: str, step: int | None, d: Values, v: Values | Operation
    ) -> None:
        """Add the errors of one step of one call; see `Visitor`."""
        if isinstance(v, Operation):
            self.add_operation(key, d, v)
            return
        rounding = self.layer(key)
        class_name = rounding.layer.class_name
        sites, near = ROUNDING_SITES[class_name](rounding, v)
        samples = len(self.near)
        self.near |= by_sample(near, samples).any(axis=1)
        if class_name in PRODUCTS:
            sites = [*sites, rounding.rounded("x", np.abs(v["x"]))]
            path = bare_path(key, self.net.spec)
            for product in PRODUCTS[class_name](rounding.layer, d, v):
                part = path, product.weight, product.part
                self.products[part].append(product.of_samples(samples))
        for site in sites:
            adjoint, error = d[site.name], site.max_error + FLUSH_ERROR
            deviation = site.standard_deviation
            if self.number_format.truncates:
                place = key, site.name
                moved = sum_of_products(adjoint, error / 2)
                self.means[place] = self.means[place] + moved
                found = error / 2 if deviation is None else deviation
            else:
                found = error * EVEN
                if deviation is not None:
                    found = np.hypot(found, deviation)
            self.add_deviation(key, site, adjoint * found)

    def operation_rounding(self, operation: Operation) -> OperationRounding:
        """Return how an operation of a recorded layer rounds in the format."""
        return operation_rounding(operation, _ERRORS, self.number_format.unit)

    def add_operation(self, key: str, d: Values, operation: Operation) -> None:
        """Add the errors of one operation of a layer that is recorded.

        Its weights are rounded, too. The error of a weight is the same wherever it is
        used, so what it moves adds up over all places of a row.
        """
        found = self.operation(operation)
        if found is None or "output" not in d:
            return
        adjoint = d["output"]
        worst = worst_of(found, operation, adjoint) + self.number_format.step
        deviation = EVEN * worst
        if found.standard_deviation is not None:
            spread = in_rows(found.standard_deviation, operation, adjoint)
            deviation = np.hypot(deviation, spread)
        self.add_operation_deviation(key, operation, adjoint * deviation)
        if found.alike is not None:
            moved = EVEN * self.moved_alike(found.alike, operation, adjoint)
            self.squared += moved**2
        place = bare_path(key, self.net.spec), operation.place or id(operation)
        for number, moved in self.weights_moved(operation, adjoint):
            shape = operation.operands[number].shape  # of one cell among several
            self.weights_drift[*place, number, shape] += moved

    def weights_moved(
        self, operation: Operation, adjoint: Array
    ) -> Iterator[tuple[int, Array]]:
        """Yield how far the rounding of each constant operand moves the outputs.

        The errors of a sum's terms are independent; those of the sums count as if they
        had one sign, which is more than any choice of signs.

        Yields
        ------
        number : int
            Which operand it is.
        moved : (sweeps, rows, units)
            Standard deviation, of the sum over all places where it is used.
        """
        unit, values = self.number_format.unit * EVEN, operation.operands
        for k, constant in enumerate(operation.constants):
            weight = values[k]
            if not constant or weight.dtype.kind != "f":
                continue
            if np.array_equal(self.number_format.rounded(weight), weight):
                continue
            if operation.name == "products":
                size = np.sqrt(operation.function(*(x * x for x in values)))
            elif operation.slopes is not None:
                slopes = operation.slopes(*values, operation.output)
                size = np.abs(np.asarray(slopes[k]) * weight)
            else:
                raise NotRecorded(f"{operation.name} of a weight in a number format")
            moved = np.abs(adjoint) * in_rows(unit * size, operation, adjoint)
            rows = len(self.near)
            one = weight.ndim == 0 or weight.shape[-1] == 1  # the same for all units
            units = 1 if one or operation.output.ndim == 1 else moved.shape[-1]
            yield k, moved.reshape(len(moved), rows, -1, units).sum(axis=2)

    def bound(self) -> Array:
        """Return the bounds, (sweeps, rows); NaN for rows near a kink."""
        drift = sum((x**2).sum(axis=-1) for x in self.drift.values())
        variance, mean = np.maximum(self.squared, drift), 0.0 * self.squared
        for lost in self.means.values():
            mean = mean + np.abs(lost)
        for (path, weight, part), found in self.products.items():
            spread, lost = self.weight_errors(path, weight, part, found)
            variance, mean = variance + spread, mean + np.abs(lost)
        for moved in self.weights_drift.values():
            variance = variance + (moved**2).sum(axis=-1)
        bound = mean + FORMAT_DEVIATIONS * np.sqrt(variance) + FLUSH_ERROR
        return np.where(self.near, np.nan, bound)

    def weight_errors(
        self, path: str, weight: str, part: str, found: Sequence[Product]
    ) -> tuple[Array, Array]:
        """Return the variance and the mean that a weight's errors give each output.

        Returns
        -------
        variance, mean : (sweeps, rows)
        """
        layer = self.net.spec[path]
        errors = self.number_format.weight_error(weight, layer.weights[weight])
        errors = PARTS[part](errors, layer.options.get("units", 0))
        d = np.concatenate([product.adjoint for product in found], axis=2)
        shape = d.shape[:2]
        variance, mean = np.zeros(shape), np.zeros(shape)
        if not errors.any():
            return variance, mean
        x: Array = np.ones((1, d.shape[2], 1))
        if found[0].x is not None:
            x = np.concatenate([product.x for product in found], axis=1)
        by_input = np.moveaxis(x, 1, 2)  # (rows, inputs, times)
        half = 2 if self.number_format.truncates else 1
        for k, adjoint in enumerate(d):  # (rows, times, units)
            moved = (by_input @ adjoint) * errors  # (rows, inputs, units)
            variance[k] = np.einsum("riu,riu->r", moved, moved) * (EVEN / half) ** 2
            if self.number_format.truncates:
                mean[k] = moved.sum(axis=(1, 2)) / 2
        return variance, mean


class Product(NamedTuple):
    """Hold what a weight, or a part of it, was multiplied with.

    Attributes
    ----------
    weight : str
    part : str
        A key of `PARTS`.
    adjoint : (sweeps, rows, times, units)
        Adjoint of the sum that the product is a term of.
    x : (rows, times, inputs) or None
        What the weight was multiplied with; None for a bias.
    """

    weight: str
    part: str
    adjoint: Array
    x: Array | None = None

    def of_samples(self, samples: int) -> Product:
        """Return it with several rows of a sample as further times of one."""
        d, x = self.adjoint, self.x
        if d.shape[1] == samples:
            return self
        d = d.reshape(len(d), samples, -1, d.shape[-1])
        return self._replace(
            adjoint=d, x=None if x is None else x.reshape(samples, -1, x.shape[-1])
        )


PARTS: Mapping[str, Callable[[Array, int], Array]] = {
    "": lambda w, units: w,
    "gates": lambda w, units: w[:, : 2 * units],
    "candidate": lambda w, units: w[:, 2 * units :],
    "input row": lambda w, units: w[0] if w.ndim == 2 else w,
    "recurrent row": lambda w, units: w[1],
}
"""Part of a weight -> how it is cut out of it. All but the first are of a GRU."""


def _plain_products(layer: LayerSpec, d: Values, v: Values) -> Iterator[Product]:
    """Yield the products of a SimpleRNN, an LSTM or a Dense layer."""
    total = "logits" if layer.class_name == "Dense" else "z"
    adjoint = _times(d[total], 2)
    yield Product("kernel", "", adjoint, _times(v["x"], 1))
    if "recurrent_kernel" in layer.weights:
        yield Product("recurrent_kernel", "", adjoint, _times(v["h_before"], 1))
    if "bias" in layer.weights:
        yield Product("bias", "", adjoint)


def _gru_products(layer: LayerSpec, d: Values, v: Values) -> Iterator[Product]:
    """Yield the products of a GRU, whose candidate may be given ``r * h``."""
    d_a, d_s = _times(d["a"], 2), _times(d["s"], 2)
    columns = 2 * layer.options["units"]
    h = v["h_before"]
    inside = h if layer.options["reset_after"] else v["r"] * h
    yield Product("kernel", "", d_a, _times(v["x"], 1))
    yield Product("recurrent_kernel", "gates", d_s[..., :columns], _times(h, 1))
    yield Product(
        "recurrent_kernel", "candidate", d_s[..., columns:], _times(inside, 1)
    )
    if "bias" in layer.weights:
        yield Product("bias", "input row", d_a)
        if layer.options["reset_after"]:
            yield Product("bias", "recurrent row", d_s)


def _times(values: Array, axes: int) -> Array:
    """Return values with one axis of times after the first `axes`, before the last."""
    return values.reshape(*values.shape[:axes], -1, values.shape[-1])


PRODUCTS: Mapping[str, Callable[[LayerSpec, Values, Values], Iterator[Product]]] = {
    "SimpleRNN": _plain_products,
    "LSTM": _plain_products,
    "Dense": _plain_products,
    "GRU": _gru_products,
}
"""Class name of a layer -> its matrix products in one step."""
