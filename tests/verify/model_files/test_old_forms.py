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


# -- options that Keras 3 lacks --------------------------------------------------------


def one(class_name, **config):
    """A layer of one class behind an input of 6 steps."""
    config = {"name": "one", "trainable": True, **config, **INPUT}
    return model({"class_name": class_name, "config": config}, version="2.9.0")["one"]


@pytest.mark.parametrize(
    ("class_name", "option"),
    [
        ("Attention", {"causal": False}), ("AdditiveAttention", {"causal": False}),
        ("Softmax", {"robust_masking": True}), ("Dropout", {"rng_type": "stateful"}),
        ("BatchNormalization", {"virtual_batch_size": None}),
        ("SeparableConv1D", {"filters": 2, "kernel_size": [2], "groups": 1}),
        ("Identity", {"autocast": True}), ("Add", {"dynamic": True}),
    ],
)  # fmt: skip
def test_an_option_without_effect_is_read(class_name, option):
    assert one(class_name, **option).class_name == class_name


@pytest.mark.parametrize(
    ("class_name", "option", "expected"),
    [
        ("Attention", {"causal": True}, "'causal' expects false outside a graph"),
        ("BatchNormalization", {"virtual_batch_size": 2}, "expects None; Keras 3 has"),
        ("SeparableConv1D", {"groups": 2}, "'groups' expects 1; Keras 3 has no groups"),
        ("Identity", {"autocast": False}, "'autocast' expects True"),
    ],
)
def test_an_option_with_an_effect_is_refused_with_the_reason(
    class_name, option, expected
):
    with pytest.raises(UnsupportedError, match=expected):
        one(class_name, **option)


def test_classes_of_keras_2_are_read_as_those_that_compute_the_same():
    layer = one("ThresholdedReLU", theta=0.25)
    assert layer.class_name == "ReLU"
    assert layer.options["threshold"] == 0.25
    assert one("SyncBatchNormalization").class_name == "BatchNormalization"


@pytest.mark.parametrize("kind", ["Attention", "AdditiveAttention"])
@pytest.mark.parametrize("causal", [False, True])
def test_causal_attention_of_keras_2_becomes_an_argument_of_its_calls(kind, causal):
    tensor = ["x", 0, 0, {}]
    attention = {"name": "a", "causal": causal, "use_scale": False}
    layers = [
        {
            "class_name": "InputLayer", "name": "x", "inbound_nodes": [],
            "config": {"name": "x", **INPUT},
        },
        {
            "class_name": kind, "name": "a", "config": attention,
            "inbound_nodes": [[tensor, tensor]],
        },
    ]  # fmt: skip
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["a", 0, 0]]}
    config = {"name": "m", "layers": layers, **ends}
    entry = {"class_name": "Functional", "config": config}
    root = read_architecture(upgraded_config(entry, "2.9.0").config)
    (node,) = root.graph.nodes
    assert dict(node.kwargs) == ({"use_causal_mask": True} if causal else {})
    assert len(node.args[0]) == 2
