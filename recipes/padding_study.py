"""What padding and masks do: the same tweets, padded before, behind or masked.

    rnn-recipe run padding_study
    python recipes/padding_study.py --seeds 5 --lengths 26,150

Tweets of at most 26 words are padded to 26, 75 and 150 steps.

* Zeros behind the words, no mask: after the last word the network reads the padding
  vector (length - words) times, which overwrites the state before the answer is made.
* Zeros in front, no mask: the network reads the padding vector first, which carries the
  state to a fixed point; no word has been read yet, so nothing is lost.
* A mask: the network skips these steps, so a masked model learns the same at any
  length.

It ends with a table of test accuracies, mean and range over the seeds, and the
verifier's verdict on every model. The models are ordinary runs in sub-folders.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipes import plots, script
from recipes.data.tweets import TweetConfig, load_words
from recipes.run import summary
from recipes.run.checks import (
    MAX_LENGTH,
    require_choices,
    require_numbers,
    require_seeds,
    require_sentiment_recipes,
)
from recipes.run.finish import RunResult, print_folder
from recipes.run.options import RunOptions
from recipes.run.study import (
    Part,
    Study,
    TrainedPart,
    part_config,
    study_function,
)
from verify.console.tables import text_table
from verify.model.arrays import Array

NAME = "padding_study"
STUDY_FILES = ("padding.csv", "padding.png")

KINDS: dict[str, dict[str, Any]] = {
    "pre": {"padding": "pre", "mask_zero": False},
    "post": {"padding": "post", "mask_zero": False},
    "masked": {"padding": "post", "mask_zero": True},
}
"""Ways to pad -> options of the recipe."""

LAYERS = {
    "sentiment_rnn": "SimpleRNN",
    "sentiment_lstm": "LSTM",
    "sentiment_stacked_lstm": "2 x LSTM",
    "sentiment_gru": "GRU",
}


@dataclass(frozen=True)
class Config(TweetConfig):
    """List what can be varied; the seeds are `seed`, `seed` + 1 and so on."""

    epochs: int = 1
    batch_size: int = 64
    seeds: int = 3
    lengths: tuple[int, ...] = (26, 75, 150)
    recipes: tuple[str, ...] = ("sentiment_rnn", "sentiment_lstm")
    kinds: tuple[str, ...] = tuple(KINDS)

    def __post_init__(self) -> None:
        require_seeds(self.seed, self.seeds)
        require_sentiment_recipes(self.recipes)
        require_choices("kinds", self.kinds, [*KINDS])
        require_numbers("lengths", self.lengths, 1, MAX_LENGTH)


@dataclass(frozen=True)
class Results:
    """Hold the measurements of the study, on the test tweets.

    Attributes
    ----------
    lengths : (lengths,) of int
    accuracy, macro_f1 : mapping of str to (seeds, lengths)
        Scores after the last epoch, by layer and padding: ``"LSTM, masked"``.
    baselines : mapping of str to (accuracy, macro-F1)
    trained : tuple of TrainedPart
        All runs.
    test_rows : int
        The number of test tweets.
    longest : int
        The number of words of the longest tweet.
    """

    lengths: tuple[int, ...]
    accuracy: dict[str, Array]
    macro_f1: dict[str, Array]
    baselines: dict[str, tuple[float, float]]
    trained: tuple[TrainedPart, ...]
    test_rows: int
    longest: int


def parts(config: Config) -> list[Part]:
    """Return every model, seed by seed."""
    made = []
    for seed in range(config.seed, config.seed + config.seeds):
        for length in config.lengths:
            for recipe in config.recipes:
                for kind in config.kinds:
                    own = part_config(
                        recipe, config, seed=seed, length=length, **KINDS[kind]
                    )
                    made.append(Part(f"{recipe}-{kind}-{length}-{seed}", recipe, own))
    return made


def _study(config: Config, options: RunOptions) -> Results:
    split = load_words(options.csv)
    short = [n for n in config.lengths if n < split.longest]
    if short:
        print(
            f"{NAME}: the longest tweet has {split.longest} words; padded to "
            f"{', '.join(map(str, short))}, longer ones keep their last words",
            file=sys.stderr,
        )
    trained = Study(NAME, config, parts(config), options, STUDY_FILES).train()
    results = Results(
        config.lengths,
        _arrays(config, trained, "accuracy"),
        _arrays(config, trained, "macro_f1"),
        summary.baseline_scores(options.csv),
        tuple(trained),
        len(split.y_test),
        split.longest,
    )
    _write(config, results, options)
    return results


study = study_function(NAME, _study)


def _arrays(
    config: Config, trained: Sequence[TrainedPart], score: str
) -> dict[str, Array]:
    """Return a score of every run by layer and padding: (seeds, lengths) each."""
    found = {one.part.name: one.scores[score] for one in trained}
    seeds = range(config.seed, config.seed + config.seeds)
    return {
        f"{LAYERS[recipe]}, {kind}": np.array(
            [
                [found[f"{recipe}-{kind}-{n}-{seed}"] for n in config.lengths]
                for seed in seeds
            ]
        )
        for recipe in config.recipes
        for kind in config.kinds
    }


def figure(results: Results) -> Any:
    """Draw accuracy against length, one line for each layer and padding."""
    order = np.argsort(results.lengths)
    majority, _ = results.baselines["majority_class"]
    return plots.accuracy_by(
        np.array(results.lengths)[order],
        {name: values[:, order] for name, values in results.accuracy.items()},
        f"length (steps) of tweets with at most {results.longest} words",
        "Test accuracy by padding and length",
        chance=majority,
        chance_label="always the larger class",
    )


def table(results: Results) -> str:
    """Return mean and range of the accuracy over the seeds, one column a length."""
    rows = []
    for name, values in results.accuracy.items():
        cells = [summary.Spread.of(column) for column in values.T]
        rows.append(
            [name, *(f"{c.mean:.4f} ({c.low:.4f}..{c.high:.4f})" for c in cells)]
        )
    for key, (accuracy, _) in results.baselines.items():
        blank = [""] * (len(results.lengths) - 1)
        rows.append([summary.BASELINE_NAMES[key], f"{accuracy:.4f}", *blank])
    headings = ["", *(f"{n} steps" for n in results.lengths)]
    return text_table([headings, *rows], numbers=True)


def _write(config: Config, results: Results, options: RunOptions) -> None:
    metrics = summary.metrics(
        NAME,
        results.trained,
        options.csv,
        epochs=config.epochs,
        seeds=[config.seed + k for k in range(config.seeds)],
        lengths=list(results.lengths),
        accuracy={k: v.tolist() for k, v in results.accuracy.items()},
        macro_f1={k: v.tolist() for k, v in results.macro_f1.items()},
    )
    files = {
        "padding.csv": summary.rows_csv(results.trained),
        "padding.png": plots.png(figure(results)),
    }
    summary.write(options, metrics, files)


def run(config: Config, options: RunOptions) -> RunResult:
    """Train and verify every model, and print the accuracies by padding and length."""
    results = _study(config, options)
    print(
        f"{NAME}: test accuracy on {results.test_rows:,} tweets after "
        f"{config.epochs} epoch(s), mean (lowest..highest) of "
        f"{summary.seed_range(config)}\n"
    )
    print(table(results))
    majority, _ = results.baselines["majority_class"]
    error = summary.sampling_error(majority, results.test_rows)
    print(
        f"\npre, post: where the zeros go, without a mask; masked: post and "
        f"mask_zero=True\nsampling error of one accuracy near {majority:.2f}: "
        f"+-{error:.4f} (95 %, {results.test_rows:,} tweets)\n"
    )
    print(summary.verdict_line(results.trained))
    print_folder(options.folder)
    return summary.study_result(NAME, results.trained)


if __name__ == "__main__":
    script(__file__)
