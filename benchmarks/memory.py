"""Measure the peak memory of a forward pass or of a command, in a fresh process.

    python -m benchmarks.memory predict model.keras 100000
    python -m benchmarks.memory command peak.json rnn-verify-arguments...

The first prints a JSON document: by how many bytes the process grew during ``predict``,
when the inputs are in memory and one row has been computed before. The second runs a
command of ``rnn-verify`` and writes to a file the peak of its process and, of the
memory at its end, the part that are pages of library files.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turns import BenchmarkError
from verify.errors import printable

STATUS = Path("/proc/self/status")
MIB = 2**20


def peak() -> int:
    """Return the peak of the resident memory of this process, in bytes."""
    if STATUS.is_file():  # a rusage also counts the program that exec replaced
        return _of_status("VmHWM")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def resident() -> int:
    """Return the resident memory in bytes; its peak if the system does not say."""
    return _of_status("VmRSS") if STATUS.is_file() else peak()


def libraries() -> int:
    """Return the bytes of resident memory that are pages of files, such as libraries.

    The system may drop these pages, and processes share them. 0 if that is not known.
    """
    return _of_status("RssFile") if STATUS.is_file() else 0


def _of_status(key: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise BenchmarkError(f"expected {key} in {STATUS}. Received: no such line")


def forget_peak() -> None:
    """Reset the peak to the present memory, if the system can."""
    references = Path("/proc/self/clear_refs")
    if references.exists():
        references.write_text("5")


def predict_growth(path: Path, rows: int) -> dict[str, float]:
    """Measure the memory that ``predict`` needs besides its inputs, in this process.

    Returns
    -------
    dict
        ``rows``, ``inputs`` and ``outputs`` and ``growth`` in bytes, ``seconds``.
    """
    import verify
    from benchmarks.models import inputs

    net = verify.load(path)
    length = net.spec.inputs[0].options["batch_shape"][1]
    x = inputs(rows, length)
    net.predict(x[:1])
    before = resident()
    forget_peak()
    began = time.perf_counter()
    y = net.predict(x)
    seconds = time.perf_counter() - began
    return {
        "rows": rows,
        "inputs": x.nbytes,
        "outputs": np.asarray(y).nbytes,
        "growth": max(peak() - before, 0),
        "seconds": seconds,
    }


def measured_growth(path: Path, rows: int) -> dict[str, float]:
    """Run `predict_growth` in a fresh process.

    Raises
    ------
    BenchmarkError
        The process failed.
    """
    arguments = ["-m", "benchmarks.memory", "predict", str(path), str(rows)]
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkError(f"predict over {rows:,} rows: {printable(last, 400)}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(argv: list[str]) -> int:
    """Measure a forward pass or a command in this process."""
    kind, *rest = argv
    if kind == "predict":
        print(json.dumps(predict_growth(Path(rest[0]), int(rest[1]))))
        return 0
    from verify.__main__ import main as rnn_verify

    code = 1
    try:
        code = rnn_verify(rest[1:])
    finally:
        facts: dict[str, Any] = {"peak": peak(), "libraries": libraries(), "code": code}
        Path(rest[0]).write_text(json.dumps(facts))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
