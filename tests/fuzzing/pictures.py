"""One image or volume for each row of a random model, and what augments images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fuzzing.generator import Maker
from fuzzing.images import Image, Layer, convolution, depthwise, pooling, transposed

RANGE = {"value_range": (0, 1)}
AUGMENTING: tuple[tuple[str, dict[str, Any]], ...] = (
    ("AugMix", RANGE),
    ("CutMix", {"factor": 0.5}),
    ("MaxNumBoundingBoxes", {"max_number": 3}),
    ("MixUp", {"alpha": 0.3}),
    ("RandAugment", RANGE),
    ("RandomBrightness", {"factor": 0.3, **RANGE}),
    ("RandomColorDegeneration", {"factor": 0.3, **RANGE}),
    ("RandomColorJitter", {"hue_factor": 0.5, **RANGE}),
    ("RandomContrast", {"factor": 0.4}),
    ("RandomElasticTransform", {"factor": 0.5}),
    ("RandomErasing", {"factor": 0.5}),
    ("RandomFlip", {"mode": "horizontal"}),
    ("RandomGaussianBlur", {"factor": 0.5}),
    ("RandomGrayscale", {"factor": 0.5}),
    ("RandomHue", {"factor": 0.2, **RANGE}),
    ("RandomInvert", {"factor": 0.5}),
    ("RandomPerspective", {"factor": 0.5}),
    ("RandomPosterization", {"factor": 3}),
    ("RandomRotation", {"factor": 0.2, "interpolation": "nearest"}),
    ("RandomSaturation", {"factor": 0.4, **RANGE}),
    ("RandomSharpness", {"factor": 0.4, **RANGE}),
    ("RandomShear", {"x_factor": 0.2}),
    ("RandomTranslation", {"height_factor": 0.2, "width_factor": 0.1}),
    ("RandomZoom", {"height_factor": 0.2}),
    ("Solarization", {"addition_factor": 0.3}),
)
"""Layers that leave images as they are in predict, with options of theirs."""

COLOURED = ("Color", "Grayscale", "Hue", "Saturation", "RandAugment", "AugMix")
OF_ANY_CHANNELS = tuple(
    (name, options)
    for name, options in AUGMENTING
    if not any(word in name for word in COLOURED)
)


def picture(m: Maker, x: str) -> None:
    """Make one image of a vector, send it through layers, and end in a vector."""
    sides: Image = m.pick((3, 4), (4, 5), (5, 3), (2, 3, 4), (3, 2, 2))
    shape: Image = (*sides, m.pick(1, 2, 3, 3))
    size = math.prod(shape)
    (wide,) = m.emit(f"layers.Dense({size})({x})", (size,), uses=(x,))
    (y,) = m.emit(f"layers.Reshape({shape})({wide})", shape, uses=(wide,))
    makes = [_layer] * m.pick(1, 2, 3)
    if len(shape) == 3:
        makes += [_augmented] * m.pick(0, 1, 2, 3)
    for make in makes:
        name, options, after = make(m, shape)
        if min(after) < 1 or max(after) > 12:
            continue
        (y,) = m.emit(f"layers.{name}({{options}})({y})", after, uses=(y,),
                      options=options, like=y if after == shape else "")  # fmt: skip
        shape = after
    rank = len(shape) - 1
    ending = m.pick("Flatten", f"GlobalMaxPooling{rank}D",
                    f"GlobalAveragePooling{rank}D")  # fmt: skip
    width = math.prod(shape) if ending == "Flatten" else shape[-1]
    (flat,) = m.emit(f"layers.{ending}()({y})", (width,), uses=(y,))
    if width > 12:
        m.emit(f"layers.Dense(3)({flat})", (3,), uses=(flat,))


def _layer(m: Maker, shape: Image) -> Layer:
    kinds: list[Callable[[Maker, Image], Layer]] = [
        convolution, transposed, pooling, _sized, _adaptive, _normalized,
    ]  # fmt: skip
    if len(shape) == 3:
        kinds += [depthwise, _contrasted]
    return m.pick(*kinds)(m, shape)


def _augmented(m: Maker, shape: Image) -> Layer:
    known = AUGMENTING if shape[-1] == 3 else OF_ANY_CHANNELS
    name, options = m.pick(*known, ("RandomCrop", None))
    if options is None:  # another size than its own is not what it says it is
        options = {"height": shape[0], "width": shape[1]}
    return name, options, shape


def _contrasted(m: Maker, shape: Image) -> Layer:
    return "AutoContrast", {"value_range": m.pick((0, 1), (-1, 2))}, shape


def _normalized(m: Maker, shape: Image) -> Layer:
    rank, channels = len(shape) - 1, shape[-1]
    name, options = m.pick(
        (f"SpatialDropout{rank}D", {"rate": 0.3}),
        ("BatchNormalization", {"epsilon": 0.02, "center": m.chance(0.5)}),
        ("LayerNormalization", {"axis": m.pick(-1, (1, 2))}),
        ("GroupNormalization", {"groups": m.pick(1, channels)}),
        ("PReLU", {"shared_axes": list(range(1, rank + 1))}),
        ("Normalization", {"mean": 0.3, "variance": 1.2}),
    )
    return name, options, shape


def _adaptive(m: Maker, shape: Image) -> Layer:
    size = tuple(m.pick(1, 2, 3) for _ in shape[:-1])
    name = m.pick("AdaptiveMaxPooling", "AdaptiveAveragePooling")
    if len(size) == 3 and "Max" in name:
        # TensorFlow ends with the process where Keras asks for windows over an edge
        size = tuple(m.pick(2, 3) for _ in size)
        name = name if min(shape[:-1]) > 1 else "AdaptiveAveragePooling"
    return f"{name}{len(size)}D", {"output_size": size}, (*size, shape[-1])


def _sized(m: Maker, shape: Image) -> Layer:
    """Crop, pad, repeat or resize."""
    sides, channels = shape[:-1], shape[-1]
    rank = len(sides)
    kind = m.pick("crop", "pad", "up", *["resize", "centre"] * (rank == 2))
    if kind == "crop":
        widths = tuple(m.pick((1, 0), (0, 1), (0, 0)) for _ in sides)
        left = tuple(n - sum(w) for n, w in zip(sides, widths, strict=True))
        return f"Cropping{rank}D", {"cropping": widths}, (*left, channels)
    if kind == "pad":
        widths = tuple(m.pick((1, 0), (0, 2), (0, 0)) for _ in sides)
        left = tuple(n + sum(w) for n, w in zip(sides, widths, strict=True))
        return f"ZeroPadding{rank}D", {"padding": widths}, (*left, channels)
    if kind == "up":
        size = tuple(m.pick(1, 2) for _ in sides)
        left = tuple(n * k for n, k in zip(sides, size, strict=True))
        return f"UpSampling{rank}D", {"size": size}, (*left, channels)
    high, wide = m.pick(2, 3, 5), m.pick(2, 4)
    options: dict[str, Any] = {"height": high, "width": wide}
    if kind == "centre":
        return "CenterCrop", options, (high, wide, channels)
    options["interpolation"] = m.pick("nearest", "bilinear", "bicubic")
    if m.chance(0.3):
        options[m.pick("crop_to_aspect_ratio", "pad_to_aspect_ratio")] = True
    return "Resizing", options, (high, wide, channels)
