"""Say which files a report is about, by their SHA-256."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import verify
from verify.errors import DataError, printable


def sha256_of(**files: str | os.PathLike[str] | None) -> dict[str, str]:
    """Return the SHA-256 of files in hexadecimal, by what each of them is.

    Parameters
    ----------
    **files : path or None
        None where there is no such file.

    Raises
    ------
    DataError
        One cannot be read.
    """
    found = {name: Path(path) for name, path in files.items() if path is not None}
    if "vocabulary" in found and found["vocabulary"].is_dir():  # the folder of a run
        found["vocabulary"] /= "vocabulary.json"
    return {name: _sha256(path) for name, path in found.items()}


def with_hashes(
    report: verify.Report | verify.ExportReport, hashes: dict[str, str]
) -> verify.Report | verify.ExportReport:
    """Return a report whose facts have the SHA-256 of its files."""
    from dataclasses import replace

    return replace(report, facts={**report.facts, "sha256": hashes})


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files that make up what it names.

    These are the files of a folder, each with its place in it, and the weights beside
    an OpenVINO ``.xml`` or an index of weights.
    """
    try:
        parts = _parts(path)
        if len(parts) == 1 and path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for part in parts:
            with part.open("rb") as file:
                one = hashlib.file_digest(file, "sha256").hexdigest()
            place = part.relative_to(path if path.is_dir() else path.parent)
            digest.update(f"{one}  {place.as_posix()}\n".encode())
        return digest.hexdigest()
    except OSError as error:
        raise DataError(
            f"{printable(path)}: cannot be read ({error.strerror or error})"
        ) from None


def _parts(path: Path) -> list[Path]:
    from verify.model_files.shards import index_of  # brings h5py

    if path.is_dir():
        return sorted(part for part in path.rglob("*") if part.is_file())
    beside = path.with_suffix(".bin")
    if path.suffix == ".xml" and beside.is_file():
        return [path, beside]
    index = index_of(path) or path
    if index.name.endswith(".weights.json"):
        there = sorted(index.parent.iterdir())
        return [index, *(x for x in there if index_of(x) == index)]
    return [path]
