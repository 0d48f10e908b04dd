"""The errors of each activation on this machine, measured through Keras itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from verify.forward.activations import resolve
from verify.keras_bridge import private
from verify.keras_bridge.importing import backend, import_keras, quiet, versions
from verify.model.arrays import Array
from verify.model.dtypes import SINGLE
from verify.tolerance.activation_errors import (
    GROWING,
    KNOWN_PLATFORMS,
    MEASURED_ACTIVATIONS,
    ActivationErrors,
    error_scale,
    measured_arguments,
    platform_name,
)
from verify.tolerance.noise_floor import FLUSH_ERROR

SAFETY_FACTOR = 1.5
"""Constant over greatest measured error: a measurement does not meet every number."""

CANCELLATION = 100.0
"""A greatest error above this has no bound relative to the result: it cancels."""

TAIL_LENGTH = 13
"""Length of a short array that is measured too: the end of an array that does not fill
a vector of the processor is computed by other code."""


def current_activation_errors() -> ActivationErrors:
    """Return the constants of the platform that Keras runs on, known or measured."""
    known = KNOWN_PLATFORMS.get(current_platform())
    return measured_activation_errors() if known is None else known


def current_platform() -> str:
    """Return the key in `KNOWN_PLATFORMS` of the platform that Keras runs on.

    It names the backend, its version, the processor, and a GPU if there is one.
    """
    name = backend()
    found = platform_name(name, versions().get(name, "unknown"))
    device = _accelerator()
    return f"{found} with {device}" if device else found


@cache
def measured_activation_errors() -> ActivationErrors:
    """Measure all of `MEASURED_ACTIVATIONS`, which takes a second or two."""
    with quiet():
        return errors_of(
            current_platform(), {k: _implementations(k) for k in MEASURED_ACTIVATIONS}
        )


def errors_of(
    platform: str,
    implementations: Mapping[str, Sequence[Callable[[Array], Array]]],
    *,
    relative_to_one: bool = True,
) -> ActivationErrors:
    """Measure the activations of one program.

    Parameters
    ----------
    platform : str
    implementations : mapping of str to sequence of callable
        Activation -> functions (n,) of float32 -> (n,) of float32 that compute it.
    relative_to_one : bool
        Whether the error of an activation that cancels is measured against ``1 + |y|``.
        Otherwise it is an `ActivationErrors.absolute` error.
    """
    constants, cancelling, absolute = {}, set(), {}
    for name, functions in implementations.items():
        found = [_greatest_errors(name, run) for run in functions]
        own, to_one, least = (max(errors) for errors in zip(*found, strict=True))
        if own <= CANCELLATION:
            constants[name] = _with_safety(own)
        elif relative_to_one:
            cancelling.add(name)
            constants[name] = _with_safety(to_one)
        else:
            absolute[name] = _with_safety(least)
    return ActivationErrors(platform, constants, frozenset(cancelling), absolute)


def _with_safety(error: float) -> float:
    return math.ceil(SAFETY_FACTOR * error * 10) / 10


def _greatest_errors(
    name: str, run: Callable[[Array], Array]
) -> tuple[float, float, float]:
    """Return an activation's greatest error, in units of `SINGLE` times a scale.

    Parameters
    ----------
    name : str
    run : callable
        (n,) of float32 -> the activation as a program computes it, (n,) of float32.

    Returns
    -------
    own : float
        The scale is `error_scale`.
    to_one : float
        The scale is ``1 + |y|``, for an activation that cancels.
    absolute : float
        The scale is 1, or for `GROWING` activations ``1 + |x|``.
    """
    x = measured_arguments(name)
    x64 = x.astype(np.float64)
    exact = resolve(name, exact=backend() != "tensorflow")(x64)
    computed = np.concatenate([run(x[:TAIL_LENGTH]), run(x)])
    exact, x64 = (np.concatenate([a[:TAIL_LENGTH], a]) for a in (exact, x64))
    size = error_scale(name, x64, exact)
    normal = (size > FLUSH_ERROR) & (np.abs(exact) < np.finfo(np.float32).max)
    error = np.abs(computed.astype(np.float64) - exact)[normal]
    # A result too small for a normal float32 may be 0: that is allowed separately.
    error = np.maximum(error - FLUSH_ERROR * np.maximum(1, np.abs(x64[normal])), 0)
    scales = (
        size[normal],
        1 + np.abs(exact[normal]),
        1 + np.abs(x64[normal]) if name in GROWING else np.ones(error.shape),
    )
    own, to_one, absolute = (float(np.max(error / s)) / SINGLE for s in scales)
    return own, to_one, absolute


def _implementations(name: str) -> list[Callable[[Array], Array]]:
    """Return how a backend may compute an activation: by itself, and compiled."""
    keras = import_keras()
    if name == "keras2_hard_sigmoid":

        def function(x: Any) -> Any:
            return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)
    else:
        function = keras.activations.get(name)
    to_numpy = keras.ops.convert_to_numpy
    if backend() == "tensorflow":
        import tensorflow as tf

        both = [tf.function(function, jit_compile=jit) for jit in (False, True)]
        return [_applied(f, tf.constant, to_numpy) for f in both]
    if backend() == "jax":
        import jax

        both = [function, jax.jit(function)]
        return [_applied(f, jax.numpy.asarray, to_numpy) for f in both]
    return [_applied(function, keras.ops.convert_to_tensor, to_numpy)]


def _applied(function: Any, to_tensor: Any, to_numpy: Any) -> Callable[[Array], Array]:
    return lambda x: np.asarray(to_numpy(function(to_tensor(x))))


def _accelerator() -> str:
    """Return the kind of device that Keras computes on; empty if the processor."""
    if backend() == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        return str(found[0].device_type) if found else ""
    if backend() == "jax":
        import jax

        kind = str(jax.default_backend())
        return "" if kind == "cpu" else kind
    if backend() == "torch":
        kind = str(private.backend_operations("torch", "core").get_device())
        return "" if kind == "cpu" else kind
    return ""
