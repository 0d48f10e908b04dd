"""A defect ends a command with 70, one line and a report; nothing else changes."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
import pytest
from support.nets import ids
from support.thoroughness import some

import recipes.__main__
import verify.__main__
from verify.console import crash_report
from verify.console.exit_codes import (
    BAD_INPUT,
    INTERNAL_ERROR,
    UNREAD,
    Commands,
    run,
)
from verify.errors import DataError

SECRET = "private tweet"
VERDICTS = {0, 1, 3}


def app_that(raises):
    """An app of two commands, one of which raises what `raises` returns."""
    app = Commands()

    @app.command()
    def work() -> None:
        raise raises()

    @app.command()
    def other() -> None:
        pass

    return app


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The folder for temporary files, of this test alone."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.delenv(crash_report.TRACEBACK_VARIABLE, raising=False)
    return place


def said(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.isprintable()
    return line


@pytest.mark.parametrize(
    ("main", "arguments", "place"),
    [
        (verify.__main__.main, ["describe", "private.keras"], "verify.load"),
        (verify.__main__.main, ["selftest", "private.keras"], "verify.load"),
        (verify.__main__.main, ["layers"], "verify.report.describe.coverage"),
        (
            recipes.__main__.main,
            ["predict", "private", SECRET],
            "recipes.run.folder.RunFolder.finished",
        ),
    ],
)
def test_a_defect_is_70_one_line_and_the_file_of_a_report(
    main, arguments, place, folder, monkeypatch, capsys
):
    def broken(*_, **__):
        raise ZeroDivisionError("17 by\x1b[31m zero")

    monkeypatch.setattr(place, broken)
    assert main(arguments) == INTERNAL_ERROR == 70
    line = said(capsys)
    name = "rnn-verify" if main is verify.__main__.main else "rnn-recipe"
    assert line.startswith(f"{name}: a defect of {name} itself")
    assert "ZeroDivisionError: 17 by" in line
    (report,) = folder.iterdir()
    assert line.endswith(f"please send the report {report}")
    text = report.read_text()
    assert f"command: {name} {arguments[0]}" in text
    assert "private" not in text.partition("\n\nversions:")[0]
    assert f"keras-rnn-verify  {verify.__version__}" in text
    assert f"numpy             {np.__version__}" in text
    assert re.search(r"Python +CPython 3\.", text)
    assert "Traceback (most recent call last)" in text
    assert "in broken" in text
    assert "\x1b" not in text
    assert stat.S_IMODE(report.stat().st_mode) == 0o600


def test_a_defect_in_a_process_of_its_own(tmp_path):
    program = """
import sys, verify
from verify.__main__ import main

def broken(*_):
    raise KeyError("no such gate")

verify.describe = broken
sys.exit(main(["describe", sys.argv[1]]))
"""
    model = tmp_path / "m.keras"
    from support.nets import lstm_file

    lstm_file(model)
    ended = subprocess.run(
        [sys.executable, "-c", program, str(model)],
        capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert ended.returncode == INTERNAL_ERROR
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    (report,) = tmp_path.glob("rnn-verify-error-*.txt")
    assert "KeyError: 'no such gate'" in line
    assert str(report) in line
    assert str(model) not in report.read_text()


def test_the_traceback_is_printed_for_developers(folder, monkeypatch, capsys):
    monkeypatch.setenv(crash_report.TRACEBACK_VARIABLE, "1")
    app = app_that(lambda: RuntimeError("x"))
    assert run(app, ["work"], "app") == INTERNAL_ERROR
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("app: a defect of app itself")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("x"), RecursionError(), AssertionError(), TypeError("a\nb"),
        EOFError("read past the end"), OSError(28, "No space left on device"),
        ImportError("broken"), ExceptionGroup("two", [ValueError(), KeyError()]),
        StopIteration(), NotImplementedError(), UnicodeDecodeError("u", b"", 0, 1, ""),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_no_error_ends_in_a_verdict(error, folder, capsys):
    assert run(app_that(lambda: error), ["work"], "app") == INTERNAL_ERROR
    err = capsys.readouterr().err.strip()
    assert type(error).__name__ in err
    assert len(err.splitlines()) == 1


def test_an_error_whose_message_cannot_be_made(folder, capsys):
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert run(app_that(Mute), ["work"], "app") == INTERNAL_ERROR
    assert "Mute: its message cannot be shown" in said(capsys)


def test_too_little_memory_is_said_plainly(folder, capsys):
    app = app_that(lambda: MemoryError("Unable to allocate 8 GiB"))
    assert run(app, ["work"], "app") == BAD_INPUT
    assert said(capsys) == (
        "app: there is not enough memory (Unable to allocate 8 GiB). Give fewer rows "
        "at a time, or a smaller model"
    )
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("raises", "code", "message"),
    [
        (lambda: DataError("no such column"), BAD_INPUT, "app: no such column\n"),
        (lambda: click.exceptions.Exit(3), 3, ""),
        (lambda: click.BadParameter("not a number"), BAD_INPUT, "not a number"),
        (KeyboardInterrupt, 130, ""),
    ],
)
def test_what_is_no_defect_is_as_before(raises, code, message, folder, capsys):
    assert run(app_that(raises), ["work"], "app") == code
    assert message in capsys.readouterr().err
    assert not list(folder.iterdir())


@contextlib.contextmanager
def unread():
    """Make stdout a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, contextlib.redirect_stdout(stream):
        yield


@pytest.mark.parametrize("said", ["a line", "a line\n" * 9999])
@pytest.mark.parametrize("arguments", [["work"], ["--help"]])
def test_a_reader_that_has_gone_is_141_and_no_defect(said, arguments, folder):
    app = Commands(help=said)

    @app.command()
    def work() -> None:
        print(said)

    with unread():
        assert run(app, arguments, "app") == UNREAD == 141
    assert not list(folder.iterdir())


def test_a_verdict_that_nobody_has_read_is_none():
    app = app_that(lambda: click.exceptions.Exit(0))
    assert run(app, ["work"], "app") == 0
    with unread():
        assert run(app, ["work"], "app") == UNREAD


@pytest.mark.parametrize("command", ["verify", "recipes"])
def test_an_interruption_while_the_command_is_loaded_is_no_traceback(command):
    program = f"""
import runpy, sys

class Interrupted:
    def find_spec(self, name, *_):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
runpy.run_module({command!r}, run_name="__main__")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_a_current_folder_that_is_gone_is_said(tmp_path, monkeypatch, folder, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    app = app_that(os.getcwd)
    assert run(app, ["work"], "app") == BAD_INPUT
    line = "app: the current folder has been removed. Change to another"
    assert said(capsys) == line


FULL = """
import sys
from verify.__main__ import main
sys.exit(main(["layers"]))
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize(
    ("buffered", "streams"),  # of an odd number of streams every other: each once
    some(itertools.product([True, False], ["stdout", "stderr", "both"]), 2),
)
def test_a_full_disk_behind_stdout_is_said_and_no_defect(streams, buffered, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment["PYTHONUNBUFFERED"] = "" if buffered else "1"
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", FULL], env=environment, text=True,
            stdout=subprocess.PIPE if streams == "stderr" else full,
            stderr=subprocess.PIPE if streams == "stdout" else full,
        )  # fmt: skip
    if streams == "stderr":  # on which there was nothing to say
        assert ended.returncode == 0
        assert "LSTM" in ended.stdout
    else:
        assert ended.returncode == BAD_INPUT
    if streams == "stdout":
        line = "rnn-verify: stdout: cannot be written (No space left on device)\n"
        assert ended.stderr == line
    assert list(tmp_path.iterdir()) == []  # no report


@pytest.mark.parametrize("where", ["__enter__", "__exit__"])
def test_an_interruption_just_before_or_after_the_command_is_one_too(
    where, folder, monkeypatch, capsys
):
    class Told(contextlib.nullcontext):
        pass

    def interrupted(*_):
        raise KeyboardInterrupt

    setattr(Told, where, interrupted)
    monkeypatch.setattr("verify.console.exit_codes.told", Told)
    assert run(app_that(lambda: click.exceptions.Exit(0)), ["work"], "app") == 130
    assert capsys.readouterr().err == "app: interrupted; no file is half written\n"


def test_another_pipe_that_breaks_is_a_defect(folder, capsys):
    broken = app_that(lambda: BrokenPipeError(32, "Broken pipe"))
    assert run(broken, ["work"], "app") == INTERNAL_ERROR
    assert "BrokenPipeError" in said(capsys)


def test_a_text_given_in_place_of_a_file_is_no_defect(folder, capsys):
    text = "the flight was late " * 500
    assert verify.__main__.main(["describe", text]) == BAD_INPUT
    assert said(capsys).endswith("...: File name too long")
    assert not list(folder.iterdir())


def test_a_command_may_end_the_process_itself(folder):
    with pytest.raises(SystemExit):
        run(app_that(lambda: SystemExit(5)), ["work"], "app")
    assert not list(folder.iterdir())


def test_a_report_that_cannot_be_written_hides_no_defect(
    tmp_path, folder, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "none"))
    app = app_that(lambda: RuntimeError("x"))
    assert run(app, ["work"], "app") == INTERNAL_ERROR
    assert list(tmp_path.glob("app-error-*.txt"))  # in the current folder then
    assert "app-error-" in said(capsys)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    assert run(app, ["work"], "app") == INTERNAL_ERROR
    assert said(capsys).endswith("no report could be written")


def test_data_are_left_out_of_the_command():
    arguments = [
        "compare", "my model.keras", "--data", "/home/me/x.npy", "--out=y.npz", SECRET,
        "--threads", "4", "--json", "-", "a.b.c d", "--seed=7", "-0.5",
    ]  # fmt: skip
    assert crash_report.without_data(arguments, {"compare"}) == [
        "compare", "<.keras>", "--data", "<.npy>", "--out=<.npz>", "<...>",
        "--threads", "4", "--json", "<...>", "<...>", "--seed=7", "-0.5",
    ]  # fmt: skip


def test_the_help_names_the_code_and_no_verdict_is_70(capsys):
    for main in (verify.__main__.main, recipes.__main__.main):
        assert main(["--help"]) == 0
        assert "70 a defect of this program" in " ".join(
            capsys.readouterr().out.split()
        )
    assert {v.exit_code for v in verify.Verdict} == VERDICTS


def test_an_operator_that_no_one_expected_to_fail_does_not_look_like_a_verdict(
    folder, model, tmp_path, monkeypatch, capsys
):
    from verify.mistakes import catalogue

    def failing(layer):
        raise NotImplementedError("planted")

    np.save(tmp_path / "x.npy", ids(batch=8))
    monkeypatch.setattr(catalogue, "MUTATION_OPERATORS", (failing,))
    code = verify.__main__.main(["selftest", model, "--data", str(tmp_path / "x.npy")])
    assert code == INTERNAL_ERROR
    assert "NotImplementedError: planted" in capsys.readouterr().err
