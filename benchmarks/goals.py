"""Measure what people wait for, of this build and of another one, side by side.

    git worktree add --detach ../other COMMIT
    python -m benchmarks.goals --beside ../other [--only training live] [--rounds 3]

Every goal is a cost as a share of something else, of the work of Keras or of ONNX
Runtime alone, or of what the other build takes; or it is a number of seconds. Programs
run in processes of their own, which find ``verify`` and ``recipes`` in the folder of
one build or of the other (``benchmarks/goal_programs.py``), and take turns. If the
other build needs a package that this one does not, name its folder in PYTHONPATH.

=========  ==========================================================================
part       what is measured
=========  ==========================================================================
training   ``rnn-recipe run sentiment_lstm``, beside a script that trains the same;
           50 epochs in one round
live       checks of nine live models of 64 rows, beside predict of them
file       the command ``rnn-verify check``, beside a process that loads and predicts
rows       ``check``, beside predict; ``compare``, beside ``Network.predict``; memory
cluster    ``compare --dask local``, beside one process of one thread
engine     ``Network.predict``, beside ONNX Runtime
start      commands that need no Keras
bound      comparisons of 64 rows, most of which is the error bound
=========  ==========================================================================

goals.json and goals.md are written to benchmarks/results; each part takes the place of
what was measured of it before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ending import check_least, ended
from benchmarks.goal_programs import Spent
from benchmarks.machine import Machine
from benchmarks.memory import MIB
from benchmarks.models import inputs
from benchmarks.output import RESULTS_FOLDER, digits, in_json, put
from benchmarks.turns import BenchmarkError, Worker
from benchmarks.verdict import (
    FILE_ROWS,
    LIVE_MODELS,
    LIVE_ROWS,
    MANY_ROWS,
    STEPS,
    command,
    process,
    write_files,
)
from verify.console.tables import markdown_row, markdown_table
from verify.errors import printable

PARTS = ("training", "live", "file", "rows", "cluster", "engine", "start", "bound")
HERE = Path(__file__).resolve().parents[1]
"""The folder of this build."""
PROGRAMS = HERE / "benchmarks/goal_programs.py"
ENGINE_ROWS = (1, 32, 256, 3463)
BOUND_MODELS = (0, 2, 3)
"""Of `LIVE_MODELS`: one LSTM, two GRU behind a mask, three LSTM."""
TEXT = "thank you for the flight"

BASE, OTHER, THIS = "base", "other build", "this build"
"""What is measured; a cost is a share of one of the first two."""
HEADS = (
    "part", "what", "base, s", "other build, s", "this build, s", "other / base",
    "this / base", "other / this", "goal", "",
)  # fmt: skip


@dataclass(frozen=True)
class Goal:
    """Hold the costs of one goal, by rounds.

    Attributes
    ----------
    part, what : str
    goal : float
        The greatest share; or the greatest number where it is a share of nothing.
    share_of : str
        `BASE`, `OTHER`, or "" for a number of seconds.
    this, other, base : list of float
        Seconds of this build, of the other one, and of what they are compared with,
        each measured in the same round as those of the same place in the other lists.
    other_base : list of float
        The base in the process of the other build, where it has one of its own.
    """

    part: str
    what: str
    goal: float
    share_of: str
    this: list[float]
    other: list[float]
    base: list[float]
    other_base: list[float]

    @property
    def reached(self) -> float:
        """Return what the goal is compared with: a median of shares, or of seconds."""
        if self.share_of == BASE:
            return share(self.this, self.base)
        if self.share_of == OTHER:
            return share(self.this, self.other)
        return statistics.median(self.this)

    @property
    def met(self) -> bool:
        """Return whether the goal is met."""
        return self.reached <= self.goal

    def cells(self) -> list[str]:
        """Return the row of the table."""
        seconds = [
            digits(statistics.median(found)) if found else ""
            for found in (self.base, self.other, self.this)
        ]
        shares = [""] * 2
        if self.base:
            shares = [
                digits(share(self.other, self.other_base or self.base)),
                digits(share(self.this, self.base)),
            ]
        words = {
            BASE: f"this / base {self.goal:.3g}",
            OTHER: f"other / this {1 / self.goal:.3g}",
        }
        return [
            self.part,
            self.what,
            *seconds,
            *shares,
            digits(share(self.other, self.this)),
            words.get(self.share_of, f"this {self.goal:g} s"),
            "met" if self.met else "MISSED",
        ]


def share(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the median over rounds of the one divided by the other."""
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


@dataclass(frozen=True)
class Builds:
    """Run programs with this build and with the other one.

    Attributes
    ----------
    other : Path
        The folder of the other build.
    folder : Path
        The folder to work in, with the files that programs read.
    rounds : int
    """

    other: Path
    folder: Path
    rounds: int

    def run(self, build: Path, *arguments: str) -> Spent:
        """Run Python with a build; return what the process cost."""
        return self.with_memory(build, *arguments)[0]

    def with_memory(self, build: Path, *arguments: str) -> tuple[Spent, int]:
        """Run Python with a build; return its cost, and its peak memory in bytes."""
        return process(arguments, env=environment(build), cwd=self.folder)

    def program(self, build: Path, *arguments: str) -> dict[str, list[Spent]]:
        """Run a program of `goal_programs` with a build; return its costs.

        Raises
        ------
        BenchmarkError
            The program failed, or ``verify`` was not the build's.
        """
        done = subprocess.run(
            [sys.executable, "-P", str(PROGRAMS), *arguments],
            capture_output=True,
            text=True,
            env=environment(build),
            cwd=self.folder,
        )
        what = f"{' '.join(arguments[:1])} with {build.name}"
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            raise BenchmarkError(f"{what}: it failed and said: {printable(last)}")
        answer = json.loads(done.stdout.splitlines()[-1])
        if not Path(answer["verify"]).is_relative_to(build):
            raise BenchmarkError(
                f"{what}: expected verify of that build. Received: {answer['verify']}"
            )
        return {
            name: [(cpu, wall) for cpu, wall in found]
            for name, found in answer["costs"].items()
        }

    def in_turns(
        self, works: Mapping[str, Callable[[], Spent]], rounds: int = 0
    ) -> dict[str, list[Spent]]:
        """Return the costs of processes that take turns, by default in all rounds."""
        costs: dict[str, list[Spent]] = {name: [] for name in works}
        for k in range(rounds or self.rounds):
            for name in list(works) if k % 2 == 0 else reversed(list(works)):
                costs[name].append(works[name]())
        return costs


def environment(build: Path) -> dict[str, str]:
    """Return the variables of a process that finds a build."""
    paths = [str(build), os.environ.get("PYTHONPATH", "")]
    known = dict(os.environ)
    # an installation has its modules compiled; a setting may keep a folder from it
    known.pop("PYTHONDONTWRITEBYTECODE", None)
    return {
        **known,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def cpu(costs: Sequence[Spent]) -> list[float]:
    """Return the processor seconds."""
    return [found[0] for found in costs]


def wall(costs: Sequence[Spent]) -> list[float]:
    """Return the seconds that passed."""
    return [found[1] for found in costs]


# Parts --------------------------------------------------------------------------------


def training(builds: Builds) -> Iterator[Goal]:
    """Train the chapter's LSTM in whole processes, verification included."""

    def run(build: Path, epochs: int) -> Spent:
        variables = environment(build)
        del variables["KERAS_BACKEND"]  # each build trains on its own default
        with tempfile.TemporaryDirectory() as out:
            arguments = ["-m", "recipes", "run", "sentiment_lstm"]
            arguments += ["--epochs", str(epochs), "--out", f"{out}/run"]
            return process(arguments, env=variables, cwd=builds.folder)[0]

    for epochs, goal, rounds in ((10, 1 / 2, builds.rounds), (50, 1 / 3, 1)):
        code = f"from benchmarks.training import bare; bare('sentiment_lstm', {epochs})"
        costs = builds.in_turns(
            {
                BASE: partial(builds.run, HERE, "-c", code),
                OTHER: partial(run, builds.other, epochs),
                THIS: partial(run, HERE, epochs),
            },
            rounds,
        )
        yield Goal(
            "training", f"run of {epochs} epochs / bare script, seconds that pass",
            goal, BASE, wall(costs[THIS]), wall(costs[OTHER]), wall(costs[BASE]), [],
        )  # fmt: skip


def live(builds: Builds) -> Iterator[Goal]:
    """Check live models of 64 rows; each build has its own predict beside it."""
    for number, model in enumerate(LIVE_MODELS):
        found = {
            build: builds.program(
                build, "live", str(builds.folder), f"live{number}", str(builds.rounds)
            )
            for build in (builds.other, HERE)
        }
        for it, base, goal in (
            ("first check", "first predict", 2.0),
            ("later check", "predict", 6.0),
        ):
            this, other = found[HERE], found[builds.other]
            yield Goal(
                "live", f"{model.name}: {it} / {base}", goal, BASE,
                cpu(this[it]), cpu(other[it]), cpu(this[base]), cpu(other[base]),
            )  # fmt: skip


def file(builds: Builds) -> Iterator[Goal]:
    """Check a file by the command."""
    check, keras = (command(builds.folder, it, FILE_ROWS) for it in ("check", "keras"))
    costs = builds.in_turns(
        {
            BASE: partial(builds.run, HERE, *keras),
            OTHER: partial(builds.run, builds.other, *check),
            THIS: partial(builds.run, HERE, *check),
        }
    )
    this, other, base = (cpu(costs[name]) for name in (THIS, OTHER, BASE))
    yield Goal(
        "file", "check / import Keras, load, predict", 1.3, BASE, this, other, base, []
    )


def many_rows(builds: Builds, rows: int) -> Iterator[Goal]:
    """Check and compare many rows, once, without the start of the processes."""
    above: dict[tuple[str, Path], float] = {}
    peaks: dict[tuple[str, Path], float] = {}
    wanted = [("keras", HERE)] + [
        (it, build)
        for it in ("check", "network", "compare")
        for build in (builds.other, HERE)
    ]
    for it, build in wanted:
        start, _ = builds.run(build, *command(builds.folder, it, 1))
        whole, peak = builds.with_memory(build, *command(builds.folder, it, rows))
        above[it, build], peaks[it, build] = whole[0] - start, peak / MIB
    keras = above["keras", HERE]
    yield Goal(
        "rows", f"check of {rows:,} / Keras's predict", 3, BASE,
        [above["check", HERE]], [above["check", builds.other]], [keras], [],
    )  # fmt: skip
    yield Goal(
        "rows", f"compare of {rows:,} / Network.predict", 3, BASE,
        [above["compare", HERE]], [above["compare", builds.other]],
        [above["network", HERE]], [above["network", builds.other]],
    )  # fmt: skip
    alone = peaks["keras", HERE]
    print(
        "peak memory, MiB: Keras's predict "
        f"{alone:,.0f}; check {peaks['check', builds.other]:,.0f} in the other build, "
        f"{peaks['check', HERE]:,.0f} in this one",
        file=sys.stderr,
    )


def cluster(builds: Builds, rows: int) -> Iterator[Goal]:
    """Compare rows with a worker of Dask on each core, and with one process."""
    names = ("model.keras", f"x{rows}.npy", f"y{rows}.npy")
    given = [str(builds.folder / name) for name in names]
    this, other = (
        builds.program(build, "cluster", *given) for build in (HERE, builds.other)
    )
    yield Goal(
        "cluster",
        f"compare of {rows:,}: --dask local / one process, seconds that pass",
        1 / 1.7, BASE, wall(this["workers"]), wall(other["workers"]),
        wall(this["one process"]), wall(other["one process"]),
    )  # fmt: skip


def engine(builds: Builds) -> Iterator[Goal]:
    """Predict rows by the NumPy forward pass and by ONNX Runtime."""
    model, onnx = (str(builds.folder / f"model.{end}") for end in ("keras", "onnx"))
    for rows in ENGINE_ROWS:
        x = str(builds.folder / f"engine{rows}.npy")
        np.save(x, inputs(rows, STEPS))
        this, other = (
            builds.program(build, "engine", model, onnx, x, str(2 * builds.rounds + 1))
            for build in (HERE, builds.other)
        )
        yield Goal(
            "engine", f"predict of {rows:,} / ONNX Runtime, seconds that pass",
            4 if rows == 1 else 1, BASE, wall(this["predict"]), wall(other["predict"]),
            wall(this["ONNX Runtime"]), wall(other["ONNX Runtime"]),
        )  # fmt: skip


def start(builds: Builds) -> Iterator[Goal]:
    """Run commands that need no Keras."""
    model = str(builds.folder / "model.keras")
    with tempfile.TemporaryDirectory() as out:
        trained = f"{out}/run"
        builds.run(HERE, "-m", "recipes", "run", "sentiment_lstm", "--epochs", "1",
                   "--out", trained)  # fmt: skip
        for what, goal, arguments in (
            ("rnn-recipe predict", 0.4, ["recipes", "predict", trained, TEXT]),
            ("rnn-recipe --help", 0.2, ["recipes", "--help"]),
            ("rnn-verify describe", 0.5, ["verify", "describe", model]),
        ):
            costs = builds.in_turns(
                {
                    OTHER: partial(builds.run, builds.other, "-m", *arguments),
                    THIS: partial(builds.run, HERE, "-m", *arguments),
                }
            )
            yield Goal("start", what, goal, "", cpu(costs[THIS]), cpu(costs[OTHER]),
                       [], [])  # fmt: skip


def bound(builds: Builds) -> Iterator[Goal]:
    """Compare recorded outputs of 64 rows."""
    for number in BOUND_MODELS:
        ends = (".keras", ".npz", ".npy")
        given = [str(builds.folder / f"live{number}{end}") for end in ends]
        this, other = (
            builds.program(build, "bound", *given, str(2 * builds.rounds + 1))
            for build in (HERE, builds.other)
        )
        what = f"{LIVE_MODELS[number].name}: compare of {LIVE_ROWS} rows"
        yield Goal(
            "bound",
            what,
            0.5,
            OTHER,
            cpu(this["compare"]),
            cpu(other["compare"]),
            [],
            [],
        )


# Files that programs read -------------------------------------------------------------


def write_all(folder: Path, parts: Sequence[str], rows: int) -> None:
    """Write what the programs of some parts read, in a process that has Keras."""
    import verify
    from verify.ports.convert.to_onnx.model import onnx_model

    many = [rows] if {"rows", "cluster"} & set(parts) else []
    write_files(folder, [1, FILE_ROWS, *many])
    if "engine" in parts:
        content = onnx_model(verify.load(folder / "model.keras")).content
        put(content, folder / "model.onnx")
    if {"live", "bound"} & set(parts):
        for number, kind in enumerate(LIVE_MODELS):
            path, x = folder / f"live{number}.keras", kind.rows(LIVE_ROWS, seed=3)
            kind.build().save(path)
            np.savez(path.with_suffix(".npz"), *x)
            if number in BOUND_MODELS:
                np.save(path.with_suffix(".npy"), verify.load(path).predict(x[0]))


# Results ------------------------------------------------------------------------------


def page(goals: Sequence[Goal], machine: str, beside: str) -> str:
    """Return the results as a page in Markdown; `beside` is the other build."""
    parts = [
        "# What people wait for, of this build and of an earlier one",
        f"{machine}, by `python -m benchmarks.goals --beside ../earlier`, there commit "
        f"`{beside}`.",
        "Processor seconds, except where it says that seconds passed; medians. Shares "
        "are medians over rounds.",
        markdown_table(HEADS, [markdown_row(*one.cells()) for one in goals]),
        f"{sum(one.met for one in goals)} of {len(goals)} goals are met by this build.",
    ]
    return "\n\n".join(parts) + "\n"


def read(document: Mapping[str, Any]) -> list[Goal]:
    """Return the goals of goals.json."""
    return [
        Goal(**{field.name: one[field.name] for field in fields(Goal)})
        for one in document["goals"]
    ]


def write(goals: Sequence[Goal], beside: str, out: Path) -> None:
    """Write goals.json and goals.md, with what is known of parts not measured now.

    Parameters
    ----------
    goals : sequence of Goal
    beside : str
        The other build. What was measured beside another one is not kept.
    out : Path
        The folder.
    """
    path, parts = out / "goals.json", {one.part for one in goals}
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = read(known) if known.get("beside") == beside else []
    goals = sorted(
        [*(one for one in kept if one.part not in parts), *goals],
        key=lambda one: PARTS.index(one.part),
    )
    machine = Machine.here()
    document = {
        "machine": asdict(machine),
        "beside": beside,
        "goals": [
            {**asdict(one), "reached": one.reached, "met": one.met} for one in goals
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    put(in_json(document).encode(), path)
    put(page(goals, machine.words(), beside).encode(), path.with_suffix(".md"))
    print(f"Wrote goals.json and goals.md to {out}", file=sys.stderr)


def page_table(document: Mapping[str, Any]) -> str:
    """Return the table of docs/speed.md, made from goals.json."""
    lines = []
    for goal in read(document):
        if goal.share_of == BASE:
            before = share(goal.other, goal.other_base or goal.base)
            shown = [digits(before), digits(goal.reached), digits(goal.goal)]
        elif goal.share_of == OTHER:
            shown = ["1", digits(goal.reached), digits(goal.goal)]
        else:
            before = statistics.median(goal.other)
            shown = [f"{digits(it)} s" for it in (before, goal.reached, goal.goal)]
        lines.append(markdown_row(goal.what, *shown))
    return markdown_table(("what", "earlier build", "this build", "goal"), lines)


def measure(
    parts: Sequence[str], other: Path, rounds: int, rows: int
) -> Iterator[Goal]:
    """Measure some of the parts."""
    with tempfile.TemporaryDirectory() as name:
        builds = Builds(other, Path(name), rounds)
        worker = Worker("preparing", {"KERAS_BACKEND": "tensorflow"})
        try:
            worker.ask(write_all, builds.folder, parts, rows)
        finally:
            worker.close()
        works: dict[str, Callable[[], Iterator[Goal]]] = {
            "training": lambda: training(builds),
            "live": lambda: live(builds),
            "file": lambda: file(builds),
            "rows": lambda: many_rows(builds, rows),
            "cluster": lambda: cluster(builds, rows),
            "engine": lambda: engine(builds),
            "start": lambda: start(builds),
            "bound": lambda: bound(builds),
        }
        for part in parts:
            yield from works[part]()


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark, and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--beside", type=Path, required=True, help="the folder of the other build"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=MANY_ROWS)
    parser.add_argument(
        "--out", type=Path, default=RESULTS_FOLDER, help="the folder to write to"
    )
    given = parser.parse_args(argv)

    def work() -> int:
        check_least(given, rounds=1, rows=2)
        other = given.beside.resolve()
        if not (other / "verify/__init__.py").is_file():
            raise BenchmarkError(
                f"--beside: expected a folder with verify/ in it. Received: "
                f"{printable(str(given.beside))}"
            )
        print(markdown_table(HEADS, []), flush=True)
        goals = []
        for goal in measure(given.only, other, given.rounds, given.rows):
            goals.append(goal)
            print(markdown_row(*goal.cells()), flush=True)
        done = subprocess.run(
            ["git", "-C", str(other), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
        )
        write(goals, done.stdout.strip() or other.name, given.out)
        return 0

    return ended("benchmarks.goals", work)


if __name__ == "__main__":
    sys.exit(main())
