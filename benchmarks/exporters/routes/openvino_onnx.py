"""Turn the ONNX file of Keras on TensorFlow into OpenVINO's form."""

from pathlib import Path

import openvino


def export(source: Path, out: Path) -> None:
    """Write the .xml file and the .bin beside it, in float32."""
    openvino.save_model(openvino.convert_model(source), out, compress_to_fp16=False)
