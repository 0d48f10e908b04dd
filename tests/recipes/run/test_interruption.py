"""Ctrl-C: remembered wherever the program is when it comes, and acted on soon."""

from __future__ import annotations

import signal
import sys
import threading

import numpy as np
import pytest

from recipes.run import training
from recipes.run.folder import RunFolder
from verify.console.signals import Interruption


def ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class Destroyed:
    """Ctrl-C comes while this is destroyed, where Python drops what is raised."""

    def __init__(self, times: int = 1) -> None:
        self.times = times

    def __del__(self) -> None:
        for _ in range(self.times):
            ctrl_c()


@pytest.fixture
def dropped(monkeypatch) -> list:
    """Collect the errors that Python says it ignored."""
    found: list = []
    monkeypatch.setattr(
        sys, "unraisablehook", lambda caught: found.append(caught.exc_type)
    )
    return found


@pytest.fixture(autouse=True)
def hears():
    """A job may have been begun deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_without_it_ctrl_c_in_a_destructor_is_lost(dropped):
    Destroyed()
    assert dropped == [KeyboardInterrupt]


def interrupted(work) -> None:
    """Work that Ctrl-C has to end by itself, before the last look on leaving."""

    def whole() -> None:
        with Interruption() as interruption:
            work(interruption)
            raise AssertionError("it went on")

    with pytest.raises(KeyboardInterrupt):
        whole()


def test_ctrl_c_is_remembered_until_it_is_looked_at(dropped):
    def work(interruption):
        interruption.raise_if_received()
        Destroyed()
        assert interruption.received
        interruption.raise_if_received()

    interrupted(work)
    assert dropped == []


def test_a_second_ctrl_c_acts_at_once():
    def work(interruption):
        ctrl_c()
        ctrl_c()

    interrupted(work)


def test_a_second_ctrl_c_that_is_dropped_leaves_the_first(dropped):
    def work(interruption):
        Destroyed(times=2)
        interruption.raise_if_received()

    interrupted(work)
    assert dropped == [KeyboardInterrupt]


def test_ctrl_c_after_the_last_look_is_not_lost():
    with pytest.raises(KeyboardInterrupt), Interruption():
        ctrl_c()


def test_an_error_is_not_hidden_by_ctrl_c():
    def work() -> None:
        with Interruption():
            ctrl_c()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


@pytest.mark.parametrize("answer", [signal.SIG_IGN, lambda number, frame: None])
def test_another_answer_to_ctrl_c_is_left_in_place(answer):
    signal.signal(signal.SIGINT, answer)
    with Interruption() as interruption:
        assert signal.getsignal(signal.SIGINT) is answer
        ctrl_c()
    assert not interruption.received
    assert signal.getsignal(signal.SIGINT) is answer
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_in_another_thread_nothing_changes():
    found = []

    def work() -> None:
        with Interruption():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


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


@pytest.mark.keras
@pytest.mark.parametrize("at", [2 * BATCHES - 5, 2 * BATCHES + 3])
@pytest.mark.parametrize("how", ["a destructor", "a callback"])
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
