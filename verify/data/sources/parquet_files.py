"""Read ``.parquet`` files by batches of their row groups, with pyarrow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from verify.data.sources.base import (
    BLOCK_BYTES,
    Data,
    FileSource,
    names_text,
    reading,
    rebatch,
    require_names,
)
from verify.data.sources.texts import TextSource
from verify.errors import DataError, UnsupportedError, install_hint, printable
from verify.model.arrays import Array

MAX_BATCH_ROWS, BUFFER_BYTES = 2**14, 2**20
"""Rows in a batch, at most; bytes read ahead of a column."""


class Parquet(FileSource):
    """Read numbers in columns; see `open_source`.

    With `named` the columns `names` are given out by name even if it is one.

    Raises
    ------
    DataError
    UnsupportedError
        pyarrow is not installed.
    """

    def __init__(
        self, path: Path, name: str, names: Sequence[str], *, named: bool = False
    ) -> None:
        super().__init__(path)
        self._several = named or len(names) > 1
        with opened(path) as file:
            self.rows = file.metadata.num_rows
            held = columns_of(file)
            self._columns, self._lists = _chosen(path, held, name, names, self._several)
            types = [np.dtype(_numbers(held[key])) for key in self._columns]
            self._dtypes = dict(zip(self._columns, types, strict=True))
        self._widths: dict[str, tuple[int, ...]] = {}

    def batches(self, size: int, start: int = 0) -> Iterator[Data]:
        """Yield batches; see `Source`."""
        with reading(self.path):
            yield from rebatch(self._blocks(start), size)

    def _blocks(self, start: int) -> Iterator[Data]:
        import pyarrow as pa

        for table, skipped in arrow_batches(self.path, self._columns, start):
            arrays = {}
            for key in self._columns:
                column = table.column(key)
                if pa.types.is_nested(column.type):
                    arrays[key] = self._from_lists(key, column, skipped)
                else:
                    arrays[key] = self._from_numbers(key, column)
            yield self._arranged(arrays)
        if not self.rows:
            yield self._arranged(
                {key: np.empty((0,), dtype) for key, dtype in self._dtypes.items()}
            )

    def _arranged(self, arrays: dict[str, Array]) -> Data:
        if self._several:
            return arrays
        if self._lists:
            return arrays[self._columns[0]]
        return np.stack(list(arrays.values()), axis=1)

    def _from_numbers(self, key: str, column: Any) -> Array:
        if column.null_count:
            raise DataError(
                f"{self.path}: expected no missing values. Received: some in "
                f"column '{printable(key)}'"
            )
        return column.to_numpy(zero_copy_only=False).astype(self._dtypes[key])

    def _from_lists(self, key: str, column: Any, first: int) -> Array:
        """Return lists of equal length, nested or not, as one array, (rows, ...)."""
        import pyarrow as pa
        import pyarrow.compute as pc

        sizes: list[int] = []
        values = column
        while pa.types.is_nested(values.type):
            if values.null_count:
                raise DataError(
                    f"{self.path}: expected no missing lists. Received: some "
                    f"in column '{printable(key)}'"
                )
            if pa.types.is_fixed_size_list(values.type):
                sizes.append(values.type.list_size)
            else:
                lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
                depth = len(sizes)
                known = self._widths.get(key, ())
                want = known[depth] if depth < len(known) else _first(lengths)
                if (lengths != want).any():
                    at = int(np.flatnonzero(lengths != want)[0])
                    where = f" in row {first + at:,}" if not depth else ""
                    raise DataError(
                        f"{self.path}: expected lists of the same length in "
                        f"column '{printable(key)}'. Received: {want:,} and "
                        f"{lengths[at]:,} numbers{where}"
                    )
                sizes.append(want)
            values = values.flatten()
        self._widths.setdefault(key, tuple(sizes))
        return self._from_numbers(key, values).reshape(len(column), *sizes)


def _first(lengths: Array) -> int:
    return int(lengths[0]) if len(lengths) else 0


class TextParquet(TextSource):
    """Read a column of texts."""

    def examined(self) -> Iterable[str]:
        """Find the column."""
        with opened(self.path) as file:
            held = columns_of(file)
        self._found = self.found_column(list(held))
        if not _is_text(held[self._found]):
            raise DataError(
                f"{self.path}: expected texts in column "
                f"'{self._found}'. Received: {printable(held[self._found], 60)}"
            )
        yield self.renamed(self._found)

    def texts(self) -> Iterator[list[str]]:
        """Yield the texts, many at a time; "" where one is missing."""
        for table, _ in arrow_batches(self.path, [self._found], 0):
            yield [text or "" for text in table.column(self._found).to_pylist()]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file for reading its metadata and its batches."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise UnsupportedError(
            f"{path}: reading Parquet needs pyarrow. {install_hint('parquet')}"
        ) from None
    with reading(path), parquet.ParquetFile(path, buffer_size=BUFFER_BYTES) as file:
        yield file


def columns_of(file: Any) -> dict[str, Any]:
    """Map each column to its type, without those in which pandas keeps the index."""
    schema = file.schema_arrow
    if len(set(schema.names)) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise DataError(f"expected one column '{printable(twice)}'. Received: two")
    about = schema.pandas_metadata or {}
    index = [name for name in about.get("index_columns", []) if isinstance(name, str)]
    return {field.name: field.type for field in schema if field.name not in set(index)}


def arrow_batches(
    path: Path, columns: Sequence[str], start: int
) -> Iterator[tuple[Any, int]]:
    """Yield batches of some columns from row `start` on, each with its first row."""
    with opened(path) as file:
        first, group = 0, 0
        groups = [file.metadata.row_group(k) for k in range(file.num_row_groups)]
        counts = [group.num_rows for group in groups]
        size = sum(group.total_byte_size for group in groups)
        row_bytes = max(size // max(file.metadata.num_rows, 1), 1)
        while group < len(counts) and first + counts[group] <= start:
            first += counts[group]
            group += 1
        for batch in file.iter_batches(
            batch_size=max(min(MAX_BATCH_ROWS, BLOCK_BYTES // row_bytes), 1),
            row_groups=range(group, len(counts)),
            columns=list(columns),
            use_threads=False,  # our own threads share the work
        ):
            end = first + len(batch)
            if end > start:
                skipped = max(start - first, 0)
                yield batch.slice(skipped), first + skipped
            first = end
        if first != file.metadata.num_rows:
            raise ValueError("it holds fewer rows than it says")


def _chosen(
    path: Path, held: dict[str, Any], name: str, names: Sequence[str], several: bool
) -> tuple[list[str], bool]:
    """Return the columns to read, and whether one column holds whole rows as lists."""
    import pyarrow as pa

    if several:
        chosen, lists = require_names(path, held, names, "columns"), False
    else:
        nested = [key for key, kind in held.items() if pa.types.is_nested(kind)]
        meant = [key for key in (*names, name) if key in nested]
        if nested and not meant and len(held) > 1:
            raise DataError(
                f"{path}: expected columns of numbers, or one of lists called "
                f"'{printable(name)}'. Received: {names_text(held)}"
            )
        lists = bool(nested)
        chosen = (meant or nested)[:1] or list(held)
    if not chosen:
        raise DataError(f"{path}: expected columns. Received: none")
    for key in chosen:
        if _numbers(held[key]) is None:
            raise DataError(
                f"{path}: expected numbers only. Received: "
                f"{printable(held[key], 60)} in column '{printable(key)}'"
            )
    return chosen, lists


def _numbers(kind: Any) -> Any:
    """Return the NumPy type of the numbers in a column or its lists, or None."""
    import pyarrow as pa

    while (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
    ):
        kind = kind.value_type
    types = pa.types
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind):
        return kind.to_pandas_dtype()
    return None


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
