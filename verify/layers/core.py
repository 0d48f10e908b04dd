"""The layers around a recurrent one: Embedding, Dense, Dropout, Activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.activations import resolve
from verify.layers.base import (
    Called,
    LayerType,
    Option,
    activation,
    boolean,
    last_axis,
    only,
    positive,
)
from verify.spec import Array, DataError, LayerSpec, Shape


class Embedding(LayerType):
    """``y = embeddings[ids]``; with ``mask_zero``, id 0 masks its step.

    Ids that arrive as floats are cut to whole numbers, towards zero, after the mask has
    been taken. A negative id counts from the end, as on every Keras backend.

    Source: keras/src/layers/core/embedding.py.
    """

    class_name = "Embedding"
    options: ClassVar[Mapping[str, Option]] = {
        "input_dim": Option(positive),
        "output_dim": Option(positive),
        "mask_zero": Option(boolean, False),
        "lora_rank": only(None),
        "quantization_config": only(None),
    }
    inert = frozenset(
        {"embeddings_initializer", "embeddings_regularizer", "embeddings_constraint"}
        | {"input_length"}
    )

    def weight_shapes(
        self, options: Mapping[str, Any], input_shape: Shape
    ) -> dict[str, tuple[int, ...]]:
        return {"embeddings": (options["input_dim"], options["output_dim"])}

    def output_shape(self, options: Mapping[str, Any], input_shape: Shape) -> Shape:
        return (*input_shape, options["output_dim"])

    def formula(self, layer: LayerSpec) -> str:
        return f"{layer.options['input_dim']:,} ids x {layer.options['output_dim']}"

    def notes(self, layer: LayerSpec) -> list[str]:
        if layer.options["mask_zero"]:
            return ["mask_zero: id 0 is padding; later recurrent layers skip its step"]
        return ["mask_zero is off: id 0 is a word like any other, padding included"]

    def call(
        self, layer: LayerSpec, x: Array, mask: Array | None, *, record: bool
    ) -> Called:
        table = layer.weights["embeddings"]  # (input_dim, output_dim)
        with np.errstate(invalid="ignore"):
            ids = np.trunc(x).astype(np.int64)
        outside = (ids >= len(table)) | (ids < -len(table)) | ~np.isfinite(x)
        if outside.any():
            first = tuple(int(k) for k in np.argwhere(outside)[0])
            raise DataError(
                f"{layer}: expected token ids from 0 to {len(table) - 1}, or to "
                f"-{len(table)} counted from the end. "
                f"Received: {x[first]} at {list(first)}, "
                f"{np.count_nonzero(outside):,} such id(s)"
            )
        return Called(table[ids], x != 0 if layer.options["mask_zero"] else None, {})


class Dense(LayerType):
    """``y = activation(x @ kernel + bias)`` on the last axis.

    Source: keras/src/layers/core/dense.py.
    """

    class_name = "Dense"
    options: ClassVar[Mapping[str, Option]] = {
        "units": Option(positive),
        "activation": Option(activation, "linear"),
        "use_bias": Option(boolean, True),
        "lora_rank": only(None),
        "quantization_config": only(None),
    }
    inert = frozenset(
        {"kernel_initializer", "kernel_regularizer", "kernel_constraint"}
        | {"bias_initializer", "bias_regularizer", "bias_constraint"}
    )

    def check_input(
        self, where: str, options: Mapping[str, Any], input_shape: Shape
    ) -> None:
        last_axis(where, input_shape)

    def weight_shapes(
        self, options: Mapping[str, Any], input_shape: Shape
    ) -> dict[str, tuple[int, ...]]:
        units = options["units"]
        kernel = {"kernel": (last_axis(self.class_name, input_shape), units)}
        return kernel | ({"bias": (units,)} if options["use_bias"] else {})

    def output_shape(self, options: Mapping[str, Any], input_shape: Shape) -> Shape:
        return (*input_shape[:-1], options["units"])

    def formula(self, layer: LayerSpec) -> str:
        inputs, units = layer.weights["kernel"].shape
        return f"{inputs} x {units}" + (
            f" + {units}" if "bias" in layer.weights else ""
        )

    def notes(self, layer: LayerSpec) -> list[str]:
        bias = " + bias" if "bias" in layer.weights else ""
        return [f"y = {layer.options['activation']}(x @ kernel{bias})"]

    def call(
        self, layer: LayerSpec, x: Array, mask: Array | None, *, record: bool
    ) -> Called:
        kernel = layer.weights["kernel"]  # (inputs, units)
        logits = x.astype(kernel.dtype, copy=False) @ kernel
        if "bias" in layer.weights:
            logits = logits + layer.weights["bias"]
        output = resolve(layer.options["activation"])(logits)
        return Called(output, mask, {"logits": logits} if record else {})


class Activation(LayerType):
    """``y = activation(x)``.

    Source: keras/src/layers/activations/activation.py.
    """

    class_name = "Activation"
    options: ClassVar[Mapping[str, Option]] = {"activation": Option(activation)}

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"y = {layer.options['activation']}(x)"]

    def call(
        self, layer: LayerSpec, x: Array, mask: Array | None, *, record: bool
    ) -> Called:
        return Called(resolve(layer.options["activation"])(x), mask, {})


class Dropout(LayerType):
    """``y = x``: dropout acts in training only.

    Source: keras/src/layers/regularization/dropout.py.
    """

    class_name = "Dropout"
    options: ClassVar[Mapping[str, Option]] = {}
    inert = frozenset({"rate", "seed", "noise_shape"})

    def notes(self, layer: LayerSpec) -> list[str]:
        return ["y = x in predict: dropout acts in training only"]

    def call(
        self, layer: LayerSpec, x: Array, mask: Array | None, *, record: bool
    ) -> Called:
        return Called(x, mask, {})
