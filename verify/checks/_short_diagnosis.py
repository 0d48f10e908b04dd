"""Look for a mistake in shorter windows first, where a pass over long ones takes long.

A search evaluates some hundred mistaken models. Over 20,000 steps each of them takes
seconds, over a few hundred steps hundredths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from verify.checks.shorter_windows import first_steps, shortened_alike
from verify.errors import VerifyError
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.mistakes.explanation import Diagnosis
from verify.model.arrays import Array
from verify.model.graph import flatten

DIAGNOSIS_NUMBERS = 2**20
"""Numbers in the forward pass of a row in which a mistake is sought first."""

DIAGNOSIS_STEPS = 250
"""Steps of outputs that have a time axis in which a mistake is sought first: a loop
over time takes as long for every step, however few numbers there are."""

WHOLE_NUMBERS, LEAST_ROWS = 2**25, 2
"""Numbers in the forward pass of all rows, and rows at least, on which it is sought
where whole windows have to be evaluated."""

SAME_SHARE = 0.01
"""Share of what is allowed by which outputs of the first steps may differ from those of
the whole window."""

Diagnose = Callable[[Network, Inputs, Sequence[Array], float], Diagnosis]
"""A model, inputs, what came out, and seconds -> what explains it."""


@dataclass(frozen=True)
class ShortPair:
    """Hold two models and inputs of shorter windows, on which they still differ."""

    own: Network
    other: Network
    x: Inputs


def shorter_pair(
    own: Network, other: Network, x: Inputs, layer: str | None, allowed: float
) -> ShortPair | None:
    """Return two models of shorter windows, and inputs on which they still differ.

    Parameters
    ----------
    own, other : Network
        Of which one has the mistake.
    x : Inputs
    layer : str or None
        The call of a layer that differs, as a trace names it; None for the outputs.
    allowed : float
        Greatest difference that is none.

    Returns
    -------
    ShortPair or None
        None if windows are short enough, or the difference does not show in less.
    """
    fixed = own.stateful or own.spec.batch_size is not None
    if x.rows == 1 and not fixed:
        x = x.take(np.zeros(2, dtype=int))  # its first steps and its last ones
    short = shortened_alike([own, other], x, DIAGNOSIS_NUMBERS)
    if short is None:
        return None
    (ours, theirs), some = short
    try:
        a, b = (_outputs(net, some, layer) for net in (ours, theirs))
    except (VerifyError, KeyError):
        return None
    with np.errstate(invalid="ignore"):
        differ = [p.shape != q.shape or not (np.abs(p - q) <= allowed).all()
                  for p, q in zip(a, b, strict=True)]  # fmt: skip
    return ShortPair(ours, theirs, some) if any(differ) else None


def _outputs(net: Network, x: Inputs, layer: str | None) -> list[Array]:
    """Return the outputs of a layer in float64, or without a name those of a model."""
    if layer is None:
        return net.flat(x, dtype="float64")
    return flatten(net.trace(x, dtype="float64")[layer].output)


def few_rows(net: Network, x: Inputs, rows: int, differing: Array) -> Array | None:
    """Return the rows on which a mistake is sought where windows are long.

    Parameters
    ----------
    net : Network
    x : Inputs
        One row.
    rows : int
        How many there are.
    differing : (n,) of int
        Rows that differ most.

    Returns
    -------
    (m,) of int, or None
        Ascending, the first row among them; None where all rows can be searched.
    """
    numbers = sum(array.size for array in net.outline(x).arrays().values())
    most = max(WHOLE_NUMBERS // max(numbers, 1), LEAST_ROWS)
    if numbers < DIAGNOSIS_NUMBERS or most >= rows:
        return None
    others = [int(row) for row in differing if row][: most - 1]
    return np.array(sorted([0, *others]))


def diagnosed_on_first_steps(
    net: Network,
    x: Inputs,
    observed: Sequence[Array],
    allowed: Sequence[Array],
    seconds: float,
    diagnose: Diagnose,
) -> Diagnosis | None:
    """Return what explains the first steps of the outputs of a model.

    Layers may look ahead, if what lies beyond the first steps fades before it has come
    back to the outputs that are compared, as it does in a Bidirectional. What is found
    is tried on the whole windows before it is said.

    Parameters
    ----------
    net : Network
    x : Inputs
    observed : list of (rows, ...)
        What came out.
    allowed : list of (units,)
        Greatest difference that counts as explained.
    seconds : float
    diagnose : callable

    Returns
    -------
    Diagnosis or None
        None if the whole windows have to be searched.
    """
    short = first_steps(net, x, DIAGNOSIS_STEPS)
    if short is None or net.spec.root.graph is None:
        return None
    ours = net.flat(x, dtype="float64")
    while short is not None:
        part = short.net.flat(short.x, dtype="float64")
        alike = _steps_alike(part, ours, allowed)
        if alike is None:
            return None
        # what a mistake makes of the steps beyond may reach further back
        steps = alike if alike == short.steps else 2 * alike - short.steps
        if steps >= short.steps // 4:
            seen = [y[:, :steps] for y in observed]
            if _differ([y[:, :steps] for y in part], seen, allowed):
                break
        short = first_steps(net, x, DIAGNOSIS_STEPS, least=4 * short.steps)
    if short is None:
        return None
    if steps < short.steps:
        short = short.showing(steps)
    found = diagnose(short.net, short.x, seen, seconds)
    if not found.explanations:
        left = f"time steps {steps:,} to {short.of_steps - 1:,}"
        return replace(found, unsearched=(*found.unsearched, left))
    mutant = found.explanations[0].mutant
    if mutant is None:
        return found
    try:
        outputs = replace(mutant, model=short.lengthened(mutant.model)).evaluate(x)
    except VerifyError:
        return None
    return None if _differ(outputs, observed, allowed) else found


def _steps_alike(
    part: Sequence[Array], whole: Sequence[Array], allowed: Sequence[Array]
) -> int | None:
    """Return how many first steps of outputs are those of longer windows.

    None if an output has no such steps.
    """
    alike = [a.shape[1] if a.ndim > 1 else 0 for a in part]
    for k, (a, b, limit) in enumerate(zip(part, whole, allowed, strict=True)):
        if b.ndim < 2 or b.shape[1] <= alike[k] or a.shape != b[:, : alike[k]].shape:
            return None
        near = np.abs(a - b[:, : alike[k]]) <= SAME_SHARE * limit
        far = ~near.all(axis=(0, *range(2, near.ndim)))
        alike[k] = int(np.argmax(far)) if far.any() else alike[k]
    return min(alike)


def _differ(a: Sequence[Array], b: Sequence[Array], allowed: Sequence[Array]) -> bool:
    with np.errstate(invalid="ignore"):
        return not all(
            p.shape == q.shape and (np.abs(p - q.astype(np.float64)) <= limit).all()
            for p, q, limit in zip(a, b, allowed, strict=True)
        )
