"""Numbers and lists in every form in which Keras wrote them into a config."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.nets import features, input_layer, layer, random_weights, spec
from support.old_files import old_file, old_layer

import verify
from verify.errors import UnsupportedError
from verify.model_files.plain_values import plain

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "value"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def wrapped(value, draw):
    """Every list and number in one of the old forms, as `draw` decides."""
    if isinstance(value, dict):
        return {key: wrapped(inner, draw) for key, inner in value.items()}
    if isinstance(value, list):
        items = [wrapped(item, draw) for item in value]
        forms = [
            items,
            {"class_name": "__tuple__", "items": items},
            {"class_name": "TensorShape", "items": items},
            {"type": "ndarray", "value": items},
        ]
        return forms[draw(st.integers(0, 3))]
    if draw(st.booleans()):
        return {"type": "ndarray", "value": value}
    return value


@settings(max_examples=30)
@given(VALUES, st.data())
def test_a_value_in_any_of_the_old_forms_is_the_value(value, data):
    assert plain(wrapped(value, data.draw)) == value


def test_arguments_of_calls_keep_their_tuples():
    nodes = [[["x", 0, 0, {"perm": {"class_name": "__tuple__", "items": [0, 2, 1]}}]]]
    assert plain({"inbound_nodes": nodes}) == {"inbound_nodes": nodes}


def leaky(tmp_path, slope, **more):
    """A file of Keras 2.0: LSTM, Dropout, LeakyReLU, with arrays for numbers."""
    lstm = {"units": 4, "batch_input_shape": [None, 6, 3], **more}
    config = [
        old_layer("LSTM", "lstm", **lstm),
        old_layer("SpatialDropout1D", "dropout", rate=0.5, noise_shape=None),
        old_layer("LeakyReLU", "leaky", alpha=slope),
    ]
    weights = {"lstm": random_weights([(3, 16), (4, 16), (16,)], 0)}
    weights |= {"dropout": [], "leaky": []}
    model = {"class_name": "Sequential", "config": config}
    return old_file(tmp_path / "old.h5", model, weights, "2.0.5")


def test_numbers_that_keras_2_0_wrote_as_arrays_are_read(tmp_path):
    array = {"type": "ndarray", "value": 0.30000001192092896}
    plainly = verify.load(leaky(tmp_path, 0.30000001192092896)).predict(features())
    net = verify.load(leaky(tmp_path, array, units={"type": "ndarray", "value": 4}))
    assert net.spec["leaky"].options["negative_slope"] == 0.30000001192092896
    assert np.array_equal(net.predict(features()), plainly)
    other = verify.load(leaky(tmp_path, {"type": "ndarray", "value": 0.2}))
    assert not np.allclose(other.predict(features()), plainly)


def test_a_refusal_shows_the_number_and_names_the_option(tmp_path):
    with pytest.raises(UnsupportedError, match=r"'negative_slope' .*Received: .*=-1"):
        verify.load(leaky(tmp_path, {"type": "ndarray", "value": -1}))


@pytest.mark.parametrize("class_name", ["__numpy__", "__tensor__"])
def test_arrays_of_keras_3_may_stand_for_any_number(class_name):
    config = {"value": 0.25, "dtype": "float32"}
    slope = {"module": "numpy", "class_name": class_name, "config": config}
    layers = [input_layer(None, 6, 3), layer("LeakyReLU", "r", negative_slope=slope)]
    assert spec(*layers)["r"].options["negative_slope"] == 0.25
    config["value"] = [0.25, 0.5]
    with pytest.raises(UnsupportedError, match="'negative_slope' expects a number"):
        spec(*layers)


@pytest.mark.parametrize("name", ["1D", "2D", "3D"])
def test_the_noise_shape_of_a_spatial_dropout_of_keras_2_has_no_effect(name):
    shape = (4,) * int(name[0])
    dropout = layer(f"SpatialDropout{name}", "d", rate=0.5, noise_shape=None)
    assert spec(input_layer(None, *shape, 2), dropout)["d"].options == {}
