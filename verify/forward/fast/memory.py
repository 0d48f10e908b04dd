"""Use the memory of freed arrays again.

New memory is slow: the system maps and clears it page by page on first use.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any
from weakref import finalize

import numpy as np

from verify.model.arrays import Array

MIN_POOLED_BYTES, MAX_POOLED_BYTES = 2**18, 2**22
"""Sizes, in bytes, between which the memory of a freed array is kept. Smaller arrays
cost nothing, and larger ones get large pages from the system."""

_IDLE: deque[Array] = deque(maxlen=8)
"""Memory that no array uses, at most 8 pieces of it: 32 MiB."""


def empty_from_pool(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an uninitialised array, in the memory of a freed one if any fits."""
    count = math.prod(shape)
    size = count * dtype.itemsize
    if not MIN_POOLED_BYTES <= size <= MAX_POOLED_BYTES:
        return np.empty(shape, dtype)
    memory = _idle_memory(size)
    # A view of `array` keeps `array` alive. When it is freed there is no view left, so
    # the memory can be given to another array.
    array = np.frombuffer(memory.data, dtype, count)
    finalize(array, _IDLE.append, memory).atexit = False
    return array.reshape(shape)


def _idle_memory(size: int) -> Array:
    """Return at least `size` bytes of memory, and at most twice as many."""
    for _ in range(len(_IDLE)):  # other threads may take from the deque meanwhile
        try:
            memory = _IDLE.popleft()
        except IndexError:
            break
        if size <= memory.nbytes <= 2 * size:
            return memory
        _IDLE.append(memory)
    return np.empty(size, np.uint8)
