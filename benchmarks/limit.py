"""What a forward pass cannot do without: its matrix products and its activations.

Measured alone, each at its best, on numbers that lie ready: what NumPy and its BLAS
need on this machine for products of these shapes, and for as many tanh as there are
activations (a sigmoid counts as one). Their sum is what a forward pass would take that
did nothing else, and which computed every product that the equations have. One that
looks products of the embeddings up, instead of computing them for every word, can stay
below it.
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
"""Blocks of columns in the kernels of a recurrent layer."""

BLOCK_ROWS = (32, 64, 128, 256, 1024)
"""Rows whose products, or activations, are computed together."""

JOINED_PRODUCTS = 2048
"""Products of inputs, over rows and steps, that are computed in one."""

SINGLE_THREAD_ROWS = 8
"""From fewer rows a second thread gains nothing."""


def recurrent(spec: ModelSpec) -> Iterator[tuple[Array, Array, int]]:
    """Kernel, recurrent kernel and activations a step and unit, of each layer."""
    for layer in spec:
        if layer.class_name in GATE_COUNTS:
            # an LSTM also has the activation of its cell state
            count = GATE_COUNTS[layer.class_name] + (layer.class_name == "LSTM")
            yield layer.weights["kernel"], layer.weights["recurrent_kernel"], count


def products(spec: ModelSpec, rows: int, threads: int) -> dict[str, Forward]:
    """Ways to compute the products of a forward pass, by pieces and threads.

    Each takes ids (rows, time), of which only the shape counts.
    """
    return _ways(partial(_products_of_piece, list(recurrent(spec))), rows, threads)


def activations(spec: ModelSpec, rows: int, threads: int) -> dict[str, Forward]:
    """Ways to compute as many tanh as a forward pass has activations."""
    widths = [len(u) * count for _, u, count in recurrent(spec)]
    return _ways(partial(_activations_of_piece, widths), rows, threads)


@lru_cache(maxsize=32)
def _numbers(rows: int, columns: int) -> Array:
    """Numbers to compute with, never written to."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, columns)).astype(np.float32)


def _products_of_piece(
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


def _activations_of_piece(widths: list[int], rows: int, time: int) -> None:
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
        # two pieces for two threads, where all rows would be one
        piece = min(size, -(-rows // threads))
        if threads > 1 and rows >= SINGLE_THREAD_ROWS:
            ways[f"{piece} rows, {threads} threads"] = partial(
                _shared_out, work, piece, _pool(threads)
            )
    return ways


def _pieces(rows: int, size: int) -> list[int]:
    return [min(size, rows - start) for start in range(0, rows, size)]


def _one_by_one(work: Callable[[int, int], None], size: int, x: Array) -> Array:
    """The BLAS may use all cores for each piece."""
    for rows in _pieces(len(x), size):
        work(rows, x.shape[1])
    return x


def _shared_out(
    work: Callable[[int, int], None], size: int, pool: ThreadPoolExecutor, x: Array
) -> Array:
    """A piece for each thread; the BLAS uses one for each."""
    with _controller().limit(limits=1):
        list(pool.map(work, _pieces(len(x), size), [x.shape[1]] * len(x)))
    return x


@lru_cache(maxsize=2)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
