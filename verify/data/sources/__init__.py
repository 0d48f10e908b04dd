"""Read inputs and outputs from files of any size, a batch at a time.

``open_source`` is the one place that knows the formats. Nothing in a file is unpickled
or executed, and nothing is allocated because a header says so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from verify.data.file_kinds import file_kind
from verify.data.files import found_instead, named_path
from verify.data.sources.base import Arrays, Data, Source, reading
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

CSV_FORMATS = (".csv", ".tsv")
FORMATS = (".npy", ".npz", *CSV_FORMATS, ".parquet")
NAMED_ARRAY_FORMATS = (".npz", ".parquet")
"""Formats that hold several arrays by their names."""

TEXT_FORMATS = (*CSV_FORMATS, ".parquet")
"""Formats with a column of texts."""

LINES_FORMAT = ".txt"
"""The format with a text a line, for models that take texts."""

SUFFIXES = {
    "npy": (".npy",),
    "npz": (".npz",),
    "parquet": (".parquet",),
    "text": (*CSV_FORMATS, LINES_FORMAT),
}
"""How files of a kind may end."""

VAGUE_KINDS = ("text", "json", "xml", "unknown", "damaged", "empty", "blanks")
"""Kinds that do not say for sure that a file is none of the kind it is named after."""

MODEL_KINDS = (
    "keras", "hdf5", "onnx", "litert", "openvino", "torch_export", "torchscript",
    "torch_pickle", "safetensors", "core_ml", "graph_def", "tfjs", "keras_config",
)  # fmt: skip


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
        ``.npy``; ``.npz`` holding one array, or one called `name`; ``.csv`` or ``.tsv``
        of numbers, one row a sample, with or without a line of headings; ``.parquet``
        of numbers, one column a feature, or with a column of lists. Of several arrays
        ``.npz`` or ``.parquet``, each by its name.
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
    wanted = "a file of numbers" if pipeline is None else "a file of texts"
    path = named_path(path, f"expected {wanted}")
    suffix = path.suffix.lower()
    plain_texts = pipeline is None and texts and len(names) == 1
    if plain_texts and suffix in (*TEXT_FORMATS, LINES_FORMAT):
        wanted = "a file of texts"
    if not path.is_file():
        raise DataError(f"{path}: expected {wanted}. Received: {found_instead(path)}")
    known = FORMATS if pipeline is None else TEXT_FORMATS
    if plain_texts:
        known = (*known, LINES_FORMAT)
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
    form = "a file" if pipeline is None else "texts in a file"
    _require_known(path, suffix, known, form)
    if pipeline is not None:
        return _text_reader(suffix)(path, pipeline, column)
    if plain_texts and suffix in (*TEXT_FORMATS, LINES_FORMAT):
        return _text_reader(suffix)(path, PlainTexts(), column)
    if suffix == ".npy":
        return Npy(path, texts=texts)
    if suffix in CSV_FORMATS:
        return NumberCsv(path)
    if suffix == ".npz":
        return Npz(path, name, names, texts=texts)
    return Parquet(path, name, names)


def _text_reader(suffix: str) -> type[TextSource]:
    if suffix in CSV_FORMATS:
        return TextCsv
    return TextParquet if suffix == ".parquet" else TextLines


def _require_known(path: Path, suffix: str, known: Sequence[str], wanted: str) -> None:
    """Raise DataError if a file has another name or another content than it should."""
    with reading(path):
        kind = file_kind(path)
    fits = SUFFIXES.get(kind.key, ())
    if suffix in known and (suffix in fits or kind.key in VAGUE_KINDS):
        return
    if suffix in known:
        wanted = f"a {suffix} file, as its name says"
    else:
        wanted += f" ending in {', '.join(known)}"
    usable = next((name for name in fits if name in known), None)
    remedy = kind.remedy or "numpy.save writes arrays as .npy" * (".npy" in known)
    if usable is not None:
        remedy = f"rename it to end in {usable}"
    elif kind.key in MODEL_KINDS:
        remedy = "a model goes in front, its inputs behind --data"
    said = f"{kind.name}; {remedy}" if remedy else kind.name
    raise DataError(f"{path}: expected {wanted}. Received: {said}")
