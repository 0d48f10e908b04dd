"""Which one number among the weights, if it were another, would explain the outputs?

For a mistake that no catalogue can hold: a number mistyped, truncated, overwritten. To
first order the outputs move along the gradient with respect to the wrong number, so the
gradients that point along the difference name the suspects. Each is then fitted, and
counts only if the whole difference vanishes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from verify.backward import backprop, supports
from verify.forward.network import Inputs, Network
from verify.model.arrays import Array, FlatOutputs
from verify.model.spec import ModelSpec
from verify.tolerance.compare import Comparison, compare_all, most_different

MAX_GRADIENT_OUTPUTS = 96
"""Outputs whose gradients are looked at: those that differ most."""

SUSPECTS_ALWAYS_FITTED, MAX_FIT_SECONDS = 24, 5.0
"""Numbers that are fitted in any case. Where none of them fits, as large changes do not
follow the gradient, others are tried for so long."""

SUSPECTS_PER_WEIGHT = 400
"""Suspects in each of the weights."""

FIT_ROWS = 16
"""Rows that a fit looks at; what fits them must fit all."""

MAX_FIT_STEPS = 8
"""Gauss-Newton steps of a fit; a right one ends after a few."""

MAX_BLOCK_GRADIENTS, MAX_PARAMETERS = 2e7, 5e6
"""Gradients kept at a time, and weights of a model that is looked at at all."""


class WeightFit(NamedTuple):
    """A number that explains the outputs.

    Attributes
    ----------
    path, weight : str
        The layer, and which of its weights.
    place : tuple of int
        Index in it.
    value, instead : float
        What it seems to be, and what it is in the model.
    comparison : Comparison
        Of the model with that value and the outputs.
    """

    path: str
    weight: str
    place: tuple[int, ...]
    value: float
    instead: float
    comparison: Comparison


def find_single_weight(
    spec: ModelSpec,
    x: Inputs,
    observed: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
) -> list[WeightFit]:
    """Every number that by itself explains `observed`.

    More than one where the outputs cannot tell them apart, as with the biases of a
    softmax over two classes.

    Parameters
    ----------
    spec : ModelSpec
    x : Inputs
    observed : list of (batch, ...)
        What came out instead of the model's outputs.
    allowed : list of float, or of one number for each unit
        Greatest difference that counts as explained, for each output.
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
    few = _informative_rows(expected, observed)
    some, seen = x.take(few), [y[few] for y in observed]
    with np.errstate(all="ignore"):  # a wild step of a fit is taken back
        suspects = _suspects(net, x, expected, observed)
        began = time.monotonic()
        for k, suspect in enumerate(suspects):
            if k >= SUSPECTS_ALWAYS_FITTED and (
                found or time.monotonic() - began > MAX_FIT_SECONDS
            ):
                break
            value = _fit(spec, some, seen, allowed, suspect)
            if value is None:
                continue
            outputs = _with(spec, suspect, value).flat(x, dtype="float64")
            comparison = compare_all(outputs, observed, allowed=allowed)
            if comparison.matches:
                path, weight, place, _ = suspect
                instead = float(spec[path].weights[weight][place])
                found.append(WeightFit(path, weight, place, value, instead, comparison))
    return found


Suspect = tuple[str, str, tuple[int, ...], float]
"""Path, weight, index in it, and the first step of a fit."""


def _informative_rows(expected: Sequence[Array], observed: Sequence[Array]) -> Array:
    """Rows that differ most, and some that do not: the number must leave them alone."""
    order = most_different(expected, observed)
    return np.unique(
        np.concatenate([order[: FIT_ROWS - FIT_ROWS // 4], order[-FIT_ROWS // 4 :]])
    )


def _suspects(
    net: Network, x: Inputs, expected: Sequence[Array], observed: Sequence[Array]
) -> list[Suspect]:
    """Numbers whose gradients point along the difference, the most suspicious first."""
    flat = FlatOutputs(expected)
    error = flat.join(observed).astype(np.float64) - flat.join(expected)
    # Some that do not differ are as telling: the number must leave them alone.
    order = np.argsort(-np.abs(error), axis=None, kind="stable")
    chosen = np.unique(
        np.concatenate(
            [
                order[: MAX_GRADIENT_OUTPUTS - MAX_GRADIENT_OUTPUTS // 4],
                order[-MAX_GRADIENT_OUTPUTS // 4 :],
            ]
        )
    )
    along: dict[tuple[str, str], Array] = {}
    squares: dict[tuple[str, str], Array] = {}
    size = max(1, int(MAX_BLOCK_GRADIENTS // max(net.spec.parameters, 1)))
    for start in range(0, len(chosen), size):
        rows, elements = np.unravel_index(chosen[start : start + size], error.shape)
        some, where = np.unique(rows, return_inverse=True)
        gradients = np.zeros((len(rows), len(some), flat.elements))
        gradients[np.arange(len(rows)), where, elements] = 1.0
        found = backprop(net, x.take(some), flat.split(gradients))
        target = error[rows, elements]
        for path, weights in found.weights.items():
            for name, jacobian in weights.items():
                key = path, name
                dot = np.tensordot(target, jacobian, axes=1)
                along[key] = along.get(key, 0.0) + dot
                squares[key] = squares.get(key, 0.0) + (jacobian**2).sum(axis=0)
    ranked = []
    for (path, name), dot in along.items():
        square = np.maximum(squares[path, name], 1e-300)
        score = np.where(dot == 0, 0.0, dot**2 / square).reshape(-1)
        for flat in np.argsort(-score)[:SUSPECTS_PER_WEIGHT]:
            if score[flat] == 0:
                break
            place = tuple(int(k) for k in np.unravel_index(flat, dot.shape))
            step = float(dot[place] / square[place])
            ranked.append((float(score[flat]), (path, name, place, step)))
    ranked.sort(key=lambda item: -item[0])
    return [suspect for _, suspect in ranked]


def _with(spec: ModelSpec, suspect: Suspect, value: float) -> Network:
    """The network with another number in that place."""
    path, weight, place, _ = suspect
    layer = spec[path]
    wrong = layer.weights[weight].astype(np.float64)
    wrong[place] = value
    changed = replace(layer, weights={**layer.weights, weight: wrong})
    return Network(spec.with_layer(changed, path))


def _fit(
    spec: ModelSpec,
    x: Inputs,
    observed: Sequence[Array],
    allowed: Sequence[float | Array],
    suspect: Suspect,
) -> float | None:
    """The number for which the outputs are those observed, if there is one.

    Gauss-Newton in one unknown, from the best of a step along the gradient, zero and
    the other sign; a step that makes things worse is halved.
    """
    path, weight, place, step = suspect
    instead = float(spec[path].weights[weight][place])

    def tried(value: float) -> tuple[list[Array], Array]:
        outputs = _with(spec, suspect, value).flat(x, dtype="float64")
        off = [(b - a).reshape(-1) for a, b in zip(outputs, observed, strict=True)]
        return outputs, np.concatenate(off)

    _, left = tried(instead)
    starts = [(value, *tried(value)) for value in (instead + step, 0.0, -instead)]
    value, outputs, new = min(starts, key=lambda start: float(np.linalg.norm(start[2])))
    before, step = instead, value - instead
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
        outputs, new = tried(value)
    return None
