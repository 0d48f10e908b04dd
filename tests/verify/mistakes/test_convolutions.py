"""Mistakes in convolutions of images, groups and transposed ones, planted by NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support.graphs import computed, given, made, named, net

ROWS, HEIGHT, WIDTH, CHANNELS, FILTERS = 4, 5, 7, 3, 6
X = np.random.default_rng(5).integers(-9, 9, (ROWS, HEIGHT, WIDTH, CHANNELS)) / 8


def alone(class_name, *shapes, channels=CHANNELS, **options):
    layer = made(class_name, "conv", *shapes, seed=3, **options)
    return net([given("x", HEIGHT, WIDTH, channels), layer], {"conv": "x"}, "conv")


def image(size, groups=1, **options):
    shapes = [(*size, CHANNELS // groups, FILTERS), (FILTERS,)]
    return alone(
        "Conv2D", *shapes, filters=FILTERS, kernel_size=size, groups=groups, **options
    )


def convolved(spec, widths=((0, 0), (0, 0)), strides=(1, 1), dilation=(1, 1), x=X,
              mode="constant", kernel=lambda k: k):  # fmt: skip
    """One sum for each window of the padded image."""
    own, bias = (w.astype(np.float64) for w in spec["conv"].weights.values())
    own = kernel(own)
    x = np.pad(x, [(0, 0), *widths, (0, 0)], mode=mode)
    reach = [(k - 1) * d + 1 for k, d in zip(own.shape, dilation, strict=False)]
    axes = zip(x.shape[1:3], reach, strides, strict=True)
    starts = [range(0, n - r + 1, s) for n, r, s in axes]
    y = np.zeros((len(x), *map(len, starts), own.shape[-1]))
    for (p, a), (q, b) in itertools.product(*map(enumerate, starts)):
        part = x[:, a : a + reach[0] : dilation[0], b : b + reach[1] : dilation[1]]
        y[:, p, q] = np.einsum("bijc,ijcf->bf", part, own)
    return y + bias


SAME = {"padding": "same"}
IMAGES = [
    ((2, 3), SAME, {"widths": ((0, 1), (1, 1))}, {"widths": ((1, 0), (1, 1))},
     {"more padding before than after"}),
    ((2, 3), SAME, {"widths": ((0, 1), (1, 1))}, {"widths": ((1, 0), (2, 0))},
     {"padding before alone"}),
    ((3, 3), SAME, {"widths": ((1, 1), (1, 1))},
     {"widths": ((1, 1), (1, 1)), "mode": "edge"}, {"padding repeats the edge"}),
    ((4, 3), {**SAME, "strides": (2, 2)},
     {"widths": ((1, 2), (1, 1)), "strides": (2, 2)},
     {"widths": ((2, 1), (1, 1)), "strides": (2, 2)},
     {"more padding before than after"}),
    ((2, 2), {"strides": (2, 3)}, {"strides": (2, 3)},
     {"strides": (2, 3), "x": X[:, 1:, 2:]},
     {"windows aligned to the end"}),
    ((3, 3), {**SAME, "dilation_rate": (2, 1)},
     {"widths": ((2, 2), (1, 1)), "dilation": (2, 1)}, {"widths": ((1, 1), (1, 1))},
     {"dilation ignored"}),
    ((2, 3), {}, {}, {"kernel": lambda k: k[::-1, ::-1]}, {"kernel flipped"}),
    ((3, 3), {}, {}, {"kernel": lambda k: k.transpose(1, 0, 2, 3)},
     {"rows and columns of the kernel exchanged"}),
    ((2, 3), {}, {}, {"kernel": lambda k: k.reshape(6, 3, 2, 3).transpose(2, 3, 1, 0)},
     {"kernel read as PyTorch's"}),
    ((2, 3), {}, {}, {"kernel": lambda k: k.reshape(2, 3, 6, 3).swapaxes(2, 3)},
     {"last axes of the kernel read in reverse order"}),
    ((2, 3), {}, {}, {"x": X[..., ::-1]},
     {"channels in reverse order", "features in reverse order"}),
    ((2, 3), {}, {},
     {"x": np.moveaxis(X.reshape(ROWS, CHANNELS, HEIGHT, WIDTH), 1, -1)},
     {"channels reshaped, not moved"}),
]  # fmt: skip


@pytest.mark.parametrize(("size", "options", "own", "other", "names"), IMAGES)
def test_a_convolution_of_images_that_is_padded_or_read_otherwise(
    size, options, own, other, names
):
    spec = image(size, **options)
    assert np.abs(computed(spec, X) - convolved(spec, **own)).max() < 1e-12
    assert named(spec, X, convolved(spec, **other)) == names


def test_padding_of_pytorch_for_a_stride():
    x = np.concatenate([X, X[:, :1]], axis=1)  # six rows: Keras pads below alone
    layer = made("Conv2D", "conv", (3, 3, CHANNELS, FILTERS), (FILTERS,), seed=3,
                 filters=FILTERS, kernel_size=3, strides=2, padding="same")  # fmt: skip
    spec = net([given("x", 6, WIDTH, CHANNELS), layer], {"conv": "x"}, "conv")
    own, torch = ((0, 1), (1, 1)), ((1, 0), (1, 1))
    right = convolved(spec, own, (2, 2), x=x)
    assert np.abs(computed(spec, x) - right).max() < 1e-12
    names = {"padded as for stride 1", "more padding before than after"}
    assert named(spec, x, convolved(spec, torch, (2, 2), x=x)) == names


def test_groups_of_channels():
    spec = image((2, 1), groups=3)
    kernel, bias = (w.astype(np.float64) for w in spec["conv"].weights.values())

    def grouped(channel_of):
        y = np.zeros((ROWS, HEIGHT - 1, WIDTH, FILTERS))
        for f in range(FILTERS):
            for i in range(2):
                y[..., f] += X[:, i : i + 4, :, channel_of(f)] * kernel[i, 0, 0, f]
        return y + bias

    assert np.abs(computed(spec, X) - grouped(lambda f: f // 2)).max() < 1e-12
    first = grouped(lambda f: 0)
    assert named(spec, X, first) == {"every group sees the first channels"}
    turned = grouped(lambda f: 2 - f // 2)
    assert named(spec, X, turned) == {
        "groups in reverse order",
        "features in reverse order",  # three groups of one channel
    }


def test_a_depthwise_convolution_whose_results_are_ordered_by_filter():
    shapes = [(2, 3, CHANNELS, 2), (2 * CHANNELS,)]
    spec = alone("DepthwiseConv2D", *shapes, kernel_size=(2, 3), depth_multiplier=2,
                 activation="tanh")  # fmt: skip
    kernel, bias = (w.astype(np.float64) for w in spec["conv"].weights.values())
    z = np.zeros((ROWS, HEIGHT - 1, WIDTH - 2, CHANNELS, 2))
    for i, j in np.ndindex(2, 3):
        z += X[:, i : i + 4, j : j + 5, :, None] * kernel[i, j]
    right = np.tanh(z.reshape(*z.shape[:3], -1) + bias)
    assert np.abs(computed(spec, X) - right).max() < 1e-12
    wrong = np.tanh(z.swapaxes(-1, -2).reshape(*z.shape[:3], -1) + bias)
    assert named(spec, X, wrong) == {"filters before channels"}


def test_a_transposed_convolution_cut_or_read_otherwise():
    size, strides = (4, 3), (1, 2)
    shapes = [(*size, FILTERS, CHANNELS), (FILTERS,)]
    spec = alone("Conv2DTranspose", *shapes, filters=FILTERS, kernel_size=size,
                 strides=strides, padding="same")  # fmt: skip
    kernel, bias = (w.astype(np.float64) for w in spec["conv"].weights.values())

    def whole(kernel):
        y = np.zeros((ROWS, HEIGHT + 3, 2 * WIDTH + 1, FILTERS))
        for i, j in np.ndindex(*size):
            y[:, i : i + HEIGHT, j : j + 2 * WIDTH - 1 : 2] += X @ kernel[i, j].T
        return y + bias

    y = whole(kernel)
    right = y[:, 1:-2, :-1]
    assert np.abs(computed(spec, X) - right).max() < 1e-12
    more = y[:, 2:-1, 1:]
    assert named(spec, X, more) == {"cut more in front than behind"}
    assert named(spec, X, y[:, :-3, :-1]) == {"cut behind alone"}
    flipped = whole(kernel[::-1, ::-1])[:, 1:-2, :-1]
    assert named(spec, X, flipped) == {"kernel flipped"}
    torch = kernel.reshape(CHANNELS, FILTERS, *size).transpose(2, 3, 1, 0)
    assert named(spec, X, whole(torch)[:, 1:-2, :-1]) == {"kernel read as PyTorch's"}


def test_a_mistake_inside_time_distributed():
    frames = np.stack([X, X[:, ::-1], 2 * X], axis=1)  # (rows, time, ...)
    inner = made("Conv2D", "conv", (2, 3, CHANNELS, FILTERS), (FILTERS,), seed=3,
                 filters=FILTERS, kernel_size=(2, 3))  # fmt: skip
    outer = made("TimeDistributed", "each", inside={"layer": inner})
    spec = net([given("x", 3, HEIGHT, WIDTH, CHANNELS), outer], {"each": "x"}, "each")
    flat = {"conv": inner}

    def each(**how):
        return np.stack([convolved(flat, x=frames[:, t], **how) for t in range(3)], 1)

    assert np.abs(computed(spec, frames) - each()).max() < 1e-12
    wrong = each(kernel=lambda k: k[::-1, ::-1])
    assert named(spec, frames, wrong) == {"kernel flipped"}
