"""Epochs inside JAX: Keras's own weights and metrics, to the bit, and soon ended."""

from __future__ import annotations

import os

import numpy as np
import pytest

from recipes.run import backend, training
from recipes.run.jax_epochs import TEST_BATCH, JaxEpochs

pytestmark = [
    pytest.mark.keras,
    pytest.mark.skipif(
        os.environ["KERAS_BACKEND"] != "jax", reason="needs KERAS_BACKEND=jax"
    ),
]

ROWS, BATCH, EPOCHS = 43, 8, 3


def data(rows: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    x = rng.integers(0, 9, (rows, 5)).astype(np.int32)
    return x, np.eye(2, dtype=np.float32)[rng.integers(0, 2, rows)]


def model(dropout: float = 0.4):
    """With seeds of its own for dropout, a state that batches hand on."""
    keras = backend.start(7)
    made = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(9, 3, mask_zero=True),
            keras.layers.Dropout(dropout),
            keras.layers.SimpleRNN(4),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    made.compile(
        "adam",
        "categorical_crossentropy",
        metrics=["accuracy", keras.metrics.F1Score("macro", name="macro_f1")],
    )
    made.optimizer.build(made.trainable_variables)
    training._build_metrics(made, *data())
    return made


def variables(made) -> list[np.ndarray]:
    return [np.asarray(v) for v in (*made.variables, *made.optimizer.variables)]


@pytest.mark.parametrize("rows", [ROWS, 40, 6])  # a rest, none, nothing but a rest
def test_weights_and_metrics_are_those_of_fit_to_the_bit(rows):
    x, y = data(rows)
    test = data(TEST_BATCH + 3)
    ours, fitted = model(), model()
    epochs = JaxEpochs(ours, lambda: None)
    history = fitted.fit(
        x, y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0,
        validation_data=test, validation_batch_size=TEST_BATCH,
    ).history  # fmt: skip
    logs = [epochs.epoch(x, y, BATCH, test) for _ in range(EPOCHS)]
    assert {k: [one[k] for one in logs] for k in history} == history
    assert logs[0].keys() == history.keys()
    for a, b in zip(variables(ours), variables(fitted), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(variables(ours)[1], variables(model())[1])


def test_the_order_of_batches_matters_so_equality_says_something():
    x, y = data()
    a, b = model(), model()
    JaxEpochs(a, lambda: None).epoch(x, y, BATCH, None)
    JaxEpochs(b, lambda: None).epoch(x[::-1], y[::-1], BATCH, None)
    assert not np.array_equal(variables(a)[0], variables(b)[0])


def test_an_interruption_ends_the_epoch_and_leaves_the_weights(monkeypatch):
    looks = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("recipes.run.jax_epochs.SECONDS_AT_ONCE", 0)  # one at a time
    made = model()
    before = variables(made)
    with pytest.raises(KeyboardInterrupt):
        JaxEpochs(made, look).epoch(*data(), BATCH, None)
    for a, b in zip(before, variables(made), strict=True):
        assert np.array_equal(a, b)
    assert len(looks) == 3
