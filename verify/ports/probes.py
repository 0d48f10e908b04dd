"""Make inputs on which the known losses of exporters and runtimes show.

Random inputs alone leave most of these losses to luck. Each `Probe` is made for one: a
number of rows at a time, a length other than the traced one, a kind of padding, a
second call, states of zeros, NaN where a mask hides it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.checks.inputs import (
    as_source,
    padding_patterns,
    prepared_rows,
    probe_inputs,
    readers_of,
)
from verify.forward.evaluable import Inputs
from verify.forward.layers.core import padding_number
from verify.forward.network import Network
from verify.mistakes.catalogue.given_states import initial_state
from verify.model.arrays import Array, Shape
from verify.model.dtypes import is_float
from verify.model.graph import TensorRef, flatten
from verify.model.spec import LayerSpec, ModelSpec

ROWS = 5
"""Rows of a probe, where neither the model nor the probe fixes their number."""

BATCHES = (1, 2, 5)
"""Numbers of rows that are given at a time."""

MORE_STEPS = 4
"""How many time steps more a longer probe has than the others."""

PADDING = {
    "padding behind": "every row but the last is padded after its end",
    "padding in front": "every row but the last is padded before its beginning",
    "padding on both sides": "every row but the last is padded on both sides",
    "padding in holes": "steps inside a row are padding",
    "all padding": "the first row is padding alone, so its length is zero",
}
"""Name -> what the rows are; in the order of `padding_patterns`."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Hold inputs for one question, to be given to one interpreter in these calls.

    Attributes
    ----------
    name : str
        What is asked, in a few words: ``"batch 2"``, ``"padding in front"``.
    why : str
        What the inputs are, in one sentence.
    calls : tuple of Inputs
        Inputs of each call, with the same number of time steps in all. A stateful model
        goes on from call to call; any other answers each for itself.
    fed : tuple of Inputs
        What the port is given in place of `calls`, if it differs: NaN at masked steps.
        Empty otherwise.
    """

    name: str
    why: str
    calls: tuple[Inputs, ...]
    fed: tuple[Inputs, ...] = ()

    @property
    def given(self) -> tuple[Inputs, ...]:
        """Return the inputs of each call as the port is given them."""
        return self.fed or self.calls

    @property
    def whole(self) -> Inputs:
        """Return the rows of all calls, one call after the other."""
        return Inputs(
            np.concatenate(arrays) for arrays in zip(*self.calls, strict=True)
        )


def probes(
    net: Network,
    x: Any = None,
    *,
    shapes: Sequence[Shape] | None = None,
    seed: int = 0,
) -> tuple[Probe, ...]:
    """Return the probes that this model has a use for, the plainest first.

    Parameters
    ----------
    net : Network
    x : optional
        Inputs of your own, from whose first rows the probes are made; by default the
        rows are random.
    shapes : sequence of shapes, optional
        Shape of each input where a port fixes axes that the model leaves open.
    seed : int

    Raises
    ------
    DataError
        `x` does not fit the model, or the model's inputs are too large to be made.
    """
    spec = net.spec
    open_shapes = [layer.options["batch_shape"] for layer in spec.inputs]
    shapes = list(shapes or open_shapes)
    makers = _Rows(net, shapes, seed, x)
    plain = makers.plain()
    found = []
    if spec.batch_size is None:
        found += [
            Probe(
                f"batch {count}",
                f"{count} row(s) in one call",
                (plain.take(slice(0, count)),),
            )
            for count in BATCHES
            if count <= plain.rows
        ]
    else:
        found.append(
            Probe(f"batch {spec.batch_size}", "the rows of one batch", (plain,))
        )
    found.append(_second_call(net, plain, makers))
    found += _other_lengths(net, makers, shapes)
    found += _paddings(spec, plain)
    found += _zero_states(spec, plain)
    found += _nan_under_mask(net, plain)
    return tuple(found)


class _Rows:
    """Make rows without padding: random ones, or the first of the user's."""

    def __init__(
        self, net: Network, shapes: Sequence[Shape], seed: int, x: Any
    ) -> None:
        self.net, self.shapes, self.seed = net, shapes, seed
        self.given: Inputs | None = None
        if x is not None:
            source = as_source(net, x)
            count = min(source.rows, net.spec.batch_size or ROWS)
            self.given = prepared_rows(net, source, np.arange(count))

    def plain(self, *, more: int = 0) -> Inputs:
        """Return the rows; other random ones of the same shape for each `more`."""
        if self.given is not None:
            return self.given
        made = probe_inputs(
            self.net.spec,
            seed=self.seed + more,
            padded=False,
            rows=ROWS,
            shapes=self.shapes,
        )
        return self.net.prepare(made)

    def of_length(self, steps: int) -> Inputs:
        """Return rows with so many steps in the inputs that leave it open."""
        if self.given is None:
            shapes = [
                (shape[0], steps, *shape[2:]) if _open_time(shape) else shape
                for shape in self.shapes
            ]
            made = probe_inputs(
                self.net.spec, seed=self.seed, padded=False, rows=ROWS, shapes=shapes
            )
            return self.net.prepare(made)
        return Inputs(
            np.take(array, np.arange(steps) % array.shape[1], axis=1)
            if _open_time(shape)
            else array
            for array, shape in zip(self.given, self.shapes, strict=True)
        )


def _open_time(shape: Shape) -> bool:
    return len(shape) > 1 and shape[1] is None


def _second_call(net: Network, plain: Inputs, rows: _Rows) -> Probe:
    """Return a probe of several calls, the last like the first.

    A port that keeps a state which the model forgets answers the last call otherwise
    than the first; one that forgets a state which the model keeps answers it alike.
    """
    few = plain if net.spec.batch_size else plain.take(slice(0, 1))
    other = rows.plain(more=1)
    other = other if net.spec.batch_size else other.take(slice(1, 2))
    calls = (few, other, few) if other.rows == few.rows else (few, few)
    return Probe(
        "second call", "several calls in a row, the last like the first", calls
    )


def _other_lengths(
    net: Network, rows: _Rows, shapes: Sequence[Shape]
) -> Iterator[Probe]:
    if not any(map(_open_time, shapes)):
        return
    usual = next(
        array.shape[1]
        for array, shape in zip(rows.plain(), shapes, strict=True)
        if _open_time(shape)
    )
    shorter = max(2, usual // 2) if usual > 2 else 1
    for steps in dict.fromkeys((shorter, usual + MORE_STEPS, 1)):
        if steps == usual:
            continue
        x = rows.of_length(steps)
        try:
            net.flat(x)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            continue  # a layer needs more steps than these
        yield Probe(f"{steps} step(s)", f"{steps} steps, not {usual}", (x,))


def padding_value(spec: ModelSpec, layer: LayerSpec) -> float | None:
    """Return the number that pads an input, by the first layer that makes a mask of it.

    None if no layer makes a mask of it.
    """
    for reader in readers_of(spec.root, layer.name):
        if reader.class_name == "Masking":
            return padding_number(reader)
        if reader.class_name == "Embedding" and reader.options["mask_zero"]:
            return 0.0
    return None


def mask_inputs(spec: ModelSpec) -> tuple[int, ...]:
    """Return the numbers of the inputs that are given to a layer as its mask."""
    graph = spec.root.graph
    if graph is None:
        return ()
    given = {
        leaf.layer
        for node in graph.nodes
        for leaf in flatten(node.kwargs.get("mask"))
        if isinstance(leaf, TensorRef)
    }
    return tuple(k for k, layer in enumerate(spec.inputs) if layer.name in given)


def _paddings(spec: ModelSpec, plain: Inputs) -> Iterator[Probe]:
    """Yield a probe for each kind of padding, with rows of several lengths in each."""
    masks = mask_inputs(spec)
    fills: list[float | None] = [
        0.0 if k in masks else padding_value(spec, layer)
        for k, layer in enumerate(spec.inputs)
    ]
    padded = [
        k for k, fill in enumerate(fills) if fill is not None and plain[k].ndim > 1
    ]
    if not padded:
        return
    for kind, (name, why) in enumerate(PADDING.items()):
        arrays = list(plain)
        for k in padded:
            arrays[k] = _with_padding(plain[k], kind, fills[k] or 0.0, k in masks)
        yield Probe(name, why, (Inputs(arrays),))


def _with_padding(x: Array, kind: int, value: float, mask: bool) -> Array:
    """Pad the rows in one way, each row a little more than the one before it.

    Parameters
    ----------
    x : (batch, time, ...)
    kind : int
        Which of `padding_patterns`.
    value : float
    mask : bool
        Whether `x` is a mask itself, which is then true at all other steps.
    """
    x = np.ones_like(x) if mask else x.copy()
    steps, rows = x.shape[1], len(x)
    for row in range(max(rows - 1, 1)):
        pattern = padding_patterns(steps)[kind]
        if kind == 0:
            pattern = np.arange(steps) < max(1, steps - 1 - row)
        elif kind == 1:
            pattern = np.arange(steps) >= min(steps - 1, 1 + row)
        elif kind == 3:
            pattern = np.roll(pattern, row)
        elif kind == 4 and row:
            pattern = np.arange(steps) < max(1, steps - row)
        x[row, ~pattern] = value
    return x


def state_inputs(spec: ModelSpec) -> tuple[int, ...]:
    """Return the numbers of the inputs that are given to a layer as initial states."""
    graph = spec.root.graph
    if graph is None:
        return ()
    given = {
        ref.layer
        for node in graph.nodes
        for ref in initial_state(spec.root.sublayers[node.layer], node)
    }
    return tuple(k for k, layer in enumerate(spec.inputs) if layer.name in given)


def _zero_states(spec: ModelSpec, plain: Inputs) -> Iterator[Probe]:
    """Yield a probe whose initial states are zeros; those of the others are not."""
    states = state_inputs(spec)
    if states:
        arrays = [np.zeros_like(x) if k in states else x for k, x in enumerate(plain)]
        why = "every initial state that is an input is zero"
        yield Probe("initial states of zeros", why, (Inputs(arrays),))


def _nan_under_mask(net: Network, plain: Inputs) -> Iterator[Probe]:
    """Yield a probe with NaN at masked steps, if the model's outputs ignore them.

    That can be so only where the mask is an input of its own: a Masking layer or an
    Embedding makes its mask of the values themselves.
    """
    masks = mask_inputs(net.spec)
    if not masks:
        return
    arrays = list(plain)
    for k in masks:
        arrays[k] = _with_padding(plain[k], 0, 0.0, True)
    hidden = ~arrays[masks[0]].astype(bool)

    def filled(value: float) -> Inputs:
        found = [x.copy() for x in arrays]
        for k, x in enumerate(found):
            if k not in masks and is_float(x) and x.shape[:2] == hidden.shape:
                x[hidden] = value
        return Inputs(found)

    zeros, nan = filled(0.0), filled(np.nan)
    if not any(np.isnan(x).any() for x in nan if is_float(x)):
        return
    with np.errstate(invalid="ignore"):
        pairs = zip(net.flat(zeros), net.flat(nan), strict=True)
        ignored = all(np.array_equal(a, b) for a, b in pairs)
    if ignored:
        why = "NaN at every masked step, which the model's outputs do not show"
        yield Probe("NaN under the mask", why, (zeros,), (nan,))
