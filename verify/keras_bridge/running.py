"""Keras's side of a comparison: outputs, and every call of every layer."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.console.signals import interruptible
from verify.errors import KerasCannotRun, KerasChanged
from verify.forward.evaluable import Inputs
from verify.forward.layers.base import Tensor
from verify.keras_bridge import private
from verify.keras_bridge.building import (
    build,
    load_weights,
    refresh_weight_copies,
    with_dtype,
)
from verify.keras_bridge.importing import (
    backend,
    first_line,
    floatx,
    import_keras,
    quiet,
)
from verify.keras_bridge.long_windows import all_steps_at_once, compiled_if_long
from verify.keras_bridge.names import file_name, keras_name
from verify.keras_bridge.reading import read_live
from verify.model.arrays import Array
from verify.model.graph import flatten, map_structure

INSIDE = ("forward_layer", "backward_layer", "layer")
"""Attributes of a Bidirectional and of a TimeDistributed."""


@dataclass(frozen=True, eq=False)
class KerasCall:
    """Hold one call of a layer inside a running Keras model.

    Attributes
    ----------
    name : str
        Name of the layer.
    key : str
        The name, with a number from the second call of the layer on: ``lstm:2``.
    args : tuple
        Positional arguments, with a `verify.forward.layers.base.Tensor` in place of
        each of Keras's tensors: its value and the mask that it carried.
    kwargs : dict
        Keyword arguments, in the same way.
    outputs : list of (batch, ...)
    masks : list of (batch, ...) of bool, or None
        The mask that each output carried.
    """

    name: str
    key: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[Array]
    masks: list[Array | None]


class CallKeys:
    """Number the calls of each layer: ``lstm``, then ``lstm:2`` and so on."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()

    def next(self, name: str) -> str:
        """Return the key of the next call of a layer."""
        self._count[name] += 1
        number = self._count[name]
        return name if number == 1 else f"{name}:{number}"


class KerasModel:
    """Run a live Keras model for its outputs and for every call of every layer.

    Parameters
    ----------
    model : keras.Model
    batch_size : int
        Rows that `predict` takes at a time.
    floatx : str, optional
        Keras's default float type while the model runs, if not the one that is set.
        With ``"float64"`` inputs stay float64 on their way into the model.

    Attributes
    ----------
    at_once : bool
        Whether predict has computed all steps of a TimeDistributed at once; see
        `verify.keras_bridge.long_windows`.
    """

    def __init__(
        self, model: Any, batch_size: int, *, floatx: str | None = None
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.floatx = floatx
        self.at_once = False
        self._compiled = False

    def predict(self, x: Inputs) -> list[Array]:
        """Return ``model.predict(x)``, as the user runs it: (batch, ...) each.

        A stateful model starts from states of zeros, and keeps those it had.
        """
        try:
            y = interruptible(lambda: self._predicted(x))
        except Exception as error:
            # TensorFlow has some float64 kernels in XLA only.
            wide = self.floatx == "float64" and backend() == "tensorflow"
            if wide and not self._compiled:
                self._compiled = True
                self.model.compile(jit_compile=True)
                return self.predict(x)
            raise cannot_run(error) from error
        if isinstance(y, dict):
            names = self.model.output
            y = [y[name] for name in names] if isinstance(names, dict) else y
        return [np.asarray(array) for array in flatten(y)]

    def _predicted(self, x: Inputs) -> Any:
        with (
            floatx(self.floatx),
            quiet(),
            all_steps_at_once() as layers,
            from_zero_states(self.model),
        ):
            y = self.model.predict(
                self.structured(x), batch_size=self.batch_size, verbose=0
            )
        self.at_once = self.at_once or bool(layers)
        return y

    def structured(self, x: Inputs) -> Any:
        """Return inputs in the structure that the model takes."""
        inputs = private.inputs_of(self.model)
        given = [_texts_for_keras(array) for array in x]
        if isinstance(inputs, dict):
            return dict(zip(inputs, given, strict=True))
        return given if len(given) > 1 else given[0]

    def calls(self, x: Inputs) -> list[KerasCall]:
        """Return every call of a layer while the model runs on `x`, in Keras's order.

        The layers are called one after the other, so that Keras need not compile a
        model with as many outputs as layers.
        """
        recorder = _CallRecorder(self.model)

        def run() -> None:
            with (
                floatx(self.floatx),
                quiet(),
                all_steps_at_once(),
                from_zero_states(self.model),
            ):
                private.run_graph(self.model, self.structured(x), recorder)

        try:
            interruptible(run)
        except Exception as error:
            raise cannot_run(error) from error
        return recorder.found

    def step_outputs(self, call: KerasCall) -> Array:
        """Return what a recurrent layer returns at every step: (batch, time, ...)."""
        keras = import_keras()
        layer = inner_layer(self.model, call.name)
        changed = {"return_sequences": True, "return_state": False, "stateful": False}
        every_step = type(layer).from_config({**layer.get_config(), **changed})

        def run() -> Array:
            with floatx(self.floatx), quiet():
                args = map_structure(_to_keras, list(call.args))
                kwargs = map_structure(_to_keras, call.kwargs)
                if "initial_state" in kwargs:
                    given = flatten(kwargs["initial_state"])
                    kwargs["initial_state"] = nested_states(layer, given)
                every_step.build(flatten(args)[0].shape)
                every_step.set_weights(layer.get_weights())
                function = compiled_if_long(every_step, args, kwargs)
                return np.asarray(keras.ops.convert_to_numpy(function(*args, **kwargs)))

        return interruptible(run)

    def twin(self, dtype: str | None = None) -> KerasModel:
        """Return a copy: the same layers and weights in a model of their own.

        Parameters
        ----------
        dtype : str, optional
            The dtype policy of every layer, instead of its own.
        """
        config = json.loads(self.model.to_json())
        layers = private.layers_inside(self.model)
        if any(hasattr(layer, "get_vocabulary") for layer in layers):
            config = read_live(self.model).config
        config = config if dtype is None else with_dtype(config, dtype)
        with floatx(dtype), quiet():
            model = build(config)
            if not model.built:
                model.build(self.model.input_shape)
            try:
                model.set_weights(self.model.get_weights())
            except ValueError:
                # A layer that two models inside share is one layer here, two there.
                load_weights(model, read_live(self.model))
            refresh_weight_copies(model)
        wide = "float64" if dtype == "float64" else None
        return KerasModel(model, self.batch_size, floatx=wide)


class _CallRecorder:
    """Call the operations of a model and record each call, for `private.run_graph`."""

    def __init__(self, model: Any) -> None:
        self.found: list[KerasCall] = []
        self._keys = CallKeys()
        self._constants = _constants(model)

    def __call__(self, operation: Any) -> Callable[..., Any]:
        """Return a function that calls and records an operation."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if private.takes_training(operation):
                kwargs["training"] = False  # as predict says, whatever the graph
            given = map_structure(self._recorded, list(args))
            named = map_structure(self._recorded, kwargs)
            outputs = compiled_if_long(operation, args, kwargs)(*args, **kwargs)
            tensors = [_to_tensor(y) for y in flatten(outputs)]
            name = file_name(operation.name)
            self.found.append(
                KerasCall(
                    name,
                    self._keys.next(name),
                    tuple(given),
                    named,
                    [tensor.value for tensor in tensors],
                    [tensor.mask for tensor in tensors],
                )
            )
            return outputs

        return call

    def _recorded(self, leaf: Any) -> Any:
        """Return an argument in NumPy; a constant of the graph without a mask."""
        tensor = _to_tensor(leaf)
        return tensor.value if id(leaf) in self._constants else tensor


def _constants(model: Any) -> dict[int, Any]:
    """Return, by their `id`, the tensors that a model's calls contain as constants."""
    keras = import_keras()
    nodes = private.nodes_of(model)
    arguments = [node.arguments for node in nodes if not node.is_input]
    leaves = flatten([[list(a.args), dict(a.kwargs)] for a in arguments])
    return {
        id(leaf): leaf
        for leaf in leaves
        if keras.ops.is_tensor(leaf) and not isinstance(leaf, keras.KerasTensor)
    }


def _texts_for_keras(array: Any) -> Any:
    """Return texts as a tensor of TensorFlow, and numbers and tensors as they are.

    Keras takes no texts in arrays of NumPy.
    """
    is_text = isinstance(array, np.ndarray) and array.dtype.kind == "U"
    if not is_text or backend() != "tensorflow":
        return array
    import tensorflow as tf

    return tf.constant(array)


def cannot_run(error: Exception) -> KerasCannotRun:
    """Return the error to raise for one of Keras's own, in one line."""
    if isinstance(error, KerasChanged):
        return error
    return KerasCannotRun(
        f"Keras cannot run this model on these inputs ({first_line(error)})"
    )


def _to_tensor(leaf: Any) -> Any:
    """Return one of Keras's tensors with its mask, in NumPy; anything else as it is."""
    keras = import_keras()
    if not keras.ops.is_tensor(leaf):
        return leaf
    mask = private.mask_of(leaf)
    to_numpy = keras.ops.convert_to_numpy
    value = to_numpy(leaf)
    if value.dtype == object:  # texts, as bytes
        value = np.char.decode(value.astype(bytes), "utf-8")
    return Tensor(value, None if mask is None else to_numpy(mask))


def _to_keras(leaf: Any) -> Any:
    """Return a `Tensor` as one of Keras's, with its mask; anything else as it is."""
    if not isinstance(leaf, Tensor):
        return leaf
    keras = import_keras()
    if leaf.value.dtype.kind == "U":
        return _texts_for_keras(leaf.value)
    tensor = keras.ops.convert_to_tensor(leaf.value)
    if leaf.mask is not None:
        private.set_mask(tensor, keras.ops.convert_to_tensor(leaf.mask))
    return tensor


def inner_layer(model: Any, path: str) -> Any:
    """Return a layer of a Keras model, or one inside a wrapper: its attribute."""
    outer, _, inner = path.rpartition("/")
    if inner in INSIDE and outer:
        return getattr(_named(model, outer), inner)
    return _named(model, path)


def _named(model: Any, name: str) -> Any:
    """Return a layer by its name in the file, which a model built here may not have."""
    own = {layer.name for layer in model.layers}
    return model.get_layer(name if name in own else keras_name(name))


def nested_states(layer: Any, states: Sequence[Any]) -> list[Any]:
    """Return states in the lists in which an RNN of stacked cells takes them."""
    keras = import_keras()
    size = getattr(getattr(layer, "cell", None), "state_size", None)
    if not isinstance(size, (list, tuple)) or not any(map(keras.tree.is_nested, size)):
        return list(states)
    return list(keras.tree.pack_sequence_as(list(size), list(states)))


@contextlib.contextmanager
def from_zero_states(model: Any) -> Iterator[None]:
    """Set the states of stateful layers to zero in the ``with``, then restore them."""
    layers = [
        layer
        for layer in private.layers_inside(model)
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
