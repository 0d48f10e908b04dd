"""Generate sentences by rules, together with their answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from verify.model.arrays import Array

SENTENCES_SOURCE = "sentences of recipes/data/grammar.py"
PHRASES_SOURCE = "phrases of recipes/data/grammar.py"
"""Where generated texts come from, in the words of a manifest."""

ANIMALS = (
    "ant", "bear", "cat", "dog", "elk", "fox", "goat", "hare", "ibis", "jay", "koala",
    "lion",
)  # fmt: skip
"""The animals that are compared with each other."""

COMPARATIVES = {
    "faster": True, "slower": False, "bigger": True, "smaller": False, "older": True,
    "younger": False, "stronger": True, "weaker": False,
}  # fmt: skip
"""Comparative -> whether the answer is the first animal, not the second."""


@dataclass(frozen=True)
class Sentences:
    """Hold generated sentences with their answers, some of them kept for the test.

    Attributes
    ----------
    texts : tuple of str
    answers : tuple of str
        One word for each text, or one for each of its words.
    test : tuple of bool
        Whether a text is for the test.
    """

    texts: tuple[str, ...]
    answers: tuple[str, ...]
    test: tuple[bool, ...]

    def split(self, values: Array) -> tuple[Array, Array]:
        """Return the rows of an array that are for training, and those for the test.

        Parameters
        ----------
        values : (sentences, ...)
        """
        test = np.array(self.test)
        return values[~test], values[test]

    @property
    def sha256(self) -> str:
        """Return the checksum of texts, answers and split."""
        lines = zip(self.texts, self.answers, self.test, strict=True)
        return hashlib.sha256("\n".join(map(str, lines)).encode()).hexdigest()


def comparisons(seed: int, test_share: float = 0.3) -> Sentences:
    """Generate comparisons: ``the cat is faster than the dog`` -> ``cat``.

    With ``slower`` the answer is ``dog``. Every two animals are compared in both orders
    with every comparative, so the same bag of words has two answers. Whole pairs of
    animals are kept for the test: the training has none of its sentences in either
    order.
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


LANGUAGES = {
    "india": "hindi", "japan": "japanese", "greece": "greek", "turkey": "turkish",
}  # fmt: skip
"""Country -> its language."""

FILLER_WORDS = (
    "and", "we", "often", "walk", "to", "town", "with", "my", "old", "friend", "when",
    "it", "rains", "so", "then", "some", "tea", "at", "home", "or", "sing", "two",
    "songs", "there",
)  # fmt: skip
"""Words that tell nothing about the country."""


def memories(
    seed: int, gap: int, train: int = 3200, test: int = 400
) -> tuple[Sentences, tuple[int, ...]]:
    """Generate ``i live in india ... i speak`` -> ``hindi``, with filler words between.

    Every filler word is drawn at random, so only the country tells the answer. In the
    training the gap is drawn from 0 to `gap` words, so that counting steps does not
    help; in the test it is exactly `gap`. No test sentence is in the training.

    Returns
    -------
    sentences : Sentences
    gaps : tuple of int
        The number of filler words in each sentence.
    """
    rng = np.random.default_rng([seed, gap])
    rows: list[tuple[str, str, bool]] = []
    gaps: list[int] = []
    kept: set[str] = set()
    countries = list(LANGUAGES)
    while len(rows) < test + train:
        testing = len(rows) < test
        words = gap if testing else int(rng.integers(gap + 1))
        country = countries[len(rows) % len(countries)]
        filler = (FILLER_WORDS[k] for k in rng.integers(len(FILLER_WORDS), size=words))
        text = " ".join(("i live in", country, *filler, "i speak"))
        if text in kept:
            continue
        if testing:
            kept.add(text)
        rows.append((text, LANGUAGES[country], testing))
        gaps.append(words)
    texts, answers, tested = zip(*rows, strict=True)
    return Sentences(texts, answers, tested), tuple(gaps)


NOUN_OR_VERB = (
    "fish", "cook", "guard", "judge", "nurse", "pilot", "train", "watch",
)  # fmt: skip
NOUN_OR_AUXILIARY = ("can", "will")
WORDS_BY_TAG = {
    "determiner": ("the", "a", "every"),
    "adjective": ("old", "big", "red"),
    "noun": ("cat", "boat", *NOUN_OR_VERB, *NOUN_OR_AUXILIARY),
    "auxiliary": ("must", "may", *NOUN_OR_AUXILIARY),
    "verb": ("hold", "see", *NOUN_OR_VERB),
    "pronoun": ("they", "you"),
    "adverb": ("today", "now"),
}
"""Tag -> words that may have it; some words have two tags."""

SENTENCE_FORMS = (
    "determiner noun auxiliary verb determiner noun",
    "determiner adjective noun auxiliary verb determiner noun adverb",
    "pronoun auxiliary verb determiner noun adverb",
    "auxiliary determiner noun verb determiner adjective noun",
    "auxiliary pronoun verb determiner noun",
    "verb determiner noun",
    "verb determiner adjective noun adverb",
)
"""The tags of a sentence, in order: statements, questions, commands."""

ALWAYS_TESTED = {
    "the can can hold the fish": "determiner noun auxiliary verb determiner noun",
    "watch the guard": "verb determiner noun",
    "guard the watch": "verb determiner noun",
}
"""Sentence -> its tags; these are always in the test."""


def tagged(seed: int, train: int = 1200, test: int = 400) -> Sentences:
    """Generate ``the can can hold the fish`` -> the tags of its words, between blanks.

    All sentences differ, so no test sentence is in the training.
    """
    rng = np.random.default_rng(seed)
    rows = dict(ALWAYS_TESTED)
    while len(rows) < train + test:
        form = SENTENCE_FORMS[rng.integers(len(SENTENCE_FORMS))]
        choices = [WORDS_BY_TAG[tag] for tag in form.split()]
        text = " ".join(some[rng.integers(len(some))] for some in choices)
        rows[text] = form
    tested = tuple(k < test for k in range(len(rows)))
    return Sentences(tuple(rows), tuple(rows.values()), tested)


REPLIES = {
    "greeting": "hello how are you",
    "thanks": "thank you for your kind words",
    "delay": "we are sorry that your flight is late",
    "baggage": "your bag will be here tomorrow",
    "refund": "you will get your money back",
    "seat": "your seat is by the window",
    "gate": "your flight leaves from gate nine",
    "weather": "no flight leaves in this weather",
    "meal": "we are sorry that there is no meal",
    "booking": "you are booked on this flight",
    "crew": "we will thank the crew for you",
    "goodbye": "we hope to see you again",
}
"""Topic of a message -> reply of the airline, 4 to 8 words."""
