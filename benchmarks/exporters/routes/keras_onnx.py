"""Export to ONNX by Keras: ``model.export(format="onnx")``, whatever the backend."""

from pathlib import Path

from benchmarks.exporters.routes.common import load


def export(source: Path, out: Path) -> None:
    """Write the .onnx file."""
    load(source).export(out, format="onnx", verbose=False)
