"""Fewer rows to verify and to train on; what a notebook under test begins with.

Nothing in the notebooks knows of it; ``python -m notebook_runs`` runs them without.
"""

from __future__ import annotations

import functools
import inspect

import numpy as np

VERIFIED, EVALUATED = 16, 256


def few(check):
    """`verify.check`, on the first rows of the arrays they are given."""

    @functools.wraps(check)
    def check_few(*given, **options):
        few = [x[:VERIFIED] if isinstance(x, np.ndarray) else x for x in given]
        return check(*few, **options)

    return check_few


def on_few(fit, rows: int | None):
    """`training.fit`, on the first rows, or all; few are evaluated after an epoch."""

    @functools.wraps(fit)
    def fit_few(model, x, y, *, validation=None, **options):
        if validation is not None:
            validation = tuple(array[:EVALUATED] for array in validation)
        fit(model, x[:rows], y[:rows], validation=validation, **options)

    return fit_few


def begin(rows: int | None = None) -> None:
    """From here on models are checked on few rows; recipes train on `rows`, or all.

    Whatever it was told before in the same process no longer holds.
    """
    import verify
    from recipes.run import training

    training.fit = on_few(inspect.unwrap(training.fit), rows)
    verify.check = few(inspect.unwrap(verify.check))
