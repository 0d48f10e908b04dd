"""Pooling, cropping, padding and resizing as ONNX, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from support.graphs import given as model_input
from support.graphs import made, net

from verify import Network
from verify.errors import UnsupportedError
from verify.ports.convert.to_onnx.model import onnx_model

X = np.random.default_rng(3).normal(size=(3, 5, 7, 2)).astype(np.float32)
FIRST = {"data_format": "channels_first"}
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("MaxPooling2D", {"pool_size": (2, 3), "padding": "same"}, {"pool_size": (3, 2)}),
    ("AveragePooling2D", {"pool_size": 2, "strides": (1, 2), "padding": "same"},
     {"strides": (2, 1)}),
    ("AdaptiveMaxPooling2D", {"output_size": (3, 4)}, {"output_size": (4, 3)}),
    ("AdaptiveAveragePooling2D", {"output_size": 3, **FIRST},
     {"data_format": "channels_last"}),
    ("GlobalMaxPooling2D", {"keepdims": True}, {"keepdims": False}),
    ("GlobalAveragePooling2D", FIRST, {"data_format": "channels_last"}),
    ("Cropping2D", {"cropping": ((1, 0), (2, 1))}, {"cropping": ((0, 1), (2, 1))}),
    ("ZeroPadding2D", {"padding": ((1, 0), (2, 1))}, {"padding": ((0, 1), (2, 1))}),
    ("UpSampling2D", {"size": (2, 3)}, {"interpolation": "bilinear"}),
    ("UpSampling2D", {"size": 2, "interpolation": "bicubic", **FIRST},
     {"interpolation": "bilinear"}),
    ("Resizing", {"height": 3, "width": 4, "antialias": True}, {"antialias": False}),
    ("Resizing", {"height": 6, "width": 4, "pad_to_aspect_ratio": True},
     {"pad_to_aspect_ratio": False}),
    ("CenterCrop", {"height": 2, "width": 3}, {"height": 3}),
    ("CenterCrop", {"height": 9, "width": 3}, {"height": 8}),
    ("AutoContrast", {"value_range": (0, 1)}, {"value_range": (0.0, 2.0)}),
    ("RandomFlip", {"mode": "horizontal"}, {}),
]  # fmt: skip


def network(class_name: str, shape: tuple[int | None, ...], **options: Any) -> Network:
    layers = [model_input("x", *shape), made(class_name, "image", **options)]
    return Network(net(layers, {"image": "x"}, "image"))


def run(model: Network, x: np.ndarray) -> np.ndarray:
    written = onnx_model(model)
    session = onnxruntime.InferenceSession(
        written.content, providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(list(written.outputs), {written.inputs[0]: x})
    return np.asarray(y)


@pytest.mark.parametrize(("class_name", "options", "wrong"), CASES)
def test_a_layer_of_images_is_written_and_its_options_count(
    class_name: str, options: dict[str, Any], wrong: dict[str, Any]
) -> None:
    model = network(class_name, X.shape[1:], **options)
    (wanted,), found = model.flat(model.prepare(X)), run(model, X)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    assert np.abs(found - wanted).max() < 1e-6
    if wrong:
        layer = model.spec["image"].with_options(**wrong)
        changed = Network(model.spec.with_layer(layer, "image"))
        (other,) = changed.flat(changed.prepare(X))
        assert other.shape != found.shape or np.abs(other - found).max() > 1e-3


@pytest.mark.parametrize("size", [(5, 7), (4, 6)])
def test_images_of_any_size_are_repeated_and_pooled(size: tuple[int, int]) -> None:
    x = X[:, : size[0], : size[1]]
    for class_name, options in (
        ("UpSampling2D", {"size": (2, 3)}),
        ("MaxPooling2D", {"pool_size": (2, 3), "padding": "same"}),
    ):
        model = network(class_name, (None, None, 2), **options)
        (wanted,) = model.flat(model.prepare(x))
        assert np.array_equal(run(model, x), wanted)


def test_images_of_any_size_are_not_interpolated() -> None:
    model = network("Resizing", (None, None, 2), height=3, width=4)
    with pytest.raises(UnsupportedError, match=r"'image'.*images of a fixed size"):
        onnx_model(model)
