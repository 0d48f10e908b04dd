"""A Keras model with the layers of the models inside it in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from verify.errors import KerasCannotRun, join_and
from verify.keras_bridge import private
from verify.keras_bridge.importing import floatx, import_keras, quiet
from verify.keras_bridge.names import file_name, keras_name
from verify.keras_bridge.running import KerasModel, cannot_run
from verify.keras_bridge.subclasses import has_graph
from verify.model.graph import flatten


def opened(model: KerasModel) -> KerasModel:
    """Return a copy of a model that has the layers inside its models itself.

    They are called as the models call them, and named by their paths: ``encoder/lstm``.

    Raises
    ------
    KerasCannotRun
        A call of a model says more than which tensors it takes, or Keras cannot build
        the copy.
    """
    copy = model.twin(model.floatx).model
    for operation, name in list(_paths(copy, "")):
        operation.name = keras_name(name)
    keras = import_keras()
    try:
        with floatx(model.floatx), quiet():
            inputs = keras.tree.map_structure(
                lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype),
                private.inputs_of(copy),
            )
            tensors = keras.tree.flatten(inputs)
            outputs = private.call_graph(copy, tensors, _open)
            flat = keras.Model(inputs, outputs)
            own = model.model
            flat.compile(jit_compile=own.jit_compile, run_eagerly=own.run_eagerly)
    except KerasCannotRun:
        raise
    except Exception as error:
        raise cannot_run(error) from error
    return KerasModel(flat, model.batch_size, floatx=model.floatx)


def _paths(model: Any, path: str) -> Iterator[tuple[Any, str]]:
    """Yield every operation that is no model, with its path."""
    for operation in private.operations_of(model):
        name = path + file_name(operation.name)
        if has_graph(operation):
            yield from _paths(operation, f"{name}/")
        else:
            yield operation, name


def _open(operation: Any) -> Callable[..., Any]:
    """Return a function that calls an operation, or those inside a model."""
    if not has_graph(operation):
        return operation

    def call(*args: Any, **kwargs: Any) -> Any:
        stated = [name for name, value in kwargs.items() if name != "training"
                  and any(leaf is not None for leaf in flatten([value]))]  # fmt: skip
        if stated:
            raise KerasCannotRun(
                f"the model '{operation.name}' is given {join_and(stated)} by name"
            )
        tensors = import_keras().tree.flatten(list(args))
        return private.call_graph(operation, tensors, _open)

    return call
