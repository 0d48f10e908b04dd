"""End every command of this project with an exit code, and one line when it is 2."""

from __future__ import annotations

import atexit
import gc
import io
import sys

import typer
from typer.exceptions import TyperException

from verify.console.signals import terminable
from verify.errors import VerifyError, printable

BAD_INPUT, INTERRUPTED, TERMINATED = 2, 130, 143
"""Exit codes. The last two are 128 and the number of the signal, as in a shell."""


def run(app: typer.Typer, argv: list[str] | None, name: str) -> int:
    """Run a typer app and return its exit code.

    Wrong usage and every `VerifyError` become one line on stderr and exit code 2; the
    line begins with the command's name. Anything else is a defect and keeps its
    traceback. SIGTERM ends it as Ctrl-C does, with an exit code of its own.

    The process does not collect garbage when it ends: with TensorFlow loaded that takes
    a second or two, and the system takes the memory back anyway.
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # any name can be shown anywhere
            stream.reconfigure(errors="backslashreplace")
    with terminable() as terminated:
        code = _run(app, argv, name)
    return TERMINATED if code == INTERRUPTED and terminated.is_set() else code


def _run(app: typer.Typer, argv: list[str] | None, name: str) -> int:
    command = typer.main.get_command(app)
    try:
        code = command.main(args=argv, prog_name=name, standalone_mode=False)
    except VerifyError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except TyperException as error:
        message = error.format_message().rstrip()
        if message.startswith("Usage:"):  # called without anything: the whole help
            print(message, file=sys.stderr)
        else:
            said = printable(message, 2000)
            stop = "" if said.endswith((".", "?", "!")) else "."
            print(f"{name}: {said}{stop} See {name} --help", file=sys.stderr)
        return BAD_INPUT
    return code if isinstance(code, int) else 0
