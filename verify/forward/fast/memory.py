"""A pool of memory: the system takes its time to give new memory, page by page."""

from __future__ import annotations

import math
from collections import deque
from typing import Any
from weakref import finalize

import numpy as np

from verify.model.arrays import Array

MIN_POOLED_BYTES, MAX_POOLED_BYTES = 2**18, 2**22
"""Bytes of an array whose memory is kept for another. Smaller arrays cost nothing, and
the system gives the memory of larger ones in large pages."""

_IDLE: deque[Array] = deque(maxlen=8)


def empty_from_pool(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Like ``np.empty``, but reuse the memory of arrays that have been freed."""
    count = math.prod(shape)
    size = count * dtype.itemsize
    if not MIN_POOLED_BYTES <= size <= MAX_POOLED_BYTES:
        return np.empty(shape, dtype)
    memory = _idle_memory(size)
    # Views of `array` keep `array` alive: once it is freed, nobody uses the memory.
    array = np.frombuffer(memory.data, dtype, count)
    finalize(array, _IDLE.append, memory).atexit = False
    return array.reshape(shape)


def _idle_memory(size: int) -> Array:
    """Return `size` bytes, or up to twice as many; several threads may ask at once."""
    for _ in range(len(_IDLE)):
        try:
            memory = _IDLE.popleft()
        except IndexError:
            break
        if size <= memory.nbytes <= 2 * size:
            return memory
        _IDLE.append(memory)
    return np.empty(size, np.uint8)
