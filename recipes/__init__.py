"""Train Keras's recurrent networks and verify them: each module here is a recipe.

The packages hold what the recipes share: `data`, `run` (training and all around it),
`explore` (looking into a trained model) and `plots`.

Importing this package imports neither Keras nor the data.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

RECIPES = (
    "toy_rnn",
    "toy_lstm",
    "sentiment_rnn",
    "sentiment_lstm",
    "sentiment_stacked_lstm",
    "sentiment_gru",
    "word_order",
    "long_memory",
    "many_to_many",
    "one_to_many",
    "seeds",
    "padding_study",
)
"""Every recipe, by the name of its file."""

STUDIES = ("long_memory", "seeds", "padding_study")
"""The recipes that train many models each; `all` leaves them out."""

SENTIMENT_RECIPES = tuple(name for name in RECIPES if name.startswith("sentiment_"))
"""The recipes that train one model on the tweets."""

CHAPTER = RECIPES[:5]
"""The five models of the chapter; the other recipes are additions."""

GROUPS = {
    "all": tuple(name for name in RECIPES if name not in STUDIES),
    "chapter": CHAPTER,
}
"""Names that stand for several recipes in ``rnn-recipe run``."""

PAGE_FILE = "explorer.html"
"""The page of a run, which ``rnn-recipe explore`` writes into its folder."""


def script(file: str) -> None:
    """Run the recipe, or the sweep, in this file as ``rnn-recipe`` does, and exit."""
    name = Path(file).stem
    sys.argv[1:1] = ["run", name] if name in RECIPES else [name]
    runpy.run_module("recipes", run_name="__main__", alter_sys=True)
