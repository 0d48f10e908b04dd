"""The registry of layer types; a layer is known here and nowhere else.

To add one: write a `LayerType` in a module of this package, list it in `REGISTRY`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from verify.layers.base import Called, LayerType
from verify.layers.core import Activation, Dense, Dropout, Embedding
from verify.layers.recurrent import GRU, LSTM, Recurrent, SimpleRNN

REGISTRY: Mapping[str, LayerType] = MappingProxyType(
    {
        layer_type.class_name: layer_type()
        for layer_type in (
            Embedding, SimpleRNN, LSTM, GRU, Dense, Activation, Dropout,
        )
    }
)  # fmt: skip
"""Keras class name -> layer type. InputLayer is read with the model itself."""

__all__ = ["REGISTRY", "Called", "LayerType", "Recurrent"]
