"""Write what is needed to find a defect of this project into a file to send."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
import tempfile
import traceback
from collections.abc import Collection, Sequence
from pathlib import Path

from verify import __version__
from verify.errors import printable

TRACEBACK_VARIABLE = "RNN_VERIFY_TRACEBACK"
"""Environment variable: if it is set and not empty, the traceback of a defect is
printed, too. For developers."""

PACKAGES = ("numpy", "keras", "tensorflow", "jax", "h5py", "pandas", "dask", "click")
"""Distributions whose versions a report gives."""

OPTION = re.compile(r"--?[A-Za-z][\w-]*(?==|$)")
NUMBER = re.compile(r"[-+]?[\d.]{1,12}")
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")

INTRODUCTION = """\
{name} ended because of a defect in it, not because of your model or data. Please send
this file to those who maintain it. Names of files and texts are left out of the
command, but the message of the error may hold a name or a value: look before you send
it.
"""


def write_crash_report(
    error: BaseException, name: str, arguments: Sequence[str], known: Collection[str]
) -> Path | None:
    """Write a report on an unexpected error; return its path, or None if it cannot.

    The file is put into the folder for temporary files, where it is in nobody's way,
    or into the current folder if that is impossible. Only its owner may read it.

    Parameters
    ----------
    error : BaseException
    name : str
        The command, such as ``rnn-verify``.
    arguments : sequence of str
        What it was called with; see `without_data`.
    known : collection of str
        Words that are no data: names of commands.
    """
    content = crash_report(error, name, arguments, known).encode(errors="replace")
    for folder in (None, os.curdir):
        try:
            descriptor, path = tempfile.mkstemp(".txt", f"{name}-error-", folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except OSError:
            continue
        return Path(path)
    return None


def crash_report(
    error: BaseException, name: str, arguments: Sequence[str], known: Collection[str]
) -> str:
    """Return the text of a report; the parameters are those of `write_crash_report`."""
    versions = {
        "keras-rnn-verify": __version__,
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        **{package: _version(package) for package in PACKAGES},
        "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "not set"),
    }
    lines = [
        f"  {package:<17} {printable(found)}" for package, found in versions.items()
    ]
    words = " ".join([name, *without_data(arguments, known)])
    text = "".join(traceback.format_exception(error))
    home = os.path.expanduser("~")
    if len(home) > 1:
        text = text.replace(home, "~")
    return "\n".join(
        [
            INTRODUCTION.format(name=name),
            f"command: {printable(words, 2000)}",
            f"error  : {error_line(error)}",
            "",
            "versions:",
            *lines,
            "",
            *(printable(line, 2000) for line in text.splitlines()),
            "",
        ]
    )


def error_line(error: BaseException) -> str:
    """Return class and message of an error as one printable line."""
    try:
        message = str(error)
    except Exception:  # a message that cannot be made hides no defect
        message = "its message cannot be shown"
    kind = type(error).__name__
    return printable(f"{kind}: {message}" if message else kind, 500)


def without_data(arguments: Sequence[str], known: Collection[str]) -> list[str]:
    """Return a command's arguments, without names of files and without texts.

    Options, numbers and the `known` words stay. Anything else becomes ``<...>``, which
    keeps a short suffix: ``<.keras>``.
    """
    return [_without_data(word, known) for word in arguments]


def _without_data(word: str, known: Collection[str]) -> str:
    option = OPTION.match(word)
    if option is not None:
        given = "=" if option.end() < len(word) else ""
        value = word[option.end() + 1 :]
        return option.group() + given + (_without_data(value, known) if given else "")
    if word in known or NUMBER.fullmatch(word):
        return word
    suffix = os.path.splitext(word)[1]
    return f"<{suffix if SUFFIX.fullmatch(suffix) else '...'}>"


def _version(package: str) -> str:
    """Return the version of an installed distribution, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
    except Exception as error:  # metadata that are damaged
        return f"unknown ({type(error).__name__})"


def print_traceback(error: BaseException) -> None:
    """Print a traceback on stderr if `TRACEBACK_VARIABLE` asks for it."""
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error, file=sys.stderr)
