"""Fewer bits than float32: in weights, states, inputs, sums, or everywhere.

A rounding at every step depends on the last bit of what is rounded, so a port and its
equations here may differ in single roundings, and in what follows from them. Such
mistakes have a `Mistake.roundoff`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from verify.forward.activations import Activation, sigmoid, softmax, tanh
from verify.forward.cells import GRUStep, LSTMStep, SimpleRNNStep, gate_blocks
from verify.forward.layers.base import Run, function_of
from verify.mistakes.approximations import HLS4ML, Approximation
from verify.mistakes.catalogue.combined import changed
from verify.mistakes.catalogue.mistake import (
    CONV_LSTMS,
    Call,
    Change,
    Mistake,
    ModelOperator,
    Mutant,
    MutationOperator,
    on_call,
    on_inputs,
    on_weights,
)
from verify.mistakes.catalogue.steps import step_of
from verify.mistakes.number_formats import (
    CUT,
    HALVES,
    ROUNDED,
    NumberFormat,
    Rounding,
    to_int8,
    to_int8_asymmetric,
    to_int8_power_of_two,
    to_int8_pytorch,
    to_tf32,
)
from verify.model.arrays import Array
from verify.model.dtypes import is_float
from verify.model.spec import GATES, LayerSpec, ModelSpec

FLOAT32 = "in float32"


def _quantised(layer: LayerSpec) -> bool:
    """Say whether Keras itself holds the weights as whole numbers."""
    return any(not is_float(w) for w in layer.weights.values())


def _in_turn(*changes: Change) -> Change:
    """Return a change that makes several, one after the other."""

    def changed(layer: LayerSpec) -> LayerSpec:
        for change in changes:
            layer = change(layer)
        return layer

    return changed


def _all_weights(to: Rounding) -> Change:
    return on_weights(change=lambda _, w: to(w))


def rounded_weights(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield weights, biases among them, that went through fewer bits."""
    if not layer.weights or _quantised(layer):
        return
    for to in (*HALVES, *CUT, *ROUNDED):
        yield Mistake(
            f"weights {to.done}",
            f"the weights have been {to.explained}",
            f"keep the weights {FLOAT32}",
            _all_weights(to.round),
        )
    yield Mistake(
        "weights rounded to TF32",
        "the weights have been rounded to TensorFloat-32, as NVIDIA's GPUs do in "
        "matrix products",
        "switch TF32 off, or compare on a CPU",
        _all_weights(to_tf32),
    )


def _kernels(layer: LayerSpec) -> tuple[str, ...]:
    """Return the names of the weights that an int8 port holds in int8: no biases."""
    return tuple(
        key
        for key, value in layer.weights.items()
        if value.ndim > 1 and not key.endswith("bias") and value.size > 1
    )


def _by_column(value: Array) -> Array:
    return to_int8(value, axes=tuple(range(value.ndim - 1)))


def _by_gate(layer: LayerSpec, value: Array) -> Array:
    blocks = gate_blocks(value, len(layer.gates))
    return np.concatenate([to_int8(block) for block in blocks], axis=-1)


def int8_weights(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield kernels and tables in int8, scaled in each of the usual ways.

    TensorFlow Lite's dynamic-range quantisation has one scale for each gate of an LSTM,
    and for each column of a Dense kernel; PyTorch's has one for each array.

    Source: TensorFlow Lite 8-bit quantization specification; `number_formats` for the
    others.
    """
    keys = _kernels(layer)
    if not keys or _quantised(layer):
        return
    schemes: list[tuple[str, str, Callable[[LayerSpec, Array], Array]]] = [
        ("per tensor", "one scale for each array", lambda _, w: to_int8(w)),
        (
            "per tensor, asymmetric",
            "one scale and zero point for each array",
            lambda _, w: to_int8_asymmetric(w),
        ),
        (
            "per tensor, as PyTorch does",
            "scale max / 127.5 for each array",
            lambda _, w: to_int8_pytorch(w),
        ),
        (
            "per tensor, in steps of a power of two",
            "steps of a power of two for each array",
            lambda _, w: to_int8_power_of_two(w),
        ),
    ]
    if "embeddings" not in keys:
        schemes.append(
            ("per column", "one scale for each column", lambda _, w: _by_column(w))
        )
    if len(layer.gates) > 1:
        schemes.append(("per gate", "one scale for each gate of each array", _by_gate))
    for name, text, change in schemes:
        yield Mistake(
            f"weights rounded to int8 {name}",
            f"the weights, without biases, have been rounded to int8 with {text}",
            f"keep the weights {FLOAT32}",
            on_weights(*keys, change=change),
        )


def _stepwise(change: Callable[..., Any]) -> Change:
    """Return a change of the step: the step before and its arguments -> its result."""

    def changed(layer: LayerSpec) -> LayerSpec:
        return layer.with_overrides(step=partial(change, step_of(layer)))

    return changed


def _states_in(to: Rounding) -> Change:
    def step(before: Callable[..., Any], x: Array, *states: Array, **how: Any) -> Any:
        result = before(x, *states, **how)
        return result._replace(
            **{
                key: to(getattr(result, key))
                for key in ("c", "h")
                if key in result._fields
            }
        )

    return _stepwise(step)


def _inputs_in(to: Rounding) -> Change:
    def step(before: Callable[..., Any], x: Array, *states: Array, **how: Any) -> Any:
        return before(to(x), *states, **how)

    return _stepwise(step)


def rounded_states(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield states rounded after each step, alone and with the weights."""
    if not layer.gates or _quantised(layer):
        return
    for to in (*HALVES, *CUT, *ROUNDED):
        yield Mistake(
            f"states {to.done}",
            f"the states are {to.explained} after each step",
            f"keep the states {FLOAT32}",
            _states_in(to.round),
            roundoff=to.roundoff,
        )
    for to in (*HALVES, *CUT, *ROUNDED):
        yield Mistake(
            f"weights and states {to.done}",
            f"the weights, and the states after each step, are {to.explained}",
            f"keep weights and states {FLOAT32}",
            _in_turn(_all_weights(to.round), _states_in(to.round)),
            roundoff=to.roundoff,
        )


def rounded_inputs(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield floats that are rounded on their way into a layer with weights."""
    if not layer.weights or layer.class_name == "Embedding" or _quantised(layer):
        return
    for to in (*HALVES, *CUT):
        yield Mistake(
            f"inputs {to.done}",
            f"the inputs of the layer are {to.explained}",
            f"pass numbers {FLOAT32} from layer to layer",
            _inputs_in(to.round)
            if layer.gates
            else on_inputs(partial(_if_float, to=to.round)),
            roundoff=to.roundoff,
        )


def _if_float(value: Any, to: Rounding) -> Any:
    return to(value) if isinstance(value, np.ndarray) and is_float(value) else value


Dot = Callable[[Array, Array, Array, Rounding], Array]
"""``start + x @ w`` in a number format: x is (batch, n), w (n, m), start (m,) or
(batch, m) -> (batch, m)."""


def _at_once(x: Array, w: Array, start: Array, to: Rounding) -> Array:
    """Sum in float32 and round once, as fused kernels do."""
    return to(x @ w + start)


def _then_added(x: Array, w: Array, start: Array, to: Rounding) -> Array:
    """Round the product, and then the sum, as NumPy does."""
    return to(to(x @ w) + start)


def _one_by_one(x: Array, w: Array, start: Array, to: Rounding) -> Array:
    """Round every product and every partial sum, as a loop over the inputs does."""
    total = np.broadcast_to(start, (len(x), w.shape[1]))
    for k in range(len(w)):
        total = to(total + to(x[:, k : k + 1] * w[k]))
    return total


MOST_PRODUCTS = 2_000_000
"""Products of numbers that are held at a time."""


def _cut(x: Array, w: Array, start: Array, to: Rounding, step: float) -> Array:
    """Cut every product and every partial sum off to fixed point.

    The sums are whole numbers of steps, so their order, and where they wrap round,
    makes no difference.
    """
    scaled, total = w / step, np.empty((len(x), w.shape[1]), x.dtype)
    rows = max(1, MOST_PRODUCTS // scaled.size)
    for first in range(0, len(x), rows):
        products = x[first : first + rows, :, None] * scaled  # (rows, n, m)
        total[first : first + rows] = np.floor(products, out=products).sum(axis=1)
    return to(start + total * step)


@dataclass(frozen=True)
class Arithmetic:
    """Describe how a port computes in a number format.

    Attributes
    ----------
    to : NumberFormat
    dot : Dot
    bias_last : bool
        Whether the bias is added when both products have been, and not to the first.
    elementary : bool
        Whether sigmoid and softmax are computed in the format, operation by operation,
        and not rounded as a whole.
    tables : Approximation, optional
        What tanh and sigmoid are read from before they are rounded.
    """

    to: NumberFormat
    dot: Dot
    bias_last: bool = False
    elementary: bool = False
    tables: Approximation | None = None

    def activation(self, function: Activation) -> Activation:
        """Return an activation whose results are in the format."""
        to = self.to.round
        if self.tables is not None and function in (tanh, sigmoid):
            function = self.tables.tanh if function is tanh else self.tables.sigmoid
        if self.elementary and function is sigmoid:

            def by_operation(x: Array) -> Array:
                return to(1 / to(1 + to(np.exp(-x))))

            return by_operation
        if self.elementary and function is softmax:

            def normalised(x: Array) -> Array:
                e = to(np.exp(to(x - x.max(axis=-1, keepdims=True))))
                return to(e / to(e.sum(axis=-1, keepdims=True)))

            return normalised
        return lambda x: to(function(x))

    def sums(self, x: Array, h: Array, how: dict[str, Any], bias: Array) -> Array:
        """Return ``x @ kernel + h @ recurrent_kernel + bias``, (batch, columns)."""
        to, kernel, recurrent = self.to.round, how["kernel"], how["recurrent_kernel"]
        if self.dot is _at_once:
            return to(x @ kernel + h @ recurrent + bias)
        if self.bias_last:
            return to(to(to(x @ kernel) + to(h @ recurrent)) + bias)
        first = self.dot(x, kernel, bias, to)
        if self.dot is _then_added:
            return to(first + to(h @ recurrent))
        return self.dot(h, recurrent, first, to)

    def simple_rnn_step(self, x: Array, h: Array, **how: Any) -> SimpleRNNStep:
        """Compute a step of `verify.forward.cells.simple_rnn_step`."""
        to, phi = self.to.round, self.activation(how["activation"])
        return SimpleRNNStep(phi(self.sums(to(x), to(h), how, how["bias"])))

    def lstm_step(self, x: Array, h: Array, c: Array, **how: Any) -> LSTMStep:
        """Compute a step of `verify.forward.cells.lstm_step`."""
        to, phi = self.to.round, self.activation(how["activation"])
        sigma = self.activation(how["recurrent_activation"])
        z = gate_blocks(self.sums(to(x), to(h), how, how["bias"]), 4)
        i, f, o, c_hat = sigma(z[0]), sigma(z[1]), sigma(z[3]), phi(z[2])
        c = to(to(f * to(c)) + to(i * c_hat))
        return LSTMStep(i, f, c_hat, o, c, to(o * phi(c)))

    def gru_step(self, x: Array, h: Array, **how: Any) -> GRUStep:
        """Compute a step of `verify.forward.cells.gru_step`."""
        to, phi = self.to.round, self.activation(how["activation"])
        sigma, bias = self.activation(how["recurrent_activation"]), how["bias"]
        x, h, recurrent = to(x), to(h), how["recurrent_kernel"]
        a_z, a_r, a_h = gate_blocks(self.dot(x, how["kernel"], bias[0], to), 3)
        s_z, s_r, s_h = gate_blocks(self.dot(h, recurrent, bias[1], to), 3)
        z, r = sigma(to(a_z + s_z)), sigma(to(a_r + s_r))
        if not how["reset_after"]:
            u_h = gate_blocks(recurrent, 3)[2]  # (units, units)
            inner = self.dot(to(r * h), u_h, np.zeros_like(u_h[0]), to)
        else:
            inner = to(r * s_h)
        h_hat = phi(to(a_h + inner))
        return GRUStep(z, r, h_hat, to(to(z * h) + to(to(1 - z) * h_hat)))

    def dense(
        self, call: Call, run: Run, layer: LayerSpec, given: dict[str, Any], mask: Any
    ) -> Array:
        """Compute a Dense layer."""
        to, kernel = self.to.round, layer.weights["kernel"]
        x = given["inputs"].astype(kernel.dtype, copy=False)
        rows = to(x).reshape(-1, x.shape[-1])
        bias = layer.weights.get("bias", np.zeros_like(kernel[0]))
        logits = self.dot(rows, kernel, bias, to).reshape(*x.shape[:-1], -1)
        return self.activation(function_of(layer))(logits)

    def change(self, layer: LayerSpec) -> LayerSpec:
        """Return a layer whose weights are in the format, and that computes in it."""
        layer = _all_weights(self.to.round)(layer)
        steps: dict[int, Callable[..., Any]] = {
            1: self.simple_rnn_step,
            3: self.gru_step,
            4: self.lstm_step,
        }
        if layer.gates:
            return layer.with_overrides(step=steps[len(layer.gates)])
        if layer.class_name == "Dense":
            return on_call(self.dense)(layer)
        return on_call(self.around)(layer)

    def around(
        self, call: Call, run: Run, layer: LayerSpec, given: dict[str, Any], mask: Any
    ) -> Any:
        """Compute any other layer: its inputs and its results are in the format."""
        to = self.to.round
        given = {key: _if_float(value, to) for key, value in given.items()}
        return _if_float(call(run, layer, given, mask), to)


FLOAT16, BFLOAT16 = HALVES
CUT_DOTS = {to.name: partial(_cut, step=to.roundoff) for to in CUT}
ARITHMETICS: tuple[tuple[str, str, Arithmetic], ...] = (
    (
        "computed in float16",
        "every operation is rounded to float16, the bias last",
        Arithmetic(FLOAT16, _then_added, bias_last=True, elementary=True),
    ),
    (
        "computed in float16, the bias first",
        "every operation is rounded to float16, the bias before the recurrent term",
        Arithmetic(FLOAT16, _then_added, elementary=True),
    ),
    (
        "computed in float16, summed in float32",
        "everything is rounded to float16, the pre-activations once they are summed",
        Arithmetic(FLOAT16, _at_once),
    ),
    (
        "summed in float16",
        "everything is rounded to float16, and so is every partial sum of the "
        "pre-activations, from the bias on",
        Arithmetic(FLOAT16, _one_by_one),
    ),
    (
        "computed in bfloat16",
        "every operation is rounded to bfloat16, the bias last",
        Arithmetic(BFLOAT16, _then_added, bias_last=True, elementary=True),
    ),
    (
        "computed in bfloat16, summed in float32",
        "everything is rounded to bfloat16, the pre-activations once they are summed",
        Arithmetic(BFLOAT16, _at_once),
    ),
    *(
        (
            f"computed in {to.name}",
            f"everything is {to.explained}, products and sums too",
            Arithmetic(to, CUT_DOTS[to.name]),
        )
        for to in CUT[:2]
    ),
    (
        f"computed in {CUT[0].name}, with hls4ml's tables",
        f"everything is {CUT[0].explained}, products and sums too, and tanh and "
        f"sigmoid are read from {HLS4ML.text}",
        Arithmetic(CUT[0], CUT_DOTS[CUT[0].name], tables=HLS4ML),
    ),
    *(
        (
            f"computed in {to.name}, rounded",
            f"everything is {to.explained}, the pre-activations once they are summed",
            Arithmetic(to, _at_once),
        )
        for to in ROUNDED[:1]
    ),
)
"""Name, explanation and arithmetic of ports that compute in fewer bits. In which order
a port sums is not known, but these orders are the usual ones.

hls4ml cuts every product and every sum, and so its order makes no difference. Source:
hls4ml/templates/vivado/nnet_utils/nnet_dense_latency.h."""


def _tables(layer: LayerSpec, arithmetic: Arithmetic) -> bool:
    """Say whether a layer reads any activation from a table."""
    used = {layer.options.get(x) for x in ("activation", "recurrent_activation")}
    return arithmetic.tables is not None and bool(used & {"tanh", "sigmoid"})


def _computed(layer: LayerSpec) -> Iterator[tuple[Mistake, bool]]:
    """Yield layers that compute in fewer bits, and whether each is unlike the others.

    Some arithmetics differ in the order of the recurrent sum alone. A whole model
    needs them in its other layers as well.
    """
    if not layer.weights or layer.class_name in CONV_LSTMS or _quantised(layer):
        return
    seen = set[tuple[str, Any]]()
    for name, explanation, arithmetic in ARITHMETICS:
        how: Any = None
        if layer.gates == GATES["GRU"] or layer.class_name == "Dense":
            # each bias is added to one product
            how = arithmetic.dot, _tables(layer, arithmetic)
        elif layer.gates:
            how = name
        format_and_how = arithmetic.to.done, how
        mistake = Mistake(
            name,
            explanation,
            "compute in float32",
            arithmetic.change,
            roundoff=arithmetic.to.roundoff,
        )
        yield mistake, format_and_how not in seen
        seen.add(format_and_how)


def computed_in_fewer_bits(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield layers that compute in fewer bits from their inputs to their outputs."""
    for mistake, unlike in _computed(layer):
        if unlike and layer.class_name != "Embedding":  # its weights are its outputs
            yield mistake


def _by_layer(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield what a port that is converted as a whole does in one of its layers."""
    for operator in (rounded_weights, int8_weights, rounded_states, rounded_inputs):
        yield from operator(layer)
    for mistake, _ in _computed(layer):
        yield mistake


WEIGHTS_AND_STATES = "weights and states "


def _in_whole_model(layer: LayerSpec) -> dict[str, Mistake]:
    """Return the mistakes of a layer by the name of what is done to the whole model.

    A layer without states has its weights rounded where others have their states
    rounded too. TensorFlow Lite's converter chooses the scale of int8 weights by the
    kind of the layer.
    """
    found = {mistake.name: mistake for mistake in _by_layer(layer)}
    for name, mistake in list(found.items()):
        if name.startswith("weights ") and not layer.gates:
            found[name.replace("weights ", WEIGHTS_AND_STATES, 1)] = mistake
    own = "per gate" if len(layer.gates) > 1 else "per column"
    for scheme in (own, "per tensor"):
        lite = found.get(f"weights rounded to int8 {scheme}")
        if lite is not None:
            found["weights rounded to int8 as TensorFlow Lite does"] = lite
            break
    return found


def whole_model(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield mutants in which every layer has fewer bits, as a converted model has.

    What layers of one class, or all recurrent layers, have in common is left out:
    `combined.everywhere` yields it.
    """
    made: dict[str, list[tuple[str, Mistake]]] = {}
    layers = dict(spec.walk())
    for path, layer in layers.items():
        for name, mistake in _in_whole_model(layer).items():
            made.setdefault(name, []).append((path, mistake))
    unlike = {
        mistake.name
        for layer in layers.values()
        for mistake, unlike_others in _computed(layer)
        if unlike_others
    }
    computed = {name for name, _, _ in ARITHMETICS}
    for name, changes in made.items():
        if name in computed - unlike:
            continue
        classes = {layers[path].class_name for path, _ in changes}
        recurrent = all(layers[path].gates for path, _ in changes)
        alone = all(mistake.name == name for _, mistake in changes)
        if len(changes) < 2 or (alone and (len(classes) < 2 or recurrent)):
            continue
        first = next((m for _, m in changes if m.name == name), changes[0][1])
        explanation = first.explanation
        if name not in (m.name for _, m in changes):
            explanation = "the weights have been " + name.removeprefix("weights ")
        yield Mutant(
            f"{name}, in the whole model",
            "",
            f"in the whole model: {explanation}",
            first.remedy,
            changed(spec, tuple(changes)),
            changes=tuple(changes),
            roundoff=max(mistake.roundoff for _, mistake in changes),
        )


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (
    rounded_weights,
    int8_weights,
    rounded_states,
    rounded_inputs,
    computed_in_fewer_bits,
)
MODEL_OPERATORS: tuple[ModelOperator, ...] = (whole_model,)
