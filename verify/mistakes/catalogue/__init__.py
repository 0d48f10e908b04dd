"""The catalogue of known mistakes, as functions from a model to a mistaken model.

Each mistake is what a port, or equations written from memory, really compute when one
thing is misread. Diagnosis tries them one by one; ``rnn-verify selftest`` and the tests
make them on purpose, to show that the checks can fail.

A `Mistake` changes the weights or options of one layer, or replaces one of this
package's functions by another (`LayerSpec.overrides`). A `Mutant` is a whole model with
a mistake in it, and an operator yields the mistakes of one kind: a `MutationOperator`
those in one layer, a `ModelOperator` those that take a whole model.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from verify.forward.layers import REGISTRY
from verify.mistakes.catalogue import (
    activations,
    approximated,
    around,
    attention,
    categories,
    conv_lstm,
    convolutions,
    dropout,
    given_states,
    images,
    inputs,
    layers,
    masks,
    merging,
    normalization,
    operations,
    pooling,
    precision,
    states,
    steps,
    time,
    weights,
    windows,
)
from verify.mistakes.catalogue.attempts import Attempts, Untried, untried_sentence
from verify.mistakes.catalogue.combined import everywhere
from verify.mistakes.catalogue.layers import other_backends, other_versions
from verify.mistakes.catalogue.mask_flow import MaskFlow
from verify.mistakes.catalogue.masks import MASK_IGNORED, has_masks, unmasked
from verify.mistakes.catalogue.mistake import (
    Mistake,
    ModelOperator,
    Mutant,
    MutationOperator,
    Need,
)
from verify.mistakes.catalogue.weights import gate_of
from verify.model.spec import LayerSpec, ModelSpec

MUTATION_OPERATORS: tuple[MutationOperator, ...] = (
    *weights.MUTATION_OPERATORS,
    *around.MUTATION_OPERATORS,
    *time.MUTATION_OPERATORS,
    *steps.MUTATION_OPERATORS,
    *states.MUTATION_OPERATORS,
    *layers.MUTATION_OPERATORS,
    *attention.MUTATION_OPERATORS,
    *pooling.MUTATION_OPERATORS,
    *merging.MUTATION_OPERATORS,
    *operations.MUTATION_OPERATORS,
    *normalization.MUTATION_OPERATORS,
    *activations.MUTATION_OPERATORS,
    *windows.MUTATION_OPERATORS,
    *convolutions.MUTATION_OPERATORS,
    *images.MUTATION_OPERATORS,
    *categories.MUTATION_OPERATORS,
    *conv_lstm.MUTATION_OPERATORS,
    *precision.MUTATION_OPERATORS,
    *approximated.MUTATION_OPERATORS,
    *weights.LEAST_LIKELY,
)
"""One function for each kind of mistake, likeliest first. Add yours in the module that
it fits."""

MODEL_OPERATORS: tuple[ModelOperator, ...] = (
    *given_states.MODEL_OPERATORS,
    *time.MODEL_OPERATORS,
    *layers.MODEL_OPERATORS,
    *attention.MODEL_OPERATORS,
    *merging.MODEL_OPERATORS,
    *normalization.MODEL_OPERATORS,
    *inputs.MODEL_OPERATORS,
    *dropout.MODEL_OPERATORS,
    *precision.MODEL_OPERATORS,
    *approximated.MODEL_OPERATORS,
)
"""One function for each kind of mistake that is made in more than one layer, or between
layers. Those of `masks` come before all others: on padding that is all on one side, a
mask that is ignored is often the same as one that is misread in some odd way."""


def catalogue(
    spec: ModelSpec, *, unchanged: bool = False, attempts: Attempts | None = None
) -> Iterator[Mutant]:
    """Yield every mutant with one mistake, the likeliest first in each layer.

    A mistake that leaves every weight and option as it is (swapping bias blocks that
    are still zero, say) cannot be seen: it is left out unless `unchanged` asks for it.

    Parameters
    ----------
    spec : ModelSpec
    unchanged : bool
    attempts : Attempts, optional
        Gets the mistakes that could not be made in this model; they are left out.
    """
    attempts = Attempts() if attempts is None else attempts
    for operator in masks.MODEL_OPERATORS:
        yield from attempts.each(operator, spec)
    put_back = time.reading_backwards(spec)
    for path, layer, mistake in mistakes(spec, attempts):
        if mistake.name == time.TIME_REVERSED and path in put_back:
            continue
        mistaken = attempts.result(mistake.name, path, partial(mistake.change, layer))
        if mistaken is not None and (unchanged or not same(layer, mistaken)):
            yield _mutant(mistake, path, spec.with_layer(mistaken, path))
    for operator in MODEL_OPERATORS:
        yield from attempts.each(operator, spec)


def mistakes(
    spec: ModelSpec, attempts: Attempts
) -> Iterator[tuple[str, LayerSpec, Mistake]]:
    """Yield every mistake in one layer, with the path of the layer and the layer.

    Parameters
    ----------
    spec : ModelSpec
    attempts : Attempts
        Gets the operators that failed.
    """
    flow = None
    if has_masks(spec):
        flow = attempts.result("masks", "", partial(MaskFlow.of, spec.root))
    flow = MaskFlow() if flow is None else flow
    for path, layer in spec.walk():
        masked = flow.reaches(path) or (
            has_masks(spec) and not REGISTRY[layer.class_name].mask_arguments
        )
        for mistake in _mistakes(path, layer, masked, attempts):
            yield path, layer, mistake


def same_mistakes(
    spec: ModelSpec, *, attempts: Attempts | None = None
) -> Iterator[Mutant]:
    """Yield mutants with the same mistake in several layers; see `everywhere`.

    Parameters are those of `catalogue`.
    """
    attempts = Attempts() if attempts is None else attempts
    singles = []
    for path, layer, mistake in mistakes(spec, attempts):
        mistaken = attempts.result(mistake.name, path, partial(mistake.change, layer))
        if mistaken is not None and not same(layer, mistaken):
            singles.append((path, mistake))
    yield from everywhere(spec, singles)


def _mistakes(
    path: str, layer: LayerSpec, masked: bool, attempts: Attempts
) -> Iterator[Mistake]:
    """Yield the mistakes in a layer; those of masks only where a mask reaches it."""
    backward = path.rpartition("/")[2] == "backward_layer"
    for operator in MUTATION_OPERATORS:
        for mistake in attempts.each(operator, layer, layer=path):
            possible = masked or Need.MASKED_STEPS not in mistake.needs
            if possible and (mistake.in_backward_layer or not backward):
                yield mistake


def _mutant(mistake: Mistake, path: str, model: ModelSpec) -> Mutant:
    return Mutant(
        mistake.name,
        path,
        mistake.explanation,
        mistake.remedy,
        model,
        gate=mistake.gate,
        needs=mistake.needs,
        common=mistake.common,
        ties_rows=mistake.ties_rows,
        ties_all_rows=mistake.ties_all_rows,
        changes=((path, mistake),),
        roundoff=mistake.roundoff,
    )


def same(a: LayerSpec, b: LayerSpec) -> bool:
    """Say whether a change has left class, options, overrides and weights alone."""
    return (
        a.class_name == b.class_name
        and a.options == b.options
        and a.overrides == b.overrides
        and all(np.array_equal(a.weights[k], b.weights[k]) for k in a.weights)
        and all(same(a.sublayers[k], b.sublayers[k]) for k in a.sublayers)
    )


__all__ = [
    "MASK_IGNORED",
    "Attempts",
    "Mutant",
    "Untried",
    "catalogue",
    "gate_of",
    "mistakes",
    "other_backends",
    "other_versions",
    "same_mistakes",
    "unmasked",
    "untried_sentence",
]
