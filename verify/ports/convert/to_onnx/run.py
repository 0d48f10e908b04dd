"""Walk through a model as `verify.forward.evaluate` does, writing nodes for numbers.

`Writing` calls layers by Keras's rules: it casts inputs, finds masks and passes them
on. The functions that write a layer are in the other modules of this package.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.evaluate import (
    arguments_and_mask,
    bind_arguments,
    hands_on,
    strip_mask,
    value_of,
)
from verify.forward.layers import REGISTRY
from verify.forward.layers.base import LayerType, Tensor
from verify.model.backends import Rule
from verify.model.dtypes import POLICIES, dtype_of, is_float
from verify.model.graph import flatten, map_structure
from verify.model.spec import LayerSpec
from verify.model.versions import VersionRule
from verify.ports.convert.to_onnx.values import Graph, Value

Emit = Callable[..., Any]
"""Writes the ``call`` of a layer: ``emit(writing, layer, **arguments)``."""


TENSORFLOW_ALONE: Mapping[Rule, tuple[str, ...]] = {
    Rule.FLOOR_DIVIDES_EXACTLY: ("ops.FloorDivide",),
    Rule.FRACTIONS_HAVE_NO_ROW: ("ops.OneHot", "CategoryEncoding"),
    Rule.NORMALIZES_LAST_AXES: ("LayerNormalization", "RMSNormalization"),
    Rule.UNEVEN_PADDING_COUNTS: tuple(f"AveragePooling{k}D" for k in (1, 2, 3)),
    Rule.SYMMETRIC_REPEATS_EDGE: ("ops.Pad",),
    Rule.ZEROS_TIE: ("ops.Argmax", "ops.Argmin"),
}
"""Rules of other backends that are not written -> the layers that they concern."""


KERAS_3_15_ALONE: Mapping[VersionRule, tuple[str, ...]] = {
    VersionRule.EXACT_FLOOR_DIVIDE: ("ops.FloorDivide",),
    VersionRule.SPARSEMAX_OF_THE_PAPER: ("ops.Sparsemax", "sparsemax"),
    VersionRule.MASKED_ROW_ATTENDS_TO_NOTHING: ("Attention", "AdditiveAttention"),
}
"""Rules of later versions of Keras that are not written -> the layers, or the
activation, that they concern; of attention only where there is a mask."""


def _meets(layer: LayerSpec, names: tuple[str, ...], masked: bool) -> bool:
    """Return whether a layer is among some, or has an activation that is."""
    used = {str(layer.options.get(key)).partition("(")[0] for key in ACTIVATION_OPTIONS}
    if layer.class_name.endswith("Attention"):
        return masked and layer.class_name in names
    return layer.class_name in names or not used.isdisjoint(names)


ACTIVATION_OPTIONS = ("activation", "recurrent_activation")


@dataclass(frozen=True)
class Dialect:
    """Say what the runtime makes of the fused operators.

    Attributes
    ----------
    name : str
    lengths : bool
        Whether it obeys ``sequence_lens``. Otherwise masked layers are written so that
        no length matters, which costs more nodes.
    activations : frozenset of str, or None
        The activations, as ONNX names them, that it computes inside; None for all.
    """

    name: str
    lengths: bool = True
    activations: frozenset[str] | None = None


ONNX_RUNTIME = Dialect("ONNX Runtime")
OPENVINO = Dialect("OpenVINO", False, frozenset({"Tanh", "Sigmoid", "Relu"}))
"""OpenVINO 2026.4 ignores lengths where the number of rows is open, and cannot compile
a recurrent operator whose activation has an argument."""


@dataclass(frozen=True)
class HowWritten:
    """Hold how a recurrent layer has been written.

    Attributes
    ----------
    path : str
        The layer.
    form : str
        ``"LSTM"``, ``"GRU"``, ``"RNN"`` or ``"Scan"``.
    reason : str
        Why, in a few words.
    """

    path: str
    form: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.form} ({self.reason})"


class Writing:
    """Write a model into a graph, layer by layer.

    Parameters
    ----------
    graph : Graph
    emitters : mapping
        Class name -> the function that writes such a layer.
    masks : mapping
        Class name -> the function that writes the mask of its output, for the classes
        whose `LayerType.compute_mask` computes one.
    floatx : str
        Keras's default float type.
    dialect : Dialect

    Attributes
    ----------
    how : list of HowWritten
        How each recurrent layer has been written, in the order of evaluation.
    given_states, final_states : dict
        Path of a stateful layer -> the states it begins and ends with.
    """

    recording = False
    frees = False

    def __init__(
        self,
        graph: Graph,
        emitters: Mapping[str, Emit],
        masks: Mapping[str, Emit],
        floatx: str,
        dialect: Dialect,
    ) -> None:
        self.graph, self.floatx, self.dialect = graph, floatx, dialect
        self.how: list[HowWritten] = []
        self.given_states: dict[str, tuple[Value, ...]] = {}
        self.final_states: dict[str, tuple[Value, ...]] = {}
        self._emitters, self._masks = emitters, masks
        self._path: list[str] = []

    @property
    def path(self) -> str:
        """Return the path of the layer that is being written."""
        return "/".join(self._path)

    def __call__(self, layer: LayerSpec, *args: Any, at: str, **kwargs: Any) -> Any:
        """Write a call of a layer; as `Evaluation.__call__`."""
        kind = REGISTRY[layer.class_name]
        given, first, mask = arguments_and_mask(layer, kind, args, kwargs)
        self._refuse_rule(layer, kind, mask)
        compute = POLICIES[layer.policy].compute
        values = {
            key: map_structure(lambda leaf: _cast_input(leaf, kind, compute), value)
            for key, value in given.items()
        }
        for key in kind.strips_masks:
            map_structure(lambda leaf: strip_mask(leaf, compute), given.get(key))
        output = self._emitted(layer, values, at)
        if output is value_of(first) and hands_on(kind.returns_input, layer.rules):
            return first
        return self._finished(layer, kind, values[kind.arguments[0]], mask, output)

    def within(
        self, layer: LayerSpec, *args: Any, at: str, mask: Value | None = None
    ) -> Any:
        """Write a layer's ``call`` alone; as `Evaluation.within`."""
        kind = REGISTRY[layer.class_name]
        values = bind_arguments(layer, kind, args, {})
        if mask is not None and "mask" in kind.arguments:
            values["mask"] = mask
        return map_structure(value_of, self._emitted(layer, values, at))

    def note(self, **values: Any) -> None:
        """Do nothing: there is no trace."""

    def states(self) -> tuple[Value, ...] | None:
        """Return the states that the layer being written ended with before."""
        return self.final_states.get(self.path)

    def keep_states(self, states: tuple[Value, ...]) -> None:
        """Keep the states for the next call, and as outputs of the file."""
        self.final_states[self.path] = states

    def written_as(self, form: str, reason: str) -> None:
        """Note how the recurrent layer being written is written."""
        self.how.append(HowWritten(self.path, form, reason))

    def _emitted(self, layer: LayerSpec, values: dict[str, Any], at: str) -> Any:
        if layer.overrides:
            raise UnsupportedError(
                f"{layer}: a layer with a planted mistake has no form in a file"
            )
        emit = self._emitters.get(layer.class_name)
        if emit is None:
            raise UnsupportedError(f"{layer}: it has no form in ONNX that is written")
        if not at:
            return emit(self, layer, **values)
        with self.inside(at):
            return emit(self, layer, **values)

    @contextlib.contextmanager
    def inside(self, at: str) -> Iterator[None]:
        """Write what is inside belonging to a layer inside this one."""
        self._path.append(at)
        try:
            with self.graph.within(at):
                yield
        finally:
            self._path.pop()

    def _refuse_rule(self, layer: LayerSpec, kind: LayerType, mask: Any) -> None:
        """Raise UnsupportedError where another backend differs and this does not."""
        masked = any(leaf is not None for leaf in flatten(mask))
        found = next(
            (
                rule
                for rule, names in TENSORFLOW_ALONE.items()
                if rule in layer.rules and layer.class_name in names
            ),
            None,
        )
        later = next(
            (
                rule
                for rule, names in KERAS_3_15_ALONE.items()
                if rule in layer.version_rules and _meets(layer, names, masked)
            ),
            None,
        )
        if later is not None:
            raise UnsupportedError(
                f"{layer}: it is written as in Keras 3.15 alone; in the version that "
                f"is followed {later.value}"
            )
        if masked and kind.returns_input == "by rule":
            keeps = Rule.UNCHANGED_KEEPS_MASK
            found = keeps if keeps in layer.rules else found
        if found is not None:
            raise UnsupportedError(
                f"{layer}: it is written as on TensorFlow alone; on this backend "
                f"{found.value}"
            )

    def _finished(
        self, layer: LayerSpec, kind: LayerType, inputs: Any, mask: Any, output: Any
    ) -> Any:
        if kind.casts_outputs:
            to = dtype_of(POLICIES[layer.policy].compute)
            output = map_structure(lambda leaf: _cast_output(leaf, to), output)
        tensors = map_structure(_as_tensor, output)
        if not kind.passes_masks(layer):
            return tensors
        flat = flatten(tensors)
        if all(tensor.mask is not None for tensor in flat):
            return tensors
        bare = map_structure(value_of, inputs)
        own = self._masks.get(layer.class_name)
        with self.graph.within(layer.name):
            masks = (own or kind.compute_mask)(layer, bare, mask)
        for tensor, found in zip(flat, flatten(masks), strict=False):
            if tensor.mask is None and found is not None:
                tensor.mask = found
        return tensors


def _as_tensor(leaf: Any) -> Tensor:
    return leaf if isinstance(leaf, Tensor) else Tensor(leaf)


def _cast_input(leaf: Any, kind: LayerType, compute: str) -> Any:
    if kind.raw_tensors:
        return leaf
    value = value_of(leaf)
    if not kind.autocast or not isinstance(value, Value):
        return value
    return value.rounded(compute)


def _cast_output(leaf: Any, to: np.dtype[Any]) -> Any:
    value = value_of(leaf)
    if value.dtype == to or not is_float(value):
        return leaf
    value = value.cast(to)
    return Tensor(value, leaf.mask) if isinstance(leaf, Tensor) else value
