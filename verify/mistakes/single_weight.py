"""Which single number of the weights, if it were another, would explain the outputs?

This finds a mistake that no catalogue can hold: a number mistyped, truncated or
overwritten. To first order the outputs move along their gradient with respect to the
wrong number, so the numbers whose gradients point along the difference are suspects.
Each suspect is then fitted, and counts only if the whole difference vanishes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from verify.backward import backprop, supports
from verify.backward.recording import NotRecorded
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.mistakes.search import Clock
from verify.model.arrays import Array, FlatOutputs
from verify.model.spec import ModelSpec
from verify.tolerance.compare import Comparison, compare_all, most_different

MAX_GRADIENT_OUTPUTS = 96
"""Numbers of the outputs whose gradients are computed; most are those that differ
most."""

SUSPECTS_ALWAYS_FITTED, MAX_FIT_SECONDS = 24, 5.0
"""Suspects that are fitted in any case. If none of them fits, because a large change
does not follow the gradient, others are fitted until the time is up."""

SUSPECTS_PER_WEIGHT = 400
"""Suspects in one weight array at most."""

FIT_ROWS = 16
"""Rows that a number is fitted to; it must then explain all rows."""

MAX_FIT_STEPS = 8
"""Gauss-Newton steps of a fit; one that succeeds takes a few."""

MAX_BLOCK_GRADIENTS = 2e7
"""Gradients kept at a time."""

MAX_PARAMETERS = 5e6
"""Models with more weights than this are not searched."""


class WeightFit(NamedTuple):
    """Describe a number that explains the outputs.

    Attributes
    ----------
    path, weight : str
        Path of the layer, and name of the weight.
    place : tuple of int
        Index in the weight.
    value, original : float
        What the number seems to be, and what it is in the model.
    comparison : Comparison
        Comparison of the outputs with those of the model with that value.
    """

    path: str
    weight: str
    place: tuple[int, ...]
    value: float
    original: float
    comparison: Comparison

    def model(self, spec: ModelSpec) -> ModelSpec:
        """Return the model with the number in its place."""
        return with_number(spec, self.path, self.weight, self.place, self.value)


def with_number(
    spec: ModelSpec, path: str, weight: str, place: tuple[int, ...], value: float
) -> ModelSpec:
    """Return the model with another number in one place of a weight, in float64."""
    layer = spec[path]
    wrong = layer.weights[weight].astype(np.float64)
    wrong[place] = value
    changed = replace(layer, weights={**layer.weights, weight: wrong})
    return spec.with_layer(changed, path)


class _Suspect(NamedTuple):
    """Describe a number to fit: where it is, as in `WeightFit`, and the first step."""

    path: str
    weight: str
    place: tuple[int, ...]
    step: float

    def original(self, spec: ModelSpec) -> float:
        """Return the number as it is in the model."""
        return float(spec[self.path].weights[self.weight][self.place])

    def network(self, spec: ModelSpec, value: float) -> Network:
        """Return the network with another number in its place."""
        return Network(with_number(spec, self.path, self.weight, self.place, value))


def find_single_weight(
    spec: ModelSpec,
    x: Inputs,
    observed: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
    seconds: float = math.inf,
) -> list[WeightFit]:
    """Return every number that by itself explains `observed`.

    There is more than one where the outputs cannot tell them apart, as with the biases
    of a softmax over two classes.

    Parameters
    ----------
    spec : ModelSpec
    x : Inputs
    observed : list of (batch, ...)
        What came out instead of the model's outputs.
    allowed : list of float, or of (units,)
        Greatest difference that counts as explained, for each output.
    seconds : float
        When to give up.
    """
    net = Network(spec)
    if supports(net) or net.stateful or spec.parameters > MAX_PARAMETERS:
        return []
    expected = net.flat(x, dtype="float64")
    if [y.shape for y in expected] != [y.shape for y in observed]:
        return []
    if not all(np.isfinite(y).all() for y in (*expected, *observed)):
        return []
    found: list[WeightFit] = []
    few = _most_and_least(most_different(expected, observed), FIT_ROWS)
    some, seen = x.take(few), [y[few] for y in observed]
    with np.errstate(all="ignore"):  # a fit may overflow; that step is taken back
        try:
            suspects = _suspects(net, x, expected, observed)
        except NotRecorded:  # a layer computes what has no derivative here
            return []
        clock = Clock(seconds)
        for k, suspect in enumerate(suspects):
            late = clock.spent > MAX_FIT_SECONDS
            enough = k >= SUSPECTS_ALWAYS_FITTED and (found or late)
            if enough or not clock.left:
                break
            value = _fit(spec, some, seen, allowed, suspect)
            if value is None:
                continue
            outputs = suspect.network(spec, value).flat(x, dtype="float64")
            result = compare_all(outputs, observed, allowed=allowed)
            if result.matches:
                path, weight, place, _ = suspect
                original = suspect.original(spec)
                found.append(WeightFit(path, weight, place, value, original, result))
    return found


def _most_and_least(order: Array, count: int) -> Array:
    """Return what comes first in an order, and a quarter of what comes last; ascending.

    What differs least tells as much: the wrong number must leave it alone.
    """
    return np.unique(
        np.concatenate([order[: count - count // 4], order[-count // 4 :]])
    )


def _suspects(
    net: Network, x: Inputs, expected: Sequence[Array], observed: Sequence[Array]
) -> list[_Suspect]:
    """Return numbers whose gradients point along the difference, the best first."""
    outputs = FlatOutputs(expected)
    # (batch, elements)
    error = outputs.join(observed).astype(np.float64) - outputs.join(expected)
    order = np.argsort(-np.abs(error), axis=None, kind="stable")
    chosen = _most_and_least(order, MAX_GRADIENT_OUTPUTS)
    # Sums over the chosen outputs, shaped like each weight: of gradient times error,
    # and of the gradient's squares.
    along: dict[tuple[str, str], Array] = {}
    squares: dict[tuple[str, str], Array] = {}
    size = max(1, int(MAX_BLOCK_GRADIENTS // max(net.spec.parameters, 1)))
    for start in range(0, len(chosen), size):
        rows, elements = np.unravel_index(chosen[start : start + size], error.shape)
        some, where = np.unique(rows, return_inverse=True)
        # (sweeps, rows, elements): one sweep for each chosen output
        one_hot = np.zeros((len(rows), len(some), outputs.elements))
        one_hot[np.arange(len(rows)), where, elements] = 1.0
        found = backprop(net, x.take(some), outputs.split(one_hot))
        target = error[rows, elements]  # (sweeps,)
        for path, weights in found.weights.items():
            for name, jacobian in weights.items():  # (sweeps, *shape of the weight)
                key = path, name
                dot = np.tensordot(target, jacobian, axes=1)
                along[key] = along.get(key, 0.0) + dot
                squares[key] = squares.get(key, 0.0) + (jacobian**2).sum(axis=0)
    ranked = []
    for (path, name), dot in along.items():
        square = np.maximum(squares[path, name], 1e-300)
        score = np.where(dot == 0, 0.0, dot**2 / square).reshape(-1)
        for k in np.argsort(-score)[:SUSPECTS_PER_WEIGHT]:
            if score[k] == 0:
                break
            place = tuple(int(index) for index in np.unravel_index(k, dot.shape))
            step = float(dot[place] / square[place])
            ranked.append((float(score[k]), _Suspect(path, name, place, step)))
    ranked.sort(key=lambda item: -item[0])
    return [suspect for _, suspect in ranked]


def _fit(
    spec: ModelSpec,
    x: Inputs,
    observed: Sequence[Array],
    allowed: Sequence[float | Array],
    suspect: _Suspect,
) -> float | None:
    """Return the number that makes the outputs those observed, or None.

    Gauss-Newton in one unknown. It starts from the best of a step along the gradient,
    zero and the opposite sign; a step that makes things worse is halved.
    """

    def evaluated(value: float) -> tuple[list[Array], Array]:
        """Return the outputs, and all that is missing to those observed; (numbers,)."""
        outputs = suspect.network(spec, value).flat(x, dtype="float64")
        missing = [(b - a).reshape(-1) for a, b in zip(outputs, observed, strict=True)]
        return outputs, np.concatenate(missing)

    original = suspect.original(spec)
    _, left = evaluated(original)
    values = (original + suspect.step, 0.0, -original)
    starts = [(value, *evaluated(value)) for value in values]
    value, outputs, new = min(starts, key=lambda start: float(np.linalg.norm(start[2])))
    before, step = original, value - original
    for _ in range(MAX_FIT_STEPS):
        if compare_all(outputs, observed, allowed=allowed).matches:
            return value
        if np.linalg.norm(new) < np.linalg.norm(left) and step:
            slope = (left - new) / step
            before, left = value, new
            step = float(slope @ new / max(float(slope @ slope), 1e-300))
        else:
            step /= 2
        if not abs(step) > 1e-12 * max(1.0, abs(before)):
            return None
        value = before + step
        outputs, new = evaluated(value)
    return None
