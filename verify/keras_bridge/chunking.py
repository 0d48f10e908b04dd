"""Keras's states on the way: what happens inside predict, and a layer run in chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verify.forward.layers import REGISTRY
from verify.forward.layers.base import Tensor
from verify.forward.network import Inputs
from verify.keras_bridge.importing import floatx, import_keras, quiet
from verify.keras_bridge.running import KerasCall, KerasModel, cannot_run
from verify.model.arrays import Array
from verify.model.graph import flatten, map_structure

EVERY_STEP = {"return_sequences": True, "return_state": True, "stateful": False}
"""Options of a recurrent layer that shows every step and can be taken up again."""


def predicted_calls(
    model: KerasModel, x: Inputs, calls: Sequence[KerasCall]
) -> tuple[list[KerasCall], list[Array]]:
    """Calls of layers with the values that they have inside ``predict``.

    A compiled model may round otherwise than its layers do one by one, so a model with
    more outputs is compiled: everything that any layer is given or returns.

    Parameters
    ----------
    model, x
    calls : list of Call
        Those of ``model.calls(x)``.

    Returns
    -------
    calls
    outputs : list of (batch, ...)
        What the model with more outputs returns for those of the model. Equal to
        ``predict`` to the bit, the values of the calls are those of predict too.
    """
    keras, own = import_keras(), model.model
    graph = getattr(own, "_functional", None) or own
    nodes = dict(_nodes(graph))
    given = {call.key: _given(nodes[call.key]) for call in calls}
    tensors = {id(t): t for inside in given.values() for t in inside.values()}
    for node in nodes.values():
        tensors |= {id(t): t for t in node.outputs}
    try:
        with quiet():
            more = keras.Model(
                graph._inputs_struct, [*tensors.values(), *graph.outputs]
            )
            _compiled_like(own, more)
    except Exception as error:
        raise cannot_run(error) from error
    arrays = KerasModel(more, model.batch_size, exact=model.exact).predict(x)
    values = dict(zip(tensors, arrays, strict=False))
    found = []
    for call in calls:

        def filled(value: Any, where: dict[int, Any]) -> Any:
            count = iter(range(len(flatten(value))))

            def leaf(old: Any) -> Any:
                place = next(count)
                if place not in where:
                    return old
                return Tensor(values[id(where[place])], getattr(old, "mask", None))

            return map_structure(leaf, value)

        node, inside = nodes[call.key], given[call.key]
        found.append(
            replace(
                call,
                args=tuple(filled(list(call.args), _at(inside, "args"))),
                kwargs={
                    key: filled(value, _at(inside, key))
                    for key, value in call.kwargs.items()
                },
                outputs=[values[id(t)] for t in node.outputs],
            )
        )
    return found, arrays[len(tensors) :]


def _nodes(graph: Any) -> Iterator[tuple[str, Any]]:
    """Every call in the order in which Keras runs them, with its key."""
    count: Counter[str] = Counter()
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            if node.operation and not node.is_input:
                name = node.operation.name
                count[name] += 1
                number = count[name]
                yield (name if number == 1 else f"{name}:{number}"), node


def _given(node: Any) -> dict[tuple[str, int], Any]:
    """Argument and place in it -> the symbolic tensor that stands there."""
    keras = import_keras()
    arguments = {"args": list(node.arguments.args), **node.arguments.kwargs}
    return {
        (key, place): leaf
        for key, value in arguments.items()
        for place, leaf in enumerate(flatten(value))
        if isinstance(leaf, keras.KerasTensor)
    }


def _at(inside: dict[tuple[str, int], Any], key: str) -> dict[int, Any]:
    return {place: leaf for (name, place), leaf in inside.items() if name == key}


def _compiled_like(own: Any, other: Any) -> None:
    """Let `predict` of another model run as that of this one does."""
    other.compile(jit_compile=own.jit_compile, run_eagerly=own.run_eagerly)


def chunks(
    model: KerasModel,
    call: KerasCall,
    mask: Array | None,
    steps: int,
    *,
    compiled: bool,
) -> list[KerasCall]:
    """A call of a recurrent layer in chunks, each from the states of the one before.

    Parameters
    ----------
    model : KerasModel
    call : Call
        Of a SimpleRNN, LSTM or GRU.
    mask : (batch, time) of bool, or None
        The one that the layer uses.
    steps : int
        Time steps in a chunk, in the order in which the layer reads them.
    compiled : bool
        Whether to run them by ``predict``, compiled as the model is.

    Returns
    -------
    list of Call
        Outputs are every step of the chunk, in processing order, then the states.
    """
    own = model.model.get_layer(call.name)
    layer_type = REGISTRY[type(own).__name__]
    given = layer_type.by_name(call.args, call.kwargs)
    x = flatten(given[layer_type.arguments[0]])[0].value
    states = [leaf.value for leaf in flatten(given.get("initial_state", []))]
    with floatx("float64" if model.exact else None), quiet():
        layer = type(own).from_config({**own.get_config(), **EVERY_STEP})
        layer.build(x.shape)
        layer.set_weights(own.get_weights())
    runs: dict[tuple[int, bool], Callable[..., list[Array]]] = {}
    found = []
    for some in slices(x.shape[1], steps, backwards=own.go_backwards):
        part = None if mask is None else mask[:, some]
        piece = x[:, some]
        kind = piece.shape[1], bool(states)
        if kind not in runs:
            runs[kind] = (
                _by_predict(model, layer, piece, part, states)
                if compiled
                else _one_by_one
            )
        try:
            with floatx("float64" if model.exact else None), quiet():
                outputs = runs[kind](layer, piece, part, states)
        except Exception as error:
            raise cannot_run(error) from error
        kwargs: dict[str, Any] = {}
        if states:
            kwargs["initial_state"] = [Tensor(state) for state in states]
        if part is not None:
            kwargs["mask"] = Tensor(part)
        masks = [part, *(None for _ in outputs[1:])]
        found.append(
            KerasCall(call.name, call.key, (Tensor(piece),), kwargs, outputs, masks)
        )
        states = outputs[1:]
    return found


def slices(time: int, steps: int, *, backwards: bool) -> Iterator[slice]:
    """Chunks in processing order, as slices of the input."""
    for start in range(0, time, steps):
        stop = min(start + steps, time)
        yield slice(time - stop, time - start) if backwards else slice(start, stop)


def _one_by_one(
    layer: Any, x: Array, mask: Array | None, states: Sequence[Array]
) -> list[Array]:
    keras = import_keras()
    to_tensor, to_numpy = keras.ops.convert_to_tensor, keras.ops.convert_to_numpy
    options = {"initial_state": [to_tensor(s) for s in states]} if states else {}
    options |= {} if mask is None else {"mask": to_tensor(mask)}
    return [np.asarray(to_numpy(y)) for y in flatten(layer(to_tensor(x), **options))]


def _by_predict(
    model: KerasModel,
    layer: Any,
    x: Array,
    mask: Array | None,
    states: Sequence[Array],
) -> Callable[..., list[Array]]:
    """A model of this layer alone, for chunks of these shapes."""
    keras = import_keras()
    with quiet():
        inputs = [keras.Input(x.shape[1:], dtype=str(x.dtype))]
        options: dict[str, Any] = {}
        if mask is not None:
            inputs.append(keras.Input(mask.shape[1:], dtype="bool"))
            options["mask"] = inputs[-1]
        if states:
            options["initial_state"] = [keras.Input(s.shape[1:]) for s in states]
            inputs += options["initial_state"]
        alone = keras.Model(inputs, layer(inputs[0], **options))
        _compiled_like(model.model, alone)

    def run(
        _: Any, x: Array, mask: Array | None, states: Sequence[Array]
    ) -> list[Array]:
        arrays = [x, *([] if mask is None else [mask]), *states]
        given = arrays if len(arrays) > 1 else x
        return flatten(alone.predict(given, batch_size=model.batch_size, verbose=0))

    return run
