"""Work on a real scheduler and real workers, all processes of their own here.

Functions that workers run are nested, so that they are sent as code: workers do not
have these tests.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from support.faults import Watched
from support.nets import ids, lstm_spec
from support.schedulers import ROOT, Scheduler
from support.thoroughness import some

import verify
from verify.checks import cluster as module
from verify.checks.cluster import Cluster, ClusterError, connected
from verify.errors import DataError, UnsupportedError

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    made = Scheduler(tmp_path_factory.mktemp("dask"))
    yield made
    made.close()


@pytest.fixture
def two(scheduler):
    scheduler.have(2)
    return scheduler


def test_two_workers_compute_to_the_bit_what_is_computed_here(two):
    net = verify.Network(lstm_spec())
    batches = [ids(seed, batch=7) for seed in range(20)]

    def predicted(x, net, also):
        import os

        return net.predict(x), [layer.name for layer in net.spec], also, os.getpid()

    with connected(two.address) as cluster:
        assert list(cluster.workers.values()) == [1, 1]
        found = list(
            cluster.map(predicted, batches, shared={"net": net, "also": batches[0]})
        )
    for x, (y, names, also, _) in zip(batches, found, strict=True):
        np.testing.assert_array_equal(y, net.predict(x))
        assert y.dtype == net.predict(x).dtype
        assert names == [layer.name for layer in net.spec]
        np.testing.assert_array_equal(also, batches[0])
    assert not np.array_equal(found[0][0], found[1][0])  # each its own
    assert {one for *_, one in found} == {w.pid for w in two.workers}


def test_it_is_map_with_results_in_order_and_items_taken_as_they_are_needed(two):
    taken = itertools.count()
    left = iter(range(100))

    def items():
        for item in left:
            next(taken)
            yield item

    with connected(two.address) as cluster:
        results = cluster.map(lambda x: x * x, items())
        assert next(taken) == 0  # nothing before the first result is asked for
        assert next(results) == 0
        assert next(taken) <= module.TASKS_PER_THREAD * 2 + 1
        assert list(results) == [x * x for x in range(1, 100)]
        assert list(cluster.map(abs, [])) == []
        unordered = cluster.map(abs, range(-20, 0), ordered=False)
        assert sorted(unordered) == list(range(1, 21))


def test_numpy_has_one_thread_a_task_where_workers_share_a_machine(two):
    def threads(_):
        import numpy as np
        from threadpoolctl import threadpool_info

        np.ones((3, 3)) @ np.ones((3, 3))
        return [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]

    with connected(two.address) as cluster:
        assert list(cluster.map(threads, range(4))) == [[1]] * 4


@pytest.mark.parametrize("kind", [DataError, UnsupportedError, verify.ModelFileError])
def test_an_error_of_ours_arrives_as_it_is_after_the_results_before_it(two, kind):
    def work(x, kind):
        if x == 3:
            raise kind("a message")
        return x

    given = []
    with connected(two.address) as cluster, pytest.raises(kind) as caught:
        given.extend(cluster.map(work, range(9), shared={"kind": kind}))
    assert type(caught.value) is kind
    assert str(caught.value) == "a message"
    assert given == [0, 1, 2]


def test_a_defect_keeps_its_kind_and_says_where_it_is(two):
    def work(x):
        return 1 / x

    with connected(two.address) as cluster, pytest.raises(ZeroDivisionError) as caught:
        list(cluster.map(work, [0]))
    assert "return 1 / x" in "".join(caught.value.__notes__)


def test_errors_that_cannot_travel_keep_their_message(two):
    def ours(_):
        from verify.errors import VerifyError

        class Own(VerifyError):
            def __init__(self, a, b):
                super().__init__(f"{a} and {b}")

        raise Own(1, 2)

    def other(_):
        from recipes.run.study import StudyInterrupted

        raise StudyInterrupted(1, 2)

    with connected(two.address) as cluster:
        with pytest.raises(verify.VerifyError, match=r"^1 and 2$"):
            list(cluster.map(ours, [0]))
        with pytest.raises(RuntimeError, match="interrupted after 1 of 2 models"):
            list(cluster.map(other, [0]))


def test_what_cannot_be_sent_is_refused(two):
    with connected(two.address) as cluster:
        with pytest.raises(ClusterError, match=r"cannot be sent to workers .*pickle"):
            list(cluster.map(abs, [1], shared={"lock": threading.Lock()}))
        with pytest.raises(ClusterError, match="cannot pickle"):
            list(cluster.map(abs, [threading.Lock()]))


def test_the_work_of_a_killed_worker_is_done_by_another(two, tmp_path, capfd):
    def work(x, mark):
        import os
        import pathlib
        import signal

        if x == 7:
            try:
                pathlib.Path(mark).touch(exist_ok=False)
            except FileExistsError:
                return x * x
            os.kill(os.getpid(), signal.SIGKILL)
        return x * x

    mark = tmp_path / "killed"
    with connected(two.address) as cluster:
        found = list(cluster.map(work, range(30), shared={"mark": str(mark)}))
        assert mark.exists()
        assert len(cluster.workers) == 1
    assert found == [x * x for x in range(30)]
    assert capfd.readouterr().err == ""


def test_shared_things_are_made_again_if_their_only_holder_is_killed(scheduler):
    def pid(_):
        import os

        return os.getpid()

    scheduler.have(1)
    with connected(scheduler.address) as cluster:
        results = cluster.map(pid, itertools.count())
        first = next(results)
        assert first == scheduler.workers[0].pid
        scheduler.have(0)
        scheduler.have(1)
        now = scheduler.workers[0].pid
        assert next(one for one in results if one != first) == now
        results.close()


def test_work_that_kills_every_worker_is_said_to_do_so(tmp_path):
    from distributed.scheduler import KilledWorker

    lost = Cluster(SimpleNamespace(status="running"), "tcp://a:1")._lost(
        KilledWorker("task", SimpleNamespace(address="b"), 3)
    )
    assert str(lost).startswith("tcp://a:1: a piece of the work has ended several")


def test_without_any_worker_left_it_ends(scheduler, monkeypatch, capfd):
    monkeypatch.setattr(module, "RECOVERY_TIMEOUT", 0.1)
    scheduler.have(1)
    with connected(scheduler.address) as cluster:
        results = cluster.map(abs, itertools.count())
        next(results)
        scheduler.have(0)
        with pytest.raises(ClusterError, match="all workers are lost"):
            list(results)
    assert capfd.readouterr().err == ""


def test_a_lost_scheduler_is_one_line_and_what_was_done_has_been_given(tmp_path, capfd):
    own = Scheduler(tmp_path)
    own.start()
    given = []

    def follow(cluster):
        for found in cluster.map(lambda x: x * x, itertools.count()):
            given.append(found)
            if len(given) == 10:
                own.process.process.kill()

    try:
        with pytest.raises(ClusterError) as caught, connected(own.address) as cluster:
            follow(cluster)
        assert str(caught.value) == (
            f"{own.address}: the connection to the scheduler is lost"
        )
        assert given == [x * x for x in range(len(given))]
        assert len(given) >= 10
        assert capfd.readouterr().err == ""
    finally:
        own.close()


def test_an_interruption_leaves_nothing_under_way(two):
    def items():
        yield from range(3)
        raise KeyboardInterrupt

    with connected(two.address) as cluster:
        with pytest.raises(KeyboardInterrupt):
            list(cluster.map(abs, items()))
        assert list(cluster.map(abs, range(3))) == [0, 1, 2]

    def wanted(dask_scheduler):
        return [task.key for task in dask_scheduler.tasks.values() if task.who_wants]

    with connected(two.address) as cluster:
        for _ in range(100):  # the scheduler learns of it a moment later
            if not (left := cluster._client.run_on_scheduler(wanted)):
                break
            time.sleep(0.1)
        assert left == []


INTERRUPTED = """
import itertools, time
from verify.checks.cluster import connected
def slow(x):
    import time
    time.sleep(x)
    return x
with connected({address!r}) as cluster:
    for x in cluster.map(slow, itertools.chain([0], itertools.repeat(3))):
        print("first", flush=True)
"""


LOCAL = """
import sys, time
import click, distributed
from verify.checks.cluster import connected
from verify.console.exit_codes import Commands, run

app = Commands()

@app.command()
def work():
    print("begins", file=sys.stderr, flush=True)
    with connected("local", processes=2) as cluster:
        print("are up", file=sys.stderr, flush=True)
        list(cluster.map(time.sleep, [60] * 9))

if __name__ == "__main__":  # workers import it
    sys.argv = ["app", "work"]
    sys.exit(run(app, None, "app"))
"""


@pytest.mark.parametrize(
    ("said", "after"),
    some([("begins", 0.03), ("begins", 0.1), ("begins", 0.5), ("are up", 0.5)], 2, 1),
)
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.thorough)]
)
def test_local_workers_end_with_a_signal_also_while_they_are_started(
    said, after, number, tmp_path
):
    (tmp_path / "app.py").write_text(LOCAL)
    with Watched("app.py", folder=tmp_path, PYTHONPATH=str(ROOT)) as process:
        process.wait_for(said)
        time.sleep(after)
        process.end(number)
    last = process.log.read_text().splitlines()[-1]
    assert last == "app: interrupted; no file is half written"


@pytest.mark.usefixtures("hears")
def test_ctrl_c_ends_the_client_without_a_word_from_dask(two):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(address=two.address)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout.readline() == "first\n"
    time.sleep(1)  # Dask pickles what is left, where it may be handling an exception
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert err.count("Traceback") == 1
    two.have(0)  # they may be at it still


@pytest.mark.parametrize(
    ("preload", "message"),
    [
        (
            "import sys; sys.modules['verify'] = None",
            "cannot import verify (import of verify halted; None in sys.modules). "
            "pip install 'keras-rnn-verify[dask]=={version}' there",
        ),
        (
            "import verify; verify.__version__ = '0.0.1'",
            "expected verify {version}. It has 0.0.1. pip install "
            "'keras-rnn-verify[dask]=={version}' there",
        ),
        (
            "import numpy; numpy.__version__ = '1.26.4'",
            "expected NumPy {numpy}. It has 1.26.4. pip install 'numpy=={numpy}' there",
        ),
    ],
)
def test_a_worker_that_cannot_do_the_work_is_named(scheduler, preload, message):
    scheduler.have(0)
    address = scheduler.start("--preload", preload)
    wanted = message.format(version=verify.__version__, numpy=np.__version__)
    with pytest.raises(ClusterError) as caught, connected(scheduler.address):
        pass
    assert str(caught.value) == f"{scheduler.address}: worker {address}: {wanted}"


def test_a_worker_that_comes_later_without_the_package_is_named(scheduler):
    scheduler.have(1)
    with connected(scheduler.address) as cluster:
        late = scheduler.start("--preload", "import sys; sys.modules['verify'] = None")
        scheduler.end(scheduler.workers[0])
        with pytest.raises(ClusterError) as caught:
            list(cluster.map(abs, range(3)))
    assert str(caught.value).startswith(
        f"{scheduler.address}: worker {late}: cannot do this work ("
    )


def test_modules_of_another_version_are_named(two, monkeypatch):
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version",
        lambda name: "0.1" if name == "pandas" else version(name),
    )  # fmt: skip
    with (
        pytest.raises(ClusterError, match=r"expected pandas 0\.1\. It has [1-9]"),
        connected(two.address, modules=["recipes", "rich", "pandas"]),
    ):
        pass


def test_modules_that_workers_lack_are_named(two):
    with connected(two.address, modules=["recipes", "pandas"]):
        pass
    with (
        pytest.raises(ClusterError, match=r"cannot import nosuch and no\.such\. pip"),
        connected(two.address, modules=["recipes", "nosuch", "no.such"]),
    ):
        pass


def versions(python: str = "3.11.7"):
    return {"host": {"python": python}}


@pytest.mark.parametrize(
    ("scheduler_python", "worker", "message"),
    [
        ("3.12.1", versions(), "expected Python 3.11. The scheduler has 3.12"),
        ("3.11.2", versions("3.13.0"), "worker b: expected Python 3.11. It has 3.13"),
    ],
)
def test_other_versions_of_python_are_refused(scheduler_python, worker, message):
    client = SimpleNamespace(
        status="running",
        nthreads=lambda: {"b": 1},
        get_versions=lambda: {
            "client": versions(),
            "scheduler": versions(scheduler_python),
            "workers": {"b": worker},
        },
    )
    with pytest.raises(ClusterError) as caught:
        Cluster(client, "tcp://a:1").require()
    assert str(caught.value).startswith(f"tcp://a:1: {message}")


def test_a_scheduler_without_workers_is_said_to_have_none(scheduler, monkeypatch):
    monkeypatch.setattr(module, "WORKER_TIMEOUT", 0.1)
    scheduler.have(0)
    with pytest.raises(ClusterError) as caught, connected(scheduler.address):
        pass
    assert str(caught.value) == (
        f"{scheduler.address}: expected a worker. Received: none in 0.1 s. Start one: "
        f"dask worker {scheduler.address}"
    )


def test_an_address_where_no_scheduler_answers_is_named(monkeypatch, capfd):
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        taken = silent.getsockname()[1]
        message = rf"^tcp://127.0.0.1:{taken}: expected a Dask scheduler\. Received: no"
        with (
            pytest.raises(ClusterError, match=message),
            connected(f"tcp://127.0.0.1:{taken}"),
        ):
            pass
    with (  # and now it is closed
        pytest.raises(ClusterError, match=message),
        connected(f"tcp://127.0.0.1:{taken}"),
    ):
        pass
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "tcp://", "tcp://:8786", "tcp://host", "host:8786",
     "http://host:8786", "tcp://host:port", "tcp://host:²", "inproc://1/2"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ClusterError) as caught, connected(text):
        pass
    assert str(caught.value).startswith("expected the address of a Dask scheduler, ")
    assert f"Received: {text or 'nothing'}" in str(caught.value)


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError) as caught, connected("local"):
        pass
    assert str(caught.value) == (
        "Dask is not installed here. Install it with: "
        "pip install 'keras-rnn-verify[dask]'"
    )


def test_local_means_processes_of_this_machine_that_end_with_the_block(capfd):
    with connected("local", processes=1) as cluster:
        assert list(cluster.workers.values()) == [1]
        (found,) = cluster.map(lambda x: (__import__("os").getpid(), x), [5])
    assert found[0] != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(found[0], 0)
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="it is about glibc")
def test_local_workers_take_the_memory_of_the_array_before(monkeypatch):
    """Count page faults: Dask's own setting makes one for every 4 kB of each array."""

    def faults(_):
        import resource

        import numpy as np

        x = np.ones(100_000, np.float32)
        for _ in range(50):
            x * 2
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(300):
            x * 2
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with connected("local", processes=1) as cluster:
        assert next(iter(cluster.map(faults, [0]))) < 300
    # what the user has set stays: that of Dask
    for name, size in (("MMAP", "131072"), ("TRIM", "65536")):
        monkeypatch.setenv(f"MALLOC_{name}_THRESHOLD_", size)
    with connected("local", processes=1) as cluster:
        assert next(iter(cluster.map(faults, [0]))) > 300 * 50


def test_models_survive_pickling_with_read_only_weights():
    net = verify.Network(lstm_spec())
    same = pickle.loads(pickle.dumps(net))
    np.testing.assert_array_equal(same.predict(ids()), net.predict(ids()))
    for (path, mine), (also, theirs) in zip(
        net.spec.walk(), same.spec.walk(), strict=True
    ):
        assert path == also
        assert mine.options == theirs.options
        assert mine.policy == theirs.policy
        assert mine.graph == theirs.graph
        with pytest.raises(TypeError):
            theirs.options["units"] = 1
        for key, weight in theirs.weights.items():
            np.testing.assert_array_equal(weight, mine.weights[key])
            assert not weight.flags.writeable


WORKER_ONLY = """
import pickle, sys
for name in ("keras", "tensorflow", "jax", "click", "h5py", "rich", "pandas", "sklearn",
             "nltk", "matplotlib", "pyarrow", "recipes"):
    sys.modules[name] = None
with open(sys.argv[1], "rb") as file:
    net, x, wanted = pickle.load(file)
import verify.checks.cluster
assert (net.predict(x) == wanted).all()
assert (net.predict(x[::-1]) != wanted).any()
try:
    import click
except ModuleNotFoundError:
    print("none of them")
"""


def test_a_worker_needs_numpy_and_this_package_alone(tmp_path):
    net = verify.Network(lstm_spec())
    (tmp_path / "net").write_bytes(pickle.dumps((net, ids(), net.predict(ids()))))
    run = subprocess.run(
        [sys.executable, "-c", WORKER_ONLY, str(tmp_path / "net")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert run.stderr == ""
    assert run.stdout == "none of them\n"
