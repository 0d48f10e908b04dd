"""Write out the sum of each gate at one step, with its numbers.

The weights of a gate are its columns of the layer's weights, in the order of
`LayerSpec.gates`. Everything here is one row of one step: x is (features,), h and c
are (units,).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from verify.errors import printable
from verify.forward.layers.base import function_of
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

Lines = list[tuple[str, str]]
"""Lines of text, each a label and what follows it."""

SHOWN_NUMBERS = 3
"""Numbers of a vector that are shown."""


@dataclass(frozen=True)
class Formatter:
    """Format numbers with this number of decimals."""

    decimals: int

    def number(self, value: float) -> str:
        """Format one number; whole numbers without decimals."""
        value = float(value)
        if value == int(value) and abs(value) < 1e4:
            return f"{int(value)}"
        if abs(value) >= 1e4 or abs(value) < 0.5 * 10.0**-self.decimals:
            return f"{value:.0e}"
        return f"{value:.{self.decimals}f}"

    def __call__(self, values: Array) -> str:
        """Format a number, or the first three of several."""
        flat = np.ravel(values)
        if len(flat) == 1:
            return self.number(flat[0])
        # adding 0 makes a 0 of a -0
        rounded = np.round(flat[:SHOWN_NUMBERS].astype(float), self.decimals) + 0.0
        text = " ".join(f"{value:.{self.decimals}f}" for value in rounded)
        return f"{text} ..." if len(flat) > SHOWN_NUMBERS else text

    def product(self, a: Array, b: Array) -> str:
        """Format ``3 * 0.0189`` for two numbers, else the product."""
        if np.size(a) == 1 and np.size(b) == 1:
            return f"{self(a)} * {self.signed(b)}"
        return self(a @ b if np.ndim(b) == 2 else a * b)

    def signed(self, values: Array) -> str:
        """Format a number that follows an operator: in brackets if it is negative."""
        text = self(values)
        return f"({text})" if np.size(values) == 1 and text.startswith("-") else text


class Columns(NamedTuple):
    """Hold the weights of one gate.

    Attributes
    ----------
    w : (features, units)
    u : (units, units)
    b : list of (units,)
        One row; two of a GRU with reset_after; none without a bias.
    """

    w: Array
    u: Array
    b: list[Array]


def value_name(layer: LayerSpec, gate: str) -> str:
    """Return the name of a gate's value in a trace: ``c`` of an LSTM is ``c_hat``."""
    if gate in ("c", "h") and len(layer.gates) > 1:
        return f"{gate}_hat"
    return gate


def gate_weights(layer: LayerSpec, gate: str) -> Columns:
    """Return the columns of one gate, in float64."""
    k, units = layer.gates.index(gate), layer.options["units"]
    cut = slice(k * units, (k + 1) * units)
    own = {n: w.astype(np.float64)[..., cut] for n, w in layer.weights.items()}
    bias = list(np.atleast_2d(own["bias"])) if "bias" in own else []
    return Columns(own["kernel"], own["recurrent_kernel"], bias)


def gate_sums(
    layer: LayerSpec,
    gate: str,
    x: Array,
    h: Array,
    now: Mapping[str, Array],
    show: Formatter,
) -> tuple[Lines, Array]:
    """Return the terms of a gate's sum, and the sum before the activation: (units,).

    Parameters
    ----------
    layer : LayerSpec
    gate : str
        One of ``layer.gates``.
    x : (features,)
    h : (units,)
        The hidden state before the step.
    now : mapping of str to (units,)
        The layer's values at this step; a GRU's candidate needs its reset gate.
    show : Formatter
    """
    w, u, b = gate_weights(layer, gate)
    resets = layer.class_name == "GRU" and value_name(layer, gate) == "h_hat"
    lines: Lines = [("x*w" if w.size == 1 else "x@w", show.product(x, w))]
    if resets:
        more, recurrent = _after_reset(layer, now["r"], h, u, b, show)
        if b:
            lines.append(("+ b0" if len(b) > 1 else "+ b", show(b[0])))
        return lines + more, x @ w + (b[0] if b else 0.0) + recurrent
    lines.append(("+ h*u" if u.size == 1 else "+ h@u", show.product(h, u)))
    for k, bias in enumerate(b):
        lines.append((f"+ b{k}" if len(b) > 1 else "+ b", show(bias)))
    total = x @ w + h @ u
    for bias in b:
        total = total + bias
    return lines, total


def _after_reset(
    layer: LayerSpec, r: Array, h: Array, u: Array, b: list[Array], show: Formatter
) -> tuple[Lines, Array]:
    """Return the recurrent terms of a GRU's candidate, and their sum: (units,)."""
    times = "*" if u.size == 1 else "@"
    if not layer.options["reset_after"]:
        reset = r * h
        return [
            ("q = r*h", show.product(r, h)),
            (f"+ q{times}u", show.product(reset, u)),
        ], reset @ u
    inner = h @ u
    lines: Lines = [(f"s = h{times}u", show.product(h, u))]
    if len(b) > 1:
        inner = inner + b[1]
        lines = [
            (f"s = h{times}u", show.product(h, u)),
            ("    + b1", show(b[1])),
        ]
    return [*lines, ("+ r*s", show.product(r, inner))], r * inner


def state_lines(
    layer: LayerSpec,
    name: str,
    now: Mapping[str, Array],
    before: Mapping[str, Array],
    show: Formatter,
) -> Lines:
    """Write out how a state comes from the gates, with the numbers.

    Parameters
    ----------
    layer : LayerSpec
    name : "c" or "h"
    now, before : mapping of str to (units,)
        Values at this step, and the states before it.
    show : Formatter
    """
    phi = printable(layer.options["activation"])
    if name == "c":
        return [
            ("f*c", show.product(now["f"], before["c"])),
            ("+ i*c_hat", show.product(now["i"], now["c_hat"])),
            ("c", show(now["c"])),
        ]
    if layer.class_name == "LSTM":
        squashed = function_of(layer)(now["c"])
        return [
            ("o", show(now["o"])),
            (f"* {phi}(c)", show(squashed)),
            ("h", show(now["h"])),
        ]
    if layer.class_name == "GRU":
        return [
            ("z*h", show.product(now["z"], before["h"])),
            ("+ (1-z)*h_hat", show.product(1 - now["z"], now["h_hat"])),
            ("h", show(now["h"])),
        ]
    return [("h", show(now["h"]))]
