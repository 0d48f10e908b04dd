"""Keep the float32 errors of each activation, as measured on each platform.

How exactly tanh, exp and so on are computed depends on the backend, its version and the
processor. `KNOWN_PLATFORMS` holds what ``python -m benchmarks.activation_errors`` has
measured, rounded up. On any other platform
`verify.keras_bridge.measured_activation_errors` measures the errors on the spot.
`KNOWN_RUNTIMES` has the programs that run exported models.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from verify.model.arrays import Array
from verify.model.dtypes import SINGLE

EXACT_ACTIVATIONS = ("linear", "relu", "relu6", "hard_tanh")
"""Activations that do not round: they return their argument or a constant."""

RELATIVE_TO_OUTPUT = (
    *("sigmoid", "tanh", "exponential", "softplus", "log_sigmoid", "softsign"),
    *("hard_sigmoid", "hard_silu", "leaky_relu", "celu"),
)
"""``error <= constant * SINGLE * |y|`` for ``y = activation(x)``."""

RELATIVE_TO_INPUT = ("silu", "gelu", "mish", "squareplus")
"""``error <= constant * SINGLE * (|x| + |y|)``: cancellation makes results small."""

RELATIVE_TO_ONE = ("elu", "selu", "keras2_hard_sigmoid")
"""``error <= constant * SINGLE * (1 + |y|)``: TensorFlow's elu is ``exp(x) - 1``."""

GROWING = ("softplus", "log_sigmoid")
"""Activations whose absolute error grows with their argument: from ``x + log(...)``."""

MEASURED_ACTIVATIONS = (*RELATIVE_TO_OUTPUT, *RELATIVE_TO_INPUT, *RELATIVE_TO_ONE)
"""The activations that `ActivationErrors` has a constant for."""

KINKS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "relu": (0.0,), "relu6": (0.0, 6.0), "leaky_relu": (0.0,), "selu": (0.0,),
        "hard_sigmoid": (-3.0, 3.0), "keras2_hard_sigmoid": (-2.5, 2.5),
        "hard_tanh": (-1.0, 1.0), "hard_silu": (-3.0, 3.0),
    }
)  # fmt: skip
"""Where the slope of an activation jumps."""


@dataclass(frozen=True)
class ActivationErrors:
    """Hold the error constants of one platform.

    Attributes
    ----------
    platform : str
        Name for reports: ``tensorflow 2.21 on x86_64``.
    constants : mapping of str to float
        Name in `MEASURED_ACTIVATIONS` -> its constant, in units of `SINGLE`.
    relative_to_one : frozenset of str
        Activations whose error is ``constant * SINGLE * (1 + |y|)`` on this platform,
        because it cancels: Keras on NumPy adds 0.5 to x / 6 in hard_sigmoid.
    absolute : mapping of str to float
        Activations whose error may be as large as ``constant * SINGLE`` however small
        the result is, or for `GROWING` ones ``constant * SINGLE * (1 + |x|)``: the
        sigmoid of ONNX Runtime. The greater of both errors counts.
    """

    platform: str
    constants: Mapping[str, float]
    relative_to_one: frozenset[str] = frozenset()
    absolute: Mapping[str, float] = field(default_factory=dict)

    def error(self, activation: str, x: Array, y: Array) -> Array:
        """Return the greatest float32 error of ``y = activation(x)``; shaped like y."""
        if activation in EXACT_ACTIVATIONS:
            return np.zeros_like(y)
        constant = SINGLE * self.constants[activation]
        if activation in self.relative_to_one:
            return constant * (1 + np.abs(y))
        error: Array = constant * error_scale(activation, x, y)
        least = SINGLE * self.absolute.get(activation, 0.0)
        if least:
            grown = 1 + np.abs(x) if activation in GROWING else 1.0
            error = np.maximum(error, least * grown)
        return error


def error_scale(activation: str, x: Array, y: Array) -> Array:
    """Return the factor of an activation's constant in its error; shaped like y."""
    if activation in RELATIVE_TO_ONE:
        return 1 + np.abs(y)
    if activation in RELATIVE_TO_INPUT:
        return np.abs(x) + np.abs(y)
    return np.abs(y)


def measured_arguments(activation: str) -> Array:
    """Return about a million arguments at which to measure an activation; (n,).

    Some are spread evenly, some over the orders of magnitude, and some are normally
    distributed, as in a network. No result, and no intermediate result, leaves
    float32's normal range.
    """
    rng = np.random.default_rng(0)
    sign = np.sign(rng.normal(size=300_003))
    x = np.concatenate(
        [
            np.linspace(-80, 80, 400_003),
            3 * rng.normal(size=300_001),
            sign * 10 ** rng.uniform(-7, 1.9, size=sign.size),
        ]
    )
    return x.astype(np.float32)


KNOWN_PLATFORMS: Mapping[str, ActivationErrors] = MappingProxyType(
    {
        errors.platform: errors
        for errors in (
            ActivationErrors(
                "tensorflow 2.21 on x86_64",
                {
                    "sigmoid": 12.5, "tanh": 7.5, "exponential": 3.0, "softplus": 11.9,
                    "log_sigmoid": 11.9, "softsign": 3.0, "hard_sigmoid": 3.0,
                    "hard_silu": 4.5, "leaky_relu": 1.5, "celu": 8.6, "silu": 2.6,
                    "gelu": 1.7, "mish": 4.1, "squareplus": 3.8, "elu": 1.9,
                    "selu": 3.2, "keras2_hard_sigmoid": 0.7,
                },
            ),
            ActivationErrors(
                "torch 2.13 on x86_64",
                {
                    "sigmoid": 3.7, "tanh": 1.5, "exponential": 1.6, "softplus": 3.0,
                    "log_sigmoid": 3.0, "softsign": 3.0, "hard_sigmoid": 2.3,
                    "hard_silu": 3.8, "leaky_relu": 1.8, "celu": 1.5, "silu": 1.5,
                    "gelu": 7.8, "mish": 1.5, "squareplus": 4.1, "elu": 0.8,
                    "selu": 2.3, "keras2_hard_sigmoid": 0.7,
                },
            ),
            ActivationErrors(
                "numpy 2.4 on x86_64",
                {
                    "sigmoid": 6.1, "tanh": 2.8, "exponential": 5.1, "softplus": 3.0,
                    "log_sigmoid": 3.0, "softsign": 3.0, "hard_sigmoid": 0.6,
                    "hard_silu": 1.8, "leaky_relu": 1.8, "celu": 5.0, "silu": 1.8,
                    "gelu": 1.5, "mish": 1.9, "squareplus": 3.8, "elu": 1.1,
                    "selu": 2.7, "keras2_hard_sigmoid": 0.7,
                },
                frozenset({"hard_sigmoid", "hard_silu"}),
            ),
            ActivationErrors(
                "jax 0.10 on x86_64",
                {
                    "sigmoid": 3.7, "tanh": 7.1, "exponential": 2.1, "softplus": 5.7,
                    "log_sigmoid": 6.0, "softsign": 3.0, "hard_sigmoid": 3.0,
                    "hard_silu": 4.5, "leaky_relu": 1.8, "celu": 8.6, "silu": 1.8,
                    "gelu": 1.7, "mish": 3.6, "squareplus": 3.8, "elu": 1.9,
                    "selu": 3.2, "keras2_hard_sigmoid": 0.7,
                },
            ),
        )
    }
)  # fmt: skip
"""Name of a platform -> the greatest that ``benchmarks.activation_errors`` printed, on
an Intel processor with AVX-512 and on one of AMD that has no more than AVX2, whose
kernels are others: with AVX-512 TensorFlow's silu has 1.9."""


KNOWN_RUNTIMES: Mapping[str, ActivationErrors] = MappingProxyType(
    {
        errors.platform: errors
        for errors in (
            ActivationErrors(
                "onnxruntime 1.32 on x86_64",
                {
                    "tanh": 7.7, "exponential": 1.9, "softplus": 7.4, "softsign": 3.6,
                    "elu": 1.5, "selu": 2.7, "gelu": 1.4, "mish": 3.8,
                    "keras2_hard_sigmoid": 0.7,
                },
                absolute={
                    "sigmoid": 4.2, "celu": 1.7, "hard_silu": 6.0, "hard_sigmoid": 1.0,
                },
            ),
            ActivationErrors(
                "openvino 2026.4 on x86_64",
                {
                    "sigmoid": 7.8, "tanh": 2.0, "exponential": 9.2, "softsign": 3.0,
                    "elu": 2.5, "selu": 2.3, "gelu": 7.8, "mish": 2.4,
                    "keras2_hard_sigmoid": 0.7,
                },
                absolute={
                    "softplus": 5.2, "celu": 2.8, "hard_silu": 6.0, "hard_sigmoid": 1.0,
                },
            ),
            # without exp, whose error of 94.5 is that of arguments near 80: it grows
            # with them, and softmax allows for that
            ActivationErrors(
                "ai-edge-litert 2.3 on x86_64",
                {
                    "sigmoid": 7.8, "tanh": 7.0, "softsign": 3.0, "hard_sigmoid": 3.0,
                    "leaky_relu": 1.5, "silu": 1.9, "gelu": 3.6, "mish": 4.6,
                    "squareplus": 4.3, "elu": 1.0, "selu": 2.6,
                },
                absolute={
                    "softplus": 6.0, "log_sigmoid": 6.1, "hard_silu": 6.0, "celu": 2.1,
                },
            ),
        )
    }
)  # fmt: skip
"""The same for programs that run exported models. An activation that they have no
operation for is made of others, and one that cancels has an `absolute` error alone."""


def worst_known_errors() -> ActivationErrors:
    """Return the greatest constants of all that is known, for an unknown program."""
    every = (*KNOWN_PLATFORMS.values(), *KNOWN_RUNTIMES.values())
    absolute = {name for errors in every for name in errors.absolute}
    return ActivationErrors(
        "any known platform",
        {
            name: max(errors.constants.get(name, 0.0) for errors in every)
            for name in MEASURED_ACTIVATIONS
        },
        frozenset().union(*(errors.relative_to_one for errors in every)),
        {
            name: max(errors.absolute.get(name, 0.0) for errors in every)
            for name in sorted(absolute)
        },
    )


def platform_name(backend: str, version: str) -> str:
    """Return a key of `KNOWN_PLATFORMS`: backend, version without patch, processor."""
    return f"{backend} {'.'.join(version.split('.')[:2])} on {platform.machine()}"
