"""Models that amplify rounding: compared in chunks from Keras's own states, or not
decided; never passed or failed by accident."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.nets import mutated

import verify
from verify import Network, Report, Verdict
from verify.checks import _time_chunks as chunks
from verify.forward.evaluable import Inputs
from verify.forward.layers.base import Tensor
from verify.keras_bridge.building import rebuild
from verify.keras_bridge.chunking import time_chunks
from verify.keras_bridge.recording import KerasCall
from verify.keras_bridge.running import KerasModel
from verify.model.graph import TensorRef
from verify.tolerance.compare import compare

pytestmark = pytest.mark.keras

TIME, SIZE, UNITS, ROWS = 60, 5, 32, 6
LONG = 80
"""Steps after which even the rounding of float64 shows."""

GAIN = {"SimpleRNN": 4.0, "LSTM": 15.0, "GRU": 7.0}
"""Recurrent kernels so large that each step amplifies rounding; chunks of ten steps are
short enough."""

GATED = ("LSTM", "GRU")

GREAT = {"SimpleRNN": 8.0, "LSTM": 30.0, "GRU": 10.0}
"""So large that ten steps may be too many, and two are not."""


def wild(inputs: Any, outputs: Any, gain: float, seed: int = 0) -> Any:
    """A Keras model with random weights, biases included, the recurrent ones large."""
    import keras

    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            (gain if w.name == "recurrent_kernel" else 1)
            * rng.normal(size=w.shape)
            / np.sqrt(w.shape[0] if len(w.shape) > 1 else 4)
            for w in model.weights
        ]
    )
    return model


def features(rows: int = ROWS, seed: int = 1, time: int = TIME) -> np.ndarray:
    """(rows, time, size) of float32."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, time, SIZE)).astype(np.float32)


def recurrent(
    kind: str,
    masked: bool = False,
    seed: int = 0,
    time: int = TIME,
    gain: float | None = None,
    **options: Any,
) -> Any:
    """Features -> one recurrent layer called ``rnn`` -> Dense."""
    import keras

    x = keras.Input((time, SIZE))
    y = keras.layers.Masking()(x) if masked else x
    y = getattr(keras.layers, kind)(UNITS, name="rnn", **options)(y)
    y = keras.layers.Dense(2)(y)
    return wild(x, y, gain or GAIN[kind], seed)


@functools.cache
def unchanged() -> Any:
    """One GRU, compiled once, for tests that change nothing of it."""
    return recurrent("GRU")


def apart(model: Any, x: Any) -> float:
    """Return how far two correct float32 programs are from each other."""
    ours = verify.load(model).predict(x, dtype="float32")
    return float(np.abs(model.predict(x, verbose=0) - ours).max())


def in_chunks(report: Report) -> list[str]:
    """The layers that were compared in chunks."""
    return [x.name for x in report.layers if x.chunks]


@pytest.mark.parametrize(
    "kind",
    ["SimpleRNN", *(pytest.param(k, marks=pytest.mark.thorough) for k in GATED)],
)
def test_a_chaotic_model_passes_in_chunks(kind):
    model, x = recurrent(kind, time=LONG, gain=GREAT[kind]), features(time=LONG)
    assert apart(model, x) > 1
    report = verify.check(model, x)
    assert report.verdict is Verdict.PASS
    assert "in chunks from Keras's own states" in report.reason
    assert in_chunks(report) == ["rnn"]
    (rnn,) = (layer for layer in report.layers if layer.name == "rnn")
    assert rnn.chunks >= LONG // 10
    assert rnn.chunks > LONG // 10 or kind != "SimpleRNN"  # here ten were too many
    assert rnn.proof.max_diff < 1e-10
    assert rnn.numerics.error_ratio < 1
    text = report.to_text()
    assert "amplified: over the whole sequence rounding grows to" in text
    assert f"rnn, {rnn.chunks} chunks" in text


def test_a_chaotic_model_of_texts_passes_in_chunks():
    import keras

    words = np.array(["the", "cat", "sat", "on"])
    texts = keras.Input((LONG,), dtype="string")
    y = keras.layers.StringLookup(vocabulary=list(words[:3]))(texts)
    y = keras.layers.Embedding(4, SIZE)(y)
    y = keras.layers.SimpleRNN(UNITS, name="rnn")(y)
    model = wild(texts, keras.layers.Dense(2)(y), GREAT["SimpleRNN"])
    x = np.random.default_rng(3).choice(words, size=(ROWS, LONG))
    report = verify.check(model, x)
    assert report.verdict is Verdict.PASS, str(report)
    assert in_chunks(report) == ["rnn"]


@pytest.mark.thorough
def test_a_loop_around_a_cell_passes_in_chunks():
    from keras import Input, layers

    x = Input((TIME, SIZE))
    y = layers.RNN(layers.GRUCell(UNITS), name="rnn")(x)
    model = wild(x, layers.Dense(2)(y), GAIN["GRU"])
    report = verify.check(model, features())
    assert apart(model, features()) > 0.5
    assert report.verdict is Verdict.PASS
    assert in_chunks(report) == ["rnn"]


def test_a_loop_around_convolutions_passes_in_chunks():
    from keras import Input, layers

    x = Input((40, 6, SIZE))
    y = layers.ConvLSTM1D(12, 3, padding="same", name="rnn")(x)
    model = wild(x, layers.Dense(2)(layers.Flatten()(y)), 30.0)
    images = np.random.default_rng(0).normal(size=(2, 40, 6, SIZE)).astype(np.float32)
    report = verify.check(model, images)
    assert report.verdict is Verdict.PASS
    assert in_chunks(report) == ["rnn"]


def test_a_layer_with_the_hard_sigmoid_of_keras_2_is_made_again(tmp_path):
    """Build it for its chunks and for all its steps: Keras 3 has no such function."""
    path, x = tmp_path / "old.h5", features(time=24)
    recurrent("LSTM", recurrent_activation="hard_sigmoid", time=24, gain=1.0).save(path)
    net = verify.load(path, semantics="keras2")
    expected = net.trace(x, dtype="float64")["rnn"].h
    keras = KerasModel(rebuild(net.spec), ROWS)
    call = KerasCall("rnn", "rnn", (Tensor(x),), {}, [expected[:, -1]], [None])
    parts = time_chunks(keras, call, None, 10, compiled=False)
    assert len(parts) == 3
    by_chunks = np.concatenate([part.outputs[0] for part in parts], axis=1)
    other = verify.load(path, semantics="keras3").trace(x)["rnn"].h
    for steps in (by_chunks, keras.step_outputs(call)):
        assert compare(expected, steps, allowed=1e-5).matches
        assert not compare(other, steps, allowed=1e-5).matches


MASKED = {"return_sequences": True, "masked": True}
VARIANTS = [
    ("GRU", MASKED | {"zero_output_for_mask": True}),
    pytest.param(
        "SimpleRNN", MASKED | {"go_backwards": True}, marks=pytest.mark.thorough
    ),
    pytest.param("LSTM", MASKED, marks=pytest.mark.thorough),
]


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_with_every_option_of_the_loop(kind, options):
    model, x = recurrent(kind, seed=3, **options), features()
    if options.get("masked"):
        x[np.random.default_rng(0).random((ROWS, TIME)) < 0.05] = 0
        x[0, : TIME // 12] = 0
        x[1, -TIME // 12 :] = 0
        x[2] = 0
    assert apart(model, x) > 0.1
    report = verify.check(model, x)
    assert report.verdict is Verdict.PASS, report
    assert in_chunks(report) == ["rnn"]


@pytest.mark.thorough
def test_given_initial_states_begin_the_first_chunk():
    import keras

    x, state = keras.Input((TIME, SIZE)), keras.Input((UNITS,))
    y = keras.layers.GRU(UNITS, name="rnn")(x, initial_state=state)
    model = wild([x, state], keras.layers.Dense(2)(y), GAIN["GRU"])
    rng = np.random.default_rng(0)
    given = [features(), rng.normal(size=(ROWS, UNITS)).astype(np.float32)]
    report = verify.check(model, given)
    assert report.verdict is Verdict.PASS
    assert in_chunks(report) == ["rnn"]


@pytest.mark.thorough
def test_layers_one_behind_the_other_are_both_compared_in_chunks():
    import keras

    x = keras.Input((TIME, SIZE))
    y = keras.layers.SimpleRNN(UNITS, return_sequences=True, name="first")(x)
    y = keras.layers.SimpleRNN(UNITS, name="second")(y)
    model = wild(x, keras.layers.Dense(2)(y), GAIN["SimpleRNN"])
    report = verify.check(model, features())
    assert report.verdict is Verdict.PASS
    assert in_chunks(report) == ["first", "second"]


@pytest.mark.parametrize(
    "name",
    [
        "gate order i,f,o,c",
        pytest.param("bias missing", marks=pytest.mark.thorough),
        pytest.param("first step dropped", marks=pytest.mark.thorough),
    ],
)
def test_a_mistake_in_a_chaotic_model_fails_and_is_named(name):
    model, x = recurrent("LSTM"), features()
    wrong = mutated(verify.load(model).spec, name)
    report = verify.check(model, x, network=wrong)
    assert report.verdict is Verdict.FAIL
    assert report.diagnosis
    assert name in [found.mistake for found in report.diagnosis.explanations]
    assert "In the chunk that begins after" in report.to_text()


def test_a_mistake_that_leaves_each_step_right_is_not_passed(monkeypatch):
    """A NumPy that forgets its states after eleven steps computes every chunk right."""
    from verify.forward import recurrence

    model, x = recurrent("GRU", time=2 * TIME), features(time=2 * TIME)
    net = verify.load(model)
    layer = net.spec["rnn"]

    def forgetful(
        step: Any, x: Any, mask: Any, states: Any, names: Any, **o: Any
    ) -> Any:
        if x.shape[1] > 11:
            begun = recurrence.scan(step, x[:, :11], mask, states, names, **o)
            states = tuple(np.zeros_like(s) for s in begun.states)
            x = x[:, 11:]
        return recurrence.scan(step, x, mask, states, names, **o)

    wrong = Network(net.spec.with_layer(layer.with_overrides(scan=forgetful)))
    report = verify.check(model, x, network=wrong)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert any("NumPy's chunks" in warning for warning in report.warnings), report


def test_chunks_that_are_not_the_run_decide_nothing(monkeypatch):
    from verify import keras_bridge

    model, x = unchanged(), features()
    right = keras_bridge.time_chunks

    def of_other_rows(keras: Any, call: Any, *args: Any, **options: Any) -> Any:
        (x, *_) = call.args
        other = replace(call, args=(Tensor(x.value[::-1]),))
        return right(keras, other, *args, **options)

    monkeypatch.setattr(keras_bridge, "time_chunks", of_other_rows)
    report = verify.check(model, x)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert any(
        "Keras's chunks of layer 'rnn' are not its whole run" in w
        for w in report.warnings
    )


def test_where_predict_cannot_be_looked_into_nothing_is_decided(monkeypatch):
    from verify import keras_bridge

    model, x = unchanged(), features()
    right = keras_bridge.predicted_calls

    def moved(*args: Any) -> Any:
        calls, outputs = right(*args)
        return calls, [y + np.float32(1e-3) for y in outputs]

    monkeypatch.setattr(keras_bridge, "predicted_calls", moved)
    report = verify.check(model, x)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert any("predict's own states cannot be seen" in w for w in report.warnings)


@pytest.mark.usefixtures("undiagnosed")
def test_predict_that_is_wrong_in_a_chaotic_model_is_not_passed(monkeypatch):
    """Every later step depends on the wrong one, so no output shows it: chunks do."""
    import keras

    kernel = keras.ops.tanh
    model, x = recurrent("SimpleRNN", gain=GREAT["SimpleRNN"]), features()
    monkeypatch.setattr(
        keras.layers.SimpleRNNCell,
        "call",
        lambda self, x, states, training=False: _coarse_step(self, x, states, kernel),
    )
    report = verify.check(model, x)
    assert report.verdict is Verdict.FAIL
    assert in_chunks(report) == ["rnn"]


def _coarse_step(cell: Any, x: Any, states: Any, kernel: Any) -> Any:
    """A step of a SimpleRNN as a kernel with errors of 1e-3 would compute it."""
    import keras

    state = states[0] if isinstance(states, (list, tuple)) else states
    sums = keras.ops.matmul(x, cell.kernel) + cell.bias
    sums = sums + keras.ops.matmul(state, cell.recurrent_kernel)
    h = kernel(sums) * (1 - 1e-3)
    return h, [h] if isinstance(states, (list, tuple)) else h


def test_directions_and_stacked_cells_pass_in_chunks():
    import keras

    layers = keras.layers
    x, *given = (keras.Input(shape) for shape in ((TIME, SIZE), (UNITS,), (UNITS,)))
    gru = layers.GRU(UNITS, return_sequences=True)
    y = layers.Bidirectional(gru, "sum", name="both")(layers.Masking()(x))
    cells = [layers.LSTMCell(UNITS), layers.GRUCell(UNITS), layers.SimpleRNNCell(7)]
    stack = layers.StackedRNNCells(cells)
    y = layers.RNN(stack, return_sequences=True, name="rnn")(y)
    last = layers.Bidirectional(layers.GRU(UNITS), name="last")
    y = last(y, initial_state=given)
    model = wild([x, *given], layers.Dense(2)(y), 9.0)
    rows, rng = features(), np.random.default_rng(0)
    rows[0, : TIME // 3] = 0
    rows[1, -TIME // 4 :] = 0
    states = [rng.normal(size=(ROWS, UNITS)).astype(np.float32) for _ in given]
    assert apart(model, [rows, *states]) > 0.1
    report = verify.check(model, [rows, *states])
    assert report.verdict is Verdict.PASS, report
    directions = ["forward_layer", "backward_layer"]
    both, end = ([f"{name}/{way}" for way in directions] for name in ("both", "last"))
    assert in_chunks(report) == [*both, "rnn", *end]


def frames(time: int = 25) -> Any:
    """A chaotic loop over the steps inside each of three frames."""
    import keras

    x = keras.Input((3, time, SIZE))
    rnn = keras.layers.SimpleRNN(UNITS, name="rnn")
    y = keras.layers.TimeDistributed(rnn, name="each")(x)
    return wild(x, keras.layers.Dense(2)(y), 8.0)


def of_frames(time: int = 25) -> np.ndarray:
    flat = features(ROWS * 3, time=time)
    return flat.reshape(ROWS, 3, time, SIZE)


def test_a_loop_inside_time_distributed_passes_in_chunks():
    model, x = frames(), of_frames()
    assert apart(model, x) > 0.1
    report = verify.check(model, x)
    assert report.verdict is Verdict.PASS, report
    assert in_chunks(report) == ["each/layer"]


def test_a_mistake_inside_time_distributed_fails_and_is_named():
    model = frames()
    net, path = verify.load(model), "each/layer"
    layer = net.spec[path]
    wrong = layer.with_weights(bias=np.zeros_like(layer.weights["bias"]))
    other = Network(net.spec.with_layer(wrong, path))
    report = verify.check(model, of_frames(), network=other)
    assert report.verdict is Verdict.FAIL
    assert report.diagnosis
    assert "bias missing" in [x.mistake for x in report.diagnosis.explanations]


@pytest.mark.thorough
def test_steps_of_time_distributed_in_another_order_do_not_pass(monkeypatch):
    turned = chunks._merged

    def wrong(layer: Any, parts: Any, rows: int) -> Any:
        found = turned(layer, parts, rows)
        return tuple(y[:, ::-1] for y in found)

    monkeypatch.setattr(chunks, "_merged", wrong)
    report = verify.check(frames(), of_frames())
    assert report.verdict is Verdict.INCONCLUSIVE


@pytest.mark.thorough
def test_a_mistake_in_one_direction_fails_and_is_named():
    import keras

    x = keras.Input((TIME, SIZE))
    both = keras.layers.Bidirectional(keras.layers.LSTM(UNITS), name="both")
    model = wild(x, keras.layers.Dense(2)(both(x)), GAIN["LSTM"])
    net, path = verify.load(model), "both/backward_layer"
    layer = net.spec[path]
    wrong = layer.with_weights(bias=np.zeros_like(layer.weights["bias"]))
    other = Network(net.spec.with_layer(wrong, path))
    report = verify.check(model, features(), network=other)
    assert report.verdict is Verdict.FAIL
    assert report.diagnosis
    assert "bias missing" in [x.mistake for x in report.diagnosis.explanations]
    first = next(x for x in report.layers if not x.proof.matches)
    assert first.name == path


@pytest.mark.usefixtures("undiagnosed")
def test_directions_that_are_turned_otherwise_do_not_pass_in_chunks():
    import keras

    x = keras.Input((TIME, SIZE))
    gru = keras.layers.GRU(UNITS, return_sequences=True)
    both = keras.layers.Bidirectional(gru, "sum", name="both")
    model = wild(x, both(x), GAIN["GRU"])
    net = verify.load(model)
    layer = net.spec["both"].with_overrides(turn=lambda y_rev: y_rev)
    wrong = Network(net.spec.with_layer(layer))
    report = verify.check(model, features(), network=wrong)
    assert report.verdict is not Verdict.PASS


def stateful(wrapped: bool, rows: int, **options: Any) -> Any:
    """A chaotic stateful model that takes three rows at a time."""
    import keras

    x = keras.Input(batch_shape=(rows, TIME, SIZE))
    layer = keras.layers.GRU(UNITS, stateful=True, name="rnn", **options)
    if wrapped:
        layer = keras.layers.Bidirectional(layer, name="both")
    return wild(x, keras.layers.Dense(2)(layer(x)), GAIN["GRU"])


def test_a_stateful_model_passes_in_chunks_from_batch_to_batch():
    model, x = stateful(True, 3, return_sequences=True), features(rows=9)
    report = verify.check(model, x)
    assert report.verdict is Verdict.PASS, report
    assert len(in_chunks(report)) == 2
    chunked = next(layer for layer in report.layers if layer.chunks)
    assert chunked.chunks == 3 * TIME // 10


@pytest.mark.usefixtures("undiagnosed")
def test_states_that_are_not_carried_from_batch_to_batch_do_not_pass():
    model, x = stateful(False, 3), features(rows=9)
    net = verify.load(model)
    layer = net.spec["rnn"].with_overrides(
        stateful=lambda states: tuple(np.zeros_like(s) for s in states)
    )
    wrong = Network(net.spec.with_layer(layer))
    report = verify.check(model, x, network=wrong)
    assert report.verdict is not Verdict.PASS
    assert any("NumPy's chunks" in warning for warning in report.warnings), report


def nested() -> Any:
    """Chaotic loops in a model two models deep, behind a mask, and one outside."""
    import keras

    layers = keras.layers
    deep = keras.Sequential(
        [keras.Input((None, UNITS)), layers.GRU(UNITS, name="rnn")], name="deep"
    )
    x = keras.Input((TIME, SIZE))
    gru = layers.GRU(UNITS, return_sequences=True)
    both = layers.Bidirectional(gru, "sum", name="both")(layers.Masking()(x))
    inner = keras.Model(x, layers.Dense(UNITS, name="dense")(both), name="inner")
    x = keras.Input((TIME, SIZE))
    steps = layers.SimpleRNN(SIZE, return_sequences=True, name="rnn")(x)
    y = deep(inner(layers.Concatenate(name="join")([steps, x])[..., SIZE:]))
    return wild(x, layers.Dense(2)(y), GAIN["GRU"])


NESTED = ["rnn", "inner/both/forward_layer", "inner/both/backward_layer", "deep/rnn"]


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:Layer 'deep' .* mask attached")  # by Keras itself
def test_loops_in_models_inside_a_model_pass_in_chunks():
    model, x = nested(), features()
    x[0, : TIME // 3] = 0
    assert apart(model, x) > 0.1
    names = [layer.name for layer in model.layers]
    report = verify.check(model, x)
    assert report.verdict is Verdict.PASS, report
    assert set(in_chunks(report)) <= set(NESTED)
    assert set(NESTED[1:]) <= set(in_chunks(report))
    assert [layer.name for layer in model.layers] == names
    assert len(model.get_layer("deep").get_layer("rnn")._inbound_nodes) == 1


@pytest.mark.parametrize(
    "path", [NESTED[2], pytest.param(NESTED[3], marks=pytest.mark.thorough)]
)
def test_a_mistake_in_a_chaotic_model_inside_fails_and_is_named(path):
    model = nested()
    net = verify.load(model)
    layer = net.spec[path]
    wrong = layer.with_weights(bias=np.zeros_like(layer.weights["bias"]))
    other = Network(net.spec.with_layer(wrong, path))
    report = verify.check(model, features(), network=other)
    assert report.verdict is Verdict.FAIL
    assert f"{path}/".startswith(f"{report.first_mismatch.name}/")
    found = report.diagnosis.explanations[0]
    assert (found.layer, found.mistake) == (path, "bias missing")


@pytest.mark.thorough
@pytest.mark.usefixtures("undiagnosed")
def test_a_model_inside_that_hands_its_layers_something_else_does_not_pass():
    from verify.keras_bridge import opened, predicted_calls

    model = nested()
    net = verify.load(model)
    inner = net.spec["inner"]
    steps = TensorRef("both", 0, 0)  # without the Dense behind it
    other = replace(inner, graph=replace(inner.graph, outputs=steps))
    wrong, x = Network(net.spec.with_layer(other)), features()
    assert np.abs(wrong.predict(x) - net.predict(x)).max() > 0.1
    report = verify.check(model, x, network=wrong)
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch.name == "inner"
    given, keras = Inputs([x]), opened(KerasModel(model, 32))
    calls, seen = predicted_calls(keras, given, keras.calls(given))
    flat = chunks._opened(net)
    np.testing.assert_array_equal(flat.predict(x), net.predict(x))
    chunks._require_same_graph(flat, given, calls, seen)
    with pytest.raises(chunks.Undecided, match="'deep/rnn' something else"):
        chunks._require_same_graph(chunks._opened(wrong), given, calls, seen)


def test_a_mask_that_keras_alone_gives_by_name_is_the_same_one():
    """The graph that Keras makes of a Sequential names the mask of a Bidirectional."""
    import keras

    from verify.keras_bridge import opened, predicted_calls

    layers = keras.layers
    words = keras.Input((TIME,), dtype="int32")
    both = layers.Bidirectional(layers.LSTM(UNITS), name="both")
    embedding = layers.Embedding(20, SIZE, mask_zero=True)
    encoder = keras.Sequential([words, embedding, both], name="encoder")
    x = keras.Input((TIME,), dtype="int32")
    model = wild(x, layers.Dense(2)(encoder(x)), GAIN["LSTM"])
    ids = np.random.default_rng(0).integers(0, 20, (ROWS, TIME)).astype("int32")
    report = verify.check(model, ids)
    assert report.verdict is Verdict.PASS, report
    assert in_chunks(report) == [f"encoder/both/{way}_layer" for way in
                                 ("forward", "backward")]  # fmt: skip
    given, flat = Inputs([ids]), opened(KerasModel(model, 32))
    calls, outputs = predicted_calls(flat, given, flat.calls(given))
    net = chunks._opened(verify.load(model))
    chunks._require_same_graph(net, given, calls, outputs)
    other = [
        replace(call, kwargs={**call.kwargs, "mask": Tensor(ids == 0)})
        if call.name == "encoder/both"
        else call
        for call in calls
    ]
    with pytest.raises(chunks.Undecided, match="'encoder/both' something else"):
        chunks._require_same_graph(net, given, other, outputs)


def test_what_is_not_run_in_chunks_is_inconclusive_and_says_by_how_much():
    import keras

    x = keras.Input((1, TIME, SIZE))
    inner = keras.Sequential([keras.Input((TIME, SIZE)), keras.layers.GRU(UNITS)])
    y = keras.layers.TimeDistributed(inner, name="frames")(x)
    model = wild(x, keras.layers.Dense(2)(y), GAIN["GRU"])
    report = verify.check(model, features()[:, None])
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "amplifies rounding" in report.reason
    assert any(character.isdigit() for character in report.reason)
    assert any("'frames' (TimeDistributed)" in text for text in report.warnings)
    assert not in_chunks(report)


def test_outputs_of_a_port_of_a_chaotic_model_decide_nothing():
    model, x = unchanged(), features()
    theirs = verify.load(model).predict(x, dtype="float32")
    report = verify.compare_outputs(model, x, theirs)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "amplifies rounding to" in report.reason


def test_chunks_cover_the_sequence_in_the_order_of_processing():
    from verify.keras_bridge.chunking import time_slices

    steps = np.arange(23)
    forwards = [steps[s] for s in time_slices(23, 10, backwards=False)]
    np.testing.assert_array_equal(np.concatenate(forwards), steps)
    backwards = [steps[s][::-1] for s in time_slices(23, 10, backwards=True)]
    np.testing.assert_array_equal(np.concatenate(backwards), steps[::-1])
    assert [len(s) for s in backwards] == [10, 10, 3]
    assert chunks.CHUNK_STEPS[0] == 10


def two_branches() -> tuple[Any, Any]:
    """A chaotic model of two branches, and the layer that joins them."""
    import keras

    x = keras.Input((TIME, SIZE))
    a = keras.layers.GRU(UNITS, name="a")(x)
    b = keras.layers.GRU(UNITS, name="b")(x)
    return wild(x, keras.layers.Concatenate(name="join")([a, b]), GAIN["GRU"]), x


@pytest.mark.usefixtures("undiagnosed")
def test_a_graph_that_hands_layers_other_tensors_does_not_pass_in_chunks():
    """Every layer is right on what Keras gives it, and the outputs are not."""
    model, _ = two_branches()
    right = verify.check(model, features())
    assert right.verdict is Verdict.PASS
    assert in_chunks(right) == ["a", "b"]
    net = verify.load(model)
    graph = net.spec.root.graph
    nodes = [
        replace(node, args=(list(reversed(node.args[0])),))
        if node.layer == "join"
        else node
        for node in graph.nodes
    ]
    root = replace(net.spec.root, graph=replace(graph, nodes=tuple(nodes)))
    wrong = Network(replace(net.spec, root=root))
    assert np.abs(wrong.predict(features()) - net.predict(features())).max() > 0.5
    report = verify.check(model, features(), network=wrong)
    assert report.verdict is not Verdict.PASS
    assert any("'join' something else" in warning for warning in report.warnings)


@pytest.mark.usefixtures("undiagnosed")
def test_masked_steps_that_show_something_else_do_not_pass_in_chunks():
    model = recurrent("GRU", masked=True, return_sequences=True)
    x = features()
    x[:, -25:] = 0  # whole chunks of masked steps
    net = verify.load(model)
    right = verify.check(model, x)
    assert right.verdict is Verdict.PASS
    zeroing = net.spec["rnn"].with_options(zero_output_for_mask=True)
    report = verify.check(model, x, network=Network(net.spec.with_layer(zeroing)))
    assert report.verdict is not Verdict.PASS


def test_a_report_of_chunks_holds_their_figures():
    report = verify.check(unchanged(), features())
    assert report.proof.matches
    assert report.numerics.matches
    assert report.numerics.error_ratio < 1
    assert min(report.amplified) >= 0
    assert max(report.amplified) > 0.1
    assert report.to_dict()["amplified"] == list(report.amplified)
