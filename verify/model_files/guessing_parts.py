"""Hold layers that are recognised by their weights, and find what joins them.

A layer that joins others leaves its name in a file of Keras 2, and no more. How many
features the layer behind it takes says which layers it joins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, groupby
from typing import Any

UNKNOWN = "UnknownLayer"
"""Class that is written for a layer whose arrays are those of no layer of Keras."""

MOST_JOINED = 12
"""Layers among which those are sought that one layer joins, at most."""


@dataclass(frozen=True)
class Part:
    """Describe a layer whose weights are known.

    Attributes
    ----------
    name, class_name : str
    options : dict
    inputs : int or None
        Features of its input; None for any.
    outputs : int or None
        Features of its output; None for those of the input.
    sequences : bool
        Whether it needs steps in time.
    alternatives : str
        What else the arrays fit.
    keras1 : bool
        Whether Keras 1 wrote it.
    within : str
        The layer of a class of its own that it is inside; empty for none.
    """

    name: str
    class_name: str
    options: dict[str, Any]
    inputs: int | None = None
    outputs: int | None = None
    sequences: bool = False
    recurrent: dict[str, Any] | None = field(default=None)
    alternatives: str = ""
    keras1: bool = False
    within: str = ""


def joins(base: str) -> bool:
    """Return whether a layer without weights joins others, by its name."""
    return base.endswith(("concat", "concatenate", "concatenated"))


def unknown_layer(name: str, shapes: str) -> Part:
    """Return what stands for a layer that is not recognised."""
    asks = f"its class, which no array says (here {UNKNOWN}; its arrays are {shapes})"
    return Part(name, UNKNOWN, {}, alternatives=asks)


def with_sizes(parts: Sequence[Part]) -> tuple[list[Part], dict[str, list[str]]] | None:
    """Return layers of which those that join others have their sizes.

    Returns
    -------
    parts : list of Part
    joined : dict
        Name of a layer -> the names of the layers that it joins.
    None is returned if the sizes do not say which layers are joined.
    """
    found: list[Part] = []
    joined: dict[str, list[str]] = {}
    for k, part in enumerate(parts):
        if part.class_name == "Concatenate":
            behind = (p.inputs for p in parts[k + 1 :] if p.inputs is not None)
            size, before = next(behind, None), [p for p in found if p.outputs]
            some = _summing(before, size) if size else None
            if some is None:
                return None
            after = before[before.index(some[0]) + 1 :]
            steps = any(p.sequences for p in after)  # so the first gives steps
            steps = steps or any(p.class_name == "Embedding" for p in some)
            joined[part.name] = [p.name for p in some]
            part = replace(part, outputs=size, sequences=steps)
        found.append(part)
    return found, joined


def _summing(parts: Sequence[Part], size: int) -> Sequence[Part] | None:
    """Return the layers whose outputs make a size: the last ones, or the only ones."""
    for first in range(len(parts) - 2, -1, -1):
        if sum(p.outputs or 0 for p in parts[first:]) == size:
            return parts[first:]
    several = [
        some
        for count in range(2, len(parts) + 1)
        for some in combinations(parts[-MOST_JOINED:], count)
        if sum(p.outputs or 0 for p in some) == size
    ]
    return several[0] if len(several) == 1 else None


def in_groups(config: Mapping[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    """Return a Sequential model in which neighbours from one layer are a model again.

    Parameters
    ----------
    config : mapping
        A model in the form of Keras 2, which begins with an InputLayer.
    parts : sequence of Part
        Its layers.
    """
    known = {part.name: part for part in parts}
    layers: list[dict[str, Any]] = []
    steps = True
    for outer, entries in groupby(
        config["config"]["layers"], lambda entry: _within(known, entry)
    ):
        inside = list(entries)
        first = known.get(inside[0]["config"]["name"])
        if outer and first is not None:
            shape = [None] if first.class_name == "Embedding" else [None, first.inputs]
            shape = shape if steps else [first.inputs]
            given = {"name": f"{outer}_input", "batch_input_shape": [None, *shape]}
            inside.insert(0, {"class_name": "InputLayer", "config": given})
            body = {"name": outer, "layers": inside}
            layers.append({"class_name": "Sequential", "config": body})
        else:
            layers += inside
        for entry in inside:
            part = known.get(entry["config"]["name"])
            if part is not None and part.recurrent is not None:
                steps = bool(part.recurrent["return_sequences"])
    return {**config, "config": {**config["config"], "layers": layers}}


def _within(known: Mapping[str, Part], entry: Mapping[str, Any]) -> str:
    part = known.get(entry["config"]["name"])
    return "" if part is None else part.within


def as_graph(
    config: Mapping[str, Any], joined: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return a Sequential model in the form of Keras 2 as a graph that joins layers."""
    body = config["config"]
    layers: list[dict[str, Any]] = []
    for entry in body["layers"]:
        name = entry["config"]["name"]
        before = [layers[-1]["name"]] if layers else []
        calls = [[[x, 0, 0, {}] for x in joined.get(name, before)]] if layers else []
        layers.append({**entry, "name": name, "inbound_nodes": calls})
    ends = [[layers[k]["name"], 0, 0] for k in (0, -1)]
    body = {
        **body,
        "layers": layers,
        "input_layers": ends[:1],
        "output_layers": ends[1:],
    }
    return {**config, "class_name": "Model", "config": body}
