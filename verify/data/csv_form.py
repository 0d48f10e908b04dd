"""Tell in which form a CSV file is: encoding, separator, decimal mark, index column.

Spreadsheets write semicolons, tabs, decimal commas and UTF-16, and pandas an index.
What the first lines say without doubt is read so, and said; else it is refused.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

from verify.errors import DataError, join_and, printable

HEAD_BYTES = 2**16
HEAD_LINES = 200
"""How much of a file is looked at."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", " ": "blanks"}
ENCODINGS = {"utf-8-sig": "", "utf-16": "UTF-16", "utf-16-le": "UTF-16"} | {
    "utf-16-be": "UTF-16"
}

DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")
UNNAMED = re.compile(r"(Unnamed: \d+(\.\d+)*)?", re.IGNORECASE)
"""What heads an index: nothing, or what pandas made of nothing when it read it."""


@dataclass(frozen=True)
class CsvForm:
    """Hold how a CSV file is to be read.

    Attributes
    ----------
    encoding : str
        A codec of Python.
    separator, decimal : str
    index : int
        How many columns in front are an index that pandas wrote.
    headings : bool or None
        Whether the first line holds headings; None if that is to be found out.
    """

    encoding: str = "utf-8-sig"
    separator: str = ","
    decimal: str = "."
    index: int = 0
    headings: bool | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Return the arguments of ``pandas.read_csv``."""
        separator = r"\s+" if self.separator == " " else self.separator
        how = {"encoding": self.encoding, "sep": separator, "decimal": self.decimal}
        return how | {"encoding_errors": "replace"}

    @property
    def unusual(self) -> str:
        """Return what is not as usual, ``with tabs between columns``; "" if all is."""
        unusual = []
        if ENCODINGS[self.encoding]:
            unusual.append(f"in {ENCODINGS[self.encoding]}")
        if self.separator != ",":
            unusual.append(f"with {SEPARATORS[self.separator]} between columns")
        if self.decimal == ",":
            unusual.append("with decimal commas")
        if self.index:
            which = "first column" if self.index == 1 else f"first {self.index} columns"
            unusual.append(f"without its {which}, an index that has no heading")
        return join_and(unusual)

    def note(self, path: object) -> str:
        """Return a sentence on what is not as usual; "" if all is."""
        return f"{path}: is read {self.unusual}" if self.unusual else ""


def read_head(path: Path) -> bytes:
    """Return the beginning of a file."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def encoding_of(head: bytes) -> str:
    """Return the encoding of a file that begins so: UTF-16 or UTF-8."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for encoding, high in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        low = head[::2] if encoding == "utf-16-le" else head[1::2]
        if len(head) > 3 and high.count(0) > 0.8 * len(high) and 0 not in low:
            return encoding
    return "utf-8-sig"


def lines_of(head: bytes, encoding: str) -> list[str]:
    """Return the first lines that are not empty; none of them is cut off."""
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    lines = text.splitlines()
    if len(head) == HEAD_BYTES and len(lines) > 1:
        lines.pop()
    return list(islice((line for line in lines if line.strip()), HEAD_LINES))


def number_form(path: Path, head: bytes) -> CsvForm:
    """Return the form of a file of numbers that begins so.

    Raises
    ------
    DataError
        Commas in its numbers may be decimal marks, or stand between thousands.
    """
    encoding = encoding_of(head)
    lines = lines_of(head, encoding)
    if not lines:
        return CsvForm(encoding)
    body = lines[1:] or lines  # the first line may hold headings
    separator = _separator_of_numbers(body)
    cells = [cell.strip() for row in _rows(body, separator) for cell in row]
    decimal = _decimal_mark(path, [cell for cell in cells if "," in cell], cells)
    first, *rows = _rows(lines, separator)
    index = _index_columns(first) if rows else 0
    return CsvForm(encoding, separator, decimal, index, True if index else None)


def _rows(lines: Iterable[str], separator: str) -> list[list[str]]:
    if separator == " ":
        return [line.split() for line in lines]
    return list(csv.reader(lines, delimiter=separator))


def _separator_of_numbers(body: Sequence[str]) -> str:
    """Return what stands between the columns: no number holds a tab or a semicolon."""
    for separator in ("\t", ";"):
        if separator in body[0]:
            return separator
    words = body[0].split()
    if len(words) > 1 and "," not in body[0] and all(map(_is_number, words)):
        return " "
    return ","


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _decimal_mark(path: Path, with_comma: list[str], cells: list[str]) -> str:
    if not with_comma or not all(map(DECIMAL_COMMA.fullmatch, with_comma)):
        return "."
    if any("." in cell for cell in cells):
        return "."
    if all(map(THOUSANDS.fullmatch, with_comma)):
        raise DataError(
            f"{printable(path)}: '{with_comma[0]}' may be "
            f"{with_comma[0].replace(',', '.')} or {with_comma[0].replace(',', '')}. "
            "Write numbers with decimal points, and without thousands separators"
        )
    return ","


def _index_columns(first: list[str]) -> int:
    """Return how many columns an index takes: pandas writes no heading for it.

    Columns without names are numbered by pandas; other numbers behind a gap are a
    sample.
    """
    headings = [cell.strip() for cell in first]
    count = len(list(takewhile(UNNAMED.fullmatch, headings)))
    others = headings[count:]
    if not count or not others:
        return 0
    if not any(headings[:count]) and all(map(_is_number, others)):
        return count if others == [str(k) for k in range(len(others))] else 0
    return count


def text_form(head: bytes, wanted: Sequence[str]) -> CsvForm:
    """Return the form of a file with columns of texts, by its line of headings.

    Parameters
    ----------
    head : bytes
        The beginning of the file.
    wanted : sequence of str
        Names of columns. The separator is the one by which they are all found; if none
        is, the one that the line of headings has.
    """
    encoding = encoding_of(head)
    lines = lines_of(head, encoding)
    if not lines:
        return CsvForm(encoding)
    for separator in (",", ";", "\t"):
        (headings,) = _rows(lines[:1], separator)
        if all(column_called(name, headings) is not None for name in wanted):
            return CsvForm(encoding, separator)
    found = max((",", ";", "\t"), key=lines[0].count)
    return CsvForm(encoding, found)


def column_called(name: str, columns: Iterable[str]) -> str | None:
    """Return the column of this name, or the only one that differs by its writing.

    Upper and lower case, blanks around it, and ``_``, ``-`` or blanks between words are
    not told apart.
    """
    held = list(columns)
    if name in held:
        return name
    alike = [column for column in held if _plain(column) == _plain(name)]
    return alike[0] if len(alike) == 1 else None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", str(name).strip().casefold())


def renamed(path: object, name: str, column: str) -> str:
    """Return the sentence that says that a column stands for the one called `name`."""
    return f"{path}: column '{printable(column, 60)}' is read as '{name}'"


def columns_said(columns: Iterable[str]) -> str:
    """List the columns of a file, for a message: ``'text', 'label' and 3 more``."""
    held = [f"'{printable(column, 40)}'" for column in columns]
    more = f" and {len(held) - 8} more" if len(held) > 8 else ""
    return f"{', '.join(held[:8])}{more}"


def parsing_error(error: object) -> str:
    """Return what pandas says of a file that it cannot parse, in plain words."""
    said = " ".join(f"{error}".split())
    if fields := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", said):
        expected, line, found = fields.groups()
        return f"line {line} has {found} cells, and those before it {expected}"
    if row := re.search(r"EOF inside string starting at row (\d+)", said):
        return f"line {int(row[1]) + 1} has a quotation mark that is never closed"
    return printable(said, 160)
