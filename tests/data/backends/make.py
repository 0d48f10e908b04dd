"""Record what Keras computes on torch where it differs from TensorFlow.

``KERAS_BACKEND=torch PYTHONPATH=tests:. python tests/data/backends/make.py`` writes
`rules.keras`, a model in which every rule of torch takes effect, and `torch.npz`:
inputs by their names, what ``model.predict`` returned for each output, and versions.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from layer_cases.check import randomise

HERE = Path(__file__).parent
EDGES = [-1.3, -0.7, 0.1, 0.7, 1.9]
"""Tenths, as the inputs: in float32 some are below those in float64, some above."""


def model() -> Any:
    """Return the model; each output is called as the rule that it shows."""
    layers, ops = keras.layers, keras.ops
    x = keras.Input((4, 4), name="x")
    whole = keras.Input((3,), dtype="int32", name="whole")
    zeros = keras.Input((5,), name="zeros")
    masked = layers.Masking()(x)

    def named(name: str, y: Any) -> Any:
        return layers.Identity(name=name)(y)

    def seen(y: Any) -> Any:
        return layers.GRU(2, return_sequences=True)(y, training=False)

    pooled = layers.AveragePooling1D(3, strides=2, padding="same")(x)
    padded = ops.pad(x, ((0, 0), (1, 2), (0, 0)), mode="symmetric")
    outputs = [
        named("layer_norm", layers.LayerNormalization(axis=1, epsilon=0.05)(x)),
        named("rms_norm", layers.RMSNormalization(axis=1, epsilon=0.05)(x)),
        named("pooled", pooled),
        named("padded", padded),
        named("ties", ops.cast(ops.argmax(zeros, axis=1, keepdims=True), "float32")),
        named("divided", x // 0.1),
        named("batch_norm", layers.BatchNormalization()(whole)),
        named("swapped", seen(ops.swapaxes(masked, 1, -2))),
        named("recast", seen(ops.cast(masked, "float32"))),
        named("gelu", layers.Dense(3, activation="gelu")(x)),
        named("binned", ops.cast(layers.Discretization(EDGES)(x), "float32")),
    ]
    return randomise(keras.Model([x, whole, zeros], outputs), seed=3)


def inputs() -> dict[str, np.ndarray]:
    """Return inputs by name: tenths, masked steps, whole numbers, -0 and 0."""
    rng = np.random.default_rng(3)
    x = rng.integers(-20, 20, size=(5, 4, 4)).astype("float32") / np.float32(10)
    x[1, 2:] = x[2, :2] = x[3, 1::2] = 0
    return {
        "x": x,
        "whole": rng.integers(-9, 9, size=(5, 3)).astype("int32"),
        "zeros": rng.choice([-0.0, 0.0, -1.0], size=(5, 5)).astype("float32"),
    }


def save_small(net: Any, path: Path) -> None:
    """Save a model, and compress what Keras only stores."""
    net.save(path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


if __name__ == "__main__":
    import torch

    net, given = model(), inputs()
    y = net.predict(list(given.values()), verbose=0)
    names = [tensor._keras_history.operation.name for tensor in net.outputs]
    save_small(net, HERE / "rules.keras")
    np.savez_compressed(
        HERE / "torch.npz",
        versions=f"keras {keras.__version__}, torch {torch.__version__}",
        **{f"in_{name}": array for name, array in given.items()},
        **{f"out_{name}": array for name, array in zip(names, y, strict=True)},
    )
