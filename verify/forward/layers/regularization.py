"""Evaluate the layers that act in training only: predict returns their input."""

from __future__ import annotations

from typing import ClassVar

from verify.forward.layers.base import Elementwise, LayerType, Run
from verify.model.arrays import Array
from verify.model.spec import LayerSpec


class TrainingOnly(Elementwise):
    """Return the input unchanged, because the layer acts in training only."""

    inert: ClassVar[frozenset[str]] = frozenset({"rate", "seed"})

    def notes(self, layer: LayerSpec) -> list[str]:
        return ["y = x in predict: it acts in training only"]

    def call(self, run: Run, layer: LayerSpec, inputs: Array) -> Array:
        return inputs


class Dropout(TrainingOnly):
    """Return the input unchanged.

    Source: keras/src/layers/regularization/dropout.py.
    """

    class_name = "Dropout"
    inert = frozenset({"rate", "seed", "noise_shape"})


class AlphaDropout(TrainingOnly):
    """Return the input unchanged.

    Source: keras/src/layers/regularization/alpha_dropout.py.
    """

    class_name = "AlphaDropout"
    inert = frozenset({"rate", "seed", "noise_shape"})


class GaussianDropout(TrainingOnly):
    """Return the input unchanged.

    Source: keras/src/layers/regularization/gaussian_dropout.py.
    """

    class_name = "GaussianDropout"


class GaussianNoise(TrainingOnly):
    """Return the input unchanged.

    Source: keras/src/layers/regularization/gaussian_noise.py.
    """

    class_name = "GaussianNoise"
    inert = frozenset({"stddev", "seed"})


class SpatialDropout1D(TrainingOnly):
    """Return the input unchanged.

    Keras 2 writes the ``noise_shape`` of the Dropout that it inherits from.

    Source: keras/src/layers/regularization/spatial_dropout.py.
    """

    class_name = "SpatialDropout1D"
    inert = frozenset({"rate", "seed", "noise_shape"})


class SpatialDropout2D(TrainingOnly):
    """Return the input unchanged.

    Source: keras/src/layers/regularization/spatial_dropout.py.
    """

    class_name = "SpatialDropout2D"
    inert = frozenset({"rate", "seed", "data_format", "noise_shape"})


class SpatialDropout3D(TrainingOnly):
    """Return the input unchanged.

    Source: keras/src/layers/regularization/spatial_dropout.py.
    """

    class_name = "SpatialDropout3D"
    inert = frozenset({"rate", "seed", "data_format", "noise_shape"})


class ActivityRegularization(TrainingOnly):
    """Return the input unchanged.

    Source: keras/src/layers/regularization/activity_regularization.py.
    """

    class_name = "ActivityRegularization"
    inert = frozenset({"l1", "l2"})


class StochasticDepth(TrainingOnly):
    """Return the input unchanged, the tensor itself, so that it keeps its mask.

    Keras has the class not among its layers, but in the models that it calls
    ConvNeXt.

    Source: keras/src/applications/convnext.py.
    """

    class_name = "StochasticDepth"
    inert = frozenset({"drop_path_rate"})
    supports_masking = False
    returns_input = "always"


KINDS: tuple[type[LayerType], ...] = (
    Dropout,
    AlphaDropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
    ActivityRegularization,
    StochasticDepth,
)
"""The layer types of this module, for the registry."""
