"""How far a correct float32 program may be from float64: a bound for every output.

Running error analysis, to first order. Each operation of the forward pass commits a
local rounding error, known from the float64 values; one sweep of reverse mode says how
much of it reaches an output. So, with ``d`` the adjoint of a value::

    bound = sum |d| * local + DEVIATIONS * sqrt(sum (d * deviation)**2)

``local`` is the worst case of activations, products and sums, and ``deviation`` the
standard deviation of a dot product's rounding. Dot products add in an order that only
the library knows; their worst case is met by terms that are all equal, and as a bound
it would hide mistakes. Where the same dot product comes again at every step, so may its
rounding: the second sum is at least that of ``sum d * deviation`` over the steps.

A bound is given up for a row where NumPy's own float32 exceeds it, strays too far for
an analysis to first order, or comes near a kink.

The activations' worst cases are the constants of `verify.tolerance.activation_errors`. Inputs and weights
are exact, as they are where both sides are given the same float32 numbers.

Source: Higham, Accuracy and Stability of Numerical Algorithms (2002), chapters 3 and 4,
and section 2.8 for the statistics of rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from verify.backward import (
    DIFFERENTIATED,
    backprop,
    backprop_call,
    refused,
    supports,
)
from verify.backward.cells import Values
from verify.backward.layers import Visitor
from verify.errors import printable
from verify.forward.cells import gate_blocks
from verify.forward.fast import single_threaded_blas
from verify.forward.network import Inputs, LayerCall, Network, Trace, bare_path
from verify.model.arrays import Array
from verify.model.dtypes import SINGLE, is_float
from verify.model.graph import flatten
from verify.model.spec import LayerSpec
from verify.tolerance.activation_errors import (
    EXACT_ACTIVATIONS,
    KINKS,
    MEASURED_ACTIVATIONS,
    ActivationErrors,
)
from verify.tolerance.compare import FLUSH_ERROR, Tolerance

STANDARD_DEVIATIONS = 10.0
"""So many standard deviations are allowed for what dot products add up to."""

KINK_SHARE, KINK_DEVIATIONS = 1e-5, 4.0
"""Where an activation is met so near to a kink, as a share of its argument and in
multiples of what float32 strays by, rounding may take it to the other slope: such rows
are left out."""

MAX_OUTPUT_ADJOINTS, MAX_LAYER_ADJOINTS = 1e8, 3e7
"""Adjoints computed for the outputs of a model, and of one layer, at most: a second or
two. Beyond that, the elements that differ most have a bound."""

MAX_LINEAR_DEVIATION = 1e-3
"""To first order alone is right where errors are small all along: a row is left out if
NumPy in float32 strays from float64 by more than this share anywhere in the model."""

MAX_BLOCK_ADJOINTS, MAX_BLOCK_ROWS = 4e6, 128
"""Adjoints kept at a time, and of how many rows at most: then they fit a core's cache.
With so few numbers a matrix product is no work for several threads."""


class RoundingSite(NamedTuple):
    """A place where rounding happens: one value of a step.

    Attributes
    ----------
    name : str
        Of the value, among those that `Visitor` is shown.
    local : (batch, ...)
        Greatest error, the same sign at every step.
    standard_deviation : (batch, ...) or None
        Standard deviation of an error that has no sign of its own.
    """

    name: str
    local: Array
    standard_deviation: Array | None = None


@dataclass(frozen=True, eq=False)
class LayerRounding:
    """One layer, and how its float32 arithmetic rounds.

    Attributes
    ----------
    layer : LayerSpec
        With weights in float64.
    activation_errors : ActivationErrors
    deviations : mapping of str to (rows,)
        How far NumPy in float32 is from float64, at worst, in what the layer is given
        (``x``) and in what it keeps on the way (``h``).
    """

    layer: LayerSpec
    activation_errors: ActivationErrors
    deviations: Mapping[str, Array]

    @cached_property
    def absolute(self) -> Mapping[str, Array]:
        """Its weights without their signs."""
        return {name: np.abs(w) for name, w in self.layer.weights.items()}

    def dot(
        self, name: str, total: Array, inputs: Mapping[str, Array], bias: Any
    ) -> RoundingSite:
        """A sum of matrix products and a bias, and what it comes to.

        For terms of either sign the deviation is about half of their absolute sum times
        the unit roundoff. Terms of one sign pile up: of n the k-th sum is k / n of the
        last, and the deviation ``sqrt(n) / 3`` of it. The last rounding may be the same
        at every step, and so may half of one of every term.
        """
        size: Any = np.abs(bias)
        piled: Any = 0.0
        terms, rest = 1, total - bias  # what the last product comes to
        for weight, x in inputs.items():
            last = terms > 1 or len(inputs) == 1
            product = rest if last else x @ self.layer.weights[weight]
            rest, count = rest - product, x.shape[-1]
            size = size + np.abs(x) @ self.absolute[weight]
            piled = piled + product * product * (count / 9)
            terms += count
        half = size / 2
        return RoundingSite(
            name,
            SINGLE * (np.abs(total) + half) + terms * FLUSH_ERROR,
            SINGLE * np.sqrt(half * half + piled),
        )

    def activated(self, name: str, option: str, x: Array, y: Array) -> RoundingSite:
        """An activation, by the constant of its kernel."""
        return RoundingSite(
            name, self.activation_errors.error(self.layer.options[option], x, y)
        )

    def shift(self, sources: Mapping[str, str]) -> Array:
        """How far sums move at worst, by what enters each weight: (rows, units)."""
        return sum(
            np.multiply.outer(
                self.deviations[source], self.absolute[weight].sum(axis=0)
            )
            for weight, source in sources.items()
        )

    @cached_property
    def smooth(self) -> bool:
        """Whether no activation of the layer has a kink."""
        names = ("activation", "recurrent_activation")
        return not any(self.layer.options.get(name) in KINKS for name in names)

    def near_a_kink(self, option: str, x: Array, shift: Array) -> Array:
        """Whether numbers, which may have moved by `shift`, are hardly off a kink."""
        activation = self.layer.options[option]
        near = np.zeros(x.shape, dtype=bool)
        for kink in KINKS.get(activation, ()):
            slack = KINK_SHARE * (np.abs(x) + abs(kink)) + KINK_DEVIATIONS * shift
            near |= np.abs(x - kink) < slack
        return near


class RoundingRule(Protocol):
    """The sites of one step of a layer, and which of its numbers are near a kink."""

    def __call__(self, r: LayerRounding, v: Values) -> tuple[list[RoundingSite], Array]:
        """See `ROUNDING_SITES`."""


RECURRENT_SOURCES = {"kernel": "x", "recurrent_kernel": "h"}
"""Weights of a recurrent layer, and what enters them."""


def _simple_rnn(r: LayerRounding, v: Values) -> tuple[list[RoundingSite], Array]:
    z = r.dot(
        "z",
        v["z"],
        {"kernel": v["x"], "recurrent_kernel": v["h_before"]},
        r.layer.weights.get("bias", 0.0),
    )
    near = np.zeros((len(v["z"]), 1), dtype=bool)
    if not r.smooth:
        near = r.near_a_kink("activation", v["z"], r.shift(RECURRENT_SOURCES) + z.local)
    return [z, r.activated("h", "activation", v["z"], v["h"])], near


def _lstm(r: LayerRounding, v: Values) -> tuple[list[RoundingSite], Array]:
    z = r.dot(
        "z",
        v["z"],
        {"kernel": v["x"], "recurrent_kernel": v["h_before"]},
        r.layer.weights.get("bias", 0.0),
    )
    z_i, z_f, z_c, z_o = gate_blocks(v["z"], 4)
    gate, act = "recurrent_activation", "activation"
    kept, taken = v["f"] * v["c_before"], v["i"] * v["c_hat"]
    near = np.zeros((len(z_i), 1), dtype=bool)
    if not r.smooth:
        i, f, c, o = gate_blocks(r.shift(RECURRENT_SOURCES) + z.local, 4)
        near = (
            r.near_a_kink(gate, z_i, i)
            | r.near_a_kink(gate, z_f, f)
            | r.near_a_kink(act, z_c, c)
            | r.near_a_kink(gate, z_o, o)
            | r.near_a_kink(act, v["c"], r.deviations["h"][:, None])
        )
    return [
        z,
        r.activated("i", gate, z_i, v["i"]),
        r.activated("f", gate, z_f, v["f"]),
        r.activated("c_hat", act, z_c, v["c_hat"]),
        r.activated("o", gate, z_o, v["o"]),
        RoundingSite("c", SINGLE * (np.abs(kept) + np.abs(taken) + np.abs(v["c"]))),
        r.activated("activation(c)", act, v["c"], v["activation(c)"]),
        RoundingSite("h", SINGLE * np.abs(v["h"])),
    ], near


def _gru(r: LayerRounding, v: Values) -> tuple[list[RoundingSite], Array]:
    units = r.layer.options["units"]
    bias = r.layer.weights.get("bias", np.zeros((2, 3 * units)))
    biases = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    through = v["s"]
    if not r.layer.options["reset_after"]:  # of the candidate, what h alone comes to
        through = v["h_before"] @ r.layer.weights["recurrent_kernel"] + biases[1]
    a = r.dot("a", v["a"], {"kernel": v["x"]}, biases[0])
    s = r.dot("s", through, {"recurrent_kernel": v["h_before"]}, biases[1])
    a_z, a_r, a_h = gate_blocks(v["a"], 3)
    s_z, s_r, s_h = gate_blocks(v["s"], 3)
    # The two sides are rounded before they are added; the sum is rounded once more.
    sums = np.concatenate([a_z + s_z, a_r + s_r, a_h], axis=-1)
    local_a, local_s = a.local + SINGLE * np.abs(sums), s.local
    if r.layer.options["reset_after"]:
        inside = a_h + v["r"] * s_h
        extra = np.abs(v["r"] * s_h) + np.abs(inside)
    else:
        # r * h is rounded, then multiplied: as if each of its products were rounded.
        inside = a_h + s_h
        u_h = r.absolute["recurrent_kernel"][:, 2 * units :]
        through = np.abs(v["r"] * v["h_before"]) @ u_h
        extra = np.abs(inside) + through
    local_a[:, 2 * units :] += SINGLE * extra
    gate, act = "recurrent_activation", "activation"
    near = np.zeros((len(inside), 1), dtype=bool)
    if not r.smooth:
        shifts = gate_blocks(r.shift(RECURRENT_SOURCES) + local_a + local_s, 3)
        shift_z, shift_r, shift_h = shifts
        near = (
            r.near_a_kink(gate, a_z + s_z, shift_z)
            | r.near_a_kink(gate, a_r + s_r, shift_r)
            | r.near_a_kink(act, inside, shift_h + 2 * r.deviations["h"][:, None])
        )
    kept, taken = v["z"] * v["h_before"], (1 - v["z"]) * v["h_hat"]
    return [
        a._replace(local=local_a),
        s._replace(local=local_s),
        r.activated("z", gate, a_z + s_z, v["z"]),
        r.activated("r", gate, a_r + s_r, v["r"]),
        r.activated("h_hat", act, inside, v["h_hat"]),
        # 1 - z is rounded too, and so are both products and their sum
        RoundingSite("h", SINGLE * (np.abs(kept) + 2 * np.abs(taken) + np.abs(v["h"]))),
    ], near


def _dense(r: LayerRounding, v: Values) -> tuple[list[RoundingSite], Array]:
    bias = r.layer.weights.get("bias", 0.0)
    logits = r.dot("logits", v["logits"], {"kernel": v["x"]}, bias)
    shift = r.shift({"kernel": "x"})
    shift = shift.reshape(len(shift), *(1,) * (v["logits"].ndim - 2), -1)
    return _function(r, v["logits"], v["output"], logits, shift + logits.local)


def _activation(r: LayerRounding, v: Values) -> tuple[list[RoundingSite], Array]:
    exact = RoundingSite("x", np.zeros_like(v["x"]))
    shift = r.deviations["x"].reshape(-1, *(1,) * (v["x"].ndim - 1))
    return _function(r, v["x"], v["output"], exact, shift)


def _function(
    r: LayerRounding, x: Array, y: Array, before: RoundingSite, shift: Array
) -> tuple[list[RoundingSite], Array]:
    """An activation that may be softmax, of numbers that have been rounded."""
    axis = _softmax_axis(r.layer)
    if axis is not None:
        below = x - x.max(axis=axis, keepdims=True)
        # An error of exp(x) by a share of it is one of x by that much.
        share = SINGLE * (r.activation_errors.constants["exponential"] + np.abs(below))
        terms = int(np.prod([x.shape[k] for k in np.atleast_1d(axis)]))
        divided = RoundingSite("output", SINGLE * (terms + 1) * np.abs(y))
        near = np.zeros(x.shape, dtype=bool)
        return [before._replace(local=before.local + share), divided], near
    near = r.near_a_kink("activation", x, shift)
    return [before, r.activated("output", "activation", x, y)], near


def _softmax_axis(layer: LayerSpec) -> Any:
    """Over which axes a layer's outputs add up to one; None if they do not."""
    if layer.class_name == "Softmax":
        return tuple(layer.options["axis"])
    return -1 if layer.options["activation"] == "softmax" else None


def _merged(r: LayerRounding, v: Values) -> tuple[list[RoundingSite], Array]:
    near = np.zeros(v["output"].shape, dtype=bool)
    return [RoundingSite("output", SINGLE * np.abs(v["output"]))], near


def _added(r: LayerRounding, v: Values) -> tuple[list[RoundingSite], Array]:
    near = np.zeros(v["output"].shape, dtype=bool)
    return [RoundingSite("output", SINGLE * v["size"])], near


ROUNDING_SITES: Mapping[str, RoundingRule] = MappingProxyType(
    {
        "SimpleRNN": _simple_rnn, "LSTM": _lstm, "GRU": _gru, "Dense": _dense,
        "Activation": _activation, "Softmax": _activation, "Bidirectional": _merged,
        "Add": _added,
    }
)  # fmt: skip
"""Class name of a layer -> where it rounds. All others of `DIFFERENTIATED` only choose,
copy or drop numbers."""


def unbounded(net: Network, name: str | None = None) -> str:
    """Why no bound is derived for a model, or for one layer; empty if one is."""
    if name is None:
        reason, layers = supports(net), [layer for _, layer in net.spec.walk()]
    else:
        layer = net.spec[name]
        reason, layers = refused(layer), [layer, *layer.sublayers.values()]
    if reason:
        return reason.partition(". ")[0].replace("gradients through", "bounds through")
    for layer in layers:
        if layer.class_name not in DIFFERENTIATED:
            continue  # an operation on masks
        if layer.policy != "float32":
            return f"{layer}: it computes in {printable(layer.policy)}"
        for option in ("activation", "recurrent_activation"):
            function = layer.options.get(option, "linear")
            softmax = function == "softmax" and layer.class_name in SOFTMAX_LAYERS
            if (
                function not in (*EXACT_ACTIVATIONS, *MEASURED_ACTIVATIONS)
                and not softmax
            ):
                return (
                    f"{layer}: the error of {option}={printable(function)} is not known"
                )
    return ""


SOFTMAX_LAYERS = ("Dense", "Activation")
"""Layers whose activation may be softmax, over the last axis."""


def bounded(
    floors: Sequence[Tolerance],
    ours: Sequence[Array],
    theirs: Sequence[Array],
    bounds: Callable[[Sequence[Array]], list[Array]],
) -> list[Tolerance]:
    """Allowances with derived bounds in them.

    Parameters
    ----------
    floors : list of Allowance
        By the noise floor, one for each output.
    ours, theirs : list of (batch, ...)
        What is to be compared.
    bounds : callable
        `output_bounds` or `call_bounds`, but for how far the outputs are apart.
    """
    if [a.shape for a in ours] != [b.shape for b in theirs] or not ours[0].size:
        return list(floors)
    with np.errstate(invalid="ignore"):
        apart = [
            np.abs(a - b.astype(np.float64)) / floor.atol
            for a, b, floor in zip(ours, theirs, floors, strict=True)
        ]
    found = bounds(apart)
    # Where rounding is amplified in one element of a row, it is not of first order.
    sound = np.ones(len(ours[0]), dtype=bool)
    for floor, bound in zip(floors, found, strict=True):
        decided = floor.decisive(bound) | np.isnan(bound)
        sound &= decided.reshape(len(sound), -1).all(axis=1)
    found = [
        np.where(sound.reshape(-1, *(1,) * (bound.ndim - 1)), bound, np.nan)
        for bound in found
    ]
    return [floor.bounded(bound) for floor, bound in zip(floors, found, strict=True)]


def bounded_outputs(
    net: Network,
    x: Inputs,
    floors: Sequence[Tolerance],
    ours: Sequence[Array],
    theirs: Sequence[Array],
    activation_errors: ActivationErrors,
    *,
    work: float = MAX_OUTPUT_ADJOINTS,
) -> list[Tolerance]:
    """`bounded` for the outputs of a model; the floors where `unbounded` says so."""
    if unbounded(net):
        return list(floors)
    return bounded(
        floors,
        ours,
        theirs,
        lambda apart: output_bounds(net, x, apart, activation_errors, work),
    )


def output_bounds(
    net: Network,
    x: Inputs,
    apart: Sequence[Array],
    activation_errors: ActivationErrors,
    work: float = MAX_OUTPUT_ADJOINTS,
) -> list[Array]:
    """For every output of a model, what float32 may change it by.

    Parameters
    ----------
    net : Network
        One that `unbounded` has nothing against.
    x : Inputs
    apart : list of (batch, ...)
        How far each output seems to be off, by any measure: where there are more than
        can be bounded, those come first that are off most.
    activation_errors : ActivationErrors
    work : float
        How many adjoints are computed at most.

    Returns
    -------
    list of (batch, ...)
        NaN for an element that has none.
    """
    # A stateful model takes its states from one batch to the next.
    rows = (net.spec.batch_size or 1) if net.stateful else x.rows

    def sweep(
        some: Array, gradients: Sequence[Array], visit: Visitor, trace: Trace | None
    ) -> None:
        few = x.take(some)
        backprop(net, few, gradients, visit=visit, weights=False, trace=trace)

    def traces(some: Array) -> tuple[Trace, Trace]:
        few = x.take(some)
        return net.trace(few, dtype="float32"), net.trace(few, dtype="float64")

    return _bounds(net, apart, activation_errors, sweep, traces, rows, work)


def call_bounds(
    net: Network,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    apart: Sequence[Array],
    activation_errors: ActivationErrors,
) -> list[Array]:
    """`output_bounds` for one layer alone, called on arguments of your choice.

    Parameters
    ----------
    net, apart, activation_errors : as for `output_bounds`
    name, args, kwargs : as for `Network.call_layer`
    """

    call = LayerCall(name, args, kwargs)

    def sweep(
        some: Array, gradients: Sequence[Array], visit: Visitor, trace: Trace | None
    ) -> None:
        few = call.take(some)
        backprop_call(
            net, name, few.args, few.kwargs, gradients, visit=visit, trace=trace
        )

    def traces(some: Array) -> tuple[Trace, Trace]:
        few = call.take(some)
        single = net.trace_layer(name, few.args, few.kwargs, dtype="float32")
        return single, net.trace_layer(name, few.args, few.kwargs, dtype="float64")

    return _bounds(
        net, apart, activation_errors, sweep, traces, len(apart[0]), MAX_LAYER_ADJOINTS
    )


Sweep = Callable[[Array, Sequence[Array], Visitor, Trace | None], None]
"""Goes back from gradients of the outputs, for some of the rows, of which there may be
a trace in float64."""


def _bounds(
    net: Network,
    apart: Sequence[Array],
    activation_errors: ActivationErrors,
    sweep: Sweep,
    traces: Callable[[Array], tuple[Trace, Trace]],
    rows: int,
    most: float,
) -> list[Array]:
    """The bound of every output, or of the most that `most` adjoints allow.

    `traces` are of some of the rows, in float32 and in float64.
    """
    shapes = [a.shape[1:] for a in apart]
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])
    flat = np.concatenate([a.reshape(len(a), -1) for a in apart], axis=1)
    bounds = np.full(flat.shape, np.nan)
    work = _work_of_a_row(sweep, shapes)
    seeming = np.nan_to_num(flat[:rows], nan=np.inf)
    chosen, elements = _most_different_elements(seeming, most / max(work, 1))
    pairs = max(1, int(MAX_BLOCK_ADJOINTS // max(work, cuts[-1])))
    # What a row costs whatever is asked of it is paid once for all of its elements.
    size = min(max(1, pairs // len(elements)), MAX_BLOCK_ROWS) if work else pairs
    with single_threaded_blas() if pairs > MAX_BLOCK_ROWS else nullcontext():
        for some in _blocks(chosen, size):
            single, double = traces(some)
            diverged, deviations = _deviations(single, double)
            abs_error = _abs_errors(single.output, double.output)
            for which in _blocks(
                elements, max(1, pairs // len(some)) if work else len(elements)
            ):
                errors = _BoundVisitor(
                    net, activation_errors, len(which), len(some), deviations
                )
                if work:
                    one_hot = np.zeros((len(which), len(some), cuts[-1]))
                    one_hot[np.arange(len(which)), :, which] = 1.0
                    parts = np.split(one_hot, cuts[:-1], axis=-1)
                    gradients = [
                        part.reshape(*part.shape[:2], *shape)
                        for part, shape in zip(parts, shapes, strict=True)
                    ]
                    with np.errstate(over="ignore", invalid="ignore"):
                        sweep(some, gradients, errors, double)
                bound = errors.bound()
                # A bound that float32 exceeds before our eyes is none.
                broken = diverged | (bound < abs_error[:, which].T).any(axis=0)
                bounds[np.ix_(some, which)] = np.where(broken, np.nan, bound).T
    return [
        part.reshape(len(flat), *shape)
        for part, shape in zip(np.split(bounds, cuts[:-1], axis=1), shapes, strict=True)
    ]


def _abs_errors(single: Any, double: Any) -> Array:
    """How far outputs in float32 are from float64; (rows, elements)."""
    pairs = zip(flatten(single), flatten(double), strict=True)
    with np.errstate(invalid="ignore"):
        return np.concatenate(
            [np.abs(a - b.astype(np.float64)).reshape(len(b), -1) for a, b in pairs],
            axis=1,
        )


def _row_differences(single: Any, double: Any) -> tuple[Array, Array]:
    """The greatest difference of each row, and its greatest number."""
    double = double.astype(np.float64)
    abs_error = np.abs(single - double).reshape(len(double), -1)
    return abs_error.max(axis=1), np.abs(double).reshape(len(double), -1).max(axis=1)


def _deviations(
    single: Trace, double: Trace
) -> tuple[Array, dict[str, dict[str, Array]]]:
    """What NumPy in float32 does to some rows.

    Returns
    -------
    (rows,) of bool
        Which of them stray too far, anywhere in the model.
    dict of str to dict of str to (rows,)
        For each call of a layer how far inputs and values stray; see `LayerRounding`.
    """
    # What one layer returns another is given: such arrays are compared once.
    known: dict[int, tuple[Array, Array]] = {}

    def apart(a: Array, b: Array) -> tuple[Array, Array]:
        if id(b) not in known:
            known[id(b)] = _row_differences(a, b)
        return known[id(b)]

    found, diverged = {}, np.zeros((), dtype=bool)
    there = single.arrays()
    with np.errstate(invalid="ignore"):
        for name, right in double.arrays().items():
            if is_float(right) and right.size:
                abs_error, size = apart(there[name], right)
                diverged = diverged | ~(abs_error <= MAX_LINEAR_DEVIATION * size)
        for key, call in double.items():
            pairs = {
                "x": zip(flatten(single[key].input), flatten(call.input), strict=True),
                "h": [(single[key].values[name], v) for name, v in call.values.items()],
            }
            rows = len(flatten(call.input)[0])
            found[key] = {
                what: np.max(
                    [np.zeros(rows), *(apart(a, b)[0] for a, b in inside if b.size)],
                    axis=0,
                )
                for what, inside in pairs.items()
            }
    return diverged, found


class _BoundVisitor:
    """A visitor that adds up what every local error does to every output.

    Attributes
    ----------
    coherent, squared : (sweeps, rows)
    drift : dict of (sweeps, rows, units)
        By call and site: what the same error at every step would add up to.
    near : (rows,) of bool
        Rows with a number near a kink.
    """

    def __init__(
        self,
        net: Network,
        activation_errors: ActivationErrors,
        sweeps: int,
        rows: int,
        deviations: Mapping[str, Mapping[str, Array]],
    ) -> None:
        self.net, self.activation_errors, self.deviations = (
            net,
            activation_errors,
            deviations,
        )
        self.coherent = np.zeros((sweeps, rows))
        self.squared = np.zeros((sweeps, rows))
        self.drift: dict[tuple[str, str], Array] = {}
        self.near = np.zeros(rows, dtype=bool)
        self._layers: dict[str, LayerRounding] = {}

    def __call__(self, key: str, step: int | None, d: Values, v: Values) -> None:
        """See `Visitor`."""
        if key not in self._layers:
            layer = self.net.cast_to("float64").at(bare_path(key, self.net.spec))
            self._layers[key] = LayerRounding(
                layer, self.activation_errors, self.deviations[key]
            )
        rounded = self._layers[key]
        sites, near = ROUNDING_SITES[rounded.layer.class_name](rounded, v)
        self.near |= near.reshape(len(near), -1).any(axis=1)
        for site in sites:
            adjoint = d[site.name]
            self.coherent += _sum_of_products(np.abs(adjoint), site.local + FLUSH_ERROR)
            if site.standard_deviation is not None:
                moved = adjoint * site.standard_deviation
                each = moved.reshape(*moved.shape[:2], -1)
                self.squared += np.einsum("sru,sru->sr", each, each)
                place = key, site.name
                along = tuple(range(2, moved.ndim - 1))  # a step has no axis of time
                moved = moved.sum(axis=along) if along else moved
                self.drift[place] = self.drift.get(place, 0.0) + moved

    def bound(self) -> Array:
        """(sweeps, rows); NaN for rows that may have taken another slope."""
        drift = sum((x**2).sum(axis=-1) for x in self.drift.values())
        spread = np.sqrt(np.maximum(self.squared, drift))
        found = self.coherent + STANDARD_DEVIATIONS * spread + FLUSH_ERROR
        return np.where(self.near, np.nan, found)


def _sum_of_products(adjoint: Array, errors: Array) -> Array:
    """``sum(adjoint * errors)`` over all axes but those of sweeps and rows."""
    rows = len(errors)
    if errors.shape != adjoint.shape[1:]:  # which takes long enough to ask first
        errors = np.broadcast_to(errors, adjoint.shape[1:])
    return np.einsum(
        "sru,ru->sr",
        adjoint.reshape(len(adjoint), rows, -1),
        errors.reshape(rows, -1),
    )


def _work_of_a_row(sweep: Sweep, shapes: Sequence[tuple[int, ...]]) -> int:
    """How many adjoints one sweep computes for one row; 0 where nothing rounds."""
    sizes: list[int] = []

    def count(key: str, step: int | None, d: Values, v: Values) -> None:
        sizes.append(sum(adjoint.size for adjoint in d.values()))

    sweep(np.array([0]), [np.zeros((1, 1, *shape)) for shape in shapes], count, None)
    return sum(sizes)


def _most_different_elements(apart: Array, most: float) -> tuple[Array, Array]:
    """Rows and elements, of (rows, elements), that are not more than `most` in all."""
    rows, elements = apart.shape
    count = int(min(rows, max(most // elements, 4)))
    some = np.sort(np.argsort(-apart.max(axis=1), kind="stable")[:count])
    count = int(min(elements, max(most // len(some), 1)))
    order = np.argsort(-apart[some].max(axis=0), kind="stable")
    return some, np.sort(order[:count])


def _blocks(items: Array, size: int) -> Iterator[Array]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
