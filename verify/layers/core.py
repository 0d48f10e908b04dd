"""The layers around a recurrent one: Embedding, Dense, Activation, Masking, Identity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.activations import resolve
from verify.layers.base import (
    Elementwise,
    LayerType,
    Option,
    Run,
    activation,
    boolean,
    number,
    only,
    positive,
)
from verify.spec import Array, DataError, LayerSpec


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
    supports_masking = True

    shown_by_weights = frozenset({"input_dim", "output_dim"})

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        return {"embeddings": (options["input_dim"], options["output_dim"])}

    def formula(self, layer: LayerSpec) -> str:
        return f"{layer.options['input_dim']:,} ids x {layer.options['output_dim']}"

    def notes(self, layer: LayerSpec) -> list[str]:
        if layer.options["mask_zero"]:
            return ["mask_zero: id 0 is padding; later recurrent layers skip its step"]
        return ["mask_zero is off: id 0 is a word like any other, padding included"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        table = layer.weights["embeddings"]  # (input_dim, output_dim)
        with np.errstate(invalid="ignore"):
            ids = np.trunc(inputs).astype(np.int64)
        outside = (ids >= len(table)) | (ids < -len(table)) | ~np.isfinite(inputs)
        if outside.any():
            first = tuple(int(k) for k in np.argwhere(outside)[0])
            raise DataError(
                f"{layer}: expected token ids from 0 to {len(table) - 1}, or to "
                f"-{len(table)} counted from the end. "
                f"Received: {inputs[first]} at {list(first)}, "
                f"{np.count_nonzero(outside):,} such id(s)"
            )
        return table[ids]

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        return inputs != 0 if layer.options["mask_zero"] else None


class Dense(Elementwise):
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

    shown_by_weights = frozenset({"units", "use_bias"})

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        units = options["units"]
        kernel: dict[str, tuple[int | None, ...]] = {"kernel": (None, units)}
        return kernel | ({"bias": (units,)} if options["use_bias"] else {})

    def formula(self, layer: LayerSpec) -> str:
        inputs, units = layer.weights["kernel"].shape
        return f"{inputs} x {units}" + (
            f" + {units}" if "bias" in layer.weights else ""
        )

    def notes(self, layer: LayerSpec) -> list[str]:
        bias = " + bias" if "bias" in layer.weights else ""
        return [f"y = {layer.options['activation']}(x @ kernel{bias})"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        kernel = layer.weights["kernel"]  # (inputs, units)
        logits = inputs.astype(kernel.dtype, copy=False) @ kernel
        if "bias" in layer.weights:
            logits = logits + layer.weights["bias"]
        run.note(logits=logits)
        return resolve(layer.options["activation"])(logits)


class Activation(Elementwise):
    """``y = activation(x)``.

    Source: keras/src/layers/activations/activation.py.
    """

    class_name = "Activation"
    options: ClassVar[Mapping[str, Option]] = {"activation": Option(activation)}

    def notes(self, layer: LayerSpec) -> list[str]:
        return [f"y = {layer.options['activation']}(x)"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        return resolve(layer.options["activation"])(inputs)


class Masking(Elementwise):
    """A step whose features all equal ``mask_value`` is masked, and becomes zeros.

    Source: keras/src/layers/core/masking.py.
    """

    class_name = "Masking"
    options: ClassVar[Mapping[str, Option]] = {"mask_value": Option(number, 0.0)}

    def notes(self, layer: LayerSpec) -> list[str]:
        value = layer.options["mask_value"]
        return [f"a step is masked where every feature is {value:g}; it becomes zeros"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        keep = self.compute_mask(layer, inputs, None)
        return np.where(keep[..., None], inputs, np.zeros_like(inputs))

    def compute_mask(self, layer: LayerSpec, inputs: Any, mask: Any) -> Any:
        value = np.asarray(layer.options["mask_value"]).astype(inputs.dtype)
        return np.any(inputs != value, axis=-1)


class Identity(Elementwise):
    """``y = x``.

    Source: keras/src/layers/core/identity.py.
    """

    class_name = "Identity"

    def notes(self, layer: LayerSpec) -> list[str]:
        return ["y = x"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        return inputs


class Dropout(Identity):
    """``y = x``: dropout acts in training only.

    Source: keras/src/layers/regularization/dropout.py.
    """

    class_name = "Dropout"
    inert = frozenset({"rate", "seed", "noise_shape"})

    def notes(self, layer: LayerSpec) -> list[str]:
        return ["y = x in predict: it acts in training only"]
