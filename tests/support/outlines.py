"""Hold the outline of a model against its trace on real numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from verify import Network
from verify.model.graph import flatten


def differences(net: Network, x: Any, dtype: str | None = None) -> list[str]:
    """Say where `Network.outline` has other shapes, dtypes or masks than `trace`."""
    real, outlined = net.trace(x, dtype=dtype), net.outline(x, dtype=dtype)
    found = []
    inside = {key for key, t in real.items() if "/layer" in key}  # of TimeDistributed
    if missing := set(real) - set(outlined) - inside:
        found.append(f"not outlined: {sorted(missing)}")
    for key, there in outlined.items():
        here = real[key]
        pairs = {
            "input": (here.input, there.input),
            "output": (here.output, there.output),
            "mask": (here.mask, there.mask),
        }
        pairs |= {
            name: (value, there.values.get(name)) for name, value in here.values.items()
        }
        for name, (a, b) in pairs.items():
            if (kinds := _kinds(a)) != (others := _kinds(b)):
                found.append(f"{key}/{name}: {others}, expected {kinds}")
    return found


def _kinds(structure: Any) -> list[Any]:
    """The shape and dtype of every array of a structure."""
    return [
        (leaf.shape, leaf.dtype) if isinstance(leaf, np.ndarray) else type(leaf)
        for leaf in flatten(structure)
    ]
