"""What a diagnosis says: the mistakes that explain the outputs of a port."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from verify.data.json_values import added_later, not_in_json
from verify.mistakes.catalogue.attempts import Untried
from verify.mistakes.catalogue.mistake import Mutant
from verify.model.arrays import Array
from verify.tolerance.compare import Comparison


@dataclass(frozen=True)
class Explanation:
    """Describe a mistake that explains the outputs, or two that do together.

    Attributes
    ----------
    mistake : str
        Its name in the catalogue; two are joined by a semicolon.
    layer : str
        Path of the layer it is made in; empty for the whole model.
    explanation, remedy : str
        What was done instead of what Keras does, and how to mend it.
    max_diff : float
        Greatest difference between the outputs and those of the mutant.
    digits : int
        Digits of the greatest output that agree.
    gate : str
        The gate that it is made in; empty if it is not made in a single one.
    presentation : bool
        Whether it is no mistake in the model, only in how its outputs are presented:
        in other units, in another order, or in another number format.
    mutant : Mutant or None
        The model with the mistake; None if it is no mistake in the model, or if the
        explanation was read from a file.
    """

    mistake: str
    layer: str
    explanation: str
    remedy: str
    max_diff: float
    digits: int = 0
    gate: str = ""
    presentation: bool = field(default=False, metadata=added_later())
    mutant: Mutant | None = field(
        default=None, repr=False, compare=False, metadata=not_in_json()
    )


@dataclass(frozen=True)
class Nearest:
    """Describe the mistake that explains most where none explains everything.

    Attributes
    ----------
    explanation : Explanation
        Its `max_diff` and `digits` are those of what remains.
    share : float
        Share of the difference that it explains: 1 - the root mean square of what
        remains over that of the whole difference, 0 at least.
    rows, explained : int
        Rows that were compared, and rows that it explains wholly.
    first : int or None
        The first row, of those at hand, that it does not explain.
    remains : str
        What is known of the rest; may be empty.
    """

    explanation: Explanation
    share: float
    rows: int
    explained: int
    first: int | None = None
    remains: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Hold every mistake that explains the outputs, the likeliest first.

    Where there is more than one, these data cannot tell them apart.

    Attributes
    ----------
    explanations : tuple of Explanation
    tried : int
        Mutants that were evaluated.
    nearest : Nearest or None
        What explains most, if nothing explains everything.
    agreeing : tuple of str
        Of a model with several outputs, the names of those that agree.
    untried : tuple of Untried
        Mistakes that could not be made in this model, or not be evaluated.
    unsearched : tuple of str
        What there was no time for, in words.
    hints : tuple of str
        What else may be behind it, if nothing was found.
    seconds : float
        How long the search took.
    """

    explanations: tuple[Explanation, ...]
    tried: int
    nearest: Nearest | None = field(default=None, metadata=added_later())
    agreeing: tuple[str, ...] = field(default=(), metadata=added_later())
    untried: tuple[Untried, ...] = field(default=(), metadata=added_later())
    unsearched: tuple[str, ...] = field(default=(), metadata=added_later())
    hints: tuple[str, ...] = field(default=(), metadata=added_later())
    seconds: float = field(default=0.0, metadata=added_later())

    def __bool__(self) -> bool:
        return bool(self.explanations)


def explanation_of(
    mutant: Mutant, result: Comparison, observed: Sequence[Array]
) -> Explanation:
    """Return the explanation by a mutant, whose outputs compare like `result`."""
    return Explanation(
        mutant.name,
        mutant.layer,
        mutant.explanation,
        mutant.remedy,
        result.max_diff,
        digits_of(result, observed),
        mutant.gate,
        mutant=mutant,
    )


def digits_of(result: Comparison, observed: Sequence[Array]) -> int:
    """Return how many digits of the greatest output agree, 16 at most."""
    return digits_of_difference(result.max_diff, observed)


def digits_of_difference(difference: float, observed: Sequence[Array]) -> int:
    """Return how many digits of the greatest output a difference leaves, 16 at most."""
    scale = max(float(np.max(np.abs(y), initial=0.0)) for y in observed)
    ratio = difference / scale if scale else 0.0
    if not math.isfinite(ratio) or ratio > 1:
        return 0
    return min(16, math.floor(-math.log10(ratio))) if ratio else 16
