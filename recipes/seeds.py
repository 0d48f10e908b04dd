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
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipes import plots, script
from recipes.data.tweets import SentimentConfig, load_words
from recipes.run import many as shared
from recipes.run.finish import RunResult
from recipes.run.folder import RunFolder
from recipes.run.many import Part, Spread, Trained
from recipes.run.options import RunOptions
from verify.errors import printable
from verify.model.arrays import Array

NAME = "seeds"
FILES = ("seeds.csv", "spread.png")

SCORES = {
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
    recipes: tuple[str, ...] = shared.SENTIMENT

    def __post_init__(self) -> None:
        shared.require_valid(self.seed, self.seeds, self.recipes)


@dataclass(frozen=True)
class Results:
    """What the study has measured, on the test tweets.

    Attributes
    ----------
    scores : mapping of str to mapping of str to (seeds,)
        ``accuracy``, ``macro_f1``, ``best_accuracy`` and ``best_macro_f1``, each by
        recipe.
    baselines : mapping of str to (accuracy, macro-F1)
    trained : tuple of Trained
        Every run.
    test_rows : int
        Test tweets.
    """

    scores: dict[str, dict[str, Array]]
    baselines: dict[str, tuple[float, float]]
    trained: tuple[Trained, ...]
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
        Part(f"{recipe}-{seed}", recipe, shared.part_config(recipe, config, seed=seed))
        for seed in range(config.seed, config.seed + config.seeds)
        for recipe in config.recipes
    ]


def study(
    config: Config,
    folder: str | os.PathLike[str] = Path("runs") / NAME,
    *,
    csv: str | None = None,
    resume: bool = False,
) -> Results:
    """Train, verify and compare; one line of progress a model on stderr.

    Parameters
    ----------
    config : Config
    folder : path
        Of the study; every model gets a folder in it.
    csv : path, optional
        Tweets, as for `recipes.data.airline.load_tweets`.
    resume : bool
        Go on with an earlier study of the same Config in this folder.

    Raises
    ------
    DataError
        The data, the folder or one of its runs cannot be used.
    recipes.run.many.StudyInterrupted
        On Ctrl-C.
    """
    return _study(config, RunOptions(RunFolder(folder), resume, csv))


def _study(config: Config, options: RunOptions) -> Results:
    trained = shared.train_parts(NAME, config, parts(config), options, FILES)
    results = Results(
        {
            name: {
                recipe: np.array(
                    [getattr(t, name) for t in trained if t.part.recipe == recipe]
                )
                for recipe in config.recipes
            }
            for name in (*SCORES, *MACRO_F1.values())
        },
        shared.baseline_scores(options.csv),
        tuple(trained),
        len(load_words(options.csv).y_test),
    )
    _write(config, results, options)
    return results


def differences(results: Results, score: str = "accuracy") -> list[Difference]:
    """Of every two recipes, then of every recipe and the linear baseline."""
    values = results.scores[score]
    linear = np.array([results.baselines[LINEAR][0]])
    pairs = [(b, a, values[b], values[a]) for a, b in itertools.combinations(values, 2)]
    pairs += [(name, "TF-IDF", found, linear) for name, found in values.items()]
    return [_difference(*pair, results.test_rows) for pair in pairs]


def _difference(first: str, second: str, x: Array, y: Array, rows: int) -> Difference:
    apart = bool(x.min() > y.max() or x.max() < y.min())
    errors = [shared.sampling_error(float(z.mean()), rows) for z in (x, y)]
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
        rows.append([recipe, *_cells(values), *_cells(f1)])
    for key, (accuracy, linear_f1) in results.baselines.items():
        cells = [f"{accuracy:.4f}", "", "", f"{linear_f1:.4f}", "", ""]
        rows.append([shared.BASELINES[key], *cells])
    return shared.table(
        ["", "accuracy", "lowest..highest", "sd", "macro-F1", "lowest..highest", "sd"],
        rows,
    )


def _cells(values: Array) -> list[str]:
    found = Spread.of(values)
    deviation = "-" if found.deviation is None else f"{found.deviation:.4f}"
    return [f"{found.mean:.4f}", f"{found.low:.4f}..{found.high:.4f}", deviation]


def difference_table(results: Results) -> str:
    """Every difference, and whether it is more than chance: last epoch, best epoch."""
    both = [differences(results, score) for score in SCORES]
    rows = []
    for last, best in zip(*both, strict=True):
        name = f"{last.first} - {last.second}"
        cells = [f"{d.value:+.4f}  {d.words}" for d in (last, best)]
        rows.append((name, *cells))
    names, *columns = (max(map(len, column)) for column in zip(*rows, strict=True))
    head = ("", "last epoch", "best epoch")
    return "\n".join(
        f"  {name:<{names}}  {last:<{columns[0]}}  {best}".rstrip()
        for name, last, best in (head, *rows)
    )


def _write(config: Config, results: Results, options: RunOptions) -> None:
    metrics = {
        "recipe": NAME,
        "epochs": config.epochs,
        "seeds": [config.seed + k for k in range(config.seeds)],
        "summary": {
            score: {name: asdict(Spread.of(x)) for name, x in values.items()}
            for score, values in results.scores.items()
        },
        "baselines": {name: list(x) for name, x in results.baselines.items()},
        "differences": {
            score: [
                asdict(d) | {"more_than_chance": d.words == "yes"}
                for d in differences(results, score)
            ]
            for score in SCORES
        },
        "test_rows": results.test_rows,
        "models": len(results.trained),
        "seconds": round(sum(one.seconds for one in results.trained), 2),
        "verdict": str(shared.worst(results.trained).verdict),
    }
    files = {
        "seeds.csv": shared.rows_csv(results.trained),
        "spread.png": plots.png(figure(results)),
    }
    shared.write(options, metrics, files)


def figure(results: Results) -> Any:
    """Test accuracy after the last epoch, one dot a seed, beside both baselines."""
    baselines: Mapping[str, float] = {
        shared.BASELINES[name]: accuracy
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
    last = config.seed + config.seeds - 1
    seeds = f"seed {last}" if config.seeds == 1 else f"seeds {config.seed} to {last}"
    print(
        f"{NAME}: {len(config.recipes)} recipes, {seeds}, {config.epochs} epoch(s), "
        f"{results.test_rows:,} test tweets"
    )
    for score, words in SCORES.items():
        print(f"\n{words}\n{table(results, score)}")
    linear = results.baselines[LINEAR][0]
    error = shared.sampling_error(linear, results.test_rows)
    print(
        f"\nsampling error of one accuracy near {linear:.2f}: +-{error:.4f}, of a "
        f"difference of two: +-{np.hypot(error, error):.4f} (95 %)\n"
        "\nis the difference in mean accuracy more than chance?\n"
        "  no (seeds): the ranges over the seeds overlap\n"
        "  no (sampling): not greater than the sampling error of a difference\n"
    )
    print(difference_table(results))
    print(f"\n{shared.verdict_line(results.trained)}")
    print(f"\nEverything is in {printable(options.folder.path)}", file=sys.stderr)
    return shared.outcome(NAME, results.trained)


if __name__ == "__main__":
    script(__file__)
