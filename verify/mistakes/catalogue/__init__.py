"""The catalogue of known mistakes, as functions from a model to a mistaken model.

Each mistake is what a port, or equations written from memory, really compute when one
thing is misread. Diagnosis tries them one by one; ``rnn-verify selftest`` and the tests
make them on purpose, to show that the checks can fail.

A `Mistake` changes the weights or options of one layer, or replaces one of this
package's functions by another (`LayerSpec.overrides`). A `Mutant` is a whole model with
a mistake in it, and a mutation operator yields the mistakes of one kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from verify.mistakes.catalogue import around, steps, time, weights
from verify.mistakes.catalogue.mistake import Mistake, MutationOperator, Need
from verify.mistakes.catalogue.weights import gate_of
from verify.model.backends import BACKENDS
from verify.model.spec import LayerSpec, ModelSpec

MUTATION_OPERATORS: tuple[MutationOperator, ...] = (
    *weights.MUTATION_OPERATORS,
    *around.MUTATION_OPERATORS,
    *time.MUTATION_OPERATORS,
    *steps.MUTATION_OPERATORS,
    *weights.LEAST_LIKELY,
)
"""One function for each kind of mistake, likeliest first. Add yours in the module that
it fits."""

MASK_IGNORED = "mask ignored"


@dataclass(frozen=True)
class Mutant:
    """Hold a model with one mistake in it, or with two.

    Attributes
    ----------
    name : str
        Name of the mistake; two are joined by a semicolon.
    layer : str
        Path of the layer it is made in, such as ``bidirectional/forward_layer``; empty
        for the whole model.
    explanation, remedy : str
        What was done instead of what Keras does, and how to mend it.
    model : ModelSpec
        The model with the mistake.
    gate : str
        The gate that it is made in; empty if it is not made in a single one.
    needs : frozenset of Need
        What the model and its inputs need so that it shows.
    """

    name: str
    layer: str
    explanation: str
    remedy: str
    model: ModelSpec
    gate: str = ""
    needs: frozenset[Need] = frozenset()


def catalogue(spec: ModelSpec, *, unchanged: bool = False) -> Iterator[Mutant]:
    """Yield every mutant with one mistake, the likeliest first in each layer.

    A mistake that leaves every weight and option as it is (swapping bias blocks that
    are still zero, say) cannot be seen: it is left out unless `unchanged` asks for it.
    """
    masked = _has_masks(spec)
    for path, layer in spec.walk():
        for mistake in _mistakes(path, layer, masked):
            mistaken = mistake.change(layer)
            if unchanged or not same(layer, mistaken):
                yield _mutant(mistake, path, spec.with_layer(mistaken, path))
        if layer.options.get("mask_zero") or layer.class_name == "Masking":
            yield _mask_ignored(spec, path)
    yield from _layers_exchanged(spec)


def pairs(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield mutants with two common mistakes, each of which the catalogue has alone."""
    masked = _has_masks(spec)
    single = [
        (path, mistake)
        for path, layer in spec.walk()
        for mistake in _mistakes(path, layer, masked)
        if mistake.common and not same(layer, mistake.change(layer))
    ]
    masks = [p for p, x in spec.walk() if x.options.get("mask_zero")][:1]
    bare = replace(spec, root=unmasked(spec.root)) if masks else spec
    for path, mistake in single if masks else ():
        model = bare.with_layer(mistake.change(bare[path]), path)
        first = _mask_ignored(spec, masks[0])
        yield _both(first, _mutant(mistake, path, model), model)
    for (path, one), (other, two) in combinations(single, 2):
        try:
            first = _mutant(one, path, spec.with_layer(one.change(spec[path]), path))
            model = first.model.with_layer(two.change(first.model[other]), other)
        except (ValueError, KeyError):
            continue
        yield _both(first, _mutant(two, other, model), model)


def _both(first: Mutant, second: Mutant, model: ModelSpec) -> Mutant:
    place = "" if first.layer == second.layer else f"layer '{second.layer}': "
    return Mutant(
        f"{first.name}; {second.name}",
        first.layer,
        f"{first.explanation}; and {place}{second.explanation}",
        f"{first.remedy}; {second.remedy}",
        model,
    )


def _mistakes(path: str, layer: LayerSpec, masked: bool) -> Iterator[Mistake]:
    """Yield the mistakes in a layer; those of masks only in a model that has masks."""
    backward = path.rpartition("/")[2] == "backward_layer"
    for operator in MUTATION_OPERATORS:
        for mistake in operator(layer):
            possible = masked or Need.MASKED_STEPS not in mistake.needs
            if possible and (mistake.in_backward_layer or not backward):
                yield mistake


def _has_masks(spec: ModelSpec) -> bool:
    """Say whether anything in a model makes a mask, or takes one as an argument."""
    layers = [spec.root, *(layer for _, layer in spec.walk())]
    return any(
        layer.options.get("mask_zero")
        or layer.class_name == "Masking"
        or (layer.graph and any("mask" in node.kwargs for node in layer.graph.nodes))
        for layer in layers
    )


def _mutant(mistake: Mistake, path: str, model: ModelSpec) -> Mutant:
    return Mutant(
        mistake.name,
        path,
        mistake.explanation,
        mistake.remedy,
        model,
        mistake.gate,
        mistake.needs,
    )


def _mask_ignored(spec: ModelSpec, path: str) -> Mutant:
    return Mutant(
        MASK_IGNORED,
        path,
        "the mask is ignored: padded steps are computed like any other",
        "hold the state at every masked step, and repeat the last output",
        replace(spec, root=unmasked(spec.root)),
        needs=frozenset({Need.MASKED_STEPS}),
    )


def _layers_exchanged(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield mutants in which two layers of one class have each other's weights."""
    layers = [x for x in spec.root.sublayers.values() if x.weights]
    for one, two in combinations(layers, 2):
        shapes = [[w.shape for w in x.weights.values()] for x in (one, two)]
        if one.class_name != two.class_name or shapes[0] != shapes[1]:
            continue
        model = spec.with_layer(replace(one, weights=two.weights))
        model = model.with_layer(replace(two, weights=one.weights))
        yield Mutant(
            f"weights exchanged with '{two.name}'",
            one.name,
            f"it has the weights of layer '{two.name}', which has its own",
            "give each layer its own weights; their order is that of the layers",
            model,
        )


def elsewhere(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield the model as Keras computes it on other backends: different, not mistaken.

    A backend with the same rules as the model's own is left out.
    """
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


def unmasked(model: LayerSpec) -> LayerSpec:
    """Return a model in which no Embedding and no Masking makes a mask."""

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


def same(a: LayerSpec, b: LayerSpec) -> bool:
    """Say whether a change has left options, overrides and weights as they were."""
    return (
        a.options == b.options
        and a.overrides == b.overrides
        and all(np.array_equal(a.weights[k], b.weights[k]) for k in a.weights)
        and all(same(a.sublayers[k], b.sublayers[k]) for k in a.sublayers)
    )


__all__ = [
    "MASK_IGNORED",
    "Mutant",
    "catalogue",
    "elsewhere",
    "gate_of",
    "pairs",
    "unmasked",
]
