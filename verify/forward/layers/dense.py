"""Evaluate Dense and EinsumDense, and define the arithmetic of 8-bit layers.

After ``quantize("int8")`` the kernel of a layer consists of whole numbers from -127 to
127. The layer scales each row of its input by the greatest value in it and rounds it to
such numbers too.

Source: keras/src/quantizers/quantizers.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from verify.errors import UnsupportedError
from verify.forward.layers.base import (
    KERAS_EPSILON,
    AnyShape,
    Elementwise,
    LayerType,
    Option,
    Run,
    Unexpected,
    activation,
    boolean,
    function_of,
    one_of,
    only,
    optional,
    positive,
    weight_settings,
)
from verify.forward.layers.lora import LORA, lora_notes
from verify.forward.recordable import as_array
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, is_float, rounded, working
from verify.model.spec import LayerSpec

DEFAULT_QUANTIZER = {
    "value_range": [-127, 127],
    "epsilon": KERAS_EPSILON,
    "output_dtype": "int8",
}


def _quantization_config(value: Any) -> None:
    """Accept None, and the config that ``quantize("int8")`` writes."""
    if value is None:
        return
    expected = Unexpected("the Int8QuantizationConfig that quantize('int8') makes")
    if (
        not isinstance(value, dict)
        or value.get("class_name") != "Int8QuantizationConfig"
    ):
        raise expected
    quantizers = value.get("config")
    if (
        not isinstance(quantizers, dict)
        or quantizers.get("weight_quantizer") is not None
    ):
        raise expected
    entry = quantizers.get("activation_quantizer")
    if not isinstance(entry, dict) or entry.get("class_name") != "AbsMaxQuantizer":
        raise expected
    config = entry.get("config")
    if not isinstance(config, dict):
        raise expected
    given = {**config, "value_range": list(config.get("value_range", []))}
    if given != DEFAULT_QUANTIZER:
        raise expected


QUANTIZED: Mapping[str, Option] = {
    **LORA,
    "quantization_mode": Option(one_of(None, "int8"), None),
    "quantization_config": Option(
        _quantization_config, None, supported="None, or the default for int8"
    ),
}
"""Options that a layer has if ``keras.Model.quantize`` can change it."""


class Quantizable(LayerType):
    """Describe a layer that ``keras.Model.quantize`` can give 8-bit weights."""

    def non_trainable(self, options: Mapping[str, Any]) -> frozenset[str]:
        if not options["quantization_mode"]:
            return frozenset()
        return frozenset(self.weight_shapes(options)) - {"bias"}


WEIGHT_SETTINGS = weight_settings("kernel", "bias")


def quantized(
    x: Array, axes: tuple[int, ...], compute: str, *, whole: str = ""
) -> tuple[Array, Array]:
    """Quantise an array to whole numbers from -127 to 127, and return the scale too.

    ::

        q = clip(round(x * scale), -127, 127)
        scale = 127 / (max|x| + 1e-7)

    Every operation is rounded to the compute dtype. Otherwise a product next to a half
    would be rounded to another whole number than in Keras.

    Parameters
    ----------
    x : array
    axes : tuple of int
        The axes over which the maximum is taken; `scale` has size 1 there.
    compute : str
        The compute dtype.
    whole : str
        Keras's default float type if `x` came as whole numbers, which are not cast to
        the compute dtype: then Keras makes the scale a whole number, too, and cuts its
        fraction off. It is 126 where the maximum is 1, and 0 from 128 on, after which
        Keras divides 0 by 0.
    """
    greatest = np.abs(x).max(axis=axes, keepdims=True)
    if whole:
        fractions = 127 / (greatest.astype(working(whole)) + KERAS_EPSILON)
        scale = np.trunc(fractions).astype(x.dtype)
        return np.clip(x * scale, -127, 127), scale
    scale = rounded(127 / rounded(greatest + KERAS_EPSILON, compute), compute)
    return np.clip(np.rint(rounded(x * scale, compute)), -127, 127), scale


def _floatx_of(run: Run, x: Array) -> str:
    """Return the default float type for whole numbers, and nothing for floats."""
    return "" if is_float(x) else run.floatx


class Dense(Quantizable, Elementwise):
    """Compute ``y = activation(x @ kernel + bias)`` on the last axis.

    Quantised it is ``y = activation((q @ kernel) / (kernel_scale * scale) + bias)``,
    with ``q`` and ``scale`` from `quantized` over the last axis.

    Source: keras/src/layers/core/dense.py.
    """

    class_name = "Dense"
    options: ClassVar[Mapping[str, Option]] = {
        "units": Option(positive),
        "activation": Option(activation, "linear"),
        "use_bias": Option(boolean, True),
        **QUANTIZED,
    }
    inert = WEIGHT_SETTINGS
    shown_by_weights = frozenset({"units", "use_bias", *LORA})

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        units = options["units"]
        shapes: dict[str, tuple[int | None, ...]] = {"kernel": (None, units)}
        if options["use_bias"]:
            shapes["bias"] = (units,)
        if options["quantization_mode"]:
            shapes["kernel_scale"] = (units,)
        return shapes

    def formula(self, layer: LayerSpec) -> str:
        inputs, units = layer.weights["kernel"].shape
        more = "".join(f" + {units}" for key in layer.weights if key != "kernel")
        return f"{inputs} x {units}{more}"

    def notes(self, layer: LayerSpec) -> list[str]:
        bias = " + bias" if "bias" in layer.weights else ""
        phi = layer.options["activation"]
        if not layer.options["quantization_mode"]:
            return [f"y = {phi}(x @ kernel{bias})", *lora_notes(layer)]
        return [
            f"y = {phi}((q @ kernel) / (kernel_scale * scale){bias}), of 8-bit numbers",
            "q = round(x * scale), scale = 127 / max|x| of each row",
            *lora_notes(layer),
        ]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        kernel = layer.weights["kernel"]  # (inputs, units)
        if layer.options["quantization_mode"]:
            logits = self._from_int8(run, layer, inputs)
        else:
            logits = inputs.astype(kernel.dtype, copy=False) @ kernel
        if "bias" in layer.weights:
            logits = logits + layer.weights["bias"]
        run.note(logits=logits)
        return function_of(layer)(logits)

    def _from_int8(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        compute = POLICIES[layer.policy].compute
        scales = layer.weights["kernel_scale"]
        x, whole = inputs.astype(scales.dtype, copy=False), _floatx_of(run, inputs)
        q, scale = quantized(x, (-1,), compute, whole=whole)
        # the sums of whole numbers are exact in float64, and BLAS makes it faster than
        # int32
        product = q.astype(np.float64) @ layer.weights["kernel"].astype(np.float64)
        return rounded(product.astype(q.dtype), compute) / rounded(
            scales * scale, compute
        )


def _equation(value: Any) -> str:
    """Read an equation in one of the three forms that Keras accepts."""
    forms = (
        r"[a-zA-Z]+,[a-zA-Z]+->[a-zA-Z]+",
        r"\.\.\.[a-zA-Z]+,[a-zA-Z]+->\.\.\.[a-zA-Z]+",
        r"[a-zA-Z]{2,}\.\.\.,[a-zA-Z]+->[a-zA-Z]+\.\.\.",
    )
    if not isinstance(value, str) or not any(re.fullmatch(f, value) for f in forms):
        raise Unexpected("an equation such as 'abc,cd->abd' or '...x,xy->...y'")
    inputs, outputs = value.split(",")[0], value.split("->")[1]
    if not inputs.startswith("...") and inputs[0] != outputs[0]:
        raise Unexpected("an equation with the rows first")
    return value


def _sizes(value: Any) -> tuple[int | None, ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(None if item is None else positive(item) for item in items)


def _axes(value: Any) -> str:
    if not isinstance(value, str) or not value.isalpha():
        raise Unexpected("letters of the equation's result")
    return value


class EinsumDense(Quantizable):
    """Compute ``y = activation(einsum(equation, x, kernel) + bias)``.

    Quantised it is as in `Dense`, over the axes of ``x`` that the result lacks.

    Source: keras/src/layers/core/einsum_dense.py.
    """

    class_name = "EinsumDense"
    options: ClassVar[Mapping[str, Option]] = {
        "equation": Option(_equation),
        "output_shape": Option(_sizes),
        "activation": Option(activation, "linear"),
        "bias_axes": Option(optional(_axes), None),
        "gptq_unpacked_column_size": only(None),
        **QUANTIZED,
    }
    inert = WEIGHT_SETTINGS
    shown_by_weights = frozenset({"output_shape", "bias_axes", *LORA})

    def check(self, where: str, layer: LayerSpec) -> None:
        equation = layer.options["equation"]
        output = equation.split("->")[1]
        if layer.options["quantization_mode"] and "..." in equation:
            raise UnsupportedError(
                f"{where}: an equation with dots is not supported in 8 bits, and Keras "
                f"cannot make it either. Received: {equation}"
            )
        if not set(layer.options["bias_axes"] or "") <= set(output):
            raise UnsupportedError(
                f"{where}: option 'bias_axes' expects letters of the result. "
                f"Received: {layer.options['bias_axes']} for {equation}"
            )

    def weight_shapes(
        self, options: Mapping[str, Any]
    ) -> Mapping[str, tuple[int | None, ...]]:
        _, kernel, output = _terms(options["equation"])
        letters = output.replace(".", "")
        own = letters if output.startswith(".") else letters[1:]
        sizes = dict(zip(own, options["output_shape"], strict=False))
        shapes: dict[str, tuple[int | None, ...]] = {
            "kernel": tuple(sizes.get(letter) for letter in kernel)
        }
        wanted = options["bias_axes"]
        if wanted:
            rest = letters[min(letters.index(letter) for letter in wanted) :]
            bias = tuple(sizes.get(x) if x in wanted else 1 for x in rest)
            shapes["bias"] = AnyShape() if output.endswith(".") else bias
        if options["quantization_mode"]:
            shapes["kernel_scale"] = (None,) * len(output)
        return shapes

    def notes(self, layer: LayerSpec) -> list[str]:
        bias = " + bias" if "bias" in layer.weights else ""
        sums = f"einsum({layer.options['equation']}, x, kernel)"
        if layer.options["quantization_mode"]:
            sums = sums.replace("x,", "q,") + " / (kernel_scale * scale)"
        activated = f"y = {layer.options['activation']}({sums}{bias})"
        return [activated, *lora_notes(layer)]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        equation = layer.options["equation"]
        kernel = layer.weights["kernel"]
        if layer.options["quantization_mode"]:
            logits = self._from_int8(run, layer, inputs)
        else:
            x = inputs.astype(kernel.dtype, copy=False)
            logits = as_array(np.einsum(equation, x, kernel, optimize=True))
        if "bias" in layer.weights:
            logits = logits + layer.weights["bias"]
        run.note(logits=logits)
        return function_of(layer)(logits)

    def _from_int8(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        compute = POLICIES[layer.policy].compute
        scales = layer.weights["kernel_scale"]
        given, _, output = _terms(layer.options["equation"])
        summed = tuple(i for i, letter in enumerate(given) if letter not in output)
        x, whole = inputs.astype(scales.dtype, copy=False), _floatx_of(run, inputs)
        q, scale = quantized(x, summed, compute, whole=whole)
        product = np.einsum(
            layer.options["equation"],
            q.astype(np.float64),
            layer.weights["kernel"].astype(np.float64),
            optimize=True,
        )
        return rounded(as_array(product).astype(q.dtype), compute) / rounded(
            scales * _aligned(scale, given, output), compute
        )


def _terms(equation: str) -> tuple[str, str, str]:
    inputs, _, output = equation.partition("->")
    given, kernel = inputs.split(",")
    return given, kernel, output


def _aligned(scale: Array, given: str, output: str) -> Array:
    """Return the scales of the inputs with their axes arranged as in the result.

    Axes that only the result has are inserted with size 1.
    """
    kept = [letter for letter in output if letter in given]
    gone = tuple(i for i, letter in enumerate(given) if letter not in output)
    left = "".join(letter for letter in given if letter in output)
    scale = np.squeeze(scale, gone).transpose([left.index(letter) for letter in kept])
    new = tuple(i for i, letter in enumerate(output) if letter not in given)
    return np.expand_dims(scale, new)


KINDS: tuple[type[LayerType], ...] = (Dense, EinsumDense)
"""The layer types of this module, for the registry."""
