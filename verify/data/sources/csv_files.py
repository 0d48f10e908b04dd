"""Read ``.csv`` files of numbers, or with a column of texts, by blocks of lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verify.data.csv_form import number_form, read_head, text_form
from verify.data.sources.base import Data, FileSource, reading, rebatch
from verify.data.sources.texts import TextSource
from verify.errors import DataError, UnsupportedError, install_hint, printable
from verify.model.arrays import Array

if TYPE_CHECKING:
    import pandas as pd

MAX_BLOCK_NUMBERS, MAX_BLOCK_LINES = 2**20, 2**14
"""Numbers and lines that are parsed at a time, at most."""


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
            self._form = number_form(path, read_head(path))
            self._headings = bool(self._form.headings)
            found = self._scan()
            if found is None:
                self._headings = True
                found = self._scan()
        self.rows, self._dtypes = found or (0, [])
        if any(d.kind == "b" for d in self._dtypes):
            if not all(d.kind == "b" for d in self._dtypes):
                raise DataError(f"{path}: expected numbers. Received: dtype=object")
            self._dtype = np.dtype(bool)
        else:
            self._dtype = np.result_type(*self._dtypes)
        self.read_how = self._form.unusual
        self.notes = tuple(filter(None, [self._form.note(printable(path))]))

    def _scan(self) -> tuple[int, list[np.dtype]] | None:
        """Return the rows and the type of each column; None if there are headings."""
        rows, dtypes = 0, list[np.dtype]()
        for table in self._tables():
            if self._headings and table.empty and not rows:
                raise DataError(
                    f"{self.path}: expected rows of numbers. Received: a line of "
                    "headings alone"
                )
            for column, dtype in table.dtypes.items():
                if dtype.kind not in "biuf":
                    if not self._headings:
                        return None
                    raise self._text_error(column, table[column])
            if not rows and not self._headings:
                self._require_no_numbered_headings(table)
            here = list(table.dtypes)
            if dtypes and any(map(_mixes_text, dtypes, here)):
                if not self._headings:
                    return None
                columns = zip(table.columns, dtypes, here, strict=True)
                column = next(c for c, a, b in columns if _mixes_text(a, b))
                raise self._text_error(column, table[column])
            dtypes = list(map(np.promote_types, dtypes or here, here))
            rows += len(table)
        return rows, dtypes

    def _text_error(self, column: object, cells: Any) -> DataError:
        pd = _import_pandas(self.path)
        strange = cells[pd.to_numeric(cells, errors="coerce").isna() & cells.notna()]
        sample = str(strange.iloc[0]) if len(strange) else ""
        shown = f"'{printable(sample, 40)}'" if sample else "text"
        said = (
            f"{self.path}: expected numbers only. Received: {shown} in column "
            f"'{printable(column)}'"
        )
        if sample and not re.search(r"[^\W\d_]", sample):
            return DataError(
                f"{said}. Write numbers with decimal points, and without thousands "
                "separators"
            )
        return TextInCsv(said)

    def _require_no_numbered_headings(self, table: pd.DataFrame) -> None:
        first = table.iloc[0].tolist()
        if len(table) > 1 and first == list(range(table.shape[1])):
            raise DataError(
                f"{self.path}: the first line, 0, 1, 2, ..., may be headings or "
                "a sample. Give the columns names, write no headings, or use .npy"
            )

    def _tables(self, dtypes: list[np.dtype] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the file in parts."""
        pd = _import_pandas(self.path)

        how: dict[str, Any] = {
            "header": 0 if self._headings else None, "skipinitialspace": True,
            **self._form.options,
        }  # fmt: skip
        try:
            columns = pd.read_csv(self.path, nrows=1, **how).columns
            if self._form.index:
                how["usecols"] = range(self._form.index, len(columns))
                columns = columns[self._form.index :]
            if dtypes is not None:
                how["dtype"] = dict(zip(columns, dtypes, strict=True))
            lines = min(
                MAX_BLOCK_LINES, max(MAX_BLOCK_NUMBERS // max(len(columns), 1), 16)
            )
            with pd.read_csv(
                self.path, chunksize=lines, low_memory=False, **how
            ) as tables:
                yield from tables
        except pd.errors.EmptyDataError:
            raise DataError(
                f"{self.path}: expected numbers. The file is empty"
            ) from None

    def batches(self, size: int, start: int = 0) -> Iterator[Data]:
        """Yield batches; see `Source`."""
        with reading(self.path):
            yield from rebatch(self._blocks(), size, start)

    def _blocks(self) -> Iterator[Array]:
        rows = 0
        for table in self._tables(self._dtypes):
            rows += len(table)
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


def _mixes_text(a: np.dtype, b: np.dtype) -> bool:
    """Tell whether parts of these types make a column text, such as true and 1."""
    return (a.kind == "b") != (b.kind == "b")


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
