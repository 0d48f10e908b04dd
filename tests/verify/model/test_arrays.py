"""Outputs side by side."""

from __future__ import annotations

import numpy as np

from verify.model.arrays import FlatOutputs

SHAPES = [(6, 4), (), (2,)]


def outputs(rows):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(rows, *shape)) for shape in SHAPES]


def test_all_numbers_of_a_row_stand_in_one_row_in_the_order_of_the_outputs():
    first, second, third = ys = outputs(5)
    flat = FlatOutputs(ys)
    joined = flat.join(ys)
    assert (flat.shapes, flat.elements) == (SHAPES, 27)
    assert joined.shape == (5, 27)
    np.testing.assert_array_equal(joined[3, :24], first[3].ravel())
    assert joined[3, 24] == second[3]
    np.testing.assert_array_equal(joined[3, 25:], third[3])


def test_they_are_split_again_whatever_axes_stand_in_front():
    ys = outputs(5)
    flat = FlatOutputs(ys)
    for part, y in zip(flat.split(flat.join(ys)), ys, strict=True):
        np.testing.assert_array_equal(part, y)
    swept = np.random.default_rng(1).normal(size=(7, 5, flat.elements))
    for k in range(7):
        for part, y in zip(flat.split(swept), flat.split(swept[k]), strict=True):
            np.testing.assert_array_equal(part[k], y)
