"""Which one number among the weights, if it were another, would explain the outputs?

For a mistake that no catalogue can hold: a number mistyped, truncated, overwritten. To
first order the outputs move along the gradient with respect to the wrong number, so the
gradients that point along the difference name the suspects. Each is then fitted, and
counts only if the whole difference vanishes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from verify.backward import backprop, supports
from verify.compare import Comparison, compare_all
from verify.network import Inputs, Network
from verify.spec import Array, ModelSpec

PAIRS = 96
"""Outputs whose gradients are looked at: those that differ most."""

SUSPECTS = 24
"""Numbers that are fitted."""

ITERATIONS = 12
"""Gauss-Newton steps of a fit; a right one ends after a few."""

BLOCK, MOST = 2e7, 5e6
"""Gradients kept at a time, and weights of a model that is looked at at all."""


class Fitted(NamedTuple):
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


def one_number(
    spec: ModelSpec,
    x: Inputs,
    observed: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
) -> list[Fitted]:
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
    if supports(net) or net.stateful or spec.parameters > MOST:
        return []
    expected = net.flat(x, dtype="float64")
    if not all(np.isfinite(y).all() for y in (*expected, *observed)):
        return []
    with np.errstate(all="ignore"):  # a wild step of a fit is taken back
        fits = [
            _fitted(spec, x, observed, allowed, *suspect)
            for suspect in _suspects(net, x, expected, observed)
        ]
    return [fit for fit in fits if fit is not None]


def _suspects(
    net: Network, x: Inputs, expected: Sequence[Array], observed: Sequence[Array]
) -> Iterator[tuple[str, str, tuple[int, ...], float]]:
    """Whose gradient points along the difference; with the first step of a fit."""
    shapes = [y.shape[1:] for y in expected]
    cuts = np.cumsum([int(np.prod(shape)) for shape in shapes])
    off = np.concatenate(
        [
            (b.astype(np.float64) - a).reshape(len(a), -1)
            for a, b in zip(expected, observed, strict=True)
        ],
        axis=1,
    )
    # Some that do not differ are as telling: the number must leave them alone.
    order = np.argsort(-np.abs(off), axis=None, kind="stable")
    chosen = np.unique(
        np.concatenate([order[: PAIRS - PAIRS // 4], order[-PAIRS // 4 :]])
    )
    along: dict[tuple[str, str], Array] = {}
    squares: dict[tuple[str, str], Array] = {}
    size = max(1, int(BLOCK // max(net.spec.parameters, 1)))
    for start in range(0, len(chosen), size):
        rows, elements = np.unravel_index(chosen[start : start + size], off.shape)
        some, where = np.unique(rows, return_inverse=True)
        gradients = np.zeros((len(rows), len(some), cuts[-1]))
        gradients[np.arange(len(rows)), where, elements] = 1.0
        parts = [
            part.reshape(*part.shape[:2], *shape)
            for part, shape in zip(
                np.split(gradients, cuts[:-1], axis=-1), shapes, strict=True
            )
        ]
        found = backprop(net, x.take(some), parts)
        target = off[rows, elements]
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
        for flat in np.argsort(-score)[:SUSPECTS]:
            place = tuple(int(k) for k in np.unravel_index(flat, dot.shape))
            step = float(dot[place] / square[place])
            ranked.append((float(score[flat]), path, name, place, step))
    ranked.sort(key=lambda suspect: -suspect[0])
    for _, path, name, place, step in ranked[:SUSPECTS]:
        yield path, name, place, step


def _fitted(
    spec: ModelSpec,
    x: Inputs,
    observed: Sequence[Array],
    allowed: Sequence[float | Array],
    path: str,
    weight: str,
    place: tuple[int, ...],
    step: float,
) -> Fitted | None:
    """A number for which the outputs are those observed, if there is one.

    Gauss-Newton in one unknown, halving a step that makes things worse.
    """
    layer = spec[path]
    right = layer.weights[weight].astype(np.float64)
    instead = float(right[place])

    def outputs(value: float) -> list[Array]:
        wrong = right.copy()
        wrong[place] = value
        changed = replace(layer, weights={**layer.weights, weight: wrong})
        return Network(spec.with_layer(changed, path)).flat(x, dtype="float64")

    def off(found: Sequence[Array]) -> Array:
        return np.concatenate(
            [(b - a).reshape(-1) for a, b in zip(found, observed, strict=True)]
        )

    value = instead
    left = off(outputs(value))
    for _ in range(ITERATIONS):
        moved = value + step
        found = outputs(moved)
        new = off(found)
        if not np.linalg.norm(new) < np.linalg.norm(left):
            step /= 2
            continue
        slope = (left - new) / step
        value, left = moved, new
        comparison = compare_all(found, observed, allowed=allowed)
        if comparison.matches:
            return Fitted(path, weight, place, value, instead, comparison)
        step = float(slope @ new / (slope @ slope))
        if abs(step) < 1e-12 * max(1.0, abs(value)):
            break
    return None
