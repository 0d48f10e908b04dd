"""Training on TensorFlow: repeated, resumed, interrupted; with many steps at once.

In ``make test`` the tests of tests/recipes run on JAX, and these on TensorFlow.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from support.interruptions import Destroyed, ctrl_c
from support.runs import assert_same_run, read, train, weights

from recipes.run import backend, training
from recipes.run.folder import RunFolder

pytestmark = [
    pytest.mark.keras,
    pytest.mark.skipif(
        os.environ["KERAS_BACKEND"] != "tensorflow",
        reason="needs KERAS_BACKEND=tensorflow",
    ),
]


@pytest.mark.usefixtures("unverified")
def test_a_run_is_repeated_and_resumed_to_the_bit_and_keeps_its_backend(
    tweets_csv, tmp_path
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(whole, tweets_csv, "--epochs", "2") == 0
    assert train(parts, tweets_csv, "--epochs", "1") == 0
    assert train(parts, tweets_csv, "--epochs", "2", "--resume") == 0
    assert_same_run(whole, parts)
    assert read(parts, "manifest.json")["backend"] == "tensorflow"
    assert read(parts, "metrics.json")["backend"] == "tensorflow"
    assert train(parts, tweets_csv, "--backend", "jax", "--resume") == 2
    assert_same_run(whole, parts)


@pytest.mark.usefixtures("unverified")
def test_many_steps_at_once_give_the_weights_of_single_steps(
    tweets_csv, tmp_path, monkeypatch
):
    at_once, single = tmp_path / "at_once", tmp_path / "single"
    assert train(at_once, tweets_csv, "--epochs", "1") == 0
    monkeypatch.setattr(backend, "STEPS_PER_EXECUTION", 1)
    assert train(single, tweets_csv, "--epochs", "1") == 0
    assert_same_run(at_once, single)
    assert weights(single)


def linear(steps: list, inside) -> object:
    """A model whose training step and evaluation call `inside`, in TensorFlow's C."""
    import keras
    import tensorflow as tf

    class Watched(keras.layers.Layer):
        def call(self, x, training=False):
            def seen(value):
                steps.append(bool(training))
                inside(steps)
                return value

            y = tf.numpy_function(seen, [x], tf.float32, stateful=True)
            return tf.ensure_shape(y, x.shape)

    model = keras.Sequential(
        [keras.Input((3,)), Watched(), keras.layers.Dense(2, activation="softmax")]
    )
    model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
    return model


BATCHES = 12


@pytest.mark.usefixtures("hears")
@pytest.mark.parametrize(
    ("how", "at"),
    [
        ("a destructor", 2 * BATCHES - 5),
        ("a callback", 2 * BATCHES + 3),
        pytest.param("a destructor", 2 * BATCHES + 3, marks=pytest.mark.thorough),
        pytest.param("a callback", 2 * BATCHES - 5, marks=pytest.mark.thorough),
    ],
)
def test_training_ends_at_once_though_python_drops_the_interrupt(
    how, at, dropped, tmp_path
):
    """In the second epoch: inside a batch of training, then of the evaluation."""
    training.start(1)
    steps: list = []

    def inside(steps: list) -> None:
        if len(steps) == at + 3:  # an evaluation of three batches came before
            Destroyed() if how == "a destructor" else ctrl_c()

    model = linear(steps, inside)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4 * BATCHES, 3)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[rng.integers(0, 2, len(x))]
    test = np.resize(x, (3 * 256, 3)), np.resize(y, (3 * 256, 2))
    progress = training.restore(model, folder := RunFolder(tmp_path), 5)
    with pytest.raises(training.Interrupted, match="after epoch 1 of 5"):
        training.fit(
            model, x, y, epochs=5, batch_size=4, seed=1, folder=folder,
            progress=progress, validation=test,
        )  # fmt: skip
    assert len(steps) <= at + 3 + 2  # the data are read a little ahead
    assert steps.count(False) == (3 if at < 2 * BATCHES else len(steps) - 2 * BATCHES)
    assert dropped == []
    assert training.restore(model, folder, 5).epochs == 1
