"""Write files atomically, read JSON, and check where a command may write.

Errors shorten the names of files: one of thousands of characters would otherwise push
the rest of the message out.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import IO, Any

from verify.errors import DataError, WriteError, near_names, printable

MAX_ENTRIES = 1000
"""Files of a folder that are looked at for the name that was meant."""


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


NOT_A_FILE = "a pipe or a device; write what comes from it into a file"
"""What is said of paths such as those of ``<(command)`` in a shell."""


def found_instead(path: Path) -> str:
    """Say what is in the place where a file was expected."""
    if path.is_dir():
        return "a folder"
    return NOT_A_FILE if path.exists() else f"no such file{near_files(path)}"


def near_files(path: Path) -> str:
    """Return ``. Did you mean model.keras?`` for a path that is not there, or ``""``.

    Its folder is looked into, and the name may have been written otherwise.
    """
    try:
        entries = list(islice(path.parent.iterdir(), MAX_ENTRIES))
    except OSError:
        return ""
    entries.sort(key=lambda entry: (entry.suffix == path.suffix, entry.name))
    # best those of this suffix; a link that leads nowhere has the name itself
    beside = {entry.stem: entry for entry in entries if entry.name != path.name}
    near = near_names(path.stem, beside)
    return f". Did you mean {printable(beside[near[0]])}?" if len(near) == 1 else ""


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
    path = Path(text)
    if path.suffix.lower() not in suffixes:
        raise DataError(
            f"{option}: expected a file name ending in {' or '.join(suffixes)}. "
            f"Received: {printable(text)}"
        )
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
