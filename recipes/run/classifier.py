"""Build, train and score the models of the sentiment recipes.

Each run ends with the test accuracy after the last and at the best epoch beside two
baselines, and with the verifier's verdict.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from recipes.data.airline import CLASSES
from recipes.data.tweets import SentimentConfig, Split, baselines, load_split, macro_f1
from recipes.run import training
from recipes.run.finish import RunResult, finish, print_parameters
from recipes.run.jax_epochs import TEST_BATCH
from recipes.run.options import RunOptions
from verify.model.arrays import Array


def embedding(
    name: str, config: SentimentConfig, vocabulary_size: int, length: int
) -> Any:
    """Begin a model: ids (batch, length) in, vectors (batch, length, embedding) out.

    Returns
    -------
    keras.Sequential
        The recurrent layers are still to be added to it.
    """
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input((length,), dtype="int32"),
            layers.Embedding(
                vocabulary_size,
                config.embedding,
                mask_zero=config.mask_zero,
                name="embedding",
            ),
        ],
        name=name,
    )


def with_softmax(model: Any) -> Any:
    """Complete and compile a model: two probabilities, (batch, 2), out."""
    from keras import layers, metrics

    model.add(layers.Dense(len(CLASSES), activation="softmax", name="dense"))
    model.compile(
        optimizer="adam",
        loss="categorical_crossentropy",
        metrics=["accuracy", metrics.F1Score("macro", name="macro_f1")],
    )
    return model


def run(
    recipe: str,
    build_model: Callable[[Any, int, int], Any],
    config: SentimentConfig,
    options: RunOptions,
) -> RunResult:
    """Train, evaluate and verify one sentiment recipe in the folder of its run.

    Parameters
    ----------
    recipe : str
    build_model : callable
        ``build_model(config, vocabulary_size, length)`` -> compiled keras model.
    config : SentimentConfig
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
    with ThreadPoolExecutor(1) as executor:

        def build() -> Any:
            # the baselines are cached: `_measured` finds them after the training
            executor.submit(baselines, options.csv)
            return build_model(config, pipeline.vocabulary.size, pipeline.length)

        trained = training.train(
            recipe,
            config,
            options,
            build,
            training.TrainingSet(
                split.x_train,
                training.one_hot(split.y_train, len(CLASSES)),
                pipeline,
                split.tweets.source,
                sha256,
                (split.x_test, training.one_hot(split.y_test, len(CLASSES))),
            ),
            batch_size=config.batch_size,
        )
    return _report(recipe, trained, split, options)


def _report(
    recipe: str, trained: training.TrainedModel, split: Split, options: RunOptions
) -> RunResult:
    """Print parameters, scores, baselines and verdict, and write them."""
    print_parameters(trained.net)
    x = split.x_test[: options.verified_rows]

    def measured(outputs: Array) -> dict[str, Any]:
        if len(outputs) < len(split.x_test):  # a study verifies only some rows
            outputs = trained.model.predict(
                split.x_test, batch_size=TEST_BATCH, verbose=0
            )
        return _measured(
            recipe, outputs.argmax(axis=1), split, options, trained.progress
        )

    return finish(recipe, options, trained, x, measured)


def _measured(
    recipe: str,
    predicted: Array,
    split: Split,
    options: RunOptions,
    progress: training.Progress,
) -> dict[str, Any]:
    """Print and return the scores of the predicted classes and of the baselines.

    Parameters
    ----------
    recipe : str
    predicted : (test tweets,) of int
    split, options, progress
        Those of the run.
    """
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
