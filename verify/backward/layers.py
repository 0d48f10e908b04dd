"""Go back through one call of each layer that `verify.backward` differentiates.

A function for each layer class takes a call with the adjoints of its outputs, and
returns the adjoints of its arguments; *adjoints* are as in `verify.backward.cells`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from verify.backward.cells import (
    BACKWARD_CELLS,
    Values,
    bias_gradient,
    product_gradient,
)
from verify.backward.derivatives import Pullback, pullback
from verify.backward.recording import Operation
from verify.backward.scan import backward_scan
from verify.forward.evaluate import LayerTrace
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import exact_constants
from verify.forward.layers.regularization import KINDS as TRAINING_ONLY
from verify.forward.recurrence import mask_of_steps
from verify.model.arrays import Array
from verify.model.graph import TensorRef, flatten
from verify.model.spec import LayerSpec

Visitor = Callable[[str, int | None, Values, Values | Operation], None]
"""A function that is called with path, step, adjoints and values of each computation.

Of a layer that is not in the table below each operation is shown: an `Operation` in
place of the values, and the adjoint of its ``output``. Inside a TimeDistributed the
steps are an axis of their own after the batch, if the operation has all of them.

The path is a key of a trace: ``lstm:2`` is the second call of a shared layer. For a
recurrent layer the step is that of the input; otherwise it is None. Values are
(batch, units), maybe with further axes of the layer between the two, and the adjoint of
a value has the axes of the sweeps in front: (..., batch, units).

==========================  ==========================================================
layer                       adjoints, and the values of the same names
==========================  ==========================================================
SimpleRNN                   ``z`` (the sum before the activation) ``h``
LSTM                        ``z`` (blocks i, f, c, o) ``i f c_hat o c activation(c) h``
GRU                         ``a s`` (blocks z, r, h: from x, from h) ``z r h_hat h``
any of the three            ``x h_before``, and of an LSTM ``c_before``
Dense                       ``x logits output``
Activation, Softmax         ``x output``
Bidirectional that          ``output``
merges by arithmetic
look-ups with tf_idf        ``output``; values ``output`` and ``size``, which is as
                            many times its absolute value as there are ids or words
Add                         ``output``; values ``output`` and ``size``, which is
                            (n - 1) times the sum of the absolute values of the n
                            terms added here and in the Add layers before
==========================  ==========================================================

The adjoint of ``h_before`` or ``c_before`` contains only what comes back through the
step itself. At a masked step a recurrent layer discards the results of its cell, so all
adjoints are zeros there, and so are the values ``x``, the gates and the states after
the step.
"""


@dataclass(frozen=True, eq=False)
class BackwardCall:
    """Hold one call of a layer, and the adjoints of its outputs.

    Attributes
    ----------
    path : str
        Path of the layer in the model, for example ``lstm``.
    key : str
        Key of the call in a trace, for example ``lstm:2``.
    layer : LayerSpec
        The layer, with weights in float64.
    trace : LayerTrace
        The trace of the call.
    arguments : mapping
        The arguments that are not None, by name, with a `TensorRef` for each tensor.
    adjoints : list of (..., batch, ...)
        The adjoint of each output.
    """

    path: str
    key: str
    layer: LayerSpec
    trace: LayerTrace
    arguments: Mapping[str, Any]
    adjoints: list[Array]

    @property
    def mask(self) -> Array | None:
        """Return the mask that a recurrent layer uses: (batch, time) of bool, or None.

        A mask that has units of its own is (batch, time, units).

        A layer that is given an initial state uses a mask only if the mask is an
        argument of the call; see `verify.forward.evaluate`.
        """
        if "initial_state" in self.arguments and "mask" not in self.arguments:
            return None
        mask = flatten(self.trace.mask)[0]
        if mask is None:
            return None
        inside = self.layer.sublayers.values()
        loop = self.layer if "unroll" in self.layer.options else next(iter(inside))
        return mask_of_steps(loop, mask)

    @property
    def number(self) -> int:
        """Return which call of the layer it is, from 1."""
        return int(self.key.removeprefix(self.path).removeprefix(":") or 1)

    def inside(self, name: str) -> str:
        """Return the key of a layer inside this one, for this call, in a trace."""
        return f"{self.path}/{name}{self.key.removeprefix(self.path)}"


@dataclass(frozen=True, eq=False)
class Backward:
    """Hold the trace, the options and the results of one pass back through a model.

    Attributes
    ----------
    trace : mapping of str to LayerTrace
        The trace of the whole model, in float64.
    forward : mapping of TensorRef to ndarray
        The value of every tensor, in float64.
    sweeps : tuple of int
        Sizes of the axes that every adjoint has in front of the batch.
    visit : callable, optional
        See `Visitor`.
    wants_weights : bool
        Whether to compute the gradients of weights.
    weights : dict
        Path of a layer -> the gradients of its weights, summed over the calls seen yet.
    added : mapping
        Output of an Add layer -> the tensors that it adds.
    single : mapping of str to LayerTrace, optional
        The trace of the whole model in float32, for visitors that ask what it rounds.
    unneeded : set of TensorRef
        Tensors whose adjoints nobody asks for, because nothing before them rounds.
    """

    trace: Mapping[str, LayerTrace]
    forward: Mapping[TensorRef, Array]
    sweeps: tuple[int, ...]
    visit: Visitor | None
    wants_weights: bool
    weights: dict[str, dict[str, Array]] = field(default_factory=dict)
    added: Mapping[TensorRef, Sequence[TensorRef]] = field(default_factory=dict)
    single: Mapping[str, LayerTrace] | None = None
    unneeded: Set[TensorRef] = frozenset()

    def wants(self, refs: Sequence[TensorRef]) -> bool:
        """Return whether anybody asks for the adjoint of one of some tensors."""
        return any(ref not in self.unneeded for ref in refs)

    def add_weights(self, path: str, gradients: Mapping[str, Array]) -> None:
        """Add to the gradients of a layer's weights."""
        known = self.weights.setdefault(path, {})
        for name, gradient in gradients.items():
            known[name] = known[name] + gradient if name in known else gradient

    def terms(self, refs: Sequence[TensorRef], ndim: int) -> list[Array]:
        """Return the absolute values of the terms of a sum.

        If a term is the output of an Add layer, its terms take its place, because a
        backend may add all of them in any order.

        Parameters
        ----------
        refs : sequence of TensorRef
            The tensors that are added.
        ndim : int
            Number of axes that each array is given.
        """
        found: list[Array] = []
        for ref in refs:
            if ref in self.added:
                found += self.terms(self.added[ref], ndim)
            else:
                found.append(np.abs(_stretchable(self.forward[ref], ndim)))
        return found

    def note(self, call: BackwardCall, adjoints: Values, values: Values) -> None:
        """Show a computation without time steps to the visitor."""
        if self.visit is not None:
            self.visit(call.key, None, adjoints, values)


@dataclass(frozen=True, eq=False)
class LoopCall:
    """Hold what the loop over time of one recurrent layer was given and computed.

    Attributes
    ----------
    layer : LayerSpec
        With weights in float64.
    x : (batch, time, features), or for a ConvLSTM (batch, time, spatial..., channels)
    mask : (batch, time) of bool, or None
    initial : tuple of (batch, ..., units)
        Initial states.
    traced : mapping of str to (batch, time, ..., units)
        Gates and states by input step, as in a trace; the axes of space, if there are
        any, stand before the units.
    """

    layer: LayerSpec
    x: Array
    mask: Array | None
    initial: tuple[Array, ...]
    traced: Mapping[str, Array]


@runtime_checkable
class LoopVisitor(Protocol):
    """Go back through whole loops over time, of which a visitor is shown no step."""

    @property
    def sweeps_loops(self) -> bool:
        """Return whether it does."""

    def loop(
        self,
        key: str,
        call: LoopCall,
        d_output: Array,
        d_states: Sequence[Array],
        *,
        wants_x: bool,
    ) -> tuple[Array, Sequence[Array]]:
        """Return the adjoints of the inputs and of the initial states.

        Parameters
        ----------
        key : str
            Of the call in a trace.
        call : LoopCall
        d_output, d_states
            As for `verify.backward.scan.backward_scan`.
        wants_x : bool
            Whether anybody asks for the adjoint of the inputs; it may be zeros if not.
        """


Adjoints = Mapping[str, Sequence[Array]]
"""Argument of a call -> the adjoint of each tensor in it."""


def _passed_on(back: Backward, call: BackwardCall) -> Adjoints:
    return {"inputs": call.adjoints}


def _whole_numbers(back: Backward, call: BackwardCall) -> Adjoints:
    """Go back no further: texts and whole numbers have no derivative.

    With ``tf_idf`` each count is multiplied by a weight, or that many are added up.
    """
    if call.layer.options.get("output_mode") == "tf_idf":
        y, most = call.trace.output, max(np.shape(call.trace.input)[-1:] or (1,))
        size = {"output": y, "size": most * np.abs(y)}
        back.note(call, {"output": call.adjoints[0]}, size)
    return {}


def _embedding(back: Backward, call: BackwardCall) -> Adjoints:
    """Go back through ``y = embeddings[ids]``: sum the gradients of each row's uses."""
    if back.wants_weights:
        table = call.layer.weights["embeddings"]
        ids = np.trunc(call.trace.input).astype(np.int64).reshape(-1)  # (batch * time,)
        (d_y,) = call.adjoints
        rows = d_y.reshape(*back.sweeps, len(ids), table.shape[1])
        d_table = np.zeros((len(table), *back.sweeps, table.shape[1]))
        # unlike d_table[ids] += rows, this adds every time that an id is repeated
        np.add.at(d_table, ids, np.moveaxis(rows, -2, 0))
        found = {"embeddings": np.moveaxis(d_table, 0, -2)}  # (..., ids, size)
        back.add_weights(call.path, found)
    return {}


def _masking(back: Backward, call: BackwardCall) -> Adjoints:
    x = call.trace.input
    keep = REGISTRY["Masking"].compute_mask(call.layer, x, None)
    return {"inputs": [np.where(keep[..., None], call.adjoints[0], 0.0)]}


def _dense(back: Backward, call: BackwardCall) -> Adjoints:
    """Go back through ``logits = x @ kernel + bias; y = activation(logits)``."""
    x, logits, y = call.trace.input, call.trace["logits"], call.trace.output
    kernel, (d_y,) = call.layer.weights["kernel"], call.adjoints
    d_logits = _back(call.layer)(logits, y, d_y)
    d_x = d_logits @ kernel.T
    back.note(
        call,
        {"x": d_x, "logits": d_logits, "output": d_y},
        {"x": x, "logits": logits, "output": y},
    )
    if back.wants_weights:
        found = {"kernel": product_gradient(x, d_logits)}
        if "bias" in call.layer.weights:
            found["bias"] = bias_gradient(d_logits, x.ndim)
        back.add_weights(call.path, found)
    return {"inputs": [d_x]}


def _activation(back: Backward, call: BackwardCall) -> Adjoints:
    return _function(back, call, _back(call.layer))


def _softmax(back: Backward, call: BackwardCall) -> Adjoints:
    """Go back through a Softmax; masked numbers are 0 in y, so their adjoints are 0."""
    axes = call.layer.options["axis"]
    return _function(back, call, pullback(f"softmax(axis={list(axes)})"))


def _function(back: Backward, call: BackwardCall, function: Pullback) -> Adjoints:
    x, y, (d_y,) = call.trace.input, call.trace.output, call.adjoints
    d_x = function(x, y, d_y)
    back.note(call, {"x": d_x, "output": d_y}, {"x": x, "output": y})
    return {"inputs": [d_x]}


def _sum(back: Backward, call: BackwardCall) -> Adjoints:
    """Go back through ``y = a + b + ...``, where terms are broadcast to y."""
    y, (d_y,) = call.trace.output, call.adjoints
    terms = back.terms(_tensors(call, "inputs"), y.ndim)
    size = np.broadcast_to((len(terms) - 1) * sum(terms), y.shape)
    found = []
    for x in flatten(call.trace.input):
        shape = _stretchable(x, y.ndim).shape
        stretched = tuple(
            k - y.ndim for k in range(y.ndim) if shape[k] == 1 != y.shape[k]
        )
        d_x = d_y.sum(axis=stretched, keepdims=True)
        found.append(d_x.reshape(*back.sweeps, *x.shape))  # (..., batch, ...) as x
    back.note(call, {"output": d_y}, {"output": y, "size": size})
    return {"inputs": found}


def _stretchable(x: Array, ndim: int) -> Array:
    """Return an array with `ndim` axes, new axes of size 1 after that of the batch."""
    return x.reshape(*x.shape[:1], *(1,) * (ndim - x.ndim), *x.shape[1:])


def _concatenate(back: Backward, call: BackwardCall) -> Adjoints:
    axis, ndim = call.layer.options["axis"], call.trace.output.ndim
    axis = axis if axis < 0 else axis - ndim  # from the end, as adjoints have sweeps
    sizes = [x.shape[axis] for x in flatten(call.trace.input)]
    cuts = np.cumsum(sizes)[:-1]
    return {"inputs": np.split(call.adjoints[0], cuts, axis=axis)}


def _loop(back: Backward, call: BackwardCall) -> Adjoints:
    states = [back.forward[ref] for ref in _tensors(call, "initial_state")]
    path, (d_y, *d_states) = call.path, call.adjoints
    wants_x = back.wants(_tensors(call, "sequences"))
    d_x, d_initial = _steps(
        back, path, call.key, call.layer, call.mask, states, d_y, d_states, wants_x
    )
    return {"sequences": [d_x]} | ({"initial_state": d_initial} if states else {})


def _steps(
    back: Backward,
    path: str,
    key: str,
    layer: LayerSpec,
    mask: Array | None,
    initial: Sequence[Array],
    d_y: Array,
    d_states: Sequence[Array],
    wants_x: bool,
) -> tuple[Array, Sequence[Array]]:
    """Return the adjoints of the inputs and initial states of a recurrent layer.

    A `LoopVisitor` goes back through the loop itself.
    """
    trace, names = back.trace[key], BACKWARD_CELLS[layer.class_name].state_names
    shape = (len(trace.input), layer.options["units"])
    zeros = np.zeros((*back.sweeps, *shape))  # (..., batch, units)
    visit = back.visit
    before = tuple(initial) or tuple(np.zeros(shape) for _ in names)
    after = tuple(d_states) or tuple(zeros for _ in names)
    if isinstance(visit, LoopVisitor) and visit.sweeps_loops:
        made = LoopCall(layer, trace.input, mask, before, trace.values)
        return visit.loop(key, made, d_y, after, wants_x=wants_x)
    result = backward_scan(
        layer,
        trace.input,
        mask,
        before,
        trace.values,
        d_y,
        after,
        weights=back.wants_weights,
        visit=None if visit is None else lambda t, d, v: visit(key, t, d, v),
    )
    back.add_weights(path, result.weights)
    return result.x, result.states


def _conv_loop(back: Backward, call: BackwardCall) -> Adjoints:
    """Have a `LoopVisitor` go back through a ConvLSTM, with channels last."""
    layer, visit = call.layer, back.visit
    assert isinstance(visit, LoopVisitor)
    first = layer.options["data_format"] == "channels_first"
    channels = -1 - len(layer.options["kernel_size"])  # the axis, counted from the end

    def last(values: Array) -> Array:
        return np.moveaxis(values, channels, -1) if first else values

    def as_given(values: Array) -> Array:
        return np.moveaxis(values, -1, channels) if first else values

    traced = {name: last(values) for name, values in call.trace.values.items()}
    zeros = np.zeros_like(traced["h"][:, 0])  # (batch, spatial..., filters)
    states = [back.forward[ref] for ref in _tensors(call, "initial_state")]
    before = tuple(map(last, states)) or (zeros, zeros)
    d_y, *d_states = map(last, call.adjoints)
    none = np.zeros((*back.sweeps, *zeros.shape))
    made = LoopCall(layer, last(call.trace.input), None, before, traced)
    d_x, d_initial = visit.loop(
        call.key, made, d_y, tuple(d_states) or (none, none),
        wants_x=back.wants(_tensors(call, "sequences")),
    )  # fmt: skip
    found = {"sequences": [as_given(d_x)]}
    return found | ({"initial_state": list(map(as_given, d_initial))} if states else {})


def _bidirectional(back: Backward, call: BackwardCall) -> Adjoints:
    """Go back through the merge, then through both layers."""
    layer, (forward, backward) = call.layer, call.layer.sublayers
    keys = [call.inside(name) for name in (forward, backward)]
    # y and y_rev are (batch, time, units), or (batch, units) of the last step
    y, y_rev = (flatten(back.trace[key].output)[0] for key in keys)
    sequences = layer.sublayers[forward].options["return_sequences"]
    y_rev = np.flip(y_rev, axis=1) if sequences else y_rev
    count = 1 if layer.options["merge_mode"] else 2
    d_merged, d_states = call.adjoints[:count], call.adjoints[count:]
    d_outputs = _unmerged(layer.options["merge_mode"], y, y_rev, d_merged)
    if layer.options["merge_mode"] in ("sum", "mul", "ave"):
        output = flatten(call.trace.output)[0]
        back.note(call, {"output": d_merged[0]}, {"output": output})
    if sequences:
        d_outputs[1] = np.flip(d_outputs[1], axis=-2)  # in processing order
    states = [back.forward[ref] for ref in _tensors(call, "initial_state")]
    wants_x = back.wants(_tensors(call, "sequences"))
    d_x: Array = np.zeros(())
    d_initial: list[Array] = []
    for k, name in enumerate((forward, backward)):
        d_own, d_before = _steps(
            back,
            f"{call.path}/{name}",
            keys[k],
            layer.sublayers[name],
            call.mask,
            _half(states, k),
            d_outputs[k],
            _half(d_states, k),
            wants_x,
        )
        d_x = d_x + d_own
        d_initial += d_before
    return {"sequences": [d_x]} | ({"initial_state": d_initial} if states else {})


def _back(layer: LayerSpec) -> Pullback:
    """Return the pullback of the activation of a layer."""
    return pullback(layer.options["activation"], exact=exact_constants(layer))


def _tensors(call: BackwardCall, argument: str) -> list[TensorRef]:
    return [
        leaf
        for leaf in flatten(call.arguments.get(argument))
        if isinstance(leaf, TensorRef)
    ]


def _half(items: Sequence[Array], which: int) -> Sequence[Array]:
    """Return the first half of a list (`which` = 0) or the second (1)."""
    half = len(items) // 2
    return items[half:] if which else items[:half]


def _unmerged(
    mode: str | None, y: Array, y_rev: Array, d_merged: Sequence[Array]
) -> list[Array]:
    """Return the adjoints of the outputs of both directions, in the input's order."""
    d = d_merged[0]
    match mode:
        case "concat":
            return np.split(d, [y.shape[-1]], axis=-1)
        case "sum":
            return [d, d]
        case "mul":
            return [d * y_rev, d * y]
        case "ave":
            return [d / 2, d / 2]
        case _:
            return list(d_merged)


EXACT_LAYERS = frozenset(
    {"Embedding", "Masking", "Identity", *(x.class_name for x in TRAINING_ONLY)}
)
"""Classes that only choose or pass on numbers of their inputs and weights."""

LOOK_UPS = (
    *("StringLookup", "IntegerLookup", "TextVectorization", "Hashing"),
    *("HashedCrossing",),
)
"""Classes that make ids, or rows of zeros and ones, of texts and whole numbers."""

BACKWARD_LAYERS: Mapping[str, Callable[[Backward, BackwardCall], Adjoints]] = (
    MappingProxyType(
        {
            "Embedding": _embedding,
            "Masking": _masking,
            **dict.fromkeys(BACKWARD_CELLS, _loop),
            "Bidirectional": _bidirectional,
            "Dense": _dense,
            "Activation": _activation,
            "Softmax": _softmax,
            "Add": _sum,
            "Concatenate": _concatenate,
            **dict.fromkeys(
                ("Identity", *(x.class_name for x in TRAINING_ONLY)), _passed_on
            ),
            **dict.fromkeys(LOOK_UPS, _whole_numbers),
        }
    )
)
"""Class name of a layer -> the function that goes back through one call of it."""

CONV_LOOPS = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")

VISITED_LOOPS: Mapping[str, Callable[[Backward, BackwardCall], Adjoints]] = (
    MappingProxyType(dict.fromkeys(CONV_LOOPS, _conv_loop))
)
"""Class name of a layer -> the function that goes back through one call of it, where a
`LoopVisitor` goes back through the loop. For all others such a layer is recorded."""


def has_visited_loop(back: Backward, call: BackwardCall, known: Set[str]) -> bool:
    """Return whether `VISITED_LOOPS` go back through a call.

    Parameters
    ----------
    back : Backward
    call : BackwardCall
    known : set of str
        As for `verify.backward.graphs.needs_recording`.
    """
    layer, visit = call.layer, back.visit
    if layer.class_name not in VISITED_LOOPS or not isinstance(visit, LoopVisitor):
        return False
    functions = {layer.options[k] for k in ("activation", "recurrent_activation")}
    return visit.sweeps_loops and functions <= known and call.mask is None
