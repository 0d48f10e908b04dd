"""Read inputs and outputs from files of any size, a batch at a time.

``open_source`` is the one place that knows the formats. Nothing in a file is unpickled
or executed, and nothing is allocated because a header says so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from verify.data.sources.base import Arrays, Data, Source
from verify.data.sources.by_name import ArraysByName, open_by_name
from verify.data.sources.csv_files import NumberCsv, TextCsv
from verify.data.sources.numpy_files import Npy, Npz
from verify.data.sources.parquet_files import Parquet, TextParquet
from verify.data.sources.texts import PlainTexts, TextLines, TextSource
from verify.data.text import TextPipeline
from verify.errors import DataError, join_and, printable

__all__ = [
    "FORMATS",
    "Arrays",
    "ArraysByName",
    "Data",
    "Source",
    "open_by_name",
    "open_source",
]

FORMATS = (".npy", ".npz", ".csv", ".parquet")
NAMED_ARRAY_FORMATS = (".npz", ".parquet")
"""Formats that hold several arrays by their names."""

TEXT_FORMATS = (".csv", ".parquet")
"""Formats with a column of texts."""

LINES_FORMAT = ".txt"
"""The format with a text a line, for models that take texts."""


def open_source(
    path: str | os.PathLike[str],
    name: str,
    names: Sequence[str],
    *,
    pipeline: TextPipeline | None = None,
    column: str = "text",
    texts: bool = False,
) -> Source:
    """Open a file of numbers, or of texts where there is a `pipeline`.

    Parameters
    ----------
    path : path
        ``.npy``; ``.npz`` holding one array, or one called `name`; ``.csv`` of numbers,
        one row a sample, with or without a line of headings; ``.parquet`` of numbers,
        one column a feature, or with a column of lists. Of several arrays ``.npz`` or
        ``.parquet``, each by its name.
    name : str
        What the array is called where there is one.
    names : sequence of str
        The names of the model's inputs or outputs.
    pipeline : TextPipeline, optional
        What turns the texts of a ``.csv`` or ``.parquet`` into ids.
    column : str
        The column that holds the texts.
    texts : bool
        Whether the model itself takes texts, so that ``.npy`` and ``.npz`` may hold
        them, and ``.txt`` may, a text a line.

    Raises
    ------
    DataError
        One line: which file, what was expected, what was found. Damage further on in
        the file raises the same when that part is read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if pipeline is None and texts and len(names) == 1:
        if suffix in (*TEXT_FORMATS, LINES_FORMAT):
            return _open_texts(path, suffix, column)
        if suffix != ".npy" and suffix != ".npz":
            raise DataError(
                f"{path}: expected a file ending in {', '.join(FORMATS)} or "
                f"{LINES_FORMAT}. Received: '{path.suffix}'"
            )
    wanted = "a file of numbers" if pipeline is None else "a file of texts"
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(f"{path}: expected {wanted}. Received: {found}")
    if len(names) > 1 and pipeline is not None:
        raise DataError(
            f"{path}: texts are for a model of one input. Received: one that takes "
            f"{join_and(map(printable, names))}"
        )
    if len(names) > 1 and suffix not in NAMED_ARRAY_FORMATS:
        raise DataError(
            f"{path}: expected {' or '.join(NAMED_ARRAY_FORMATS)} with arrays "
            f"{join_and(map(printable, names))}. Received: '{path.suffix}'"
        )
    known = FORMATS if pipeline is None else TEXT_FORMATS
    if suffix not in known:
        kind = "a file" if pipeline is None else "texts in a file"
        raise DataError(
            f"{path}: expected {kind} ending in {', '.join(known)}. "
            f"Received: '{path.suffix}'"
        )
    if pipeline is not None:
        reader = TextCsv if suffix == ".csv" else TextParquet
        return reader(path, pipeline, column)
    if suffix == ".npy":
        return Npy(path, texts=texts)
    if suffix == ".csv":
        return NumberCsv(path)
    if suffix == ".npz":
        return Npz(path, name, names, texts=texts)
    return Parquet(path, name, names)


def _open_texts(path: Path, suffix: str, column: str) -> Source:
    """Open a file of texts for a model that takes them as they are."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise DataError(f"{path}: expected a file of texts. Received: {found}")
    kinds: dict[str, type[TextSource]] = {".csv": TextCsv, ".parquet": TextParquet}
    return kinds.get(suffix, TextLines)(path, PlainTexts(), column)
