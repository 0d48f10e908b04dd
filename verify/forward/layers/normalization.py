"""BatchNormalization and its kin: values brought to a common scale by statistics.

Those with a `gamma` and a `beta` compute in float32 at least, whatever comes in, and
keep their weights in full precision under a mixed policy. The order of the arithmetic
is that of Keras: one factor, one summand, then ``x * factor + summand``.
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
    weight_settings,
)
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, is_float, rounded, working
from verify.model.spec import LayerSpec

_SETTINGS = weight_settings("gamma", "beta")

Shapes = Mapping[str, tuple[int | None, ...]]


def groups(value: Any) -> int:
    """Read a number of groups; -1 stands for as many as there are positions."""
    if integer(value) < 1 and value != -1:
        raise Unexpected("a whole number, 1 or more, or -1")
    return int(value)


def at_least_float32(x: Array) -> Array:
    """Return 16-bit numbers and whole numbers as float32."""
    return x if is_float(x) and x.dtype.itemsize >= 4 else x.astype(np.float32)


def as_it_came(y: Array, inputs: Array, compute: str) -> Array:
    """Return a result in the dtype of the input; Keras casts it to floats from there.

    So whole numbers are cut, and a 16-bit input has a 16-bit result.
    """
    y = y.astype(inputs.dtype, copy=False)
    return y if is_float(y) else y.astype(working(compute))


def unit_length(x: Array, over: Any, smallest: float, compute: str) -> Array:
    """``x * min(1 / sqrt(sum(x ** 2)), 1 / smallest)`` over axes, in a compute dtype.

    Every step is rounded, because in 16 bits some overflow: in float16 a row of zeros
    becomes NaN, 0 times an infinite factor.
    """
    if not is_float(x):
        raise ValueError("whole numbers have no length in Keras")
    total = rounded(np.sum(rounded(x * x, compute), axis=over, keepdims=True), compute)
    greatest = rounded(np.asarray(1 / smallest, dtype=x.dtype), compute)
    return x * np.minimum(rounded(1 / np.sqrt(total), compute), greatest)


class Normalizing(LayerType):
    """Hold what the layers share that end in ``* gamma + beta``."""

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
        """Name the mean and the variance, and say over what they are taken."""

    def scaled(
        self,
        layer: LayerSpec,
        x: Array,
        mean: Array,
        variance: Array,
        shape: tuple[int, ...],
    ) -> Array:
        """Compute ``(x - mean) / sqrt(variance + epsilon) * gamma + beta``.

        ``shape`` is the one in which gamma and beta fit onto `x`.
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
    """``y = (x - moving_mean) / sqrt(moving_variance + epsilon) * gamma + beta``.

    The statistics are those stored in training; a mask plays no part in predict. With
    ``renorm`` three more weights are stored, which predict does not use.

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
        return self.scaled(layer, x, mean, variance, shape)


class LayerNormalization(Normalizing):
    """``y = (x - mean(x)) / sqrt(var(x) + epsilon) * gamma + beta`` over some axes.

    ``rms_scaling`` leaves out the mean and beta: ``y = x / sqrt(var(x) + epsilon) *
    gamma``, with the variance about the mean all the same. The input is taken in the
    dtype it comes in, and the result is rounded to that dtype, whole numbers included.

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
        over = from_front(sorted(layer.options["axis"]), x.ndim)
        mean = np.mean(x, axis=over, keepdims=True)
        variance = np.mean(np.square(x - mean), axis=over, keepdims=True)
        if layer.options["rms_scaling"]:
            mean = np.zeros_like(mean)
        shape = tuple(size if k in over else 1 for k, size in enumerate(x.shape))
        y = self.scaled(layer, x, mean, variance, shape)
        return as_it_came(y, inputs, POLICIES[layer.policy].compute)


class GroupNormalization(Normalizing):
    """``y = (x - mean(x)) / sqrt(var(x) + epsilon) * gamma + beta`` group by group.

    ``axis`` is cut into ``groups``; mean and variance are those of one group in one
    row, over every other axis as well. As many groups as positions are also ``-1``.

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
        variance = np.mean(np.square(x - mean), axis=over, keepdims=True)
        shape = tuple(s if k in (cut, cut + 1) else 1 for k, s in enumerate(x.shape))
        y = self.scaled(layer, x, mean, variance, shape)
        y = y.reshape(inputs.shape)
        return as_it_came(y, inputs, POLICIES[layer.policy].compute)


class RMSNormalization(LayerType):
    """``y = x / sqrt(mean(x ** 2) + epsilon) * scale`` over some axes; masks end here.

    Keras lays ``scale`` onto the last axes whatever ``axis`` says, so with others it
    works only where the sizes happen to agree.

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
        over = from_front(layer.options["axis"], x.ndim)
        square = np.mean(x * x, axis=over, keepdims=True)
        y = x * (1 / np.sqrt(square + layer.options["epsilon"]))
        scale = layer.weights["scale"].astype(x.dtype, copy=False)
        return (y * scale).astype(inputs.dtype)


class UnitNormalization(Elementwise):
    """``y = x / sqrt(sum(x ** 2))`` over some axes; zeros stay zeros, but in float16.

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


def _named(over: tuple[int, ...]) -> str:
    return f"{'axis' if len(over) == 1 else 'axes'} {', '.join(map(str, over))}"


KINDS: tuple[type[LayerType], ...] = (
    BatchNormalization,
    LayerNormalization,
    RMSNormalization,
    GroupNormalization,
    UnitNormalization,
)
"""What of this module stands in the registry."""
