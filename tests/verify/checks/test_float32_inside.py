"""Check models of which Keras computes a part in float32 in float64, too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.nets import random_weights

import verify
from verify import Network, Verdict
from verify.checks.checkpoint import Watch

pytestmark = pytest.mark.keras


def with_weights(model, seed: int = 5):
    model.set_weights(random_weights([w.shape for w in model.weights], seed))
    return model


def moved(model, layer: str, weight: str) -> Network:
    """Return the network of a model with one weight moved by a thousandth."""
    spec = verify.load(model).spec

    def change(one):
        if one.name != layer:
            return one
        weights = {**one.weights, weight: one.weights[weight] + 1e-3}
        return replace(one, weights=weights)

    return Network(replace(spec, root=spec.root.mapped(change)))


@pytest.fixture(scope="module")
def counted():
    """Return a model whose LSTM reads means of whole numbers, and inputs for it."""
    import keras

    x = keras.Input((9, 4, 3), dtype="int32")
    means = keras.ops.mean(x, axis=2) * 0.1
    y = keras.layers.LSTM(4, name="lstm")(means)
    model = keras.Model(x, keras.layers.Dense(2, name="dense")(y))
    rng = np.random.default_rng(5)
    return with_weights(model), rng.integers(-50, 50, size=(40, 9, 4, 3))


def test_outputs_behind_a_mean_of_whole_numbers_match(counted):
    report = verify.check(*counted)
    assert report.verdict is Verdict.PASS, str(report)
    assert report.proof is not None
    assert report.proof.matches
    single = [layer for layer in report.layers if layer.in_single]
    assert {layer.class_name for layer in single} == {"ops.Mean", "ops.Multiply"}
    said = {x["name"] for x in report.to_dict()["layers"] if x.get("in_single")}
    assert said == {layer.name for layer in single}


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(("layer", "weight"), [("lstm", "bias"), ("dense", "kernel")])
def test_a_mistake_behind_it_is_found(counted, layer, weight):
    model, x = counted
    report = verify.check(model, x, network=moved(model, layer, weight))
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch is not None
    assert report.first_mismatch.name == layer


@pytest.fixture(scope="module")
def leaking():
    """Return whole numbers, of which LeakyReLU makes float32, normalised by groups."""
    import keras

    x = keras.Input((6,), dtype="int32")
    y = keras.layers.LeakyReLU(name="leaky")(x)
    y = keras.layers.GroupNormalization(3, name="groups")(y)
    model = keras.Model(x, keras.layers.Dense(2, name="dense")(y))
    rng = np.random.default_rng(6)
    return with_weights(model), rng.integers(-900, 900, size=(40, 6))


def test_a_layer_that_casts_nothing_computes_in_the_float32_that_it_reads(leaking):
    report = verify.check(*leaking)
    assert report.verdict is Verdict.PASS, str(report)
    single = [layer.name for layer in report.layers if layer.in_single]
    assert single == ["leaky", "groups"]


@pytest.mark.parametrize(
    ("layer", "weight"), [("groups", "gamma"), ("groups", "beta"), ("dense", "kernel")]
)
def test_a_mistake_in_such_a_layer_or_behind_it_is_found(leaking, layer, weight):
    model, x = leaking
    report = verify.check(model, x, network=moved(model, layer, weight))
    assert report.verdict is Verdict.FAIL
    assert report.first_mismatch is not None
    assert report.first_mismatch.name == layer


def test_images_are_resized_in_float32_whatever_the_policy():
    import keras

    layers = keras.layers
    x = keras.Input((3, 4, 3), dtype="float64")
    y = layers.CenterCrop(5, 4, dtype="float64", name="crop")(x)
    y = layers.GroupNormalization(1, dtype="float64", name="groups")(y)
    y = layers.Dense(2, dtype="float64")(layers.Flatten(dtype="float64")(y))
    model = with_weights(keras.Model(x, y))
    images = np.random.default_rng(7).normal(size=(20, 3, 4, 3))
    report = verify.check(model, images)
    assert report.verdict is Verdict.PASS, str(report)
    single = [one.name for one in report.layers if one.in_single]
    assert single == ["crop", "groups"]
    wrong = verify.check(model, images, network=moved(model, "groups", "gamma"))
    assert wrong.verdict is Verdict.FAIL


@pytest.fixture
def hard_coded():
    """Return a model with classes that compute in float32 whatever they are told."""
    import keras
    import tensorflow as tf

    class Cast(keras.layers.Layer):
        def call(self, x):
            return tf.cast(x, tf.float32) * tf.constant(0.7, tf.float32)

    class Constant(keras.layers.Layer):
        def call(self, x):
            return x * tf.constant(0.7, tf.float32)

    def scaled(kind: type):
        class Scaled(verify.LayerType):
            def call(self, run, layer, inputs):
                return inputs * np.asarray(0.7, inputs.dtype)

        verify.register(kind.__name__, keras_class=kind)(Scaled)
        layers = keras.layers
        return with_weights(
            keras.Sequential(
                [
                    keras.Input((6, 3)),
                    layers.LSTM(4, return_sequences=True, name="lstm"),
                    kind(name=kind.__name__.lower()),
                    layers.GRU(3, name="gru"),
                ]
            )
        )

    with verify.registering():
        yield {"cast": scaled(Cast), "constant": scaled(Constant)}


def sequences() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(10, 6, 3)).astype(np.float32)


def test_a_class_that_casts_to_float32_is_compared_by_its_rounding(hard_coded):
    model = hard_coded["cast"]
    report = verify.check(model, sequences())
    assert report.verdict is Verdict.PASS, str(report)
    assert [x.name for x in report.layers if x.in_single] == ["cast"]
    wrong = verify.check(model, sequences(), network=moved(model, "gru", "bias"))
    assert wrong.verdict is Verdict.FAIL


def test_a_model_that_keras_cannot_compute_in_float64_is_compared_in_its_own(
    hard_coded, tmp_path
):
    model, path = hard_coded["constant"], tmp_path / "report.json"
    report = verify.check(model, sequences(), watch=Watch(path))
    assert report.verdict is Verdict.PASS, str(report)
    assert report.proof is None
    (said,) = [x for x in report.warnings if "in its own dtype alone" in x]
    assert "a class of yours should compute in self.compute_dtype" in said
    assert report.to_dict()["proof"] is None
    assert said in report.to_text()
    again = verify.check(model, sequences(), watch=Watch(path, resume=True))
    assert again.verdict is Verdict.PASS
    (said,) = [x for x in again.warnings if "in its own dtype alone" in x]
    assert "(as the run found that is resumed)" in said
    spec = verify.load(model).spec
    kernel = spec["lstm"].weights["kernel"]
    exchanged = kernel[:, [*range(4), *range(8, 12), *range(4, 8), *range(12, 16)]]
    lstm = spec["lstm"].with_weights(kernel=exchanged)
    wrong = Network(spec.with_layer(lstm))
    report = verify.check(model, sequences(), network=wrong)
    assert report.verdict is Verdict.FAIL
    assert report.diagnosis is not None
    assert report.diagnosis.explanations
