"""Record every call of a layer while a Keras model runs, those inside models too."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from verify.keras_bridge import private
from verify.keras_bridge.importing import import_keras
from verify.keras_bridge.long_windows import MANY_STEPS
from verify.keras_bridge.names import file_name
from verify.keras_bridge.subclasses import has_graph
from verify.model.arrays import Array
from verify.model.graph import flatten

Place = tuple[int, ...]
"""Number of a call among those of the model; before it, the place of the call of the
model that it is in."""


class Part(NamedTuple):
    """Say which layer or raw operation of a model is meant, whatever it is called.

    Keras may put operations into the graph of a copy that the model has not, such as
    those that make a mask, or a cast where the dtypes are others.

    Attributes
    ----------
    kind : str
        Class of a raw operation; empty for layers, which are all counted together.
    number : int
        Among the parts of that kind.
    name : str
        In the model that is numbered.
    """

    kind: str
    number: int
    name: str


CallPath = tuple[Part | str, ...]
"""Which part of the model is called; before it, the path of the model that it is in. An
operation that Keras has put into the graph of a Sequential has its name."""


@dataclass(frozen=True, eq=False)
class KerasCall:
    """Hold one call of a layer inside a running Keras model.

    Attributes
    ----------
    name : str
        Path of the layer: ``lstm``; in a model inside, ``encoder/lstm``.
    key : str
        The path, with a number from the second call of the layer on: ``lstm:2``.
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


def call_paths(model: Any, original: Any = None) -> dict[Place, CallPath]:
    """Return where in the model the layer of every call that may be recorded is.

    Parameters
    ----------
    model : keras.Model
    original : keras.Model, optional
        That of which the model is a copy: parts are then numbered as there.
    """
    return dict(_calls_with_paths(model, model if original is None else original))


def _calls_with_paths(
    model: Any, original: Any, inside: Place = (), path: CallPath = ()
) -> Iterator[tuple[Place, CallPath]]:
    known = {found[::2]: (found, part) for found, part in _numbered(original)}
    numbers: dict[int, tuple[Part, Any]] = {}
    for found, part in _numbered(model):
        if found[::2] in known:
            numbers[id(part)] = known[found[::2]]
        elif not found.kind:  # Keras adds operations to a copy, and no layers
            numbers[id(part)] = found, part
    for number, node in enumerate(_calls_of(model)):
        operation, place = node.operation, (*inside, number)
        found, there = numbers.get(id(operation), (operation.name, operation))
        own = *path, found
        yield place, own
        for (_, one), (_, its_original) in zip(
            _models_in(operation), _models_in(there), strict=True
        ):
            yield from _calls_with_paths(one, its_original, place, own)


def call_names(
    model: Any, paths: Mapping[Place, CallPath] | None = None
) -> dict[Place, str]:
    """Return the path of the layer of every call, by the names in a model.

    Parameters
    ----------
    model : keras.Model
    paths : mapping, optional
        `call_paths` of another model of the same layers.
    """
    paths = call_paths(model) if paths is None else paths
    return {place: "/".join(_names(model, path)) for place, path in paths.items()}


def _names(model: Any, path: CallPath) -> Iterator[str]:
    first, *rest = path
    if isinstance(first, str):
        yield file_name(first)
        return
    part = next((p for k, p in _numbered(model) if k[:2] == first[:2]), None)
    yield file_name(first.name if part is None else part.name)
    if part is None:  # Keras has put it into the copy alone
        return
    for key, inner in _models_in(part) if rest else ():
        yield from key
        yield from _names(inner, tuple(rest))


def _numbered(model: Any) -> Iterator[tuple[Part, Any]]:
    """Yield each layer or raw operation of a model, after the `Part` that it is."""
    layer, counts = import_keras().layers.Layer, Counter[str]()
    for part in private.parts_of(model):
        kind = "" if isinstance(part, layer) else type(part).__name__
        yield Part(kind, counts[kind], part.name), part
        counts[kind] += 1


def _calls_of(model: Any) -> list[Any]:
    """Return the nodes of a model that are calls, in the order in which they run."""
    nodes = private.nodes_of(model)
    return [node for node in nodes if node.operation and not node.is_input]


def _models_in(operation: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the model that a layer is, or that a TimeDistributed has inside.

    With it comes what its path has in addition to that of the layer.
    """
    if has_graph(operation):
        yield (), operation
    elif (inner := _model_of_steps(operation)) is not None:
        yield ("layer",), inner


def _model_of_steps(operation: Any) -> Any:
    """Return the model inside a TimeDistributed; None if there is none."""
    wraps = isinstance(operation, import_keras().layers.TimeDistributed)
    inner = operation.layer if wraps else None
    return inner if inner is not None and has_graph(inner) else None


def constants_of(model: Any) -> dict[int, Any]:
    """Return, by their `id`, the tensors that a model's calls contain as constants."""
    keras = import_keras()
    nodes = _calls_of(model)
    leaves = flatten(
        [[list(a.args), dict(a.kwargs)] for a in (node.arguments for node in nodes)]
    )
    found = {
        id(leaf): leaf
        for leaf in leaves
        if keras.ops.is_tensor(leaf) and not isinstance(leaf, keras.KerasTensor)
    }
    for node in nodes:
        for _, inside in _models_in(node.operation):
            found |= constants_of(inside)
    return found


class Recorder(ABC):
    """Call the operations of a model and record each call, for `private.run_graph`.

    The calls inside a model that is a layer are recorded before its own call. A
    TimeDistributed calls its model once for each step. So that there is one call of
    each layer inside, the model is called once more, on the steps of all rows.
    """

    def __init__(self, model: Any) -> None:
        self._constants = constants_of(model)
        self._numbers: Counter[Place] = Counter()

    def __call__(self, operation: Any) -> Callable[..., Any]:
        """Return a function that calls and records an operation."""
        return self._recording((), operation, operation)

    @abstractmethod
    def given(self, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Return what is to be kept of the arguments of a call before it is made."""

    @abstractmethod
    def keep(self, place: Place, given: Any, outputs: Any) -> None:
        """Keep a call."""

    def prepared(
        self, operation: Any, run: Callable[..., Any], args: Any, kwargs: Any
    ) -> Callable[..., Any]:
        """Return the function to call for an operation, by default that of Keras."""
        return run

    def _recording(
        self, inside: Place, operation: Any, run: Callable[..., Any]
    ) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            place = (*inside, self._numbers[inside])
            self._numbers[inside] += 1
            if private.takes_training(operation):
                kwargs["training"] = False  # as predict says, whatever the graph
            given = self.given(args, _with_own_masks(operation, args, kwargs))
            with self._inside(place, operation):
                outputs = self.prepared(operation, run, args, kwargs)(*args, **kwargs)
            self._steps(place, operation, args, kwargs)
            self.keep(place, given, outputs)
            return outputs

        return call

    def _inside(
        self, place: Place, operation: Any
    ) -> contextlib.AbstractContextManager[None]:
        """Record the calls inside an operation in the ``with``, if it is a model."""
        if not has_graph(operation):
            return contextlib.nullcontext()
        return private.graph_run_by(
            operation, lambda inner, run: self._recording(place, inner, run)
        )

    def _steps(self, place: Place, operation: Any, args: Any, kwargs: Any) -> None:
        """Record the calls of the model inside a TimeDistributed on all steps."""
        inner, ops = _model_of_steps(operation), import_keras().ops
        inputs = flatten([list(args), kwargs.get("inputs")])[0]
        if inner is None or not ops.is_tensor(inputs) or kwargs.get("mask") is not None:
            return
        steps = inputs.shape[1]
        masked = private.mask_of(inputs) is not None
        fixed = None in inputs.shape[1:] or private.batch_size_of(inner) is not None
        if masked or fixed or steps >= MANY_STEPS:
            return
        with self._inside(place, inner):
            inner.call(ops.reshape(inputs, (-1, *inputs.shape[2:])), training=False)


def _with_own_masks(
    operation: Any, args: Sequence[Any], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the keyword arguments of a call, with the masks that a model uses.

    Where it is given None among several masks, a model uses the mask of the tensor,
    unless it casts that to another dtype, which drops the mask.
    """
    if kwargs.get("mask") is None or not args or not has_graph(operation):
        return kwargs
    keras = import_keras()
    tree, inputs, expected = keras.tree, args[0], private.inputs_of(operation)
    masks, tensors = tree.flatten(kwargs["mask"]), tree.flatten(inputs)
    wanted = [keras.backend.standardize_dtype(x.dtype) for x in tree.flatten(expected)]
    if isinstance(inputs, Mapping) and not isinstance(expected, Mapping):
        by_name = dict(zip(operation.input_names, wanted, strict=True))
        wanted = [by_name.get(name) for name in sorted(inputs)]
    if not len(masks) == len(tensors) == len(wanted):
        return kwargs
    for k, (mask, tensor) in enumerate(zip(masks, tensors, strict=True)):
        if mask is None and keras.ops.is_tensor(tensor):
            kept = keras.backend.standardize_dtype(tensor.dtype) == wanted[k]
            masks[k] = private.mask_of(tensor) if kept else None
    return {**kwargs, "mask": tree.pack_sequence_as(kwargs["mask"], masks)}
