"""Dtype policies: in which precision a layer computes, and in which it keeps weights.

A 16-bit layer rounds what enters it, its weights and what leaves it to 16 bits, and a
recurrent one its states at every step. In between, this package computes in float32,
which is how matrix products of 16-bit numbers are accumulated everywhere.
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

HALF_DTYPES = ("float16", "bfloat16")
"""Dtypes of 16 bits, which are computed with in float32 here."""

UNIT_ROUNDOFF: Mapping[str, float] = MappingProxyType(
    {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
)
"""Greatest relative error of rounding to a dtype."""

SINGLE = UNIT_ROUNDOFF["float32"]


def dtype_of(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype of a Keras dtype name; bfloat16 is that of ml_dtypes."""
    if name == "bfloat16":
        import ml_dtypes  # slow to import, needed for this dtype alone

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def is_float(array: Array) -> bool:
    """Return whether an array holds floating-point numbers, bfloat16 included."""
    kind = array.dtype.kind  # bfloat16 is a stranger to NumPy, and a name takes long
    return kind == "f" or (kind == "V" and array.dtype.name == "bfloat16")


def working(name: str) -> np.dtype[Any]:
    """Return the dtype in which a layer of this compute dtype is evaluated here."""
    return np.dtype("float64" if name == "float64" else "float32")


def rounded(array: Array, name: str) -> Array:
    """Round floats to a dtype, given in its working dtype; the rest is untouched."""
    kept, narrow = working(name), name in HALF_DTYPES
    if (array.dtype == kept and not narrow) or not is_float(array):
        return array
    with np.errstate(over="ignore"):
        if narrow:
            array = array.astype(dtype_of(name), copy=False)
        return array.astype(kept, copy=False)


def promoted(*arrays: Array, floatx: str) -> np.dtype[Any]:
    """Return the dtype of an operation on these arrays, by Keras's rules.

    Floats win over whole numbers without growing; two 16-bit kinds make float32.

    Parameters
    ----------
    *arrays
        Operands; Python numbers do not take part.
    floatx : str
        What whole numbers become where a float must come out.
    """
    floats = {array.dtype for array in arrays if is_float(array)}
    if not floats:
        return dtype_of(floatx)
    if len(floats) == 1:
        return floats.pop()
    widest = max(dtype.itemsize for dtype in floats)
    return np.dtype("float64" if widest == 8 else "float32")
