"""Turn the arrays of a file of Keras 1 into those of Keras 2.

=====================  ===========================================================
layer                  arrays in Keras 1
=====================  ===========================================================
LSTM, ConvLSTM2D       W, U, b of each gate, in the order i, c, f, o
GRU                    W, U, b of each gate, in the order z, r, h
LSTM, GRU for the GPU  W, U, b of all gates, in the order of Keras 2
Convolution1D          (length, 1, inputs, filters); up to 1.0 (filters, inputs,
                       length, 1)
Convolution2D, 3D      as in Keras 2; in "th" order (filters, inputs, rows, columns)
MaxoutDense            (features, inputs, outputs)
=====================  ===========================================================

Keras 1 on Theano computes true convolutions: it turns the kernel around, which Keras 1
on TensorFlow and every later Keras does not. The file shows on which it was written by
the names of the weights, to which TensorFlow adds ``:0``.

Source: keras 1.0.0 to 1.2.2, ``build`` of the layers, keras/engine/topology.py
(load_weights_from_hdf5_group), keras/backend/{theano,tensorflow}_backend.py (conv2d).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from verify.errors import ModelFileError, printable
from verify.model.arrays import Array
from verify.model.spec import GATES
from verify.model_files.hdf5 import Hdf5Contents

OLD_GATES = {
    "LSTM": ("i", "c", "f", "o"),
    "ConvLSTM2D": ("i", "c", "f", "o"),
    "GRU": ("z", "r", "h"),
}
"""Recurrent classes -> the order of the gates in the arrays of Keras 1."""

STORED_DEVIATIONS = tuple(f"1.0.{k}" for k in range(6))
"""Versions whose BatchNormalization stores standard deviations, not variances."""

Group = list[Array]
Parts = dict[str, Group]
"""Arrays by what is added to the name of the layer: usually nothing."""


def written_on_theano(contents: Hdf5Contents) -> bool:
    """Return whether the weights of a file were named by Theano."""
    names = [
        name
        for path, attributes in contents.attributes.items()
        if any(key.startswith("weight_names") for key in attributes)
        for name in contents.names(path, "weight_names")
    ]
    return bool(names) and not any(name.endswith(":0") for name in names)


def keras2_arrays(
    layers: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, Group],
    *,
    theano: bool,
    deviations: bool = False,
    shown: str = "",
) -> dict[str, Group]:
    """Return the arrays of all layers in the layout of Keras 2.

    Parameters
    ----------
    layers : sequence
        The layers of the model as Keras 1 wrote them.
    arrays : mapping
        Name of a layer -> its arrays, in the order of the file.
    theano : bool
        Whether Keras ran on Theano.
    deviations : bool
        Whether BatchNormalization stores standard deviations, as up to Keras 1.0.5.
    shown : str
        Name of the file in messages.

    Raises
    ------
    ModelFileError
        A layer has other arrays than its config says.
    """
    turn = _Turn(theano, deviations)
    found: dict[str, Group] = {}
    for entry in layers:
        name = str(entry.get("name", _name(entry)))
        parts = turn.group(entry, list(arrays.get(name, [])), shown)
        for suffix, group in parts.items():
            found[f"{name}{suffix}"] = group
    return found


class _Turn:
    """Turn groups of arrays."""

    def __init__(self, theano: bool, deviations: bool) -> None:
        self.theano = theano
        self.deviations = deviations

    def group(self, entry: Mapping[str, Any], arrays: Group, shown: str) -> Parts:
        """Return the arrays of a layer of the model, by parts of that layer."""
        rest = list(arrays)
        leaves = list(_leaves(entry, True))
        trained: list[Parts] = []
        try:
            for leaf, trainable in leaves:
                trained.append(self.trained(leaf, rest) if trainable else {})
            fixed: list[Parts] = []
            for leaf, trainable in leaves:
                parts = {} if trainable else self.trained(leaf, rest)
                fixed.append(parts)
                if leaf["class_name"] == "BatchNormalization":
                    mean, spread = rest.pop(0), rest.pop(0)
                    if self.deviations:
                        epsilon = leaf["config"].get("epsilon", 1e-6)
                        spread = np.square(spread + epsilon) - epsilon
                    parts.setdefault("", []).extend([mean, spread])
        except (IndexError, ValueError) as error:
            raise self._wrong(entry, arrays, shown) from error
        if rest:
            raise self._wrong(entry, arrays, shown)
        if len(leaves) == 1:
            (first,), (last,) = trained, fixed
            return {
                key: [*first.get(key, []), *last.get(key, [])]
                for key in dict.fromkeys([*first, *last, ""])
                if first.get(key) or last.get(key)
            }
        flat = [g for parts in [*trained, *fixed] for g in parts.values()]
        return {"": [array for group in flat for array in group]}

    def _wrong(
        self, entry: Mapping[str, Any], arrays: Group, shown: str
    ) -> ModelFileError:
        shapes = ", ".join(str(array.shape) for array in arrays)
        return ModelFileError(
            f"{shown}: layer '{printable(_name(entry))}' "
            f"({printable(entry.get('class_name'))}, Keras 1): config and weights "
            f"disagree. Received: {shapes or 'no weights'}"
        )

    def trained(self, leaf: Mapping[str, Any], rest: Group) -> Parts:
        """Take the trained arrays of one layer from the front of a list."""
        class_name, config = leaf["class_name"], leaf["config"]
        if class_name in OLD_GATES:
            return {"": self._gated(class_name, config, rest)}
        take = COUNTS.get(class_name, 0)
        if callable(take):
            take = take(config)
        arrays = [rest.pop(0) for _ in range(take)]
        if class_name == "Highway":
            half = take // 2  # kernels first: W, W_carry, b, b_carry
            value = [arrays[0]] + ([arrays[2]] if half == 2 else [])
            carry = [arrays[1]] + ([arrays[3]] if half == 2 else [])
            return {".value": value, ".carry": carry}
        if class_name == "MaxoutDense":
            kernel = np.moveaxis(arrays[0], 0, 1).reshape(arrays[0].shape[1], -1)
            return {".dense": [kernel, *(a.reshape(-1) for a in arrays[1:])]}
        if "Convolution" in class_name:
            kernels = 2 if class_name.startswith("Separable") else 1
            for k in range(kernels):
                arrays[k] = self._kernel(class_name, config, arrays[k])
        return {"": arrays} if arrays else {}

    def _gated(self, class_name: str, config: Mapping[str, Any], rest: Group) -> Group:
        units = config.get("output_dim", config.get("nb_filter"))
        gates = OLD_GATES[class_name]
        if rest[2].shape == (len(gates) * units,):  # consume_less="gpu"
            return [rest.pop(0) for _ in range(3)]
        taken = {gate: [rest.pop(0) for _ in range(3)] for gate in gates}
        if any(part[2].shape != (units,) for part in taken.values()):
            raise ValueError("a bias has another size than units")
        if class_name == "ConvLSTM2D":
            for part in taken.values():
                part[:2] = [self._kernel("Convolution2D", config, w) for w in part[:2]]
        return [
            np.concatenate([taken[gate][k] for gate in GATES[class_name]], axis=-1)
            for k in range(3)
        ]

    def _kernel(
        self, class_name: str, config: Mapping[str, Any], kernel: Array
    ) -> Array:
        """Return the kernel of a convolution, space first and filters last."""
        if class_name.endswith("1D"):
            length = config.get("filter_length", 1)
            if kernel.ndim != 4:
                raise ValueError("a kernel of four axes was expected")
            if kernel.shape[:2] != (length, 1):
                kernel = np.transpose(kernel, (2, 3, 1, 0))
            kernel = kernel[:, 0]
        elif config.get("dim_ordering", "th") == "th":
            space = tuple(range(2, kernel.ndim))
            kernel = np.transpose(kernel, (*space, 1, 0))
        if self.theano:
            kernel = np.flip(kernel, axis=tuple(range(kernel.ndim - 2)))
        return np.ascontiguousarray(kernel)


def _with_bias(kernels: int) -> Callable[[Mapping[str, Any]], int]:
    return lambda config: kernels + bool(config.get("bias", True))


COUNTS: Mapping[str, int | Callable[[Mapping[str, Any]], int]] = {
    "SimpleRNN": 3, "Embedding": 1, "BatchNormalization": 2, "PReLU": 1,
    **dict.fromkeys(
        (
            *("Dense", "TimeDistributedDense", "MaxoutDense"),
            *("Convolution1D", "Convolution2D", "Convolution3D"),
            *("AtrousConvolution1D", "AtrousConvolution2D"),
            *("LocallyConnected1D", "LocallyConnected2D"),
        ),
        _with_bias(1),
    ),
    "SeparableConvolution2D": _with_bias(2),
    "Highway": lambda config: 4 if config.get("bias", True) else 2,
}  # fmt: skip
"""Class -> how many trained arrays it has, or a function of its config."""


def _leaves(
    entry: Mapping[str, Any], trainable: bool
) -> list[tuple[Mapping[str, Any], bool]]:
    """Return the layers with weights inside a layer, and whether each is trained."""
    config = entry.get("config")
    layers = config if isinstance(config, list) else None
    if isinstance(config, Mapping):
        trainable = trainable and bool(config.get("trainable", True))
        if isinstance(config.get("layer"), Mapping):
            inner = _leaves(config["layer"], trainable)
            return inner * (2 if entry.get("class_name") == "Bidirectional" else 1)
        layers = config.get("layers")
    if isinstance(layers, list):
        return [leaf for layer in layers for leaf in _leaves(layer, trainable)]
    return [(entry, trainable)]


def _name(entry: Mapping[str, Any]) -> str:
    config = entry.get("config")
    inner = config.get("name") if isinstance(config, Mapping) else None
    return str(inner if inner is not None else entry.get("class_name"))
