"""How far a correct float32 program may be from float64: a bound for every output.

Running error analysis, to first order. Each operation of the forward pass commits a
local rounding error, known from the float64 values; one sweep of reverse mode says how
much of it reaches an output. So, with ``d`` the adjoint of a value::

    bound = sum |d| * local + DEVIATIONS * sqrt(sum (d * deviation)**2)

``local`` is the worst case of activations, products and sums, and ``deviation`` the
standard deviation of a dot product's rounding. Dot products add in an order that only
the library knows; their worst case is never met, and as a bound it would hide mistakes.
Their drift, the same error again at every step, is in the first sum too.

The activations' worst cases are the constants of `verify.kernels`. Inputs and weights
are exact, as they are where both sides are given the same float32 numbers.

Source: Higham, Accuracy and Stability of Numerical Algorithms (2002), chapters 3 and 4,
and section 2.8 for the statistics of rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from verify.compare import FLUSHED, Allowance
from verify.dtypes import SINGLE, is_float
from verify.kernels import EXACT, KINKS, MEASURED, Kernels
from verify.network import Inputs, LayerCall, Network, Trace, bare_path
from verify.spec import Array, LayerSpec, plain

DEVIATIONS = 10.0
"""So many standard deviations are allowed for what dot products add up to."""

NEAR_A_KINK = 1e-5
"""Where an activation is met so near to a kink, as a share of the numbers added up in
its argument, rounding may take it to the other slope: such rows are left out."""

OUTPUT_WORK, LAYER_WORK = 1e8, 3e7
"""Adjoints computed for the outputs of a model, and of one layer, at most: a second or
two. Beyond that, the elements that differ most have a bound."""

LINEAR = 1e-3
"""To first order alone is right where errors are small all along: a row is left out if
NumPy in float32 strays from float64 by more than this share anywhere in the model."""

BLOCK = 4e6
"""Adjoints kept at a time."""


class Site(NamedTuple):
    """A place where rounding happens: one value of a step.

    Attributes
    ----------
    name : str
        Of the value, among those that `Visitor` is shown.
    local : (batch, ...)
        Greatest error, the same sign at every step.
    deviation : (batch, ...) or None
        Standard deviation of an error that has no sign of its own.
    """

    name: str
    local: Array
    deviation: Array | None = None


@dataclass(frozen=True, eq=False)
class Rounded:
    """One layer, and how its float32 arithmetic rounds."""

    layer: LayerSpec
    kernels: Kernels

    @cached_property
    def absolute(self) -> Mapping[str, Array]:
        """Its weights without their signs."""
        return {name: np.abs(w) for name, w in self.layer.weights.items()}

    def dot(self, name: str, kernels: Mapping[str, Array], bias: Any) -> Site:
        """A sum of matrix products and a bias.

        For terms of either sign the deviation is about half of their absolute sum times
        the unit roundoff. Terms of one sign pile up: of n the k-th sum is k / n of the
        last, and the deviation ``sqrt(n) / 3`` of it.
        """
        size: Any = np.abs(bias)
        piled: Any = 0.0
        for weight, x in kernels.items():
            size = size + np.abs(x) @ self.absolute[weight]
            piled = piled + len(self.layer.weights[weight]) / 9 * (
                (x @ self.layer.weights[weight]) ** 2
            )
        return Site(name, SINGLE / 2 * size, SINGLE * np.sqrt((size / 2) ** 2 + piled))

    def activated(self, name: str, option: str, x: Array, y: Array) -> Site:
        """An activation, by the constant of its kernel."""
        return Site(name, self.kernels.error(self.layer.options[option], x, y))

    def near_a_kink(self, option: str, x: Array, size: Array) -> Array:
        """Whether `x`, a sum of numbers of that `size`, is hardly off a kink."""
        activation = self.layer.options[option]
        near = np.zeros(x.shape, dtype=bool)
        for kink in KINKS.get(activation, ()):
            near |= np.abs(x - kink) < NEAR_A_KINK * (size + abs(kink))
        return near


class Sites(Protocol):
    """The sites of one step of a layer, and which of its numbers are near a kink."""

    def __call__(self, r: Rounded, v: Values) -> tuple[list[Site], Array]:
        """See `SITES`."""


def _simple_rnn(r: Rounded, v: Values) -> tuple[list[Site], Array]:
    z = r.dot(
        "z",
        {"kernel": v["x"], "recurrent_kernel": v["h_before"]},
        r.layer.weights.get("bias", 0.0),
    )
    near = r.near_a_kink("activation", v["z"], z.local / SINGLE)
    return [z, r.activated("h", "activation", v["z"], v["h"])], near


def _lstm(r: Rounded, v: Values) -> tuple[list[Site], Array]:
    z = r.dot(
        "z",
        {"kernel": v["x"], "recurrent_kernel": v["h_before"]},
        r.layer.weights.get("bias", 0.0),
    )
    z_i, z_f, z_c, z_o = np.split(v["z"], 4, axis=-1)
    gate, act = "recurrent_activation", "activation"
    kept, taken = v["f"] * v["c_before"], v["i"] * v["c_hat"]
    size_i, size_f, size_c, size_o = np.split(z.local / SINGLE, 4, axis=-1)
    near = (
        r.near_a_kink(gate, z_i, size_i)
        | r.near_a_kink(gate, z_f, size_f)
        | r.near_a_kink(act, z_c, size_c)
        | r.near_a_kink(gate, z_o, size_o)
        | r.near_a_kink(act, v["c"], np.abs(kept) + np.abs(taken))
    )
    return [
        z,
        r.activated("i", gate, z_i, v["i"]),
        r.activated("f", gate, z_f, v["f"]),
        r.activated("c_hat", act, z_c, v["c_hat"]),
        r.activated("o", gate, z_o, v["o"]),
        Site("c", SINGLE * (np.abs(kept) + np.abs(taken) + np.abs(v["c"]))),
        r.activated("activation(c)", act, v["c"], v["activation(c)"]),
        Site("h", SINGLE * np.abs(v["h"])),
    ], near


def _gru(r: Rounded, v: Values) -> tuple[list[Site], Array]:
    units = r.layer.options["units"]
    bias = r.layer.weights.get("bias", np.zeros((2, 3 * units)))
    biases = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    a = r.dot("a", {"kernel": v["x"]}, biases[0])
    s = r.dot("s", {"recurrent_kernel": v["h_before"]}, biases[1])
    a_z, a_r, a_h = np.split(v["a"], 3, axis=-1)
    s_z, s_r, s_h = np.split(v["s"], 3, axis=-1)
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
    size = (local_a + local_s) / SINGLE
    size_z, size_r, size_h = np.split(size, 3, axis=-1)
    gate, act = "recurrent_activation", "activation"
    near = (
        r.near_a_kink(gate, a_z + s_z, size_z)
        | r.near_a_kink(gate, a_r + s_r, size_r)
        | r.near_a_kink(act, inside, size_h)
    )
    kept, taken = v["z"] * v["h_before"], (1 - v["z"]) * v["h_hat"]
    return [
        a._replace(local=local_a),
        s._replace(local=local_s),
        r.activated("z", gate, a_z + s_z, v["z"]),
        r.activated("r", gate, a_r + s_r, v["r"]),
        r.activated("h_hat", act, inside, v["h_hat"]),
        # 1 - z is rounded too, and so are both products and their sum
        Site("h", SINGLE * (np.abs(kept) + 2 * np.abs(taken) + np.abs(v["h"]))),
    ], near


def _dense(r: Rounded, v: Values) -> tuple[list[Site], Array]:
    logits = r.dot("logits", {"kernel": v["x"]}, r.layer.weights.get("bias", 0.0))
    return _function(r, "logits", v["logits"], v["output"], logits)


def _activation(r: Rounded, v: Values) -> tuple[list[Site], Array]:
    exact = Site("x", np.zeros_like(v["x"]))
    return _function(r, "x", v["x"], v["output"], exact)


def _function(
    r: Rounded, name: str, x: Array, y: Array, before: Site
) -> tuple[list[Site], Array]:
    """An activation that may be softmax, of numbers that have been rounded."""
    axis = _softmax_axis(r.layer)
    if axis is not None:
        below = x - x.max(axis=axis, keepdims=True)
        # An error of exp(x) by a share of it is one of x by that much.
        share = SINGLE * (r.kernels.constants["exponential"] + np.abs(below))
        terms = int(np.prod([x.shape[k] for k in np.atleast_1d(axis)]))
        divided = Site("output", SINGLE * (terms + 1) * np.abs(y))
        near = np.zeros(x.shape, dtype=bool)
        return [before._replace(local=before.local + share), divided], near
    near = r.near_a_kink("activation", x, before.local / SINGLE)
    return [before, r.activated("output", "activation", x, y)], near


def _softmax_axis(layer: LayerSpec) -> Any:
    """Over which axes a layer's outputs add up to one; None if they do not."""
    if layer.class_name == "Softmax":
        return tuple(layer.options["axis"])
    return -1 if layer.options["activation"] == "softmax" else None


def _merged(r: Rounded, v: Values) -> tuple[list[Site], Array]:
    near = np.zeros(v["output"].shape, dtype=bool)
    return [Site("output", SINGLE * np.abs(v["output"]))], near


def _added(r: Rounded, v: Values) -> tuple[list[Site], Array]:
    near = np.zeros(v["output"].shape, dtype=bool)
    return [Site("output", SINGLE * v["sums"])], near


SITES: Mapping[str, Sites] = MappingProxyType(
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
            return f"{layer}: it computes in {plain(layer.policy)}"
        for option in ("activation", "recurrent_activation"):
            function = layer.options.get(option, "linear")
            softmax = function == "softmax" and layer.class_name in SOFTMAX
            if function not in (*EXACT, *MEASURED) and not softmax:
                return f"{layer}: the error of {option}={plain(function)} is not known"
    return ""


SOFTMAX = ("Dense", "Activation")
"""Layers whose activation may be softmax, over the last axis."""


def bounded(
    floors: Sequence[Allowance],
    ours: Sequence[Array],
    theirs: Sequence[Array],
    bounds: Callable[[Sequence[Array]], list[Array]],
) -> list[Allowance]:
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
            np.abs(a - b.astype(np.float64)) / floor.value
            for a, b, floor in zip(ours, theirs, floors, strict=True)
        ]
    found = bounds(apart)
    # Where rounding is amplified in one element of a row, it is not of first order.
    sound = np.ones(len(ours[0]), dtype=bool)
    for floor, bound in zip(floors, found, strict=True):
        decided = floor.small(bound) | np.isnan(bound)
        sound &= decided.reshape(len(sound), -1).all(axis=1)
    found = [
        np.where(sound.reshape(-1, *(1,) * (bound.ndim - 1)), bound, np.nan)
        for bound in found
    ]
    return [floor.bounded(bound) for floor, bound in zip(floors, found, strict=True)]


def output_bounds(
    net: Network, x: Inputs, apart: Sequence[Array], kernels: Kernels
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
    kernels : Kernels

    Returns
    -------
    list of (batch, ...)
        NaN for an element that has none.
    """
    # A stateful model takes its states from one batch to the next.
    rows = (net.spec.batch_size or 1) if net.stateful else x.rows

    def sweep(some: Array, gradients: Sequence[Array], visit: Visitor) -> None:
        backprop(net, x.take(some), gradients, visit=visit, weights=False)

    def traces(some: Array) -> tuple[Trace, Trace]:
        few = x.take(some)
        return net.trace(few, dtype="float32"), net.trace(few, dtype="float64")

    return _bounds(net, apart, kernels, sweep, traces, rows, OUTPUT_WORK)


def call_bounds(
    net: Network,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    apart: Sequence[Array],
    kernels: Kernels,
) -> list[Array]:
    """`output_bounds` for one layer alone, called on arguments of your choice.

    Parameters
    ----------
    net, apart, kernels : as for `output_bounds`
    name, args, kwargs : as for `Network.call_layer`
    """

    call = LayerCall(name, args, kwargs)

    def sweep(some: Array, gradients: Sequence[Array], visit: Visitor) -> None:
        few = call.take(some)
        backprop_call(net, name, few.args, few.kwargs, gradients, visit=visit)

    def traces(some: Array) -> tuple[Trace, Trace]:
        few = call.take(some)
        single = net.trace_layer(name, few.args, few.kwargs, dtype="float32")
        return single, net.trace_layer(name, few.args, few.kwargs, dtype="float64")

    return _bounds(net, apart, kernels, sweep, traces, len(apart[0]), LAYER_WORK)


Sweep = Callable[[Array, Sequence[Array], Visitor], None]
"""Goes back from gradients of the outputs, for some of the rows."""


def _bounds(
    net: Network,
    apart: Sequence[Array],
    kernels: Kernels,
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
    chosen, elements = _chosen(np.nan_to_num(flat[:rows], nan=np.inf), most / work)
    pairs = max(1, int(BLOCK // max(work, cuts[-1])))
    for some in _blocks(chosen, min(pairs, 64)):
        astray = _astray(*traces(some))
        for which in _blocks(elements, max(1, pairs // len(some))):
            one_hot = np.zeros((len(which), len(some), cuts[-1]))
            one_hot[np.arange(len(which)), :, which] = 1.0
            parts = np.split(one_hot, cuts[:-1], axis=-1)
            gradients = [
                part.reshape(*part.shape[:2], *shape)
                for part, shape in zip(parts, shapes, strict=True)
            ]
            errors = _Errors(net, kernels, len(which), len(some))
            with np.errstate(over="ignore", invalid="ignore"):
                sweep(some, gradients, errors)
            bound = np.where(astray, np.nan, errors.bound())
            bounds[np.ix_(some, which)] = bound.T
    return [
        part.reshape(len(flat), *shape)
        for part, shape in zip(np.split(bounds, cuts[:-1], axis=1), shapes, strict=True)
    ]


def _astray(single: Trace, double: Trace) -> Array:
    """Which rows stray too far in float32; (rows,) of bool."""
    there, found = single.arrays(), np.zeros((), dtype=bool)
    for name, right in double.arrays().items():
        if is_float(right) and right.size:
            with np.errstate(invalid="ignore"):
                near = np.abs(there[name] - right) <= LINEAR * np.abs(right).max()
            found = found | ~near.reshape(len(right), -1).all(axis=1)
    return found


class _Errors:
    """A visitor that adds up what every local error does to every output.

    Attributes
    ----------
    coherent, squared : (sweeps, rows)
    near : (rows,) of bool
        Rows with a number near a kink.
    """

    def __init__(self, net: Network, kernels: Kernels, sweeps: int, rows: int) -> None:
        self.net, self.kernels = net, kernels
        self.coherent = np.zeros((sweeps, rows))
        self.squared = np.zeros((sweeps, rows))
        self.near = np.zeros(rows, dtype=bool)
        self._layers: dict[str, Rounded] = {}

    def __call__(self, key: str, step: int | None, d: Values, v: Values) -> None:
        """See `Visitor`."""
        if key not in self._layers:
            layer = self.net.in_precision("float64").at(bare_path(key, self.net.spec))
            self._layers[key] = Rounded(layer, self.kernels)
        rounded = self._layers[key]
        sites, near = SITES[rounded.layer.class_name](rounded, v)
        self.near |= near.reshape(len(near), -1).any(axis=1)
        for site in sites:
            adjoint = np.abs(d[site.name])
            self.coherent += _summed(adjoint, site.local)
            if site.deviation is not None:
                self.squared += _summed(adjoint**2, site.deviation**2)

    def bound(self) -> Array:
        """(sweeps, rows); NaN for rows that may have taken another slope."""
        found = self.coherent + DEVIATIONS * np.sqrt(self.squared) + FLUSHED
        return np.where(self.near, np.nan, found)


def _summed(adjoint: Array, errors: Array) -> Array:
    """``sum(adjoint * errors)`` over all axes but those of sweeps and rows."""
    rows = len(errors)
    return np.einsum(
        "sru,ru->sr",
        adjoint.reshape(len(adjoint), rows, -1),
        np.broadcast_to(errors, adjoint.shape[1:]).reshape(rows, -1),
    )


def _work_of_a_row(sweep: Sweep, shapes: Sequence[tuple[int, ...]]) -> int:
    """How many adjoints one sweep computes for one row."""
    sizes: list[int] = []

    def count(key: str, step: int | None, d: Values, v: Values) -> None:
        sizes.append(sum(adjoint.size for adjoint in d.values()))

    sweep(np.array([0]), [np.zeros((1, 1, *shape)) for shape in shapes], count)
    return max(1, sum(sizes))


def _chosen(apart: Array, most: float) -> tuple[Array, Array]:
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
