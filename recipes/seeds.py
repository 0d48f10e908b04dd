"""Seeds: how far chance moves each sentiment recipe, and what is more than chance.

    rnn-recipe run seeds
    python recipes/seeds.py --seeds 5 --mask-zero

The seed decides the first weights and the order of the tweets. Every sentiment recipe
is trained with several, on the same tweets, and tested on the same others. A difference
between two recipes counts where their ranges over the seeds do not overlap, and where
it is greater than the sampling error: what another draw of as many test tweets could
change.

It ends with mean, range and standard deviation of accuracy and macro-F1 beside two
baselines, the differences that are more than chance, and the verdict of the verifier on
every model. The models are ordinary runs in sub-folders. Three epochs: the recipes
overfit after one or two.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recipes import plots, script
from recipes.data.tweets import SentimentConfig, load_words
from recipes.run import summary
from recipes.run.finish import RunResult
from recipes.run.many import (
    SCORES,
    SENTIMENT,
    Part,
    Study,
    TrainedPart,
    part_config,
    require_valid,
    study_function,
)
from recipes.run.options import RunOptions
from recipes.run.summary import Spread
from verify.console.tables import text_table
from verify.errors import printable
from verify.model.arrays import Array

NAME = "seeds"
STUDY_FILES = ("seeds.csv", "spread.png")

EPOCHS = {
    "accuracy": "after the last epoch",
    "best_accuracy": "of the best epoch, chosen by these same test tweets: optimistic",
}
MACRO_F1 = {"accuracy": "macro_f1", "best_accuracy": "best_macro_f1"}
LINEAR = "tfidf_logistic_regression"


@dataclass(frozen=True)
class Config(SentimentConfig):
    """What can be varied; `seed` is the first of so many `seeds`."""

    epochs: int = 3
    seeds: int = 3
    recipes: tuple[str, ...] = SENTIMENT

    def __post_init__(self) -> None:
        require_valid(self.seed, self.seeds, self.recipes)


@dataclass(frozen=True)
class Results:
    """What the study has measured, on the test tweets.

    Attributes
    ----------
    scores : mapping of str to mapping of str to (seeds,)
        ``accuracy``, ``macro_f1``, ``best_accuracy`` and ``best_macro_f1``, each by
        recipe.
    baselines : mapping of str to (accuracy, macro-F1)
    trained : tuple of TrainedPart
        Every run.
    test_rows : int
        Test tweets.
    """

    scores: dict[str, dict[str, Array]]
    baselines: dict[str, tuple[float, float]]
    trained: tuple[TrainedPart, ...]
    test_rows: int


@dataclass(frozen=True)
class Difference:
    """Between the mean accuracies of two recipes, or of one and the linear baseline.

    Attributes
    ----------
    first, second : str
    value : float
        Mean of the first less mean of the second.
    apart : bool or None
        Whether their ranges over the seeds do not overlap; None for a single seed.
    sampling_error : float
        Of the difference, 95 %, as if either had test tweets of its own.
    """

    first: str
    second: str
    value: float
    apart: bool | None
    sampling_error: float

    @property
    def beyond_sampling(self) -> bool:
        """Whether it is greater than the sampling error."""
        return abs(self.value) > self.sampling_error

    @property
    def words(self) -> str:
        """Whether it counts, and if not, why not."""
        if self.apart is None:
            return "unknown: one seed"
        reasons = [] if self.apart else ["seeds"]
        reasons += [] if self.beyond_sampling else ["sampling"]
        return f"no ({', '.join(reasons)})" if reasons else "yes"


def parts(config: Config) -> list[Part]:
    """Every model, all of one seed before the next seed."""
    return [
        Part(f"{recipe}-{seed}", recipe, part_config(recipe, config, seed=seed))
        for seed in range(config.seed, config.seed + config.seeds)
        for recipe in config.recipes
    ]


def _study(config: Config, options: RunOptions) -> Results:
    trained = Study(NAME, config, parts(config), options, STUDY_FILES).train()
    results = Results(
        {
            name: {
                recipe: np.array(
                    [t.scores[name] for t in trained if t.part.recipe == recipe]
                )
                for recipe in config.recipes
            }
            for name in SCORES
        },
        summary.baseline_scores(options.csv),
        tuple(trained),
        len(load_words(options.csv).y_test),
    )
    _write(config, results, options)
    return results


study = study_function(NAME, _study)


def differences(results: Results, score: str = "accuracy") -> list[Difference]:
    """Of every two recipes, then of every recipe and the linear baseline."""
    values = results.scores[score]
    linear = np.array([results.baselines[LINEAR][0]])
    pairs = [(b, a, values[b], values[a]) for a, b in itertools.combinations(values, 2)]
    pairs += [(name, "TF-IDF", found, linear) for name, found in values.items()]
    return [_difference(*pair, results.test_rows) for pair in pairs]


def _difference(first: str, second: str, x: Array, y: Array, rows: int) -> Difference:
    apart = bool(x.min() > y.max() or x.max() < y.min())
    errors = [summary.sampling_error(float(z.mean()), rows) for z in (x, y)]
    return Difference(
        first,
        second,
        float(x.mean() - y.mean()),
        apart if len(x) > 1 else None,
        float(np.hypot(errors[0], errors[1])),
    )


def table(results: Results, score: str) -> str:
    """Accuracy and macro-F1 by recipe: mean, range, standard deviation."""
    rows = []
    for recipe, values in results.scores[score].items():
        f1 = results.scores[MACRO_F1[score]][recipe]
        rows.append([recipe, *Spread.of(values).cells, *Spread.of(f1).cells])
    for key, (accuracy, linear_f1) in results.baselines.items():
        cells = [f"{accuracy:.4f}", "", "", f"{linear_f1:.4f}", "", ""]
        rows.append([summary.BASELINES[key], *cells])
    spread = ("lowest..highest", "sd")
    headings = ["", "accuracy", *spread, "macro-F1", *spread]
    return text_table([headings, *rows], numbers=True)


def difference_table(results: Results) -> str:
    """Every difference, and whether it is more than chance: last epoch, best epoch."""
    both = [differences(results, score) for score in EPOCHS]
    rows = [["", "last epoch", "best epoch"]]
    for last, best in zip(*both, strict=True):
        cells = [f"{d.value:+.4f}  {d.words}" for d in (last, best)]
        rows.append([f"{last.first} - {last.second}", *cells])
    return text_table(rows)


def _write(config: Config, results: Results, options: RunOptions) -> None:
    metrics = summary.metrics(
        NAME,
        results.trained,
        options.csv,
        epochs=config.epochs,
        seeds=[config.seed + k for k in range(config.seeds)],
        summary={
            score: {name: asdict(Spread.of(x)) for name, x in values.items()}
            for score, values in results.scores.items()
        },
        differences={
            score: [
                asdict(d) | {"more_than_chance": d.words == "yes"}
                for d in differences(results, score)
            ]
            for score in EPOCHS
        },
    )
    files = {
        "seeds.csv": summary.rows_csv(results.trained),
        "spread.png": plots.png(figure(results)),
    }
    summary.write(options, metrics, files)


def figure(results: Results) -> Any:
    """Test accuracy after the last epoch, one dot a seed, beside both baselines."""
    baselines: Mapping[str, float] = {
        summary.BASELINES[name]: accuracy
        for name, (accuracy, _) in results.baselines.items()
    }
    return plots.spread(
        {name: x.tolist() for name, x in results.scores["accuracy"].items()},
        "Test accuracy after the last epoch, by seed",
        baselines=baselines,
    )


def run(config: Config, options: RunOptions) -> RunResult:
    """Train, compare, verify."""
    results = _study(config, options)
    print(
        f"{NAME}: {len(config.recipes)} recipes, {summary.seed_range(config)}, {config.epochs} epoch(s), "
        f"{results.test_rows:,} test tweets"
    )
    for score, words in EPOCHS.items():
        print(f"\n{words}\n{table(results, score)}")
    linear = results.baselines[LINEAR][0]
    error = summary.sampling_error(linear, results.test_rows)
    print(
        f"\nsampling error of one accuracy near {linear:.2f}: +-{error:.4f}, of a "
        f"difference of two: +-{np.hypot(error, error):.4f} (95 %)\n"
        "\nis the difference in mean accuracy more than chance?\n"
        "  no (seeds): the ranges over the seeds overlap\n"
        "  no (sampling): not greater than the sampling error of a difference\n"
    )
    print(difference_table(results))
    print(f"\n{summary.verdict_line(results.trained)}")
    print(f"\nEverything is in {printable(options.folder.path)}", file=sys.stderr)
    return summary.study_result(NAME, results.trained)


if __name__ == "__main__":
    script(__file__)
