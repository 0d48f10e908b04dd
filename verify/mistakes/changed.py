"""Say in which numbers and options a layer of another network is not the model's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from verify.errors import VerifyError, join_and, printable
from verify.mistakes.catalogue import Mutant, gate_of
from verify.model.spec import LayerSpec, ModelSpec

MOST_SAID = 3
"""Changes that are said one by one."""


def place_in(layer: LayerSpec, weight: str, place: tuple[int, ...]) -> str:
    """Return a number's place, such as ``kernel[0, 5] (gate f of unit 1)``."""
    column = place[-1] if place else 0  # a scalar has no place
    gate, units = gate_of(layer, column), layer.options.get("units", 0)
    unit = f"unit {column % units}" if units else ""
    where = f"gate {gate} of {unit}" if gate else unit
    text = f"{weight}[{', '.join(map(str, place))}]" if place else weight
    return f"{text} ({where})" if where else text


def changed_layer(own: ModelSpec, other: ModelSpec, path: str) -> Mutant | None:
    """Return the model with one layer as another network has it.

    Parameters
    ----------
    own, other : ModelSpec
        The model, and another one of the same layers.
    path : str
        Path of the layer; what it is made of is looked at, too.

    Returns
    -------
    Mutant or None
        None if the layer is the same in both.
    """
    try:
        ours, theirs = own[path], other[path]
        inside = dict(theirs.walk(path))
        pairs = [(path, ours, theirs)]
        pairs += [(p, a, inside[p]) for p, a in ours.walk(path)]
        found = [(p, text) for p, a, b in pairs for text in _changes(a, b)]
        model = own.with_layer(theirs, path)
    except (KeyError, VerifyError):
        return None
    if not found:
        return None
    paths = {p for p, _ in found}
    where = paths.pop() if len(paths) == 1 else path
    said = [t if p == where else f"{t} of '{printable(p)}'" for p, t in found]
    if len(said) > MOST_SAID:
        said[MOST_SAID:] = [f"{len(said) - MOST_SAID} more"]
    return Mutant(
        "another layer than the model's",
        where,
        f"the network given has {join_and(said)}",
        "take the weights and options of the layer from the model",
        model,
    )


def _changes(ours: LayerSpec, theirs: LayerSpec) -> Iterator[str]:
    """Yield what another layer has in place of the weights and options of this one."""
    for key, a in ours.weights.items():
        b = theirs.weights.get(key)
        if b is None or b.shape != a.shape:
            yield f"another shape of {key}"
            continue
        places = np.argwhere(~((a == b) | ((a != a) & (b != b))))
        if not len(places):
            continue
        place = tuple(int(k) for k in places[0])
        values = f"{b[place]:.6g} in place of {a[place]:.6g}"
        where = place_in(ours, key, place)
        if len(places) == 1:
            yield f"{values} in {where}"
        else:
            yield f"{len(places):,} other numbers in {key}, first {values} in {where}"
    yield from _other_values(ours.options, theirs.options)
    here, there = ours.overrides, theirs.overrides
    changed = [n for n in {*here, *there} if here.get(n) is not there.get(n)]
    if changed:
        yield f"functions of its own ({join_and(sorted(changed))})"


def _other_values(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*ours, *theirs}):
        a, b = (printable(repr(options.get(key)), 40) for options in (ours, theirs))
        if a != b:
            yield f"{key}={b} in place of {a}"
