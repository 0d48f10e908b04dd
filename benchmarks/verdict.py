"""Measure what a verdict costs beside Keras's own work, in pairs.

    python -m benchmarks.verdict [--rounds 5] [--rows 1000000] [--only live file rows]

*live*: models in Python and 64 rows. ``check`` is compared with ``model.predict`` of
the same rows: the first check of an architecture, of a model that has never predicted,
with the first predict, which compiles; later checks with a warm predict, each of them
in the same round. The models are three architectures and the six of
`benchmarks.trust.six_models`.

*file*: the command ``rnn-verify check model.keras --data x.npy`` beside a process that
imports Keras, loads the file and predicts the same rows once.

*rows*: ``check`` and ``compare`` of many rows beside Keras's own predict in batches of
32 and ``Network.predict``, each in a fresh process, without its start, which is the
time of one row. Memory is the peak of the process.

Time is that of the processors, of all threads, because it depends less on what else
the machine does; the seconds that pass are written beside it, or a dash where other
work made a start longer than the whole. With all parts, or with
``--out``, verdict.json and verdict.md are written.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ending import check_least, ended
from benchmarks.goal_programs import Spent, spent
from benchmarks.machine import Machine
from benchmarks.memory import MIB
from benchmarks.models import build, inputs
from benchmarks.output import RESULTS_FOLDER, digits, in_json, put
from benchmarks.trust.six_models import SIX_MODELS, WholeModel
from benchmarks.turns import BenchmarkError, Quartiles, Round, Worker, ratio
from verify.console.tables import markdown_row, markdown_table
from verify.errors import printable
from verify.keras_bridge import import_keras

PARTS = ("live", "file", "rows")
LIVE_ROWS, FILE_ROWS, MANY_ROWS = 64, 64, 1_000_000
UNITS, STEPS, WORDS, FEATURES = 40, 26, 1000, 8
FIRST, LATER, FILE, CHECK, COMPARE = 2.0, 6.0, 1.3, 3.0, 3.0
"""Goals: the greatest ratio of a first and a later check of a live model, of a command,
and of check and compare over many rows."""
OWN_MEMORY = "beyond Keras"
OWN_MEMORY_GOAL = 150.0
"""Goal: the greatest memory of check over many rows beyond Keras's own, in MiB."""


@dataclass(frozen=True)
class Ratio:
    """Hold a ratio of processor times, and of the seconds that passed.

    Attributes
    ----------
    part, name, what : str
        What was measured, of which model.
    cpu, wall : Quartiles
    seconds : float
        Median processor seconds of what it is compared with.
    goal : float
    """

    part: str
    name: str
    what: str
    cpu: Quartiles
    wall: Quartiles
    seconds: float
    goal: float

    @classmethod
    def of(
        cls, part: str, name: str, what: str, pairs: Sequence[Pair], goal: float
    ) -> Ratio:
        """Return the ratio of the first to the second of each pair."""
        rounds: list[list[Round]] = [
            [{"it": a[k], "base": b[k]} for a, b in pairs] for k in (0, 1)
        ]
        cpu, wall = (ratio(found, "it", "base") for found in rounds)
        return cls(
            part,
            name,
            what,
            cpu,
            wall,
            float(np.median([b[0] for _, b in pairs])),
            goal,
        )

    @property
    def met(self) -> bool:
        """Return whether the goal is met."""
        return self.cpu.median <= self.goal

    def row(self) -> str:
        """Return a row of the table."""
        return markdown_row(
            self.part, self.name, self.what, f"{self.seconds:.3f}",
            digits(self.cpu.median),
            digits(self.wall.median) if self.wall.median > 0 else "-",
            f"{self.goal:g}",
            "met" if self.met else "MISSED",
        )  # fmt: skip


Pair = tuple[Spent, Spent]

HEADS = (
    "part", "model", "what", "base, cpu seconds", "cpu ratio", "wall ratio", "goal",
    "",
)  # fmt: skip


# Live models --------------------------------------------------------------------------


def sentiment_lstm() -> Any:
    """Return an Embedding with a mask, an LSTM and a Dense."""
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32"),
            layers.Embedding(WORDS, UNITS, mask_zero=True),
            layers.LSTM(UNITS),
            layers.Dense(2, activation="softmax"),
        ]
    )


def bidirectional() -> Any:
    """Return a Bidirectional LSTM and an LSTM behind it."""
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32"),
            layers.Embedding(WORDS, UNITS, mask_zero=True),
            layers.Bidirectional(layers.LSTM(24, return_sequences=True)),
            layers.LSTM(24),
            layers.Dense(2, activation="softmax"),
        ]
    )


def masked_gru() -> Any:
    """Return two GRU layers on masked features."""
    keras = import_keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((40, FEATURES)),
            layers.Masking(),
            layers.GRU(32, return_sequences=True),
            layers.GRU(32),
            layers.Dense(4),
        ]
    )


def _ids(rng: np.random.Generator, rows: int) -> list[Any]:
    return [rng.integers(0, WORDS, (rows, STEPS)).astype(np.int32)]


def _features(rng: np.random.Generator, rows: int) -> list[Any]:
    return [rng.normal(size=(rows, 40, FEATURES)).astype(np.float32)]


LIVE_MODELS = (
    WholeModel("sentiment LSTM", sentiment_lstm, _ids),
    WholeModel("Bidirectional, LSTM", bidirectional, _ids),
    WholeModel("2 GRU, masked", masked_gru, _features),
    *SIX_MODELS,
)


def live(number: int, rounds: int) -> list[Ratio]:
    """Measure the checks of one of `LIVE_MODELS`, in this process."""
    import verify

    keras, kind = import_keras(), LIVE_MODELS[number]
    warm_up = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    verify.check(warm_up)  # what TensorFlow and the check do once in a process
    model, other = kind.build(), kind.build()
    x = kind.rows(LIVE_ROWS, seed=3)
    fixed = model.inputs[0].shape[0]

    def predict() -> None:
        model.predict(x if len(x) > 1 else x[0], verbose=0, batch_size=fixed or 32)

    first_predict = spent(predict)
    first_check = spent(lambda: verify.check(other, x))
    pairs = []
    for k in range(rounds):
        works = [lambda: verify.assert_matches_predict(model, x), predict]
        order = (0, 1) if k % 2 else (1, 0)
        found = {which: spent(works[which]) for which in order}
        pairs.append((found[0], found[1]))
    return [
        Ratio.of("live", kind.name, "first check / first predict",
                 [(first_check, first_predict)], FIRST),
        Ratio.of("live", kind.name, "later check / predict", pairs, LATER),
    ]  # fmt: skip


# Commands -----------------------------------------------------------------------------

KERAS_ALONE = """
import sys
import keras, numpy as np
model = keras.models.load_model(sys.argv[1], compile=False)
model.predict(np.load(sys.argv[2]), batch_size=32, verbose=0)
"""
NETWORK_ALONE = """
import sys
import numpy as np, verify
verify.load(sys.argv[1]).predict(np.load(sys.argv[2]))
"""


def process(
    arguments: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> tuple[Spent, int]:
    """Run Python; return what it cost, and its peak memory in bytes.

    Parameters
    ----------
    arguments : sequence of str
    env : mapping, optional
        The environment variables, by default those of this process.
    cwd : Path, optional
        The folder to run in, by default that of this process.

    Raises
    ------
    BenchmarkError
        The exit code is not 0.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=env,
            cwd=cwd,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or [""]
            raise BenchmarkError(
                f"python {printable(' '.join(arguments[:3]), 60)}: expected exit code "
                f"0. Received: {child.returncode}, and said: {printable(lines[-1])}"
            )
    wall = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024
    return (usage.ru_utime + usage.ru_stime, wall), usage.ru_maxrss * unit


def write_files(folder: Path, counts: Sequence[int]) -> None:
    """Write the model, inputs, and outputs that are right in float32."""
    import verify

    build("sentiment_lstm", UNITS, STEPS, folder / "model.keras")
    net = verify.load(folder / "model.keras")
    for count in counts:
        x = inputs(count, STEPS)
        np.save(folder / f"x{count}.npy", x)
        np.save(folder / f"y{count}.npy", net.predict(x))


def command(folder: Path, name: str, rows: int) -> list[str]:
    """Return the arguments of Python for one of the programs that are compared."""
    model, x = str(folder / "model.keras"), str(folder / f"x{rows}.npy")
    if name == "keras":
        return ["-c", KERAS_ALONE, model, x]
    if name == "network":
        return ["-c", NETWORK_ALONE, model, x]
    more = ["--outputs", str(folder / f"y{rows}.npy")] if name == "compare" else []
    return ["-m", "verify", name, model, "--data", x, *more]


def files(folder: Path, rounds: int) -> list[Ratio]:
    """Measure the command beside a process that loads and predicts."""
    pairs = []
    for k in range(rounds):
        order = ("check", "keras") if k % 2 else ("keras", "check")
        found = {name: process(command(folder, name, FILE_ROWS))[0] for name in order}
        pairs.append((found["check"], found["keras"]))
    what = "check / import, load, predict"
    return [Ratio.of("file", "sentiment_lstm", what, pairs, FILE)]


def many(folder: Path, rows: int) -> tuple[list[Ratio], dict[str, float]]:
    """Measure check and compare over many rows; and memory beyond Keras, in MiB."""
    above: dict[str, Spent] = {}
    peaks: dict[str, int] = {}
    for name in ("keras", "check", "network", "compare"):
        start, _ = process(command(folder, name, 1))
        whole, peaks[name] = process(command(folder, name, rows))
        above[name] = (whole[0] - start[0], whole[1] - start[1])
    pairs = {
        "check / Keras's predict": ("check", "keras", CHECK),
        "compare / Network.predict": ("compare", "network", COMPARE),
    }
    found = [
        Ratio.of("rows", f"{rows:,} rows", what, [(above[it], above[base])], goal)
        for what, (it, base, goal) in pairs.items()
    ]
    return found, {OWN_MEMORY: (peaks["check"] - peaks["keras"]) / MIB} | {
        name: size / MIB for name, size in peaks.items()
    }


# Results ------------------------------------------------------------------------------


def page_table(document: Mapping[str, Any]) -> str:
    """Return the table of docs/speed.md, made from verdict.json."""
    lines = [
        markdown_row(
            one["name"], one["what"], digits(one["cpu"]["median"]), f"{one['goal']:g}"
        )
        for one in document["ratios"]
    ]
    return markdown_table(("model", "what", "times as long", "goal"), lines)


def write(
    ratios: Sequence[Ratio],
    memory: dict[str, float],
    machine: Machine,
    out: Path,
    command: str = "python -m benchmarks.verdict",
) -> None:
    """Write verdict.json and verdict.md; `command` is what measured the ratios."""
    document = {
        "machine": asdict(machine),
        "command": command,
        "ratios": [{**asdict(one), "met": one.met} for one in ratios],
        "memory": memory,
    }
    parts = [
        "# What a verdict costs beside Keras's own work",
        f"{machine.words()}, by `{command}`.",
        "Times are those of the processors; each ratio is the median of pairs that "
        "were measured one after the other.",
        markdown_table(HEADS, [one.row() for one in ratios]),
        f"{sum(one.met for one in ratios)} of {len(ratios)} goals are met.",
    ]
    if memory:
        parts.append(
            "Peak memory over many rows, MiB: "
            + ", ".join(f"{name} {size:,.0f}" for name, size in memory.items())
            + f". The goal for {OWN_MEMORY} is {OWN_MEMORY_GOAL:g}."
        )
    put(in_json(document).encode(), out / "verdict.json")
    put(("\n\n".join(parts) + "\n").encode(), out / "verdict.md")


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=MANY_ROWS)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, help="the folder to write to")
    arguments = parser.parse_args(argv)

    def work() -> int:
        check_least(arguments, rounds=1, rows=2)
        whole = len(set(arguments.only)) == len(PARTS)
        out = arguments.out or (RESULTS_FOLDER if whole else None)
        ratios, memory = measure(arguments.only, arguments.rounds, arguments.rows)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            command = (
                f"python -m benchmarks.verdict --rounds {arguments.rounds} "
                f"--rows {arguments.rows}"
            )
            if not whole:
                command += f" --only {' '.join(arguments.only)}"
            write(ratios, memory, Machine.here(), out, command)
            print(f"Wrote verdict.json and verdict.md to {out}", file=sys.stderr)
        return 0

    return ended("benchmarks.verdict", work)


def measure(
    parts: Sequence[str], rounds: int, rows: int
) -> tuple[list[Ratio], dict[str, float]]:
    """Measure some of the parts, and print a row of the table for each ratio."""
    ratios: list[Ratio] = []
    memory: dict[str, float] = {}
    print(markdown_table(HEADS, []), flush=True)

    def add(found: Sequence[Ratio]) -> None:
        ratios.extend(found)
        for one in found:
            print(one.row(), flush=True)

    for number in range(len(LIVE_MODELS)) if "live" in parts else ():
        worker = Worker(LIVE_MODELS[number].name, {"KERAS_BACKEND": "tensorflow"})
        try:
            add(worker.ask(live, number, rounds))
        finally:
            worker.close()
    if {"file", "rows"} & set(parts):
        with tempfile.TemporaryDirectory() as name:
            counts = [1, FILE_ROWS, *([rows] if "rows" in parts else [])]
            worker = Worker("preparing", {"KERAS_BACKEND": "tensorflow"})
            try:
                worker.ask(write_files, Path(name), counts)
            finally:
                worker.close()
            if "file" in parts:
                add(files(Path(name), rounds))
            if "rows" in parts:
                found, memory = many(Path(name), rows)
                add(found)
                print(memory, flush=True)
    return ratios, memory


if __name__ == "__main__":
    sys.exit(main())
