"""Layers left out, applied twice or mixed up, and the rules of another backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from verify.forward.layers import LOOPS, REGISTRY
from verify.forward.layers.base import Run
from verify.mistakes.catalogue.mask_flow import MaskFlow
from verify.mistakes.catalogue.masks import has_masks
from verify.mistakes.catalogue.mistake import (
    CONV_LSTMS,
    Call,
    Mistake,
    ModelOperator,
    Mutant,
    MutationOperator,
    Need,
    on_call,
)
from verify.model.backends import BACKENDS
from verify.model.graph import TensorRef, flatten
from verify.model.spec import LayerSpec, ModelSpec
from verify.model.versions import VERSIONS

NORMALIZATIONS = (
    "BatchNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "RMSNormalization",
    "UnitNormalization",
    "Normalization",
    "Rescaling",
    "LayerScale",
)
TRANSFORMATIONS = ("Dense", "EinsumDense", "Conv1D", "Permute", "MultiHeadAttention")
RECURRENT = ("SimpleRNN", "LSTM", "GRU", "Bidirectional", "RNN", *CONV_LSTMS)
MOST_ALIKE = 6
"""Layers of one kind up to which every two are tried; of more, neighbours alone."""


def keeps_shape(layer: LayerSpec) -> bool:
    """Say whether a layer returns one array in the shape of its input."""
    return isinstance(layer.input_shape, tuple) and (
        layer.input_shape == layer.output_shape
    )


def left_out(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield a layer skipped, or applied twice, where its shapes allow it."""
    class_name = layer.class_name
    if class_name not in (*NORMALIZATIONS, *TRANSFORMATIONS, *RECURRENT):
        return
    if not keeps_shape(layer) or layer.options.get("return_state"):
        return
    yield Mistake(
        "layer left out",
        "the layer is left out: its input is handed on",
        "compute every layer of the model",
        on_call(_its_input),
        common=True,
    )
    if class_name not in (*RECURRENT, "MultiHeadAttention", "UnitNormalization"):
        yield Mistake(
            "layer applied twice",
            "the layer is applied twice, one after the other",
            "compute every layer of the model once",
            on_call(_twice),
        )


def _its_input(
    call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
) -> Any:
    return arguments[REGISTRY[layer.class_name].arguments[0]]


def _twice(
    call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
) -> Any:
    first = REGISTRY[layer.class_name].arguments[0]
    once = call(run, layer, arguments, mask)
    return call(run, layer, {**arguments, first: once}, mask)


def outputs_zeroed(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield sequences that the model returns, set to zeros where they are masked.

    Recurrent layers are left to ``zero_output_for_mask``.
    """
    graph = spec.root.graph
    returned = flatten(graph.outputs) if graph is not None and has_masks(spec) else []
    calls = MaskFlow.of(spec.root).calls if returned else []
    for call in calls:
        ref = TensorRef(call.path, call.node.index, 0)
        keeps = call.layer.class_name in (*LOOPS, "Bidirectional")
        if call.model or keeps or ref not in returned or not any(call.outgoing):
            continue
        yield Mutant(
            "outputs zeroed where masked",
            call.path,
            "its outputs are zeros at masked steps, as after unpacking a packed "
            "sequence in PyTorch; Keras computes them like any other",
            "compute the outputs of masked steps too, or leave them out of the "
            "comparison",
            spec.with_layer(on_call(_zeroed)(spec[call.path]), call.path),
            common=True,
            needs=frozenset({Need.MASKED_STEPS}),
        )


def _zeroed(
    call: Call, run: Run, layer: LayerSpec, arguments: dict[str, Any], mask: Any
) -> Any:
    y = call(run, layer, arguments, mask)
    if not isinstance(mask, np.ndarray) or mask.shape != y.shape[: mask.ndim]:
        return y
    keep = mask.reshape(*mask.shape, *[1] * (y.ndim - mask.ndim)).astype(bool)
    return np.where(keep, y, y.dtype.type(0))


Form = tuple[Any, ...]


def form(layer: LayerSpec) -> Form:
    """Return the class of a layer and the shapes of its weights, and those inside."""
    return (
        layer.class_name,
        tuple((key, value.shape) for key, value in layer.weights.items()),
        tuple(form(inner) for inner in layer.sublayers.values()),
    )


def with_weights_of(layer: LayerSpec, other: LayerSpec) -> LayerSpec:
    """Return a layer with the weights of another one of its form."""
    pairs = zip(layer.sublayers.items(), other.sublayers.values(), strict=True)
    inside = {key: with_weights_of(own, theirs) for (key, own), theirs in pairs}
    return replace(layer, weights=other.weights, sublayers=inside)


def _alike(spec: ModelSpec) -> Iterator[list[str]]:
    """Yield the paths of layers that have one form and weights."""
    found: dict[Form, list[str]] = {}
    for path, layer in spec.walk():
        if layer.parameters:
            found.setdefault(form(layer), []).append(path)
    yield from (paths for paths in found.values() if len(paths) > 1)


def _both_of(paths: list[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of layers; not the two halves of one Bidirectional."""
    few = len(paths) <= MOST_ALIKE
    for one, two in combinations(paths, 2) if few else pairwise(paths):
        within = f"{two}/".startswith(f"{one}/")
        halves = one.endswith("/forward_layer") and two == (
            one.removesuffix("forward_layer") + "backward_layer"
        )
        if not within and not halves:  # those halves: `around.directions`
            yield one, two


def weights_exchanged(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield layers of one form with weights of each other, also in nested models."""
    right = "give each layer its own weights; their order is that of the layers"
    for paths in _alike(spec):
        for one, two in _both_of(paths):
            first, second = spec[one], spec[two]
            if same_weights(first, second):
                continue
            model = spec.with_layer(with_weights_of(first, second), one)
            yield Mutant(
                f"weights exchanged with '{two}'",
                one,
                f"it has the weights of layer '{two}', which has its own",
                right,
                model.with_layer(with_weights_of(second, first), two),
                common=True,
            )
            for path, other in ((one, two), (two, one)):
                yield Mutant(
                    f"weights of '{other}'",
                    path,
                    f"it has the weights of layer '{other}', which has them too",
                    right,
                    spec.with_layer(with_weights_of(spec[path], spec[other]), path),
                )
        if len(paths) > 2:
            yield from _reversed(spec, paths, right)


def _reversed(spec: ModelSpec, paths: list[str], right: str) -> Iterator[Mutant]:
    """Yield the weights of all layers of one form dealt out from the last to the first.

    Halves of Bidirectionals are left to the whole of them.
    """
    if any(path.endswith(("/forward_layer", "/backward_layer")) for path in paths):
        return
    model = spec
    for path, other in zip(paths, reversed(paths), strict=True):
        model = model.with_layer(with_weights_of(spec[path], spec[other]), path)
    yield Mutant(
        "weights dealt out in reverse order",
        "",
        f"the weights of the layers {', '.join(paths)} are dealt out from the last to "
        "the first",
        right,
        model,
        common=True,
    )


def same_weights(one: LayerSpec, two: LayerSpec) -> bool:
    """Say whether two layers of one form have the same weights."""
    return all(
        a.shape == b.shape and bool((a == b).all())
        for (_, x), (_, y) in zip(
            [("", one), *one.walk()], [("", two), *two.walk()], strict=True
        )
        for a, b in zip(x.weights.values(), y.weights.values(), strict=True)
    )


def other_backends(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield the model as Keras computes it on other backends: different, not mistaken.

    A backend with the same rules as the model's own is left out.
    """
    for backend, rules in BACKENDS.items():
        if rules != spec.root.rules:
            yield Mutant(
                f"Keras on {backend}",
                "",
                f"these are outputs of Keras on {backend}",
                f"compare by the rules of that backend (--backend {backend})",
                spec.following(rules),
            )


def other_versions(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield the model as other versions of Keras compute it: different, not mistaken.

    A version with the same rules as the model's own is left out.
    """
    for version, rules in VERSIONS.items():
        if rules != spec.root.version_rules:
            yield Mutant(
                f"Keras {version}",
                "",
                f"these are outputs of Keras {version}",
                f"compare by the rules of that version (--keras {version})",
                spec.by_version(rules),
            )


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (left_out,)
MODEL_OPERATORS: tuple[ModelOperator, ...] = (weights_exchanged, outputs_zeroed)
