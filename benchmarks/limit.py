"""Compute only the matrix products, or only the activations, of a forward pass.

Their times are measured separately, each called in its fastest way, on arrays that
exist already: the time that NumPy and its BLAS need on this machine for products of
these shapes, and for one tanh for every activation (a sigmoid counts as a tanh). The
sum is the time of a forward pass that computes every product in the equations and does
nothing else. A pass that looks up the products of embeddings, instead of computing them
for every word, can be faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

import numpy as np
from threadpoolctl import ThreadpoolController

from verify.model.arrays import Array
from verify.model.spec import ModelSpec

Forward = Callable[[Array], Array]

GATE_COUNTS = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
"""Layer -> blocks of columns in its kernels."""

BLOCK_ROWS = (32, 64, 128, 256, 1024)
"""Numbers of rows that are computed together."""

JOINED_PRODUCTS = 2048
"""Rows times steps whose products of inputs are computed in one call."""

SINGLE_THREAD_ROWS = 8
"""Below this number of rows a second thread gains nothing."""


def recurrent(spec: ModelSpec) -> Iterator[tuple[Array, Array, int]]:
    """Yield kernel, recurrent kernel and activations a step and unit, by layer."""
    for _, layer in spec.walk():
        if layer.class_name in GATE_COUNTS:
            # an LSTM also has the activation of its cell state
            count = GATE_COUNTS[layer.class_name] + (layer.class_name == "LSTM")
            yield layer.weights["kernel"], layer.weights["recurrent_kernel"], count


def products(spec: ModelSpec, rows: int, threads: int) -> dict[str, Forward]:
    """Return ways to compute the products of a forward pass, by block size and threads.

    Each takes ids (rows, time) and uses only their shape.
    """
    return _ways(partial(_products_of_block, list(recurrent(spec))), rows, threads)


def activations(spec: ModelSpec, rows: int, threads: int) -> dict[str, Forward]:
    """Return ways to compute one tanh for every activation of a forward pass."""
    widths = [len(u) * count for _, u, count in recurrent(spec)]
    return _ways(partial(_activations_of_block, widths), rows, threads)


@lru_cache(maxsize=32)
def _numbers(rows: int, columns: int) -> Array:
    """Return random numbers, (rows, columns); nobody writes to them."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, columns)).astype(np.float32)


def _products_of_block(
    layers: list[tuple[Array, Array, int]], rows: int, time: int
) -> None:
    steps = max(min(JOINED_PRODUCTS // rows, time), 1)
    for kernel, recurrent_kernel, _ in layers:
        x, h = (
            _numbers(rows * steps, len(kernel)),
            _numbers(rows, len(recurrent_kernel)),
        )
        z = np.empty((rows * steps, kernel.shape[1]), np.float32)
        for start in range(0, time, steps):
            some = min(steps, time - start)
            np.matmul(x[: rows * some], kernel, out=z[: rows * some])
            for _ in range(some):
                np.matmul(h, recurrent_kernel, out=z[:rows])


def _activations_of_block(widths: list[int], rows: int, time: int) -> None:
    for width in widths:
        z = _numbers(rows, width)
        y = np.empty_like(z)
        for _ in range(time):
            np.tanh(z, out=y)


def _ways(
    work: Callable[[int, int], None], rows: int, threads: int
) -> dict[str, Forward]:
    sizes = [size for size in BLOCK_ROWS if size < rows] or [rows]
    if rows <= max(BLOCK_ROWS):
        sizes = sorted({*sizes, rows})
    ways: dict[str, Forward] = {
        f"{size} rows": partial(_one_by_one, work, size) for size in sizes
    }
    for size in sizes:
        # at least one block for each thread
        block = min(size, -(-rows // threads))
        if threads > 1 and rows >= SINGLE_THREAD_ROWS:
            ways[f"{block} rows, {threads} threads"] = partial(
                _shared_out, work, block, _pool(threads)
            )
    return ways


def _block_sizes(rows: int, size: int) -> list[int]:
    return [min(size, rows - start) for start in range(0, rows, size)]


def _one_by_one(work: Callable[[int, int], None], size: int, x: Array) -> Array:
    """Do the work block by block; the BLAS may use all cores."""
    for rows in _block_sizes(len(x), size):
        work(rows, x.shape[1])
    return x


def _shared_out(
    work: Callable[[int, int], None], size: int, pool: ThreadPoolExecutor, x: Array
) -> Array:
    """Do the work with several blocks at a time; the BLAS uses one thread for each."""
    with _controller().limit(limits=1):
        list(pool.map(work, _block_sizes(len(x), size), [x.shape[1]] * len(x)))
    return x


@lru_cache(maxsize=2)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
