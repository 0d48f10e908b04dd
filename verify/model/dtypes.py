"""Define the dtype policies: the precision of a layer's arithmetic and of its weights.

A 16-bit layer rounds its inputs, weights and outputs to 16 bits, and a recurrent one
also its states at every step. In between, this package computes in float32, because
that is how every platform accumulates matrix products of 16-bit numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from verify.model.arrays import Array


class Policy(NamedTuple):
    """Hold the dtype of a layer's arithmetic, and that of its variables."""

    compute: str
    variable: str


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "float32": Policy("float32", "float32"),
        "float64": Policy("float64", "float64"),
        "float16": Policy("float16", "float16"),
        "bfloat16": Policy("bfloat16", "bfloat16"),
        "mixed_float16": Policy("float16", "float32"),
        "mixed_bfloat16": Policy("bfloat16", "float32"),
    }
)
"""Policies by name. Source: keras/src/dtype_policies/dtype_policy.py."""

COMPLEX_DTYPES = ("complex64", "complex128")
"""Dtypes of complex numbers, which no layer has."""

HALF_DTYPES = ("float16", "bfloat16")
"""Dtypes of 16 bits; this package computes with them in float32."""

UNIT_ROUNDOFF: Mapping[str, float] = MappingProxyType(
    {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
)
"""Dtype -> the greatest relative error of rounding to it: ``2**-p``, where the
significand has p bits."""

SINGLE = UNIT_ROUNDOFF["float32"]


def dtype_of(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype of a Keras dtype name; ml_dtypes provides bfloat16.

    Texts have a dtype of any length.
    """
    if name == "string":
        return np.dtype(str)
    if name == "bfloat16":
        import ml_dtypes  # slow to import, needed for this dtype alone

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def extremes(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the least and the greatest finite number of a float dtype."""
    if dtype.name == "bfloat16":  # which NumPy's finfo does not know
        import ml_dtypes

        info: Any = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    else:
        info = np.finfo(dtype)
    return info.min, info.max


def is_float(array: Array) -> bool:
    """Return whether an array holds floating-point numbers, bfloat16 included."""
    # NumPy gives bfloat16 the kind of raw bytes. The name is looked up last because
    # that is slow, and this is called for every tensor.
    kind = array.dtype.kind
    return kind == "f" or (kind == "V" and array.dtype.name == "bfloat16")


def working(name: str) -> np.dtype[Any]:
    """Return the dtype in which this package evaluates a layer of a compute dtype."""
    return np.dtype("float64" if name == "float64" else "float32")


def rounded(array: Array, name: str) -> Array:
    """Round floats to the precision of a dtype, and return other arrays unchanged.

    The result is held in the working dtype: 16-bit numbers as float32.
    """
    kept, narrow = working(name), name in HALF_DTYPES
    if (array.dtype == kept and not narrow) or not is_float(array):
        return array
    with np.errstate(over="ignore"):
        if narrow:
            array = array.astype(dtype_of(name), copy=False)
        return array.astype(kept, copy=False)


def promoted(*arrays: Array, floatx: str) -> np.dtype[Any]:
    """Return the dtype of an operation on several arrays, by Keras's rules.

    A float dtype wins over whole numbers whatever their size; float16 and bfloat16
    together make float32.

    Parameters
    ----------
    *arrays
        The operands that are arrays; Python numbers do not affect the dtype.
    floatx : str
        Keras's default float type, returned if all operands are whole numbers.
    """
    floats = {array.dtype for array in arrays if is_float(array)}
    if not floats:
        return dtype_of(floatx)
    if len(floats) == 1:
        return floats.pop()
    widest = max(dtype.itemsize for dtype in floats)
    return np.dtype("float64" if widest == 8 else "float32")
