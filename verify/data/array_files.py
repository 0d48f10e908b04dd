"""Write the arrays of an ``.npz`` in any order, by rows and by windows of time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from verify.data.write_arrays import header_of
from verify.errors import DataError, printable
from verify.model.arrays import Array


class _File(NamedTuple):
    """Hold where an array is, and what every part of it must be like."""

    path: Path
    begin: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]


class ArrayFiles:
    """Hold arrays that grow in the files of a folder; see `folder_beside`.

    Attributes
    ----------
    rows : int
        The number in all parts together.
    folded : mapping of str to int
        Arrays that have several rows for each of these, and how many.
    once : dict of str to ndarray
        Arrays that have no rows.
    """

    def __init__(
        self, folder: Path, rows: int, folded: Mapping[str, int] | None = None
    ) -> None:
        self.rows = rows
        self.folded = folded or {}
        self.once: dict[str, Array] = {}
        self._folder = folder
        self._files: dict[str, _File] = {}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each whole array by its name."""
        found = {name: file.shape for name, file in self._files.items()}
        return {**found, **{name: array.shape for name, array in self.once.items()}}

    def put(self, name: str, rows: Array, first: int) -> None:
        """Write whole rows, (batch, ...), the first of which has that number."""
        file = self._file(name, rows, rows.shape[1:])
        with file.path.open("r+b") as opened:
            first *= self.folded.get(name, 1)
            opened.seek(file.begin + first * _bytes(rows.dtype, file.shape[1:]))
            opened.write(np.ascontiguousarray(rows).data)

    def put_steps(
        self, name: str, block: Array, first: int, start: int, time: int
    ) -> None:
        """Write the steps from `start` on of some rows, (batch, steps, ...).

        Parameters
        ----------
        time : int
            The number of all steps.
        """
        file = self._file(name, block, (time, *block.shape[2:]))
        row, step = (_bytes(block.dtype, file.shape[k:]) for k in (1, 2))
        first *= self.folded.get(name, 1)
        with file.path.open("r+b") as opened:
            for k, steps in enumerate(block):
                opened.seek(file.begin + (first + k) * row + start * step)
                opened.write(np.ascontiguousarray(steps).data)

    def put_once(self, name: str, array: Array) -> None:
        """Keep an array without rows; raise DataError if it is another than before."""
        known = self.once.setdefault(name, array.copy())
        if known.shape != array.shape or known.tobytes() != array.tobytes():
            raise DataError(
                f"expected '{printable(name)}', which has no row for each sample, to "
                "be the same for all. Received: others"
            )

    def _file(self, name: str, part: Array, shape: tuple[int, ...]) -> _File:
        if name not in self._files:
            whole = (self.rows * self.folded.get(name, 1), *shape)
            path = self._folder / f"{len(self._files)}.npy"
            header = header_of(whole, part)
            path.write_bytes(header)
            with path.open("r+b") as opened:  # a file of zeros, which takes no space
                opened.truncate(len(header) + _bytes(part.dtype, whole))
            self._files[name] = _File(path, len(header), part.dtype, whole)
        file = self._files[name]
        if (part.dtype, shape) != (file.dtype, file.shape[1:]):
            raise DataError(
                f"expected '{printable(name)}' to be alike for all rows, {file.dtype} "
                f"of shape {file.shape[1:]}. Received: {part.dtype} of shape {shape}"
            )
        return file

    def paths(self, names: Iterable[str]) -> dict[str, Path]:
        """Return the files of arrays by name, in this order; those left out last."""
        order = dict.fromkeys([*names, *self._files, *self.once])
        for name, array in self.once.items():
            path = self._folder / f"{len(self._files)}.npy"
            np.save(path, array)
            self._files[name] = _File(path, 0, array.dtype, array.shape)
        return {name: self._files[name].path for name in order if name in self._files}


def _bytes(dtype: np.dtype[np.generic], shape: Iterable[int]) -> int:
    return dtype.itemsize * math.prod(shape)
