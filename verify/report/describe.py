"""Say which columns are which gate, and where the parameter count comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verify.console.tables import markdown_row, markdown_table
from verify.errors import DataError, join_and, printable
from verify.forward.layers import HEADINGS, REGISTRY, LayerType
from verify.forward.network import Network
from verify.mistakes.catalogue.mask_flow import MaskFlow
from verify.mistakes.catalogue.masks import has_masks
from verify.mistakes.keras_versions import changes_to_come, outer_path
from verify.mistakes.lost_masks import lost_masks, padding_alone
from verify.model.arguments import typed
from verify.model.arrays import shape_text
from verify.model.conventions import losses
from verify.model.spec import LayerSpec
from verify.model_files.config import remaining
from verify.report.call_constants import constants_said

LEAVING = "Leaving Keras: what exporters lose of this model (docs/exporters.md)"
"""Heading of what `losses` says."""


@typed
def describe(net: Network) -> str:
    """Describe as text what each layer holds and computes.

    Parameters
    ----------
    net : Network
        From `verify.load`.

    Returns
    -------
    str
        For each layer: shapes, parameter count as a formula with its numbers filled in,
        every weight with its shape, the columns of each gate, the equations. At the
        end, what exporters lose of this model.
    """
    if not isinstance(net, Network):
        raise DataError(
            "expected what verify.load returns: verify.describe(verify.load(model)). "
            f"Received: {printable(type(net).__name__, 60)}"
        )
    spec = net.spec
    unread = spec.unread
    made = "" if spec.keras_version == "unknown" else f", Keras {spec.keras_version}"
    count = f"{len(spec.layers)} layer{'s' if len(spec.layers) > 1 else ''}"
    lines = [
        f"{printable(spec.source)}: {spec.root.class_name} '{printable(spec.name)}', "
        f"{count}, {spec.parameters:,} parameters{made}",
    ]
    if unread:
        numbers = sum(layer.parameters for layer in unread.values())
        lines.append(
            f"NOT READ: {len(unread)} layer{'s' if len(unread) > 1 else ''} with "
            f"{numbers:,} parameters: {join_and(map(printable, unread))}"
        )
    several = len(spec.inputs) > 1
    for layer in spec.inputs:
        name = f" {printable(layer.name)}" if several else ""
        shape = shape_text(layer.options["batch_shape"])
        lines.append(f"input{name} {shape} {layer.options['dtype']}")
    if len(net.output_names) > 1:
        lines.append(f"outputs of {join_and([printable(n) for n in net.output_names])}")
    read = remaining(spec) if unread else spec
    for note in (*spec.notes, *(() if read is None else changes_to_come(read))):
        lines.append(f"note: {printable(note, 500)}")
    if not unread:
        try:
            spec.require_finite()
        except DataError as error:  # a training that ended in NaN is kept as it is
            lines.append(f"note: {printable(error, 500)}; nothing can be computed")
    # masks are followed through every layer, or not at all
    lines += _inside(spec.root, "", {} if unread else _mask_notes(net))
    lost = losses(spec)
    if lost:
        lines += ["", LEAVING, *(f"  {text}" for text in lost)]
    return "\n".join(lines)


def _mask_notes(net: Network) -> dict[str, list[str]]:
    """Return what to say of the layers that make, use or lose a mask, by path."""
    notes: dict[str, list[str]] = {}
    if not has_masks(net.spec):
        return notes
    for path, users in _users_of_masks(net.spec.root).items():
        names = join_and([f"'{printable(name)}'" for name in users])
        notes[path] = [f"its mask is used by {names or 'no layer'}"]
    x = padding_alone(net.spec)
    for lost in () if x is None else lost_masks(net.spec.root, net.outline(x)):
        note = f"padding {lost.fate}: {lost.reason}"
        notes.setdefault(lost.path, []).append(note)
        there = notes.setdefault(lost.culprit_path, [])
        there.append(f"the mask is lost for '{printable(lost.layer.name)}': {lost.how}")
    return notes


def _users_of_masks(root: LayerSpec) -> dict[str, list[str]]:
    """Return, by the path of each layer that makes a mask, the layers that use it."""
    found: dict[str, list[str]] = {}
    for path, layer in root.walk():
        if layer.class_name == "Masking" or layer.options.get("mask_zero"):
            found[path] = []
    for use, makers in MaskFlow.of(root).uses.items():
        user = outer_path(use)
        for maker in makers:
            users = found.get(maker.path)
            if users is not None and user not in (maker.path, *users):
                users.append(user)
    return found


def _inside(
    model: LayerSpec, path: str, notes: Mapping[str, Sequence[str]]
) -> list[str]:
    """Describe every layer of a model, each followed by those inside it.

    `notes` are lines by the path of the layer that they follow.
    """
    lines: list[str] = []
    for key, layer in model.sublayers.items():
        here = f"{path}/{key}" if path else key
        if layer.class_name == "InputLayer":
            continue
        lines += ["", *_layer(layer, here, _calls(model, key))]
        lines += [f"  {line}" for line in constants_said(model, key)]
        lines += [f"  {note}" for note in notes.get(here, ())]
        lines += _inside(layer, here, notes)
    return lines


def _layer(layer: LayerSpec, path: str, calls: int) -> list[str]:
    kind = REGISTRY[layer.class_name]
    named = path == layer.name or path.endswith(f"/{layer.name}")
    name = path if named else f"{path} = {layer.name}"
    head = f"{printable(name)} ({printable(_class_of(layer))})"
    if layer.input_shape is not None or layer.output_shape is not None:
        head += f"  {_shape(layer.input_shape)} -> {_shape(layer.output_shape)}"
    if calls > 1:
        head += f", called {calls} times"
    if layer.policy != "float32" and not layer.class_name.startswith("ops."):
        head += f", {layer.policy}"
    lines = [head]
    if layer.parameters:
        formula, total = kind.formula(layer), f"{layer.parameters:,}"
        worked = total if formula == total else f"{formula} = {total}"
        lines.append(f"  parameters : {worked}")
    for key, value in layer.weights.items():
        lines.append(f"  {key:<16} {shape_text(value.shape)}")
    return lines + [f"  {note}" for note in kind.notes(layer)]


def _class_of(layer: LayerSpec) -> str:
    """Return the class that the file names, and what it is taken as."""
    if not layer.own_class or layer.class_name.endswith(f">{layer.own_class}"):
        return layer.class_name
    if layer.unread:
        return layer.own_class
    return f"{layer.own_class}, taken as {layer.class_name}"


def _calls(model: LayerSpec, name: str) -> int:
    nodes = model.graph.nodes if model.graph is not None else ()
    return sum(node.layer == name for node in nodes)


def _shape(shape: Any) -> str:
    """Return one shape, or several, as text; a question mark if it is not known."""
    if shape is None:
        return "?"
    if isinstance(shape, dict):
        shape = list(shape.values())
    if isinstance(shape, list):
        return ", ".join(_shape(one) for one in shape)
    return shape_text(shape)


def coverage() -> str:
    """Return a table in Markdown of every layer, its options and its use of masks.

    Options that have no effect on outputs are left out.
    """
    rows = []
    for heading, kinds in HEADINGS.items():
        if heading == "Operations":
            continue
        rows.append(f"| **{heading}** | | | |")
        rows += [_row(kind()) for kind in kinds]
    operations = sorted(
        k.class_name.removeprefix("ops.") for k in HEADINGS["Operations"]
    )
    table = markdown_table(("layer", "options that count", "only", "masks"), rows)
    named = ", ".join(f"`{name}`" for name in operations)
    return f"{table}\n\nOperations: {named}."


def _row(kind: LayerType) -> str:
    options = kind.options.items()
    counts = [name for name, option in options if not option.supported]
    only = [
        f"{name}={option.supported}" for name, option in options if option.supported
    ]
    cells = (
        [kind.class_name],
        [*counts, *sorted(kind.child_configs)],
        only,
    )
    quoted = (" ".join(f"`{name}`" for name in names) for names in cells)
    return markdown_row(*quoted, _masks(kind)).replace("|  |", "| |")


def _masks(kind: LayerType) -> str:
    """Say what a layer does with the masks that reach it."""
    words = []
    if any(name.endswith("mask") for name in kind.arguments):
        words.append("uses")
    if type(kind).compute_mask is not LayerType.compute_mask:
        words.append("by a rule of its own")
    elif kind.supports_masking:
        words.append("passes on")
    elif "mask" not in kind.arguments:
        words.append("ends here")
    return ", ".join(words)
