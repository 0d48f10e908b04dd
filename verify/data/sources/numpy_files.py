"""Read ``.npy`` and ``.npz`` files by blocks of rows."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from verify.data.sources.base import (
    BLOCK_BYTES,
    Data,
    FileSource,
    batch_starts,
    common_row_count_of_shapes,
    names_text,
    reading,
    require_names,
)
from verify.errors import DataError, error_prefix, printable
from verify.model.arrays import Array

MAX_FORTRAN_BYTES = 2**30
"""Bytes of an array in Fortran order inside an archive, at most: it is read whole."""


OBJECTS = (
    "expected numbers. Received: Python objects, which are not unpickled. Rows of one "
    "length become numbers by numpy.array(rows, dtype='float32')"
)
"""What is said of an array of objects, such as rows of different lengths."""


class Npy(FileSource):
    """Read one array from a ``.npy``, in C or in Fortran order.

    Raises
    ------
    DataError
    """

    def __init__(self, path: Path, *, texts: bool = False) -> None:
        super().__init__(path)
        with reading(path):
            array = self._mapped()
            self._like = (array.dtype, array.shape)
            _require_kind(array.dtype, path, texts)
            with error_prefix(path):
                self.rows = common_row_count_of_shapes([array.shape])

    def _mapped(self) -> Array:
        # Mapping: a header that declares more than the file holds is caught unread.
        try:
            return np.load(self.path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            if "Python objects" in f"{error}":
                raise DataError(f"{self.path}: {OBJECTS}") from None
            raise

    def _reopened(self) -> Array:
        # Mapped anew each time: what has been read does not stay in memory.
        array = self._mapped()
        if (array.dtype, array.shape) != self._like:
            raise ValueError("it has changed while it was read")
        return array

    def batches(self, size: int, start: int = 0) -> Iterator[Data]:
        """Yield batches; see `Source`."""
        for first in batch_starts(self.rows, size, start):
            with reading(self.path):
                batch = np.array(self._reopened()[first : first + size])
            yield batch

    def take(self, rows: Array) -> Data:
        """Return chosen rows, and read no others."""
        with reading(self.path):
            return np.array(self._reopened()[rows])


@dataclass(frozen=True)
class Member:
    """Describe an array of an archive by its header."""

    info: zipfile.ZipInfo
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def row_bytes(self) -> int:
        """Return the bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])


class Npz(FileSource):
    """Read one array of an ``.npz``, or several by their names; see `open_source`.

    With `named` the arrays `names` are given out by name even if it is one.

    Raises
    ------
    DataError
    """

    def __init__(
        self,
        path: Path,
        name: str,
        names: Sequence[str],
        *,
        texts: bool = False,
        named: bool = False,
    ) -> None:
        super().__init__(path)
        with reading(path):
            with _opened(path) as archive:
                held = _held(archive)
                chosen = list(names)
                if not named:
                    chosen = _chosen(path, list(held), name, names)
                self._members = {
                    key: _member(archive, held[key], path, texts) for key in chosen
                }
            with error_prefix(path):
                self.rows = common_row_count_of_shapes(
                    [m.shape for m in self._members.values()]
                )
        row_bytes = sum(member.row_bytes for member in self._members.values())
        self._batch_rows = max(
            min(self._batch_rows, BLOCK_BYTES // max(row_bytes, 1)), 1
        )
        self._several = named or len(names) > 1

    def batches(self, size: int, start: int = 0) -> Iterator[Data]:
        """Yield batches; each array is unpacked only as far as it is asked for."""
        with reading(self.path), zipfile.ZipFile(self.path) as archive:
            readers = {
                key: _rows(archive, member, size, start)
                for key, member in self._members.items()
            }
            for _ in batch_starts(self.rows, size, start):
                batch = {key: next(reader) for key, reader in readers.items()}
                yield batch if self._several else next(iter(batch.values()))


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of an ``.npz`` by its name.

    Raises
    ------
    DataError
        It cannot be read, or holds something else than numbers.
    """
    with reading(path), _opened(path) as archive:
        return {
            name: _member(archive, info, path, False).shape
            for name, info in _held(archive).items()
        }


def _opened(path: Path) -> zipfile.ZipFile:
    if not zipfile.is_zipfile(path):
        raise ValueError("not an archive of arrays")
    return zipfile.ZipFile(path)


def _held(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {i.filename.removesuffix(".npy"): i for i in archive.infolist()}


def _chosen(path: Path, held: list[str], name: str, names: Sequence[str]) -> list[str]:
    if len(names) > 1:
        return require_names(path, held, names, "arrays")
    if name not in held and len(held) != 1:
        raise DataError(
            f"{path}: expected one array, or one called '{name}'. "
            f"Received: {names_text(held)}"
        )
    return [name if name in held else held[0]]


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, texts: bool
) -> Member:
    with archive.open(info) as file:
        version = npy.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = npy.read_array_header_1_0(file)
        elif version in ((2, 0), (3, 0)):  # alike where the dtype is a number
            shape, fortran, dtype = npy.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version} of the format is not known")
        offset = file.tell()
    if dtype.hasobject:
        raise DataError(f"{path}: {OBJECTS}")
    _require_kind(dtype, path, texts)
    found = Member(info, dtype, shape, fortran and len(shape) > 1, offset)
    declared = dtype.itemsize * math.prod(shape)
    if min(shape, default=0) < 0 or declared > info.file_size - offset:
        raise ValueError("its header declares more than it holds")
    if found.fortran and declared > MAX_FORTRAN_BYTES:
        raise DataError(
            f"{path}: expected arrays in C order, of which one row can be read "
            f"at a time. Received: '{printable(info.filename, 60)}' in Fortran order, "
            f"{declared / 2**30:,.1f} GiB. np.ascontiguousarray turns it"
        )
    return found


def _rows(
    archive: zipfile.ZipFile, member: Member, size: int, start: int
) -> Iterator[Array]:
    """Yield one array in batches."""
    shape, at = member.shape, batch_starts(member.shape[0], size, start)
    with archive.open(member.info) as file:
        if member.fortran:
            file.seek(member.offset)
            flat = _numbers(file, member, math.prod(shape))
            whole = flat.reshape(shape, order="F")
            for first in at:
                yield np.array(whole[first : first + size])
            return
        file.seek(member.offset + start * member.row_bytes)
        for first in at:
            count = max(min(size, shape[0] - first), 0)
            numbers = _numbers(file, member, count * math.prod(shape[1:]))
            yield numbers.reshape(count, *shape[1:])


def _numbers(file: IO[bytes], member: Member, count: int) -> Array:
    content = file.read(count * member.dtype.itemsize)
    if len(content) != count * member.dtype.itemsize:
        raise ValueError("the file ends early")
    return np.frombuffer(content, member.dtype, count).copy()


def _require_kind(dtype: np.dtype, path: Path, texts: bool) -> None:
    """Raise DataError unless an array holds numbers, or texts where these are taken."""
    if dtype.kind not in ("biufUS" if texts else "biuf"):
        wanted = "numbers or texts" if texts else "numbers"
        digits = "; if each is a number, x.astype('float32') makes numbers of them"
        remedy = digits * (dtype.kind in "US")
        raise DataError(f"{path}: expected {wanted}. Received: dtype={dtype}{remedy}")
