"""Pack arrays as JSON: base64 of little-endian numbers, with a shape and a dtype."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from verify.model.arrays import Array

Packed = dict[str, Any]
"""An array as `pack_array` returns it."""


def pack_array(array: Array, *, exact: bool = True) -> Packed:
    """Return an array for the page: ``{"shape", "dtype", "data"}``.

    Parameters
    ----------
    array : array of numbers or truth values
    exact : bool
        Whether every number must be kept as it is. Otherwise floats are rounded to
        float32, which takes half the space, unless that would overflow.

    Returns
    -------
    dict
        ``dtype`` is ``f4``, ``f8``, ``i4`` or ``u1``; ``data`` is base64.
    """
    kind = _dtype(array, exact)
    raw = np.ascontiguousarray(array.astype(f"<{kind}" if kind != "u1" else "u1"))
    return {
        "shape": list(array.shape),
        "dtype": kind,
        "data": base64.b64encode(raw.tobytes()).decode("ascii"),
    }


def _dtype(array: Array, exact: bool) -> str:
    if array.dtype.kind == "b":
        return "u1"
    if array.dtype.kind in "iu":
        small = not array.size or bool(np.all(np.abs(array.astype(float)) < 2**31))
        return "i4" if small else "f8"
    double = array.astype(np.float64)
    with np.errstate(over="ignore"):
        single = double.astype(np.float32)
    fits = (single == double) if exact else np.isfinite(single)
    return "f4" if bool(np.all(fits)) else "f8"


def script_json(content: Any) -> str:
    """Return JSON that is safe inside a ``<script>`` element.

    It contains no ``<``, ``>`` or ``&``, so that no name and no text can end the
    element or begin a comment. It is all ASCII, so it contains no U+2028 either, which
    ends a line in JavaScript.
    """
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
