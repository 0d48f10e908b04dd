"""Schedulers and workers of Dask, all processes of their own on this machine."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Process:
    """A process of Dask's that is up; what it says on stderr is kept."""

    def __init__(self, name: str, *arguments: str, up: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        self.lines: list[str] = []
        self.more = threading.Condition()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.line(up)

    def _read(self) -> None:
        for line in itertools.chain(self.process.stderr, ["(end)"]):
            with self.more:
                self.lines.append(line)
                self.more.notify_all()

    def line(self, *parts: str) -> str:
        """The first line with all of these in it, as soon as it has been said."""

        def found() -> list[str]:
            return [one for one in self.lines if all(part in one for part in parts)]

        with self.more:
            self.more.wait_for(lambda: found() or self.lines[-1:] == ["(end)"])
            assert found(), "".join(self.lines)
            return found()[0]

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()


class Scheduler:
    """A scheduler on a free port of the loopback, and its workers.

    Parameters
    ----------
    folder : Path
        Where workers put their files.
    both : str
        Arguments of the scheduler and of every worker.
    """

    def __init__(self, folder: Path, *both: str) -> None:
        self.folder, self.both = folder, both
        self.process = Process(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            *both, up="Scheduler at:",
        )  # fmt: skip
        self.address = self.process.line("Scheduler at:").split()[-1]
        self.workers: list[Process] = []

    def start(self, *arguments: str) -> str:
        """One more worker; returns its address."""
        made = Process(
            "dask_worker", self.address, "--nthreads", "1", "--no-nanny",
            "--no-dashboard", "--local-directory", str(self.folder), *self.both,
            *arguments,
            up="Registered to:",
        )  # fmt: skip
        self.workers.append(made)
        return made.line("Start worker at:").split()[-1]

    def end(self, worker: Process) -> None:
        """End a worker, and wait until the scheduler has noticed."""
        self.workers.remove(worker)
        worker.kill()
        address = worker.line("Start worker at:").split()[-1]
        self.process.line("Remove worker", address)

    def have(self, number: int) -> None:
        """Have so many workers, all fit, by starting or ending some."""
        for worker in [*self.workers]:
            fit = "--preload" not in worker.process.args
            if not fit or worker.process.poll() is not None:
                self.end(worker)
        while len(self.workers) > number:
            self.end(self.workers[-1])
        while len(self.workers) < number:
            self.start()

    def close(self) -> None:
        for process in (*self.workers, self.process):
            process.kill()
