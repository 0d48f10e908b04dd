"""Export to ONNX by ``tf2onnx.convert.from_keras``."""

from pathlib import Path

import tf2onnx

from benchmarks.exporters.routes.common import load


def export(source: Path, out: Path) -> None:
    """Write the .onnx file."""
    tf2onnx.convert.from_keras(load(source), output_path=str(out))
