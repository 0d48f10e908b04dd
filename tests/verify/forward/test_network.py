"""Specs, predictions and traces, without Keras."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.nets import (
    BATCH,
    TIME,
    UNITS,
    feature_net,
    features,
    ids,
    input_layer,
    layer,
    lstm_spec,
    spec,
)

import verify
from verify import DataError, Network, describe
from verify.forward import cells
from verify.forward.activations import resolve
from verify.forward.fast.row_blocks import MAX_BLOCK_ROWS
from verify.forward.layers.base import Tensor

STEP_FIELDS = {
    "SimpleRNN": ["h"],
    "LSTM": ["i", "f", "c_hat", "o", "c", "h"],
    "GRU": ["z", "r", "h_hat", "h"],
}


@pytest.mark.parametrize("kind", STEP_FIELDS)
def test_a_trace_has_every_gate_and_state_at_every_step(kind):
    trace = feature_net(kind).trace(features())
    assert list(trace["rnn"].values) == STEP_FIELDS[kind]
    for name in STEP_FIELDS[kind]:
        assert getattr(trace["rnn"], name).shape == (BATCH, TIME, UNITS)
        assert trace["rnn"][name] is getattr(trace["rnn"], name)
    assert np.array_equal(trace["rnn"].h[:, -1], trace.output)


def test_the_traced_lstm_values_satisfy_the_equations_of_a_step():
    net = feature_net("LSTM")
    t = net.trace(features(), dtype="float64")["rnn"]
    weights = net.spec["rnn"].weights
    blocks = [np.split(w.astype(float), 4, axis=-1) for w in weights.values()]
    sigmoid, tanh = resolve("sigmoid"), np.tanh
    for step in range(1, TIME):
        x, h, c = t.input[:, step], t.h[:, step - 1], t.c[:, step - 1]
        z = [x @ w + h @ u + b for w, u, b in zip(*blocks, strict=True)]
        expected = {
            "i": sigmoid(z[0]),
            "f": sigmoid(z[1]),
            "c_hat": tanh(z[2]),
            "o": sigmoid(z[3]),
        }
        for name, value in expected.items():
            assert np.abs(t[name][:, step] - value).max() < 1e-14, name
        c = expected["f"] * c + expected["i"] * expected["c_hat"]
        assert np.abs(t.c[:, step] - c).max() < 1e-14
        assert np.abs(t.h[:, step] - expected["o"] * tanh(c)).max() < 1e-14


def test_one_lstm_step_by_hand_in_scalars():
    w, u, b = [0.3, -0.2, 0.5, 0.7], [0.4, 0.6, -0.8, 0.1], [0.05, 0.9, -0.3, 0.2]
    x, h, c = 1.5, -0.4, 0.25
    z = [x * w[k] + h * u[k] + b[k] for k in range(4)]
    i, f, o = (1 / (1 + math.exp(-z[k])) for k in (0, 1, 3))
    c_next = f * c + i * math.tanh(z[2])
    step = cells.lstm_step(
        np.array([[x]]),
        np.array([[h]]),
        np.array([[c]]),
        kernel=np.array([w]),
        recurrent_kernel=np.array([u]),
        bias=np.array(b),
        activation=np.tanh,
        recurrent_activation=resolve("sigmoid"),
    )
    assert step.c.item() == pytest.approx(c_next, abs=1e-15)
    assert step.h.item() == pytest.approx(o * math.tanh(c_next), abs=1e-15)


def test_backward_layers_are_traced_by_input_step():
    net = feature_net("LSTM", go_backwards=True, return_sequences=True)
    t = net.trace(features())["rnn"]
    assert np.array_equal(t.output, t.h[:, ::-1])


def test_a_masked_step_holds_the_state_and_the_output():
    net = Network(lstm_spec(return_sequences=True))
    x = ids()
    t = net.trace(x)["lstm"]
    for row, step in zip(*np.nonzero(x == 0), strict=True):
        before = t.h[row, step - 1] if step else np.zeros(UNITS)
        assert np.array_equal(t.h[row, step], before)
    assert not t.output[3].any()  # a row that is padding altogether


def test_nan_at_a_masked_step_does_not_leak():
    net = feature_net("SimpleRNN")
    x = features().astype(np.float64)
    mask = np.ones((BATCH, TIME), dtype=bool)
    mask[:, 2] = False
    dirty = x.copy()
    dirty[:, 2] = np.nan
    clean, leaked = (
        net.call_layer("rnn", [value], {"mask": mask}, dtype=None, every_step=True)[0]
        for value in (x, dirty)
    )
    assert np.array_equal(clean, leaked)


@given(st.integers(0, 1000))
def test_rows_do_not_influence_each_other(seed):
    net = Network(lstm_spec())
    x = ids(seed, batch=7)
    whole = net.predict(x, dtype="float64")
    alone = np.concatenate([net.predict(row[None], dtype="float64") for row in x])
    assert np.abs(whole - alone).max() < 1e-14


def test_many_rows_are_evaluated_in_blocks_to_the_same_result():
    net = Network(lstm_spec())
    x = ids(batch=2 * MAX_BLOCK_ROWS + 3)
    whole = net.trace(x, dtype="float64").output
    assert np.abs(net.predict(x, dtype="float64") - whole).max() < 1e-14


def test_inputs_are_neither_changed_nor_kept():
    net = feature_net("LSTM")
    x = net.prepare(features())[0].copy()
    x.flags.writeable = False  # nothing may be written where the caller's numbers are
    assert net.prepare(x)[0] is x
    net.predict(x)
    x.flags.writeable = True
    before, trace = x.copy(), net.trace(x)
    y = net.predict(x)
    kept = y.copy()
    x[...] = 7.0
    assert np.array_equal(trace["rnn"].input, before)
    assert np.array_equal(y, kept)


def test_a_trailing_axis_of_one_is_added_or_dropped_as_keras_does():
    net = Network(spec(input_layer(None, 4, 1), layer("LSTM", "lstm", units=2)))
    x = np.arange(8.0).reshape(2, 4)
    assert np.array_equal(net.predict(x), net.predict(x[..., None]))
    words = Network(lstm_spec())
    assert np.array_equal(words.predict(ids()), words.predict(ids()[..., None]))


def test_unknown_names_say_which_there_are():
    net = Network(lstm_spec())
    trace = net.trace(ids())
    with pytest.raises(KeyError, match="the layers are embedding, lstm, dense"):
        trace["nope"]
    with pytest.raises(AttributeError, match="it has input, i, f, c_hat, o, c, h, out"):
        _ = trace["lstm"].g
    with pytest.raises(KeyError, match="the layers are"):
        net.spec["nope"]


def test_a_dtype_that_is_not_a_float_is_refused():
    with pytest.raises(DataError, match=r"float32 or float64\. Received: int8"):
        Network(lstm_spec()).predict(ids(), dtype="int8")


def test_weights_are_replaced_only_by_weights_of_the_same_shape():
    lstm = lstm_spec()["lstm"]
    with pytest.raises(DataError, match=r"Layer 'lstm' \(LSTM\): cannot replace"):
        lstm.with_weights(bias=np.zeros(3))
    with pytest.raises(DataError, match="cannot replace weight 'beta'"):
        lstm.with_weights(beta=np.zeros(3))


def test_describe_says_which_columns_are_which_gate_and_fills_in_the_formula():
    text = describe(Network(lstm_spec()))
    assert "parameters : 4 gates x 4 x (3 + 4 + 1) = 128" in text
    assert "columns: i 0:4, f 4:8, c 8:12, o 12:16" in text
    assert "recurrent_kernel (4, 16)" in text
    assert "11 ids x 3 = 33" in text
    assert "4 x 2 + 2 = 10" in text


def test_describe_says_what_the_two_rows_of_a_gru_bias_are():
    text = describe(feature_net("GRU"))
    assert "3 gates x 4 x (3 + 4 + 2) = 108" in text
    assert "columns: z 0:4, r 4:8, h 8:12" in text
    assert "bias row 0 is added to x @ kernel, row 1 to h @ recurrent_kernel" in text
    old = describe(feature_net("GRU", reset_after=False))
    assert "3 gates x 4 x (3 + 4 + 1) = 96" in old
    assert "bias has one row" in old


@pytest.mark.parametrize(
    ("kind", "more"),
    [("SimpleRNN", {}), ("LSTM", {}), ("GRU", {}), ("GRU", {"reset_after": False})],
)
@pytest.mark.parametrize("use_bias", [True, False])
def test_every_formula_evaluates_to_the_count(kind, use_bias, more):
    from verify.forward.layers import REGISTRY

    rnn = feature_net(kind, use_bias=use_bias, **more).spec["rnn"]
    formula = REGISTRY[kind].formula(rnn)
    arithmetic = formula.replace("gates", "").replace("x", "*")
    assert eval(arithmetic) == rnn.parameters


def test_a_layer_called_alone_computes_in_the_dtype_asked_for():
    """Normalisation computes in the dtype of its input, whatever its policy."""
    entry = layer("LayerNormalization", "normal")
    net = Network(spec(input_layer(None, TIME, 3), entry))
    x = Tensor(features() + np.float32(100))
    (single,) = net.call_layer("normal", [x], {}, dtype=None)
    (double,) = net.call_layer("normal", [x], {}, dtype="float64")
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    (whole,) = net.flat(net.prepare(x.value), dtype="float64")
    assert np.array_equal(double, whole)
    assert not np.array_equal(single.astype(np.float64), double)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "None"),
        ((row for row in ids()), "an object of class generator; collect its rows in"),
        (np.array([[1, 2], [3]], dtype=object), "dtype=object; numpy.array"),
        ([[1, 2], [3]], "ragged rows; pad them to one length"),
        ((ids(), np.ones(5)), "2 arrays of different shapes; give one, without the"),
        (len, "an object of class builtin_function_or_method"),
    ],
)
def test_what_is_no_array_of_numbers_is_named(given, said):
    net = Network(lstm_spec())
    with pytest.raises(DataError, match=f"holding numbers. Received: {said}"):
        net.predict(given)
    with pytest.raises(DataError, match=f"outputs that are numbers. Received: {said}"):
        verify.compare_outputs(net, ids(), given)


def test_a_row_without_its_batch_axis_is_recognised():
    net = Network(lstm_spec())
    with pytest.raises(
        DataError, match=r"shape=\(6,\); x\[None\] makes one row of it$"
    ):
        net.predict(ids()[0])
    assert net.predict(ids()[0][None]).shape == (1, 2)


def sequences(*shape, **options):
    """A network of one LSTM that takes sequences of this shape."""
    return Network(
        spec(input_layer(None, *shape), layer("LSTM", "lstm", units=4, **options))
    )


@pytest.mark.parametrize(
    ("shape", "given", "hint"),
    [
        ((7, 3), (7, 6, 3), "; x.transpose(1, 0, 2) has that shape"),
        ((7, 3), (6, 3, 7), "; x.transpose(0, 2, 1) has that shape"),
        ((7, 3), (3, 7, 6), "; x.transpose(2, 1, 0) has that shape"),
        ((None, 3), (6, 3, 7), "; x.transpose(0, 2, 1) has that shape"),
        ((None, 3), (3, 6, 7), ""),  # of the other two either may be the rows
        ((7, 3), (6, 21), "; x.reshape(-1, 7, 3) has that shape"),
        ((None, 3), (6, 21), ""),
        ((7, 3), (6, 22), ""),
        ((7, 3), (7, 3), "; x[None] makes one row of it"),
        ((7, 3), (6, 8, 4), ""),
        ((7, 3), (6, 7), ""),  # fractions are no ids
    ],
)
def test_inputs_of_another_shape_are_answered_with_what_has_the_right_one(
    shape, given, hint
):
    net = sequences(*shape)
    x = np.random.default_rng(0).normal(size=given)
    with pytest.raises(DataError) as refusal:
        net.predict(x)
    assert str(refusal.value).endswith(f"Received: shape={given}{hint}")
    if hint:
        way = hint.removeprefix("; ").split(" has ")[0].split(" makes ")[0]
        assert net.predict(eval(way, {"x": x})).shape[1:] == (4,)


def test_one_hot_rows_and_ids_are_told_from_each_other():
    net = Network(lstm_spec())
    x = ids()
    with pytest.raises(DataError, match=r"x\.argmax\(axis=-1\) makes ids of rows that"):
        net.predict(np.eye(11)[x])
    with pytest.raises(DataError, match=r"shape=\(5, 6, 11\)$"):
        net.predict(np.eye(11)[x] * 0.5)
    hot = sequences(6, 11)
    for classes in (x, x.astype(np.float32)):
        with pytest.raises(DataError, match=r"; numpy\.eye\(11\)\[x\] makes one-hot"):
            hot.predict(classes)
    with pytest.raises(DataError, match=r"shape=\(5, 6\)$"):
        hot.predict(x + 1)  # 11 is no class of 11
    assert hot.predict(np.eye(11)[x]).shape == (5, 4)


def test_values_of_another_kind_are_refused_in_one_line():
    net = Network(lstm_spec())
    with pytest.raises(DataError, match=r"Received: 'm.keras'; verify.load\(model\)"):
        describe("m.keras")  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match=r"config: expected a text or a path\. Received: dict"
    ):
        verify.load("m.weights.h5", config={})  # type: ignore[arg-type]
    with pytest.raises(verify.ModelFileError, match="File name too long"):
        verify.load('{"class_name": "Sequential"}' * 200)
    assert describe(net)
