"""The process in which an exported file runs: what it may do, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from support import exported
from support.exported import EXPORTED

import verify
from verify.ports.artefacts import session
from verify.ports.artefacts.errors import RuntimeRefused
from verify.ports.artefacts.session import Limits, open_session

X = np.arange(6, dtype="float32").reshape(2, 3)


@pytest.fixture
def onnx_sum(tmp_path):
    return exported.onnx_sum(tmp_path / "sum.onnx")


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


def test_a_session_runs_a_file_and_ends_with_its_block(onnx_sum):
    with open_session(onnx_sum) as opened:
        pid = opened._process.pid
        assert alive(pid)
        assert opened.kind == "onnx"
        assert opened.runtime.startswith("onnxruntime ")
        assert [str(info) for info in opened.signature.inputs] == [
            "x (batch, 3) float32"
        ]
        np.testing.assert_array_equal(opened.run({"x": X})["y"], 2 * X)
    assert not alive(pid)
    with pytest.raises(verify.ModelFileError, match="its process has ended"):
        opened.run({"x": X})


def test_what_a_runtime_leaves_in_temporary_files_goes_with_the_session(
    onnx_sum, tmp_path, monkeypatch
):
    """Leave a file called ``.ses``, as ONNX Runtime 1.32.0 does."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with open_session(onnx_sum) as opened:
        (own,) = place.iterdir()
        environment = Path(f"/proc/{opened._process.pid}/environ").read_bytes()
        assert f"TMPDIR={own}\0".encode() in environment
        (own / "left").touch()
    assert list(place.iterdir()) == []


def test_two_sessions_at_the_same_time_do_not_disturb_each_other(onnx_sum, tmp_path):
    other = EXPORTED / "states.onnx"
    a, b = exported.inputs_of("states", 2)
    with open_session(onnx_sum) as one, open_session(other) as two:
        before = two.run({"a": a, "b": b})
        for _ in range(3):
            np.testing.assert_array_equal(one.run({"x": X})["y"], 2 * X)
            again = two.run({"a": a, "b": b})
            for name in before:
                np.testing.assert_array_equal(again[name], before[name])


def test_inputs_that_are_refused_leave_the_session_usable(onnx_sum):
    with open_session(onnx_sum) as opened:
        for bad, words in [
            (X[:, :2], "Got: 2 Expected: 3"),
            (X.astype("float64"), "Unexpected input data type"),
        ]:
            with pytest.raises(RuntimeRefused, match=words) as caught:
                opened.run({"x": bad})
            assert str(caught.value).startswith(f"{onnx_sum}: ")
        for feeds in ({}, {"x": X, "z": X}, {"z": X}):
            with pytest.raises(verify.DataError, match="expected the inputs x"):
                opened.run(feeds)
        with pytest.raises(verify.DataError, match="x: expected numbers"):
            opened.run({"x": np.array([["a", "b", "c"]])})
        np.testing.assert_array_equal(opened.run({"x": X})["y"], 2 * X)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_a_signal_ends_is_said_and_can_be_renewed(number, onnx_sum):
    with open_session(onnx_sum) as opened:
        os.kill(opened._process.pid, number)
        with pytest.raises(
            verify.ModelFileError,
            match=rf"running it, onnxruntime \S+ crashes on it, signal {int(number)}",
        ):
            opened.run({"x": X})
        opened.renew()
        np.testing.assert_array_equal(opened.run({"x": X})["y"], 2 * X)


CHATTER = "import os, sys; print('first\\nlast \\x1b words', file=sys.stderr, flush=1);"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            CHATTER + "os.kill(os.getpid(), 11)",
            "crashes on it, signal 11: last \N{REPLACEMENT CHARACTER} words",
        ),
        (CHATTER + "sys.exit(3)", "ends on it, status 3: last "),
        ("", "ends on it, status 0"),
        ("import os; os.write(1, bytes(99)); input()", "expected a message"),
    ],
)
def test_a_process_that_ends_early(script, reason, onnx_sum, monkeypatch, capfd):
    monkeypatch.setattr(session, "CHILD", ("-c", script))
    with pytest.raises(verify.ModelFileError) as caught:
        open_session(onnx_sum)
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def test_a_process_that_waits_for_ever_is_given_up(onnx_sum, monkeypatch):
    monkeypatch.setattr(session, "CHILD", ("-c", "import time; time.sleep(60)"))
    with pytest.raises(
        verify.ModelFileError, match=r"is not done with it after 0\.2 seconds"
    ):
        open_session(onnx_sum, limits=Limits(open_seconds=0.2))


@pytest.mark.slow
def test_a_file_that_computes_for_ever_is_ended(tmp_path):
    path = exported.onnx_endless(tmp_path / "endless.onnx")
    limits = Limits(request_seconds=1.0)
    with open_session(path, limits=limits) as opened:
        began = time.monotonic()
        with pytest.raises(
            verify.ModelFileError, match="is not done with it after 1 seconds"
        ):
            opened.run({"x": X})
        assert time.monotonic() - began < 8


def test_a_file_that_asks_for_too_much_memory_does_not_get_it(tmp_path):
    from onnx import helper

    node = helper.make_node("ConstantOfShape", ["x"], ["y"])
    path = exported.save_onnx(
        tmp_path / "much.onnx", [node], {"x": ("INT64", [1])}, {"y": ("FLOAT", ["n"])}
    )
    limits = Limits(memory_bytes=2**30)
    with open_session(path, limits=limits) as opened:
        with pytest.raises((RuntimeRefused, verify.ModelFileError)) as caught:
            opened.run({"x": np.array([2**32])})
        assert "emory" in str(caught.value) or "alloc" in str(caught.value)
        assert opened.run({"x": np.array([3])})["y"].tolist() == [0, 0, 0]


PARENT = """
import sys, threading, numpy as np
from verify.ports.artefacts.session import open_session
opened = open_session(sys.argv[1])
print(opened._process.pid, flush=True)
if len(sys.argv) > 2:
    opened.run({"x": np.ones((2, 3), "float32")})
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("busy", [(), ("busy",)])
def test_the_process_does_not_outlive_the_one_that_started_it(busy, tmp_path):
    path = exported.onnx_endless(tmp_path / "endless.onnx")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path), *busy],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        pid = int(parent.stdout.readline())
        if busy:
            time.sleep(0.3)
        assert alive(pid)
    finally:
        parent.kill()
        parent.wait()
        parent.stdin.close()
        parent.stdout.close()
    assert gone(pid)


def test_an_interrupt_is_left_to_the_process_that_started_it(onnx_sum):
    with open_session(onnx_sum) as opened:
        os.kill(opened._process.pid, signal.SIGINT)
        np.testing.assert_array_equal(opened.run({"x": X})["y"], 2 * X)


def test_functions_and_methods_are_called_by_name(onnx_sum):
    with open_session(onnx_sum) as opened:
        # a name that is not there is a defect of this program, told as one
        with pytest.raises(RuntimeError, match="AttributeError"):
            opened.ask("no_such_method")
        with pytest.raises(RuntimeError, match="ModuleNotFoundError"):
            opened.ask("no_such_module.function")


def test_what_runs_a_file_can_be_asked_for_by_name(onnx_sum):
    with open_session(onnx_sum, framework="onnxruntime") as opened:
        assert opened.runtime.startswith("onnxruntime")
    with pytest.raises(verify.UnsupportedError, match="expected one of onnxruntime"):
        open_session(onnx_sum, framework="torch")


@pytest.mark.parametrize(
    ("kind", "name", "package", "extra"),
    [
        ("onnx", "masked.onnx", "onnxruntime", "onnx"),
        ("litert", "masked.tflite", "ai_edge_litert", "litert"),
        ("openvino", "masked.xml", "openvino", "openvino"),
        ("torch_export", "sequence.pt2", "torch", "torch"),
    ],
)
def test_a_runtime_that_is_missing_is_said_in_one_line(
    kind, name, package, extra, monkeypatch
):
    hidden = (
        f"import sys; sys.modules[{package!r}] = None; import runpy;"
        "runpy.run_module('verify.ports.artefacts.process', run_name='__main__')"
    )
    monkeypatch.setattr(session, "CHILD", ("-P", "-c", hidden))
    with pytest.raises(verify.UnsupportedError) as caught:
        open_session(EXPORTED / name)
    message = str(caught.value)
    assert "cannot be imported here" in message
    assert message.endswith(f"pip install 'keras-rnn-verify[{extra}]'")


def test_a_runtime_that_is_too_old_is_said_in_one_line(onnx_sum, monkeypatch):
    old = (
        "import onnxruntime; onnxruntime.__version__ = '1.9.0'; import runpy;"
        "runpy.run_module('verify.ports.artefacts.process', run_name='__main__')"
    )
    monkeypatch.setattr(session, "CHILD", ("-P", "-c", old))
    with pytest.raises(
        verify.UnsupportedError, match=r"onnxruntime 1\.20 or newer\. Received: 1\.9\.0"
    ):
        open_session(onnx_sum)


def test_nothing_of_a_runtime_is_imported_here():
    script = (
        "import sys, verify.ports.artefacts.session as s;"
        f"o = s.open_session({str(EXPORTED / 'masked.onnx')!r}); o.close();"
        "print(sorted({'onnx', 'onnxruntime', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("suffix", [".onnx", ".tflite", ".xml"])
def test_a_runtime_starts_no_process_of_its_own(suffix):
    """A fork of the process of a file, such as for telemetry, would outlive it."""
    psutil = pytest.importorskip("psutil")
    before = {process.pid for process in psutil.process_iter()}
    with open_session(EXPORTED / f"sequence{suffix}") as opened:
        pid = opened._process.pid
        assert psutil.Process(pid).children() == []
        (info,) = opened.signature.inputs
        opened.run({info.name: np.zeros((1, 6, 3), np.float32)})
        assert psutil.Process(pid).children() == []
    assert gone(pid)
    command = "verify.ports.artefacts.process"
    assert not [
        process
        for process in psutil.process_iter(["cmdline", "ppid"])
        if process.pid not in before
        and process.info["ppid"] in (1, pid)
        and command in (process.info["cmdline"] or ())
    ]
