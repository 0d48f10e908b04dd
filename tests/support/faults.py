"""Commands in processes of their own that are ended at a chosen moment, and what they
must not leave behind then."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from verify.console.exit_codes import INTERRUPTED, TERMINATED

CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
HEARD_SECONDS = 2.0
BUSY = 3.0
"""Seconds that are allowed besides, for a machine on which other tests run."""

SLOW_DISK = """
import os, sys, time
import keras  # else a signal may come while it is loaded
from verify.data import files

stage = sys.argv.pop(1)
speech = open(os.dup(2), "w")  # what libraries say is held back
whole, met = files.write_atomically, []

def slowly(path, write):
    def half(file):
        write(file)
        if path.name == stage and not met:
            met.append(stage)
            file.flush()
            print("half written:", stage, file=speech, flush=True)
            time.sleep(60)
    whole(path, half)

files.write_atomically = slowly
if __name__ == "__main__":
    from {package}.__main__ import main
    sys.exit(main())
"""
"""A command whose disk is too slow for the file that the first argument names."""


class Watched:
    """A process, in a process group as a terminal makes it, and all that it starts.

    Parameters
    ----------
    arguments : str
        Those of Python.
    folder : Path
        Gets ``stderr.txt``, ``stdout.txt`` and ``tmp``, where its temporary files go.
    environment : str
        Variables that differ.
    """

    def __init__(self, *arguments: str, folder: Path, **environment: str) -> None:
        self.mark = f"WATCHED_BY_TEST={uuid.uuid4()}"
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.log, out = folder / "stderr.txt", folder / "stdout.txt"
        name, _, value = self.mark.partition("=")
        own = {name: value, "TMPDIR": str(self.temporary), **environment}
        with self.log.open("w") as err, out.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL, stdout=said, stderr=err,
                env=os.environ | own, cwd=folder, start_new_session=True,
            )  # fmt: skip

    def wait_for(self, said: str) -> None:
        """Wait until it has said something on stderr."""
        until = time.monotonic() + 120  # against waiting for ever
        while said not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)

    def end(self, number: signal.Signals) -> None:
        """End it as a user does, and require that it ends well and leaves nothing.

        Ctrl-C in a terminal is for every process of the group, ``kill`` for one.
        """
        began = time.monotonic()
        send = os.killpg if number == signal.SIGINT else os.kill
        send(self.process.pid, number)
        code = self.process.wait(20)
        seconds = time.monotonic() - began
        assert code == CODES[number], self.log.read_text()
        assert seconds < HEARD_SECONDS + BUSY
        self.require_nothing_left()
        said = self.log.read_text()
        assert "Traceback" not in said
        assert "ignored" not in said
        assert "resource_tracker" not in said

    def require_nothing_left(self) -> None:
        """Require that no process and no temporary file of it is left."""
        until = time.monotonic() + 1 + BUSY
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.05)
        assert not left
        assert [str(path) for path in self.temporary.rglob("*")] == []

    def processes(self) -> list[int]:
        """Return it and all that it has started, as far as they run."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def close(self) -> None:
        """End what a failed test leaves."""
        for pid in self.processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
