"""The exported files of tests/data/exported, and small ONNX files made on the spot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

EXPORTED = Path(__file__).parents[1] / "data" / "exported"
TIME, INPUTS, UNITS, VOCABULARY = 6, 3, 4, 11


def inputs_of(model: str, batch: int = 1, time: int = TIME, seed: int = 0) -> Any:
    """Inputs of one of the models there: ids with padding, or features."""
    rng = np.random.default_rng(seed)
    if model == "masked":
        x = rng.integers(1, VOCABULARY, (batch, time)).astype("int32")
        x[0, time // 2] = 0
        x[-1, 0] = 0
        return x
    if model == "states":
        return [rng.normal(size=(batch, time, INPUTS)).astype("float32") for _ in "ab"]
    return rng.normal(size=(batch, time, INPUTS)).astype("float32")


def save_onnx(
    path: Path,
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[str, Sequence[Any]]],
    outputs: Mapping[str, tuple[str, Sequence[Any]]],
    arrays: Mapping[str, np.ndarray] | None = None,
    domains: Mapping[str, int] | None = None,
) -> Path:
    """Write an ONNX file of these nodes.

    `inputs` and `outputs` have name -> dtype, as ONNX calls it, and shape.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    def values(
        infos: Mapping[str, tuple[str, Sequence[Any]]],
    ) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, getattr(TensorProto, dtype), shape)
            for name, (dtype, shape) in infos.items()
        ]

    graph = helper.make_graph(
        list(nodes), "g", values(inputs), values(outputs),
        [numpy_helper.from_array(a, name) for name, a in (arrays or {}).items()],
    )  # fmt: skip
    opsets = {"": 17, **(domains or {})}
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()],
        ir_version=9,
    )
    save(model, path)
    return path


def onnx_sum(path: Path, dtype: str = "FLOAT") -> Path:
    """Write an ONNX file that adds its input to itself."""
    from onnx import helper

    node = helper.make_node("Add", ["x", "x"], ["y"])
    return save_onnx(path, [node], {"x": (dtype, ["n", 3])}, {"y": (dtype, ["n", 3])})


def onnx_endless(path: Path) -> Path:
    """Write an ONNX file whose loop takes years."""
    from onnx import TensorProto, helper

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Sin", ["a"], ["b"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("k", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", 3]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, ["n", 3]),
        ],
    )
    node = helper.make_node("Loop", ["count", "true", "x"], ["y"], body=body)
    return save_onnx(
        path, [node], {"x": ("FLOAT", ["n", 3])}, {"y": ("FLOAT", ["n", 3])},
        {"count": np.array(2**62), "true": np.array(True)},
    )  # fmt: skip
