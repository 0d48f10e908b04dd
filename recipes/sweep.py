"""Train every combination of some options of the sentiment recipes, over seeds.

    rnn-recipe sweep --recipes sentiment_lstm,sentiment_gru --padding pre,post
    rnn-recipe sweep --units 20,40 --mask-zero both --dask tcp://scheduler:8786
    python recipes/sweep.py --recipes sentiment_lstm

Every model is an ordinary run in a sub-folder of the sweep. The models are trained in
separate processes, several at once, and each is verified. The weights of a model depend
on its options and its seed alone, not on the number of processes, nor on the machine as
long as its kind of processor is the same. A sweep goes on with ``--resume`` and may
grow: new combinations are trained, finished ones are kept.

It writes ``sweep.csv``, one row a run; ``summary.csv``, one row a combination, with
mean, range and standard deviation over the seeds; ``sweep.png``; ``metrics.json``.
"""

from __future__ import annotations

import itertools
import math
import select
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from recipes import plots, script
from recipes.data.tweets import load_words
from recipes.run import summary
from recipes.run.backend import require_same_backend, use
from recipes.run.checks import (
    MAX_LENGTH,
    require_choices,
    require_numbers,
    require_sentiment_recipes,
)
from recipes.run.finish import print_folder
from recipes.run.folder import RunFolder, as_csv
from recipes.run.options import RunOptions
from recipes.run.plan import module, stored_options, whole_numbers
from recipes.run.study import (
    SCORES,
    Job,
    JobResult,
    Part,
    Study,
    TrainedPart,
)
from recipes.run.summary import Spread
from recipes.run.workers import WORKER_MODULES, in_processes, on_cluster, process_count
from verify.checks.cluster import LOCAL, Tls, connected, require_address
from verify.console.tables import text_table
from verify.errors import DataError, join_and, printable

NAME = "sweep"
STUDY_FILES = ("sweep.csv", "summary.csv", "sweep.png")

FIXED = ("batch_size", "embedding")
"""Options with one value for the whole sweep, also for runs that ``--resume`` adds."""

MAX_RUNS = 10_000
"""Greatest number of runs of one sweep; more are most likely a mistake."""

MAX_FIGURE_ROWS = 150
"""Greatest number of rows of the figure, whose height grows with them."""


@dataclass(frozen=True)
class Config:
    """List the values of each option that is varied, and the options all runs share."""

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
        require_sentiment_recipes(self.recipes)
        require_numbers("seeds", self.seeds, 0, 2**32 - 1)
        require_numbers("units", self.units, 1, 4096)
        require_numbers("epochs", self.epochs, 1, 10**6)
        if self.lengths != (None,):
            require_numbers("lengths", self.lengths, 1, MAX_LENGTH)
        require_choices("padding", self.padding, ("pre", "post"))
        require_choices("mask_zero", self.mask_zero, (False, True))
        if self.runs > MAX_RUNS:
            raise DataError(
                f"sweep: expected at most {MAX_RUNS:,} runs. Received: options with "
                f"{self.runs:,} combinations"
            )

    @property
    def runs(self) -> int:
        """Return the number of models to train."""
        values = (getattr(self, field.name) for field in fields(self))
        return math.prod(len(some) for some in values if isinstance(some, tuple))


@dataclass(frozen=True)
class Combination:
    """Hold the options of a run but for its seed."""

    recipe: str
    padding: str
    mask_zero: bool
    units: int
    length: int | None
    epochs: int

    def words(self, varied: Sequence[str]) -> str:
        """Name the varied options: ``sentiment_lstm, pre, masked, 40 units``."""
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
        """Return the name of a run's folder.

        It names all options, so that the folders stay apart when the sweep grows.
        """
        length = "" if self.length is None else f"-length{self.length}"
        mask = "masked" if self.mask_zero else "unmasked"
        return (
            f"{self.recipe}-{self.padding}-{mask}-units{self.units}{length}"
            f"-epochs{self.epochs}-{seed}"
        )


OPTIONS = tuple(field.name for field in fields(Combination))


@dataclass(frozen=True)
class Results:
    """Hold the measurements of a sweep, on the test tweets.

    Attributes
    ----------
    trained : mapping of Combination to list of TrainedPart
        One for each seed, without those that failed.
    baselines : mapping of str to (accuracy, macro-F1)
    failures : mapping of str to str
        Why a run failed, by its name.
    test_rows : int
        The number of test tweets.
    """

    trained: dict[Combination, list[TrainedPart]]
    baselines: dict[str, tuple[float, float]]
    failures: dict[str, str]
    test_rows: int

    @property
    def runs(self) -> list[TrainedPart]:
        """Return all runs that have been trained."""
        return [one for found in self.trained.values() for one in found]

    @property
    def varied(self) -> list[str]:
        """Return the options that differ between combinations; the recipe always."""
        return [
            key
            for key in OPTIONS
            if key == "recipe" or len({getattr(c, key) for c in self.trained}) > 1
        ]

    def spread(self, combination: Combination, score: str) -> Spread:
        """Return the spread of a combination's score over the seeds."""
        return Spread.of(one.scores[score] for one in self.trained[combination])


def combinations(config: Config) -> list[Combination]:
    """Return every combination, recipe by recipe."""
    return [
        Combination(*values)
        for values in itertools.product(
            config.recipes, config.padding, config.mask_zero, config.units,
            config.lengths, config.epochs,
        )
    ]  # fmt: skip


def parts(config: Config) -> dict[Part, Combination]:
    """Return every model with its combination, seed by seed."""
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
    """Say where models are trained: in processes here, or on a Dask cluster."""

    processes: int | None = None
    dask: str | None = None
    tls: Tls = field(default_factory=Tls)

    def __post_init__(self) -> None:
        if self.processes is not None and self.dask not in (None, LOCAL):
            raise DataError(
                "expected --processes or --dask. Received: both; how many workers "
                "there are is the cluster's to say"
            )
        if self.dask is not None:
            require_address(self.dask, self.tls)
        elif self.tls.given:
            raise DataError(
                f"{join_and(self.tls.given)}: expected --dask tls://host:8786. "
                "Received: none"
            )

    @property
    def given(self) -> dict[str, str]:
        """Return what is given, by the option of the command."""
        own = {"--processes": self.processes, "--dask": self.dask}
        named = {option: str(x) for option, x in own.items() if x is not None}
        return named | self.tls.given


@dataclass(frozen=True)
class PlannedSweep:
    """Describe a sweep: ``run(config, options, where)``."""

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
        Options given on the command line, as text; ``csv`` and ``backend`` among them.
    out : str
        The folder of the sweep.
    resume : bool
        Whether to take options that are not given from the earlier sweep.
    where : Where

    Raises
    ------
    DataError
        An option or the folder cannot be used, or the tweets cannot.
    """
    if not out.strip():
        raise DataError("--out: expected a folder. Received: an empty name")
    if not hasattr(select, "poll"):  # Windows, where processes share no pipe so
        raise DataError(
            "sweep: expected Linux or macOS. Received: another system. rnn-recipe run "
            "trains one model at a time"
        )
    folder = RunFolder(out)
    begun = folder.examine(NAME, resume=resume)
    own: dict[str, Any] = {
        key: READERS[key](key, value) if key in READERS else value
        for key, value in given.items()
        if key != "backend"
    }
    wanted = given.get("backend")
    if resume and begun is not None:
        own = stored_options(begun, Config()) | own
        wanted = require_same_backend(folder, wanted)
    csv = own.pop("csv", None)
    config = Config(**own)
    words = ["rnn-recipe", NAME]
    for key, value in {**given, "out": out}.items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    for option, value in where.given.items():
        words += [option, value]
    load_words(csv)
    begun_here = resume and begun is not None
    options = RunOptions(
        folder, begun_here, csv, shlex.join(words), backend=use(wanted)
    )
    return PlannedSweep(config, options, where)


def _names(key: str, text: str) -> tuple[str, ...]:
    return tuple(name.strip().replace("-", "_") for name in text.split(","))


def _masks(key: str, text: str) -> tuple[bool, ...]:
    return {"off": (False,), "on": (True,), "both": (False, True)}[text]


READERS: dict[str, Callable[[str, str], tuple[Any, ...]]] = {
    "recipes": _names,
    "padding": _names,
    "mask_zero": _masks,
    "seeds": whole_numbers,
    "units": whole_numbers,
    "lengths": whole_numbers,
    "epochs": whole_numbers,
}
"""Functions that read options with several values."""


def run(config: Config, options: RunOptions, where: Where) -> Results:
    """Train the models that are not finished, verify them, and print a summary.

    Raises
    ------
    DataError
        The data, the folder or one of its runs cannot be used.
    verify.checks.cluster.ClusterError
    recipes.run.study.StudyInterrupted
        On Ctrl-C.
    """
    wanted = parts(config)
    study = Study(
        NAME,
        config,
        list(wanted),
        options,
        STUDY_FILES,
        trainer=partial(_train, where=where, csv=options.csv),
        fixed={key: getattr(config, key) for key in FIXED},
    )
    found = study.train()
    trained: dict[Combination, list[TrainedPart]] = {}
    for combination in combinations(config):
        mine = [one for one in found if wanted[one.part] == combination]
        if mine:
            trained[combination] = mine
    results = Results(
        trained,
        summary.baseline_scores(options.csv),
        study.failures,
        len(load_words(options.csv).y_test),
    )
    if trained:
        _write(config, results, options)
        _print(config, results)
    for name, why in study.failures.items():
        print(f"{NAME}: {name} failed: {printable(why, 300)}", file=sys.stderr)
    print_folder(options.folder)
    return results


def _train(jobs: Sequence[Job], where: Where, csv: str | None) -> Iterator[JobResult]:
    """Train the jobs where that was asked for; yield results as they come."""
    if not jobs:  # all runs are finished: no cluster is needed
        return
    if where.dask is None:
        yield from in_processes(jobs, where.processes or process_count(len(jobs)))
        return
    tweets = None if csv is None else Path(csv).read_bytes()
    number = min(where.processes or process_count(len(jobs)), len(jobs))
    with connected(
        where.dask, processes=number, modules=WORKER_MODULES, tls=where.tls
    ) as cluster:
        yield from on_cluster(jobs, cluster, tweets)


def exit_code(results: Results) -> int:
    """Return the exit code of a sweep.

    It is 1 if a verification failed, else 2 if a run failed, else 3 if a verification
    was inconclusive, else 0.
    """
    codes = {one.verdict.exit_code for one in results.runs}
    codes |= {2} if results.failures else set()
    return next((code for code in (1, 2, 3) if code in codes), 0)


def table(results: Results) -> str:
    """Return accuracy and macro-F1 by combination: mean, range, standard deviation."""
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
        rows.append([summary.BASELINE_NAMES[key], *cells])
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
    """Return one row a combination as CSV, at full precision."""
    kinds = ("mean", "low", "high", "deviation")
    rows = []
    for combination, runs in results.trained.items():
        spreads = [asdict(results.spread(combination, score)) for score in SCORES]
        numbers = [spread[kind] for spread in spreads for kind in kinds]
        rows.append([*asdict(combination).values(), len(runs), *numbers])
    scores = [f"{score}_{kind}" for score in SCORES for kind in kinds]
    return as_csv([*OPTIONS, "seeds", *scores], rows)


def figure(results: Results) -> Any:
    """Draw mean and range of the test accuracy over the seeds, one row a combination.

    If there are more than `MAX_FIGURE_ROWS`, only the best are drawn, in the order of
    the table.
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
    baselines = summary.baseline_accuracies(results.baselines)
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


if __name__ == "__main__":
    script(__file__)
