"""Represent a model without Keras: layers, options and weights as plain values.

A `ModelSpec` is a frozen description from which the forward pass can be computed: the
layers, how they call each other, every option of each, and its weights by their Keras
name (``kernel``, ``recurrent_kernel``, ``bias``, ``embeddings``). A spec contains no
code, so a mistake can be planted by a function from spec to spec; see
`verify.mistakes.catalogue`.

`GATES` states the order in which Keras stores the gates; no other module repeats it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from verify.errors import DataError, UnsupportedError, did_you_mean, printable
from verify.model.arrays import Array, weights_text
from verify.model.backends import (
    BACKENDS,
    REFUSED_BACKENDS,
    TENSORFLOW,
    Limit,
    Rules,
)
from verify.model.dtypes import POLICIES
from verify.model.graph import Graph, flatten
from verify.model.versions import REFERENCE, VersionRule

_LSTM, _GRU = ("i", "f", "c", "o"), ("z", "r", "h")

GATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "SimpleRNN": ("h",), "SimpleRNNCell": ("h",),
        "LSTM": _LSTM, "LSTMCell": _LSTM,
        "GRU": _GRU, "GRUCell": _GRU,
        "ConvLSTM1D": _LSTM, "ConvLSTM2D": _LSTM, "ConvLSTM3D": _LSTM,
    }
)  # fmt: skip
"""Class name -> the gate blocks in the columns of ``kernel``, ``recurrent_kernel`` and
``bias``, from left to right, each ``units`` columns wide. LSTM: input, forget, cell
candidate, output. GRU: update, reset, hidden candidate.
Source: keras/src/layers/rnn/{lstm,gru,simple_rnn}.py."""

UNREAD = "unread"
"""Class name in a `LayerSpec` of a layer that cannot be read."""


@dataclass(frozen=True, eq=False)
class LayerSpec:
    """Describe one layer: its class, its honoured options and its weights by name.

    Raw operations and whole models are layers too: an operation has a class such as
    ``"ops.Add"``, and a model has its layers in `sublayers` and their calls in `graph`.

    Attributes
    ----------
    name, class_name : str
        As in the Keras config, for example ``"lstm_1"`` and ``"LSTM"``.
    options : mapping
        Every option the forward pass depends on, with its value (defaults filled in).
    weights : mapping of str to ndarray
        In the order of Keras's ``layer.get_weights()``; the arrays are read-only.
    sublayers : mapping of str to LayerSpec
        Layers inside this one: ``forward_layer`` and ``backward_layer``, ``cell``,
        ``layer``, or the layers of a model by their names.
    policy : str
        The dtype policy, for example ``"float32"`` or ``"mixed_float16"``.
    rules : frozenset of Rule and Limit
        The points in which the layer follows a backend other than TensorFlow.
    version_rules : frozenset of VersionRule
        The points in which it follows a version of Keras after 3.15.
    trainable : bool
        Has no effect on the outputs; legacy files order their weights by it.
    graph : Graph or None
        For a model: the calls of its layers.
    overrides : mapping of str to callable
        Functions that replace those of this package, to plant a mistake: ``step`` (see
        `verify.forward.cells`), ``scan``, for Bidirectional ``turn`` and ``merge``, for
        attention ``weigh``, for ConvLSTM ``convolve`` and ``recur``; ``activation`` and
        ``recurrent_activation``; ``call`` for the whole layer (see
        `verify.mistakes.catalogue.mistake.on_call`); ``initial_state``,
        ``return_state`` and ``stateful`` map the states that a recurrent layer is
        given, returns and keeps for the next batch to others. ``use_mask`` (name of a
        mask argument, mask -> mask or None) changes a mask that the layer uses, and
        ``pass_mask`` (mask of its input, output tensor -> mask or None) the mask that
        it passes on.
        Always empty in a spec that was read from a file or from a live model.
    input_shape : tuple, or a structure of tuples
        Shape of the inputs of the first call, with ``None`` for the batch axis and
        every other axis that the model leaves open.
    output_shape : tuple, or a structure of tuples
        Shape of the outputs of that call, likewise.
    own_class : str
        The class in the file, without its package, if `class_name` is another name:
        that of a registered class, of the base class it is taken as, or `UNREAD`.
    unread : str
        Why the layer cannot be read; empty if it can. Such layers are in specs that
        `verify.load` was asked for with ``partial=True``.
    """

    name: str
    class_name: str
    options: Mapping[str, Any]
    weights: Mapping[str, Array] = field(default_factory=dict)
    sublayers: Mapping[str, LayerSpec] = field(default_factory=dict)
    policy: str = "float32"
    rules: Rules = TENSORFLOW
    version_rules: frozenset[VersionRule] = REFERENCE
    trainable: bool = True
    graph: Graph | None = None
    overrides: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    input_shape: Any = None
    output_shape: Any = None
    own_class: str = ""
    unread: str = ""

    def __post_init__(self) -> None:
        for name in ("weights", "options", "overrides", "sublayers"):
            given = getattr(self, name)
            if isinstance(given, MappingProxyType):
                continue  # another LayerSpec has made it
            made = (
                {k: _read_only(w) for k, w in given.items()}
                if name == "weights"
                else dict(given)
            )
            object.__setattr__(self, name, MappingProxyType(made))

    def __getstate__(self) -> dict[str, Any]:
        # a MappingProxyType cannot be pickled; __post_init__ makes them anew
        return {
            key: dict(value) if isinstance(value, MappingProxyType) else value
            for key, value in vars(self).items()
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for key, value in state.items():
            object.__setattr__(self, key, value)
        for array in self.weights.values():
            array.flags.writeable = False
        self.__post_init__()

    def __str__(self) -> str:
        shown = self.class_name if self.class_name != UNREAD else self.own_class
        return f"Layer '{printable(self.name)}' ({printable(shown)})"

    @property
    def saved_class(self) -> str:
        """Return the class by which files name the layer's group of weights."""
        return self.own_class or self.class_name

    @property
    def gates(self) -> tuple[str, ...]:
        """Return the names of the gate blocks in storage order; empty without gates."""
        return GATES.get(self.class_name, ())

    @property
    def parameters(self) -> int:
        """Return how many numbers the weights hold, including those of sublayers."""
        own = sum(w.size for w in self.weights.values())
        return own + sum(layer.parameters for layer in self.sublayers.values())

    def with_weights(self, **weights: Array) -> LayerSpec:
        """Return the same layer with some weights replaced.

        Raises
        ------
        DataError
            The layer has no such weight, or its shape is another.
        """
        for key, value in weights.items():
            if key not in self.weights or value.shape != self.weights[key].shape:
                raise DataError(
                    f"{self}: cannot replace weight '{key}'. "
                    f"Expected one of {weights_text(self.weights)}. "
                    f"Received: shape={value.shape}"
                )
        return replace(self, weights={**self.weights, **weights})

    def with_options(self, **options: Any) -> LayerSpec:
        """Return the same layer with some options changed."""
        return replace(self, options={**self.options, **options})

    def with_overrides(self, **functions: Callable[..., Any]) -> LayerSpec:
        """Return the same layer with functions that replace those of this package."""
        return replace(self, overrides={**self.overrides, **functions})

    def walk(self, path: str = "") -> Iterator[tuple[str, LayerSpec]]:
        """Yield every layer inside this one with its path, outer layers first.

        Paths join names by ``/``: ``bidirectional/forward_layer``.
        """
        for key, layer in self.sublayers.items():
            here = f"{path}/{key}" if path else key
            yield here, layer
            yield from layer.walk(here)

    def at(self, path: str) -> LayerSpec:
        """Return the layer at a path inside this one.

        Raises
        ------
        KeyError
            There is no such layer.
        """
        layer = self
        for key in _steps(self, path):
            layer = layer.sublayers[key]
        return layer

    def replaced(self, path: str, new: LayerSpec) -> LayerSpec:
        """Return this layer with the one at `path` replaced."""
        key, *rest = _steps(self, path)
        if rest:
            new = self.sublayers[key].replaced("/".join(rest), new)
        return replace(self, sublayers={**self.sublayers, key: new})

    def mapped(self, change: Callable[[LayerSpec], LayerSpec]) -> LayerSpec:
        """Apply a change to every layer inside this one, and then to this one."""
        inside = {key: layer.mapped(change) for key, layer in self.sublayers.items()}
        return change(replace(self, sublayers=inside))


def _read_only(weight: Any) -> Array:
    """Return an array that nobody can change, a copy of one that somebody could."""
    array = np.asarray(weight)
    if array.flags.writeable:
        array = array.copy()
        array.flags.writeable = False
    return array


def _steps(layer: LayerSpec, path: str) -> list[str]:
    """Split a path into names.

    The name of a layer may itself contain a slash, so the longest name that fits is
    taken at each step.
    """
    found: list[str] = []
    rest = path
    while rest:
        keys = [k for k in layer.sublayers if rest == k or rest.startswith(f"{k}/")]
        if not keys:
            raise KeyError(path)
        key = max(keys, key=len)
        found.append(key)
        layer, rest = layer.sublayers[key], rest[len(key) + 1 :]
    return found


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """Describe a whole model and its origin.

    Attributes
    ----------
    root : LayerSpec
        The model itself: class ``Sequential`` or ``Functional``.
    source : str
        The path of the file, or ``"a live model"``; for reports.
    keras_version : str
        As recorded by the file or by the live Keras; ``"unknown"`` otherwise.
    notes : tuple of str
        Sentences about how settings of an old file were read; empty for a file of
        Keras 3.
    config
        The Keras config that the spec was read from, in the form of Keras 3.
    legacy : bool
        Whether the model comes from an ``.h5`` file or from Keras 2.
    """

    root: LayerSpec
    source: str = "a live model"
    keras_version: str = "unknown"
    notes: tuple[str, ...] = ()
    config: Any = None
    legacy: bool = False

    def __iter__(self) -> Iterator[LayerSpec]:
        return iter(self.layers)

    def __getitem__(self, path: str) -> LayerSpec:
        try:
            return self.root.at(path)
        except KeyError:
            known = ", ".join(printable(key) for key in self.root.sublayers)
            raise KeyError(
                f"no layer '{printable(path)}'; the layers are {known}"
            ) from None

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self.root.name

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        """Return the layers of the model in order, without its inputs."""
        inside = self.root.sublayers.values()
        return tuple(x for x in inside if x.class_name != "InputLayer")

    @cached_property
    def inputs(self) -> tuple[LayerSpec, ...]:
        """Return the input layers, in the order of the inputs of ``predict``."""
        graph = self.root.graph
        refs = flatten(graph.inputs) if graph is not None else []
        return tuple(self.root.sublayers[ref.layer] for ref in refs)

    @property
    def input_shape(self) -> Any:
        """Return the shape of the input, batch axis first; a list for several."""
        found = [layer.options["batch_shape"] for layer in self.inputs]
        return found[0] if len(found) == 1 else found

    @cached_property
    def stateful(self) -> bool:
        """Return whether any layer keeps its states from batch to batch."""
        return any(layer.options.get("stateful") for _, layer in self.walk())

    @cached_property
    def batch_size(self) -> int | None:
        """Return the number of rows that the model fixes for a batch, if it does."""
        sizes = (layer.options["batch_shape"][0] for layer in self.inputs)
        return next((size for size in sizes if size is not None), None)

    @property
    def output_shape(self) -> Any:
        """Return the shape of the result of ``predict``, batch axis first."""
        return self.root.output_shape

    @property
    def parameters(self) -> int:
        """Return how many numbers the weights of the whole model hold."""
        return self.root.parameters

    @property
    def unread(self) -> Mapping[str, LayerSpec]:
        """Return the layers that cannot be read by their paths; see `LayerSpec`."""
        return {path: layer for path, layer in self.walk() if layer.unread}

    @property
    def policies(self) -> frozenset[str]:
        """Return the dtype policies of all layers that compute with floats."""
        return frozenset(
            layer.policy
            for _, layer in self.root.walk()
            if not layer.sublayers and not layer.class_name.startswith("ops.")
        )

    def on(self, backend: str) -> ModelSpec:
        """Return the same model as Keras computes it on another backend.

        Raises
        ------
        UnsupportedError
            A backend that is not in `verify.model.backends.BACKENDS`, or a model that
            Keras computes in another way there in float64 than in its own dtypes.
        """
        if backend not in BACKENDS:
            raise UnsupportedError(
                f"expected Keras on one of {', '.join(BACKENDS)}. "
                f"{did_you_mean(backend, BACKENDS)}Received: {printable(backend)}"
                f"{REFUSED_BACKENDS.get(backend, '')}"
            )
        rules = BACKENDS[backend]
        for _, layer in self.walk() if Limit.MIXED_STATES in rules else ():
            policy = POLICIES[layer.policy]
            if layer.options.get("stateful") and policy.compute != policy.variable:
                raise UnsupportedError(f"{layer}: {Limit.MIXED_STATES}")
        return self.following(rules)

    def following(self, rules: Rules) -> ModelSpec:
        """Return the same model with every layer following these rules."""
        return replace(self, root=self.root.mapped(lambda x: replace(x, rules=rules)))

    def by_version(self, rules: frozenset[VersionRule]) -> ModelSpec:
        """Return the same model with every layer following these rules of a version."""
        changed = self.root.mapped(lambda x: replace(x, version_rules=rules))
        return replace(self, root=changed)

    def walk(self) -> Iterator[tuple[str, LayerSpec]]:
        """Yield every layer with its path, including layers inside others."""
        return self.root.walk()

    def with_layer(self, layer: LayerSpec, path: str | None = None) -> ModelSpec:
        """Return the same model with one layer replaced.

        Parameters
        ----------
        layer : LayerSpec
            The new layer.
        path : str, optional
            Path of the old layer; by default the name of the new one.
        """
        where = layer.name if path is None else path
        self[where]  # raises KeyError with the names of the layers
        return replace(self, root=self.root.replaced(where, layer))

    def require_finite(self) -> None:
        """Raise DataError if any weight is NaN or infinite."""
        for _, layer in self.walk():
            for key, value in layer.weights.items():
                bad = int(np.count_nonzero(~np.isfinite(value)))
                if bad:
                    raise DataError(
                        f"{layer}: expected finite weights. Received: {bad:,} NaN or "
                        f"infinite value(s) among the {value.size:,} of '{key}'"
                    )


def is_path(model: object) -> bool:
    """Return whether `model` names a file rather than being a model."""
    return isinstance(model, (str, os.PathLike))
