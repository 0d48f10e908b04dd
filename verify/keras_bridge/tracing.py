"""Every call of a layer of a Keras model, by one compiled function of TensorFlow.

The function takes the weights as inputs and returns the tensors that go into each call
and come out of it. So it depends on the config alone, and a model built from a config
need not be built and traced again to run with other weights.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.forward.layers.base import Tensor
from verify.keras_bridge import private
from verify.keras_bridge.importing import import_keras, versions
from verify.keras_bridge.names import renamed_config
from verify.keras_bridge.recording import (
    CallKeys,
    KerasCall,
    Place,
    Recorder,
    call_names,
    call_paths,
)
from verify.model.arrays import Array
from verify.model.graph import flatten, map_structure

MAX_KEPT = 16
"""Functions that are kept, at most: those used last. A function holds no weights."""


@dataclass(frozen=True)
class _Place:
    """Say which of the returned tensors an argument or an output is, and its mask."""

    value: int
    mask: int | None


@dataclass(frozen=True, eq=False)
class _TracedCall:
    """Hold a call with a `_Place` for each tensor."""

    place: Place
    args: list[Any]
    kwargs: dict[str, Any]
    outputs: list[_Place]


class _SymbolicRecorder(Recorder):
    """Record calls by the tensors of a function that is being traced."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.calls: list[_TracedCall] = []
        self.tensors: list[Any] = []
        self._known: dict[int, int] = {}

    def given(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        return [map_structure(self._placed, x) for x in (list(args), kwargs)]

    def keep(self, place: Place, given: Any, outputs: Any) -> None:
        args, kwargs = given
        placed = [self._placed(y) for y in import_keras().tree.flatten(outputs)]
        self.calls.append(_TracedCall(place, args, kwargs, placed))

    def _placed(self, leaf: Any) -> Any:
        """Return the place of a tensor; anything else, and a constant, as it is."""
        if not import_keras().ops.is_tensor(leaf):
            return leaf
        if id(leaf) in self._constants:
            return np.asarray(import_keras().ops.convert_to_numpy(leaf))
        mask = private.mask_of(leaf)
        return _Place(self._number(leaf), None if mask is None else self._number(mask))

    def _number(self, tensor: Any) -> int:
        if id(tensor) not in self._known:
            self._known[id(tensor)] = len(self.tensors)
            self.tensors.append(tensor)  # kept alive, so the id stays its own
        return self._known[id(tensor)]


class TracedModel:
    """Run a model by one compiled function, for its outputs and for every call.

    Parameters
    ----------
    model : keras.Model
        Its graph is traced; nothing of it is changed or kept.
    x : sequence of (batch, ...)
        Inputs of the kind that it will be run on; the batch size is left open.
    structured : callable
        Inputs -> the structure in which the model takes them.
    original : keras.Model
        That of which the model is a copy, or the model itself.
    compiled : bool
        Whether XLA compiles the function: TensorFlow has some kernels there only.
    """

    def __init__(
        self,
        model: Any,
        x: Sequence[Any],
        structured: Callable[[Any], Any],
        original: Any,
        *,
        compiled: bool = False,
    ) -> None:
        tf, keras = sys.modules["tensorflow"], import_keras()
        weights, states = _variables(model)
        calls: list[_TracedCall] = []

        def run(inputs: Any, values: Any, before: Any) -> Any:
            recorder = _SymbolicRecorder(model)
            mapping = zip([*weights, *states], [*values, *before], strict=True)
            with keras.StatelessScope(list(mapping)) as scope:
                outputs = private.run_graph(model, structured(inputs), recorder)
                after = [scope.get_current_value(state) for state in states]
            calls[:] = recorder.calls
            return outputs, recorder.tensors, after

        function = tf.function(run, autograph=False, jit_compile=compiled or None)
        self._dtypes = [weight.dtype for weight in weights]
        self._states = [(tuple(state.shape), state.dtype) for state in states]
        self._run = function.get_concrete_function(
            [tf.TensorSpec(shape, dtype) for shape, dtype in signature(model, x)],
            [tf.TensorSpec(weight.shape, weight.dtype) for weight in weights],
            [tf.TensorSpec(*state) for state in self._states],
        )
        self._calls = calls
        self._paths = call_paths(model, original)
        self.independent = not self._run.captured_inputs
        """Whether the function takes all that it computes with as inputs."""

    def weights_of(self, model: Any) -> list[Any]:
        """Return the weights of a model of the same config, as this one takes them."""
        tf, (weights, _) = sys.modules["tensorflow"], _variables(model)
        return [
            tf.cast(weight.value, dtype)
            for weight, dtype in zip(weights, self._dtypes, strict=True)
        ]

    def zero_states(self) -> list[Any]:
        """Return the states of stateful layers before the first batch."""
        return [sys.modules["tensorflow"].zeros(*state) for state in self._states]

    def __call__(
        self, x: Sequence[Any], weights: list[Any], states: list[Any]
    ) -> tuple[Any, list[Any], list[Any]]:
        """Run the model on a batch.

        Returns
        -------
        outputs : tensor, or a list or dict of them
        tensors : list of tensors
            For `recorded`.
        states : list of tensors
            For the next batch.
        """
        with _unoptimised():
            given = [sys.modules["tensorflow"].constant(array) for array in x]
            return self._run(given, weights, states)

    def recorded(self, tensors: Sequence[Any], model: Any) -> list[KerasCall]:
        """Return every call of a layer.

        Parameters
        ----------
        tensors : list of tensors
            What a batch gave.
        model : keras.Model
            One of the same layers, which are called by their names in it.
        """
        names = call_names(model, self._paths)
        arrays = [as_array(tensor) for tensor in tensors]

        def filled(leaf: Any) -> Any:
            if not isinstance(leaf, _Place):
                return leaf
            return Tensor(
                arrays[leaf.value], None if leaf.mask is None else arrays[leaf.mask]
            )

        keys = CallKeys()
        return [
            KerasCall(
                names[call.place],
                keys.next(names[call.place]),
                tuple(map_structure(filled, call.args)),
                map_structure(filled, call.kwargs),
                [arrays[place.value] for place in call.outputs],
                [None if p.mask is None else arrays[p.mask] for p in call.outputs],
            )
            for call in self._calls
        ]


def as_array(tensor: Any) -> Array:
    """Return one of Keras's tensors in NumPy; texts as texts."""
    return decoded(np.asarray(import_keras().ops.convert_to_numpy(tensor)))


def decoded(values: Array) -> Array:
    """Return texts, which Keras hands out as bytes, as texts; numbers as they are."""
    if values.dtype == object:
        return np.char.decode(values.astype(bytes), "utf-8")
    return values


def _variables(model: Any) -> tuple[list[Any], list[Any]]:
    """Return the weights of a model, and the states of its stateful layers."""
    states = state_variables(model)
    known = {id(state) for state in states}
    return [weight for weight in model.weights if id(weight) not in known], states


def state_variables(model: Any) -> list[Any]:
    """Return the variables in which stateful layers keep their states."""
    layers = [
        layer
        for layer in private.layers_inside(model)
        if getattr(layer, "stateful", False) and hasattr(layer, "reset_state")
    ]
    found = [v for layer in layers for v in flatten(getattr(layer, "states", ()) or ())]
    return list({id(state): state for state in found}.values())


def signature(model: Any, x: Sequence[Any]) -> list[tuple[tuple[Any, ...], str]]:
    """Return shape and dtype of the inputs; the batch size is open, unless fixed."""
    fixed = [tensor.shape[0] for tensor in flatten(private.inputs_of(model))]
    return [
        ((rows, *array.shape[1:]), array.dtype.name)
        for rows, array in zip(fixed, x, strict=True)
    ]


@contextlib.contextmanager
def _unoptimised() -> Iterator[None]:
    """Run functions of TensorFlow as they were traced.

    To optimise a graph takes longer than to run it on the few rows of a check.
    """
    optimizer, name = (
        sys.modules["tensorflow"].config.optimizer,
        "disable_meta_optimizer",
    )
    before = bool(optimizer.get_experimental_options().get(name, False))
    optimizer.set_experimental_options({name: True})
    try:
        yield
    finally:
        optimizer.set_experimental_options({name: before})


# Functions that are kept --------------------------------------------------------------

_kept: OrderedDict[str, TracedModel] = OrderedDict()
_lock = threading.Lock()


def kept(key: str) -> TracedModel | None:
    """Return the function that was kept under a key, if it still is."""
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
        return _kept.get(key)


def keep(key: str, traced: TracedModel) -> None:
    """Keep a function, in the place of the one that was used longest ago."""
    with _lock:
        _kept[key] = traced
        while len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)


def forget() -> None:
    """Let go of all functions that are kept."""
    with _lock:
        _kept.clear()


def key_of(config: Any, model: Any, x: Sequence[Any]) -> str | None:
    """Return the key of the function of a model that is built from a config.

    It has all that the function depends on. The names of layers, which Keras numbers
    anew for each model, are replaced by numbers; a name stands for the same number
    throughout.

    Returns
    -------
    str or None
        None for a model whose function is not kept: one with code of the user's, whose
        class may change under its name, or with a layer that computes with copies of
        its weights, which are not inputs of the function.
    """
    if not _all_of_keras(config) or any(
        hasattr(layer, "finalize_state") or hasattr(layer, "get_vocabulary")
        for layer in private.layers_inside(model)
    ):
        return None
    numbers: dict[str, str] = {}
    config = {k: v for k, v in config.items() if k != "compile_config"}
    renamed = renamed_config(
        config, lambda x: numbers.setdefault(x, f"#{len(numbers)}")
    )
    settings = import_keras().config
    return json.dumps(
        [
            renamed,
            signature(model, x),
            versions(),
            settings.floatx(),
            settings.epsilon(),
            settings.image_data_format(),
        ],
        sort_keys=True,
    )


def _all_of_keras(config: Any) -> bool:
    """Return whether every class and function in a config is Keras's own."""
    if isinstance(config, list):
        return all(map(_all_of_keras, config))
    if not isinstance(config, dict):
        return True
    if "class_name" in config and "config" in config:
        module = str(config.get("module") or "")
        plain = config["class_name"] in ("__keras_tensor__", "__tensor__", "__numpy__")
        if not plain and module.split(".")[0] != "keras":
            return False
        if config["class_name"] == "Lambda":
            return False
    return all(map(_all_of_keras, config.values()))
