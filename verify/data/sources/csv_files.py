"""Read ``.csv`` files of numbers, or with a column of texts, by blocks of lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.data.csv_form import (
    number_form,
    read_end,
    read_head,
    record_line,
    text_form,
)
from verify.data.sources.base import Data, FileSource, reading, rebatch
from verify.data.sources.texts import TextSource
from verify.errors import (
    DataError,
    UnsupportedError,
    install_hint,
    join_and,
    printable,
)
from verify.model.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

MAX_BLOCK_NUMBERS, MAX_BLOCK_LINES = 2**20, 2**14
"""Numbers and lines that are parsed at a time, at most."""


NOT_A_NUMBER = ("nan", "NaN", "NAN", "Nan", "-nan", "-NaN", "nan(ind)", "-nan(ind)")
"""How programs write NaN. An empty cell, or NA, is none: it holds no number."""

MISSING = ("na", "n/a", "#n/a", "null", "none", "nil", "-", "?")
"""What is written where there is no number."""

BOOLEANS = {"true": "1", "false": "0"}
BOOLEANS_SAID = "with True as 1 and False as 0"

END_OF_ROW = "(end of the row)"
"""What the column of empty cells behind the last separator is called."""


class TextInCsv(DataError):
    """Report a CSV file with text where numbers are expected."""


class NumberCsv(FileSource):
    """Read numbers, one row a line, with or without a line of headings.

    Opening reads the file once, because only its last line may tell whether there are
    headings and of what type the numbers are.

    Raises
    ------
    DataError
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with reading(path):
            self._form = number_form(path, read_head(path), read_end(path))
            self._headings = bool(self._form.headings)
            self._converted = set[object]()
            self._has_booleans = False
            found = self._scan()
            if found is None:
                self._headings = True
                found = self._scan()
        self.rows, self._dtypes = found or (0, {})
        kinds = {dtype.kind == "b" for dtype in self._dtypes.values()}
        self._dtype = np.result_type(*self._dtypes.values())
        booleans = len(kinds) > 1 or self._has_booleans
        self.read_how = join_and(
            filter(None, [self._form.unusual, BOOLEANS_SAID * booleans])
        )
        if self.read_how:
            self.notes = (f"{printable(path)}: is read {self.read_how}",)

    def _scan(self) -> tuple[int, dict[object, np.dtype]] | None:
        """Return the rows and the type of each column; None if there are headings."""
        rows, dtypes = 0, dict[object, np.dtype]()
        booleans, numbers = set[object](), set[object]()
        for table in self._tables():
            if self._headings and table.empty and not rows:
                raise DataError(
                    f"{self.path}: expected rows of numbers. Received: a line of "
                    "headings alone"
                )
            if not rows:
                first = [str(cell).strip() for cell in table.iloc[0]]
            for column, cells in table.items():
                plain = _numbers(cells)
                if plain is None:
                    if not self._headings and not all(map(_is_cell_of_numbers, first)):
                        return None
                    raise self._text_error(column, cells, table)
                if plain is not cells and _has_booleans(cells):
                    booleans.add(column)
                (booleans if plain.dtype.kind == "b" else numbers).add(column)
                dtypes[column] = np.promote_types(
                    dtypes.get(column, plain.dtype), plain.dtype
                )
                if plain is not cells:
                    self._converted.add(column)
            if not rows and not self._headings:
                self._require_no_numbered_headings(table)
            rows += len(table)
        self._converted |= booleans & numbers
        self._has_booleans = bool(booleans & numbers)
        return rows, dtypes

    def _text_error(self, column: object, cells: Any, table: Any) -> DataError:
        strange = cells[[not _is_number(cell) for cell in cells]]
        sample = str(strange.iloc[0]).strip()
        record = int(strange.index[0]) + self._headings
        name = f"'{printable(column)}'" if self._headings else f"{int(str(column)) + 1}"
        shown = f"'{printable(sample, 40)}'" if sample else "an empty cell"
        said = f"expected numbers only. Received: {shown} in column {name}"
        is_word = re.search(r"[^\W\d_]", sample) is not None
        if len(strange) == len(cells) > 1 and is_word:
            beside = any(_numbers(other) is not None for _, other in table.items())
            remedy = "; leave the column out" if beside else ""
            return TextInCsv(f"{self.path}: {said}{remedy}")
        row = table.loc[strange.index[0]]
        if not sample or sample.lower() in MISSING:
            remedy = "; fill it, or leave the row out"
        elif self._headings and record == 1 and not any(map(_is_number, row)):
            remedy = "; one line of headings is read"
        elif (
            sample[0].isalpha() and column == table.columns[0] and self._is_last(record)
        ):
            remedy = "; leave the last row out, if it is a sum or a mean"
        else:
            remedy = (
                ". Write numbers with decimal points, and without thousands separators"
            )
        line = record_line(self.path, self._form, record)
        return DataError(f"{self.path}: line {line}: {said}{remedy}")

    def _is_last(self, record: int) -> bool:
        return record > 1 and not record_line(self.path, self._form, record + 1)

    def _require_no_numbered_headings(self, table: pd.DataFrame) -> None:
        first = table.iloc[0].tolist()
        if len(table) > 1 and first == list(range(table.shape[1])):
            raise DataError(
                f"{self.path}: the first line, 0, 1, 2, ..., may be headings or "
                "a sample. Give the columns names, write no headings, or use .npy"
            )

    def _tables(
        self, dtypes: Mapping[object, np.dtype] | None = None
    ) -> Iterator[pd.DataFrame]:
        """Yield the file in parts."""
        pd = _import_pandas(self.path)

        how: dict[str, Any] = {
            "header": 0 if self._headings else None, "skipinitialspace": True,
            "keep_default_na": False, "na_values": NOT_A_NUMBER, **self._form.options,
        }  # fmt: skip
        width = self._form.width
        try:
            if self._headings and width is not None:
                first = pd.read_csv(self.path, nrows=1, **{**how, "header": None})
                names = map(str, first.iloc[0, : width - 1])
                columns = how["names"] = [*names, END_OF_ROW]
            else:
                columns = list(pd.read_csv(self.path, nrows=1, **how).columns)
            if self._form.index:
                how["usecols"] = range(self._form.index, len(columns))
                columns = columns[self._form.index :]
            if dtypes is not None:
                how["dtype"] = dict(dtypes)
            lines = min(
                MAX_BLOCK_LINES, max(MAX_BLOCK_NUMBERS // max(len(columns), 1), 16)
            )
            with pd.read_csv(
                self.path, chunksize=lines, low_memory=False, **how
            ) as tables:
                for table in tables:
                    yield table if width is None else self._without_end(table)
        except pd.errors.EmptyDataError:
            raise DataError(
                f"{self.path}: expected numbers. The file is empty"
            ) from None

    def _without_end(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return rows that end with a separator without the empty cell behind it."""
        end = table.iloc[:, -1].astype(str)
        filled = end[(end.str.strip() != "").to_numpy()]
        if len(filled):
            record = int(filled.index[0]) + self._headings
            line = record_line(self.path, self._form, record)
            raise DataError(
                f"{self.path}: line {line}: expected a row of {table.shape[1] - 1} "
                f"cells that ends with a separator. Received: {table.shape[1]} cells"
            )
        return table.iloc[:, :-1]

    def batches(self, size: int, start: int = 0) -> Iterator[Data]:
        """Yield batches; see `Source`."""
        with reading(self.path):
            yield from rebatch(self._blocks(), size, start)

    def _blocks(self) -> Iterator[Array]:
        rows = 0
        plain = {
            column: dtype
            for column, dtype in self._dtypes.items()
            if column not in self._converted
        }
        for table in self._tables(plain):
            rows += len(table)
            for column in self._converted:
                table[column] = _numbers(table[column])
            yield table.to_numpy(dtype=self._dtype)
        if rows != self.rows:
            raise ValueError("it has changed while it was read")
        if not rows:
            yield np.empty((0, len(self._dtypes)), self._dtype)


def _import_pandas(path: Path) -> Any:
    try:
        import pandas as pd
    except ImportError:
        raise UnsupportedError(
            f"{path}: reading CSV needs pandas. {install_hint('csv')}"
        ) from None
    return pd


def _numbers(cells: pd.Series) -> pd.Series | None:
    """Return cells as numbers, True and False among them as 1 and 0; else None."""
    if cells.dtype.kind in "biuf":
        return cells
    if not cells.map(_is_number).all():
        return None
    words = cells.map(str).str.strip().str.lower()
    return words.replace(BOOLEANS).astype(float)


def _has_booleans(cells: pd.Series) -> bool:
    return bool(cells.map(str).str.strip().str.lower().isin(BOOLEANS).any())


def _is_number(cell: object) -> bool:
    """Return whether a cell is a number, or True or False."""
    text = str(cell).strip()
    try:
        float(text)
    except ValueError:
        return text.lower() in BOOLEANS
    return text.isascii() and "_" not in text  # Python reads 1_000 and other digits


def _is_cell_of_numbers(text: str) -> bool:
    """Return whether a cell may stand in a row of numbers; it may be empty."""
    return not text or _is_number(text)


class TextCsv(TextSource):
    """Read a column of texts."""

    def examined(self) -> Iterable[str]:
        """Find the separator by the line of headings, and the column."""
        self._form = text_form(read_head(self.path), [self.column])
        pd = _import_pandas(self.path)
        try:
            columns = list(self._read(nrows=0).columns)
        except pd.errors.EmptyDataError:
            raise DataError(
                f"{self.path}: expected a column '{self.column}'. The file is empty"
            ) from None
        self._found = self.found_column(columns)
        if f"{self._found}.1" in columns:
            raise DataError(
                f"{self.path}: expected one column '{self.column}'. Received: two"
            )
        yield self._form.note(printable(self.path))
        yield self.renamed(self._found)

    def _read(self, **more: Any) -> Any:
        pd = _import_pandas(self.path)
        return pd.read_csv(
            self.path,
            dtype=str,
            keep_default_na=False,  # "null" and "NA" are words
            index_col=False,  # a row with a cell too many must not shift the others
            low_memory=False,
            **self._form.options,
            **more,
        )

    def texts(self) -> Iterator[list[str]]:
        """Yield the texts, many at a time."""
        with self._read(usecols=[self._found], chunksize=MAX_BLOCK_LINES) as tables:
            for table in tables:
                yield table[self._found].fillna("").tolist()
