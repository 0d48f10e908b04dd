"""Evaluate the layers that prepare images: resizing, cropping, contrast.

Those that change images at random do so in training only; predict returns their input.

Source: keras/src/layers/preprocessing/image_preprocessing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.convolution import channels_last, in_format
from verify.forward.layers.base import (
    DATA_FORMAT,
    LayerType,
    Option,
    Run,
    Unexpected,
    boolean,
    exact_constants,
    number,
    one_of,
    positive,
    refuse,
)
from verify.forward.layers.regularization import TrainingOnly
from verify.forward.resizing import INTERPOLATIONS, resized, resized_in_single
from verify.model.arrays import Array
from verify.model.backends import Limit, Rule
from verify.model.dtypes import POLICIES, dtype_of, is_float, rounded, working
from verify.model.spec import LayerSpec

BOXES = frozenset({"bounding_box_format"})
"""What says how boxes are written that may come with images; here none do."""


INTERPOLATION = Option(
    one_of(*INTERPOLATIONS), "nearest", supported=", ".join(INTERPOLATIONS)
)
"""Not lanczos3 and lanczos5: TensorFlow computes them in float32 by the sine of the
platform, whose last bit is not the same everywhere, so nothing could be proved."""


def range_of_values(value: Any) -> tuple[float, float]:
    """Read the least and the greatest value of a pixel, in either order."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise Unexpected("two numbers")
    low, high = sorted(number(item) for item in value)
    return low, high


def interpolated(
    layer: LayerSpec,
    x: Array,
    size: tuple[int, int],
    interpolation: str = "bilinear",
    *,
    antialias: bool = False,
) -> Array:
    """Resize images as the backend of a layer does.

    Parameters
    ----------
    layer : LayerSpec
    x : (batch, rows, columns, channels)
    size : new numbers of rows and columns

    Returns
    -------
    (batch, *size, channels); on TensorFlow in float32, unless it is nearest
    """
    if exact_constants(layer):
        if not is_float(x) and interpolation != "nearest":
            refuse(layer, Limit.WHOLE_TO_FLOATS)
        edge_repeated = Rule.CUBIC_REPEATS_EDGE in layer.rules
        how = {"antialias": antialias, "edge_repeated": edge_repeated}
        return resized(x, size, interpolation, **how)
    return resized_in_single(x, size, interpolation, antialias=antialias)


def _images(layer: LayerSpec, x: Array) -> Array:
    """Return images with channels last.

    Raises
    ------
    ValueError
        They have more axes than four, or fewer.
    """
    if x.ndim != 4:
        raise ValueError("4 axes, rows first")
    return channels_last(x, layer.options["data_format"])


class Resizing(LayerType):
    """Resize images to ``height`` and ``width`` by interpolation.

    With ``crop_to_aspect_ratio`` what is too much of one side is cut off first, and
    with ``pad_to_aspect_ratio`` what the other side lacks is added first, at both ends
    alike. Whole numbers are rounded again, and stay in the range of their dtype, but
    not on TensorFlow: predict resizes them as floats.

    Source: keras/src/layers/preprocessing/image_preprocessing/resizing.py.
    """

    class_name = "Resizing"
    inert = BOXES
    casts_outputs = False
    options: ClassVar[Mapping[str, Option]] = {
        "height": Option(positive),
        "width": Option(positive),
        "interpolation": replace(INTERPOLATION, default="bilinear"),
        "crop_to_aspect_ratio": Option(boolean, False),
        "pad_to_aspect_ratio": Option(boolean, False),
        "fill_mode": Option(one_of("constant"), "constant", supported="constant"),
        "fill_value": Option(number, 0.0),
        "antialias": Option(boolean, False),
        "data_format": DATA_FORMAT,
    }

    def check(self, where: str, layer: LayerSpec) -> None:
        if all(layer.options[f"{k}_to_aspect_ratio"] for k in ("crop", "pad")):
            raise UnsupportedError(
                f"{where}: expected crop_to_aspect_ratio or pad_to_aspect_ratio. "
                "Received: both"
            )

    def notes(self, layer: LayerSpec) -> list[str]:
        options = layer.options
        how = " antialiased" * options["antialias"]
        how += ", cropped first" * options["crop_to_aspect_ratio"]
        how += ", padded first" * options["pad_to_aspect_ratio"]
        size = f"{options['height']} x {options['width']}"
        return [f"y = x resized to {size}, {options['interpolation']}{how}"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        options = layer.options
        if Rule.RESIZED_STAYS_WHOLE not in layer.rules:
            compute = POLICIES[layer.policy].compute
            inputs = rounded(inputs.astype(dtype_of(compute), copy=False), compute)
        x, size = _images(layer, inputs), (options["height"], options["width"])
        if options["crop_to_aspect_ratio"]:
            x = cropped_to(x, size)
        if options["pad_to_aspect_ratio"]:
            x = padded_to(x, size, options["fill_value"])
        how = {"antialias": options["antialias"]}
        y = interpolated(layer, x, size, options["interpolation"], **how)
        return in_format(_as_input(layer, y, inputs), options["data_format"])


def _as_input(layer: LayerSpec, y: Array, inputs: Array) -> Array:
    """Cast a result to the dtype of the input, whole numbers rounded and clipped."""
    if is_float(inputs):
        return rounded(y, POLICIES[layer.policy].compute).astype(inputs.dtype)
    if y.dtype == inputs.dtype:
        return y
    limits = np.iinfo(inputs.dtype)
    return np.clip(np.rint(y), limits.min, limits.max).astype(inputs.dtype)


def kept_sides(lengths: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the greatest sides in the ratio of `size` that fit into an image."""
    (rows, columns), (height, width) = lengths, size
    return (
        max(min(rows, columns * height // width), 1),
        max(min(columns, rows * width // height), 1),
    )


def cropped_to(x: Array, size: tuple[int, int]) -> Array:
    """Cut the middle out of images, in the ratio of `size`."""
    rows, columns = kept_sides((x.shape[1], x.shape[2]), size)
    top, left = (x.shape[1] - rows) // 2, (x.shape[2] - columns) // 2
    return x[:, top : top + rows, left : left + columns]


def padded_to(x: Array, size: tuple[int, int], value: float) -> Array:
    """Add as much at both ends of the shorter side as gives the ratio of `size`."""
    (rows, columns), (height, width) = x.shape[1:3], size
    above = (max(rows, columns * height // width) - rows) // 2
    beside = (max(columns, rows * width // height) - columns) // 2
    widths = [(0, 0), (above, above), (beside, beside), (0, 0)]
    return np.pad(x, widths, constant_values=x.dtype.type(value))


class CenterCrop(LayerType):
    """Cut ``height`` x ``width`` out of the middle of images.

    An image that is smaller than that is cut to their ratio, and resized.

    Source: keras/src/layers/preprocessing/image_preprocessing/center_crop.py.
    """

    class_name = "CenterCrop"
    inert = BOXES
    casts_outputs = False
    options: ClassVar[Mapping[str, Option]] = {
        "height": Option(positive),
        "width": Option(positive),
        "data_format": DATA_FORMAT,
    }

    def notes(self, layer: LayerSpec) -> list[str]:
        size = f"{layer.options['height']} x {layer.options['width']}"
        return [f"y = the middle {size} of x; a smaller image is resized, bilinear"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        options, compute = layer.options, POLICIES[layer.policy].compute
        x = _images(layer, inputs).astype(working(compute), copy=False)
        size = options["height"], options["width"]
        rows, columns = (x.shape[k + 1] - size[k] for k in (0, 1))
        if rows >= 0 and columns >= 0:
            top, left = rows // 2, columns // 2
            y = x[:, top : top + size[0], left : left + size[1]]
        elif _open_sides(layer):
            raise UnsupportedError(
                f"{layer}: expected images of {size[0]} x {size[1]} or more, because "
                f"the model leaves their sides open. Received: {x.shape[1:3]}"
            )
        else:
            y = interpolated(layer, cropped_to(x, size), size)
        return in_format(y, options["data_format"])


def _open_sides(layer: LayerSpec) -> bool:
    """Return whether a model leaves the sides of its images open.

    Keras then cuts an image that is too small as if it were not.
    """
    shape = layer.input_shape
    return isinstance(shape, tuple) and None in shape[1:]


class AutoContrast(LayerType):
    """Stretch each channel of an image to the whole range of values.

    ::

        y = (x - min(x)) * (high - low) / (max(x) - min(x)) + low

    where low and high are ``value_range``. A channel of one value stays as it is.

    Source: keras/src/layers/preprocessing/image_preprocessing/auto_contrast.py.
    """

    class_name = "AutoContrast"
    inert = BOXES | {"data_format"}
    options: ClassVar[Mapping[str, Option]] = {
        "value_range": Option(range_of_values, (0.0, 255.0))
    }

    def notes(self, layer: LayerSpec) -> list[str]:
        low, high = layer.options["value_range"]
        return [f"y = x, each channel stretched from {low} to {high}"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        if inputs.ndim != 4:
            raise ValueError("4 axes, rows first")
        compute = POLICIES[layer.policy].compute
        low, high = layer.options["value_range"]
        x = inputs.astype(working(compute), copy=False)
        wide = (low, high) != (0, 255)
        if wide:
            x = (x - low) / (high - low) * 255
        least, most = (f(x, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
        scale = 255 / (most - least)
        y = np.clip(x * scale - least * scale, 0, 255)
        if wide:
            y = y / 255 * (high - low) + low
        return np.where(np.isnan(y), inputs.astype(y.dtype), y)


class ImageAugmentation(TrainingOnly):
    """Return images unchanged, in the dtype that the layer computes in."""

    supports_masking = False
    returns_input = "cast"

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        compute = POLICIES[layer.policy].compute
        return rounded(inputs.astype(working(compute), copy=False), compute)


class UncastAugmentation(TrainingOnly):
    """Return images unchanged; whole numbers stay whole numbers."""

    supports_masking = False
    returns_input = "cast"


def _unchanged(
    base: type[TrainingOnly], class_name: str, options: str
) -> type[LayerType]:
    """Return the layer type of a class whose options are all without effect."""
    inert = frozenset(options.split()) | BOXES | {"data_format"}
    doc = f"Return the input unchanged.\n\nSource: the module of {class_name} in Keras."
    return type(
        class_name, (base,), {"class_name": class_name, "inert": inert, "__doc__": doc}
    )


CAST: Mapping[str, str] = {
    "AugMix": "value_range num_chains chain_depth factor alpha all_ops interpolation "
    "seed",
    "CutMix": "factor seed",
    "RandAugment": "value_range num_ops factor interpolation seed",
    "RandomElasticTransform": "factor scale interpolation fill_mode fill_value "
    "value_range seed",
    "RandomErasing": "factor scale fill_value value_range seed",
    "RandomFlip": "mode seed",
    "RandomGaussianBlur": "factor kernel_size sigma value_range seed",
    "RandomPerspective": "factor scale interpolation fill_value seed",
    "RandomRotation": "factor fill_mode interpolation fill_value seed value_range",
    "RandomSharpness": "factor value_range seed",
    "RandomShear": "x_factor y_factor fill_mode interpolation fill_value seed",
    "RandomTranslation": "height_factor width_factor fill_mode interpolation "
    "fill_value seed",
    "RandomZoom": "height_factor width_factor fill_mode interpolation fill_value seed",
    "Solarization": "value_range addition_factor threshold_factor seed",
}
"""Class -> its options, for those that cast whole numbers in predict."""

UNCAST: Mapping[str, str] = {
    "MaxNumBoundingBoxes": "max_number",
    "MixUp": "alpha seed",
    "RandomBrightness": "factor value_range seed",
    "RandomColorDegeneration": "factor value_range seed",
    "RandomColorJitter": "value_range brightness_factor contrast_factor "
    "saturation_factor hue_factor seed",
    "RandomContrast": "factor value_range seed",
    "RandomCrop": "height width seed",
    "RandomGrayscale": "factor seed",
    "RandomHue": "factor value_range seed",
    "RandomInvert": "factor value_range seed",
    "RandomPosterization": "factor value_range seed",
    "RandomSaturation": "factor value_range seed",
}
"""Class -> its options, for those that return their very input in predict."""

KINDS: tuple[type[LayerType], ...] = (
    Resizing,
    CenterCrop,
    AutoContrast,
    *(_unchanged(ImageAugmentation, name, given) for name, given in CAST.items()),
    *(_unchanged(UncastAugmentation, name, given) for name, given in UNCAST.items()),
)
"""The layer types of this module, for the registry."""
