"""Export to a SavedModel by Keras: ``model.export(format="tf_saved_model")``."""

from pathlib import Path

from benchmarks.exporters.routes.common import load


def export(source: Path, out: Path) -> None:
    """Write the folder."""
    load(source).export(out, format="tf_saved_model", verbose=False)
