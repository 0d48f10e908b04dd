"""Ports of a ConvLSTM, written by themselves here, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import GivenWeights, input_layer, layer, random_weights, sequential

from verify import Network, Verdict, compare_outputs
from verify.mistakes.catalogue import catalogue
from verify.model_files.config import read_model

ROWS, TIME, CHANNELS, FILTERS = 40, 4, 3, 2


def model_of(class_name, kernel_size, lengths, seed=0, **options):
    """One ConvLSTM with random weights, none of them zero."""
    first = options.get("data_format") == "channels_first"
    axes = (CHANNELS, *lengths) if first else (*lengths, CHANNELS)
    config = sequential(
        input_layer(None, TIME, *axes),
        layer(
            class_name,
            "conv",
            filters=FILTERS,
            kernel_size=list(kernel_size),
            **options,
        ),
    )
    shapes = [
        (*kernel_size, CHANNELS, 4 * FILTERS),
        (*kernel_size, FILTERS, 4 * FILTERS),
        (4 * FILTERS,),
    ]
    weights = [0.5 * w.astype(np.float32) for w in random_weights(shapes, seed)]
    return read_model(
        config, GivenWeights({"conv": weights}), source="a test", keras_version="3.15.1"
    )


def inputs(*lengths):
    rng = np.random.default_rng(1)
    return rng.normal(size=(ROWS, TIME, *lengths, CHANNELS)).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def conv1d(x, kernel, before, after):
    """Slide a window over (batch, length, channels), number by number."""
    x = np.pad(x, [(0, 0), (before, after), (0, 0)])
    size = len(kernel)
    return np.stack(
        [
            np.einsum("bjc,jcf->bf", x[:, p : p + size], kernel)
            for p in range(x.shape[1] - size + 1)
        ],
        axis=1,
    )


def port(model, x, pads=(0, 1), kernels=lambda w: w, cell=None):
    """Run a ConvLSTM1D with padding `valid` and a kernel of 2, last step only."""
    kernel, recurrent, bias = model["conv"].weights.values()
    kernel, recurrent = kernels(kernel), kernels(recurrent)
    h = c = np.zeros((len(x), x.shape[2] - 1, FILTERS))
    for t in range(x.shape[1]):
        z = conv1d(x[:, t], kernel, 0, 0) + bias + conv1d(h, recurrent, *pads)
        i, f, g, o = np.split(z, 4, axis=-1)
        if cell:
            h, c = cell(sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o), h, c)
            continue
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h.astype(np.float32)


def names(model, x, theirs):
    report = compare_outputs(Network(model), x, theirs)
    assert report.verdict is Verdict.FAIL
    return [found.mistake for found in report.diagnosis.explanations]


def small():
    return model_of("ConvLSTM1D", (2,), (5,)), inputs(5)


def test_right_outputs_of_the_loop_in_this_file_pass():
    model, x = small()
    assert compare_outputs(Network(model), x, port(model, x)).verdict is Verdict.PASS


def test_the_states_padded_in_front_are_named():
    model, x = small()
    theirs = port(model, x, pads=(1, 0))
    assert names(model, x, theirs) == ["recurrent convolution padded in front"]


def test_flipped_kernels_are_named():
    model, x = small()
    theirs = port(model, x, kernels=lambda w: w[::-1])
    assert names(model, x, theirs) == ["both kernels flipped"]


def test_filters_before_channels_are_named():
    model, x = small()

    def misread(w):
        size, channels, columns = w.shape
        return w.reshape(size, columns, channels).transpose(0, 2, 1)

    assert names(model, x, port(model, x, kernels=misread)) == [
        "filters read before channels"
    ]


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (lambda i, f, g, o, h, c: (o * (f * c + i * g), f * c + i * g), "output acti"),
        (lambda i, f, g, o, h, c: (o * np.tanh(f * c + g), f * c + g), "input gate mi"),
        (
            lambda i, f, g, o, h, c: (o * np.tanh(c + i * g), c + i * g),
            "forget gate missing",
        ),
        (
            lambda i, f, g, o, h, c: (o * np.tanh(c), f * c + i * g),
            "output from the old cell state",
        ),
    ],
)
def test_the_equations_of_an_lstm_are_mistaken_in_a_conv_lstm_too(cell, name):
    model, x = small()
    (found,) = names(model, x, port(model, x, cell=cell))
    assert found.startswith(name)


CASES = {
    "1D": ("ConvLSTM1D", (2,), (5,), {}),
    "1D same, strided": ("ConvLSTM1D", (3,), (6,), {"padding": "same", "strides": [2]}),
    "1D dilated": ("ConvLSTM1D", (3,), (8,), {"dilation_rate": [2]}),
    "2D": ("ConvLSTM2D", (2, 3), (5, 6), {"padding": "same"}),
    "2D square, first": (
        "ConvLSTM2D",
        (2, 2),
        (4, 5),
        {"return_sequences": True},
    ),
    "3D": ("ConvLSTM3D", (1, 2, 3), (2, 3, 4), {"padding": "same"}),
}


@pytest.mark.parametrize("name", CASES)
def test_every_mistake_changes_the_outputs_and_none_fails(name):
    class_name, kernel_size, lengths, options = CASES[name]
    model, x = model_of(class_name, kernel_size, lengths, **options), inputs(*lengths)
    given = Network(model).prepare(x)
    (right,) = Network(model).flat(given, dtype="float64")
    made = list(catalogue(model))
    found = {m.name for m in made}
    assert "both kernels flipped" in found
    assert "states rounded to float16" in found
    assert "forget gate missing" in found
    even = any(size % 2 == 0 for size in kernel_size)
    assert ("recurrent convolution padded in front" in found) == even
    assert ("recurrent convolution dilated" in found) == (name == "1D dilated")
    assert ("inputs padded in front" in found) == (options.get("padding") == "same")
    assert ("kernel with rows and columns exchanged" in found) == ("square" in name)
    for mutant in made:
        (wrong,) = mutant.evaluate(given)
        assert wrong.shape == right.shape, mutant.name
        assert np.abs(wrong - right).max() > 1e-7, mutant.name


@pytest.mark.slow
def test_channels_first_is_read_as_such():
    model = model_of("ConvLSTM2D", (2, 3), (5, 6), padding="same")
    first = model_of(
        "ConvLSTM2D", (2, 3), (5, 6), padding="same", data_format="channels_first"
    )
    x = inputs(5, 6)
    moved = np.moveaxis(x, -1, 2)
    others = {m.name: m for m in catalogue(first)}
    for one in catalogue(model):
        if not one.changes or one.name == "channels reshaped, not moved":
            continue  # made in the layer, and not in what it is given
        (a,) = one.evaluate(Network(model).prepare(x))
        (b,) = others[one.name].evaluate(Network(first).prepare(moved.copy()))
        assert np.allclose(a, np.moveaxis(b, 1, -1), atol=1e-10), one.name
