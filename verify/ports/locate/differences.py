"""Say where two arrays of one layer differ, and in which order its steps stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.forward.evaluable import Inputs
from verify.forward.evaluate import LayerTrace
from verify.forward.network import Network
from verify.forward.trace import Trace
from verify.mistakes.catalogue.given_states import initial_state
from verify.model.arrays import Array
from verify.model.graph import TensorRef, call_names, flatten
from verify.model.spec import LayerSpec

ALLOWED: Mapping[str, tuple[float, ...]] = {
    "": (3e-5, 3e-6),
    "float16": (5e-3, 5e-4),
    "bfloat16": (4e-2, 4e-3),
}
"""Precision of a file's weights -> how far a value may be off, as a share of the
greatest one of its array (or of 1). The second is tried if no output is so far off as
the first."""


@dataclass(frozen=True)
class Agreement:
    """Decide whether values of a file and of the model agree.

    Attributes
    ----------
    share : float
        How far a value may be off, as a share of the greatest one of its array (or of
        1).
    """

    share: float

    def allowed(self, expected: Array) -> float:
        """Return how far the values of an array may be off."""
        finite = expected[np.isfinite(expected)]
        return self.share * max(1.0, float(np.abs(finite).max(initial=0.0)))

    def same(self, found: Array, expected: Array, keep: Array | None = None) -> bool:
        """Return whether two arrays agree, where `keep` is true."""
        return (
            found.shape == expected.shape and not self.bad(found, expected, keep).any()
        )

    def bad(self, found: Array, expected: Array, keep: Array | None = None) -> Array:
        """Return where two arrays of the same shape differ."""
        with np.errstate(invalid="ignore"):
            apart = np.abs(found.astype(np.float64) - expected)
        wrong: Array = ~((apart <= self.allowed(expected)) | (found == expected))
        wrong &= ~(np.isnan(found.astype(np.float64)) & np.isnan(expected))
        if keep is not None:
            wrong &= keep.reshape(keep.shape + (1,) * (wrong.ndim - keep.ndim))
        return wrong


@dataclass(frozen=True)
class Difference:
    """Hold the first difference inside one layer; attributes as of `Location`."""

    gate: str
    step: int | None
    row: int | None
    unit: int | None
    tensor: str
    found: float
    expected: float
    why: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Order:
    """Hold in which order an operator is given the steps of a layer's input.

    Attributes
    ----------
    positions : (batch, time)
        Where each step of the layer stands in the operator.
    flipped, packed : bool
        Whether the steps are reversed, and whether masked ones stand behind the others.
    """

    positions: Array
    flipped: bool = False
    packed: bool = False

    def restored(self, value: Array) -> Array:
        """Return (batch, time, ...) of the operator on the layer's time axis."""
        rows = np.arange(len(value))[:, None]
        restored: Array = value[rows, self.positions]
        return restored


def orders(shape: tuple[int, ...], mask: Array | None) -> Iterator[Order]:
    """Yield orders in which files give the steps of a sequence to an operator."""
    batch, time = shape
    straight = np.broadcast_to(np.arange(time), (batch, time))
    yield Order(straight)
    yield Order(straight[:, ::-1], flipped=True)
    if mask is not None:
        behind = np.argsort(~mask, axis=1, kind="stable")  # unmasked steps first
        packed = np.argsort(behind, axis=1, kind="stable")
        yield Order(packed, packed=True)
        lengths = mask.sum(axis=1, keepdims=True)
        turned = np.where(packed < lengths, lengths - 1 - packed, packed)
        yield Order(turned, flipped=True, packed=True)


def mask_of(traced: LayerTrace) -> Array | None:
    """Return the mask that a layer is given, (batch, time), or None."""
    mask = traced.mask
    if isinstance(mask, (list, tuple)):
        mask = mask[0] if mask else None
    return None if mask is None else np.asarray(mask, dtype=bool)


def goes_backwards(layer: LayerSpec) -> bool:
    """Return whether a layer processes the last step first."""
    return bool(layer.options.get("go_backwards"))


def given_states(net: Network, trace: Trace, x: Inputs) -> dict[str, list[Array]]:
    """Return the initial states that calls of layers are given, by keys of a trace.

    Layers inside a model that is itself a layer are left out.
    """
    graph = net.spec.root.graph
    found: dict[str, list[Array]] = {}
    if graph is None:
        return found
    places = {layer.name: k for k, layer in enumerate(net.spec.inputs)}
    calls = call_names(graph)

    def value(ref: TensorRef) -> Any:
        if ref.layer in places:
            return x[places[ref.layer]]
        key = calls.get((ref.layer, ref.node), ref.layer)
        return flatten(trace[key].output)[ref.tensor] if key in trace else None

    for node in graph.nodes:
        layer = net.spec.root.sublayers[node.layer]
        values = [value(ref) for ref in initial_state(layer, node)]
        if not values or not all(isinstance(v, np.ndarray) for v in values):
            continue
        key = calls[node.layer, node.index]
        if layer.class_name == "Bidirectional":
            half = len(values) // 2
            found[f"{key}/forward_layer"] = values[:half]
            found[f"{key}/backward_layer"] = values[half:]
        else:
            found[key] = values
    return found


def first_of(bad: Array) -> tuple[int, ...]:
    """Return the first index that is true: earliest time step, then row, then unit."""
    if bad.ndim < 3:
        return tuple(int(k) for k in np.argwhere(bad)[0])
    step = int(np.argwhere(bad.any(axis=(0, *range(2, bad.ndim))))[0][0])
    row, *rest = (int(k) for k in np.argwhere(bad[:, step])[0])
    return (row, step, *rest)
