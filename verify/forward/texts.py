"""Cut texts into tokens as TensorFlow's operations on strings do.

They work on bytes: only ASCII letters have a lower case, and only ASCII characters are
punctuation or whitespace.

Source: keras/src/layers/preprocessing/text_vectorization.py, ``_preprocess``.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np

from verify.model.arrays import Array

STANDARDIZE = ("lower_and_strip_punctuation", "lower", "strip_punctuation")
SPLIT = ("whitespace", "character")
_PUNCTUATION = string.punctuation.encode()


def standardized(text: bytes, how: str | None) -> bytes:
    """Return a text in lower case, without punctuation, both or neither."""
    if how in ("lower", "lower_and_strip_punctuation"):
        text = text.lower()  # of bytes: ASCII letters alone
    if how in ("strip_punctuation", "lower_and_strip_punctuation"):
        text = text.translate(None, _PUNCTUATION)
    return text


def split(text: bytes, how: str) -> list[bytes]:
    """Return the words of a text, or its characters."""
    if how == "whitespace":
        return text.split()  # of bytes: at ASCII whitespace alone
    return [character.encode() for character in text.decode(errors="replace")]


def joined_ngrams(tokens: Sequence[bytes], widths: Sequence[int]) -> list[bytes]:
    """Return the n-grams of tokens, joined by spaces, one width after the other."""
    return [
        b" ".join(tokens[first : first + width])
        for width in widths
        for first in range(len(tokens) - width + 1)
    ]


def as_bytes(texts: Array) -> list[bytes]:
    """Return every text of an array in UTF-8, in the order of its axes."""
    return [text.encode() for text in texts.ravel().tolist()]


def filled(rows: Sequence[Sequence[int]], width: int) -> Array:
    """Return rows of ids of one length, cut off or filled up with 0 at the end."""
    found = np.zeros((len(rows), width), dtype=np.int64)
    for row, ids in enumerate(rows):
        kept = ids[:width]
        found[row, : len(kept)] = kept
    return found
