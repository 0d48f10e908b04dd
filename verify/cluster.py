"""Work for more than one process or machine, on Dask.

::

    with connected("tcp://scheduler:8786") as cluster:  # or connected("local")
        for found in cluster.map(function, items, shared={"net": net}):
            ...

Workers need NumPy and this package, nothing of what trains models. Functions and items
travel pickled, so a scheduler is as trusted as this program: Dask asks no one who they
are unless it is set up with certificates (``tls://``).

Source: distributed's Client, https://distributed.dask.org.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import pickle
import queue
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from itertools import count
from typing import Any, TypeVar

import numpy as np

from verify.errors import VerifyError, install_hint, join_and, printable
from verify.forward.fast import core_count, limit_threads

T = TypeVar("T")
R = TypeVar("R")

Landed = tuple[int, str, Any]
"""The number of an item, and ``done`` or ``lost`` with what came of it."""

LOCAL = "local"
ADDRESS_SCHEMES = ("tcp://", "tls://")
RECIPES, VERIFIER = "keras-rnn-recipes[dask]", "keras-rnn-verify[dask]"
"""What has to be installed on a worker: for a sweep, and for everything else."""

CONNECT_TIMEOUT = 5.0
"""Seconds in which a scheduler must answer."""

WORKER_TIMEOUT = 5.0
"""Seconds in which there must be a worker."""

RECOVERY_TIMEOUT = 20.0
"""Seconds for which a cluster may be without workers: one that was killed is started
anew by its nanny."""

TASKS_PER_THREAD = 3
"""Items a thread of a worker that are under way: one computed, others on their way."""

IGNORE_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""Run by local workers: a terminal sends Ctrl-C to them too, and they are ended by the
process that started them."""

POLL_INTERVAL = 0.5
"""Seconds between two looks at whether scheduler and workers are still there."""


class ClusterError(VerifyError):
    """No scheduler, no workers, or workers that cannot do the work."""


@contextlib.contextmanager
def connected(
    address: str, *, processes: int | None = None, modules: Sequence[str] = ()
) -> Iterator[Cluster]:
    """A cluster, checked, for as long as the block lasts.

    Parameters
    ----------
    address : str
        Of a scheduler, ``"tcp://host:8786"``; or ``"local"``, for processes on this
        machine that end with the block.
    processes : int, optional
        How many with ``"local"``; as many as there are cores by default.
    modules : sequence of str
        What workers must be able to import besides this package, of the same version.

    Raises
    ------
    ClusterError
        Dask is not installed; nothing answers at the address; there is no worker; a
        worker lacks the package or has other versions of it, of Python or of NumPy.
    """
    require_address(address)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        where: Any = address
        if address == LOCAL:
            where = stack.enter_context(_local(processes or core_count()))
        client = stack.enter_context(_client(where, address))
        cluster = Cluster(client, address)
        cluster.require(modules)
        yield cluster


def require_address(address: str) -> None:
    """What can be checked before anything is connected to.

    Raises
    ------
    ClusterError
        It is no address, or Dask is not installed.
    """
    if address != LOCAL and not _is_address(address):
        raise ClusterError(
            "expected the address of a Dask scheduler, such as tcp://host:8786, or "
            f"{LOCAL}. Received: {printable(address) or 'nothing'}"
        )
    if importlib.util.find_spec("distributed") is None:
        raise ClusterError(f"Dask is not installed here. {install_hint('dask')}")


def _is_address(text: str) -> bool:
    scheme = next((s for s in ADDRESS_SCHEMES if text.startswith(s)), None)
    host, colon, port = text[len(scheme or "") :].rpartition(":")
    return bool(scheme and host and colon and port.isascii() and port.isdigit())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own log is silent: what matters is said by a ClusterError."""
    import dask
    import distributed  # it sets its loggers up
    from distributed.versions import VersionMismatchWarning

    names = [
        name
        for name in (*logging.root.manager.loggerDict, distributed.__name__)
        if name.split(".")[0] in ("distributed", "tornado", "asyncio")
    ]
    loggers = [logging.getLogger(name) for name in {*names, "asyncio"}]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with (
            warnings.catch_warnings(),
            dask.config.set({"distributed.admin.large-graph-warning-threshold": "1PB"}),
        ):
            warnings.simplefilter("ignore", VersionMismatchWarning)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _local(processes: int) -> Iterator[Any]:
    """Worker processes on this machine, one thread each."""
    from distributed import LocalCluster

    try:
        cluster = LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",  # any port, for there may be another
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,  # pieces bound the memory; a worker is not to be paused
            preload=[IGNORE_SIGINT],
            silence_logs=logging.CRITICAL + 1,
        )
    except Exception as error:
        raise ClusterError(
            f"{LOCAL}: no workers could be started ({_why(error)})"
        ) from error
    try:
        yield cluster
    except BaseException:
        _kill(cluster)  # or closing waits for what the workers are at
        raise
    finally:
        with contextlib.suppress(Exception):
            cluster.close(timeout=CONNECT_TIMEOUT)


def _kill(cluster: Any) -> None:
    """The processes of a local cluster, at once."""
    for nanny in cluster.workers.values():
        with contextlib.suppress(Exception):
            nanny.auto_restart = False
            nanny.process.process.kill()


@contextlib.contextmanager
def _client(where: Any, shown: str) -> Iterator[Any]:
    from distributed import Client

    wanted = f"{printable(shown)}: expected a Dask scheduler. Received: "
    try:
        if isinstance(where, str):
            with ThreadPoolExecutor(1) as pool:  # there may be a loop in this thread
                kind = pool.submit(asyncio.run, _kind(where)).result()
            if kind != "Scheduler":
                raise ClusterError(f"{wanted}{printable(kind)}")
        client = Client(where, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except ClusterError:
        raise
    except Exception as error:  # refused, no such host, something else that answers
        raise ClusterError(
            f"{wanted}no answer in {CONNECT_TIMEOUT:g} s ({_why(error)})"
        ) from None
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=1)


async def _kind(address: str) -> str:
    """What answers there; Client would wait without end for what never does."""
    from distributed.comm import connect
    from distributed.core import send_recv
    from distributed.security import Security

    async def ask() -> str:
        secured = Security().get_connection_args("client")
        comm = await connect(address, timeout=CONNECT_TIMEOUT, **secured)
        try:
            return str((await send_recv(comm, op="identity"))["type"])
        finally:
            comm.abort()

    return await asyncio.wait_for(ask(), CONNECT_TIMEOUT)


def _why(error: BaseException) -> str:
    """The first line of an error, for the end of ours."""
    text = f"{error}".strip().partition("\n")[0]
    return printable(text or type(error).__name__, 160)


@dataclass(frozen=True)
class Shared:
    """What all tasks of one `Cluster.map` have in common; it is sent once.

    Attributes
    ----------
    function : callable
    values : mapping of str to anything
        What it is given by name besides the item.
    threads : mapping of str to int
        Threads that NumPy's own matrix products may take, by the address of a worker.
    """

    function: Callable[..., Any]
    values: Mapping[str, Any]
    threads: Mapping[str, int] = field(default_factory=dict)


class Cluster:
    """Workers that have been checked; made by `connected`.

    Attributes
    ----------
    address : str
        As it was given.
    """

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self.address = address

    def __repr__(self) -> str:
        return f"<verify.cluster.Cluster {printable(self.address)}>"

    @property
    def workers(self) -> dict[str, int]:
        """The number of threads of every worker, by its address."""
        return dict(self._asked(self._client.nthreads))

    def require(self, modules: Sequence[str] = ()) -> None:
        """Every worker can do the work.

        Raises
        ------
        ClusterError
            There is no worker; one lacks this package or one of these modules, or has
            another version of them, of NumPy, or of Python.
        """
        self._await_workers()
        found = self._asked(self._client.get_versions)
        mine = _python(found["client"])
        scheduler = _python(found["scheduler"])
        if scheduler != mine:
            raise self._error(f"expected Python {mine}. The scheduler has {scheduler}")
        for address, versions in found["workers"].items():
            theirs = _python(versions)
            if theirs != mine:
                raise self._unfit(address, f"expected Python {mine}. It has {theirs}")
        self._require_package(modules)

    def _require_package(self, modules: Sequence[str]) -> None:
        version, numpy = import_module("verify").__version__, np.__version__
        package = f"pip install '{VERIFIER}=={version}' there"
        answers = self._asked(
            lambda: self._client.run(_probe(), list(modules), on_error="return")
        )
        mine = dict(_probe()(list(modules))[3])
        for address, answer in answers.items():
            if isinstance(answer, BaseException):
                raise self._unfit(address, f"cannot be asked ({_why(answer)})")
            theirs, its_numpy, why, found = answer
            if its_numpy != numpy:
                raise self._unfit(
                    address,
                    f"expected NumPy {numpy}. It has {printable(its_numpy)}. "
                    f"pip install 'numpy=={numpy}' there",
                )
            if why:
                raise self._unfit(
                    address, f"cannot import verify ({printable(why, 160)}). {package}"
                )
            if theirs != version:
                raise self._unfit(
                    address,
                    f"expected verify {version}. It has {printable(theirs)}. {package}",
                )
            if missing := [name for name, its in found.items() if its is None]:
                raise self._unfit(
                    address,
                    f"cannot import {join_and(missing)}. pip install "
                    f"'{RECIPES}=={version}' there",
                )
            for name, its in found.items():
                if its != mine[name]:
                    raise self._unfit(
                        address,
                        f"expected {name} {mine[name]}. It has {printable(its)}",
                    )

    def _await_workers(self) -> None:
        deadline = time.monotonic() + WORKER_TIMEOUT
        while not self.workers:
            if time.monotonic() > deadline:
                raise self._error(
                    f"expected a worker. Received: none in {WORKER_TIMEOUT:g} s. "
                    f"Start one: dask worker {printable(self.address)}"
                )
            time.sleep(0.1)

    def map(
        self,
        function: Callable[..., R],
        items: Iterable[T],
        *,
        shared: Mapping[str, Any] | None = None,
        ordered: bool = True,
    ) -> Iterator[R]:
        """What a function makes of every item, computed by the workers.

        It is `builtins.map` but for where it computes: items are taken from the
        iterable only as workers need them, and few are under way at a time. The work
        of a worker that is lost is given to another.

        Parameters
        ----------
        function : callable
            ``function(item, **shared)``. It travels with `shared`, and so does what it
            holds: ``functools.partial(examine, net)``.
        items : iterable
        shared : mapping of str to anything, optional
            What is the same for all items and large: sent to every worker once.
        ordered : bool
            Results in the order of the items; otherwise as they come.

        Raises
        ------
        ClusterError
            The scheduler or all workers are lost, or the work itself kills them.
        Exception
            What the function raised, once the results before it have been given.
        """
        together = Shared(function, shared or {}, self._threads())
        flight = self._asked(lambda: _Flight(self._client, together))
        yield from self._results(flight, iter(items), ordered)

    def _results(
        self, flight: _Flight, items: Iterator[Any], ordered: bool
    ) -> Iterator[Any]:
        arrived: dict[int, Any] = {}
        next_, more = 0, True
        room, looked = self._room(), time.monotonic()
        try:
            while True:
                while more and len(flight) + len(arrived) < room:
                    try:
                        item = next(items)
                    except StopIteration:
                        more = False
                    else:
                        self._asked(partial(flight.start, item))
                while arrived and (not ordered or next_ in arrived):
                    key = next_ if ordered else next(iter(arrived))
                    next_ += 1
                    yield _opened(arrived.pop(key))
                if not more and not flight and not arrived:
                    return
                if len(flight) + len(arrived) < room and more:
                    continue
                landed = flight.landed(POLL_INTERVAL)
                if landed is not None:
                    arrived[landed[0]] = self._unpacked(*landed[1:])
                if time.monotonic() - looked > POLL_INTERVAL:
                    room, looked = self._room(), time.monotonic()
        finally:
            flight.end()

    def _room(self) -> int:
        """How many items may be under way; waits while there is no worker.

        Raises
        ------
        ClusterError
            None has come back.
        """
        deadline = time.monotonic() + RECOVERY_TIMEOUT
        while not (workers := self.workers):
            if time.monotonic() > deadline:
                raise self._error(
                    f"all workers are lost, and none has come back in "
                    f"{RECOVERY_TIMEOUT:g} s"
                )
            time.sleep(0.1)
        return TASKS_PER_THREAD * sum(workers.values())

    def _threads(self) -> dict[str, int]:
        """One thread a task where a machine has several workers, or threads of one."""
        workers = self.workers
        hosts = [address.rpartition(":")[0] for address in workers]
        return {
            address: 0 if hosts.count(host) * threads == 1 else 1
            for (address, threads), host in zip(workers.items(), hosts, strict=True)
        }

    def _unpacked(self, kind: str, content: Any) -> tuple[str, Any]:
        if kind == "lost":
            raise self._lost(content)
        kind, content = pickle.loads(content)
        if kind == "unfit":
            raise self._unfit(*content)
        return kind, content

    def _asked(self, question: Callable[[], R]) -> R:
        """The scheduler's answer, or a ClusterError: Dask raises all kinds."""
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
            return self._error(
                "a piece of the work has ended several workers, one after the other "
                "(out of memory?)"
            )
        if self._client.status == "running" and not isinstance(error, OSError):
            return self._error(f"the work cannot go on ({_why(error)})")
        return self._error("the connection to the scheduler is lost")

    def _unfit(self, address: str, what: str) -> ClusterError:
        return self._error(f"worker {printable(address)}: {what}")

    def _error(self, what: str) -> ClusterError:
        return ClusterError(f"{printable(self.address)}: {what}")


def _python(versions: Mapping[str, Any]) -> str:
    """``"3.11"``: what pickled code depends on."""
    return ".".join(versions["host"]["python"].split(".")[:2])


class _Flight:
    """Items that are under way; every one has a number."""

    def __init__(self, client: Any, shared: Shared) -> None:
        from distributed.protocol.pickle import dumps

        self._client = client
        self._numbers = count()
        self._futures: dict[int, Any] = {}
        self._landed: queue.SimpleQueue[Landed] = queue.SimpleQueue()
        try:
            pickled = dumps(shared)
        except Exception as error:
            raise ClusterError(
                f"{printable(shared.function)} cannot be sent to workers ({_why(error)})"
            ) from error
        # A task, not scattered data: lost with its last holder, it is made again.
        self._shared = client.submit(_open(), pickled, pure=False)

    def __len__(self) -> int:
        return len(self._futures)

    def start(self, item: Any) -> None:
        """Send one item."""
        number = next(self._numbers)
        # Bytes: the scheduler, which opens what is sent, needs nothing of ours.
        pickled = pickle.dumps(item, protocol=5)
        future = self._client.submit(_work(), pickled, self._shared, pure=False)
        self._futures[number] = future
        loop = self._client.loop.asyncio_loop
        asyncio.run_coroutine_threadsafe(self._fetch(number, future), loop)

    async def _fetch(self, number: int, future: Any) -> None:
        try:
            content = await self._client.gather(future, asynchronous=True)
        except BaseException as error:  # a connection that is lost cancels
            self._landed.put((number, "lost", error))
        else:
            self._landed.put((number, "done", content))

    def landed(self, timeout: float) -> Landed | None:
        """A finished item; None where none has finished within so many seconds."""
        try:
            found = self._landed.get(timeout=timeout)
        except queue.Empty:
            return None
        del self._futures[found[0]]
        return found

    def end(self) -> None:
        """Nothing that is still under way is wanted any more."""
        futures = [*self._futures.values(), self._shared]
        self._futures.clear()
        if self._client.status == "running":
            with contextlib.suppress(Exception):
                self._client.cancel(futures, force=True)


# What follows runs on a worker. The functions that `_probe`, `_open` and `_work` make
# are nested, so that they are pickled as code and not by the name of this module, which
# a scheduler need not have; Python's version, which code depends on, is checked before.


def _probe() -> Callable[[list[str]], tuple[str, str, str, dict[str, str | None]]]:
    def probe(modules: list[str]) -> tuple[str, str, str, dict[str, str | None]]:
        import importlib.metadata
        import importlib.util

        theirs, numpy, why = "another one", "none", ""
        try:
            import numpy as found

            numpy = found.__version__
            theirs = importlib.import_module("verify").__version__
            importlib.import_module("verify.cluster")
        except Exception as error:
            why = f"{error}"
        versions: dict[str, str | None] = {}
        for name in modules:
            versions[name] = None
            try:
                if importlib.util.find_spec(name) is not None:
                    versions[name] = ""  # of what has another name to pip
                    versions[name] = importlib.metadata.version(name)
            except Exception:  # modules within others import those
                continue
        return theirs, numpy, why, versions

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
        from verify.cluster import perform

        return perform(pickled, shared)

    return work


def perform(pickled: bytes, shared: Shared) -> bytes:
    """One item on a worker: pickled, ``done`` or ``raised`` with what came of it."""
    try:
        item = pickle.loads(pickled)
        with _threads_limited(shared.threads):
            result = shared.function(item, **shared.values)
        return pickle.dumps(("done", result), protocol=5)
    except Exception as error:
        return pickle.dumps(("raised", _portable(error)), protocol=5)


def _portable(error: Exception) -> Exception:
    """An error as it can travel: itself, where pickle makes the same of it."""
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


def _opened(landed: tuple[str, Any]) -> Any:
    kind, content = landed
    if kind == "raised":
        raise content
    return content


@contextlib.contextmanager
def _threads_limited(threads: Mapping[str, int]) -> Iterator[None]:
    """Threads for as long as a task runs, NumPy's own too; 1 where nothing is said."""
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
