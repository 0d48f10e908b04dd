"""What remains when a mistake explains most of a difference, but not all of it?

Every phrase is decided by a test with a threshold of its own, and nothing is said where
none is passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from verify.mistakes.output_formats import OutputFormat, Rounding, find_format
from verify.model.arrays import Array
from verify.model.dtypes import SINGLE, UNIT_ROUNDOFF

CHANCE = 0.01
"""A place is named if a difference of as many elements, rows or steps, anywhere, would
lie in it by chance less often than this."""

MOST_ROWS = 0.9
"""Share of the rows up to which they are counted; beyond it all of them differ."""

MOST_STEPS = 16.0
"""Steps of a number format up to which a difference is measured in them."""

GROWTH, RANK_CORRELATION, FEWEST_STEPS = 3.0, 0.8, 4
"""A difference grows with time if the last quarter of the steps has this many times the
difference of the first quarter, and size and time are correlated."""

NOISE_SHARE, NOISE_SIGNS, NOISE_CORRELATION = 0.5, (0.25, 0.75), 0.5
"""Rounding differs in most elements, upwards as often as downwards, and does not follow
the outputs."""

MOST_PHRASES = 3


@dataclass(frozen=True)
class OutputRounding:
    """Describe a rounding of outputs that explains the rest of a difference.

    Attributes
    ----------
    name : str
        What was done to them, such as ``"rounded to steps of 2^-10"``.
    explanation, remedy : str
        The same as a sentence, and how to mend it; as in `Mistake`.
    max_diff : float
        Greatest difference between the outputs and the rounded ones.
    """

    name: str
    explanation: str
    remedy: str
    max_diff: float


@dataclass(frozen=True, eq=False)
class _Output:
    """Hold one output that differs, in float64.

    Attributes
    ----------
    number : int
    ours, theirs : (batch, ...)
    limit : (batch, ...)
        Differences that are allowed.
    """

    number: int
    ours: Array
    theirs: Array
    limit: Array

    @cached_property
    def diff(self) -> Array:
        """Return theirs minus ours, (batch, ...)."""
        with np.errstate(invalid="ignore"):
            return np.where(self.ours == self.theirs, 0.0, self.theirs - self.ours)

    @cached_property
    def bad(self) -> Array:
        """Return where they differ, (batch, ...) of bool; NaN differs."""
        return np.asarray(~(np.abs(self.diff) <= self.limit))

    @property
    def finite(self) -> bool:
        """Return whether all numbers are finite."""
        return bool(np.isfinite(self.ours).all() and np.isfinite(self.theirs).all())

    @cached_property
    def format(self) -> OutputFormat | None:
        """Return the number format of theirs."""
        return find_format(self.theirs)


def describe_remainder(
    ours: Sequence[Array],
    observed: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
    masks: Sequence[Array] | None = None,
    rows: Array | None = None,
    names: Sequence[str] = (),
) -> str:
    """Return phrases that end the sentence "what remains is ...", or an empty text.

    Parameters
    ----------
    ours : list of (batch, ...)
        What a mutant computes.
    observed : list of (batch, ...)
        The outputs of the port.
    allowed : list of float, or of (units,)
        Greatest difference that counts as equal, for each output.
    masks : list of (batch, time) of bool, optional
        Masks of the model, false where a step is masked: each is tried.
    rows : (batch,) of int, optional
        Numbers of the rows, by default 0, 1, ...
    names : sequence of str
        Names of the outputs.

    Returns
    -------
    str
        For example ``"in unit 3 alone, growing over the time steps, from 1e-05 to
        0.002"``. Empty if nothing remains, if the shapes differ, or if nothing can be
        said of it.
    """
    found = _differing(ours, observed, allowed)
    if not found:
        return ""
    phrases = []
    if len(ours) > len(found):
        shown = [names[x.number] if names else str(x.number) for x in found]
        plural = "s" if len(shown) > 1 else ""
        phrases.append(f"in output{plural} {', '.join(shown)} of {len(ours)} alone")
    (first, *others) = found
    if masks is None:
        masks = []
    phrases.append(_masked(found, masks) or _some_rows(found, rows))
    if not others:
        phrases += [_some_steps(first), _some_units(first)]
    if all(x.finite for x in found):
        characters = (_constant, _in_steps, _growing, _like_rounding)
        phrases += [_alike([test(x) for x in found]) for test in characters]
    else:
        total = sum(x.theirs.size for x in found)
        if wrong := sum(int(np.sum(~np.isfinite(x.theirs))) for x in found):
            phrases.append(f"NaN or infinite in {wrong} of {total} numbers")
        if wrong := sum(int(np.sum(~np.isfinite(x.ours))) for x in found):
            phrases.append(
                f"while the model itself is NaN or infinite in {wrong} of {total}"
            )
    return ", ".join([phrase for phrase in phrases if phrase][:MOST_PHRASES])


def rounding_on_top(
    ours: Sequence[Array],
    observed: Sequence[Array],
    *,
    allowed: Sequence[float | Array],
) -> OutputRounding | None:
    """Return the rounding of `ours` to a number format that gives `observed`.

    Parameters
    ----------
    ours, observed, allowed : as for `describe_remainder`

    Returns
    -------
    OutputRounding or None
        None if the outputs agree without it, and if no rounding makes them agree.

    Notes
    -----
    Ours may be wrong by what is allowed, and then may round to a neighbour. Rounding
    keeps the order of numbers, so theirs must lie between the roundings of ours less
    and of ours plus what is allowed.
    """
    found = _differing(ours, observed, allowed)
    if not found or not all(x.finite and x.format is not None for x in found):
        return None
    done, greatest = [], 0.0
    for output in found:
        if output.format is None:
            return None
        fits = {
            name: rounding
            for name, rounding in output.format.roundings.items()
            if _rounds_to(output, rounding)
        }
        if not fits:
            return None
        name, rounding = next(iter(fits.items()))
        if name not in done:
            done.append(name)
        apart = np.abs(rounding(output.ours) - output.theirs)
        greatest = max(greatest, float(apart.max()))
    what = " or ".join(done)
    return OutputRounding(
        f"outputs {what}",
        f"the outputs are {what}",
        "record the outputs in float32, or allow for this rounding",
        greatest,
    )


def _rounds_to(output: _Output, rounding: Rounding) -> bool:
    # theirs are recorded in float32, and so is the one that steps are counted from
    slack = 4 * SINGLE * float(np.abs(output.theirs).max())
    low = rounding(output.ours - output.limit) - slack
    high = rounding(output.ours + output.limit) + slack
    return bool(np.all((low <= output.theirs) & (output.theirs <= high)))


def _differing(
    ours: Sequence[Array], observed: Sequence[Array], allowed: Sequence[float | Array]
) -> list[_Output]:
    """Return the outputs that differ; none if numbers or shapes do not agree."""
    if [y.shape for y in ours] != [y.shape for y in observed]:
        return []
    outputs = [
        _Output(
            number,
            a.astype(np.float64),
            b.astype(np.float64),
            np.broadcast_to(np.asarray(limit, np.float64), a.shape),
        )
        for number, (a, b, limit) in enumerate(
            zip(ours, observed, allowed, strict=True)
        )
        if a.size
    ]
    return [x for x in outputs if x.bad.any()]


def _alike(phrases: Sequence[str]) -> str:
    """Return the phrase if it holds for every output that differs."""
    return phrases[0] if len(set(phrases)) == 1 else ""


def _by_chance(inside: int, total: int, drawn: int) -> float:
    """Return how likely as many drawn of `total` all lie among the `inside`."""
    chance = 1.0
    for k in range(drawn):
        chance *= max(inside - k, 0) / (total - k)
    return chance


def _bad_rows(found: Sequence[_Output]) -> Array:
    """Return which rows differ, (batch,) of bool."""
    rows = [np.asarray(x.bad).reshape(len(x.ours), -1).any(axis=1) for x in found]
    return np.asarray(np.any(rows, axis=0))


def _masked(found: Sequence[_Output], masks: Sequence[Array]) -> str:
    """Say if all differences lie in masked steps, or in rows that have some."""
    bad = _bad_rows(found)
    for mask in masks:
        if len(mask) != len(bad):
            continue
        if all(_has_steps(x, mask) for x in found):
            steps = np.any([_by_step(x.bad) for x in found], axis=0)  # (batch, time)
            chance = _by_chance(int(np.sum(~mask)), mask.size, int(steps.sum()))
            if not steps[mask].any() and chance < CHANCE:
                return "in masked steps alone"
    for mask in masks:
        padded = np.any(~mask.reshape(len(mask), -1), axis=1)  # (batch,)
        if len(padded) != len(bad) or bad[~padded].any():
            continue
        if _by_chance(int(padded.sum()), len(bad), int(bad.sum())) < CHANCE:
            return "in rows with masked steps alone"
    return ""


def _has_steps(output: _Output, mask: Array) -> bool:
    return output.bad.ndim > 2 and output.bad.shape[:2] == mask.shape


def _by_step(values: Array) -> Array:
    """Return whether any unit of a step differs, (batch, time)."""
    return np.asarray(values.reshape(*values.shape[:2], -1).any(axis=2))


def _some_rows(found: Sequence[_Output], rows: Array | None) -> str:
    bad = _bad_rows(found)
    count, total = int(bad.sum()), len(bad)
    if count > MOST_ROWS * total:
        return ""
    first = int(np.argmax(bad))
    if rows is not None:
        numbers = np.asarray(rows)[bad]
        first = int(numbers.min())
    if count == 1 and first >= total:  # its number is one of more rows
        return f"in row {first} alone, of {total} that were looked at"
    if count == 1:
        return f"in row {first} of {total} alone"
    return f"in {count} of {total} rows, the first of them row {first}"


def _some_steps(output: _Output) -> str:
    """Name the steps that differ if they are few, and together."""
    if output.bad.ndim < 3:
        return ""
    by_step = _by_step(output.bad)
    return _run("step", by_step)


def _some_units(output: _Output) -> str:
    """Name the units that differ if they are few, and together."""
    if output.bad.ndim < 2:
        return ""
    bad = output.bad.reshape(-1, output.bad.shape[-1])
    return _run("unit", bad)


def _run(word: str, bad: Array) -> str:
    """Name steps or units that follow each other, if they are at most half of them.

    Parameters
    ----------
    word : str
    bad : (elements, units) of bool
    """
    places = np.flatnonzero(bad.any(axis=0))
    first, last, total = int(places[0]), int(places[-1]), bad.shape[1]
    count = last - first + 1
    chance = (count / total) ** (int(bad.sum()) - 1)
    if count != len(places) or 2 * count > total or chance >= CHANCE:
        return ""
    if count == 1:
        return f"in {word} {first} of {total} alone"
    return f"in {word}s {first} to {last} of {total} alone"


def _constant(output: _Output) -> str:
    """Say if theirs are ours plus one number, or plus one for each unit."""
    diff = output.diff.reshape(-1, output.diff.shape[-1] if output.diff.ndim > 1 else 1)
    limit = output.limit.reshape(diff.shape)
    if len(diff) < 3:
        return ""
    differing = output.bad.reshape(diff.shape).any(axis=0)  # (units,)
    by_unit = diff.mean(axis=0)
    if np.any(np.abs(diff - by_unit) > limit):
        return ""
    mean = float(by_unit[differing].mean())
    if np.all((np.abs(diff - mean) <= limit)[:, differing]):
        more = "greater" if mean > 0 else "less"
        return f"the same in all rows: theirs are {abs(mean):.3g} {more}"
    return "the same in all rows, another number for each unit"


def _in_steps(output: _Output) -> str:
    """Measure the difference in steps of the number format of theirs."""
    found = output.format
    if found is None or found.step == 1:
        return ""
    greatest = float(np.abs(output.diff).max())
    if not found.step:
        roundoff = UNIT_ROUNDOFF[found.name] * float(np.abs(output.theirs).max())
        if greatest > MOST_STEPS * roundoff:
            return ""
        return f"of the size of {found.name} rounding, and theirs are {found.name}"
    steps = greatest / found.step
    if steps > MOST_STEPS:
        return ""
    return f"at most {steps:.2g} {found.unit}, which theirs come in"


def _growing(output: _Output) -> str:
    """Say if the difference grows over the time axis of an output."""
    if output.diff.ndim < 3 or output.diff.shape[1] < FEWEST_STEPS:
        return ""
    size = np.abs(np.moveaxis(output.diff, 1, 0)).reshape(output.diff.shape[1], -1)
    by_step = size.mean(axis=1)  # (time,)
    quarter = max(1, len(by_step) // 4)
    begin, end = by_step[:quarter].mean(), by_step[-quarter:].mean()
    order = np.argsort(np.argsort(by_step))
    correlation = np.corrcoef(order, np.arange(len(by_step)))[0, 1]
    if end < GROWTH * begin or end <= 0 or correlation < RANK_CORRELATION:
        return ""
    return (
        f"growing over the time steps, from {by_step[0]:.1g} to {by_step[-1]:.1g} on "
        "average"
    )


def _like_rounding(output: _Output) -> str:
    """Say if the difference has the size and the look of rounding to fewer bits."""
    if output.bad.mean() < NOISE_SHARE or output.format is not None:
        return ""
    diff, ours = output.diff.ravel(), output.ours.ravel()
    low, high = NOISE_SIGNS
    if len(diff) < 32 or not low <= float((diff > 0).mean()) <= high:
        return ""
    if ours.std() and abs(np.corrcoef(diff, ours)[0, 1]) > NOISE_CORRELATION:
        return ""
    share = float(np.abs(diff).max() / np.abs(ours).max())
    half, eighth = UNIT_ROUNDOFF["float16"], UNIT_ROUNDOFF["bfloat16"]
    # each format up to 4 times its roundoff: a few roundings add up
    if half / 8 <= share < 4 * half:
        return f"of the size of float16 rounding ({share:.1g} of the greatest output)"
    if 4 * half <= share < 4 * eighth:
        return f"of the size of 8-bit rounding ({share:.1g} of the greatest output)"
    return ""
