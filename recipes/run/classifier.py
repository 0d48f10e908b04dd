"""What the sentiment recipes share: data, split, baselines, evaluation, report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from recipes.data.airline import CLASSES, Tweets, load_tweets
from recipes.data.text import Padding, Vocabulary, one_hot, pad, words
from recipes.run import training
from recipes.run.finish import conclude
from recipes.run.folder import TextPipeline
from recipes.run.outcome import TEST_BATCH, Outcome, RunOptions, print_parameters
from verify.errors import DataError, printable
from verify.model.arrays import Array

TEST_SHARE = 0.3
SPLIT_SEED = 42


@dataclass(frozen=True)
class TweetConfig:
    """What everything that learns from the tweets can vary, studies included."""

    epochs: int
    batch_size: int = 32
    units: int = 40
    embedding: int = 32
    seed: int = 42


@dataclass(frozen=True)
class SentimentConfig(TweetConfig):
    """What can be varied; the defaults are the chapter's.

    `length` is the number of time steps, that of the longest tweet by default.
    """

    mask_zero: bool = False
    padding: Padding = "post"
    length: int | None = None


@dataclass(frozen=True)
class Split:
    """The data of a run, split 70/30.

    Attributes
    ----------
    x_train, x_test : (tweets, time) of int32
    y_train, y_test : (tweets,) of int
        0 negative, 1 positive.
    texts_train, texts_test : list of str
        Cleaned texts without stop words, for the linear baseline.
    written_test : list of str
        The test tweets as they were written.
    pipeline : TextPipeline
    tweets : Tweets
    longest : int
        Words of the longest tweet.
    """

    x_train: npt.NDArray[np.int32]
    x_test: npt.NDArray[np.int32]
    y_train: npt.NDArray[np.int64]
    y_test: npt.NDArray[np.int64]
    texts_train: list[str]
    texts_test: list[str]
    written_test: list[str]
    pipeline: TextPipeline
    tweets: Tweets
    longest: int


def load_split(csv: str | None, padding: Padding, length: int | None = None) -> Split:
    """Load the tweets, number their words, pad, and split with ``random_state=42``.

    The vocabulary is that of all tweets, as in the chapter. A tweet of more than
    `length` words keeps its last ones.

    Raises
    ------
    DataError
        The data cannot be used; see `recipes.data.airline.load_tweets`.
    """
    return _split(csv, padding, length)


@cache
def _split(csv: str | None, padding: Padding, length: int | None) -> Split:
    """`load_split`, once for the same arguments, however they are given."""
    from sklearn.model_selection import train_test_split

    tweets, split = _tweets_in_words(csv)
    vocabulary = Vocabulary.of(split)
    source = printable(tweets.source)
    if not vocabulary.words:
        raise DataError(
            f"{source}: expected words. Received: no text is left after preprocessing "
            f"{len(split):,} row(s)"
        )
    longest = max(map(len, split))
    length = length or longest
    pipeline = TextPipeline(vocabulary, length, padding, False, False, CLASSES)
    parts = train_test_split(
        pad(vocabulary.encode(split), length, padding),
        tweets.labels,
        [" ".join(text) for text in split],
        tweets.texts,
        test_size=TEST_SHARE,
        random_state=SPLIT_SEED,
    )
    x_train, x_test, y_train, y_test, texts_train, texts_test, _, written_test = parts
    if len(np.unique(y_train)) < 2:
        raise DataError(
            f"{source}: expected both classes among the {len(y_train):,} training rows."
            " Received: one; more rows are needed"
        )
    return Split(
        x_train,
        x_test,
        y_train,
        y_test,
        texts_train,
        texts_test,
        list(written_test),
        pipeline,
        tweets,
        longest,
    )


@cache
def _tweets_in_words(csv: str | None) -> tuple[Tweets, list[list[str]]]:
    """The tweets, and the words of each; read once for all lengths and paddings."""
    tweets = load_tweets(csv)
    return tweets, [words(text) for text in tweets.texts]


@cache
def baseline_predictions(csv: str | None) -> dict[str, npt.NDArray[np.int64]]:
    """What two models that know nothing of word order say of the test tweets.

    They count words, so padding is nothing to them.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from threadpoolctl import threadpool_limits

    split = load_split(csv, "post")
    majority = np.bincount(split.y_train).argmax()
    vectorizer = TfidfVectorizer()  # words of two characters and more
    if not any(map(vectorizer.build_analyzer(), split.texts_train)):
        vectorizer = TfidfVectorizer(token_pattern=r"\S+")
    linear = make_pipeline(vectorizer, LogisticRegression(C=10.0, max_iter=1000))
    with threadpool_limits(1, user_api="blas"):
        # Its vectors are short: threads would wait for each other, ten times as long
        # beside those that Keras keeps waiting.
        linear.fit(split.texts_train, split.y_train)
    return {
        "majority_class": np.full_like(split.y_test, majority),
        "tfidf_logistic_regression": linear.predict(split.texts_test),
    }


def baselines(csv: str | None) -> dict[str, float]:
    """Test accuracy of two models that know nothing of word order."""
    y_test = load_split(csv, "post").y_test
    predictions = baseline_predictions(csv)
    return {name: float(np.mean(y == y_test)) for name, y in predictions.items()}


def macro_f1(labels: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """The mean of both classes' F1; 0 for a class that is never said."""
    from sklearn.metrics import f1_score

    classes = list(range(len(CLASSES)))
    return float(
        f1_score(labels, predicted, labels=classes, average="macro", zero_division=0)
    )


def run(
    recipe: str,
    config: SentimentConfig,
    build_model: Callable[[Any, int, int], Any],
    options: RunOptions,
) -> Outcome:
    """Train, evaluate and verify one sentiment recipe; everything lands in its folder.

    Parameters
    ----------
    recipe : str
    config : SentimentConfig
    build_model : callable
        ``build_model(config, vocabulary_size, length)`` -> compiled keras model.
    options : RunOptions

    Raises
    ------
    DataError
        The data or the folder cannot be used.
    recipes.run.training.Interrupted
        On Ctrl-C.
    """
    split = load_split(options.csv, config.padding, config.length)
    folder, pipeline = options.folder, split.pipeline
    sha256 = split.tweets.sha256
    folder.open_for(recipe, asdict(config), sha256, resume=options.resume)
    for note in split.tweets.notes:
        print(note, file=sys.stderr)
    print(
        f"{recipe}: {len(split.tweets.texts):,} tweets, "
        f"{len(pipeline.vocabulary.words):,} words, longest {split.longest}; "
        f"{len(split.x_train):,} to train on, {len(split.x_test):,} to test",
        file=sys.stderr,
    )
    if config.length is not None:
        cut = " (longer ones keep their last words)"
        print(
            f"padded to {pipeline.length} time steps"
            f"{cut if pipeline.length < split.longest else ''}",
            file=sys.stderr,
        )
    with ThreadPoolExecutor(1) as beside:

        def build() -> Any:
            beside.submit(baselines, options.csv)  # known before training ends
            return build_model(config, pipeline.vocabulary.size, pipeline.length)

        trained = training.train(
            recipe,
            config,
            options,
            build,
            training.Lesson(
                split.x_train,
                one_hot(split.y_train, len(CLASSES)),
                pipeline,
                split.tweets.source,
                sha256,
                (split.x_test, one_hot(split.y_test, len(CLASSES))),
            ),
            batch_size=config.batch_size,
        )
    return _conclude(recipe, trained, split, options)


def _conclude(
    recipe: str, trained: training.TrainedModel, split: Split, options: RunOptions
) -> Outcome:
    """Scores, baselines, parameters and verdict: printed, and kept in the folder."""
    print_parameters(trained.net)
    x = split.x_test[: options.verified_rows]

    def measured(outputs: Array) -> dict[str, Any]:
        if len(outputs) < len(split.x_test):  # not all of them were verified
            outputs = trained.model.predict(
                split.x_test, batch_size=TEST_BATCH, verbose=0
            )
        return _measured(
            recipe, outputs.argmax(axis=1), split, options, trained.progress
        )

    return conclude(recipe, options, trained, x, measured)


def _measured(
    recipe: str,
    predicted: Array,
    split: Split,
    options: RunOptions,
    progress: training.Progress,
) -> dict[str, Any]:
    """Scores of the classes that were predicted, (tweets,), and baselines: printed."""
    from sklearn.metrics import confusion_matrix

    history = progress.history
    accuracy = float(np.mean(predicted == split.y_test))
    labels = list(range(len(CLASSES)))
    f1 = macro_f1(split.y_test, predicted)
    best = int(np.argmax(history["val_accuracy"]))
    plain_models = baselines(options.csv)
    print(f"\n{recipe}: test accuracy on {len(split.y_test):,} tweets")
    print(f"  last epoch ({progress.epochs})   {accuracy:.4f}, macro-F1 {f1:.4f}")
    print(f"  best epoch ({best + 1})   {history['val_accuracy'][best]:.4f}")
    print(f"  baseline: always the larger class   {plain_models['majority_class']:.4f}")
    print(
        "  baseline: TF-IDF + logistic regression   "
        f"{plain_models['tfidf_logistic_regression']:.4f}"
    )
    return {
        "accuracy": accuracy,
        "macro_f1": f1,
        "confusion_matrix": confusion_matrix(
            split.y_test, predicted, labels=labels
        ).tolist(),
        "classes": list(CLASSES),
        "best_epoch": best + 1,
        "best_accuracy": history["val_accuracy"][best],
        "best_macro_f1": history["val_macro_f1"][best],
        "baselines": plain_models,
        "train_rows": len(split.y_train),
        "test_rows": len(split.y_test),
    }
