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
END_BYTES = 2**12
"""How much of a file is looked at."""

SEPARATORS = {
    ",": "commas",
    ";": "semicolons",
    "\t": "tabs",
    "|": "bars",
    " ": "blanks",
}
ENCODINGS = {"utf-8-sig": "", "utf-16": "UTF-16", "utf-16-le": "UTF-16"} | {
    "utf-16-be": "UTF-16"
}

COMMENT = "#"
"""Begins a line that is no row; numpy.savetxt writes headings and endings so."""

SEPARATOR_LINE = re.compile(r"\s*sep=(.)\s*", re.IGNORECASE)
"""The line by which a spreadsheet is told the separator."""

DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")
BRACKETS = ("[", "(", "{")
"""Begin a row that Python or NumPy has printed."""

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
    skip : int
        How many lines stand in front of the table.
    comments : bool
        Whether lines that begin with ``#`` are no rows.
    width : int or None
        How many cells a row has if it ends with a separator, the empty last one among
        them; None if it does not.
    """

    encoding: str = "utf-8-sig"
    separator: str = ","
    decimal: str = "."
    index: int = 0
    headings: bool | None = None
    skip: int = 0
    comments: bool = False
    width: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Return the arguments of ``pandas.read_csv``."""
        separator = r"\s+" if self.separator == " " else self.separator
        how = {"encoding": self.encoding, "sep": separator, "decimal": self.decimal}
        if self.comments:
            how["comment"] = COMMENT
        return how | {"encoding_errors": "replace", "skiprows": self.skip}

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
        if self.comments:
            unusual.append(f"without the lines that begin with {COMMENT}")
        if self.width is not None:
            unusual.append("without the empty cell at the end of each row")
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


def read_end(path: Path) -> bytes:
    """Return the end of a file, from the beginning of a line on."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - END_BYTES, 0))
        return file.read().partition(b"\n")[2]


def record_line(path: Path, form: CsvForm, record: int) -> int:
    """Return the number of the line on which a row stands, counted from 1.

    Parameters
    ----------
    path : Path
    form : CsvForm
    record : int
        The row, counted from 0; a line of headings is the first.
    """
    with path.open(encoding=form.encoding, errors="replace", newline="") as file:
        lines = csv.reader(file, delimiter=form.separator)
        for cells in lines:
            text = "".join(cells)
            is_row = text.strip() or len(cells) > 1
            if form.comments and text.startswith(COMMENT):
                is_row = False
            if is_row and lines.line_num > form.skip:
                if not record:
                    return lines.line_num
                record -= 1
    return 0


def lines_of(head: bytes, encoding: str) -> list[str]:
    """Return the first lines that are not empty; none of them is cut off."""
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    lines = text.splitlines()
    if len(head) == HEAD_BYTES and len(lines) > 1:
        lines.pop()
    return list(islice((line for line in lines if line.strip()), HEAD_LINES))


def number_form(path: Path, head: bytes, end: bytes = b"") -> CsvForm:
    """Return the form of a file of numbers that begins and ends so.

    Raises
    ------
    DataError
        Commas in its numbers may be decimal marks, or stand between thousands; or rows
        stand in brackets.
    """
    encoding = encoding_of(head)
    lines = lines_of(head, encoding)
    skip = 1 if lines and SEPARATOR_LINE.fullmatch(lines[0]) else 0
    lines = lines[skip:]
    last = end.decode(errors="replace").splitlines() if encoding == "utf-8-sig" else []
    comments = _has_comments([*lines, *last])
    if comments:
        lines = [line for line in lines if not line.startswith(COMMENT)]
    if not lines:
        return CsvForm(encoding, skip=skip, comments=comments)
    body = lines[1:] or lines  # the first line may hold headings
    if body[0].lstrip(" \"'").startswith(BRACKETS):
        raise DataError(
            f"{printable(path)}: expected numbers only. Received: a row in brackets, "
            f"'{printable(body[0].strip(), 20)}'; numpy.savetxt('x.csv', x, "
            "delimiter=',') writes rows without them"
        )
    separator = _separator_of_numbers(body)
    table = _rows(body, separator)
    cells = [cell.strip() for row in table for cell in row]
    decimal = _decimal_mark(path, [cell for cell in cells if "," in cell], cells)
    first, *rows = _rows(lines, separator)
    index = _index_columns(first) if rows else 0
    width = _width_with_separator_at_end(first, table)
    has_headings = bool(index) or (width is not None and len(first) < width)
    return CsvForm(
        encoding,
        separator,
        decimal,
        index,
        True if has_headings else None,
        skip,
        comments,
        width,
    )


def _has_comments(lines: Sequence[str]) -> bool:
    """Return whether lines that begin with # are no rows; other lines have no #."""
    begin = [line.startswith(COMMENT) for line in lines]
    rows = [line for line, is_one in zip(lines, begin, strict=True) if not is_one]
    return any(begin) and not any(COMMENT in line for line in rows)


def _width_with_separator_at_end(
    first: Sequence[str], rows: Sequence[Sequence[str]]
) -> int | None:
    """Return the cells of a row if each row ends with a separator; else None."""
    width = len(rows[0])
    every = all(len(row) == width and not row[-1].strip() for row in rows)
    headed = len(first) == width - 1 or (len(first) == width and not first[-1].strip())
    return width if width > 1 and every and headed else None


def _rows(lines: Iterable[str], separator: str) -> list[list[str]]:
    if separator == " ":
        return [line.split() for line in lines]
    return list(csv.reader(lines, delimiter=separator))


def _separator_of_numbers(body: Sequence[str]) -> str:
    """Return what stands between the columns: no number holds a tab or a semicolon."""
    for separator in ("\t", ";", "|"):
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
        said = f"line {line} has {found} cells, and those before it {expected}"
        return f"{said}; a table has no title" if expected == "1" else said
    if row := re.search(r"EOF inside string starting at row (\d+)", said):
        return f"line {int(row[1]) + 1} has a quotation mark that is never closed"
    return printable(said, 160)
