"""Fewer rows to verify and to train on; what a notebook under test begins with.

Nothing in the notebooks knows of it; ``python -m notebook_runs`` runs them without.
"""

from __future__ import annotations

import functools
import inspect

import numpy as np

VERIFIED = 16


def few(check):
    """`verify.check`, on the first rows of the arrays they are given."""

    @functools.wraps(check)
    def check_few(*given, **options):
        few = [x[:VERIFIED] if isinstance(x, np.ndarray) else x for x in given]
        return check(*few, **options)

    return check_few


def on_few(fit, rows: int | None):
    """`training.fit`, on the first rows, or on all of them."""

    @functools.wraps(fit)
    def fit_few(model, x, y, **options):
        fit(model, x[:rows], y[:rows], **options)

    return fit_few


def begin(rows: int | None = None) -> None:
    """From here on models are checked on few rows; recipes train on `rows`, or all.

    Whatever it was told before in the same process no longer holds.
    """
    import verify
    from recipes.run import training

    training.fit = on_few(inspect.unwrap(training.fit), rows)
    verify.check = few(inspect.unwrap(verify.check))
