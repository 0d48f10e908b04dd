"""Find a block of numbers again inside many arrays, by value.

All numbers are sorted once, so that looking one up takes no longer in a file of 50 MB
than in a small one. A few numbers of the block are looked up, and wherever one of them
stands the whole block is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from verify.model.arrays import Array

PROBES = 6
"""How many numbers of a block are looked up."""

MOST_HITS = 2_000
"""A number that stands in more places than this tells nothing about the block."""

MOST_PLACES = 8
"""How many places of one block are kept."""

CLOSE = 0.5
"""Share of the numbers that must agree for a place to be called close."""


@dataclass(frozen=True)
class Place:
    """Hold where a block of numbers stands inside an array.

    Attributes
    ----------
    array : str
        Name of the array; its leading axes are merged, so that it has two.
    transposed : bool
        Whether the rows of the block are columns there.
    row, column : int
        Where the block begins in the array.
    stride : int
        Distance of two columns of the block in the array: 1, or the number of gates if
        these are interleaved.
    sign : int
        -1 if the numbers are negated.
    wrong : int
        How many numbers of the block differ.
    apart : float
        The greatest difference.
    """

    array: str
    transposed: bool
    row: int
    column: int
    stride: int
    sign: int
    wrong: int
    apart: float

    @property
    def start(self) -> int:
        """Return where the columns of the block begin, along the axis they lie on."""
        return self.row if self.transposed else self.column

    @property
    def layout(self) -> tuple[str, bool, int, int]:
        """Return what blocks of one weight share if they are beside each other."""
        other = self.column if self.transposed else self.row
        return self.array, self.transposed, other, self.stride


class Pool:
    """Hold arrays in which blocks of numbers can be looked up.

    Parameters
    ----------
    arrays : mapping of str to array
        Arrays of any shape; leading axes are merged.
    """

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.names = [name for name, array in arrays.items() if array.size]
        self.arrays = [
            np.ascontiguousarray(arrays[name], dtype=np.float32).reshape(
                -1, arrays[name].shape[-1] if arrays[name].ndim else 1
            )
            for name in self.names
        ]
        sizes = [array.size for array in self.arrays]
        self._ends = np.cumsum(sizes)
        flat = [np.abs(array).ravel() for array in self.arrays]
        values = np.concatenate(flat) if flat else np.zeros(0, np.float32)
        self._order = np.argsort(values)
        self._sorted = values[self._order]

    def places(
        self,
        block: Array,
        *,
        relative: float,
        absolute: float,
        strides: tuple[int, ...],
    ) -> list[Place]:
        """Return where a block stands, the best first: at most `MOST_PLACES`.

        Parameters
        ----------
        block : (rows, columns)
        relative, absolute : float
            How far a number may be from that of the block.
        strides : tuple of int
            Distances of two columns that are tried.
        """
        block = np.asarray(block, dtype=np.float32)
        allowed = absolute + relative * np.abs(block)
        tried: set[tuple[int, bool, int, int, int, int]] = set()
        found: list[Place] = []
        for r, c in _telling(block):
            for key in self._guesses(block, r, c, allowed[r, c], strides):
                if key in tried:
                    continue
                tried.add(key)
                place = self._compared(block, allowed, key)
                if place is not None:
                    found.append(place)
            if sum(not place.wrong for place in found) >= MOST_PLACES:
                break
        found.sort(key=lambda place: (place.wrong, place.apart, place.sign < 0))
        return found[:MOST_PLACES]

    def at(self, place: Place, shape: tuple[int, ...]) -> Array:
        """Return the numbers that stand at a place, in the shape of the block."""
        array = self.arrays[self.names.index(place.array)]
        there = cut(
            array, shape, place.transposed, place.row, place.column, place.stride
        )
        return place.sign * there

    def _guesses(
        self, block: Array, r: int, c: int, allowed: float, strides: tuple[int, ...]
    ) -> Iterator[tuple[int, bool, int, int, int, int]]:
        """Yield where the block would stand if its number (r, c) is one that is there.

        Each is array, transposed, row, column, stride, sign.
        """
        value = abs(float(block[r, c]))
        low, high = np.searchsorted(self._sorted, [value - allowed, value + allowed])
        high = int(np.searchsorted(self._sorted, value + allowed, side="right"))
        if high - low > MOST_HITS:
            return
        rows, columns = block.shape
        for flat in self._order[low:high]:
            k = int(np.searchsorted(self._ends, flat, side="right"))
            array = self.arrays[k]
            at = int(flat) - (int(self._ends[k]) - array.size)
            a, b = divmod(at, array.shape[1])
            sign = 1 if (array[a, b] < 0) == (block[r, c] < 0) else -1
            for stride in strides:
                span = (columns - 1) * stride + 1
                row, column = a - r, b - c * stride
                if (
                    min(row, column) >= 0
                    and row + rows <= array.shape[0]
                    and column + span <= array.shape[1]
                ):
                    yield k, False, row, column, stride, sign
                row, column = a - c * stride, b - r
                if (
                    min(row, column) >= 0
                    and row + span <= array.shape[0]
                    and column + rows <= array.shape[1]
                ):
                    yield k, True, row, column, stride, sign

    def _compared(
        self, block: Array, allowed: Array, key: tuple[int, bool, int, int, int, int]
    ) -> Place | None:
        k, transposed, row, column, stride, sign = key
        there = cut(self.arrays[k], block.shape, transposed, row, column, stride)
        with np.errstate(invalid="ignore"):
            apart = np.abs(sign * there - block)
            bad = ~(apart <= allowed)
        wrong = int(np.count_nonzero(bad))
        if wrong > CLOSE * block.size:
            return None
        return Place(
            self.names[k], transposed, row, column, stride, sign, wrong,
            float(apart.max()),
        )  # fmt: skip


def cut(
    array: Array,
    shape: tuple[int, ...],
    transposed: bool,
    row: int,
    column: int,
    stride: int,
) -> Array:
    """Return the part of an array in which a block of this shape stands."""
    rows, columns = shape
    span = (columns - 1) * stride + 1
    if transposed:
        return array[row : row + span : stride, column : column + rows].T
    return array[row : row + rows, column : column + span : stride]


def _telling(block: Array) -> Iterator[tuple[int, int]]:
    """Yield places of large numbers in different columns or rows, the largest first."""
    size = np.abs(np.nan_to_num(block))
    columns = block.shape[1]
    if columns > 1:
        best = np.argmax(size, axis=0)  # (columns,)
        chosen = np.argsort(-size[best, np.arange(columns)])[:PROBES]
        yield from ((int(best[c]), int(c)) for c in chosen)
    else:
        yield from ((int(r), 0) for r in np.argsort(-size[:, 0])[:PROBES])
