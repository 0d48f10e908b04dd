"""Look for a mistake in shorter windows first, where a pass over long ones takes long.

A search evaluates some hundred mistaken models. Over 20,000 steps each of them takes
seconds, over a few hundred steps hundredths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from verify.checks.shorter_windows import SomeSteps, shortened_alike, some_steps
from verify.errors import VerifyError
from verify.forward.evaluable import Inputs
from verify.forward.network import Network
from verify.mistakes.diagnose import DIFFERENCE_IS
from verify.mistakes.explanation import Diagnosis
from verify.mistakes.remainder import describe_remainder
from verify.model.arrays import Array
from verify.model.graph import flatten

DIAGNOSIS_NUMBERS = 2**20
"""Numbers in the forward pass of a row in which a mistake is sought first."""

DIAGNOSIS_STEPS = 250
"""First or last steps in which a mistake is sought first: a loop over time takes as
long for every step, however few numbers there are."""

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


def diagnosed_on_some_steps(
    net: Network,
    x: Inputs,
    observed: Sequence[Array],
    allowed: Sequence[Array],
    seconds: float,
    diagnose: Diagnose,
    numbers: Array,
) -> Diagnosis | None:
    """Return what explains the outputs of a model on the first or last steps alone.

    What lies outside these steps must have faded from the outputs that are compared, as
    it does from the last output of a recurrent layer, or the first ones of a
    Bidirectional. What is found is tried on the whole windows before it is said.

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
    numbers : (rows,) of int
        Numbers of the rows in the data.

    Returns
    -------
    Diagnosis or None
        None if the whole windows have to be searched.
    """
    found = _differing_steps(net, x, observed, allowed)
    if found is None:
        return None
    short, kept = found
    seen = [y[:, some] for y, some in zip(observed, kept, strict=True)]
    diagnosis = diagnose(short.net, short.x, seen, seconds)

    def remains(outputs: Sequence[Array]) -> str:
        names = net.output_names
        return describe_remainder(
            outputs, observed, allowed=allowed, rows=numbers, names=names
        )

    if not diagnosis.explanations:
        diagnosis = _told_of_whole(diagnosis, short, net, x, remains)
        left = _steps_left(short, kept)
        return replace(diagnosis, unsearched=(*diagnosis.unsearched, left))
    mutant = diagnosis.explanations[0].mutant
    if mutant is None:
        return diagnosis
    try:
        outputs = replace(mutant, model=short.lengthened(mutant.model)).evaluate(x)
    except VerifyError:
        return None
    return None if _differ(outputs, observed, allowed) else diagnosis


def _told_of_whole(
    diagnosis: Diagnosis,
    short: SomeSteps,
    net: Network,
    x: Inputs,
    remains: Callable[[Sequence[Array]], str],
) -> Diagnosis:
    """Return a diagnosis whose words for a difference are about the whole windows."""
    hints, nearest = list(diagnosis.hints), diagnosis.nearest
    if hints and hints[0].startswith(DIFFERENCE_IS):
        text = remains(net.flat(x, dtype="float64"))
        hints[:1] = [f"{DIFFERENCE_IS}{text}"] if text else []
    if nearest is not None and nearest.explanation.mutant is not None:
        mutant = nearest.explanation.mutant
        try:
            mutant = replace(mutant, model=short.lengthened(mutant.model))
            text = remains(mutant.evaluate(x))
        except VerifyError:
            text = ""
        nearest = replace(nearest, remains=text)
    return replace(diagnosis, hints=tuple(hints), nearest=nearest)


def _differing_steps(
    net: Network, x: Inputs, observed: Sequence[Array], allowed: Sequence[Array]
) -> tuple[SomeSteps, list[slice]] | None:
    """Return the fewest steps on which the difference shows, and those of outputs."""
    if net.spec.root.graph is None:
        return None
    ours: list[Array] | None = None
    steps = DIAGNOSIS_STEPS
    while True:
        for last in (False, True):
            short = some_steps(net, x, steps, last=last)
            if short is None:
                return None
            ours = net.flat(x, dtype="float64") if ours is None else ours
            part = short.net.flat(short.x, dtype="float64")
            kept = _unaffected(part, ours, allowed, last=last)
            if kept is None:
                continue
            own, seen = ([y[:, some] for y, some in zip(of, kept, strict=True)]
                         for of in (part, observed))  # fmt: skip
            if _differ(own, seen, allowed):
                whole = all(a.shape == b.shape for a, b in zip(own, part, strict=True))
                return short if whole else short.showing(kept), kept
        steps *= 4


def _unaffected(
    part: Sequence[Array],
    whole: Sequence[Array],
    allowed: Sequence[Array],
    *,
    last: bool,
) -> list[slice] | None:
    """Return the steps of each output that are the same as in the whole windows.

    Parameters
    ----------
    part, whole : list of (rows, ...)
        Outputs of the first or last steps of the inputs, and of all steps.
    allowed : list of (units,)
    last : bool

    Returns
    -------
    list of slice, or None
        None if there are too few in some output, or it would be all or nothing in one
        without a time axis and it is nothing.
    """
    found = []
    for a, b, limit in zip(part, whole, allowed, strict=True):
        if a.ndim < 2 or a.ndim != b.ndim or a.shape[2:] != b.shape[2:]:
            return None
        steps = a.shape[1]
        near = np.abs(a - (b[:, -steps:] if last else b[:, :steps]))
        far = (near > SAME_SHARE * limit).any(axis=(0, *range(2, a.ndim)))
        if a.shape == b.shape:  # no time axis
            if far.any():
                return None
            found.append(slice(None))
            continue
        far = far[::-1] if last else far
        alike = int(np.argmax(far)) if far.any() else steps
        # what a mistake makes of the steps outside may reach further
        count = alike if alike == steps else 2 * alike - steps
        if count < max(steps // 4, 1):
            return None
        found.append(slice(-count, None) if last else slice(count))
    return found


def _steps_left(short: SomeSteps, kept: Sequence[slice]) -> str:
    """Say which time steps were not searched."""
    counts = [abs(some.start or some.stop or 0) for some in kept]
    count = min([count for count in counts if count], default=short.steps)
    if short.last:
        return f"time steps 0 to {short.of_steps - count - 1:,}"
    return f"time steps {count:,} to {short.of_steps - 1:,}"


def _differ(a: Sequence[Array], b: Sequence[Array], allowed: Sequence[Array]) -> bool:
    with np.errstate(invalid="ignore"):
        return not all(
            p.shape == q.shape and (np.abs(p - q.astype(np.float64)) <= limit).all()
            for p, q, limit in zip(a, b, allowed, strict=True)
        )
