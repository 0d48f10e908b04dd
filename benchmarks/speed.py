"""Measure how fast ``verify`` computes a model, beside other programs.

    make bench                                     # installs what it measures against
    python -m benchmarks.speed [--quick | --full] [--only sentiment_lstm] [--out FOLDER]

`verify.Network.predict` is compared with Keras's ``model.predict`` in batches of 32 and
in the batch size that is best for the case; the model in a ``tf.function``; ``predict``
on Keras's JAX and NumPy backends; ONNX Runtime; and the equations in a plain NumPy
loop. Each takes an array of ids and returns an array of probabilities. Each may use all
cores, and is called in its fastest way, which is found by trying. Before the timing
the outputs of all rows are compared with those of ``model.predict``; a program whose
outputs differ by more than 1e-6 is named and not timed.

The models are those of the four sentiment recipes: Embedding(12533, 32), the recurrent
layers, Dense(2, softmax), with random weights of the size that training gives them; and
three more: an LSTM with a mask, one in both directions, and two GRUs in both directions
with a mask. The plan varies one axis at a time:

====================  ======  ===========  ===================================
                      units   time steps   rows
====================  ======  ===========  ===================================
every recipe          40      26           1, 32, 256, 3,463
SimpleRNN and LSTM    40      26           100,000
LSTM and GRU          256     26           3,463
LSTM                  40      100, 500     256, 3,463
masked, Bidirectional 40      26           1, 32, 3,463
====================  ======  ===========  ===================================

3,463 rows of 26 steps are the chapter's test tweets. ``--quick`` measures 1, 32 and
3,463 rows of the first line; ``--full`` measures every combination except 100,000 rows
of more than 26 steps, which takes about two hours.

`benchmarks.turns` says how times are measured. A time is the median over the turns of a
competitor, given with the quartiles; a ratio is the median of the ratios round by
round. *limit* is the time of the matrix products and the activations alone
(`benchmarks.limit`). Peak memory is measured in fresh processes (`benchmarks.memory`).

The whole plan writes speed.json, speed.md and speed.png to benchmarks/results; a part
of it writes them only with ``--out``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.competitors import (
    COMPETITORS,
    RUNTIME_OF,
    Case,
    Predict,
    Ready,
    forget,
    prepare,
    take_turn,
)
from benchmarks.ending import ended
from benchmarks.machine import Machine, busy_seconds
from benchmarks.memory import measured_growth
from benchmarks.models import OTHER_MODELS, build
from benchmarks.output import RESULTS_FOLDER
from benchmarks.results import (
    MAX_DIFFERENCE,
    TABLE_HEADS,
    Measured,
    Results,
    case_line,
)
from benchmarks.turns import BenchmarkError, Round, Turns, Worker, rounds_of
from recipes import SENTIMENT_RECIPES
from verify.console.tables import markdown_table
from verify.tolerance.compare import compare

ROWS, QUICK_ROWS = (1, 32, 256, 3463, 100_000), (1, 32, 3463)
LENGTHS, UNITS = (26, 100, 500), (40, 256)
MEMORY_ROWS, QUICK_MEMORY_ROWS = (3463, 100_000, 1_000_000), (3463, 100_000)
MODELS = (*SENTIMENT_RECIPES, *OTHER_MODELS)
MEMORY_MODEL = ("sentiment_lstm", 40, 26)

CASE_SECONDS = 5.0
"""Seconds for all turns of a case; slow competitors take more."""

REQUIRED_PACKAGES = ("keras", "tensorflow", "jax", "onnx", "onnxruntime")


def plan(which: str, models: Iterable[str]) -> list[Case]:
    """Return the cases of a plan; those of the same model file follow each other.

    Parameters
    ----------
    which : "quick", "usual" or "full"
    models : names of recipes
    """
    cases = []
    for model in models:
        if which == "quick":
            cases += [Case(model, 40, 26, rows) for rows in QUICK_ROWS]
        elif which == "full":
            cases += [
                Case(model, units, length, rows)
                for units in UNITS
                for length in LENGTHS
                for rows in ROWS
                if rows * length <= ROWS[-1] * LENGTHS[0]
            ]
        else:
            if model in OTHER_MODELS:
                cases += [Case(model, 40, 26, rows) for rows in QUICK_ROWS]
                continue
            most = len(ROWS) if model in ("sentiment_rnn", "sentiment_lstm") else -1
            cases += [Case(model, 40, 26, rows) for rows in ROWS[:most]]
            if model == "sentiment_lstm":
                cases += [
                    Case(model, 40, length, rows)
                    for length in LENGTHS[1:]
                    for rows in (256, 3463)
                ]
            if model in ("sentiment_lstm", "sentiment_gru"):
                cases.append(Case(model, 256, 26, 3463))
    return cases


def measure(
    case: Case, workers: dict[str, Worker], folder: Path, seconds: float
) -> Measured:
    """Measure one case: prepare the competitors, compare their outputs, take turns."""
    ready: dict[str, Ready] = {}
    for kind in COMPETITORS:
        worker = workers[kind.home]
        ready[kind.title] = worker.ask(prepare, kind.title, str(folder), case)
    differences = differences_of(ready)
    turns = {
        kind.title: Turns(_turn(workers[kind.home], kind.title), ready[kind.title].once)
        for kind in COMPETITORS
        if differences.get(kind.title, 0.0) <= MAX_DIFFERENCE or kind is COMPETITORS[0]
    }
    rounds: list[Round] = rounds_of(turns, COMPETITORS[0].title, seconds)
    for worker in workers.values():
        worker.ask(forget)
    ways = {title: prepared.way for title, prepared in ready.items()}
    tried = {title: prepared.tried for title, prepared in ready.items()}
    return Measured(case, ways, tried, differences, rounds)


def differences_of(
    ready: dict[str, Ready], reference: str = Predict.title
) -> dict[str, float]:
    """Return the greatest difference of each competitor's outputs from Keras's.

    It is NaN if one of the numbers is NaN.
    """
    keras = ready[reference].output
    return {
        title: compare(prepared.output, keras, allowed=MAX_DIFFERENCE).max_diff
        for title, prepared in ready.items()
        if prepared.output is not None and keras is not None
    }


def _turn(worker: Worker, title: str) -> Callable[[int], float]:
    return lambda calls: worker.ask(take_turn, title, calls)


def run(which: str, models: Iterable[str], seconds: float, out: Path | None) -> Results:
    """Measure the cases of a plan, print a row for each, and write the results."""
    cases = plan(which, models)
    load = os.getloadavg()[0]
    began, busy, ours = time.monotonic(), busy_seconds(), time.process_time()
    machine = Machine.here()
    measured: list[Measured] = []
    workers = {home: Worker(home, settings) for home, settings in RUNTIME_OF.items()}
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            print(markdown_table(TABLE_HEADS, []), flush=True)
            for case in cases:
                if not (folder / case.file).exists():
                    workers["Keras on TensorFlow"].ask(
                        build, case.model, case.units, case.length, folder / case.file
                    )
                measured.append(measure(case, workers, folder, seconds))
                print(case_line(measured[-1]), flush=True)
            ours = time.process_time() - ours
            for worker in workers.values():
                ours += worker.ask(time.process_time)
                worker.close()
            others = (busy_seconds() - busy - ours) / (time.monotonic() - began)
            memory = []
            model, units, length = MEMORY_MODEL
            path = folder / Case(model, units, length, 1).file
            if path.exists():
                wanted = QUICK_MEMORY_ROWS if which == "quick" else MEMORY_ROWS
                memory = [measured_growth(path, rows) for rows in wanted]
    finally:
        for worker in workers.values():
            worker.close()
    results = Results(
        machine, which, load, others, time.monotonic() - began, measured, memory
    )
    print("\n" + results.summary())
    if out is not None:
        from benchmarks.drawing import write

        write(results, out)
        print(f"Wrote speed.json, speed.md and speed.png to {out}", file=sys.stderr)
    return results


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; return 1 if the outputs of a competitor differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a few minutes")
    size.add_argument("--full", action="store_true", help="every combination")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MODELS,
        metavar="MODEL",
        help=", ".join(MODELS),
    )
    parser.add_argument(
        "--seconds", type=float, default=CASE_SECONDS, help="for all turns of a case"
    )
    parser.add_argument("--out", type=Path, help="the folder to write to")
    arguments = parser.parse_args(argv)
    which = "quick" if arguments.quick else "full" if arguments.full else "usual"
    out = arguments.out
    if out is None and not arguments.quick and not arguments.only:
        out = RESULTS_FOLDER

    def work() -> int:
        if not arguments.seconds > 0:
            raise BenchmarkError(
                f"--seconds: expected more than 0. Received: {arguments.seconds:g}"
            )
        for name in REQUIRED_PACKAGES:
            if importlib.util.find_spec(name) is None:
                raise BenchmarkError(
                    f"expected {name} to be installed; make bench installs it"
                )
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        results = run(which, arguments.only or MODELS, arguments.seconds, out)
        return int(bool(results.different()))

    return ended("benchmarks.speed", work)


if __name__ == "__main__":
    sys.exit(main())
