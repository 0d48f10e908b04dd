"""Convolutions refuse what they must, and compute what their definition says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from verify.errors import DataError, UnsupportedError
from verify.forward.convolution import convolve
from verify.forward.evaluate import Evaluation
from verify.forward.layers import REGISTRY
from verify.model.spec import LayerSpec

ONE = {"filters": 3, "kernel_size": 2}


def layer_of(class_name: str, **options) -> LayerSpec:
    """A layer without its weights, checked."""
    kind = REGISTRY[class_name]
    layer = LayerSpec("layer", class_name, kind.read_options("Layer", options))
    kind.check("Layer", layer)
    return layer


@pytest.mark.parametrize(
    ("class_name", "options", "message"),
    [
        ("Conv1D", {"strides": 2, "dilation_rate": 2}, "dilation_rate to be 1"),
        (
            "Conv1DTranspose",
            {"strides": 2, "dilation_rate": 2},
            "dilation_rate to be 1",
        ),
        (
            "ConvLSTM2D",
            {"strides": [1, 2], "dilation_rate": 2},
            "dilation_rate to be 1",
        ),
        ("Conv1DTranspose", {"strides": 2, "output_padding": 2}, "from 0 to 1"),
        (
            "Conv1DTranspose",
            {"strides": 2, "output_padding": 0, "padding": "same"},
            "from 1 to 1",
        ),
        ("Conv1D", {"padding": "full"}, "valid, same, causal"),
        ("SeparableConv1D", {"padding": "causal"}, "valid, same"),
        ("Conv1D", {"strides": [1, 1]}, "1 whole number"),
        ("Conv1D", {"strides": 0}, "1 or more"),
        ("Conv1D", {"data_format": None}, "channels_last, channels_first"),
        ("Conv1D", {"lora_rank": 2}, "nothing else is supported"),
        ("ConvLSTM3D", {"kernel_size": [2, 2]}, "3 whole numbers"),
    ],
)
def test_what_keras_or_tensorflow_cannot_do_is_refused(class_name, options, message):
    with pytest.raises(UnsupportedError, match=message):
        layer_of(class_name, **{**ONE, **options})


def test_a_bias_that_keras_may_add_along_time_is_refused():
    rng = np.random.default_rng(0)
    layer = layer_of("Conv1D", **ONE, data_format="channels_first")
    weights = {"kernel": rng.normal(size=(2, 4, 3)), "bias": rng.normal(size=3)}
    layer = LayerSpec("layer", "Conv1D", layer.options, weights, policy="float64")
    run = Evaluation()
    assert run(layer, np.ones((2, 4, 6)), at="").value.shape == (2, 3, 5)
    with pytest.raises(DataError, match="along time"):
        run(layer, np.ones((2, 4, 4)), at="")


def test_an_input_shorter_than_the_kernel_is_refused():
    layer = layer_of("Conv1D", **ONE, use_bias=False)
    layer = LayerSpec("layer", "Conv1D", layer.options, {"kernel": np.ones((2, 4, 3))})
    with pytest.raises(DataError, match="windows of"):
        Evaluation()(layer, np.ones((2, 1, 4)), at="")


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_convolution_in_two_dimensions_is_its_sum(groups, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 6, 4)).astype(dtype)
    kernel = rng.normal(size=(2, 3, 4 // groups, 6)).astype(dtype)
    y = convolve(
        x, kernel, strides=(2, 1), padding="valid", dilation=(1, 2), groups=groups
    )
    assert y.dtype == dtype
    expected = np.zeros((2, 3, 2, 6))
    size, width = 4 // groups, 6 // groups
    for p, q, i, j, f in itertools.product(*map(range, (3, 2, 2, 3, 6))):
        start = f // width * size
        part = x[:, 2 * p + i, q + 2 * j, start : start + size]
        expected[:, p, q, f] += part @ kernel[i, j, :, f]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)
