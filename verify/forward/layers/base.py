"""What every layer type declares: its options, its weights, its maths.

A layer type is one class with one entry in the registry. It names every option that a
Keras config of that layer may hold, and each option is exactly one of

* *honoured*: its value changes the result, and the code follows it;
* *inert*: it has no effect on the forward pass (initialisers, regularisers, ...);
* *refused*: only one value of it is supported, and any other is refused by name.

An option that is none of these is refused too, so nothing is accepted and then ignored.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from verify.errors import ModelFileError, UnsupportedError, join_and, printable
from verify.forward.activations import Activation, read_activation, resolve
from verify.forward.recurrence import TimeLoop
from verify.model.arrays import Array
from verify.model.backends import Rule
from verify.model.dtypes import is_float, working
from verify.model.spec import LayerSpec

REQUIRED = object()


class Unexpected(Exception):
    """Say what an option's parser expected."""


@dataclass(frozen=True)
class Option:
    """Describe an honoured option: how it is read, and what it is when absent."""

    parse: Callable[[Any], Any]
    default: Any = REQUIRED
    supported: str = ""
    """Said in the coverage table where one value alone is supported."""


def anything(value: Any) -> Any:
    """Read whatever stands there: for options that another method checks."""
    return value


def boolean(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise Unexpected("true or false")
    return value


def integer(value: Any) -> int:
    """Read a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unexpected("a whole number")
    return value


def positive(value: Any) -> int:
    """Read a whole number, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Unexpected("a whole number, 1 or more")
    return value


def non_negative_integer(value: Any) -> int:
    """Read a whole number, 0 or more."""
    if integer(value) < 0:
        raise Unexpected("a whole number, 0 or more")
    return integer(value)


def number(value: Any) -> float:
    """Read a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unexpected("a number")
    if not math.isfinite(value):
        raise Unexpected("a finite number")
    return float(value)


def non_negative_number(value: Any) -> float:
    """Read a number, 0 or more."""
    if number(value) < 0:
        raise Unexpected("a number, 0 or more")
    return float(value)


def numbers(value: Any) -> Any:
    """Read numbers, nested in lists or alone."""
    if isinstance(value, (list, tuple)):
        return [numbers(item) for item in value]
    return number(value)


def integers(value: Any) -> tuple[int, ...]:
    """Read a list of whole numbers; one number alone is a list of one."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(integer(item) for item in items)


def axis(value: Any) -> int:
    """Read an axis that is not that of the rows."""
    if integer(value) == 0:
        raise Unexpected("an axis other than that of the rows, 0")
    return int(value)


def axes(value: Any) -> tuple[int, ...]:
    """Read one axis or several, none of them that of the rows."""
    items = value if isinstance(value, (list, tuple)) else [value]
    if not items:
        raise Unexpected("an axis, or several")
    return tuple(axis(item) for item in items)


def from_front(axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return axes counted from the front; ValueError for axis 0 or one that is none."""
    found = tuple(k + ndim if k < 0 else k for k in axes)
    if not all(0 < k < ndim for k in found):
        raise ValueError(f"axes {tuple(axes)} of an array with {ndim}, rows first")
    return found


def one_of(*allowed: Any) -> Callable[[Any], Any]:
    """Return a parser that accepts some values only."""

    def parse(value: Any) -> Any:
        if not any(
            value is a or (value == a and type(value) is type(a)) for a in allowed
        ):
            raise Unexpected(f"one of {', '.join(map(str, allowed))}")
        return value

    return parse


def optional(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a parser that lets None through."""
    return lambda value: None if value is None else parse(value)


def activation(value: Any) -> str:
    """Read an activation: a name, or a serialised layer; None is linear.

    What comes out is a name for `verify.forward.activations.resolve`; arguments follow
    the name in brackets, as in ``leaky_relu(negative_slope=0.1)``.
    """
    try:
        return read_activation(value)
    except ValueError as error:
        raise Unexpected(str(error)) from None


def only(supported: Any) -> Option:
    """Return an option of which one value alone is supported."""

    def parse(value: Any) -> Any:
        if value is not supported:
            raise Unexpected(f"{supported} (nothing else is supported)")
        return value

    return Option(parse, supported, supported=f"{supported}")


DATA_FORMAT = Option(one_of("channels_last", "channels_first"), "channels_last")

KERAS_EPSILON = 1e-7
"""What ``keras.config.epsilon()`` is unless somebody changes it."""


def weight_settings(*weights: str) -> frozenset[str]:
    """Return the options that initialise, regularise and constrain some weights."""
    kinds = ("initializer", "regularizer", "constraint")
    return frozenset(f"{weight}_{kind}" for weight in weights for kind in kinds)


INERT_EVERYWHERE = frozenset(
    {"name", "trainable", "dtype", "activity_regularizer", "batch_input_shape"}
    | {"input_shape", "batch_shape", "input_dtype", "batch_size", "weights"}
)


class AnyShape(tuple[int | None, ...]):
    """Accept any shape: the rank of this weight depends on the input."""

    __slots__ = ()


class Run(Protocol):
    """Describe what a layer may ask of the evaluation that calls it."""

    recording: bool
    floatx: str

    def __call__(self, layer: LayerSpec, *args: Any, at: str, **kwargs: Any) -> Any:
        """Call a layer inside this one as Keras's ``Layer.__call__`` does."""

    def within(
        self, layer: LayerSpec, *args: Any, at: str, mask: Array | None = None
    ) -> Any:
        """Call only its ``call``: no casts, and no masks found or passed on.

        The mask is handed over if the layer's ``call`` has such an argument.
        """

    def note(self, **values: Array) -> None:
        """Record values worth tracing: gates, states, logits."""

    def states(self) -> tuple[Array, ...] | None:
        """Return the states of a stateful layer that has been called before."""

    def keep_states(self, states: tuple[Array, ...]) -> None:
        """Leave states for the next call of this layer."""

    def loop(self, layer: LayerSpec) -> TimeLoop | None:
        """Return the fast loop over time of a recurrent layer, if there is one."""

    def passes_ids_on(self, layer: LayerSpec) -> bool:
        """Return whether an Embedding hands on ids, to a loop that looks them up."""


@dataclass(eq=False, slots=True)
class Tensor:
    """Hold a value on its way between layers, with the mask that travels with it."""

    value: Array
    mask: Array | None = None


class LayerType(ABC):
    """Describe one Keras layer class: how to read it, and what it computes.

    Attributes
    ----------
    class_name : str
        As in a Keras config.
    options : mapping of str to Option
        The honoured and the refused options; see the module's docstring.
    inert : frozenset of str
        Options without effect on the forward pass.
    arguments : tuple of str
        Arguments of Keras's ``call``, in its order, ``training`` left out. With
        ``"mask"`` among them the layer receives the mask of its only tensor argument.
    supports_masking : bool
        Whether a mask goes on to the output; see `compute_mask`.
    autocast : bool
        Whether floats are cast to the policy's compute dtype on entry.
    casts_outputs : bool
        Whether what comes out is in the policy's compute dtype.
    full_precision : bool
        Whether weights keep the variable dtype under a mixed policy.
    shown_by_weights : frozenset of str
        Honoured options that show in the weights' names or shapes alone.
    child_configs : frozenset of str
        Options that hold the serialised layers inside; see `children`.
    weight_groups : tuple of str
        Where the weights lie in a file, below the layer: Keras's attribute names.
    raw_tensors : bool
        Whether ``call`` receives each tensor as a `Tensor`, told apart from constants.
    strips_masks : tuple of str
        Arguments off whose tensors Keras takes the mask for good: what is called on
        the same tensor later finds none.
    masks_from_tensor : frozenset of str
        Mask arguments that Keras always takes from the tensor, never from the caller.
    returns_input : str
        Whether Keras returns the very tensor that came in, with its mask, where the
        layer changes nothing: ``always``, or ``by rule`` of another backend
        (`Rule.UNCHANGED_KEEPS_MASK`).
    container : str
        Attribute of Keras that holds the sublayers as a list; empty if each is an
        attribute by itself.
    """

    class_name: ClassVar[str]
    options: ClassVar[Mapping[str, Option]] = {}
    inert: ClassVar[frozenset[str]] = frozenset()
    arguments: ClassVar[tuple[str, ...]] = ("inputs",)
    supports_masking: ClassVar[bool] = False
    autocast: ClassVar[bool] = True
    casts_outputs: ClassVar[bool] = True
    full_precision: ClassVar[bool] = False
    shown_by_weights: ClassVar[frozenset[str]] = frozenset()
    child_configs: ClassVar[frozenset[str]] = frozenset()
    weight_groups: ClassVar[tuple[str, ...]] = ("",)
    raw_tensors: ClassVar[bool] = False
    strips_masks: ClassVar[tuple[str, ...]] = ()
    masks_from_tensor: ClassVar[frozenset[str]] = frozenset()
    returns_input: ClassVar[str] = ""
    container: ClassVar[str] = ""

    def read_options(self, where: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Check every option of a config.

        Raises
        ------
        UnsupportedError
            An option, or a value of one, that is not supported.
        ModelFileError
            An option that the config must have and has not.
        """
        known = self.options.keys() | self.inert | self.child_configs | INERT_EVERYWHERE
        unknown = sorted(config.keys() - known)
        if unknown:
            name, value = printable(unknown[0]), config[unknown[0]]
            raise UnsupportedError(
                f"{where}: option '{name}' is not supported. "
                f"Received: {name}={printable(value, 60)}. "
                f"Supported: {join_and(sorted(self.options)) or 'none'}"
            )
        return {key: self._option(where, key, config) for key in self.options}

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
                f"Received: {key}={printable(config[key], 60)}"
            ) from None

    def children(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the serialised layers inside this one, by the names they get here."""
        return {}

    def check(self, where: str, layer: LayerSpec) -> None:  # noqa: B027 - most need none
        """Raise UnsupportedError where options or sublayers do not go together."""

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        """Return name -> shape, in the order of ``layer.get_weights()``.

        ``None`` stands for a size that the input decides.
        """
        return {}

    def non_trainable(self, options: Mapping[str, Any]) -> frozenset[str]:
        """Return the weights that training does not move: old files store them last."""
        return frozenset()

    def formula(self, layer: LayerSpec) -> str:
        """Return the parameter count with its numbers filled in, without the total."""
        parts = (
            " x ".join(f"{size:,}" for size in value.shape) or "1"
            for value in layer.weights.values()
        )
        return " + ".join(parts) or "0"

    def by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call that are not None, by name."""
        given = dict(zip(self.arguments, args, strict=False)) | dict(kwargs)
        return {name: value for name, value in given.items() if value is not None}

    def notes(self, layer: LayerSpec) -> list[str]:
        """Return lines for `describe`: equations, and what is odd about them."""
        return []

    @abstractmethod
    def call(self, run: Run, layer: LayerSpec, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the layer.

        Parameters
        ----------
        run : Run
        layer : LayerSpec
            With weights in the dtype to compute in.
        *args, **kwargs
            By the names in `arguments`: arrays, or nested arrays; ``mask`` is
            (batch, time) of bool or None, nested as the inputs are.

        Returns
        -------
        An array, or a structure of arrays.
        """

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        """Return the mask of the output, for layers with `supports_masking`.

        Parameters
        ----------
        inputs
            The first argument: an array or a structure of arrays.
        mask
            Its mask, or the masks in the same structure.
        """
        return mask


class Elementwise(LayerType):
    """Describe a layer whose output has the shape of its input; masks pass through."""

    supports_masking = True


def function_of(layer: LayerSpec, option: str = "activation") -> Activation:
    """Return the function that an option of a layer names."""
    return resolve(layer.options[option], exact=exact_constants(layer))


def exact_constants(layer: LayerSpec) -> bool:
    """Return whether a layer's constants are exact; see `activations.constant`."""
    return Rule.EXACT_CONSTANTS in layer.rules


def as_float(x: Array, floatx: str) -> Array:
    """Return whole numbers as floats, where a function returns floats."""
    return x if is_float(x) else x.astype(working(floatx))


def columns(gates: Sequence[str], units: int) -> str:
    """``i 0:40, f 40:80, ...``: which columns belong to which gate."""
    return ", ".join(f"{g} {k * units}:{(k + 1) * units}" for k, g in enumerate(gates))
