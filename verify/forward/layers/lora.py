"""Read layers after ``enable_lora``: a product of two matrices is added to the kernel.

Keras saves the sum as the kernel, in ``.keras`` and ``.weights.h5`` files; in ``.h5``
files kernel and matrices stand apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from verify.forward.layers.base import Option, number, optional, positive
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

LORA: Mapping[str, Option] = {
    "lora_rank": Option(optional(positive), None),
    "lora_alpha": Option(optional(number), None),
}
"""Options that a layer has after ``enable_lora``."""


def merged_lora(
    options: Mapping[str, Any], kernel: Array, left: Array, right: Array
) -> Array:
    """Return the kernel with which a layer computes after ``enable_lora``.

    ::

        kernel + lora_alpha / lora_rank * (left @ right)

    Parameters
    ----------
    options : mapping
        Of the layer; without a ``lora_alpha`` the factor is 1.
    kernel, left, right : array
        (..., inputs, units), (..., inputs, lora_rank) and (lora_rank, units).
    """
    rank, alpha = options["lora_rank"], options["lora_alpha"]
    factor = np.asarray(1 if alpha is None else alpha / rank, dtype=left.dtype)
    return kernel + (factor * (left @ right)).astype(kernel.dtype)


def lora_notes(layer: LayerSpec) -> list[str]:
    """Return the line of `describe` for a layer after ``enable_lora``, or none."""
    rank, name = layer.options["lora_rank"], next(iter(layer.weights), "kernel")
    return [f"LoRA of rank {rank} is in the {name}, as Keras saves it"] if rank else []
