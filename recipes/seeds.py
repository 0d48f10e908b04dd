"""Seeds: how far chance moves each sentiment recipe, and what is more than chance.

    rnn-recipe run seeds
    python recipes/seeds.py --seeds 5 --mask-zero

The seed decides the initial weights and the order of the tweets. Every sentiment recipe
is trained with several seeds on the same tweets, and tested on the same test tweets. A
difference between two recipes counts if their ranges over the seeds do not overlap and
if it is greater than the sampling error, by which another draw of as many test tweets
could change it.

It ends with mean, range and standard deviation of accuracy and macro-F1 beside two
baselines, the differences that are more than chance, and the verifier's verdict on
every model. The models are ordinary runs in sub-folders. They train for three epochs,
since the recipes overfit soon after.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recipes import SENTIMENT_RECIPES, plots, script
from recipes.data.tweets import SentimentConfig, load_words
from recipes.run import summary
from recipes.run.checks import require_seeds, require_sentiment_recipes
from recipes.run.finish import RunResult, print_folder
from recipes.run.options import RunOptions
from recipes.run.study import (
    SCORES,
    Part,
    Study,
    TrainedPart,
    part_config,
    study_function,
)
from recipes.run.summary import Spread
from verify.console.tables import text_table
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
    """List what can be varied; the seeds are `seed`, `seed` + 1 and so on."""

    epochs: int = 3
    seeds: int = 3
    recipes: tuple[str, ...] = SENTIMENT_RECIPES

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.seeds)
        require_sentiment_recipes(self.recipes)


@dataclass(frozen=True)
class Results:
    """Hold the measurements of the study, on the test tweets.

    Attributes
    ----------
    scores : mapping of str to mapping of str to (seeds,)
        ``accuracy``, ``macro_f1``, ``best_accuracy`` and ``best_macro_f1``, each by
        recipe.
    baselines : mapping of str to (accuracy, macro-F1)
    trained : tuple of TrainedPart
        All runs.
    test_rows : int
        The number of test tweets.
    """

    scores: dict[str, dict[str, Array]]
    baselines: dict[str, tuple[float, float]]
    trained: tuple[TrainedPart, ...]
    test_rows: int


@dataclass(frozen=True)
class Difference:
    """Compare the mean accuracies of two recipes, or of one and the linear baseline.

    Attributes
    ----------
    first, second : str
    value : float
        Mean of the first minus mean of the second.
    apart : bool or None
        Whether their ranges over the seeds do not overlap; None for a single seed.
    sampling_error : float
        Half the width of the difference's 95 % interval, as if the two accuracies were
        measured on different tweets.
    """

    first: str
    second: str
    value: float
    apart: bool | None
    sampling_error: float

    @property
    def beyond_sampling(self) -> bool:
        """Return whether the difference is greater than the sampling error."""
        return abs(self.value) > self.sampling_error

    @property
    def words(self) -> str:
        """Say whether the difference counts, and if not, why not."""
        if self.apart is None:
            return "unknown: one seed"
        reasons = [] if self.apart else ["seeds"]
        reasons += [] if self.beyond_sampling else ["sampling"]
        return f"no ({', '.join(reasons)})" if reasons else "yes"


def parts(config: Config) -> list[Part]:
    """Return every model, seed by seed."""
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
    """Compare every two recipes, then every recipe with the linear baseline."""
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
    """Return accuracy and macro-F1 by recipe: mean, range, standard deviation."""
    rows = []
    for recipe, values in results.scores[score].items():
        f1 = results.scores[MACRO_F1[score]][recipe]
        rows.append([recipe, *Spread.of(values).cells, *Spread.of(f1).cells])
    for key, (accuracy, linear_f1) in results.baselines.items():
        cells = [f"{accuracy:.4f}", "", "", f"{linear_f1:.4f}", "", ""]
        rows.append([summary.BASELINE_NAMES[key], *cells])
    spread = ("lowest..highest", "sd")
    headings = ["", "accuracy", *spread, "macro-F1", *spread]
    return text_table([headings, *rows], numbers=True)


def difference_table(results: Results) -> str:
    """Return all differences after the last and at the best epoch, and which count."""
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
    """Draw test accuracy after the last epoch, one dot a seed, with both baselines."""
    return plots.spread(
        {name: x.tolist() for name, x in results.scores["accuracy"].items()},
        "Test accuracy after the last epoch, by seed",
        baselines=summary.baseline_accuracies(results.baselines),
    )


def run(config: Config, options: RunOptions) -> RunResult:
    """Train and verify every model, and print which differences count."""
    results = _study(config, options)
    print(
        f"{NAME}: {len(config.recipes)} recipes, {summary.seed_range(config)}, "
        f"{config.epochs} epoch(s), {results.test_rows:,} test tweets"
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
    print_folder(options.folder)
    return summary.study_result(NAME, results.trained)


if __name__ == "__main__":
    script(__file__)
