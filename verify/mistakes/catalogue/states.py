"""States of one layer mixed up: given, returned, passed on, carried to the next batch.

Whoever hands states over has a list of them. What goes wrong with that list is written
here as its *sources*: for each state of the right list the number of the state that
stands in its place, or None if zeros do.

A layer does not say whether it is given states or whether its states are used: that is
in the graph of the model, see `verify.mistakes.catalogue.given_states`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from verify.forward.layers import REGISTRY
from verify.forward.layers.base import LayerType, Run
from verify.forward.layers.recurrent import Loop
from verify.forward.layers.recurrent_cells import Cell
from verify.forward.recurrence import Scan, Step, scan
from verify.mistakes.catalogue.mistake import (
    Call,
    Change,
    Mistake,
    MutationOperator,
    Need,
    on_call,
)
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.graph import flatten
from verify.model.spec import LayerSpec

States = tuple[Array, ...]
Sources = tuple[int | None, ...]

NEXT_BATCH = frozenset({Need.SEVERAL_BATCHES})
SEVERAL_STEPS = frozenset({Need.SEVERAL_STEPS})

SHAPE_OPTIONS = (
    "units",
    *("filters", "kernel_size", "strides", "padding", "dilation_rate"),
)
"""Options of a cell that its states get their shape from."""


class State(NamedTuple):
    """Describe one of the states of a layer.

    Attributes
    ----------
    half : str
        ``f`` or ``b`` in a Bidirectional, otherwise empty.
    cell : str
        Number of the cell in a stack of cells, otherwise empty.
    name : str
        ``h`` or ``c``.
    shape : tuple
        Equal for two states of the same shape.
    """

    half: str
    cell: str
    name: str
    shape: tuple[Any, ...]

    @property
    def part(self) -> tuple[str, str]:
        """Return what has this state: a half, a cell."""
        return self.half, self.cell

    @property
    def label(self) -> str:
        """Return its name in an explanation: ``fh``, ``0/c``."""
        return self.half + (f"{self.cell}/" if self.cell else "") + self.name


def states_of(layer: LayerSpec) -> tuple[State, ...]:
    """Return the states of a recurrent layer, or of a cell, in Keras's order."""
    if layer.class_name == "Bidirectional":
        return tuple(
            state._replace(half=key[0])
            for key, half in layer.sublayers.items()
            for state in states_of(half)
        )
    kind: LayerType = REGISTRY[layer.class_name]
    cell = layer
    if isinstance(kind, Loop):
        kind, cell = kind.cell(layer)
    if not isinstance(kind, Cell):
        return ()
    found = []
    for path in kind.names(cell):
        place, _, name = path.rpartition("/")
        options = cell.at(place).options
        shape = tuple(options.get(key) for key in SHAPE_OPTIONS)
        found.append(State("", place, name, shape))
    return tuple(found)


def has_c(states: Sequence[State]) -> bool:
    """Say whether some cell has a state c beside h."""
    return any(state.name == "c" for state in states)


def labels(states: Sequence[State], order: Sequence[int] | None = None) -> str:
    """Return the states in words, in Keras's order or in another."""
    numbers = range(len(states)) if order is None else order
    return ",".join(states[k].label for k in numbers)


def listed(states: Sequence[State], order: Sequence[int] | None = None) -> str:
    """Return the states as a list in a sentence: ``[h, c]``."""
    return f"[{labels(states, order).replace(',', ', ')}]"


def rearranged(states: States, sources: Sources) -> States:
    """Return states, (batch, ...) each, with others or zeros in their places."""
    return tuple(
        np.zeros_like(state) if source is None else states[source]
        for state, source in zip(states, sources, strict=True)
    )


def exchanged(states: Sequence[State]) -> Sources:
    """Return the sources in which h and c stand in each other's places."""
    return _each_takes(states, {"h": "c", "c": "h"})


def _each_takes(states: Sequence[State], names: Mapping[str, str]) -> Sources:
    """Return sources that take, in the same cell, the state of another name."""
    places = {(state.part, state.name): k for k, state in enumerate(states)}
    return tuple(
        places.get((state.part, names.get(state.name, state.name)), k)
        for k, state in enumerate(states)
    )


def _without(states: Sequence[State], name: str) -> Sources:
    """Return sources in which the states of one name are zeros."""
    return tuple(None if s.name == name else k for k, s in enumerate(states))


def wrong_orders(states: Sequence[State]) -> Iterator[tuple[int, ...]]:
    """Yield the orders in which people have the states of several cells or halves.

    States of different shapes do not change places.
    """
    parts = list(dict.fromkeys(state.part for state in states))
    names = list(dict.fromkeys(state.name for state in states))
    part = [parts.index(state.part) for state in states]
    name = [names.index(state.name) for state in states]
    keys: tuple[Callable[[int], Any], ...] = (
        lambda k: (name[k], part[k]),  # every h, then every c
        lambda k: (-part[k], name[k]),  # backward half first
        lambda k: (-name[k], part[k]),
        lambda k: (name[k], -part[k]),
    )
    right = tuple(range(len(states)))
    orders = dict.fromkeys(tuple(sorted(right, key=key)) for key in keys)
    for order in orders:
        fits = all(states[k].shape == states[j].shape for j, k in enumerate(order))
        if len(parts) > 1 and fits and order != right:
            yield order


def with_states(key: str, sources: Sources) -> Change:
    """Return a change of the states that a layer is given, returns or keeps."""
    override = {key: partial(rearranged, sources=sources)}
    return lambda layer: layer.with_overrides(**override)


class _Wrong(NamedTuple):
    """Describe a list of states that is wrong: its name, what was done, its sources."""

    name: str
    explanation: str
    sources: Sources
    common: bool = False


def wrong_initial_states(
    states: Sequence[State], given: Sequence[Sequence[Any]]
) -> Iterator[Mistake]:
    """Yield what goes wrong with the states that a layer is given.

    Parameters
    ----------
    states : sequence of State
    given : sequence of sequences
        The states that each call of the layer is given. Where two of them are the same
        they can change places.
    """
    for wrong in _wrong_initial_states(states):
        if any(
            [None if k is None else tensors[k] for k in wrong.sources] != [*tensors]
            for tensors in given
        ):
            yield Mistake(
                wrong.name,
                wrong.explanation,
                f"begin with the states that it is given, which are {listed(states)}",
                with_states("initial_state", wrong.sources),
                common=wrong.common,
            )


def _wrong_initial_states(states: Sequence[State]) -> Iterator[_Wrong]:
    right, numbers = listed(states), tuple(range(len(states)))
    yield _Wrong(
        "initial states forgotten",
        "the layer begins with zeros instead of the states that it is given",
        (None,) * len(states),
        common=True,
    )
    if has_c(states):
        yield _Wrong(
            "initial states h and c exchanged",
            "h and c are exchanged in the states that the layer is given, as "
            f"TensorFlow 1 has them; Keras's order is {right}",
            exchanged(states),
            common=True,
        )
        for one, other in (("c", "h"), ("h", "c")):
            yield _Wrong(
                f"initial state {one} left at zero",
                f"of the states that the layer is given it takes {other} alone, and "
                f"{one} begins with zeros",
                _without(states, one),
                common=one == "c",
            )
            yield _Wrong(
                f"initial state {other} used for {one}",
                f"{other} is handed over twice, the second time in the place of {one}",
                _each_takes(states, {one: other}),
            )
    for order in wrong_orders(states):
        yield _Wrong(
            f"initial states read as {labels(states, order)}",
            "the states that the layer is given are read in the order "
            f"{listed(states, order)}; Keras's order is {right}",
            tuple(order.index(k) for k in numbers),
            common=True,
        )
    if states[0].half:
        half = len(states) // 2
        yield _Wrong(
            "initial states of the backward half forgotten",
            "the backward half begins with zeros instead of the states that it is "
            "given",
            (*numbers[:half], *[None] * (len(states) - half)),
        )
        kinds = [state[1:] for state in states]
        if kinds[:half] == kinds[half:]:
            yield _Wrong(
                "initial states of the forward half used in both",
                "the backward half begins with the states of the forward half",
                numbers[:half] * 2,
            )


def wrong_returned_states(states: Sequence[State]) -> Iterator[Mistake]:
    """Yield what goes wrong with the states that a layer returns."""
    right = listed(states)

    def mistake(name: str, explanation: str, sources: Sources) -> Mistake:
        return Mistake(
            name,
            explanation,
            f"take the states that follow the output in the order {right}",
            with_states("return_state", sources),
            common=True,
        )

    if has_c(states):
        yield mistake(
            "returned states h and c exchanged",
            "the states h and c that the layer returns are exchanged; Keras returns "
            f"{right}",
            exchanged(states),
        )
        yield mistake(
            "returned state h used for c",
            "the state h that the layer returns is taken twice, the second time in the "
            "place of c",
            _each_takes(states, {"c": "h"}),
        )
    for order in wrong_orders(states):
        yield mistake(
            f"returned states in the order {labels(states, order)}",
            f"the states that the layer returns are in the order "
            f"{listed(states, order)}; Keras returns {right}",
            order,
        )


def given_and_returned(states: Sequence[State]) -> Iterator[Mistake]:
    """Yield what goes wrong with states that a layer is given and returns anew."""
    if has_c(states):
        override = partial(rearranged, sources=exchanged(states))
        yield Mistake(
            "states h and c exchanged, given and returned",
            "h and c are exchanged in the states that the layer is given and in those "
            "that it returns",
            f"take both in the order {listed(states)}",
            lambda layer: layer.with_overrides(
                initial_state=override, return_state=override
            ),
        )
    yield Mistake(
        "states returned as they were given",
        "the layer returns the states that it was given, not those that it ends with",
        "return the states after the last step",
        _states_as_given,
        common=True,
    )


def states_from_outputs(layer: LayerSpec, masked: bool) -> Iterator[Mistake]:
    """Yield states h that are taken from the output, where they are not the same.

    Parameters
    ----------
    layer : LayerSpec
        A layer whose states are used.
    masked : bool
        Whether the model has masks.
    """
    half = layer.sublayers.get("forward_layer", layer)
    if any(state.cell for state in states_of(layer)):
        return
    if half is not layer and half.options["return_sequences"]:
        yield Mistake(
            "state h taken from output[:, -1]",
            "the state h of both halves is taken from the output at the last time "
            "step, where the backward half has read one step only",
            "take the states that follow the output",
            _in_loops(_state_from_output),
            common=True,
            needs=SEVERAL_STEPS,
        )
    elif masked and half.options["zero_output_for_mask"]:
        yield Mistake(
            "state h taken from output[:, -1]",
            "the state h is taken from the last output, which is zero where that step "
            "is masked",
            "take the states that follow the output",
            _in_loops(_state_from_output),
            needs=frozenset({Need.MASKED_STEPS}),
        )


def _in_loops(loop: Callable[..., Scan]) -> Change:
    """Return a change of the loop over time, in a layer or in both its halves."""

    def change(layer: LayerSpec) -> LayerSpec:
        if layer.class_name != "Bidirectional":
            return layer.with_overrides(scan=loop)
        halves = {k: x.with_overrides(scan=loop) for k, x in layer.sublayers.items()}
        return replace(layer, sublayers=halves)

    return change


def _restarting(
    step: Step, x: Array, mask: Array | None, states: States, *rest: Any, **options: Any
) -> Scan:
    """Begin every step with the initial states."""

    def restarted(x_t: Array, _: States) -> Any:
        return step(x_t, states)

    return scan(restarted, x, mask, states, *rest, **options)


def _states_as_given(layer: LayerSpec) -> LayerSpec:
    """Return a layer or a cell that returns the states which it was given."""
    if isinstance(REGISTRY[layer.class_name], Cell):
        return on_call(_cell_states_as_given)(layer)
    return _in_loops(_stale)(layer)


def _cell_states_as_given(
    call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
) -> tuple[Array, ...]:
    output, *_ = call(run, layer, arguments, mask)
    return (output, *flatten(arguments["states"]))


def _stale(
    step: Step, x: Array, mask: Array | None, states: States, *rest: Any, **options: Any
) -> Scan:
    """Return the initial states in the place of the last ones."""
    return scan(step, x, mask, states, *rest, **options)._replace(states=states)


def _one_step_early(
    step: Step, x: Array, mask: Array | None, states: States, *rest: Any, **options: Any
) -> Scan:
    """Return the states before the last step in the place of those after it."""
    found = scan(step, x, mask, states, *rest, **options)
    part = slice(1, None) if options["go_backwards"] else slice(None, -1)
    if x[:, part].shape[1]:
        mask = None if mask is None else mask[:, part]
        states = scan(step, x[:, part], mask, states, *rest, **options).states
    return found._replace(states=states)


def _state_from_output(*arguments: Any, **options: Any) -> Scan:
    """Return the output at the last time step in the place of state h.

    In a layer that goes backwards and returns sequences it comes out first.
    """
    found = scan(*arguments, **{**options, "return_sequences": True})
    sequences = options["return_sequences"]
    first = sequences and options["go_backwards"]
    shown = found.output[:, 0 if first else -1]  # (batch, units)
    output = found.output if sequences else found.output[:, -1]
    return found._replace(output=output, states=(shown, *found.states[1:]))


ONE_STEP_EARLY = Mistake(
    "states of the step before the last",
    "the states that the layer returns are those before its last step",
    "return the states after the last step",
    _in_loops(_one_step_early),
    needs=SEVERAL_STEPS,
)

RESTARTED = Mistake(
    "states not passed on to the next step",
    "every step begins with the states that the layer begins with, so nothing is "
    "passed from one step to the next",
    "give each step the states that the one before it ended with",
    lambda layer: layer.with_overrides(scan=_restarting),
    common=True,
    needs=SEVERAL_STEPS,
)


def wrong_steps(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield states that are not passed on from step to step.

    A SimpleRNN that begins with zeros would be the same without its recurrent term,
    which `verify.mistakes.catalogue.weights` has.
    """
    if not isinstance(REGISTRY[layer.class_name], Loop):
        return
    cells = [layer, *(inner for _, inner in layer.walk())]
    if any(len(cell.gates) > 1 for cell in cells):
        yield RESTARTED


def wrong_batches(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield states of a stateful layer that are not carried to the next batch."""
    forgotten = Rule.PREDICT_FORGETS_STATES in layer.rules
    if not layer.options.get("stateful") or forgotten:
        return
    states = states_of(layer)

    def mistake(name: str, explanation: str, sources: Sources) -> Mistake:
        return Mistake(
            name,
            explanation,
            "begin each batch with every state that the one before it ended with",
            with_states("stateful", sources),
            common=True,
            needs=NEXT_BATCH,
            ties_rows=True,
        )

    yield mistake(
        "states not carried to the next batch",
        "each batch begins with states of zeros; the layer is stateful",
        (None,) * len(states),
    )
    if not has_c(states):
        return
    for one, other in (("c", "h"), ("h", "c")):
        yield mistake(
            f"state {one} not carried to the next batch",
            f"each batch begins with the {other} that the one before it ended with, "
            f"but with zeros for {one}",
            _without(states, one),
        )
    yield mistake(
        "states h and c exchanged from batch to batch",
        "each batch begins with the states of the one before it, h and c exchanged",
        exchanged(states),
    )


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (wrong_batches, wrong_steps)
