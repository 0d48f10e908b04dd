"""Measure what a run costs beside a bare Keras script with the same training.

    python -m benchmarks.training
    python -m benchmarks.training --epochs 10 --recipe sentiment_lstm --times 3

Each side runs in its own process, so that imports count, and they take turns in
starting first. The bare script reads the same tweets, builds the same model with the
same settings and calls ``model.fit`` once, with validation after every epoch. The run
also keeps an order of samples that can be resumed, writes a checkpoint and a history
after every epoch, and never loses Ctrl-C.

Each row of the table is one recipe: the median seconds of the bare script and of the
run, both from the start of the process to the end of the training; their ratio, the
median over pairs; the seconds of the run after its training, for evaluation, baselines,
figures and verification; and the share of these in the whole run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from recipes import SENTIMENT_RECIPES
from recipes.run.plan import module
from verify.console.tables import markdown_row, markdown_table

SIDES = ("bare", "run")
HEADINGS = (
    "recipe", "bare script, s", "run, trained, s", "ratio", "after it, s", "share",
)  # fmt: skip


def bare(recipe: str, epochs: int) -> None:
    """Train as the chapter's script does: data, model, one call of fit."""
    from recipes.data.tweets import load_split
    from recipes.run import training
    from recipes.run.training import one_hot

    split = load_split(None, "post")
    config = module(recipe).Config()
    training.start(config.seed)
    model = module(recipe).build_model(
        config, split.pipeline.vocabulary.size, split.pipeline.length
    )
    model.fit(
        split.x_train,
        one_hot(split.y_train, 2),
        epochs=epochs,
        batch_size=config.batch_size,
        validation_data=(split.x_test, one_hot(split.y_test, 2)),
    )


def run(recipe: str, epochs: int) -> float:
    """Run the recipe with ``rnn-recipe``, and return the time its training ended."""
    from recipes.__main__ import main
    from recipes.run import training

    train, ended = training.train, []

    def train_and_note(*args: Any, **options: Any) -> Any:
        result = train(*args, **options)
        ended.append(time.time())
        return result

    training.train = train_and_note
    with tempfile.TemporaryDirectory() as folder:
        code = main(["run", recipe, "--epochs", str(epochs), "--out", f"{folder}/run"])
    if code or not ended:
        raise RuntimeError(f"expected a run that passes. Received: exit code {code}")
    return float(ended[0])


def timed(side: str, recipe: str, epochs: int) -> dict[str, float]:
    """Run one side in a process, and measure the seconds to the end of its training.

    Raises
    ------
    RuntimeError
        The process failed.
    """
    command = [sys.executable, "-m", "benchmarks.training", "--side", side]
    command += ["--recipe", recipe, "--epochs", str(epochs)]
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    whole = time.time() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    ended = json.loads(done.stdout.splitlines()[-1])["trained"]
    return {"trained": ended - began, "whole": whole}


def row(recipe: str, epochs: int, times: int) -> str:
    """Measure one recipe, and return its row of the table."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for k in range(times):
        for side in SIDES if k % 2 == 0 else SIDES[::-1]:
            found[side].append(timed(side, recipe, epochs))
            print(f"  {recipe} {side}: {found[side][-1]}", file=sys.stderr, flush=True)
    trained = {
        side: statistics.median(one["trained"] for one in found[side]) for side in SIDES
    }
    pairs = zip(found["run"], found["bare"], strict=True)
    ratio = statistics.median(a["trained"] / b["trained"] for a, b in pairs)
    after = statistics.median(one["whole"] - one["trained"] for one in found["run"])
    share = statistics.median(1 - one["trained"] / one["whole"] for one in found["run"])
    seconds = [f"{trained[side]:.1f}" for side in SIDES]
    return markdown_row(
        recipe, *seconds, f"{ratio:.2f}", f"{after:.1f}", f"{share:.0%}"
    )


def main() -> None:
    """Print the table in Markdown; with ``--side``, run one side in this process."""
    parser = argparse.ArgumentParser(description="A run beside the bare Keras script.")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--recipe", nargs="+", choices=SENTIMENT_RECIPES, default=SENTIMENT_RECIPES
    )
    parser.add_argument("--times", type=int, default=3, help="pairs of each recipe")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.epochs < 1 or given.times < 1:
        parser.error("--epochs and --times: expected numbers from 1")
    if given.side:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        with contextlib.redirect_stdout(io.StringIO()):
            side = {"bare": bare, "run": run}[given.side]
            ended = side(given.recipe[0], given.epochs)
        print(json.dumps({"trained": ended or time.time()}), flush=True)
        return
    print(markdown_table(HEADINGS, []))
    for recipe in given.recipe:
        print(row(recipe, given.epochs, given.times), flush=True)


if __name__ == "__main__":
    main()
