"""Ctrl-C and SIGTERM end real commands within two seconds, inside Keras too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.nets import ids, keras_sequential, lstm_file

from verify.console.exit_codes import INTERRUPTED, TERMINATED

CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
HEARD_SECONDS = 2.0
BUSY = 3.0
"""Seconds that are allowed besides, for a machine on which other tests run."""

FOREVER = """
import signal, sys, time, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
import verify.__main__ as rnn_verify
from verify.console import signals
import click

@click.command()
def work():
    {work}

rnn_verify.app = work  # as the command itself: with the way in which it ends
sys.argv = ["rnn-verify"]
sys.exit(rnn_verify.main())
"""
WORK = {
    "in Python": "print('go', flush=True)\n    while True: pass",
    "in a library, in a thread": "print('go', flush=True)\n"
    "    signals.interruptible(lambda: time.sleep(60))",
    "in a library that hears nothing": "import ctypes\n    print('go', flush=True)\n"
    "    libc = ctypes.CDLL(None)\n"
    "    while True: libc.usleep(900000)  # its end is not waited for",
    "where the first exception is lost": """print('go', flush=True)
    class Deaf:
        def __del__(self):
            time.sleep(60)
    while True: Deaf()""",
    "in another thread that never ends": """threading.Thread(target=time.sleep,
                                                     args=(60,)).start()
    print('go', flush=True)
    time.sleep(60)""",
}


def ended(process: subprocess.Popen[str], number: int) -> float:
    """Send a signal; return the seconds until the process has ended."""
    began = time.monotonic()
    process.send_signal(number)
    try:
        _, talked = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == CODES[number], talked
    assert "Traceback" not in (talked or "")
    assert "ignored" not in (talked or "")
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("number", CODES, ids=lambda n: n.name)
@pytest.mark.parametrize("work", WORK)
def test_whatever_the_command_is_at(work, number):
    process = subprocess.Popen(
        [sys.executable, "-c", FOREVER.format(work=WORK[work])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    time.sleep(0.1)
    assert ended(process, number) < HEARD_SECONDS + BUSY


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GRU over 30,000 steps: every part of a check of it takes long."""
    import keras

    model = keras_sequential(
        [
            keras.Input((30_000, 2)),
            keras.layers.GRU(3, return_sequences=True),
            keras.layers.Dense(2),
        ]
    )
    path = tmp_path_factory.mktemp("long") / "long.keras"
    model.save(path)
    return path


SPEAKING = """
import os, sys
from verify.console import progress
from verify.__main__ import main

speech = open(os.dup(2), "w")  # what libraries say while they load is held back

class Importing:
    @staticmethod
    def find_spec(name, *_):
        if name in ("tensorflow", "onnx"):
            print("importing", name, file=speech, flush=True)

progress.LINE_INTERVAL = 0.2  # what is being done is said at once
sys.meta_path.insert(0, Importing)
sys.exit(main())
"""
"""The command, which also says when it loads a large library."""

AT = {
    "loading Keras": ("check", "importing tensorflow"),
    "predict, layers or proof": ("check", "Keras's predict"),
    "bounds": ("compare", "deriving bounds"),
    "selftest": ("selftest", "the model on the inputs"),
    "compare": ("compare", "NumPy in float64"),
    "trace": ("trace", "rows 1 to "),
    "convert": ("convert", "importing onnx"),
}
"""Where the signal comes -> the command, and what it has said when it is there."""


def wait_for(said: str, log: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has said something."""
    until = time.monotonic() + 120  # against waiting for ever
    while said not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.02)


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(stage, marks=pytest.mark.thorough) if stage == "bounds" else stage
        for stage in AT
    ],
)
def test_real_commands_on_long_windows(stage, long_model, tmp_path):
    command, said = AT[stage]
    rows = 2 if stage == "bounds" else 64  # what comes before takes less then
    x = np.random.default_rng(0).normal(size=(rows, 30_000, 2)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    arguments = [command, str(long_model)]
    if command in ("check", "compare", "trace"):
        arguments += ["--data", str(tmp_path / "x.npy")]
    if command == "compare":
        np.save(tmp_path / "y.npy", np.zeros_like(x))
        arguments += ["--outputs", str(tmp_path / "y.npy")]
    if command == "trace":
        arguments += ["--out", str(tmp_path / "out.npz")]
    if command == "convert":
        arguments += ["--to", "onnx", "--out", str(tmp_path / "out.onnx")]
    log, temporary = tmp_path / "stderr.txt", tmp_path / "temporary"
    temporary.mkdir()
    before = {*tmp_path.rglob("*"), log}
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", SPEAKING, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=file,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        try:
            wait_for(said, log, process)
            number = signal.SIGTERM if len(stage) % 2 else signal.SIGINT
            seconds = ended(process, number)
        finally:
            process.kill()
            process.wait()
    print(stage, seconds)
    assert "Traceback" not in log.read_text()
    assert seconds < HEARD_SECONDS + BUSY
    assert {*tmp_path.rglob("*")} == before  # nothing half-written, nothing temporary


@pytest.mark.slow
def test_a_search_for_the_mistake_is_ended_too(tmp_path):
    model = lstm_file(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", ids(batch=200))
    wrong = np.random.default_rng(0).random((200, 2)).astype("float32")
    np.save(tmp_path / "y.npy", wrong)
    data = ["--data", str(tmp_path / "x.npy"), "--outputs", str(tmp_path / "y.npy")]
    log = tmp_path / "stderr.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", SPEAKING, "compare", str(model), *data],
            stdout=subprocess.DEVNULL,
            stderr=file,
            text=True,
        )
        try:
            wait_for("Looking for the mistake", log, process)
            seconds = ended(process, signal.SIGTERM)
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text()
    assert seconds < HEARD_SECONDS + BUSY
