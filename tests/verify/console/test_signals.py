"""SIGTERM ends a command as Ctrl-C does: nothing half written stays behind."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.nets import lstm_file
from support.thoroughness import some

from verify.console.exit_codes import INTERRUPTED, TERMINATED
from verify.console.signals import Interruption, terminable

SLOW = """
import signal, sys
signal.signal(signal.SIGINT, {answer})  # whatever this was begun with
from verify.checks import predict as running
from verify.__main__ import main
running.BATCH_ROWS = running.TRACE_ROWS = 2  # takes its time
sys.exit(main(sys.argv[1:]))
"""
ENDS = {
    "SIGTERM": (signal.SIGTERM, "signal.default_int_handler", TERMINATED),
    "SIGTERM, deaf to Ctrl-C": (signal.SIGTERM, "signal.SIG_IGN", TERMINATED),
    "Ctrl-C": (signal.SIGINT, "signal.default_int_handler", INTERRUPTED),
}


def told(process: subprocess.Popen[str], number: int, folder: Path, held: set) -> None:
    """Send a signal once there is something half written in the folder."""
    until = time.monotonic() + 60
    while {path.name for path in folder.iterdir()} == held:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(number)


@pytest.mark.parametrize(
    ("command", "end"),  # of an odd number of ends every other: each once
    some(itertools.product(["trace", "predict"], ENDS), 2),
)
def test_what_is_half_written_goes_away(command, end, tmp_path):
    number, answer, code = ENDS[end]
    model = str(lstm_file(tmp_path / "m.keras"))
    np.save(tmp_path / "x.npy", np.ones((200_000, 6)))
    out = tmp_path / ("t.npz" if command == "trace" else "y.npy")
    out.write_bytes(b"an earlier one")
    held = {path.name for path in tmp_path.iterdir()}
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", SLOW.format(answer=answer), command, model),
            *("--data", str(tmp_path / "x.npy"), "--out", str(out)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        told(process, number, tmp_path, held)
        said, talked = process.communicate(timeout=60)
    finally:
        process.kill()
    line = "rnn-verify: interrupted; no file is half written\n"
    assert (process.returncode, said, talked) == (code, "", line)
    assert {path.name for path in tmp_path.iterdir()} == held
    assert out.read_bytes() == b"an earlier one"


def test_a_process_ends_by_sigterm_again_when_a_command_is_over():
    with terminable():
        pass
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_long_work_remembers_sigterm_until_it_is_looked_at():
    with terminable() as terminated:
        inside = signal.getsignal(signal.SIGTERM)

        def work() -> None:
            with Interruption() as interruption:
                os.kill(os.getpid(), signal.SIGTERM)
                assert interruption.received
                assert terminated.is_set()
                interruption.raise_if_received()
                raise AssertionError("it went on")

        with pytest.raises(KeyboardInterrupt):
            work()
        assert signal.getsignal(signal.SIGTERM) is inside


def test_an_answer_of_the_programs_own_to_sigterm_is_left_in_place():
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with terminable() as terminated, Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
        assert not terminated.is_set()
        assert not interruption.received
    finally:
        signal.signal(signal.SIGTERM, before)
