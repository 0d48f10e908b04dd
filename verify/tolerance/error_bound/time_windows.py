"""Bound every output of long windows of time, at bounded memory.

A backpropagation keeps all steps of a row, and there is one for each output. Here the
random errors of `sketch` are carried forwards. Where no layer looks ahead, this is done
window by window: the changes of the states at the end of one window are those that the
next begins with. Elsewhere, as with a Bidirectional, whole rows are taken, and as few
copies at a time as fit into memory. The loops over time are those of `loops`.

There are fewer copies than for short rows, so a bound is wider: about 9 times that of a
backpropagation in the median, and 17 times where more rows have a bound for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from verify.backward.forwards import ChangingModel
from verify.backward.recording import NotRecorded, Recorded
from verify.backward.recording.tangents import ForwardTape
from verify.console.progress import doing
from verify.forward.evaluable import Inputs, LayerCall
from verify.forward.evaluate import LayerTrace
from verify.forward.fast import single_threaded_blas
from verify.forward.layers import LOOPS
from verify.forward.network import Network
from verify.forward.trace import Trace
from verify.model.arrays import Array, FlatOutputs
from verify.model.graph import MaskOf, TensorRef, flatten
from verify.model.spec import LayerSpec
from verify.tolerance.activation_errors import ActivationErrors
from verify.tolerance.error_bound.loops import ChangingLoops, has_loop
from verify.tolerance.error_bound.random_errors import (
    SEED,
    RandomErrors,
    chosen_bound,
    spread,
)

FEWEST_COPIES, MOST_COPIES = 16, 32
"""Changes of each output; see `verify.tolerance.error_bound.sketch`. There are fewer
where not all rows can be paid for otherwise."""

LONG_LOOPS = 1000
"""Steps of all loops over time of a model from which they count as long."""

WINDOW_BYTES, ROW_BYTES = 2**27, 2**29
"""Of the changes in memory at a time: of a window, where all layers keep theirs until
the next, and of whole rows, where only what layers return is counted."""

MAX_NUMBERS, MAX_NUMBERS_OF_ONE, MAX_LAYER_NUMBERS = 1e9, 4e9, 3e8
"""Changes that are computed at most: of the rows of a model that differ most, of a
single row if all others have none, and of one layer. A thousand million take some
twenty seconds."""

MAX_TRACED = 2e7
"""Numbers of a row in the forward pass up to which a sweep may keep them all."""

MAX_RECORDED_STEPS = 20_000
"""Steps of loops that are not in `loops`, all passes together: each takes some 3 ms."""

PER_STEP = frozenset(
    {"Activation", "Identity", "Dense", "ReLU", "LeakyReLU", "ELU", "Softmax"}
    | {"BatchNormalization", "LayerNormalization", "RMSNormalization", "Rescaling"}
    | {"LayerScale", "CustomScaleLayer", "StochasticDepth"}
    | {"Concatenate", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}
    | {"Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise"}
    | {"SpatialDropout1D", "ActivityRegularization", "Masking", "TimeDistributed"}
)
"""Layers that compute each step of (batch, time, ...) from that step alone, if their
axis is not that of time."""

STEPS, LAST = "steps", "last"
"""What a window gives of a tensor: its steps, or something that the last one gives."""


@dataclass(frozen=True)
class LongBounds:
    """Bound the outputs of a model, or of one layer, whose loops take many steps.

    Attributes
    ----------
    net : Network
    x : Inputs, or LayerCall
    activation_errors : ActivationErrors
    standard_deviations : float
        How many count.
    max_deviation : float
        A row has no bound if float32 deviates from float64 by a larger share of any
        value.
    trace : Trace, optional
        Of `x`, if it is known.
    """

    net: Network
    x: Inputs | LayerCall
    activation_errors: ActivationErrors
    standard_deviations: float
    max_deviation: float
    trace: Trace | None = None

    @cached_property
    def _outline(self) -> Trace:
        few = slice(0, self.net.spec.batch_size or 1)
        if isinstance(self.x, Inputs):
            return self.net.outline(self.x.take(few))
        return self.net.outline_layer(self.x.take(few))

    def applies(self, differences: Sequence[Array], adjoints: float) -> bool:
        """Return whether loops are long, and not all outputs can have a sweep each.

        Parameters
        ----------
        differences : list of (rows, ...)
            As for `bounds`.
        adjoints : float
            That may be computed in sweeps.
        """
        if loop_steps(self.trace or self._outline) < LONG_LOOPS:
            return False
        outputs = sum(y.size for y in differences)
        numbers = self._numbers()
        return numbers * outputs > adjoints or numbers > MAX_TRACED

    def bounds(self, differences: Sequence[Array]) -> list[Array]:
        """Return the bounds of the rows that differ most, as many as can be paid for.

        Parameters
        ----------
        differences : list of (rows, ...)
            How much each output seems to differ, in any unit.

        Returns
        -------
        list of (rows, ...)
            NaN for an element that has no bound.
        """
        flat = FlatOutputs(differences)
        joined = np.nan_to_num(flat.join(differences), nan=np.inf)
        found = np.full(joined.shape, np.nan)
        numbers = self._numbers()
        count, copies = self._affordable(numbers)
        if count:
            order = np.argsort(-joined.max(axis=1), kind="stable")
            some = np.sort(order[:count])
            for part in self._together(some, copies):
                try:
                    bounds = self._of(part, numbers, copies)
                except NotRecorded:
                    break
                found[part] = flat.join(bounds)
        return flat.split(found)

    @cached_property
    def _kinds(self) -> list[str]:
        x = self.x
        return windowed(self.net.spec.root, x) if isinstance(x, Inputs) else []

    def _row_bytes(self, copies: int) -> int:
        """Return how much the changes take that the layers return for a row."""
        outputs = [flatten(call.output) for call in self._outline.values()]
        size = sum(np.size(x) for leaves in outputs for x in leaves)
        return 4 * copies * size // (self.net.spec.batch_size or 1)

    def _together(self, rows: Array, copies: int) -> list[Array]:
        """Return rows in the parts that are computed together."""
        most = max(ROW_BYTES // max(self._row_bytes(copies), 1), 1)
        if self._kinds:
            return [rows]
        return [rows[k : k + most] for k in range(0, len(rows), most)]

    def _numbers(self) -> int:
        """Return how many numbers the forward pass of a row has, gates among them."""
        arrays = self._outline.arrays().values()
        return sum(a.size for a in arrays) // (self.net.spec.batch_size or 1)

    def _affordable(self, numbers: int) -> tuple[int, int]:
        """Return how many rows, of so many numbers each, have how many copies."""
        whole = isinstance(self.x, Inputs)
        most = (MAX_NUMBERS if whole else MAX_LAYER_NUMBERS) // numbers  # copies
        copies = int(np.clip(most // self.x.rows, FEWEST_COPIES, MOST_COPIES))
        count = int(most // copies)
        if not count and whole and numbers * MOST_COPIES <= MAX_NUMBERS_OF_ONE:
            count, copies = 1, MOST_COPIES
        recorded = recorded_steps(self._outline)
        affordable = recorded <= MAX_RECORDED_STEPS
        return min(count, self.x.rows) if affordable else 0, copies

    def _of(self, rows: Array, numbers: int, copies: int) -> list[Array]:
        """Return the bounds of some rows; NaN for a row for which none holds."""
        x = self.x.take(rows)
        if isinstance(x, Inputs) and self.net.folded_arrays(x):
            raise NotRecorded("a long loop over several rows of a sample")
        run = _Windows(self.net, x, self.activation_errors, self.standard_deviations)
        with single_threaded_blas():
            if isinstance(x, Inputs) and self._kinds:
                time = x[0].shape[1]
                size = 4 * numbers * x.rows * copies // time
                steps = min(max(WINDOW_BYTES // max(size, 1), 1), time)
                bounds, errors = run.window_by_window(x, self._kinds, steps, copies)
            else:
                size = self._row_bytes(copies) * x.rows
                bounds, errors = run.whole(max(-(-size // ROW_BYTES), 1), copies)
        unknown = run.near | run.deviating(self.max_deviation)
        for bound, error in zip(bounds, errors, strict=True):
            # a bound that NumPy's own float32 exceeds does not hold
            unknown |= (bound < error).reshape(len(rows), -1).any(axis=1)
        return [
            np.where(unknown.reshape(len(rows), *(1,) * (b.ndim - 1)), np.nan, b)
            for b in bounds
        ]


def is_loop(key: str, call: LayerTrace) -> bool:
    """Return whether a call in a trace is a loop over time that is run once.

    The layer inside a TimeDistributed is called on all steps at once.
    """
    return call.layer.class_name in LOOPS and not ("/" in key and ":" in key)


def loop_steps(trace: Trace) -> int:
    """Return how many steps the loops over time take, one after the other."""
    return sum(_steps(call) for key, call in trace.items() if is_loop(key, call))


def recorded_steps(trace: Trace) -> int:
    """Return how many of them have no equations in `loops`."""
    return sum(
        _steps(call)
        for key, call in trace.items()
        if is_loop(key, call) and not has_loop(call.layer)
    )


def _steps(call: LayerTrace) -> int:
    return int(flatten(call.input)[0].shape[1])


class _Windows:
    """Evaluate a model, or a layer, with changes."""

    def __init__(
        self,
        net: Network,
        x: Inputs | LayerCall,
        activation_errors: ActivationErrors,
        standard_deviations: float,
    ) -> None:
        self.net, self.x = net, x
        self.activation_errors = activation_errors
        self.standard_deviations = standard_deviations
        self.near = np.zeros(x.rows, dtype=bool)
        self._loops: list[ChangingLoops] = []

    def deviating(self, share: float) -> Array:
        """Return the rows in which float32 deviates from float64 too far."""
        found = np.zeros(self.x.rows, dtype=bool)
        for loops in self._loops:
            found |= loops.deviations.exceeding(share, self.x.rows)
        return found

    def _model(
        self, copies: int, seed: int, *, continues: bool
    ) -> tuple[ChangingModel, ChangingLoops]:
        errors = RandomErrors(
            copies, self.x.rows, self.activation_errors, self.standard_deviations, seed
        )
        tape = ForwardTape(
            copies=copies, rows=self.x.rows, disturb=errors, draw=errors.draw
        )
        loops = ChangingLoops(tape, errors, continues=continues)
        self._loops.append(loops)
        model = ChangingModel(
            self.net, tape, loop_for=loops.loop, seen=loops.deviations.add
        )
        return model, loops

    def window_by_window(
        self, x: Inputs, kinds: Sequence[str], steps: int, copies: int
    ) -> tuple[list[Array], list[Array]]:
        """Return bounds and errors of float32, with some steps in memory at a time."""
        model, loops = self._model(copies, SEED, continues=True)
        time = x[0].shape[1]
        bounds: list[Any] = [None] * len(kinds)
        errors: list[Any] = [None] * len(kinds)
        for start in range(0, time, steps):
            some = slice(start, min(start + steps, time))
            with doing(f"steps {start + 1:,} to {some.stop:,} of {time:,}"):
                loops.begin()
                outputs = model.outputs(Inputs(array[:, some] for array in x))
            self.near |= loops.errors.near
            for k, (kind, output) in enumerate(zip(kinds, outputs, strict=True)):
                if kind == LAST and some.stop < time:
                    continue
                found = chosen_bound(spread(output, copies))
                for held, part in ((bounds, found), (errors, _error(output))):
                    if kind == LAST:
                        held[k] = part
                        continue
                    if held[k] is None:
                        held[k] = np.empty((len(part), time, *part.shape[2:]))
                    held[k][:, some] = part
        return bounds, errors

    def whole(self, groups: int, copies: int) -> tuple[list[Array], list[Array]]:
        """Return bounds and errors of float32, with some copies in memory at a time."""
        parts: list[list[Array]] = []
        errors: list[Array] = []
        groups = min(groups, copies)
        for group in range(groups):
            some = copies * (group + 1) // groups - copies * group // groups
            model, loops = self._model(some, SEED + group, continues=False)
            with doing(f"pass {group + 1} of {groups}"):
                outputs = (
                    model.outputs(self.x)
                    if isinstance(self.x, Inputs)
                    else model.of_call(self.x)
                )
            self.near |= loops.errors.near
            parts.append([spread(y, some) for y in outputs])
            errors = [_error(y) for y in outputs]
        bounds = [chosen_bound(np.concatenate(of)) for of in zip(*parts, strict=True)]
        return bounds, errors


def _error(output: Any) -> Array:
    """Return how far NumPy's float32 is from float64; shaped like the output."""
    if not isinstance(output, Recorded) or output.single is None:
        return np.zeros(np.shape(output))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(output.single - output.value.astype(np.float64)))


def windowed(root: LayerSpec, x: Inputs) -> list[str]:
    """Return what a window gives of each output; empty if a model needs whole rows."""
    time = x[0].shape[1] if x[0].ndim > 1 else 0
    if not time or any(array.ndim < 2 or array.shape[1] != time for array in x):
        return []
    kinds = _kinds(root, [STEPS] * len(x), [array.ndim for array in x])
    return [] if kinds is None else kinds


def _kinds(
    model: LayerSpec, given: Sequence[str], axes: Sequence[int]
) -> list[str] | None:
    """Return what a window gives of each output of a model; None if it cannot be used.

    Parameters
    ----------
    model : LayerSpec
    given : list of str
        Of each input.
    axes : list of int
        How many each input has.
    """
    graph = model.graph
    if graph is None:
        return None
    known: dict[tuple[str, int, int], str] = {}
    flat = {}
    for ref, kind, count in zip(flatten(graph.inputs), given, axes, strict=True):
        known[ref.place] = kind
        flat[ref.place] = count < 3
    for node in graph.nodes:
        layer = model.sublayers[node.layer]
        leaves = flatten([list(node.args), dict(node.kwargs)])
        refs = [leaf for leaf in leaves if isinstance(leaf, TensorRef)]
        plain = len(refs) == len([x for x in leaves if hasattr(x, "layer")])
        if any(isinstance(leaf, MaskOf) for leaf in leaves) or not refs or not plain:
            return None
        kinds = {known[ref.place] for ref in refs}
        single = any(flat.get(ref.place, False) for ref in refs)
        if kinds == {LAST}:
            outputs = [LAST] * _MOST_OUTPUTS
        elif kinds != {STEPS} or (single and layer.class_name != "Embedding"):
            return None
        elif layer.class_name in LOOPS:
            if len(refs) > 1 or not _goes_on(layer):
                return None
            first = STEPS if layer.options["return_sequences"] else LAST
            outputs = [first, LAST, LAST]
        elif layer.graph is not None:
            inner = _kinds(layer, [STEPS] * len(refs), [3] * len(refs))
            if inner is None:
                return None
            outputs = inner
        elif _is_per_step(layer):
            outputs = [STEPS]
        else:
            return None
        for k, kind in enumerate(outputs):
            known[node.layer, node.index, k] = kind
    return [known[ref.place] for ref in flatten(graph.outputs)]


_MOST_OUTPUTS = 64
"""Outputs of a layer that are numbered, at most."""


def _goes_on(layer: LayerSpec) -> bool:
    """Return whether the loop of a layer can go on from window to window."""
    options = layer.options
    return has_loop(layer) and not options["go_backwards"] and not options["stateful"]


def _is_per_step(layer: LayerSpec) -> bool:
    if layer.class_name == "Embedding":
        return True
    if layer.class_name not in PER_STEP or layer.overrides:
        return False
    axes = layer.options.get("axis", -1)
    axes = axes if isinstance(axes, (list, tuple)) else [axes]
    return all(axis == -1 or axis >= 2 for axis in axes)
