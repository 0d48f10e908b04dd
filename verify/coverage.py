"""What is read, as a table: made from the registry that the code itself goes by."""

from __future__ import annotations

from verify.layers import HEADINGS, LayerType


def coverage() -> str:
    """A table in Markdown: every layer, its options, and what becomes of masks.

    Returns
    -------
    str
        One row a layer. Options that have no effect on outputs are left out.
    """
    lines = [
        "| layer | options that count | only | masks |",
        "|---|---|---|---|",
    ]
    for heading, kinds in HEADINGS.items():
        if heading == "Operations":
            continue
        lines.append(f"| **{heading}** | | | |")
        lines += [_row(kind()) for kind in kinds]
    operations = sorted(
        k.class_name.removeprefix("ops.") for k in HEADINGS["Operations"]
    )
    lines += ["", f"Operations: {', '.join(f'`{name}`' for name in operations)}."]
    return "\n".join(lines)


def _row(kind: LayerType) -> str:
    options = kind.options.items()
    counts = [name for name, option in options if not option.supported]
    only = [
        f"{name}={option.supported}" for name, option in options if option.supported
    ]
    cells = (
        [kind.class_name],
        [*counts, *sorted(kind.holds)],
        only,
    )
    quoted = (" ".join(f"`{name}`" for name in names) for names in cells)
    return f"| {' | '.join([*quoted, _masks(kind)])} |".replace("|  |", "| |")


def _masks(kind: LayerType) -> str:
    """What a layer does with the masks that reach it, in words."""
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
