"""Evaluate rows in blocks, and share the blocks among threads."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from verify.errors import DataError
from verify.forward.blas import single_threaded_blas
from verify.forward.fast.steps import FAST_STEPS
from verify.model.spec import LayerSpec

T = TypeVar("T")

TARGET_STEP_BYTES, MIN_BLOCK_ROWS, MAX_BLOCK_ROWS = 2_300_000, 224, 2048
"""Size, in bytes, of the pre-activations of one step at which a block of rows is aimed,
and the least and greatest number of its rows. With smaller blocks the threads contend
for the GIL; larger ones gain nothing."""

MIN_THREAD_BYTES = 900_000
"""Size, in bytes, of the pre-activations of one step below which a second thread does
not pay: the steps are so short that the threads contend for the GIL. BLAS then uses
several threads for each product instead."""

MAX_SEQUENCE_BYTES = 64 * 2**20
"""Greatest size, in bytes, of the outputs of one layer for all steps of a block. For
long sequences it limits the number of rows, so that memory does not grow with time."""

MAX_BATCH_BYTES = 256 * 2**20
"""The same for the rows of a batch of Keras, which a block otherwise keeps together."""


def thread_count(threads: int | None = None) -> int:
    """Return how many threads to use.

    It is the number given, or else that of ``OMP_NUM_THREADS``, or else one for each
    core; and not more than `limit_threads` allows.

    Raises
    ------
    DataError
        The number given is not a whole number from 1.
    """
    if threads is not None and (type(threads) is not int or threads < 1):
        raise DataError(f"threads: expected a number from 1. Received: {threads}")
    return min(threads or _usual_threads(), _LIMIT.get() or sys.maxsize)


def _usual_threads() -> int:
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if told.isdecimal() and int(told) > 0:
        return int(told)
    return core_count()


def core_count() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Use at most this many threads inside a ``with`` block, whatever is asked for.

    A worker calls it that shares the cores of its machine with other workers.
    """
    before = _LIMIT.set(threads)
    try:
        yield
    finally:
        _LIMIT.reset(before)


_LIMIT: ContextVar[int | None] = ContextVar("threads", default=None)


class RowBlocks(NamedTuple):
    """Hold the sizes of the blocks in which rows are evaluated.

    Attributes
    ----------
    max_rows : int
        Greatest number of rows in one block.
    rows_per_thread : int
        Number of rows from which a second thread pays.
    multiple : int
        The number of rows of every block but the last is a multiple of this.
    """

    max_rows: int
    rows_per_thread: int
    multiple: int


def row_blocks_for(root: LayerSpec, steps: int, batch: int | None) -> RowBlocks:
    """Return the sizes of blocks that suit a model and a number of time steps.

    Parameters
    ----------
    root : LayerSpec
    steps : int
        Number of time steps.
    batch : int, optional
        The batch size that the model fixes. By default blocks consist of whole batches
        of 32 rows, as in Keras's ``predict``, so that a mistake at the ends of batches
        has the same effect in both.
    """
    multiple = batch or 32
    if root not in _ROW_BYTES:
        _ROW_BYTES[root] = _row_bytes(root)
    output, attention, pre_activations = _ROW_BYTES[root]
    step = 2 * pre_activations  # the products of h, and x's part looked up in a table
    rows = min(max(TARGET_STEP_BYTES // step, MIN_BLOCK_ROWS), MAX_BLOCK_ROWS)
    sequence = max(steps, 1) * max(output, steps * attention)
    if batch is None:  # whole batches, unless a batch alone takes too much memory
        multiple = min(multiple, max(MAX_BATCH_BYTES // sequence, 1))
    rows = max(min(rows, MAX_SEQUENCE_BYTES // sequence), multiple)
    return RowBlocks(rows, max(min(MIN_THREAD_BYTES // step, rows), 1), multiple)


class _RowBytes(NamedTuple):
    """Hold how many bytes a model needs for one row, in the layer that needs most.

    Attributes
    ----------
    output : int
        Bytes of the output of one step of a layer.
    attention : int
        Bytes of the scores of an attention layer for one pair of steps.
    pre_activations : int
        Bytes of the pre-activations of one step of a recurrent layer.
    """

    output: int
    attention: int
    pre_activations: int


def _row_bytes(root: LayerSpec) -> _RowBytes:
    widest = pre_activations = 1
    heads = 0
    layers = [root, *(layer for _, layer in root.walk())]
    for layer in layers:
        units = layer.options.get("units", layer.options.get("output_dim", 1))
        widest = max(widest, units if type(units) is int else 1)
        if "Attention" in layer.class_name:  # it has a score for every pair of steps
            heads = max(heads, layer.options.get("num_heads", 1))
        if layer.class_name in FAST_STEPS:
            width = len(layer.gates) * layer.options["units"]
            pre_activations = max(pre_activations, width)
    size = 8 if any(layer.policy == "float64" for layer in layers) else 4
    return _RowBytes(widest * size, heads * size, pre_activations * size)


_ROW_BYTES: WeakKeyDictionary[LayerSpec, _RowBytes] = WeakKeyDictionary()


def in_row_blocks(
    work: Callable[[slice], T], rows: int, blocks: RowBlocks, threads: int
) -> Iterator[tuple[slice, T]]:
    """Yield each block of rows with the result of `work` for it, in order.

    The blocks do not depend on the number of threads, so neither do the results, to
    the last digit.

    Parameters
    ----------
    work : callable
        Called with the slice of the rows of a block; from several threads at once.
    rows : int
        The number of all rows.
    blocks : RowBlocks
    threads : int
    """
    count = max(-(-rows // blocks.max_rows), min(rows // blocks.rows_per_thread, 2), 1)
    count += count > 1 and count % 2  # an even number, so that two threads end together
    units = -(-rows // blocks.multiple)
    count = min(count, units)
    ends = [-(-units * k // count) * blocks.multiple for k in range(count + 1)]
    parts = [slice(a, min(b, rows)) for a, b in pairwise(ends)]
    if len(parts) == 1 and threads > 1:  # BLAS may use several threads for a product
        yield parts[0], work(parts[0])
        return
    with single_threaded_blas():
        if threads == 1:
            yield from ((part, work(part)) for part in parts)
            return
        with ThreadPoolExecutor(min(threads, len(parts))) as pool:
            yield from _some_ahead(pool, work, parts, 2 * threads)


def _some_ahead(
    pool: ThreadPoolExecutor,
    work: Callable[[slice], T],
    parts: Sequence[slice],
    ahead: int,
) -> Iterator[tuple[slice, T]]:
    """Yield results in order; `ahead` blocks at most wait in memory to be taken."""
    waiting: deque[tuple[slice, Future[T]]] = deque()
    try:
        for part in parts:
            if len(waiting) == ahead:
                first, future = waiting.popleft()
                yield first, future.result()
            waiting.append((part, pool.submit(work, part)))
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
