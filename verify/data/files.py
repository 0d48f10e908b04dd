"""Write files atomically, read JSON, and check where a command may write.

Errors shorten the names of files: one of thousands of characters would otherwise push
the rest of the message out.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import IO, Any

from verify.errors import DataError, VerifyError, WriteError, near_names, printable

MAX_ENTRIES = 1000
"""Files of a folder that are looked at for the name that was meant."""

URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Begins a URL, of which a Path keeps one slash; a drive of Windows has one letter."""


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises
    ------
    FileNotFoundError
        There is no such file; what that means is for the caller to say.
    DataError
        The file cannot be read or is damaged.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"{printable(path)}: expected a file. Received: {NOT_A_FILE}")
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(
            f"{printable(path)}: cannot be read ({error.strerror})"
        ) from None
    except (ValueError, RecursionError):  # nested without end
        content = None
    if not isinstance(content, dict):
        raise DataError(
            f"{printable(path)}: expected a JSON object. The file is damaged"
        )
    return content


def named_path(
    path: str | os.PathLike[str], wanted: str, error: type[VerifyError] = DataError
) -> Path:
    """Return a path that was given by a name; an empty one would be the folder here.

    Parameters
    ----------
    path : path
    wanted : str
        What is expected there, for the message.
    error : type of VerifyError

    Raises
    ------
    VerifyError
        Of the class that was asked for: the name is empty.
    """
    if not os.fspath(path):
        raise error(f"{wanted}. Received: an empty name; is a variable unset?")
    return Path(path)


NOT_A_FILE = "a pipe or a device; write what comes from it into a file"
"""What is said of paths such as those of ``<(command)`` in a shell."""


def found_instead(path: Path) -> str:
    """Say what is in the place where a file was expected."""
    if path.is_dir():
        return "a folder"
    return NOT_A_FILE if path.exists() else f"no such file{meant_instead(path)}"


def meant_instead(path: Path) -> str:
    """Return what to do about a path that is not there, as a sentence, or ``""``.

    ``. Did you mean model.keras?`` names a file that is there: under another spelling,
    or with the slashes, quotes and blanks of another place corrected.
    """
    text = str(path)
    if URL.match(text):
        return ". That is a URL; download the file, and give its name"
    if text == "-":
        return ". Standard input is not read; write what comes from it into a file"
    if text.startswith("~"):
        return ". Only shells know ~; write the path from / on"
    if set(text) & {"*", "?", "["}:
        return ". That is a pattern; give the name of one file"
    corrected = Path(text.strip(" '\"").replace("\\", "/"))
    if corrected != path and corrected.exists():
        return _meant(corrected)
    run = Path("runs") / path.name / "model.keras"
    if not path.suffix and run.is_file():
        return _meant(run)
    near = _near(path)
    return _meant(near[0]) if len(near) == 1 else ""


def _meant(path: Path) -> str:
    return f". Did you mean {printable(path)}?"


def _near(path: Path) -> list[Path]:
    """Return what may be meant of the files beside a path that is not there.

    They have its suffix and nearly its name, or its name and another suffix.
    """
    try:
        entries = sorted(islice(path.parent.iterdir(), MAX_ENTRIES))
    except OSError:
        return []
    # a link that leads nowhere has the name itself
    entries = [entry for entry in entries if entry.name != path.name]
    suffix = path.suffix.lower()
    alike = {entry.stem: entry for entry in entries if entry.suffix.lower() == suffix}
    near = [alike[stem] for stem in near_names(path.stem, alike)]
    return near or [entry for entry in entries if entry.stem == path.stem]


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file so that it is there whole or not at all.

    Parameters
    ----------
    path : Path
    write : callable
        Given a binary file to write to.

    Raises
    ------
    WriteError
    """
    try:
        descriptor, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix
        )
    except OSError as error:
        raise write_error(path, error) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; a result is as readable as any other new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(path, error) from None
        raise


def write_error(path: Path, error: OSError) -> WriteError:
    """Return the error for a file that cannot be written."""
    return WriteError(
        f"{printable(path)}: cannot be written ({error.strerror or error})"
    )


def output_path(text: str, option: str, *suffixes: str) -> Path:
    """Return a path to write to, checked before any work is done for it.

    Raises
    ------
    DataError
        It has another suffix, is a folder, is in no folder, or may not be written.
    """
    wanted = f"{option}: expected a file name ending in {' or '.join(suffixes)}"
    path = named_path(text, wanted)
    if path.suffix.lower() not in suffixes:
        raise DataError(f"{wanted}. Received: {printable(text)}")
    try:
        is_folder, has_place = path.is_dir(), path.parent.is_dir()
    except OSError as error:  # a name too long
        raise write_error(path, error) from None
    if is_folder or not has_place:
        found = "a folder" if is_folder else f"no folder {printable(path.parent)}"
        raise DataError(
            f"{option}: {printable(text)} cannot be written. Received: {found}"
        )
    if not os.access(path.parent, os.W_OK):
        raise DataError(
            f"{option}: {printable(text)} cannot be written (no permission)"
        )
    return path
