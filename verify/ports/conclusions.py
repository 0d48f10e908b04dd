"""Say what a port does instead, where its answer to a probe is wrong.

Each function here is one loss that exporters and runtimes are known for. It computes
what a port with that loss would answer, and speaks only if that is the answer. What it
leaves unexplained goes to the diagnosis, which knows the mistakes inside layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice, permutations, product
from typing import Any

import numpy as np

from verify.errors import join_and, printable
from verify.forward.evaluable import Inputs
from verify.forward.layers import LOOPS
from verify.forward.network import Network
from verify.forward.recurrence import scan
from verify.mistakes.catalogue.states import states_of
from verify.model.arrays import Array
from verify.model.spec import LayerSpec, ModelSpec
from verify.ports.probes import Probe, mask_inputs, state_inputs

CLOSE_RELATIVE, CLOSE_ALLOWED, MOST_RELATIVE = 1e-5, 30.0, 1e-4
"""An answer is explained to the first share of its greatest output, or to so many times
what is allowed, up to the last share: a port with a loss rounds otherwise.
Where more than that is allowed, as for 8 bits, an answer is explained to what is."""

EXPLAINED_REST = 0.25
"""Share of the difference from the model that may remain unexplained. What the user
allows may be wide enough for many an answer; only one that comes nearer explains it."""

MOST_STEPS_TRIED, MOST_ORDERS = 64, 24
"""Lengths, and orders of tensors of the same shape, that are tried at most."""


@dataclass(frozen=True, eq=False)
class Case:
    """Hold a probe, what the model answers to it, and what the port answered.

    Attributes
    ----------
    net : Network
    probe : Probe
    expected : list of (batch, ...)
        Outputs of the model for the rows of all calls, in float64.
    outputs : list of (batch, ...)
        Outputs of the port, perhaps of other shapes.
    allowed : float
        The greatest difference that rounding explains.
    constants : callable
        Returns the constant arrays of an exported file by their names.
    """

    net: Network
    probe: Probe
    expected: Sequence[Array]
    outputs: Sequence[Array]
    allowed: float
    constants: Callable[[], Mapping[str, Array]]

    def answered(self, candidate: Sequence[Array]) -> bool:
        """Return whether the port's outputs are these."""
        if [a.shape for a in candidate] != [b.shape for b in self.outputs]:
            return False
        rest = 0.0
        for a, b in zip(candidate, self.outputs, strict=True):
            far = float(np.max(np.abs(a - b.astype(np.float64)), initial=0.0))
            scale = float(np.max(np.abs(a), initial=0.0))
            near = max(
                CLOSE_RELATIVE * scale,
                min(CLOSE_ALLOWED * self.allowed, MOST_RELATIVE * scale),
                self.allowed,
            )
            if not far <= near:  # NaN is not
                return False
            rest = max(rest, far)
        return rest <= EXPLAINED_REST * self.difference

    @cached_property
    def difference(self) -> float:
        """Return how far the answer is from the model's; infinite for another shape."""
        if [a.shape for a in self.expected] != [b.shape for b in self.outputs]:
            return math.inf
        pairs = zip(self.expected, self.outputs, strict=True)
        with np.errstate(invalid="ignore"):
            apart = [
                float(np.max(np.abs(a - b.astype(np.float64)), initial=0.0))
                for a, b in pairs
            ]
        return max(apart) if np.isfinite(apart).all() else math.inf

    def computed(self, x: Inputs, net: Network | None = None) -> list[Array]:
        """Return what a model answers to other inputs; nothing where it cannot."""
        try:
            return (net or self.net).flat(x, dtype="float64")
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return []


Conclusion = Callable[[Case], str]
"""Returns a sentence if a port's answer is that of a loss, and an empty text if not."""


def conclude(case: Case) -> str:
    """Return what the port does instead of the model, or an empty text."""
    several = len(case.probe.calls) > 1
    for conclusion in SEVERAL_CALLS if several else SINGLE_CALL:
        if said := conclusion(case):
            return said
    return ""


def _steps(spec: ModelSpec, x: Inputs) -> tuple[tuple[int, ...], int]:
    """Return the numbers of the inputs that have time steps, and how many these are."""
    skip = {*mask_inputs(spec), *state_inputs(spec)}
    timed = [
        k
        for k, layer in enumerate(spec.inputs)
        if len(layer.options["batch_shape"]) > 2
        or (len(layer.options["batch_shape"]) == 2 and x[k].dtype.kind in "iu")
        or (k in skip and layer.options["batch_shape"][1:2] == (None,))
    ]
    lengths = {x[k].shape[1] for k in timed}
    return tuple(timed), lengths.pop() if len(lengths) == 1 else 0


AS_MANY_AS_ROWS = "returns as many steps as the call has rows"


def returns_some_steps(case: Case) -> str:
    """Recognise a port whose sequences end before the model's do.

    A single step is left to `reads_some_steps`: what is read is then told by it.
    """
    counts = {
        b.shape[1]
        for a, b in zip(case.expected, case.outputs, strict=False)
        if a.ndim > 2 and b.ndim == a.ndim and b.shape[1] < a.shape[1]
    }
    if len(counts) != 1:
        return ""
    (count,) = counts
    cut = [y[:, :count] if y.ndim > 2 else y for y in case.expected]
    if count < 2 or not case.answered(cut):
        return ""
    if count == case.probe.calls[0].rows:
        return AS_MANY_AS_ROWS
    return f"returns only the first {count} steps"


def reads_some_steps(case: Case) -> str:
    """Recognise a port that reads the first or the last steps alone."""
    x = case.probe.whole
    timed, steps = _steps(case.net.spec, x)
    masks = mask_inputs(case.net.spec)

    def cut(first: int, last: int) -> Inputs:
        return Inputs(
            a[:, first:last] if k in timed or k in masks else a for k, a in enumerate(x)
        )

    for count in islice(range(1, steps), MOST_STEPS_TRIED):
        if case.answered(case.computed(cut(0, count))):
            which = "the first step" if count == 1 else f"the first {count} steps"
            return f"reads only {which}"
        if case.answered(case.computed(cut(steps - count, steps))):
            which = "the last step" if count == 1 else f"the last {count} steps"
            return f"reads only {which}"
    return ""


def runs_few_steps(case: Case) -> str:
    """Recognise a port whose recurrent layers stop after their first steps.

    In the order of each layer: one that goes backwards begins at the last step.
    """
    loops = [x for _, x in case.net.spec.walk() if x.class_name in LOOPS]
    if not any(layer.options.get("go_backwards") for layer in loops):
        return ""  # `reads_some_steps` has tried it
    _, steps = _steps(case.net.spec, case.probe.whole)
    for count in islice(range(1, steps), MOST_STEPS_TRIED):
        stopped = with_layers(case.net, partial(_stopped, count=count))
        if case.answered(case.computed(case.probe.whole, stopped)):
            which = "the first step" if count == 1 else f"the first {count} steps"
            return f"every recurrent layer runs {which} only, in its own direction"
    return ""


def _stopped(layer: LayerSpec, count: int) -> LayerSpec:
    """Return a recurrent layer that takes no more than its first steps."""
    if layer.class_name not in LOOPS:
        return layer

    def few(step: Any, x: Array, mask: Array | None, *args: Any, **options: Any) -> Any:
        time = x.shape[1]
        begin = max(0, time - count) if options["go_backwards"] else 0
        taken = slice(begin, begin + count)
        cut = None if mask is None else mask[:, taken]
        return scan(step, x[:, taken], cut, *args, **options)

    return layer.with_overrides(scan=few)


def with_layers(net: Network, change: Callable[[LayerSpec], LayerSpec]) -> Network:
    """Return a network with a change of every layer."""
    spec = replace(net.spec, root=net.spec.root.mapped(change))
    return Network(spec, net.floatx)


def answers_one_row(case: Case) -> str:
    """Recognise a port that answers one row, whatever the others are."""
    rows = len(case.expected[0])
    for row in range(rows) if rows > 1 else ():
        if case.answered([np.repeat(y[row : row + 1], rows, 0) for y in case.expected]):
            return f"answers row {row} for every row of the batch"
    return ""


def swaps_outputs(case: Case) -> str:
    """Recognise a port whose outputs of the same shape stand in another order."""
    names = case.net.output_names
    for order in islice(permutations(range(len(names))), MOST_ORDERS):
        if list(order) == sorted(order):
            continue
        if case.answered([case.expected[k] for k in order]):
            moved = [
                f"'{printable(names[k], 40)}' stands where '{printable(name, 40)}' is "
                "expected"
                for name, k in zip(names, order, strict=True)
                if names[k] != name
            ]
            return f"outputs are exchanged: {join_and(moved)}"
    return ""


def swaps_inputs(case: Case) -> str:
    """Recognise a port whose inputs of the same shape are exchanged."""
    x, names = case.probe.whole, case.net.input_names
    for order in islice(permutations(range(len(x))), MOST_ORDERS):
        same = all(
            x[k].shape == a.shape and x[k].dtype == a.dtype
            for k, a in zip(order, x, strict=True)
        )
        if list(order) == sorted(order) or not same:
            continue
        if case.answered(case.computed(Inputs(x[k] for k in order))):
            moved = [
                f"reads '{printable(names[k], 40)}' as '{printable(name, 40)}'"
                for name, k in zip(names, order, strict=True)
                if names[k] != name
            ]
            return f"inputs are exchanged: {join_and(moved)}"
    return ""


def ignores_initial_states(case: Case) -> str:
    """Recognise a port that begins with zeros whatever initial states it is given."""
    states = state_inputs(case.net.spec)
    if not states:
        return ""
    x = case.probe.whole
    zeros = [np.zeros_like(a) if k in states else a for k, a in enumerate(x)]
    if case.answered(case.computed(Inputs(zeros))):
        return "ignores the initial states that it is given, and begins with zeros"
    empty = _empty_rows(case)
    if empty.any():
        for k in states:
            zeros[k] = x[k].copy()
            zeros[k][empty] = 0
        if case.answered(case.computed(Inputs(zeros))):
            return (
                "loses the initial states of a row of length zero: its state is zeros "
                "there, where the model holds what it was given"
            )
    return ""


def _empty_rows(case: Case) -> Array:
    """Return which rows have no step at all by a mask that is an input, (batch,)."""
    masks = mask_inputs(case.net.spec)
    x = case.probe.whole
    if not masks:
        return np.zeros(x.rows, dtype=bool)
    return np.logical_not(x[masks[0]].reshape(x.rows, -1).any(axis=1))


def ignores_every_mask(case: Case) -> str:
    """Recognise a port that computes padding like any other step."""
    unmasked = without_masks(case.net)
    if unmasked is not None and case.answered(
        case.computed(case.probe.whole, unmasked)
    ):
        return "ignores the mask: padding is computed like any other step"
    return ""


def without_masks(net: Network) -> Network | None:
    """Return the network with every mask dropped; None if it has none."""
    found = False

    def change(layer: LayerSpec) -> LayerSpec:
        nonlocal found
        makes = layer.class_name == "Masking" or layer.options.get("mask_zero")
        found = found or bool(makes)
        return layer.with_overrides(
            use_mask=lambda name, mask: None, pass_mask=lambda mask, y: None
        )

    unmasked = with_layers(net, change)
    return unmasked if found or mask_inputs(net.spec) else None


def carries_states(case: Case) -> str:
    """Recognise a port that begins a call with the states that the last one left."""
    if case.net.stateful:
        return ""

    for layers in _some_of(_recurrent(case.net.spec)):
        kept = case.net
        for path in layers:
            stateful = kept.spec[path].with_options(stateful=True)
            kept = Network(kept.spec.with_layer(stateful, path), kept.floatx)
        if case.answered(case.computed(case.probe.whole, kept)):
            return f"the state of the last call enters the next{_in(layers)}"
    return ""


def _recurrent(spec: ModelSpec) -> list[str]:
    """Return the paths of the recurrent layers that can be stateful."""
    return [path for path, layer in spec.walk() if "stateful" in layer.options]


def _some_of(paths: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield all layers, and then each alone."""
    yield tuple(paths)
    if len(paths) > 1:
        yield from islice(((path,) for path in paths), MOST_ORDERS)


def _in(layers: Sequence[str]) -> str:
    return f", in {join_and([printable(path, 40) for path in layers])}"


def forgets_states(case: Case) -> str:
    """Recognise a port that begins every call of a stateful model with zeros."""
    if not case.net.stateful:
        return ""
    spec = case.net.spec
    stateful = [path for path in _recurrent(spec) if spec[path].options["stateful"]]
    for layers in _some_of(stateful):
        states: dict[str, tuple[Array, ...]] = {}
        found = []
        for call in case.probe.calls:
            states = {k: v for k, v in states.items() if k not in layers}
            found.append(case.net.flat(call, dtype="float64", states=states))
        if case.answered([np.concatenate(y) for y in zip(*found, strict=True)]):
            return f"forgets its states: every call begins with zeros{_in(layers)}"
    return ""


def begins_elsewhere(case: Case) -> str:
    """Recognise a stateful model whose states of the moment of export were kept."""
    if not case.net.stateful:
        return ""
    for states in _states_kept(case):
        try:
            going = dict(states)
            answer = [
                case.net.flat(call, dtype="float64", states=going)
                for call in case.probe.calls
            ]
            anew = [
                case.net.flat(call, dtype="float64", states=dict(states))
                for call in case.probe.calls
            ]
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return ""
        held = "begins with the states that the model had when it was exported"
        going_on = case.answered([np.concatenate(y) for y in zip(*answer, strict=True)])
        if going_on and len(answer) == 1:
            return f"{held}, not with zeros"
        if going_on:
            return f"{held}, not with zeros, and goes on from call to call as it should"
        if case.answered([np.concatenate(y) for y in zip(*anew, strict=True)]):
            return f"{held}, in every call, and forgets what a call leaves"
    if len(case.probe.calls) == 1:
        return ""
    rows = case.probe.calls[0].rows
    if all(np.array_equal(y[:rows], y[-rows:]) for y in case.outputs):
        return (
            "forgets its states: the last call, whose inputs are those of the first, "
            "has the same outputs"
        )
    return ""


def _states_kept(case: Case) -> Iterator[dict[str, tuple[Array, ...]]]:
    """Yield the initial states that constants of the file may be, by layer."""
    batch = case.net.spec.batch_size or 1
    constants = [np.asarray(a) for a in case.constants().values()]
    choices = []
    for path, layer in case.net.spec.walk():
        if not layer.options.get("stateful") or "units" not in layer.options:
            continue
        shape = (batch, int(layer.options["units"]))
        # operators have a further axis for directions
        same = [
            a.astype(np.float64).reshape(shape)
            for a in constants
            if a.shape in (shape, (1, *shape)) and a.dtype.kind == "f" and a.any()
        ]
        count = len(states_of(layer))
        if not 0 < count <= len(same):
            return
        orders = list(islice(permutations(same, count), MOST_ORDERS))
        choices.append([(path, order) for order in orders])
    yield from (dict(one) for one in islice(product(*choices), MOST_ORDERS) if one)


SINGLE_CALL: tuple[Conclusion, ...] = (
    returns_some_steps,
    reads_some_steps,
    runs_few_steps,
    begins_elsewhere,
    ignores_every_mask,
    ignores_initial_states,
    swaps_outputs,
    swaps_inputs,
    answers_one_row,
)
SEVERAL_CALLS: tuple[Conclusion, ...] = (
    carries_states,
    forgets_states,
    begins_elsewhere,
    reads_some_steps,
    runs_few_steps,
)
"""Losses, in the order in which they are tried."""
