"""Layers of a model mixed up, or computed by the rules of another backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from verify.mistakes.catalogue.mistake import ModelOperator, Mutant
from verify.model.backends import BACKENDS
from verify.model.spec import ModelSpec


def weights_exchanged(spec: ModelSpec) -> Iterator[Mutant]:
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


def other_backends(spec: ModelSpec) -> Iterator[Mutant]:
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


MODEL_OPERATORS: tuple[ModelOperator, ...] = (weights_exchanged,)
