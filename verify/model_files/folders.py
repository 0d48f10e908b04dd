"""Read the members of a ``.keras`` file from an archive or from a folder.

``model.save(path, zipped=False)`` of Keras 3 writes the same files into a folder, which
is also what unpacking a ``.keras`` file leaves.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
"""The members that every ``.keras`` file has."""


@dataclass(frozen=True)
class FileInfo:
    """Name a file of a folder by its path in it, with its size in bytes."""

    filename: str
    file_size: int


class Members(Protocol):
    """Give the members of a ``.keras`` file, as `zipfile.ZipFile` does."""

    def infolist(self) -> Sequence[Any]:
        """Return what names each member."""

    def getinfo(self, name: str, /) -> Any:
        """Return what names one member; KeyError if there is none of that name."""

    def read(self, name: Any, /) -> bytes:
        """Return the bytes of a member that `infolist` or `getinfo` has named."""


class Folder:
    """Give the files of a folder as `zipfile.ZipFile` gives the members of an archive.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def infolist(self) -> list[FileInfo]:
        """Return all files, those in folders inside too."""
        files = sorted(p for p in self.path.rglob("*") if p.is_file())
        return [self.getinfo(p.relative_to(self.path).as_posix()) for p in files]

    def getinfo(self, name: str, /) -> FileInfo:
        """Return one file; KeyError if there is none of that name."""
        path = self.path / name
        if not path.is_file():
            raise KeyError(name)
        return FileInfo(name, path.stat().st_size)

    def read(self, name: FileInfo, /) -> bytes:
        """Return the bytes of a file."""
        return (self.path / name.filename).read_bytes()


def is_unpacked(path: Path) -> bool:
    """Return whether a path is a folder with the files of a ``.keras`` file."""
    return (path / "config.json").is_file() and (path / "model.weights.h5").is_file()


@contextlib.contextmanager
def members_of(path: Path) -> Iterator[Members]:
    """Open a ``.keras`` file, or a folder with the files of one."""
    if path.is_dir():
        yield Folder(path)
        return
    with zipfile.ZipFile(path) as archive:
        yield archive
