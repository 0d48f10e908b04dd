"""What people do wrong at first is answered as tests/data/first_mistakes.txt says.

Each case there is a command, what it says on stderr, and its exit code. A message is
read by somebody who does not know the program: it names the file, says what was found,
and what to do.
"""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
from support import foreign

import recipes.__main__
import verify.__main__
from verify.model_files import read

TABLE = Path(__file__).parent / "data" / "first_mistakes.txt"
PROGRAMS = {"rnn-verify": verify.__main__.main, "rnn-recipe": recipes.__main__.main}


class Case(NamedTuple):
    """A command, the lines that it says on stderr, and its exit code."""

    command: str
    said: list[str]
    code: int


def cases() -> list[Case]:
    """Read the table: blocks of lines with an empty line between them."""
    found = []
    for block in TABLE.read_text().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        if lines:
            command, *said, code = lines
            found.append(
                Case(command.removeprefix("$ "), said, int(code.removeprefix("exit ")))
            )
    return found


CASES = cases()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with every file that a case names."""
    folder = tmp_path_factory.mktemp("first")
    foreign.write_all(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _weights_are_read_once():
    """Spare each case the process that parses HDF5."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "read_hdf5", functools.cache(read.read_hdf5))
        yield


@pytest.mark.parametrize("case", CASES, ids=[case.command for case in CASES])
def test_a_mistake_is_answered_as_the_table_says(case, files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    program, *arguments = shlex.split(case.command)
    code = PROGRAMS[program](arguments)
    captured = capsys.readouterr()
    assert captured.err.splitlines() == case.said
    assert code == case.code
    assert all(line.isprintable() for line in case.said)
    if code == 2:
        *notes, line = case.said
        assert line.startswith(f"{program}: ")
        assert all(": is read " in note for note in notes)
        assert captured.out == ""


def test_the_table_has_a_hundred_cases_and_none_twice():
    commands = [case.command for case in CASES]
    assert len(commands) == len(set(commands)) >= 100


def test_every_file_of_another_program_is_given_as_a_model():
    words = {word for case in CASES for word in shlex.split(case.command)}
    beside = {"project", "saved", "variables.index"}
    missing = [
        name
        for name in foreign.MODELS
        if name not in words and Path(name).parts[0] not in words | beside
    ]
    assert missing == []
