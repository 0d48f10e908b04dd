"""Arrays in, whole files out: what the commands read and write."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from verify.spec import Array, DataError, listing, plain

FORMATS = (".npy", ".npz", ".csv")


def read_arrays(
    path: str | os.PathLike[str], name: str, names: Sequence[str]
) -> Array | dict[str, Array]:
    """What `read_array` reads, or several arrays by their names from an ``.npz``.

    Parameters
    ----------
    path : path
    name : str
        What the array is called where there is one.
    names : sequence of str
        What the arrays are called where there are several.

    Raises
    ------
    DataError
    """
    if len(names) == 1:
        return read_array(path, name)
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise DataError(
            f"{plain(path)}: expected .npz with arrays {listing(list(names))}. "
            f"Received: '{plain(path.suffix)}'"
        )
    return {key: read_array(path, key, among=names) for key in names}


def read_array(
    path: str | os.PathLike[str], name: str, *, among: Sequence[str] = ()
) -> Array:
    """Read numbers from a file; nothing in it is unpickled or executed.

    Parameters
    ----------
    path : path
        ``.npy``; ``.npz`` holding one array, or one called `name`; ``.csv`` of numbers,
        one row a sample, with or without a line of headings.
    name : str
    among : sequence of str
        Arrays that an archive must hold, that of `name` among them.

    Returns
    -------
    (batch, ...)

    Raises
    ------
    DataError
    """
    path = Path(path)
    shown = plain(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(f"{shown}: expected a file of numbers. Received: {found}")
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{shown}: expected a file ending in {', '.join(FORMATS)}. "
            f"Received: '{plain(path.suffix)}'"
        )
    try:
        if among and not set(among) <= set(_names(path)):
            raise DataError(
                f"{shown}: expected arrays called {listing(map(plain, among))}. "
                f"Received: {plain(', '.join(_names(path)), 120) or 'none'}"
            )
        array = reader(path, name)
    except DataError:
        raise
    except Exception as error:  # a damaged file: NumPy, zlib, pandas raise all kinds
        why = plain(str(error) or type(error).__name__, 160)
        raise DataError(f"{shown}: cannot be read as {path.suffix} ({why})") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{shown}: expected numbers. Received: dtype={array.dtype}")
    return array


def _read_npy(path: Path, name: str) -> Array:
    # Mapping first: a header that declares more than the file holds is caught unread.
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False))


def _read_npz(path: Path, name: str) -> Array:
    if not zipfile.is_zipfile(path):
        raise ValueError("not an archive of arrays")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        names = archive.files
        if name not in names and len(names) != 1:
            listed = plain(", ".join(names), 120) or "none"
            raise DataError(
                f"{plain(path)}: expected one array, or one called '{name}'. "
                f"Received: {listed}"
            )
        return np.asarray(archive[name if name in names else names[0]])


def _names(path: Path) -> list[str]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return list(archive.files)


def _read_csv(path: Path, name: str) -> Array:
    import pandas as pd

    try:
        table = pd.read_csv(path, header=None, skipinitialspace=True)
    except pd.errors.EmptyDataError:
        raise DataError(f"{plain(path)}: expected numbers. The file is empty") from None
    if not all(dtype.kind in "biuf" for dtype in table.dtypes):
        table = pd.read_csv(path, skipinitialspace=True)
    elif len(table) > 1 and table.iloc[0].tolist() == list(range(table.shape[1])):
        raise DataError(
            f"{plain(path)}: the first line, 0, 1, 2, ..., may be headings or a "
            "sample. Give the columns names, write no headings, or use .npy"
        )
    for column, dtype in table.dtypes.items():
        if dtype.kind not in "biuf":
            raise DataError(
                f"{plain(path)}: expected numbers only. Received: text in column "
                f"'{plain(column)}'"
            )
    return table.to_numpy()


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file so that it is there whole or not at all.

    Parameters
    ----------
    path : Path
    write : callable
        Given a binary file to write to.

    Raises
    ------
    DataError
        The place cannot be written to.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
        )
    except OSError as error:
        raise unwritable(path, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; a result is as readable as any other new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise unwritable(path, error) from None
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def unwritable(path: Path, error: OSError) -> DataError:
    """The one line for a place that cannot be written to."""
    return DataError(f"{plain(path)}: cannot be written ({error.strerror or error})")


def checked_output(text: str, option: str, suffix: str) -> Path:
    """A path to write to, checked before any work is done for it.

    Raises
    ------
    DataError
    """
    path = Path(text)
    if path.suffix.lower() != suffix:
        raise DataError(
            f"{option}: expected a file name ending in {suffix}. "
            f"Received: {plain(text)}"
        )
    try:
        is_folder, has_place = path.is_dir(), path.parent.is_dir()
    except OSError as error:  # a name too long
        raise unwritable(path, error) from None
    if is_folder or not has_place:
        found = "a folder" if is_folder else f"no folder {plain(path.parent)}"
        raise DataError(f"{option}: {plain(text)} cannot be written. Received: {found}")
    if not os.access(path.parent, os.W_OK):
        raise DataError(f"{option}: {plain(text)} cannot be written (no permission)")
    return path
