"""Say what exporters lose of a model, from what was measured.

``exporters.json`` has the losses, each with the route and the model of
``benchmarks/results/exporters.json`` that shows it, or the script in ``findings/``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from verify.errors import join_and, printable
from verify.model.backends import backend_with
from verify.model.spec import GATES, LayerSpec, ModelSpec

SHOWN_LAYERS = 3
"""Layers that a line names at most."""

RECURRENT = frozenset({*GATES, "RNN"})
"""Classes of layers that have a loop over time, and of their cells."""


@dataclass(frozen=True, eq=False)
class Loss:
    """Describe what one exporter does to one option.

    Attributes
    ----------
    exporter : str
        With its version.
    what : str
        The option, as a reader would write it: ``"go_backwards"``.
    does : str
        What the exporter makes of it.
    silent : bool
        Whether the file runs and is wrong, without a warning; otherwise the exporter or
        the runtime refuses the model.
    layers : tuple of str
        Classes it concerns; empty for every recurrent layer.
    options : mapping
        What options of the layer must be for it.
    alone : bool
        Whether a layer inside a Bidirectional is not concerned.
    open_time : bool
        Whether it takes an input whose time axis is None.
    masked : bool
        Whether it takes a mask in the model.
    in_checks : str
        The backend on which a check mentions it, ``"any"``, or nothing; others are in
        what `verify.describe` says.
    measured : tuple of str
        Route and model of the table that show it; empty if only `finding` does.
    finding : str
        The script in ``findings/`` that shows it; may be empty.
    """

    exporter: str
    what: str
    does: str
    silent: bool
    layers: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None
    alone: bool = False
    open_time: bool = False
    masked: bool = False
    in_checks: str = ""
    measured: tuple[str, ...] = ()
    finding: str = ""

    def concerns(self, layer: LayerSpec) -> bool:
        """Return whether a layer is of the kind and has the options."""
        if layer.class_name not in (self.layers or RECURRENT):
            return False
        wanted = self.options or {}
        return all(layer.options.get(key) == value for key, value in wanted.items())


@cache
def exporter_losses() -> tuple[Loss, ...]:
    """Return every loss that was measured."""
    text = resources.files(__package__).joinpath("exporters.json").read_text("utf-8")
    return tuple(_loss(entry) for entry in json.loads(text)["losses"])


def _loss(entry: Mapping[str, Any]) -> Loss:
    lists = {k: tuple(v) for k, v in entry.items() if isinstance(v, list)}
    values: dict[str, Any] = {**entry, **lists}
    return Loss(**values)


def losses(
    spec: ModelSpec, *, in_checks: bool = False, silent: bool = False
) -> list[str]:
    """Return what exporters lose of a model, a line each, the silent losses first.

    Parameters
    ----------
    spec : ModelSpec
    in_checks : bool
        Only what a check mentions.
    silent : bool
        Only what goes wrong without a warning.
    """
    layers = dict(spec.walk())
    both = {p for p, layer in layers.items() if layer.class_name == "Bidirectional"}
    open_time, masked = has_open_time(spec), has_masks(spec)
    here = ("any", backend_with(spec.root.rules))
    lines = []
    for loss in sorted(exporter_losses(), key=lambda loss: not loss.silent):
        if (
            (in_checks and loss.in_checks not in here)
            or (silent and not loss.silent)
            or (loss.open_time and not open_time)
            or (loss.masked and not masked)
        ):
            continue
        named = [
            f"{layer.class_name} '{printable(path)}'"
            for path, layer in layers.items()
            if loss.concerns(layer)
            and not (loss.alone and path.rpartition("/")[0] in both)
        ]
        if named:
            more = len(named) - SHOWN_LAYERS
            shown = join_and(named[:SHOWN_LAYERS] + [f"{more} more"] * (more > 0))
            what = f", {loss.what}" if loss.what else ""
            lines.append(f"{shown}{what}: {loss.exporter} {loss.does}")
    return lines


def export_warning(spec: ModelSpec) -> list[str]:
    """Return what a check says of exporting a model: one line, or none."""
    found = losses(spec, in_checks=True, silent=True)
    if not found:
        return []
    others = len(losses(spec, silent=True)) - 1
    more = f", and {others} more" if others else ""
    return [
        f"exported, this model can go wrong without a warning: {found[0]}{more} "
        "(rnn-verify describe has all, rnn-verify compare MODEL EXPORTED finds out)"
    ]


def has_open_time(spec: ModelSpec) -> bool:
    """Return whether an input leaves its time axis open."""
    shapes = [layer.options["batch_shape"] for layer in spec.inputs]
    return any(len(shape) > 1 and shape[1] is None for shape in shapes)


def has_masks(spec: ModelSpec) -> bool:
    """Return whether a layer makes a mask."""
    return any(
        layer.class_name == "Masking" or bool(layer.options.get("mask_zero"))
        for _, layer in spec.walk()
    )
