"""Turn texts into ids as they are read."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from verify.data.csv_form import column_called, columns_said, renamed
from verify.data.sources.base import Data, FileSource, reading, rebatch
from verify.errors import DataError, did_you_mean, printable
from verify.model.arrays import Array


class TextEncoder(Protocol):
    """Turn texts into the inputs of a model."""

    def encode(self, texts: Sequence[str]) -> Array:
        """Return texts as inputs, a row each."""

    def fields(self) -> dict[str, Any]:
        """Return what distinguishes it from other encoders."""


class PlainTexts:
    """Give the texts themselves to a model that takes texts."""

    def encode(self, texts: Sequence[str]) -> Array:
        """Return the texts, (batch, 1)."""
        return np.asarray(texts, dtype=str).reshape(-1, 1)

    def fields(self) -> dict[str, Any]:
        """Return that they are texts."""
        return {"inputs": "texts"}


class TextSource(FileSource):
    """Read a column of texts, encoded by the pipeline of a run or as they are.

    Opening reads the column once, to count the texts and those without a word.

    Parameters
    ----------
    path : Path
    pipeline : TextEncoder
    column : str

    Raises
    ------
    DataError
    """

    def __init__(self, path: Path, pipeline: TextEncoder, column: str) -> None:
        super().__init__(path)
        self.pipeline, self.column = pipeline, column
        self.rows = empty = 0
        with reading(path):
            self.notes = tuple(filter(None, self.examined()))
            for texts in self.texts():
                self.rows += len(texts)
                empty += sum(not text or text.isspace() for text in texts)
        if empty:
            self.notes += (
                f"{printable(path)}: {empty:,} of {self.rows:,} texts are empty; each "
                "is a row of padding",
            )

    def examined(self) -> Iterable[str]:
        """Find the column before the first read; return what to note about it."""
        return ()

    @abstractmethod
    def texts(self) -> Iterator[list[str]]:
        """Yield the texts, many at a time; "" where one is missing."""

    def found_column(self, columns: Sequence[str]) -> str:
        """Return the column, whose name may be written otherwise in the file.

        Raises
        ------
        DataError
            It is not there.
        """
        found = column_called(self.column, columns)
        if found is None:
            raise DataError(
                f"{self.path}: expected a column '{self.column}' of texts; --column "
                f"names another. {did_you_mean(self.column, columns)}Received: "
                f"{columns_said(columns)}"
            )
        return found

    def renamed(self, found: str) -> str:
        """Return a sentence on a name that is written otherwise; "" if it is not."""
        if found == self.column:
            return ""
        return renamed(printable(self.path), self.column, found)

    def batches(self, size: int, start: int = 0) -> Iterator[Data]:
        """Yield batches; see `Source`."""
        with reading(self.path):
            yield from rebatch(self._blocks(start), size)

    def _blocks(self, start: int) -> Iterator[Data]:
        rows = 0
        for texts in self.texts():
            wanted = texts[max(start - rows, 0) :]
            rows += len(texts)
            if wanted:
                yield self.pipeline.encode(wanted)
        if rows != self.rows:
            raise ValueError("it has changed while it was read")
        if not rows:
            yield self.pipeline.encode([])

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file's bytes, the column and the pipeline."""
        means = json.dumps([super().fingerprint(), self.column, self.pipeline.fields()])
        return hashlib.sha256(means.encode()).hexdigest()


MAX_BLOCK_LINES = 2**14
"""Lines that are read at a time, at most."""


class TextLines(TextSource):
    """Read the lines of a ``.txt`` file, a text each."""

    def texts(self) -> Iterator[list[str]]:
        """Yield the lines without their ends, many at a time."""
        with self.path.open(encoding="utf-8-sig", errors="replace") as file:
            while lines := list(islice(file, MAX_BLOCK_LINES)):
                yield [line.removesuffix("\n") for line in lines]
