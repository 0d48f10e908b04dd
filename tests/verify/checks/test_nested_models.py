"""The layers of a model inside a model are compared one by one, like the others."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import TIME, features

import verify
from verify import Verdict
from verify.forward.network import Inputs
from verify.keras_bridge import KerasModel, inner_layer, private
from verify.mistakes.catalogue import catalogue
from verify.model.graph import flatten

pytestmark = pytest.mark.keras


def with_random_biases(model):
    rng = np.random.default_rng(4)
    model.set_weights([w + rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def nested():
    """A model two models deep that is called twice, and one for each step."""
    import keras
    from keras import Input, Sequential, layers

    keras.utils.set_random_seed(0)
    deep = Sequential(
        [Input((None, 5)), layers.GRU(4, return_sequences=True, name="gru"),
         layers.Dense(3, name="dense")], name="deep",
    )  # fmt: skip
    inner = Sequential(
        [Input((None, 3)), layers.LSTM(5, return_sequences=True, name="lstm"), deep],
        name="inner",
    )
    steps = Sequential(
        [
            Input((3,)),
            layers.Dense(4, "tanh", name="dense"),
            layers.Dense(2, name="two"),
        ]
    )
    x = Input((TIME, 3))
    y = layers.TimeDistributed(steps, name="each")(inner(inner(x)))
    return with_random_biases(keras.Model(x, layers.LSTM(2, name="lstm")(y)))


INSIDE = [
    *("inner/lstm", "inner/deep/gru", "inner/deep/dense", "inner/deep", "inner"),
    *("inner/lstm:2", "inner/deep/gru:2", "inner/deep/dense:2", "inner/deep:2"),
]


def test_every_call_inside_is_recorded_before_that_of_its_model(nested, monkeypatch):
    x = Inputs([features()])
    keras = KerasModel(nested, 32).twin("float64")
    calls = keras.calls(x)
    keys = [call.key for call in calls]
    assert keys[:9] == INSIDE
    assert keys[9:11] == ["inner:2", "each/layer/dense"]
    assert keys[-2:] == ["each", "lstm"]
    assert "_run_through_graph" not in vars(private.graph_of(keras.model))
    for layer in private.layers_inside(keras.model):
        assert "_run_through_graph" not in vars(layer)
    monkeypatch.setattr(KerasModel, "_run_traced", lambda *_: None)
    for a, b in zip(calls, keras.calls(x), strict=True):
        assert (a.name, a.key) == (b.name, b.key)
        for y, z in zip(a.outputs, b.outputs, strict=True):
            np.testing.assert_allclose(y, z, rtol=0, atol=1e-12)


def test_calls_inside_have_the_values_and_names_of_a_trace(nested):
    x = features()
    calls = KerasModel(nested, 32).twin("float64").calls(Inputs([x]))
    trace = verify.load(nested).trace(x, dtype="float64")
    for call in calls:
        if not call.name.startswith("each/"):
            (ours,) = flatten(trace[call.key].output)
            np.testing.assert_allclose(ours, call.outputs[0], rtol=0, atol=1e-10)
    (first,) = [c for c in calls if c.key == "each/layer/dense"]
    every = [trace[f"each/layer/dense:{k}" if k > 1 else "each/layer/dense"].output
             for k in range(1, TIME + 1)]  # fmt: skip
    ours = np.stack(every, axis=1).reshape(-1, 4)
    np.testing.assert_allclose(ours, first.outputs[0], rtol=0, atol=1e-10)


def test_a_right_network_passes_with_a_row_for_every_call_inside(nested):
    report = verify.check(nested, features())
    assert report.verdict is Verdict.PASS
    assert [layer.name for layer in report.layers][:9] == INSIDE


@pytest.mark.parametrize(
    "path", ["inner/lstm", "inner/deep/gru", "inner/deep/dense", "each/layer/dense"]
)
def test_a_mistake_inside_is_located_and_named_there(nested, path):
    spec = verify.load(nested).spec
    mutant = next(m for m in catalogue(spec) if m.layer == path and m.name in (
        "gate order i,o,f,c", "gate order r,z,h", "bias missing"))  # fmt: skip
    report = verify.check(nested, features(), network=verify.Network(mutant.model))
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch.name == path
    assert report.diagnosis.explanations[0].layer == path
    assert report.diagnosis.explanations[0].mistake == mutant.name


def test_the_states_of_layers_inside_are_those_of_the_batch_before():
    from keras import Input, Model, Sequential, layers

    lstm = layers.LSTM(3, return_sequences=True, stateful=True, name="lstm")
    inner = Sequential([Input((TIME, 3), batch_size=2), lstm], name="inner")
    x = Input((TIME, 3), batch_size=2)
    model = with_random_biases(Model(x, layers.GRU(2, stateful=True)(inner(x))))
    report = verify.check(model, features(batch=6), batch_size=2)
    assert report.verdict is Verdict.PASS
    assert [layer.name for layer in report.layers][:2] == ["inner/lstm", "inner"]
    assert all(layer.proof.matches for layer in report.layers)


def test_a_layer_is_found_by_its_path(nested):
    twin = KerasModel(nested, 32).twin().model
    assert inner_layer(twin, "lstm").units == 2
    assert inner_layer(twin, "inner/lstm").units == 5
    assert inner_layer(twin, "inner/deep/gru").units == 4
    assert inner_layer(twin, "each/layer/dense").units == 4
