"""Evaluate the layers that scale by statistics: BatchNormalization and others.

Layers with a `gamma` and a `beta` compute in float32 at least, whatever the dtype of
their input, and keep their weights in full precision under a mixed policy. The
arithmetic has the order of Keras: one factor, one summand, then
``x * factor + summand``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.forward.layers.base import (
    Elementwise,
    LayerType,
    Option,
    Run,
    Unexpected,
    axes,
    axis,
    boolean,
    from_front,
    integer,
    number,
    positive,
    refuse,
    weight_settings,
)
from verify.forward.recordable import as_array
from verify.model.arrays import Array
from verify.model.backends import Limit, Rule
from verify.model.dtypes import POLICIES, is_float, rounded, working
from verify.model.spec import LayerSpec

_SETTINGS = weight_settings("gamma", "beta")

Shapes = Mapping[str, tuple[int | None, ...]]


def groups(value: Any) -> int:
    """Read a number of groups; -1 stands for one group for each position."""
    if integer(value) < 1 and value != -1:
        raise Unexpected("a whole number, 1 or more, or -1")
    return int(value)


def at_least_float32(x: Array) -> Array:
    """Return 16-bit and whole numbers as float32, and other floats unchanged."""
    return x if is_float(x) and x.dtype.itemsize >= 4 else x.astype(np.float32)


def as_it_came(y: Array, inputs: Array, compute: str) -> Array:
    """Return a result in the dtype of the input, and then as floats.

    Keras casts twice like this. If the input is whole numbers the result is truncated,
    and if it has 16 bits the result is rounded to 16 bits.
    """
    y = y.astype(inputs.dtype, copy=False)
    return y if is_float(y) else y.astype(working(compute))


def unit_length(x: Array, over: Any, smallest: float, compute: str) -> Array:
    """Divide by the length, ``x * min(1 / sqrt(sum(x ** 2)), 1 / smallest)``.

    Every operation is rounded to the compute dtype, because 16 bits overflow: in
    float16 ``1 / smallest`` is infinite, and a row of zeros times it becomes NaN.

    Parameters
    ----------
    x : array
    over : int or tuple of int
        The axes of the sum.
    smallest : float
        The least length that is divided by.
    compute : str
        The compute dtype.
    """
    if not is_float(x):
        raise ValueError("whole numbers have no length in Keras")
    total = rounded(np.sum(rounded(x * x, compute), axis=over, keepdims=True), compute)
    greatest = rounded(np.asarray(1 / smallest, dtype=x.dtype), compute)
    return x * np.minimum(rounded(1 / np.sqrt(total), compute), greatest)


class Normalizing(LayerType):
    """Normalise, and apply ``* gamma + beta``; the base of the layers that do both."""

    options: ClassVar[Mapping[str, Option]] = {
        "epsilon": Option(number, 1e-3),
        "center": Option(boolean, True),
        "scale": Option(boolean, True),
    }
    inert = _SETTINGS
    supports_masking = True
    full_precision = True
    shown_by_weights = frozenset({"center", "scale"})

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        shape = (None,) * self.rank(options)
        wanted = {"gamma": options["scale"], "beta": options["center"]}
        return {key: shape for key, there in wanted.items() if there}

    def rank(self, options: Mapping[str, Any]) -> int:
        """Return how many axes gamma and beta have."""
        return 1

    def notes(self, layer: LayerSpec) -> list[str]:
        mean, variance, over = self.statistics(layer)
        root = f"sqrt({variance} + {layer.options['epsilon']:g})"
        gamma = " * gamma" if "gamma" in layer.weights else ""
        beta = " + beta" if "beta" in layer.weights else ""
        return [f"y = (x - {mean}) / {root}{gamma}{beta}", over]

    @abstractmethod
    def statistics(self, layer: LayerSpec) -> tuple[str, str, str]:
        """Return names of the mean and of the variance, and over which axes they are.

        All three are texts for `describe`.
        """

    def scaled(
        self,
        layer: LayerSpec,
        x: Array,
        mean: Array,
        variance: Array,
        shape: tuple[int, ...],
    ) -> Array:
        """Compute ``(x - mean) / sqrt(variance + epsilon) * gamma + beta``.

        Parameters
        ----------
        layer : LayerSpec
        x, mean, variance : array
            Mean and variance broadcast to `x`.
        shape : tuple of int
            The shape in which gamma and beta broadcast to `x`.
        """
        factor = 1 / np.sqrt(variance + layer.options["epsilon"])
        if "gamma" in layer.weights:
            gamma = layer.weights["gamma"].astype(x.dtype, copy=False)
            factor = factor * gamma.reshape(shape)
        summand = -mean * factor
        if "beta" in layer.weights:
            beta = layer.weights["beta"].astype(x.dtype, copy=False)
            summand = summand + beta.reshape(shape)
        return x * factor + summand


class BatchNormalization(Normalizing):
    """Normalise each position of an axis by statistics stored in training.

    ::

        y = (x - moving_mean) / sqrt(moving_variance + epsilon) * gamma + beta

    A mask has no effect in predict. With ``renorm`` three more weights are stored,
    which predict does not use.

    Source: keras/src/layers/normalization/batch_normalization.py.
    """

    class_name = "BatchNormalization"
    options: ClassVar[Mapping[str, Option]] = {
        "axis": Option(axis, -1),
        **Normalizing.options,
        "renorm": Option(boolean, False),
    }
    inert = (
        _SETTINGS
        | {"moving_mean_initializer", "moving_variance_initializer"}
        | {"momentum", "synchronized", "renorm_clipping", "renorm_momentum"}
    )
    arguments = ("inputs", "mask")
    shown_by_weights = frozenset({"center", "scale", "renorm"})

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        stored = ["moving_mean", "moving_variance"]
        if options["renorm"]:
            stored += ["moving_stddev", "renorm_mean", "renorm_stddev"]
        return {**super().weight_shapes(options), **dict.fromkeys(stored, (None,))}

    def non_trainable(self, options: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(self.weight_shapes(options)) - {"gamma", "beta"}

    def statistics(self, layer: LayerSpec) -> tuple[str, str, str]:
        over = f"one of each per position of axis {layer.options['axis']}"
        unused = "; renorm's weights are for training" * layer.options["renorm"]
        return "moving_mean", "moving_variance", over + unused

    def call(
        self, run: Run, layer: LayerSpec, inputs: Array, mask: Array | None = None
    ) -> Array:
        if mask is not None and mask.ndim != inputs.ndim - 1:
            raise ValueError(f"a mask with {inputs.ndim - 1} axes, not {mask.ndim}")
        x = at_least_float32(inputs)
        (position,) = from_front((layer.options["axis"],), x.ndim)
        shape = tuple(-1 if k == position else 1 for k in range(x.ndim))
        mean, variance = (
            layer.weights[key].astype(x.dtype, copy=False).reshape(shape)
            for key in ("moving_mean", "moving_variance")
        )
        if Rule.CENTRES_FIRST in layer.rules:
            x, mean = x - mean, np.zeros_like(mean)
        return self.scaled(layer, x, mean, variance, shape)


class LayerNormalization(Normalizing):
    """Normalise each row by its own mean and variance over some axes.

    ::

        y = (x - mean(x)) / sqrt(var(x) + epsilon) * gamma + beta
        y = x / sqrt(var(x) + epsilon) * gamma                   with rms_scaling

    The variance is about the mean in both. The input is not cast, and the result is
    rounded to the dtype of the input, even if that is whole numbers.

    Source: keras/src/layers/normalization/layer_normalization.py.
    """

    class_name = "LayerNormalization"
    options: ClassVar[Mapping[str, Option]] = {
        "axis": Option(axes, (-1,)),
        **Normalizing.options,
        "rms_scaling": Option(boolean, False),
    }
    autocast = False

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        if options["rms_scaling"]:
            options = {**options, "scale": True, "center": False}
        return super().weight_shapes(options)

    def rank(self, options: Mapping[str, Any]) -> int:
        return len(options["axis"])

    def statistics(self, layer: LayerSpec) -> tuple[str, str, str]:
        over = f"mean and variance of each row over {_named(layer.options['axis'])}"
        return "0" if layer.options["rms_scaling"] else "mean(x)", "var(x)", over

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        x = at_least_float32(inputs)
        named = sorted(layer.options["axis"])
        if not layer.options["rms_scaling"]:
            named = _really_over(layer, x, named)
        over = from_front(named, x.ndim)
        mean = np.mean(x, axis=over, keepdims=True)
        fused = Limit.OTHER_AXES in layer.rules and _neighbours(named)
        if fused or layer.options["rms_scaling"]:
            variance = np.mean(np.square(x - mean), axis=over, keepdims=True)
        else:
            variance = _variance(layer, x, mean, over)
        if layer.options["rms_scaling"]:
            mean = np.zeros_like(mean)
        shape = tuple(size if k in over else 1 for k, size in enumerate(x.shape))
        y = self.scaled(layer, x, mean, variance, shape)
        return as_it_came(y, inputs, POLICIES[layer.policy].compute)


class GroupNormalization(Normalizing):
    """Normalise each group of positions in a row by its own mean and variance.

    ::

        y = (x - mean(x)) / sqrt(var(x) + epsilon) * gamma + beta

    ``axis`` is cut into ``groups``, -1 for one group for each position. Mean and
    variance are taken over a group and over all other axes of the row.

    Source: keras/src/layers/normalization/group_normalization.py.
    """

    class_name = "GroupNormalization"
    options: ClassVar[Mapping[str, Option]] = {
        "groups": Option(groups, 32),
        "axis": Option(axis, -1),
        **Normalizing.options,
    }
    autocast = False

    def statistics(self, layer: LayerSpec) -> tuple[str, str, str]:
        many, cut = layer.options["groups"], layer.options["axis"]
        each = f"each of the {many} groups" if many > 0 else "each position"
        over = f"mean and variance of {each} of axis {cut}, over all else in a row"
        return "mean(x)", "var(x)", over

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        x = at_least_float32(inputs)
        (cut,) = from_front((layer.options["axis"],), x.ndim)
        many = layer.options["groups"]
        many = x.shape[cut] if many == -1 else many
        parts = (many, x.shape[cut] // many)
        x = x.reshape(*x.shape[:cut], *parts, *x.shape[cut + 1 :])
        over = tuple(k for k in range(1, x.ndim) if k != cut)
        mean = np.mean(x, axis=over, keepdims=True)
        variance = _variance(layer, x, mean, over)
        shape = tuple(s if k in (cut, cut + 1) else 1 for k, s in enumerate(x.shape))
        y = self.scaled(layer, x, mean, variance, shape)
        y = y.reshape(inputs.shape)
        return as_it_came(y, inputs, POLICIES[layer.policy].compute)


class RMSNormalization(LayerType):
    """Compute ``y = x / sqrt(mean(x ** 2) + epsilon) * scale``, mean over some axes.

    Keras multiplies the last axes by ``scale``, whatever ``axis`` is; with other axes
    it works only if the sizes happen to agree. The output has no mask.

    Source: keras/src/layers/normalization/rms_normalization.py.
    """

    class_name = "RMSNormalization"
    options: ClassVar[Mapping[str, Option]] = {
        "axis": Option(axes, (-1,)),
        "epsilon": Option(number, 1e-6),
    }

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        return {"scale": (None,) * len(options["axis"])}

    def notes(self, layer: LayerSpec) -> list[str]:
        epsilon, over = layer.options["epsilon"], _named(layer.options["axis"])
        root = f"sqrt(mean(x ** 2) + {epsilon:g})"
        return [f"y = x / {root} * scale, mean over {over}; masks end here"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        x = at_least_float32(inputs)
        over = from_front(_really_over(layer, x, sorted(layer.options["axis"])), x.ndim)
        square = np.mean(x * x, axis=over, keepdims=True)
        y = x * (1 / np.sqrt(square + layer.options["epsilon"]))
        scale = layer.weights["scale"].astype(x.dtype, copy=False)
        return (y * scale).astype(inputs.dtype)


class UnitNormalization(Elementwise):
    """Compute ``y = x / sqrt(sum(x ** 2))`` over some axes.

    Zeros stay zeros, except in float16; see `unit_length`.

    Source: keras/src/layers/normalization/unit_normalization.py.
    """

    class_name = "UnitNormalization"
    options: ClassVar[Mapping[str, Option]] = {"axis": Option(axes, (-1,))}

    def notes(self, layer: LayerSpec) -> list[str]:
        over = _named(layer.options["axis"])
        return [f"y = x / sqrt(sum(x ** 2)), sum over {over}"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        over = from_front(layer.options["axis"], inputs.ndim)
        return unit_length(inputs, over, 1e-12, POLICIES[layer.policy].compute)


class LayerScale(LayerType):
    """Compute ``y = x * gamma``, one factor for each position of the last axis.

    Keras has the class not among its layers, but in the models that it calls
    ConvNeXt. The output has no mask.

    Source: keras/src/applications/convnext.py.
    """

    class_name = "LayerScale"
    options: ClassVar[Mapping[str, Option]] = {"projection_dim": Option(positive)}
    inert = frozenset({"init_values"})
    shown_by_weights = frozenset({"projection_dim"})

    def weight_shapes(self, options: Mapping[str, Any]) -> Shapes:
        return {"gamma": (options["projection_dim"],)}

    def notes(self, layer: LayerSpec) -> list[str]:
        return ["y = x * gamma, one per position of axis -1; masks end here"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        gamma = layer.weights["gamma"]
        return inputs.astype(gamma.dtype, copy=False) * gamma


def _variance(layer: LayerSpec, x: Array, mean: Array, over: tuple[int, ...]) -> Array:
    """Return the variance over some axes, as the layer's backend computes it."""
    if Rule.VARIANCE_OF_SQUARES in layer.rules:
        squares = np.mean(np.square(x), axis=over, keepdims=True)
        return as_array(squares - np.square(mean))
    return as_array(np.mean(np.square(x - mean), axis=over, keepdims=True))


def _neighbours(axes: list[int]) -> bool:
    """Return whether sorted axes follow one another."""
    return axes == list(range(axes[0], axes[0] + len(axes)))


def _really_over(layer: LayerSpec, x: Array, over: list[int]) -> list[int]:
    """Return the axes that are normalised on the layer's backend; see `Rule`.

    Parameters
    ----------
    layer : LayerSpec
    x : array
    over : list of int
        The axes that the config names, sorted.
    """
    if Rule.NORMALIZES_LAST_AXES not in layer.rules or not _neighbours(over):
        return over
    last = list(range(x.ndim - len(over), x.ndim))
    sizes = [x.shape[k] for k in over]
    shapes = [
        [x.shape[k] for k in last],
        *(list(w.shape) for w in layer.weights.values()),
    ]
    if any(shape != sizes for shape in shapes):
        refuse(layer, Limit.OTHER_AXES)
    return last


def _named(over: tuple[int, ...]) -> str:
    return f"{'axis' if len(over) == 1 else 'axes'} {', '.join(map(str, over))}"


KINDS: tuple[type[LayerType], ...] = (
    BatchNormalization,
    LayerNormalization,
    RMSNormalization,
    GroupNormalization,
    UnitNormalization,
    LayerScale,
)
"""The layer types of this module, for the registry."""
