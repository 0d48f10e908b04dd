"""Word order: who is faster? A bag of words cannot tell, a SimpleRNN can.

    rnn-recipe run word_order
    python recipes/word_order.py --seed 7

Who is faster, bigger, older, stronger? Every two of twelve animals are compared in both
orders with eight comparatives. Both orders have the same words and different answers,
so a model that counts words is right on one of the two: it stays at 50 %, even on the
sentences it has learnt. A SimpleRNN reads one word after the other, and is right on
pairs of animals that it has never seen together.

It ends with the accuracy on those pairs beside that of a bag of words, and the
verifier's verdict.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recipes import script
from recipes.data.grammar import ANIMALS, SENTENCES_SOURCE, Sentences, comparisons
from recipes.run import training
from recipes.run.finish import RunResult, finish, print_parameters
from recipes.run.options import RunOptions
from verify.data.text import TextPipeline, Vocabulary, words

NAME = "word_order"
SHOWN_TEXTS = ("the cat is faster than the dog", "the dog is faster than the cat")


@dataclass(frozen=True)
class Config:
    """List what can be varied; the seed also decides which pairs are for the test."""

    epochs: int = 20
    batch_size: int = 32
    units: int = 32
    seed: int = 42


def build_model(config: Config, vocabulary_size: int, length: int) -> Any:
    """Return the compiled model: ids (batch, length) in, (batch, animals) out."""
    from keras import Input, Sequential, layers, optimizers

    model = Sequential(
        [
            Input((length,), dtype="int32"),
            layers.Embedding(vocabulary_size, 16, name="embedding"),
            layers.SimpleRNN(config.units, name="rnn"),
            layers.Dense(len(ANIMALS), activation="softmax", name="dense"),
        ],
        name=NAME,
    )
    model.compile(
        optimizer=optimizers.Adam(0.003),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def bag_of_words(sentences: Sentences) -> tuple[float, float]:
    """Return the training and the test accuracy of a classifier that counts words."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    test = np.array(sentences.test)
    texts, answers = np.array(sentences.texts), np.array(sentences.answers)
    model = make_pipeline(CountVectorizer(), LogisticRegression(C=10.0, max_iter=1000))
    model.fit(texts[~test], answers[~test])
    return (
        float(model.score(texts[~test], answers[~test])),
        float(model.score(texts[test], answers[test])),
    )


def samples(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return sentences of the test with their answers, for the page of a run."""
    config = manifest.get("config")
    seed = config.get("seed") if isinstance(config, dict) else None
    sentences = comparisons(
        seed if isinstance(seed, int) and seed >= 0 else Config().seed
    )
    rows = list(zip(sentences.texts, sentences.answers, strict=True))
    kept = [row for row, test in zip(rows, sentences.test, strict=True) if test]
    return [row for row in rows if row[0] in SHOWN_TEXTS] + kept


def run(config: Config, options: RunOptions) -> RunResult:
    """Train the model, compare it with a bag of words, and verify it."""
    folder, sentences = options.folder, comparisons(config.seed)
    folder.open_for(NAME, asdict(config), sentences.sha256, resume=options.resume)
    split = [words(text, keep_stop_words=True) for text in sentences.texts]
    vocabulary = Vocabulary.of(split)
    length = max(map(len, split))
    pipeline = TextPipeline(vocabulary, length, "post", True, False, ANIMALS)
    test = np.array(sentences.test)
    print(
        f"{NAME}: {len(test):,} sentences, {len(vocabulary.words)} words; "
        f"{int((~test).sum()):,} to train on, {int(test.sum()):,} to test, of pairs "
        "never seen together",
        file=sys.stderr,
    )
    x = pipeline.encode(sentences.texts)
    labels = np.array([ANIMALS.index(answer) for answer in sentences.answers])
    y = training.one_hot(labels, len(ANIMALS))
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
    return _report(trained, sentences, x, labels, options)


def _report(
    trained: training.TrainedModel,
    sentences: Sentences,
    x: Any,
    labels: Any,
    options: RunOptions,
) -> RunResult:
    """Print the accuracies, two answers and the verdict, and write them."""
    from sklearn.metrics import f1_score

    test = np.array(sentences.test)
    predicted = trained.model.predict(x, verbose=0).argmax(axis=1)
    learnt, accuracy = (
        float(np.mean((predicted == labels)[part])) for part in (~test, test)
    )
    macro_f1 = float(f1_score(labels[test], predicted[test], average="macro"))
    bag = bag_of_words(sentences)
    print_parameters(trained.net)
    print(f"\n{NAME}: who has more of it?")
    print(f"  {'':<14}{'learnt sentences':>18}{'unseen pairs':>14}")
    print(f"  {'bag of words':<14}{bag[0]:>18.4f}{bag[1]:>14.4f}")
    print(f"  {'SimpleRNN':<14}{learnt:>18.4f}{accuracy:>14.4f}")
    print()
    numbers = [sentences.texts.index(text) for text in SHOWN_TEXTS]
    for text, answer in zip(SHOWN_TEXTS, predicted[numbers], strict=True):
        print(f"  {text} -> {ANIMALS[answer]}")
    metrics = {
        "training_accuracy": learnt,
        "accuracy": accuracy,
        "macro_f1": macro_f1,
        "baselines": {"bag_of_words": bag[1], "bag_of_words_training": bag[0]},
        "classes": list(ANIMALS),
        "train_rows": int((~test).sum()),
        "test_rows": int(test.sum()),
    }
    return finish(NAME, options, trained, x[test], metrics)


if __name__ == "__main__":
    script(__file__)
