"""Prepare the tweets for training, and score two baselines that only count words.

There are two stages: `load_words` splits the tweets into words, and into a training and
a test set; `load_split` turns the words into padded ids, which the networks read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from recipes.data.airline import CLASSES, Tweets, load_tweets
from recipes.data.stop_words import nltk_stop_words
from verify.data.text import Padding, TextPipeline, Vocabulary, words
from verify.errors import DataError

TEST_SHARE = 0.3
SPLIT_SEED = 42


@dataclass(frozen=True)
class TweetConfig:
    """List what recipes and studies on the tweets can vary."""

    epochs: int
    batch_size: int = 32
    units: int = 40
    embedding: int = 32
    seed: int = 42


@dataclass(frozen=True)
class SentimentConfig(TweetConfig):
    """List what can be varied; the defaults are the chapter's.

    `length` is the number of time steps, that of the longest tweet by default.
    """

    mask_zero: bool = False
    padding: Padding = "post"
    length: int | None = None


@dataclass(frozen=True)
class TweetWords:
    """Hold the words of the tweets, split 70/30.

    Attributes
    ----------
    tweets : Tweets
    vocabulary : Vocabulary
        The words of all tweets, as in the chapter.
    longest : int
        The number of words of the longest tweet.
    texts_train, texts_test : list of str
        Cleaned texts without stop words.
    y_train, y_test : (tweets,) of int
        0 negative, 1 positive.
    written_test : list of str
        The test tweets as they were written.
    """

    tweets: Tweets
    vocabulary: Vocabulary
    longest: int
    texts_train: list[str]
    texts_test: list[str]
    y_train: npt.NDArray[np.int64]
    y_test: npt.NDArray[np.int64]
    written_test: list[str]


@dataclass(frozen=True)
class Split(TweetWords):
    """Hold the tweets as padded ids, too.

    Attributes
    ----------
    pipeline : TextPipeline
    x_train, x_test : (tweets, time) of int32
    """

    pipeline: TextPipeline
    x_train: npt.NDArray[np.int32]
    x_test: npt.NDArray[np.int32]


@cache
def load_words(csv: str | None, /) -> TweetWords:
    """Load the tweets, number their words, and split with ``random_state=42``.

    Raises
    ------
    DataError
        The data cannot be used; see `recipes.data.airline.load_tweets`.
    """
    tweets = load_tweets(csv)  # first: what cannot be used is said at once
    from sklearn.model_selection import train_test_split

    unwanted = nltk_stop_words()
    all_words = (words(text, keep_stop_words=True) for text in tweets.texts)
    split = [[word for word in found if word not in unwanted] for found in all_words]
    vocabulary = Vocabulary.of(split)
    if not vocabulary.words:
        raise DataError(
            f"{tweets.source}: expected words. Received: no text is left after "
            f"preprocessing {len(split):,} row(s)"
        )
    texts_train, texts_test, y_train, y_test, _, written_test = train_test_split(
        [" ".join(text) for text in split],
        tweets.labels,
        tweets.texts,
        test_size=TEST_SHARE,
        random_state=SPLIT_SEED,
    )
    if len(np.unique(y_train)) < 2:
        raise DataError(
            f"{tweets.source}: expected both classes among the {len(y_train):,} "
            "training rows. Received: one; more rows are needed"
        )
    return TweetWords(
        tweets,
        vocabulary,
        max(map(len, split)),
        texts_train,
        texts_test,
        y_train,
        y_test,
        list(written_test),
    )


def load_split(csv: str | None, padding: Padding, length: int | None = None) -> Split:
    """Load the tweets as ids, padded to `length` or to the longest tweet.

    A tweet of more than `length` words keeps its last ones.

    Raises
    ------
    DataError
        As `load_words`.
    """
    return _split(csv, padding, length)


@cache
def _split(csv: str | None, padding: Padding, length: int | None) -> Split:
    # The cache is here, where all calls look alike: a cache of `load_split` would tell
    # a call without `length` from one with None.
    found = load_words(csv)
    length = length or found.longest
    pipeline = TextPipeline(found.vocabulary, length, padding, False, False, CLASSES)
    return Split(
        **vars(found),
        pipeline=pipeline,
        x_train=pipeline.encode(found.texts_train),
        x_test=pipeline.encode(found.texts_test),
    )


@cache
def baseline_predictions(csv: str | None) -> dict[str, npt.NDArray[np.int64]]:
    """Predict the test tweets with two models that know nothing of word order."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from threadpoolctl import threadpool_limits

    split = load_words(csv)
    majority = np.bincount(split.y_train).argmax()
    vectorizer = TfidfVectorizer()  # takes words of two characters or more
    if not any(map(vectorizer.build_analyzer(), split.texts_train)):
        vectorizer = TfidfVectorizer(token_pattern=r"\S+")
    linear = make_pipeline(vectorizer, LogisticRegression(C=10.0, max_iter=1000))
    with threadpool_limits(1, user_api="blas"):
        # The vectors are short: several threads would mostly wait for each other, and
        # ten times as long while Keras trains in others.
        linear.fit(split.texts_train, split.y_train)
    return {
        "majority_class": np.full_like(split.y_test, majority),
        "tfidf_logistic_regression": linear.predict(split.texts_test),
    }


def baselines(csv: str | None) -> dict[str, float]:
    """Return the test accuracy of two models that know nothing of word order."""
    y_test = load_words(csv).y_test
    predictions = baseline_predictions(csv)
    return {name: float(np.mean(y == y_test)) for name, y in predictions.items()}


def macro_f1(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Return the mean of both classes' F1; 0 for a class that is never predicted."""
    from sklearn.metrics import f1_score

    classes = list(range(len(CLASSES)))
    return float(
        f1_score(labels, predicted, labels=classes, average="macro", zero_division=0)
    )
