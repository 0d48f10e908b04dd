"""Many to many: a tag for every word. An LSTM knows which "can" is a noun.

    rnn-recipe run many_to_many
    python recipes/many_to_many.py --seed 7
    rnn-recipe predict runs/many_to_many "the can can hold the fish"

Ten words of the grammar have two tags: "can" and "will" are nouns or auxiliaries,
"fish", "guard" or "watch" are nouns or verbs. The words before decide which, so a table
that gives each word its most frequent tag is wrong on many of them. The LSTM returns
its output at every step (``return_sequences=True``), and one Dense layer turns each
into a tag, as ``TimeDistributed(Dense(...))`` would. Sentences have different lengths:
padding is masked, and only words count.

It ends with both accuracies on test sentences, the tags of three of them, and the
verifier's verdict.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recipes import script
from recipes.data.grammar import (
    ALWAYS_TESTED,
    SENTENCES_SOURCE,
    WORDS_BY_TAG,
    Sentences,
    tagged,
)
from recipes.run import training
from recipes.run.finish import RunResult, finish, print_parameters
from recipes.run.options import RunOptions
from verify.data.text import TextPipeline, Vocabulary, words
from verify.model.arrays import Array

NAME = "many_to_many"
TAGS = tuple(WORDS_BY_TAG)
SHOWN_TEXTS = tuple(ALWAYS_TESTED)


@dataclass(frozen=True)
class Config:
    """List what can be varied; the seed also decides which sentences there are."""

    epochs: int = 10
    batch_size: int = 32
    units: int = 32
    seed: int = 42


@dataclass(frozen=True)
class Score:
    """Hold the shares of words that are tagged right.

    Attributes
    ----------
    every : float
        Share of all words.
    ambiguous : float
        Share of the words that have two tags.
    """

    every: float
    ambiguous: float


def build_model(config: Config, vocabulary_size: int, length: int) -> Any:
    """Return the compiled model: (batch, length) ids in, (batch, length, tags) out."""
    from keras import Input, Sequential, layers, optimizers

    model = Sequential(
        [
            Input((length,), dtype="int32"),
            layers.Embedding(vocabulary_size, 16, mask_zero=True, name="embedding"),
            layers.LSTM(config.units, return_sequences=True, name="lstm"),
            layers.Dense(len(TAGS), activation="softmax", name="tag"),
        ],
        name=NAME,
    )
    model.compile(
        optimizer=optimizers.Adam(0.003),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def targets(sentences: Sentences, length: int) -> Array:
    """Return the tag of each word, -1 at padding: (sentences, length) of int."""
    found = np.full((len(sentences.texts), length), -1)
    for row, answer in zip(found, sentences.answers, strict=True):
        tags = [TAGS.index(tag) for tag in answer.split()]
        row[: len(tags)] = tags
    return found


def most_frequent(x: Array, tags: Array) -> Array:
    """Return the most frequent tag of each word id: (words + 1,) of int."""
    counts: dict[int, Counter[int]] = defaultdict(Counter)
    for word, tag in zip(x.ravel().tolist(), tags.ravel().tolist(), strict=True):
        counts[word][tag] += 1
    table = np.zeros(int(x.max()) + 1, dtype=np.int64)
    for word, found in counts.items():
        table[word] = found.most_common(1)[0][0]
    return table


def score(predicted: Array, tags: Array, ambiguous: Array) -> Score:
    """Return the shares of words that are tagged right; padding does not count.

    Parameters
    ----------
    predicted, tags : (sentences, length) of int
        Tags; the true one is -1 at padding.
    ambiguous : (sentences, length) of bool
        Words that have two tags.
    """
    right, real = predicted == tags, tags >= 0
    return Score(float(np.mean(right[real])), float(np.mean(right[real & ambiguous])))


def run(config: Config, options: RunOptions) -> RunResult:
    """Train the model, compare it with a table of words, and verify it."""
    folder, sentences = options.folder, tagged(config.seed)
    folder.open_for(NAME, asdict(config), sentences.sha256, resume=options.resume)
    split = [words(text, keep_stop_words=True) for text in sentences.texts]
    vocabulary = Vocabulary.of(split)
    length = max(map(len, split))
    pipeline = TextPipeline(vocabulary, length, "post", True, False, TAGS, "tags")
    test = np.array(sentences.test)
    print(
        f"{NAME}: {len(test):,} sentences, {len(vocabulary.words)} words, {len(TAGS)} "
        f"tags; {int((~test).sum()):,} to train on, {int(test.sum()):,} to test",
        file=sys.stderr,
    )
    x, tags = pipeline.encode(sentences.texts), targets(sentences, length)
    # Padding has no tag; any will do there, since these steps are masked.
    y = training.one_hot(np.maximum(tags, 0), len(TAGS))
    x_train, x_test = sentences.split(x)
    y_train, y_test = sentences.split(y)
    trained = training.train(
        NAME,
        config,
        options,
        lambda: build_model(config, vocabulary.size, length),
        training.TrainingSet(
            x_train,
            y_train,
            pipeline,
            SENTENCES_SOURCE,
            sentences.sha256,
            (x_test, y_test),
        ),
        batch_size=config.batch_size,
        report_every=5,
    )
    return _report(trained, sentences, x, tags, options, vocabulary)


def _report(
    trained: training.TrainedModel,
    sentences: Sentences,
    x: Array,
    tags: Array,
    options: RunOptions,
    vocabulary: Vocabulary,
) -> RunResult:
    """Print the accuracies, three tagged sentences and the verdict, and write them."""
    from sklearn.metrics import f1_score

    test = np.array(sentences.test)
    twice = {word for word, times in _times(WORDS_BY_TAG).items() if times > 1}
    ambiguous = np.isin(x, [vocabulary.ids[word] for word in twice])
    predicted = trained.model.predict(x, verbose=0).argmax(axis=-1)
    table = most_frequent(x[~test], tags[~test])[x]
    scores = {
        "most frequent tag of the word": score(
            table[test], tags[test], ambiguous[test]
        ),
        "LSTM": score(predicted[test], tags[test], ambiguous[test]),
    }
    real = test[:, None] & (tags >= 0)
    macro_f1 = float(
        f1_score(tags[real], predicted[real], average="macro", zero_division=0)
    )
    print_parameters(trained.net)
    print(f"\n{NAME}: words tagged right, of {int(real.sum()):,} in the test")
    print(f"  {'':<30}{'all words':>10}{'words with two tags':>21}")
    for name, found in scores.items():
        print(f"  {name:<30}{found.every:>10.4f}{found.ambiguous:>21.4f}")
    for text in SHOWN_TEXTS:
        said = predicted[sentences.texts.index(text)]
        print()
        print_tagged(text.split(), [TAGS[k] for k in said])
    baseline, network = scores.values()
    metrics = {
        "accuracy": network.every,
        "accuracy_on_ambiguous_words": network.ambiguous,
        "macro_f1": macro_f1,
        "baselines": {
            "most_frequent_tag": baseline.every,
            "most_frequent_tag_on_ambiguous_words": baseline.ambiguous,
        },
        "classes": list(TAGS),
        "train_rows": int((~test).sum()),
        "test_rows": int(test.sum()),
        "test_words": int(real.sum()),
    }
    return finish(NAME, options, trained, x[test], metrics)


def _times(tagged_words: dict[str, tuple[str, ...]]) -> Counter[str]:
    """Count how many tags each word may have."""
    return Counter(word for some in tagged_words.values() for word in some)


def print_tagged(text: list[str], tags: list[str]) -> None:
    """Print two lines: the words, and beneath each its tag."""
    pairs = list(zip(text, tags, strict=False))
    widths = [max(map(len, pair)) + 2 for pair in pairs]
    for line in zip(*pairs, strict=True):
        cells = (f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True))
        print(f"  {''.join(cells).rstrip()}")


if __name__ == "__main__":
    script(__file__)
