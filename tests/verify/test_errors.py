"""A message is one printable line of bounded length, whatever it was made from."""

from __future__ import annotations

import pytest

import verify.errors
from verify.console.exit_codes import run
from verify.errors import (
    MAX_MESSAGE,
    DataError,
    KerasCannotRun,
    ModelFileError,
    UnsupportedError,
    VerifyError,
    error_prefix,
)

HOSTILE = "\x1b[31mred\x1b[0m\nnext line\r\t\x00\x9b2J\u2028\u202e" + "x" * 10_000
KINDS = [VerifyError, UnsupportedError, ModelFileError, DataError, KerasCannotRun]


def is_one_printable_line(message: str) -> bool:
    return message.isprintable() and 0 < len(message) <= MAX_MESSAGE


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_message_becomes_one_printable_line(kind):
    message = str(kind(f"m.keras: layer '{HOSTILE}'"))
    assert is_one_printable_line(message)
    assert message.startswith("m.keras: layer '\N{REPLACEMENT CHARACTER}[31mred")
    assert message.endswith("xxx...")
    assert len(message) == MAX_MESSAGE


def test_what_is_printable_stays_as_it_is():
    text = "m.keras: expected 'größe', 3 \u00d7 4. Received: \u65e5\u672c"
    assert str(DataError(text)) == text
    assert str(DataError("x" * MAX_MESSAGE)) == "x" * MAX_MESSAGE


def test_a_file_in_front_of_a_message_is_made_printable_too():
    with pytest.raises(DataError) as caught, error_prefix(f"a\n{HOSTILE}"):
        raise DataError("expected numbers")
    assert is_one_printable_line(str(caught.value))


def test_a_file_is_not_put_in_front_twice():
    for path in ("x.npy", "a\nb.npy", "long" * 100):
        with pytest.raises(DataError) as caught, error_prefix(path):
            raise DataError(f"{path}: expected numbers")
        assert str(caught.value) == str(DataError(f"{path}: expected numbers"))
        with pytest.raises(DataError) as caught, error_prefix(path):
            raise DataError("expected numbers")
        assert str(caught.value) == str(DataError(f"{path}: expected numbers"))


def test_a_command_prints_a_hostile_message_as_one_line(capsys):
    import click

    @click.command()
    def fail() -> None:
        raise DataError(HOSTILE)

    assert run(fail, [], "rnn-verify") == 2
    (line,) = capsys.readouterr().err.split("\n")[:-1]
    assert is_one_printable_line(line.removeprefix("rnn-verify: "))


def test_without_the_cleaning_these_tests_would_fail(monkeypatch):
    monkeypatch.setattr(verify.errors, "printable", lambda text, limit=0: f"{text}")
    assert not is_one_printable_line(str(DataError(HOSTILE)))
    assert not is_one_printable_line(str(DataError("\x1b[2J")))
    assert not is_one_printable_line(str(DataError("x" * 10_000)))
