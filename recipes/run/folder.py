"""Open, write and read the folder of a run.

======================  ===========================================================
file                    content
======================  ===========================================================
``manifest.json``       recipe, configuration, seed, backend, versions, data, command
``checkpoint.npz``      weights, optimizer state and history after the last full epoch
``history.csv``         loss, accuracy and, of the tweets, macro-F1 by epoch
``model.keras``         the trained model
``vocabulary.json``     words in the order of their ids, and how texts are prepared
``metrics.json``        accuracy, macro-F1, baselines, seconds, peak memory
``curves.png``          loss and accuracy by epoch
``verification.json``   the verifier's report
``explorer.html``       the page that ``rnn-recipe explore`` writes, if it was asked to
======================  ===========================================================

Every file is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recipes import PAGE_FILE
from verify.data.files import named_path, read_json, write_atomically, write_error
from verify.data.text import PIPELINE_FILE, TextPipeline
from verify.errors import DataError, join_and, near_names, printable

RUN_FILES = (
    "manifest.json", "checkpoint.npz", "history.csv", "model.keras",
    "vocabulary.json", "metrics.json", "curves.png", "verification.json",
)  # fmt: skip
"""The files that every run writes."""

FINISHED = "the folder of a finished run"

END_OF_PHRASE = "(end)"
"""The class that follows the last word of a phrase."""


class RunFolder:
    """Represent a folder that belongs to one run of one recipe."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._written = False

    @classmethod
    def finished(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Open the folder of a finished run, given it or a file of the run in it.

        Raises
        ------
        DataError
            There is no such folder, or it holds something else.
        """
        given = named_path(path, f"expected {FINISHED}")
        try:
            return cls._finished(given)
        except OSError as error:  # a name too long, a folder that may not be listed
            raise DataError(
                f"{printable(given)}: cannot be read ({error.strerror})"
            ) from None

    @classmethod
    def _finished(cls, given: Path) -> RunFolder:
        found = given.parent if given.is_file() else given
        known = given.is_dir() or given.name in (*RUN_FILES, PAGE_FILE)
        if known and (found / PIPELINE_FILE).is_file():
            return cls(found)
        wanted = f"{printable(given)}: expected {FINISHED}"
        if given.is_file():
            raise DataError(
                f"{wanted}, or the model.keras in it. Received: a file that is none of "
                "a run's"
            )
        if not given.is_dir():
            raise DataError(f"{wanted}. Received: no such folder{_near(given)}")
        inside = sorted(p.parent for p in given.glob(f"*/{PIPELINE_FILE}"))
        if inside:
            shown = [printable(folder) for folder in inside[:3]]
            more = f" and {len(inside) - 3} more" if len(inside) > 3 else ""
            raise DataError(
                f"{wanted}. Received: a folder of runs; give one of them: "
                f"{', '.join(shown)}{more}"
            )
        return cls(found)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def examine(self, recipe: str, *, resume: bool) -> dict[str, Any] | None:
        """Check whether this recipe may run here; change nothing.

        Returns
        -------
        dict or None
            The manifest of an earlier run of the same recipe, if there is one.

        Raises
        ------
        DataError
            The folder cannot be written, holds something else, or nothing to resume.
        """
        try:
            return self._examine(recipe, resume)
        except OSError as error:  # a name too long, a folder that may not be listed
            raise write_error(self.path, error) from None

    def _examine(self, recipe: str, resume: bool) -> dict[str, Any] | None:
        shown = printable(self.path)  # else a long name fills the message
        wanted = f"{shown}: expected an empty folder or a run of {recipe}"
        if not self.path.exists():
            if resume:
                raise DataError(f"{shown}: nothing to resume: no such folder")
            nearest = next(p for p in self.path.absolute().parents if p.exists())
            if not nearest.is_dir():
                raise DataError(f"{shown}: cannot be written ({nearest} is a file)")
            if not os.access(nearest, os.W_OK):
                raise DataError(f"{shown}: cannot be written (no permission)")
            return None
        if not self.path.is_dir():
            raise DataError(f"{wanted}. Received: a file")
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise DataError(f"{shown}: cannot be written (no permission)")
        present = sorted(e.name for e in self.path.iterdir() if not _left_over(e.name))
        if "manifest.json" in present:
            manifest = self.read_json("manifest.json")
            if manifest.get("recipe") != recipe:
                found = printable(manifest.get("recipe"))
                raise DataError(f"{wanted}. Received: a run of {found}")
            return manifest
        if present:
            raise DataError(
                f"{wanted}. Received: a folder that holds {present[0]} and no "
                "manifest.json"
            )
        if resume:
            raise DataError(f"{shown}: nothing to resume: the folder is empty")
        return None

    def open_for(
        self, recipe: str, config: Mapping[str, Any], data: str, *, resume: bool
    ) -> None:
        """Make the folder ready for a run; an earlier run stays until `clear`.

        With `resume` the earlier run must have the same options, except for epochs and
        seeds, and the same data.

        Raises
        ------
        DataError
            As for `examine`; or the earlier run had other options or other data.
        """
        manifest = self.examine(recipe, resume=resume)
        if resume and manifest is not None:
            require_same(self.path, manifest, config, data)
            self.remove_half_written()
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(self.path, error) from None

    def clear(self, also: Sequence[str] = ()) -> None:
        """Remove an earlier run; the manifest last, since it marks the folder as a run.

        Parameters
        ----------
        also : sequence of str
            Names of files that this recipe writes besides `RUN_FILES`.

        Raises
        ------
        DataError
        """
        names = (*RUN_FILES, PAGE_FILE, *also)
        try:
            for entry in sorted(
                self.path.iterdir(), key=lambda e: e.name == RUN_FILES[0]
            ):
                if entry.name in names or _left_over(entry.name, names):
                    entry.unlink()
        except OSError as error:
            raise write_error(self.path, error) from None

    def remove_half_written(self) -> None:
        """Remove the unfinished copies that a killed process has left, if that can be.

        Nobody may be writing there.
        """
        with contextlib.suppress(OSError):
            for entry in self.path.iterdir():
                if _left_over(entry.name):
                    entry.unlink()

    def write(self, name: str, content: bytes) -> None:
        """Write one file, whole or not at all."""
        write_atomically(self.path / name, lambda file: file.write(content))
        self._written = True

    @property
    def begun(self) -> bool:
        """Return whether this program has begun a run here that can be resumed.

        The manifest is the first file that it writes; one that was there before may be
        of a run with other options.
        """
        return self._written and (self.path / RUN_FILES[0]).exists()

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one JSON document, whole or not at all."""
        text = json.dumps(content, indent=2, allow_nan=False)
        self.write(name, (text + "\n").encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one JSON document of the run.

        Raises
        ------
        DataError
        """
        try:
            return read_json(self.path / name)
        except FileNotFoundError:
            resumed = ""
            if (self.path / "manifest.json").is_file():
                resumed = (
                    "; rnn-recipe run NAME --resume, with --out if it had one, "
                    "finishes it"
                )
            raise DataError(
                f"{self.path}: expected the folder of a finished run. "
                f"Received: no {name} in it{resumed}"
            ) from None

    def write_pipeline(self, pipeline: TextPipeline) -> None:
        """Write ``vocabulary.json``."""
        self.write_json(PIPELINE_FILE, pipeline.fields())

    def read_pipeline(self) -> TextPipeline:
        """Read ``vocabulary.json``.

        Raises
        ------
        DataError
        """
        return TextPipeline.of(self.read_json(PIPELINE_FILE), self / PIPELINE_FILE)


def _near(path: Path) -> str:
    """Return which run is meant by a folder that is not there, or how to make one."""
    folders = (path.parent, Path("runs"))
    runs = {p.parent for folder in folders for p in folder.glob(f"*/{PIPELINE_FILE}")}
    by_name = {run.name: printable(run) for run in sorted(runs)}
    near = [by_name[name] for name in near_names(path.name, by_name)]
    if not near:
        return "; rnn-recipe run NAME makes one"
    return f". Did you mean {' or '.join(near)}?"


def _left_over(name: str, files: Sequence[str] = (*RUN_FILES, PAGE_FILE)) -> bool:
    """Return whether a file is the unfinished copy that a killed run has left."""
    return any(name.startswith(f".{file}.") for file in (*files, "partial"))


def require_same(
    shown: object,
    old: Mapping[str, Any],
    config: Mapping[str, Any],
    data: str | None = None,
) -> None:
    """Require the options of the earlier run, except for epochs and seeds.

    Raises
    ------
    DataError
        Other options, or other data (if their checksum is given).
    """
    before = old.get("config")
    before = before if isinstance(before, dict) else {}
    config = json.loads(json.dumps(config))  # as the manifest has it: lists, no tuples
    changed = [
        k for k in config if k not in ("epochs", "seeds") and before.get(k) != config[k]
    ]
    if changed:
        was = join_and([f"{k}={printable(before.get(k))}" for k in changed])
        now = join_and([f"{k}={config[k]}" for k in changed])
        raise DataError(f"{shown}: expected to resume with {was}. Received: {now}")
    if data is not None and old.get("data_sha256") != data:
        raise DataError(
            f"{shown}: expected to resume on the data it was begun with. Received: "
            "data with another checksum"
        )


def as_csv(headings: Sequence[str], rows: Iterable[Iterable[Any]]) -> bytes:
    """Return a table as CSV with line feeds; None becomes an empty cell."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(headings)
    lines.writerows(rows)
    return file.getvalue().encode()
