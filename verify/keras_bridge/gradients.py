"""Keras's own gradients, by automatic differentiation: the other side of backprop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from verify.errors import DataError, UnsupportedError
from verify.forward.evaluable import Inputs
from verify.forward.layers import REGISTRY
from verify.keras_bridge.importing import backend, floatx, quiet
from verify.keras_bridge.names import file_name
from verify.keras_bridge.reading import attribute_of, live_layer, read_live
from verify.keras_bridge.running import KerasModel, cannot_run, from_zero_states
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import flatten
from verify.model.spec import LayerSpec

Weights = dict[str, dict[str, Array]]
"""Path of a layer, as in `ModelSpec.walk` -> name of a weight -> its gradient."""


def keras_gradients(
    model: KerasModel, x: Inputs, output_gradients: Sequence[Array]
) -> tuple[list[Array | None], Weights]:
    """Return what `verify.backward.backprop` computes, from TensorFlow's GradientTape.

    A stateful model starts from states of zeros; its own are restored afterwards.

    Parameters
    ----------
    model : KerasModel
        A model in float64: ``KerasModel.twin("float64")``.
    x : Inputs
    output_gradients : sequence of (batch, ...)
        One for each output of the model, shaped like it.

    Returns
    -------
    inputs : list of (batch, ...), or None
        One for each input of the model; None for an input of whole numbers.
    weights : dict
        Gradients summed over the batch, shaped like the weights; zeros where no output
        depends on a weight.

    Raises
    ------
    UnsupportedError
        Keras runs on another backend than TensorFlow.
    DataError
        The gradients do not fit the outputs, or Keras cannot run the model.
    """
    if backend() != "tensorflow":
        raise UnsupportedError(
            f"expected Keras on tensorflow, for its gradients. Received: {backend()}"
        )
    import tensorflow as tf

    root = read_live(model.model).root
    variables = {
        (path, name): variable
        for path, layer in root.walk()
        for name, variable in _variables(layer, live_layer(model.model, root, path))
    }
    given = [tf.constant(a.astype("float64") if is_float(a) else a) for a in x]
    floats = [tensor for tensor in given if tensor.dtype.is_floating]
    with floatx("float64"), quiet(), from_zero_states(model.model):
        try:
            with tf.GradientTape() as tape:
                tape.watch(floats)
                outputs = flatten(model.model(model.structured(Inputs(given))))
        except Exception as error:
            raise cannot_run(error) from error
        shapes = [tuple(output.shape) for output in outputs]
        if [np.shape(gradient) for gradient in output_gradients] != shapes:
            raise DataError(
                f"expected gradients of the shapes {shapes}. "
                f"Received: {[np.shape(gradient) for gradient in output_gradients]}"
            )
        found = tape.gradient(
            outputs,
            [*floats, *variables.values()],
            output_gradients=[tf.constant(d, "float64") for d in output_gradients],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
    arrays = iter([tf.convert_to_tensor(gradient).numpy() for gradient in found])
    inputs = [next(arrays) if tensor.dtype.is_floating else None for tensor in given]
    weights: Weights = {}
    for (path, name), array in zip(variables, arrays, strict=True):
        weights.setdefault(file_name(path), {})[name] = array
    return inputs, weights


def _variables(layer: LayerSpec, live: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and TensorFlow's variable of each weight of a layer."""
    found: list[Any] = []
    for group in REGISTRY[layer.class_name].weight_groups:
        owner = attribute_of(live, group) if group else live
        store: dict[str, Any] = {}
        if owner is not None and layer.weights:
            owner.save_own_variables(store)
        found += [store[str(k)] for k in range(len(store))]
    for name, variable in zip(layer.weights, found, strict=True):
        yield name, variable.value
