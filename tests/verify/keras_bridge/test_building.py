"""Configs are changed for Keras, before it builds a model from them."""

from __future__ import annotations

import pytest

from verify.keras_bridge.building import with_dtype


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
