"""What a mistake is: a name, what was done instead, how to mend it, and the change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any

import numpy as np

from verify.forward.evaluable import Inputs
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import Run
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.spec import LayerSpec, ModelSpec

Change = Callable[[LayerSpec], LayerSpec]

CONV_LSTMS = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
"""Recurrent layers with spatial axes, which some mistakes do not know."""


class Need(Enum):
    """Name what a model and its inputs need so that a mistake can show.

    `verify.mistakes.blind_spots` tells which needs a model and its inputs do not meet.
    """

    SEVERAL_ROWS = auto()
    SEVERAL_BATCHES = auto()
    """More rows than `predict` takes at a time."""
    SEVERAL_STEPS = auto()
    SEVERAL_UNITS = auto()
    OPEN_GATES = auto()
    """Gates that are seldom saturated at 0 or 1."""
    OPEN_OWN_GATE = auto()
    """The same of the gate in which the mistake is made, `Mistake.gate`."""
    MASKED_STEPS = auto()
    MASKED_STEPS_BEFORE_OTHERS = auto()
    """Masked steps with others on their right."""
    ID_ZERO = auto()
    BIAS = auto()
    """A bias that is not zero."""
    NUMBERS_AT_BOUNDARIES = auto()
    """Numbers that equal a boundary of bins."""
    UNKNOWN_TOKENS = auto()
    """Tokens that are not in a vocabulary."""


@dataclass(frozen=True)
class Mistake:
    """Describe one thing misread in one layer.

    Attributes
    ----------
    name : str
        Short and stable, for example ``"gate order i,o,f,c"``.
    explanation, remedy : str
        What was done instead of what Keras does, and how to mend it.
    change : callable
        The layer, which may have another mistake already -> the layer with this one.
    common : bool
        Whether it is worth trying together with a second one.
    gate : str
        The gate that it is made in; empty if it is not made in a single one.
    needs : frozenset of Need
        What it needs to show; without any of these it is hidden.
    ties_rows : bool
        Whether the outputs of a row depend on the rows before it.
    ties_all_rows : bool
        Whether they depend on all rows that were computed together, also later ones.
    in_backward_layer : bool
        Whether it is tried in the backward layer of a Bidirectional, too. False if
        `around.directions` has it under a name of its own.
    roundoff : float
        Greatest error of a number of size 1 where it rounds at every step. The last bit
        of what is rounded decides which way, so a port may differ by a few of these. 0
        if nothing is rounded, or only weights are.
    one_number : bool
        Whether a single number of the weights is wrong, and not what is done with them.
        It may change the outputs by less than rounding may.
    """

    name: str
    explanation: str
    remedy: str
    change: Change
    common: bool = False
    gate: str = ""
    needs: frozenset[Need] = frozenset()
    ties_rows: bool = False
    ties_all_rows: bool = False
    in_backward_layer: bool = True
    roundoff: float = 0.0
    one_number: bool = False


MutationOperator = Callable[[LayerSpec], Iterator[Mistake]]
"""Yields the mistakes of one kind that a layer allows."""


@dataclass(frozen=True)
class Mutant:
    """Hold a model with one mistake in it, or with several.

    Attributes
    ----------
    name : str
        Name of the mistake; two are joined by a semicolon.
    layer : str
        Path of the layer it is made in, such as ``bidirectional/forward_layer``; empty
        for the whole model.
    explanation, remedy : str
        What was done instead of what Keras does, and how to mend it.
    model : ModelSpec
        The model with the mistake.
    gate : str
        The gate that it is made in; empty if it is not made in a single one.
    needs : frozenset of Need
        What the model and its inputs need so that it shows.
    common : bool
        Whether it is worth trying together with a second one.
    ties_rows : bool
        Whether the outputs of a row depend on the rows before it, so that only leading
        rows can show it.
    ties_all_rows : bool
        Whether they depend on all rows that were computed together, also later ones.
    inputs : callable, optional
        Prepared inputs of the model -> the inputs that the port computes on instead,
        for as many rows unless `outputs` leaves some out; by default the same.
    changes : tuple of (str, Mistake)
        Path of a layer and the mistake made in it, for each layer that was changed to
        make `model`; empty if it was made in another way.
    outputs : callable, optional
        Outputs of the mistaken model, (batch, ...) each -> those that the port returns
        for them; by default the same.
    roundoff : float
        As for `Mistake`, the greatest if there are several.
    alone : bool
        Whether it is one mistake, in one layer or in several, and not two unlike ones.
    """

    name: str
    layer: str
    explanation: str
    remedy: str
    model: ModelSpec
    gate: str = ""
    needs: frozenset[Need] = frozenset()
    common: bool = False
    ties_rows: bool = False
    ties_all_rows: bool = False
    changes: tuple[tuple[str, Mistake], ...] = ()
    inputs: Callable[[Inputs], Inputs] | None = None
    outputs: Callable[[list[Array]], list[Array]] | None = None
    roundoff: float = 0.0
    alone: bool = True

    def evaluate(
        self, x: Any, dtype: str | None = "float64", floatx: str = "float32"
    ) -> list[Array]:
        """Return what the port computes with this mistake.

        Parameters
        ----------
        x : (batch, ...)
            The right inputs, as for `Network.predict`.
        dtype : str, optional
            As for `Network.predict`.
        floatx : str
            As for `Network`.

        Returns
        -------
        list of (batch, ...)

        Raises
        ------
        DataError
            The mistake makes a model that cannot be evaluated on these inputs.
        """
        net = Network(self.model, floatx)
        given = net.prepare(x)
        if self.inputs is not None:
            given = self.inputs(given)
        found = net.flat(given, dtype=dtype)
        return found if self.outputs is None else self.outputs(found)


ModelOperator = Callable[[ModelSpec], Iterator[Mutant]]
"""Yields the mistakes of one kind that take a whole model: between layers, in several
at once, or in what it is given."""


def gate_blocks(layer: LayerSpec, weight: Array) -> list[Array]:
    """Return the gate blocks of a weight: slices of its last axis, (..., units)."""
    return np.split(weight, len(layer.gates), axis=-1)


def join_blocks(blocks: list[Array]) -> Array:
    """Return the weight, (..., gates * units), that has these gate blocks."""
    return np.concatenate(blocks, axis=-1)


def on_weights(*keys: str, change: Callable[[LayerSpec, Array], Array]) -> Change:
    """Return a change of the named weights of a layer, of all if none is named.

    Parameters
    ----------
    *keys : str
    change : callable
        The layer and one of its weights -> that weight with the mistake, in the same
        shape.
    """

    def changed(layer: LayerSpec) -> LayerSpec:
        chosen = keys or tuple(layer.weights)
        return layer.with_weights(
            **{
                key: change(layer, layer.weights[key]).astype(layer.weights[key].dtype)
                for key in chosen
            }
        )

    return changed


Call = Callable[[Run, LayerSpec, dict[str, Any], Any], Any]
"""Evaluates a layer: the evaluation that calls it, the layer, its arguments by name as
arrays or structures of arrays, and the mask of the first of them, (batch, time) of bool
or None, whether or not the layer uses it -> its outputs."""


def usual_call(run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any) -> Any:
    """Evaluate a layer as Keras does; see `Call`."""
    return REGISTRY[layer.class_name].call(run, layer, **arguments)


def on_call(
    change: Callable[[Call, Run, LayerSpec, dict[str, Any], Any], Any],
) -> Change:
    """Return a change of what a layer computes.

    Parameters
    ----------
    change : callable
        How the layer is evaluated without this mistake, and the arguments of a `Call`
        -> the outputs with it.
    """

    def changed(layer: LayerSpec) -> LayerSpec:
        before = layer.overrides.get("call", usual_call)
        return layer.with_overrides(call=partial(change, before))

    return changed


def on_outputs(change: Callable[[Array], Array]) -> Change:
    """Return a change of the only output of a layer."""
    return on_call(
        lambda call, run, layer, arguments, mask: change(
            call(run, layer, arguments, mask)
        )
    )


def on_inputs(change: Callable[[Any], Any]) -> Change:
    """Return a change of the first argument of a layer, an array or a list of them.

    Masks stay as they are.
    """

    def changed(
        call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
    ) -> Any:
        first = REGISTRY[layer.class_name].arguments[0]
        given = {**arguments, first: change(arguments[first])}
        return call(run, layer, given, mask)

    return on_call(changed)
