"""Define what a layer type declares: its options, its weights and its arithmetic.

A layer type is one class with one entry in the registry. It names every option that a
Keras config of that layer may hold, and each option is exactly one of

* *honoured*: its value changes the result, and the code follows it;
* *inert*: it has no effect on the forward pass (initialisers, regularisers, ...);
* *refused*: only one value of it is supported, and any other is refused by name.

An option that a layer type does not name is refused too, so that no option is accepted
and then ignored.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from verify.errors import ModelFileError, UnsupportedError, did_you_mean, printable
from verify.forward.activations import Activation, read_activation, resolve
from verify.forward.recurrence import KeepStep, TimeLoop
from verify.model.arrays import Array
from verify.model.backends import Limit, Rule
from verify.model.dtypes import is_float, working
from verify.model.spec import LayerSpec
from verify.model.versions import VersionRule

REQUIRED = object()
"""The default of an option that every config must hold."""


class Unexpected(Exception):
    """Report that an option has a wrong value; the message says what was expected."""


@dataclass(frozen=True)
class Option:
    """Describe an honoured or refused option of a layer.

    Attributes
    ----------
    parse : callable
        Checks the value in a config and returns it as the code uses it; raises
        `Unexpected`.
    default
        The value if the config does not hold the option.
    supported : str
        For the coverage table: the supported values, if not all are.
    """

    parse: Callable[[Any], Any]
    default: Any = REQUIRED
    supported: str = ""


def anything(value: Any) -> Any:
    """Return the value unchecked, for options that another method checks."""
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
    """Read one number, or numbers in nested lists."""
    if isinstance(value, (list, tuple)):
        return [numbers(item) for item in value]
    return number(value)


def integers(value: Any) -> tuple[int, ...]:
    """Read a list of whole numbers; a single number counts as a list of one."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(integer(item) for item in items)


def axis(value: Any) -> int:
    """Read an axis other than that of the rows."""
    if integer(value) == 0:
        raise Unexpected("an axis other than that of the rows, 0")
    return int(value)


def axes(value: Any) -> tuple[int, ...]:
    """Read one axis or several, other than that of the rows."""
    items = value if isinstance(value, (list, tuple)) else [value]
    if not items:
        raise Unexpected("an axis, or several")
    return tuple(axis(item) for item in items)


def from_front(axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return axes counted from the front.

    Raises
    ------
    ValueError
        An axis is that of the rows, 0, or does not exist.
    """
    found = tuple(k + ndim if k < 0 else k for k in axes)
    if not all(0 < k < ndim for k in found):
        raise ValueError(f"axes {tuple(axes)} of an array with {ndim}, rows first")
    return found


def one_of(*allowed: Any) -> Callable[[Any], Any]:
    """Return a parser that accepts the given values only."""

    def parse(value: Any) -> Any:
        # the types are compared too, because True == 1 in Python
        if not any(
            value is a or (value == a and type(value) is type(a)) for a in allowed
        ):
            raise Unexpected(f"one of {', '.join(map(str, allowed))}")
        return value

    return parse


SERIALISED_ARRAYS = ("__numpy__", "__tensor__")
"""Classes by which Keras writes an array into a config."""


def array_value(value: Any) -> Any:
    """Return the numbers of a serialised array, and anything else as it is."""
    if isinstance(value, dict) and value.get("class_name") in SERIALISED_ARRAYS:
        config = value.get("config")
        if isinstance(config, dict) and "value" in config:
            return config["value"]
    return value


def optional(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a parser that accepts None as well."""
    return lambda value: None if value is None else parse(value)


def activation(value: Any) -> str:
    """Read an activation, and return a name for `verify.forward.activations.resolve`.

    The value is a name, a serialised layer, or None for linear. Arguments follow the
    name in brackets, as in ``leaky_relu(negative_slope=0.1)``.
    """
    try:
        return read_activation(value)
    except ValueError as error:
        raise Unexpected(str(error)) from None


def only(supported: Any) -> Option:
    """Return a refused option, of which one value only is supported."""

    def parse(value: Any) -> Any:
        if value is not supported:
            raise Unexpected(f"{supported} (nothing else is supported)")
        return value

    return Option(parse, supported, supported=f"{supported}")


def data_format(value: Any) -> Any:
    """Read a data format; None is the default of Keras's settings, channels last."""
    known = one_of("channels_last", "channels_first")
    return "channels_last" if value is None else known(value)


DATA_FORMAT = Option(data_format, "channels_last")

KERAS_EPSILON = 1e-7
"""Default of ``keras.config.epsilon()``."""


def weight_settings(*weights: str) -> frozenset[str]:
    """Return the options that initialise, regularise and constrain some weights."""
    kinds = ("initializer", "regularizer", "constraint")
    return frozenset(f"{weight}_{kind}" for weight in weights for kind in kinds)


INERT_EVERYWHERE = frozenset(
    {"name", "trainable", "dtype", "activity_regularizer", "batch_input_shape"}
    | {"input_shape", "batch_shape", "input_dtype", "batch_size", "weights", "dynamic"}
    | {"rng_type", "autocast"}
)
"""Options that every layer may have. ``name``, ``trainable`` and ``dtype`` are read by
`verify.model_files.config`."""


class AnyShape(tuple[int | None, ...]):
    """Stand for any shape of a weight whose rank depends on the input."""

    __slots__ = ()


MergeSteps = Callable[[LayerSpec, int], AbstractContextManager[None] | None]
"""A layer inside TimeDistributed and the number of steps -> what surrounds one call of
it on the steps of all rows; None if it has to be called step by step."""


class Run(Protocol):
    """Describe what an evaluation offers to the layers that it calls.

    See `verify.forward.evaluate.Evaluation`.
    """

    recording: bool
    floatx: str
    outlining: bool
    merge_steps: MergeSteps | None
    samples: int | None
    fixed_batch: int | None
    frees: bool

    def __call__(self, layer: LayerSpec, *args: Any, at: str, **kwargs: Any) -> Any:
        """Call a layer inside this one, as Keras's ``Layer.__call__`` does."""

    def within(
        self, layer: LayerSpec, *args: Any, at: str, mask: Array | None = None
    ) -> Any:
        """Run the ``call`` of a layer alone: no casts, and no masks passed on.

        The mask is given to the layer if its ``call`` has such an argument.
        """

    def note(self, **values: Array) -> None:
        """Add values to the trace of this layer: gates, states, logits."""

    def keep_steps(self) -> bool | KeepStep:
        """Return what `verify.forward.recurrence.scan` is told to record."""

    def windows(self, layer: LayerSpec, time: int, rows: int) -> Iterator[slice] | None:
        """Yield windows of steps that TimeDistributed calls its layer on at a time.

        None if it is to be called on one step at a time.
        """

    def states(self) -> tuple[Array, ...] | None:
        """Return the states that this layer ended with the last time, or None."""

    def keep_states(self, states: tuple[Array, ...]) -> None:
        """Keep states for the next call of this layer."""

    def loop(self, layer: LayerSpec) -> TimeLoop | None:
        """Return the fast loop over time of a recurrent layer, if there is one."""

    def passes_ids_on(self, layer: LayerSpec) -> bool:
        """Return whether an Embedding must return the ids, for a loop with a table."""


@dataclass(eq=False, slots=True)
class Tensor:
    """Hold a value that passes between layers, and the mask that belongs to it."""

    value: Array
    mask: Array | None = None


class LayerType(ABC):
    """Describe one Keras layer class: how it is read and how it is evaluated.

    Attributes
    ----------
    class_name : str
        As in a Keras config.
    options : mapping of str to Option
        The honoured and the refused options; see the docstring of the module.
    inert : frozenset of str
        Options without effect on the forward pass.
    arguments : tuple of str
        Arguments of Keras's ``call``, in its order, without ``training``. If ``"mask"``
        is among them, the layer receives the mask of its only tensor argument.
    supports_masking : bool
        Whether the output has a mask; see `compute_mask` and `passes_masks`.
    masks_may_end : bool
        Whether that is so up to Keras 3.15 only; see `VersionRule.LOOP_ENDS_MASK`.
    autocast : bool
        Whether float inputs are cast to the compute dtype of the policy.
    casts_outputs : bool
        Whether float outputs are cast to the compute dtype of the policy.
    full_precision : bool
        Whether weights keep the variable dtype under a mixed policy.
    shown_by_weights : frozenset of str
        Honoured options that affect only which weights there are and their shapes.
    child_configs : frozenset of str
        Options that hold serialised layers; see `children`.
    weight_groups : tuple of str
        Groups that hold the weights in a file, below that of the layer: names of
        attributes in Keras.
    python_name : str
        Name of the Python class in Keras, by which files call its weights, if that is
        not `class_name`.
    raw_tensors : bool
        Whether ``call`` receives tensors as `Tensor`, so that it can tell them from
        constants, and not as arrays.
    strips_masks : tuple of str
        Arguments whose mask Keras removes from the tensor itself, so that layers called
        later on the same tensor find none.
    masks_from_tensor : frozenset of str
        Mask arguments that Keras takes from the tensor even if the caller gives one.
    returns_input : str
        Whether Keras returns the input tensor itself, and so with its mask, if the
        layer changes nothing: empty for no; ``always``; ``by rule`` if
        `Rule.UNCHANGED_KEEPS_MASK` holds; ``cast`` and ``swap`` unless
        `Rule.CAST_ENDS_MASK` or `Rule.SWAP_ENDS_MASK` holds.
    container : str
        Attribute in Keras that holds the sublayers as a list; empty if each sublayer is
        an attribute.
    options_listed : str
        Says where to look if an option is refused.
    """

    class_name: ClassVar[str]
    options: ClassVar[Mapping[str, Option]] = {}
    inert: ClassVar[frozenset[str]] = frozenset()
    arguments: ClassVar[tuple[str, ...]] = ("inputs",)
    supports_masking: ClassVar[bool] = False
    masks_may_end: ClassVar[bool] = False
    autocast: ClassVar[bool] = True
    casts_outputs: ClassVar[bool] = True
    full_precision: ClassVar[bool] = False
    shown_by_weights: ClassVar[frozenset[str]] = frozenset()
    child_configs: ClassVar[frozenset[str]] = frozenset()
    weight_groups: ClassVar[tuple[str, ...]] = ("",)
    python_name: ClassVar[str] = ""
    raw_tensors: ClassVar[bool] = False
    strips_masks: ClassVar[tuple[str, ...]] = ()
    masks_from_tensor: ClassVar[frozenset[str]] = frozenset()
    returns_input: ClassVar[str] = ""
    container: ClassVar[str] = ""
    options_listed: ClassVar[str] = "Its options: rnn-verify layers"

    @property
    def mask_arguments(self) -> frozenset[str]:
        """Return the arguments of ``call`` that are masks of steps."""
        return frozenset(
            name
            for name in self.arguments
            if name == "mask" or (name.endswith("_mask") and name != "use_causal_mask")
        )

    def read_options(self, where: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Check every option of a config, and return those in `options`.

        Parameters
        ----------
        where : str
            The layer, as messages name it.
        config : mapping

        Raises
        ------
        UnsupportedError
            An option is not supported, or its value is not.
        ModelFileError
            The config lacks an option that it must have.
        """
        if config.get("autocast", True) is not True and "autocast" not in self.options:
            raise UnsupportedError(
                f"{where}: option 'autocast' expects True (nothing else is supported). "
                f"Received: autocast={printable(config['autocast'], 60)}"
            )
        known = self.options.keys() | self.inert | self.child_configs | INERT_EVERYWHERE
        unknown = sorted(config.keys() - known)
        if unknown:
            name, value = printable(unknown[0]), config[unknown[0]]
            raise UnsupportedError(
                f"{where}: option '{name}' is not supported. "
                f"Received: {name}={printable(value, 60)}. "
                f"{did_you_mean(name, known)}{self.options_listed}"
            )
        return {key: self._option(where, key, config) for key in self.options}

    def _option(self, where: str, key: str, config: Mapping[str, Any]) -> Any:
        option = self.options[key]
        if key not in config:
            if option.default is REQUIRED:
                raise ModelFileError(f"{where}: the config has no '{key}'")
            return option.default
        value = config[key]
        try:
            try:
                return option.parse(value)
            except Unexpected:
                if value is (inner := array_value(value)):
                    raise
                return option.parse(inner)
        except Unexpected as error:
            raise UnsupportedError(
                f"{where}: option '{key}' expects {error}. "
                f"Received: {key}={printable(config[key], 60)}"
            ) from None

    def children(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the serialised layers inside this one, by the names of `sublayers`."""
        return {}

    def check(self, where: str, layer: LayerSpec) -> None:  # noqa: B027 - most need none
        """Raise UnsupportedError if options or sublayers do not fit together."""

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        """Return the shape of each weight by name, in the order of ``get_weights()``.

        ``None`` stands for a size that depends on the input.
        """
        return {}

    def used_arrays(self, arrays: list[Array]) -> list[Array]:
        """Return those of a layer's arrays in a file that `weight_shapes` names."""
        return arrays

    def non_trainable(self, options: Mapping[str, Any]) -> frozenset[str]:
        """Return the weights that are not trained, which old files store last."""
        return frozenset()

    def formula(self, layer: LayerSpec) -> str:
        """Return the parameter count as a formula with its numbers filled in."""
        parts = (
            " x ".join(f"{size:,}" for size in value.shape) or "1"
            for value in layer.weights.values()
        )
        inside = (f"{x.parameters:,}" for x in layer.sublayers.values())
        return " + ".join([*parts, *inside]) or "0"

    def by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call that are not None, by name."""
        given = dict(zip(self.arguments, args, strict=False)) | dict(kwargs)
        return {name: value for name, value in given.items() if value is not None}

    def notes(self, layer: LayerSpec) -> list[str]:
        """Return lines for `describe`: the equations, and their peculiarities."""
        return []

    @abstractmethod
    def call(self, run: Run, layer: LayerSpec, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the layer.

        Parameters
        ----------
        run : Run
            The evaluation that calls the layer.
        layer : LayerSpec
            The layer, with weights in the dtype to compute in.
        *args, **kwargs
            The `arguments`: arrays or structures of arrays. ``mask`` is
            (batch, time) of bool or None, in the structure of the inputs.

        Returns
        -------
        An array or a structure of arrays.
        """

    def passes_masks(self, layer: LayerSpec) -> bool:
        """Return whether the output has a mask in the version that a layer follows."""
        ends = self.masks_may_end and VersionRule.LOOP_ENDS_MASK in layer.version_rules
        return self.supports_masking and not ends

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        """Return the mask of the output, for layers with `passes_masks`.

        Parameters
        ----------
        layer : LayerSpec
        inputs
            The first argument of the call: an array or a structure of arrays.
        mask
            The mask of that argument, or its masks in the same structure.
        """
        return mask


class Elementwise(LayerType):
    """Describe a layer whose output has the shape and the mask of its input."""

    supports_masking = True


def function_of(layer: LayerSpec, option: str = "activation") -> Activation:
    """Return the function that an option of a layer names, or the one in its place."""
    if option in layer.overrides:
        return layer.overrides[option]
    function = resolve(
        layer.options[option],
        exact=exact_constants(layer),
        paper=VersionRule.SPARSEMAX_OF_THE_PAPER in layer.version_rules,
    )
    arguments = getattr(function, "keywords", {})
    require_gentle_slope(layer, arguments.get("negative_slope", 0.0))
    return function


def refuse(layer: LayerSpec, limit: Limit) -> None:
    """Raise UnsupportedError if the layer's backend has this limit."""
    if limit in layer.rules:
        raise UnsupportedError(f"{layer}: {limit}")


def require_gentle_slope(layer: LayerSpec, slope: float) -> None:
    """Raise UnsupportedError for a leaky_relu that another backend computes anew."""
    if slope > 1:
        refuse(layer, Limit.LEAKY_RELU)


def exact_constants(layer: LayerSpec) -> bool:
    """Return whether a layer leaves constants unrounded; see `activations.constant`."""
    return Rule.EXACT_CONSTANTS in layer.rules


def as_float(x: Array, floatx: str) -> Array:
    """Return floats as they are, and whole numbers as floats of the default type."""
    return x if is_float(x) else x.astype(working(floatx))


def columns(gates: Sequence[str], units: int) -> str:
    """Write which columns belong to which gate: ``i 0:40, f 40:80, ...``."""
    return ", ".join(f"{g} {k * units}:{(k + 1) * units}" for k, g in enumerate(gates))
