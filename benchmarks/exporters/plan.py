"""Say which routes out of Keras there are, and in which environment each runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PROJECT = "project"
"""The environment that runs this program: Keras on TensorFlow or on JAX."""

PACKAGES: Mapping[str, tuple[str, ...]] = {
    PROJECT: (
        *("keras", "tensorflow", "jax", "numpy", "tf2onnx", "onnx", "onnxruntime"),
        *("ai-edge-litert", "openvino"),
    ),
    "jax2onnx": ("jax2onnx", "jax", "keras"),
    "torch": ("keras", "torch", "onnxscript", "onnx"),
    "hls4ml": ("hls4ml", "keras", "tensorflow"),
    "onnx2tf": ("onnx2tf", "tensorflow", "onnx"),
    "tensorflowjs": ("tensorflowjs", "tensorflow"),
    "coremltools": ("coremltools", "keras", "tensorflow"),
    "keras2c": ("keras2c",),
}
"""Environment -> the packages whose versions stand in the table."""


@dataclass(frozen=True)
class Route:
    """Describe a way from a Keras model to a file of another runtime.

    Attributes
    ----------
    title : str
        Its column in the table.
    module : str
        Which program of `benchmarks.exporters.routes` exports.
    suffix : str
        Of the file, with its dot; empty for a folder.
    environment : str
        A key of `PACKAGES`.
    backend : str
        Backend of Keras.
    source : str
        The route whose file is exported again; empty for the Keras model.
    own_runtime : bool
        Whether its program runs the file itself: ``rnn-verify`` cannot, or what it
        needs for it, such as torch, is in the environment of the route alone.
    runs : bool
        Whether anything here can run the file.
    tolerance : float or None
        What outputs may differ by at most where the file computes in fixed point or
        with fewer bits on purpose; None: what rounding explains, and no more.
    """

    title: str
    module: str
    suffix: str
    environment: str = PROJECT
    backend: str = "tensorflow"
    source: str = ""
    own_runtime: bool = False
    runs: bool = True
    tolerance: float | None = None


ROUTES: Mapping[str, Route] = {
    "onnx": Route("ONNX, Keras on TensorFlow", "keras_onnx", ".onnx"),
    "onnx-jax": Route(
        "ONNX, Keras on JAX",
        "keras_onnx",
        ".onnx",
        environment="jax2onnx",
        backend="jax",
    ),
    "onnx-torch": Route(
        "ONNX, Keras on torch",
        "keras_onnx",
        ".onnx",
        environment="torch",
        backend="torch",
    ),
    "torch-onnx": Route(
        "ONNX, torch.onnx.export",
        "torch_onnx",
        ".onnx",
        environment="torch",
        backend="torch",
    ),
    "tf2onnx": Route("ONNX, tf2onnx", "tf2onnx_keras", ".onnx"),
    "litert": Route("LiteRT, Keras", "keras_litert", ".tflite"),
    "litert-one-row": Route(
        "LiteRT, Keras, one row in the signature", "keras_litert_one_row", ".tflite"
    ),
    "tflite-converter": Route("LiteRT, TFLiteConverter", "tflite_converter", ".tflite"),
    "tflite-quantised": Route(
        "LiteRT, TFLiteConverter, one row, optimised by default (weights of this size "
        "stay as they are)",
        "tflite_quantised",
        ".tflite",
        tolerance=0.02,
    ),
    "onnx2tf": Route(
        "LiteRT, onnx2tf",
        "onnx2tf_litert",
        ".tflite",
        environment="onnx2tf",
        source="onnx",
    ),
    "saved-model": Route("SavedModel, Keras on TensorFlow", "keras_saved_model", ""),
    "saved-model-jax": Route(
        "SavedModel, Keras on JAX", "keras_saved_model", "", backend="jax"
    ),
    "openvino-tensorflow": Route(
        "OpenVINO, Keras on TensorFlow", "keras_openvino", ".xml"
    ),
    "openvino": Route(
        "OpenVINO, Keras on OpenVINO", "keras_openvino", ".xml", backend="openvino"
    ),
    "openvino-torch": Route(
        "OpenVINO, Keras on torch",
        "keras_openvino",
        ".xml",
        environment="torch",
        backend="torch",
    ),
    "openvino-onnx": Route(
        "OpenVINO, from ONNX", "openvino_onnx", ".xml", source="onnx"
    ),
    "torch-export": Route(
        "torch.export, Keras on torch",
        "keras_torch",
        ".pt2",
        environment="torch",
        backend="torch",
        own_runtime=True,
    ),
    "tensorflowjs": Route(
        "TensorFlow.js graph model",
        "tensorflowjs_graph",
        "",
        environment="tensorflowjs",
        source="saved-model",
        own_runtime=True,
    ),
    "hls4ml": Route(
        "hls4ml, C++ simulation, fixed<32,16>",
        "hls4ml_project",
        "",
        environment="hls4ml",
        own_runtime=True,
        tolerance=0.05,
    ),
    "coremltools": Route(
        "Core ML, coremltools",
        "coremltools_package",
        ".mlpackage",
        environment="coremltools",
        runs=False,
    ),
    "keras2c": Route(
        "C, keras2c", "keras2c_source", ".c", environment="keras2c", runs=False
    ),
}

NOT_RUN = {
    "LiteRT, Keras on torch": (
        "needs litert-torch, which pulls a torch of its own with CUDA"
    ),
    "TensorFlow.js layers model": (
        "TensorFlow.js 4.22.0 refuses every layers model that Keras 3 has written; "
        "`rnn-verify compare` reads such a model for its weights"
    ),
    "Core ML, the runtime": "runs on macOS alone",
    "TensorRT, cuDNN": "need a GPU",
}
"""Routes that are not run -> why."""
