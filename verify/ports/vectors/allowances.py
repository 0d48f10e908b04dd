"""Say how far a port may be from each number of a pack.

The outputs of the model have the allowance by which `compare` judges a port: a derived
bound, and the noise floor where there is none. Gates, states and the outputs of layers
have the noise floor, unit by unit, with the greatest noise and the greatest values in
the whole pack, so that a probe of a single row does not make it narrow by luck.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.forward.trace import Trace
from verify.model.arrays import Array
from verify.model.dtypes import UNIT_ROUNDOFF
from verify.model.graph import flatten
from verify.ports.probes import Probe
from verify.tolerance.activation_errors import worst_known_errors
from verify.tolerance.error_bound import MAX_OUTPUT_ADJOINTS, bounded_outputs
from verify.tolerance.noise_floor import (
    NEIGHBOURS,
    Rounding,
    Tolerance,
    noise_floor,
    perturbed,
)

UNCOMPARED = -1.0
"""The allowance of a number that is not compared."""

DIGITS = 3
"""Significant digits of an allowance."""

Recorder = Callable[[Network, str | None], Sequence[Mapping[str, Array]]]
"""A network and a dtype -> the values of each call by name."""


def output_allowances(
    net: Network,
    probe: Probe,
    exact: Sequence[Trace],
    share: float,
    notes: list[str],
) -> list[list[tuple[Array, Array]]] | None:
    """Return the outputs of each call, and how far a port may be from them.

    Parameters
    ----------
    net : Network
    probe : Probe
    exact : list of Trace
        The trace of each call in float64.
    share : float
        Share of the budget for derived bounds that this probe may use.
    notes : list of str
        A sentence is added where an allowance is too wide to decide anything.

    Returns
    -------
    list of list of ((rows, ...), (rows, ...)), or None
        Rows whose outputs are not finite have the allowance `UNCOMPARED`. None if that
        is every row, or one of a stateful model, on which others depend.
    """
    ours = [np.concatenate(y) for y in zip(*map(_outputs, exact), strict=True)]
    rows = np.ones(len(ours[0]), dtype=bool)
    for y in ours:
        rows &= np.isfinite(y.astype(np.float64)).reshape(len(y), -1).all(axis=1)
    if not rows.any() or (net.stateful and not rows.all()):
        return None
    some = probe.whole if rows.all() else probe.whole.take(np.flatnonzero(rows))
    tolerances = _tolerances(net, some, share)
    for name, tolerance in zip(net.output_names, tolerances, strict=True):
        if not tolerance.decides:
            notes.append(
                f"'{probe.name}': rounding may change output '{name}' so much that "
                "agreement proves little"
            )
    allowed = []
    for y, tolerance in zip(ours, tolerances, strict=True):
        found = np.full(y.shape, UNCOMPARED)
        found[rows] = tolerance.atol
        allowed.append(found)
    ends = np.cumsum([call.rows for call in probe.calls])[:-1]
    both = [
        zip(np.split(y, ends), np.split(a, ends), strict=True)
        for y, a in zip(ours, allowed, strict=True)
    ]
    return [list(outputs) for outputs in zip(*both, strict=True)]


def _outputs(trace: Trace) -> list[Array]:
    return [np.asarray(y) for y in flatten(trace.output)]


def _tolerances(net: Network, x: Inputs, share: float) -> list[Tolerance]:
    """Return the tolerances by which `compare` judges the outputs of a port."""
    ours = net.flat(x, dtype="float64")
    floors = Rounding(net).noise_floors(x, ours, native=False)
    single = net.flat(x, dtype="float32")
    work = share * MAX_OUTPUT_ADJOINTS
    return bounded_outputs(
        net, x, floors, ours, single, worst_known_errors(), work=work
    )


class ValueNoise:
    """Measure what rounding does to every gate, state and output of a layer.

    Parameters
    ----------
    net : Network
    """

    def __init__(self, net: Network) -> None:
        self.net = net
        self._floors: dict[str, Tolerance] = {}

    @cached_property
    def _rounding(self) -> Rounding:
        return Rounding(self.net)

    @cached_property
    def _neighbours(self) -> list[Network]:
        unit = max(self._rounding.unit, UNIT_ROUNDOFF["float32"])
        return [perturbed(self.net.spec, unit, k) for k in range(NEIGHBOURS)]

    def add(self, exact: Sequence[Mapping[str, Array]], record: Recorder) -> None:
        """Measure the values of some calls.

        Parameters
        ----------
        exact : list of dict of str to array
            The values of each call in float64.
        record : callable
            Evaluates the same calls by another network.
        """
        lowest = None if self._rounding.unit > UNIT_ROUNDOFF["float32"] else "float32"
        others = [
            record(self.net, lowest),
            *(record(net, "float64") for net in self._neighbours),
        ]
        for k, values in enumerate(exact):
            for name, array in values.items():
                found = noise_floor(
                    array,
                    *(other[k][name] for other in others),
                    unit=self._rounding.unit,
                    quantised=self._rounding.quantised,
                )
                known = self._floors.get(name)
                self._floors[name] = found if known is None else _merged(known, found)

    def allowed(self, name: str, array: Array) -> Array:
        """Return the allowance of every number of an array; shaped like it."""
        return np.broadcast_to(self._floors[name].atol, array.shape)


def _merged(known: Tolerance, found: Tolerance) -> Tolerance:
    if known.atol.shape != found.atol.shape:  # a layer whose last axis is open
        widest = max(float(known.atol.max()), float(found.atol.max()))
        return replace(found, atol=np.array([widest]))
    return known.merge(found)


def finite(array: Array) -> Array:
    """Return an array with zeros in place of NaN and infinity."""
    return np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)


def rounded_up(allowed: Array) -> Array:
    """Return allowances of few digits, none smaller than before.

    The digits that are dropped would differ between machines.
    """
    unique, where = np.unique(allowed, return_inverse=True)
    return np.array([_rounded_up(float(a)) for a in unique])[where].reshape(
        allowed.shape
    )


def _rounded_up(allowed: float) -> float:
    if not allowed > 0:
        return allowed
    exponent = int(np.floor(np.log10(allowed))) - DIGITS + 1
    digits = int(np.ceil(allowed / 10.0**exponent))
    return float(f"{digits}e{exponent}")
