"""Prepare the phrase of the toy recipes, "this is an example", for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verify.data.text import TextPipeline, Vocabulary, words

DOCS = ("this is", "is an")
LABELS = ("an", "example")
TIME_STEPS = 2
SHOWN_TEXT = "this is"


ENOUGH_UNITS = 8
"""Units with which both recipes learn both phrases in the chapter's 500 epochs, with
each of the seeds 0 to 9 and 42, on JAX and on TensorFlow. One unit often does not, and
some initial weights never let it."""


@dataclass(frozen=True)
class ToyConfig:
    """List what can be varied; the defaults are the chapter's."""

    epochs: int = 500
    units: int = 1
    seed: int = 42


def samples(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the phrases with the word that follows, for the page of a run."""
    return list(zip(DOCS, LABELS, strict=True))


def pipeline() -> TextPipeline:
    """Return the chapter's pipeline: two steps, padded in front.

    Its vocabulary is ``{"is": 1, "an": 2, "this": 3, "example": 4}``.
    """
    phrases = [words(text, keep_stop_words=True) for text in (*DOCS, *LABELS)]
    vocabulary = Vocabulary.of(phrases)
    return TextPipeline(
        vocabulary=vocabulary,
        length=TIME_STEPS,
        padding="pre",
        keep_stop_words=True,
        feature_axis=True,
        classes=("(padding)", *vocabulary.words),
    )
