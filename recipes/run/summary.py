"""Make the tables, files and verdict of a study from its trained models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import verify
from recipes.data.tweets import baseline_predictions, load_words, macro_f1
from recipes.run.finish import RunResult, Verdicts
from recipes.run.folder import as_csv
from recipes.run.options import RunOptions
from recipes.run.study import VERIFIED_ROWS, TrainedPart

BASELINE_NAMES = {
    "majority_class": "baseline: always the larger class",
    "tfidf_logistic_regression": "baseline: TF-IDF + logistic regression",
}

OPTIONS = ("padding", "mask_zero", "length", "seed", "epochs")
"""Options that are columns in the CSV file of a study."""


@dataclass(frozen=True)
class Spread:
    """Hold mean, least, greatest and standard deviation of several numbers.

    `deviation` is the sample standard deviation (n - 1), None for a single value.
    """

    mean: float
    low: float
    high: float
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of at least one number."""
        x = np.asarray(list(values), dtype=np.float64)
        deviation = float(x.std(ddof=1)) if len(x) > 1 else None
        return cls(float(x.mean()), float(x.min()), float(x.max()), deviation)

    @property
    def cells(self) -> tuple[str, str, str]:
        """Return mean, range and deviation as cells of a table."""
        deviation = "-" if self.deviation is None else f"{self.deviation:.4f}"
        return f"{self.mean:.4f}", f"{self.low:.4f}..{self.high:.4f}", deviation


def sampling_error(accuracy: float, rows: int) -> float:
    """Return half the width of the 95 % interval of an accuracy measured on `rows`."""
    return float(1.96 * np.sqrt(accuracy * (1 - accuracy) / rows))


def baseline_scores(csv: str | None) -> dict[str, tuple[float, float]]:
    """Return test accuracy and macro-F1 of both baselines."""
    y_test = load_words(csv).y_test
    return {
        name: (float(np.mean(y_test == predicted)), macro_f1(y_test, predicted))
        for name, predicted in baseline_predictions(csv).items()
    }


def baseline_accuracies(
    scores: Mapping[str, tuple[float, float]],
) -> dict[str, float]:
    """Return the accuracies of `baseline_scores` by the names that figures show."""
    return {BASELINE_NAMES[key]: accuracy for key, (accuracy, _) in scores.items()}


def worst(trained: Sequence[TrainedPart]) -> Verdicts:
    """Return the verdict on all: FAIL if one is, else INCONCLUSIVE if one is."""
    found = {one.verdict for one in trained}
    order = (
        verify.Verdict.FAIL,
        verify.Verdict.INCONCLUSIVE,
        verify.Verdict.PASS,
    )
    verdict = next(v for v in order if v in found)
    return Verdicts(verdict, max(one.max_diff for one in trained))


def study_result(study: str, trained: Sequence[TrainedPart]) -> RunResult:
    """Return the study's line of the closing table."""
    seconds = sum(one.seconds for one in trained)
    name = f"{study}, {len(trained)} models"
    return RunResult(name, None, None, None, seconds, worst(trained))


def verdict_line(trained: Sequence[TrainedPart]) -> str:
    """Return how many models passed, with a line for each that did not."""
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


def seed_range(config: Any) -> str:
    """Return ``seeds 42 to 44`` for a Config with a first seed and their number."""
    last = config.seed + config.seeds - 1
    return f"seed {last}" if config.seeds == 1 else f"seeds {config.seed} to {last}"


def rows_csv(trained: Sequence[TrainedPart], options: Sequence[str] = OPTIONS) -> bytes:
    """Return the runs as CSV, one row each, at full precision."""
    names = ("accuracy", "macro_f1", "best_epoch", "best_accuracy", "best_macro_f1")
    rows = [
        (
            one.part.name,
            one.part.recipe,
            *(getattr(one.part.config, name) for name in options),
            *({**one.scores, "best_epoch": one.best_epoch}[name] for name in names),
            one.seconds,
            one.verdict,
        )
        for one in trained
    ]
    return as_csv(("run", "recipe", *options, *names, "seconds", "verdict"), rows)


def metrics(
    study: str, trained: Sequence[TrainedPart], csv: str | None, **own: Any
) -> dict[str, Any]:
    """Return what a study on the tweets writes into its ``metrics.json``.

    Parameters
    ----------
    study : str
    trained : sequence of TrainedPart
        At least one.
    csv : str or None
        The file of tweets.
    **own
        Measurements of this study alone.
    """
    return {
        "recipe": study,
        **own,
        "baselines": {name: list(x) for name, x in baseline_scores(csv).items()},
        "test_rows": len(load_words(csv).y_test),
        "models": len(trained),
        "seconds": round(sum(one.seconds for one in trained), 2),
        "verdict": str(worst(trained).verdict),
    }


def write(
    options: RunOptions, measured: Mapping[str, Any], files: Mapping[str, bytes]
) -> None:
    """Write the files of a study, its ``metrics.json`` last."""
    for name, content in files.items():
        options.folder.write(name, content)
    options.folder.write_json("metrics.json", measured)
