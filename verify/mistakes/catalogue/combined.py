"""The same mistake in several layers at once, and two mistakes together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from verify.mistakes.catalogue.attempts import FAILURES
from verify.mistakes.catalogue.mistake import Mistake, Mutant
from verify.model.spec import GATES, LayerSpec, ModelSpec

Changes = tuple[tuple[str, Mistake], ...]
"""Path of a layer and the mistake that is made in it, for each layer."""

Group = tuple[str, str, tuple[str, ...]]
"""The words for some layers, the path of the layer that holds them all, if one does,
and their paths."""


def changed(spec: ModelSpec, changes: Changes) -> ModelSpec:
    """Return a model with these mistakes made in it, one after the other."""
    for path, mistake in changes:
        spec = spec.with_layer(mistake.change(spec[path]), path)
    return spec


def without_model(mutant: Mutant, right: ModelSpec) -> Mutant:
    """Return a mutant that holds no weights of its own, to keep many; see `with_model`.

    One that was not made by `Mutant.changes` is returned as it is.
    """
    return replace(mutant, model=right) if mutant.changes else mutant


def with_model(mutant: Mutant, right: ModelSpec) -> Mutant:
    """Return a mutant with its model, made anew from the right one."""
    if not mutant.changes:
        return mutant
    return replace(mutant, model=changed(right, mutant.changes))


def everywhere(
    spec: ModelSpec, singles: Sequence[tuple[str, Mistake]]
) -> Iterator[Mutant]:
    """Yield mutants with the same mistake in several layers; common mistakes first.

    A port is written by one function for all layers of a class, so what it gets wrong
    is wrong in all of them: in all layers of a class, in all recurrent layers, in all
    forward or backward halves, in both halves of one Bidirectional.

    Parameters
    ----------
    spec : ModelSpec
    singles : sequence of (str, Mistake)
        Path of a layer, and a mistake that changes that layer.
    """
    by_name: dict[str, dict[str, Mistake]] = {}
    for path, mistake in singles:
        by_name.setdefault(mistake.name, {})[path] = mistake
    groups = list(_groups(spec))
    order = sorted(by_name.items(), key=lambda item: not _common(item[1]))
    for name, made in order:
        seen = set[tuple[str, ...]]()
        for words, holder, paths in groups:
            inside = tuple(path for path in paths if path in made)
            if len(inside) < 2 or inside in seen:
                continue
            seen.add(inside)
            if len(inside) < len(paths):
                words = f"in {len(inside)} layers ({', '.join(inside)})"
            first = made[inside[0]]
            changes = tuple((path, made[path]) for path in inside)
            try:
                model = changed(spec, changes)
            except FAILURES:
                continue
            yield Mutant(
                f"{name}, {words}",
                holder,
                f"{words}: {first.explanation}",
                first.remedy,
                model,
                gate=first.gate,
                needs=first.needs,
                common=first.common,
                ties_rows=first.ties_rows,
                ties_all_rows=first.ties_all_rows,
                changes=changes,
                roundoff=first.roundoff,
            )


def _common(made: Mapping[str, Mistake]) -> bool:
    return any(mistake.common for mistake in made.values())


def _groups(spec: ModelSpec) -> Iterator[Group]:
    """Yield the groups of layers that one function of a port converts."""
    layers = dict(spec.walk())
    classes: dict[str, list[str]] = {}
    for path, layer in layers.items():
        classes.setdefault(layer.class_name, []).append(path)
    for class_name, paths in classes.items():
        noun = "cells" if class_name.endswith("Cell") else "layers"
        yield f"in all {len(paths)} {class_name} {noun}", "", tuple(paths)
    recurrent = [path for path, layer in layers.items() if _has_gates(layer)]
    yield f"in all {len(recurrent)} recurrent layers", "", tuple(recurrent)
    both = [path for path, x in layers.items() if x.class_name == "Bidirectional"]
    for half in ("forward", "backward"):
        words = f"in the {half} half of all {len(both)} Bidirectional layers"
        yield words, "", tuple(f"{path}/{half}_layer" for path in both)
    for path in both:
        halves = (f"{path}/forward_layer", f"{path}/backward_layer")
        yield "in both halves", path, halves


def _has_gates(layer: LayerSpec) -> bool:
    """Return whether the weights of a layer are blocks of gates."""
    return layer.class_name in GATES


def together(first: Mutant, second: Mutant) -> Mutant | None:
    """Return the mutant with both mistakes; None if they cannot be made together.

    Parameters
    ----------
    first : Mutant
    second : Mutant
        One that is made by changes of layers, `Mutant.changes`; its model is not used.
    """
    if not second.changes:
        return None
    try:
        model = changed(first.model, second.changes)
    except FAILURES:
        return None
    place = ""
    if second.layer and first.layer != second.layer:
        place = f"layer '{second.layer}': "
    remedy = first.remedy
    if second.remedy != remedy:
        remedy += f"; {second.remedy}"
    return replace(
        first,
        name=f"{first.name}; {second.name}",
        explanation=f"{first.explanation}; and {place}{second.explanation}",
        remedy=remedy,
        model=model,
        gate="",
        needs=first.needs | second.needs,
        ties_rows=first.ties_rows or second.ties_rows,
        ties_all_rows=first.ties_all_rows or second.ties_all_rows,
        changes=first.changes and (*first.changes, *second.changes),
        roundoff=max(first.roundoff, second.roundoff),
        alone=False,
    )


def pairs(right: ModelSpec, mutants: Sequence[Mutant]) -> Iterator[Mutant]:
    """Yield mutants with two of these mistakes, but not with one twice in a layer.

    Parameters
    ----------
    right : ModelSpec
        The model without a mistake.
    mutants : sequence of Mutant
        `without_model` will do.
    """
    for one, two in combinations(mutants, 2):
        if not two.changes:
            one, two = two, one
        if _overlap(one, two):
            continue
        both = together(with_model(one, right), two)
        if both is not None:
            yield both


def _overlap(one: Mutant, two: Mutant) -> bool:
    """Say whether one mutant has the mistake of the other in some layer already."""
    names = {(path, mistake.name) for path, mistake in one.changes}
    return any((path, mistake.name) in names for path, mistake in two.changes)
