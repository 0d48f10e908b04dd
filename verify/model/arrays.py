"""Types of arrays and shapes, and how a shape is written in a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int | None, ...]


def weights_text(weights: Mapping[str, Array]) -> str:
    """``kernel (3, 16), bias (16,)``: for messages."""
    return ", ".join(f"{k} {v.shape}" for k, v in weights.items()) or "none"


def shape_text(sizes: Shape) -> str:
    """``(batch, 26, 32)``: a shape with words for the axes a model leaves open."""
    words = [
        str(size) if size is not None else "batch" if axis == 0 else "any"
        for axis, size in enumerate(sizes)
    ]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"


class FlatOutputs:
    """Lay the outputs of a model side by side: all numbers of a row in one row.

    Parameters
    ----------
    outputs : list of (batch, ...)

    Attributes
    ----------
    shapes : list of tuple of int
        Shape of each output without its batch axis.
    elements : int
        Numbers in a row of all outputs together.
    """

    def __init__(self, outputs: Sequence[Array]) -> None:
        self.shapes = [y.shape[1:] for y in outputs]
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        self.elements = int(ends[-1])
        self._cuts = ends[:-1]

    def join(self, outputs: Sequence[Array]) -> Array:
        """Return arrays shaped like the outputs as one array, (batch, elements)."""
        return np.concatenate([y.reshape(len(y), -1) for y in outputs], axis=1)

    def split(self, flat: Array) -> list[Array]:
        """Return (..., elements) as one array of (..., *shape) for each output."""
        parts = np.split(flat, self._cuts, axis=-1)
        return [
            part.reshape(*flat.shape[:-1], *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]
