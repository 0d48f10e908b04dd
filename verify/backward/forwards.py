"""Evaluate a whole model on values that carry changes forwards."""

from __future__ import annotations

from collections.abc import Callable, Set
from functools import partial
from typing import Any

import numpy as np

from verify.backward.any_layer import (
    floats_recorded,
    merged,
    with_recorded_weights,
)
from verify.backward.recording import NotRecorded, Recorded
from verify.backward.recording.tangents import ForwardTape
from verify.errors import DataError
from verify.forward.evaluable import Inputs, LayerCall
from verify.forward.evaluate import Evaluation, States, value_of
from verify.forward.layers.base import Tensor
from verify.forward.network import Network
from verify.forward.recurrence import TimeLoop
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import flatten, map_structure
from verify.model.spec import LayerSpec

LoopFor = Callable[[LayerSpec, str], TimeLoop | None]
"""A recurrent layer and its path -> its loop over time on values with changes; None if
its operations are to be recorded."""

Seen = Callable[[str, Array, Array], object]
"""Called with the path of a layer and what it returns, in float32 and in float64."""


def changed_outputs(
    net: Network, x: Inputs, tape: ForwardTape, states: States | None = None
) -> list[Any]:
    """Return the outputs of a model, with the changes that the tape carries to them.

    Parameters
    ----------
    net : Network
    x : Inputs
    tape : ForwardTape
    states : dict, optional
        Of a stateful model: its states, with their changes, before this batch, which
        those after it replace; zeros if it is empty.

    Returns
    -------
    list of Changing, or of (batch, ...)
        An output is a plain array if no input and no change has an effect on it.

    Raises
    ------
    NotRecorded
        The model computes something that is not known here.
    """
    return ChangingModel(net, tape).outputs(x, states)


class ChangingModel:
    """Evaluate a model, or one of its layers, on values that carry changes.

    Parameters
    ----------
    net : Network
    tape : ForwardTape
    loop_for : callable, optional
        See `LoopFor`.
    seen : callable, optional
        See `Seen`.
    """

    def __init__(
        self,
        net: Network,
        tape: ForwardTape,
        loop_for: LoopFor | None = None,
        seen: Seen | None = None,
    ) -> None:
        self.net = net
        self.tape, self.loop_for, self.seen = tape, loop_for, seen
        self.root, _ = with_recorded_weights(
            tape, net.cast_to("float64"), "", wanted=False
        )

    def outputs(self, x: Inputs, states: States | None = None) -> list[Any]:
        """Return the outputs of the model; see `changed_outputs`."""
        given = [_given(self.tape, array) for array in x]
        counts = self.net.row_counts(x)
        return self._run(counts, self.root, given, {}, "", states)

    def of_call(self, call: LayerCall) -> list[Any]:
        """Return the outputs of a layer; see `changed_outputs`."""

        def given(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return Tensor(_given(self.tape, leaf.value), leaf.mask)
            return leaf

        args = map_structure(given, list(call.args))
        kwargs = map_structure(given, dict(call.kwargs))
        counts = frozenset([call.rows])
        return self._run(counts, self.root.at(call.name), args, kwargs, call.name)

    def _run(
        self,
        row_counts: Set[int],
        layer: LayerSpec,
        args: Any,
        kwargs: Any,
        at: str,
        states: States | None = None,
    ) -> list[Any]:
        run = _Run(self, row_counts, {} if states is None else states)
        positional = [args] if layer is self.root else args
        try:
            outputs = run(layer, *positional, at=at, **kwargs)
        except DataError:
            # an array of objects, or code of the user's that needs plain arrays
            raise NotRecorded("what a layer does has no derivative here") from None
        return [value_of(leaf) for leaf in flatten(outputs)]


def _given(tape: ForwardTape, array: Array) -> Any:
    if not is_float(array):
        return array
    return tape.leaf(array.astype(np.float64), array)


class _Run(Evaluation):
    """Evaluate a model on recorded values; whatever a layer returns is its input's.

    Vectors of an Embedding are computed from ids, which are no recorded values. Only
    weights of that many rows could be taken for the rows of a batch.
    """

    def __init__(
        self, model: ChangingModel, row_counts: Set[int], states: States
    ) -> None:
        super().__init__(
            states, floatx="float64", merge_steps=partial(merged, model.tape)
        )
        self.model, self.tape, self.row_counts = model, model.tape, row_counts

    def __call__(self, layer: LayerSpec, *args: Any, at: str, **kwargs: Any) -> Any:
        """Call a layer; see `Evaluation`."""
        call = super().__call__

        def evaluated(arguments: Any) -> Any:
            return call(layer, *arguments[0], at=at, **arguments[1])

        output = floats_recorded(self.tape, evaluated, [list(args), kwargs])
        output = map_structure(self._of_rows, output)
        if self.model.seen is not None and self.tape.steps == 1:
            path = "/".join([*self._path, at])
            for k, value in enumerate(map(value_of, flatten(output))):
                if isinstance(value, Recorded) and value.single is not None:
                    name = f"{path}.{k}"
                    self.model.seen(name, value.single, value.value)
        return output

    def loop(self, layer: LayerSpec) -> TimeLoop | None:
        """Return the loop over time of a recurrent layer, if there is one here."""
        if self.model.loop_for is None:
            return None
        return self.model.loop_for(layer, "/".join(self._path))

    def _of_rows(self, leaf: Any) -> Any:
        value = value_of(leaf)
        if not isinstance(value, Recorded) or not value.shape:
            return leaf
        if value.shape[0] not in {n * self.tape.steps for n in self.row_counts}:
            return leaf
        value = self.tape.input(value)
        return Tensor(value, leaf.mask) if isinstance(leaf, Tensor) else value
