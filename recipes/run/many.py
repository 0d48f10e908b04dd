"""Many runs, one summary: what the studies share.

A study trains several models of the sentiment recipes. Each is an ordinary run in a
sub-folder of the study's own, so it can be looked at, resumed and used by itself:
``rnn-recipe predict runs/seeds/sentiment_lstm-42 "thank you"``. A study that was
interrupted goes on with the model it was at, and ends with the same numbers.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

import verify
from recipes import PAGE_FILE, RECIPES
from recipes.data.tweets import (
    SentimentConfig,
    TweetConfig,
    baseline_predictions,
    load_words,
    macro_f1,
)
from recipes.run import training
from recipes.run.finish import RunResult, Verdicts
from recipes.run.folder import RUN_FILES, RunFolder
from recipes.run.options import RunOptions
from recipes.run.plan import command_line, module
from verify.errors import DataError, VerifyError, printable

SENTIMENT = tuple(name for name in RECIPES if name.startswith("sentiment_"))
"""The recipes that a study may vary."""

BASELINES = {
    "majority_class": "baseline: always the larger class",
    "tfidf_logistic_regression": "baseline: TF-IDF + logistic regression",
}

VERIFIED_ROWS = 64
"""Test tweets that each model is verified on; all of them would take longer than the
training."""


@dataclass(frozen=True)
class Part:
    """One model of a study: a recipe with its options, in a folder of this name."""

    name: str
    recipe: str
    config: SentimentConfig


@dataclass(frozen=True)
class Job:
    """A part that is to be trained, as a run of its recipe."""

    part: Part
    options: RunOptions


@dataclass(frozen=True)
class Ended:
    """How the run of a part has ended.

    Attributes
    ----------
    name : str
        Of the part.
    report : str
        Of a verification that is no pass; else empty.
    failure : str
        Why there is no model, if there is none.
    """

    name: str
    report: str = ""
    failure: str = ""


Trainer = Callable[[Sequence[Job]], Iterable[Ended]]
"""Trains parts, in any order; their runs are in their folders as soon as it says so."""


@dataclass(frozen=True)
class Trained:
    """What a finished part says of itself; accuracies are on the test tweets."""

    part: Part
    accuracy: float
    macro_f1: float
    best_epoch: int
    best_accuracy: float
    best_macro_f1: float
    seconds: float
    verdict: verify.Verdict
    max_diff: float


@dataclass(frozen=True)
class Spread:
    """Of several numbers: mean, least, greatest and standard deviation.

    The deviation has n - 1 below the line; of a single number it is None.
    """

    mean: float
    low: float
    high: float
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one number."""
        x = np.asarray(list(values), dtype=np.float64)
        deviation = float(x.std(ddof=1)) if len(x) > 1 else None
        return cls(float(x.mean()), float(x.min()), float(x.max()), deviation)


class StudyInterrupted(training.Interrupted):
    """Ctrl-C during a study; its finished models are on disk."""

    def __init__(self, done: int, of: int) -> None:
        Exception.__init__(self, f"interrupted after {done} of {of} models")


def sampling_error(accuracy: float, rows: int) -> float:
    """Half the width of the 95 % interval of an accuracy measured on so many rows."""
    return float(1.96 * np.sqrt(accuracy * (1 - accuracy) / rows))


def require_valid(seed: int, seeds: int, recipes: Sequence[str]) -> None:
    """Options that every study has.

    Raises
    ------
    DataError
    """
    if type(seeds) is not int or seeds < 1:
        raise DataError(
            f"seeds: expected a number from 1. Received: {printable(seeds)}"
        )
    if seed + seeds > 2**32:
        raise DataError(
            f"seed: expected all seeds below 2**32. Received: {seeds} from {seed} on"
        )
    unknown = [name for name in recipes if name not in SENTIMENT]
    if unknown or not recipes or len(set(recipes)) < len(recipes):
        raise DataError(
            f"recipes: expected some of {', '.join(SENTIMENT)}, each once. "
            f"Received: {printable(', '.join(map(str, recipes)) or 'none')}"
        )


def part_config(recipe: str, config: TweetConfig, **options: Any) -> SentimentConfig:
    """The recipe's own Config with the options of a study, and those given."""
    own = module(recipe).Config
    names = {field.name for field in fields(own)}
    shared = {key: value for key, value in asdict(config).items() if key in names}
    made: SentimentConfig = own(**(shared | options))
    return made


def train_one(job: Job) -> Ended:
    """One part as a run of its recipe, without what that prints."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        outcome = module(job.part.recipe).run(job.part.config, job.options)
    passed = outcome.report.verdict is verify.Verdict.PASS
    return Ended(job.part.name, "" if passed else outcome.report.to_text())


def here(jobs: Sequence[Job]) -> Iterable[Ended]:
    """The trainer that is this process; a part that fails ends it."""
    for job in jobs:
        try:
            yield train_one(job)
        except VerifyError as error:
            raise _unusable(job.options.folder, error) from None


def train_parts(
    study: str,
    config: Any,
    parts: Sequence[Part],
    options: RunOptions,
    files: Sequence[str],
    *,
    trainer: Trainer = here,
    fixed: Mapping[str, Any] | None = None,
) -> list[Trained]:
    """Train and verify every part that is not finished; returns all, in order.

    Parameters
    ----------
    study : str
        The recipe's name.
    config : Config of the study
    parts : sequence of Part
    options : RunOptions
    files : sequence of str
        Names of the files that the study writes besides ``manifest.json`` and
        ``metrics.json``.
    trainer : Trainer
        A part that it says has failed is left out of what is returned.
    fixed : mapping
        What may not be changed with ``--resume``; all of `config` by default.

    Raises
    ------
    DataError
        The data, the folder or a part cannot be used.
    StudyInterrupted
        On Ctrl-C.
    """
    folder = options.folder
    tweets = load_words(options.csv).tweets
    if fixed is None:
        fixed = asdict(config)
    folder.open_for(study, fixed, tweets.sha256, resume=options.resume)
    earlier = _earlier_parts(folder)
    recipes = earlier | {part.name: part.recipe for part in parts}
    for name, recipe in recipes.items():
        _require_ours(RunFolder(folder / name), recipe)
    if not options.resume:
        for name in earlier:
            _remove(RunFolder(folder / name))
        folder.clear(also=files)
        recipes = {part.name: part.recipe for part in parts}
    content = training.manifest(
        study, config, options, tweets.source, tweets.sha256
    ) | {"parts": recipes}
    folder.write_json("manifest.json", content)
    for note in tweets.notes:
        print(note, file=sys.stderr)
    return _train(study, parts, options, tweets.sha256, trainer)


def _train(
    study: str,
    parts: Sequence[Part],
    options: RunOptions,
    sha256: str,
    trainer: Trainer,
) -> list[Trained]:
    """Every part that is not finished, one line of progress each."""
    finished: dict[str, Trained] = {}
    for part in parts if options.resume else ():
        trained = _finished(_folder(options, part), part, sha256)
        if trained is not None:
            finished[part.name] = trained
    kept = f", {len(finished)} finished before" if options.resume else " to train"
    print(f"{study}: {len(parts)} models{kept}", file=sys.stderr, flush=True)
    jobs = {p.name: _job(p, options) for p in parts if p.name not in finished}
    began, place = time.perf_counter(), len(finished)
    try:
        for done, ended in enumerate(trainer([*jobs.values()]), start=1):
            job = jobs[ended.name]
            found = f"FAILED: {printable(ended.failure, 300)}"
            if not ended.failure:
                trained = _after(job, ended, sha256)
                finished[ended.name] = trained
                found = f"test accuracy {trained.accuracy:.4f}  {trained.verdict}"
            spent = time.perf_counter() - began
            print(
                f"  {place + done:>{len(str(len(parts)))}}/{len(parts)}  {ended.name}  "
                f"{found}{_time_left(spent / done * (len(jobs) - done))}",
                file=sys.stderr,
                flush=True,
            )
    except (training.Interrupted, KeyboardInterrupt):
        raise StudyInterrupted(len(finished), len(parts)) from None
    return [finished[part.name] for part in parts if part.name in finished]


def _after(job: Job, ended: Ended, sha256: str) -> Trained:
    """What a part has come to that has just been trained."""
    if ended.report:
        print(f"\n{ended.name}:\n\n{ended.report}")
    trained = _finished(job.options.folder, job.part, sha256)
    if trained is None:
        raise _unusable(job.options.folder, "the run left no metrics")
    return trained


def _time_left(seconds: float) -> str:
    """In words, roughly: models differ in how long they take."""
    if seconds <= 0:
        return ""
    if seconds < 90:
        return f"  about {max(1, round(seconds))} s left"
    return f"  about {round(seconds / 60)} min left"


def _folder(options: RunOptions, part: Part) -> RunFolder:
    return RunFolder(options.folder / part.name)


def _job(part: Part, options: RunOptions) -> Job:
    folder = _folder(options, part)
    begun = options.resume and (folder / "checkpoint.npz").exists()
    command = _command(part, options)
    return Job(part, RunOptions(folder, begun, options.csv, command, VERIFIED_ROWS))


def _command(part: Part, options: RunOptions) -> str:
    """The command that repeats a part by itself."""
    default = module(part.recipe).Config()
    given = {
        key: value
        for key, value in asdict(part.config).items()
        if value != getattr(default, key)
    }
    if options.csv is not None:
        given["csv"] = options.csv
    return command_line([part.recipe], given, str(_folder(options, part).path))


def _finished(folder: RunFolder, part: Part, sha256: str) -> Trained | None:
    """What a part has come to; None where it still has to be trained.

    Raises
    ------
    DataError
        It is damaged, or was trained with other options.
    """
    if not (folder / "metrics.json").exists():
        return None
    try:
        folder.open_for(part.recipe, asdict(part.config), sha256, resume=True)
        metrics = folder.read_json("metrics.json")
        report = folder.read_json("verification.json")
        if type(metrics["epochs"]) is not int:
            raise ValueError(f"epochs={metrics['epochs']}")
        if metrics["epochs"] < part.config.epochs:
            return None
        if metrics["epochs"] > part.config.epochs:
            raise DataError(
                f"expected {part.config.epochs} epochs. Received: {metrics['epochs']}"
            )
        verify.load(folder / "model.keras")
        return _as_trained(part, metrics, report)
    except (VerifyError, KeyError, TypeError, ValueError, OverflowError) as error:
        what = error if isinstance(error, VerifyError) else "a file is damaged"
        raise _unusable(folder, what) from None


def _as_trained(
    part: Part, metrics: Mapping[str, Any], report: Mapping[str, Any]
) -> Trained:
    return Trained(
        part,
        accuracy=_finite(metrics["accuracy"]),
        macro_f1=_finite(metrics["macro_f1"]),
        best_epoch=int(metrics["best_epoch"]),
        best_accuracy=_finite(metrics["best_accuracy"]),
        best_macro_f1=_finite(metrics["best_macro_f1"]),
        seconds=_finite(metrics["seconds"]),
        verdict=verify.Verdict(report["verdict"]),
        max_diff=float(report["predict_max_diff"]),
    )


def _finite(value: Any) -> float:
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{value} where a number stood")
    return number


def _unusable(folder: RunFolder, why: object) -> DataError:
    shown = printable(folder.path)
    text = printable(why, 1000)
    where = "" if text.startswith(shown) else f"{shown}: "
    return DataError(f"{where}{text}. Remove {shown} and --resume to train it again")


def _earlier_parts(folder: RunFolder) -> dict[str, str]:
    """The parts that an earlier study made here, as its manifest names them."""
    if not (folder / "manifest.json").exists():
        return {}
    parts = folder.read_json("manifest.json").get("parts")
    named = parts.items() if isinstance(parts, dict) else ()
    return {
        name: recipe
        for name, recipe in named
        if recipe in SENTIMENT and name.startswith(recipe) and name.isprintable()
        if "/" not in name and "\\" not in name
    }


def _require_ours(folder: RunFolder, recipe: str) -> None:
    """A part's folder holds a run of its recipe and nothing else, or is yet to be.

    Raises
    ------
    DataError
    """
    shown = printable(folder.path)
    if folder.path.is_symlink():
        raise DataError(f"{shown}: expected a folder of this study. Received: a link")
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
            f"{shown}: expected the files of a run and nothing else. Received: "
            f"{printable(strange[0])}"
        )


def _remove(folder: RunFolder) -> None:
    """A part of an earlier study goes; what is not of its run would keep its folder."""
    if folder.path.is_dir():
        folder.clear()
        with contextlib.suppress(OSError):
            folder.path.rmdir()


def baseline_scores(csv: str | None) -> dict[str, tuple[float, float]]:
    """Test accuracy and macro-F1 of both baselines."""
    y_test = load_words(csv).y_test
    return {
        name: (float(np.mean(y_test == predicted)), macro_f1(y_test, predicted))
        for name, predicted in baseline_predictions(csv).items()
    }


def worst(trained: Sequence[Trained]) -> Verdicts:
    """One FAIL decides; else one INCONCLUSIVE does."""
    found = {one.verdict for one in trained}
    order = (
        verify.Verdict.FAIL,
        verify.Verdict.INCONCLUSIVE,
        verify.Verdict.PASS,
    )
    verdict = next(v for v in order if v in found)
    return Verdicts(verdict, max(one.max_diff for one in trained))


def outcome(study: str, trained: Sequence[Trained]) -> RunResult:
    """The study's line of the closing table."""
    seconds = sum(one.seconds for one in trained)
    name = f"{study}, {len(trained)} models"
    return RunResult(name, None, None, None, seconds, worst(trained))


def verdict_line(trained: Sequence[Trained]) -> str:
    """How the verification of all models went, in one line."""
    passed = sum(one.verdict is verify.Verdict.PASS for one in trained)
    others = [
        f"{one.verdict}: {one.part.name}"
        for one in trained
        if one.verdict is not verify.Verdict.PASS
    ]
    return (
        f"{worst(trained).verdict}: NumPy reproduces predict for {passed} of "
        f"{len(trained)} models, each on up to {VERIFIED_ROWS} test tweets"
        + "".join(f"\n  {line}" for line in others)
    )


OPTIONS = ("padding", "mask_zero", "length", "seed", "epochs")
"""Columns of a study's rows."""


def rows_csv(trained: Sequence[Trained], options: Sequence[str] = OPTIONS) -> bytes:
    """One row a run, at full precision."""
    scores = (
        "accuracy", "macro_f1", "best_epoch", "best_accuracy", "best_macro_f1",
        "seconds", "verdict",
    )  # fmt: skip
    lines = [",".join(("run", "recipe", *options, *scores))]
    for one in trained:
        cells = [one.part.name, one.part.recipe]
        values = [getattr(one.part.config, name) for name in options]
        values += [getattr(one, name) for name in scores]
        cells += ["" if value is None else str(value) for value in values]
        lines.append(",".join(cells))
    return ("\n".join(lines) + "\n").encode()


def write(
    options: RunOptions, metrics: Mapping[str, Any], files: Mapping[str, bytes]
) -> None:
    """What a study leaves beside its runs."""
    for name, content in files.items():
        options.folder.write(name, content)
    options.folder.write_json("metrics.json", metrics)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of plain text: the first to the left, the others to the right."""
    lines = [list(headings), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
