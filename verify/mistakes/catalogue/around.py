"""Options misread, and mistakes in the layers around a recurrent one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from verify.mistakes.catalogue.mistake import (
    Change,
    Mistake,
    MutationOperator,
    Need,
    on_weights,
)
from verify.mistakes.catalogue.time import SEVERAL_STEPS, first_output
from verify.model.arrays import Array
from verify.model.spec import LayerSpec

LEAKY = (
    "leaky_relu(negative_slope=0.01)",
    "leaky_relu",
    "leaky_relu(negative_slope=0.3)",
)
"""Leaky ReLUs with the default slopes of PyTorch, of Keras's function (0.2) and of
Keras's layer."""

OTHER_ACTIVATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sigmoid": (
            *("hard_sigmoid", "keras2_hard_sigmoid", "sparse_sigmoid"),
            *("tanh", "linear"),
        ),
        "hard_sigmoid": ("keras2_hard_sigmoid", "sigmoid"),
        "keras2_hard_sigmoid": ("hard_sigmoid", "sigmoid"),
        "tanh": ("linear", "relu", "sigmoid"),
        "softmax": ("linear", "sigmoid"),
        "relu": ("linear", "tanh", "relu6", "leaky_relu(negative_slope=0.01)"),
        "relu6": ("relu", "linear"),
        "leaky_relu": (*LEAKY, "relu", "linear"),
        "elu": ("elu", "relu", "selu", "linear"),
        "selu": ("elu", "rounded_selu", "relu", "linear"),
        "gelu": ("gelu", "gelu(approximate=true)", "relu", "linear"),
        "silu": ("keras2_hard_silu", "hard_silu", "sigmoid", "relu", "linear"),
        "hard_silu": ("keras2_hard_silu", "silu", "hard_sigmoid", "linear"),
        "softplus": ("relu", "linear"),
        "softsign": ("tanh", "linear"),
        "mish": ("silu", "linear"),
    }
)
"""Name of an activation, without arguments -> functions that ports have in its place;
those that the model has itself are left out."""

ACTIVATION_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "keras2_hard_sigmoid": "the hard_sigmoid of Keras 2, clip(0.2 * x + 0.5, 0, "
        "1),",
        "sparse_sigmoid": "clip((x + 1) / 2, 0, 1)",
        "keras2_hard_silu": "x * clip(0.2 * x + 0.5, 0, 1), with the hard_sigmoid of "
        "Keras 2,",
        "gelu": "gelu by its formula with erf",
        "gelu(approximate=true)": "gelu by its formula with tanh",
        "rounded_selu": "selu with constants rounded to four digits, 1.0507 and "
        "1.6733,",
        "linear": "no function",
    }
)


def _with(**options: Any) -> Change:
    return lambda layer: layer.with_options(**options)


ACTIVATION_NEEDS = {
    "recurrent_activation": frozenset({Need.SEVERAL_STEPS, Need.OPEN_GATES}),
    "activation": frozenset[Need](),
}


def wrong_activations(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield other functions than the config names."""
    for option, needs in ACTIVATION_NEEDS.items():
        name = layer.options.get(option)
        bare = str(name).partition("(")[0]
        for other in (
            OTHER_ACTIVATIONS.get(bare, ("linear",)) if name is not None else ()
        ):
            if other != name:
                yield Mistake(
                    f"{option} {other} instead of {name}",
                    f"{ACTIVATION_TEXTS.get(other, other)} is used as {option}; "
                    f"the model has {name}",
                    f"apply {name} as {option}",
                    _with(**{option: other}),
                    common="sigmoid" in other,
                    needs=needs,
                )
    if "recurrent_activation" in layer.options:
        inner = layer.options["activation"]
        outer = layer.options["recurrent_activation"]
        yield Mistake(
            "activations exchanged",
            f"activation and recurrent_activation are exchanged ({outer} and {inner})",
            f"use {inner} as activation and {outer} for the gates",
            lambda layer: layer.with_options(
                activation=layer.options["recurrent_activation"],
                recurrent_activation=layer.options["activation"],
            ),
            common=True,
        )


def reset_gate(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield the other of the two GRU variants."""
    if "reset_after" not in layer.options:
        return
    if layer.options["reset_after"]:
        yield Mistake(
            "reset_after False",
            "the reset gate is applied before the recurrent product, and not to the "
            "recurrent bias, as by ONNX's GRU with linear_before_reset=0; the model "
            "has reset_after=True",
            "compute the candidate from r * (h @ U_h + bias[1])",
            _reset_before,
            common=True,
            needs=SEVERAL_STEPS,
        )
        return
    yield Mistake(
        "reset_after True",
        "the reset gate is applied after the recurrent product; the model has "
        "reset_after=False",
        "compute the candidate from (r * h) @ U_h",
        lambda layer: layer.with_options(reset_after=True),
        common=True,
        needs=SEVERAL_STEPS,
    )


def _reset_before(layer: LayerSpec) -> LayerSpec:
    """Return a GRU that resets before the product, with both biases outside it."""
    layer = layer.with_options(reset_after=False)
    bias = layer.weights.get("bias")
    if bias is None:
        return layer
    summed = np.stack([bias.sum(axis=0), np.zeros_like(bias[0])])
    return layer.with_weights(bias=summed)


def embedding(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield rows of an Embedding's table taken for others."""
    if layer.class_name != "Embedding":
        return
    for by, which in ((1, "before"), (-1, "after")):
        yield Mistake(
            f"ids taken for those {which} them",
            f"id k takes the row {which} row k of the table",
            "id k is row k of embeddings; row 0 is there too, for padding",
            on_weights("embeddings", change=partial(_rolled, by=by)),
            common=True,
        )
        if by > 0 and layer.options["mask_zero"]:
            continue  # the two differ in row 0, which is masked
        end = "first" if by > 0 else "last"
        yield Mistake(
            f"ids taken for those {which} them, {end} row kept",
            f"id k takes the row {which} row k of the table, and the {end} id the "
            f"{end} row: the shifted ids are clamped to the table",
            "id k is row k of embeddings; row 0 is there too, for padding",
            on_weights("embeddings", change=partial(_clamped, by=by)),
            common=True,
        )
    if not layer.options["mask_zero"]:
        yield Mistake(
            "padding row zeroed",
            "id 0 gives zeros, as padding_idx=0 does in PyTorch; Keras has a trained "
            "row for it",
            "take row 0 of embeddings for id 0",
            on_weights("embeddings", change=_zeroed_row),
            common=True,
            needs=frozenset({Need.ID_ZERO}),
        )


def _rolled(_: LayerSpec, table: Array, by: int) -> Array:
    return np.roll(table, by, axis=0)


def _clamped(_: LayerSpec, table: Array, by: int) -> Array:
    last = len(table) - 1
    return table[np.clip(np.arange(len(table)) - by, 0, last)]


def _zeroed_row(_: LayerSpec, table: Array) -> Array:
    table = table.copy()
    table[0] = 0
    return table


def _inside(key: str, change: Change) -> Change:
    """Return a change that is made to a layer inside."""
    return lambda layer: replace(
        layer, sublayers={**layer.sublayers, key: change(layer.sublayers[key])}
    )


def _exchanged(layer: LayerSpec) -> LayerSpec:
    forward, backward = layer.sublayers.values()
    return replace(
        layer,
        sublayers={
            "forward_layer": replace(forward, weights=backward.weights),
            "backward_layer": replace(backward, weights=forward.weights),
        },
    )


def _as_it_comes(outputs: Array) -> Array:
    return outputs


def directions(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield the two halves of a Bidirectional mixed up, or merged in another way."""
    if layer.class_name != "Bidirectional":
        return
    forward, backward = layer.sublayers.values()
    shapes = [[w.shape for w in x.weights.values()] for x in (forward, backward)]
    if forward.class_name == backward.class_name and shapes[0] == shapes[1]:
        yield Mistake(
            "directions exchanged",
            "the forward layer is given the weights of the backward layer, and the "
            "other way round",
            "the first half of the weights is the forward layer's",
            _exchanged,
            common=True,
        )
        yield Mistake(
            "one direction's weights used twice",
            "the backward layer is given the weights of the forward layer",
            "the second half of the weights is the backward layer's",
            lambda layer: replace(
                layer,
                sublayers={
                    **layer.sublayers,
                    "backward_layer": replace(
                        layer.sublayers["backward_layer"],
                        weights=layer.sublayers["forward_layer"].weights,
                    ),
                },
            ),
        )
    turned = forward.options["go_backwards"]
    yield Mistake(
        "both layers read the same way",
        "the backward layer reads the sequence in the order of the forward layer",
        "one layer reads from the first step on, the other from the last",
        _inside("backward_layer", _with(go_backwards=turned)),
        common=True,
        needs=SEVERAL_STEPS,
    )
    if forward.options["return_sequences"]:
        yield Mistake(
            "backward outputs not turned round",
            "the backward layer's outputs are merged in the order they come in, last "
            "step first",
            "turn the backward layer's outputs round in time before merging",
            lambda layer: layer.with_overrides(turn=_as_it_comes),
            common=True,
            needs=SEVERAL_STEPS,
        )
    else:
        yield Mistake(
            "backward output of the last step",
            "the backward layer's output is taken at the last time step, where it has "
            "read one step only, as output[:, -1] does in PyTorch",
            "take the backward layer's output at the first time step",
            _inside(
                "backward_layer", lambda layer: layer.with_overrides(scan=first_output)
            ),
            common=True,
            needs=SEVERAL_STEPS,
        )
    mode = layer.options["merge_mode"]
    if mode == "concat":
        yield Mistake(
            "backward half first",
            "the outputs are concatenated backward half first",
            "concatenate the forward outputs, then the backward ones",
            lambda layer: layer.with_overrides(merge=_backward_first),
            common=True,
        )
    for other in ("sum", "mul", "ave"):
        if mode not in (None, "concat", other):
            yield Mistake(
                f"merge mode {other} instead of {mode}",
                f"the two directions are merged by {other}; the model has {mode}",
                f"merge them by {mode}",
                _with(merge_mode=other),
                common=True,
            )


def _backward_first(y: Array, y_rev: Array) -> tuple[Array, ...]:
    return (np.concatenate([y_rev, y], axis=-1),)


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (
    wrong_activations,
    reset_gate,
    embedding,
    directions,
)
