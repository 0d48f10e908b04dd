"""What every layer type declares: its options, its weights, its shapes, its maths.

A layer type is one class with one entry in the registry. It names every option that a
Keras config of that layer may hold, and each option is exactly one of

* *honoured*: its value changes the result, and the code follows it;
* *inert*: it has no effect on the forward pass (initialisers, regularisers, ...);
* *refused*: only one value of it is supported, and any other is refused by name.

An option that is none of these is refused too, so nothing is accepted and then ignored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from verify.activations import ACTIVATIONS, ALIASES
from verify.spec import (
    Array,
    LayerSpec,
    ModelFileError,
    Shape,
    UnsupportedError,
    plain,
)

REQUIRED = object()


class Unexpected(Exception):
    """Raised by an option's parser; the text says what was expected."""


@dataclass(frozen=True)
class Option:
    """An honoured option: how its value is read, and what it is when absent."""

    parse: Callable[[Any], Any]
    default: Any = REQUIRED


def boolean(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise Unexpected("true or false")
    return value


def positive(value: Any) -> int:
    """Read a whole number, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Unexpected("a whole number, 1 or more")
    return value


def activation(value: Any) -> str:
    """Read the name of an activation; None is linear."""
    if value is None:
        return "linear"
    name = ALIASES.get(value, value) if isinstance(value, str) else None
    if name not in ACTIVATIONS:
        raise Unexpected(f"the name of a Keras activation ({', '.join(ACTIVATIONS)})")
    return str(name)


def only(supported: Any) -> Option:
    """An option of which one value alone is supported."""

    def parse(value: Any) -> Any:
        if value is not supported:
            raise Unexpected(f"{supported} (nothing else is supported)")
        return value

    return Option(parse, supported)


INERT_EVERYWHERE = frozenset({"name", "trainable", "dtype", "activity_regularizer"})


class Called(NamedTuple):
    """What a layer returns: output, outgoing mask, and values worth tracing."""

    output: Array
    mask: Array | None
    values: dict[str, Array]


class LayerType(ABC):
    """One Keras layer class: how to read it, what it computes."""

    class_name: ClassVar[str]
    options: ClassVar[Mapping[str, Option]]
    inert: ClassVar[frozenset[str]] = frozenset()

    def read(
        self,
        name: str,
        config: Mapping[str, Any],
        weights: Sequence[Array],
        input_shape: Shape,
    ) -> LayerSpec:
        """Check a Keras config and its weights, and make a LayerSpec of them.

        Raises
        ------
        UnsupportedError
            An option, or a value of one, that is not supported.
        ModelFileError
            Weights whose number or shapes contradict the config.
        """
        where = f"Layer '{plain(name)}' ({self.class_name})"
        known = self.options.keys() | self.inert | INERT_EVERYWHERE
        unknown = sorted(config.keys() - known)
        if unknown:
            raise UnsupportedError(
                f"{where}: option '{plain(unknown[0])}' is not supported. "
                f"Received: {plain(unknown[0])}={plain(config[unknown[0]], 60)}"
            )
        options = {k: self._option(where, k, config) for k in self.options}
        self.check_input(where, options, input_shape)
        expected = self.weight_shapes(options, input_shape)
        found = [w.shape for w in weights]
        if found != list(expected.values()):
            wanted = ", ".join(f"{k} {s}" for k, s in expected.items()) or "no weights"
            raise ModelFileError(
                f"{where}: config and weights disagree. Expected {wanted}. "
                f"Received: {', '.join(map(str, found)) or 'no weights'}"
            )
        return LayerSpec(
            name=name,
            class_name=self.class_name,
            options=options,
            weights=dict(zip(expected, weights, strict=True)),
            input_shape=input_shape,
            output_shape=self.output_shape(options, input_shape),
        )

    def _option(self, where: str, key: str, config: Mapping[str, Any]) -> Any:
        option = self.options[key]
        if key not in config:
            if option.default is REQUIRED:
                raise ModelFileError(f"{where}: the config has no '{key}'")
            return option.default
        try:
            return option.parse(config[key])
        except Unexpected as error:
            raise UnsupportedError(
                f"{where}: option '{key}' expects {error}. "
                f"Received: {key}={plain(config[key], 60)}"
            ) from None

    def check_input(  # noqa: B027 - most layers take any shape
        self, where: str, options: Mapping[str, Any], input_shape: Shape
    ) -> None:
        """Raise ModelFileError if the layer cannot take inputs of this shape."""

    def weight_shapes(
        self, options: Mapping[str, Any], input_shape: Shape
    ) -> dict[str, tuple[int, ...]]:
        """Name -> shape, in the order of ``layer.get_weights()``."""
        return {}

    def output_shape(self, options: Mapping[str, Any], input_shape: Shape) -> Shape:
        """Shape of the output, ``None`` for axes left open."""
        return input_shape

    def formula(self, layer: LayerSpec) -> str:
        """The parameter count with its numbers filled in, without the total."""
        return "0"

    def notes(self, layer: LayerSpec) -> list[str]:
        """Lines for `describe` that say what the weights mean."""
        return []

    @abstractmethod
    def call(
        self, layer: LayerSpec, x: Array, mask: Array | None, *, record: bool
    ) -> Called:
        """Evaluate the layer.

        Parameters
        ----------
        x : (batch, ...)
        mask : (batch, time) of bool, or None
        record : bool
            Whether to keep what `Network.trace` shows.
        """


def last_axis(where: str, input_shape: Shape, rank: int | None = None) -> int:
    """Size of the feature axis, which weights need to be known."""
    if rank is not None and len(input_shape) != rank:
        raise ModelFileError(
            f"{where}: expected inputs of {rank} axes (batch, time, features). "
            f"Received: shape={input_shape}"
        )
    size = input_shape[-1] if len(input_shape) > 1 else None
    if size is None:
        raise ModelFileError(
            f"{where}: expected inputs with a known last axis. "
            f"Received: shape={input_shape}"
        )
    return size


def columns(gates: Sequence[str], units: int) -> str:
    """``i 0:40, f 40:80, ...``: which columns belong to which gate."""
    return ", ".join(f"{g} {k * units}:{(k + 1) * units}" for k, g in enumerate(gates))
