"""Write a model's outputs, or a whole trace, for any number of rows to a file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from verify.checks.inputs import (
    checked_inputs,
    error_rows,
    file_name,
    whole_batches,
)
from verify.checks.mapper import Mapper, serial_map
from verify.checks.trace_windows import Advance, is_long, write_windows
from verify.data.sources import Data, Source
from verify.data.sources.base import row_count
from verify.data.write_arrays import write_npy, write_npz
from verify.errors import DataError, join_and
from verify.forward.evaluate import States
from verify.forward.network import Network
from verify.forward.taps import together, traced_batches
from verify.model.arrays import Array
from verify.model.backends import Rule

BATCH_ROWS, BATCH_BYTES = 2**14, 2**26
"""Rows, and bytes of inputs, that are predicted at a time, at most."""

TRACE_ROWS, TRACE_NUMBERS = 2**10, 2**24
"""Rows, and numbers in all arrays, that are traced at a time, at most."""


def write_outputs(
    net: Network,
    source: Source,
    path: Path,
    *,
    threads: int | None = None,
    mapper: Mapper = serial_map,
    advance: Advance | None = None,
) -> dict[str, tuple[int, ...]]:
    """Write what a model computes for all rows; memory does not grow with them.

    Parameters
    ----------
    net : Network
    source : Source
    path : Path
        A ``.npy``, or an ``.npz`` with each output by its name.
    threads : int, optional
        As for `Network.predict`.
    mapper : Mapper
        As for `verify.check`; a stateful model is evaluated in this process.
    advance : callable, optional
        Called after each batch with the number of its rows.

    Returns
    -------
    dict
        Name of an output -> shape.

    Raises
    ------
    DataError
        The inputs do not fit the model, or the file cannot be written.
    """
    names = net.output_names
    if path.suffix.lower() == ".npy" and len(names) > 1:
        raise DataError(
            f"{path}: expected .npz for the outputs {join_and(names)}. Received: '.npy'"
        )
    shapes: dict[str, tuple[int, ...]] = {}

    def parts() -> Iterator[dict[str, Array]]:
        for outputs in _outputs(net, source, threads, mapper):
            found = dict(zip(names, outputs, strict=True))
            for name, array in found.items():
                shapes[name] = (source.rows, *array.shape[1:])
            yield found
            if advance is not None:
                advance(len(outputs[0]))

    if path.suffix.lower() == ".npz":
        return write_npz(path, source.rows, parts())
    (name,) = names
    write_npy(path, name, source.rows, (found[name] for found in parts()))
    return shapes


def _outputs(
    net: Network, source: Source, threads: int | None, mapper: Mapper
) -> Iterator[list[Array]]:
    net.spec.require_finite()
    _require_whole_batches(net, source)
    size = min(BATCH_ROWS, BATCH_BYTES // max(_row_bytes(source), 1))
    size = whole_batches(size, net.spec.batch_size or 1)
    shared: dict[str, Any] = {
        "net": net,
        "threads": threads,
        "rows": source.rows,
        "name": file_name(source),
    }
    if net.stateful:  # one batch after the other, in this process
        forgets = Rule.PREDICT_FORGETS_STATES in net.spec.root.rules
        shared["states"] = None if forgets else {}
        mapper = serial_map
    batches = ((k * size, data) for k, data in enumerate(source.batches(size)))
    return mapper(_evaluated, batches, shared=shared)


def _require_whole_batches(net: Network, source: Source) -> None:
    """Raise DataError if states would have to go on to a batch of fewer rows."""
    unit = net.spec.batch_size or 1
    if net.stateful and source.rows % unit:
        with error_rows(0, source.rows, source.rows, file_name(source)):
            raise DataError(
                f"expected a multiple of {unit} rows, the model's fixed batch size. "
                f"Received: {source.rows} rows"
            )


def _evaluated(
    batch: tuple[int, Data],
    *,
    net: Network,
    threads: int | None,
    rows: int,
    name: str,
    states: States | None = None,
) -> list[Array]:
    """Return the outputs of a batch, given with the number of its first row.

    Parameters
    ----------
    rows : int
        Number of all rows.
    name : str
        The file that they are from, for messages.
    """
    start, data = batch
    with error_rows(start, row_count(data), rows, name):
        x = checked_inputs(net, data)
        return net.flat(x, states=states, threads=threads, fast=True)


def _row_bytes(source: Source) -> int:
    sample = source.take(np.arange(min(source.rows, 1)))
    arrays = [sample] if isinstance(sample, np.ndarray) else list(sample.values())
    return sum(array.nbytes for array in arrays)


def write_trace(
    net: Network, source: Source, path: Path, *, advance: Advance | None = None
) -> dict[str, tuple[int, ...]]:
    """Write `Network.trace` of all rows; memory does not grow with them.

    Long windows are traced window by window; see `verify.forward.windows`. Parameters
    and errors as `write_outputs`.

    Returns
    -------
    dict
        Name of an array, as in `verify.forward.network.Trace.arrays` -> shape.
    """
    net.spec.require_finite()
    _require_whole_batches(net, source)
    few = min(source.rows, net.spec.batch_size or 1)
    begin = max(min(TRACE_ROWS, BATCH_BYTES // max(_row_bytes(source), 1)), few)
    with error_rows(0, begin, source.rows):
        some = checked_inputs(net, next(source.batches(begin))).take(slice(0, few))
        folded = net.folded_arrays(some)
        sizes = {name: a.nbytes for name, a in net.outline(some).arrays().items()}
        if is_long(some, sum(sizes.values())):
            return write_windows(
                net, source, path, few, sizes, folded=folded, advance=advance
            )
        sample = net.trace(some).arrays()
    numbers = sum(array.size for array in sample.values()) // few
    size = whole_batches(min(TRACE_ROWS, TRACE_NUMBERS // max(numbers, 1)), few)
    size = together(net) or size

    def parts() -> Iterator[dict[str, Array]]:
        states: States = {}
        for k, data in enumerate(source.batches(size)):
            with error_rows(k * size, size, source.rows):
                x = checked_inputs(net, data)
                for trace in traced_batches(net, x, None, states):
                    yield trace.arrays()

    traced = parts()
    first = next(traced)
    count = min(size, source.rows)
    once = {
        name
        for name, array in first.items()
        if not array.ndim or len(array) != count * folded.get(name, 1)
    }
    if count < source.rows:
        rows = {name: few * folded.get(name, 1) for name in first}
        _require_alike(sample, first, once, rows, (few, count))

    def checked() -> Iterator[dict[str, Array]]:
        done = 0
        for part in chain([first], traced):
            for name in once:
                _require_same(name, first[name], part[name])
            yield part
            if advance is not None:
                advance(min(size, source.rows - done))
            done += size

    return write_npz(path, source.rows, checked(), once=once, folded=folded)


def _require_alike(
    sample: Mapping[str, Array],
    first: Mapping[str, Array],
    once: Collection[str],
    rows: Mapping[str, int],
    counts: tuple[int, int],
) -> None:
    """Raise DataError for an array that has a row for each sample only by chance.

    Parameters
    ----------
    sample, first : mapping of str to array
        Traces of `few` samples, and of `count` samples.
    once : names
        Arrays without rows in `first`, which must have the same shape in both.
    rows : mapping of str to int
        How many rows each array must have in `sample`.
    counts : pair of int
        `few` and `count`.
    """
    few, count = counts
    for name, array in first.items():
        other = sample[name]
        alike = other.shape == array.shape
        known = alike if name in once else len(other) == rows[name]
        if not known:
            raise DataError(
                f"expected '{name}' to have a row for each sample, to trace "
                f"{count:,} of them at a time. Received: shape={other.shape} for "
                f"{few:,}, shape={array.shape} for {count:,}"
            )


def _require_same(name: str, first: Array, other: Array) -> None:
    """Raise DataError if an array without rows is not the same in all parts."""
    if first.shape != other.shape or first.tobytes() != other.tobytes():
        raise DataError(
            f"expected '{name}', which has no row for each sample, to be the same for "
            "all. Received: others"
        )
