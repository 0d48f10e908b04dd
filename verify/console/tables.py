"""Lay tables out: as columns of plain text, and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def text_table(rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    """Return rows as columns of plain text, indented by two spaces.

    Parameters
    ----------
    rows : iterable of sequences of str
        All of the same length; the first may be the headings.
    numbers : bool
        Whether the columns after the first hold numbers and are aligned to the right.
    """
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  "
        + "  ".join(
            cell.rjust(width) if numbers and k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(headings: Sequence[str], rows: Iterable[str]) -> str:
    """Return a table in Markdown, from its headings and rows of `markdown_row`."""
    rule = "|" + "---|" * len(headings)
    return "\n".join([markdown_row(*headings), rule, *rows])


def markdown_row(*cells: str) -> str:
    """Return one row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"
