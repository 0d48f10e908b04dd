"""The process that reads HDF5 files: its limits, and what is said when it ends early.

Scripts stand in for the reader and do, harmlessly, what a library might do to it.
"""

from __future__ import annotations

import signal
import subprocess
import sys

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


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    """Return what is said of a file when a script stands in for the reader."""
    path, script = tmp_path / "m.h5", tmp_path / "stand_in.py"
    path.write_bytes(hdf5.HDF5_MAGIC)

    def read(text: str) -> str:
        script.write_text(text)
        monkeypatch.setattr(hdf5, "READER_SCRIPT", script)
        with pytest.raises(verify.ModelFileError) as caught:
            verify.load(path)
        return str(caught.value).removeprefix(f"{path} is damaged ")

    return read


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
