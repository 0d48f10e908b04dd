"""Configs are changed for Keras, before it builds a model from them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.nets import lstm_file, random_weights
from support.old_files import old_file, old_layer

import verify
from verify.keras_bridge.building import rebuild, with_dtype
from verify.keras_bridge.importing import import_keras
from verify.keras_bridge.names import file_name, keras_name


def policy(name, **more):
    return {"class_name": "DTypePolicy", "config": {"name": name, **more}}


@pytest.mark.parametrize(
    ("found", "changed"),
    [
        (policy("float32"), "float64"),
        (policy("mixed_float16"), "float64"),
        (policy(None, mode="int8"), "int8_from_float64"),
        ("bfloat16", "float64"),
        (policy("int64"), policy("int64")),
        ("int32", "int32"),
        ("string", "string"),
    ],
)
def test_only_floats_become_float64(found, changed):
    """Keras refuses a Hashing that makes ids and is told to be float64."""
    config = {"layers": [{"class_name": "Hashing", "config": {"dtype": found}}]}
    wide = with_dtype(config, "float64")
    assert wide["layers"][0]["config"]["dtype"] == changed


@pytest.mark.keras
def test_a_name_with_a_slash_is_another_in_keras_3_alone(tmp_path):
    name = "decoder/gru"
    config = [
        old_layer(
            "GRU", name, units=4, batch_input_shape=[None, 6, 3], reset_after=True
        )
    ]
    weights = {name: random_weights([(3, 12), (4, 12), (2, 12)], 0)}
    whole = {"class_name": "Sequential", "config": config}
    path = old_file(tmp_path / "old.h5", whole, weights)
    net = verify.load(path)
    model = rebuild(net.spec)
    assert [x.name for x in model.layers] == ["decoder.slash.gru"]
    report = verify.check(path, gradients=True)
    assert report.verdict is verify.Verdict.PASS
    assert [x.name for x in report.layers] == [name]
    bias = net.spec[name].weights["bias"] + 0.1
    wrong = verify.Network(net.spec.with_layer(net.spec[name].with_weights(bias=bias)))
    report = verify.check(path, network=wrong)
    assert report.verdict is verify.Verdict.FAIL
    assert report.first_mismatch.name == name
    assert "decoder/gru" in report.to_text()


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.keras
def test_a_vocabulary_that_keras_cannot_load_itself_is_given_to_it(tmp_path):
    import keras

    words = np.array(["a b c a", "b d", "a e f"], dtype=object)
    texts = keras.layers.TextVectorization(
        max_tokens=9, pad_to_max_tokens=True, output_mode="tf_idf"
    )
    texts.adapt(words)
    x = keras.Input((1,), dtype="string")
    y = keras.layers.Reshape((-1, 1))(texts(x))
    model = keras.Model(x, keras.layers.LSTM(3, bias_initializer="normal")(y))
    path = tmp_path / "m.keras"
    model.save(path)
    given = np.array([["a c"], ["b z b"]])
    report = verify.check(path, given)
    assert report.verdict is verify.Verdict.PASS
    assert "cannot load the vocabulary that it saved" in report.to_text()
    net = verify.load(path)
    layer_ = next(x for x in net.spec if "vocabulary" in x.options)
    weights = [2 * w for w in layer_.options["idf_weights"]]
    wrong = net.spec.with_layer(layer_.with_options(idf_weights=tuple(weights)))
    report = verify.check(path, given, network=verify.Network(wrong))
    assert report.verdict is verify.Verdict.FAIL


@given(st.text(max_size=12).filter(lambda name: not re.search(r"\.(char|slash)", name)))
def test_the_name_of_the_file_is_found_again_from_that_in_keras(name):
    inside = keras_name(name)
    assert re.fullmatch(r"[A-Za-z0-9_.\\>-]*", inside)
    assert file_name(inside) == name


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.keras
def test_a_name_with_a_space_does_not_stop_predict(tmp_path):
    keras = import_keras()
    first = keras.Input((5, 3), name="past days")
    h = keras.layers.LSTM(4, name="encoder lstm", return_sequences=True)(first)
    wrapped = keras.layers.Bidirectional(keras.layers.GRU(2), name="beide Richtungen é")
    model = keras.Model({"past days": first}, wrapped(h), name="my model")
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    model.save(tmp_path / "m.keras")
    report = verify.check(tmp_path / "m.keras")
    assert report.verdict is verify.Verdict.PASS
    assert [x.name for x in report.layers] == ["encoder lstm", "beide Richtungen é"]
    net = verify.load(tmp_path / "m.keras")
    bias = net.spec["encoder lstm"].weights["bias"] + 0.1
    wrong = net.spec.with_layer(net.spec["encoder lstm"].with_weights(bias=bias))
    report = verify.check(tmp_path / "m.keras", network=verify.Network(wrong))
    assert report.verdict is verify.Verdict.FAIL
    assert report.first_mismatch.name == "encoder lstm"


@pytest.mark.keras
def test_a_model_of_keras_2_is_built_inside_a_wrapper(tmp_path, undiagnosed):
    inner = {
        "class_name": "Model",
        "config": {
            "name": "inner",
            "layers": [
                {
                    **old_layer("InputLayer", "x", batch_input_shape=[None, 4, 3]),
                    "name": "x",
                    "inbound_nodes": [],
                },
                {
                    **old_layer("GRU", "gru", units=2, reset_after=True),
                    "name": "gru",
                    "inbound_nodes": [[["x", 0, 0, {}]]],
                },
            ],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["gru", 0, 0]],
        },
    }
    config = [
        old_layer("TimeDistributed", "each", layer=inner)
        | {"config": {"name": "each", "layer": inner, "trainable": True}},
    ]
    config[0]["config"]["batch_input_shape"] = [None, 5, 4, 3]
    config.append(old_layer("LSTM", "lstm", units=3))
    weights = {
        "each": random_weights([(3, 6), (2, 6), (2, 6)], 0),
        "lstm": random_weights([(2, 12), (3, 12), (12,)], 1),
    }
    whole = {"class_name": "Sequential", "config": config}
    path = old_file(tmp_path / "old.h5", whole, weights)
    assert verify.check(path).verdict is verify.Verdict.PASS
    net = verify.load(path)
    lstm = net.spec["lstm"]
    wrong = lstm.with_weights(bias=lstm.weights["bias"] + 0.1)
    report = verify.check(path, network=verify.Network(net.spec.with_layer(wrong)))
    assert report.first_mismatch.name == "lstm"


@pytest.mark.keras
@pytest.mark.parametrize("name", ["m.h5", "m.keras.zip"])
def test_a_name_of_another_kind_of_file_is_to_be_changed(tmp_path, name):
    path = lstm_file(tmp_path / name)
    said = rf"{name}: expected a name ending in \.keras, .* a Keras model .*; rename it"
    with pytest.raises(verify.VerifyError, match=said):
        verify.check(path)
    path.rename(tmp_path / "m.keras")
    assert verify.check(tmp_path / "m.keras")
