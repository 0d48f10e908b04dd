"""Hold the names of classes and options in Keras 1, and what they are called later.

Source: keras 1.0.0 to 1.2.2, keras/layers/*.py and keras/engine/topology.py (Merge).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INERT = frozenset(
    {"init", "inner_init", "forget_bias_init", "beta_init", "gamma_init", "alpha_init"}
    | {"W_regularizer", "U_regularizer", "b_regularizer", "activity_regularizer"}
    | {"gamma_regularizer", "beta_regularizer", "depthwise_regularizer"}
    | {"pointwise_regularizer", "W_constraint", "U_constraint", "b_constraint"}
    | {"depthwise_constraint", "pointwise_constraint", "depthwise_init"}
    | {"pointwise_init", "dropout_W", "dropout_U", "consume_less", "input_length"}
    | {"weights", "cache_enabled", "input_dtype", "batch_input_shape", "momentum"}
    | {"transform_bias", "create_input_layer"}
)
"""Options that do not change what the layer computes, in any class."""

_UNITS = {"output_dim": "units", "bias": "use_bias"}
_GATED = {"output_dim": "units", "inner_activation": "recurrent_activation"}
_FILTERS = {"nb_filter": "filters", "border_mode": "padding", "bias": "use_bias"}
_PLANE = {"subsample": "strides", "dim_ordering": "data_format"}
_POOL = {"border_mode": "padding", "dim_ordering": "data_format"}
_LINE = {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"}
_FORMAT = {"dim_ordering": "data_format"}
_TANH, _LINEAR = {"activation": "tanh"}, {"activation": "linear"}
_HARD = {**_TANH, "inner_activation": "hard_sigmoid"}
_CONVOLVED = {**_LINEAR, "border_mode": "valid", "bias": True}
_POOLED = {"border_mode": "valid"}


@dataclass(frozen=True)
class Renamed:
    """Say how a class of Keras 1 is called later.

    Attributes
    ----------
    class_name : str
        The class in Keras 2.
    options : mapping of str to str
        Options with another name -> that name.
    defaults : mapping
        The defaults of Keras 1, by the old names.
    """

    class_name: str
    options: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


RENAMED: Mapping[str, Renamed] = {
    "Dense": Renamed("Dense", _UNITS, {**_LINEAR, "bias": True}),
    "TimeDistributedDense": Renamed("Dense", _UNITS, {**_LINEAR, "bias": True}),
    "SimpleRNN": Renamed("SimpleRNN", _GATED, _TANH),
    "LSTM": Renamed("LSTM", _GATED, _HARD),
    "GRU": Renamed("GRU", _GATED, _HARD),
    "Embedding": Renamed("Embedding", {}, {"mask_zero": False}),
    "Convolution1D": Renamed(
        "Conv1D",
        {**_FILTERS, "filter_length": "kernel_size", "subsample_length": "strides"},
        {**_CONVOLVED, "subsample_length": 1},
    ),
    "AtrousConvolution1D": Renamed(
        "Conv1D",
        {**_FILTERS, "filter_length": "kernel_size", "subsample_length": "strides"},
        {**_CONVOLVED, "subsample_length": 1},
    ),
    "AtrousConvolution2D": Renamed("Conv2D", {**_FILTERS, **_PLANE}, _CONVOLVED),
    "Convolution2D": Renamed("Conv2D", {**_FILTERS, **_PLANE}, _CONVOLVED),
    "Convolution3D": Renamed("Conv3D", {**_FILTERS, **_PLANE}, _CONVOLVED),
    "SeparableConvolution2D": Renamed(
        "SeparableConv2D", {**_FILTERS, **_PLANE}, _CONVOLVED
    ),
    "ConvLSTM2D": Renamed(
        "ConvLSTM2D",
        {**_FILTERS, **_PLANE, "inner_activation": "recurrent_activation"},
        {**_HARD, "border_mode": "valid"},
    ),
    "LocallyConnected1D": Renamed(
        "LocallyConnected1D",
        {**_FILTERS, "filter_length": "kernel_size", "subsample_length": "strides"},
        _CONVOLVED,
    ),
    "LocallyConnected2D": Renamed(
        "LocallyConnected2D", {**_FILTERS, **_PLANE}, _CONVOLVED
    ),
    "MaxPooling1D": Renamed("MaxPooling1D", _LINE, {**_POOLED, "pool_length": 2}),
    "AveragePooling1D": Renamed(
        "AveragePooling1D", _LINE, {**_POOLED, "pool_length": 2}
    ),
    **{
        f"{kind}Pooling{n}D": Renamed(f"{kind}Pooling{n}D", _POOL, _POOLED)
        for kind in ("Max", "Average")
        for n in (2, 3)
    },
    **{
        f"Global{kind}Pooling{n}D": Renamed(f"Global{kind}Pooling{n}D", _FORMAT)
        for kind in ("Max", "Average")
        for n in (1, 2, 3)
    },
    "UpSampling1D": Renamed("UpSampling1D", {"length": "size"}, {"length": 2}),
    "UpSampling2D": Renamed("UpSampling2D", _FORMAT),
    "UpSampling3D": Renamed("UpSampling3D", _FORMAT),
    **{
        f"{kind}{n}D": Renamed(f"{kind}{n}D", _FORMAT)
        for kind in ("ZeroPadding", "Cropping")
        for n in (1, 2, 3)
    },
    "Dropout": Renamed("Dropout", {"p": "rate"}),
    **{
        f"SpatialDropout{n}D": Renamed(
            f"SpatialDropout{n}D", {"p": "rate", "dim_ordering": "data_format"}
        )
        for n in (1, 2, 3)
    },
    "GaussianDropout": Renamed("GaussianDropout", {"p": "rate"}),
    "GaussianNoise": Renamed("GaussianNoise", {"sigma": "stddev"}),
    "BatchNormalization": Renamed("BatchNormalization", {}, {"axis": -1}),
    "LeakyReLU": Renamed("LeakyReLU", {}, {"alpha": 0.3}),
    "ELU": Renamed("ELU", {}, {"alpha": 1.0}),
    "PReLU": Renamed("PReLU"),
    "ThresholdedReLU": Renamed("ThresholdedReLU", {}, {"theta": 1.0}),
    **{
        name: Renamed(name)
        for name in ("Activation", "Flatten", "Masking", "Permute", "RepeatVector")
    },
    "Reshape": Renamed("Reshape"),
    "ActivityRegularization": Renamed("ActivityRegularization"),
}
"""Class of Keras 1 -> its later name, with those of its options."""

MERGES = {
    "sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum",
    "concat": "Concatenate", "dot": "Dot",
}  # fmt: skip
"""Mode of a Merge -> the layer that computes it."""

REFUSED = {
    "ParametricSoftplus": "Keras 2 has dropped it",
    "SReLU": "Keras 2 has dropped it",
    "Deconvolution2D": "its output_shape fixes the size, which Keras 3 cannot say",
    "Highway": "it is read between the layers of a model only",
    "MaxoutDense": "it is read between the layers of a model only",
    "Merge": "it is read between the layers of a model only",
}
"""Classes of Keras 1 that are refused, with the reason."""

MARKS = frozenset(
    {"W_regularizer", "inner_init", "inner_activation", "nb_filter", "border_mode"}
    | {"dim_ordering", "pool_length", "input_dtype", "consume_less", "mode_type"}
)
"""Options that only Keras 1 writes."""
