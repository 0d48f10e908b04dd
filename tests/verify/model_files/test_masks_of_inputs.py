"""Hold what a config says of the masks that a model inside uses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.model_files.masks_of_inputs import with_copies, with_masks_of_tensors

FLOATS = ("float16", "float32", "float64")


def tensor(name: str, dtype: str | None = "float32") -> dict[str, Any]:
    config: dict[str, Any] = {"keras_history": [name, 0, 0]}
    if dtype is not None:
        config["dtype"] = dtype
    return {"class_name": "__keras_tensor__", "config": config}


def mask(name: str, dtype: str | None = "float32") -> dict[str, Any]:
    return {**tensor(name, dtype), "class_name": "__keras_mask__"}


def model(inputs: Any, node: dict[str, Any], **dtypes: str) -> dict[str, Any]:
    layers = [{"name": n, "config": {"dtype": d}} for n, d in dtypes.items()]
    return {
        "name": "inner",
        "class_name": "Functional",
        "config": {"layers": layers, "input_layers": inputs},
        "inbound_nodes": [node],
    }


def call(tensors: Any, masks: Any) -> dict[str, Any]:
    return {"args": [tensors], "kwargs": {"mask": masks}}


def copied(name: str) -> dict[str, Any]:
    return {"name": name, "class_name": "Copy"}


LIST = [["a", 0, 0], ["b", 0, 0]]
BY_KEY = {"y": ["a", 0, 0], "x": ["b", 0, 0]}
CASES = {
    "list": (LIST, [tensor("s"), tensor("t")], [None, None], [mask("s"), None]),
    "one is given": (
        LIST, [tensor("s"), tensor("t")], [mask("u"), None], [mask("u"), None]
    ),
    "tuple": (
        LIST,
        {"class_name": "__tuple__", "items": [tensor("s"), tensor("t")]},
        {"class_name": "__tuple__", "items": [None, None]},
        {"class_name": "__tuple__", "items": [mask("s"), None]},
    ),
    "dict": (
        BY_KEY,
        {"x": tensor("t"), "y": tensor("s")},
        {"x": None, "y": None},
        {"x": None, "y": mask("s")},
    ),
    "dict by names": (
        LIST[::-1],
        {"b": tensor("t"), "a": tensor("s")},
        {"b": None, "a": None},
        {"a": mask("s"), "b": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_none_stands_for_the_mask_of_what_is_not_cast(name):
    """The input called a wants float32, as the tensors are, and b wants float16."""
    inputs, tensors, masks, expected = CASES[name]
    entry = model(inputs, call(tensors, masks), a="float32", b="float16")
    (found,) = with_masks_of_tensors([entry])
    assert found["inbound_nodes"] == [call(tensors, expected)]
    changed, copy = with_copies([entry], FLOATS, copied)
    assert copy == {
        "name": "inner_copy_0",
        "class_name": "Copy",
        "inbound_nodes": [{"args": [tensor("t")], "kwargs": {}}],
    }
    (node,) = changed["inbound_nodes"]
    assert "inner_copy_0" in str(node["args"])
    assert "'t'" not in str(node["args"])
    assert node["kwargs"]["mask"] == masks
    assert entry["inbound_nodes"] == [call(tensors, masks)]  # nothing is changed in it


def test_a_cast_of_whole_numbers_needs_no_copy():
    entry = model(LIST, call([tensor("s"), tensor("t")], [None] * 2), a="int32")
    (found,) = with_masks_of_tensors([entry])
    assert found["inbound_nodes"][0]["kwargs"]["mask"] == [None, mask("t")]
    assert with_copies([entry], FLOATS, copied) == [entry]


def test_a_config_without_dtypes_casts_nothing():
    entry = model(LIST, call([tensor("s", None)] * 2, [None] * 2), a="float16")
    (found,) = with_masks_of_tensors([entry])
    assert found["inbound_nodes"][0]["kwargs"]["mask"] == [mask("s", None)] * 2


ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(max_size=2) | st.just(tensor("s")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["args", "kwargs", "mask", "config", "name", "dtype", "a"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING)
def test_nothing_that_a_config_may_hold_raises(inputs, tensors, masks, layers):
    node = {"args": [tensors], "kwargs": {"mask": masks}}
    entry = {
        **model(inputs, node),
        "config": {"layers": layers, "input_layers": inputs},
    }
    (found,) = with_masks_of_tensors([entry])
    assert found["config"] == entry["config"]
    assert with_masks_of_tensors([layers]) == [layers]
