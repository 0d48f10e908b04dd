"""Verify trained models on TensorFlow while another backend trains the next one.

A model file trained on JAX is the same on TensorFlow, where most readers run it. A
process of its own imports TensorFlow while the training is under way, then verifies the
model file there. ``python -m recipes.run.verifier FILE_DESCRIPTOR`` is this process;
one serves all runs of a command.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import sys
from dataclasses import dataclass
from typing import Any

import verify
from recipes.run.pipe_process import PipeProcess, serve
from verify.errors import VerifyError
from verify.keras_bridge import import_keras
from verify.model.arrays import Array
from verify.report.report import Report

BACKEND = "tensorflow"
"""The backend on which the process verifies."""

IDLE_SECONDS = 600.0
"""Time without a model to verify after which the process ends."""


@dataclass(frozen=True)
class Request:
    """Ask for the verification of a model file on inputs x: (rows, ...)."""

    path: str
    x: Array
    batch_size: int


_process: PipeProcess | None = None


def begin(training_backend: str) -> None:
    """Start the process, unless it runs or a training on this backend needs none."""
    global _process
    if training_backend == BACKEND or importlib.util.find_spec(BACKEND) is None:
        return
    if _process is not None and _process.running:
        return
    end()
    with contextlib.suppress(OSError):  # no memory for it, no more processes
        _process = PipeProcess("recipes.run.verifier", {"KERAS_BACKEND": BACKEND})


def ask(request: Request) -> bool:
    """Have a model verified; return whether there is a process that does it."""
    if _process is None:
        return False
    try:
        _process.send(request)
    except OSError:
        _end_and_say_why()
        return False
    return True


def answer() -> Report | None:
    """Return the report that was asked for; None if the process has not made one.

    Raises
    ------
    VerifyError
        That of `verify.check`.
    """
    if _process is None:
        return None
    try:
        found = _process.receive()
    except (OSError, EOFError):
        _end_and_say_why()
        return None
    except BaseException:  # Ctrl-C: an answer still to come would be for nobody
        end()
        raise
    if isinstance(found, VerifyError):
        raise found
    report: Report = found
    return report


def end() -> None:
    """End the process, if there is one."""
    global _process
    if _process is not None:
        _process.close()
        _process = None


def _end_and_say_why() -> None:
    if _process is not None:
        print(
            f"The verification on {BACKEND} has failed ({_process.exit_reason()}); "
            "it is made on the backend of the training instead",
            file=sys.stderr,
            flush=True,
        )
    end()


atexit.register(end)


def _answer(request: Request) -> Any:
    """Verify a model; an error is returned, to be raised by the one who asked."""
    try:
        return verify.check(request.path, request.x, batch_size=request.batch_size)
    except VerifyError as error:
        return error


def main() -> None:
    """Import Keras, then serve the pipe whose file descriptor is the argument."""
    import_keras()
    serve(_answer, IDLE_SECONDS)


if __name__ == "__main__":
    main()
