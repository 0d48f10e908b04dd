"""Keras's states on the way: what happens inside predict, and layers in time chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verify.forward.evaluable import Inputs
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import Tensor
from verify.keras_bridge import private
from verify.keras_bridge.building import with_options
from verify.keras_bridge.importing import floatx, import_keras, quiet
from verify.keras_bridge.names import file_name
from verify.keras_bridge.recording import CallKeys, KerasCall
from verify.keras_bridge.running import (
    KerasModel,
    cannot_run,
    inner_layer,
    nested_states,
)
from verify.keras_bridge.subclasses import class_of
from verify.keras_bridge.tracing import decoded
from verify.model.arrays import Array
from verify.model.graph import flatten, map_structure

EVERY_STEP = {"return_sequences": True, "return_state": True, "stateful": False}
"""Options with which a recurrent layer returns every step and its last states."""


def predicted_calls(
    model: KerasModel, x: Inputs, calls: Sequence[KerasCall]
) -> tuple[list[KerasCall], list[Array]]:
    """Return calls of layers with the values that they have inside ``predict``.

    Layers called one by one may round differently from the compiled model. So a copy is
    compiled that also outputs every layer's inputs and outputs.

    Parameters
    ----------
    model : KerasModel
    x : Inputs
    calls : list of KerasCall
        Those of ``model.calls(x)``.

    Returns
    -------
    calls : list of KerasCall
    outputs : list of (batch, ...)
        The model's own outputs, computed by the copy. If they equal those of
        ``predict`` bit for bit, the values of the calls are those of predict too.
    """
    keras, own = import_keras(), model.model
    nodes = dict(_nodes(own))
    calls = [call for call in calls if call.key in nodes]  # not those inside others
    inputs = {call.key: _symbolic_inputs(nodes[call.key]) for call in calls}
    tensors = {
        id(tensor): tensor
        for arguments in inputs.values()
        for leaves in arguments.values()
        for tensor in leaves.values()
    }
    for node in nodes.values():
        tensors |= {id(tensor): tensor for tensor in node.outputs}
    try:
        with quiet():
            outputs = [*tensors.values(), *private.graph_of(own).outputs]
            more = keras.Model(private.inputs_of(own), outputs)
            _compile_like(own, more)
    except Exception as error:
        raise cannot_run(error) from error
    arrays = KerasModel(more, model.batch_size, floatx=model.floatx).predict(x)
    values = dict(zip(tensors, map(decoded, arrays), strict=False))
    found = []
    for call in calls:
        arguments = {
            key: _with_values(value, inputs[call.key].get(key, {}), values)
            for key, value in {"args": list(call.args), **call.kwargs}.items()
        }
        found.append(
            replace(
                call,
                args=tuple(arguments.pop("args")),
                kwargs=arguments,
                outputs=[values[id(t)] for t in nodes[call.key].outputs],
            )
        )
    return found, arrays[len(tensors) :]


def _nodes(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield the key and the node of every call, in the order in which they run."""
    keys = CallKeys()
    for node in private.nodes_of(model):
        if node.operation and not node.is_input:
            yield keys.next(file_name(node.operation.name)), node


def _symbolic_inputs(node: Any) -> dict[str, dict[int, Any]]:
    """Return the symbolic tensors among the arguments of a call.

    Returns
    -------
    dict of str to dict of int to KerasTensor
        Name of an argument, or ``"args"`` -> position in it, flattened -> tensor.
    """
    keras = import_keras()
    arguments = {"args": list(node.arguments.args), **node.arguments.kwargs}
    return {
        key: {
            place: leaf
            for place, leaf in enumerate(flatten(value))
            if isinstance(leaf, keras.KerasTensor)
        }
        for key, value in arguments.items()
    }


def _with_values(
    argument: Any, inputs: Mapping[int, Any], values: Mapping[int, Array]
) -> Any:
    """Return an argument with other values in its tensors, and the masks it has.

    Parameters
    ----------
    inputs : mapping of int to KerasTensor
        Position in the argument, flattened -> tensor.
    values : mapping of int to (batch, ...)
        `id` of a tensor -> its value.
    """
    places = iter(range(len(flatten(argument))))

    def leaf(old: Any) -> Any:
        place = next(places)
        if place not in inputs:
            return old
        return Tensor(values[id(inputs[place])], getattr(old, "mask", None))

    return map_structure(leaf, argument)


def _compile_like(own: Any, other: Any) -> None:
    """Compile another model so that its `predict` runs as that of this one does."""
    other.compile(jit_compile=own.jit_compile, run_eagerly=own.run_eagerly)


def time_chunks(
    model: KerasModel,
    call: KerasCall,
    mask: Array | None,
    steps: int,
    *,
    compiled: bool,
    batches: Sequence[slice] | None = None,
    carries: bool = False,
) -> list[KerasCall]:
    """Run a recurrent layer in time chunks, each from the states of the one before.

    Parameters
    ----------
    model : KerasModel
    call : KerasCall
        Call of a recurrent layer, or of one of a Bidirectional by its path.
    mask : (batch, time) of bool, or None
        The mask that the layer uses.
    steps : int
        Time steps in a chunk, in the order in which the layer reads them.
    compiled : bool
        Whether to run the chunks by ``predict``, compiled as the model is.
    batches : list of slice, optional
        Rows that are run together, one batch after the other; by default all.
    carries : bool
        Whether a batch begins with the states that the one before it ended with.

    Returns
    -------
    list of KerasCall
        The chunks of each batch, one batch after the other. Outputs are every step of
        the chunk, in processing order, then the states.
    """
    own = inner_layer(model.model, call.name)
    layer_type = REGISTRY[class_of(own).__name__]
    given = layer_type.by_name(call.args, call.kwargs)
    x = flatten(given[layer_type.arguments[0]])[0].value  # (batch, time, features)
    begun = [leaf.value for leaf in flatten(given.get("initial_state", []))]
    with floatx(model.floatx), quiet():
        layer = with_options(own, **EVERY_STEP)
        layer.build(x.shape)
        layer.set_weights(own.get_weights())
    runners: dict[tuple[int, bool], Callable[..., list[Array]]] = {}
    found = []
    states: list[Array] = []
    pieces = [
        (rows, some, first)
        for rows in batches or [slice(0, len(x))]
        for first, some in _marked(x.shape[1], steps, backwards=own.go_backwards)
    ]
    for rows, some, first in pieces:
        if first and (begun or not carries):
            states = [state[rows] for state in begun]
        chunk = x[rows, some]
        chunk_mask = None if mask is None else mask[rows, some]
        kind = chunk.shape[1], bool(states)
        if kind not in runners:
            runners[kind] = (
                _predict_runner(model, layer, chunk, chunk_mask, states)
                if compiled
                else _call_runner(layer)
            )
        try:
            with floatx(model.floatx), quiet():
                outputs = runners[kind](chunk, chunk_mask, states)
        except Exception as error:
            raise cannot_run(error) from error
        kwargs: dict[str, Any] = {}
        if states:
            kwargs["initial_state"] = [Tensor(state) for state in states]
        if chunk_mask is not None:
            kwargs["mask"] = Tensor(chunk_mask)
        passed = chunk_mask if layer.supports_masking else None
        masks = [passed, *(None for _ in outputs[1:])]
        found.append(
            KerasCall(call.name, call.key, (Tensor(chunk),), kwargs, outputs, masks)
        )
        states = outputs[1:]
    return found


def _marked(time: int, steps: int, *, backwards: bool) -> Iterator[tuple[bool, slice]]:
    """Yield time chunks, and whether each is the first."""
    for k, some in enumerate(time_slices(time, steps, backwards=backwards)):
        yield not k, some


def time_slices(time: int, steps: int, *, backwards: bool) -> Iterator[slice]:
    """Yield time chunks in processing order, as slices of the input's time axis."""
    for start in range(0, time, steps):
        stop = min(start + steps, time)
        yield slice(time - stop, time - start) if backwards else slice(start, stop)


def _call_runner(layer: Any) -> Callable[..., list[Array]]:
    """Return a function that calls a layer on (batch, time, features), mask, states."""
    keras = import_keras()
    to_tensor, to_numpy = keras.ops.convert_to_tensor, keras.ops.convert_to_numpy

    def run(x: Array, mask: Array | None, states: Sequence[Array]) -> list[Array]:
        given = [to_tensor(s) for s in states]
        options = {"initial_state": nested_states(layer, given)} if states else {}
        options |= {} if mask is None else {"mask": to_tensor(mask)}
        outputs = flatten(layer(to_tensor(x), **options))
        return [np.asarray(to_numpy(y)) for y in outputs]

    return run


def _predict_runner(
    model: KerasModel,
    layer: Any,
    x: Array,
    mask: Array | None,
    states: Sequence[Array],
) -> Callable[..., list[Array]]:
    """Return `predict` of a model of this layer alone, for chunks of these shapes."""
    keras = import_keras()
    with quiet():
        inputs = [keras.Input(x.shape[1:], dtype=str(x.dtype))]
        options: dict[str, Any] = {}
        if mask is not None:
            inputs.append(keras.Input(mask.shape[1:], dtype="bool"))
            options["mask"] = inputs[-1]
        if states:
            given = [keras.Input(s.shape[1:], dtype=str(s.dtype)) for s in states]
            options["initial_state"] = nested_states(layer, given)
            inputs += given
        alone = keras.Model(inputs, layer(inputs[0], **options))
        _compile_like(model.model, alone)

    def run(x: Array, mask: Array | None, states: Sequence[Array]) -> list[Array]:
        arrays = [x, *([] if mask is None else [mask]), *states]
        given = arrays if len(arrays) > 1 else x
        if len(x) <= model.batch_size:
            # The same compiled function; what `predict` prepares for more batches than
            # one takes longer than the chunk itself.
            return flatten(alone.predict_on_batch(given))
        return flatten(alone.predict(given, batch_size=model.batch_size, verbose=0))

    return run
