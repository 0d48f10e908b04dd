"""Say by how much the slopes of activations jump."""

from __future__ import annotations

from functools import cache

import numpy as np

from verify.backward.derivatives import DERIVATIVES
from verify.forward.activations import resolve


@cache
def slope_jump(activation: str, kink: float) -> float:
    """Return by how much the slope of an activation jumps at one of its `KINKS`."""
    around = kink + np.array([-1e-6, 1e-6])
    slope = DERIVATIVES[activation](around, resolve(activation, exact=True)(around))
    return float(np.abs(np.diff(slope))[0])
