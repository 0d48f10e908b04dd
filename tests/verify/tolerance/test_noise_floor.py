"""Measure what rounding does to a network."""

from __future__ import annotations

import numpy as np
from support.any_layer import chain
from support.nets import layer

from verify import Network
from verify.tolerance.noise_floor import Rounding, perturbed

UNIT = 2.0**-53


def test_rounding_that_no_weight_shows_counts_as_amplified():
    # The mean of equal numbers is almost theirs, and what is left is divided by a root.
    normal = layer("LayerNormalization", "n", epsilon=1e-12)
    net = Network(chain([(None, 7)], normal))
    alike = np.repeat(np.random.default_rng(0).normal(size=(40, 1)), 7, axis=1)
    x = net.prepare(alike)
    neighbour = perturbed(net.spec, UNIT, 0)
    (exact,), (near,) = (
        one.flat(x, dtype="float64") for one in (net, neighbour)
    )  # fmt: skip
    moved = np.abs(near - exact).max()
    assert Rounding(net).amplified(x) > 1e3 * max(moved, UNIT)


def test_nothing_is_amplified_where_rounding_stays_small():
    net = Network(chain([(None, 7)], layer("Dense", "d", units=5, activation="tanh")))
    x = net.prepare(np.random.default_rng(0).normal(size=(40, 7)))
    assert 0 < Rounding(net).amplified(x) < 100 * UNIT
