"""Sentences made by rules: as many as are needed, and their answers are known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import combinations

import numpy as np

ANIMALS = (
    "ant", "bear", "cat", "dog", "elk", "fox", "goat", "hare", "ibis", "jay", "koala",
    "lion",
)  # fmt: skip
"""Who is compared with whom."""

COMPARATIVES = {
    "faster": True, "slower": False, "bigger": True, "smaller": False, "older": True,
    "younger": False, "stronger": True, "weaker": False,
}  # fmt: skip
"""Comparative -> whether the first of the two has more of it."""


@dataclass(frozen=True)
class Sentences:
    """Generated sentences with their answers, some of them kept for the test.

    Attributes
    ----------
    texts : tuple of str
    answers : tuple of str
        One word for each text.
    test : tuple of bool
        Whether a text is for the test.
    """

    texts: tuple[str, ...]
    answers: tuple[str, ...]
    test: tuple[bool, ...]

    @property
    def sha256(self) -> str:
        """Checksum of all of it."""
        lines = zip(self.texts, self.answers, self.test, strict=True)
        return hashlib.sha256("\n".join(map(str, lines)).encode()).hexdigest()


def comparisons(seed: int, test_share: float = 0.3) -> Sentences:
    """``the cat is faster than the dog`` -> ``cat``; ``... slower ...`` -> ``dog``.

    Every two animals are compared in both orders with every comparative: the same bag
    of words then has two answers. Whole pairs of animals are kept for the test, so no
    sentence of it, in either order, is among those that are learnt.
    """
    pairs = list(combinations(ANIMALS, 2))
    count = round(test_share * len(pairs))
    order = np.random.default_rng(seed).permutation(len(pairs))
    kept = {pairs[k] for k in order[:count]}
    texts: list[str] = []
    answers: list[str] = []
    test: list[bool] = []
    for pair in pairs:
        for first, second in (pair, pair[::-1]):
            for comparative, more in COMPARATIVES.items():
                texts.append(f"the {first} is {comparative} than the {second}")
                answers.append(first if more else second)
                test.append(pair in kept)
    return Sentences(tuple(texts), tuple(answers), tuple(test))
