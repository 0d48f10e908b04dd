"""Name the weights of a whole model as another framework does, and read them back.

Recurrent layers follow `verify.model.conventions`, whose recipes were measured. Dense
and Embedding have a form of their own in many frameworks; the weights of any other
layer keep Keras's names and shapes, and a note says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from verify.errors import DataError, UnsupportedError
from verify.model.arrays import Array
from verify.model.conventions import (
    find_form,
    find_framework,
    from_framework,
    to_framework,
)
from verify.model.spec import GATES, LayerSpec, ModelSpec

Names = Mapping[str, tuple[str, bool]]
"""Weight of Keras -> its name, and whether it is transposed."""

_OUT_IN: Names = {"kernel": ("weight", True), "bias": ("bias", False)}
_IN_OUT: Names = {"kernel": ("weight", False), "bias": ("bias", False)}
_WEIGHT: Names = {"embeddings": ("weight", False)}
_W: Names = {"kernel": ("w", False), "bias": ("b", False)}
_AS_KERAS: Names = {"kernel": ("kernel", False), "bias": ("bias", False)}

DENSE: Mapping[str, Names] = {
    **dict.fromkeys(
        ("torch", "equinox", "mlx", "tinygrad", "mxnet", "candle"), _OUT_IN
    ),
    "paddle": _IN_OUT,
    "chainer": {"kernel": ("W", True), "bias": ("b", False)},
    "flax.nnx": _AS_KERAS,
    "flax.linen": _AS_KERAS,
    "haiku": _W,
    "sonnet": _W,
}
"""Framework -> how its fully connected layer names the weights of Dense."""

EMBEDDING: Mapping[str, Names] = {
    **dict.fromkeys(
        ("torch", "equinox", "mlx", "tinygrad", "mxnet", "candle", "paddle"), _WEIGHT
    ),
    "chainer": {"embeddings": ("W", False)},
    "flax.nnx": {"embeddings": ("embedding", False)},
    "flax.linen": {"embeddings": ("embedding", False)},
    "haiku": {"embeddings": ("embeddings", False)},
    "sonnet": {"embeddings": ("embeddings", False)},
}
"""Framework -> how its embedding names the weights of Embedding."""

SEPARATORS: Mapping[str, str] = {
    **dict.fromkeys(("flax.linen", "haiku", "sonnet", "chainer"), "/"),
    "mxnet": "_",
}
"""Framework -> what stands between the name of a layer and that of an array; else a
dot."""

RECURRENT = ("SimpleRNN", "LSTM", "GRU", "Bidirectional", "RNN")


@dataclass(frozen=True)
class NamedWeights:
    """Hold the weights of a model under the names of a framework.

    Attributes
    ----------
    framework : str
        As `verify.model.conventions` calls it.
    arrays : mapping of str to ndarray
    notes : tuple of str
        Sentences on what the arrays are of, and which keep Keras's names.
    """

    framework: str
    arrays: Mapping[str, Array]
    notes: tuple[str, ...]


def name_weights(spec: ModelSpec, framework: str) -> NamedWeights:
    """Return all weights of a model under the names of a framework.

    Parameters
    ----------
    spec : ModelSpec
    framework : str
        As for `verify.model.conventions.conventions`.

    Raises
    ------
    UnsupportedError
        The framework has no form for a recurrent layer, or the name is unknown.
    DataError
        The model has no weights.
    """
    found = find_framework(framework)
    arrays: dict[str, Array] = {}
    notes: list[str] = []
    kept: list[str] = []
    for path, layer in _with_weights(spec.root):
        if layer.class_name in RECURRENT:
            own = to_framework(layer, found.name)
            form = find_form(_first_cell(layer), found.name)
            gates = ", ".join(form.gate_order)
            order = f"; gates {gates}" if len(form.gate_order) > 1 else ""
            measured = form.measured
            ran = (
                f"; run by {form.title} {measured.version} on other weights: "
                f"{measured.difference:.1e}"
                if measured is not None
                else "; from the source, not run"
            )
            notes.append(
                f"{path} ({layer.class_name}): {form.cell} of {form.title} "
                f"{form.version}{order}; biases: {form.bias_rule}{ran}"
            )
        elif layer.class_name.startswith("ConvLSTM"):
            raise UnsupportedError(
                f"{layer}: {found.title} {found.version} has no form for it that has "
                "been measured. Instead: convert the model to ONNX, as a Scan"
            )
        else:
            names = _names(layer, found.name)
            own = {}
            for key, value in layer.weights.items():
                name, turned = names.get(key, (key, False))
                own[name] = value.T if turned else value
            if not names and found.name != "keras":
                kept.append(f"{path} ({layer.class_name})")
        separator = SEPARATORS.get(found.name, ".")
        prefix = separator.join(path.split("/"))
        for name, value in own.items():
            whole = f"{prefix}{separator}{name}"
            if whole in arrays:
                raise DataError(f"two arrays would be called {whole}")
            arrays[whole] = np.ascontiguousarray(value)
    if not arrays:
        raise DataError("expected a model with weights. Received: one without")
    if kept:
        notes.append(f"with Keras's names and shapes: {', '.join(kept)}")
    return NamedWeights(found.name, arrays, tuple(notes))


def restored(spec: ModelSpec, framework: str, arrays: Mapping[str, Array]) -> ModelSpec:
    """Return the model with the weights that `name_weights` has named.

    Raises
    ------
    DataError
        An array is missing or has another shape.
    """
    found = find_framework(framework)
    separator = SEPARATORS.get(found.name, ".")
    for path, layer in list(_with_weights(spec.root)):
        prefix = f"{separator.join(path.split('/'))}{separator}"
        own = {
            name.removeprefix(prefix): value
            for name, value in arrays.items()
            if name.startswith(prefix)
        }
        if layer.class_name in RECURRENT:
            new = from_framework(own, found.name, layer)
        else:
            names = _names(layer, found.name)
            weights = {}
            for key, value in layer.weights.items():
                name, turned = names.get(key, (key, False))
                if name not in own:
                    raise DataError(f"{layer}: expected an array {prefix}{name}")
                weights[key] = own[name].T if turned else own[name]
                if weights[key].shape != value.shape:
                    raise DataError(
                        f"{layer}: expected {prefix}{name} for {key} {value.shape}. "
                        f"Received: {own[name].shape}"
                    )
            new = replace(layer, weights=weights)
        spec = spec.with_layer(new, path)
    return spec


def _with_weights(root: LayerSpec, path: str = "") -> Iterator[tuple[str, LayerSpec]]:
    """Yield the layers that are converted as one, with their paths."""
    for key, layer in root.sublayers.items():
        here = f"{path}/{key}" if path else key
        if layer.class_name in RECURRENT and layer.parameters:
            yield here, layer
        elif layer.sublayers:
            yield from _with_weights(layer, here)
        elif layer.weights:
            yield here, layer


def _names(layer: LayerSpec, framework: str) -> Names:
    """Return how a framework names the weights of a layer; empty for Keras's names."""
    if layer.options.get("quantization_mode"):
        return {}
    table = {"Dense": DENSE, "Embedding": EMBEDDING}.get(layer.class_name, {})
    return table.get(framework, {})


def _first_cell(layer: LayerSpec) -> LayerSpec:
    """Return the layer or cell whose form stands for all inside a layer."""
    while layer.class_name.removesuffix("Cell") not in GATES:
        layer = next(iter(layer.sublayers.values()))
    return layer
