"""Register all layer types; no other table lists them.

To add one, write a `LayerType` in a module of this package and list it in that module's
``KINDS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from verify.errors import did_you_mean
from verify.forward.layers import (
    activation_layers,
    attention,
    categories,
    conv_lstm,
    convolution,
    core,
    dense,
    folding,
    fourier_operations,
    hashed,
    images,
    lookups,
    merging,
    models,
    normalization,
    numeric_operations,
    operations,
    pooling,
    preprocessing,
    product_operations,
    recurrent,
    recurrent_cells,
    regularization,
    reshaping,
    spectrograms,
    wrappers,
)
from verify.forward.layers.base import LayerType
from verify.forward.layers.registry import Registry
from verify.forward.layers.wrappers import LOOPS

HEADINGS: Mapping[str, tuple[type[LayerType], ...]] = MappingProxyType(
    {
        "Recurrent": (*recurrent.KINDS, *recurrent_cells.KINDS, *conv_lstm.KINDS),
        "Wrappers": wrappers.KINDS,
        "Core": (*core.KINDS, *dense.KINDS),
        "Activations": activation_layers.KINDS,
        "Convolution and pooling": (*convolution.KINDS, *pooling.KINDS),
        "Normalization": (*normalization.KINDS, *preprocessing.KINDS),
        "Sounds": spectrograms.KINDS,
        "Categories and texts": (*categories.KINDS, *lookups.KINDS, *hashed.KINDS),
        "Images": images.KINDS,
        "Attention": attention.KINDS,
        "Reshaping and merging": (*reshaping.KINDS, *merging.KINDS),
        "Regularization": regularization.KINDS,
        "Models": models.KINDS,
        "Operations": (
            *operations.KINDS,
            *folding.KINDS,
            *product_operations.KINDS,
            *numeric_operations.KINDS,
            *fourier_operations.KINDS,
        ),
    }
)
"""Heading in the table of coverage -> the layer types listed under it."""

REGISTRY = Registry(
    {kind.class_name: kind() for kinds in HEADINGS.values() for kind in kinds}
)
"""Keras class name -> layer type; raw operations have names such as ``ops.Add``."""


def _aliases() -> dict[str, str]:
    """Return the other names that Keras has for classes."""
    found = {
        kind.python_name: kind.class_name
        for kind in REGISTRY.values()
        if kind.python_name
    }
    for name in (name for name in REGISTRY if not name.startswith("ops.")):
        if "Conv" in name and "LSTM" not in name and not name.startswith("Depthwise"):
            found[name.replace("Conv", "Convolution")] = name
        for short, full in (("Avg", "Average"), ("Max", "Max")):
            if f"{full}Pooling" in name and "Adaptive" not in name:
                found[name.replace(f"{full}Pooling", f"{short}Pool")] = name
    return found


ALIASES: Mapping[str, str] = MappingProxyType(_aliases())
"""Another name of a class, as a config may have it -> the name in `REGISTRY`."""


def supported(key: str) -> str:
    """Return the end of a refusal: a name that is nearly `key`, and where all are."""
    operation = key.startswith("ops.")
    names = [
        name.removeprefix("ops.")
        for name in REGISTRY
        if name.startswith("ops.") == operation
    ]
    near = did_you_mean(key.removeprefix("ops."), names)
    return f"{near}All that are supported: rnn-verify layers"


__all__ = ["ALIASES", "HEADINGS", "LOOPS", "REGISTRY", "LayerType", "supported"]
