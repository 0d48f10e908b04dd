"""Mistakes in convolutions, pooling and flattening, each planted by NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from support.graphs import computed, given, made, named, net

from verify.mistakes.catalogue import catalogue

BATCH, TIME, CHANNELS, FILTERS = 6, 7, 3, 5
X = np.random.default_rng(4).integers(-9, 9, (BATCH, TIME, CHANNELS)) / 8


def alone(layer, *more, time=TIME):
    names = [layer.name, *(x.name for x in more)]
    calls = dict(zip(names, ["x", *names[:-1]], strict=True))
    return net([given("x", time, CHANNELS), layer, *more], calls, names[-1])


def convolution(size=2, **options):
    shapes = [(size, CHANNELS, FILTERS), (FILTERS,)]
    return alone(
        made("Conv1D", "conv", *shapes, seed=2, filters=FILTERS, kernel_size=size,
             **options)
    )  # fmt: skip


def convolved(spec, before, after, stride=1, dilation=1, kernel=None):
    """Windows over the padded sequence, one sum for each."""
    own, bias = (w.astype(np.float64) for w in spec["conv"].weights.values())
    kernel = own if kernel is None else kernel(own)
    x = np.pad(X, [(0, 0), (before, after), (0, 0)])
    span = (len(kernel) - 1) * dilation + 1
    starts = range(0, x.shape[1] - span + 1, stride)
    return bias + np.stack(
        [np.einsum("bjc,jcf->bf", x[:, t : t + span : dilation], kernel)
         for t in starts], axis=1,
    )  # fmt: skip


SAME = {"padding": "same"}
CASES = [
    (SAME, (0, 1), (1, 0), {}, {"more padding before than after",
                                "padding causal instead of same"}),
    ({"padding": "causal"}, (1, 0), (0, 1), {}, {"padding same instead of causal"}),
    ({**SAME, "size": 4}, (1, 2), (2, 1), {}, {"more padding before than after"}),
    ({**SAME, "size": 4}, (1, 2), (3, 0), {}, {"padding causal instead of same"}),
    ({"size": 3}, (0, 0), (0, 0), {"kernel": lambda k: k[::-1]},
     {"kernel flipped in time"}),
    ({"size": 3}, (0, 0), (0, 0),
     {"kernel": lambda k: k.reshape(FILTERS, CHANNELS, 3).transpose(2, 1, 0)},
     {"kernel read as (filters, channels, size)"}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "own", "other", "changed", "names"), CASES)
def test_a_convolution_that_is_padded_or_read_otherwise(
    options, own, other, changed, names
):
    spec = convolution(**options)
    assert np.abs(computed(spec, X) - convolved(spec, *own)).max() < 1e-12
    assert named(spec, X, convolved(spec, *other, **changed)) == names


def test_a_convolution_with_strides_and_one_whose_gaps_are_ignored():
    spec = convolution(size=2, strides=2, padding="same")  # 7 steps: one of padding
    assert np.abs(computed(spec, X) - convolved(spec, 0, 1, stride=2)).max() < 1e-12
    names = {"more padding before than after", "padding causal instead of same"}
    assert named(spec, X, convolved(spec, 1, 0, stride=2)) == names
    spec = convolution(size=3, dilation_rate=2, padding="causal")
    assert np.abs(computed(spec, X) - convolved(spec, 4, 0, dilation=2)).max() < 1e-12
    assert named(spec, X, convolved(spec, 2, 0)) == {"dilation ignored"}


def windows(x, size):
    return np.stack([x[:, t : t + size] for t in range(x.shape[1] - size + 1)], axis=1)


def test_pooling_in_windows():
    pool = {"pool_size": 2, "strides": 1, "padding": "same"}
    padded = np.pad(X, [(0, 0), (0, 1), (0, 0)])
    ahead = np.pad(X, [(0, 0), (1, 0), (0, 0)], constant_values=-99)
    spec = alone(made("AveragePooling1D", "pool", **pool))
    counted = windows(padded, 2).mean(axis=2)
    assert named(spec, X, counted) == {"padding counted in the mean"}
    spec = alone(made("MaxPooling1D", "pool", **pool))
    zeros = windows(padded, 2).max(axis=2)
    assert named(spec, X, zeros) == {"padding of zeros in the maximum"}
    before = windows(ahead, 2).max(axis=2)
    assert named(spec, X, before) == {"more padding before than after"}
    spec = alone(made("MaxPooling1D", "pool", pool_size=2))
    mean = (X[:, 0:6:2] + X[:, 1:7:2]) / 2
    assert named(spec, X, mean) == {"mean instead of maximum of each window"}


IMAGES = np.random.default_rng(7).integers(-99, 99, (4, 5, 7, 2)) / 8


def over_images(class_name, x=IMAGES, **options):
    """One layer on images; the numbers that it computes."""
    layers = [given("x", *x.shape[1:]), made(class_name, "pool", **options)]
    return net(layers, {"pool": "x"}, "pool")


def in_windows(x, size, strides, reduce):
    """Windows over rows and columns, each reduced to one number."""
    (k, m), (s, t) = size, strides
    rows = range(0, x.shape[1] - k + 1, s)
    columns = range(0, x.shape[2] - m + 1, t)
    return np.stack(
        [np.stack([reduce(x[:, i : i + k, j : j + m], axis=(1, 2)) for j in columns], 1)
         for i in rows], 1,
    )  # fmt: skip


def test_pooling_in_windows_over_images():
    x, pool = IMAGES, {"pool_size": (2, 3), "strides": (2, 2), "padding": "same"}
    low = np.pad(x, [(0, 0), (0, 1), (1, 1), (0, 0)], constant_values=-np.inf)
    spec = over_images("MaxPooling2D", **pool)
    assert (computed(spec, x) == in_windows(low, (2, 3), (2, 2), np.max)).all()
    above = np.pad(x, [(0, 0), (1, 0), (1, 1), (0, 0)], constant_values=-np.inf)
    found = named(spec, x, in_windows(above, (2, 3), (2, 2), np.max))
    assert found == {"more padding before than after"}
    zeros = np.pad(x, [(0, 0), (0, 1), (1, 1), (0, 0)])
    found = named(spec, x, in_windows(zeros, (2, 3), (2, 2), np.max))
    assert found == {"padding of zeros in the maximum"}
    turned = np.pad(x, [(0, 0), (1, 1), (0, 1), (0, 0)], constant_values=-np.inf)
    found = named(spec, x, in_windows(turned, (3, 2), (2, 2), np.max))
    assert found == {"rows and columns of the windows exchanged"}
    spec = over_images("AveragePooling2D", **pool)
    found = named(spec, x, in_windows(zeros, (2, 3), (2, 2), np.mean))
    assert found == {"padding counted in the mean"}
    spec = over_images("AveragePooling2D", pool_size=2)
    found = named(spec, x, in_windows(x[:, 1:, 1:], (2, 2), (2, 2), np.mean))
    assert found == {"windows counted from the end"}
    found = named(spec, x, in_windows(x, (2, 2), (2, 2), np.max))
    assert found == {"maximum instead of mean of each window"}


def test_pooling_over_all_positions_and_in_windows_of_any_size():
    x = IMAGES
    spec = over_images("GlobalAveragePooling2D")
    assert named(spec, x, x.max(axis=(1, 2))) == {"maximum instead of mean"}
    assert named(spec, x, x.sum(axis=(1, 2))) == {"sum instead of mean"}
    spec = over_images("GlobalMaxPooling2D", keepdims=True)
    mean = x.mean(axis=(1, 2), keepdims=True)
    assert named(spec, x, mean) == {"mean instead of maximum"}
    spec = over_images("AdaptiveAveragePooling2D", output_size=(5, 2))
    right = np.stack([x[:, :, :4].mean(axis=2), x[:, :, 3:].mean(axis=2)], axis=2)
    assert np.abs(computed(spec, x) - right).max() < 1e-12
    apart = np.stack([x[:, :, :3].mean(axis=2), x[:, :, 3:].mean(axis=2)], axis=2)
    assert named(spec, x, apart) == {"windows that do not overlap"}


IDS = np.random.default_rng(6).integers(1, 9, (BATCH, TIME))
IDS[::2, 4:] = IDS[1::4, 0] = 0
KEEP = (IDS != 0)[..., None]


def over_words(class_name):
    table = made("Embedding", "words", (9, 4), seed=1, input_dim=9, output_dim=4,
                 mask_zero=True)  # fmt: skip
    layers = [given("ids", TIME, dtype="int32"), table, made(class_name, "pool")]
    spec = net(layers, {"words": "ids", "pool": "words"}, "pool")
    return spec, table.weights["embeddings"].astype(np.float64)[IDS]


def test_pooling_over_all_steps_with_and_without_the_mask():
    spec, x = over_words("GlobalAveragePooling1D")
    right = (x * KEEP).sum(axis=1) / KEEP.sum(axis=1)
    assert np.abs(computed(spec, IDS) - right).max() < 1e-12
    wanted = {"sum of unmasked steps divided by all steps"}
    assert named(spec, IDS, (x * KEEP).sum(axis=1) / TIME) == wanted
    assert named(spec, IDS, (x * KEEP).sum(axis=1)) == {"sum instead of mean"}
    assert named(spec, IDS, x.max(axis=1)) == {"maximum instead of mean"}
    assert named(spec, IDS, x.mean(axis=1)) == {"mask ignored"}
    spec, x = over_words("GlobalMaxPooling1D")
    assert np.abs(computed(spec, IDS) - x.max(axis=1)).max() < 1e-12
    wanted = {"maximum of unmasked steps alone"}
    assert named(spec, IDS, np.where(KEEP, x, -9).max(axis=1)) == wanted
    assert named(spec, IDS, x.mean(axis=1)) == {"mean instead of maximum"}


def test_numbers_flattened_and_reshaped_in_another_order():
    dense = made("Dense", "dense", (TIME * CHANNELS, 2), (2,), units=2)
    kernel, bias = dense.weights.values()
    spec = alone(made("Flatten", "flat"), dense)
    assert np.abs(computed(spec, X) - X.reshape(BATCH, -1) @ kernel - bias).max() < 1e-9
    first = X.transpose(0, 2, 1).reshape(BATCH, -1) @ kernel + bias
    wanted = {"flattened channels first", "inputs laid out features first"}
    assert named(spec, X, first) == wanted
    spec = net(
        [given("x", 12), made("Reshape", "shaped", target_shape=[4, 3])],
        {"shaped": "x"},
        "shaped",
    )
    x = np.arange(24.0).reshape(2, 12)
    turned = x.reshape(2, 3, 4).transpose(0, 2, 1)
    assert named(spec, x, turned) == {"reshaped with the first axis fastest"}


def test_steps_flattened_in_another_order():
    """Join height and channels of each step, as a CRNN does."""
    shaped = made("Reshape", "shaped", target_shape=[3, 8])
    spec = net([given("x", 3, 4, 2), shaped], {"shaped": "x"}, "shaped")
    x = np.random.default_rng(0).integers(-9, 9, (5, 3, 4, 2)) / 8
    assert np.array_equal(computed(spec, x), x.reshape(5, 3, 8))
    first = x.transpose(0, 1, 3, 2).reshape(5, 3, 8)
    assert named(spec, x, first) == {"steps flattened channels first"}
    # other steps, or a single channel: nothing of the kind can be meant
    for shape, target in (((3, 4, 2), [4, 6]), ((3, 4, 1), [3, 4])):
        other = made("Reshape", "shaped", target_shape=target)
        spec = net([given("x", *shape), other], {"shaped": "x"}, "shaped")
        names = {mutant.name for mutant in catalogue(spec)}
        assert "steps flattened channels first" not in names
