"""Keras's side of a comparison: outputs, and every call of every layer."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.errors import KerasCannotRun
from verify.forward.layers.base import Tensor
from verify.forward.network import Inputs
from verify.keras_bridge.building import build, fill, refresh, with_dtype
from verify.keras_bridge.importing import first_line, floatx, import_keras, quiet
from verify.keras_bridge.reading import read_live
from verify.model.arrays import Array
from verify.model.graph import flatten, map_structure


@dataclass(frozen=True, eq=False)
class KerasCall:
    """One call of a layer inside a running Keras model.

    Attributes
    ----------
    name : str
        Of the layer.
    key : str
        The name, and from the second call of the layer on its number: ``lstm:2``.
    args, kwargs
        Of the call, with a `verify.forward.layers.base.Tensor` wherever Keras had a tensor: its
        value and the mask that it carried.
    outputs : list of ndarray
    masks : list of ndarray or None
        What each output carried.
    """

    name: str
    key: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Array]
    masks: list[Array | None]


class KerasModel:
    """A live model as the verifier uses it: outputs, and every call of every layer.

    Parameters
    ----------
    model : keras.Model
    batch_size : int
        Rows `predict` takes at a time.
    exact : bool
        Whether inputs stay float64 on their way into the model.
    """

    def __init__(self, model: Any, batch_size: int, *, exact: bool = False) -> None:
        self.model = model
        self.batch_size = batch_size
        self.exact = exact
        self.compiled = False

    def predict(self, x: Inputs) -> list[Array]:
        """``model.predict(x)``, as the user runs it: each output, (batch, ...).

        A stateful model starts with states of zeros, and is left with those it had.
        """
        dtype = "float64" if self.exact else None
        try:
            with floatx(dtype), quiet(), from_zero_states(self.model):
                y = self.model.predict(
                    self.given(x), batch_size=self.batch_size, verbose=0
                )
        except Exception as error:
            if (
                self.exact and not self.compiled
            ):  # some float64 kernels exist in XLA only
                self.compiled = True
                self.model.compile(jit_compile=True)
                return self.predict(x)
            raise cannot_run(error) from error
        if isinstance(y, dict):
            names = self.model.output
            y = [y[name] for name in names] if isinstance(names, dict) else y
        return [np.asarray(array) for array in flatten(y)]

    def given(self, x: Inputs) -> Any:
        """Inputs in the structure that the model takes."""
        inputs = getattr(self.model, "_inputs_struct", None)
        if isinstance(inputs, dict):
            return dict(zip(inputs, x, strict=True))
        return list(x) if len(x) > 1 else x[0]

    def calls(self, x: Inputs) -> list[KerasCall]:
        """Every call of a layer while the model runs on `x`, in Keras's order.

        The layers are called one after the other, which spares Keras the compilation of
        a model with as many outputs as layers.
        """
        found: list[KerasCall] = []
        count: Counter[str] = Counter()
        graph = getattr(self.model, "_functional", None) or self.model
        constants = _constants(graph)

        def seen(leaf: Any) -> Any:
            tensor = _as_tensor(leaf)
            return tensor.value if id(leaf) in constants else tensor

        def watched(operation: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                if "training" in getattr(operation, "_call_context_args", {}):
                    kwargs["training"] = False  # as predict says, whatever the graph
                given = map_structure(seen, list(args))
                named = map_structure(seen, kwargs)
                outputs = operation(*args, **kwargs)
                tensors = [_as_tensor(y) for y in flatten(outputs)]
                name = operation.name
                count[name] += 1
                key = name if count[name] == 1 else f"{name}:{count[name]}"
                values = [tensor.value for tensor in tensors]
                masks = [tensor.mask for tensor in tensors]
                found.append(KerasCall(name, key, tuple(given), named, values, masks))
                return outputs

            return call

        with (
            floatx("float64" if self.exact else None),
            quiet(),
            from_zero_states(self.model),
        ):
            inputs = graph._standardize_inputs(self.given(x))
            try:
                graph._run_through_graph(inputs, operation_fn=watched)
            except Exception as error:
                raise cannot_run(error) from error
        return found

    def step_outputs(self, call: KerasCall) -> Array:
        """What a recurrent layer returns at every step; (batch, time, ...)."""
        keras = import_keras()
        layer = self.model.get_layer(call.name)
        changed = {"return_sequences": True, "return_state": False, "stateful": False}
        every_step = type(layer).from_config({**layer.get_config(), **changed})
        with floatx("float64" if self.exact else None), quiet():
            args = map_structure(_as_keras, list(call.args))
            kwargs = map_structure(_as_keras, call.kwargs)
            every_step.build(flatten(args)[0].shape)
            every_step.set_weights(layer.get_weights())
            return np.asarray(keras.ops.convert_to_numpy(every_step(*args, **kwargs)))

    def twin(self, dtype: str | None = None) -> KerasModel:
        """The same layers and weights in a model of their own.

        Parameters
        ----------
        dtype : str, optional
            The dtype policy of every layer, instead of its own.
        """
        config = json.loads(self.model.to_json())
        config = config if dtype is None else with_dtype(config, dtype)
        with floatx(dtype), quiet():
            model = build(config)
            if not model.built:
                model.build(self.model.input_shape)
            try:
                model.set_weights(self.model.get_weights())
            except ValueError:  # a layer in two models inside is one here, two there
                fill(model, read_live(self.model))
            refresh(model)
        return KerasModel(model, self.batch_size, exact=dtype == "float64")


def _constants(graph: Any) -> dict[int, Any]:
    """Tensors that stand in the calls of a graph themselves, by their identity."""
    keras = import_keras()
    nodes = [node for nodes in graph._nodes_by_depth.values() for node in nodes]
    arguments = [node.arguments for node in nodes if not node.is_input]
    leaves = flatten([[list(a.args), dict(a.kwargs)] for a in arguments])
    return {
        id(leaf): leaf
        for leaf in leaves
        if keras.ops.is_tensor(leaf) and not isinstance(leaf, keras.KerasTensor)
    }


def cannot_run(error: Exception) -> KerasCannotRun:
    """An error of Keras's, as one line."""
    return KerasCannotRun(
        f"Keras cannot run this model on these inputs ({first_line(error)})"
    )


def _as_tensor(leaf: Any) -> Any:
    """A tensor of Keras with its mask, in NumPy; anything else as it is."""
    keras = import_keras()
    if not keras.ops.is_tensor(leaf):
        return leaf
    from keras.src import backend

    mask = backend.get_keras_mask(leaf)
    to_numpy = keras.ops.convert_to_numpy
    return Tensor(to_numpy(leaf), None if mask is None else to_numpy(mask))


def _as_keras(leaf: Any) -> Any:
    """The other way round."""
    if not isinstance(leaf, Tensor):
        return leaf
    keras = import_keras()
    from keras.src import backend

    tensor = keras.ops.convert_to_tensor(leaf.value)
    if leaf.mask is not None:
        backend.set_keras_mask(tensor, keras.ops.convert_to_tensor(leaf.mask))
    return tensor


@contextlib.contextmanager
def from_zero_states(model: Any) -> Iterator[None]:
    """Stateful layers at zero inside the ``with``, and then as they were."""
    layers = [
        layer
        for layer in model._flatten_layers()
        if getattr(layer, "stateful", False) and hasattr(layer, "reset_state")
    ]
    states = [
        v for layer in layers for v in flatten(getattr(layer, "states", ()) or ())
    ]
    before = [import_keras().ops.convert_to_numpy(state).copy() for state in states]
    for state, value in zip(states, before, strict=True):
        state.assign(np.zeros_like(value))
    try:
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)
