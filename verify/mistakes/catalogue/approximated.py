"""Activations by tables, clips and rational functions; see `approximations`."""

from __future__ import annotations

from collections.abc import Iterator

from verify.mistakes.approximations import APPROXIMATIONS, Approximation
from verify.mistakes.catalogue.combined import changed
from verify.mistakes.catalogue.mistake import (
    Change,
    Mistake,
    ModelOperator,
    Mutant,
    MutationOperator,
)
from verify.model.spec import LayerSpec, ModelSpec

OPTIONS = ("activation", "recurrent_activation")
APPROXIMATED = ("tanh", "sigmoid")


def _functions(layer: LayerSpec) -> tuple[str, ...]:
    """Return which functions that can be approximated a layer computes."""
    used = [layer.options.get(option) for option in OPTIONS]
    return tuple(name for name in APPROXIMATED if name in used)


def _by(approximation: Approximation, names: tuple[str, ...]) -> Change:
    """Return a change of the activations that have these names."""

    def change(layer: LayerSpec) -> LayerSpec:
        return layer.with_overrides(
            **{
                option: getattr(approximation, layer.options[option])
                for option in OPTIONS
                if layer.options.get(option) in names
            }
        )

    return change


def _mistake(approximation: Approximation, names: tuple[str, ...]) -> Mistake:
    shown = " and ".join(names)
    verb = "is" if len(names) == 1 else "are"
    return Mistake(
        f"{shown} by {approximation.name}",
        f"{shown} {verb} approximated by {approximation.text}",
        f"compute {shown} itself, or allow for the approximation"
        if len(names) == 1
        else f"compute {shown} themselves, or allow for the approximation",
        _by(approximation, names),
        roundoff=approximation.roundoff,
    )


def approximated(layer: LayerSpec) -> Iterator[Mistake]:
    """Yield tanh and sigmoid approximated, both and each by itself."""
    names = _functions(layer)
    for approximation in APPROXIMATIONS if names else ():
        yield _mistake(approximation, names)
    for approximation in APPROXIMATIONS if len(names) > 1 else ():
        for name in names if approximation.alone else ():
            yield _mistake(approximation, (name,))


def whole_model(spec: ModelSpec) -> Iterator[Mutant]:
    """Yield one approximation in all layers of a model, of one or both functions.

    What layers of one class, or all recurrent layers, have in common is left out:
    `combined.everywhere` yields it.
    """
    layers = dict(spec.walk())
    used = {path: _functions(layer) for path, layer in layers.items()}
    for names in (APPROXIMATED, *((name,) for name in APPROXIMATED)):
        own = {
            path: tuple(name for name in found if name in names)
            for path, found in used.items()
        }
        paths = [path for path, found in own.items() if found]
        mixed = len({own[path] for path in paths}) > 1
        classes = {layers[path].class_name for path in paths}
        recurrent = all(layers[path].gates for path in paths)
        if len(paths) < 2 or (not mixed and (len(classes) < 2 or recurrent)):
            continue
        if any(own[path] == names for path in paths) or names == APPROXIMATED:
            for approximation in APPROXIMATIONS:
                if names != APPROXIMATED and mixed and not approximation.alone:
                    continue
                made = _mistake(approximation, names)
                changes = tuple(
                    (path, _mistake(approximation, own[path])) for path in paths
                )
                yield Mutant(
                    f"{made.name}, in the whole model",
                    "",
                    f"in the whole model: {made.explanation}",
                    made.remedy,
                    changed(spec, changes),
                    changes=changes,
                    roundoff=made.roundoff,
                )


MUTATION_OPERATORS: tuple[MutationOperator, ...] = (approximated,)
MODEL_OPERATORS: tuple[ModelOperator, ...] = (whole_model,)
