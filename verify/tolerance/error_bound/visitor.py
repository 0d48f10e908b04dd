"""Add up on the way back how far local errors move outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verify.backward.any_layer import Recording
from verify.backward.cells import Values
from verify.backward.layers import LoopCall
from verify.backward.recording import Operation
from verify.forward.network import Network
from verify.forward.trace import bare_path
from verify.model.arrays import Array, by_sample
from verify.model.spec import LayerSpec
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.error_bound.deviations import Deviations
from verify.tolerance.error_bound.loop_sweeps import SweptLoop
from verify.tolerance.error_bound.operation_sites import (
    OperationRounding,
    operation_rounding,
)
from verify.tolerance.error_bound.sites import (
    KNOWN_ACTIVATIONS,
    LayerRounding,
    RoundingSite,
    sites_of,
)
from verify.tolerance.error_bound.sums import STANDARD_DEVIATIONS
from verify.tolerance.noise_floor import FLUSH_ERROR

CANCELLED = 1e-13
"""Share of a sum's terms below which the sum counts as 0: what float64 makes of it."""


class BoundVisitor:
    """Add up how far every local error moves every output, on the way back.

    Parameters
    ----------
    net : Network
    activation_errors : ActivationErrors
    deviations : mapping of str to mapping of str to (rows,)
        Call of a layer -> `LayerRounding.deviations`.

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
    recordings : dict of str to Recording, or None
        What was recorded of layers, by call.
    """

    known_activations = KNOWN_ACTIVATIONS
    sweeps_loops = True

    def __init__(
        self, net: Network, activation_errors: ActivationErrors, deviations: Deviations
    ) -> None:
        self.net = net
        self.activation_errors = activation_errors
        self.deviations = deviations
        self.recordings: dict[str, Recording] | None = None
        self._layers: dict[str, LayerRounding] = {}
        self._operations: dict[Operation, OperationRounding] = {}
        self._sites: dict[str, Sequence[RoundingSite]] = {}
        self._loops: dict[str, SweptLoop] = {}

    def keep_recordings(self) -> None:
        """Keep what is recorded of layers, and how it rounds, for further sweeps."""
        self.recordings = {}

    def begin(self, sweeps: int, rows: int) -> None:
        """Begin with other sweeps of the same rows."""
        self.coherent = np.zeros((sweeps, rows))
        self.squared = np.zeros((sweeps, rows))
        self.drift: dict[tuple[str, str], Array] = {}
        self.near = np.zeros(rows, dtype=bool)

    def __call__(
        self, key: str, step: int | None, d: Values, v: Values | Operation
    ) -> None:
        """Add the errors of one step of one call; see `Visitor`."""
        if isinstance(v, Operation):
            self.add_operation(key, d, v)
            return
        if step is not None:
            sites = sites_of(self.layer(key), v)
        else:
            if key not in self._sites:
                self._sites[key] = sites_of(self.layer(key), v)
            sites = self._sites[key]
        for site in sites:
            adjoint = d[site.name]  # (sweeps, rows, ...)
            self.add_errors(adjoint, site.max_error + FLUSH_ERROR)
            if site.standard_deviation is not None:
                self.add_deviation(key, site, adjoint * site.standard_deviation)

    def loop(
        self,
        key: str,
        call: LoopCall,
        d_output: Array,
        d_states: Sequence[Array],
        *,
        wants_x: bool,
    ) -> tuple[Array, Sequence[Array]]:
        """Go back through a loop over time, and add its errors; see `LoopVisitor`."""
        if key not in self._loops:
            self._loops[key] = SweptLoop(call, self.layer(key))
        moved, d_x, before = self._loops[key].back(d_output, d_states, wants_x=wants_x)

        def by_sample(values: Array) -> Array:  # of (rows, sweeps, ...)
            sums = values.reshape(len(self.near), -1, *values.shape[1:]).sum(axis=1)
            return np.asarray(sums.swapaxes(0, 1))

        self.coherent += by_sample(moved.coherent)
        self.squared += by_sample(moved.squared)
        for name, drift in moved.drift.items():
            place = key, name
            self.drift[place] = self.drift.get(place, 0.0) + by_sample(drift)
        return d_x, before

    def add_operation(self, key: str, d: Values, operation: Operation) -> None:
        """Add the errors of one operation of a layer that is recorded."""
        found = self.operation(operation)
        if found is None or "output" not in d:
            return
        adjoint = d["output"]  # (sweeps, rows, ...), with steps after the rows if any
        self.add_errors(adjoint, worst_of(found, operation, adjoint))
        if found.alike is not None:
            self.coherent += self.moved_alike(found.alike, operation, adjoint)
        if found.standard_deviation is not None:
            deviation = in_rows(found.standard_deviation, operation, adjoint)
            self.add_operation_deviation(key, operation, adjoint * deviation)

    def operation(self, operation: Operation) -> OperationRounding | None:
        """Return how an operation rounds, and note the rows that are near a jump.

        None for one whose operands are not known, which is only counted.
        """
        if not operation.operands:
            return None
        found = self._operations.get(operation)
        if found is None:
            found = self.operation_rounding(operation)
        if self.recordings is not None:
            self._operations[operation] = found
        near = found.near
        if near.size > 1:  # of several steps or rows for each sample
            near = np.asarray(by_sample(near, len(self.near)).any(axis=1))
        self.near |= near
        return found

    def operation_rounding(self, operation: Operation) -> OperationRounding:
        """Return how an operation rounds; see `operation`."""
        return operation_rounding(operation, self.activation_errors)

    def moved_alike(self, alike: Array, operation: Operation, adjoint: Array) -> Array:
        """Return how far an error that is the same everywhere moves each output."""
        alike = in_rows(alike, operation, adjoint)
        whole = np.abs(self.by_row(adjoint, alike))
        parts = self.by_row(np.abs(adjoint), np.abs(alike))
        return np.maximum(whole - CANCELLED * parts, 0.0)

    def add_operation_deviation(
        self, key: str, operation: Operation, moved: Array
    ) -> None:
        """Add how far what an operation returns moves the outputs.

        Parameters
        ----------
        key : str
        operation : Operation
        moved : (sweeps, rows, ...)
            Adjoints times standard deviations.
        """
        place = operation.place or id(operation)
        site = RoundingSite(f"{operation.name} {place}", np.zeros(()))
        if operation.output.ndim == 1:
            moved = moved[..., None]  # a single number in each row
        self.add_deviation(key, site, moved)

    def add_errors(self, adjoint: Array, errors: Array) -> None:
        """Add the greatest errors, (rows, ...), of values with these adjoints."""
        self.coherent += self.by_row(np.abs(adjoint), errors)

    def by_row(self, adjoint: Array, errors: Array) -> Array:
        """Return `sum_of_products` for each sample, which may have several rows."""
        sums = sum_of_products(adjoint, errors)  # (sweeps, rows)
        if adjoint.shape[1] != len(self.near):
            sums = sums.reshape(*self.coherent.shape, -1).sum(axis=-1)
        return sums

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
        with np.errstate(over="ignore"):
            drift = sum((x**2).sum(axis=-1) for x in self.drift.values())
        spread = np.sqrt(np.maximum(self.squared, drift))
        found = self.coherent + STANDARD_DEVIATIONS * spread + FLUSH_ERROR
        return np.where(self.near, np.nan, found)


def in_rows(values: Array, operation: Operation, adjoint: Array) -> Array:
    """Return numbers of an operation's result in the shape of its adjoint's rows."""
    return np.broadcast_to(values, operation.output.shape).reshape(adjoint.shape[1:])


def worst_of(found: OperationRounding, operation: Operation, adjoint: Array) -> Array:
    """Return the greatest errors of an operation's result, in its adjoint's rows."""
    worst = in_rows(found.max_error + FLUSH_ERROR, operation, adjoint)
    if np.all(np.isfinite(worst)):
        return worst
    unused = np.all(adjoint == 0, axis=0)  # 1 / 0 that no output depends on
    return np.where(unused, 0.0, worst)


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
