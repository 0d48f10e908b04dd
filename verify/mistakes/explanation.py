"""What a diagnosis says: the mistakes that explain the outputs of a port."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from verify.data.json_values import added_later
from verify.mistakes.catalogue.attempts import Untried
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
    """

    mistake: str
    layer: str
    explanation: str
    remedy: str
    max_diff: float
    digits: int = 0
    gate: str = ""
    presentation: bool = field(default=False, metadata=added_later())


@dataclass(frozen=True)
class Diagnosis:
    """Hold every mistake that explains the outputs, in the order of the catalogue.

    Where there is more than one, these data cannot tell them apart.

    Attributes
    ----------
    explanations : tuple of Explanation
    tried : int
        Mutants that were evaluated.
    untried : tuple of Untried
        Mistakes that could not be made in this model, or not be evaluated.
    """

    explanations: tuple[Explanation, ...]
    tried: int
    untried: tuple[Untried, ...] = field(default=(), metadata=added_later())

    def __bool__(self) -> bool:
        return bool(self.explanations)


def digits_of(result: Comparison, observed: Sequence[Array]) -> int:
    """Return how many digits of the greatest output agree, 16 at most."""
    scale = max(float(np.max(np.abs(y), initial=0.0)) for y in observed)
    ratio = result.max_diff / scale if scale else 0.0
    return min(16, math.floor(-math.log10(ratio))) if ratio else 16
