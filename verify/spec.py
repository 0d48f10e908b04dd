"""What a model is, without Keras: layers, options and weights as plain values.

A `ModelSpec` is a frozen description from which the forward pass can be computed:
the layers in order, every option of each layer, and its weights by their Keras name
(``kernel``, ``recurrent_kernel``, ``bias``, ``embeddings``). Nothing in here computes
anything; the mistakes of `verify.mutants` are spec -> spec functions for that reason.

This module also says, once, in which order Keras stores the gates (`GATES`) and how
this package speaks of things that cannot be read, supported or used (`VerifyError`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int | None, ...]

GATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "SimpleRNN": ("h",),
        "LSTM": ("i", "f", "c", "o"),
        "GRU": ("z", "r", "h"),
    }
)
"""Gate blocks in the columns of ``kernel``, ``recurrent_kernel`` and ``bias``, left to
right, each ``units`` wide. LSTM: input, forget, cell candidate, output. GRU: update,
reset, hidden candidate. Source: keras/src/layers/rnn/{lstm,gru,simple_rnn}.py."""


class VerifyError(ValueError):
    """Something was asked that cannot be answered; the message is one line.

    Commands print the message on stderr and exit with code 2.
    """


class UnsupportedError(VerifyError):
    """A layer, an option or a kind of model that is refused by name."""


class ModelFileError(VerifyError):
    """A file that cannot be read as a Keras model."""


class DataError(VerifyError):
    """Inputs, outputs or weights that cannot be used with this model."""


@dataclass(frozen=True, eq=False)
class LayerSpec:
    """One layer: its class, every honoured option, its weights by name.

    Attributes
    ----------
    name, class_name : str
        As in the Keras config, for example ``"lstm_1"`` and ``"LSTM"``.
    options : mapping
        Every option the forward pass depends on, with its value (defaults filled in).
    weights : mapping of str to ndarray
        In the order of Keras's ``layer.get_weights()``; the arrays are read-only.
    input_shape, output_shape : tuple
        With ``None`` for the batch axis and for any axis the model leaves open.
    """

    name: str
    class_name: str
    options: Mapping[str, Any]
    weights: Mapping[str, Array]
    input_shape: Shape
    output_shape: Shape

    def __post_init__(self) -> None:
        frozen = {}
        for key, value in self.weights.items():
            array = np.asarray(value)
            if array.flags.writeable:
                array = array.copy()
                array.flags.writeable = False
            frozen[key] = array
        object.__setattr__(self, "weights", MappingProxyType(frozen))
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def __str__(self) -> str:
        return f"Layer '{plain(self.name)}' ({plain(self.class_name)})"

    @property
    def gates(self) -> tuple[str, ...]:
        """Names of the gate blocks, in storage order; empty if it has none."""
        return GATES.get(self.class_name, ())

    @property
    def parameters(self) -> int:
        """How many numbers the weights of this layer hold."""
        return sum(w.size for w in self.weights.values())

    def with_weights(self, **weights: Array) -> LayerSpec:
        """The same layer with some weights replaced by others of the same shape."""
        for key, value in weights.items():
            if key not in self.weights or value.shape != self.weights[key].shape:
                raise DataError(
                    f"{self}: cannot replace weight '{key}'. "
                    f"Expected one of {shapes(self.weights)}. "
                    f"Received: shape={value.shape}"
                )
        return replace(self, weights={**self.weights, **weights})

    def with_options(self, **options: Any) -> LayerSpec:
        """The same layer with some options changed."""
        return replace(self, options={**self.options, **options})


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """A Sequential model: its input and its layers, in order.

    Attributes
    ----------
    name : str
    layers : tuple of LayerSpec
        Without the InputLayer, which is `input_shape` and `input_dtype`.
    input_shape : tuple
        Batch axis first; ``None`` where the model leaves a size open.
    input_dtype : str
        The dtype Keras converts every input to before the first layer.
    dtype : str
        ``"float32"`` or ``"float64"``: the policy of all layers.
    source : str
        Where the model came from, for reports.
    keras_version : str
        As recorded by the file or by the live Keras; ``"unknown"`` otherwise.
    """

    name: str
    layers: tuple[LayerSpec, ...]
    input_shape: Shape
    input_dtype: str
    dtype: str
    source: str = "a live model"
    keras_version: str = "unknown"
    _by_name: Mapping[str, LayerSpec] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        by_name = {layer.name: layer for layer in self.layers}
        if len(by_name) != len(self.layers):
            names = [layer.name for layer in self.layers]
            twice = sorted({n for n in names if names.count(n) > 1})
            raise ModelFileError(
                f"Model '{plain(self.name)}': expected layer names to be unique. "
                f"Received twice: {', '.join(plain(n) for n in twice)}"
            )
        object.__setattr__(self, "_by_name", MappingProxyType(by_name))

    def __iter__(self) -> Iterator[LayerSpec]:
        return iter(self.layers)

    def __getitem__(self, name: str) -> LayerSpec:
        try:
            return self._by_name[name]
        except KeyError:
            raise KeyError(
                f"no layer '{plain(name)}'; the layers are {', '.join(self._by_name)}"
            ) from None

    @property
    def parameters(self) -> int:
        """How many numbers the weights of the whole model hold."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def output_shape(self) -> Shape:
        """Shape of what the last layer returns, batch axis first."""
        return self.layers[-1].output_shape

    def with_layer(self, layer: LayerSpec) -> ModelSpec:
        """The same model with the layer of that name replaced."""
        self[layer.name]
        layers = tuple(layer if old.name == layer.name else old for old in self.layers)
        return replace(self, layers=layers)

    def astype(self, dtype: str) -> ModelSpec:
        """The same model with every weight converted to `dtype`."""
        layers = []
        for layer in self.layers:
            weights = {k: v.astype(dtype) for k, v in layer.weights.items()}
            layers.append(replace(layer, weights=weights))
        return replace(self, layers=tuple(layers), dtype=dtype)

    def require_finite(self) -> None:
        """Raise DataError if a weight is NaN or infinite."""
        for layer in self.layers:
            for key, value in layer.weights.items():
                bad = int(np.count_nonzero(~np.isfinite(value)))
                if bad:
                    raise DataError(
                        f"{layer}: expected finite weights. Received: {bad:,} NaN or "
                        f"infinite value(s) among the {value.size:,} of '{key}'"
                    )


def shapes(weights: Mapping[str, Array]) -> str:
    """``kernel (3, 16), bias (16,)``: for messages."""
    return ", ".join(f"{k} {v.shape}" for k, v in weights.items()) or "none"


@contextlib.contextmanager
def named(path: object) -> Iterator[None]:
    """Errors raised inside say which file they are about."""
    try:
        yield
    except VerifyError as error:
        if str(error).startswith(plain(path)):
            raise
        raise type(error)(f"{plain(path)}: {error}") from None


def worded(sizes: Shape) -> str:
    """``(batch, 26, 32)``: a shape with words for the axes a model leaves open."""
    words = [
        str(size) if size is not None else "batch" if axis == 0 else "any"
        for axis, size in enumerate(sizes)
    ]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"


def plain(text: object, limit: int = 200) -> str:
    """`text` as one printable line: nothing from a file reaches a terminal raw."""
    clean = "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in f"{text}"
    )
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def listing(items: Sequence[str]) -> str:
    """``a, b and c``: for messages."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def is_path(model: object) -> bool:
    """Whether `model` names a file rather than being a model."""
    return isinstance(model, (str, os.PathLike))
