"""The catalogue of known mistakes, as functions from a model to a mistaken model.

Each is what somebody's port, or somebody's equations, really compute when one thing is
misread. Diagnosis tries them one by one; the test-suite uses them to show that the
checks can fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from verify.backends import BACKENDS
from verify.spec import GATES, Array, LayerSpec, ModelSpec


@dataclass(frozen=True)
class Mutant:
    """One mistake made in one layer.

    Attributes
    ----------
    name : str
        Short and stable, for example ``"gate order i,o,f,c"``.
    layer : str
        Path of the layer it is made in, such as ``bidirectional/forward_layer``; empty
        for the whole model.
    explanation, remedy : str
        What was done instead of what Keras does, and how to mend it.
    model : ModelSpec
        The model as the mistake makes it.
    """

    name: str
    layer: str
    explanation: str
    remedy: str
    model: ModelSpec


def catalogue(spec: ModelSpec) -> Iterator[Mutant]:
    """Every known mistake that applies to this model, likeliest first in each layer.

    A mistake that would leave every weight and option as it is (swapping bias blocks
    that are still zero, say) is left out: it cannot be seen, nor does it matter.
    """
    for path, layer in spec.walk():
        for family in FAMILIES:
            for name, explanation, remedy, mistaken in family(layer):
                if not _same(layer, mistaken):
                    model = spec.with_layer(mistaken, path)
                    yield Mutant(name, path, explanation, remedy, model)
        if layer.options.get("mask_zero") or layer.class_name == "Masking":
            yield Mutant(
                MASK_IGNORED,
                path,
                "the mask is ignored: padded steps are computed like any other",
                "hold the state at every masked step, and repeat the last output",
                replace(spec, root=unmasked(spec.root)),
            )


def elsewhere(spec: ModelSpec) -> Iterator[Mutant]:
    """The model as Keras computes it on another backend: no mistake, but different."""
    for backend, rules in BACKENDS.items():
        if rules != spec.root.rules:
            yield Mutant(
                f"Keras on {backend}",
                "",
                f"these are outputs of Keras on {backend}, which has rules of its own "
                "for masked steps",
                f"compare by the rules of that backend (--backend {backend})",
                spec.following(rules),
            )


MASK_IGNORED = "mask ignored"


def unmasked(model: LayerSpec) -> LayerSpec:
    """A model in which no Embedding and no Masking makes a mask."""

    def change(layer: LayerSpec) -> LayerSpec:
        if layer.options.get("mask_zero"):
            layer = layer.with_options(mask_zero=False)
        if layer.class_name == "Masking":  # nothing equals NaN, so nothing is masked
            layer = layer.with_options(mask_value=float("nan"))
        if layer.graph is None:
            return layer
        nodes = tuple(
            replace(node, kwargs={k: v for k, v in node.kwargs.items() if k != "mask"})
            for node in layer.graph.nodes
        )
        return replace(layer, graph=replace(layer.graph, nodes=nodes))

    return model.mapped(change)


Mistake = tuple[str, str, str, LayerSpec]
Family = Callable[[LayerSpec], Iterator[Mistake]]


def _same(a: LayerSpec, b: LayerSpec) -> bool:
    return (
        a.options == b.options
        and all(np.array_equal(a.weights[k], b.weights[k]) for k in a.weights)
        and all(_same(a.sublayers[k], b.sublayers[k]) for k in a.sublayers)
    )


def _blocks(layer: LayerSpec, weight: Array) -> list[Array]:
    """The gate blocks of a weight: slices of its last axis."""
    return np.split(weight, len(layer.gates), axis=-1)


def gate_orders(layer: LayerSpec) -> Iterator[Mistake]:
    """Columns read in another order than the one Keras stores."""
    stored = layer.gates
    for order in permutations(stored):
        if order == stored:
            continue
        weights = {}
        for key, value in layer.weights.items():
            blocks = _blocks(layer, value)
            weights[key] = np.concatenate(
                [blocks[order.index(gate)] for gate in stored], axis=-1
            )
        read, keeps = ",".join(order), ",".join(stored)
        yield (
            f"gate order {read}",
            f"gates read in the order {read}; Keras stores {keeps}",
            f"split kernel, recurrent_kernel and bias into the blocks {keeps}",
            layer.with_weights(**weights),
        )


def interleaved_gates(layer: LayerSpec) -> Iterator[Mistake]:
    """Column k*gates+g taken for unit k of gate g."""
    gates = len(layer.gates)
    if gates < 2:
        return
    weights = {
        key: np.concatenate([value[..., g::gates] for g in range(gates)], axis=-1)
        for key, value in layer.weights.items()
    }
    yield (
        "gates interleaved",
        "gates read interleaved, unit by unit; Keras stores them in blocks",
        f"take columns g * units to (g + 1) * units for gate g of {layer.gates}",
        layer.with_weights(**weights),
    )


def missing_bias(layer: LayerSpec) -> Iterator[Mistake]:
    """A bias, or one row of a GRU's two, left out or added in the wrong place."""
    bias = layer.weights.get("bias")
    if bias is None:
        return
    yield (
        "bias missing",
        "the bias is left out",
        "add bias to the pre-activation",
        layer.with_weights(bias=np.zeros_like(bias)),
    )
    if bias.ndim == 1:
        return
    for row, side in enumerate(("input", "recurrent")):
        one = bias.copy()
        one[row] = 0
        yield (
            f"bias row {row} missing",
            f"row {row} of the bias ({side} side) is left out",
            "add bias[0] to x @ kernel and bias[1] to h @ recurrent_kernel",
            layer.with_weights(bias=one),
        )
    yield (
        "bias rows swapped",
        "the two rows of the bias are exchanged; Keras stores the input row first",
        "add bias[0] to x @ kernel and bias[1] to h @ recurrent_kernel",
        layer.with_weights(bias=bias[::-1].copy()),
    )
    summed = np.stack([bias.sum(axis=0), np.zeros_like(bias[0])])
    yield (
        "bias rows summed",
        "both rows of the bias are added on the input side, so the recurrent row "
        "escapes the reset gate",
        "add bias[1] to h @ recurrent_kernel, inside the product with r",
        layer.with_weights(bias=summed),
    )


def transposed_kernels(layer: LayerSpec) -> Iterator[Mistake]:
    """A kernel multiplied from the other side, or read in column-major order."""
    for key, value in layer.weights.items():
        if value.ndim != 2 or key == "bias":
            continue
        blocks = _blocks(layer, value) if layer.gates else [value]
        square = blocks[0].shape[0] == blocks[0].shape[1]
        if square:
            yield (
                f"{key} transposed",
                f"{key} is transposed",
                f"multiply row vectors from the left: x @ {key}",
                layer.with_weights(
                    **{key: np.concatenate([b.T for b in blocks], axis=-1)}
                ),
            )
        if square and len(blocks) == 1:
            continue  # the same as transposed
        yield (
            f"{key} read in column-major order",
            f"{key} is read in column-major (Fortran) order; Keras stores rows first",
            f"read {key} as C-contiguous with shape {value.shape}",
            layer.with_weights(**{key: value.ravel().reshape(value.shape, order="F")}),
        )


def missing_recurrence(layer: LayerSpec) -> Iterator[Mistake]:
    """Every step computed as if it were the first."""
    recurrent = layer.weights.get("recurrent_kernel")
    if recurrent is not None:
        yield (
            "recurrent term missing",
            "h @ recurrent_kernel is left out",
            "add h @ recurrent_kernel to the pre-activation of every step",
            layer.with_weights(recurrent_kernel=np.zeros_like(recurrent)),
        )


def forget_bias_again(layer: LayerSpec) -> Iterator[Mistake]:
    """unit_forget_bias applied to weights that already contain it."""
    bias = layer.weights.get("bias")
    if layer.gates == GATES["LSTM"] and bias is not None:
        more = np.concatenate(
            [
                block + (1 if gate == "f" else 0)
                for gate, block in zip(layer.gates, _blocks(layer, bias), strict=True)
            ]
        )
        yield (
            "forget bias added again",
            "1 is added to the forget gate's bias; unit_forget_bias is an initialiser "
            "and the stored bias already contains it",
            "use the bias as it is stored",
            layer.with_weights(bias=more.astype(bias.dtype)),
        )


def wrong_activations(layer: LayerSpec) -> Iterator[Mistake]:
    """Another function than the config names."""
    for option in ("recurrent_activation", "activation"):
        name = layer.options.get(option)
        others = {
            "sigmoid": ("hard_sigmoid", "keras2_hard_sigmoid", "tanh", "linear"),
            "hard_sigmoid": ("keras2_hard_sigmoid", "sigmoid"),
            "tanh": ("linear", "relu", "sigmoid"),
            "softmax": ("linear", "sigmoid"),
            "relu": ("linear", "tanh"),
        }.get(str(name), ("linear",))
        for other in others if name is not None else ():
            if other == name:
                continue
            shown = {
                "keras2_hard_sigmoid": "the hard_sigmoid of Keras 2, "
                "clip(0.2 * x + 0.5, 0, 1),",
                "linear": "no function",
            }.get(other, other)
            yield (
                f"{option} {other} instead of {name}",
                f"{shown} is used as {option}; the model has {name}",
                f"apply {name} as {option}",
                layer.with_options(**{option: other}),
            )
    if "recurrent_activation" in layer.options:
        inner, outer = (
            layer.options["activation"],
            layer.options["recurrent_activation"],
        )
        yield (
            "activations exchanged",
            f"activation and recurrent_activation are exchanged ({outer} and {inner})",
            f"use {inner} as activation and {outer} for the gates",
            layer.with_options(activation=outer, recurrent_activation=inner),
        )


def reset_gate(layer: LayerSpec) -> Iterator[Mistake]:
    """The other of the two GRU variants."""
    if "reset_after" not in layer.options:
        return
    after = layer.options["reset_after"]
    yield (
        f"reset_after {not after}",
        "the reset gate is applied "
        + ("before" if after else "after")
        + f" the recurrent product; the model has reset_after={after}",
        "compute the candidate from "
        + ("r * (h @ U_h + bias[1])" if after else "(r * h) @ U_h"),
        layer.with_options(reset_after=not after),
    )


def reversed_time(layer: LayerSpec) -> Iterator[Mistake]:
    """Steps taken from the wrong end."""
    if "go_backwards" in layer.options:
        backwards = layer.options["go_backwards"]
        yield (
            "time reversed",
            "the steps are taken in reverse order",
            f"start at the {'last' if backwards else 'first'} step",
            layer.with_options(go_backwards=not backwards),
        )


def directions(layer: LayerSpec) -> Iterator[Mistake]:
    """The two halves of a Bidirectional exchanged, or merged in another way."""
    if layer.class_name != "Bidirectional":
        return
    forward, backward = (
        layer.sublayers["forward_layer"],
        layer.sublayers["backward_layer"],
    )
    if forward.class_name == backward.class_name and _shapes(forward) == _shapes(
        backward
    ):
        yield (
            "directions exchanged",
            "the forward layer is given the weights of the backward layer, and the "
            "other way round",
            "the first half of the weights is the forward layer's",
            replace(
                layer,
                sublayers={
                    "forward_layer": replace(forward, weights=backward.weights),
                    "backward_layer": replace(backward, weights=forward.weights),
                },
            ),
        )
    mode = layer.options["merge_mode"]
    for other in ("concat", "sum", "mul", "ave"):
        if mode is not None and other != mode and "concat" not in (mode, other):
            yield (
                f"merge mode {other} instead of {mode}",
                f"the two directions are merged by {other}; the model has {mode}",
                f"merge them by {mode}",
                layer.with_options(merge_mode=other),
            )


def _shapes(layer: LayerSpec) -> list[tuple[int, ...]]:
    return [weight.shape for weight in layer.weights.values()]


FAMILIES: tuple[Family, ...] = (
    gate_orders,
    interleaved_gates,
    missing_bias,
    transposed_kernels,
    missing_recurrence,
    forget_bias_again,
    wrong_activations,
    reset_gate,
    reversed_time,
    directions,
)
"""One function a kind of mistake; add yours here."""
