"""Define what every source of arrays can do, and what the sources share."""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from verify.data.csv_form import parsing_error
from verify.errors import DataError, VerifyError, join_and, printable
from verify.model.arrays import Array

Data = Array | dict[str, Array]
"""One array, or several of the same number of rows by their names."""

BLOCK_BYTES = 2**25
"""Bytes of rows that are read at a time, unless the caller sets a number of rows."""

READ_ROWS = 1_000_000
"""Batch size of `Source.read`. Joining copies the batches, so larger ones cost more
memory."""


class Source(ABC):
    """Give out inputs, or the outputs of a port, a batch at a time.

    Attributes
    ----------
    rows : int
        Number of rows, known on opening.
    notes : tuple of str
        What a user should know about the rows, one line each.
    """

    rows: int
    notes: tuple[str, ...] = ()
    _batch_rows = 4096
    """Rows that `take` and `fingerprint` read at a time."""

    @abstractmethod
    def batches(self, size: int, start: int = 0) -> Iterator[Data]:
        """Yield the rows from `start` on in batches of `size`; the last may be smaller.

        A source without rows yields one empty batch, so that its shape is checked too.

        Raises
        ------
        DataError
            The file is damaged here, or has changed since it was opened.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the SHA-256 of what is read, in hexadecimal."""

    def take(self, rows: Array) -> Data:
        """Return chosen rows, by their numbers in ascending order."""
        rows = np.asarray(rows, dtype=np.int64)
        found: list[Data] = []
        first = 0
        for batch in self.batches(self._batch_rows):
            count = row_count(batch)
            here = rows[(rows >= first) & (rows < first + count)] - first
            if len(here) or not found:
                found.append(take_rows(batch, here))
            first += count
            if not len(rows) or first > rows[-1]:
                break
        return concatenate(found)

    def read(self) -> Data:
        """Return all rows at once."""
        return concatenate(list(self.batches(READ_ROWS)))


class Arrays(Source):
    """Give out arrays that are in memory already, or mapped from a file.

    Parameters
    ----------
    data : (rows, ...), or such arrays by their names
    """

    def __init__(self, data: Array | Mapping[str, Array]) -> None:
        self.data: Data = dict(data) if isinstance(data, Mapping) else data
        self.rows = common_row_count(self.data)

    def batches(self, size: int, start: int = 0) -> Iterator[Data]:
        """Yield copies of the rows in batches; see `Source`."""
        for first in batch_starts(self.rows, size, start):
            yield take_rows(self.data, slice(first, first + size))

    def take(self, rows: Array) -> Data:
        """Return copies of chosen rows."""
        return take_rows(self.data, rows)

    def read(self) -> Data:
        """Return the arrays as they are."""
        return self.data

    def fingerprint(self) -> str:
        """Return the SHA-256 of names, dtypes, shapes and values."""
        digest = hashlib.sha256()
        one = {"": self.data} if isinstance(self.data, np.ndarray) else self.data
        for name, array in one.items():
            digest.update(f"{name} {array.dtype} {array.shape} ".encode())
            for first in range(0, len(array), self._batch_rows):
                digest.update(array[first : first + self._batch_rows].tobytes())
        return digest.hexdigest()


class FileSource(Source):
    """Give out the rows of a file, which is open only while it is read.

    Attributes
    ----------
    path : Path
    read_how : str
        In which unusual form it is read; "" if in none. Errors about rows name it.
    """

    read_how = ""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file's bytes."""
        with reading(self.path), self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise DataError for what NumPy, zlib, pandas and Arrow raise on damaged files."""
    try:
        yield
    except VerifyError:
        raise
    except Exception as error:
        why = parsing_error(error) or type(error).__name__
        raise DataError(f"{path}: cannot be read as {path.suffix} ({why})") from None


def require_names(
    path: Path, held: Collection[str], names: Sequence[str], what: str
) -> list[str]:
    """Return the names of a model's inputs or outputs if a file holds them all.

    Raises
    ------
    DataError
        One is missing; `what` says what a file of this kind holds.
    """
    if not set(names) <= set(held):
        raise DataError(
            f"{path}: expected {what} called {join_and(map(printable, names))}. "
            f"Received: {names_text(held)}"
        )
    return list(names)


def names_text(held: Iterable[str]) -> str:
    """List the names of what a file holds, for messages."""
    return printable(", ".join(held), 120) or "none"


def batch_starts(rows: int, size: int, start: int) -> range:
    """Return where batches begin; without rows there is one empty batch."""
    return range(start, rows, size) if rows else range(start, start + 1, size)


def rebatch(blocks: Iterable[Data], size: int, start: int = 0) -> Iterator[Data]:
    """Regroup blocks of rows into batches of `size`, without the first `start` rows."""
    kept: list[Data] = []
    have, anything = 0, False
    for block in blocks:
        count = row_count(block)
        if start >= count > 0:
            start -= count
            anything = True
            continue
        if start:
            block, count = _part(block, start, count), count - start
            start = 0
        kept.append(block)
        have += count
        if have < size:
            continue
        whole = concatenate(kept)
        for first in range(0, have - size + 1, size):
            anything = True
            yield _part(whole, first, first + size)
        have %= size
        end = row_count(whole)
        kept = [_part(whole, end - have, end)] if have else []
    if kept and (have or not anything):
        yield concatenate(kept)


def _part(data: Data, start: int, stop: int) -> Data:
    if isinstance(data, np.ndarray):
        return data[start:stop]
    return {name: array[start:stop] for name, array in data.items()}


def take_rows(data: Data, rows: slice | Array) -> Data:
    """Copy some rows."""
    if isinstance(data, np.ndarray):
        return np.array(data[rows])
    return {name: np.array(array[rows]) for name, array in data.items()}


def concatenate(parts: list[Data]) -> Data:
    """Join parts along the rows."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate([part for part in parts if isinstance(part, np.ndarray)])
    several = [part for part in parts if isinstance(part, dict)]
    return {key: np.concatenate([part[key] for part in several]) for key in parts[0]}


def row_count(data: Data) -> int:
    """Return the number of rows."""
    return len(data if isinstance(data, np.ndarray) else next(iter(data.values())))


def common_row_count(data: Data) -> int:
    """Return the number of rows, which all arrays must share.

    Raises
    ------
    DataError
        Their numbers differ, or one has no axis for them.
    """
    arrays = [data] if isinstance(data, np.ndarray) else list(data.values())
    return common_row_count_of_shapes([array.shape for array in arrays])


def common_row_count_of_shapes(shapes: list[tuple[int, ...]]) -> int:
    """Do the same as `common_row_count` for arrays of these shapes."""
    if () in shapes:
        raise DataError("expected rows of numbers, (batch, ...). Received: shape=()")
    counts = [shape[0] for shape in shapes]
    if len(set(counts)) > 1:
        listed = ", ".join(f"{count:,}" for count in counts)
        raise DataError(
            f"expected arrays of the same number of rows. Received: {listed}"
        )
    return counts[0]
