"""Evaluate values inside a model by the names that a trace gives them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verify.errors import DataError, printable
from verify.forward.evaluable import Inputs
from verify.forward.evaluate import States
from verify.forward.network import KERAS_BATCH, Network
from verify.forward.trace import Trace
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.graph import TensorRef, flatten


@dataclass(frozen=True)
class Tap:
    """Name an array that a model computes, or some of its time steps.

    Attributes
    ----------
    name : str
        As it was given: ``"lstm/h"``, ``"lstm/h@3"``, or the name of an output.
    array : str
        Its name in `Trace.arrays`; empty for an output that was given by its own name.
    steps : tuple of int or None
        Numbers of the time steps, ascending; None for all of them, or where there is no
        time axis.
    single : bool
        Whether it is one step, without a time axis.
    backwards : bool
        Whether the layer processes the last step first. `Tapped` then evaluates to the
        steps in the order of processing.
    output : int or None
        Which output of the model this is; None if it is none.
    tensor : TensorRef or None
        The tensor of the model's graph that it is all of; None if it is none.
    """

    name: str
    array: str
    steps: tuple[int, ...] | None = None
    single: bool = False
    backwards: bool = False
    output: int | None = None
    tensor: TensorRef | None = None

    def of(self, array: Array) -> Array:
        """Return these steps of an array with all of them, in time order."""
        if self.steps is None:
            return array
        return array[:, self.steps[0]] if self.single else array[:, list(self.steps)]

    def processed(self, array: Array) -> Array:
        """Return an array in time order in the order of processing, or the reverse."""
        return array[:, ::-1] if self.backwards and not self.single else array


class Tapped(Inputs):
    """Hold inputs on which a model is evaluated to values inside it.

    Attributes
    ----------
    taps : tuple of Tap
    ignored : list of (batch, ...) of bool, or None
        For each tap what counts as 0, as the gates of masked steps do, which change
        nothing; in the order of processing.
    """

    taps: tuple[Tap, ...]
    ignored: Sequence[Array | None]

    def __new__(
        cls,
        arrays: Iterable[Array],
        taps: Sequence[Tap] = (),
        ignored: Sequence[Array | None] | None = None,
    ) -> Tapped:
        """Make them of the arrays of `Inputs`."""
        made = super().__new__(cls, arrays)
        made.taps = tuple(taps)
        made.ignored = [None] * len(made.taps) if ignored is None else ignored
        return made

    def take(self, rows: Any) -> Tapped:
        """Return some of the samples, by a slice or by their numbers."""
        kept = [None if some is None else some[rows] for some in self.ignored]
        return Tapped((array[rows] for array in self), self.taps, kept)

    def like(self, arrays: Iterable[Array]) -> Tapped:
        """Return other inputs of the same rows."""
        return Tapped(arrays, self.taps, self.ignored)

    def tapped(self, taps: Iterable[int]) -> Tapped:
        """Return the same inputs with some of the taps, by their numbers."""
        kept = list(taps)
        return Tapped(
            self, [self.taps[k] for k in kept], [self.ignored[k] for k in kept]
        )

    def evaluate(
        self,
        net: Network,
        dtype: str | None,
        *,
        threads: int | None = None,
        fast: bool = False,
    ) -> list[Array]:
        """Return the array of every tap; see `Evaluable`.

        It is always evaluated by the equations, in one thread.

        Raises
        ------
        DataError
            The model does not compute such an array.
        """
        parts = []
        for trace in traced_batches(net, self, dtype):
            arrays = trace.arrays()
            parts.append([_value(tap, trace, arrays) for tap in self.taps])
        found = [
            values[0] if len(values) == 1 else np.concatenate(values)
            for values in zip(*parts, strict=True)
        ]
        return [self.kept(k, tap.processed(y)) for k, (tap, y) in self._with(found)]

    def _with(self, found: Sequence[Array]) -> Iterator[tuple[int, tuple[Tap, Array]]]:
        return enumerate(zip(self.taps, found, strict=True))

    def kept(self, number: int, array: Array) -> Array:
        """Return the array of a tap with zeros for what is ignored."""
        ignored = self.ignored[number]
        if ignored is None or ignored.shape != array.shape:
            return array
        return np.where(ignored, np.zeros((), array.dtype), array)


def _value(tap: Tap, trace: Trace, arrays: Mapping[str, Array]) -> Array:
    """Return the array of a tap in time order."""
    if not tap.array and tap.output is not None:
        return tap.of(np.asarray(flatten(trace.output)[tap.output]))
    found = arrays.get(tap.array)
    if found is None:
        raise DataError(f"the model does not compute '{printable(tap.array, 80)}'")
    return tap.of(np.asarray(found))


def with_outputs(net: Network, tensors: Sequence[TensorRef]) -> Network:
    """Return a network whose outputs are other tensors of its graph.

    Raises
    ------
    ValueError
        The model has no graph.
    """
    root = net.spec.root
    if root.graph is None:
        raise ValueError("expected a model with a graph")
    graph = replace(root.graph, outputs=list(tensors))
    return Network(replace(net.spec, root=replace(root, graph=graph)), net.floatx)


def together(net: Network) -> int | None:
    """Return how many rows are evaluated together; None where it does not matter.

    It does where rows depend on those before them, or on the others of their batch.
    """
    if net.stateful:
        return net.spec.batch_size or 1
    return KERAS_BATCH if net.batch_matters else None


def traced_batches(
    net: Network, x: Inputs, dtype: str | None, states: States | None = None
) -> Iterator[Trace]:
    """Yield the traces of some rows, in the batches that are evaluated `together`.

    Parameters
    ----------
    net, x, dtype : as for `Network.trace`
    states : dict, optional
        Those before the first batch of a stateful model, by default zeros; afterwards
        it holds those after the last one.
    """
    size = together(net)
    if size is None:
        yield net.trace(x, dtype=dtype)
        return
    states = {} if states is None else states
    for first in range(0, x.rows, size):
        some = Inputs(array[first : first + size] for array in x)
        yield net.trace(some, dtype=dtype, states=before_batch(net, states))


def before_batch(net: Network, states: States) -> States | None:
    """Return the states with which the next batch begins, given those after the last.

    None if no layer keeps its states. They are forgotten where Keras forgets them.
    """
    if Rule.PREDICT_FORGETS_STATES in net.spec.root.rules:
        states.clear()
    return states if net.stateful else None
