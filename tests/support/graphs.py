"""Models with branches for the tests, made without Keras, random weights everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from support.nets import random_weights

from verify import ModelSpec, Network
from verify.forward.layers import REGISTRY
from verify.mistakes.catalogue import Attempts, catalogue
from verify.model.graph import Graph, Node, TensorRef, flatten, map_structure
from verify.model.spec import LayerSpec
from verify.model_files.shapes import with_shapes


def made(
    class_name: str,
    name: str,
    *shapes: tuple[int, ...],
    seed: int = 0,
    inside: Mapping[str, LayerSpec] | None = None,
    scale: float = 1.0,
    **config: Any,
) -> LayerSpec:
    """A layer with random weights of these shapes, in the order of its weights."""
    kind = REGISTRY[class_name]
    options = kind.read_options(name, config)
    keys = list(kind.weight_shapes(options))
    assert len(keys) == len(shapes), (name, keys)
    arrays = random_weights(shapes, seed)
    weights = {
        key: (scale * array).astype(np.float32)
        for key, array in zip(keys, arrays, strict=True)
    }
    for key in ("moving_variance", "gamma"):  # a variance is not negative
        if key in weights:
            weights[key] = np.abs(weights[key])
    return LayerSpec(name, class_name, options, weights, dict(inside or {}))


def given(name: str, *shape: int | None, dtype: str = "float32") -> LayerSpec:
    """An InputLayer; `shape` is that of a row."""
    return made("InputLayer", name, batch_shape=[None, *shape], dtype=dtype)


def rnn(
    class_name: str, name: str, inputs: int, units: int, seed: int = 0, **config: Any
) -> LayerSpec:
    """A recurrent layer."""
    gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[class_name]
    bias = (2, 3 * units) if class_name == "GRU" else (gates * units,)
    shapes = [(inputs, gates * units), (units, gates * units), bias]
    return made(class_name, name, *shapes, seed=seed, units=units, **config)


def both_ways(
    class_name: str, name: str, inputs: int, units: int, seed: int = 0, **config: Any
) -> LayerSpec:
    """A Bidirectional layer that concatenates."""
    if config.get("return_sequences"):
        config["zero_output_for_mask"] = True
    halves = {
        half: rnn(class_name, half, inputs, units, seed + k, go_backwards=bool(k),
                  **config)
        for k, half in enumerate(("forward_layer", "backward_layer"))
    }  # fmt: skip
    return made("Bidirectional", name, inside=halves, merge_mode="concat")


def net(
    layers: Sequence[LayerSpec],
    calls: Mapping[str, Any],
    outputs: Any,
    name: str = "model",
) -> ModelSpec:
    """A model: the arguments of each call by the layer's name, tensors by theirs.

    The arguments are one structure, or a tuple of such; a dict at the end of a tuple
    holds keywords. Layers whose class is InputLayer are the inputs, in their order.
    """
    by_name = {layer.name: layer for layer in layers}

    def ref(leaf: Any) -> Any:
        return TensorRef(leaf, 0, 0) if isinstance(leaf, str) else leaf

    nodes = []
    for called, arguments in calls.items():
        args = arguments if isinstance(arguments, tuple) else (arguments,)
        kwargs = {}
        if isinstance(args[-1], dict):
            *rest, kwargs = args
            args = tuple(rest)
        nodes.append(
            Node(called, 0, map_structure(ref, args), map_structure(ref, kwargs))
        )
    inputs = [ref(x.name) for x in layers if x.class_name == "InputLayer"]
    graph = Graph(inputs, map_structure(ref, outputs), tuple(nodes))
    assert {n.layer for n in nodes} <= set(by_name)
    assert all(x.layer in by_name for x in flatten(graph.outputs))
    root = LayerSpec(name, "Functional", {}, sublayers=by_name, graph=graph)
    return ModelSpec(with_shapes(root), source="a test", keras_version="3.15.1")


def named(spec: ModelSpec, x: Any, outputs: Any, accuracy: float = 1e-9) -> set[str]:
    """The names of the mistakes that make these outputs of a model with one output.

    Every mistake in the catalogue must be one that can be evaluated.
    """
    attempts = Attempts()
    prepared = Network(spec).prepare(x)
    found = set()
    for mutant in catalogue(spec, attempts=attempts):
        (theirs,) = mutant.evaluate(prepared)
        if theirs.shape == outputs.shape:
            same = float(np.abs(theirs - outputs).max()) < accuracy
            found |= {mutant.name} if same else set()
    assert not attempts.untried, attempts.untried
    return found


def computed(spec: ModelSpec, x: Any) -> np.ndarray:
    """The only output of the model, in float64."""
    net = Network(spec)
    (y,) = net.flat(net.prepare(x), dtype="float64")
    return y
