"""Choose what a pack of test vectors holds: inputs, and every number they lead to.

A `Pack` is plain values. `verify.ports.vectors.write` puts them into files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from verify.errors import DataError, UnsupportedError, join_and, printable
from verify.forward.evaluable import Inputs
from verify.forward.evaluate import LayerTrace, States
from verify.forward.layers import LOOPS, REGISTRY
from verify.forward.network import Network
from verify.forward.trace import Trace, bare_path
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.dtypes import is_float
from verify.model.graph import flatten
from verify.ports.probes import Probe, probes
from verify.ports.vectors.allowances import (
    UNCOMPARED,
    ValueNoise,
    finite,
    output_allowances,
    rounded_up,
)

STEPS = (16, 8, 4, 2)
"""Time steps at which gates and states are kept: the first of these that fits."""

MAX_NUMBERS = 500_000
"""Expected numbers in a pack, at most: some 15 MB of JSON, and as much of C."""

MAX_TEXT_WEIGHTS = 500_000
"""Numbers of the weights up to which JSON and the C header hold them too."""

MAX_WEIGHTS = 250_000_000
"""Numbers of the weights, at most: 1 GB in float32."""

MAX_TRACED = 100_000_000
"""Numbers that the model computes for all rows of a pack, at most."""

MEANINGS: Mapping[str, Mapping[str, str]] = {
    "LSTM": {
        "i": "input gate",
        "f": "forget gate",
        "c_hat": "candidate",
        "o": "output gate",
        "c": "cell state after the step",
        "h": "hidden state after the step",
    },
    "GRU": {
        "z": "update gate",
        "r": "reset gate",
        "h_hat": "candidate",
        "h": "hidden state after the step",
    },
    "SimpleRNN": {"h": "hidden state after the step"},
}
"""Kind of cell -> name of a value in a trace -> what it is."""

STATES = ("h", "c")
"""Last part of the names of states in a trace; all other values are gates."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """Hold one array that the model computes in a call, and how near a port must come.

    Attributes
    ----------
    name : str
        ``layer/value``, or the name of an output of the model.
    layer : str
        The call of the layer that it comes from, as in a trace.
    value : str
        ``"f"``, ``"h"``, ``"logits"``, ``"output"``.
    meaning : str
        ``"forget gate"``; empty where the name says it.
    expected : (rows, ...)
        In float64.
    allowed : (rows, ...)
        How far a port may be from each; `UNCOMPARED` where it is not compared.
    steps : tuple of int or None
        Number of the time step of each index of axis 1; None if that is no time axis.
    time : int
        How many time steps there are, those included that are not kept.
    """

    name: str
    layer: str
    value: str
    meaning: str
    expected: Array
    allowed: Array
    steps: tuple[int, ...] | None = None
    time: int = 0

    @property
    def axes(self) -> list[str]:
        """Return the name of each axis."""
        rank = self.expected.ndim
        names = ["row", *(f"axis {k}" for k in range(1, rank - 1)), "unit"][:rank]
        if self.steps is not None:
            names[1] = "step"
        return names


@dataclass(frozen=True, eq=False)
class Stage:
    """Hold what one call of a layer computes.

    Attributes
    ----------
    layer : str
        The call, as in a trace: ``"lstm"``, ``"lstm:2"``.
    class_name : str
    backwards : bool
        Whether the layer processes the last time step first.
    stepped : tuple of Numbers
        Gates and states, computed step by step in this order.
    whole : tuple of Numbers
        What is computed besides, in this order.
    """

    layer: str
    class_name: str
    backwards: bool
    stepped: tuple[Numbers, ...]
    whole: tuple[Numbers, ...]


@dataclass(frozen=True, eq=False)
class PackedCall:
    """Hold one call of the model.

    Attributes
    ----------
    inputs : dict of str to (rows, ...)
    masks : dict of str to (rows, time) of bool
        Call of a layer -> the mask that it is given; layers without one are left out.
    outputs : tuple of Numbers
    stages : tuple of Stage
        In the order of evaluation.
    """

    inputs: Mapping[str, Array]
    masks: Mapping[str, Array]
    outputs: tuple[Numbers, ...]
    stages: tuple[Stage, ...]

    @property
    def values(self) -> Iterator[Numbers]:
        """Yield the numbers of all stages."""
        for stage in self.stages:
            yield from (*stage.stepped, *stage.whole)


@dataclass(frozen=True, eq=False)
class PackedProbe:
    """Hold one probe: calls that a port answers one after the other."""

    name: str
    why: str
    calls: tuple[PackedCall, ...]


@dataclass(frozen=True, eq=False)
class Pack:
    """Hold test vectors for a model.

    Attributes
    ----------
    net : Network
    probes : tuple of PackedProbe
        The plainest first.
    weights : dict of str to ndarray
        ``layer/weight`` -> weight, in Keras's order; empty if left out.
    seed : int
    notes : tuple of str
        Sentences about what was left out, and why.
    """

    net: Network
    probes: tuple[PackedProbe, ...]
    weights: Mapping[str, Array]
    seed: int
    notes: tuple[str, ...]

    @cached_property
    def text_weights(self) -> dict[str, Array]:
        """Return the weights that JSON and the C header hold: the smallest ones."""
        return {name: w for name, w in self.weights.items() if name in _small(self)}

    @property
    def numbers(self) -> int:
        """Return how many numbers a port may be compared with."""
        return sum(
            n.expected.size
            for probe in self.probes
            for call in probe.calls
            for n in (*call.outputs, *call.values)
        )


def _small(pack: Pack) -> set[str]:
    """Return the names of the weights that fit into text, the smallest first."""
    found, room = set[str](), MAX_TEXT_WEIGHTS
    for name, weight in sorted(pack.weights.items(), key=lambda item: item[1].size):
        room -= weight.size
        if room >= 0:
            found.add(name)
    return found


def make_pack(
    net: Network,
    x: object = None,
    *,
    seed: int = 0,
    rows: int | None = None,
    steps: int | None = None,
    weights: bool = True,
    values: bool = True,
) -> Pack:
    """Return test vectors for a model.

    Parameters
    ----------
    net : Network
    x : optional
        Inputs of your own, whose first rows are used; by default they are made up.
    seed : int
        Other inputs are made for another seed.
    rows : int, optional
        Rows of a call, at most.
    steps : int, optional
        Time steps at which gates and states are kept, at most; by default as many of
        16 as fit. Inputs and outputs of the model have all steps.
    weights, values : bool
        Whether to hold the weights, and the gates and states.

    Raises
    ------
    DataError
        NaN or infinity in the weights, inputs that do not fit, or too many numbers.
    UnsupportedError
        What the model holds or takes cannot be written.
    """
    spec = net.spec
    spec.require_finite()
    _require_names(net)
    if net.stateful and spec.batch_size is None:
        raise UnsupportedError(
            "expected a stateful model with a fixed batch size, as Keras does. "
            "Received: any"
        )
    held = {
        f"{path}/{key}": plain(f"weight '{printable(path)}/{printable(key)}'", value)
        for path, layer in spec.walk()
        for key, value in layer.weights.items()
    }
    held = held if weights else {}
    size = sum(weight.size for weight in held.values())
    if size > MAX_WEIGHTS:
        raise DataError(
            f"expected at most {MAX_WEIGHTS:,} numbers in the weights of a pack. "
            f"Received: {size:,}; leave them out (--no-weights)"
        )
    notes: list[str] = []
    chosen = list(_chosen(net, x, seed, rows, notes))
    _require_size(net, chosen)
    records = _Records(net, chosen, values)
    kept = _steps_that_fit(records, steps, notes)
    packed = tuple(records.packed(kept, notes))
    if not packed:
        raise DataError(
            "expected outputs that are finite for some inputs. Received: NaN or "
            "infinity for every probe; give inputs of your own"
        )
    if net.stateful and Rule.PREDICT_FORGETS_STATES in spec.root.rules:
        notes.append(
            "by the rules of this backend predict forgets the states of a stateful "
            "layer after every batch, so each call starts with zeros"
        )
    if not weights:
        notes.append("the weights were left out, as asked")
    pack = Pack(net, packed, held, seed, tuple(notes))
    large = [f"'{name}'" for name in held if name not in pack.text_weights]
    if large:
        notes.append(
            f"{join_and(large)} {'stand' if len(large) > 1 else 'stands'} in "
            f"vectors.npz alone: JSON and C hold {MAX_TEXT_WEIGHTS:,} numbers of the "
            "weights, at most"
        )
    return replace(pack, notes=tuple(notes))


def plain(what: str, array: Array) -> Array:
    """Return an array in a dtype that C, JSON and NumPy share, with the same numbers.

    Numbers of 16 bits become float32 and int32.

    Raises
    ------
    UnsupportedError
        There is no such dtype.
    """
    name = array.dtype.name
    wider = {
        "float16": "float32", "bfloat16": "float32",
        "int16": "int32", "uint16": "int32", "uint32": "int64",
    }.get(name, name)  # fmt: skip
    if wider not in DTYPES:
        raise UnsupportedError(
            f"expected {what} of a dtype that test vectors can hold "
            f"({', '.join(DTYPES)} or 16 bits). Received: {name}"
        )
    return array.astype(wider, copy=False)


DTYPES = ("float32", "float64", "int32", "int64", "int8", "uint8", "bool")
"""The dtypes of the arrays in a pack."""


def _require_names(net: Network) -> None:
    """Raise UnsupportedError if two inputs or two outputs have one name."""
    for what, names in (("inputs", net.input_names), ("outputs", net.output_names)):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UnsupportedError(
                f"expected {what} of different names, by which a port gives them. "
                f"Received: '{printable(twice[0])}' {names.count(twice[0])} times"
            )


def _chosen(
    net: Network, x: object, seed: int, rows: int | None, notes: list[str]
) -> Iterator[Probe]:
    """Yield the probes, with at most so many rows in a call."""
    batch = net.spec.batch_size
    if rows is not None and batch is not None and rows < batch:
        raise DataError(
            f"expected at least {batch} rows, the batch size that the model fixes. "
            f"Received: {rows}"
        )
    most = rows if rows is not None and batch is None else None
    for probe in probes(net, x, seed=seed):
        size = probe.calls[0].rows
        if most is None or size <= most:
            yield probe
        elif probe.name.startswith("batch "):
            notes.append(f"'{probe.name}' is left out: at most {most} row(s)")
        else:
            # the last row has no padding and is kept
            keep = [*range(most - 1), size - 1]
            yield replace(
                probe,
                calls=tuple(call.take(keep) for call in probe.calls),
                fed=tuple(call.take(keep) for call in probe.fed),
            )


def _require_size(net: Network, chosen: Sequence[Probe]) -> None:
    """Raise DataError if the model computes too many numbers for these probes."""
    rows = sum(call.rows for probe in chosen for call in probe.calls)
    few = chosen[0].calls[0].take(slice(0, net.spec.batch_size or 1))
    arrays = net.trace(few, dtype="float32").arrays().values()
    numbers = rows * sum(array.size for array in arrays) // few.rows
    if numbers > MAX_TRACED:
        raise DataError(
            f"expected a model that computes at most {MAX_TRACED:,} numbers for the "
            f"{rows} rows of the probes. Received: about {numbers:,}; ask for fewer "
            "rows (--rows), or give shorter inputs (--data)"
        )


class _Records:
    """Evaluate a model on probes and keep what a port can be compared with."""

    def __init__(self, net: Network, chosen: Sequence[Probe], values: bool) -> None:
        self.net, self.chosen, self.values = net, chosen, values
        self.traces = [traces(net, probe.given, "float64") for probe in chosen]
        self.noise = ValueNoise(net)
        if values:
            for probe, exact in zip(chosen, self.traces, strict=True):
                self.noise.add(
                    [_recorded(net, trace) for trace in exact],
                    partial(_record, probe.given),
                )

    def count(self, steps: int) -> int:
        """Return how many numbers there are with so many time steps."""
        found = 0
        for probe, exact in zip(self.chosen, self.traces, strict=True):
            for call, trace in zip(probe.calls, exact, strict=True):
                found += sum(y.size for y in flatten(trace.output))
                found += sum(x.size for x in call)
                if self.values:
                    stages = self._stages(trace, steps, measured=False)
                    found += sum(
                        n.expected.size
                        for stage in stages
                        for n in (*stage.stepped, *stage.whole)
                    )
        return found

    def packed(self, steps: int, notes: list[str]) -> Iterator[PackedProbe]:
        """Yield the probes with all numbers."""
        work = 1.0 / len(self.chosen)
        for probe, exact in zip(self.chosen, self.traces, strict=True):
            outputs = output_allowances(self.net, probe, exact, work, notes)
            if outputs is None:
                notes.append(
                    f"'{probe.name}' is left out: the model itself returns NaN or "
                    "infinity"
                )
                continue
            calls = []
            for given, trace, out in zip(probe.given, exact, outputs, strict=True):
                stages = tuple(self._stages(trace, steps)) if self.values else ()
                masks = {
                    key: _mask(call)
                    for key, call in trace.items()
                    if REGISTRY[call.layer.class_name].mask_arguments
                }
                names = self.net.input_names
                calls.append(
                    PackedCall(
                        {
                            name: plain(f"input '{printable(name)}'", array)
                            for name, array in zip(names, given, strict=True)
                        },
                        {
                            key: mask
                            for key, mask in masks.items()
                            if mask is not None and _shown(key, self.net, steps)
                        },
                        tuple(
                            self._output(name, y, allowed)
                            for name, (y, allowed) in zip(
                                self.net.output_names, out, strict=True
                            )
                        ),
                        stages,
                    )
                )
            yield PackedProbe(probe.name, probe.why, tuple(calls))

    def _output(self, name: str, y: Array, allowed: Array) -> Numbers:
        steps = tuple(range(y.shape[1])) if y.ndim == 3 else None
        y, allowed = _comparable(y, allowed)
        return Numbers(
            name, name, "output", "", y, allowed, steps, len(steps) if steps else 0
        )

    def _stages(
        self, trace: Trace, most: int, *, measured: bool = True
    ) -> Iterator[Stage]:
        """Yield what each call of a layer computes, at most so many steps of it."""
        for key, call in trace.items():
            if not _shown(key, self.net, most):
                continue
            backwards = bool(call.layer.options.get("go_backwards"))
            loop = call.layer.class_name in LOOPS
            stepped, whole = list[Numbers](), list[Numbers]()
            for name, array in _values(key, call):
                value = name.removeprefix(f"{key}/")
                gate = loop and not value.startswith("output")
                steps: tuple[int, ...] | None = None
                time = 0
                allowed = np.zeros(array.shape)
                if measured:
                    allowed = self.noise.allowed(name, array)
                if gate or array.ndim == 3:
                    time = array.shape[1]
                    steps = kept_steps(time, most, backwards=backwards and gate)
                    mask = _mask(call)
                    if gate and mask is not None and value.split("/")[-1] not in STATES:
                        allowed = np.where(
                            mask.reshape(*mask.shape, *(1,) * (array.ndim - 2)),
                            allowed,
                            UNCOMPARED,
                        )
                    array, allowed = array[:, steps], allowed[:, steps]
                array, allowed = _comparable(array, allowed)
                (stepped if gate else whole).append(
                    Numbers(
                        name,
                        key,
                        value,
                        meaning(call, value) if gate else "",
                        array,
                        allowed,
                        steps,
                        time,
                    )
                )
            if stepped or whole:
                class_name = call.layer.class_name
                yield Stage(key, class_name, backwards, tuple(stepped), tuple(whole))


def meaning(call: LayerTrace, value: str) -> str:
    """Return what a gate or state of a recurrent layer is, in words."""
    layer, name = call.layer, value
    if layer.class_name == "RNN":
        layer = layer.sublayers["cell"]
        cell, _, name = value.rpartition("/")
        layer = layer.sublayers[cell] if cell else layer
    kind = layer.class_name.removesuffix("Cell")
    known = MEANINGS.get("LSTM" if kind.startswith("ConvLSTM") else kind)
    return "state of a registered cell" if known is None else known[name]


def traces(net: Network, calls: Sequence[Inputs], dtype: str | None) -> list[Trace]:
    """Return the trace of each call; a stateful model goes on from call to call."""
    states: States = {}
    found = []
    for x in calls:
        if Rule.PREDICT_FORGETS_STATES in net.spec.root.rules:
            states = {}
        found.append(net.trace(x, dtype=dtype, states=states))
    return found


def kept_steps(time: int, most: int, *, backwards: bool = False) -> tuple[int, ...]:
    """Return which of the time steps are kept, ascending.

    These are half of them from the beginning, in the order of processing, and the rest
    evenly spread over what follows, the last step among them.
    """
    if time <= most:
        return tuple(range(time))
    first = (most + 1) // 2
    spread = np.linspace(first - 1, time - 1, most - first + 1)[1:]
    kept = [*range(first), *(int(k) for k in spread)]
    return tuple(sorted(time - 1 - k for k in kept) if backwards else kept)


def _comparable(expected: Array, allowed: Array) -> tuple[Array, Array]:
    """Return both with what is not compared set to zero and `UNCOMPARED`."""
    good = np.isfinite(expected) & np.isfinite(allowed) & (allowed >= 0)
    return (
        np.where(good, expected.astype(np.float64), 0.0),
        np.where(good, rounded_up(np.where(good, allowed, 0.0)), UNCOMPARED),
    )


def _shown(key: str, net: Network, most: int) -> bool:
    """Return whether a call is kept: TimeDistributed makes one for each time step."""
    bare = bare_path(key, net.spec)
    number = key.removeprefix(f"{bare}:")
    return key == bare or int(number) <= most


def _values(key: str, call: LayerTrace) -> Iterator[tuple[str, Array]]:
    """Yield the numbers of a call by name: gates, states, logits, and its outputs."""
    for name, array in call.values.items():
        if array.ndim and is_float(array):
            yield f"{key}/{name}", array
    outputs = [y for y in flatten(call.output) if isinstance(y, np.ndarray)]
    for k, array in enumerate(outputs):
        if array.ndim and is_float(array):
            yield f"{key}/output{f'.{k}' if k else ''}", array


def _recorded(net: Network, trace: Trace) -> dict[str, Array]:
    return {
        name: finite(array)
        for key, call in trace.items()
        if _shown(key, net, STEPS[0])
        for name, array in _values(key, call)
    }


def _record(
    calls: Sequence[Inputs], net: Network, dtype: str | None
) -> list[dict[str, Array]]:
    return [_recorded(net, trace) for trace in traces(net, calls, dtype)]


def _mask(call: LayerTrace) -> Array | None:
    """Return the mask that a call is given, (rows, time), or None."""
    found = [m for m in flatten(call.mask) if isinstance(m, np.ndarray)]
    if not found or found[0].ndim != 2:
        return None
    return found[0].astype(bool)


def _steps_that_fit(records: _Records, steps: int | None, notes: list[str]) -> int:
    """Return at how many time steps values are kept, so that all numbers fit.

    Raises
    ------
    DataError
        There are too many numbers.
    """
    for most in STEPS if steps is None else (steps,):
        numbers = records.count(most)
        if numbers <= MAX_NUMBERS:
            break
    else:
        raise DataError(
            f"expected at most {MAX_NUMBERS:,} numbers in a pack. Received: "
            f"{numbers:,}; ask for fewer rows (--rows) or steps (--steps), for no "
            "gates and states (--no-values), or give shorter inputs (--data)"
        )
    lengths = {
        call.values[name].shape[1]
        for exact in records.traces
        for trace in exact
        for call in trace.values()
        if call.layer.class_name in LOOPS
        for name in call.values
    }
    if records.values and max(lengths, default=0) > most:
        notes.append(
            f"of {max(lengths)} time steps, gates and states are kept at {most}: the "
            "first ones and some of the others, the last among them; inputs and "
            "outputs of the model have every step"
        )
    return most
