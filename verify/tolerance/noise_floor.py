"""What rounding alone does to a network: the yardstick of the numeric comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from verify.forward.evaluate import cast_to
from verify.forward.network import Network
from verify.model.arrays import Array
from verify.model.dtypes import POLICIES, UNIT_ROUNDOFF, is_float
from verify.model.spec import LayerSpec, ModelSpec
from verify.tolerance.compare import Tolerance, float64_tolerance, noise_floor

NEIGHBOURS = 4
"""Copies of a model with every weight moved by one rounding error. One pass can be
right by luck, above all on a single row; five evaluations are not."""

Call = Callable[[Network, str | None], list[Array]]
"""Evaluates a network in a precision: of the whole model, or one layer of it."""


class Rounding:
    """Allowances for a network, or for one layer of it on a given input."""

    def __init__(self, net: Network) -> None:
        self.net = net

    @cached_property
    def unit(self) -> float:
        """The coarsest rounding error among the layers."""
        return max(
            (UNIT_ROUNDOFF[POLICIES[p].compute] for p in self.net.spec.policies),
            default=UNIT_ROUNDOFF["float32"],
        )

    @cached_property
    def quantised(self) -> bool:
        """Whether a layer rounds to 8 bits."""
        layers = (layer for _, layer in self.net.spec.walk())
        return any(layer.options.get("quantization_mode") for layer in layers)

    @cached_property
    def _near(self) -> list[Network]:
        unit = max(self.unit, UNIT_ROUNDOFF["float32"])
        return [perturbed(self.net.spec, unit, k) for k in range(NEIGHBOURS)]

    def noise_floors(
        self, call: Call, float64: Sequence[Array], *, native: bool = True
    ) -> list[Tolerance]:
        """For outputs whose float64 values are given, one allowance each.

        With `native` it is Keras that is compared, and a proof in float64 stands beside
        it: a float64 model is held to float64. A port of it is not.
        """
        if native and self.unit == UNIT_ROUNDOFF["float64"]:
            return [float64_tolerance(reference) for reference in float64]
        single = call(
            self.net, None if self.unit > UNIT_ROUNDOFF["float32"] else "float32"
        )
        others = [single, *(call(net, "float64") for net in self._near)]
        return [
            noise_floor(
                reference,
                *(other[k] for other in others),
                unit=self.unit,
                quantised=self.quantised,
                proven=native,
            )
            for k, reference in enumerate(float64)
        ]

    def amplified(self, call: Call) -> float:
        """How far float64 outputs move when each weight moves by one rounding error."""
        there = call(perturbed(self.net.spec, UNIT_ROUNDOFF["float64"], 0), "float64")
        here = call(self.net, "float64")
        return max(
            float(np.max(np.abs(a - b), initial=0.0))
            for a, b in zip(here, there, strict=True)
        )


def perturbed(spec: ModelSpec, relative: float, seed: int) -> Network:
    """The network, in float64, with every weight moved up or down by a relative amount.

    Whole numbers, which quantised layers have for weights, stay.
    """
    rng = np.random.default_rng(seed)

    def change(layer: LayerSpec) -> LayerSpec:
        weights = {
            key: value * (1 + relative * rng.choice([-1.0, 1.0], size=value.shape))
            if is_float(value)
            else value
            for key, value in layer.weights.items()
        }
        return replace(layer, weights=weights)

    return Network(replace(spec, root=cast_to(spec.root, "float64").mapped(change)))
