"""Define the types of arrays and shapes, and how messages write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int | None, ...]


def weights_text(weights: Mapping[str, Array]) -> str:
    """Write weights with their shapes for a message: ``kernel (3, 16), bias (16,)``."""
    return ", ".join(f"{k} {v.shape}" for k, v in weights.items()) or "none"


def shape_text(sizes: Shape) -> str:
    """Write a shape for a message: ``(batch, 26, any)``.

    The words stand for the axes whose size the model leaves open.
    """
    words = [
        str(size) if size is not None else "batch" if axis == 0 else "any"
        for axis, size in enumerate(sizes)
    ]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"


def by_sample(array: Array, samples: int) -> Array:
    """Return an array with one entry for each sample: (samples, numbers of a sample).

    An operation may fold other axes into that of the rows, and an array inside a model
    then has several rows for each sample, one after the other.
    """
    return array.reshape(samples, -1)


def rows_of_samples(array: Array, samples: int, chosen: Any) -> Array:
    """Return the rows of some samples, whether each has one row or several.

    Parameters
    ----------
    array : (samples * rows of a sample, ...)
    samples : int
    chosen : slice or array
        Which samples.
    """
    if len(array) == samples or len(array) % samples:
        return array[chosen]
    some = array.reshape(samples, len(array) // samples, *array.shape[1:])[chosen]
    return some.reshape(-1, *array.shape[1:])


class FlatOutputs:
    """Join several outputs into one array, and split it again.

    Parameters
    ----------
    outputs : list of (batch, ...)
        Outputs whose shapes are to be joined; their values are not kept.

    Attributes
    ----------
    shapes : list of tuple of int
        Shape of each output without its batch axis.
    elements : int
        How many numbers one row has in all outputs together.
    """

    def __init__(self, outputs: Sequence[Array]) -> None:
        self.shapes = [y.shape[1:] for y in outputs]
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        self.elements = int(ends[-1])
        self._cuts = ends[:-1]

    def join(self, outputs: Sequence[Array]) -> Array:
        """Return arrays shaped like the outputs as one: (batch, elements)."""
        return np.concatenate([y.reshape(len(y), -1) for y in outputs], axis=1)

    def split(self, flat: Array) -> list[Array]:
        """Return (..., elements) as one array for each output: (..., *shape)."""
        parts = np.split(flat, self._cuts, axis=-1)
        return [
            part.reshape(*flat.shape[:-1], *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]
