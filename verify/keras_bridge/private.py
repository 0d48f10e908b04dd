"""Names that Keras keeps to itself and this package needs, and where each is found.

Private names move between versions without a word: the module of a function, or the
function itself. So they stand here alone, each with all places where a version that was
tested has it. Public names are used where they are needed.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from verify.errors import KerasChanged


def _found(name: str, *modules: str) -> Any:
    """Return a name of Keras from the first of some modules that has it.

    Raises
    ------
    KerasChanged
        None of the modules has it.
    """
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise _changed(name, " or ".join(modules))


def _attribute(owner: Any, *names: str) -> Any:
    """Return the first of some attributes that an object of Keras has.

    Raises
    ------
    KerasChanged
        It has none of them.
    """
    for name in names:
        try:
            return getattr(owner, name)
        except AttributeError:
            continue
    raise _changed(" or ".join(names), type(owner).__name__)


def _changed(name: str, where: str) -> KerasChanged:
    version = importlib.import_module("keras").__version__
    return KerasChanged(f"Keras {version} has no {name} in {where}")


# Masks that tensors carry ------------------------------------------------------------

_MASKING = (
    "keras.src.backend",  # up to 3.15
    "keras.src.backend.common",  # from 3.16 on
)


def mask_of(tensor: Any) -> Any:
    """Return the mask that one of Keras's tensors carries, or None."""
    return _found("get_keras_mask", *_MASKING)(tensor)


def set_mask(tensor: Any, mask: Any) -> None:
    """Make one of Keras's tensors carry a mask."""
    _found("set_keras_mask", *_MASKING)(tensor, mask)


# Graphs of models --------------------------------------------------------------------


def graph_of(model: Any) -> Any:
    """Return the graph of calls of a model: its own, or that inside a Sequential."""
    return getattr(model, "_functional", None) or model


def operations_of(model: Any) -> list[Any]:
    """Return layers and raw operations of a model, a Sequential's input included."""
    graph = graph_of(model)
    if hasattr(model, "_functional") and graph is model:  # Keras calls them one by one
        return list(_attribute(model, "_layers"))
    return list(_attribute(graph, "operations", "_operations"))


def parts_of(model: Any) -> list[Any]:
    """Return what a config of the model lists: the layers, or all operations."""
    return list(model.layers) if hasattr(model, "_functional") else operations_of(model)


def layers_inside(model: Any, *, itself: bool = True) -> list[Any]:
    """Return the layers of a model and those inside them, the model too if asked."""
    return list(_attribute(model, "_flatten_layers")(include_self=itself))


def may_be_compiled(model: Any) -> bool:
    """Return whether Keras lets XLA compile every layer of a model."""
    return all(getattr(layer, "supports_jit", True) for layer in layers_inside(model))


def inputs_of(model: Any) -> Any:
    """Return the symbolic inputs of a model, in the structure that it takes."""
    return _attribute(graph_of(model), "_inputs_struct")


def outputs_of(model: Any) -> Any:
    """Return the symbolic outputs of a model, in the structure that it returns."""
    return _attribute(graph_of(model), "_outputs_struct")


def nodes_of(model: Any) -> Iterator[Any]:
    """Yield the nodes of a graph, one for each call, in the order in which they run."""
    by_depth = _attribute(graph_of(model), "_nodes_by_depth")
    for depth in sorted(by_depth, reverse=True):
        yield from by_depth[depth]


def batch_size_of(model: Any) -> int | None:
    """Return the number of rows that a model fixes for a batch, if it does."""
    shapes = [tensor.shape for tensor in graph_of(model).inputs]
    return next((shape[0] for shape in shapes if shape[0] is not None), None)


def run_graph(
    model: Any, inputs: Any, operation_fn: Callable[[Any], Callable[..., Any]]
) -> Any:
    """Run a model on inputs, each operation by what a function returns for it."""
    prepared = _attribute(graph_of(model), "_standardize_inputs")(inputs)
    return call_graph(model, prepared, operation_fn)


def call_graph(
    model: Any, tensors: Any, operation_fn: Callable[[Any], Callable[..., Any]]
) -> Any:
    """Run a model as `run_graph` does, on tensors of the dtypes that it takes."""
    run = _attribute(graph_of(model), "_run_through_graph")
    return run(tensors, operation_fn=operation_fn)


def is_model(layer: Any) -> bool:
    """Return whether a layer is a model, with layers of its own by their names."""
    return hasattr(layer, "get_layer")


def holds_calls(operation: Any) -> bool:
    """Return whether a layer is a model that has a graph of calls."""
    return hasattr(graph_of(operation), "_nodes_by_depth")


@contextlib.contextmanager
def graph_run_by(
    model: Any, wrapped: Callable[[Any, Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Have a model that is called run each operation by what a function returns.

    Parameters
    ----------
    model : keras.Model
        One that has a graph.
    wrapped : callable
        Is given an operation, and the function by which Keras would call it here.
    """
    graph = graph_of(model)
    whole = _attribute(graph, "_run_through_graph")

    def run(inputs: Any, operation_fn: Callable[[Any], Any], **more: Any) -> Any:
        def called(operation: Any) -> Callable[..., Any]:
            return wrapped(operation, operation_fn(operation))

        return whole(inputs, operation_fn=called, **more)

    object.__setattr__(graph, "_run_through_graph", run)  # past Keras's own tracking
    try:
        yield
    finally:
        object.__delattr__(graph, "_run_through_graph")


def idf_weights_of(layer: Any) -> Any:
    """Return the weights of tf_idf of a layer with a vocabulary, or None."""
    inner = getattr(layer, "_lookup_layer", layer)  # of a TextVectorization
    return getattr(inner, "idf_weights_const", None)


def takes_training(operation: Any) -> bool:
    """Return whether a call of a layer is told if it is training."""
    return "training" in getattr(operation, "_call_context_args", {})


def casts_in_graphs(operation: Any) -> bool:
    """Say whether a layer casts whole numbers to floats in a graph of TensorFlow alone.

    Source: keras/src/layers/preprocessing/data_layer.py, tf_data_layer.py in earlier
    versions.
    """
    module = "keras.src.layers.preprocessing"
    try:
        kind = _found("DataLayer", f"{module}.data_layer")
    except KerasChanged:
        kind = _found("TFDataLayer", f"{module}.tf_data_layer")
    return isinstance(operation, kind)


def given_by_time_distributed(layer: Any) -> frozenset[str]:
    """Return which of ``mask`` and ``training`` a TimeDistributed gives this layer."""
    names = ("mask", "training")
    return frozenset(x for x in names if getattr(layer, f"_call_has_{x}_arg", False))


# Modules of operations ---------------------------------------------------------------


def operation_modules() -> list[Any]:
    """Return the modules of Keras that define its operations.

    Configs name these modules.
    """
    names = ("numpy", "nn", "core", "math", "linalg", "image")
    activations = _found("activations", "keras.src.activations")
    return [*(_found(name, "keras.src.ops") for name in names), activations]


def backend_operations(backend: str, module: str) -> Any:
    """Return a module of operations of a backend, such as ``nn`` of ``jax``."""
    places = (
        f"keras.src.backend.{backend}",  # up to 3.15
        f"keras.src.backend.{backend}.ops",  # from 3.16 on
    )
    return _found(module, *places)


def jax_attention() -> Any:
    """Return the function by which Keras on JAX computes attention without a kernel."""
    name = "_dot_product_attention_core"
    return _attribute(backend_operations("jax", "nn"), name)


def promotions_off_tensorflow() -> MutableMapping[str, str]:
    """Return the table by which Keras makes float64 float32 on other backends.

    It is the table itself, so a change of it changes Keras.
    """
    return _found("BIT64_TO_BIT32_DTYPE", "keras.src.backend.common.dtypes")


# Libraries that Keras imports when it first looks whether they are there -------------


AVAILABLE = "_available"
"""The attribute of `lazy_tensorflow` that tells whether it is there; None at first."""


def lazy_tensorflow() -> Any:
    """Return what stands for TensorFlow in Keras until it is used."""
    return _found("tensorflow", "keras.src.utils.module_utils")
