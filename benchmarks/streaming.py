"""Measure what the commands cost over many rows: time, throughput and peak memory.

    make bench-streaming
    python -m benchmarks.streaming [--rows 1000 10000] [--only predict] [--out FOLDER]

``rnn-verify predict``, ``compare``, ``trace`` and ``check`` run in fresh processes on
files of 10^3 to 10^6 rows of 26 ids, with the LSTM of the recipes. ``compare`` gets
outputs that are right in float32; ``check`` runs Keras. All together take about seven
minutes, and the trace of a million rows needs 36 GB of disk space while it is written.

*start* is the time of a command for one row: Python, its imports, the model. The time
above it should grow in proportion to the rows. *exponent* says how it grows between the
two greatest numbers of rows: 1 is linear, 2 would be quadratic. Memory is the peak of
the resident memory; *of that files* are pages of library files, such as TensorFlow's
code; *MiB a million rows* is the growth of the peak between the same two files.

All commands with all numbers of rows write streaming.json and streaming.md to
benchmarks/results; a part of them writes the files only with ``--out``.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ending import ended
from benchmarks.machine import Machine
from benchmarks.memory import MIB
from benchmarks.models import build, inputs
from benchmarks.output import RESULTS_FOLDER, in_json, put
from benchmarks.turns import BenchmarkError, Worker
from verify.console.tables import markdown_row, markdown_table
from verify.errors import printable

MEASURED_COMMANDS = ("predict", "compare", "trace", "check")
ROW_COUNTS = (1000, 10_000, 100_000, 1_000_000)
MODEL = ("sentiment_lstm", 40, 26)
MODEL_FILE = "model.keras"

LINEAR_EXPONENT = 1.15
"""The exponent up to which growth counts as linear."""


@dataclass(frozen=True)
class Cost:
    """Hold the cost of a command over a number of rows; memory is in bytes."""

    command: str
    rows: int
    seconds: float
    peak: int
    libraries: int = 0


Costs = dict[str, list[Cost]]
"""The costs of each command, in the order of growing rows."""

TABLE_HEADS = (
    "command", "rows", "seconds", "rows a second", "peak, MiB", "of that files, MiB",
)  # fmt: skip


@dataclass(frozen=True)
class Growth:
    """Say how the cost of a command grows with the rows.

    Attributes
    ----------
    start : float
        Seconds for one row.
    exponent : float
        The exponent of the seconds above that; NaN if fewer than two are long enough.
    rate : float
        Rows a second, without the start, at the greatest number of rows.
    memory : float
        MiB a million rows.
    """

    command: str
    start: float
    exponent: float
    rate: float
    memory: float

    @property
    def linear(self) -> str:
        """Say whether the seconds grow linearly with the rows."""
        if math.isnan(self.exponent):
            return "cannot be said"
        return "linear" if self.exponent <= LINEAR_EXPONENT else "NOT linear"


def growth(costs: Sequence[Cost]) -> Growth:
    """Return how the cost of one command grows.

    Parameters
    ----------
    costs : sequence of Cost
        In the order of growing rows; the first is for a single row.
    """
    first, *more = costs
    above = [(c.rows, c.seconds - first.seconds) for c in more]
    # Less than a tenth of the start cannot be told from its variation.
    clear = [(r, s) for r, s in above if s > 0.1 * first.seconds]
    exponent = rate = math.nan
    if len(clear) > 1:
        (r1, s1), (r2, s2) = clear[-2:]
        exponent = math.log(s2 / s1) / math.log(r2 / r1)
    if clear:
        rate = clear[-1][0] / clear[-1][1]
    memory = math.nan
    if len(more) > 1:
        low, high = more[-2:]
        memory = (high.peak - low.peak) / MIB / (high.rows - low.rows) * 1e6
    return Growth(first.command, first.seconds, exponent, rate, memory)


def prepare(folder: Path, rows: Iterable[int]) -> None:
    """Write the model, inputs and right outputs.

    It runs in a process of its own, so that its memory is not counted.
    """
    import verify

    build(*MODEL, folder / MODEL_FILE)
    net = verify.load(folder / MODEL_FILE)
    for count in rows:
        x = inputs(count, MODEL[2])
        np.save(folder / f"x-{count}.npy", x)
        np.save(folder / f"theirs-{count}.npy", net.predict(x))


def cost(command: str, rows: int, folder: Path) -> Cost:
    """Run a command in a fresh process.

    Raises
    ------
    BenchmarkError
        The exit code is not 0.
    """
    others = {
        "predict": f"--out y-{rows}.npy",
        "compare": f"--outputs theirs-{rows}.npy",
        "trace": "--out trace.npz",
    }
    option, _, name = others.get(command, "").partition(" ")
    arguments = [
        command,
        str(folder / MODEL_FILE),
        "--data",
        str(folder / f"x-{rows}.npy"),
    ]
    if option:
        arguments += [option, str(folder / name)]
    facts = folder / "peak.json"
    facts.unlink(missing_ok=True)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", "command", str(facts), *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
        raise BenchmarkError(
            f"rnn-verify {command} over {rows:,} rows: expected exit code 0. "
            f"Received: {done.returncode}, and said: {printable(said[-1], 300)}"
        )
    (folder / "trace.npz").unlink(missing_ok=True)
    memory = json.loads(facts.read_text())
    return Cost(command, rows, seconds, memory["peak"], memory["libraries"])


def measure(commands: Iterable[str], rows: Sequence[int]) -> Costs:
    """Measure every command on every number of rows, and print a line for each.

    Parameters
    ----------
    commands : iterable of str
    rows : sequence of int
        Growing numbers.
    """
    found: Costs = {command: [] for command in commands}
    worker = Worker("preparing", {"KERAS_BACKEND": "tensorflow"})
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            worker.ask(prepare, folder, [1, *rows])
            worker.close()
            print(markdown_table(TABLE_HEADS, []), flush=True)
            for count in (1, *rows):
                for command in commands:
                    found[command].append(cost(command, count, folder))
                    print(line(found[command][-1]), flush=True)
    finally:
        worker.close()
    return found


def line(found: Cost) -> str:
    """Return a row of the table of costs."""
    return markdown_row(
        f"`{found.command}`",
        f"{found.rows:,}",
        f"{found.seconds:.2f}",
        f"{found.rows / found.seconds:,.0f}",
        f"{found.peak / MIB:,.0f}",
        f"{found.libraries / MIB:,.0f}",
    )


def growths(found: Costs) -> str:
    """Return the table that says whether the costs are linear."""
    heads = (
        "command", "start, seconds", "rows a second above it", "exponent",
        "the seconds", "MiB a million rows",
    )  # fmt: skip
    lines = []
    for costs in found.values():
        g = growth(costs)
        figures = [f"{g.start:.2f}", f"{g.rate:,.0f}", f"{g.exponent:.2f}"]
        lines.append(
            markdown_row(f"`{g.command}`", *figures, g.linear, f"{g.memory:,.0f}")
        )
    return markdown_table(heads, lines)


def write(found: Costs, machine: Machine, folder: Path) -> None:
    """Write streaming.json and streaming.md."""
    document: dict[str, Any] = {
        "machine": asdict(machine),
        "costs": [asdict(one) for costs in found.values() for one in costs],
        "growth": [asdict(growth(costs)) for costs in found.values()],
    }
    parts = [
        "# What the commands cost over many rows",
        f"{machine.words()}, by `python -m benchmarks.streaming`.",
        markdown_table(
            TABLE_HEADS, [line(one) for costs in found.values() for one in costs]
        ),
        "## Growth",
        growths(found),
    ]
    contents = {
        "streaming.json": in_json(document),
        "streaming.md": "\n\n".join(parts) + "\n",
    }
    for name, content in contents.items():
        put(content.encode(), folder / name)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rows", nargs="+", type=int, help="numbers of rows for every command"
    )
    parser.add_argument(
        "--only", nargs="+", choices=MEASURED_COMMANDS, default=MEASURED_COMMANDS
    )
    parser.add_argument("--out", type=Path, help="the folder to write to")
    arguments = parser.parse_args(argv)
    whole = arguments.rows is None and len(arguments.only) == len(MEASURED_COMMANDS)
    out = arguments.out or (RESULTS_FOLDER if whole else None)

    def work() -> int:
        rows = sorted(set(arguments.rows or ROW_COUNTS))
        if rows[0] < 2:
            raise BenchmarkError(f"--rows: expected 2 or more. Received: {rows[0]}")
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        found = measure(arguments.only, rows)
        print("\n" + growths(found))
        if out is not None:
            write(found, Machine.here(), out)
            print(f"Wrote streaming.json and streaming.md to {out}", file=sys.stderr)
        return 0

    return ended("benchmarks.streaming", work)


if __name__ == "__main__":
    sys.exit(main())
