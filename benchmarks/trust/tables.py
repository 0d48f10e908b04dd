"""Write a table of trust into two files, as JSON and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import Machine
from benchmarks.output import in_json, put
from verify.console.tables import markdown_table


def write_table(
    name: str,
    title: str,
    command: str,
    heads: Sequence[str],
    rows: Sequence[Any],
    machine: Machine,
    folder: Path,
    **settings: Any,
) -> None:
    """Write the files ``NAME.json`` and ``NAME.md`` into a folder.

    Parameters
    ----------
    name, title : str
    command : str
        The command that measured the rows.
    heads : sequence of str
        Heads of the columns.
    rows : sequence of dataclasses
        With a method ``line`` that returns the line in Markdown.
    machine : Machine
    folder : Path
    **settings
        What else to keep in the JSON, such as the size of a sample.
    """
    document = {
        "machine": asdict(machine),
        **settings,
        "rows": [asdict(row) for row in rows],
    }
    page = (
        f"# {title}\n\n"
        f"{machine.words()}, by `{command}`. "
        "[What the columns mean](../../docs/diagnosis.md).\n\n"
        f"{markdown_table(heads, [row.line() for row in rows])}\n"
    )
    put(in_json(document).encode(), folder / f"{name}.json")
    put(page.encode(), folder / f"{name}.md")
