"""Measure ``rnn-recipe run`` beside a bare TensorFlow script, whole processes.

    python -m benchmarks.training
    python -m benchmarks.training --epochs 10 --recipe sentiment_lstm --times 3

The bare script does what the chapter's does: it reads the tweets, builds the network,
compiles it as the chapter does, and calls ``fit`` of Keras on TensorFlow once, with the
test data as validation data. ``rnn-recipe run`` also keeps a history and a checkpoint
after every epoch, scores two baselines, draws the curves and verifies the model in
NumPy. Each side runs in a process of its own, from its start to its end, and the two
take turns in starting first.

Seconds depend on what else the machine does; those of the processor, all threads and
processes together, hardly do. With ``--first`` a run is measured that finds no
compilations of earlier ones, as after installation. Rows go to
``benchmarks/results/training.json`` and ``training.md``, each in the place of an
earlier one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import Machine
from benchmarks.output import RESULTS_FOLDER, digits, in_json, put
from recipes import SENTIMENT_RECIPES
from recipes.run.plan import module
from verify.console.tables import markdown_row, markdown_table

RESULTS = RESULTS_FOLDER / "training.json"

BARE, RUN, FIRST = "bare", "run", "first"

HEADINGS = (
    "recipe", "epochs", "bare script, s", "run, s", "times as fast",
    "bare script, cpu s", "run, cpu s", "times as cheap", "first run, s",
    "first run, cpu s",
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Hold the seconds of a process, and those of the processor."""

    seconds: float
    cpu: float


@dataclass
class Row:
    """Hold the costs of one recipe, trained for some epochs, by side."""

    recipe: str
    epochs: int
    costs: dict[str, list[Cost]] = field(default_factory=dict)

    def median(self, side: str, what: str) -> float | None:
        """Return the median seconds, or ``cpu`` seconds, of a side, if measured."""
        found = [getattr(cost, what) for cost in self.costs.get(side, ())]
        return statistics.median(found) if found else None

    def ratio(self, what: str) -> float:
        """Return how many times the run's the bare script's costs are: median of pairs.

        Parameters
        ----------
        what : ``seconds`` or ``cpu``
        """
        pairs = zip(self.costs[BARE], self.costs[RUN], strict=True)
        return statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs)

    def cells(self) -> list[str]:
        """Return the row of the table."""
        shown = [f"`{self.recipe}`", str(self.epochs)]
        for what in ("seconds", "cpu"):
            shown += [digits(self.median(side, what) or 0) for side in (BARE, RUN)]
            shown.append(f"{self.ratio(what):.1f}")
        for what in ("seconds", "cpu"):
            first = self.median(FIRST, what)
            shown.append("" if first is None else digits(first))
        return shown


def bare(recipe: str, epochs: int) -> None:
    """Train as the chapter's script does: data, model, one call of fit."""
    import keras

    from recipes.data.tweets import load_split
    from recipes.run.training import one_hot

    split = load_split(None, "post")
    config = module(recipe).Config()
    keras.utils.set_random_seed(config.seed)
    model = module(recipe).build_model(
        config, split.pipeline.vocabulary.size, split.pipeline.length
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        split.x_train,
        one_hot(split.y_train, 2),
        epochs=epochs,
        batch_size=config.batch_size,
        validation_data=(split.x_test, one_hot(split.y_test, 2)),
    )


def cost(side: str, recipe: str, epochs: int) -> Cost:
    """Run one side in a process, and measure it.

    Raises
    ------
    RuntimeError
        The process failed, or the model was not verified.
    """
    variables = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    variables["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with tempfile.TemporaryDirectory() as folder:
        if side == BARE:
            command = ["benchmarks.training", "--bare", "--recipe", recipe]
            variables["KERAS_BACKEND"] = "tensorflow"
        else:
            command = ["recipes", "run", recipe, "--out", f"{folder}/run"]
        if side == FIRST:
            variables["XDG_CACHE_HOME"] = f"{folder}/cache"
        command = [sys.executable, "-m", *command, "--epochs", str(epochs)]
        began, before = time.perf_counter(), _cpu_of_children()
        done = subprocess.run(command, capture_output=True, text=True, env=variables)
        seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return Cost(seconds, _cpu_of_children() - before)


def _cpu_of_children() -> float:
    """Return the processor seconds of all processes that have ended, so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(recipe: str, epochs: int, times: int, *, first: bool) -> Row:
    """Measure pairs of the bare script and the run.

    Parameters
    ----------
    recipe : str
    epochs, times : int
        Epochs of each training, and the number of pairs.
    first : bool
        Whether to measure a run without the compilations of earlier runs, too.
    """
    row = Row(recipe, epochs, {BARE: [], RUN: []})
    if first:
        row.costs[FIRST] = [cost(FIRST, recipe, epochs)]
    for k in range(times):
        for side in (BARE, RUN) if k % 2 == 0 else (RUN, BARE):
            found = cost(side, recipe, epochs)
            row.costs[side].append(found)
            print(
                f"  {recipe}, {epochs} epochs, {side}: {found.seconds:.1f} s, "
                f"{found.cpu:.1f} s of the processor",
                file=sys.stderr,
                flush=True,
            )
    return row


def page(rows: Sequence[Row], machine: str) -> str:
    """Return the results as a page in Markdown."""
    lines = [
        "# What a run takes beside the bare TensorFlow script",
        "",
        f"{machine}, by `python -m benchmarks.training`.",
        "",
        markdown_table(HEADINGS, [markdown_row(*row.cells()) for row in rows]),
    ]
    return "\n".join(lines) + "\n"


def ratios(rows: Sequence[Row]) -> str:
    """Return the table of docs/speed.md: how many times as fast, and as cheap."""
    found = {(row.recipe, row.epochs): row for row in rows}
    epochs = sorted({row.epochs for row in rows})
    headings = ["recipe"]
    for what in ("seconds", "seconds of the processor"):
        headings += [f"{n} epochs, {what}" for n in epochs]
    lines = []
    for recipe in SENTIMENT_RECIPES:
        own = [found.get((recipe, n)) for n in epochs]
        shown = [
            f"{row.ratio(what):.1f}" if row else ""
            for what in ("seconds", "cpu")
            for row in own
        ]
        lines += [markdown_row(f"`{recipe}`", *shown)] if any(own) else []
    return markdown_table(headings, lines)


def read(path: Path = RESULTS) -> list[Row]:
    """Read the rows of `training.json`; none if there is no such file."""
    if not path.exists():
        return []
    document = json.loads(path.read_text(encoding="utf-8"))
    return [
        Row(
            row["recipe"],
            row["epochs"],
            {side: [Cost(**one) for one in x] for side, x in row["costs"].items()},
        )
        for row in document["rows"]
    ]


def write(row: Row, path: Path = RESULTS) -> None:
    """Write the results with this row, which replaces an earlier one of its kind."""
    known = {(one.recipe, one.epochs): one for one in read(path)}
    known[row.recipe, row.epochs] = row
    order = [*SENTIMENT_RECIPES]
    rows = sorted(known.values(), key=lambda one: (one.epochs, order.index(one.recipe)))
    machine = Machine.here()
    document = {
        "machine": dataclasses.asdict(machine),
        "rows": [dataclasses.asdict(one) for one in rows],
    }
    put(in_json(document).encode(), path)
    put(page(rows, machine.words()).encode(), path.with_suffix(".md"))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print each row and write it into the results."""
    parser = argparse.ArgumentParser(description="A run beside the bare Keras script.")
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 50])
    parser.add_argument(
        "--recipe", nargs="+", choices=SENTIMENT_RECIPES, default=SENTIMENT_RECIPES
    )
    parser.add_argument("--times", type=int, default=3, help="pairs of each row")
    parser.add_argument(
        "--first",
        action="store_true",
        help="measure a run without the compilations of earlier runs, too",
    )
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if min(given.epochs) < 1 or given.times < 1:
        parser.error("--epochs and --times: expected numbers from 1")
    if given.bare:
        bare(given.recipe[0], given.epochs[0])
        return
    for recipe in given.recipe:
        cost(RUN, recipe, 1)  # compiles, if no earlier run has
        for epochs in given.epochs:
            row = measure(recipe, epochs, given.times, first=given.first)
            print(markdown_row(*row.cells()), flush=True)
            write(row)
    print(f"\n{ratios(read())}")


if __name__ == "__main__":
    main()
