"""How much the long searches among the tests try: a part in `make test`, all of it in
`make thorough`.

Such a search plants many mistakes in many models, or draws many models. `make test` has
to end in minutes, so it tries some of them, the same ones each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")

THOROUGH = os.environ.get("THOROUGH") == "1"
"""Whether the environment asks for all of it."""


def some(cases: Iterable[T], step: int, start: int = 0) -> list[T]:
    """Return every `step`-th case, or all of them where the search is thorough.

    Parameters
    ----------
    cases : iterable
    step : int
    start : int
        Number of the first case; counted modulo `step`, so that the number of a model
        can be given: other cases are then tried in each model. At least one case is.
    """
    found = list(cases)
    if THOROUGH or not found:
        return found
    return found[start % min(step, len(found)) :: step]


def many(all_of_them: int, some_of_them: int) -> int:
    """Return how many cases to draw."""
    return all_of_them if THOROUGH else some_of_them
