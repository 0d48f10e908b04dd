"""Compute the forward pass in the simplest way: the equations in a loop over time.

`verify` computes the same faster, with more code; `benchmarks.speed` measures the gain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.turns import BenchmarkError
from verify.forward.activations import sigmoid, softmax, tanh
from verify.forward.cells import gru_step, lstm_step, simple_rnn_step
from verify.model.arrays import Array
from verify.model.spec import LayerSpec, ModelSpec


def plain_pass(spec: ModelSpec) -> Callable[[Array], Array]:
    """Return a model as a function: ids (batch, time) -> outputs.

    Raises
    ------
    BenchmarkError
        The model has a layer that the models measured here do not have.
    """
    layers = [layer for layer in spec if layer.class_name != "InputLayer"]
    known = ("Embedding", "Dense", "Bidirectional", *STEP_FUNCTIONS)
    for layer in layers:
        if layer.class_name not in known:
            raise BenchmarkError(
                f"expected {', '.join(known)}. Received: "
                f"{layer.class_name} '{layer.name}'"
            )

    def forward(x: Array) -> Array:
        mask = None
        for layer in layers:
            if layer.class_name == "Embedding":
                mask = x != 0 if layer.options["mask_zero"] else None
                x = layer.weights["embeddings"][x]
            elif layer.class_name == "Dense":
                x = softmax(x @ layer.weights["kernel"] + layer.weights["bias"])
            elif layer.class_name == "Bidirectional":
                x = _both_directions(layer, x, mask)
            else:
                x = _recurrence(layer, x, mask)
        return x

    return forward


def _both_directions(layer: LayerSpec, x: Array, mask: Array | None) -> Array:
    """Compute two layers and put their outputs side by side."""
    forward, backward = layer.sublayers.values()
    turned = _recurrence(backward, x[:, ::-1], None if mask is None else mask[:, ::-1])
    if backward.options["return_sequences"]:
        turned = turned[:, ::-1]
    return np.concatenate([_recurrence(forward, x, mask), turned], axis=-1)


def _recurrence(layer: LayerSpec, x: Array, mask: Array | None) -> Array:
    """Compute a recurrent layer: (batch, time, features) -> (batch, units).

    With ``return_sequences`` the result is (batch, time, units). Where `mask` (batch,
    time) is False, the states stay.
    """
    step, zeros = STEP_FUNCTIONS[layer.class_name], np.zeros
    size = (len(x), layer.options["units"])
    states = tuple(zeros(size, x.dtype) for _ in range(1 + (step is _lstm)))
    outputs = []
    for t in range(x.shape[1]):
        before, states = states, step(layer, x[:, t], *states)
        if mask is not None:
            kept = mask[:, t, None]
            states = tuple(
                np.where(kept, new, old)
                for new, old in zip(states, before, strict=True)
            )
        if layer.options["return_sequences"]:
            zeroes = mask is not None and layer.options["zero_output_for_mask"]
            outputs.append(states[0] * kept if zeroes else states[0])
    return np.stack(outputs, axis=1) if outputs else states[0]


def _simple_rnn(layer: LayerSpec, x: Array, h: Array) -> tuple[Array, ...]:
    return (simple_rnn_step(x, h, **layer.weights, activation=tanh).h,)


def _lstm(layer: LayerSpec, x: Array, h: Array, c: Array) -> tuple[Array, ...]:
    found = lstm_step(x, h, c, **_gated(layer))
    return found.h, found.c


def _gru(layer: LayerSpec, x: Array, h: Array) -> tuple[Array, ...]:
    after = layer.options["reset_after"]
    return (gru_step(x, h, **_gated(layer), reset_after=after).h,)


def _gated(layer: LayerSpec) -> dict[str, Any]:
    return {**layer.weights, "activation": tanh, "recurrent_activation": sigmoid}


STEP_FUNCTIONS: dict[str, Callable[..., tuple[Array, ...]]] = {
    "SimpleRNN": _simple_rnn,
    "LSTM": _lstm,
    "GRU": _gru,
}
