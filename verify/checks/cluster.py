"""Spread work over several processes or machines, with Dask.

::

    with connected("tcp://scheduler:8786") as cluster:  # or connected("local")
        for result in cluster.map(function, items, shared={"net": net}):
            ...

Workers need NumPy and this package, nothing of what trains models. Functions and items
travel pickled, so a scheduler must be trusted like this program: Dask asks no one who
they are unless it is set up with certificates (``tls://``, see `Tls`).

Source: distributed's Client, https://distributed.dask.org.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import pickle
import signal
import socket
import ssl
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from verify.errors import VerifyError, install_hint, join_and, printable
from verify.forward.fast import core_count, limit_threads

T = TypeVar("T")
R = TypeVar("R")

LOCAL = "local"
"""In place of an address: worker processes on this machine."""

TLS_SCHEME = "tls://"
ADDRESS_SCHEMES = ("tcp://", TLS_SCHEME)
RECIPES_PACKAGE, VERIFIER_PACKAGE = "keras-rnn-recipes[dask]", "keras-rnn-verify[dask]"
"""Packages for pip to install on a worker: for a sweep, and for everything else."""

GLIBC_THRESHOLDS = {
    "MALLOC_MMAP_THRESHOLD_": 32 * 2**20,
    "MALLOC_TRIM_THRESHOLD_": 256 * 2**20,
}
"""Environment variables of local workers: the bytes from which an array is memory that
the system gives for it alone, and that are kept when arrays end. Dask sets the second
to 64 KiB, and so fixes the first at 128 KiB: every array of a loop is then asked of the
system anew, which takes a sixth of the time. Those that the user has set stay."""

NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "UNEXPECTED_EOF_WHILE_READING",
    "RECORD_LAYER_FAILURE",
)
"""What OpenSSL says where the other side does not speak TLS."""

CONNECT_TIMEOUT = 5.0
"""Seconds in which a scheduler must answer."""

WORKER_TIMEOUT = 5.0
"""Seconds in which a worker must appear."""

RECOVERY_TIMEOUT = 20.0
"""Seconds that a cluster may be without workers: enough for a nanny to restart one that
was killed."""

KILL_TIMEOUT = 0.2
"""Seconds that are waited for a local worker that has been killed."""

CLOSE_TIMEOUT = 0.7
"""Seconds that closing a local cluster may take."""

TASKS_PER_THREAD = 3
"""Tasks in flight per worker thread: one running, two queued, so no worker idles."""

POLL_INTERVAL = 0.5
"""Seconds between two checks that scheduler and workers are still there."""

IGNORE_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Run by local workers: a terminal sends Ctrl-C to them too, and they are ended by the
process that started them."""


@dataclass(frozen=True)
class Tls:
    """Name the files with which a scheduler is spoken to over TLS, all in PEM form.

    What is not given is taken from Dask's own configuration.

    Attributes
    ----------
    ca_file : str, optional
        The certificates of the authorities that may have signed the scheduler's.
    cert, key : str, optional
        The client's certificate and its key, which may be in one file.
    """

    ca_file: str | None = None
    cert: str | None = None
    key: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """Return what is given, by the option of the commands."""
        options = {
            "--tls-ca-file": self.ca_file,
            "--tls-cert": self.cert,
            "--tls-key": self.key,
        }
        return {option: file for option, file in options.items() if file is not None}

    def configured(self) -> Tls:
        """Return the files that hold, with those of Dask's configuration."""
        found = self.security()
        return Tls(found.tls_ca_file, found.tls_client_cert, found.tls_client_key)

    def security(self) -> Any:
        """Return what Dask wants to be told."""
        from distributed import Security

        named = {
            "tls_ca_file": self.ca_file,
            "tls_client_cert": self.cert,
            "tls_client_key": self.key,
        }
        return Security(**{key: file for key, file in named.items() if file})


class ClusterError(VerifyError):
    """Report that there is no scheduler, no worker, or one that cannot do the work."""


class ClusterLost(ClusterError):
    """Report that the scheduler or all workers have gone while they were at work."""


@contextlib.contextmanager
def connected(
    address: str,
    *,
    processes: int | None = None,
    modules: Sequence[str] = (),
    tls: Tls | None = None,
) -> Iterator[Cluster]:
    """Connect to a cluster and check it; the connection ends with the block.

    Parameters
    ----------
    address : str
        The address of a scheduler, ``"tcp://host:8786"``; or ``"local"``, for processes
        on this machine that end with the block.
    processes : int, optional
        How many with ``"local"``; one for each core by default.
    modules : sequence of str
        Other modules that workers must have, in the same versions as here.
    tls : Tls, optional
        The files for an address ``"tls://host:8786"``; by default those of Dask's
        configuration.

    Raises
    ------
    ClusterError
        Dask is not installed; nothing answers at the address; there is no worker; a
        worker lacks the package or has other versions of it, of Python or of NumPy;
        one of both sides does not accept the other's certificate.
    """
    tls = tls or Tls()
    require_address(address, tls)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_silenced_dask())
        target: Any = address
        if address == LOCAL:
            target = stack.enter_context(_local(processes or core_count()))
        client = stack.enter_context(_client(target, address, tls))
        cluster = Cluster(client, address)
        cluster.require(modules)
        yield cluster


def require_address(address: str, tls: Tls) -> None:
    """Check what can be checked before anything is connected to.

    Raises
    ------
    ClusterError
        It is no address, Dask is not installed, or the files do not go with it.
    """
    if address != LOCAL and not _is_address(address):
        meant = f"Did you mean tcp://{address}? " * _is_address(f"tcp://{address}")
        raise ClusterError(
            "expected the address of a Dask scheduler, such as tcp://host:8786, or "
            f"{LOCAL}. {meant}Received: {address or 'nothing'}"
        )
    if importlib.util.find_spec("distributed") is None:
        raise ClusterError(f"Dask is not installed here. {install_hint('dask')}")
    if address.startswith(TLS_SCHEME):
        _tls_context(address, tls)
    elif tls.given:
        raise ClusterError(
            f"{join_and(tls.given)}: expected an address such as "
            f"{TLS_SCHEME}host:8786. Received: {address}"
        )


def _tls_context(address: str, tls: Tls) -> ssl.SSLContext:
    """Return what the files are good for.

    Raises
    ------
    ClusterError
        One is missing, or they are no certificates.
    """
    files = tls.configured()
    lacking = [
        option
        for option, file in (
            ("--tls-ca-file", files.ca_file),
            ("--tls-cert", files.cert),
        )
        if not file
    ]
    if not files.ca_file or not files.cert:
        raise ClusterError(
            f"{address}: expected --tls-ca-file, --tls-cert and --tls-key, signed as "
            f"those of the scheduler. Received: no {' and no '.join(lacking)}"
        )
    try:
        context = ssl.create_default_context(cafile=files.ca_file)
    except OSError as error:
        raise ClusterError(
            "--tls-ca-file: expected certificates of authorities in PEM form. "
            f"Received: {printable(files.ca_file)} ({_reason(error)})"
        ) from None
    context.check_hostname = False  # as Dask: whoever is signed is trusted
    shown = " and ".join(printable(file) for file in (files.cert, files.key) if file)
    try:
        # a key with a password would be asked for at the terminal
        context.load_cert_chain(files.cert, files.key, password=lambda: "")
    except OSError as error:
        raise ClusterError(
            "--tls-cert, --tls-key: expected a certificate and its key, without a "
            f"password, in PEM form. Received: {shown} ({_reason(error)})"
        ) from None
    return context


def _require_handshake(address: str, tls: Tls) -> None:
    """Require that both sides accept each other's certificates: Dask does not say so.

    Raises
    ------
    ClusterError
    """
    context, files = _tls_context(address, tls), tls.configured()
    try:
        _shake_hands(address, context)
    except ssl.SSLCertVerificationError as error:
        raise ClusterError(
            f"{address}: expected a scheduler whose certificate {files.ca_file} has "
            f"signed. Received: another ({error.verify_message}). Give --tls-ca-file "
            "the file that the scheduler was started with"
        ) from None
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            raise ClusterError(
                f"{address}: expected a certificate that the scheduler accepts. "
                f"Received: {files.cert} ({_reason(error)}). Give --tls-cert and "
                "--tls-key a pair that its authority has signed"
            ) from None
        if error.reason in NO_TLS:
            raise ClusterError(
                f"{address}: expected a Dask scheduler with TLS. Received: one "
                "without; its address begins with tcp://"
            ) from None
    except OSError:  # nobody there, which is found out again
        pass


def _shake_hands(address: str, context: ssl.SSLContext) -> None:
    """Begin to speak TLS at an address, and wait for the first word."""
    host, _, port = address.partition("://")[2].rpartition(":")
    where = (host.strip("[]"), int(port))
    with (
        socket.create_connection(where, CONNECT_TIMEOUT) as plain,
        context.wrap_socket(plain) as secured,
    ):
        secured.recv(1)  # only now does one hear of a refused certificate


def _speaks_tls(address: str) -> bool:
    """Return whether a scheduler speaks TLS although its address does not say so."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        _shake_hands(address, context)
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
    return True


def _is_address(text: str) -> bool:
    scheme = next((s for s in ADDRESS_SCHEMES if text.startswith(s)), None)
    host, colon, port = text[len(scheme or "") :].rpartition(":")
    return bool(scheme and host and colon and port.isascii() and port.isdigit())


@contextlib.contextmanager
def _silenced_dask() -> Iterator[None]:
    """Silence Dask's own log: a ClusterError says what matters."""
    import dask
    import distributed  # it sets its loggers up
    from distributed.versions import VersionMismatchWarning

    loggers = [
        logging.getLogger(name)
        for name in ("asyncio", distributed.__name__, *logging.root.manager.loggerDict)
        if name.split(".")[0] in ("distributed", "tornado", "asyncio")
    ]
    with contextlib.ExitStack() as stack:
        for logger in loggers:
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL + 1)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", VersionMismatchWarning)
        quiet = {"distributed.admin.large-graph-warning-threshold": "1PB"}
        stack.enter_context(dask.config.set(quiet))
        yield


@contextlib.contextmanager
def _local(processes: int) -> Iterator[Any]:
    """Start worker processes on this machine, of one thread each.

    All that they write lies in one temporary folder, which ends with the block.
    """
    import dask
    from distributed import LocalCluster

    environment = {
        f"distributed.nanny.pre-spawn-environ.{name}": size
        for name, size in GLIBC_THRESHOLDS.items()
    }
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        dask.config.set({"temporary-directory": scratch, **environment}),
    ):
        cluster = LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",  # any port, for there may be another
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,  # batches bound the memory; a worker is not to be paused
            preload=[IGNORE_SIGINT],
            silence_logs=logging.CRITICAL + 1,
        )
        try:
            try:
                cluster.sync(_block_sigint)
                cluster.scale(processes)
                cluster.sync(_until_started, cluster)
            except Exception as error:
                raise ClusterError(
                    f"{LOCAL}: no workers could be started ({_reason(error)})"
                ) from error
            yield cluster
        except BaseException:
            with contextlib.suppress(Exception):  # or closing waits for their tasks
                cluster.sync(_kill_workers, cluster, callback_timeout=CLOSE_TIMEOUT)
            raise
        finally:
            with contextlib.suppress(Exception):
                cluster.close(timeout=CLOSE_TIMEOUT)


async def _block_sigint() -> None:
    """Have the thread that starts the workers keep Ctrl-C from them from the start.

    A process inherits what the thread that starts it blocks. They would print a
    traceback before they come to `IGNORE_SIGINT`.
    """
    _start_tracker()  # it would end the blocking
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _start_tracker() -> None:
    """Start in silence the process that removes semaphores which others have left.

    It says on stderr how many there were if workers are killed while they are started.
    """
    quiet = "ignore::UserWarning:multiprocessing.resource_tracker"
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = f"{before},{quiet}" if before else quiet
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


async def _until_started(cluster: Any) -> None:
    await cluster


async def _kill_workers(cluster: Any) -> None:
    # also those that are being started, which `cluster.workers` has not yet
    nannies = list(getattr(cluster, "_created", cluster.workers.values()))
    closings = [nanny.close(timeout=KILL_TIMEOUT) for nanny in nannies]
    closing = asyncio.gather(*closings, return_exceptions=True)
    while not closing.done():
        for nanny in nannies:
            nanny.auto_restart = False
            if nanny.pid is not None:  # perhaps only now
                with contextlib.suppress(ProcessLookupError):
                    os.kill(nanny.pid, signal.SIGKILL)
        await asyncio.sleep(0.02)


@contextlib.contextmanager
def _client(target: Any, address: str, tls: Tls) -> Iterator[Any]:
    """Connect to a local cluster, or to an address where a scheduler must answer."""
    from distributed import Client

    wanted = f"{address}: expected a Dask scheduler. Received: "
    options: dict[str, Any] = {}
    try:
        if isinstance(target, str):
            if target.startswith(TLS_SCHEME):
                _require_handshake(target, tls)
            options["security"] = security = tls.security()
            with ThreadPoolExecutor(1) as pool:  # there may be a loop in this thread
                asked = _server_type(target, security)
                kind = pool.submit(asyncio.run, asked).result()
            if kind != "Scheduler":
                raise ClusterError(f"{wanted}{kind}")
        client = Client(
            target, timeout=CONNECT_TIMEOUT, set_as_default=False, **options
        )
    except ClusterError:
        raise
    except Exception as error:  # refused, no such host, something else that answers
        if target == address and _speaks_tls(address):
            raise ClusterError(
                f"{wanted}one with TLS. Its address begins with {TLS_SCHEME}, and it "
                "needs --tls-ca-file, --tls-cert and --tls-key"
            ) from None
        raise ClusterError(
            f"{wanted}no answer in {CONNECT_TIMEOUT:g} s ({_reason(error)})"
        ) from None
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=1)


async def _server_type(address: str, security: Any) -> str:
    """Ask what answers there; Client would wait without end for what never does."""
    from distributed import rpc

    secured = security.get_connection_args("client")
    async with rpc(address, timeout=CONNECT_TIMEOUT, connection_args=secured) as server:
        answer = await asyncio.wait_for(server.identity(), CONNECT_TIMEOUT)
    return str(answer["type"])


def _reason(error: BaseException) -> str:
    """Return the first line of an error, for the end of ours."""
    text = f"{error}".strip().partition("\n")[0]
    return printable(text or type(error).__name__, 160)


@dataclass(frozen=True)
class Shared:
    """Hold what all tasks of one `Cluster.map` have in common; it is sent once.

    Attributes
    ----------
    function : callable
    values : mapping of str to anything
        Arguments of the function by name, in addition to the item.
    threads : mapping of str to int
        Address of a worker -> threads that a task may use there; 0 for no limit.
    """

    function: Callable[..., Any]
    values: Mapping[str, Any]
    threads: Mapping[str, int] = field(default_factory=dict)


class Cluster:
    """Hand work to workers that have been checked; made by `connected`.

    Attributes
    ----------
    address : str
        The address that `connected` was given.
    """

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self.address = address

    def __repr__(self) -> str:
        return f"<verify.checks.cluster.Cluster {printable(self.address)}>"

    @property
    def workers(self) -> dict[str, int]:
        """Return the number of threads of every worker, by its address."""
        return dict(self._ask(self._client.nthreads))

    def require(self, modules: Sequence[str] = ()) -> None:
        """Check that every worker can do the work.

        Raises
        ------
        ClusterError
            There is no worker; one lacks this package or one of these modules, or has
            another version of them, of NumPy, or of Python.
        """
        none = f"expected a worker. Received: none in {WORKER_TIMEOUT:g} s. Start one: "
        self._await_workers(
            WORKER_TIMEOUT, self._error(f"{none}dask worker {self.address}")
        )
        found = self._ask(self._client.get_versions)
        ours = _python(found["client"])
        if (scheduler := _python(found["scheduler"])) != ours:
            raise self._error(f"expected Python {ours}. The scheduler has {scheduler}")
        for worker, versions in found["workers"].items():
            if (theirs := _python(versions)) != ours:
                raise self._unfit(worker, f"expected Python {ours}. It has {theirs}")
        probe = _probe()
        expected = probe(list(modules))
        answers = self._ask(
            lambda: self._client.run(probe, list(modules), on_error="return")
        )
        for worker, answer in answers.items():
            if why := _misfit(answer, expected):
                raise self._unfit(worker, why)

    def _await_workers(self, timeout: float, missing: ClusterError) -> dict[str, int]:
        """Return the workers, as `workers`, as soon as there are any."""
        deadline = time.monotonic() + timeout
        while not (workers := self.workers):
            if time.monotonic() > deadline:
                raise missing
            time.sleep(0.1)
        return workers

    def map(
        self,
        function: Callable[..., R],
        items: Iterable[T],
        *,
        shared: Mapping[str, Any] | None = None,
        ordered: bool = True,
    ) -> Iterator[R]:
        """Yield what a function returns for every item, computed by the workers.

        It is like `builtins.map`: items are taken from the iterable only as workers
        need them, and few are in flight at a time. Tasks of a worker that is lost are
        given to another.

        Parameters
        ----------
        function : callable
            Called as ``function(item, **shared)``. It is sent once, with `shared`.
        items : iterable
        shared : mapping of str to anything, optional
            Arguments that are the same for all items; sent to every worker once.
        ordered : bool
            Whether results come in the order of the items; otherwise as they are ready.

        Raises
        ------
        ClusterError
            The scheduler or all workers are lost, or the work itself kills them.
        Exception
            What the function raised, after the results before it.
        """
        together = Shared(function, shared or {}, self._threads())
        in_flight = self._ask(lambda: InFlight(self._client, together))
        left = iter(items)
        limit, checked = self._task_limit(), time.monotonic()
        try:
            while True:
                for item in islice(left, max(limit - len(in_flight), 0)):
                    self._ask(partial(in_flight.start, item))
                if not in_flight:
                    return
                for task in in_flight.finished(POLL_INTERVAL, ordered):
                    yield self._result(task)
                if time.monotonic() - checked > POLL_INTERVAL:
                    limit, checked = self._task_limit(), time.monotonic()
        finally:
            in_flight.cancel()

    def _task_limit(self) -> int:
        """Return how many tasks may be in flight; wait while there is no worker.

        Raises
        ------
        ClusterError
            No worker has come back in time.
        """
        gone = "all workers are lost, and none has come back in "
        workers = self._await_workers(
            RECOVERY_TIMEOUT, self._gone(f"{gone}{RECOVERY_TIMEOUT:g} s")
        )
        return TASKS_PER_THREAD * sum(workers.values())

    def _threads(self) -> dict[str, int]:
        """Allow one thread a task where a machine has several workers or threads."""
        workers = self.workers
        hosts = [address.rpartition(":")[0] for address in workers]
        return {
            address: 0 if hosts.count(host) * threads == 1 else 1
            for (address, threads), host in zip(workers.items(), hosts, strict=True)
        }

    def _result(self, task: Future[bytes]) -> Any:
        """Return the result of a task that has ended, or raise its error."""
        try:
            pickled = task.result()
        except Exception as error:  # a lost connection cancels it
            raise self._lost(error) from None
        status, content = pickle.loads(pickled)
        if status == "unfit":
            raise self._unfit(*content)
        if status == "raised":
            raise content
        return content

    def _ask(self, question: Callable[[], R]) -> R:
        """Return the scheduler's answer; whatever Dask raises becomes ClusterError."""
        try:
            if self._client.status != "running":
                raise OSError("the connection is closed")
            return question()
        except VerifyError:
            raise
        except Exception as error:
            raise self._lost(error) from None

    def _lost(self, error: BaseException) -> ClusterError:
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return self._gone(
                "a piece of the work has ended several workers, one after the other "
                "(out of memory?)"
            )
        if self._client.status == "running" and not isinstance(error, OSError):
            return self._error(f"the work cannot go on ({_reason(error)})")
        return self._gone("the connection to the scheduler is lost")

    def _unfit(self, worker: str, why: str) -> ClusterError:
        return self._error(f"worker {worker}: {why}")

    def _gone(self, why: str) -> ClusterLost:
        return ClusterLost(f"{self.address}: {why}")

    def _error(self, why: str) -> ClusterError:
        return ClusterError(f"{self.address}: {why}")


class InFlight:
    """Hold the tasks in flight, in the order in which they were started.

    They are futures of the standard library, from Dask's executor, because waiting for
    these can have a timeout.

    Parameters
    ----------
    client : distributed.Client
    shared : Shared

    Raises
    ------
    ClusterError
        What is shared cannot be pickled.
    """

    def __init__(self, client: Any, shared: Shared) -> None:
        import cloudpickle

        try:
            pickled = cloudpickle.dumps(shared)
        except Exception as error:
            raise ClusterError(
                f"{printable(shared.function)} cannot be sent to workers "
                f"({_reason(error)})"
            ) from error
        self._executor = client.get_executor(pure=False)
        # A task, not scattered data: lost with its last holder, it is made again.
        self._shared = client.submit(_open(), pickled, pure=False)
        self._tasks: list[Future[bytes]] = []

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, item: Any) -> None:
        """Send one item."""
        # As bytes: the scheduler unpickles arguments, and need not have this package.
        pickled = pickle.dumps(item, protocol=5)
        self._tasks.append(self._executor.submit(_work(), pickled, self._shared))

    def finished(self, timeout: float, ordered: bool) -> list[Future[bytes]]:
        """Wait for tasks to end; return and forget them.

        Parameters
        ----------
        timeout : float
            Seconds to wait; if no task has ended, the list is empty.
        ordered : bool
            Whether to wait for the first task only, not for any.
        """
        awaited = self._tasks[:1] if ordered else self._tasks
        done = wait(awaited, timeout, FIRST_COMPLETED).done
        self._tasks = [task for task in self._tasks if task not in done]
        return list(done)

    def cancel(self) -> None:
        """Have the scheduler drop the tasks in flight."""
        with contextlib.suppress(Exception):  # the connection may be lost
            self._executor.shutdown(wait=False)
            self._shared.cancel()


def _python(versions: Mapping[str, Any]) -> str:
    """Return ``"3.11"``: what pickled code depends on."""
    return ".".join(versions["host"]["python"].split(".")[:2])


def _misfit(answer: Any, expected: Mapping[str, Any]) -> str:
    """Say why a worker that gave this answer to `_probe` cannot do the work, or ""."""
    version = import_module("verify").__version__
    package = f"pip install '{VERIFIER_PACKAGE}=={version}' there"
    if isinstance(answer, BaseException):
        return f"cannot be asked ({_reason(answer)})"
    if answer["numpy"] != expected["numpy"]:
        return (
            f"expected NumPy {expected['numpy']}. It has {answer['numpy']}. "
            f"pip install 'numpy=={expected['numpy']}' there"
        )
    if answer["error"]:
        return f"cannot import verify ({printable(answer['error'], 160)}). {package}"
    if answer["verify"] != version:
        return f"expected verify {version}. It has {answer['verify']}. {package}"
    if missing := [
        name for name, theirs in answer["modules"].items() if theirs is None
    ]:
        pip = f"pip install '{RECIPES_PACKAGE}=={version}' there"
        return f"cannot import {join_and(missing)}. {pip}"
    for name, ours in expected["modules"].items():
        if (theirs := answer["modules"][name]) != ours:
            return f"expected {name} {ours}. It has {theirs}"
    return ""


# What follows runs on a worker. The functions that `_probe`, `_open` and `_work` make
# are nested, so that they are pickled as code and not by the name of this module, which
# a scheduler need not have; Python's version, which code depends on, is checked before.


def _probe() -> Callable[[list[str]], dict[str, Any]]:
    def probe(modules: list[str]) -> dict[str, Any]:
        import importlib.metadata
        import importlib.util

        found = {"numpy": "none", "verify": "another one", "error": ""}
        try:
            found["numpy"] = importlib.import_module("numpy").__version__
            found["verify"] = importlib.import_module("verify").__version__
            importlib.import_module("verify.checks.cluster")
        except Exception as error:
            found["error"] = f"{error}"
        versions: dict[str, str | None] = {}
        for name in modules:
            versions[name] = None
            try:
                if importlib.util.find_spec(name) is not None:
                    versions[name] = ""  # of what has another name to pip
                    versions[name] = importlib.metadata.version(name)
            except Exception:  # modules within others import those
                continue
        return {**found, "modules": versions}

    return probe


def _open() -> Callable[[bytes], Any]:
    def open_shared(pickled: bytes) -> Any:
        import pickle

        try:
            return pickle.loads(pickled)
        except Exception as error:  # a worker that came after the others were checked
            from distributed import get_worker

            return get_worker().address, f"cannot do this work ({error})"

    return open_shared


def _work() -> Callable[[bytes, Any], bytes]:
    def work(pickled: bytes, shared: Any) -> bytes:
        if isinstance(shared, tuple):
            import pickle

            return pickle.dumps(("unfit", shared))
        from verify.checks.cluster import perform

        return perform(pickled, shared)

    return work


def perform(pickled: bytes, shared: Shared) -> bytes:
    """Run one task on a worker; return its result or its error, pickled.

    The pickle holds ``("done", result)`` or ``("raised", error)``.
    """
    try:
        item = pickle.loads(pickled)
        with _limited_threads(shared.threads):
            result = shared.function(item, **shared.values)
        return pickle.dumps(("done", result), protocol=5)
    except Exception as error:
        return pickle.dumps(("raised", _portable(error)), protocol=5)


def _portable(error: Exception) -> Exception:
    """Return an error that can be pickled: the same one, if pickle restores it."""
    try:
        same = pickle.loads(pickle.dumps(error))
        if type(same) is type(error) and str(same) == str(error):
            if not isinstance(error, VerifyError):  # a defect: where it was raised
                where = "".join(traceback.format_exception(error))
                error.add_note(f"on a worker:\n{where}")
            return error
    except Exception:
        pass
    if isinstance(error, VerifyError):
        return VerifyError(str(error))
    return RuntimeError("".join(traceback.format_exception(error)))


@contextlib.contextmanager
def _limited_threads(threads: Mapping[str, int]) -> Iterator[None]:
    """Limit the threads of a task, NumPy's own too; to 1 on an unknown worker."""
    from distributed import get_worker

    limit = threads.get(get_worker().address, 1)
    if not limit:
        yield
        return
    with limit_threads(limit), contextlib.ExitStack() as stack:
        if importlib.util.find_spec("threadpoolctl") is not None:
            from threadpoolctl import threadpool_limits

            stack.enter_context(threadpool_limits(limit))
        yield
