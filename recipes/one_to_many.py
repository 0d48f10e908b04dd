"""One to many: a single word goes in, a whole phrase comes out.

    rnn-recipe run one_to_many
    python recipes/one_to_many.py --seed 7
    rnn-recipe predict runs/one_to_many "delay"

The topic of a message is one of twelve classes, and each has a reply of 4 to 8 words.
RepeatVector gives the class to an LSTM at every step, so the input never says how far
the phrase has come: only the state counts the steps. A Dense layer turns each output
into a word, or into ``(end)`` after the last one. The baseline is the most frequent
word of each position, which needs no class and is right on few words.

There is no test set: the model learns twelve phrases by heart, which shows that a state
can lead through them. It ends with the phrase for each class and the verifier's
verdict.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recipes import script
from recipes.data.grammar import PHRASES_SOURCE, REPLIES
from recipes.explore.answer import phrase
from recipes.run import training
from recipes.run.finish import RunResult, finish, print_parameters
from recipes.run.folder import END_OF_PHRASE
from recipes.run.options import RunOptions
from verify.data.text import TextPipeline, Vocabulary
from verify.model.arrays import Array

NAME = "one_to_many"
SHOWN_TEXTS = tuple(REPLIES)
PHRASE_LENGTH = max(len(reply.split()) for reply in REPLIES.values())
"""Words of the longest phrase."""

OUTPUT_WORDS = (
    END_OF_PHRASE,
    *sorted({word for reply in REPLIES.values() for word in reply.split()}),
)
"""The classes of the outputs."""


@dataclass(frozen=True)
class Config:
    """List what can be varied."""

    epochs: int = 400
    units: int = 32
    seed: int = 42


def build_model(config: Config) -> Any:
    """Return the compiled model: (batch, 1) ids in, (batch, time, words) out."""
    from keras import Input, Sequential, layers, optimizers

    model = Sequential(
        [
            Input((1,), dtype="int32"),
            layers.Embedding(len(REPLIES) + 1, 8, name="embedding"),
            layers.Flatten(name="flatten"),
            layers.RepeatVector(PHRASE_LENGTH, name="repeat"),
            layers.LSTM(config.units, return_sequences=True, name="lstm"),
            layers.Dense(len(OUTPUT_WORDS), activation="softmax", name="word"),
        ],
        name=NAME,
    )
    model.compile(
        optimizer=optimizers.Adam(0.01),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def targets() -> Array:
    """Return the class of each word, 0 after the last: (classes, PHRASE_LENGTH)."""
    found = np.zeros((len(REPLIES), PHRASE_LENGTH), dtype=np.int64)
    for row, reply in zip(found, REPLIES.values(), strict=True):
        said = [OUTPUT_WORDS.index(word) for word in reply.split()]
        row[: len(said)] = said
    return found


def by_position(labels: Array) -> Array:
    """Return the most frequent word of each position: (classes, PHRASE_LENGTH)."""
    words = [np.bincount(column).argmax() for column in labels.T]
    return np.tile(words, (len(labels), 1))


def score(predicted: Array, labels: Array) -> tuple[float, float]:
    """Return the share of words that are right, and of whole phrases with their end.

    Parameters
    ----------
    predicted, labels : (classes, PHRASE_LENGTH) of int
        Classes of words; 0 after the last word, which does not count as one.
    """
    right = predicted == labels
    return float(np.mean(right[labels > 0])), float(np.mean(right.all(axis=1)))


def run(config: Config, options: RunOptions) -> RunResult:
    """Train the model, compare it with the words of each position, and verify it."""
    sha256 = hashlib.sha256(json.dumps(REPLIES).encode()).hexdigest()
    options.folder.open_for(NAME, asdict(config), sha256, resume=options.resume)
    vocabulary = Vocabulary.of([[name] for name in REPLIES])
    pipeline = TextPipeline(vocabulary, 1, "post", True, False, OUTPUT_WORDS, "phrase")
    print(
        f"{NAME}: {len(REPLIES)} classes, a phrase of at most {PHRASE_LENGTH} words "
        f"for each, {len(OUTPUT_WORDS) - 1} words",
        file=sys.stderr,
    )
    x, labels = pipeline.encode(list(REPLIES)), targets()
    trained = training.train(
        NAME,
        config,
        options,
        lambda: build_model(config),
        training.TrainingSet(
            x,
            training.one_hot(labels, len(OUTPUT_WORDS)),
            pipeline,
            PHRASES_SOURCE,
            sha256,
        ),
        batch_size=len(x),
        report_every=100,
    )
    return _report(trained, x, labels, options)


def _report(
    trained: training.TrainedModel,
    x: Array,
    labels: Array,
    options: RunOptions,
) -> RunResult:
    """Print every phrase, two accuracies and the verdict, and write them."""
    predicted = trained.model.predict(x, verbose=0).argmax(axis=-1)
    print_parameters(trained.net)
    words, phrases = score(predicted, labels)
    guessed, _ = score(by_position(labels), labels)
    print(f"\n{NAME}: what is said for each class")
    width = max(map(len, REPLIES))
    for (name, reply), steps in zip(REPLIES.items(), predicted, strict=True):
        said = phrase(OUTPUT_WORDS[k] for k in steps)
        wrong = "" if said == reply else f"   (should be: {reply})"
        print(f"  {name:<{width}}  {said}{wrong}")
    names = ("most frequent word of each position", "LSTM")
    print(f"\n  {names[0]}   {guessed:.4f} of the words")
    print(f"  {names[1]:<{len(names[0])}}   {words:.4f}, {phrases:.4f} of the phrases")
    metrics = {
        "training_accuracy": words,
        "phrases_right": phrases,
        "baselines": {"most_frequent_word_of_the_position": guessed},
        "classes": list(OUTPUT_WORDS),
        "train_rows": len(x),
    }
    return finish(NAME, options, trained, x, metrics)


if __name__ == "__main__":
    script(__file__)
