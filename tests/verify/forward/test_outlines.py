"""Outlines have the shapes, dtypes and masks of real numbers, and store none."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import nets
from support.any_layer import chain
from support.outlines import differences

from verify import Network
from verify.forward.outlines import Outline, outline, rows_of
from verify.forward.trace import Trace

LONG = 50_000


def stacked(time: int | None, units: int = 4) -> Network:
    """Embedding, two recurrent layers, a TimeDistributed Dense."""
    dense = nets.layer("Dense", "dense", units=3, activation="softmax")
    return Network(
        chain(
            [(None, time)],
            nets.layer("Embedding", "embedding", input_dim=11, output_dim=5,
                       mask_zero=True),
            nets.layer("Bidirectional", "both", layer=nets.layer(
                "GRU", "gru", units=units, return_sequences=True)),
            nets.layer("LSTM", "lstm", units=units, return_sequences=True),
            nets.layer("TimeDistributed", "td", layer=dense),
            dtypes=["int32"],
        )
    )  # fmt: skip


def test_it_has_the_shapes_of_the_trace():
    net = stacked(6)
    x = np.random.default_rng(0).integers(1, 11, (3, 6))
    assert not differences(net, x)


def test_another_shape_is_noticed(monkeypatch):
    net = stacked(6)
    x = np.random.default_rng(0).integers(1, 11, (3, 6))
    outlined = Network.outline(net, x)
    short = {k: v for k, v in outlined.items() if k != "lstm"}
    other = Network.outline(stacked(6, units=5), x)
    changed = Trace({**short, "lstm": other["lstm"]}, outlined.output)
    monkeypatch.setattr(Network, "outline", lambda *_, **__: changed)
    assert any("lstm" in line for line in differences(net, x))


def test_time_and_memory_do_not_grow_with_the_steps():
    net = stacked(LONG, units=40)
    tracemalloc.start()
    try:
        trace = net.outline(np.ones((100, LONG), np.int32))
        assert trace["lstm"].f.shape == (100, LONG, 40)
        assert trace["td"].output.shape == (100, LONG, 3)
        trace_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert trace_peak < 60e6  # the outputs of one layer alone would take 800 MB


def test_masks_are_those_of_what_is_padding():
    trace = stacked(LONG).outline(np.zeros((2, LONG), np.int32))
    assert not trace["lstm"].mask.any()
    assert stacked(LONG).outline(np.ones((2, LONG), np.int32))["lstm"].mask.all()


def test_weights_that_do_not_fit_are_refused_as_before():
    with pytest.raises(ValueError, match="size 3 is different from 4"):
        outline((2, LONG, 4), 0.0) @ np.ones((3, 5))
    with pytest.raises(ValueError, match="broadcast"):
        outline((2, 4), 0.0) + np.ones(3)
    with pytest.raises(IndexError, match="id 11"):
        rows_of(np.ones((11, 2)), outline((2, 3), 11))


OPERATIONS = {
    "add": lambda x: x + np.ones(x.shape[-1]),
    "matmul": lambda x: x @ np.ones((x.shape[-1], 3)),
    "scores": lambda x: np.einsum("...qd,...kd->...qk", x, x),
    "sum": lambda x: x.sum(axis=-1),
    "mean": lambda x: np.mean(x, axis=1, keepdims=True),
    "all": lambda x: (x != 0).all(axis=-1),
    "largest": lambda x: x.max(),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True),
    "stack": lambda x: np.stack([x, x + 1], axis=1),
    "concatenate": lambda x: np.concatenate([x, x[:, :1]], axis=1),
    "flags": lambda x: np.concatenate([x != 0, x == 0], axis=-1),
    "pad": lambda x: np.pad(x, [(0, 0), (2, 1), *[(0, 0)] * (x.ndim - 2)]),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=1),
    "reshape": lambda x: x.reshape(len(x), -1),
    "tensordot": lambda x: np.tensordot(x, np.ones((x.shape[-1], 2)), axes=1),
    "where": lambda x: np.where(x > 0, x, 0.0),
    "turned": lambda x: np.flip(np.moveaxis(x, 1, -1), axis=1),
    "repeat": lambda x: np.repeat(x, 3, axis=1),
    "tile": lambda x: np.tile(x, 2),
    "sort": lambda x: np.sort(x, axis=1)[:, ::-1],
    "cumsum": lambda x: np.cumsum(x, axis=1),
    "greatest": lambda x: np.argmax(x, axis=-1),
    "take": lambda x: np.take(x, [0, 1, 0], axis=1),
    "split": lambda x: np.split(x, [1], axis=1)[1],
    "no rule": lambda x: np.gradient(x, axis=1),
    "half": lambda x: x.astype(np.float16) * 2,
    "in place": lambda x: np.add(x, 1, out=np.empty_like(x)),
}


@given(
    st.sampled_from(sorted(OPERATIONS)),
    st.lists(st.integers(2, 5), min_size=2, max_size=4),
    st.sampled_from(["float32", "float64"]),
    st.sampled_from([0.0, 1.0, -2.5]),
)
def test_operations_have_numpys_shapes_and_dtypes(name, shape, dtype, value):
    operation = OPERATIONS[name]
    expected = operation(np.full(shape, value, dtype))
    found = operation(outline(shape, np.array(value, dtype)))
    assert np.shape(found) == np.shape(expected)
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    if np.asarray(expected).dtype.kind == "b":  # a mask is right
        np.testing.assert_array_equal(np.asarray(found), expected)
    if np.ndim(expected) and name != "flags" and expected.dtype.kind == "f":
        assert isinstance(found, Outline)


def test_numbers_that_change_places_are_no_unchanged_input_on_jax():
    model = nets.spec(
        nets.input_layer(None, 4, 4),
        nets.layer("Masking", "masking"),
        nets.layer("Permute", "permute", dims=[2, 1]),
        nets.layer("GlobalAveragePooling1D", "mean"),
    )
    x = np.arange(32.0).reshape(2, 4, 4) // 8
    assert not differences(Network(model).on("jax"), x, "float64")
