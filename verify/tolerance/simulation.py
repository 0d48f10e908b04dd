"""Evaluate a model as a port would that computes in a number format.

Every weight, every input and output of a layer and, in a recurrent cell, every gate and
state is rounded to the format. That is one port of many: others round at other places,
or to the other neighbour. `Simulation.network` with a seed is such another port: it
moves each number at random by up to one more rounding error before it rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from verify.forward.cells import gru_step, lstm_step, simple_rnn_step
from verify.forward.evaluable import Inputs
from verify.forward.evaluate import cast_to
from verify.forward.layers import REGISTRY
from verify.forward.network import Network
from verify.forward.trace import bare_path
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.graph import flatten, map_structure
from verify.model.spec import LayerSpec
from verify.tolerance.formats import BYTE, WORD, NumberFormat
from verify.tolerance.noise_floor import (
    MAX_RELATIVE_COARSE,
    NEIGHBOURS,
    Rounding,
    Tolerance,
)

MAX_CALIBRATION_ROWS = 256
"""Rows whose greatest values are the scales of int8."""

FORMAT_NOISE_FACTOR = 4.0
"""What is allowed, as a multiple of what a format changes in the simulated ports. It is
less than `NOISE_FACTOR` because these round wherever a port does."""

STEPS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "SimpleRNN": simple_rnn_step, "SimpleRNNCell": simple_rnn_step,
        "LSTM": lstm_step, "LSTMCell": lstm_step,
        "GRU": gru_step, "GRUCell": gru_step,
    }
)  # fmt: skip
"""Class name of a layer with a cell -> the equations of its step."""

STATES = ("c", "h")
"""Results of a step that the next step is given, in the order they are computed."""


@dataclass(frozen=True, eq=False)
class Scales:
    """Hold the greatest error of int8 in each value of a model; empty for others.

    Attributes
    ----------
    steps : mapping of str to float
        ``layer/value`` as in `Trace.arrays`, ``layer`` without the number of its call
        -> half a step of int8 for inputs, outputs and the states h, and a step of int16
        for other values.
    """

    steps: Mapping[str, float]

    @classmethod
    def of(cls, net: Network, number_format: NumberFormat, x: Inputs) -> Scales:
        """Measure the greatest values of a model on some inputs."""
        steps: dict[str, float] = {}
        if not number_format.scaled:
            return cls(steps)
        rows = x.rows if net.spec.batch_size else MAX_CALIBRATION_ROWS
        for name, layer in net.trace(x.take(slice(0, rows)), dtype="float64").items():
            path = bare_path(name, net.spec)
            values = {
                "input": flatten(layer.input),
                "output": flatten(layer.output),
                **{key: [value] for key, value in layer.values.items()},
            }
            for key, arrays in values.items():
                greatest = max((_greatest(a) for a in arrays), default=0.0)
                byte = key.rpartition("/")[2] in ("input", "output", "h")
                step = greatest / BYTE / 2 if byte else greatest / WORD
                at = f"{path}/{key}"
                steps[at] = max(steps.get(at, 0.0), step)
        return cls(steps)

    def of_value(self, path: str, name: str) -> float:
        """Return the greatest error of a value of a layer; 0 if it is not known."""
        return self.steps.get(f"{path}/{name}", 0.0)


def _greatest(array: Any) -> float:
    number = isinstance(array, np.ndarray) and is_float(array) and array.size
    return float(np.max(np.abs(array))) if number else 0.0


@dataclass(frozen=True, eq=False)
class _Rounder:
    """Round numbers to a format, or first move them at random.

    Attributes
    ----------
    number_format : NumberFormat
    rng : Generator or None
        Without it nothing is moved.
    """

    number_format: NumberFormat
    rng: np.random.Generator | None

    def __call__(self, values: Array, step: float = 0.0) -> Array:
        """Round numbers; `step` as for `NumberFormat.rounded`."""
        if self.rng is not None:
            values = values + self.number_format.error(values, step) * self._random(
                values.shape
            )
        return self.number_format.rounded(values, step)

    def weight(self, name: str, weight: Array) -> Array:
        """Return a weight as a port has it.

        The rounding of sums is imitated here too: in floats the error of a sum of n
        terms of both signs is about that of moving each weight by ``sqrt(n) / 2``
        rounding errors (`LayerRounding.dot`). What partial sums of the size of the bias
        lose, and what the n terms of a sum in fixed point do, is taken from the bias.
        """
        kind = self.number_format
        step = kind.weight_step(name, weight)
        exact = kind.scaled and not step
        if not is_float(weight) or exact:
            return weight
        if self.rng is not None:
            error = kind.weight_error(name, weight)
            terms = int(np.prod(weight.shape[:-1]))
            if kind.unit and weight.ndim > 1:
                error = error * max(1.0, np.sqrt(terms) / 2)
            weight = weight + error * self._random(weight.shape)
        return kind.rounded(weight, step)

    def _random(self, shape: tuple[int, ...]) -> Array:
        half = 0.5 if self.number_format.truncates else 1.0
        rng = self.rng
        return np.zeros(shape) if rng is None else rng.uniform(-half, half, size=shape)


class Simulation:
    """Evaluate a model in a number format.

    Parameters
    ----------
    net : Network
    number_format : NumberFormat
    scales : Scales
    """

    def __init__(
        self, net: Network, number_format: NumberFormat, scales: Scales
    ) -> None:
        self.net = net
        self.number_format = number_format
        self.scales = scales

    def network(self, seed: int | None = None) -> Network:
        """Return the network of a port, to be evaluated in float64.

        Parameters
        ----------
        seed : int, optional
            Which of the ports that round at random; by default none of them.
        """
        rounder = self._rounder(seed)
        root = cast_to(self.net.spec.root, "float64")
        for path, layer in root.walk():
            changed = replace(
                root.at(path), weights=self._weights(layer, rounder)
            ).with_overrides(**self._overrides(path, layer, rounder))
            root = root.replaced(path, changed)
        return Network(replace(self.net.spec, root=root), self.net.floatx)

    def inputs(self, x: Inputs, seed: int | None = None) -> Inputs:
        """Return the inputs as a port has them."""
        rounder = self._rounder(seed)
        return x.like(
            rounder(array, _greatest(array) / BYTE / 2 if self._scaled else 0.0)
            if is_float(array)
            else array
            for array in x
        )

    @property
    def _scaled(self) -> bool:
        return self.number_format.scaled

    def _rounder(self, seed: int | None) -> _Rounder:
        rng = None if seed is None else np.random.default_rng(seed)
        return _Rounder(self.number_format, rng)

    def _weights(self, layer: LayerSpec, rounder: _Rounder) -> dict[str, Array]:
        weights = {name: rounder.weight(name, w) for name, w in layer.weights.items()}
        kind, rng = self.number_format, rounder.rng
        if rng is None or "bias" not in weights or kind.scaled:
            return weights
        terms = sum(
            int(np.prod(w.shape[:-1]))
            for name, w in weights.items()
            if name != "bias" and w.ndim > 1
        )
        bias = weights["bias"]
        if kind.truncates:
            moved = -kind.step * terms * rng.uniform(0, 1, size=bias.shape)
        else:
            size = kind.unit * np.sqrt(terms) * np.abs(bias)
            moved = size * rng.uniform(-1, 1, size=bias.shape)
        return {**weights, "bias": bias + moved}

    def _overrides(
        self, path: str, layer: LayerSpec, rounder: _Rounder
    ) -> dict[str, Callable[..., Any]]:
        """Return the functions that round what a layer computes."""
        if layer.class_name == "InputLayer" or layer.graph is not None:
            return {}
        found: dict[str, Callable[..., Any]] = {}
        if layer.class_name in STEPS:
            steps = {name: self.scales.of_value(path, name) for name in STATES}
            equations = layer.overrides.get("step", STEPS[layer.class_name])
            found["step"] = partial(
                _rounded_step, equations, rounder, steps, 1 / WORD * self._scaled
            )
        kind = REGISTRY[layer.class_name]
        # A layer that returns the input itself, with its mask, rounds nothing.
        if not layer.class_name.endswith("Cell") and not kind.returns_input:
            step = self.scales.of_value(path, "output")
            found["call"] = partial(_rounded_call, rounder, step)
        return found


def _rounded_call(
    rounder: _Rounder,
    step: float,
    run: Any,
    layer: LayerSpec,
    arguments: Mapping[str, Any],
    mask: Any,
) -> Any:
    """Call a layer and round what it returns."""
    output = REGISTRY[layer.class_name].call(run, layer, **arguments)

    def rounded(leaf: Any) -> Any:
        number = isinstance(leaf, np.ndarray) and is_float(leaf)
        return rounder(leaf, step) if number else leaf

    return map_structure(rounded, output)


def _rounded_step(
    equations: Callable[..., Any],
    rounder: _Rounder,
    steps: Mapping[str, float],
    gate_step: float,
    x: Array,
    *states: Array,
    **weights: Any,
) -> Any:
    """Compute a step of a cell with its sums, gates and states rounded."""

    def rounding(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda z: rounder(function(rounder(z)), gate_step)

    functions = {
        name: rounding(weights[name])
        for name in ("activation", "recurrent_activation")
        if name in weights
    }
    result = equations(x, *states, **(weights | functions))
    kept = {name: getattr(result, name) for name in STATES if name in result._fields}
    rounded = {name: rounder(value, steps[name]) for name, value in kept.items()}
    return result._replace(**rounded)


class FormatRounding(Rounding):
    """Measure what computing in a number format does to a network.

    Parameters
    ----------
    net : Network
    number_format : NumberFormat
    """

    def __init__(self, net: Network, number_format: NumberFormat) -> None:
        super().__init__(net)
        self.number_format = number_format

    def simulation(self, x: Inputs) -> Simulation:
        """Return the simulation whose scales are those of some inputs."""
        scales = Scales.of(self.net, self.number_format, x)
        return Simulation(self.net, self.number_format, scales)

    def format_floors(
        self,
        simulation: Simulation,
        x: Inputs,
        float64: Sequence[Array],
        rows: Array | None = None,
    ) -> list[Tolerance]:
        """Return the noise floor of each output for ports in the number format.

        It is four times what the format changes in the outputs, in a port that rounds
        as the format prescribes and in four that round at random, and two rounding
        errors of the greatest output.

        Parameters
        ----------
        simulation : Simulation
        x : Inputs
        float64 : list of (batch, ...)
            What the network makes of them in float64.
        rows : (n,) of int, optional
            Rows on which to measure; all by default.
        """
        some = x if rows is None else x.take(rows)
        expected = [y if rows is None else y[rows] for y in float64]
        noise = [np.zeros(_units(y)) for y in float64]
        for seed in (None, *range(NEIGHBOURS)):
            given = simulation.inputs(some, seed)
            found = given.evaluate(simulation.network(seed), "float64")
            with np.errstate(invalid="ignore"):
                noise = [
                    np.maximum(before, _by_unit(y - exact))
                    for before, y, exact in zip(noise, found, expected, strict=True)
                ]
        return [
            self._floor(reference, changed)
            for reference, changed in zip(float64, noise, strict=True)
        ]

    def _floor(self, float64: Array, noise: Array) -> Tolerance:
        kind, scale = self.number_format, _by_unit(float64)
        last = scale / BYTE if kind.scaled else 2 * kind.error(scale)
        return Tolerance(
            FORMAT_NOISE_FACTOR * noise + last,
            noise,
            scale,
            limit=MAX_RELATIVE_COARSE,
            rule=f"noise floor of {kind}",
        )


def _units(values: Array) -> int:
    return values.shape[-1] if values.ndim > 1 else 1


def _by_unit(values: Array) -> Array:
    """Return the greatest absolute value of each unit of the last axis."""
    return np.max(np.abs(values).reshape(-1, _units(values)), axis=0, initial=0.0)
