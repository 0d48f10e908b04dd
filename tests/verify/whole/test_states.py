"""Stateful layers: states in, states out, chunks that equal the whole."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import INPUTS, UNITS, layer, random_weights, spec, stateful_net

import verify
from verify import DataError, Network

ROWS = 3


def sequence(time: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(ROWS, time, INPUTS)).astype(np.float32)


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_chunks_equal_the_whole(kind):
    net = stateful_net(kind, ROWS, return_sequences=True)
    x = sequence(12)
    whole, at_the_end = net.predict(x, dtype="float64", return_state=True)
    parts, states = [], None
    for start in (0, 5, 7):
        y, states = net.predict(
            x[:, start : {0: 5, 5: 7, 7: 12}[start]],
            dtype="float64",
            initial_state=states,
            return_state=True,
        )
        parts.append(y)
    assert np.abs(np.concatenate(parts, axis=1) - whole).max() < 1e-14
    for a, b in zip(states["rnn"], at_the_end["rnn"], strict=True):
        assert np.abs(a - b).max() < 1e-14
    forgetful = net.predict(x[:, 5:7], dtype="float64")
    assert np.abs(forgetful - whole[:, 5:7]).max() > 1e-3  # states do matter


def test_batches_follow_each_other_and_given_states_stay_as_they_were():
    net = stateful_net("LSTM", ROWS)
    x = np.concatenate([sequence(4, seed) for seed in range(3)])
    together = net.predict(x)
    apart, states = [], {}
    for k in range(3):
        before = {key: tuple(s.copy() for s in value) for key, value in states.items()}
        y, after = net.predict(
            x[k * ROWS : (k + 1) * ROWS], initial_state=states, return_state=True
        )
        for key, value in before.items():
            assert all(
                np.array_equal(a, b) for a, b in zip(value, states[key], strict=True)
            )
        apart.append(y)
        states = after
    assert np.array_equal(np.concatenate(apart), together)


def test_rows_that_are_no_whole_batch_are_refused():
    with pytest.raises(DataError, match=r"multiple of 3 rows.*Received: 4 rows"):
        stateful_net("GRU", ROWS).predict(np.zeros((4, 5, INPUTS)))


def test_states_of_a_model_without_any_are_refused():
    net = Network(
        spec(
            layer("InputLayer", "input", batch_shape=[None, None, INPUTS]),
            layer("GRU", "rnn", units=UNITS),
        )
    )
    with pytest.raises(DataError, match="none of its layers is stateful"):
        net.predict(np.zeros((1, 5, INPUTS)), return_state=True)
    with pytest.raises(DataError, match="none of its layers is stateful"):
        net.predict(np.zeros((1, 5, INPUTS)), initial_state={})


def test_states_in_another_number_are_refused():
    net = stateful_net("LSTM", ROWS)
    with pytest.raises(DataError, match="2 states expected, 1 received"):
        net.predict(sequence(4), initial_state={"rnn": (np.zeros((ROWS, UNITS)),)})


@pytest.mark.keras
@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU", "Bidirectional"])
def test_predict_after_predict_is_what_keras_computes(kind):
    import keras
    from keras import layers

    inner = layers.LSTM(UNITS, stateful=True) if kind == "Bidirectional" else None
    made = (
        layers.Bidirectional(inner)
        if inner
        else getattr(layers, kind)(UNITS, stateful=True)
    )
    model = keras.Sequential([keras.Input((4, INPUTS), batch_size=ROWS), made])
    model.set_weights(random_weights([w.shape for w in model.get_weights()], 3))
    net = verify.load(model)
    states = None
    for seed in range(3):
        x = np.concatenate([sequence(4, seed), sequence(4, seed + 10)])
        theirs = model.predict(x, batch_size=ROWS, verbose=0)
        ours, states = net.predict(x, initial_state=states, return_state=True)
        assert np.abs(ours - theirs).max() < 1e-6
    assert np.abs(net.predict(x) - theirs).max() > 1e-3  # without the states before
    before = [np.asarray(v) for v in made.states] if kind == "LSTM" else []
    assert verify.check(model).verdict is verify.Verdict.PASS
    for value, state in zip(before, made.states if before else [], strict=True):
        assert np.array_equal(value, np.asarray(state))  # a check leaves them alone
