"""Evaluate a whole model on values that carry changes forwards."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from verify.backward.any_layer import merged, with_recorded_weights
from verify.backward.recording import NotRecorded, Recorded
from verify.backward.recording.tangents import ForwardTape
from verify.errors import DataError
from verify.forward.evaluate import Evaluation, States, value_of
from verify.forward.layers.base import Tensor
from verify.forward.network import Inputs, Network
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import flatten, map_structure
from verify.model.spec import LayerSpec


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
    root, _ = with_recorded_weights(tape, net.cast_to("float64"), "", wanted=False)
    run = _Run(tape, x.rows, {} if states is None else states)
    given = [_given(tape, array) for array in x]
    try:
        outputs = run(root, given, at="")
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

    def __init__(self, tape: ForwardTape, rows: int, states: States) -> None:
        super().__init__(states, floatx="float64", merge_steps=partial(merged, tape))
        self.tape, self.rows = tape, rows

    def __call__(self, layer: LayerSpec, *args: Any, at: str, **kwargs: Any) -> Any:
        """Call a layer; see `Evaluation`."""
        output = super().__call__(layer, *args, at=at, **kwargs)
        return map_structure(self._of_rows, output)

    def _of_rows(self, leaf: Any) -> Any:
        value = value_of(leaf)
        if not isinstance(value, Recorded) or value.shape[:1] != (
            self.rows * self.tape.steps,
        ):
            return leaf
        value = self.tape.input(value)
        return Tensor(value, leaf.mask) if isinstance(leaf, Tensor) else value
