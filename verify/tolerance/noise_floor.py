"""Measure how far rounding alone may move outputs, and make tolerances of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from verify.console.progress import doing
from verify.data.json_values import json_name
from verify.forward.evaluable import Evaluable
from verify.forward.evaluate import cast_to
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, SINGLE, UNIT_ROUNDOFF, is_float
from verify.model.graph import flatten
from verify.model.spec import LayerSpec, ModelSpec
from verify.tolerance.compare import PROOF_TOLERANCE, Comparison

NOISE_FACTOR, SCALE_FACTOR = 10.0, 5e-7
"""``atol = NOISE_FACTOR * noise + SCALE_FACTOR * scale``, see `noise_floor`.

``python -m benchmarks.allowances`` shows how near ``predict`` comes to it on random
models.
"""

FLUSH_ERROR = 1e-37
"""Absolute error that is always granted: TensorFlow flushes float32 subnormals, below
about 1e-38, to zero. `noise_floor` also grants ``SINGLE**2 * max(scale)``, because
TensorFlow's mish returns 0 for large negative inputs."""

NEGLIGIBLE = 1e6 * FLUSH_ERROR
"""What a million numbers that are flushed to zero add up to: a bound of that size holds
for outputs that are 0, and decides something for them."""

SCALE_OF_ZEROS = 1e-2
"""What outputs that are all 0 are measured against: a tolerance of 1e-4 tells something
of them, whatever the numbers are whose difference they are."""

MAX_RELATIVE, MAX_RELATIVE_COARSE = 1e-2, 0.25
"""A tolerance above this share of the outputs' scale decides nothing. The second is for
numbers of 16 or 8 bits: one rounding error is a thousandth of the output or more, and
the float64 check is what tells formulas apart."""

PERTURBATION_FACTOR = 1000.0
"""A float64 difference of up to this many times the effect of one rounding error in
every weight counts as rounding, not as a wrong formula."""

NEIGHBOURS = 4
"""Copies of a model with every weight moved by one rounding error. The model itself in
float32 may be right by luck, above all on a single row; these four and it are not."""


@dataclass(frozen=True, eq=False)
class Tolerance:
    """Hold how far rounding may move an output, and what that figure is made of.

    There is one number for each unit, the greatest over batch and time, so that large
    values of one unit do not excuse a mistake in the small values of another. A derived
    bound has one number for each element.

    Attributes
    ----------
    atol : (units,), or in the shape of the outputs
        Greatest difference that is still rounding, in units of the outputs.
    noise : (units,)
        The model's own rounding on these inputs; 0 between two computations in float64.
    scale : (units,)
        Greatest absolute output.
    limit : float
        Share of `scale` above which the tolerance decides nothing.
    proven : bool
        Whether there is a float64 check too, which tells formulas apart. Tolerances for
        numbers of 16 or 8 bits are then measured against the largest unit.
    rule : str
        Name of the rule by which `atol` was found.
    derived : float
        Share of the elements that have a derived bound instead.
    """

    atol: Array = field(metadata=json_name("value"))
    noise: Array
    scale: Array
    limit: float = MAX_RELATIVE
    proven: bool = False
    rule: str = "noise floor"
    derived: float = 0.0

    @property
    def decides(self) -> bool:
        """Return whether the tolerance is small enough to tell a mistake from rounding.

        It must be small against the outputs of the unit, or against a thousandth of the
        largest unit where that is more: a class that softmax rules out has outputs near
        zero. Outputs that are all 0, such as ``x - x``, have no size of their own.
        """
        return bool(np.all(self.decisive(self.atol)))

    def decisive(self, values: Array) -> Array:
        """Return which numbers, used as tolerances, decide something; NaN does not.

        Parameters
        ----------
        values : (units,), or (batch, ..., units)
        """
        coarse = self.proven and self.limit > MAX_RELATIVE
        least = 1.0 if coarse else 1e-3
        most = self.scale.max(initial=0.0)
        against = np.maximum(self.scale, least * most or SCALE_OF_ZEROS)
        return (values <= self.limit * against) | (values <= NEGLIGIBLE)

    def bounded(self, bound: Array) -> Tolerance:
        """Return a tolerance with a derived bound wherever one decides something.

        Parameters
        ----------
        bound : (batch, ..., units)
            NaN where there is none.
        """
        use = self.decisive(bound)
        share = float(np.mean(use)) if use.size else 0.0
        return replace(self, atol=np.where(use, bound, self.atol), derived=share)

    def by_unit(self) -> Tolerance:
        """Return a tolerance with one number for each unit: its greatest."""
        if self.atol.shape == self.scale.shape:
            return self
        return replace(self, atol=_by_unit(self.atol))

    def merge(self, later: Tolerance) -> Tolerance:
        """Return a tolerance for the rows of both: the greater one of each unit.

        Both must be `by_unit`. `derived` stays that of this one.
        """
        return replace(
            self,
            atol=np.maximum(self.atol, later.atol),
            noise=np.maximum(self.noise, later.noise),
            scale=np.maximum(self.scale, later.scale),
        )

    def widened(self, by: float) -> Tolerance:
        """Return a tolerance that is greater by the same number for every element."""
        return replace(self, atol=self.atol + by)


def float64_tolerance(float64: Array) -> Tolerance:
    """Return the tolerance between two computations in float64.

    It is 1e-10, times the greatest output of a unit where that is above 1.

    Parameters
    ----------
    float64 : (batch, ..., units)
        The outputs.
    """
    scale = _by_unit(float64)
    return Tolerance(
        PROOF_TOLERANCE * np.maximum(1.0, scale),
        np.zeros_like(scale),
        scale,
        rule="both in float64",
    )


def noise_floor(
    float64: Array,
    *others: Array,
    unit: float = SINGLE,
    quantised: bool = False,
    proven: bool = False,
) -> Tolerance:
    """Return the noise floor, ``10 * noise + 5e-7 * scale``, of an output.

    Parameters
    ----------
    float64 : (batch, ..., units)
        The reference.
    *others : of the same shape
        The same formulas in float32, or with every weight moved by one rounding error.
        Their greatest difference from the reference is the noise; another correct
        float32 program differs by a small multiple of it.
    unit : float
        Unit roundoff of the coarsest dtype in the model; the factors are for float32.
    quantised : bool
        Whether a layer rounds to 8 bits. The last digit of a float32 number may then
        move a result by 1 / 127.
    proven : bool
        As for `Tolerance`.
    """
    noise = np.max([_noise(other, float64) for other in others], axis=0)
    return _floor(_scale(float64), noise, unit, quantised, proven)


def _noise(other: Array, float64: Array) -> Array:
    """Return how far an output is from the reference at most; (units,)."""
    with np.errstate(invalid="ignore"):
        return _by_unit(_apart(other, float64))


def _scale(float64: Array) -> Array:
    """Return the greatest finite magnitude of each unit."""
    finite = np.isfinite(float64)
    return _by_unit(float64 if finite.all() else np.where(finite, float64, 0.0))


def _floor(
    scale: Array, noise: Array, unit: float, quantised: bool, proven: bool
) -> Tolerance:
    """Return the noise floor of outputs of that scale; see `noise_floor`."""
    atol = NOISE_FACTOR * noise + SCALE_FACTOR * max(unit / SINGLE, 1) * scale
    coarse = quantised or unit > SINGLE
    limit = MAX_RELATIVE_COARSE if coarse else MAX_RELATIVE
    least = np.maximum(FLUSH_ERROR, SINGLE**2 * scale.max(initial=0.0))
    return Tolerance(np.maximum(atol, least), noise, scale, limit, proven)


def _apart(other: Array, float64: Array) -> Array:
    """Return the differences; 0 where neither is finite, as in a row of padding."""
    apart = other.astype(np.float64) - float64
    if np.isfinite(apart).all():
        return apart
    return np.where(np.isfinite(other) | np.isfinite(float64), apart, 0.0)


def _by_unit(values: Array) -> Array:
    """Return the greatest absolute value of each unit of the last axis.

    It is 0 of a part without numbers, such as ops.array_split makes.
    """
    last = values.shape[-1] if values.ndim > 1 else 1
    if not values.size:
        return np.zeros(last)
    return np.max(np.abs(values.astype(np.float64)).reshape(-1, last), axis=0)


def is_rounding(comparison: Comparison, amplified: float) -> bool:
    """Return whether a difference in float64 may be rounding that a model amplifies.

    Parameters
    ----------
    comparison : Comparison
    amplified : float
        What `Rounding.amplified` returns.
    """
    if comparison.problem:
        return False
    return comparison.max_diff <= PERTURBATION_FACTOR * amplified


class Rounding:
    """Measure what rounding does to a network, or to one layer of it.

    Parameters
    ----------
    net : Network
    """

    def __init__(self, net: Network) -> None:
        self.net = net

    @cached_property
    def unit(self) -> float:
        """Return the coarsest unit roundoff among the layers."""
        return max(
            (UNIT_ROUNDOFF[POLICIES[p].compute] for p in self.net.spec.policies),
            default=UNIT_ROUNDOFF["float32"],
        )

    @cached_property
    def quantised(self) -> bool:
        """Return whether a layer rounds to 8 bits."""
        layers = (layer for _, layer in self.net.spec.walk())
        return any(layer.options.get("quantization_mode") for layer in layers)

    @cached_property
    def _neighbours(self) -> list[Network]:
        unit = max(self.unit, UNIT_ROUNDOFF["float32"])
        return [perturbed(self.net.spec, unit, k) for k in range(NEIGHBOURS)]

    def noise_floors(
        self,
        x: Evaluable,
        float64: Sequence[Array],
        *,
        native: bool = True,
        rows: Array | None = None,
        threads: int | None = None,
        single: Sequence[Array] | None = None,
        least: Sequence[Tolerance] | None = None,
    ) -> list[Tolerance]:
        """Return the noise floor of each output.

        Parameters
        ----------
        x : Evaluable
            Inputs of the model, or a call of one layer.
        float64 : list of (batch, ...)
            What the network makes of them in float64.
        native : bool
            Whether Keras is compared, for which there is a float64 check too, and not a
            port. The tolerance of a float64 model is then that of float64; a port of it
            may compute in float32.
        rows : (n,) of int, optional
            Rows on which the neighbours of the network are evaluated, which takes most
            of the time; all by default.
        threads : int, optional
            As for `Network.predict`.
        single : list of (batch, ...), optional
            What the network makes of them in float32, if it is known.
        least : list of Tolerance, optional
            The `least_noise_floors` of all rows, if they are known.
        """
        if native and self._all_in_double(x):
            return [float64_tolerance(reference) for reference in float64]
        passes = 1 + NEIGHBOURS
        if least is None:
            with doing(f"pass 1 of {passes}"):
                least = self.least_noise_floors(
                    x, float64, native=native, threads=threads, single=single
                )
        noise = [floor.noise for floor in least]
        some = x if rows is None else x.take(rows)
        compared = float64 if rows is None else [y[rows] for y in float64]
        for k, net in enumerate(self._neighbours):
            said = f"pass {k + 2} of {passes}, weights moved by a rounding error"
            with doing(said):
                outputs = some.evaluate(net, "float64", threads=threads, fast=True)
            noise = [
                np.maximum(most, _noise(a, b))
                for most, a, b in zip(noise, outputs, compared, strict=True)
            ]
            del outputs
        return [
            _floor(_scale(y), most, self.unit, self.quantised, native)
            for y, most in zip(float64, noise, strict=True)
        ]

    def _all_in_double(self, x: Evaluable) -> bool:
        """Return whether nothing is computed in float32, whatever a policy says.

        Keras resizes images in float32 in a model of float64, too.
        """
        if self.unit != UNIT_ROUNDOFF["float64"]:
            return False
        calls = x.outline(self.net).values()
        arrays = flatten([[call.arguments, call.output] for call in calls])
        return not any(getattr(a, "dtype", None) == np.float32 for a in arrays)

    @property
    def _lowest(self) -> str | None:
        """Return the dtype that shows what rounding does; None for the model's own."""
        return None if self.unit > UNIT_ROUNDOFF["float32"] else "float32"

    def least_floors(self, float64: Sequence[Array]) -> list[Tolerance]:
        """Return the noise floor that each output has at least: that without noise."""
        found = []
        for reference in float64:
            scale = _scale(reference)
            still = np.zeros_like(scale)
            found.append(_floor(scale, still, self.unit, self.quantised, proven=True))
        return found

    def least_noise_floors(
        self,
        x: Evaluable,
        float64: Sequence[Array],
        rows: Array | None = None,
        *,
        native: bool = True,
        threads: int | None = None,
        single: Sequence[Array] | None = None,
    ) -> list[Tolerance]:
        """Return what the noise floor of each output is at least.

        It takes a small part of the time: nothing is evaluated but the network itself.

        Parameters
        ----------
        x, float64, native, threads, single : as for `noise_floors`
        rows : (n,) of int, optional
            Rows on which it is evaluated; all by default.
        """
        if native and self._all_in_double(x):
            return [float64_tolerance(reference) for reference in float64]
        found = None if self._lowest is None else single
        if found is None:
            some = x if rows is None else x.take(rows)
            with doing(f"the model in {self._lowest or 'its own dtype'}"):
                found = some.evaluate(self.net, self._lowest, threads=threads)
        compared = float64 if rows is None else [y[rows] for y in float64]
        return [
            _floor(_scale(y), _noise(a, b), self.unit, self.quantised, native)
            for y, a, b in zip(float64, found, compared, strict=True)
        ]

    def amplified(self, x: Evaluable) -> float:
        """Return how far one rounding error in every weight moves float64 outputs.

        Or what float32 does to them, made as small as float64 rounds, where that is
        more: a weight that moves may cancel where sums that are rounded do not.
        """
        exact = x.evaluate(self.net, "float64")
        unit = UNIT_ROUNDOFF["float64"]
        neighbour = x.evaluate(perturbed(self.net.spec, unit, 0), "float64")
        single = x.evaluate(self.net, "float32")
        share = unit / UNIT_ROUNDOFF["float32"]
        return max(
            part * float(np.abs(_apart(a, b)).max(initial=0.0))
            for part, moved in ((1.0, neighbour), (share, single))
            for a, b in zip(moved, exact, strict=True)
        )


def perturbed(spec: ModelSpec, relative: float, seed: int) -> Network:
    """Return the network, in float64, with every weight moved by a relative amount.

    A random half of the weights moves up, the other half down. Integer weights, which
    quantised layers have, are left as they are.
    """
    rng = np.random.default_rng(seed)

    def change(layer: LayerSpec) -> LayerSpec:
        weights = {
            key: value * (1 + relative * rng.choice([-1.0, 1.0], size=value.shape))
            if is_float(value)
            else value
            for key, value in layer.weights.items()
        }
        return replace(layer, weights=weights)

    return Network(replace(spec, root=cast_to(spec.root, "float64").mapped(change)))
