"""Compute what a recurrent operator of a file says: from its weights and attributes.

The gates of such an operator are inside the runtime and cannot be looked at. Computed
from what the file holds, they tell three mistakes apart: the file holds other weights
or attributes, the operator gets other inputs, or the runtime computes something else
than the file says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify.forward.activations import Activation, sigmoid, softplus, softsign
from verify.forward.cells import LSTMStep, gate_blocks, gru_step, simple_rnn_step
from verify.model.arrays import Array
from verify.ports.locate.inside import Operator

ONNX_ORDER = {"LSTM": "iofc", "GRU": "zrh", "SimpleRNN": "h"}
"""Order of the gate blocks. Source: the Operators page of onnx."""

OPENVINO_ORDER = {"LSTM": "fico", "GRU": "zrh", "SimpleRNN": "h"}
"""Order of the gate blocks. Source: OpenVINO, operation sets, LSTMSequence-5."""

KERAS_ORDER = {"LSTM": "ifco", "GRU": "zrh", "SimpleRNN": "h"}

KINDS: Mapping[str, str] = {
    "LSTM": "LSTM",
    "GRU": "GRU",
    "RNN": "SimpleRNN",
    "LSTMSequence": "LSTM",
    "GRUSequence": "GRU",
    "RNNSequence": "SimpleRNN",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "LSTM",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "LSTM",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "SimpleRNN",
}
"""Operator of a file -> the layer of Keras that it is."""

DEFAULT_ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "LSTM": ("sigmoid", "tanh", "tanh"),
    "GRU": ("sigmoid", "tanh"),
    "SimpleRNN": ("tanh",),
}

ALPHA_BETA: Mapping[str, tuple[float | None, float | None]] = {
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01, None),
    "elu": (1.0, None),
    "thresholdedrelu": (1.0, None),
    "affine": (1.0, 0.0),
    "scaledtanh": (1.0, 1.0),
}
"""Activations of ONNX with parameters, and the values that stand for those left out."""


@dataclass(frozen=True)
class Function:
    """Hold an activation as a file names it, with its parameters."""

    name: str
    alpha: float | None = None
    beta: float | None = None

    def __str__(self) -> str:
        given = [
            f"{key}={value:.6g}"
            for key, value in (("alpha", self.alpha), ("beta", self.beta))
            if value is not None
        ]
        return f"{self.name}({', '.join(given)})" if given else self.name

    def __call__(self, x: Array) -> Array:
        """Return the function of every number."""
        a = 1.0 if self.alpha is None else self.alpha
        b = 0.0 if self.beta is None else self.beta
        functions: Mapping[str, Activation] = {
            "sigmoid": sigmoid,
            "tanh": np.tanh,
            "relu": lambda x: np.maximum(x, 0),
            "softsign": softsign,
            "softplus": softplus,
            "linear": lambda x: x,
            "hardsigmoid": lambda x: np.clip(a * x + b, 0, 1),
            "leakyrelu": lambda x: np.where(x < 0, a * x, x),
            "elu": lambda x: np.where(x < 0, a * np.expm1(x), x),
            "thresholdedrelu": lambda x: np.where(x > a, x, 0),
            "affine": lambda x: a * x + b,
            "scaledtanh": lambda x: a * np.tanh(b * x),
            "relu6": lambda x: np.clip(x, 0, 6),
        }
        result: Array = functions[self.name](x)
        return result

    @property
    def known(self) -> bool:
        """Return whether it can be computed."""
        try:
            self(np.zeros(1))
        except KeyError:
            return False
        return True


@dataclass(frozen=True, eq=False)
class Direction:
    """Hold one direction of a recurrent operator, in the layout of Keras.

    Attributes
    ----------
    node, op : str
        Name and type of the operator.
    kind : str
        ``"LSTM"``, ``"GRU"`` or ``"SimpleRNN"``.
    reverse : bool
    x : (batch, time, features)
    kernel, recurrent_kernel, bias
        As `verify.forward.cells` takes them; zeros where the operator has no bias.
    states : tuple of (batch, units)
        Initial states; zeros if the operator is given none.
    given_states : bool
        Whether it is given initial states that are not all zero.
    lengths : (batch,) or None
    functions : tuple of Function
    reset_after : bool
    clip : float
        Limit of all arguments of activations; 0 for none.
    clip_state : float
        Limit of the cell state; 0 for none.
    coupled : bool
        Whether the forget gate is 1 - i.
    peepholes : (3 * units,) or None
        Weights from the cell state to i, o and f.
    outputs : mapping of str to array
        ``y`` (batch, time, units), ``h`` and ``c`` (batch, units), as the runtime
        computed them; those that the file does not use are absent.
    names : mapping of str to str
        The names of its tensors in the file.
    """

    node: str
    op: str
    kind: str
    reverse: bool
    x: Array
    kernel: Array
    recurrent_kernel: Array
    bias: Array
    states: tuple[Array, ...]
    given_states: bool
    lengths: Array | None
    functions: tuple[Function, ...]
    reset_after: bool = False
    clip: float = 0.0
    clip_state: float = 0.0
    coupled: bool = False
    peepholes: Array | None = None
    outputs: Mapping[str, Array] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def units(self) -> int:
        """Return the number of units."""
        return int(self.recurrent_kernel.shape[0])

    @property
    def weights(self) -> dict[str, Array]:
        """Return its weights by Keras's names."""
        return {
            "kernel": self.kernel,
            "recurrent_kernel": self.recurrent_kernel,
            "bias": self.bias,
        }

    def values(self) -> dict[str, Array]:
        """Compute gates and states at every step in float64, by the names of a trace.

        Returns
        -------
        dict of str to (batch, time, units)
            The time axis is that of the input. Past the length of a row the states are
            those after its last step.
        """
        step = self._step()
        states = tuple(s.astype(np.float64) for s in self.states)
        time = self.x.shape[1]
        recorded: list[dict[str, Array]] = []
        for t in reversed(range(time)) if self.reverse else range(time):
            result = step(self.x[:, t].astype(np.float64), *states)._asdict()
            names = ("h", "c")[: len(states)]
            new = tuple(result[name] for name in names)
            if self.lengths is not None:
                lives = (t < self.lengths)[:, None]
                new = tuple(
                    np.where(lives, a, b) for a, b in zip(new, states, strict=True)
                )
            states = new
            recorded.append(result | dict(zip(names, states, strict=True)))
        if self.reverse:
            recorded.reverse()
        return {
            name: np.stack([values[name] for values in recorded], axis=1)
            for name in recorded[0]
        }

    def _step(self) -> Callable[..., Any]:
        weights = {k: v.astype(np.float64) for k, v in self.weights.items()}
        functions = [self._clipped(function) for function in self.functions]
        if self.kind == "SimpleRNN":
            return lambda x, h: simple_rnn_step(
                x, h, **weights, activation=functions[0]
            )
        if self.kind == "GRU":
            return lambda x, h: gru_step(
                x, h, **weights, recurrent_activation=functions[0],
                activation=functions[1], reset_after=self.reset_after,
            )  # fmt: skip

        def lstm(x: Array, h: Array, c: Array) -> LSTMStep:
            z = x @ weights["kernel"] + h @ weights["recurrent_kernel"]
            z_i, z_f, z_c, z_o = gate_blocks(z + weights["bias"], 4)
            p = self.peepholes
            p_i, p_o, p_f = (0.0,) * 3 if p is None else gate_blocks(p, 3)
            i = functions[0](z_i + p_i * c)
            f = 1 - i if self.coupled else functions[0](z_f + p_f * c)
            c_hat = functions[1](z_c)
            c = f * c + i * c_hat
            if self.clip_state:
                c = np.clip(c, -self.clip_state, self.clip_state)
            o = functions[0](z_o + p_o * c)
            return LSTMStep(i, f, c_hat, o, c, h=o * functions[2](c))

        return lstm

    def _clipped(self, function: Function) -> Activation:
        if not self.clip:
            return function
        return lambda x: function(np.clip(x, -self.clip, self.clip))


def directions(operator: Operator) -> list[Direction]:
    """Return the directions of an operator; none if it cannot be computed here.

    That is so for weights in 8 bits, which have scales elsewhere in the file.
    """
    weights = [
        v for role, v in operator.arrays.items() if role.strip("fbw_")[0] in "WR"
    ]
    if "X" not in operator.arrays or len(weights) < 2:
        return []
    if any(value.dtype.kind != "f" for value in weights):
        return []
    if operator.op in ("LSTM", "GRU", "RNN"):
        found = list(_onnx(operator))
    elif operator.op.endswith("Sequence"):
        found = list(_openvino(operator))
    else:
        found = list(_litert(operator))
    return [d for d in found if all(function.known for function in d.functions)]


def reordered(value: Array, order: str, wanted: str) -> Array:
    """Return the gate blocks of the last axis in another order."""
    blocks = gate_blocks(value, len(order))
    return np.concatenate([blocks[order.index(gate)] for gate in wanted], axis=-1)


def _onnx(operator: Operator) -> Iterator[Direction]:
    """Yield the directions of LSTM, GRU or RNN of ONNX.

    Source: the Operators page of onnx, LSTM-22, GRU-22 and RNN-22.
    """
    kind, given, arrays = KINDS[operator.op], operator.attributes, operator.arrays
    direction = given.get("direction", "forward")
    reverses = {"forward": [False], "reverse": [True]}.get(direction, [False, True])
    order, wanted = ONNX_ORDER[kind], KERAS_ORDER[kind]
    batch_first = bool(given.get("layout", 0))
    x = arrays["X"] if batch_first else np.swapaxes(arrays["X"], 0, 1)
    functions = _functions(
        given.get("activations"), given.get("activation_alpha") or [],
        given.get("activation_beta") or [], kind, len(reverses),
    )  # fmt: skip
    for d, reverse in enumerate(reverses):
        kernel = reordered(arrays["W"][d].T, order, wanted)
        recurrent = reordered(arrays["R"][d].T, order, wanted)
        width = kernel.shape[1]
        both = arrays["B"][d] if "B" in arrays else np.zeros(2 * width, kernel.dtype)
        rows = np.stack([reordered(b, order, wanted) for b in gate_blocks(both, 2)])
        units, batch = recurrent.shape[0], len(x)

        def initial(role: str, d: int = d, shape: Any = (batch, units)) -> Array:
            if role not in arrays:
                return np.zeros(shape, np.float32)
            return arrays[role][:, d] if batch_first else arrays[role][d]

        roles = ["initial_h", "initial_c"] if kind == "LSTM" else ["initial_h"]
        states = tuple(initial(role) for role in roles)
        outputs = {}
        if "Y" in arrays:
            y = arrays["Y"]
            outputs["y"] = y[:, :, d] if batch_first else np.swapaxes(y[:, d], 0, 1)
        for role, name in (("Y_h", "h"), ("Y_c", "c")):
            if role in arrays:
                value = arrays[role]
                outputs[name] = value[:, d] if batch_first else value[d]
        yield Direction(
            operator.node, operator.op, kind, reverse, x, kernel, recurrent,
            rows if kind == "GRU" else rows.sum(axis=0), states,
            any(state.any() for state in states), arrays.get("sequence_lens"),
            functions[d], bool(given.get("linear_before_reset", 0)),
            float(given.get("clip", 0.0)), 0.0, bool(given.get("input_forget", 0)),
            arrays["P"][d].astype(np.float64) if "P" in arrays else None,
            outputs, operator.names,
        )  # fmt: skip


def _functions(
    names: Sequence[str] | None,
    alphas: Sequence[float],
    betas: Sequence[float],
    kind: str,
    count: int,
) -> list[tuple[Function, ...]]:
    """Return the activations of each direction with their parameters.

    Parameters are given in the order of the activations that take them.
    """
    default = DEFAULT_ACTIVATIONS[kind]
    flat = [name.lower() for name in names] if names else [*default] * count
    alpha, beta = iter(alphas), iter(betas)
    found = []
    for name in flat:
        a, b = ALPHA_BETA.get(name, (None, None))
        a = a if a is None else next(alpha, a)
        b = b if b is None else next(beta, b)
        found.append(Function(name, a, b))
    size = len(default)
    found += [Function(name) for name in default * count][len(found) :]
    return [tuple(found[d * size : (d + 1) * size]) for d in range(count)]


def _openvino(operator: Operator) -> Iterator[Direction]:
    """Yield the directions of LSTMSequence, GRUSequence or RNNSequence.

    Source: OpenVINO, operation sets, LSTMSequence-5, GRUSequence-5, RNNSequence-5.
    """
    kind, given, arrays = KINDS[operator.op], operator.attributes, operator.arrays
    direction = str(given.get("direction", "forward")).lower()
    reverses = {"forward": [False], "reverse": [True]}.get(direction, [False, True])
    order, wanted = OPENVINO_ORDER[kind], KERAS_ORDER[kind]
    after = bool(given.get("linear_before_reset", False))
    functions = _functions(
        given.get("activations"), given.get("activations_alpha") or [],
        given.get("activations_beta") or [], kind, 1,
    )  # fmt: skip
    x = arrays["X"]
    lengths = arrays.get("sequence_lens")
    if lengths is not None and (lengths >= x.shape[1]).all():
        lengths = None
    for d, reverse in enumerate(reverses):
        kernel = reordered(arrays["W"][d].T, order, wanted)
        recurrent = reordered(arrays["R"][d].T, order, wanted)
        bias = arrays["B"][d]
        if kind == "GRU":
            z, r, *rest = gate_blocks(bias, 4 if after else 3)
            zero = np.zeros_like(z)
            h = rest if after else [rest[0], zero]
            bias = np.stack(
                [np.concatenate([z, r, h[0]]), np.concatenate([zero, zero, h[1]])]
            )
        else:
            bias = reordered(bias, order, wanted)
        roles = ["initial_h", "initial_c"] if kind == "LSTM" else ["initial_h"]
        states = tuple(arrays[role][:, d] for role in roles)
        outputs = {
            name: arrays[role][:, d]
            for role, name in (("Y", "y"), ("Y_h", "h"), ("Y_c", "c"))
            if role in arrays
        }
        yield Direction(
            operator.node, operator.op, kind, reverse, x, kernel, recurrent, bias,
            states, any(state.any() for state in states), lengths, functions[0],
            after, float(given.get("clip", 0.0) or 0.0), outputs=outputs,
            names=operator.names,
        )  # fmt: skip


def _litert(operator: Operator) -> Iterator[Direction]:
    """Yield the directions of a fused operator of LiteRT: one matrix for each gate.

    Source: tensorflow/lite/kernels/unidirectional_sequence_lstm.cc.
    """
    kind, given, arrays = KINDS[operator.op], operator.attributes, operator.arrays
    x = arrays["X"]
    if given.get("time_major", False):
        x = np.swapaxes(x, 0, 1)
    first = Function(str(given.get("activation", "tanh")).lower())
    two = operator.op.startswith("BIDIRECTIONAL")
    for d, prefix in enumerate(("fw_", "bw_") if two else ("",)):
        if kind == "SimpleRNN":
            kernel = arrays["W"].T
            recurrent, bias = arrays["R"].T, arrays["B"]
            functions: tuple[Function, ...] = (first,)
            coupled = False
        else:
            coupled = f"{prefix}W_i" not in arrays
            kernel, recurrent, bias = (
                np.concatenate(
                    [
                        arrays.get(f"{prefix}{letter}_{gate}", zeros).T
                        for gate in KERAS_ORDER[kind]
                    ],
                    axis=-1,
                )
                for letter in "WRB"
                for zeros in [np.zeros_like(arrays[f"{prefix}{letter}_f"])]
            )
            functions = (Function("sigmoid"), first, first)
        units = recurrent.shape[0]
        states = tuple(
            arrays.get(f"{prefix}{role}", np.zeros((len(x), units), np.float32))
            for role in (
                ("initial_h", "initial_c") if kind == "LSTM" else ("initial_h",)
            )
        )
        peepholes = None
        if f"{prefix}P_o" in arrays:
            peepholes = np.concatenate(
                [
                    arrays.get(f"{prefix}P_{gate}", np.zeros(units)).astype(np.float64)
                    for gate in "iof"
                ]
            )
        outputs = {}
        key = "Y_bw" if prefix == "bw_" and "Y_bw" in arrays else "Y"
        if key in arrays:
            y = arrays[key]
            y = np.swapaxes(y, 0, 1) if given.get("time_major", False) else y
            if two and "Y_bw" not in arrays:
                y = y[..., d * units : (d + 1) * units]
            outputs["y"] = y
        yield Direction(
            operator.node, operator.op, kind, prefix == "bw_", x, kernel, recurrent,
            bias, states, any(state.any() for state in states), None, functions,
            clip_state=float(given.get("cell_clip", 0.0) or 0.0), coupled=coupled,
            peepholes=peepholes, outputs=outputs, names=operator.names,
        )  # fmt: skip
