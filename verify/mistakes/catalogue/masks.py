"""Masks that a model ignores, where they are made or where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from verify.mistakes.catalogue.mistake import ModelOperator, Mutant, Need
from verify.model.spec import LayerSpec, ModelSpec

MASK_IGNORED = "mask ignored"


def has_masks(spec: ModelSpec) -> bool:
    """Say whether anything in a model makes a mask, or takes one as an argument."""
    layers = [spec.root, *(layer for _, layer in spec.walk())]
    return any(
        layer.options.get("mask_zero")
        or layer.class_name == "Masking"
        or (layer.graph and any("mask" in node.kwargs for node in layer.graph.nodes))
        for layer in layers
    )


def masks_ignored(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield mutants in which masks are ignored."""
    for path, layer in spec.walk():
        if layer.options.get("mask_zero") or layer.class_name == "Masking":
            yield Mutant(
                MASK_IGNORED,
                path,
                "the mask is ignored: padded steps are computed like any other",
                "hold the state at every masked step, and repeat the last output",
                replace(spec, root=unmasked(spec.root)),
                needs=frozenset({Need.MASKED_STEPS}),
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


MODEL_OPERATORS: tuple[ModelOperator, ...] = (masks_ignored,)
