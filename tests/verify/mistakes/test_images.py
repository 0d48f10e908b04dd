"""Mistakes in cropping, padding, upsampling and resizing, each planted by NumPy."""

from __future__ import annotations

import numpy as np
from support.graphs import computed, given, made, named, net

X = np.random.default_rng(7).integers(-99, 99, (4, 4, 4, 3)) / 8
ROWS, FIRST = [(0, 0)], [(0, 0), (0, 0)]


def image(class_name, **options):
    layers = [given("x", *X.shape[1:]), made(class_name, "image", **options)]
    return net(layers, {"image": "x"}, "image")


def test_cropped_otherwise():
    spec = image("Cropping2D", cropping=((1, 0), (0, 1)))
    assert (computed(spec, X) == X[:, 1:, :-1]).all()
    found = named(spec, X, X[:, :-1, 1:])
    assert found == {"cropped at the other end",
                     "cropping of rows and columns exchanged"}  # fmt: skip
    spec = image("Cropping2D", cropping=((1, 1), (0, 2)))
    assert named(spec, X, X[:, :-2, 1:-1]) == {"cropping of rows and columns exchanged"}


def test_padded_otherwise():
    spec = image("ZeroPadding2D", padding=((1, 0), (2, 1)))
    assert (computed(spec, X) == np.pad(X, [*ROWS, (1, 0), (2, 1), (0, 0)])).all()
    other = np.pad(X, [*ROWS, (0, 1), (1, 2), (0, 0)])
    assert named(spec, X, other) == {"padded at the other end"}
    edge = np.pad(X, [*ROWS, (1, 0), (2, 1), (0, 0)], mode="edge")
    assert named(spec, X, edge) == {"edge repeated instead of zeros"}
    spec = image(
        "ZeroPadding2D", padding=((1, 0), (2, 1)), data_format="channels_first"
    )
    other = np.pad(X, [*FIRST, (0, 1), (1, 2)])
    assert named(spec, X, other) == {"padded at the other end"}


def test_made_larger_otherwise():
    spec = image("UpSampling2D", size=(2, 3))
    assert (computed(spec, X) == X.repeat(2, axis=1).repeat(3, axis=2)).all()
    found = named(spec, X, np.tile(X, (1, 2, 3, 1)))
    assert found == {"whole repeated instead of each step"}
    spec = image("UpSampling2D", size=(2, 3), interpolation="bilinear")
    found = named(spec, X, X.repeat(2, axis=1).repeat(3, axis=2))
    assert found == {"interpolation nearest"}


def lines(x, places, axis):
    """Linear interpolation along an axis, place by place."""
    x = np.moveaxis(x, axis, 0)
    found = []
    for place in places:
        below = min(int(place), len(x) - 2)
        found.append(x[below] + (x[below + 1] - x[below]) * min(place - below, 1))
    return np.moveaxis(np.stack(found), 0, axis)


def test_resized_otherwise():
    spec = image("Resizing", height=7, width=13)
    places = [np.clip((np.arange(m) + 0.5) * 4 / m - 0.5, 0, 3) for m in (7, 13)]
    right = lines(lines(X, places[0], 1), places[1], 2)
    assert np.abs(computed(spec, X) - right).max() < 1e-5
    corners = lines(lines(X, np.arange(7) / 2, 1), np.arange(13) / 4, 2)
    assert named(spec, X, corners) == {"corners aligned"}
    spec = image("Resizing", height=3, width=5, interpolation="nearest")
    rows, columns = [0, 2, 3], [0, 1, 2, 2, 3]
    assert (computed(spec, X) == X[:, rows][:, :, columns]).all()
    found = named(spec, X, X[:, [0, 1, 2]][:, :, [0, 0, 1, 2, 3]])
    assert found == {"pixels counted from their corners"}
    spec = image("Resizing", height=2, width=2, antialias=True)
    plain = (X[:, ::2, ::2] + X[:, 1::2, ::2] + X[:, ::2, 1::2] + X[:, 1::2, 1::2]) / 4
    assert named(spec, X, plain) == {"antialias ignored"}
