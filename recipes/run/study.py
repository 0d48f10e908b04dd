"""Train many models, verify each, and go on where an interrupted study stopped.

Each model of a study is an ordinary run in a sub-folder of the study's own, so it can
be looked at, resumed and used by itself:
``rnn-recipe predict runs/seeds/sentiment_lstm-42 "thank you"``. A study that was
interrupted goes on with the model it was at, and ends with the same numbers.
`recipes.run.summary` makes the tables and files of a study from its models.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import verify
from recipes import PAGE_FILE, SENTIMENT_RECIPES
from recipes.data.tweets import SentimentConfig, TweetConfig, load_words
from recipes.run import training
from recipes.run.finish import RunResult
from recipes.run.folder import RUN_FILES, RunFolder
from recipes.run.options import RunOptions
from recipes.run.plan import command_line, module
from verify.errors import DataError, VerifyError, WriteError, printable

VERIFIED_ROWS = 64
"""Test rows that each model is verified on; all of them would take longer than the
training."""

SCORES = ("accuracy", "macro_f1", "best_accuracy", "best_macro_f1")
"""Scores that a run on the tweets measures, after the last and at the best epoch."""


@dataclass(frozen=True)
class Part:
    """Name one model of a study: a recipe with its options.

    Attributes
    ----------
    name : str
        The sub-folder of the study that the run is written to.
    recipe : str
    config : Config of the recipe
    entry : str
        The function of the recipe's module that trains it, ``entry(config, options)``
        -> RunResult. It is given by its name, since parts are sent to other processes.
    in_folder_of_study : bool
        Whether the run is written to the study's own folder instead.
    """

    name: str
    recipe: str
    config: Any
    entry: str = "run"
    in_folder_of_study: bool = False


@dataclass(frozen=True)
class Job:
    """Pair a part that is to be trained with the options of its run."""

    part: Part
    options: RunOptions


@dataclass(frozen=True)
class JobResult:
    """Say how the training of a part has ended.

    Attributes
    ----------
    name : str
        The part's name.
    report : str
        The report of a verification that did not pass; else empty.
    failure : str
        Why there is no model; empty if there is one.
    """

    name: str
    report: str = ""
    failure: str = ""


Trainer = Callable[[Sequence[Job]], Iterable[JobResult]]
"""Trains jobs, in any order. When it yields a result, the run's files are written."""


@dataclass(frozen=True)
class TrainedPart:
    """Hold what was measured of a finished part; accuracies are on the test rows.

    Attributes
    ----------
    part : Part
    epochs : int
    scores : mapping of str to float
        By the names in `Study.scores`.
    best_epoch : int or None
        Counted from 1; None where no test rows were evaluated during the training.
    seconds : float
        The time of the training.
    verdict : Verdict
    max_diff : float
        The greatest |NumPy - predict|.
    """

    part: Part
    epochs: int
    scores: Mapping[str, float]
    best_epoch: int | None
    seconds: float
    verdict: verify.Verdict
    max_diff: float


@dataclass(frozen=True)
class StudyData:
    """Name the data of a study: in words, by checksum, and with notes for the user."""

    source: str
    sha256: str
    notes: Sequence[str] = ()


class StudyInterrupted(training.Interrupted):
    """Report Ctrl-C during a study; its finished models are on disk."""

    def __init__(self, done: int, of: int) -> None:
        Exception.__init__(self, f"interrupted after {done} of {of} models")


def part_config(recipe: str, config: TweetConfig, **options: Any) -> SentimentConfig:
    """Return a recipe's Config with the options of a study, and those given."""
    own = module(recipe).Config
    names = {one.name for one in fields(own)}
    shared = {key: value for key, value in asdict(config).items() if key in names}
    made: SentimentConfig = own(**(shared | options))
    return made


def train_one(job: Job) -> JobResult:
    """Train one part; what its run prints is dropped."""
    train = getattr(module(job.part.recipe), job.part.entry)
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        result: RunResult = train(job.part.config, job.options)
    report = result.report
    passed = report.verdict is verify.Verdict.PASS
    shown = report.to_text() if isinstance(report, verify.Report) and not passed else ""
    return JobResult(job.part.name, shown)


def train_here(jobs: Sequence[Job]) -> Iterable[JobResult]:
    """Train one job after the other in this process; one that fails ends the study."""
    for job in jobs:
        try:
            yield train_one(job)
        except WriteError:
            raise
        except VerifyError as error:
            raise _unusable(job.part, job.options.folder, error) from None


@dataclass(frozen=True)
class Study:
    """Train and verify every part that is not finished.

    Attributes
    ----------
    name : str
        The recipe's name.
    config : Config of the study
    parts : sequence of Part
    options : RunOptions
    files : sequence of str
        Names of the files that the study writes besides ``manifest.json`` and
        ``metrics.json``.
    trainer : Trainer
    fixed : mapping, optional
        What may not be changed with ``--resume``; all of `config` by default.
    failures : dict of str to str
        Why a part could not be trained, by its name; grows while `train` runs.
    """

    name: str
    config: Any
    parts: Sequence[Part]
    options: RunOptions
    files: Sequence[str]
    trainer: Trainer = train_here
    fixed: Mapping[str, Any] | None = None
    failures: dict[str, str] = field(default_factory=dict)

    scores: ClassVar[tuple[str, ...]] = SCORES

    @functools.cached_property
    def data(self) -> StudyData:
        """Return what all parts learn from: the tweets, unless a subclass differs."""
        tweets = load_words(self.options.csv).tweets
        return StudyData(tweets.source, tweets.sha256, tweets.notes)

    def train(self) -> list[TrainedPart]:
        """Train what is not finished; return all parts in order, without `failures`.

        Raises
        ------
        DataError
            The data, the folder or a part cannot be used.
        StudyInterrupted
            On Ctrl-C.
        """
        self.open()
        finished: dict[str, TrainedPart] = {}
        for part in self.parts if self.options.resume else ():
            trained = self._finished(part)
            if trained is not None:
                finished[part.name] = trained
        begun = f", {len(finished)} finished before" if self.options.resume else ""
        print(
            f"{self.name}: {len(self.parts)} models{begun or ' to train'}",
            file=sys.stderr,
            flush=True,
        )
        jobs = {p.name: self.job(p) for p in self.parts if p.name not in finished}
        try:
            self._train(jobs, finished)
        except (training.Interrupted, KeyboardInterrupt):
            raise StudyInterrupted(len(finished), len(self.parts)) from None
        return [finished[part.name] for part in self.parts if part.name in finished]

    def open(self) -> None:
        """Make the folder ready; remove an earlier study unless this one resumes it.

        Raises
        ------
        DataError
            The folder, or that of a part, holds something else.
        """
        folder, options = self.options.folder, self.options
        fixed = asdict(self.config) if self.fixed is None else self.fixed
        folder.open_for(self.name, fixed, self.data.sha256, resume=options.resume)
        earlier = self.earlier()
        recipes = earlier | {
            part.name: part.recipe for part in self.parts if not part.in_folder_of_study
        }
        for name, recipe in recipes.items():
            _require_ours(RunFolder(folder / name), recipe)
        if not options.resume:
            for name in earlier:
                _remove(RunFolder(folder / name))
            folder.clear(also=self.files)
            recipes = {part.name: part.recipe for part in self.parts}
        self.write_manifest(recipes)
        for note in self.data.notes:
            print(note, file=sys.stderr)

    def write_manifest(self, parts: Mapping[str, str]) -> None:
        """Write ``manifest.json``, which also names the recipe of every part."""
        source, sha256 = self.data.source, self.data.sha256
        content = training.manifest(
            self.name, self.config, self.options, source, sha256
        )
        self.options.folder.write_json(
            "manifest.json", content | {"parts": dict(parts)}
        )

    def earlier(self) -> dict[str, str]:
        """Return the parts of an earlier study in this folder: name -> recipe.

        A manifest can have been edited, so a name that is no sub-folder is left out.
        """
        folder = self.options.folder
        if not (folder / "manifest.json").exists():
            return {}
        parts = folder.read_json("manifest.json").get("parts")
        named = parts.items() if isinstance(parts, dict) else ()
        return {
            name: recipe
            for name, recipe in named
            if recipe in SENTIMENT_RECIPES and name.startswith(recipe)
            if name.isprintable() and "/" not in name and "\\" not in name
        }

    def folder_of(self, part: Part) -> RunFolder:
        """Return the folder of a part's run."""
        folder = self.options.folder
        return folder if part.in_folder_of_study else RunFolder(folder / part.name)

    def job(self, part: Part) -> Job:
        """Return the job of a part; it resumes if the study does and has begun it."""
        folder = self.folder_of(part)
        begun = self.options.resume and (folder / "checkpoint.npz").exists()
        own = replace(
            self.options,
            folder=folder,
            resume=begun,
            command=self.command(part),
            verified_rows=VERIFIED_ROWS,
        )
        return Job(part, own)

    def command(self, part: Part) -> str:
        """Return the command that repeats a part by itself."""
        default = module(part.recipe).Config()
        given = {
            key: value
            for key, value in asdict(part.config).items()
            if value != getattr(default, key)
        }
        if self.options.csv is not None:
            given["csv"] = self.options.csv
        if self.options.backend is not None:
            given["backend"] = self.options.backend
        return command_line([part.recipe], given, str(self.folder_of(part).path))

    def ended(self, part: Part, epochs: int) -> bool:
        """Return whether a part has nothing left to train after `epochs`."""
        return epochs >= int(part.config.epochs)

    def _train(self, jobs: Mapping[str, Job], finished: dict[str, TrainedPart]) -> None:
        """Train the jobs and print one line each; add them to `finished`."""
        began, before = time.perf_counter(), len(finished)
        total = len(self.parts)
        for done, result in enumerate(self.trainer([*jobs.values()]), start=1):
            if result.failure:
                self.failures[result.name] = result.failure
                found = f"FAILED: {printable(result.failure, 300)}"
            else:
                trained = self._after(jobs[result.name].part, result)
                finished[result.name] = trained
                accuracy = trained.scores["accuracy"]
                found = f"test accuracy {accuracy:.4f}  {trained.verdict}"
            spent = time.perf_counter() - began
            print(
                f"  {before + done:>{len(str(total))}}/{total}  {result.name}  "
                f"{found}{_time_left(spent / done * (len(jobs) - done))}",
                file=sys.stderr,
                flush=True,
            )

    def _after(self, part: Part, result: JobResult) -> TrainedPart:
        """Print the report of a part whose verification failed; return its scores."""
        if result.report:
            print(f"\n{result.name}:\n\n{result.report}")
        trained = self._read(part)
        if trained is None:
            raise _unusable(part, self.folder_of(part), "the run left no metrics")
        return trained

    def _finished(self, part: Part) -> TrainedPart | None:
        """Read a part of an earlier study; None where it still has to be trained.

        ``metrics.json`` in the study's own folder is that of the study, not that of the
        run there. So this run is always resumed, which trains no epoch twice.
        """
        return None if part.in_folder_of_study else self._read(part)

    def _read(self, part: Part) -> TrainedPart | None:
        """Read the scores of a part; None where it still has to be trained.

        Raises
        ------
        DataError
            It is damaged, or was trained with other options.
        """
        folder = self.folder_of(part)
        if not (folder / "metrics.json").exists():
            return None
        try:
            config, sha256 = asdict(part.config), self.data.sha256
            folder.open_for(part.recipe, config, sha256, resume=True)
            metrics = folder.read_json("metrics.json")
            epochs = metrics["epochs"]
            if type(epochs) is not int:
                raise ValueError(f"epochs={epochs}")
            if not self.ended(part, epochs):
                return None
            if epochs > part.config.epochs:
                raise DataError(
                    f"expected {part.config.epochs} epochs. Received: {epochs}"
                )
            verify.load(folder / "model.keras")
            return self._as_trained(part, metrics)
        except VerifyError as error:
            raise _unusable(part, folder, error) from None
        except (OSError, LookupError, TypeError, ValueError, OverflowError):
            raise _unusable(part, folder, "a file is damaged") from None

    def _as_trained(self, part: Part, metrics: Mapping[str, Any]) -> TrainedPart:
        report = self.folder_of(part).read_json("verification.json")
        best = metrics["best_epoch"] if "best_accuracy" in self.scores else None
        return TrainedPart(
            part,
            metrics["epochs"],
            {name: _finite(metrics[name]) for name in self.scores},
            None if best is None else int(best),
            _finite(metrics["seconds"]),
            verify.Verdict(report["verdict"]),
            float(report["predict_max_diff"]),
        )


Results = TypeVar("Results")


def study_function(
    name: str, study: Callable[[Any, RunOptions], Results]
) -> Callable[..., Results]:
    """Return a study as a function of its Config and a folder, for notebooks."""

    def run(
        config: Any,
        folder: str | os.PathLike[str] = Path("runs") / name,
        *,
        csv: str | None = None,
        resume: bool = False,
    ) -> Results:
        """Train, verify and compare; print one line of progress a model on stderr.

        Parameters
        ----------
        config : Config
        folder : path
            The folder of the study; every model gets a folder in it.
        csv : path, optional
            Tweets, as for `recipes.data.airline.load_tweets`.
        resume : bool
            Go on with an earlier study of the same Config in this folder.

        Raises
        ------
        DataError
            The data, the folder or one of its runs cannot be used.
        StudyInterrupted
            On Ctrl-C.
        """
        return study(config, RunOptions(RunFolder(folder), resume, csv))

    return run


def _time_left(seconds: float) -> str:
    """Format an estimate; it is rough, since models take different times."""
    if seconds <= 0:
        return ""
    if seconds < 90:
        return f"  about {max(1, round(seconds))} s left"
    return f"  about {round(seconds / 60)} min left"


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} where a number stood")
    return number


def _unusable(part: Part, folder: RunFolder, why: object) -> DataError:
    """Return an error that says what to remove so that a part is trained again.

    In the study's own folder that is the checkpoint: the rest belongs to the study.
    """
    shown = printable(folder.path)
    text = printable(why, 1000)
    where = "" if text.startswith(shown) else f"{shown}: "
    removed = folder / "checkpoint.npz" if part.in_folder_of_study else folder.path
    return DataError(
        f"{where}{text}. Remove {printable(removed)} and --resume to train it again"
    )


def _require_ours(folder: RunFolder, recipe: str) -> None:
    """Refuse a part's folder that holds anything but a run of its recipe.

    Raises
    ------
    DataError
    """
    if folder.path.is_symlink():
        raise DataError(
            f"{folder.path}: expected a folder of this study. Received: a link"
        )
    if not folder.path.exists():
        return
    folder.examine(recipe, resume=False)
    strange = [
        entry.name
        for entry in sorted(folder.path.iterdir())
        if entry.name not in (*RUN_FILES, PAGE_FILE) and not entry.name.startswith(".")
    ]
    if strange:
        raise DataError(
            f"{folder.path}: expected the files of a run and nothing else. Received: "
            f"{strange[0]}"
        )


def _remove(folder: RunFolder) -> None:
    """Remove a run of an earlier study; a folder with other things in it stays."""
    if folder.path.is_dir():
        folder.clear()
        with contextlib.suppress(OSError):
            folder.path.rmdir()
