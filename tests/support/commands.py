"""The commands as tests call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PROGRAMS = {"verify": "rnn-verify", "recipes": "rnn-recipe"}


def refused(main: Callable[[list[str]], int], capsys: Any, *arguments: str) -> str:
    """Return the one line on stderr of a command that ends with exit code 2."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    program = PROGRAMS[main.__module__.partition(".")[0]]
    assert line.startswith(f"{program}: ")
    return line
