"""Trace a model in windows of time, with one window of gates and states in memory.

The loop over time of a recurrent layer goes on from window to window with its states.
So every layer can be traced so, one that goes backwards or a Bidirectional too, and
what comes out is what `Network.trace` returns, to the bit. Of the layers themselves
only the outputs that a later layer reads are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from verify.forward.evaluable import Inputs
from verify.forward.evaluate import Evaluation, LayerTrace, States
from verify.forward.layers import REGISTRY
from verify.forward.layers.lookups import pads_to_batch
from verify.forward.network import Network
from verify.forward.recurrence import KeepStep
from verify.forward.trace import named_arrays
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

WINDOW_NUMBERS = 2**20
"""Numbers of one step's values, over all rows, that a window of steps has at most."""

MANY_STEPS = 1000
"""Steps of a TimeDistributed from which it is traced in windows, with one array for all
steps: ``td/layer/logits`` is then (batch, time, ...), and there is no
``td/layer:2/logits``."""


class Sink(Protocol):
    """Take the arrays of a trace, whole or by windows of time, in any order."""

    def whole(self, name: str, array: Array) -> None:
        """Take an array of all steps."""

    def window(self, name: str, block: Array, start: int, time: int) -> None:
        """Take the steps from `start` on, (batch, steps, ...), of `time` in all."""

    def finish(self, names: Sequence[str]) -> None:
        """Be told that these arrays are complete, in the order of a trace."""


def trace_into(
    net: Network, x: Inputs, sink: Sink, states: States | None = None
) -> None:
    """Give a sink what `Network.trace` would return, window by window.

    Parameters
    ----------
    net : Network
    x : Inputs
        All rows are one batch.
    sink : Sink
    states : dict, optional
        As for `Network.trace`.
    """
    run = _Windowed(sink, net.floatx, states)
    run(net.cast_to(None), list(x), at="")


class _Windowed(Evaluation):
    """Evaluate a model, and hand over what is recorded as soon as it is known."""

    frees = True

    def __init__(self, sink: Sink, floatx: str, states: States | None) -> None:
        super().__init__(states, recording=True, floatx=floatx)
        self._sink = sink
        self._loops: dict[str, _Window] = {}
        self._inside: tuple[int, slice, int] | None = None  # rows, steps, all steps

    def keep_steps(self) -> bool | KeepStep:
        if self._inside is not None:
            return True  # the loop of each step of a TimeDistributed is short
        key = self._key("/".join(self._path))
        return self._loops.setdefault(key, _Window(self._sink, key))

    def keep_trace(self, key: str, trace: LayerTrace) -> None:
        self.traces[key] = trace
        if not key or trace.layer.class_name == "InputLayer":
            return
        window = self._loops.pop(key, None)
        values: Mapping[str, Array] = trace.values
        names = [] if window is None else window.flush()
        found = {
            **named_arrays(f"{key}/input", trace.input),
            **named_arrays(f"{key}/mask", trace.mask),
            **{f"{key}/{name}": value for name, value in values.items()},
            **named_arrays(f"{key}/output", trace.output),
        }
        for name, array in found.items():
            self._take(name, array)
        outputs = list(named_arrays(f"{key}/output", trace.output))
        first = [name for name in found if name not in outputs]
        self._sink.finish([*first, *names, *outputs])
        self.traces[key] = _GONE

    def _take(self, name: str, array: Array) -> None:
        if self._inside is None:
            self._sink.whole(name, array)
            return
        rows, some, time = self._inside
        steps = some.stop - some.start
        if not array.ndim or len(array) != rows * steps:
            self._sink.whole(name, array)
            return
        block = array.reshape(rows, steps, *array.shape[1:])
        self._sink.window(name, block, some.start, time)

    def windows(self, layer: LayerSpec, time: int, rows: int) -> Iterator[slice] | None:
        inner = [layer, *(one for _, one in layer.walk())]
        if (
            time < MANY_STEPS
            or self._inside is not None
            or not all(map(treats_rows_alike, inner))
        ):
            return None
        return self._each_window(time, rows)

    def _each_window(self, time: int, rows: int) -> Iterator[slice]:
        calls, traces = self._calls.copy(), dict(self.traces)
        steps = max(MANY_STEPS // rows, 1)
        for start in range(0, time, steps):
            # each window is a part of the same call
            self._calls, self.traces = calls.copy(), dict(traces)
            some = slice(start, min(start + steps, time))
            self._inside = rows, some, time
            try:
                yield some
            finally:
                self._inside = None


_GONE: Any = None
"""Stands in the place of a trace that has been handed over."""


def treats_rows_alike(layer: LayerSpec) -> bool:
    """Return whether a layer inside TimeDistributed may be given more rows at a time.

    Code of the user's and operations may name the number of rows, and a stateful layer
    goes on from step to step.
    """
    name = layer.class_name
    own = name in REGISTRY.own or name.startswith("ops.")
    return not (own or pads_to_batch(layer) or layer.options.get("stateful"))


class _Window:
    """Collect the steps of one loop, and hand them over window by window."""

    def __init__(self, sink: Sink, key: str) -> None:
        self._sink, self._key = sink, key
        self._blocks: dict[str, Array] = {}
        self._size, self._time = 0, 0
        self._seen: list[int] = []

    def __call__(self, t: int, time: int, values: Mapping[str, Array]) -> None:
        """Take the values of one step; see `KeepStep`."""
        if not self._blocks:
            numbers = sum(value.size for value in values.values())
            self._size = min(max(WINDOW_NUMBERS // max(numbers, 1), 1), time)
            self._time = time
            self._blocks = {
                name: np.empty((value.shape[0], self._size, *value.shape[1:]), v_type)
                for name, value in values.items()
                for v_type in [value.dtype]
            }
        if len(self._seen) == self._size:
            self._hand_over()
        place = len(self._seen)
        for name, value in values.items():
            self._blocks[name][:, place] = value
        self._seen.append(t)

    def _hand_over(self) -> None:
        if not self._seen:
            return
        backwards = self._seen[0] > self._seen[-1]
        for name, block in self._blocks.items():
            steps = block[:, : len(self._seen)]
            self._sink.window(
                f"{self._key}/{name}",
                steps[:, ::-1] if backwards else steps,
                min(self._seen),
                self._time,
            )
        self._seen = []

    def flush(self) -> list[str]:
        """Hand over what is left; return the names of the arrays."""
        self._hand_over()
        return [f"{self._key}/{name}" for name in self._blocks]
