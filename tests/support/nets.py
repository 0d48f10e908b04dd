"""Models for the tests: random weights everywhere, sizes pairwise different."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from verify import ModelSpec, Network
from verify.forward.layers import REGISTRY
from verify.model.graph import Graph, Node, TensorRef
from verify.model.spec import LayerSpec
from verify.model_files.config import read_architecture, read_model
from verify.model_files.hdf5 import snake_case
from verify.model_files.shapes import with_shapes

BATCH, TIME, INPUTS, UNITS, OUTPUTS = 5, 6, 3, 4, 2
VOCABULARY = 11


def random_weights(shapes: Sequence[tuple[int, ...]], seed: int) -> list[np.ndarray]:
    """Weights without a zero among them, of both signs, large enough to matter."""
    rng = np.random.default_rng(seed)
    return [
        rng.uniform(0.2, 0.9, size=s) * rng.choice([-1.0, 1.0], size=s) for s in shapes
    ]


def layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    """A layer as it stands in a Keras config."""
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": {"name": name, "dtype": "float32", **config},
        "registered_name": None,
    }


def input_layer(*shape: int | None, dtype: str = "float32") -> dict[str, Any]:
    """An InputLayer; `shape` includes the batch axis."""
    config = {"batch_shape": list(shape), "name": "input", "dtype": dtype}
    return layer("InputLayer", **config)


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    """The config.json of a Sequential model."""
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "model", "layers": list(layers)},
        "registered_name": None,
    }


def random_layers(
    config: dict[str, Any], seed: int, dtype: type
) -> dict[str, list[np.ndarray]]:
    """Weights of the right shapes, without a zero, by the names of the layers.

    Sizes that the input of a layer decides come from the layer before it.
    """
    found: dict[str, list[np.ndarray]] = {}
    size: int | None = None
    for k, (name, layer) in enumerate(read_architecture(config).sublayers.items()):
        if layer.class_name == "InputLayer":
            size = layer.options["batch_shape"][-1]
            continue
        kind = REGISTRY[layer.class_name]
        shapes = [
            tuple(size if s is None else s for s in shape)
            for shape in kind.weight_shapes(layer.options).values()
        ]
        found[name] = [w.astype(dtype) for w in random_weights(shapes, seed + k - 1)]
        size = layer.options.get("units", layer.options.get("output_dim", size))
    return found


class GivenWeights:
    """Weights by layer name, as `verify.model_files.config.WeightSource` asks for."""

    def __init__(self, layers: dict[str, list[np.ndarray]]) -> None:
        self.layers = layers

    def own(self, group: str) -> list[np.ndarray]:
        """The model itself has none."""
        return []

    def vocabulary(self) -> tuple[None, None]:
        """The config has it."""
        return None, None

    def inside(self, container: str, key: str, class_name: str, number: int) -> Any:
        """The arrays of one layer."""
        return _Arrays(self.layers.get(key, []))


class _Arrays:
    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays = arrays

    def own(self, group: str) -> list[np.ndarray]:
        """Once."""
        return self.arrays

    def inside(self, container: str, key: str, class_name: str, number: int) -> Any:
        """The layers in this one have none."""
        return _Arrays([])

    def vocabulary(self) -> tuple[None, None]:
        """The config has it."""
        return None, None


def spec(*layers: dict[str, Any], seed: int = 0, dtype: type = np.float32) -> ModelSpec:
    """A ModelSpec with random weights of the right shapes; needs no Keras."""
    config = sequential(*layers)
    weights = GivenWeights(random_layers(config, seed, dtype))
    return read_model(config, weights, source="a test", keras_version="3.15.1")


def lstm_spec(**options: Any) -> ModelSpec:
    """Embedding with a mask, LSTM, Dense."""
    return spec(
        input_layer(None, TIME, dtype="int32"),
        layer(
            "Embedding", "embedding", input_dim=VOCABULARY, output_dim=INPUTS,
            mask_zero=True,
        ),
        layer("LSTM", "lstm", units=UNITS, **options),
        layer("Dense", "dense", units=OUTPUTS, activation="softmax"),
    )  # fmt: skip


def rnn(kind: str, name: str = "rnn", **options: Any) -> dict[str, Any]:
    """A recurrent layer of UNITS units as it stands in a Keras config."""
    return layer(kind, name, units=UNITS, **options)


def word_net(
    *layers: dict[str, Any],
    time: int | None = TIME,
    mask_zero: bool = True,
    seed: int = 0,
) -> ModelSpec:
    """Embedding, the layers given, Dense with softmax."""
    return spec(
        input_layer(None, time, dtype="int32"),
        layer(
            "Embedding", "words", input_dim=VOCABULARY, output_dim=INPUTS,
            mask_zero=mask_zero,
        ),
        *layers,
        layer("Dense", "dense", units=OUTPUTS, activation="softmax"),
        seed=seed,
    )  # fmt: skip


def feature_net(kind: str, **options: Any) -> Network:
    """Features of any number of steps, and a recurrent layer."""
    return Network(spec(input_layer(None, None, INPUTS), rnn(kind, **options)))


def stateful_net(kind: str, batch: int, **options: Any) -> Network:
    """Features in batches of one size, and a recurrent layer that is stateful."""
    return Network(
        spec(
            layer("InputLayer", "input", batch_shape=[batch, None, INPUTS]),
            rnn(kind, stateful=True, **options),
        )
    )


def ids(seed: int = 0, batch: int = BATCH, time: int = TIME) -> np.ndarray:
    """Token ids padded right, left, with a hole, altogether, and not at all."""
    x = np.random.default_rng(seed).integers(1, VOCABULARY, size=(batch, time))
    x[0, time // 2 :] = 0
    if batch > 4:
        x[1, : time // 2] = 0
        x[2, min(1, time - 1)] = 0
        x[3] = 0
    return x.astype(np.int32)


def features(seed: int = 0, batch: int = BATCH, time: int = TIME) -> np.ndarray:
    """(batch, time, INPUTS) of float32."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, time, INPUTS)).astype(np.float32)


def write_keras_file(
    path: Path,
    config: dict[str, Any],
    weights: Sequence[Sequence[np.ndarray]],
    *,
    omit: str = "",
    keras_version: str = "3.15.1",
) -> Path:
    """A .keras file made by hand, with Keras's layout of the weights."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        seen: dict[str, int] = {}
        entries = [
            entry
            for entry in config["config"]["layers"]
            if entry["class_name"] != "InputLayer"
        ]
        for entry, arrays in zip(entries, weights, strict=True):
            base = snake_case(entry["class_name"])
            number = seen.get(base, 0)
            seen[base] = number + 1
            group = f"layers/{base}" + (f"_{number}" if number else "")
            loops = ("LSTM", "GRU", "SimpleRNN")  # and classes named after them
            cell = "/cell" if entry["class_name"].endswith(loops) else ""
            file.create_group(f"{group}/vars")
            for k, value in enumerate(arrays):
                file[f"{group}{cell}/vars/{k}"] = value
    members = {
        "metadata.json": json.dumps({"keras_version": keras_version}).encode(),
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": buffer.getvalue(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if name != omit:
                archive.writestr(name, content)
    return path


def lstm_file(path: Path, **embedding: Any) -> Path:
    """`lstm_spec` as a file."""
    model = lstm_spec()
    config = sequential(
        input_layer(None, TIME, dtype="int32"),
        layer(
            "Embedding", "embedding", input_dim=VOCABULARY, output_dim=INPUTS,
            **{"mask_zero": True, **embedding},
        ),
        layer("LSTM", "lstm", units=UNITS),
        layer("Dense", "dense", units=OUTPUTS, activation="softmax"),
    )  # fmt: skip
    return write_keras_file(path, config, [list(x.weights.values()) for x in model])


def keras_sequential(layers: Sequence[Any], seed: int = 0, scale: float = 1.0) -> Any:
    """A live Keras model whose weights, biases included, are random and not zero."""
    import keras

    model = keras.Sequential(list(layers))
    weights = random_weights([w.shape for w in model.get_weights()], seed)
    model.set_weights([w * scale for w in weights])
    return model


def keras_word_net(
    kind: str,
    *,
    dtype: str = "float32",
    mask_zero: bool = True,
    time: int | None = TIME,
    scale: float = 1.0,
    **options: Any,
) -> Any:
    """A live model of Embedding, a recurrent layer and Dense, random weights."""
    from keras import Input, layers

    return keras_sequential(
        [
            Input((time,), dtype="int32"),
            layers.Embedding(
                VOCABULARY, INPUTS, mask_zero=mask_zero, dtype=dtype, name="words"
            ),
            getattr(layers, kind)(**options, dtype=dtype, name="recurrent"),
            layers.Dense(OUTPUTS, activation="softmax", dtype=dtype, name="dense"),
        ],
        scale=scale,
    )


def mutated(spec: ModelSpec, name: str) -> Network:
    """The network with one mistake of the catalogue planted."""
    from verify.mistakes.catalogue import catalogue

    return Network(next(m.model for m in catalogue(spec) if m.name == name))


class FunctionalNet:
    """A Functional model with random weights, built call by call without Keras.

    ``net.call(config, x)`` returns the tensors of the outputs; `features` is the size
    of the last axis of x where the weights need it.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.layers: dict[str, LayerSpec] = {}
        self.inputs: list[TensorRef] = []
        self.nodes: list[Node] = []

    def input(self, name: str, *shape: int | None, dtype: str = "float32") -> TensorRef:
        """An input; `shape` includes the batch axis."""
        options = {"batch_shape": shape, "dtype": dtype}
        self.layers[name] = LayerSpec(name, "InputLayer", options)
        self.inputs.append(TensorRef(name, 0, 0))
        return self.inputs[-1]

    def call(
        self, config: dict[str, Any], *args: Any, features: int = 0, **kwargs: Any
    ) -> list[TensorRef]:
        """Call a layer, anew or once more, with tensors."""
        name = config["config"]["name"]
        if name not in self.layers:
            self.layers[name] = self.layer(config, features)
        index = sum(node.layer == name for node in self.nodes)
        self.nodes.append(Node(name, index, args, kwargs))
        return [TensorRef(name, index, k) for k in range(9)]

    def layer(self, config: dict[str, Any], features: int) -> LayerSpec:
        """A layer and the layers inside it."""
        kind, options = REGISTRY[config["class_name"]], config["config"]
        found = kind.read_options("a test", options)
        inside = {}
        for key, child in kind.children(options).items():
            inside[key] = self.layer(child, features)
            if config["class_name"] == "StackedRNNCells":
                features = inside[key].options["units"]
        self.seed += 1
        shapes = kind.weight_shapes(found)
        sizes = [tuple(s or features for s in shape) for shape in shapes.values()]
        weights = zip(shapes, random_weights(sizes, self.seed), strict=True)
        return LayerSpec(
            options["name"], config["class_name"], found, dict(weights), inside
        )

    def spec(self, *outputs: TensorRef) -> ModelSpec:
        """The model with these outputs."""
        results = outputs[0] if len(outputs) == 1 else list(outputs)
        graph = Graph(self.inputs, results, tuple(self.nodes))
        root = LayerSpec("model", "Functional", {}, {}, self.layers, graph=graph)
        return ModelSpec(with_shapes(root), source="a test")
