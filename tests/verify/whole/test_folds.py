"""Axes folded into that of the rows by a reshape, and out of it again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st
from support.graphs import given, made, net, rnn

import verify
from verify import Network
from verify.checks import predict, trace_windows
from verify.data.sources.numpy_files import Npy
from verify.errors import ModelFileError

ROWS, PARTS, TIME, FEATURES, UNITS = 5, 4, 6, 3, 2


def folded(axes=(PARTS,), time=TIME, features=FEATURES, between=(), to=None):
    """A model that runs an LSTM on each sequence of a sample, and unfolds."""
    layers = [
        given("x", *axes, time, features),
        made("ops.Reshape", "fold", newshape=[-1, time, features]),
        rnn("LSTM", "lstm", features, UNITS, seed=3),
        *(made(name, f"between{k}", **o) for k, (name, o) in enumerate(between)),
        made("ops.Reshape", "unfold", newshape=list(to or (-1, *axes, UNITS))),
    ]
    names = [layer.name for layer in layers]
    calls = dict(zip(names[1:], names[:-1], strict=True))
    return Network(net(layers, calls, "unfold"), "float64")


def one_by_one(network, x):
    """What the LSTM makes of every sequence alone."""
    layers = [given("x", *x.shape[-2:]), network.spec["lstm"]]
    alone = Network(net(layers, {"lstm": "x"}, "lstm"), "float64")
    flat = [alone.predict(row[None], dtype="float64")[0] for row in x.reshape(
        -1, *x.shape[-2:])]  # fmt: skip
    return np.stack(flat).reshape(*x.shape[:-2], UNITS)


def passes(report):
    return report.verdict is verify.Verdict.PASS


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given_by(
    st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 5),
    st.integers(1, 3), st.integers(1, 70),
)  # fmt: skip
def test_each_sequence_is_computed_as_if_it_were_alone(axes, time, features, rows):
    network = folded(tuple(axes), time, features)
    x = numbers(rows, *axes, time, features)
    expected = one_by_one(network, x)
    ours = network.predict(x, dtype="float64", threads=2)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    equations = network.flat(network.prepare(x), dtype="float64")[0]
    np.testing.assert_allclose(equations, expected, rtol=0, atol=1e-12)


def test_a_part_of_the_axes_is_unfolded_and_the_others_later():
    layers = [
        given("x", 2, 3, TIME, FEATURES),
        made("ops.Reshape", "fold", newshape=[-1, TIME, FEATURES]),
        rnn("LSTM", "words", FEATURES, UNITS, seed=3),
        made("ops.Reshape", "some", newshape=[-1, 3, UNITS]),
        rnn("GRU", "sentences", UNITS, UNITS, seed=4),
        made("ops.Reshape", "rest", newshape=[-1, 2, UNITS]),
        made("ops.Sum", "sum", axis=[1]),
    ]
    names = [layer.name for layer in layers]
    spec = net(layers, dict(zip(names[1:], names[:-1], strict=True)), "sum")
    network, x = Network(spec, "float64"), numbers(ROWS, 2, 3, TIME, FEATURES)
    counts = {k: len(v.output) for k, v in network.trace(x).items()}
    assert (counts["words"], counts["sentences"]) == (6 * ROWS, 2 * ROWS)
    assert network.row_counts(network.prepare(x)) == {ROWS, 2 * ROWS, 6 * ROWS}
    whole = network.predict(x, dtype="float64")
    rows = [network.predict(row[None], dtype="float64")[0] for row in x]
    np.testing.assert_allclose(whole, np.stack(rows), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_a_wrong_order_of_the_axes_is_another_model():
    network = folded()
    x = numbers(ROWS, PARTS, TIME, FEATURES)
    y = network.predict(x, dtype="float64")
    # sequences of the steps of all parts, where those of one part belong together
    wrong = network.predict(x.transpose(0, 2, 1, 3).reshape(x.shape), dtype="float64")
    assert np.abs(wrong - y).max() > 0.01
    assert not passes(verify.compare_outputs(network, x, wrong, diagnosis_seconds=0))
    assert passes(verify.compare_outputs(network, x, y, diagnosis_seconds=0))


@pytest.mark.slow
def test_a_mistake_between_is_found_in_its_layer_and_named():
    network = folded()
    x = numbers(16, PARTS, TIME, FEATURES).astype("float32")
    lstm = network.spec["lstm"]
    order = [k * UNITS + u for k in (0, 2, 1, 3) for u in range(UNITS)]
    swapped = {key: value[..., order] for key, value in lstm.weights.items()}
    port = Network(network.spec.with_layer(replace(lstm, weights=swapped)))
    report = verify.compare_outputs(network, x, port.predict(x))
    assert not passes(report)
    (explanation,) = report.diagnosis.explanations
    assert (explanation.mistake, explanation.layer) == ("gate order i,c,f,o", "lstm")


@pytest.mark.parametrize(
    ("between", "to", "reason"),
    [
        ([("ops.Softmax", {"axis": 0})], None, "axis other than that of the rows"),
        ([("ops.Cumsum", {"axis": 0})], None, "axis other than that of the rows"),
        ([("ops.Sum", {"axis": [0]})], None, "axis other than that of the rows"),
        ([("ops.Flip", {"axis": [0]})], None, "axis other than that of the rows"),
        ([("ops.Roll", {"shift": [1], "axis": [0]})], None, "that of the rows"),
        ([("ops.Transpose", {"axes": [1, 0]})], None, "an order of the axes with"),
        ([], (-1, 3, UNITS), "cannot reshape array of size 16"),
        ([], (-1, 2 * PARTS, UNITS), "the 8 numbers of a sample fill whole rows"),
        ([], (ROWS, PARTS, UNITS), "cannot reshape|expected -1 as the first size"),
        ([], (-1, UNITS), "an output has 4 rows for each sample"),
    ],
)
def test_what_mixes_the_rows_of_samples_is_refused(between, to, reason):
    x = numbers(ROWS, PARTS, TIME, FEATURES)
    with pytest.raises(verify.VerifyError, match=reason):
        folded(between=between, to=to).predict(x)


def test_rows_of_samples_and_folded_rows_do_not_meet():
    layers = [
        given("x", PARTS, FEATURES),
        given("y", FEATURES),
        made("ops.Reshape", "fold", newshape=[-1, FEATURES]),
        made("Add", "add"),
        made("ops.Reshape", "unfold", newshape=[-1, PARTS, FEATURES]),
    ]
    calls = {"fold": "x", "add": (["fold", "y"],), "unfold": "add"}
    with pytest.raises(ModelFileError, match="add"):
        net(layers, calls, "unfold")


def test_gradients_and_bounds_are_those_of_the_sequences():
    network = folded()
    x = numbers(3, PARTS, TIME, FEATURES).astype("float32")  # its Input rounds it
    step = 2.0**-10
    given_gradient = numbers(3, PARTS, UNITS, seed=1)
    found = verify.backprop(network, x, [given_gradient])
    moved = x.copy()
    moved[1, 2, 3, 1] += step
    change = network.predict(moved, dtype="float64") - network.predict(
        x, dtype="float64"
    )
    slope = float((change * given_gradient).sum() / step)
    assert found.inputs[0][1, 2, 3, 1] == pytest.approx(slope, rel=1e-2)


@pytest.mark.parametrize("long", [False, True])
def test_a_trace_of_many_rows_has_the_folded_rows_in_order(tmp_path, monkeypatch, long):
    network = folded()
    x = numbers(7, PARTS, TIME, FEATURES).astype("float32")
    np.save(tmp_path / "x.npy", x)
    monkeypatch.setattr(predict, "TRACE_ROWS", 3)
    if long:
        monkeypatch.setattr(trace_windows, "MANY_STEPS", 2)
        monkeypatch.setattr(trace_windows, "BATCH_BYTES", 1)
    predict.write_trace(network, Npy(tmp_path / "x.npy"), tmp_path / "t.npz")
    expected = network.trace(x).arrays()
    with np.load(tmp_path / "t.npz") as written:
        assert set(written) == set(expected)
        for name, array in expected.items():
            np.testing.assert_allclose(written[name], array, rtol=0, atol=1e-6)
    assert expected["lstm/h"].shape == (7 * PARTS, TIME, UNITS)


def test_the_page_leaves_out_layers_of_folded_rows():
    from verify.report.page.recording import explore

    network = folded()
    data = explore(network, numbers(2, PARTS, TIME, FEATURES)).data
    assert not data["layers"]
    assert any("lstm" in name for name in data["not_shown"])


def test_a_constant_before_the_input_of_an_operation_is_no_call_before():
    near = numbers(4, 4)
    layers = [given("x", 4, 3), made("ops.Einsum", "near", subscripts="nm,bmf->bnf")]
    network = Network(net(layers, {"near": (near, "x")}, "near"), "float64")
    x = numbers(ROWS, 4, 3).astype("float32")
    np.testing.assert_allclose(network.predict(x), near @ x, rtol=1e-4)


def traffic(keras):
    """Nodes of a graph folded into the batch, each with an LSTM over its steps."""
    ops = keras.ops
    x = keras.Input((6, 4, 3))  # time, nodes, features
    near = np.random.default_rng(1).random((4, 4)).astype("float32")
    h = ops.relu(ops.einsum("nm,btmf->btnf", near, x))
    h = ops.reshape(ops.transpose(h, (0, 2, 1, 3)), (-1, 6, 3))
    h = keras.layers.Dense(2)(keras.layers.LSTM(5)(h))
    return keras.Model(x, ops.transpose(ops.reshape(h, (-1, 4, 2)), (0, 2, 1)))


def documents(keras):
    """Words with attention, then sentences with attention."""
    ops, layers = keras.ops, keras.layers
    x = keras.Input((5, 7), dtype="int32")
    words = ops.reshape(x, (-1, 7))
    e = layers.Embedding(20, 4, mask_zero=True)(words)
    h = layers.Bidirectional(layers.GRU(3, return_sequences=True))(e)
    scores = ops.softmax(layers.Dense(1, activation="tanh")(h), axis=1)
    v = ops.reshape(ops.sum(ops.multiply(scores, h), axis=1), (-1, 5, 6))
    return keras.Model(x, layers.Dense(2, activation="softmax")(layers.LSTM(3)(v)))


@pytest.mark.keras
@pytest.mark.parametrize("build", [traffic, documents])
def test_whole_models_that_fold_are_proved_against_keras(build):
    import keras

    model = build(keras)
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(size=w.shape) * 0.5 for w in model.get_weights()])
    shape = (10, *model.input_shape[1:])
    x = rng.integers(1, 19, shape) if build is documents else rng.normal(size=shape)
    x = x.astype(model.inputs[0].dtype)
    report = verify.check(model, x)
    assert passes(report), str(report)
    network = verify.load(model)
    # a port that folds the wrong axis: it reads across the sequences of a sample
    across = x.swapaxes(1, 2).reshape(x.shape)
    port = network.predict(across)
    assert not passes(verify.compare_outputs(network, x, port, diagnosis_seconds=0))
    theirs = model.predict(x, verbose=0)
    assert passes(verify.compare_outputs(network, x, theirs, diagnosis_seconds=0))
