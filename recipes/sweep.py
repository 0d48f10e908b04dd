"""Sweeps: every combination of some options of the sentiment recipes, several seeds.

    rnn-recipe sweep --recipes sentiment_lstm,sentiment_gru --padding pre,post
    rnn-recipe sweep --units 20,40 --mask-zero both --dask tcp://scheduler:8786

Every model is an ordinary run in a sub-folder of the sweep's, trained in a process of
its own, several at once, and verified. The seed alone decides its weights, not how many
processes there are nor on which machine of one kind it was trained. A sweep goes on
with ``--resume``, and may grow: combinations that are new are trained, finished ones
are kept.

It leaves ``sweep.csv``, one row a run; ``summary.csv``, one row a combination, with
mean, range and standard deviation over the seeds; ``sweep.png``; ``metrics.json``.
"""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from recipes import plots
from recipes.data.tweets import load_words
from recipes.run import summary
from recipes.run.folder import RunFolder, as_csv
from recipes.run.many import (
    SCORES,
    Job,
    JobResult,
    Part,
    Study,
    TrainedPart,
    require_valid,
)
from recipes.run.options import RunOptions
from recipes.run.plan import module, stored_options, whole_numbers
from recipes.run.summary import Spread
from recipes.run.workers import WORKER_MODULES, in_processes, on_cluster, process_count
from verify.cluster import LOCAL, connected, require_address
from verify.console.tables import text_table
from verify.errors import DataError, printable

NAME = "sweep"
STUDY_FILES = ("sweep.csv", "summary.csv", "sweep.png")

FIXED = ("batch_size", "embedding")
"""What all runs of a sweep have in common, also those that ``--resume`` adds."""

MAX_RUNS = 10_000
"""More than these are a slip of the pen."""

MAX_FIGURE_ROWS = 150
"""Of the figure, which grows with them."""


@dataclass(frozen=True)
class Config:
    """What is varied: the values of each option, and what all runs have in common."""

    recipes: tuple[str, ...] = ("sentiment_lstm",)
    seeds: tuple[int, ...] = (42, 43, 44)
    padding: tuple[str, ...] = ("post",)
    mask_zero: tuple[bool, ...] = (False,)
    units: tuple[int, ...] = (40,)
    lengths: tuple[int | None, ...] = (None,)
    epochs: tuple[int, ...] = (3,)
    batch_size: int = 32
    embedding: int = 32

    def __post_init__(self) -> None:
        require_valid(0, 1, self.recipes)
        for name, (most, least) in LIMITS.items():
            _require_numbers(name, getattr(self, name), least, most)
        lengths = [n for n in self.lengths if n is not None]
        if lengths or len(self.lengths) != 1:
            _require_numbers("lengths", self.lengths, 1, 1000)
        for name, known in KNOWN.items():
            values = getattr(self, name)
            if not values or len({*values}) < len(values) or {*values} - {*known}:
                raise DataError(
                    f"{name}: expected some of {', '.join(map(str, known))}, each "
                    f"once. Received: {printable(', '.join(map(str, values)) or 'none')}"
                )
        if self.runs > MAX_RUNS:
            raise DataError(
                f"sweep: expected at most {MAX_RUNS:,} runs. Received: options with "
                f"{self.runs:,} combinations"
            )

    @property
    def runs(self) -> int:
        """How many models it trains."""
        values = [getattr(self, field.name) for field in fields(self)]
        number = 1
        for one in values:
            number *= len(one) if isinstance(one, tuple) else 1
        return number


LIMITS: dict[str, tuple[int, int]] = {
    "seeds": (2**32 - 1, 0),
    "units": (4096, 1),
    "epochs": (10**6, 1),
}
KNOWN: dict[str, tuple[Any, ...]] = {
    "padding": ("pre", "post"),
    "mask_zero": (False, True),
}


def _require_numbers(name: str, values: Sequence[Any], least: int, most: int) -> None:
    good = [n for n in values if type(n) is int and least <= n <= most]
    if not good or len({*good}) < len(values):
        raise DataError(
            f"{name}: expected different whole numbers from {least} to {most:,}. "
            f"Received: {printable(', '.join(map(str, values)) or 'none')}"
        )


@dataclass(frozen=True)
class Combination:
    """The options of a run but for its seed."""

    recipe: str
    padding: str
    mask_zero: bool
    units: int
    length: int | None
    epochs: int

    def words(self, varied: Sequence[str]) -> str:
        """``sentiment_lstm, pre, masked, 40 units``: the options that differ."""
        said = {
            "recipe": self.recipe,
            "padding": self.padding,
            "mask_zero": "masked" if self.mask_zero else "no mask",
            "units": f"{self.units} units",
            "length": "own length" if self.length is None else f"{self.length} steps",
            "epochs": f"{self.epochs} epoch{'' if self.epochs == 1 else 's'}",
        }
        return ", ".join(said[key] for key in varied)

    def folder(self, seed: int) -> str:
        """The name of a run's folder: all options, so that a sweep may grow."""
        length = "" if self.length is None else f"-length{self.length}"
        mask = "masked" if self.mask_zero else "unmasked"
        return (
            f"{self.recipe}-{self.padding}-{mask}-units{self.units}{length}"
            f"-epochs{self.epochs}-{seed}"
        )


OPTIONS = tuple(field.name for field in fields(Combination))


@dataclass(frozen=True)
class Results:
    """What a sweep has measured, on the test tweets.

    Attributes
    ----------
    trained : mapping of Combination to list of TrainedPart
        One a seed; without those that failed.
    baselines : mapping of str to (accuracy, macro-F1)
    failures : mapping of str to str
        Why there is no such run.
    test_rows : int
        Test tweets.
    """

    trained: dict[Combination, list[TrainedPart]]
    baselines: dict[str, tuple[float, float]]
    failures: dict[str, str]
    test_rows: int

    @property
    def runs(self) -> list[TrainedPart]:
        """Every run that has been trained."""
        return [one for found in self.trained.values() for one in found]

    @property
    def varied(self) -> list[str]:
        """The options that are not the same in all combinations; the recipe always."""
        return [
            key
            for key in OPTIONS
            if key == "recipe" or len({getattr(c, key) for c in self.trained}) > 1
        ]

    def spread(self, combination: Combination, score: str) -> Spread:
        """Of a score over the seeds."""
        return Spread.of(one.scores[score] for one in self.trained[combination])


def combinations(config: Config) -> list[Combination]:
    """Every combination, recipe by recipe."""
    return [
        Combination(*values)
        for values in itertools.product(
            config.recipes, config.padding, config.mask_zero, config.units,
            config.lengths, config.epochs,
        )
    ]  # fmt: skip


def parts(config: Config) -> dict[Part, Combination]:
    """Every model, all of one seed before the next seed."""
    made = {}
    for seed, combination in itertools.product(config.seeds, combinations(config)):
        own = {**asdict(combination), "seed": seed}
        recipe = own.pop("recipe")
        common = {key: getattr(config, key) for key in FIXED}
        run = module(recipe).Config(**own, **common)
        made[Part(combination.folder(seed), recipe, run)] = combination
    return made


@dataclass(frozen=True)
class Where:
    """Where the models are trained: in processes here, or on a Dask cluster."""

    processes: int | None = None
    dask: str | None = None

    def __post_init__(self) -> None:
        if self.processes is not None and self.dask not in (None, LOCAL):
            raise DataError(
                "expected --processes or --dask. Received: both; how many workers "
                "there are is the cluster's to say"
            )
        if self.dask is not None:
            require_address(self.dask)


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep as it was asked for on the command line."""

    config: Config
    options: RunOptions
    where: Where


def plan(
    given: Mapping[str, Any], out: str, *, resume: bool, where: Where
) -> PlannedSweep:
    """Check everything that can be checked before anything is trained.

    Parameters
    ----------
    given : mapping
        Options given on the command line, as text; ``csv`` among them.
    out : str
        The folder of the sweep.
    resume : bool
        Options that are not given are then those that the sweep was begun with.
    where : Where

    Raises
    ------
    DataError
        An option or the folder cannot be used, or the tweets cannot.
    """
    if not out.strip():
        raise DataError("--out: expected a folder. Received: an empty name")
    folder = RunFolder(out)
    begun = folder.examine(NAME, resume=resume)
    own: dict[str, Any] = {
        key: READ[key](key, value) if key in READ else value
        for key, value in given.items()
    }
    if resume and begun is not None:
        own = stored_options(begun, Config()) | own
    csv = own.pop("csv", None)
    config = Config(**own)
    words = ["rnn-recipe", NAME]
    for key, value in {**given, "out": out}.items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    for option, value in asdict(where).items():
        words += [] if value is None else [f"--{option}", str(value)]
    load_words(csv)
    begun_here = resume and begun is not None
    return PlannedSweep(
        config, RunOptions(folder, begun_here, csv, shlex.join(words)), where
    )


def _names(key: str, text: str) -> tuple[str, ...]:
    return tuple(name.strip().replace("-", "_") for name in text.split(","))


def _masks(key: str, text: str) -> tuple[bool, ...]:
    return {"off": (False,), "on": (True,), "both": (False, True)}[text]


READ: dict[str, Callable[[str, str], tuple[Any, ...]]] = {
    "recipes": _names,
    "padding": _names,
    "mask_zero": _masks,
    "seeds": whole_numbers,
    "units": whole_numbers,
    "lengths": whole_numbers,
    "epochs": whole_numbers,
}
"""How options with several values are read."""


def run(config: Config, options: RunOptions, where: Where) -> Results:
    """Train what is not finished, verify, summarise; results on stdout.

    Raises
    ------
    DataError
        The data, the folder or one of its runs cannot be used.
    verify.cluster.ClusterError
    recipes.run.many.StudyInterrupted
        On Ctrl-C.
    """
    failures: dict[str, str] = {}
    wanted = parts(config)
    found = Study(
        NAME,
        config,
        list(wanted),
        options,
        STUDY_FILES,
        trainer=partial(_train, where=where, csv=options.csv, failures=failures),
        fixed={key: getattr(config, key) for key in FIXED},
    ).train()
    trained: dict[Combination, list[TrainedPart]] = {}
    for combination in combinations(config):
        mine = [one for one in found if wanted[one.part] == combination]
        if mine:
            trained[combination] = mine
    results = Results(
        trained,
        summary.baseline_scores(options.csv),
        failures,
        len(load_words(options.csv).y_test),
    )
    if trained:
        _write(config, results, options)
        _print(config, results)
    for name, why in failures.items():
        print(f"{NAME}: {name} failed: {printable(why, 300)}", file=sys.stderr)
    print(f"\nEverything is in {printable(options.folder.path)}", file=sys.stderr)
    return results


def _train(
    jobs: Sequence[Job], where: Where, csv: str | None, failures: dict[str, str]
) -> Iterator[JobResult]:
    """The trainer: it notes what failed, and goes on."""
    if not jobs:
        return
    for ended in _train_there(jobs, where, csv):
        if ended.failure:
            failures[ended.name] = ended.failure
        yield ended


def _train_there(
    jobs: Sequence[Job], where: Where, csv: str | None
) -> Iterator[JobResult]:
    if where.dask is None:
        yield from in_processes(jobs, where.processes or process_count(len(jobs)))
        return
    tweets = None if csv is None else Path(csv).read_bytes()
    number = min(where.processes or process_count(len(jobs)), len(jobs))
    with connected(where.dask, processes=number, modules=WORKER_MODULES) as cluster:
        yield from on_cluster(jobs, cluster, tweets)


def exit_code(results: Results) -> int:
    """1 where a verification failed, 2 where a run did, 3 where one is inconclusive."""
    codes = {one.verdict.exit_code for one in results.runs}
    codes |= {2} if results.failures else set()
    return next((code for code in (1, 2, 3) if code in codes), 0)


def table(results: Results) -> str:
    """Accuracy and macro-F1 by combination: mean, range, standard deviation."""
    rows = []
    for combination, runs in results.trained.items():
        accuracy, f1, best = (
            results.spread(combination, score)
            for score in ("accuracy", "macro_f1", "best_accuracy")
        )
        rows.append(
            [
                combination.words(results.varied), str(len(runs)),
                *accuracy.cells, f"{f1.mean:.4f}", f"{best.mean:.4f}",
            ]
        )  # fmt: skip
    for key, (value, value_f1) in results.baselines.items():
        cells = ["", f"{value:.4f}", "", "", f"{value_f1:.4f}", ""]
        rows.append([summary.BASELINES[key], *cells])
    headings = ["", "seeds", "accuracy", "lowest..highest", "sd", "macro-F1", "best"]
    return text_table([headings, *rows], numbers=True)


def _print(config: Config, results: Results) -> None:
    first = next(iter(results.trained))
    same = [key for key in OPTIONS if key not in results.varied]
    seeds = ", ".join(map(str, config.seeds))
    print(
        f"{NAME}: {len(results.runs)} models, {len(results.trained)} combination(s), "
        f"seeds {printable(seeds, 60)}; all with {first.words(same)}\n"
        if same
        else f"{NAME}: {len(results.runs)} models, seeds {printable(seeds, 60)}\n"
    )
    print(f"{table(results)}\n")
    accuracy = results.baselines["tfidf_logistic_regression"][0]
    error = summary.sampling_error(accuracy, results.test_rows)
    print(
        "accuracy and macro-F1: after the last epoch; best: accuracy of the best epoch,"
        "\nchosen by these same test tweets; sampling error of one accuracy near "
        f"{accuracy:.2f}: +-{error:.4f} (95 %, {results.test_rows:,} tweets)\n"
    )
    print(summary.verdict_line(results.runs))


def summary_csv(results: Results) -> bytes:
    """One row a combination, at full precision."""
    kinds = ("mean", "low", "high", "deviation")
    rows = []
    for combination, runs in results.trained.items():
        spreads = [asdict(results.spread(combination, score)) for score in SCORES]
        numbers = [spread[kind] for spread in spreads for kind in kinds]
        rows.append([*asdict(combination).values(), len(runs), *numbers])
    scores = [f"{score}_{kind}" for score in SCORES for kind in kinds]
    return as_csv([*OPTIONS, "seeds", *scores], rows)


def figure(results: Results) -> Any:
    """Mean and range of the test accuracy over the seeds, one row a combination.

    Of very many the best, in the order in which they stand in the table.
    """
    varied = [key for key in results.varied if key != "recipe"]
    title = "Test accuracy after the last epoch"
    shown = results.trained
    if len(shown) > MAX_FIGURE_ROWS:
        title += f": the {MAX_FIGURE_ROWS} best of {len(shown):,} combinations"
        best = sorted(
            shown, key=lambda c: results.spread(c, "accuracy").mean, reverse=True
        )
        kept = set(best[:MAX_FIGURE_ROWS])
        shown = {c: runs for c, runs in shown.items() if c in kept}
    groups: dict[str, dict[str, list[float]]] = {}
    for combination, runs in shown.items():
        group, label = combination.recipe, combination.words(varied)
        if not varied:
            group, label = "", combination.recipe
        rows = groups.setdefault(group, {})
        rows[label] = [one.scores["accuracy"] for one in runs]
    baselines: Mapping[str, float] = {
        summary.BASELINES[name]: accuracy
        for name, (accuracy, _) in results.baselines.items()
    }
    return plots.ranges(groups, title, baselines=baselines)


def _write(config: Config, results: Results, options: RunOptions) -> None:
    metrics = summary.metrics(
        NAME,
        results.runs,
        options.csv,
        **asdict(config),
        summary=[
            {
                **asdict(combination),
                "runs": [one.part.name for one in runs],
                **{s: asdict(results.spread(combination, s)) for s in SCORES},
            }
            for combination, runs in results.trained.items()
        ],
        failures=results.failures,
    )
    columns = ("padding", "mask_zero", "units", "length", "epochs", "seed")
    files = {
        "sweep.csv": summary.rows_csv(results.runs, columns),
        "summary.csv": summary_csv(results),
        "sweep.png": plots.png(figure(results)),
    }
    summary.write(options, metrics, files)
