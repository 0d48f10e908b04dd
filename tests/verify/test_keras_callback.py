"""The callback: when it checks, what it logs, and that training is as without it.

`make test` runs this file on TensorFlow, and once more on JAX.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import VOCABULARY, ids

import verify
from verify import DataError, UnsupportedError, Verdict

pytestmark = pytest.mark.keras

X = ids(batch=32)
Y = (X == 3).any(axis=1).astype("float32")


def word_model(dropout: float = 0.3):
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            layers.Input((None,), dtype="int32"),
            layers.Embedding(VOCABULARY, 3, mask_zero=True, name="words"),
            layers.LSTM(4, dropout=dropout, name="lstm"),
            layers.Dense(1, activation="sigmoid", name="dense"),
        ]
    )
    model.compile(loss="binary_crossentropy", optimizer="adam")
    return model


def trained(model, *callbacks, epochs: int = 4) -> dict[str, list[float]]:
    done = model.fit(X, Y, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return done.history


def test_training_is_checked_and_is_as_it_would_be_without():
    from verify.keras import VerifyCallback

    alone = word_model()  # which sets the seed
    without = trained(alone)
    beside, callback = word_model(), VerifyCallback(X[:8], every=2)
    found = trained(beside, callback)
    assert [epoch for epoch, _ in callback.reports] == [2, 4]
    assert all(report for _, report in callback.reports)
    assert np.isnan(found["verify_error_ratio"][::2]).all()
    assert np.isnan(found["verify_passed"][::2]).all()
    assert found["verify_passed"][1::2] == [1.0, 1.0]
    ratios = [report.numerics.error_ratio for _, report in callback.reports]
    assert found["verify_error_ratio"][1::2] == ratios
    assert all(0 < ratio < 1 for ratio in ratios)
    assert callback.report.facts["rows"] == 8
    assert found["loss"] == without["loss"]
    for a, b in zip(alone.get_weights(), beside.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_a_model_that_fails_stops_the_training(monkeypatch, capsys, undiagnosed):
    from verify.keras import VerifyCallback

    right = verify.check

    def wrong(model, x, **options):
        """Compare Keras with NumPy on other weights."""
        changed = word_model()
        changed.set_weights([w * 1.1 + 0.01 for w in model.get_weights()])
        return right(model, x, network=verify.load(changed), **options)

    monkeypatch.setattr(verify, "check", wrong)
    callback = VerifyCallback(X[:8], stop_on_fail=True)
    found = trained(word_model(), callback)
    assert len(found["loss"]) == 1
    assert found["verify_passed"] == [0.0]
    assert found["verify_error_ratio"][0] > 1
    assert callback.report.verdict is Verdict.FAIL
    assert len(callback.reports) == 1  # the same weights are not checked twice
    assert "\nEpoch 1: FAIL  a live model" in capsys.readouterr().out


def test_weights_that_are_restored_at_the_end_are_checked_again(monkeypatch):
    from keras.callbacks import EarlyStopping

    from verify.keras import VerifyCallback

    passed = verify.check(word_model(), X[:8])
    monkeypatch.setattr(verify, "check", lambda *_, **__: passed)
    stopping = EarlyStopping(
        monitor="loss", mode="max", patience=1, restore_best_weights=True
    )
    callback = VerifyCallback(every=None, name="numpy", verbose=0)
    found = trained(word_model(), stopping, callback, epochs=5)
    assert len(found["loss"]) == 2  # the loss falls, which counts as worse
    assert [epoch for epoch, _ in callback.reports] == [2, 2]
    assert found["numpy_passed"][1:] == [1.0]
    again = VerifyCallback(every=2, at_end=False, verbose=0)
    trained(word_model(), again, epochs=3)
    assert [epoch for epoch, _ in again.reports] == [2]


def test_what_cannot_be_used_is_refused(monkeypatch):
    import keras

    from verify.keras import VerifyCallback

    for every in (0, -1, True, 1.5, "2"):
        with pytest.raises(DataError, match="every: expected 1 or more"):
            VerifyCallback(every=every)
    with pytest.raises(TypeError, match=r"no option 'evry'\. Did you mean every\?"):
        VerifyCallback(evry=2)
    with pytest.raises(DataError, match="at_end=True"):
        VerifyCallback(every=None, at_end=False)

    @keras.saving.register_keras_serializable("tests")
    class Own(keras.layers.Dense):
        def call(self, inputs, training=None):
            return 2 * super().call(inputs, training)

    model = keras.Sequential([keras.Input((3,)), Own(1, name="own")])
    model.compile(loss="mse")
    callback = VerifyCallback()
    with pytest.raises(UnsupportedError, match="own"):
        model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0, callbacks=[callback])
    assert callback.reports == []
