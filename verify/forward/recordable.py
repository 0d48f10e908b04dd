"""Let other values stand for arrays in the forward pass, which record it.

`verify.backward.recording` evaluates a layer on such values. They act as arrays in
NumPy's functions. An activation or a convolution is more to them than its parts: it has
one derivative, and one rounding error that is known. So these functions ask the value
first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from verify.model.arrays import Array


def is_array(x: Any) -> bool:
    """Return whether a value is an array, or stands for one."""
    return isinstance(x, np.ndarray) or hasattr(x, "activated")


def as_array(x: Any) -> Array:
    """Return a result of NumPy as an array; a value that stands for one as it is."""
    return x if hasattr(x, "activated") else np.asarray(x)


def activation(function: Callable[..., Array]) -> Callable[..., Array]:
    """Have an activation ask its argument; `activated` then returns the result."""

    @wraps(function)
    def asked(x: Any, *args: Any, **kwargs: Any) -> Any:
        if type(x) is not np.ndarray and hasattr(x, "activated"):
            return x.activated(function.__name__, function, args, kwargs)
        return function(x, *args, **kwargs)

    # `verify.forward.activations.exactly` looks these up
    setattr(asked, "__kwdefaults__", getattr(function, "__kwdefaults__", None))  # noqa: B010
    return asked


def sum_of_products(function: Callable[..., Array]) -> Callable[..., Array]:
    """Have a convolution ask its argument; `summed` then returns the result."""

    @wraps(function)
    def asked(x: Any, kernel: Any, *args: Any, **kwargs: Any) -> Any:
        for one in (x, kernel):
            if type(one) is not np.ndarray and hasattr(one, "summed"):
                return one.summed(function, (x, kernel), args, kwargs)
        return function(x, kernel, *args, **kwargs)

    return asked
