"""Export to LiteRT by Keras: ``model.export(format="litert")``."""

from pathlib import Path

from benchmarks.exporters.routes.common import load


def export(source: Path, out: Path) -> None:
    """Write the .tflite file."""
    load(source).export(out, format="litert", verbose=False)
