"""The forms in which versions of Keras wrote modules, dtypes and inputs."""

from __future__ import annotations

import pytest

from verify.errors import UnsupportedError
from verify.model_files.config import read_architecture
from verify.model_files.read import upgraded_config

INPUT = {"batch_input_shape": [None, 6, 3]}


def lstm(**config):
    """An LSTM as it stands in the config of Keras 2."""
    return {"class_name": "LSTM", "config": {"name": "lstm", "units": 4, **config}}


def model(*layers, version="2.4.0", **more):
    """The layers of a Sequential model of Keras 2, by name."""
    config = {"class_name": "Sequential", "config": list(layers), **more}
    return read_architecture(upgraded_config(config, version).config).sublayers


@pytest.mark.parametrize(
    "module",
    [
        "keras.layers", "keras.src.layers.rnn.lstm", "keras.layers.recurrent_v2",
        "tf_keras.layers", "tf_keras.src.layers.rnn.lstm", "tensorflow.keras.layers",
        "tensorflow.python.keras.layers.recurrent_v2",
    ],
)  # fmt: skip
@pytest.mark.parametrize("registered", [None, "LSTM"])
def test_a_layer_of_keras_is_read_wherever_it_was_defined(module, registered):
    entry = {**lstm(**INPUT), "module": module, "registered_name": registered}
    found = model(entry, version="2.15.0")
    assert found["lstm"].class_name == "LSTM"


@pytest.mark.parametrize(
    "more",
    [
        {"registered_name": "Custom>LSTM"}, {"module": "mine.layers"},
        {"module": "tensorflow.contrib.layers"}, {"module": "keras_mine.layers"},
        {"module": 3},
    ],
)  # fmt: skip
def test_a_class_of_somebody_elses_is_not_taken_for_that_of_keras(more):
    with pytest.raises(UnsupportedError, match=r"'lstm' \(LSTM\): this custom class"):
        model({**lstm(**INPUT), **more}, version="2.15.0")


POLICIES = {
    "float32": ["float32", "infer", "_infer", None, "float32_with_float32_vars"],
    "mixed_float16": ["mixed_float16", "float16_with_float32_vars"],
    "mixed_bfloat16": ["mixed_bfloat16"],
}


@pytest.mark.parametrize(
    ("policy", "written"), [(p, w) for p, some in POLICIES.items() for w in some]
)
@pytest.mark.parametrize("kind", ["", "Policy", "PolicyV1", "DTypePolicy"])
def test_a_dtype_policy_is_read_in_every_form(policy, written, kind):
    scale = {"class_name": "DynamicLossScale", "config": {"increment_period": 2000}}
    config = {"name": written, "loss_scale": scale}
    dtype = {"class_name": kind, "config": config} if kind else written
    found = model(lstm(dtype=dtype, **INPUT))
    assert found["lstm"].policy == policy
    # Keras 2 makes the input in the dtype of the variables
    assert found["lstm_input"].options["dtype"] == "float32"


@pytest.mark.parametrize(
    "options",
    [
        {"batch_input_shape": [None, 6, 3], "sparse": False, "ragged": False},
        {"batch_input_shape": [None, 6, 3], "input_dtype": "float32"},
        {"batch_input_shape": {"class_name": "__tuple__", "items": [None, 6, 3]}},
        {"batch_shape": [None, 6, 3], "optional": False},
        {"batch_shape": {"class_name": "TensorShape", "items": [None, 6, 3]}},
    ],
)
def test_an_input_layer_is_read_in_every_form(options):
    config = {"name": "x", "dtype": "float32", **options}
    found = model({"class_name": "InputLayer", "config": config}, lstm())
    assert found["x"].options["batch_shape"] == (None, 6, 3)


@pytest.mark.parametrize("option", ["sparse", "ragged"])
def test_sparse_and_ragged_inputs_are_refused_by_name(option):
    config = {"name": "x", "batch_input_shape": [None, 6, 3], option: True}
    with pytest.raises(UnsupportedError, match=f"option '{option}' expects False"):
        model({"class_name": "InputLayer", "config": config}, lstm())


def test_what_stands_beside_a_config_is_left_alone():
    beside = {"build_config": {"input_shape": [None, 6, 3]}, "shared_object_id": 3}
    wrapper = {
        "class_name": "Bidirectional",
        "config": {"name": "both", "layer": {**lstm(), **beside}, **INPUT},
        **beside,
    }
    compiled = {"compile_config": {"optimizer": "adam"}, "backend": "tensorflow"}
    found = model(wrapper, **compiled, keras_version="2.13.1", shared_object_id=1)
    assert found["both"].sublayers["forward_layer"].options["units"] == 4
