"""What rounding alone does to a network: the yardstick of the numeric comparison."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from verify.compare import Allowance, exact, noise_floor
from verify.network import Network
from verify.spec import Array, ModelSpec

NEIGHBOURS = 4
"""Copies of a model with every weight moved by one rounding error. One float32 pass can
be right by luck, above all on a single row; five evaluations are not."""

FLOAT32, FLOAT64 = 2.0**-24, 2.0**-53


class Rounding:
    """Allowances for a network, or for one layer of it on a given input."""

    def __init__(self, net: Network) -> None:
        self.net = net

    @cached_property
    def _near(self) -> list[Network]:
        return [moved(self.net.spec, FLOAT32, k) for k in range(NEIGHBOURS)]

    def floor(self, x: Array, float64: Array, *, native: bool = True) -> Allowance:
        """For the outputs on prepared inputs `x`, whose float64 value is given.

        With `native`, a float64 model is held to float64; a port of it is not.
        """
        if native and self.net.spec.dtype == "float64":
            return exact(float64)
        near = (net.predict(x, dtype="float64") for net in self._near)
        return noise_floor(float64, self.net.predict(x), *near)

    def layer_floor(
        self, name: str, x: Array, mask: Array | None, float64: Array
    ) -> Allowance:
        """For one layer on an input in the model's own dtype."""
        if self.net.spec.dtype == "float64":
            return exact(float64)
        wide = x.astype(np.float64)
        near = (n.layer_output(name, wide, mask, dtype="float64") for n in self._near)
        single = self.net.layer_output(name, x, mask, dtype="float32")
        return noise_floor(float64, single, *near)

    def amplified(self, x: Array) -> float:
        """How far float64 outputs move when each weight moves by one rounding error."""
        there = moved(self.net.spec, FLOAT64, 0).predict(x, dtype="float64")
        return _apart(self.net.predict(x, dtype="float64"), there)

    def layer_amplified(self, name: str, x: Array, mask: Array | None) -> float:
        """The same for one layer, on its own float64 input."""
        there = moved(self.net.spec, FLOAT64, 0)
        return _apart(
            self.net.layer_output(name, x, mask, dtype="float64"),
            there.layer_output(name, x, mask, dtype="float64"),
        )


def moved(spec: ModelSpec, relative: float, seed: int) -> Network:
    """The network with every weight moved up or down by a relative amount."""
    rng = np.random.default_rng(seed)
    spec = spec.astype("float64")
    for layer in spec:
        weights = {
            key: value * (1 + relative * rng.choice([-1.0, 1.0], size=value.shape))
            for key, value in layer.weights.items()
        }
        spec = spec.with_layer(layer.with_weights(**weights))
    return Network(spec)


def _apart(a: Array, b: Array) -> float:
    return float(np.max(np.abs(a - b), initial=0.0))
