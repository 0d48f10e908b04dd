"""List where each class of layer rounds in float32, and by how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from verify.backward import refused, supports
from verify.backward.any_layer import merges_steps
from verify.backward.cells import Values
from verify.backward.graphs import needs_recording
from verify.backward.layers import CONV_LOOPS, LOOK_UPS
from verify.errors import printable
from verify.forward.cells import gate_blocks
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.dtypes import SINGLE
from verify.model.spec import LayerSpec
from verify.tolerance.activation_errors import (
    EXACT_ACTIVATIONS,
    KINKS,
    MEASURED_ACTIVATIONS,
    ActivationErrors,
)
from verify.tolerance.error_bound.kinks import slope_jump
from verify.tolerance.error_bound.sums import one_sign_variance
from verify.tolerance.noise_floor import FLUSH_ERROR

KINK_SHARE, KINK_DEVIATIONS = 1e-5, 4.0
"""A pre-activation x is near a kink if it lies within
``KINK_SHARE * (abs(x) + abs(kink)) + KINK_DEVIATIONS * shift`` of it, where ``shift``
is how far float32 moves x. Rounding might cross the kink: beyond it the slope is
another, so the function is off by the jump of the slope times the way beyond it."""


class RoundingSite(NamedTuple):
    """Describe the rounding of one value of a step.

    Attributes
    ----------
    name : str
        Name of the value, among those that a `Visitor` is given.
    max_error : (rows, ...)
        Greatest error, which may have the same sign at every step.
    standard_deviation : (rows, ...) or None
        Standard deviation of an error of random sign; None if there is none.
    """

    name: str
    max_error: Array
    standard_deviation: Array | None = None


@dataclass(frozen=True, eq=False)
class LayerRounding:
    """Hold what the rounding of one layer depends on, apart from its values.

    Attributes
    ----------
    layer : LayerSpec
        With weights in float64.
    activation_errors : ActivationErrors
    deviations : mapping of str to (rows,)
        Greatest difference between NumPy in float32 and in float64, in the layer's
        inputs (``x``) and in the values it keeps (``h``).
    """

    layer: LayerSpec
    activation_errors: ActivationErrors
    deviations: Mapping[str, Array]

    @cached_property
    def absolute(self) -> Mapping[str, Array]:
        """Return the absolute values of the layer's weights."""
        return {name: np.abs(w) for name, w in self.layer.weights.items()}

    @cached_property
    def smooth(self) -> bool:
        """Return whether no activation of the layer has a kink."""
        names = ("activation", "recurrent_activation")
        return not any(self.layer.options.get(name) in KINKS for name in names)

    def local(self, name: str, size: Array, count: int = 1) -> Array:
        """Return the greatest error of some roundings, shaped like `size`.

        Parameters
        ----------
        name : str
            Name of the value that they are made in.
        size : (rows, ...)
            Sum of the absolute values that are rounded.
        count : int
            How many of the roundings are no sums: in fixed point sums are exact.
        """
        return SINGLE * size

    def rounded(self, name: str, size: Array, count: int = 1) -> RoundingSite:
        """Return the site of some roundings; parameters as for `local`."""
        return RoundingSite(name, self.local(name, size, count))

    def dot(
        self, name: str, total: Array, inputs: Mapping[str, Array], bias: Any
    ) -> RoundingSite:
        """Return the rounding of a sum of matrix products and a bias.

        For terms of both signs the standard deviation is about half of their absolute
        sum times the unit roundoff. If all n terms have one sign, the partial sums grow
        in equal steps and each is rounded: together these roundings have a standard
        deviation of ``sqrt(n) / 3`` times the unit roundoff of the whole sum.
        The last rounding may be the same at every step, and so may half of the rounding
        of every term.

        Parameters
        ----------
        name : str
            Name of the value that the sum is.
        total : (rows, ..., units)
            The sum.
        inputs : mapping of str to (rows, ..., inputs)
            Name of a weight, (inputs, units) -> what it is multiplied with.
        bias : (units,), or 0.0
        """
        size: Any = 0.0  # of all terms together: (rows, ..., units)
        products: list[tuple[Array, int]] = []
        terms, rest = 1, total - bias  # what the products not yet seen add up to
        for weight, x in inputs.items():
            last = terms > 1 or len(inputs) == 1
            product = rest if last else x @ self.layer.weights[weight]
            rest, count = rest - product, x.shape[-1]
            size = np.abs(x) @ self.absolute[weight] + size
            products.append((product, count))
            terms += count
        return self.summed(name, total, size + np.abs(bias), products)

    def summed(
        self,
        name: str,
        total: Array,
        size: Array,
        products: Sequence[tuple[Array, int]],
    ) -> RoundingSite:
        """Return the rounding of a sum of sums of products, as `dot` describes it.

        Parameters
        ----------
        name : str
        total : (rows, ..., units)
            The sum, with a bias.
        size : (rows, ..., units)
            Of the absolute values of all terms.
        products : list of ((rows, ..., units), int)
            Each of the sums of products, and how many terms it has.
        """
        terms = 1 + sum(count for _, count in products)
        half = size / 2
        worst = np.abs(total)
        worst += half
        worst *= SINGLE
        worst += terms * FLUSH_ERROR
        variance = np.multiply(half, half, out=half)
        for product, count in products:
            variance += one_sign_variance(product, count)
        deviation = np.sqrt(variance, out=variance)
        deviation *= SINGLE
        return RoundingSite(name, worst, deviation)

    def activation(
        self, name: str, option: str, x: Array, y: Array, shift: Any = None
    ) -> RoundingSite:
        """Return the error of ``y = activation(x)`` by the function of that option.

        Parameters
        ----------
        name, option : str
        x, y : (rows, ...)
        shift : (rows, ...), optional
            How far float32 moves x at most, for a function with kinks.
        """
        function = self.layer.options[option]
        error = self.activation_errors.error(function, x, y)
        if shift is not None:
            for kink in KINKS.get(function, ()):
                beyond = _kink_slack(x, kink, shift) - np.abs(x - kink)
                error = error + slope_jump(function, kink) * np.maximum(beyond, 0.0)
        return RoundingSite(name, error)

    def softmax(
        self, before: RoundingSite, x: Array, y: Array, axis: Any
    ) -> list[RoundingSite]:
        """Return the sites of ``y = softmax(x)``.

        Parameters
        ----------
        before : RoundingSite
            The rounding of x.
        x, y : (rows, ...)
        axis : int, or tuple of int
            Axes over which the outputs add up to one.
        """
        below = x - x.max(axis=axis, keepdims=True)
        # A relative error of exp(x) is an absolute error of x.
        exponential = self.activation_errors.constants["exponential"]
        relative = SINGLE * (exponential + np.abs(below))
        terms = int(np.prod([x.shape[k] for k in np.atleast_1d(axis)]))
        divided = RoundingSite("output", SINGLE * (terms + 1) * np.abs(y))
        return [before._replace(max_error=before.max_error + relative), divided]

    def shift(self, sources: Mapping[str, str]) -> Array:
        """Return how far float32 moves sums of products at most: (rows, units).

        Parameters
        ----------
        sources : mapping of str to str
            Name of a weight -> what it is multiplied with, a key of `deviations`.
        """
        return sum(
            # (rows,) and (units,) -> (rows, units)
            np.multiply.outer(
                self.deviations[source],
                self.absolute[weight].sum(
                    axis=tuple(range(self.absolute[weight].ndim - 1))
                ),
            )
            for weight, source in sources.items()
        )

    def near_a_kink(self, option: str, x: Array, shift: Array) -> Array:
        """Return where x, moved by up to `shift`, might cross a kink; shaped like x."""
        near = np.zeros(x.shape, dtype=bool)
        for kink in KINKS.get(self.layer.options[option], ()):
            near |= np.abs(x - kink) < _kink_slack(x, kink, shift)
        return near


def _kink_slack(x: Array, kink: float, shift: Array) -> Array:
    """Return from how far x may cross a kink; see `KINK_SHARE`."""
    return KINK_SHARE * (np.abs(x) + abs(kink)) + KINK_DEVIATIONS * shift


Sites = tuple[list[RoundingSite], Array]
"""The sites of one step, and (rows, ...) of bool: which values are near a kink."""


class RoundingRule(Protocol):
    """Return the rounding sites of one step of a layer; see `ROUNDING_SITES`.

    Parameters
    ----------
    r : LayerRounding
    v : dict of str to (rows, ...)
        The values of the step, as a `Visitor` is given them.
    """

    def __call__(self, r: LayerRounding, v: Values) -> Sites:
        """Return the sites of one step."""


RECURRENT_SOURCES = {"kernel": "x", "recurrent_kernel": "h"}
"""Weight of a recurrent layer -> what it is multiplied with."""


def _simple_rnn(r: LayerRounding, v: Values) -> Sites:
    z = r.dot(
        "z",
        v["z"],
        {"kernel": v["x"], "recurrent_kernel": v["h_before"]},
        r.layer.weights.get("bias", 0.0),
    )
    near, shift = np.zeros((len(v["z"]), 1), dtype=bool), None  # (rows, 1)
    if not r.smooth:
        shift = r.shift(RECURRENT_SOURCES) + z.max_error  # (rows, units)
        near = r.near_a_kink("activation", v["z"], shift)
    return [z, r.activation("h", "activation", v["z"], v["h"], shift)], near


def _lstm(r: LayerRounding, v: Values) -> Sites:
    z = r.dot(
        "z",
        v["z"],
        {"kernel": v["x"], "recurrent_kernel": v["h_before"]},
        r.layer.weights.get("bias", 0.0),
    )
    return _lstm_gates(r, v, z)


def _conv_lstm(r: LayerRounding, v: Values) -> Sites:
    """Return the sites of a step whose values are (rows, spatial..., units).

    The sums of the absolute values of products, and the products of the inputs alone,
    are among the values: ``size`` and ``z of x``.
    """
    weights = r.layer.weights
    of_x, bias = v["z of x"], weights.get("bias", 0.0)
    counts = [weights[name][..., 0].size for name in RECURRENT_SOURCES]
    products = zip([of_x, v["z"] - bias - of_x], counts, strict=True)
    return _lstm_gates(r, v, r.summed("z", v["z"], v["size"], list(products)))


def _lstm_gates(r: LayerRounding, v: Values, z: RoundingSite) -> Sites:
    z_i, z_f, z_c, z_o = gate_blocks(v["z"], 4)  # (rows, units) each
    gate, act = "recurrent_activation", "activation"
    kept, taken = v["f"] * v["c_before"], v["i"] * v["c_hat"]
    near = np.zeros((len(z_i), 1), dtype=bool)  # (rows, 1)
    i = f = c = o = kept_shift = None
    if not r.smooth:
        shift = r.shift(RECURRENT_SOURCES) + z.max_error  # (rows, 4 * units)
        i, f, c, o = gate_blocks(shift, 4)
        kept_shift = r.deviations["h"][:, None]  # (rows, 1)
        near = (
            r.near_a_kink(gate, z_i, i)
            | r.near_a_kink(gate, z_f, f)
            | r.near_a_kink(act, z_c, c)
            | r.near_a_kink(gate, z_o, o)
            | r.near_a_kink(act, v["c"], kept_shift)
        )
    return [
        z,
        r.activation("i", gate, z_i, v["i"], i),
        r.activation("f", gate, z_f, v["f"], f),
        r.activation("c_hat", act, z_c, v["c_hat"], c),
        r.activation("o", gate, z_o, v["o"], o),
        r.rounded("c", np.abs(kept) + np.abs(taken) + np.abs(v["c"]), 2),
        r.activation("activation(c)", act, v["c"], v["activation(c)"], kept_shift),
        r.rounded("h", np.abs(v["h"])),
    ], near


def _gru(r: LayerRounding, v: Values) -> Sites:
    units = r.layer.options["units"]
    reset_after = r.layer.options["reset_after"]
    bias = r.layer.weights.get("bias", np.zeros((2, 3 * units)))
    # (2, 3 * units): the bias of a GRU with reset_after=False is that of its inputs.
    biases = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    recurrent = v["s"]  # (rows, 3 * units)
    if not reset_after:  # the candidate's block of s holds r * h; here that of h alone
        recurrent = v["h_before"] @ r.layer.weights["recurrent_kernel"] + biases[1]
    a = r.dot("a", v["a"], {"kernel": v["x"]}, biases[0])
    s = r.dot("s", recurrent, {"recurrent_kernel": v["h_before"]}, biases[1])
    a_z, a_r, a_h = gate_blocks(v["a"], 3)  # (rows, units) each
    s_z, s_r, s_h = gate_blocks(v["s"], 3)
    # The two sides are rounded before they are added; the sum is rounded once more.
    sums = np.concatenate([a_z + s_z, a_r + s_r, a_h], axis=-1)  # (rows, 3 * units)
    error_a, error_s = a.max_error + r.local("a", np.abs(sums), 0), s.max_error
    if reset_after:
        inside = a_h + v["r"] * s_h  # (rows, units)
        extra = np.abs(v["r"] * s_h) + np.abs(inside)
    else:
        # r * h is rounded, then multiplied: as if each of its products were rounded.
        inside = a_h + s_h  # (rows, units)
        u_h = r.absolute["recurrent_kernel"][:, 2 * units :]  # (units, units)
        extra = np.abs(inside) + np.abs(v["r"] * v["h_before"]) @ u_h
    error_a[:, 2 * units :] += r.local("a", extra)
    gate, act = "recurrent_activation", "activation"
    near = np.zeros((len(inside), 1), dtype=bool)  # (rows, 1)
    shift_z = shift_r = shift_h = None
    if not r.smooth:
        shift = r.shift(RECURRENT_SOURCES) + error_a + error_s  # (rows, 3 * units)
        shift_z, shift_r, shift_h = gate_blocks(shift, 3)
        shift_h = shift_h + 2 * r.deviations["h"][:, None]
        near = (
            r.near_a_kink(gate, a_z + s_z, shift_z)
            | r.near_a_kink(gate, a_r + s_r, shift_r)
            | r.near_a_kink(act, inside, shift_h)
        )
    kept, taken = v["z"] * v["h_before"], (1 - v["z"]) * v["h_hat"]
    return [
        a._replace(max_error=error_a),
        s._replace(max_error=error_s),
        r.activation("z", gate, a_z + s_z, v["z"], shift_z),
        r.activation("r", gate, a_r + s_r, v["r"], shift_r),
        r.activation("h_hat", act, inside, v["h_hat"], shift_h),
        # 1 - z is rounded too, and so are both products and their sum.
        r.rounded("h", np.abs(kept) + 2 * np.abs(taken) + np.abs(v["h"]), 2),
    ], near


def _dense(r: LayerRounding, v: Values) -> Sites:
    bias = r.layer.weights.get("bias", 0.0)
    logits = r.dot("logits", v["logits"], {"kernel": v["x"]}, bias)
    shift = r.shift({"kernel": "x"})  # (rows, units)
    # (rows, 1, ..., units)
    shift = shift.reshape(len(shift), *(1,) * (v["logits"].ndim - 2), -1)
    return _function(r, v["logits"], v["output"], logits, shift + logits.max_error)


def _activation(r: LayerRounding, v: Values) -> Sites:
    exact = RoundingSite("x", np.zeros_like(v["x"]))
    shift = r.deviations["x"].reshape(-1, *(1,) * (v["x"].ndim - 1))  # (rows, 1, ...)
    return _function(r, v["x"], v["output"], exact, shift)


def _function(
    r: LayerRounding, x: Array, y: Array, before: RoundingSite, shift: Array
) -> Sites:
    """Return the sites of an activation, softmax included, of rounded numbers.

    Parameters
    ----------
    x, y : (rows, ...)
        The function's argument, and its value.
    before : RoundingSite
        The rounding of x.
    shift : (rows, ...)
        How far float32 moves x at most.
    """
    axis = _softmax_axis(r.layer)
    if axis is None:
        near = r.near_a_kink("activation", x, shift)
        return [before, r.activation("output", "activation", x, y, shift)], near
    return r.softmax(before, x, y, axis), np.zeros(x.shape, dtype=bool)


def _softmax_axis(layer: LayerSpec) -> Any:
    """Return the axes over which a layer's outputs add up to one, or None."""
    if layer.class_name == "Softmax":
        return tuple(layer.options["axis"])
    return -1 if layer.options["activation"] == "softmax" else None


def _merged(r: LayerRounding, v: Values) -> Sites:
    near = np.zeros(v["output"].shape, dtype=bool)
    return [r.rounded("output", np.abs(v["output"]))], near


def _added(r: LayerRounding, v: Values) -> Sites:
    near = np.zeros(v["output"].shape, dtype=bool)
    return [r.rounded("output", v["size"], 0)], near


ROUNDING_SITES: Mapping[str, RoundingRule] = MappingProxyType(
    {
        "SimpleRNN": _simple_rnn, "LSTM": _lstm, "GRU": _gru, "Dense": _dense,
        "Activation": _activation, "Softmax": _activation, "Bidirectional": _merged,
        "Add": _added, **dict.fromkeys(CONV_LOOPS, _conv_lstm),
        **dict.fromkeys(LOOK_UPS, _added),
    }
)  # fmt: skip
"""Class name of a layer -> its rounding sites. The others of `BACKWARD_LAYERS` only
choose, copy or drop numbers, and all other layers are recorded; see
`operation_sites`."""


def sites_of(rounding: LayerRounding, v: Values) -> Sequence[RoundingSite]:
    """Return the rounding sites of a layer, from the values of one step or of all."""
    sites, _ = ROUNDING_SITES[rounding.layer.class_name](rounding, v)
    return sites


KNOWN_ACTIVATIONS = frozenset(
    {*EXACT_ACTIVATIONS, *MEASURED_ACTIVATIONS, "Dense.softmax", "Activation.softmax"}
)
"""Activations of layers whose equations give a bound; softmax does in two classes."""


MAX_CALLS = 1000
"""Steps of a TimeDistributed up to which a bound is derived if each of them needs a
call of the layer inside; see `verify.backward.any_layer.merges_steps`."""


def unbounded(net: Network, name: str | None = None) -> str:
    """Return why a model, or one layer, has no bound; empty if it may have one."""
    if name is None:
        reason = supports(net, bounding=True)
        layers = [layer for _, layer in net.spec.walk()]
    else:
        layer = net.spec[name]
        reason = refused(layer, bounding=True)
        layers = [layer, *(inner for _, inner in layer.walk())]
    if reason:
        return reason.partition(". ")[0].replace("gradients through", "bounds through")
    for layer in layers:
        if layer.class_name.startswith("ops."):
            continue  # it has no policy of its own
        if layer.policy != "float32":
            return f"{layer}: it computes in {printable(layer.policy)}"
        if layer.class_name == "TimeDistributed" and _calls(layer) > MAX_CALLS:
            return f"{layer}: bounds through {_calls(layer):,} calls take too long"
    return ""


def _calls(layer: LayerSpec) -> int:
    """Return how often a TimeDistributed calls its layer; 0 if no model fixes that."""
    if all(merges_steps(inner) for _, inner in layer.walk()):
        return 1
    shape = layer.input_shape
    return (shape[1] or 0) if isinstance(shape, tuple) and len(shape) > 1 else 0


def is_recorded(layer: LayerSpec) -> bool:
    """Return whether the bound of a layer follows from what is recorded of it.

    Its equations are not enough if the error of an activation is not known.
    """
    return needs_recording(layer, KNOWN_ACTIVATIONS)


def recorded_in(net: Network) -> str:
    """Return a layer of a model whose bound is not that of equations, or an empty text.

    Number formats that are no floats have bounds for equations only.
    """
    for _, layer in net.spec.walk():
        if is_recorded(layer):
            return f"{layer}: how it rounds is known for floats alone"
    return ""
