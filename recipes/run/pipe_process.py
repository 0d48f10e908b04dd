"""Start a process of Python that answers messages, and never outlives its parent.

A module that is to run in such a process calls `serve` when it is run as
``python -m MODULE FILE_DESCRIPTOR``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from verify.errors import printable


class PipeProcess:
    """Start a module of this project in a process, and exchange messages with it.

    It is started by `subprocess`, not by `multiprocessing`: Dask's workers are daemons,
    and `multiprocessing` allows a daemon no children.

    Parameters
    ----------
    module : str
    variables : mapping of str to str
        Environment variables that the process has besides those of this one.
    """

    def __init__(self, module: str, variables: Mapping[str, str]) -> None:
        search = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        path = os.pathsep.join(filter(None, search))
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 (`close` does it)
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=self._printed,
                env=os.environ | variables | {"PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the parent, which ends it
            )

    def send(self, message: Any) -> None:
        """Send a message.

        Raises
        ------
        OSError
            The process has ended.
        """
        self._pipe.send(message)

    def receive(self) -> Any:
        """Wait for the next answer, and return it.

        Raises
        ------
        OSError, EOFError
            The process has ended.
        """
        return self._pipe.recv()

    @property
    def running(self) -> bool:
        """Return whether the process has not ended."""
        return self._process.poll() is None

    def end(self) -> None:
        """Kill the process."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        """End the process and free its resources; no thread may be using it."""
        self.end()
        self._process.wait()
        self._pipe.close()
        self._printed.close()

    def exit_reason(self) -> str:
        """Wait for the end of the process; say why it has ended, as far as known."""
        code = self._process.wait()
        if code < 0:
            what = f"its process was ended by {signal.Signals(-code).name}"
            return what + (" (out of memory?)" if -code == signal.SIGKILL else "")
        self._printed.seek(0)
        lines = self._printed.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with code {code}: {printable((lines or ['-'])[-1])}"


def serve(answer: Callable[[Any], Any], idle_seconds: float | None = None) -> None:
    """Answer the messages of the pipe whose file descriptor is the first argument.

    It ends when the other side has closed the pipe or has ended, even by a signal that
    cannot be handled, and after a time without a message.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with Connection(int(sys.argv[1])) as pipe, contextlib.suppress(EOFError, OSError):
        while pipe.poll(idle_seconds):
            pipe.send(answer(pipe.recv()))


def _end_with_parent() -> None:
    """End this process soon after its parent, even if that was killed."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)
