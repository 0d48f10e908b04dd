"""The registry of layer types; a layer is known here and nowhere else.

To add one: write a `LayerType` in a module of this package, list it in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from verify.layers.activation_layers import ELU, LeakyReLU, PReLU, ReLU, Softmax
from verify.layers.attention import AdditiveAttention, Attention, MultiHeadAttention
from verify.layers.base import LayerType
from verify.layers.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from verify.layers.convolution import (
    Conv1D,
    Conv1DTranspose,
    DepthwiseConv1D,
    SeparableConv1D,
)
from verify.layers.core import Activation, Embedding, Identity, Masking
from verify.layers.dense import Dense, EinsumDense
from verify.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
)
from verify.layers.models import Functional, InputLayer, Sequential
from verify.layers.normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
    UnitNormalization,
)
from verify.layers.operations import OPERATIONS
from verify.layers.pooling import (
    AveragePooling1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
)
from verify.layers.preprocessing import Normalization, Rescaling
from verify.layers.recurrent import GRU, LSTM, RNN, SimpleRNN
from verify.layers.recurrent_cells import (
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    StackedRNNCells,
)
from verify.layers.regularization import REGULARIZATION
from verify.layers.reshaping import (
    Cropping1D,
    Flatten,
    Permute,
    RepeatVector,
    Reshape,
    UpSampling1D,
    ZeroPadding1D,
)
from verify.layers.wrappers import LOOPS, Bidirectional, TimeDistributed
from verify.spec import listing

KINDS: Mapping[str, tuple[type[LayerType], ...]] = MappingProxyType(
    {
        "models": (InputLayer, Sequential, Functional),
        "recurrent": (
            SimpleRNN, LSTM, GRU, RNN, SimpleRNNCell, LSTMCell, GRUCell,
            StackedRNNCells, Bidirectional, TimeDistributed,
        ),
        "convolutional recurrence": (ConvLSTM1D, ConvLSTM2D, ConvLSTM3D),
        "convolution": (Conv1D, SeparableConv1D, DepthwiseConv1D, Conv1DTranspose),
        "pooling": (
            MaxPooling1D, AveragePooling1D, GlobalMaxPooling1D, GlobalAveragePooling1D,
        ),
        "operations": OPERATIONS,
        "attention": (Attention, AdditiveAttention, MultiHeadAttention),
        "core": (Embedding, Masking, Dense, EinsumDense, Activation, Identity),
        "activations": (ReLU, LeakyReLU, ELU, PReLU, Softmax),
        "regularization": REGULARIZATION,
        "normalization": (
            BatchNormalization, LayerNormalization, RMSNormalization,
            GroupNormalization, UnitNormalization,
        ),
        "preprocessing": (Normalization, Rescaling),
        "reshaping": (
            Flatten, Reshape, Permute, RepeatVector, Cropping1D, ZeroPadding1D,
            UpSampling1D,
        ),
        "merging": (
            Concatenate, Add, Subtract, Multiply, Average, Maximum, Minimum, Dot,
        ),
    }
)  # fmt: skip
"""Layer types by the heading under which the coverage table lists them."""

REGISTRY: Mapping[str, LayerType] = MappingProxyType(
    {kind.class_name: kind() for kinds in KINDS.values() for kind in kinds}
)
"""Keras class name -> layer type; raw operations are called ``ops.Add``."""


def supported(key: str) -> str:
    """The sentence that ends a refusal: what there is instead."""
    operations = key.startswith("ops.")
    names = sorted(
        name.removeprefix("ops.")
        for name in REGISTRY
        if name.startswith("ops.") == operations
    )
    return f"Supported: {listing(names)}"


__all__ = ["KINDS", "LOOPS", "REGISTRY", "LayerType", "supported"]
