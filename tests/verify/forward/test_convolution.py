"""Convolutions refuse what they must, and compute what their definition says."""

from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.errors import DataError, UnsupportedError
from verify.forward import convolution
from verify.forward.convolution import convolve, dilated_size, pad_width, spread
from verify.forward.evaluate import Evaluation
from verify.forward.layers import REGISTRY
from verify.model.backends import BACKENDS
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
        ("Conv1D", {"lora_rank": 0}, "a whole number, 1 or more"),
        ("ConvLSTM3D", {"kernel_size": [2, 2]}, "3 whole numbers"),
        ("Conv2D", {"strides": [1, 2], "dilation_rate": [2, 1]}, "to be 1"),
        ("Conv2D", {"padding": "causal"}, "valid, same"),
        ("Conv2D", {"padding": [[0, 1], [1, 0]]}, "one of valid, same"),
        ("Conv2D", {"groups": 2}, "filters=3, groups=2"),
        ("Conv3D", {"kernel_size": [1, 2]}, "3 whole numbers"),
        ("Conv3D", {"lora_rank": 0}, "a whole number, 1 or more"),
        (
            "Conv2DTranspose",
            {"strides": [2, 3], "output_padding": [1, 3]},
            "from 0 to 2",
        ),
        (
            "Conv3DTranspose",
            {"strides": 2, "output_padding": [1, 0, 1], "padding": "same"},
            "from 1 to 1",
        ),
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


def random(*shape: int, dtype: str = "float64") -> np.ndarray:
    """The same random numbers for the same shape."""
    return np.random.default_rng(len(shape)).normal(size=shape).astype(dtype)


def test_an_input_with_other_axes_or_channels_is_refused():
    layer = layer_of("Conv2D", **ONE, use_bias=False)
    layer = LayerSpec("layer", "Conv2D", layer.options, {"kernel": random(2, 2, 4, 3)})
    assert Evaluation()(layer, random(2, 3, 3, 4), at="").value.shape == (2, 2, 2, 3)
    with pytest.raises(DataError, match=r"axes \(batch, height, width\)"):
        Evaluation()(layer, random(2, 5, 3, 3, 4), at="")
    with pytest.raises(DataError, match="8 channels for a kernel of 4"):
        Evaluation()(layer, random(2, 3, 3, 8), at="")


def test_a_bias_of_images_is_refused_on_tensorflow_where_the_width_is_as_long():
    layer = layer_of("Conv2D", **ONE, data_format="channels_first")
    weights = {"kernel": random(2, 2, 4, 3), "bias": random(3)}
    layer = LayerSpec("layer", "Conv2D", layer.options, weights, policy="float64")
    with pytest.raises(DataError, match="along width"):
        Evaluation()(layer, random(2, 4, 5, 4), at="")
    elsewhere = replace(layer, rules=BACKENDS["jax"])
    y = Evaluation()(elsewhere, random(2, 4, 5, 4), at="").value
    without = replace(elsewhere, weights={"kernel": weights["kernel"]})
    expected = Evaluation()(without, random(2, 4, 5, 4), at="").value
    expected = expected + weights["bias"][:, None, None]
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-12)


VOLUME = {"filters": 2, "kernel_size": [1, 2, 2], "strides": [3, 1, 1],
          "padding": "same"}  # fmt: skip
"""Of 6 steps along the first axis it reads those at 0 and 3, and leaves out two."""


def volume_of(class_name: str, **options) -> LayerSpec:
    layer = layer_of(class_name, **{**VOLUME, "use_bias": False, **options})
    if class_name == "ConvLSTM3D":
        size = layer.options["kernel_size"]
        weights = {"kernel": random(*size, 2, 8)}
        weights["recurrent_kernel"] = random(*size, 2, 8)
    else:
        channels = 2 // layer.options["groups"]
        weights = {"kernel": random(*layer.options["kernel_size"], channels, 2)}
    return replace(layer, weights=weights, policy="float64")


def test_windows_that_tensorflow_may_move_are_refused_there_alone():
    image, steps = random(3, 6, 4, 5, 2), random(2, 3, 6, 4, 5, 2)
    for class_name, x in (("Conv3D", image), ("ConvLSTM3D", steps)):
        layer = volume_of(class_name)
        with pytest.raises(DataError, match="2 of 6 left out along depth"):
            Evaluation()(layer, x, at="")
        others = [
            (replace(layer, rules=BACKENDS["jax"]), x),
            (volume_of(class_name, kernel_size=[2, 2, 2]), x),  # leaves out one
            (volume_of(class_name, strides=[2, 1, 1]), x),
            (volume_of(class_name, padding="valid"), x),
            (volume_of(class_name, data_format="channels_first"),
             np.moveaxis(x, -1, -4)),
        ]  # fmt: skip
        if class_name == "Conv3D":
            others.append((volume_of(class_name, groups=2), x))
        for other, numbers in others:
            assert np.isfinite(Evaluation()(other, numbers, at="").value).all()
        moved = volume_of(class_name, strides=[1, 4, 1], kernel_size=[2, 1, 1])
        with pytest.raises(DataError, match="3 of 4 left out along height"):
            Evaluation()(moved, x, at="")


@pytest.mark.keras
def test_tensorflow_moves_these_windows_in_float64_and_no_others():
    """If this fails, TensorFlow is mended, and nothing need be refused."""
    from keras import layers

    x = random(3, 6, 4, 5, 2)
    for options, moved_by in (({}, 1), ({"kernel_size": [2, 2, 2]}, 0),
                              ({"groups": 2}, 0)):  # fmt: skip
        spec = replace(volume_of("Conv3D", **options), rules=BACKENDS["jax"])
        theirs = layers.Conv3D(**{**VOLUME, "use_bias": False, **options},
                               dtype="float64")  # fmt: skip
        theirs.build(x.shape)
        theirs.set_weights(list(spec.weights.values()))
        later = np.concatenate([x[:, moved_by:], x[:, :moved_by]], axis=1)
        ours = Evaluation()(spec, later, at="").value
        np.testing.assert_allclose(np.asarray(theirs(x)), ours, rtol=0, atol=1e-12)


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


WINDOWS = st.sampled_from(
    [
        (kernel_size, strides, dilation)
        for kernel_size, strides, dilation in itertools.product(
            [(2, 3), (3, 1), (1, 2), (4, 2)],
            [(1, 1), (2, 1), (1, 3)],
            [(1, 1), (2, 1), (1, 2)],
        )
    ]
)


@given(WINDOWS, st.sampled_from([1, 2, 4]), st.sampled_from(["valid", "same"]))
@settings(max_examples=20, deadline=None)
def test_spread_is_the_adjoint_of_a_convolution(window, groups, padding):
    kernel_size, strides, dilation = window
    x, kernel = random(2, 8, 9, 4), random(*kernel_size, 4 // groups, 8)
    how = {"strides": strides, "dilation": dilation, "groups": groups}
    y = convolve(x, kernel, padding=padding, **how)
    dy = random(*y.shape)
    span = dilated_size(kernel_size, dilation)
    widths = [
        pad_width(n, r, s, padding)
        for n, r, s in zip(x.shape[1:-1], span, strides, strict=True)
    ]
    lengths = [n + sum(w) for n, w in zip(x.shape[1:-1], widths, strict=True)]
    back = spread(dy, kernel, lengths, **how)
    inside = tuple(
        slice(w[0], w[0] + n) for n, w in zip(x.shape[1:-1], widths, strict=True)
    )
    dx = back[(slice(None), *inside)]
    assert np.vdot(y, dy) == pytest.approx(np.vdot(x, dx), abs=1e-9)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_blocks_of_any_size_give_the_same_numbers(monkeypatch, groups):
    x, kernel = random(3, 7, 6, 4), random(3, 2, 4 // groups, 8)
    how = {"strides": (2, 1), "dilation": (1, 1)}
    how |= {"groups": groups}
    right = convolve(x, kernel, padding="same", **how)
    back = spread(right, kernel, (10, 8), **how)
    for block in (1, 100, 400, 2000):
        monkeypatch.setattr(convolution, "BLOCK", block)
        np.testing.assert_allclose(
            convolve(x, kernel, padding="same", **how), right, rtol=0, atol=1e-12
        )
        np.testing.assert_allclose(
            spread(right, kernel, (10, 8), **how), back, rtol=0, atol=1e-12
        )


def test_no_row_is_no_error():
    y = convolve(
        np.ones((0, 4, 4, 2)),
        np.ones((2, 2, 2, 3)),
        strides=(1, 1),
        padding="same",
        dilation=(1, 1),
    )
    assert y.shape == (0, 4, 4, 3)


def test_a_video_takes_little_memory_beside_its_result():
    x = np.ones((160, 32, 32, 3), dtype="float32")
    kernel = np.ones((3, 3, 3, 8), dtype="float32")
    tracemalloc.start()
    y = convolve(x, kernel, strides=(1, 1), padding="same", dilation=(1, 1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert y[1, 5, 5, 0] == 27
    assert y[1, 0, 0, 0] == 12
    assert peak - y.nbytes < 8e6
