"""Open several arrays by their names before it is known which of them are wanted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from verify.data.sources.base import (
    Arrays,
    Data,
    FileSource,
    Source,
    common_row_count_of_shapes,
    reading,
)
from verify.data.sources.csv_files import NumberCsv
from verify.data.sources.numpy_files import Npy, Npz, npz_shapes
from verify.data.sources.parquet_files import Parquet, columns_of, opened
from verify.errors import DataError, printable
from verify.model.arrays import Array

FOLDER_FORMATS = (".npy", ".csv", ".parquet")
"""Formats of the files in a folder, each with one array."""

MAX_FILES = 10_000
"""Files of a folder, at most."""


@dataclass(frozen=True, eq=False)
class ArraysByName:
    """Hold which arrays there are, and open those that are wanted.

    Attributes
    ----------
    shapes : mapping of str to tuple of int
        Name -> shape; the numbers of rows need not agree.
    open : callable
        Some of the names, whose numbers of rows agree -> a `Source` of them by name.
    flat : frozenset of str
        Arrays from formats that hold rows of numbers without further axes.
    path : Path or None
        The file or folder.
    """

    shapes: Mapping[str, tuple[int, ...]]
    open: Callable[[Sequence[str]], Source]
    flat: frozenset[str] = frozenset()
    path: Path | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> ArraysByName:
        """Return arrays that are in memory."""
        held = {str(name): np.asarray(array) for name, array in arrays.items()}
        return cls(
            {name: array.shape for name, array in held.items()},
            lambda names: Arrays({name: held[name] for name in names}),
        )


def open_by_name(path: str | os.PathLike[str]) -> ArraysByName | None:
    """Return the arrays of an ``.npz``, a folder, or the columns of a ``.parquet``.

    Returns
    -------
    ArraysByName or None
        None for what holds a single array.

    Raises
    ------
    DataError
        It cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        return None
    if suffix == ".npz":
        shapes = npz_shapes(path)
        return ArraysByName(shapes, partial(_npz, path), path=path)
    if suffix == ".parquet":
        with opened(path) as file:
            names = list(columns_of(file))
        if not any("/" in name for name in names):
            return None
        return _of_parquet(path, names)
    return None


def _npz(path: Path, names: Sequence[str]) -> Source:
    return Npz(path, "", names, named=True)


def _of_parquet(path: Path, names: Sequence[str]) -> ArraysByName:
    whole = Parquet(path, "", names, named=True)
    some = whole.take(np.arange(min(whole.rows, 1)))
    assert isinstance(some, dict)
    return ArraysByName(
        {name: (whole.rows, *array.shape[1:]) for name, array in some.items()},
        lambda names: Parquet(path, "", names, named=True),
        frozenset(names),
        path,
    )


def _of_folder(path: Path) -> ArraysByName:
    files: dict[str, Path] = {}
    with reading(path):
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in FOLDER_FORMATS)
    if not found or len(found) > MAX_FILES:
        raise DataError(
            f"{path}: expected a folder with files ending in "
            f"{', '.join(FOLDER_FORMATS)}, each called as the array it holds. "
            f"Received: {len(found):,} such files"
        )
    for file in found:
        name = file.relative_to(path).with_suffix("").as_posix()
        if name in files:
            raise DataError(
                f"{path}: expected one file for '{printable(name, 80)}'. Received: "
                f"{files[name].name} and {file.name}"
            )
        files[name] = file
    sources = {name: _one(file) for name, file in files.items()}
    return ArraysByName(
        {name: _shape(source) for name, source in sources.items()},
        lambda names: Together(path, {name: sources[name] for name in names}),
        frozenset(n for n, file in files.items() if file.suffix.lower() != ".npy"),
        path,
    )


def _one(file: Path) -> Source:
    suffix = file.suffix.lower()
    if suffix == ".npy":
        return Npy(file)
    return NumberCsv(file) if suffix == ".csv" else Parquet(file, "", [""])


def _shape(source: Source) -> tuple[int, ...]:
    some = source.take(np.arange(min(source.rows, 1)))
    first = some if isinstance(some, np.ndarray) else next(iter(some.values()))
    return source.rows, *first.shape[1:]


class Together(Source):
    """Give out arrays that come from different sources, by name.

    Parameters
    ----------
    path : Path
        The file or folder that they are in.
    sources : mapping of str to Source
    """

    def __init__(self, path: Path, sources: Mapping[str, Source]) -> None:
        self.path = path
        self.sources = dict(sources)
        self.rows = common_row_count_of_shapes(
            [(source.rows,) for source in sources.values()]
        )
        self.notes = tuple(_unusual_forms(path, self.sources))

    def batches(self, size: int, start: int = 0) -> Iterator[Data]:
        """Yield batches; see `Source`."""
        parts = [source.batches(size, start) for source in self.sources.values()]
        for found in zip(*parts, strict=True):
            yield {
                name: array if isinstance(array, np.ndarray) else array[name]
                for name, array in zip(self.sources, found, strict=True)
            }

    def fingerprint(self) -> str:
        """Return the SHA-256 of the names, and of what each source reads."""
        digest = hashlib.sha256()
        for name, source in self.sources.items():
            digest.update(f"{name} {source.fingerprint()} ".encode())
        return digest.hexdigest()


def _unusual_forms(path: Path, sources: Mapping[str, Source]) -> Iterator[str]:
    """Yield a sentence for each unusual form in which files of a folder are read."""
    read: dict[str, list[str]] = {}
    for name, source in sources.items():
        if isinstance(source, FileSource) and source.read_how:
            read.setdefault(source.read_how, []).append(name)
    for how, names in read.items():
        more = f" and {len(names) - 1} more are" if names[1:] else " is"
        yield f"{printable(path)}: '{printable(names[0], 60)}'{more} read {how}"
