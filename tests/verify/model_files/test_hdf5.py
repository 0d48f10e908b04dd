"""The process that reads HDF5 files: its limits, and what is said when it ends early.

Scripts stand in for the reader and do, harmlessly, what a library might do to it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import verify
from verify.model_files import hdf5

SLEEPS = "import time; time.sleep(60)"
RUNS = "while True: pass"
ALLOCATES = "import numpy; numpy.zeros(2**31, 'u1')"  # which nobody writes to
LIMITED = f"""
import sys
sys.path.insert(0, {str(hdf5.READER_SCRIPT.parent)!r})
from _hdf5_process import limit_resources
limit_resources(float(sys.argv[2]), 0)
"""


COMMAND = """
import sys
from pathlib import Path
import verify
from verify.console import own_process
from verify.console.signals import terminable
from verify.model_files import hdf5
own_process.begin()
assert own_process.may_fork()
path, script, hdf5.MIN_READ_SECONDS, hdf5.WAIT_FACTOR = map(eval, sys.argv[1:])
hdf5.READER_SCRIPT = Path(script)
try:
    with terminable():
        verify.load(path)
except verify.ModelFileError as error:
    print(error)
"""
"""A process that ends with what it does, as a command, which reads by a copy of it."""

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere none is copied")


@pytest.fixture(params=["new", pytest.param("copied", marks=LINUX)])
def refusal(tmp_path, monkeypatch, request):
    """Return what is said of a file when a script stands in for the reader.

    It runs in a new process, or in a copy of a command's process.
    """
    path, script = tmp_path / "m.h5", tmp_path / "stand_in.py"
    path.write_bytes(hdf5.HDF5_MAGIC)

    def read(text: str) -> str:
        script.write_text(text)
        if request.param == "copied":
            said = command(path, script).communicate(timeout=120)[0].rstrip("\n")
        else:
            monkeypatch.setattr(hdf5, "READER_SCRIPT", script)
            with pytest.raises(verify.ModelFileError) as caught:
                verify.load(path)
            said = str(caught.value)
        return said.removeprefix(f"{path} is damaged ")

    return read


def command(path: Path, script: Path) -> subprocess.Popen[str]:
    given = (str(path), str(script), hdf5.MIN_READ_SECONDS, hdf5.WAIT_FACTOR)
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *map(repr, given)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(text: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text, "a file", f"{seconds}"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.slow
def test_a_reader_that_does_not_come_back_is_given_up(refusal, monkeypatch):
    monkeypatch.setattr(hdf5, "MIN_READ_SECONDS", 1.0)
    reason = "the HDF5 library has not read it after 1 seconds"
    assert refusal(LIMITED + RUNS) == f"({reason})"


def test_a_reader_that_gets_no_time_is_no_proof_of_damage(refusal, monkeypatch):
    monkeypatch.setattr(hdf5, "MIN_READ_SECONDS", 1.0)
    monkeypatch.setattr(hdf5, "WAIT_FACTOR", 2)
    assert " is not read after 2 seconds: either it is damaged, or" in refusal(SLEEPS)


@pytest.mark.slow
def test_the_system_ends_a_reader_that_uses_too_much_time():
    ended = run(LIMITED + RUNS, seconds=1)
    assert ended.returncode == -signal.SIGXCPU == hdf5.CPU_LIMIT_STATUS


def test_a_reader_that_asks_for_too_much_memory_does_not_get_it(refusal):
    assert run(ALLOCATES).returncode == 0  # so it is the limit that refuses it
    assert "MemoryError: Unable to allocate 2.00 GiB" in refusal(LIMITED + ALLOCATES)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_reader_that_a_signal_ends_takes_nothing_with_it(number, refusal):
    script = f"import os; os.kill(os.getpid(), {int(number)})"
    reason = f"the HDF5 library crashes on it, signal {int(number)}"
    assert refusal(LIMITED + script) == f"({reason})"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; sys.exit('one\\nlast \\x1b')", "last \N{REPLACEMENT CHARACTER}"),
        ("", "nothing came of reading it"),
    ],
)  # fmt: skip
def test_a_reader_that_ends_without_an_answer(script, reason, refusal):
    assert refusal(script) == f"({reason})"


@LINUX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_command_leaves_no_reader_behind(number, tmp_path):
    path, script = tmp_path / "m.h5", tmp_path / "stand_in.py"
    path.write_bytes(hdf5.HDF5_MAGIC)
    began = tmp_path / "began"
    script.write_text(
        f"import os; open({str(began)!r}, 'w').write(str(os.getpid()))\n{SLEEPS}"
    )
    with command(path, script) as running:
        while not (began.exists() and began.read_text()):
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.05)
        running.send_signal(number)
        assert "KeyboardInterrupt" in running.communicate(timeout=60)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(int(began.read_text()), 0)


@LINUX
def test_a_copy_reads_what_a_new_process_reads(tmp_path):
    path = tmp_path / "m.h5"
    rng = np.random.default_rng(3)
    with h5py.File(path, "w") as file:
        for k, dtype in enumerate(("float32", "float16", "int8")):
            file[f"a/b{k}"] = rng.normal(size=(7, 300 * k)).astype(dtype)
        file["a"].attrs["names"] = ["one", "two"]
        file["text"] = "no number"
    arguments = [str(hdf5.READER_SCRIPT), str(path), "10"]
    text = (
        "import sys; from verify.model_files import hdf5;"
        "ended = hdf5._copied_process(sys.argv[1:], 60);"
        "assert ended[0] == 0 and not ended[2], ended;"
        "sys.stdout.buffer.write(ended[1])"
    )
    run = subprocess.run(
        [sys.executable, "-c", text, *arguments], capture_output=True, check=True
    )
    assert len(run.stdout) > 7 * 300 * (2 + 2)
    assert (0, run.stdout, b"") == hdf5._new_process(arguments, 60)


@pytest.mark.parametrize("link", ["soft", "hard", "two"])
def test_links_that_lead_round_in_a_circle_are_refused(link, tmp_path):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        one, two = file.create_group("one/a"), file.create_group("two/b")
        if link == "soft":
            one["again"] = h5py.SoftLink("/one")
        elif link == "hard":
            one["again"] = file["one"]
        else:
            one["other"], two["other"] = h5py.SoftLink("/two"), h5py.SoftLink("/one")
    with pytest.raises(verify.ModelFileError, match="groups and arrays, or a circle"):
        hdf5.read_hdf5(path, "it")


def test_a_group_under_two_names_is_no_circle(tmp_path):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["one/x"] = np.arange(3)
        file["two"] = file["one"]
        file["three"] = h5py.SoftLink("/one")
    contents = hdf5.read_hdf5(path, "it")
    assert sorted(contents.arrays) == ["one/x", "three/x", "two/x"]
