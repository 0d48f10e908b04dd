"""How every command of this project ends: an exit code, and one line when it is 2."""

from __future__ import annotations

import io
import sys

import typer
from typer.exceptions import TyperException

from verify.errors import VerifyError, plain

BAD_INPUT = 2


def run(app: typer.Typer, argv: list[str] | None, name: str) -> int:
    """Run a typer app and return its exit code.

    Wrong usage and every `VerifyError` become one line on stderr and exit code 2; the
    line begins with the command's name. Anything else is a defect and keeps its
    traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # any name can be shown anywhere
            stream.reconfigure(errors="backslashreplace")
    command = typer.main.get_command(app)
    try:
        code = command.main(args=argv, prog_name=name, standalone_mode=False)
    except VerifyError as error:
        print(f"{name}: {plain(error, 2000)}", file=sys.stderr)
        return BAD_INPUT
    except TyperException as error:
        message = error.format_message()
        if message.startswith("Usage:"):  # called without anything: the whole help
            print(message, file=sys.stderr)
        else:
            print(f"{name}: {plain(message, 2000)} See {name} --help", file=sys.stderr)
        return BAD_INPUT
    return code if isinstance(code, int) else 0
