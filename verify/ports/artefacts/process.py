"""Run one exported file: the process in which its runtime works.

`verify.ports.artefacts.session` starts it as ``python -P -m
verify.ports.artefacts.process``. It answers the messages on its standard input until
that ends, be it because the session was closed or because the other process is gone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any, BinaryIO

from verify.errors import ModelFileError, VerifyError
from verify.model.arrays import Array
from verify.ports.artefacts import wire
from verify.ports.artefacts.runtimes.base import (
    Answer,
    Opening,
    Runtime,
    one_line,
)

DAMAGE = (UnicodeDecodeError, OSError, EOFError, struct.error, RecursionError)
"""What libraries raise when they come to a damaged place of a file, whatever they were
asked; everything else that is not expected is a defect of this program."""

Message = tuple[dict[str, Any], dict[str, Array]]


def limit_memory(memory_bytes: int) -> None:
    """Have the system refuse this process more memory, and core dumps.

    Where the system has no such limits, those of time still hold.
    """
    try:
        import resource
    except ImportError:  # not a Unix
        return
    limits = (
        (resource.RLIMIT_AS, (memory_bytes, memory_bytes)),
        (resource.RLIMIT_CORE, (0, 0)),
    )
    for kind, limit in limits:  # a system that refuses one may grant the other
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, limit)


def limit_cpu_seconds(seconds: float) -> None:
    """Have the system end this process, with SIGXCPU, after so much more CPU time."""
    try:
        import resource
    except ImportError:  # not a Unix; the timeout of the parent still holds
        return
    until = max(1, round(time.process_time() + seconds))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (until, hard))


def read_messages(stream: BinaryIO, messages: queue.Queue[Message]) -> None:
    """Hand on the messages of a stream, and end this process when the stream ends.

    The main thread may be inside a runtime then, and nobody waits for its answer.
    """
    while True:
        try:
            messages.put(wire.receive(stream))
        except (wire.WireError, OSError):
            os._exit(0)


def open_runtime(opening: Opening) -> Runtime:
    """Load the runtime for a kind of file, and the file."""
    module = importlib.import_module(f"verify.ports.artefacts.runtimes.{opening.kind}")
    runtime: Runtime = module.open_file(opening)
    return runtime


def answer(
    runtime: Runtime, header: Mapping[str, Any], arrays: dict[str, Array]
) -> Answer:
    """Do what a message asks for.

    A name with a dot is a function of a module of
    `verify.ports.artefacts.runtimes`, which gets the runtime first; any other is a
    method of the runtime.
    """
    request, arguments = str(header["request"]), header.get("arguments", {})
    if request == "run":
        return None, runtime.run(arrays)
    if request == "renew":
        runtime.renew()
        return None, {}
    if request == "constants":
        return None, runtime.constants()
    module, _, name = request.rpartition(".")
    if module:
        found = importlib.import_module(f"verify.ports.artefacts.runtimes.{module}")
        return getattr(found, name)(runtime, arguments, arrays)
    return getattr(runtime, name)(arguments, arrays)


def error_of(error: Exception) -> dict[str, Any]:
    """Return an error as the header of a message."""
    if isinstance(error, VerifyError):
        return {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, MemoryError):
        return {"error": "MemoryError", "message": one_line(error)}
    if isinstance(error, DAMAGE):
        message = f"is damaged ({type(error).__name__}: {one_line(error)})"
        return {"error": ModelFileError.__name__, "message": message}
    return {"error": "defect", "message": traceback.format_exc()}


def main() -> None:
    """Answer messages until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # Importing openvino 2026.4 reports that to its makers, in a fork of this process,
    # which may wait for ever: there is the thread that reads messages. Without the
    # package for it openvino does without.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    # what a runtime prints goes to the standard error, whatever it believes
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    messages: queue.Queue[Message] = queue.Queue()
    reader = threading.Thread(
        target=read_messages, args=(sys.stdin.buffer, messages), daemon=True
    )
    reader.start()
    header, _ = messages.get()
    opening = Opening(**header["opening"])
    limit_memory(int(header["memory_bytes"]))
    limit_cpu_seconds(float(header["seconds"]))
    try:
        runtime = open_runtime(opening)
        wire.send(output, runtime.described(), {})
    except Exception as error:
        wire.send(output, error_of(error), {})
        return
    while True:
        header, arrays = messages.get()
        limit_cpu_seconds(float(header["seconds"]))
        try:
            value, found = answer(runtime, header, arrays)
            wire.send(output, {"value": value}, found)
        except Exception as error:
            wire.send(output, error_of(error), {})


if __name__ == "__main__":
    main()
