"""Compute models as devices do: in few bits, one operation after the other.

These ports follow the equations and share no code with `verify`, so that what it allows
a number format can be held against them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

Array = np.ndarray
Round = Callable[[Array], Array]


def float16(x: Any) -> Array:
    """Round to the nearest number of IEEE half precision."""
    return np.asarray(x, np.float32).astype(np.float16).astype(np.float64)


def bfloat16(x: Any) -> Array:
    """Round to the nearest bfloat16."""
    return np.asarray(x, np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)


def fixed(bits: int, whole: int, *, nearest: bool = False) -> Round:
    """Cut off to ap_fixed<bits, whole>, which saturates here; or round to nearest."""
    step, top = 2.0 ** (whole - bits), 2.0 ** (whole - 1)

    def rounded(x: Any) -> Array:
        scaled = np.asarray(x, np.float64) / step
        found = np.rint(scaled) if nearest else np.floor(scaled)
        return np.clip(found * step, -top, top - step)

    return rounded


def exact(x: Any) -> Array:
    """Leave numbers as they are."""
    return np.asarray(x, np.float64)


def int8(x: Any, greatest: float | None = None) -> Array:
    """Round to one of 255 numbers, evenly spread up to the greatest of the array."""
    x = np.asarray(x, np.float64)
    scale = (np.abs(x).max() if greatest is None else greatest) / 127
    return np.clip(np.rint(x / scale), -127, 127) * scale if scale else x


class Port:
    """Compute a model as one device does.

    Parameters
    ----------
    q : callable
        Rounds the result of an operation.
    weights : callable
        Rounds a weight of two axes; biases are rounded by `q`.
    wide : bool
        Whether sums are exact and rounded once.
    state : callable
        Rounds what passes between steps and layers.
    """

    def __init__(
        self,
        q: Round,
        weights: Round | None = None,
        *,
        wide: bool = False,
        state: Round | None = None,
    ) -> None:
        self.q, self.weights, self.wide = q, weights or q, wide
        self.state = state or q

    def dot(self, x: Array, w: Array, bias: Array | None) -> Array:
        """Return ``x @ w + bias``, term by term."""
        q, w = self.q, self.weights(w)
        total = np.zeros((*x.shape[:-1], w.shape[1]))
        if bias is not None:
            total = total + q(bias)
        if self.wide:
            return q(total + x @ w)
        for k in range(len(w)):
            total = q(total + q(x[..., k : k + 1] * w[k]))
        return total

    def sigmoid(self, x: Array) -> Array:
        """Return ``1 / (1 + exp(-x))``, each operation rounded if sums are."""
        q = self.q
        with np.errstate(over="ignore"):
            if self.wide:
                return q(1 / (1 + np.exp(-x)))
            down = q(np.exp(-np.abs(x)))  # stays in range whatever the sign
            positive = q(1 / q(1 + down))
        return np.where(x >= 0, positive, q(1 - positive))

    def tanh(self, x: Array) -> Array:
        """Return tanh, rounded."""
        return self.q(np.tanh(x))

    def lstm(self, x: Array, w: dict[str, Array], sequences: bool = False) -> Array:
        """Return the outputs of an LSTM, gates i, f, c, o."""
        q, units = self.q, w["recurrent_kernel"].shape[0]
        x = self.state(x)
        h, c, out = np.zeros((len(x), units)), np.zeros((len(x), units)), []
        for t in range(x.shape[1]):
            a = self.dot(x[:, t], w["kernel"], w["bias"])
            z = q(a + self.dot(h, w["recurrent_kernel"], None))
            i, f, g, o = np.split(z, 4, axis=-1)
            i, f, o = self.sigmoid(i), self.sigmoid(f), self.sigmoid(o)
            c = q(q(f * c) + q(i * self.tanh(g)))
            h = self.state(q(o * self.tanh(c)))
            out.append(h)
        return np.stack(out, 1) if sequences else h

    def gru(self, x: Array, w: dict[str, Array], sequences: bool = False) -> Array:
        """Return the outputs of a GRU that resets after the product, gates z, r, h."""
        q, units = self.q, w["recurrent_kernel"].shape[0]
        x = self.state(x)
        h, out = np.zeros((len(x), units)), []
        for t in range(x.shape[1]):
            a = self.dot(x[:, t], w["kernel"], w["bias"][0])
            s = self.dot(h, w["recurrent_kernel"], w["bias"][1])
            (a_z, a_r, a_h), (s_z, s_r, s_h) = np.split(a, 3, -1), np.split(s, 3, -1)
            z, r = self.sigmoid(q(a_z + s_z)), self.sigmoid(q(a_r + s_r))
            g = self.tanh(q(a_h + q(r * s_h)))
            h = self.state(q(q(z * h) + q(q(1 - z) * g)))
            out.append(h)
        return np.stack(out, 1) if sequences else h

    def simple_rnn(self, x: Array, w: dict[str, Array], seq: bool = False) -> Array:
        """Return the outputs of a SimpleRNN."""
        x, units = self.state(x), w["recurrent_kernel"].shape[0]
        h, out = np.zeros((len(x), units)), []
        for t in range(x.shape[1]):
            a = self.dot(x[:, t], w["kernel"], w["bias"])
            h = self.state(
                self.tanh(self.q(a + self.dot(h, w["recurrent_kernel"], None)))
            )
            out.append(h)
        return np.stack(out, 1) if seq else h

    def dense(self, x: Array, w: dict[str, Array], activation: str = "linear") -> Array:
        """Return the outputs of a Dense layer."""
        y = self.dot(self.state(x), w["kernel"], w["bias"])
        if activation == "softmax":
            e = self.q(np.exp(self.q(y - y.max(axis=-1, keepdims=True))))
            y = self.q(e / self.q(e.sum(axis=-1, keepdims=True)))
        if activation == "sigmoid":
            y = self.sigmoid(y)
        return self.state(y)

    def model(self, spec: Any, x: Array) -> Array:
        """Return the outputs of a stack of these layers."""
        layers = [layer for layer in spec if layer.class_name != "InputLayer"]
        y = x
        for layer in layers:
            w = dict(layer.weights)
            if layer.class_name == "Embedding":
                y = self.weights(w["embeddings"])[x]
            elif layer.class_name == "Dense":
                y = self.dense(y, w, layer.options["activation"])
            else:
                loops = {
                    "LSTM": self.lstm,
                    "GRU": self.gru,
                    "SimpleRNN": self.simple_rnn,
                }
                sequences = layer.options["return_sequences"]
                y = loops[layer.class_name](y, w, sequences)
        return y


def ports() -> dict[str, list[Port]]:
    """Return right ports by the precision that they compute in.

    Each is another program: it rounds sums term by term or at their end, cuts off or
    rounds to nearest.
    """
    return {
        "float16": [Port(float16), Port(float16, wide=True)],
        "bfloat16": [Port(bfloat16), Port(bfloat16, wide=True)],
        "fixed<16,6>": [
            Port(fixed(16, 6)),
            Port(fixed(16, 6), wide=True),
            Port(fixed(16, 6, nearest=True)),
        ],
        "fixed<12,4>": [Port(fixed(12, 4)), Port(fixed(12, 4), wide=True)],
        "int8": [
            Port(exact, int8, wide=True),
            Port(exact, int8, wide=True, state=int8),
        ],
    }
