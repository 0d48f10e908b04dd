"""Write a trace of long windows, with one window of time in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from verify.checks.inputs import checked_inputs, error_rows, whole_batches
from verify.console.progress import doing
from verify.data.array_files import ArrayFiles
from verify.data.sources import Source
from verify.data.write_arrays import folder_beside, pack_into
from verify.forward.evaluable import Inputs
from verify.forward.evaluate import States
from verify.forward.network import Network
from verify.forward.taps import before_batch, together
from verify.forward.windows import MANY_STEPS, trace_into
from verify.model.arrays import Array

MAX_ROW_BYTES = 2**26
"""Bytes of all arrays of a row from which they are written window by window."""

BATCH_BYTES = 2**27
"""Bytes of all arrays of the rows that are traced together, at most; a single row may
have more."""

Advance = Callable[[int], None]
"""Called after each batch with the number of its rows."""


def is_long(x: Inputs, size: int) -> bool:
    """Return whether rows are traced window by window.

    Parameters
    ----------
    x : Inputs
    size : int
        Bytes of all arrays of these rows.
    """
    steps = max(array.shape[1] if array.ndim > 1 else 1 for array in x)
    return steps >= MANY_STEPS or size > MAX_ROW_BYTES


def write_windows(
    net: Network,
    source: Source,
    path: Path,
    few: int,
    sizes: Mapping[str, int],
    *,
    folded: Mapping[str, int] | None = None,
    advance: Advance | None = None,
) -> dict[str, tuple[int, ...]]:
    """Write a trace of all rows; see `verify.checks.predict.write_trace`.

    Parameters
    ----------
    few : int
        The batch size of the model, or 1.
    sizes : mapping of str to int
        Bytes of each array for so many rows.
    folded : mapping of str to int, optional
        `Network.folded_arrays`.
    """
    of_few = sum(sizes.values())
    rows = together(net) or whole_batches(BATCH_BYTES // max(of_few, 1) * few, few)
    states: States = {}
    # while an array is packed, it takes its space twice
    room = (of_few + max(sizes.values(), default=0)) * -(-source.rows // few)
    with folder_beside(path, room) as folder:
        files = ArrayFiles(folder, source.rows, folded)
        sink = _ToFiles(files)
        for k, data in enumerate(source.batches(rows)):
            sink.first = k * rows
            with error_rows(sink.first, rows, source.rows):
                x = checked_inputs(net, data)
                sink.count = x.rows
                said = f"rows {sink.first + 1:,} to {sink.first + x.rows:,}"
                with doing(f"{said} of {source.rows:,}"):
                    trace_into(net, x, sink, before_batch(net, states))
            if advance is not None:
                advance(x.rows)
        found = files.paths(sink.names)
        shapes = files.shapes
        with doing("packing the arrays"):
            pack_into(path, found)
    return {name: shapes[name] for name in found}


class _ToFiles:
    """Write the arrays of some rows to files; see `verify.forward.windows.Sink`."""

    def __init__(self, files: ArrayFiles) -> None:
        self.files = files
        self.first = self.count = 0
        self.names: dict[str, None] = {}

    def whole(self, name: str, array: Array) -> None:
        rows = self.count * self.files.folded.get(name, 1)
        if array.ndim and len(array) == rows:
            self.files.put(name, array, self.first)
        else:
            self.files.put_once(name, array)

    def window(self, name: str, block: Array, start: int, time: int) -> None:
        self.files.put_steps(name, block, self.first, start, time)

    def finish(self, names: Sequence[str]) -> None:
        self.names.update(dict.fromkeys(names))
