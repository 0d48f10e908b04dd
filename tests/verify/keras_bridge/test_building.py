"""Configs are changed for Keras, before it builds a model from them."""

from __future__ import annotations

import numpy as np
import pytest
from support.nets import random_weights
from support.old_files import old_file, old_layer

import verify
from verify.errors import KerasCannotRun
from verify.keras_bridge.building import rebuild, with_dtype


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
    given = with_dtype(config, "float64")
    assert given["layers"][0]["config"]["dtype"] == changed


def test_a_name_with_a_slash_is_read_and_said_to_stop_keras_3(tmp_path):
    name = "decoder/gru"
    config = [
        old_layer(
            "GRU", name, units=4, batch_input_shape=[None, 6, 3], reset_after=True
        )
    ]
    weights = {name: random_weights([(3, 12), (4, 12), (2, 12)], 0)}
    whole = {"class_name": "Sequential", "config": config}
    net = verify.load(old_file(tmp_path / "old.h5", whole, weights))
    assert np.isfinite(net.predict(np.ones((2, 6, 3), np.float32))).all()
    with pytest.raises(KerasCannotRun, match="takes no name with a slash"):
        rebuild(net.spec)
