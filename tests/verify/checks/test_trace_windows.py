"""A trace written window by window is the whole one, to the bit."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from support import nets
from support.any_layer import chain

from verify import DataError, Network
from verify.checks import trace_windows
from verify.checks.predict import write_trace
from verify.data import write_arrays
from verify.data.sources import Arrays
from verify.forward import windows
from verify.forward.evaluate import States
from verify.forward.recurrence import Scan, scan

TIME = 23


@pytest.fixture
def small(monkeypatch):
    """Windows of a few steps, and batches of few rows."""
    monkeypatch.setattr(windows, "WINDOW_NUMBERS", 300)
    monkeypatch.setattr(windows, "MANY_STEPS", 12)
    monkeypatch.setattr(trace_windows, "MANY_STEPS", 12)
    monkeypatch.setattr(trace_windows, "BATCH_BYTES", 30_000)


def loop(kind: str, name: str = "rnn", **options):
    return nets.layer(kind, name, units=4, return_sequences=True, **options)


CELLS = [nets.layer("LSTMCell", "a", units=4), nets.layer("GRUCell", "b", units=3)]
STACK = nets.layer("StackedRNNCells", "cells", cells=CELLS)
DENSE = nets.layer("Dense", "dense", units=2, activation="softmax")
MODELS = {
    "LSTM": [loop("LSTM")],
    "backwards": [loop("GRU", go_backwards=True), DENSE],
    "masked": [nets.layer("Masking", "masking"), loop("LSTM"), loop("GRU", "two")],
    "both directions": [
        nets.layer("Bidirectional", "both", layer=loop("SimpleRNN", "inner"))
    ],
    "cells": [nets.layer("RNN", "rnn", cell=STACK, return_sequences=True), DENSE],
    "last step": [nets.layer("LSTM", "rnn", units=4, return_state=True)],
    "every step by itself": [
        loop("LSTM"), nets.layer("TimeDistributed", "td", layer=DENSE)
    ],
    "a convolution before": [
        nets.layer("Conv1D", "conv", filters=3, kernel_size=[3], strides=[2],
                   padding="same"),
        loop("GRU"),
    ],
}  # fmt: skip


def model(kind: str) -> Network:
    return Network(chain([(None, TIME, 3)], *MODELS[kind]))


def rows(count: int = 5) -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(count, TIME, 3)).astype(np.float32)
    x[0, 15:] = 0
    x[1, :4] = 0
    return x


def written(net: Network, x: np.ndarray, tmp_path) -> dict[str, np.ndarray]:
    done: list[int] = []
    shapes = write_trace(net, Arrays(x), tmp_path / "t.npz", advance=done.append)
    assert sum(done) == len(x)
    with np.load(tmp_path / "t.npz") as arrays:
        found = dict(arrays)
    assert {name: array.shape for name, array in found.items()} == shapes
    assert [p.name for p in tmp_path.iterdir()] == ["t.npz"]
    return found


@pytest.mark.parametrize("kind", MODELS)
def test_it_is_the_whole_trace_to_the_bit(kind, small, tmp_path):
    net, x = model(kind), rows()
    found, whole = written(net, x, tmp_path), {}
    for name, array in net.trace(x).arrays().items():
        key, _, step = name.partition(":")
        if not step:
            whole[name] = [array]
        else:  # td/layer:7/logits belongs to td/layer/logits
            whole[f"{key}/{step.partition('/')[2]}"].append(array)
    assert list(found) == list(whole)
    for name, parts in whole.items():
        if kind == "every step by itself" and name.startswith("td"):
            expected = parts[0] if len(parts) == 1 else np.stack(parts, axis=1)
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-6)
            continue
        # rows in batches of another size may be rounded otherwise by BLAS
        np.testing.assert_allclose(found[name], parts[0], rtol=0, atol=1e-6)
        assert found[name].dtype == parts[0].dtype


@pytest.mark.parametrize("kind", ["LSTM", "backwards", "masked", "both directions"])
def test_with_all_rows_at_once_it_is_so_to_the_bit(kind, small, tmp_path, monkeypatch):
    monkeypatch.setattr(trace_windows, "BATCH_BYTES", 2**27)
    net, x = model(kind), rows()
    found = written(net, x, tmp_path)
    for name, array in net.trace(x).arrays().items():
        assert found[name].tobytes() == array.tobytes(), name


def test_a_loop_that_begins_each_window_anew_would_show(small, tmp_path):
    net, x = model("LSTM"), rows()
    whole = net.trace(x).arrays()

    def forgetful(step, x, mask, states, names, **options) -> Scan:
        def stepped(x_t, held):
            forgetful.step += 1
            return step(x_t, states if forgetful.step % 7 == 0 else held)

        forgetful.step = 0
        return scan(stepped, x, mask, states, names, **options)

    layer = net.spec["rnn"].with_overrides(scan=forgetful)
    wrong = written(Network(net.spec.with_layer(layer, "rnn")), x, tmp_path)
    assert np.abs(wrong["rnn/c"] - whole["rnn/c"]).max() > 1e-3


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_states_go_on_from_batch_to_batch_where_keras_keeps_them(
    backend, small, tmp_path
):
    inner = loop("LSTM", "inner", stateful=True)
    layers = [loop("GRU", stateful=True), nets.layer("Bidirectional", "b", layer=inner)]
    net, x = Network(chain([(2, TIME, 3)], *layers)).on(backend), rows(6)
    found = written(net, x, tmp_path)
    for forgotten in (False, True):
        states: States = {}
        parts = [
            net.trace(
                x[k : k + 2], states={} if forgotten or backend == "jax" else states
            ).arrays()
            for k in (0, 2, 4)
        ]
        whole = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        assert list(whole) == list(found)
        if not forgotten:
            assert all(
                found[name].tobytes() == a.tobytes() for name, a in whole.items()
            )
        elif backend == "tensorflow":
            for name in ("rnn/h", "b/forward_layer/c", "b/backward_layer/c"):
                assert np.abs(whole[name][2:] - found[name][2:]).max() > 1e-3


@pytest.mark.parametrize("long", [True, False])
def test_a_stateful_model_is_traced_in_whole_batches_alone(long, small, tmp_path):
    net = Network(chain([(2, None, 3)], loop("GRU", stateful=True)))
    x = rows(5) if long else rows(5)[:, :8]
    with pytest.raises(DataError, match=r"multiple of 2 rows.* Received: 5 rows"):
        write_trace(net, Arrays(x), tmp_path / "t.npz")
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_gates_and_states(tmp_path):
    """Keep the outputs of a layer, and nothing else, for all steps."""
    time, units = 3000, 64
    lstm = nets.layer("LSTM", "rnn", units=units, return_sequences=True)
    net = Network(chain([(None, time, 3)], lstm))
    x = np.random.default_rng(0).normal(size=(1, time, 3)).astype(np.float32)
    tracemalloc.start()
    write_trace(net, Arrays(x), tmp_path / "t.npz")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    output = time * units * 4
    assert most < 2 * output + 8 * windows.WINDOW_NUMBERS / 2
    with np.load(tmp_path / "t.npz") as arrays:
        assert sum(array.nbytes for array in arrays.values()) > 6 * output


def test_without_room_nothing_is_begun(small, tmp_path, monkeypatch):
    class Usage:
        free = 2**24 + 1000

    monkeypatch.setattr(write_arrays.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(DataError, match=r"cannot be written: expected .* KiB free"):
        write_trace(model("LSTM"), Arrays(rows()), tmp_path / "t.npz")
    assert not list(tmp_path.iterdir())


def test_a_bad_row_in_a_later_batch_is_named_and_nothing_is_written(small, tmp_path):
    x = rows(9)
    x[7, 3] = np.nan
    with pytest.raises(DataError, match=r"the first at \[7, 3, 0\]"):
        write_trace(model("LSTM"), Arrays(x), tmp_path / "t.npz")
    assert not list(tmp_path.iterdir())
