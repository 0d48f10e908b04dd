"""Check the answers to the exercises of the notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from verify.model.arrays import Array
from verify.tolerance.compare import compare

RELATIVE_TOLERANCE = 1e-6
"""Tolerance of an answer, relative to the greatest number; float32 is exact to 6e-8."""

LEAST_DIGITS = 2
"""Digits of an answer that may be rounded; fewer could be a guess."""

UNANSWERED = "not answered yet."


def check(
    number: int, answer: Any, expected: Any, hint: str, *, of: Sequence[Any] = ()
) -> None:
    """Print whether an answer is right, and the hint if it is wrong.

    Parameters
    ----------
    number : int
        The number of the exercise.
    answer : anything
        ``...``, or a tuple with it, is not answered yet. A number, an array, a word or
        a sequence of words; or a function, which is called with `of`. A number may be
        rounded: 0.0051 is right where 0.005098 is.
    expected : number, array, str or sequence of str
    hint : str
        Shown with a wrong answer.
    of : sequence
        Arguments for an answer that is a function.
    """
    problem = _problem(answer, expected, of)
    if problem is None:
        print(f"Exercise {number}: right.")
    elif problem == UNANSWERED:
        print(f"Exercise {number}: {problem}")
    else:
        print(f"Exercise {number}: not yet. {problem} Hint: {hint}")


def _problem(answer: Any, expected: Any, of: Sequence[Any]) -> str | None:
    """Return what is wrong with an answer, as a sentence; None if nothing is."""
    if _unanswered(answer):
        return UNANSWERED
    if callable(answer):
        try:
            answer = answer(*of)
        except Exception as error:  # whatever a reader's function raises
            return f"Your function raised {type(error).__name__}: {error}."
        if _unanswered(answer):
            return UNANSWERED
        if answer is None:
            return "Your function returns nothing."
    try:
        theirs, ours = np.asarray(answer), np.asarray(expected)
    except ValueError:
        return "Your answer is no array: its rows are not of one length."
    if theirs.size == ours.size == 1:
        theirs = theirs.reshape(ours.shape)  # [5] is as right as 5
    if theirs.shape != ours.shape:
        if theirs.dtype.kind in "US" and ours.dtype.kind not in "US":
            return "Give numbers, not a text."
        if not ours.shape:
            return f"Give one number. Your answer has shape {theirs.shape}."
        return f"Your answer has shape {theirs.shape}, the right one {ours.shape}."
    if ours.dtype.kind in "US":
        same = theirs.dtype.kind in "US" and bool(np.all(theirs == ours))
        return None if same else "That is another answer."
    if theirs.dtype.kind not in "biuf":
        return f"Your answer is no number: {answer!r}."
    scale = max(1.0, float(np.abs(ours).max(initial=0.0)))
    found = compare(
        np.atleast_1d(theirs).astype(float),
        np.atleast_1d(ours).astype(float),
        allowed=RELATIVE_TOLERANCE * scale,
    )
    if found.matches or (ours.dtype.kind == "f" and _rounded(theirs, ours)):
        return None
    whole = ours.dtype.kind in "iu" and float(found.max_diff).is_integer()
    by = f"{found.max_diff:,.0f}" if whole else f"{found.max_diff:.2g}"
    return f"Your answer differs by {by}."


def _rounded(theirs: Array, ours: Array) -> bool:
    """Return whether numbers with a decimal point are right to their last digit."""
    if theirs.dtype.kind != "f" or not np.isfinite(theirs).all():
        return False
    for answer, expected in zip(theirs.flat, ours.flat, strict=True):
        _, digits, exponent = Decimal(repr(float(answer))).as_tuple()
        unit = 10.0 ** int(exponent)
        if len(digits) < LEAST_DIGITS or abs(answer - expected) > 0.5001 * unit:
            return False
    return True


def _unanswered(answer: Any) -> bool:
    inside = answer if isinstance(answer, (tuple, list)) else [answer]
    return any(part is ... for part in inside)
