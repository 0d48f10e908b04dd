"""End every command of this project with an exit code, and one line on stderr.

There is one line where the code is 2, for what cannot be read or used, and where it is
70, for a defect of this project. The codes 0, 1 and 3 are verdicts and nothing else; 3
comes with a line instead of a report where a Keras that was not tested breaks a check.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import io
import os
import select
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any, NoReturn, TextIO

import click

from verify.console import own_process
from verify.console.progress import told
from verify.console.signals import left_behind, terminable
from verify.console.usage import usage_error
from verify.errors import UntestedKeras, VerifyError, did_you_mean, printable

BAD_INPUT, NO_VERDICT = 2, 3
INTERNAL_ERROR, INTERRUPTED, UNREAD, TERMINATED = 70, 130, 141, 143
"""Exit codes. 70 is EX_SOFTWARE of the BSD header sysexits.h; the last three are 128
and the number of the signal, as in a shell: SIGINT, SIGPIPE and SIGTERM."""

SETTINGS = {"show_default": True, "help_option_names": ["-h", "--help"]}
"""What click is told of every program of this project."""

WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a stream says that cannot be written: no space, quota or greatest size, a disk
that fails."""


class Commands(click.Group):
    """Hold commands, which the help lists in the order in which they were added.

    Parameters
    ----------
    meant : callable, optional
        Given a word that is no command, returns a sentence on what was meant, or "".
    """

    def __init__(
        self, *args: Any, meant: Callable[[str], str] = lambda word: "", **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self.meant = meant

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the arguments; ``--help`` is printed here."""
        with _ending_unread():
            return super().make_context(*args, **options)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of this name, or say which is meant."""
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            hint = self.meant(word) or did_you_mean(
                word, [*self.commands, "--help", "--version"]
            )
            ctx.fail(f"No such command '{printable(word, 200)}'. {hint}".rstrip())
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; after Ctrl-C end without the empty line that click prints."""
        try:
            with _ending_unread():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            _say_interrupted(ctx.find_root().info_name)
            raise click.exceptions.Exit(INTERRUPTED) from None


def _say_interrupted(name: str | None) -> None:
    """Say what an interruption has left; commands that keep more say it themselves."""
    with contextlib.suppress(OSError):
        print(f"{name}: interrupted; no file is half written", file=sys.stderr)


@contextlib.contextmanager
def _ending_unread() -> Iterator[None]:
    """End with a code of its own where nobody reads to the end, as in ``| head``.

    click would end with 1, which is a verdict. Another pipe that breaks is a defect.
    """
    try:
        yield
    except BrokenPipeError as error:
        if _unread():
            raise click.exceptions.Exit(UNREAD) from None
        raise click.Abort() from error


def _unread() -> bool:
    """Return whether nobody reads stdout or stderr; what is left is then dropped."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if _is_unread(stream)]
    for stream in gone:
        _drop_rest(stream)
    return bool(gone)


def _drop_rest(stream: TextIO) -> None:
    """Send what is left to nowhere: else Python's end complains."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _unwritable(*, tried: bool = False) -> str:
    """Say what keeps stdout or stderr from being written, such as a full disk, or "".

    Parameters
    ----------
    tried : bool
        Whether writing something has failed. A stream without a buffer has forgotten
        it, so an empty line is written in its place.
    """
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
                if tried:
                    os.write(stream.fileno(), b"\n")
        except ValueError:  # closed, or no file, as in tests
            continue
        except OSError as error:
            _drop_rest(stream)
            return f"{name}: cannot be written ({error.strerror})"
    return ""


def _is_unread(stream: TextIO | None) -> bool:
    if stream is None:  # closed from the start
        return False
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    if not hasattr(select, "poll"):  # Windows, where writing to it fails instead
        return False
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):  # no file, as in tests
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def run(
    app: click.Command,
    argv: list[str] | None,
    name: str,
    *,
    known: Collection[str] = (),
    ends_process: bool | None = None,
) -> int:
    """Run a click command and return its exit code.

    Wrong usage and every `VerifyError` become one line on stderr and exit code 2; the
    line begins with the command's name. So does a lack of memory. Any other error is a
    defect: it becomes one line and exit code 70, and a file to send is written; see
    `verify.console.crash_report`. If stdout or stderr cannot be written, as on a full
    disk, nobody has seen the outcome: that is exit code 2. SIGTERM ends the command as
    Ctrl-C does, with an exit code of its own. After either the process does not wait
    for a library that is still at work: that can take minutes, and Python's own end
    would stop the library's threads in the middle of C++ code, which aborts it.

    The process does not collect garbage when it ends: with TensorFlow loaded that takes
    a second or two, and the system takes the memory back anyway.

    Parameters
    ----------
    app : click.Command
    argv : list of str, optional
        The arguments; by default those of the process.
    name : str
        The command's name.
    known : collection of str
        Words that are no data, besides the names of commands: that file may have them.
    ends_process : bool, optional
        Whether the process ends with the command; by default if `argv` is not given.
    """
    if ends_process is None:
        ends_process = argv is None
    if ends_process:
        own_process.begin()
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # any name can be shown anywhere
            stream.reconfigure(errors="backslashreplace")
    with terminable() as terminated:
        try:
            with told():
                code = _run(app, argv, name, known)
        except KeyboardInterrupt:  # before the command, or just after it
            _say_interrupted(name)
            code = INTERRUPTED
    if _unread() and code != INTERRUPTED:
        return UNREAD
    if why := _unwritable():
        code = _refused(name, why)
    if ends_process:  # nothing is left to do: Ctrl-C need not be heard as an error
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if code == INTERRUPTED:
        code = TERMINATED if terminated.is_set() else INTERRUPTED
        if ends_process and left_behind():
            _leave(code)
    return code


def _leave(code: int) -> NoReturn:
    """End the process without waiting for threads that are still at work."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _run(
    app: click.Command, argv: list[str] | None, name: str, known: Collection[str]
) -> int:
    try:
        code = app.main(args=argv, prog_name=name, standalone_mode=False)
    except VerifyError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return NO_VERDICT if isinstance(error, UntestedKeras) else BAD_INPUT
    except click.ClickException as error:
        message = error.format_message().rstrip()
        if message.startswith("Usage:"):  # called without anything: the whole help
            print(message, file=sys.stderr)
        else:
            words = sys.argv[1:] if argv is None else argv
            said = usage_error(error, words)
            stop = "" if said.endswith((".", "?", "!")) else "."
            command = [
                word for word in words[:1] if word in getattr(app, "commands", ())
            ]
            where = " ".join([name, *command])
            print(f"{name}: {said}{stop} See {where} --help", file=sys.stderr)
        return BAD_INPUT
    except click.Abort as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            return INTERRUPTED
        # of an EOFError click makes this as well
        return _defect(error.__cause__ or error, app, argv, name, known)
    except MemoryError as error:
        said = printable(error) or "no more can be had"
        print(
            f"{name}: there is not enough memory ({said}). Give fewer rows at a time, "
            "or a smaller model",
            file=sys.stderr,
        )
        return BAD_INPUT
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # a text given in place of a file
            return _refused(name, f"{printable(error.filename, 100)}: {error.strerror}")
        if isinstance(error, FileNotFoundError) and _folder_is_gone():
            return _refused(
                name, "the current folder has been removed. Change to another"
            )
        full = error.errno in WRITE_ERRORS and error.filename is None
        if full and (why := _unwritable(tried=True)):
            return _refused(name, why)
        return _defect(error, app, argv, name, known)
    except Exception as error:
        return _defect(error, app, argv, name, known)
    return code if isinstance(code, int) else 0


def _folder_is_gone() -> bool:
    """Return whether the current folder has been removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _refused(name: str, why: str) -> int:
    """Print one line on stderr, if that can be written; return the exit code."""
    try:
        print(f"{name}: {why}", file=sys.stderr, flush=True)
    except OSError:
        _drop_rest(sys.stderr)
    return BAD_INPUT


def _defect(
    error: BaseException,
    app: click.Command,
    argv: list[str] | None,
    name: str,
    known: Collection[str],
) -> int:
    """Write a report on a defect, print one line on stderr, return the exit code."""
    # only then: it takes time to import, and --help should appear at once
    from verify.console import crash_report

    words = {*known, *getattr(app, "commands", ())}
    crash_report.print_traceback(error)
    path = crash_report.write_crash_report(
        error, name, sys.argv[1:] if argv is None else argv, words
    )
    report = "no report could be written"
    if path is not None:
        report = f"please send the report {printable(path, 1000)}"
    with contextlib.suppress(OSError):  # stderr is closed: the exit code says it
        print(
            f"{name}: a defect of {name} itself, which says nothing about the model: "
            f"{crash_report.error_line(error)}; {report}",
            file=sys.stderr,
        )
    return INTERNAL_ERROR
