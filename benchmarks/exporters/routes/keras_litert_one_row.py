"""Export to LiteRT by Keras, with an input signature of one row."""

from pathlib import Path

from benchmarks.exporters.routes.common import load, signature


def export(source: Path, out: Path) -> None:
    """Write the .tflite file."""
    model = load(source)
    model.export(
        out, format="litert", input_signature=signature(model, 1), verbose=False
    )
