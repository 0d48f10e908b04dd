"""Tables as they are printed, to the character."""

from __future__ import annotations

import pytest

from verify.console.tables import markdown_row, markdown_table, text_table

ROWS = [["", "mean", "range"], ["lstm", "0.9", "0.85..0.95"], ["a long name", "-", ""]]


def test_columns_of_text_begin_at_the_same_place_and_nothing_trails():
    assert text_table(ROWS) == (
        "               mean  range\n  lstm         0.9   0.85..0.95\n  a long name  -"
    )


def test_columns_of_numbers_end_at_the_same_place():
    assert text_table(ROWS, numbers=True) == (
        "               mean       range\n"
        "  lstm          0.9  0.85..0.95\n"
        "  a long name     -"
    )


def test_rows_of_different_lengths_are_a_defect():
    with pytest.raises(ValueError, match="shorter"):
        text_table([["a", "b"], ["c"]])


def test_a_table_in_markdown():
    rows = [markdown_row("1", "2"), markdown_row("", "x")]
    assert (
        markdown_table(["a", "b"], rows) == "| a | b |\n|---|---|\n| 1 | 2 |\n|  | x |"
    )
