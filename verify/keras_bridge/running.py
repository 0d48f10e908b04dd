"""Keras's side of a comparison: outputs, and every call of every layer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
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
    with_options,
    without_lora,
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
from verify.keras_bridge.recording import (
    CallKeys,
    KerasCall,
    Place,
    Recorder,
    call_names,
)
from verify.keras_bridge.subclasses import config_of, has_graph
from verify.keras_bridge.tracing import (
    TracedModel,
    as_array,
    keep,
    kept,
    key_of,
    state_variables,
)
from verify.model.arrays import Array
from verify.model.graph import flatten, map_structure


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
        self._by_xla = False

    def predict(self, x: Inputs) -> list[Array]:
        """Return ``model.predict(x)``, as the user runs it: (batch, ...) each.

        A stateful model starts from states of zeros, and keeps those it had.
        """
        try:
            y = interruptible(lambda: self._predicted(x))
        except Exception as error:
            if self._wants_xla(x) and not self._compiled:
                self._compiled = True
                self.model.compile(jit_compile=True)
                return self.predict(x)
            raise cannot_run(error) from error
        return [np.asarray(array) for array in self._flat(y)]

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

    def _wants_xla(self, x: Inputs) -> bool:
        """Return whether a model that failed is tried once more, compiled by XLA.

        TensorFlow has some float64 kernels there only. Texts end the whole process
        there, so a model that takes some, or has a layer that Keras does not compile,
        is left out.
        """
        if self.floatx != "float64" or backend() != "tensorflow":
            return False
        texts = any(array.dtype.kind == "U" for array in x)
        return not texts and private.may_be_compiled(self.model)

    def structured(self, x: Inputs) -> Any:
        """Return inputs in the structure that the model takes."""
        inputs = private.inputs_of(self.model)
        given = [_texts_for_keras(array) for array in x]
        if len(given) == 1 and not isinstance(inputs, dict):
            return given[0]
        rest = iter(given)
        return map_structure(lambda _: next(rest), inputs)

    @property
    def _original(self) -> Any:
        """Return the model that this is, or a copy of: it has the same layers."""
        return self.model

    @property
    def _weighted(self) -> Any:
        """Return the model whose weights are used."""
        return self.model

    def _flat(self, y: Any) -> list[Any]:
        """Return the outputs of the model in the order in which it has them."""
        if isinstance(y, dict):
            names = self._original.output
            y = [y[name] for name in names] if isinstance(names, dict) else y
        return flatten(y)

    def run(self, x: Inputs) -> tuple[list[Array], list[KerasCall] | None]:
        """Return the outputs, and every call of a layer if that takes nothing more.

        On TensorFlow one compiled function returns both, for as many rows as the model
        takes at a time. For more rows, and on other backends, there are no calls.
        """
        found = self._run_traced(x, self.batch_size)
        return (self.predict(x), None) if found is None else found

    def outputs(self, x: Inputs) -> list[Array]:
        """Return the outputs, by `predict` or by what takes less time.

        On TensorFlow it is the compiled function of `run` and `calls`, which is made
        once, and is spared what `predict` does around it.
        """
        found = self._run_traced(x, self.batch_size, with_calls=False)
        return self.predict(x) if found is None else found[0]

    def calls(self, x: Inputs) -> list[KerasCall]:
        """Return every call of a layer while the model runs on `x`, in Keras's order.

        On TensorFlow one compiled function returns all of them. Elsewhere, and where
        that fails, the layers are called one after the other.
        """
        found = self._run_traced(x, max(x.rows, 1))
        if found is not None and found[1] is not None:
            return found[1]
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

    def _run_traced(
        self, x: Inputs, rows: int, *, with_calls: bool = True
    ) -> tuple[list[Array], list[KerasCall] | None] | None:
        """Return the outputs, and the calls if there is one batch, of so many rows.

        None if TensorFlow cannot run the model so, or another backend runs.
        """
        if backend() != "tensorflow" or not x.rows:
            return None
        arrays = [_texts_for_keras(array) for array in x]

        def run() -> tuple[list[Array], list[KerasCall] | None]:
            with floatx(self.floatx), quiet():
                traced = self.traced(arrays)
                weights = traced.weights_of(self._weighted)
                states = traced.zero_states()
                found = []
                for start in range(0, x.rows, rows):
                    some = [array[start : start + rows] for array in arrays]
                    outputs, tensors, states = traced(some, weights, states)
                    found.append([as_array(y) for y in self._flat(outputs)])
            calls = None
            if with_calls and x.rows <= rows:
                calls = traced.recorded(tensors, self._original)
            return [np.concatenate(y) for y in zip(*found, strict=True)], calls

        try:
            return interruptible(run)
        except Exception:
            if not self._wants_xla(x) or self._by_xla:
                return None
            self._by_xla = True
            return self._run_traced(x, rows, with_calls=with_calls)

    def traced(self, x: Sequence[Any]) -> TracedModel:
        """Return the compiled function of the model for inputs of this kind."""
        with all_steps_at_once():
            return TracedModel(
                self.model, x, self.structured, self._original, compiled=self._by_xla
            )

    def step_outputs(self, call: KerasCall) -> Array:
        """Return what a recurrent layer returns at every step: (batch, time, ...)."""
        keras = import_keras()
        layer = inner_layer(self.model, call.name)
        every_step = with_options(
            layer, return_sequences=True, return_state=False, stateful=False
        )

        def run() -> Array:
            with floatx(self.floatx), quiet():
                args = map_structure(_to_keras, list(call.args))
                kwargs = map_structure(_to_keras, call.kwargs)
                if "initial_state" in kwargs:
                    given = flatten(kwargs["initial_state"])
                    kwargs["initial_state"] = nested_states(layer, given)
                every_step.build(flatten(args)[0].shape)
                every_step.set_weights(layer.get_weights())
                function = compiled_if_long(every_step, every_step, args, kwargs)
                return np.asarray(keras.ops.convert_to_numpy(function(*args, **kwargs)))

        return interruptible(run)

    def twin(self, dtype: str | None = None) -> KerasModel:
        """Return a copy: the same layers and weights in a model of their own.

        Parameters
        ----------
        dtype : str, optional
            The dtype policy of every layer, instead of its own.
        """
        return _Twin(self.model, self.batch_size, dtype)


class _Twin(KerasModel):
    """Run a copy of a live model, which is built when it is needed.

    What is compiled for a config is kept, and runs with the weights of the next model
    of the same config: see `verify.keras_bridge.tracing`.

    Parameters
    ----------
    original : keras.Model
    batch_size : int
    dtype : str or None
        The dtype policy of every layer, instead of its own.
    """

    def __init__(self, original: Any, batch_size: int, dtype: str | None) -> None:
        self.batch_size = batch_size
        self.floatx = "float64" if dtype == "float64" else None
        self.at_once = False
        self._compiled = False
        self._by_xla = False
        self._copied = original
        self._dtype = dtype
        layers = private.layers_inside(original)
        config = config_of(original)
        if any(hasattr(layer, "get_vocabulary") for layer in layers):
            config = read_live(original).config
        # the matrices of LoRA are float32 whatever the policy
        self._same_order = not any(getattr(x, "lora_enabled", False) for x in layers)
        if not self._same_order:
            config = without_lora(config)
        self._config = config if dtype is None else with_dtype(config, dtype)

    @property
    def _original(self) -> Any:
        return self._copied

    @property
    def _weighted(self) -> Any:
        return self._copied if self._same_order else self.model

    @cached_property
    def model(self) -> Any:
        """Return the copy."""
        with floatx(self._dtype), quiet():
            try:
                model = build(self._config)
            except Exception as error:
                raise KerasCannotRun(
                    "Keras cannot build this model anew from its own config "
                    f"({first_line(error)})"
                ) from error
            if not model.built:
                model.build(self._copied.input_shape)
            if self._same_order:
                try:
                    model.set_weights(self._copied.get_weights())
                except ValueError:
                    # A layer that two models inside share is one here, two there.
                    self._same_order = False
            if not self._same_order:
                load_weights(model, read_live(self._copied))
            refresh_weight_copies(model)
        return model

    def traced(self, x: Sequence[Any]) -> TracedModel:
        key = key_of(self._config, self._copied, x)
        key = key if key is None or not self._by_xla else f"{key} by XLA"
        found = None if key is None else kept(key)
        if found is None:
            found = super().traced(x)
            if key is not None and self._same_order and found.independent:
                keep(key, found)
        return found


def _called_as_in_graphs(
    operation: Any, run: Callable[..., Any], inputs: Any, *args: Any, **kwargs: Any
) -> Any:
    """Call a layer on inputs of its own dtype, as predict does."""
    ops = import_keras().ops

    def cast(leaf: Any) -> Any:
        return ops.cast(leaf, operation.compute_dtype) if ops.is_tensor(leaf) else leaf

    return run(map_structure(cast, inputs), *args, **kwargs)


class _CallRecorder(Recorder):
    """Record calls by the numbers that go in and come out."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.found: list[KerasCall] = []
        self._keys, self._names = CallKeys(), call_names(model)

    def given(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return [map_structure(self._recorded, x) for x in (list(args), kwargs)]

    def prepared(
        self, operation: Any, run: Callable[..., Any], args: Any, kwargs: Any
    ) -> Callable[..., Any]:
        if has_graph(operation):
            return run  # its layers are compiled one by one
        if backend() == "tensorflow" and private.casts_in_graphs(operation):
            return partial(_called_as_in_graphs, operation, run)
        return compiled_if_long(operation, run, args, kwargs)

    def keep(self, place: Place, given: Any, outputs: Any) -> None:
        args, kwargs = given
        tensors = [_to_tensor(y) for y in import_keras().tree.flatten(outputs)]
        name = self._names[place]
        self.found.append(
            KerasCall(
                name,
                self._keys.next(name),
                tuple(args),
                kwargs,
                [tensor.value for tensor in tensors],
                [tensor.mask for tensor in tensors],
            )
        )

    def _recorded(self, leaf: Any) -> Any:
        """Return an argument in NumPy; a constant of the graph without a mask."""
        tensor = _to_tensor(leaf)
        return tensor.value if id(leaf) in self._constants else tensor


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
    if not import_keras().ops.is_tensor(leaf):
        return leaf
    mask = private.mask_of(leaf)
    return Tensor(as_array(leaf), None if mask is None else as_array(mask))


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
    """Return a layer of a Keras model by its path: ``encoder/both/forward_layer``."""
    layer, rest = model, path
    while rest:
        name = _first_name(layer, rest)
        layer = _named(layer, name) if private.is_model(layer) else getattr(layer, name)
        rest = rest[len(name) + 1 :]
    return layer


def _first_name(layer: Any, path: str) -> str:
    """Return the first name in a path; the names of layers may have slashes."""
    if not private.is_model(layer):
        return path.partition("/")[0]
    names = [name for one in layer.layers for name in (one.name, file_name(one.name))]
    fitting = [x for x in names if path == x or path.startswith(f"{x}/")]
    return max(fitting, key=len, default=path)


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
    states = state_variables(model)
    before = [import_keras().ops.convert_to_numpy(state).copy() for state in states]
    for state, value in zip(states, before, strict=True):
        state.assign(np.zeros_like(value))
    try:
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)
