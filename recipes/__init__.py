"""Keras models built and trained: the chapter's, and what teaches; one file a recipe.

Importing this package imports neither Keras nor the data.
"""

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

CHAPTER = RECIPES[:5]
"""The five models of the chapter; the others are ours."""

PAGE = "explorer.html"
"""What may be made of a run later, in its folder."""
