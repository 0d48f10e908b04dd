"""Find which arrays of a model the names of a port's intermediates mean.

They are the names of `Trace.arrays`, which ``rnn-verify trace`` writes: ``lstm/h``.
After an ``@`` stand time steps: ``lstm/h@3``, ``lstm/h@0:4``, ``lstm/h@0,5,11``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from verify.data.sources import ArraysByName
from verify.errors import DataError, did_you_mean, printable
from verify.forward.evaluable import Inputs
from verify.forward.evaluate import LayerTrace
from verify.forward.layers import LOOPS
from verify.forward.network import Network
from verify.forward.taps import Tap
from verify.forward.trace import named_arrays
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import TensorRef, call_names, flatten, refs_of

STEPS = re.compile(r"(-?\d+)|(-?\d*):(-?\d*)|(\d+(?:,\d+)+)", re.ASCII)
"""What may stand after the @ of a name: a step, a slice of them, or a list."""

CALL = re.compile(r"(.+):(\d+)/([^/]+)", re.ASCII)
"""The name of what a later call of a layer computes."""

PHASES = 4
"""What a call computes, in this order: inputs, masks, values, outputs."""

LISTED = 1_500
"""Characters of the list of a model's names in a message, at most."""


def holds_intermediates(names: Sequence[str], outputs: Sequence[str]) -> bool:
    """Return whether arrays are more than the outputs of a model, by their names.

    Parameters
    ----------
    names : sequence of str
        What the arrays are called.
    outputs : sequence of str
        Names of the model's outputs.
    """
    inside = [name for name in names if "/" in name and name not in outputs]
    unknown = len(names) > 1 and "outputs" not in names and len(outputs) == 1
    return bool(inside) or (unknown and outputs[0] not in names)


@dataclass(frozen=True, eq=False)
class Value:
    """Describe an array that a model computes.

    Attributes
    ----------
    name : str
        As in `Trace.arrays`.
    key : str
        The call of the layer, as in a trace.
    value : str
        What it is of that call: ``"f"``, ``"h"``, ``"input"``, ``"output.1"``.
    call : LayerTrace
        An outline of the call.
    shape : tuple of int
        Without the axis of the rows.
    order : tuple of int
        Sorts the values of a model as they are computed, but for the steps of a loop.
    stepped : bool
        Whether it is computed step by step.
    numbers : bool
        Whether it holds floats, and no ids or truth values.
    """

    name: str
    key: str
    value: str
    call: LayerTrace
    shape: tuple[int, ...]
    order: tuple[int, int, int]
    stepped: bool
    numbers: bool

    @property
    def backwards(self) -> bool:
        """Return whether the last step is computed first."""
        return self.stepped and bool(self.call.layer.options.get("go_backwards"))

    @property
    def timed(self) -> bool:
        """Return whether axis 1 is that of time steps."""
        return self.stepped or len(self.shape) > 1 or self.value.startswith("mask")


class ModelValues:
    """Hold every array that a model computes for some inputs, by its name.

    Parameters
    ----------
    net : Network
    some : Inputs
        A row or more of the inputs, for the sizes of open axes.
    """

    def __init__(self, net: Network, some: Inputs) -> None:
        self.net = net
        few = net.spec.batch_size or 2
        once = net.outline(some.take(np.arange(few) % some.rows))
        more = 2 * few if net.spec.batch_size else few + 1
        lengths = {
            name: np.shape(array)[:1]
            for name, array in net.outline(some.take(np.arange(more) % some.rows))
            .arrays()
            .items()
        }
        self.trace = once
        self.values: dict[str, Value] = {}
        self.without_rows: list[str] = []
        for value, array in self._all():
            if np.shape(array)[:1] == (few,) and lengths.get(value.name) == (more,):
                self.values[value.name] = value
            else:
                self.without_rows.append(value.name)

    def _all(self) -> Iterator[tuple[Value, Array]]:
        keys = list(self.trace)
        for place, (key, call) in enumerate(self.trace.items()):
            inside = [k for k, one in enumerate(keys) if one.startswith(f"{key}/")]
            began = min([place, *inside])
            loop = call.layer.class_name in LOOPS
            parts = [
                (began, 0, named_arrays("input", call.input), False),
                (began, 1, named_arrays("mask", call.mask), False),
                (place, 2, dict(call.values), loop),
                (place, 3, named_arrays("output", call.output), False),
            ]
            for position, phase, arrays, stepped in parts:
                for number, (name, array) in enumerate(arrays.items()):
                    shape = np.shape(array)[1:]
                    yield (
                        Value(
                            f"{key}/{name}", key, name, call, shape,
                            (position, phase, number), stepped and bool(shape),
                            is_float(array),
                        ),
                        array,
                    )  # fmt: skip

    @cached_property
    def output_arrays(self) -> list[str]:
        """Return for each output of the model its name in a trace."""
        graph = self.net.spec.root.graph
        refs = flatten(graph.outputs) if graph is not None else []
        return [
            f"{self._call(ref)}/output{f'.{ref.tensor}' if ref.tensor else ''}"
            for ref in refs
        ]

    @cached_property
    def tensors(self) -> dict[str, TensorRef]:
        """Return the tensors of the model's graph by their names in a trace."""
        graph = self.net.spec.root.graph
        found = {}
        for node in graph.nodes if graph is not None else ():
            key = self._calls[node.layer, node.index]
            if key not in self.trace:  # a layer may itself be called ``lstm:2``
                continue
            for k in range(len(named_arrays("", self.trace[key].output))):
                suffix = f".{k}" if k else ""
                found[f"{key}/output{suffix}"] = TensorRef(node.layer, node.index, k)
        return found

    @cached_property
    def _calls(self) -> dict[tuple[str, int], str]:
        graph = self.net.spec.root.graph
        return {} if graph is None else call_names(graph)

    def _call(self, ref: TensorRef) -> str:
        """Return the call that a tensor comes from, as in a trace."""
        return self._calls.get((ref.layer, ref.node), ref.layer)

    @property
    def names(self) -> list[str]:
        """Return the names that a port may give: outputs first, then what is inside."""
        known = [*self.net.output_names, *self.values]
        # TimeDistributed calls its layer once for each step
        return [name for name in known if not re.search(r":\d+/", name)]

    def tap(self, name: str) -> Tap:
        """Return what a name means.

        Raises
        ------
        DataError
            It means nothing in this model, or there are no such steps.
        """
        outputs = self.net.output_names
        if name in outputs:
            k = outputs.index(name)
            at = self.output_arrays[k]
            known = at if at in self.values else ""
            return Tap(name, known, output=k, tensor=self.tensors.get(at))
        if name in self.values:
            return self._whole(name, name)
        base, at, steps = name.rpartition("@")
        self._add_step(base if at else name)
        if name in self.values:
            return self._whole(name, name)
        if not at or base not in self.values:
            wanted = base if at else name
            if wanted in self.without_rows:
                raise DataError(
                    f"'{printable(name, 80)}' has no row for each sample, so it is not "
                    "compared. Leave it out"
                )
            listed = printable(", ".join(self.names), LISTED)
            raise DataError(
                f"expected names of arrays that the model computes. Received: "
                f"'{printable(name, 80)}'. {did_you_mean(wanted, self.names)}"
                f"They are {listed}"
            )
        value = self.values[base]
        time = value.shape[0] if value.timed and value.shape else 0
        if not time:
            raise DataError(
                f"'{printable(name, 80)}': expected no @, because "
                f"'{printable(base, 60)}' has no axis of time steps. "
                f"Received: @{printable(steps, 40)}"
            )
        found, single = _steps(steps, time)
        if not found:
            raise DataError(
                f"'{printable(name, 80)}': expected after the @ time steps from 0 to "
                f"{time - 1}, ascending, such as 3, 0:4 or 0,2,5. "
                f"Received: {printable(steps, 40)}"
            )
        whole = self._whole(name, base)
        return Tap(name, base, found, single, whole.backwards, None)

    def _add_step(self, name: str) -> None:
        """Add what a layer inside a TimeDistributed computes in a later step.

        An outline has its first call alone.
        """
        found = CALL.fullmatch(name)
        if found is None:
            return
        key, number, what = found[1], int(found[2]), found[3]
        first = self.values.get(f"{key}/{what}")
        parent = key.rpartition("/")[0]
        outer, given = self.trace.get(parent), self.values.get(f"{parent}/input")
        if first is None or outer is None or given is None:
            return
        steps = given.shape[0] if given.shape else 0
        if outer.layer.class_name == "TimeDistributed" and 2 <= number <= steps:
            position, phase, count = first.order
            self.values[name] = replace(
                first,
                name=name,
                key=f"{key}:{number}",
                order=(position, phase + PHASES * (number - 1), count),
            )

    def _whole(self, name: str, array: str) -> Tap:
        value = self.values[array]
        output = None
        if array in self.output_arrays:
            output = self.output_arrays.index(array)
        return Tap(
            name,
            array,
            backwards=value.backwards,
            output=output,
            tensor=self.tensors.get(array) if value.numbers else None,
        )

    def shape(self, tap: Tap) -> tuple[int, ...]:
        """Return the shape of a tap without the axis of the rows."""
        if not tap.array:
            y = flatten(self.trace.output)[tap.output or 0]
            return tuple(np.shape(y)[1:])
        shape = self.values[tap.array].shape
        if tap.steps is None:
            return shape
        return shape[1:] if tap.single else (len(tap.steps), *shape[1:])

    def steps(self, tap: Tap) -> tuple[int, ...]:
        """Return the number of the time step at each index, as they are processed."""
        shape = self.values[tap.array].shape if tap.array else self.shape(tap)
        numbers = tap.steps or tuple(range(shape[0] if shape else 0))
        return numbers[::-1] if tap.backwards else numbers

    def sort_key(self, tap: Tap, index: tuple[int, ...] | None) -> tuple[int, ...]:
        """Return a key that sorts differences as a model computes what differs.

        Parameters
        ----------
        tap : Tap
        index : tuple of int or None
            Where it differs, in the order of processing; None for its beginning.
        """
        if not tap.array:
            return (len(self.trace), 3, 0, tap.output or 0)
        value = self.values[tap.array]
        position, phase, number = value.order
        if not value.stepped:
            return (position, phase, 0, number)
        steps = self.steps(tap)
        step = steps[index[1]] if index and not tap.single else steps[0]
        processed = value.shape[0] - 1 - step if tap.backwards else step
        return (position, phase, processed, number)

    def top(self, key: str) -> str:
        """Return the call of a layer of the model itself that a call is inside of."""
        parts = key.split("/")
        for count in range(1, len(parts) + 1):
            name = "/".join(parts[:count])
            if name in self.nodes:
                return name
        return key

    @cached_property
    def nodes(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Return each call of a layer of the model: the layer, and what it is given."""
        graph = self.net.spec.root.graph
        found: dict[str, tuple[str, tuple[str, ...]]] = {}
        for node in graph.nodes if graph is not None else ():
            given = map(self._call, refs_of(node))
            key = self._calls[node.layer, node.index]
            found[key] = node.layer, tuple(dict.fromkeys(given))
        return found

    def before(self, key: str) -> list[str]:
        """Return the calls that a call of the model depends on, in their order."""
        wanted, left = set[str](), [key]
        while left:
            _, given = self.nodes.get(left.pop(), ("", ()))
            left += [one for one in given if one not in wanted]
            wanted.update(given)
        return [one for one in self.nodes if one in wanted]


def _steps(text: str, time: int) -> tuple[tuple[int, ...], bool]:
    """Return the steps that a text means, none if it is wrong; and if it is one."""
    found = STEPS.fullmatch(text)
    if found is None or not time:
        return (), False
    if found[1]:
        step = int(found[1])
        step += time if step < 0 else 0
        return ((step,) if 0 <= step < time else ()), True
    if found[4]:
        steps = tuple(map(int, found[4].split(",")))
        rising = all(a < b for a, b in pairwise(steps))
        return (steps if rising and steps[-1] < time else ()), False
    first, last = (int(part) if part else None for part in (found[2], found[3]))
    inside = all(n is None or abs(n) <= time for n in (first, last))
    return (tuple(range(time)[first:last]) if inside else ()), False


@dataclass(frozen=True)
class Given:
    """Hold a tap that a port has given, and its shape there.

    Attributes
    ----------
    tap : Tap
    shape : tuple of int
        That the model computes for all rows.
    flat : bool
        Whether the port's has rows of numbers without further axes.
    """

    tap: Tap
    shape: tuple[int, ...]
    flat: bool

    def shaped(self, array: Array) -> Array:
        """Return some rows of the port's array in the shape of the model's."""
        return array.reshape(len(array), *self.shape[1:]) if self.flat else array


def given_taps(
    model: ModelValues, arrays: ArraysByName, rows: int
) -> tuple[list[Given], list[str]]:
    """Return the taps that arrays of a port are for, in the order of computation.

    Parameters
    ----------
    model : ModelValues
    arrays : ArraysByName
    rows : int
        Rows of the inputs.

    Returns
    -------
    list of Given
    list of str
        Names of arrays that are left out, because they have no row for each sample.

    Raises
    ------
    DataError
        A name means nothing in the model, or a shape is another than the model's.
    """
    found, left_out, seen = list[Given](), list[str](), dict[object, str]()
    for name, shape in arrays.shapes.items():
        if name in model.without_rows:
            left_out.append(name)
            continue
        tap = model.tap(name)
        same = (tap.array or f"output {tap.output}", tap.steps)
        if same in seen:
            raise DataError(
                f"'{printable(name, 80)}' and '{printable(seen[same], 80)}' are the "
                "same array of the model. Give one of them"
            )
        seen[same] = name
        expected = (rows, *model.shape(tap))
        flat = name in arrays.flat and shape != expected
        if shape != expected and not (flat and _flattened(expected) == shape):
            said = _hint(model, tap, expected, shape)
            raise DataError(
                f"'{printable(name, 80)}': expected shape {expected}, as the model "
                f"computes it. Received: shape={shape}{f'; {said}' if said else ''}"
            )
        found.append(Given(tap, expected, flat))
    if not found:
        raise DataError(
            "expected an array that the model computes for each sample. Received: none"
        )
    found.sort(key=lambda one: model.sort_key(one.tap, None))
    return found, left_out


def _flattened(shape: Sequence[int]) -> tuple[int, int]:
    return shape[0], int(np.prod(shape[1:]))


def _hint(
    model: ModelValues, tap: Tap, expected: tuple[int, ...], shape: tuple[int, ...]
) -> str:
    """Say what an array of another shape seems to be; empty if that is not known."""
    rows, *rest = expected
    last = len(expected) - 1
    if shape == tuple(rest):
        one = "it" if rows == 1 else f"one of {rows} rows"
        return (
            f"the axis of the rows is missing, as if it were {one}: array[np.newaxis]"
        )
    if last >= 1 and shape == (rest[0], rows, *rest[1:]):
        what = "time" if last >= 2 else "units"
        return f"the axis of {what} stands first: np.swapaxes(array, 0, 1)"
    if last >= 2 and shape == (rows, rest[-1], *rest[:-1]):
        return (
            "units, or channels, stand before the other axes: np.moveaxis(array, 1, -1)"
        )
    if shape[1:] == tuple(rest):
        return f"there are {rows} rows of inputs"
    value = model.values.get(tap.array)
    if value is not None and value.timed and tap.steps is None:
        time = rest[0]
        if shape == (rows, *rest[1:]):
            return (
                "that is one time step: with its number it is called "
                f"'{tap.array}@{time - 1}', if it is the last"
            )
        alike = len(shape) == len(expected) and shape[2:] == tuple(rest[1:])
        if alike and shape[0] == rows and 1 <= shape[1] < time:
            return (
                f"these are {shape[1]} of {time} time steps: with their numbers they "
                f"are called '{tap.array}@0:{shape[1]}', if they are the first"
            )
    gates = _gates(model, tap)
    if len(gates) > 1 and shape == (*expected[:-1], len(gates) * expected[-1]):
        return f"these seem to be all gates: give each by its name ({', '.join(gates)})"
    if shape[:1] == (rows,) and np.prod(shape) == np.prod(expected):
        return f"as many numbers in other axes: array.reshape({expected})"
    return ""


def _gates(model: ModelValues, tap: Tap) -> list[str]:
    """Return the names of the gates of the layer that a tap is of."""
    value = model.values.get(tap.array)
    if value is None or not value.stepped:
        return []
    names = [name for name in value.call.values if name.split("/")[-1] not in "hc"]
    return [f"{value.key}/{name}" for name in names]
