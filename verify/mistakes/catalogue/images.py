"""Sizes of sequences, images and volumes: cropped, padded and resized otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from verify.forward.convolution import channels_last, in_format
from verify.forward.layers.base import Run
from verify.mistakes.catalogue.mistake import Call, Mistake, MutationOperator, on_call
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

Widths = tuple[tuple[int, int], ...]
END_WORDS = {
    "cropping": (
        "cropped at the other end",
        "what is cut off before is cut off after, and the other way round",
        "cut off the first number of each pair before, and the second after",
    ),
    "padding": (
        "padded at the other end",
        "the zeros that belong before are put after, and the other way round",
        "put the first number of zeros of each pair before, and the second after",
    ),
}


FROM_CORNERS = (
    "pixels counted from their corners",
    "pixel k of m lies at k * n / m, as in TensorFlow 1",
    "let pixel k of m lie at (k + 0.5) * n / m - 0.5",
)


def wrong_ends(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield cropping and zero padding at other ends or along other axes."""
    kind = layer.class_name[:-2]
    option = {"Cropping": "cropping", "ZeroPadding": "padding"}.get(kind)
    if option is None:
        return
    widths = _by_axis(layer.options[option])
    if any(before != after for before, after in widths):
        yield Mistake(
            *END_WORDS[option],
            lambda layer: layer.with_options(**{option: _turned(layer, option)}),
            common=True,
        )
    totals = [sum(width) for width in widths]
    if totals == totals[::-1] and widths != widths[::-1]:
        yield Mistake(
            f"{option} of rows and columns exchanged",
            f"the pairs of {option} are read from the last axis to the first",
            "the first pair is that of the first axis after the rows of data",
            lambda layer: layer.with_options(
                **{option: _by_axis(layer.options[option])[::-1]}
            ),
        )
    if option == "padding" and any(map(any, widths)):
        yield Mistake(
            "edge repeated instead of zeros",
            "the numbers at the edge are repeated where the model adds zeros",
            "add zeros",
            on_call(partial(_padded, mode="edge")),
            common=True,
        )


def _by_axis(value: Any) -> Widths:
    return value if isinstance(value[0], tuple) else (value,)


def _turned(layer: LayerSpec, option: str) -> Any:
    """Return the pairs of an option with their two numbers exchanged."""
    value = layer.options[option]
    turned = tuple((after, before) for before, after in _by_axis(value))
    return turned if isinstance(value[0], tuple) else turned[0]


def _padded(
    call: Call,
    run: Run,
    layer: LayerSpec,
    arguments: dict[str, Any],
    mask: Any,
    mode: Any,
) -> Array:
    x = channels_last(arguments["inputs"], layer.options["data_format"])
    widths = [(0, 0), *_by_axis(layer.options["padding"]), (0, 0)]
    return in_format(np.pad(x, widths, mode=mode), layer.options["data_format"])


def wrong_sizes(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield upsampling and resizing by other pixels or other interpolations."""
    kind = layer.class_name[:-2]
    if kind == "UpSampling" and _factors(layer) != (1,) * len(_factors(layer)):
        nearest = layer.options.get("interpolation", "nearest") == "nearest"
        if nearest:
            yield Mistake(
                "whole repeated instead of each step",
                "the whole axis is repeated after its end; the model repeats each step "
                "in its place",
                "repeat each step in its place, as numpy.repeat does, not numpy.tile",
                on_call(_tiled),
                common=True,
            )
    if layer.class_name not in ("UpSampling2D", "Resizing"):
        return
    how = layer.options["interpolation"]
    cut = any(layer.options.get(f"{word}_to_aspect_ratio") for word in ("crop", "pad"))
    for other in ("nearest", "bilinear"):
        if other != how:
            yield Mistake(
                f"interpolation {other}",
                f"images are resized by {other} interpolation; the model has {how}",
                f"resize by {how} interpolation",
                partial(_with_interpolation, how=other),
                common=True,
            )
    if layer.options.get("antialias") and how != "nearest":
        yield Mistake(
            "antialias ignored",
            "a smaller image is made without antialiasing",
            "widen the kernel by the factor that the image gets smaller by",
            lambda layer: layer.with_options(antialias=False),
            common=True,
        )
    if how == "nearest" and layer.class_name == "Resizing" and not cut:
        yield Mistake(
            *FROM_CORNERS, on_call(partial(_resized, corners=False)), common=True
        )
    if how == "bilinear" and not layer.options.get("antialias") and not cut:
        yield Mistake(
            "corners aligned",
            "the outermost pixels of both images lie upon each other, as with "
            "align_corners=True",
            "let the edges of both images lie upon each other: pixel k of m lies at "
            "(k + 0.5) * n / m - 0.5",
            on_call(partial(_resized, corners=True)),
            common=True,
        )
        yield Mistake(
            *FROM_CORNERS, on_call(partial(_resized, corners=False)), common=True
        )


def _with_interpolation(layer: LayerSpec, how: str) -> LayerSpec:
    return layer.with_options(interpolation=how)


def _factors(layer: LayerSpec) -> tuple[int, ...]:
    size = layer.options["size"]
    return size if isinstance(size, tuple) else (size,)


def _tiled(
    call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
) -> Array:
    data_format = layer.options.get("data_format", "channels_last")
    x = channels_last(arguments["inputs"], data_format)
    return in_format(np.tile(x, (1, *_factors(layer), 1)), data_format)


def _resized(
    call: Call,
    run: Run,
    layer: LayerSpec,
    arguments: dict[str, Any],
    mask: Any,
    corners: bool,
) -> Array:
    """Resize by interpolation between other places."""
    right = call(run, layer, arguments, mask)
    data_format = layer.options["data_format"]
    x = channels_last(arguments["inputs"], data_format).astype(np.float64)
    for axis, m in enumerate(channels_last(right, data_format).shape[1:3], start=1):
        n = x.shape[axis]
        scale = (n - 1) / max(m - 1, 1) if corners else n / m
        at = np.minimum(np.arange(m) * scale, n - 1)
        below = np.floor(at).astype(int)
        if layer.options["interpolation"] == "nearest":
            x = np.take(x, below, axis)
            continue
        share = (at - below).reshape([-1 if k == axis else 1 for k in range(4)])
        above = np.minimum(below + 1, n - 1)
        x = np.take(x, below, axis) * (1 - share) + np.take(x, above, axis) * share
    return in_format(x, data_format).astype(right.dtype)


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (wrong_ends, wrong_sizes)
