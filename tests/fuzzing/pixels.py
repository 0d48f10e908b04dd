"""Layers of images in random models: windows, sizes, and what predict leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuzzing.generator import Maker

Sides = tuple[int, ...]


def images(m: Maker, x: str) -> None:
    """Make pixels of the features of each step, and a sequence of vectors again."""
    time = m.shapes[x][0]
    if time is None:
        return
    sides: Sides = (m.pick(2, 3, 4), m.pick(2, 3, 5))
    channels = m.pick(1, 2)
    numbers = sides[0] * sides[1] * channels
    (wide,) = m.emit(f"layers.Dense({numbers})({x})", (time, numbers), uses=(x,))
    first = m.chance(0.2)
    shape = (channels, *sides) if first else (*sides, channels)
    (y,) = m.emit(f"layers.Reshape({(time, *shape)})({wide})", (time, *shape),
                  uses=(wide,))  # fmt: skip
    for _ in range(m.pick(1, 2, 3)):
        over_time = m.chance(0.3) and not first
        name, options, sides = _volume(m, sides) if over_time else _image(m, sides)
        if first and not over_time:
            options["data_format"] = "channels_first"
        shape = (channels, *sides) if first else (*sides, channels)
        given = ", ".join(f"{k}={v!r}" for k, v in options.items())
        layer = f"layers.{name}({given})"
        layer = layer if over_time else f"layers.TimeDistributed({layer})"
        (y,) = m.emit(f"{layer}({y})", (time, *shape), uses=(y,))
    ending = m.pick("Flatten", "GlobalMaxPooling2D", "GlobalAveragePooling2D")
    given = "data_format='channels_first'" if first and ending != "Flatten" else ""
    size = shape[0] * shape[1] * shape[2] if ending == "Flatten" else channels
    m.emit(f"layers.TimeDistributed(layers.{ending}({given}))({y})", (time, size),
           uses=(y,))  # fmt: skip


def _windows(m: Maker, sides: Sides) -> tuple[dict[str, Any], Sides]:
    """Options of pooling that fits, and the sides that it leaves."""
    size = tuple(m.rng.randint(1, min(n, 3)) for n in sides)
    strides = m.pick(None, tuple(m.pick(1, 2) for _ in sides))
    padding = m.pick("same", "valid")
    steps = strides or size
    left = tuple(
        -(-n // s) if padding == "same" else (n - k) // s + 1
        for n, k, s in zip(sides, size, steps, strict=True)
    )
    return {"pool_size": size, "strides": strides, "padding": padding}, left


def _image(m: Maker, sides: Sides) -> tuple[str, dict[str, Any], Sides]:
    """A layer of images, its options and the sides of its output."""
    kind = m.pick("pool", "pool", "adaptive", "pad", "crop", "up", "resize", "centre",
                  "random")  # fmt: skip
    if kind == "pool":
        options, left = _windows(m, sides)
        return m.pick("MaxPooling2D", "AveragePooling2D"), options, left
    if kind == "adaptive":
        size = m.pick(1, 2), m.pick(1, 2)
        name = m.pick("AdaptiveMaxPooling2D", "AdaptiveAveragePooling2D")
        return name, {"output_size": size}, size
    if kind == "pad":
        widths = tuple((m.pick(0, 1), m.pick(0, 1, 2)) for _ in sides)
        left = tuple(n + sum(w) for n, w in zip(sides, widths, strict=True))
        return "ZeroPadding2D", {"padding": widths}, left
    if kind == "crop" and min(sides) > 1:
        widths = tuple(m.pick((1, 0), (0, 1), (0, 0)) for _ in sides)
        left = tuple(n - sum(w) for n, w in zip(sides, widths, strict=True))
        return "Cropping2D", {"cropping": widths}, left
    if kind == "up":
        size = m.pick(1, 2), m.pick(1, 2)
        how = m.pick("nearest", "nearest", "bilinear", "bicubic")
        left = tuple(n * k for n, k in zip(sides, size, strict=True))
        return "UpSampling2D", {"size": size, "interpolation": how}, left
    if kind == "resize":
        options = {
            "height": m.pick(1, 3, 5),
            "width": m.pick(2, 4),
            "interpolation": m.pick("nearest", "bilinear", "bicubic"),
            "antialias": m.chance(0.3),
        }
        if m.chance(0.3):
            options[m.pick("crop_to_aspect_ratio", "pad_to_aspect_ratio")] = True
        return "Resizing", options, (options["height"], options["width"])
    if kind == "centre":
        size = m.pick(1, 2, 3), m.pick(1, 2, 3)
        return "CenterCrop", {"height": size[0], "width": size[1]}, size
    name = m.pick("RandomFlip", "SpatialDropout2D", "RandomZoom")
    return name, {} if name == "RandomFlip" else {_factor(name): 0.3}, sides


def _factor(name: str) -> str:
    return {"SpatialDropout2D": "rate", "RandomZoom": "height_factor"}[name]


def _volume(m: Maker, sides: Sides) -> tuple[str, dict[str, Any], Sides]:
    """A layer over time and space that leaves time as it is."""
    kind = m.pick("pool", "pad", "up")
    if kind == "pool":
        options, left = _windows(m, sides)
        options["pool_size"] = (1, *options["pool_size"])
        if options["strides"]:
            options["strides"] = (1, *options["strides"])
        return m.pick("MaxPooling3D", "AveragePooling3D"), options, left
    if kind == "pad":
        width = m.pick((0, 1), (2, 0))
        left = (sides[0] + sum(width), sides[1])
        return "ZeroPadding3D", {"padding": ((0, 0), width, (0, 0))}, left
    return "UpSampling3D", {"size": (1, 2, 1)}, (sides[0] * 2, sides[1])
