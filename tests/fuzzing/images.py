"""Random stacks of layers over images: frames of a video, or one volume of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fuzzing.backends import BACKEND
from fuzzing.generator import Maker

Image = tuple[int, ...]
"""Height, width and channels; in front of them the steps of a volume."""

Layer = tuple[str, dict[str, Any], Image]
"""Class, options and the shape of the result."""


def _axes(m: Maker, count: int, *values: int) -> Any:
    """One number for all axes, or one for each."""
    same = m.chance(0.5)
    return m.pick(*values) if same else tuple(m.pick(*values) for _ in range(count))


def _each(value: Any, count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else value


def _windows(shape: Image, options: dict[str, Any]) -> list[int]:
    """The lengths behind a convolution or a pooling layer."""
    rank = len(shape) - 1
    size = _each(options.get("kernel_size", options.get("pool_size")), rank)
    strides = _each(options.get("strides", 1), rank)
    dilation = _each(options.get("dilation_rate", 1), rank)
    found = []
    for n, k, s, d in zip(shape, size, strides, dilation, strict=False):
        if options["padding"] == "same":
            found.append(-(-n // s))
        else:
            found.append((n - (k - 1) * d - 1) // s + 1)
    return found


def miscomputed(policy: str, shape: Image, options: dict[str, Any]) -> bool:
    """Tell whether TensorFlow computes other numbers in this convolution, or may.

    It does on processors with AVX-512, as
    findings/tensorflow-convolution-of-one-channel-avx512.sh shows. A model must not
    depend on the processor that makes it, so no model on TensorFlow has such a layer.

    Parameters
    ----------
    policy : str
        The dtype policy of the model. The kernels of float64 and float16 are right.
    shape : tuple of int
        Sides of the image, and its channels.
    options : dict of str to object
        Those of a Conv2D or Conv3D.
    """
    if BACKEND != "tensorflow" or policy not in ("float32", "mixed_bfloat16"):
        return False
    rank = len(shape) - 1
    kernel = _each(options["kernel_size"], rank)
    strides = _each(options.get("strides", 1), rank)
    height, width = _windows(shape, options)[-2:]
    return (
        shape[-1] == 1
        and (strides[-2], width) == (1, 1)
        and min(strides[-1], kernel[-1], height) > 1
    )


def convolution(m: Maker, shape: Image) -> Layer:
    """Conv2D or Conv3D, by the axes of the image."""
    rank, channels = len(shape) - 1, shape[-1]
    groups = m.pick(1, 1, channels)
    filters = groups * m.pick(1, 2)
    options = {
        "filters": filters,
        "kernel_size": _axes(m, rank, 1, 2, 3),
        "padding": m.pick("same", "same", "valid"),
        "use_bias": m.chance(0.8),
        m.pick("strides", "dilation_rate"): _axes(m, rank, 1, 1, 2),
    }
    if groups > 1:
        options["groups"] = groups
    if m.chance(0.5):
        options["activation"] = m.activation()
    if miscomputed(m.policy, shape, options):
        options["strides"] = 1
    return f"Conv{rank}D", options, (*_windows(shape, options), filters)


def depthwise(m: Maker, shape: Image) -> Layer:
    """DepthwiseConv2D or SeparableConv2D."""
    multiplier = m.pick(1, 2)
    step = m.pick(1, 1, 2)  # TensorFlow has the same for both axes only
    options = {
        "kernel_size": _axes(m, 2, 1, 2, 3),
        "padding": m.pick("same", "valid"),
        "depth_multiplier": multiplier,
        "strides": step,
        "use_bias": m.chance(0.8),
    }
    lengths = _windows(shape, options)
    if m.chance(0.5):
        return "DepthwiseConv2D", options, (*lengths, shape[-1] * multiplier)
    options["filters"] = m.pick(1, 2, 3)
    return "SeparableConv2D", options, (*lengths, options["filters"])


def transposed(m: Maker, shape: Image) -> Layer:
    """Conv2DTranspose or Conv3DTranspose."""
    rank, filters = len(shape) - 1, m.pick(1, 2, 3)
    size, strides = _axes(m, rank, 1, 2, 3), _axes(m, rank, 1, 2)
    padding = m.pick("same", "valid")
    lengths = [
        n * s if padding == "same" else (n - 1) * s + max(k, s)
        for n, k, s in zip(shape, _each(size, rank), _each(strides, rank), strict=False)
    ]
    options = {"filters": filters, "kernel_size": size, "strides": strides,
               "padding": padding}  # fmt: skip
    return f"Conv{rank}DTranspose", options, (*lengths, filters)


def pooling(m: Maker, shape: Image) -> Layer:
    """Max or average pooling."""
    rank = len(shape) - 1
    options = {"pool_size": _axes(m, rank, 1, 2), "strides": _axes(m, rank, 1, 2),
               "padding": m.pick("same", "valid")}  # fmt: skip
    name = m.pick("MaxPooling", "AveragePooling")
    return f"{name}{rank}D", options, (*_windows(shape, options), shape[-1])


def video(m: Maker, x: str) -> None:
    """Steps as images: each through layers of its own, or all as one volume."""
    time, _ = m.shapes[x]
    if time is None:
        return
    image = (m.pick(3, 4), m.pick(3, 5), m.pick(1, 2, 3))
    width = image[0] * image[1] * image[2]
    (wide,) = m.emit(f"layers.Dense({width})({x})", (time, width), uses=(x,))
    (y,) = m.emit(f"layers.Reshape({(time, *image)})({wide})", (time, *image),
                  uses=(wide,))  # fmt: skip
    volume = m.chance(0.3)
    shape: Image = (time, *image) if volume else image
    kinds: list[Callable[[Maker, Image], Layer]] = [convolution, transposed, pooling]
    kinds += [] if volume else [depthwise]
    for _ in range(m.pick(1, 1, 2)):
        name, options, after = m.pick(*kinds)(m, shape)
        if min(after) < 1 or max(after) > 12:
            continue
        text = f"layers.{name}({{options}})"
        text = text if volume else f"layers.TimeDistributed({text})"
        steps = () if volume else (time,)
        (y,) = m.emit(f"{text}({y})", (*steps, *after), uses=(y,), options=options)
        shape = after
    steps = shape[0] if volume else time
    size = 1
    for length in shape[1:] if volume else shape:
        size *= length
    text = f"layers.Reshape({(steps, size)})"
    if not volume and m.chance(0.5):
        text = "layers.TimeDistributed(layers.Flatten())"
    m.emit(f"{text}({y})", (steps, size), uses=(y,))
