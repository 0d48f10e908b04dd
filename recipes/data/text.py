"""Words to numbers, as `verify.data.text` has it, and labels to rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from verify.data.text import (
    Padding,
    Vocabulary,
    clean,
    packaged_file,
    pad,
    stop_words,
    words,
)

__all__ = [
    "Padding",
    "Vocabulary",
    "clean",
    "one_hot",
    "packaged_file",
    "pad",
    "stop_words",
    "words",
]


def one_hot(labels: npt.ArrayLike, classes: int) -> npt.NDArray[np.float32]:
    """(batch, classes) of float32: 1 in the column of the label."""
    return np.eye(classes, dtype=np.float32)[np.asarray(labels, dtype=np.int64)]
