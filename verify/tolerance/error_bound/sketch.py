"""Bound thousands of outputs at once, by carrying random errors forwards.

A backpropagation for each output gives exactly

    bound = L + STANDARD_DEVIATIONS * S,  L = sum |d| * max_error,
                                          S = sqrt(sum (d * standard_deviation)**2)

and takes too long for images. One pass forwards gives, for every output, a random
number whose spread is that bound. To the result of each operation is added

    max_error * C + STANDARD_DEVIATIONS * standard_deviation * G

with numbers C of Cauchy's distribution and G of the normal one, all independent. To
first order an output changes by the sum of these, each times d. A sum of Cauchy
numbers with factors a is a Cauchy number times ``sum |a|``, and a sum of normal ones is
a normal one times ``sqrt(sum a**2)``. So the change is ``L * C + 10 * S * G``, without
any d being known. Its density is nowhere above ``PEAK / bound``, so that

    P(|change| < t * bound) <= 2 * PEAK * t

whatever L and S are. Of so many independent changes the one of a certain rank is below
``bound / factor`` with a probability of `MAX_CHANCE` at most, if `factor` is what the
binomial distribution says. Then ``factor * that change`` is at least the bound: in the
median about 5 times the bound with 64 changes, 8 times with 32 and 17 times with 16.

Errors of operations on single elements are added up by their sizes before they are
drawn (`verify.backward.recording.pending`), and loops over time are carried through by
their equations (`loops`); the changes have the same distribution then.

Errors that are the same at every step, whose deviation is at least ``sum d *
standard_deviation`` (see the package), are drawn once for all steps in addition.

The random numbers are always the same, and do not depend on the model.

Source: Indyk, Stable distributions, pseudorandom generators, embeddings, and data
stream computation, Journal of the ACM 53 (2006), for sums of absolute values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verify.backward.forwards import ChangingModel
from verify.backward.recording import Recorded
from verify.backward.recording.tangents import ForwardTape
from verify.backward.recording.tape import single_of
from verify.forward.evaluable import Inputs
from verify.forward.evaluate import States
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.error_bound.loops import ChangingLoops
from verify.tolerance.error_bound.random_errors import (
    SEED,
    RandomErrors,
    chosen_bound,
    spread,
)

FEWEST_COPIES, MOST_COPIES = 16, 64
"""Changes of each output: the more, the nearer is what they say to the bound."""


def sketched_bounds(
    net: Network,
    x: Inputs,
    activation_errors: ActivationErrors,
    *,
    standard_deviations: float,
    max_deviation: float,
    copies: int = MOST_COPIES,
    groups: int = 1,
) -> tuple[list[Array], Array]:
    """Return bounds of all outputs of a model.

    The batches of a stateful model hand on their states, with the errors in them.

    Parameters
    ----------
    net : Network
    x : Inputs
    activation_errors : ActivationErrors
    standard_deviations : float
        How many count.
    max_deviation : float
        Relative error of float32, in any value of a row, up to which an analysis to
        first order holds.
    copies : int
        Changes of each output.
    groups : int
        In how many passes; more of them take less memory.

    Returns
    -------
    list of (rows, ...)
        Bounds of the outputs.
    (rows,) of bool
        Rows in which no bound holds: float32 may decide otherwise, deviates too far for
        an analysis to first order, or exceeds the bound.

    Raises
    ------
    NotRecorded
        The model computes something that is not known here.
    """
    parts: list[list[Array]] = []
    unsound = np.zeros(x.rows, dtype=bool)
    apart: list[Array] = []
    size = (net.spec.batch_size or 1) if net.stateful else x.rows
    for group in range(min(groups, copies)):
        some_copies = copies * (group + 1) // groups - copies * group // groups
        if not some_copies:
            continue
        errors = RandomErrors(
            some_copies, size, activation_errors, standard_deviations, SEED + group,
            net.row_counts(x.take(slice(0, size))),
        )  # fmt: skip
        tape = ForwardTape(
            copies=some_copies, rows=size, disturb=errors, draw=errors.draw
        )
        loops = ChangingLoops(tape, errors, continues=False)
        model = ChangingModel(net, tape, loop_for=loops.loop, seen=loops.deviations.add)
        states: States = {}
        batches, apart = [], []
        for start in range(0, x.rows, size):
            some = slice(start, start + size)
            loops.begin()
            outputs = model.outputs(x.take(some), states)
            batches.append([spread(y, some_copies) for y in outputs])
            apart.append(np.concatenate([_apart(y) for y in outputs], axis=1))
            # of the batches before as well
            deviating = loops.deviations.exceeding(max_deviation, size)
            unsound[some] |= errors.near | deviating
        parts.append([np.concatenate(of, axis=1) for of in zip(*batches, strict=True)])
    found = [chosen_bound(np.concatenate(of)) for of in zip(*parts, strict=True)]
    flat = np.concatenate([bound.reshape(x.rows, -1) for bound in found], axis=1)
    unsound |= (flat < np.concatenate(apart)).any(axis=1)
    return found, unsound


def _apart(output: Any) -> Array:
    """Return how far an output in float32 is from float64; (rows, elements)."""
    if not isinstance(output, Recorded):
        return np.zeros((len(output), np.size(output) // max(len(output), 1)))
    with np.errstate(invalid="ignore"):
        apart = np.abs(single_of(output).astype(np.float64) - output.value)
    return apart.reshape(len(apart), -1)
