"""Write arrays of any size to ``.npy`` and ``.npz`` as they are computed.

The arrays of an ``.npz`` cannot grow side by side, so each grows in a file of its own,
in a temporary folder beside the output, and is packed from there.
"""

from __future__ import annotations

import io
import math
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import IO

from numpy.lib import format as npy

from verify.data.files import write_atomically, write_error
from verify.errors import DataError, WriteError, printable
from verify.model.arrays import Array

COPY_BYTES = 2**20
"""Bytes copied at a time."""

MAX_COMPRESSED_RATIO, COMPRESSION_LEVEL = 0.5, 1
"""Ratio below which an array is compressed, and the level: higher levels make such
numbers no smaller and take four times as long."""

RESERVED_BYTES = 2**24
"""Bytes that must stay free on a disk."""


def write_npy(path: Path, name: str, rows: int, parts: Iterator[Array]) -> None:
    """Write an array atomically, with one part of it at a time in memory.

    Parameters
    ----------
    path : Path
        A ``.npy``.
    name : str
        Its name in messages.
    rows : int
        The number in all parts together.
    parts : iterator of (batch, ...)

    Raises
    ------
    DataError
        The disk is too full, the file cannot be written, or parts differ in dtype or
        shape.
    """
    first = next(parts)
    require_room(path, _stored(rows, first))

    def write(file: IO[bytes]) -> None:
        file.write(_header(rows, first))
        for part in chain([first], parts):
            file.write(_body(name, first, part))

    write_atomically(path, write)


def write_npz(
    path: Path,
    rows: int,
    parts: Iterator[Mapping[str, Array]],
    *,
    once: Collection[str] = (),
    folded: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, tuple[int, ...]]:
    """Write several arrays into one archive atomically.

    Parameters
    ----------
    path : Path
        A ``.npz``.
    rows : int
        The number in all parts together.
    parts : iterator of dict
        Some rows of every array, by its name.
    once : names
        Arrays that have no rows and are the same in every part.
    folded : mapping of str to int
        Arrays that have several rows for each row of the others, and how many.

    Returns
    -------
    dict
        Name -> shape.

    Raises
    ------
    DataError
        As `write_npy`.
    """
    first = next(parts)
    counts = {
        name: len(array) if name in once and array.ndim else rows * folded.get(name, 1)
        for name, array in first.items()
    }
    sizes = [_stored(counts[name], array) for name, array in first.items()]
    # While an array is packed, it takes its space twice.
    with folder_beside(path, sum(sizes) + max(sizes, default=0)) as folder:
        files = {name: folder / f"{k}.npy" for k, name in enumerate(first)}
        for name, array in first.items():
            files[name].write_bytes(_header(counts[name], array))
            _append(files[name], name, array, array)
        for part in parts:
            for name, array in part.items():
                if name not in once:
                    _append(files[name], name, first[name], array)
        pack_into(path, files)
    return {
        name: (counts[name], *array.shape[1:]) if array.ndim else ()
        for name, array in first.items()
    }


@contextmanager
def folder_beside(path: Path, size: int) -> Iterator[Path]:
    """Yield a temporary folder beside a file that is to be written.

    Parameters
    ----------
    path : Path
    size : int
        Bytes that must be free on the disk.

    Raises
    ------
    WriteError
        The disk is too full, or a file cannot be written.
    """
    require_room(path, size)
    try:
        with tempfile.TemporaryDirectory(
            dir=path.parent, prefix=f".{path.name}."
        ) as folder:
            yield Path(folder)
    except OSError as error:
        raise write_error(path, error) from None


def pack_into(path: Path, files: Mapping[str, Path]) -> None:
    """Write an archive of these arrays atomically; their files are used up."""
    write_atomically(path, lambda file: pack(file, files))


def require_room(path: Path, size: int) -> None:
    """Raise WriteError if `size` bytes do not fit on the disk of a path."""
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise write_error(path, error) from None
    if size > free - RESERVED_BYTES:
        raise WriteError(
            f"{path}: cannot be written: expected {_sized(size)} free for it. "
            f"Received: {_sized(free)}"
        )


def _sized(size: int) -> str:
    power = min(size.bit_length() // 10, 3)
    return f"{size / 2 ** (10 * power):,.1f} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"


def _stored(rows: int, like: Array) -> int:
    return rows * like.dtype.itemsize * math.prod(like.shape[1:])


def _header(rows: int, like: Array) -> bytes:
    """Return the header of a ``.npy`` that holds `rows` rows like these."""
    return header_of((rows, *like.shape[1:]) if like.ndim else (), like)


def header_of(shape: tuple[int, ...], like: Array) -> bytes:
    """Return the header of a ``.npy`` of a shape, with the dtype of an array."""
    header = npy.header_data_from_array_1_0(like)
    header |= {"shape": shape, "fortran_order": False}
    buffer = io.BytesIO()
    npy.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def _body(name: str, like: Array, part: Array) -> bytes:
    """Return the bytes of more rows of a ``.npy``."""
    if (part.dtype, part.shape[1:]) != (like.dtype, like.shape[1:]):
        raise DataError(
            f"expected '{printable(name)}' to be alike for all rows, {like.dtype} of "
            f"shape {like.shape[1:]}. Received: {part.dtype} of shape {part.shape[1:]}"
        )
    return part.tobytes()


def _append(file: Path, name: str, like: Array, part: Array) -> None:
    # Opened for each part: there may be more arrays than files that may be open.
    with file.open("ab") as opened:
        opened.write(_body(name, like, part))


def pack(file: IO[bytes], files: Mapping[str, Path]) -> None:
    """Move arrays into an archive, which is read by ``np.load``."""
    with zipfile.ZipFile(file, "w", compresslevel=COMPRESSION_LEVEL) as archive:
        for name, source in files.items():
            with source.open("rb") as array:
                archive.compression = _compression(array.read(COPY_BYTES))
                array.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    shutil.copyfileobj(array, member, COPY_BYTES)
            source.unlink()


def _compression(beginning: bytes) -> int:
    """Return the compression of an array, judged by its beginning.

    Masks and padding are compressed. Gates would hardly shrink, and take longest.
    """
    ratio = len(zlib.compress(beginning, COMPRESSION_LEVEL)) / max(len(beginning), 1)
    return zipfile.ZIP_DEFLATED if ratio < MAX_COMPRESSED_RATIO else zipfile.ZIP_STORED
