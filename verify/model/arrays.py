"""Types of arrays and shapes, and how a shape is written in a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
